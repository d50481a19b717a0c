"""What has become of single trees at their vendors: what the vendors' cursors and dead letters say of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from eventtree.delivery.dead_letters import DeadLetters
from eventtree.journal import Journal
from eventtree.journal.cursor import Cursor
from eventtree.query.opened import Place

WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"


class Standing(NamedTuple):
    """What has become of a tree at one vendor."""

    state: str
    """`delivered` (it was taken, or its events dropped), `dead` (some of it was refused), or `waiting`."""
    parked: str | None
    """Why the vendor takes nothing until it has other settings."""


class Deliveries:
    """Reads each vendor's files again only when they have changed."""

    def __init__(self, journal: Journal) -> None:
        """Nothing is read yet."""
        self._journal = journal
        self._cursors: dict[str, tuple[object, Cursor]] = {}
        self._dead: dict[str, tuple[object, set[str]]] = {}

    def of(self, tree_id: str, vendors: Iterable[str], places: Iterable[Place]) -> dict[str, Standing]:
        """Vendor → how a tree stands there.

        Raises:
            OSError: the disk refuses to read.
        """
        ends: dict[str, int] = {}
        for log, offset, length in places:
            ends[log] = max(offset + length, ends.get(log, 0))
        return {vendor: self._state(tree_id, vendor, ends) for vendor in vendors}

    def _state(self, tree_id: str, vendor: str, ends: dict[str, int]) -> Standing:
        cursor = self._cursor(vendor)
        is_settled = cursor.is_settled(tree_id, ends)
        state = DEAD if tree_id in self._refused(vendor) else DELIVERED if is_settled else WAITING
        return Standing(state, None if is_settled else cursor.parked)

    def _cursor(self, vendor: str) -> Cursor:
        name = f"{vendor}.cursor"
        mark, cursor = self._cursors.get(name, (None, None))
        now = self._mark(name)
        if cursor is None or mark != now:
            cursor = Cursor(self._journal.files, name)
            self._cursors[name] = (now, cursor)
        return cursor

    def _refused(self, vendor: str) -> set[str]:
        name = f"{vendor}.dead"
        mark, trees = self._dead.get(name, (None, set[str]()))
        now = self._mark(name)
        if mark != now:
            trees = {letter["tree"] for letter in DeadLetters(self._journal.files, name).read()}
            self._dead[name] = (now, trees)
        return trees

    def _mark(self, name: str) -> object:
        return self._journal.files.size(name), self._journal.files.changed_at(name)
