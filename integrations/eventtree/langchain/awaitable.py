"""Callbacks that do their work at once, also in async code.

LangChain's async path calls a plain callback in an executor thread (400 µs a run) unless the handler is `run_inline`,
which hides events from the user's other handlers. A coroutine function is simply awaited. So our callbacks look like
coroutine functions, do their work when they are called, and return an awaitable that has finished. The sync path
ignores it, since it is no coroutine.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from eventtree.kinds import Kind, Status
from eventtree.langchain.classify import key_of
from eventtree.recording.boundary import guarded
from eventtree.recording.recorder import recorder

KINDS = {"llm": Kind.MODEL, "model": Kind.MODEL, "tool": Kind.TOOL, "retriever": Kind.RETRIEVER}
"""Part of a callback's name → the kind of its run."""


class Finished:
    """An awaitable that has finished before it is awaited."""

    __slots__ = ()

    def __await__(self) -> Iterator[None]:
        """Finish at once."""
        return iter(())


FINISHED = Finished()


def callback(method: Callable[..., None]) -> Callable[..., Any]:
    """Wrap a method of the handler as `guarded` does, for LangChain's sync and async path. Arguments from `run_id` on
    are passed by keyword, and there may be unknown ones.
    """
    safe: Any = guarded(method, FINISHED, bare(method.__name__), "run_id")
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        return mark(safe)  # type: ignore[no-any-return]
    # Before Python 3.12 `inspect` checks this flag. It makes no coroutine by itself: that takes an instruction.
    safe.__code__ = safe.__code__.replace(co_flags=safe.__code__.co_flags | inspect.CO_COROUTINE)
    return safe  # type: ignore[no-any-return]


def bare(callback_name: str) -> Callable[..., None] | None:
    """The callback that records a bare start or end instead of one whose arguments could not be read."""
    kind = next((kind for what, kind in KINDS.items() if what in callback_name), Kind.CHAIN)
    status = Status.ERROR if callback_name.endswith("_error") else Status.OK

    def opened(self: Any, *_: Any, run_id: Any, parent_run_id: Any = None, **__: Any) -> None:
        if not recorder.knows(key_of(run_id)):
            parent = None if parent_run_id is None else key_of(parent_run_id)
            recorder.open(self.pipeline, key_of(run_id), parent, kind, kind, framework="langchain")

    def closed(self: Any, *_: Any, run_id: Any, **__: Any) -> None:
        if recorder.is_open(key_of(run_id)):
            recorder.close(self.pipeline, key_of(run_id), status=status)

    if callback_name.endswith("_start"):
        return opened
    return closed if callback_name.endswith(("_end", "_error")) else None
