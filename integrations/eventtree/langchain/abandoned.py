"""Closing runs whose end is never reported: LangChain reports no end of a retriever, model or tool whose task is
cancelled, nor of a chain or graph whose task is cancelled while its start is being reported.
In sync code these are `with_fallbacks` whose stream is left at its first chunk, and a retriever that Ctrl-C stops.

Only the run manager, in the frames of the run, can report the end, and it holds the run's id. Once that object is freed
the run is closed as cancelled. A kept exception also keeps the frames and so the id: then the cancelled task or the
closed loop is the sign, which is checked by `settle`. In sync code only roots that LangChain itself reports are
watched: an app that calls a handler by hand may report the end with another object of the same id.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections import deque
from time import monotonic_ns
from types import FrameType
from typing import Any
from uuid import UUID

from eventtree import process
from eventtree.kinds import Status
from eventtree.loop import running_loop
from eventtree.recording import callback_context
from eventtree.recording.boundary import guarded
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder

MANAGER = "langchain_core.callbacks.manager"
CALLED = 3
"""Frames from `reported_by_langchain` to the guard around the callback."""
CALLERS = 8
"""How many callers of a callback are looked at."""


class IdHolder(weakref.ref[UUID]):
    """A weak reference to the id of an open run, alive while the run's end can still be reported."""

    __slots__ = ("freed_ns", "key", "loop", "pipeline", "task")
    pipeline: Pipeline
    key: str
    loop: weakref.ref[asyncio.AbstractEventLoop] | None
    task: weakref.ref[asyncio.Task[Any]] | None
    freed_ns: int | None

    @property
    def is_over(self) -> bool:
        """Whether the run's end can no longer be reported: its id, its task or its loop is gone."""
        task, loop = self.task() if self.task is not None else None, self.loop() if self.loop is not None else None
        is_stopped = self.loop is not None and (loop is None or loop.is_closed())
        return self() is None or (task is not None and task.cancelled()) or is_stopped


_gone: deque[IdHolder] = deque()
"""Holders of ids that were freed."""


def watch(run_id: UUID, key: str, pipeline: Pipeline, *, in_sync: bool = False) -> None:
    """Notice when the id of this open run is freed. `in_sync`: also in sync code its end may never be reported."""
    if _gone:
        _close_gone()
    loop = running_loop()
    if loop is None or not callback_context.in_callback():
        run = recorder.runs.get(key) if in_sync else None
        if run is None or run.id != run.tree.root or not reported_by_langchain():
            return
        loop = None
    if not isinstance(run_id, UUID):
        return
    holder = IdHolder(run_id, _note)
    holder.pipeline, holder.key, holder.freed_ns = pipeline, key, None
    holder.loop, holder.task = (None, None) if loop is None else (weakref.ref(loop), callback_context.flow())
    recorder.remember(key, holder=holder)


def settle() -> None:
    """Close every run whose end can no longer be reported."""
    _close_gone()
    for run in list(recorder.runs.values()):
        holder = run.state.get("holder")
        if holder is not None and holder.is_over:
            _close(holder)


def _close_gone() -> None:
    while _gone:
        _close(_gone.popleft())


def _note(holder: Any) -> None:
    """Called wherever garbage is collected, also inside our own code: the run is closed later."""
    holder.freed_ns = monotonic_ns()
    _gone.append(holder)
    loop = running_loop()
    if loop is not None:
        loop.call_soon(_close_gone)


@guarded
def _close(holder: IdHolder) -> None:
    run = recorder.runs.get(holder.key)
    if run is not None and run.state.get("holder") is holder:
        recorder.close(holder.pipeline, holder.key, status=Status.CANCELLED, end_ns=holder.freed_ns)


def reported_by_langchain() -> bool:
    """Whether LangChain's callback manager called the callback that asks, perhaps by a subclass of the handler."""
    frame: FrameType | None = sys._getframe(CALLED)
    for _ in range(CALLERS):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") == MANAGER:
            return True
        frame = frame.f_back
    return False


process.before_flush(settle)
process.at_exit("handlers", settle)
