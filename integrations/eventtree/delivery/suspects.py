"""Decides whether a vendor or an item is at fault when the vendor answers 5xx.

Several items are sent in halves to find the one at fault. A lone item is at fault only if the vendor has taken others
since it first failed; while the vendor takes nothing, it is an outage and everything waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from eventtree.serializer.packing import Group, halves
from eventtree.serializer.requests import Item

HALVE_AFTER = 5
HALVE_AGAIN_AFTER = 2
"""Answers of 5xx in a row after which a request, or a half of one, is sent in halves."""
LONE_TRIES = 3
"""Tries of a lone item on which a vendor fails (5xx, or left out of a partial success); then it is a dead letter.
A 5xx counts against the item only if the vendor has taken others since."""
MOST = 10_000
"""Most suspects that are remembered."""


class StuckError(Exception):
    """One item got 5xx again and again, and nothing else was sent since: others must be sent first."""


@dataclass(slots=True)
class Piece:
    """Items that are sent in one request, and the vendor's failures on these items so far."""

    items: Group
    failed_at: int | None = None
    """Requests that the vendor had taken when these items, or the piece before its halving, first failed."""
    halve_after: int = HALVE_AFTER
    failures: int = 0
    lone_tries: int = 0
    cut_off: int = 0

    def halved(self) -> list[Piece]:
        """The two halves of the piece."""
        return [Piece(half, self.failed_at, HALVE_AGAIN_AFTER) for half in halves(self.items) if half]


@dataclass(slots=True)
class _Suspect:
    """An item that failed alone."""

    passed: int
    """Requests that the vendor had taken when the item first failed."""
    failures: int = 0


class Suspects:
    """One vendor's items that failed alone, and the number of requests that it has taken."""

    def __init__(self) -> None:
        """Begin without suspects."""
        self.passed = 0
        """Requests that the vendor has taken."""
        self._known: dict[tuple[str, str], _Suspect] = {}
        """Tree and key of an item that failed alone → suspect; kept from one `send` to the next."""

    def forget(self, item: Item) -> None:
        """Forget an item that is settled."""
        self._known.pop((item.tree_id, item.key), None)

    def pieces(self, group: Group) -> list[Piece]:
        """The group in pieces. Items that failed alone before are sent alone again, after all others, each item after
        its parent. The rest of their trees goes last too.
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
        """Whether the vendor has taken a request since these items first failed, so it is up."""
        return piece.failed_at is not None and self.passed > piece.failed_at

    def is_at_fault(self, piece: Piece) -> bool:
        """Whether these items are at fault, not the vendor: several are halved to find out, and one must fail alone
        again and again while others pass.

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
