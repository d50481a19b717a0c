"""One callback handler for LangChain, LangGraph and LlamaIndex, which delivers event trees to several vendors.

    from eventtree.langchain import CallbackHandler
    from eventtree.vendors import Braintrust, HoneyHive

    handler = CallbackHandler(vendors=[HoneyHive(project="rag"), Braintrust(project="rag")])
    chain.invoke({"question": "…"}, config={"callbacks": [handler]})

Everything here is imported when it is first used: `import eventtree` loads no framework and no HTTP library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventtree.config import configure
    from eventtree.delivery.flush import aflush, flush
    from eventtree.delivery.report import Report, VendorTotals
    from eventtree.errors import ConfigError, EventTreeError, JournalError
    from eventtree.event import Cost, Event, EventError, EventTree, Note, Usage
    from eventtree.kinds import Kind, Status
    from eventtree.own.observe import observe
    from eventtree.own.span import Span, span
    from eventtree.query.experiment import experiment
    from eventtree.query.trees import last_tree, trees
    from eventtree.recording.around import headers
    from eventtree.recording.example import Row, example
    from eventtree.recording.feedback import feedback
    from eventtree.recording.log_handler import LogHandler
    from eventtree.recording.remote import joined
    from eventtree.recording.session import Session, session
    from eventtree.serializer.serialize import serialize

__version__ = "0.1.0"

__all__ = [
    "ConfigError", "Cost", "Event", "EventError", "EventTree", "EventTreeError", "JournalError", "Kind", "LogHandler",
    "Note", "Report", "Row", "Session", "Span", "Status", "Usage", "VendorTotals", "__version__", "aflush", "configure",
    "example", "experiment", "feedback", "flush", "headers", "joined", "last_tree", "observe", "serialize", "session",
    "span", "trees",
]  # fmt: skip

_NAMES = {
    "delivery.flush": "aflush flush",
    "delivery.report": "Report VendorTotals",
    "errors": "ConfigError EventTreeError JournalError",
    "event": "Cost Event EventError EventTree Kind Note Status Usage",
    "own.observe": "observe",
    "own.span": "Span span",
    "query.experiment": "experiment",
    "query.trees": "last_tree trees",
    "recording.around": "headers",
    "recording.example": "Row example",
    "recording.feedback": "feedback",
    "recording.log_handler": "LogHandler",
    "recording.pipeline": "configure",
    "recording.remote": "joined",
    "recording.session": "Session session",
    "serializer.serialize": "serialize",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "asgi":
        return importlib.import_module("eventtree.asgi")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
