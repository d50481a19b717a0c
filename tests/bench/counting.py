"""Work that is the same on every machine: Python instructions and calls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import eventtree

OURS = str(Path(eventtree.__file__).parent)


def counted(act: Callable[[], Any]) -> tuple[int, int]:
    """Python instructions and calls inside eventtree, on this thread, while `act` runs."""
    done = {"opcode": 0, "call": 0}

    def inside(frame: FrameType, event: str, _: Any) -> Any:
        done["opcode"] += event == "opcode"
        return inside

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        done["call"] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return inside

    sys.settrace(entered)
    try:
        act()
    finally:
        sys.settrace(None)
    return done["opcode"], done["call"]
