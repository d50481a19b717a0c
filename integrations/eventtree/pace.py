"""Lets the app's threads go first: a thread of ours rests between small pieces of work (`paced`).

A thread that works for long, like delivery's, sets its rest once (a `Throttle`); other threads never rest. A callback
releases the interpreter's lock at each `write`, and a computing thread would then hold it for the switch interval
(5 ms). A rest after every slice of half a millisecond bounds that wait to the slice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import chain, islice
from typing import Any, TypeVar

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

SLICE_SECONDS = 0.0005
REST_SECONDS = 0.015
"""The rest after a slice while the app records and delivery keeps up: it takes a thirtieth of a core for hundreds of
events a second.
"""
SHORTEST_SECONDS = 0.005
"""The shortest rest, when delivery falls behind: it takes at most a tenth of a core."""
BEHIND_RECORDS = 2_500
"""With this many records to read, the rest is half as long."""
FEW = 32
"""Items between two rests: some tens of microseconds."""
SORTED_AT_ONCE = 512
COUNTED = frozenset({list, tuple, dict, range, *map(type, ({}.keys(), {}.values(), {}.items()))})
"""Types of items that have a length."""
_here = threading.local()


def rest_by(rest: Callable[[], None] | None) -> None:
    """Set this thread's rest; None for no rest."""
    _here.rest = rest


def paced(items: Iterable[T], *, each: bool = False) -> Iterable[T]:
    """The items, with rests between them; with `each` after every item, for items that take long."""
    if not each and type(items) in COUNTED and len(items) < FEW:  # type: ignore[arg-type]
        return items  # tested first, since most trees are small
    call = getattr(_here, "rest", None)
    if call is None:
        return items
    return _rested(items, call) if each else chain.from_iterable(_in_parts(items, call))


def _rested(items: Iterable[T], call: Callable[[], None]) -> Iterator[T]:
    for item in items:
        yield item
        call()


def _in_parts(items: Iterable[T], call: Callable[[], None]) -> Iterator[list[T]]:
    each = iter(items)
    while some := list(islice(each, FEW)):
        yield some
        if len(some) == FEW:
            call()


def paced_sorted(items: Iterable[T], key: Callable[[T], Any]) -> list[T]:
    """The items in a stable order: many are sorted in parts, with rests between them, then merged."""
    given = list(items)
    if len(given) <= SORTED_AT_ONCE:
        return sorted(given, key=key)
    starts = paced(range(0, len(given), SORTED_AT_ONCE), each=True)
    parts = [sorted(given[start : start + SORTED_AT_ONCE], key=key) for start in starts]
    return list(paced(merge(*parts, key=key)))


def let_go(held: list[Any] | set[Any] | dict[Any, Any]) -> None:
    """Empty a container with rests: to free a large one at once holds the interpreter's lock for long."""
    if len(held) < FEW:
        held.clear()
        return
    pop = held.popitem if isinstance(held, dict) else held.pop
    for _ in paced(range(len(held))):
        pop()


def paced_dict(found: dict[K, V]) -> dict[K, V]:
    """The dict, or a copy that rests while it is iterated if it is large."""
    if len(found) <= FEW:
        return found
    rested = _Paced[K, V]()
    for key, value in paced(found.items()):
        rested[key] = value
    return rested


class _Paced(dict[K, V]):
    def values(self) -> Any:
        return paced(super().values())

    def items(self) -> Any:
        return paced(super().items())

    def __iter__(self) -> Iterator[K]:
        return iter(paced(super().keys()))


class Throttle:
    """`rest` is called after each small piece of work: it sleeps if a slice is over and the app has recorded since."""

    def __init__(self, recorded: Callable[[], int], behind: Callable[[], int] = lambda: 0) -> None:
        """Take counters: of the app's records, and of its records that delivery has not read yet (`behind`)."""
        self._recorded = recorded
        self._behind = behind
        self._seen = 0
        self._since = time.perf_counter()

    def rest(self) -> None:
        """Rest if a slice is over."""
        now = time.perf_counter()
        if now - self._since < SLICE_SECONDS:
            return
        count = self._recorded()
        if count != self._seen:
            self._seen = count
            time.sleep(max(SHORTEST_SECONDS, REST_SECONDS / (1 + self._behind() / BEHIND_RECORDS)))
            now = time.perf_counter()
        self._since = now
