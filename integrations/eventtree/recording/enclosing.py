"""Finds the frameworks' runs that enclose the running code, without importing a framework.

Each framework keeps its innermost run; it is found through `sys.modules`, so a framework that is not loaded costs one
lookup. The run may not be recorded, or may have ended: the caller asks the recorder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

MAX_FRAMES = 64
"""Most calling frames that are searched. A framework has far fewer between a run and the code inside it."""

UUID_LENGTH = 36
HANDLER = "eventtree.langchain.handler"
"""The module without which no LangChain run is recorded."""
SPANS = "llama_index_instrumentation.span"
"""The module in which LlamaIndex keeps its open span."""


def langchain_run() -> str | None:
    """Id of the LangChain run that encloses this code.

    It is the id of the `run_manager` in the nearest calling frame, exact inside retrievers, tools and models; without
    one (in another task or thread), the parent of nested calls in LangChain's context variable.
    """
    if HANDLER not in sys.modules:
        return None
    return _in_frames(sys._getframe(1)) or context_run()


def context_run() -> str | None:
    """Id of the parent of nested calls in LangChain's context variable."""
    return _id_of(_context_config().get("callbacks"), "parent_run_id")


def configured() -> Mapping[str, Any]:
    """The `configurable` of the LangChain call around this code, which no callback reports."""
    found = _context_config().get("configurable")
    return found if isinstance(found, dict) else {}


def _context_config() -> Mapping[str, Any]:
    config_module = sys.modules.get("langchain_core.runnables.config")
    variable = getattr(config_module, "var_child_runnable_config", None)
    config = variable.get() if variable is not None else None
    return config if isinstance(config, dict) else {}


_active_span: Any = None
"""LlamaIndex's context variable for its open span, once LlamaIndex is loaded."""


def llama_index_span() -> str | None:
    """Id of the LlamaIndex span that encloses this code: the uuid at the end of `Class.method-<uuid4>`."""
    global _active_span
    if _active_span is None:
        _active_span = getattr(sys.modules.get(SPANS), "active_span_id", None)
        if _active_span is None:
            return None
    span = _active_span.get()
    return None if span is None or not isinstance(span, str) or len(span) <= UUID_LENGTH else span[-UUID_LENGTH:]


def _in_frames(frame: FrameType | None) -> str | None:
    for _ in range(MAX_FRAMES):
        if frame is None:
            return None
        code = frame.f_code
        # Names first: reading f_locals copies them.
        if "run_manager" in code.co_varnames or "run_manager" in code.co_cellvars:
            found = _id_of(frame.f_locals.get("run_manager"), "run_id")
            if found is not None:
                return found
        frame = frame.f_back
    return None


def _id_of(holder: Any, attribute: str) -> str | None:
    found = getattr(holder, attribute, None)
    return str(found) if found is not None else None
