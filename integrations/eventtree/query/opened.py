"""One tree as it stands in the journal now: its fold, and what its records say besides, of its runs and vendors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from eventtree import record
from eventtree.event import EventTree
from eventtree.journal import Journal
from eventtree.journal.journal import process_of
from eventtree.journal.trees import ROOT_KINDS, load
from eventtree.tree.events import Pricing
from eventtree.tree.stored import fold_records

Place = tuple[str, int, int]
"""Log, offset and length of a line."""


class Opened(NamedTuple):
    """A tree, where it was read from, and how it stands."""

    tree: EventTree
    lines: Sequence[Place]
    """Where each of its records stands."""
    open: frozenset[str]
    """Ids of the runs that have not closed."""
    vendors: tuple[str, ...]
    """The vendors that it names, as `NAME.FINGERPRINT`."""

    @classmethod
    def of(cls, journal: Journal, tree_id: str, lines: Sequence[Place], pricing: Pricing | None) -> Self | None:
        """The tree of these lines; None if they hold nothing that can be folded.

        Raises:
            OSError: the disk refuses to read.
        """
        records = list(load(journal, lines))
        tree = fold_records(tree_id, records, pricing)
        if tree is None:
            return None
        heads = {kind: {one["id"] for one in records if one["r"] == kind} for kind in (record.OPEN, record.CLOSE)}
        return cls(
            tree, lines, frozenset(heads[record.OPEN] - heads[record.CLOSE]), tuple(vendors_of(tree_id, records))
        )

    def running(self, journal: Journal) -> frozenset[str]:
        """Of the open runs, those that may still end: a process that records the tree lives."""
        is_alive = self.open and any(map(journal.is_alive, {process_of(log) for log, *_ in self.lines}))
        return self.open if is_alive else frozenset()


def vendors_of(tree_id: str, records: Sequence[record.Record]) -> list[str]:
    """The vendors that a tree names: those of its root's newest record; of parts alone, those of each part."""
    roots = [one for one in records if one["id"] == tree_id and one["r"] in ROOT_KINDS]
    named = [refs for one in roots or records if (refs := record.refs_of(one)) is not None]
    refs = named[-1] if roots and named else [ref for refs in named for ref in refs]
    return list(dict.fromkeys(f"{ref['name']}.{ref['fingerprint']}" for ref in refs))
