"""The trees that a journal holds, folded: for `show`, `export`, reports, `capture` and the demo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eventtree import diagnostics
from eventtree.event import EventTree
from eventtree.journal import Journal
from eventtree.journal.trees import LoggedTree, load, trees_in
from eventtree.record import Record
from eventtree.tree.builder import TreeBuilder
from eventtree.tree.events import Pricing


def stored_trees(journal: Journal, pricing: Pricing | None = None) -> Iterator[EventTree]:
    """Trees of the journal in the order they opened, finished or not. One that cannot be folded is logged, not here."""
    folded = (fold_stored(journal, logged, pricing) for logged in trees_in(journal).values())
    return (tree for tree in folded if tree is not None)


def fold_stored(journal: Journal, logged: LoggedTree, pricing: Pricing | None = None) -> EventTree | None:
    """The tree of these lines; None if they hold no run, or nothing that can be folded."""
    return fold_records(logged.id, load(journal, logged.lines), pricing)


def fold_records(tree_id: str, records: Iterable[Record], pricing: Pricing | None = None) -> EventTree | None:
    """The tree of these records; None if they hold no run, or nothing that can be folded."""
    try:
        return TreeBuilder.of(tree_id, records).build(pricing)
    except Exception as error:  # noqa: BLE001  (the boundary around each tree: one must not hide the others)
        diagnostics.failed("reading a tree", error)
        return None
