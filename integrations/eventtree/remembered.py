"""A bounded cache: answers that are asked for again and again, forgotten all at once when they are too many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(dict[K, V]):
    """A dict that works out what it lacks. What it began with is never forgotten.

    A lookup that finds something costs what any dict's does. To forget all is cheap on the average and needs no order.
    """

    __slots__ = ("begin", "find", "longest", "most")

    def __init__(
        self,
        most: int,
        find: Callable[[K], V] | None = None,
        *,
        begin: Mapping[K, V] | None = None,
        longest: int | None = None,
    ) -> None:
        """Hold at most `most` answers of `find`, or of those given to `keep`; none for a key longer than `longest`."""
        super().__init__(begin or {})
        self.begin: Mapping[K, V] = begin or {}
        self.most = most
        self.find = find
        self.longest = longest

    def __missing__(self, key: K) -> V:
        """Work out the answer for a key that is not known."""
        if self.find is None:
            raise KeyError(key)
        return self.keep(key, self.find(key))

    def keep(self, key: Any, value: V) -> V:
        """Remember an answer, and return it."""
        if self.longest is None or len(key) <= self.longest:
            if len(self) >= self.most:
                self.clear()
                self.update(self.begin)
            self[key] = value
        return value


def oldest_of(table: Mapping[K, V]) -> K | None:
    """The first key of a table; None where it is empty.

    None too where a signal handler that records has changed the table in the middle of this: the next look finds it.
    """
    try:
        return next(iter(table), None)
    except RuntimeError:
        return None


def newest_of(table: dict[K, V]) -> K | None:
    """The last key of a table, as `oldest_of`."""
    try:
        return next(reversed(table), None)
    except RuntimeError:
        return None
