"""Items that travel together, and whether the vendor or an item is at fault where it answers 5xx.

Several items are sent in halves to find out. A lone item is at fault only if the vendor has taken others since it
failed first; where nothing passes it is an outage, and everything waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from eventtree.serializer.packing import Group, halves
from eventtree.serializer.requests import Item

HALVE_AFTER = 5
HALVE_AGAIN_AFTER = 2
"""A request answered 5xx so often in a row is sent in halves; a half is halved after this many."""
LONE_TRIES = 3
"""A lone item that a vendor fails on (5xx, or left out of a partial success) is sent so often, then is a dead letter.
A 5xx counts against the item only if the vendor has taken others since."""
MOST = 10_000
"""Suspects that are remembered."""


class StuckError(Exception):
    """One item is answered 5xx again and again, and nothing else was asked since: let others go first."""


@dataclass(slots=True)
class Piece:
    """Items that travel together, and how the vendor has answered just these so far."""

    items: Group
    failed_at: int | None = None
    """Requests that the vendor had taken when these items, or the piece they were part of, failed first."""
    halve_after: int = HALVE_AFTER
    failures: int = 0
    lone_tries: int = 0
    cut_off: int = 0

    def halved(self) -> list[Piece]:
        """Its items in two pieces."""
        return [Piece(half, self.failed_at, HALVE_AGAIN_AFTER) for half in halves(self.items) if half]


@dataclass(slots=True)
class _Suspect:
    """An item that failed alone."""

    passed: int
    """How many requests the vendor had taken when it failed first."""
    failures: int = 0


class Suspects:
    """The items of one vendor that failed alone, beside the number of requests that it has taken."""

    def __init__(self) -> None:
        """Nothing has failed yet."""
        self.passed = 0
        """Requests that the vendor has taken."""
        self._known: dict[tuple[str, str], _Suspect] = {}
        """Tree and key of lone items that failed; kept from one `send` to the next."""

    def forget(self, item: Item) -> None:
        """Suspect an item no more: it is settled."""
        self._known.pop((item.tree_id, item.key), None)

    def pieces(self, group: Group) -> list[Piece]:
        """A group as it is, but for trees with an item that failed alone before: those items travel alone again, behind
        all others, and each item behind its parent. The rest of such a tree failed with them for the first time.
        """
        known = self._known
        keys = [(item.tree_id, item.key) for item in group] if known else []
        suspects = {key[0]: known[key].passed for key in keys if key in known}
        if not suspects:
            return [Piece(group)]
        calm = tuple(item for item in group if item.tree_id not in suspects)
        ordered = sorted((item for item in group if item.tree_id in suspects), key=lambda item: item.tree_id)
        alone = groupby(ordered, key=lambda item: (item.tree_id, item.key if (item.tree_id, item.key) in known else ""))
        return [*([Piece(calm)] if calm else []), *(Piece(tuple(items), suspects[key[0]]) for key, items in alone)]

    def has_passed_since(self, piece: Piece) -> bool:
        """Whether the vendor has taken something since these items failed first: it is there."""
        return piece.failed_at is not None and self.passed > piece.failed_at

    def is_at_fault(self, piece: Piece) -> bool:
        """Whether the vendor fails on these items alone: several are halved to find out; one must fail by itself again
        and again while others pass.

        Raises:
            StuckError: there is nothing else to compare with now.
        """
        piece.failures += 1
        if piece.failed_at is None:
            piece.failed_at = self.passed
        if len(piece.items) > 1:
            return piece.failures >= piece.halve_after
        key = (piece.items[0].tree_id, piece.items[0].key)
        suspect = self._known.setdefault(key, _Suspect(piece.failed_at))
        suspect.failures += 1
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        if suspect.failures < LONE_TRIES:
            return False
        if self.passed > suspect.passed:
            return True
        raise StuckError
