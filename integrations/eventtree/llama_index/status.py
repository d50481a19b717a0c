"""The status of a span, from the exception that ended it."""

from __future__ import annotations

from types import FrameType
from typing import Any

from eventtree.event import Status
from eventtree.llama_index.classify import by_class

OK, ERROR, CANCELLED = Status.OK, Status.ERROR, Status.CANCELLED
"""Names of our own, because a member of an enum's class takes ten times as long to read."""

STATUSES = by_class(
    {
        ("builtins", "GeneratorExit"): Status.CANCELLED,
        ("asyncio.exceptions", "CancelledError"): Status.CANCELLED,
        ("concurrent.futures._base", "CancelledError"): Status.CANCELLED,
        ("workflows.errors", "WorkflowCancelledByUser"): Status.CANCELLED,
        ("workflows.runtime.types.results", "WaitingForEvent"): Status.INTERRUPTED,
        ("langgraph.errors", "GraphBubbleUp"): Status.INTERRUPTED,
    }
)
"""Exceptions of control flow, by class path. All others are errors."""

NEAR = 8
"""Most frames between ours and the dispatcher's."""

WRAPPERS = frozenset({"wrapper", "async_wrapper"})
"""The dispatcher's functions around a span that did not return a future."""


def status_of(error: BaseException | None) -> Status:
    """The status of a run that ended with `error`."""
    return Status.OK if error is None else STATUSES[type(error)] or Status.ERROR


def future_behind(frame: FrameType | None) -> Any:
    """The future that ends a span right now, or None.

    The dispatcher lets a span that returned a future exit with None, even if the future failed, and leaves the span
    active in its caller's context. Only the dispatcher's frame shows both.
    """
    for _ in range(NEAR):
        if frame is None or (name := frame.f_code.co_name) in WRAPPERS:
            return None
        if name == "handle_future_result":
            return frame.f_locals.get("future")
        frame = frame.f_back
    return None


def waits(frame: FrameType | None) -> bool:
    """Whether the step that exits now paused for an event (say, from a human), which the workflow hides."""
    for _ in range(NEAR):
        if frame is None:
            return False
        step: Any = frame.f_locals.get("func") if frame.f_code.co_name == "async_wrapper" else None
        code = getattr(step, "__code__", None)
        if code is not None and "captured_waiting" in code.co_freevars:
            cell = step.__closure__[code.co_freevars.index("captured_waiting")]
            return cell.cell_contents is not None
        frame = frame.f_back
    return False
