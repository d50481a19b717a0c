"""The end of a span that only the dispatcher's frame shows: a future has ended, or a step waits for an event."""

from __future__ import annotations

from types import FrameType
from typing import Any

NEAR = 8
"""Most frames between ours and the dispatcher's."""

WRAPPERS = frozenset({"wrapper", "async_wrapper"})
"""The dispatcher's functions around a span that did not return a future."""


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
