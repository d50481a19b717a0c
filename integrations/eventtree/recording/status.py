"""The status of a run that raised. Control flow is not an error; it is recognized by module and name, without import.

A stream that the app stops reading is `cancelled`, with the part so far, wherever LangChain stops too: a model's
`stream`, everything async. But LangChain reads a chain's sync `stream` to its end and reports success. Then the events
report success too: the whole answer was made and is billed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Mapping

from eventtree.diagnostics import name_of
from eventtree.kinds import Status

CONTROL_FLOW: Mapping[str, Status] = {
    "NodeInterrupt": Status.INTERRUPTED,
    "GraphInterrupt": Status.INTERRUPTED,
    "ParentCommand": Status.OK,
    "GraphDrained": Status.OK,
    "NodeTimeoutError": Status.CANCELLED,
    "GraphBubbleUp": Status.INTERRUPTED,
    "WorkflowCancelledByUser": Status.CANCELLED,
    "WaitingForEvent": Status.INTERRUPTED,
}
"""Name of a class of LangGraph or of LlamaIndex's workflows → status. The first in the exception's MRO decides."""
FRAMEWORKS = ("langgraph", "workflows")

CANCELLED = (asyncio.CancelledError, GeneratorExit, concurrent.futures.CancelledError)


def status_of(error: BaseException) -> tuple[Status, str | None]:
    """The status of a run that raised `error`, and the error's name if it is control flow."""
    for cls in type(error).__mro__:
        name = name_of(cls)
        if name in CONTROL_FLOW and str(cls.__module__).partition(".")[0] in FRAMEWORKS:
            return CONTROL_FLOW[name], name
    if isinstance(error, CANCELLED) or is_own_timeout(error):
        return Status.CANCELLED, None
    return Status.ERROR, None


def is_langgraph(module: object) -> bool:
    """Whether a module is langgraph's own."""
    return isinstance(module, str) and (module == "langgraph" or module.startswith("langgraph."))


def is_own_timeout(error: BaseException) -> bool:
    """Whether a time limit of the app ended the run: asyncio's or that of a graph's step, not a socket's."""
    if not isinstance(error, TimeoutError):
        return False
    if isinstance(error.__cause__ or error.__context__, asyncio.CancelledError):
        return True
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    return innermost is not None and is_langgraph(innermost.tb_frame.f_globals.get("__name__"))
