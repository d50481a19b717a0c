"""One tree of a journal, folded: for `show`, `export`, `capture`, the index and the viewer."""

from __future__ import annotations

from collections.abc import Iterable

from eventtree import diagnostics
from eventtree.event import EventTree
from eventtree.journal import Journal
from eventtree.journal.trees import LoggedTree, load
from eventtree.record import Record
from eventtree.tree.builder import TreeBuilder
from eventtree.tree.events import Pricing


def fold_stored(journal: Journal, logged: LoggedTree, pricing: Pricing | None = None) -> EventTree | None:
    """The tree of these lines; None if they have no run, or cannot be folded."""
    return fold_records(logged.id, load(journal, logged.lines), pricing)


def fold_records(tree_id: str, records: Iterable[Record], pricing: Pricing | None = None) -> EventTree | None:
    """The tree of these records; None if they have no run, or cannot be folded, which is counted."""
    try:
        return TreeBuilder.of(tree_id, records).build(pricing)
    except Exception as error:  # noqa: BLE001  (the boundary around each tree: one must not hide the others)
        diagnostics.failed("reading a tree", error)
        return None
