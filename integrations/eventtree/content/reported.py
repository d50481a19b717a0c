"""Finds failures that a tool's result reports without raising.

====================================  =================================================================================
LangChain                             `ToolMessage(status="error")`, alone, in a list, in the update of a `Command`
MCP                                   a result's `isError` (`is_error` since version 2), as an object or as a dict:
                                      modelcontextprotocol.io/specification, "CallToolResult"
LlamaIndex                            `ToolOutput.is_error`, also as the output of a step; what is in its `raw_output`
====================================  =================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pydantic_core

from eventtree.content.messages import Fields, as_fields, as_list, is_empty
from eventtree.content.python_values import items_of
from eventtree.kinds import JsonValue

ERROR_TYPE = "ToolError"
"""Type of such an error, since the exception behind it is not known."""

MARKS = ("is_error", "isError")
INSIDE = ("raw_output", "tool_output", "update", "messages")
"""Fields of results, of LlamaIndex's events and of langgraph's `Command` that may hold the result that failed."""
TEXTS = ("content", "blocks", "structured_content", "structuredContent")
"""Keys of a failed result's message."""
DEPTH, ITEMS = 6, 100
"""Levels of a result that are searched."""


def reported_failure(result: Any, sanitize: Callable[[Any], JsonValue]) -> dict[str, str] | None:
    """The error that a tool's result reports, or None. Its message is text, or JSON where the result has no text."""
    failed = _failed(result, 0)
    if failed is None:
        return None
    content = next((failed[name] for name in TEXTS if not is_empty(failed.get(name))), None)
    texts = [content] if type(content) is str else [text for part in as_list(content) for text in _texts(part)]
    message = "\n".join(texts) or pydantic_core.to_json(sanitize(content), inf_nan_mode="null").decode()
    return {"type": ERROR_TYPE, "message": message}


def _failed(result: Any, depth: int) -> Fields | None:
    """The fields of the first object in a result that is marked as failed."""
    if type(result) is str or result is None or depth >= DEPTH:
        return None
    if (items := items_of(result)) is not None:
        return _first_failed(items[:ITEMS], depth + 1)
    fields = as_fields(result)
    # In the app's own dicts these names may mean anything; beside a content, they are MCP's.
    for mark in MARKS:
        if fields.get(mark) is True and (type(result) is not dict or "content" in result):
            return fields
    status = fields.get("status")
    if type(status) is str and status == "error" and fields.get("type") == "tool":
        return fields
    inside = [fields[name] for name in INSIDE if name in fields]
    return _first_failed(inside, depth + 1) if inside else None


def _first_failed(results: Sequence[Any], depth: int) -> Fields | None:
    return next((failed for one in results if (failed := _failed(one, depth)) is not None), None)


def _texts(part: Any) -> Iterator[str]:
    """The text of one part of a content."""
    text = part if type(part) is str else as_fields(part).get("text")
    if type(text) is str:
        yield text
