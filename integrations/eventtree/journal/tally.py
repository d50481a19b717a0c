"""The events that a process has recorded, counted as they happen and apart from their lines."""

from __future__ import annotations

from collections import Counter

Names = tuple[str, ...]
"""Under which an event is counted: its vendors, as `NAME.FINGERPRINT`, or "" for none."""


class Tally:
    """Counts of one process, for the lines that begin and end its logs."""

    __slots__ = ("added", "lost", "opened")

    def __init__(self) -> None:
        """Count from nothing."""
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.opened: dict[Names, int] = {}
        """Names → how many events have opened,"""
        self.added: Counter[Names] = Counter()
        """and how many were added later, or are counted without records."""
        self.lost: Counter[str] = Counter()
        """Events of `totals` that were lost (reason `memory_full`): neither disk nor memory would take them."""

    @property
    def events(self) -> int:
        """Events recorded."""
        return sum(self.opened.values())

    @property
    def totals(self) -> dict[str, int]:
        """Name → events recorded for it."""
        found = Counter[str]()
        for names, number in (*self.opened.items(), *self.added.items()):
            for name in names:
                found[name] += number
        return dict(found)
