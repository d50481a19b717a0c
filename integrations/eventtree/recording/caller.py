"""The user's line that started a tree: the nearest calling frame that is neither a framework's, Python's own, nor ours.

An event loop runs tasks from its own frames, so a line is looked for again where LangChain's async path asks its
handlers what they ignore, which happens in the caller's own task; it is kept there in a context variable.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import FrameType

from eventtree.event import JsonValue

MAX_FRAMES = 200

FRAMEWORKS = frozenset(
    {"eventtree", "langchain", "langchain_core", "langchain_classic", "langgraph", "llama_index", "workflows",
     "llama_index_instrumentation", "llama_index_workflows", "wrapt", "tenacity", "uvloop", "pydantic"}
)  # fmt: skip
"""Top-level packages whose frames are never the user's; names that begin with `langchain_` too."""

LOOP = frozenset({"_run", "run_forever", "run_until_complete"})
"""Functions of asyncio below which nobody called the running task."""

_seen: ContextVar[dict[str, JsonValue] | None] = ContextVar("eventtree_caller", default=None)

wanted = False
"""Whether any handler of this process asks for callers."""


def want() -> None:
    """From now on remember callers."""
    global wanted
    wanted = True


def remember() -> None:
    """Keep the line of the running task for the callbacks that LangChain starts in tasks of their own."""
    if wanted:
        _seen.set(find())


def caller() -> dict[str, JsonValue] | None:
    """`function`, `file` and `line` of the user's code that is being run; None where it cannot be seen."""
    return find() or _seen.get()


def find() -> dict[str, JsonValue] | None:
    """The same, in this stack alone."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(MAX_FRAMES):
        if frame is None:
            return None
        module = frame.f_globals.get("__name__", "")
        if type(module) is not str:
            return None
        if module.startswith("asyncio.") and frame.f_code.co_name in LOOP:
            return None
        if not is_foreign(module.partition(".")[0]):
            code = frame.f_code
            return {"function": code.co_qualname, "file": code.co_filename, "line": frame.f_lineno}
        frame = frame.f_back
    return None


def is_foreign(package: str) -> bool:
    """Whether a top-level package is no code of the user's."""
    return package in FRAMEWORKS or package.startswith("langchain_") or package in sys.stdlib_module_names
