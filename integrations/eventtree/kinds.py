"""The kinds and statuses of runs, apart from the event, whose classes take as long to make as all of a recorder."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

JsonValue = Any
"""Plain JSON: None, bool, int, float, str, list or dict with str keys."""


class Kind(StrEnum):
    """The kinds of runs."""

    CHAIN = "chain"
    MODEL = "model"
    TOOL = "tool"
    RETRIEVER = "retriever"
    EMBEDDING = "embedding"
    RERANKER = "reranker"
    AGENT = "agent"


class Status(StrEnum):
    """The ways a run can end: `interrupted` is control flow, `incomplete` means that no end was reported."""

    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"


CHAIN, MODEL, TOOL, RETRIEVER, EMBEDDING, RERANKER, AGENT = Kind
OK, ERROR, INTERRUPTED, CANCELLED, INCOMPLETE = Status
"""The members by themselves: in Python 3.11 `Kind.MODEL` takes twenty times as long as a global."""
