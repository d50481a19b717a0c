"""The rarer things that run: sparse embeddings, structured prediction, programs, rerankers, parsers, plain models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, PromptTemplate, VectorStoreIndex
from llama_index.core.agent.workflow import CodeActAgent
from llama_index.core.base.embeddings.base_sparse import BaseSparseEmbedding
from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    CompletionResponse,
    DocumentBlock,
    ImageBlock,
    LLMMetadata,
    TextBlock,
    VideoBlock,
)
from llama_index.core.extractors import KeywordExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import CustomLLM
from llama_index.core.node_parser import MarkdownNodeParser, SemanticSplitterNodeParser, SentenceSplitter
from llama_index.core.postprocessor.structured_llm_rerank import StructuredLLMRerank
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel

from eventtree.kinds import Kind, Status
from eventtree.testing.capture import Captured
from tests.llama_index.conftest import only, outline
from tests.llama_index.models import USAGE, Caller, Echo

dispatcher = get_dispatcher(__name__)


class Splade(BaseSparseEmbedding):
    """A sparse embedding."""

    model_name: str = "splade"

    def _get_query_embedding(self, query: str) -> dict[int, float]:
        return {7: 0.123}

    async def _aget_query_embedding(self, query: str) -> dict[int, float]:
        return {7: 0.123}

    def _get_text_embedding(self, text: str) -> dict[int, float]:
        return {7: 0.123}

    async def _aget_text_embedding(self, text: str) -> dict[int, float]:
        return {7: 0.123}


async def test_sparse_embeddings_single_batch_and_async(trees: Captured) -> None:
    splade = Splade()
    splade.get_query_embedding("q")
    splade.get_text_embedding_batch(["a", "b"])
    await splade.aget_text_embedding_batch(["a", "b"])
    assert [(tree.root.kind, tree.root.model) for tree in trees] == [(Kind.EMBEDDING, "splade")] * 3
    assert [tree.root.inputs["texts"] for tree in trees] == [["q"], ["a", "b"], ["a", "b"]]
    assert [tree.root.outputs["count"] for tree in trees] == [1, 2, 2]
    assert all(len(outline(tree)) == 1 for tree in trees), "the private halves add nothing"
    assert "0.123" not in "".join(tree.model_dump_json(include={"events"}) for tree in trees)


class City(BaseModel):
    """A city."""

    name: str
    usage: str = "wrong place"


PARTS = ['{"name": ', '"Paris"}']
PARIS = {"name": "Paris", "usage": "wrong place"}
PROMPT = PromptTemplate("City of {country}")


def test_structured_prediction_is_told_as_the_object(trees: Captured) -> None:
    Echo(words=PARTS).structured_predict(City, PROMPT, country="France")
    [tree] = trees
    assert outline(tree) == [
        "chain Echo.structured_predict",
        "  chain LLMTextCompletionProgram.__call__",
        "    model Echo.complete",
        "    chain PydanticOutputParser.parse",
    ]
    assert tree.root.outputs == PARIS
    assert tree.root.inputs["country"] == "France"
    assert tree.total_tokens == 13


def test_streamed_structured_prediction_ends_with_the_object(trees: Captured) -> None:
    stream = Echo(words=PARTS).stream_structured_predict(City, PROMPT, country="France")
    assert not trees
    list(stream)
    [tree] = trees
    assert outline(tree) == ["chain Echo.stream_structured_predict", "  model Echo.stream_complete"]
    assert (tree.root.status, tree.root.outputs, tree.total_tokens) == (Status.OK, PARIS, 13)


async def test_async_streamed_structured_prediction_ends_with_the_object(trees: Captured) -> None:
    async for _one in await Echo(words=PARTS).astream_structured_predict(City, PROMPT, country="France"):
        pass
    [tree] = trees
    assert (tree.root.status, tree.root.outputs, tree.total_tokens) == (Status.OK, PARIS, 13)


def test_streamed_structured_prediction_stopped_early_is_cancelled(trees: Captured) -> None:
    """B6."""
    stream = Echo(words=PARTS).stream_structured_predict(City, PROMPT, country="France")
    next(stream)
    stream.close()
    [tree] = trees
    assert [event.status for event in tree.events] == [Status.CANCELLED] * 2
    assert tree.root.outputs == PARTS[0]


def caller() -> Caller:
    """A model that answers with a call of the tool City."""
    return Caller(calls=[("City", {"name": "Paris"})])


def test_programs_by_text_and_by_tool(trees: Captured) -> None:
    settings: dict[str, Any] = {"output_cls": City, "prompt_template_str": "City of {country}"}
    LLMTextCompletionProgram.from_defaults(**settings, llm=Echo(words=PARTS))(country="France")
    FunctionCallingProgram.from_defaults(**settings, llm=caller())(country="France")
    by_text, by_tool = trees
    assert by_text.root.outputs == by_tool.root.outputs == PARIS
    assert outline(by_tool) == [
        "chain FunctionCallingProgram.__call__",
        "  chain Caller.predict_and_call",
        "    model Caller.chat",
        "    tool City",
    ]
    assert only(by_tool, "Caller.predict_and_call").inputs["tools"] == ["City"]


def test_streamed_programs_have_no_root_of_the_framework(trees: Captured) -> None:
    """Nothing encloses `stream_call`: its model is a tree of its own, whole."""
    settings: dict[str, Any] = {"output_cls": City, "prompt_template_str": "City of {country}"}
    list(LLMTextCompletionProgram.from_defaults(**settings, llm=Echo(words=PARTS)).stream_call(country="France"))
    [tree] = trees
    assert outline(tree) == ["model Echo.stream_complete"]
    assert tree.total_tokens == 13


def test_structured_model_is_no_model_of_its_own(trees: Captured) -> None:
    """C7: what it returns as `raw` is the user's object; a field of it called `usage` is no usage."""
    Echo(words=PARTS).as_structured_llm(City).chat([ChatMessage(content="City of France")])
    list(caller().as_structured_llm(City).stream_chat([ChatMessage(content="City of France")]))
    at_once, streamed = trees
    assert (at_once.root.kind, at_once.root.usage, at_once.root.model) == (Kind.CHAIN, None, None)
    assert "Paris" in at_once.root.outputs["messages"][0]["content"]
    assert at_once.total_tokens == streamed.total_tokens == 13
    assert streamed.root.kind is Kind.CHAIN
    assert [event.status for event in streamed.events] == [Status.OK] * len(streamed.events)
    assert streamed.root.outputs["messages"][0]["content"].startswith('{"name"')


