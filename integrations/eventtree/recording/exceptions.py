"""Exceptions as events keep them: type, message, shortened traceback."""

from __future__ import annotations

import traceback
from typing import Any

from eventtree import diagnostics

FRAMES = 12
"""Frames of a traceback that are kept: the innermost, where it happened."""

_traceback_of: Any = BaseException.__dict__["__traceback__"].__get__


def describe(error: BaseException) -> dict[str, str | None]:
    """`{"type": "package.Class", "message", "traceback"}`; never raises for an Exception of the error's own making."""
    return {
        "type": diagnostics.qualified(type(error)),
        "message": diagnostics.message_of(error),
        "traceback": _frames(error),
    }


def _frames(error: BaseException) -> str | None:
    found = _traceback_of(error)
    if found is None:
        return None
    # extract_tb with lookup_lines off reads no source files on the app's thread; names and numbers are enough.
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(found), limit=-FRAMES, lookup_lines=False, capture_locals=False
    )
    return "".join(f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n' for frame in frames)
