"""Closing runs whose end is never reported: LangChain reports no end of a retriever, model or tool whose task is
cancelled, nor of a chain or graph whose task is cancelled while its start is being reported.

Only the run manager, in the frames of the run, can report the end, and it holds the run's id. Once that object is freed
the run is closed as cancelled. A kept exception also keeps the frames and so the id: then the cancelled task or the
closed loop is the sign, which is checked by `settle`. Only runs of LangChain's async path are watched: sync code is not
cancelled, and an app that calls a handler by hand may report the end with another object of the same id.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from typing import Any
from uuid import UUID

from eventtree import process
from eventtree.event import Status
from eventtree.loop import running_loop
from eventtree.recording import callback_context
from eventtree.recording.boundary import guarded
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder


class IdHolder(weakref.ref[UUID]):
    """A weak reference to the id of an open run, alive while the run's end can still be reported."""

    __slots__ = ("key", "loop", "pipeline", "task")
    pipeline: Pipeline
    key: str
    loop: weakref.ref[asyncio.AbstractEventLoop]
    task: weakref.ref[asyncio.Task[Any]] | None

    @property
    def is_over(self) -> bool:
        """Whether the run's end can no longer be reported: its id, its task or its loop is gone."""
        task, loop = self.task() if self.task is not None else None, self.loop()
        return self() is None or (task is not None and task.cancelled()) or loop is None or loop.is_closed()


_gone: deque[IdHolder] = deque()
"""Holders of ids that were freed."""


def watch(run_id: UUID, key: str, pipeline: Pipeline) -> None:
    """Notice when the id of this open run is freed."""
    loop = running_loop()
    if loop is None or not callback_context.in_callback() or not isinstance(run_id, UUID):
        return
    holder = IdHolder(run_id, _note)
    holder.pipeline, holder.key = pipeline, key
    holder.loop, holder.task = weakref.ref(loop), callback_context.flow()
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
    _gone.append(holder)
    loop = running_loop()
    if loop is not None:
        loop.call_soon(_close_gone)


@guarded
def _close(holder: IdHolder) -> None:
    run = recorder.runs.get(holder.key)
    if run is not None and run.state.get("holder") is holder:
        recorder.close(holder.pipeline, holder.key, status=Status.CANCELLED)


process.before_flush(settle)
process.at_exit("handlers", settle)
