"""Reading a model's answer: its generations, the chunks of its stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eventtree.content import items_of

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult


def generations_of(response: Any) -> list[Any]:
    """All generations of an `LLMResult`, not to be changed. LangChain reports each prompt's to its own run."""
    rows = getattr(response, "generations", None)
    if type(rows) is list and len(rows) == 1 and type(rows[0]) is list:
        return rows[0]
    rows = items_of(rows) or ()
    return [one for row in rows for one in items_of(row) or ()]


def has_content(generation: Any) -> bool:
    """Whether a failed call's generation is part of an answer: LangChain adds one that only has the error."""
    message = getattr(generation, "message", None)
    names = ("content", "tool_calls", "tool_call_chunks", "invalid_tool_calls")
    return bool(generation.text) or any(getattr(message, name, None) for name in names)


def of(generations: list[Any]) -> LLMResult | None:
    """These generations as a model's answer; None without any."""
    from langchain_core.outputs import LLMResult  # slow to import, but loaded already if there are generations

    return LLMResult.model_construct(generations=[generations]) if generations else None


def body_of(generations: list[Any]) -> Any:
    """The body of the response behind an error, as LangChain has parsed it."""
    abouts = (getattr(getattr(one, "message", None), "response_metadata", None) for one in generations)
    return next((about["body"] for about in abouts if isinstance(about, dict) and "body" in about), None)


REASONING = ("reasoning_content", "reasoning", "tool_calls", "function_call", "audio")
DELTA = "content-block-delta"


def carries_content(token: Any, chunk: Any) -> bool:
    """Whether a token or chunk of `on_llm_new_token` is part of the answer."""
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
    """The text of a token: itself, or that of its content blocks."""
    if isinstance(token, str):
        return token
    blocks = (block for block in token if isinstance(block, Mapping)) if isinstance(token, list) else ()
    return "".join(str(block["text"]) for block in blocks if block.get("type") == "text" and block.get("text"))


def event_carries_content(event: Any) -> bool:
    """Whether an event of `on_stream_event` is part of the answer."""
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
    return any(part if isinstance(part, str) else _is_filled(part) for part in content)


def _is_filled(block: Any) -> bool:
    return isinstance(block, Mapping) and any(
        value for key, value in block.items() if key not in ("type", "index", "id")
    )
