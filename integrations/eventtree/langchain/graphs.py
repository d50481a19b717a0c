"""LangGraph's own events: `on_interrupt` and `on_resume` come only to a `GraphCallbackHandler`."""

from __future__ import annotations

import sys
from typing import Any

from eventtree.langchain.status import is_langgraph


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
    given = error.args[0] if error.args else ()
    return list_interrupts(given if isinstance(given, list | tuple) else (given,))


def list_interrupts(given: Any) -> list[dict[str, Any]]:
    """langgraph's `Interrupt` objects as `{"id", "value"}`."""
    return [{"id": getattr(one, "id", None), "value": getattr(one, "value", one)} for one in given]


def checkpoint_of(event: Any) -> dict[str, Any]:
    """Where a graph paused or goes on."""
    return {
        "checkpoint_id": event.checkpoint_id,
        "checkpoint_ns": list(event.checkpoint_ns),
        "status": event.status,
    }