def test_predict_and_call_is_one_tree_with_its_tool(trees: Captured) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    llm = Caller(calls=[("add", {"a": 1, "b": 2})])
    llm.predict_and_call([FunctionTool.from_defaults(add)], "1 + 2?")
    [tree] = trees
    assert outline(tree) == ["chain Caller.predict_and_call", "  model Caller.chat", "  tool add"]
    assert tree.root.outputs["response"] == "3"


NODES = [NodeWithScore(node=TextNode(id_=name, text=name), score=0.1) for name in ("one", "two", "three")]


class Dedicated(BaseNodePostprocessor):
    """Scores nodes anew, and says so as the integrations of providers do."""

    model: str = "rerank-v3.5"
    top_n: int = 2

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        dispatcher.event(
            ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=self.top_n, model_name="named by the event")
        )
        best = [NodeWithScore(node=node.node, score=0.9 - at / 10) for at, node in enumerate(nodes[: self.top_n])]
        dispatcher.event(ReRankEndEvent(nodes=best))
        return best


def test_dedicated_reranker_has_its_model_and_documents(trees: Captured) -> None:
    Dedicated().postprocess_nodes(NODES, query_str="Where?")
    [tree] = trees
    [event] = [event for event in tree.events if not event.internal]
    assert (event.kind, event.model, event.params) == (Kind.RERANKER, "rerank-v3.5", {"top_n": 2})
    assert event.inputs["query"] == "Where?"
    assert len(event.inputs["documents"]) == 3
    assert [(one["id"], one["score"]) for one in event.outputs["documents"]] == [("one", 0.9), ("two", 0.8)]


def test_reranker_without_a_model_of_its_own_is_named_by_its_event(trees: Captured) -> None:
    ranked = [{"document_number": 2, "relevance": 9}]
    StructuredLLMRerank(llm=Caller(calls=[("DocumentRelevanceList", {"documents": ranked})])).postprocess_nodes(
        NODES, query_str="Where?"
    )
    [tree] = trees
    assert (tree.root.kind, tree.root.model) == (Kind.RERANKER, "gpt-4o")
    assert [one["id"] for one in tree.root.outputs["documents"]] == ["two"]
    assert tree.total_tokens == 13


def test_node_parsers_are_chains_of_documents(trees: Captured) -> None:
    documents = [Document(text="# Title\nParis is in France. Rome is in Italy.")]
    semantic = SemanticSplitterNodeParser(embed_model=MockEmbedding(embed_dim=4))
    for parser in (SentenceSplitter(), MarkdownNodeParser(), semantic):
        parser.get_nodes_from_documents(documents)
    assert [tree.root.name for tree in trees] == [
        "SentenceSplitter._parse_nodes",
        "MarkdownNodeParser._parse_nodes",
        "SemanticSplitterNodeParser._parse_nodes",
    ]
    assert all(tree.root.kind is Kind.CHAIN and "Paris" in tree.root.outputs[0]["text"] for tree in trees)
    assert outline(trees[2])[1:] == ["  embedding MockEmbedding.get_text_embedding_batch"]


