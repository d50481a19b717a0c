"""Runs that are left without a word: LangChain announces no end of a retriever, model or tool whose task is cancelled.

Who could still announce it holds the run's id (the run manager, in the frames of the run). Once that object is gone
nobody can, and the run is closed as cancelled. An exception that somebody keeps holds the frames and so the id: then
the cancelled task or the closed loop tells, when the state of the process matters. Only what LangChain's async path
brings is watched: sync code is not cancelled, and who calls a handler by hand may tell the end with another object of
the same id.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from typing import Any
from uuid import UUID

from eventtree import process
from eventtree.event import Status
from eventtree.recording import callback_context
from eventtree.recording.boundary import guarded
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder


class Held(weakref.ref[UUID]):
    """Somebody holds the id of an open run."""

    __slots__ = ("key", "loop", "pipeline", "task")
    pipeline: Pipeline
    key: str
    loop: weakref.ref[asyncio.AbstractEventLoop]
    task: weakref.ref[asyncio.Task[Any]] | None

    @property
    def is_over(self) -> bool:
        """Whether nobody can end the run any more: its id, its task or its loop is gone."""
        task, loop = self.task() if self.task is not None else None, self.loop()
        return self() is None or (task is not None and task.cancelled()) or loop is None or loop.is_closed()


class Left:
    """The runs that were left."""

    def __init__(self) -> None:
        """Know none."""
        self._gone: deque[Held] = deque()

    def watch(self, run_id: UUID, key: str, pipeline: Pipeline) -> None:
        """Notice when nobody holds the id of this open run any more."""
        loop = asyncio._get_running_loop()
        if loop is None or not callback_context.in_callback() or not isinstance(run_id, UUID):
            return
        held = Held(run_id, self._note)
        held.pipeline, held.key, held.loop, held.task = pipeline, key, weakref.ref(loop), callback_context.flow()
        recorder.remember(key, held=held)

    def settle(self) -> None:
        """Close all that were left."""
        self._close_gone()
        for run in list(recorder.runs.values()):
            held = run.state.get("held")
            if held is not None and held.is_over:
                _close(held)

    def _close_gone(self) -> None:
        while self._gone:
            _close(self._gone.popleft())

    def _note(self, held: Any) -> None:
        """Called wherever garbage is collected, within our own code too: what is to be done waits its turn."""
        self._gone.append(held)
        loop = asyncio._get_running_loop()
        if loop is not None:
            loop.call_soon(self._close_gone)


@guarded
def _close(held: Held) -> None:
    run = recorder.runs.get(held.key)
    if run is not None and run.state.get("held") is held:
        recorder.close(held.pipeline, held.key, status=Status.CANCELLED)


left = Left()
"""Those of this process, whichever handler saw them."""

process.before_flush(left.settle)
process.at_exit("handlers", left.settle)
