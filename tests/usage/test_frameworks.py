"""Each provider's body, where the frameworks may keep it: what the handlers hand on is enough for the event's usage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventtree
from eventtree.event import Usage
from eventtree.kinds import Kind
from eventtree.testing import capture
from eventtree.usage.collect import WRAPPERS
from tests.usage.test_formats import BODIES, Json, figures_of, sides

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core", exc_type=ImportError)

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.llms import ChatMessage, ChatResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_chat_callback


class Chain(BaseChatModel):
    """A LangChain model that answers with the provider's body."""

    about: Json = {}
    output: Json = {}

    @property
    def _llm_type(self) -> str:
        return "given"

    def _generate(self, messages: list[BaseMessage], *args: Any, **more: Any) -> ChatResult:
        message = AIMessage("Hi.", response_metadata=self.about)
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output=self.output)


class Llama(CustomLLM):
    """A LlamaIndex model that does."""

    body: Json | None = None
    chunks: list[Json] = []
    beside: Json = {}
    within: Json = {}

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="given", is_chat_model=True)

    @llm_chat_callback()
    def chat(self, messages: Any, **more: Any) -> ChatResponse:
        message = ChatMessage("Hi.", role="assistant", additional_kwargs=self.within)
        return ChatResponse(message=message, raw=self.body, additional_kwargs=self.beside)

    @llm_chat_callback()
    def stream_chat(self, messages: Any, **more: Any) -> Any:
        message = ChatMessage("Hi.", role="assistant")
        return (ChatResponse(message=message, raw=chunk, delta="") for chunk in self.chunks)

    def complete(self, *args: Any, **more: Any) -> Any:
        raise NotImplementedError

    stream_complete = complete


def ask(**answer: Json) -> Llama:
    model = Llama(**answer)
    model.chat([ChatMessage("Hello")])
    return model


WAYS: dict[str, Callable[[Json], Any]] = {
    "response_metadata": lambda body: Chain(about=body).invoke("Hello"),
    "llm_output": lambda body: Chain(output=body).invoke("Hello"),
    "raw": lambda body: ask(body=body),
    "additional_kwargs": lambda body: ask(beside=body),
    "message kwargs": lambda body: ask(within=body),
}


def usage_of(way: Callable[[Json], Any], body: Json) -> Usage:
    with capture() as trees:
        way(body)
    (tree,) = trees
    usage = tree.root.usage
    assert tree.root.kind is Kind.MODEL
    assert usage is not None
    return usage


@pytest.mark.parametrize(("body", "expected"), BODIES.values(), ids=BODIES)
def test_a_providers_body_comes_to_its_figures_through_both_frameworks(body: Json, expected: Json) -> None:
    """C1, C5, C8: in each place, also where the counts stand at the top."""
    ways = WAYS if not body.keys() & WRAPPERS else {"raw": WAYS["raw"]}
    for name, way in ways.items():
        assert figures_of(usage_of(way, body)) == expected, name


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_text_beside_titans_counts_is_not_kept_with_them(way: Callable[[Json], Any]) -> None:
    usage = usage_of(way, {"inputTextTokenCount": 10, "results": [{"tokenCount": 7, "outputText": "canary"}]})
    assert usage.total_tokens == 17
    assert "canary" not in usage.model_dump_json()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_texts_in_a_body_are_redacted(way: Callable[[Json], Any], own_place: Path) -> None:
    """F2."""
    eventtree.configure(redact=lambda text: text.replace("canary", "[gone]"))
    usage = usage_of(way, {"usage": {"prompt_tokens": 10, "completion_tokens": 7, "note": "a canary"}})
    assert usage.total_tokens == 17
    assert "canary" not in usage.model_dump_json()
    assert "[gone]" in usage.model_dump_json()


STREAMS: dict[str, tuple[list[Json], Json]] = {
    "anthropic": (
        [
            {"message": {"usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 1}}},
            {"delta": {"text": "Hi."}},
            {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
        ],
        sides(100, 20, cache_read_tokens=90),
    ),
    "cohere": (
        [{"delta": {}}, {"delta": {"usage": {"tokens": {"input_tokens": 10, "output_tokens": 5}}}}],
        sides(10, 5),
    ),
    "gemini": (
        [
            {"usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10}},
            {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 9, "totalTokenCount": 19}},
        ],
        sides(10, 9),
    ),
}


@pytest.mark.parametrize(("chunks", "expected"), STREAMS.values(), ids=STREAMS)
def test_the_events_of_a_providers_stream_come_to_its_figures(chunks: list[Json], expected: Json) -> None:
    """C1, C8: what one event does not say stays as an earlier one said it."""
    with capture() as trees:
        list(Llama(chunks=chunks).stream_chat([ChatMessage("Hello")]))
    (tree,) = trees
    assert tree.root.usage is not None
    assert figures_of(tree.root.usage) == expected
