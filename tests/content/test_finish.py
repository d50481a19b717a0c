"""Why an answer stopped is known under every provider's name of it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from eventtree.content import Sanitizer
from eventtree.content.finish import finish_of_body, finish_reason
from eventtree.llama_index.responses import field
from tests.plain import message as message_of

write = Sanitizer()
walked = Sanitizer()
walked.room = 0

RESPONSES = {"object": "response", "status": "completed", "incomplete_details": None}

ABOUT: dict[str, tuple[dict[str, Any], str]] = {
    "openai chat": ({"finish_reason": "length"}, "length"),
    "openai responses": (RESPONSES, "completed"),
    "openai responses cut": (
        {**RESPONSES, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        "max_output_tokens",
    ),
    "openai responses failed": ({**RESPONSES, "status": "failed"}, "failed"),
    "anthropic": ({"stop_reason": "max_tokens", "stop_sequence": None}, "max_tokens"),
    "vllm": ({"finish_reason": "stop", "stop_reason": "\n"}, "stop"),
    "ollama": ({"done": True, "done_reason": "length"}, "length"),
    "gemini": ({"finish_reason": "MAX_TOKENS", "safety_ratings": []}, "MAX_TOKENS"),
    "gemini by its own name": ({"finishReason": "SAFETY"}, "SAFETY"),
    "vertex streamed": ({"finish_reason": "FINISH_REASON_UNSPECIFIED" * 2 + "STOP"}, "STOP"),
    "gemini refused": ({"prompt_feedback": {"block_reason": "PROHIBITED_CONTENT"}}, "PROHIBITED_CONTENT"),
    "bedrock converse": ({"stopReason": "guardrail_intervened"}, "guardrail_intervened"),
    "bedrock converse stream": ({"messageStop": {"stopReason": "max_tokens"}}, "max_tokens"),
    "bedrock titan": ({"completionReason": "LENGTH"}, "LENGTH"),
    "cohere": ({"finish_reason": "MAX_TOKENS"}, "MAX_TOKENS"),
}


@pytest.mark.parametrize("name", ABOUT)
def test_a_message_says_why_it_stopped(name: str) -> None:
    """In its metadata or beside it, in the fast_path way and in the walk."""
    about, expected = ABOUT[name]
    message = AIMessage("x", response_metadata=about)
    assert write.messages([message]) == walked.messages([message])
    assert message_of(write, message)["finish_reason"] == expected
    generation = ChatGeneration(message=AIMessage("x"), generation_info=about)
    assert write(LLMResult(generations=[[generation]]))["messages"][0]["finish_reason"] == expected
    text = Generation(text="x", generation_info=about)
    assert write(text) == write(LLMResult(generations=[[text]])) == {"text": "x", "finish_reason": expected}


BODIES: dict[str, tuple[dict[str, Any], str]] = {
    **ABOUT,
    "chat body": ({"choices": [{"index": 0, "finish_reason": "content_filter"}]}, "content_filter"),
    "gemini body": ({"candidates": [{"finishReason": "MAX_TOKENS"}]}, "MAX_TOKENS"),
    "gemini body refused": ({"candidates": [], "promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY"),
    "titan body": ({"results": [{"completionReason": "LENGTH"}]}, "LENGTH"),
    "mistral on bedrock": ({"outputs": [{"stop_reason": "length"}]}, "length"),
    "cohere text": ({"generations": [{"finish_reason": "MAX_TOKENS"}]}, "MAX_TOKENS"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_says_why_it_stopped(name: str) -> None:
    """What LlamaIndex keeps as `raw`: a dict, or a client's object."""
    body, expected = BODIES[name]
    assert finish_of_body(body, field) == expected
    assert finish_of_body(as_object(body), field) == expected


def as_object(value: Any) -> Any:
    """As a provider's client gives it."""
    if isinstance(value, list):
        return [as_object(one) for one in value]
    return type("Body", (), {k: as_object(v) for k, v in value.items()})() if isinstance(value, dict) else value


@pytest.mark.parametrize("about", [None, {}, [], "a", {"status": "ok"}, {"finish_reason": None}, {"choices": 3}, {
    "object": "response", "status": "in_progress"}])  # fmt: skip
def test_what_says_nothing_of_it_has_no_reason(about: Any) -> None:
    assert finish_reason(about) is None
    assert finish_of_body(about, field) is None
