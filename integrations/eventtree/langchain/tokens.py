"""Whether a streamed chunk carries something the user sees: text, a tool call or reasoning, not a mere role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REASONING = ("reasoning_content", "reasoning", "tool_calls", "function_call", "audio")
DELTA = "content-block-delta"


def carries_content(token: Any, chunk: Any) -> bool:
    """For `on_llm_new_token`."""
    if _has_text(token):
        return True
    message = getattr(chunk, "message", None)
    if message is None:
        return False
    if getattr(message, "tool_call_chunks", None) or _has_text(getattr(message, "content", "")):
        return True
    more = getattr(message, "additional_kwargs", None)
    return isinstance(more, Mapping) and any(more.get(key) for key in REASONING)


def text_of(token: Any) -> str:
    """What a token adds to the text: itself, or the text of its content blocks."""
    if isinstance(token, str):
        return token
    blocks = (block for block in token if isinstance(block, Mapping)) if isinstance(token, list) else ()
    return "".join(str(block["text"]) for block in blocks if block.get("type") == "text" and block.get("text"))


def event_carries_content(event: Any) -> bool:
    """For `on_stream_event`."""
    if not isinstance(event, Mapping):
        return False
    if event.get("event") == DELTA:
        return True
    block = event.get("content_block", event.get("content"))
    return isinstance(block, Mapping) and block.get("type") not in (None, "text", "reasoning")


def _has_text(content: Any) -> bool:
    if isinstance(content, str):
        return content != ""
    if not isinstance(content, list):
        return False
    return any(part if isinstance(part, str) else _says_something(part) for part in content)


def _says_something(block: Any) -> bool:
    return isinstance(block, Mapping) and any(
        value for key, value in block.items() if key not in ("type", "index", "id")
    )