async def test_pipeline_with_an_extractor_is_one_tree_sync_and_async(trees: Captured) -> None:
    steps = [SentenceSplitter(), KeywordExtractor(llm=Echo(), show_progress=False), MockEmbedding(embed_dim=4)]
    await IngestionPipeline(transformations=steps).arun(documents=[Document(text="Paris")])
    [tree] = trees.wait()
    assert tree.root.name == "IngestionPipeline.arun"
    assert tree.total_tokens == 13
    assert tree.root.outputs[0]["metadata"]["excerpt_keywords"] == "the answer is here"


async def test_code_act_agent_is_one_tree(trees: Captured) -> None:
    class Coder(Caller):
        def answer(self, messages: Any) -> ChatMessage:
            is_done = any("Result of executing" in (message.content or "") for message in messages)
            return ChatMessage(role="assistant", content="it is 3" if is_done else "<execute>print(1 + 2)</execute>")

    agent = CodeActAgent(name="coder", code_execute_fn=lambda code: "3", tools=[], llm=Coder())
    await agent.run("1 + 2?")
    [tree] = trees.wait()
    assert (tree.root.kind, tree.root.name, tree.root.metadata["agent"]) == (Kind.AGENT, "CodeActAgent.run", "coder")
    tool = only(tree, "execute")
    assert (tool.kind, tool.inputs, tool.outputs) == (Kind.TOOL, {"code": "print(1 + 2)"}, "3")
    assert tree.root.outputs["response"]["content"] == "it is 3"
    assert tree.total_tokens == 26


def test_audio_video_and_documents_are_told_without_their_bytes(trees: Captured) -> None:
    """F4."""
    blocks = [
        TextBlock(text="What is it?"),
        AudioBlock(audio=b"0" * 5000, format="wav"),
        VideoBlock(video=b"0" * 5000, video_mimetype="video/mp4"),
        DocumentBlock(data=b"%PDF" + b"0" * 5000, title="a.pdf", document_mimetype="application/pdf"),
        ImageBlock(url="https://example.org/a.png"),
    ]
    Caller().chat([ChatMessage(role="user", blocks=blocks)])
    [tree] = trees
    parts = tree.root.inputs["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "audio", "video", "file", "image"]
    assert parts[4]["url"] == "https://example.org/a.png"
    assert len(tree.model_dump_json()) < 5000


class Sanitizer(CustomLLM):
    """A model without the decorators: no event tells of it."""

    model: str = "plain-1"
    fails: bool = False

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        if self.fails:
            raise ValueError("the model is down")
        return CompletionResponse(text="the answer", raw={"usage": USAGE, "model": "plain-1-2024"})

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        yield CompletionResponse(text="the ", delta="the ", raw={})
        yield CompletionResponse(text="the answer", delta="answer", raw={"usage": USAGE})

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> AsyncGenerator[CompletionResponse, None]:
        async def chunks() -> AsyncGenerator[CompletionResponse, None]:
            for chunk in self.stream_complete(prompt):
                yield chunk

        return chunks()


def test_model_without_events_is_told_by_its_result(trees: Captured) -> None:
    """C5, F7."""
    Sanitizer().complete("hi")
    Sanitizer().chat([ChatMessage(content="hi")])
    alone, wrapped = trees
    event = alone.root
    assert (event.kind, event.outputs, event.model) == (Kind.MODEL, {"text": "the answer"}, "plain-1-2024")
    assert event.usage is not None and event.usage.total_tokens == 13
    assert [(e.name, e.internal, e.usage is not None) for e in wrapped.events] == [
        ("Sanitizer.chat", True, False),
        ("Sanitizer.complete", False, True),
    ]


def test_model_without_events_that_fails_is_an_error(trees: Captured) -> None:
    with pytest.raises(ValueError, match="down"):
        Sanitizer(fails=True).complete("hi")
    [tree] = trees
    assert tree.root.status is Status.ERROR


def test_stream_of_a_model_without_events_says_that_its_output_is_unknown(trees: Captured) -> None:
    """The stream is the user's, and nothing tells what went through it."""
    list(Sanitizer().stream_complete("hi"))
    [tree] = trees
    assert (tree.root.kind, tree.root.status, tree.root.outputs) == (Kind.MODEL, Status.OK, None)
    assert "output_unknown" in tree.root.metadata


def test_stream_of_a_model_without_events_is_told_by_the_call_around_it(trees: Captured) -> None:
    """C7."""
    list(Sanitizer().stream_chat([ChatMessage(content="hi")]))
    [tree] = trees
    assert [(e.name, e.internal) for e in tree.events] == [
        ("Sanitizer.stream_chat", False),
        ("Sanitizer.stream_complete", True),
    ]
    assert tree.total_tokens == 13


def test_streaming_query_over_a_model_without_events(trees: Captured, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=Sanitizer(), streaming=True)
    list(engine.query("Where?").response_gen)
    stream = engine.query("Where?").response_gen
    next(stream)
    del stream
    read, dropped = trees
    assert (read.root.status, dropped.root.status) == (Status.OK, Status.CANCELLED)
    assert outline(read)[-1].strip() == "model Sanitizer.stream_complete"
