"""Exceptions as events keep them: type, message, shortened traceback."""

from __future__ import annotations

import traceback
from typing import Any

from eventtree.content.walk import qualified
from eventtree.diagnostics import class_name

FRAMES = 12
"""Frames of a traceback that are kept: the innermost, where it happened."""

_traceback_of: Any = BaseException.__dict__["__traceback__"].__get__


def describe(error: BaseException) -> dict[str, str | None]:
    """`{"type": "package.Class", "message", "traceback"}`; never raises for an Exception of the error's own making."""
    return {"type": qualified(type(error)), "message": message_of(error), "traceback": _frames(error)}


def message_of(error: BaseException) -> str:
    """The text of an exception, or that it has none that can be read."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (a user's __str__ may do anything)
        return f"<{class_name(error)} whose message cannot be read>"


def _frames(error: BaseException) -> str | None:
    found = _traceback_of(error)
    if found is None:
        return None
    # extract_tb with lookup_lines off reads no source files on the app's thread; names and numbers are enough.
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(found), limit=-FRAMES, lookup_lines=False, capture_locals=False
    )
    return "".join(f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n' for frame in frames)
