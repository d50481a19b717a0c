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
    from eventtree.event import Cost, Event, EventError, EventTree, Kind, Note, Status, Usage
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
    "ConfigError",
    "Cost",
    "Event",
    "EventError",
    "EventTree",
    "EventTreeError",
    "JournalError",
    "Kind",
    "LogHandler",
    "Note",
    "Report",
    "Row",
    "Session",
    "Span",
    "Status",
    "Usage",
    "VendorTotals",
    "__version__",
    "aflush",
    "configure",
    "example",
    "experiment",
    "feedback",
    "flush",
    "headers",
    "joined",
    "last_tree",
    "observe",
    "serialize",
    "session",
    "span",
    "trees",
]

_HOMES = {
    "ConfigError": "errors",
    "Cost": "event",
    "Event": "event",
    "EventError": "event",
    "EventTree": "event",
    "EventTreeError": "errors",
    "JournalError": "errors",
    "Kind": "event",
    "LogHandler": "recording.log_handler",
    "Note": "event",
    "Report": "delivery.report",
    "Row": "recording.example",
    "Session": "recording.session",
    "Span": "own.span",
    "Status": "event",
    "VendorTotals": "delivery.report",
    "Usage": "event",
    "aflush": "delivery.flush",
    "configure": "recording.pipeline",
    "example": "recording.example",
    "experiment": "query.experiment",
    "feedback": "recording.feedback",
    "flush": "delivery.flush",
    "headers": "recording.around",
    "joined": "recording.remote",
    "last_tree": "query.trees",
    "observe": "own.observe",
    "serialize": "serializer.serialize",
    "session": "recording.session",
    "span": "own.span",
    "trees": "query.trees",
}


def __getattr__(name: str) -> Any:
    if name == "asgi":
        return importlib.import_module("eventtree.asgi")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
