"""What came back: a model's generations as messages or text, a tool's message that tells of an error."""

from __future__ import annotations

from typing import Any

from eventtree.content import Sanitizer
from eventtree.event import JsonValue

ERROR_TYPE = "ToolError"
"""Type of an error that the tool (or its node) has turned into a message; the exception itself is not told."""
REASONS = ("finish_reason", "stop_reason", "done_reason")


def generations_of(response: Any) -> list[Any]:
    """All generations of an `LLMResult`: LangChain hands each prompt's to its own run."""
    return [one for each in getattr(response, "generations", None) or () for one in each]


def has_content(response: Any) -> bool:
    """Whether a partial answer holds anything."""
    return any(getattr(one, "message", None) is not None or one.text for one in generations_of(response))


def reply(response: Any, plain: Sanitizer) -> JsonValue:
    """The `outputs` of a model run."""
    generations = generations_of(response)
    chats = [getattr(one, "message", None) for one in generations]
    if any(message is not None for message in chats):
        messages = plain.messages(chats)
        for message, generation in zip(messages, generations, strict=False):
            _finish(message, generation, plain)
        return {"messages": messages}
    texts = [plain(one.text) for one in generations]
    return {"text": texts[0]} if len(texts) == 1 else {"texts": texts}


def handled_error(output: Any) -> dict[str, Any] | None:
    """The error that a `ToolMessage(status="error")` tells of."""
    if getattr(output, "status", None) != "error" or getattr(output, "type", None) != "tool":
        return None
    return {"type": ERROR_TYPE, "message": output.text if isinstance(output.text, str) else str(output.content)}


def _finish(message: dict[str, JsonValue], generation: Any, plain: Sanitizer) -> None:
    """Some classes say why the model stopped beside the message only."""
    about = getattr(generation, "generation_info", None)
    if "finish_reason" not in message and isinstance(about, dict):
        reason = next((about[key] for key in REASONS if about.get(key)), None)
        if reason is not None:
            message["finish_reason"] = plain(reason)
