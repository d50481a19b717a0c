"""Between small pieces of work a thread of ours lets the app's threads go first: `paced` has it rest as it goes on.

Whoever works for long, as delivery does, says how it rests, once for its thread; elsewhere nothing rests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

FEW = 32
"""Items between two rests: some tens of microseconds."""
_here = threading.local()


def rest_by(rest: Callable[[], None] | None) -> None:
    """From now on, this thread rests so; not at all with None."""
    _here.rest = rest


def paced(items: Iterable[T], *, each: bool = False) -> Iterable[T]:
    """The items, with rests between them: after each one that takes long."""
    call = getattr(_here, "rest", None)
    return items if call is None else _rested(items, call, 1 if each else FEW)


def _rested(items: Iterable[T], call: Callable[[], None], few: int) -> Iterator[T]:
    for number, item in enumerate(items, 1):
        yield item
        if not number % few:
            call()


def paced_dict(found: dict[K, V]) -> dict[K, V]:
    """The dict, as one whose passes rest where they take long."""
    return found if len(found) <= FEW else _Paced(found)


class _Paced(dict[K, V]):
    def values(self) -> Any:
        return paced(super().values())

    def items(self) -> Any:
        return paced(super().items())

    def __iter__(self) -> Iterator[K]:
        return iter(paced(super().keys()))
