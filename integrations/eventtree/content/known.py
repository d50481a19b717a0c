"""Values that come again and again are known by all that they hold, and read once. None of them is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from eventtree.record import known_by
from eventtree.remembered import Remembered

V = TypeVar("V")


class Known(Generic[V]):
    """What `read` makes of values that come again and again, remembered by all that they hold: none of them is kept."""

    __slots__ = ("_known", "_read")

    def __init__(self, read: Callable[[Any], V], *, most: int, longest: int) -> None:
        """Hold at most `most` answers, for values of at most so many bytes of JSON."""
        self._read = read
        self._known: Remembered[bytes, V] = Remembered(most, longest=longest)

    def __call__(self, value: Any) -> V:
        """What is read of it; not to be changed."""
        key = known_by(value)
        if key is None:
            return self._read(value)
        if key in self._known:
            return self._known[key]
        found = self._read(value)
        if b"null" not in key:  # where NaN would be written so too
            self._known.keep(key, found)
        return found
