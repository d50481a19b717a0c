"""The answer inside an exception: the provider bills it, though the framework could not use it.

Such answers were cut by `max_tokens`, stopped by a content filter, or fit no schema. An exception without an answer
(401, 429, 500) gives None, so that an error is never taken for one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from eventtree.content import items_of
from eventtree.content.finish import finish_reason
from eventtree.usage.collect import field, fields

CARRIERS = ("completion", "last_completion", "response", "body")
"""Attributes with an answer, of openai's LengthFinishReasonError, instructor, httpx and botocore, APIStatusError."""

USAGE = ("usage", "usage_metadata", "usageMetadata")
MOST_BYTES = 1_000_000
"""A longer body is not parsed on the app's thread."""


def body_in(error: BaseException, known: Any = None) -> Any:
    """The provider's answer that `error` carries, or None. `known` is a body the framework has parsed already."""
    for carried in (known, *(field(error, name) for name in CARRIERS)):
        body = fields(_parsed(carried))
        if body is not None and (any(messages_in(body)) or any(_is_mapping(field(body, name)) for name in USAGE)):
            return body
    return None


def messages_in(body: Any) -> Iterator[dict[str, Any]]:
    """The messages of a provider's answer, each as a dict that `Sanitizer.messages` reads."""
    for choice in _list(field(body, "choices")):  # OpenAI and those who copied it
        text = field(choice, "text")
        yield from _message({"content": text} if isinstance(text, str) else field(choice, "message"), choice)
    for one in _list(field(body, "candidates")):  # Gemini
        parts = _list(field(fields(field(one, "content")), "parts"))
        typed = [{"type": "text", **part} if isinstance(part.get("text"), str) else part for part in parts]
        yield from _message({"content": typed}, one)
    items = field(body, "output")
    if isinstance(items, list):  # OpenAI Responses
        blocks = [part for item in _list(items) for part in _list(item.get("content")) or [item]]
        yield from _message({"content": blocks}, body)
    elif items is not None:  # Bedrock Converse
        yield from _message(field(fields(items), "message"), body)
    if field(body, "role") == "assistant":  # Anthropic
        yield from _message({"content": field(body, "content")}, body)
    elif not isinstance(field(body, "message"), str):  # Cohere, Ollama
        yield from _message(field(body, "message"), body)


def _message(message: Any, about: Any) -> Iterator[dict[str, Any]]:
    message = fields(message)
    if not _is_mapping(message):
        return
    content = message.get("content")
    if (parts := items_of(content)) is not None:
        content = [fields(part) for part in parts]
    if content or message.get("tool_calls") or message.get("refusal"):
        about = {"finish_reason": finish_reason(about, field)}
        more = {"content": content or message.get("refusal"), "response_metadata": about}
        yield {"role": "assistant", **message, **more}


def _parsed(carried: Any) -> Any:
    """A response's body as JSON, if it has been read; a streamed one is left to the client."""
    content = getattr(carried, "__dict__", {}).get("_content")
    if isinstance(content, bytes) and len(content) <= MOST_BYTES:
        try:
            return json.loads(content)
        except ValueError:
            return None
    return carried


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [one for item in items_of(value) or () if isinstance(one := fields(item), Mapping)]


def _is_mapping(value: Any) -> bool:
    return isinstance(fields(value), Mapping)
