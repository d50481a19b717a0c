"""The status of a run that raised. Control flow is no error: it is known by module and name, not by import.

A stream that the app stops reading is `cancelled`, with the part that had come, wherever LangChain stops too: a model's
`stream`, everything async. LangChain reads a chain's sync `stream` to its end instead and reports success: then the
events do too, since the whole answer was made and is billed. Nothing that it reports would let us know better.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Mapping

from eventtree.diagnostics import name_of
from eventtree.event import Status

CONTROL_FLOW: Mapping[str, Status] = {
    "NodeInterrupt": Status.INTERRUPTED,
    "GraphInterrupt": Status.INTERRUPTED,
    "ParentCommand": Status.OK,
    "GraphDrained": Status.OK,
    "NodeTimeoutError": Status.CANCELLED,
    "GraphBubbleUp": Status.INTERRUPTED,
}
"""Classes of `langgraph.*` in the exception's MRO, the most specific first → status."""

CANCELLED = (asyncio.CancelledError, GeneratorExit, concurrent.futures.CancelledError)


def status_of(error: BaseException) -> tuple[Status, str | None]:
    """The status of a run that raised `error`, and the name of the control flow it is, if it is one."""
    for cls in type(error).__mro__:
        name = name_of(cls)
        if name in CONTROL_FLOW and is_langgraph(cls.__module__):
            return CONTROL_FLOW[name], name
    if isinstance(error, CANCELLED) or is_own_timeout(error):
        return Status.CANCELLED, None
    return Status.ERROR, None


def is_langgraph(module: object) -> bool:
    """Whether a module is langgraph's own."""
    return isinstance(module, str) and (module == "langgraph" or module.startswith("langgraph."))


def is_own_timeout(error: BaseException) -> bool:
    """Whether the app's own time limit ended the run: asyncio's, or a graph's for its steps; not a socket's."""
    if not isinstance(error, TimeoutError):
        return False
    if isinstance(error.__cause__ or error.__context__, asyncio.CancelledError):
        return True
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    return innermost is not None and is_langgraph(innermost.tb_frame.f_globals.get("__name__"))
