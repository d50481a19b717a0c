"""Describes exceptions for events: type, message, shortened traceback."""

from __future__ import annotations

import traceback
from typing import Any

from eventtree import diagnostics

FRAMES = 12
"""Most frames of a traceback; the innermost ones are kept."""

_traceback_of: Any = BaseException.__dict__["__traceback__"].__get__


def describe(error: BaseException) -> dict[str, str | None]:
    """`{"type": "package.Class", "message", "traceback"}`. Never raises an Exception from the error's own code."""
    return {
        "type": diagnostics.qualified(type(error)),
        "message": diagnostics.message_of(error),
        "traceback": _frames(error),
    }


def _frames(error: BaseException) -> str | None:
    found = _traceback_of(error)
    if found is None:
        return None
    # With lookup_lines off, no source file is read on the app's thread; names and numbers are enough.
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(found), limit=-FRAMES, lookup_lines=False, capture_locals=False
    )
    return "".join(f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n' for frame in frames)
