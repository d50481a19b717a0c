"""The real Anthropic client of LlamaIndex, over answers of the real shape from a server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("llama_index.llms.anthropic")

from anthropic.types import MessageParam
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic

from eventtree.kinds import Status
from eventtree.testing.capture import Captured
from tests.llama_index.conftest import outline
from tests.llama_index.provider import Answer, provider

if not isinstance(MessageParam, type):
    pytest.skip("llama-index-llms-anthropic 0.12 works with anthropic<1 alone", allow_module_level=True)

MODEL = "claude-sonnet-4-5-20250929"
ASKED = "claude-sonnet-4-5"
"""The client's streams do not hand on which model answered."""

USAGE = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 100,
    "cache_read_input_tokens": 1000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 12,
    "service_tier": "standard",
}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1, "b": 2}}


def body(content: list[dict[str, Any]], why: str | None) -> dict[str, Any]:
    """A message as the API sends it."""
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": content,
        "stop_reason": why, "stop_sequence": None, "usage": USAGE,
    }  # fmt: skip


def events(is_old: bool = False) -> Iterator[dict[str, Any]]:
    """A streamed message; older versions of the API counted only the output again at the end."""
    yield {"type": "message_start", "message": {**body([], None), "usage": {**USAGE, "output_tokens": 1}}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for text in ("Par", "is."):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", "index": 0}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    counted = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    usage = {name: USAGE[name] for name in (counted[-1:] if is_old else counted)}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}


def answer(path: str, asked: dict[str, Any]) -> Answer:
    """As Anthropic does."""
    if asked["max_tokens"] == 7:
        return 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    if asked.get("stream"):
        return events(is_old=asked["max_tokens"] == 8)
    if asked.get("tools"):
        return 200, body([{"type": "text", "text": "I add."}, CALL], "tool_use")
    return 200, body([{"type": "text", "text": "Paris."}], "end_turn")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the provider listens."""
    with provider(answer) as found:
        yield found


KEY = "sk-ant-REDACTED"
HELLO = [ChatMessage(role="user", content="Capital of France?")]


def client(address: str, **settings: Any) -> Anthropic:
    """A client of the provider."""
    return Anthropic(model=ASKED, base_url=address, api_key=KEY, temperature=0.2, **settings)


def check(trees: Captured, model: str = MODEL) -> None:
    """Input holds what was cached: Anthropic's own `input_tokens` leaves it out."""
    [tree] = trees
    [event] = tree.events
    assert event.status is Status.OK
    assert event.usage is not None and not event.usage.inferred
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.total_tokens) == (1120, 12, 1132)
    assert (event.usage.cache_read_tokens, event.usage.cache_write_tokens) == (1000, 100)
    assert (event.model, event.provider) == (model, "anthropic")
    assert event.cost is not None and event.cost.total_usd
    [message] = event.outputs["messages"]
    assert message["content"] == "Paris."
    assert KEY not in tree.model_dump_json()


def test_chat_brings_usage_with_cache_cost_and_model(trees: Captured, address: str) -> None:
    """C2."""
    client(address).chat(HELLO)
    check(trees)
    assert trees[0].root.outputs["messages"][0]["finish_reason"] == "end_turn"
    assert trees[0].root.params is not None and trees[0].root.params["temperature"] == 0.2


async def test_async_chat_brings_the_same(trees: Captured, address: str) -> None:
    """C2."""
    await client(address).achat(HELLO)
    check(trees)


def test_stream_brings_the_same(trees: Captured, address: str) -> None:
    """C1, C2."""
    assert [chunk.delta for chunk in client(address).stream_chat(HELLO) if chunk.delta] == ["Par", "is."]
    check(trees, ASKED)
    assert trees[0].root.time_to_first_token is not None


async def test_async_stream_brings_the_same(trees: Captured, address: str) -> None:
    """C1, C2."""
    async for _chunk in await client(address).astream_chat(HELLO):
        pass
    check(trees, ASKED)


def test_stream_of_an_older_api_invents_no_cache(trees: Captured, address: str) -> None:
    """C1, C2: the client hands on the start's `input_tokens`, and nothing of what was cached."""
    list(client(address, max_tokens=8).stream_chat(HELLO))
    [tree] = trees
    usage = tree.root.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (20, 12, None)


def test_stream_of_an_older_api_has_no_input_where_a_cache_was_asked_for(trees: Captured, address: str) -> None:
    """C2: 20 tokens would be a sixtieth of what was sent."""
    mark = {"cache_control": {"type": "ephemeral"}}
    asked = ChatMessage(role="user", content="Capital of France?", additional_kwargs=mark)
    list(client(address, max_tokens=8).stream_chat([asked]))
    usage = trees[0].root.usage
    assert usage is not None
    # The length of the input decides the price of the output, too.
    assert (usage.input_tokens, usage.output_tokens, trees[0].root.cost) == (None, 12, None)


def test_tool_calls_are_told_with_their_arguments(trees: Captured, address: str) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    client(address).predict_and_call([FunctionTool.from_defaults(add)], "1 + 2?")
    [tree] = trees
    assert outline(tree) == ["chain Anthropic.predict_and_call", "  model Anthropic.chat", "  tool add"]
    [message] = next(event for event in tree.events if event.name == "Anthropic.chat").outputs["messages"]
    assert message["tool_calls"] == [{"id": "toolu_1", "name": "add", "arguments": {"a": 1, "b": 2}}]
    assert tree.total_tokens == 1132


def test_overloaded_provider_is_an_error(trees: Captured, address: str) -> None:
    with pytest.raises(Exception, match="Overloaded"):
        client(address, max_tokens=7, max_retries=0).chat(HELLO)
    [tree] = trees
    assert tree.root.status is Status.ERROR
