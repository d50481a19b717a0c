"""What can be read once is the app's to read: no span or event takes anything from it."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.base.response.schema import Response
from llama_index.core.llms import CustomLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent

from eventtree import diagnostics
from eventtree.testing.capture import Captured
from tests.langchain.test_consumable import TEXTS, VALUES, untouched


class Words(CustomLLM):
    """A model that takes and gives anything."""

    answer: Any = None

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    @get_dispatcher().span
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage("x"), raw=self.answer)

    @get_dispatcher().span
    def complete(self, prompt: Any, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="x", raw={"usage": self.answer})

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


class Vectors(BaseEmbedding):
    """A model of embeddings that takes and gives anything."""

    answer: Any = None

    @get_dispatcher().span
    def _get_text_embeddings(self, texts: Any) -> Any:
        return self.answer

    def _get_text_embedding(self, text: str) -> list[float]:
        return [1.0]

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return [1.0]


class Finder(BaseRetriever):
    """A retriever that returns its nodes in whatever it was given."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        super().__init__()

    @get_dispatcher().span
    def retrieve(self, str_or_query_bundle: Any) -> Any:
        return self.answer

    def _retrieve(self, query_bundle: Any) -> Any:
        return self.answer


class Sorter(BaseNodePostprocessor):
    """A reranker that takes and returns whatever it was given."""

    answer: Any = None

    @get_dispatcher().span
    def postprocess_nodes(self, nodes: Any, query_bundle: Any = None, query_str: Any = None) -> Any:
        return self.answer

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return nodes


class Engine(CustomQueryEngine):
    """An engine whose answer and sources are whatever it was given."""

    answer: Any = None
    sources: Any = None

    def custom_query(self, query_str: str) -> Any:
        made = Response(response=None)
        made.response, made.source_nodes = self.answer, self.sources
        return made


class Own(BaseEvent):
    """An event of the app's own."""

    value: Any


@pytest.mark.parametrize("name", VALUES)
def test_no_span_reads_what_is_the_apps(name: str, trees: Captured) -> None:
    """Arguments, results and events of every kind of span."""
    given: list[Any] = []

    def make() -> Any:
        given.append(VALUES[name](TEXTS))
        return given[-1]

    @get_dispatcher().span
    def work(value: Any, *more: Any, **named: Any) -> Any:
        get_dispatcher().event(Own(value=make()))
        return [make(), {"inside": make()}]

    work(make(), make(), other=make(), nested=[{"x": make()}])
    Words().chat(make(), stop=make(), tools=make())
    Words().complete(make(), temperature=make())
    Vectors(answer=make())._get_text_embeddings(make())
    Finder(make()).retrieve(make())
    Sorter(answer=make()).postprocess_nodes(make(), query_bundle=make(), query_str=make())
    Engine(answer=make(), sources=make()).query("q")
    # The framework itself writes a tool's output out, so only the arguments are looked at.
    FunctionTool.from_defaults(lambda value: "x", name="tool").call(value=make())
    assert [place for place, one in enumerate(given) if not untouched(one, TEXTS)] == []
    assert not diagnostics.failures
    assert len(trees) >= 8
