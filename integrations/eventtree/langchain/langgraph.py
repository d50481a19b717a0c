"""LangGraph's own events: `on_interrupt` and `on_resume` come only to a `GraphCallbackHandler`.

A graph that pauses and the run that resumes it are two trees of one session, the thread's. The second names the first
in `metadata.resumes` if this process saw both; across processes, the notes of both have the checkpoint's id.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from threading import RLock
from typing import Any

from eventtree.content import items_of
from eventtree.event import Status
from eventtree.recording.recorder import recorder
from eventtree.recording.runs import Run
from eventtree.recording.status import is_langgraph

PAUSED_TREES = 10_000


class Paused:
    """Trees that paused recently, by the checkpoint or thread to resume from. Ids only, bounded."""

    def __init__(self) -> None:
        """Start empty."""
        self.trees: OrderedDict[str, str] = OrderedDict()
        self._guard = RLock()

    def remember(self, point: str, tree_id: str) -> None:
        """Note that a tree has paused at a checkpoint, or in a thread."""
        with self._guard:
            self.trees[point] = tree_id
            self.trees.move_to_end(point)
            while len(self.trees) > PAUSED_TREES:
                self.trees.popitem(last=False)

    def find(self, point: str | None) -> str | None:
        """The tree that paused there."""
        return None if point is None else self.trees.get(point)

    def forget(self, point: str) -> None:
        """Forget a thread that has ended."""
        self.trees.pop(point, None)


paused = Paused()
"""The paused trees of this process, of all handlers."""


def thread_of(metadata: Mapping[str, Any]) -> str | None:
    """The key of a graph's thread in `paused`; None without a thread."""
    thread = metadata.get("thread_id")
    return f"thread {thread}" if isinstance(thread, str | int) else None


def leave_thread(run: Run) -> None:
    """Note that a graph's root has ended: its thread is paused, or has ended too."""
    thread = run.state["thread"]
    if (run.late or {}).get("status") == Status.INTERRUPTED:
        paused.remember(thread, run.tree.id)
    else:
        paused.forget(thread)


def link(run_id: str, point: str | None) -> None:
    """Record in a resumed run's metadata the tree that paused at this checkpoint, or in this thread."""
    tree_id = paused.find(point)
    if tree_id is not None:
        recorder.learn(run_id, metadata={"resumes": tree_id})


def become_graph_handler(handler: Any) -> None:
    """Make `handler` a `GraphCallbackHandler` too, once langgraph is loaded; it is never loaded for this."""
    wanted = getattr(sys.modules.get("langgraph.callbacks"), "GraphCallbackHandler", None)
    if wanted is not None and not isinstance(handler, wanted):
        handler.__class__ = _with(type(handler), wanted)


_classes: dict[tuple[type, type], type] = {}


def _with(cls: type, wanted: type) -> type:
    found = _classes.get((cls, wanted))
    if found is None:
        found = type(cls.__name__, (cls, wanted), {"__module__": cls.__module__, "__qualname__": cls.__qualname__})
        _classes[cls, wanted] = found
    return found


def resume_of(inputs: Any) -> Any:
    """What a graph is resumed with: the `resume` of a `Command`, else None."""
    cls = type(inputs)
    return getattr(inputs, "resume", None) if cls.__name__ == "Command" and is_langgraph(cls.__module__) else None


def interrupts_of(error: BaseException) -> list[dict[str, Any]]:
    """The questions in a `GraphInterrupt`: `{"id", "value"}` each."""
    return list_interrupts(error.args[0] if error.args else ())


def list_interrupts(given: Any) -> list[dict[str, Any]]:
    """langgraph's `Interrupt` objects as `{"id", "value"}`."""
    questions = items_of(given)
    listed = (given,) if questions is None else questions
    return [{"id": getattr(one, "id", None), "value": getattr(one, "value", one)} for one in listed]


def checkpoint_of(event: Any) -> dict[str, Any]:
    """Where a graph paused or goes on."""
    return {
        "checkpoint_id": event.checkpoint_id,
        "checkpoint_ns": event.checkpoint_ns,
        "status": event.status,
    }
