"""What has become of single trees at their vendors: what the vendors' cursors and dead letters say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from eventtree.delivery.dead_letters import DeadLetters
from eventtree.journal import Journal
from eventtree.journal.cursor import Cursor
from eventtree.journal.files import Files
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
        self._known: dict[str, tuple[tuple[int, float], Any]] = {}

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
        cursor: Cursor = self._made(f"{vendor}.cursor", Cursor)
        refused: set[str] = self._made(f"{vendor}.dead", _refused)
        is_settled = cursor.is_settled(tree_id, ends)
        state = DEAD if tree_id in refused else DELIVERED if is_settled else WAITING
        return Standing(state, None if is_settled else cursor.parked)

    def _made(self, name: str, make: Callable[[Files, str], Any]) -> Any:
        files = self._journal.files
        mark = files.size(name), files.changed_at(name)
        if self._known.get(name, (None,))[0] != mark:
            self._known[name] = (mark, make(files, name))
        return self._known[name][1]


def _refused(files: Files, name: str) -> set[str]:
    return {letter["tree"] for letter in DeadLetters(files, name).read()}
