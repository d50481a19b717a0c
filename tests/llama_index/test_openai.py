"""The real OpenAI client of LlamaIndex, over answers of the real shape from a server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.llms.openai import OpenAI, OpenAIResponses

from eventtree.kinds import Status
from eventtree.testing.capture import Captured
from tests.llama_index.conftest import only
from tests.llama_index.provider import Answer, provider

USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 30,
    "total_tokens": 1230,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 0},
}
HEAD = {"id": "chatcmpl-1", "created": 1760000000, "model": "gpt-4o-2024-08-06", "system_fingerprint": "fp_1"}
RESPONSES_USAGE = {
    "input_tokens": 50,
    "output_tokens": 7,
    "total_tokens": 57,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def whole() -> dict[str, Any]:
    """An unstreamed chat completion."""
    message = {"role": "assistant", "content": "Paris.", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}


def chunks(with_usage: bool) -> Iterator[dict[str, Any]]:
    """A streamed chat completion."""
    for delta, why in (
        ({"role": "assistant", "content": ""}, None),
        ({"content": "Par"}, None),
        ({"content": "is."}, None),
        ({}, "stop"),
    ):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": why}
        yield {**HEAD, "object": "chat.completion.chunk", "choices": [choice]}
    if with_usage:
        yield {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}


def response(status: str = "completed") -> dict[str, Any]:
    """A Responses API body."""
    content = [{"type": "output_text", "text": "Paris.", "annotations": []}]
    output = [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}]
    return {
        "id": "resp_1", "object": "response", "created_at": 1760000000, "model": "gpt-4o-2024-08-06", "status": status,
        "output": output if status == "completed" else [], "usage": RESPONSES_USAGE if status == "completed" else None,
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None,
        "instructions": None, "metadata": {}, "temperature": 0.1, "top_p": 1.0,
    }  # fmt: skip


def response_events() -> Iterator[dict[str, Any]]:
    """A streamed response of the Responses API."""
    yield {"type": "response.created", "response": response("in_progress"), "sequence_number": 0}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    for number, delta in enumerate(("Par", "is."), start=1):
        yield {"type": "response.output_text.delta", "delta": delta, "sequence_number": number, **place}
    yield {"type": "response.completed", "response": response(), "sequence_number": 3}


def answer(path: str, asked: dict[str, Any]) -> Answer:
    """As OpenAI does."""
    if asked["model"] == "o1-mini":
        return 401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}}
    if not asked.get("stream"):
        return 200, response() if "responses" in path else whole()
    if "responses" in path:
        return response_events()
    return chunks(bool((asked.get("stream_options") or {}).get("include_usage")))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the provider listens."""
    with provider(answer) as found:
        yield f"{found}/v1"


KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
WITH_USAGE = {"stream_options": {"include_usage": True}}
HELLO = [ChatMessage(role="user", content="Capital of France?")]


def client(address: str, **settings: Any) -> OpenAI:
    """A client of the provider."""
    return OpenAI(
        **{"model": "gpt-4o", "temperature": 0.2, "max_tokens": 64, **settings}, api_base=address, api_key=KEY
    )


def check_usage(trees: Captured) -> None:
    """The usage of USAGE stands on the only event."""
    [tree] = trees
    [event] = tree.events
    assert event.usage is not None
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.total_tokens) == (1200, 30, 1230)
    assert (event.usage.cache_read_tokens, event.usage.reasoning_tokens) == (1024, 10)
    assert event.cost is not None and event.cost.total_usd
    assert (event.model, event.provider) == ("gpt-4o-2024-08-06", "openai")
    [message] = event.outputs["messages"]
    assert (message["content"], message["finish_reason"]) == ("Paris.", "stop")


def test_chat_brings_usage_cost_model_and_params(trees: Captured, address: str) -> None:
    """C2."""
    client(address).chat(HELLO)
    check_usage(trees)
    [tree] = trees
    assert tree.root.params is not None
    assert (tree.root.params["temperature"], tree.root.params["max_tokens"]) == (0.2, 64)
    assert tree.root.inputs == {"messages": [{"role": "user", "content": "Capital of France?"}]}
    assert KEY not in tree.model_dump_json()


async def test_async_chat_brings_the_same(trees: Captured, address: str) -> None:
    await client(address).achat(HELLO)
    check_usage(trees)


def test_stream_with_usage_brings_the_same(trees: Captured, address: str) -> None:
    """C1."""
    assert [chunk.delta for chunk in client(address, additional_kwargs=WITH_USAGE).stream_chat(HELLO)]
    check_usage(trees)
    assert trees[0].root.time_to_first_token is not None


async def test_async_stream_with_usage_brings_the_same(trees: Captured, address: str) -> None:
    """C1."""
    async for _chunk in await client(address, additional_kwargs=WITH_USAGE).astream_chat(HELLO):
        pass
    check_usage(trees)


def test_stream_without_usage_is_counted_and_marked_inferred(trees: Captured, address: str) -> None:
    """C8."""
    list(client(address).stream_chat(HELLO))
    [tree] = trees
    assert tree.root.outputs["messages"][0]["content"] == "Paris."
    usage = tree.root.usage
    assert usage is not None and usage.inferred
    assert usage.output_tokens == 2  # "Paris", "."
    assert usage.input_tokens is not None and 3 < usage.input_tokens < 20


def test_responses_api_brings_usage(trees: Captured, address: str) -> None:
    llm = OpenAIResponses(model="gpt-4o", api_base=address, api_key=KEY)
    llm.chat(HELLO)
    list(llm.stream_chat(HELLO))
    for tree in trees:
        [event] = tree.events
        assert event.usage is not None and event.usage.total_tokens == 57
        assert event.outputs["messages"][0]["content"] == "Paris."
    assert len(trees) == 2


def test_images_are_told_without_their_bytes(trees: Captured, address: str) -> None:
    """F4."""
    picture = ImageBlock(image=b"\x89PNG" + b"0" * 5000, image_mimetype="image/png")
    client(address).chat([ChatMessage(role="user", blocks=[TextBlock(text="What is it?"), picture])])
    [tree] = trees
    parts = tree.root.inputs["messages"][0]["content"]
    assert parts[0] == {"type": "text", "text": "What is it?"}
    assert parts[1]["type"] == "image" and parts[1]["mime_type"] == "image/png"
    assert len(tree.model_dump_json()) < 5000


def test_refused_call_is_an_error(trees: Captured, address: str) -> None:
    with pytest.raises(Exception, match="Incorrect API key"):
        client(address, model="o1-mini", max_retries=0).chat(HELLO)
    [tree] = trees
    assert tree.root.status is Status.ERROR
    assert tree.root.error is not None and tree.root.error.type == "openai.AuthenticationError"


def test_completion_of_a_chat_model_counts_once(trees: Captured, address: str) -> None:
    """C7."""
    client(address).complete("Capital of France?")
    [tree] = trees
    assert tree.total_tokens == 1230
    assert only(tree, "OpenAI.complete").model == "gpt-4o-2024-08-06"
