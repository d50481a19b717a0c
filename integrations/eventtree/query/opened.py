"""One tree with its present state: its open runs, the vendors it names, and how far each has got with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

from eventtree import record
from eventtree.delivery.dead_letters import DeadLetters
from eventtree.event import EventTree
from eventtree.journal import Journal
from eventtree.journal.cursor import Cursor
from eventtree.journal.files import Files
from eventtree.journal.folder import process_of
from eventtree.journal.trees import ROOT_KINDS, is_owed, load
from eventtree.tree.events import Pricing
from eventtree.tree.stored import fold_records

Place = tuple[str, int, int]
"""Log, offset and length of a line."""


class Opened(NamedTuple):
    """A tree, the places of its records, its open runs and its vendors."""

    tree: EventTree
    lines: Sequence[Place]
    """The place of each of its records."""
    open: frozenset[str]
    """Ids of the runs that have not closed."""
    vendors: tuple[str, ...]
    """The vendors that it names, as `NAME.FINGERPRINT`."""

    @classmethod
    def of(cls, journal: Journal, tree_id: str, lines: Sequence[Place], pricing: Pricing | None) -> Self | None:
        """The tree of these lines; None if they cannot be folded."""
        records = list(load(journal, lines))
        tree = fold_records(tree_id, records, pricing)
        if tree is None:
            return None
        heads = {kind: {one["id"] for one in records if one["r"] == kind} for kind in (record.OPEN, record.CLOSE)}
        return cls(
            tree, lines, frozenset(heads[record.OPEN] - heads[record.CLOSE]), tuple(vendors_of(tree_id, records))
        )

    def running(self, journal: Journal) -> frozenset[str]:
        """The open runs, if a process that records the tree is alive; else none can end any more."""
        is_alive = self.open and any(map(journal.is_alive, {process_of(log) for log, *_ in self.lines}))
        return self.open if is_alive else frozenset()


def vendors_of(tree_id: str, records: Sequence[record.Record]) -> list[str]:
    """The vendors that a tree names in its root's newest record; without a root, those of all its parts."""
    roots = [one for one in records if one["id"] == tree_id and one["r"] in ROOT_KINDS]
    named = [refs for one in roots or records if (refs := record.refs_of(one)) is not None]
    refs = named[-1] if roots and named else [ref for refs in named for ref in refs]
    return list(dict.fromkeys(f"{ref['name']}.{ref['fingerprint']}" for ref in refs))


WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"


class Delivery(NamedTuple):
    """The state of a tree at one vendor."""

    state: str
    """`delivered` (all events were taken or dropped), `dead` (the vendor refused some), or `waiting`."""
    parked: str | None
    """Why nothing is sent to the vendor until its settings change."""


class Deliveries:
    """The states of trees at their vendors. A vendor's files are read again only when they have changed."""

    def __init__(self, journal: Journal) -> None:
        """Start with no file read."""
        self._journal = journal
        self._known: dict[str, tuple[tuple[int, float], Any]] = {}

    def of(self, tree_id: str, vendors: Iterable[str], places: Sequence[Place]) -> dict[str, Delivery]:
        """Vendor → the state of a tree there."""
        return {vendor: self._state(tree_id, vendor, places) for vendor in vendors}

    def _state(self, tree_id: str, vendor: str, places: Sequence[Place]) -> Delivery:
        cursor: Cursor = self._made(f"{vendor}.cursor", Cursor)
        refused: set[str] = self._made(f"{vendor}.dead", _refused)
        waits = is_owed(self._journal, places, cursor.settled_of(tree_id))
        state = DEAD if tree_id in refused else WAITING if waits else DELIVERED
        return Delivery(state, cursor.parked if waits else None)

    def _made(self, name: str, make: Callable[[Files, str], Any]) -> Any:
        files = self._journal.files
        mark = files.size(name), files.changed_at(name)
        if self._known.get(name, (None,))[0] != mark:
            self._known[name] = (mark, make(files, name))
        return self._known[name][1]


def _refused(files: Files, name: str) -> set[str]:
    return {letter["tree"] for letter in DeadLetters(files, name).read()}
