"""Answers of the other providers, as their documentation and recordings have them: whole, and streamed on the wire."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any
from zlib import crc32

from tests.usage import bodies
from tests.usage.served import EVENTS, JSON, Answer

LINES = "application/x-ndjson"
AWS_EVENTS = "application/vnd.amazon.eventstream"


def whole(body: dict[str, Any], **headers: str) -> Answer:
    """One JSON object."""
    return Answer(json.dumps(body).encode(), JSON, headers)


def lines(found: list[dict[str, Any]]) -> Answer:
    """Ollama's stream: one JSON object a line."""
    return Answer(b"".join(json.dumps(one).encode() + b"\n" for one in found), LINES)


def sent(found: list[dict[str, Any]], is_done_said: bool = True) -> Answer:
    """Server-sent events without names."""
    end = b"data: [DONE]\n\n" if is_done_said else b""
    return Answer(b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in found) + end, EVENTS)


def aws_events(found: list[tuple[str, dict[str, Any]]]) -> Answer:
    """Amazon's event stream: (event type, payload) each, framed with lengths and checksums."""
    return Answer(b"".join(_frame(name, payload) for name, payload in found), AWS_EVENTS)


def _frame(name: str, payload: dict[str, Any]) -> bytes:
    fields = {":event-type": name, ":content-type": JSON, ":message-type": "event"}
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in fields.items()
    )
    body = json.dumps(payload).encode()
    start = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    framed = start + struct.pack(">I", crc32(start)) + headers + body
    return framed + struct.pack(">I", crc32(framed))


# OpenAI's form, with each provider's own keys in the usage


def chat(usage: dict[str, Any], model: str, **more: Any) -> Answer:
    """A chat completion."""
    return whole(bodies.openai(usage, model, **more))


def chat_stream(usage: dict[str, Any], model: str, key: str = "usage", **more: Any) -> Answer:
    """The same, streamed; the chunk that says why it ended has the usage, under `key`."""
    chunks = bodies.openai_stream(None, model)
    chunks[-1] |= {key: {"usage": usage}} if key == "x_groq" else {key: usage}
    return sent([{**one, **more} for one in chunks])


MISTRAL_USAGE = {"prompt_tokens": 1200, "completion_tokens": 80, "total_tokens": 1280, "num_cached_tokens": 1024}
MOONSHOT_USAGE = {"prompt_tokens": 1200, "completion_tokens": 80, "total_tokens": 1280, "cached_tokens": 1024}
DEEPSEEK_USAGE = {
    "prompt_tokens": 1200, "completion_tokens": 80, "total_tokens": 1280, "prompt_cache_hit_tokens": 1024,
    "prompt_cache_miss_tokens": 176, "completion_tokens_details": {"reasoning_tokens": 64},
}  # fmt: skip
GROQ_USAGE = {
    "prompt_tokens": 1200, "completion_tokens": 80, "total_tokens": 1280, "queue_time": 0.1, "prompt_time": 0.2,
    "completion_time": 0.3, "total_time": 0.5, "prompt_tokens_details": {"cached_tokens": 1024},
    "completion_tokens_details": {"reasoning_tokens": 64},
}  # fmt: skip
XAI_USAGE = {
    "prompt_tokens": 1200, "completion_tokens": 16, "total_tokens": 1280, "num_sources_used": 0,
    "prompt_tokens_details": {"text_tokens": 1200, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 1024},
    "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 0},
}  # fmt: skip
"""xAI: completion_tokens leave the reasoning out, the total has it."""


# Gemini

GEMINI_USAGE = {
    "promptTokenCount": 1190, "toolUsePromptTokenCount": 10, "candidatesTokenCount": 16, "thoughtsTokenCount": 64,
    "totalTokenCount": 1280, "cachedContentTokenCount": 1024,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1190}],
}  # fmt: skip


def gemini(usage: dict[str, Any], text: str = "Hi.", finish: str | None = "STOP") -> dict[str, Any]:
    """A GenerateContentResponse."""
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "g1"}


def gemini_stream() -> Answer:
    """Each chunk has the usage so far; thoughts and candidates are counted as they come."""
    first = {"promptTokenCount": 1190, "totalTokenCount": 1254, "thoughtsTokenCount": 64}
    return sent([gemini(first, "Hi", None), gemini(GEMINI_USAGE, ".")], is_done_said=False)


# Cohere: version 2 of its API, and 1, which LlamaIndex asks

COHERE_USAGE = {
    "billed_units": {"input_tokens": 1100, "output_tokens": 70},
    "tokens": {"input_tokens": 1200, "output_tokens": 80},
    "cached_tokens": 1024,
}


