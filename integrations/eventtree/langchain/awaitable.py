"""Callbacks that do their work at once, in async code too.

LangChain's async path calls a plain callback in an executor thread (400 µs a run) unless the handler is `run_inline`,
which hides events from the user's other handlers. A coroutine function it simply awaits. So our callbacks present
themselves as coroutine functions, do their work when they are called, and return an awaitable that has finished.
The sync path gets the same awaitable and lets it be, since it is no coroutine.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

from eventtree.recording.boundary import guarded


class Finished:
    """An awaitable that has finished before it is awaited."""

    __slots__ = ()

    def __await__(self) -> Iterator[None]:
        """Yield to nobody."""
        return iter(())


FINISHED = Finished()


def callback(method: Callable[..., None]) -> Callable[..., Any]:
    """Make a method of the handler harmless (see `guarded`) and fit for LangChain's sync and async path."""
    safe = guarded(method, FINISHED)
    mark = getattr(inspect, "markcoroutinefunction", None)
    marked: Callable[..., Any] = coroutine_like(safe) if mark is None else mark(safe)
    return marked


async def _coroutine_function() -> None:
    """Lends its code flags to `CoroutineLike`."""


class CoroutineLike:
    """Before Python 3.12: a callable that `inspect.iscoroutinefunction` takes for a coroutine function.

    `inspect` accepts any object that has the attributes of a function, as Cython's have, and reads its code's flags.
    """

    __code__ = _coroutine_function.__code__
    __defaults__ = None
    __kwdefaults__ = None
    __name__: str

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind like a function does."""
        return self if instance is None else MethodType(self, instance)  # type: ignore[arg-type]


def coroutine_like(function: Callable[..., Any]) -> Any:
    """Wrap `function`, in a class of its own: as a static `__call__` it is called without a frame in between."""
    kind = type(CoroutineLike.__name__, (CoroutineLike,), {"__call__": staticmethod(function)})
    return functools.update_wrapper(kind(), function)
