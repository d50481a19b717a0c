"""Answers as providers write them, by hand: whole and streamed."""

from __future__ import annotations

from typing import Any

OPENAI_USAGE = {
    "prompt_tokens": 1200, "completion_tokens": 80, "total_tokens": 1280,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 0},
}  # fmt: skip
MINI = "gpt-4o-mini-2024-07-18"


def openai(usage: dict[str, Any] | None = None, model: str = MINI, n: int = 1, **more: Any) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": "Hi."}
    choices = [{"index": place, "message": message, "finish_reason": "stop"} for place in range(n)]
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": model, "choices": choices, **more}
    return body if usage is None else {**body, "usage": usage}


def openai_stream(usage: dict[str, Any] | None = None, model: str = MINI) -> list[dict[str, Any]]:
    """The same, streamed; the last chunk has the usage, where it was asked for."""
    frame = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model}
    deltas = [{"role": "assistant", "content": ""}, {"content": "Hi"}, {"content": "."}]
    chunks = [{**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return chunks if usage is None else [*chunks, {**frame, "choices": [], "usage": usage}]


RESPONSES_USAGE = {
    "input_tokens": 1200, "output_tokens": 80, "total_tokens": 1280,
    "input_tokens_details": {"cached_tokens": 1024}, "output_tokens_details": {"reasoning_tokens": 64},
}  # fmt: skip


def responses(usage: dict[str, Any]) -> dict[str, Any]:
    """An answer of OpenAI's Responses."""
    text = {"type": "output_text", "text": "Hi.", "annotations": []}
    message = {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "r1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-5-mini-2025-08-07",
        "output": [message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": usage,
        "service_tier": "default", "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
    }  # fmt: skip


ANTHROPIC_USAGE = {
    "input_tokens": 176, "output_tokens": 80, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 24,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 4}, "service_tier": "standard",
}  # fmt: skip


def anthropic(usage: dict[str, Any]) -> dict[str, Any]:
    """A message."""
    return {
        "id": "m1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "Hi."}], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip


def anthropic_stream(start: dict[str, Any], delta: dict[str, Any]) -> list[dict[str, Any]]:
    """The same, streamed: usage at the start and, mostly, again at the end."""
    message = {**anthropic(start), "content": [], "stop_reason": None}
    text = {"type": "text_delta", "text": "Hi."}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": delta},
        {"type": "message_stop"},
    ]
