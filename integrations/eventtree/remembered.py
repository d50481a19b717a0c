"""A bounded cache. When it is full, it forgets all its answers at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(dict[K, V]):
    """A dict that computes missing values. Those it began with are never forgotten.

    A hit costs no more than any dict's. Forgetting all at once is cheap on average, and no order has to be kept.
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
        """Hold at most `most` values, of `find` or given to `keep`; none for a key longer than `longest`."""
        super().__init__(begin or {})
        self.begin: Mapping[K, V] = begin or {}
        self.most = most
        self.find = find
        self.longest = longest

    def __missing__(self, key: K) -> V:
        """Compute the value of an unknown key."""
        if self.find is None:
            raise KeyError(key)
        return self.keep(key, self.find(key))

    def keep(self, key: Any, value: V) -> V:
        """Store a value, and return it."""
        if self.longest is None or len(key) <= self.longest:
            if len(self) >= self.most:
                self.clear()
                self.update(self.begin)
            self[key] = value
        return value


def oldest_of(table: Mapping[K, V]) -> K | None:
    """The first key of a table; None where it is empty.

    None also where a signal handler that records changed the table during the call; the next call finds it.
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