def cohere() -> Answer:
    """A chat response."""
    message = {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}
    return whole({"id": "c1", "finish_reason": "COMPLETE", "message": message, "usage": COHERE_USAGE})


def cohere_stream() -> Answer:
    """The same, streamed."""
    text = {"message": {"content": {"type": "text", "text": ""}}}
    return sent(
        [
            {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}},
            {"type": "content-start", "index": 0, "delta": text},
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi."}}}},
            {"type": "content-end", "index": 0},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COHERE_USAGE}},
        ]
    )


COHERE_1 = {"text": "Hi.", "generation_id": "g1", "finish_reason": "COMPLETE", "meta": COHERE_USAGE}


def cohere_1_stream() -> Answer:
    """Version 1, streamed: the last line holds the whole answer."""
    end = {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": COHERE_1}
    text = {"is_finished": False, "event_type": "text-generation", "text": "Hi."}
    return lines([{"is_finished": False, "event_type": "stream-start", "generation_id": "g1"}, text, end])


# Ollama

OLLAMA_END = {
    "done": True, "done_reason": "stop", "total_duration": 9, "load_duration": 1, "prompt_eval_count": 1200,
    "prompt_eval_duration": 4, "eval_count": 80, "eval_duration": 4,
}  # fmt: skip


def ollama(text: str = "Hi.", **more: Any) -> dict[str, Any]:
    """An answer of /api/chat, or a chunk of it."""
    message = {"role": "assistant", "content": text}
    return {"model": "llama3.2", "created_at": "2026-01-01T00:00:00Z", "message": message, **(more or OLLAMA_END)}


def ollama_stream() -> Answer:
    """The counts come with the last line."""
    return lines([ollama("Hi", done=False), ollama(".", done=False), ollama("")])


# Bedrock

METRICS = {
    "amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 176, "outputTokenCount": 80, "invocationLatency": 9, "firstByteLatency": 3,
        "cacheReadInputTokenCount": 1000, "cacheWriteInputTokenCount": 24,
    }
}  # fmt: skip
CONVERSE_USAGE = {
    "inputTokens": 176, "outputTokens": 80, "totalTokens": 1280, "cacheReadInputTokens": 1000,
    "cacheWriteInputTokens": 24,
}  # fmt: skip


def _counted(body: dict[str, Any], *counts: int) -> Answer:
    """An answer of Invoke: the tokens are counted in headers."""
    names = ("input", "output", "cache-read-input", "cache-write-input")
    told = {f"x-amzn-bedrock-{name}-token-count": str(n) for name, n in zip(names, counts, strict=False)}
    return whole(body, **told)


def _chunks(found: list[dict[str, Any]]) -> Answer:
    """A stream of Invoke: the model's own events in Amazon's frames; the last has Amazon's count too."""
    return aws_events([("chunk", {"bytes": base64.b64encode(json.dumps(one).encode()).decode()}) for one in found])


def invoke_claude() -> Answer:
    """A message of Anthropic."""
    return _counted(bodies.anthropic(bodies.ANTHROPIC_USAGE), 176, 80, 1000, 24)


def invoke_claude_stream() -> Answer:
    """The same, streamed."""
    events = bodies.anthropic_stream({**bodies.ANTHROPIC_USAGE, "output_tokens": 1}, {"output_tokens": 80})
    events[-1] |= METRICS
    return _chunks(events)


def invoke_llama() -> Answer:
    """Meta's Llama."""
    counts = {"prompt_token_count": 1200, "generation_token_count": 80}
    return _counted({"generation": "Hi.", "stop_reason": "stop", **counts}, 1200, 80)


def invoke_llama_stream() -> Answer:
    """The same, streamed: the prompt is counted at the start, the answer as it grows."""
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1200, "outputTokenCount": 80}}
    first = {"generation": "Hi.", "prompt_token_count": 1200, "generation_token_count": 2, "stop_reason": None}
    last = {"generation": "", "prompt_token_count": None, "generation_token_count": 80, "stop_reason": "stop"}
    return _chunks([first, {**last, **metrics}])


def converse() -> Answer:
    """A Converse response."""
    output = {"message": {"role": "assistant", "content": [{"text": "Hi."}]}}
    return whole({"output": output, "stopReason": "end_turn", "usage": CONVERSE_USAGE, "metrics": {"latencyMs": 9}})


def converse_stream() -> Answer:
    """The same, streamed: the metadata come last."""
    return aws_events(
        [
            ("messageStart", {"role": "assistant"}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi."}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", {"usage": CONVERSE_USAGE, "metrics": {"latencyMs": 9}}),
        ]
    )
