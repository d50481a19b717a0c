"""LangGraph's own events: `on_interrupt` and `on_resume` come only to a `GraphCallbackHandler`.

A graph that pauses and the run that resumes it are two trees of one session, the thread's. The second names the first
in `metadata.resumes` if this process saw both; across processes, the notes of both have the checkpoint's id.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from eventtree.content import items_of
from eventtree.kinds import Status
from eventtree.recording.recorder import recorder
from eventtree.recording.runs import Run
from eventtree.recording.status import is_langgraph
from eventtree.remembered import Remembered

PAUSED: Remembered[str, str] = Remembered(10_000)
"""Checkpoint or thread to resume from → the tree that paused there, for all handlers of this process."""


def thread_of(metadata: Mapping[str, Any]) -> str | None:
    """The key of a graph's thread in `PAUSED`; None without a thread."""
    thread = metadata.get("thread_id")
    return f"thread {thread}" if isinstance(thread, str | int) else None


def leave_thread(run: Run) -> None:
    """Note that a graph's root has ended: its thread is paused, or has ended too."""
    thread = run.state["thread"]
    if (run.late or {}).get("status") == Status.INTERRUPTED:
        PAUSED.keep(thread, run.tree.id)
    else:
        PAUSED.pop(thread, None)


def link(run_id: str, point: str | None) -> None:
    """Record in a resumed run's metadata the tree that paused at this checkpoint, or in this thread."""
    if point is not None and (tree_id := PAUSED.get(point)) is not None:
        recorder.learn(run_id, metadata={"resumes": tree_id})


def become_graph_handler(handler: Any) -> None:
    """Make `handler` a `GraphCallbackHandler` too, once langgraph is loaded; it is never loaded for this."""
    wanted = getattr(sys.modules.get("langgraph.callbacks"), "GraphCallbackHandler", None)
    if wanted is not None and not isinstance(handler, wanted):
        handler.__class__ = GRAPH_HANDLERS[type(handler), wanted]


def _graph_handler(bases: tuple[type, ...]) -> type:
    cls = bases[0]
    return type(cls.__name__, bases, {"__module__": cls.__module__, "__qualname__": cls.__qualname__})


GRAPH_HANDLERS: Remembered[tuple[type, ...], type] = Remembered(64, _graph_handler)


def resume_of(inputs: Any) -> Any:
    """The value that resumes a graph: the `resume` of a `Command`, else None."""
    cls = type(inputs)
    return getattr(inputs, "resume", None) if cls.__name__ == "Command" and is_langgraph(cls.__module__) else None


def interrupts_of(given: Any) -> list[dict[str, Any]]:
    """The questions in langgraph's `Interrupt` objects: `{"id", "value"}` each."""
    questions = items_of(given)
    listed = (given,) if questions is None else questions
    return [{"id": getattr(one, "id", None), "value": getattr(one, "value", one)} for one in listed]


def checkpoint_of(event: Any) -> dict[str, Any]:
    """The point at which a graph paused or goes on."""
    return {"checkpoint_id": event.checkpoint_id, "checkpoint_ns": event.checkpoint_ns, "status": event.status}
