"""The user's line that started a tree: the nearest calling frame outside of the frameworks, Python and this package.

An event loop runs tasks from its own frames. So the line is also looked for where LangChain asks its handlers what they
ignore, which it does in the caller's own task, and kept in a context variable.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import FrameType

from eventtree.kinds import JsonValue

MAX_FRAMES = 200

FRAMEWORKS = frozenset(
    {"eventtree", "langchain", "langchain_core", "langchain_classic", "langgraph", "llama_index", "workflows",
     "llama_index_instrumentation", "llama_index_workflows", "wrapt", "tenacity", "uvloop", "pydantic"}
)  # fmt: skip
"""Top-level packages whose frames are never the user's, besides those that begin with `langchain_`."""

LOOP = frozenset({"_run", "run_forever", "run_until_complete"})
"""Functions of asyncio that run tasks: no frame above them called the running one."""

_seen: ContextVar[dict[str, JsonValue] | None] = ContextVar("eventtree_caller", default=None)

wanted = False
"""Whether any handler of this process records callers."""


def want() -> None:
    """Remember callers from now on."""
    global wanted
    wanted = True


def remember() -> None:
    """Keep the running task's line for callbacks that LangChain runs in tasks of their own."""
    if wanted:
        _seen.set(find())


def caller() -> dict[str, JsonValue] | None:
    """`function`, `file` and `line` of the running code of the user; None where it cannot be found."""
    return find() or _seen.get()


def find() -> dict[str, JsonValue] | None:
    """`function`, `file` and `line` of the user's code in this stack, or None."""
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
    """Whether a top-level package is not the user's."""
    return package in FRAMEWORKS or package.startswith("langchain_") or package in sys.stdlib_module_names
