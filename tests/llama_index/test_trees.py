"""Everything that runs has its event, under its true parent, of the right kind."""

from __future__ import annotations

import pytest
from llama_index.core import Document, MockEmbedding, PromptTemplate, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.postprocessor import LLMRerank, SimilarityPostprocessor
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation import get_dispatcher

from eventtree.kinds import Kind, Status
from eventtree.testing.capture import Captured
from tests.llama_index.conftest import only, outline
from tests.llama_index.models import Echo

QUERY = [
    "chain RetrieverQueryEngine.query",
    "  retriever VectorIndexRetriever.retrieve",
    "    embedding MockEmbedding.get_query_embedding",
    "  chain CompactAndRefine.synthesize",
    "    chain CompactAndRefine.get_response",
    "      chain DefaultRefineProgram.__call__",
    "        model Echo.complete",
]


def test_query_engine_is_one_tree_of_the_right_kinds(trees: Captured, index: VectorStoreIndex) -> None:
    index.as_query_engine(llm=Echo()).query("Where is Paris?")
    [tree] = trees
    assert outline(tree) == QUERY
    assert all(event.status is Status.OK and event.framework == "llama_index" for event in tree.events)


async def test_async_query_engine_is_the_same_tree(trees: Captured, index: VectorStoreIndex) -> None:
    await index.as_query_engine(llm=Echo()).aquery("Where is Paris?")
    [tree] = trees
    names = [line.split(" ")[-1] for line in outline(tree)]
    assert (
        names
        == [
            "RetrieverQueryEngine.aquery",
            "VectorIndexRetriever.aretrieve",
            "MockEmbedding.aget_query_embedding",
            "CompactAndRefine.asynthesize",
            "CompactAndRefine.aget_response",
            "DefaultRefineProgram.acall",
            "Echo.acomplete",
        ]
        or names[-1] == "Echo.complete"
    )


def test_inputs_and_outputs_are_in_the_common_vocabulary(trees: Captured, index: VectorStoreIndex) -> None:
    index.as_query_engine(llm=Echo()).query("Where is Paris?")
    [tree] = trees
    assert tree.root.inputs == {"query": "Where is Paris?"}
    assert tree.root.outputs["response"] == "the answer is here"
    retriever = only(tree, "VectorIndexRetriever.retrieve")
    assert retriever.inputs == {"query": "Where is Paris?"}
    first = retriever.outputs["documents"][0]
    assert {"id", "text", "score", "metadata"} <= first.keys()
    assert tree.root.outputs["sources"][0] == {"id": first["id"], "score": first["score"]}
    embedding = only(tree, "MockEmbedding.get_query_embedding")
    assert embedding.inputs == {"texts": ["Where is Paris?"]}
    assert embedding.outputs == {"count": 1, "dimensions": 4}
    model = only(tree, "Echo.complete")
    assert "Where is Paris?" in model.inputs["prompt"]
    assert model.outputs == {"text": "the answer is here"}


def test_model_event_has_model_params_and_usage_and_no_key(trees: Captured) -> None:
    Echo().complete("hello")
    [tree] = trees
    [event] = tree.events
    assert (event.kind, event.model) == (Kind.MODEL, "gpt-4o-mini-2024-07-18")
    assert event.params == {"temperature": 0.5}
    assert event.usage is not None
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.total_tokens) == (10, 3, 13)
    assert "sk-secret" not in tree.model_dump_json()


def test_wrappers_of_a_model_are_internal_and_usage_is_counted_once(trees: Captured) -> None:
    """C7."""
    llm = Echo()
    llm.predict(PromptTemplate("Say {what}"), what="it")
    llm.chat([ChatMessage(content="hello")])
    predicted, chatted = trees
    assert [(e.name, e.internal, e.usage is not None) for e in predicted.events] == [
        ("Echo.predict", True, False),
        ("Echo.complete", False, True),
    ]
    assert [(e.name, e.internal, e.usage is not None) for e in chatted.events] == [
        ("Echo.chat", True, False),
        ("Echo.complete", False, True),
    ]
    assert predicted.total_tokens == chatted.total_tokens == 13
    assert predicted.root.inputs == {"prompt": "Say {what}", "what": "it"}
    assert chatted.root.outputs["messages"][0]["content"] == "the answer is here"


def test_callback_managers_of_their_own_cut_nothing(trees: Captured) -> None:
    """A13: the model, the embedding and the engine each have another."""
    embedding = MockEmbedding(embed_dim=4, callback_manager=CallbackManager())
    documents = [Document(text="Rome")]
    index = VectorStoreIndex.from_documents(documents, embed_model=embedding, callback_manager=CallbackManager())
    index.as_query_engine(llm=Echo(callback_manager=CallbackManager())).query("?")
    assert outline(trees[-1]) == QUERY


def test_private_halves_of_a_method_are_internal(trees: Captured, index: VectorStoreIndex) -> None:
    index.as_query_engine(llm=Echo()).query("Where?")
    [tree] = trees
    internal = {event.name for event in tree.events if event.internal}
    assert {"RetrieverQueryEngine._query", "VectorIndexRetriever._retrieve", "Echo.predict"} <= internal


def test_ingestion_pipeline_is_one_tree(trees: Captured) -> None:
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), MockEmbedding(embed_dim=4)])
    pipeline.run(documents=[Document(text="Paris is in France.")])
    [tree] = trees
    assert outline(tree) == [
        "chain IngestionPipeline.run",
        "  chain SentenceSplitter.__call__",
        "  chain MockEmbedding.__call__",
        "    embedding MockEmbedding.get_text_embedding_batch",
    ]
    assert only(tree, "MockEmbedding.get_text_embedding_batch").outputs == {"count": 1, "dimensions": 4}


def test_index_building_without_a_root_is_told_in_parts(trees: Captured) -> None:
    VectorStoreIndex.from_documents([Document(text="Rome")], embed_model=MockEmbedding(embed_dim=4))
    assert [tree.root.name for tree in trees] == [
        "SentenceSplitter.__call__",
        "MockEmbedding.get_text_embedding_batch",
    ]


def test_vectors_are_never_recorded(trees: Captured) -> None:
    MockEmbedding(embed_dim=4).get_text_embedding_batch(["a", "b"])
    [tree] = trees
    assert tree.root.outputs == {"count": 2, "dimensions": 4}
    assert "0.5" not in tree.model_dump_json(include={"events": {"__all__": {"inputs", "outputs"}}})


def test_rerankers_are_rerankers_and_filters_are_chains(trees: Captured, index: VectorStoreIndex) -> None:
    nodes = index.as_retriever().retrieve("Where?")
    LLMRerank(llm=Echo(words=["Doc: 1, Relevance: 9"]), top_n=1).postprocess_nodes(nodes, query_str="Where?")
    SimilarityPostprocessor(similarity_cutoff=0.1).postprocess_nodes(nodes, query_str="Where?")
    _retrieved, reranked, filtered = trees
    assert reranked.root.kind is Kind.RERANKER
    assert reranked.root.inputs["query"] == "Where?"
    assert len(reranked.root.inputs["documents"]) == 2
    assert len(reranked.root.outputs["documents"]) == 1
    assert filtered.root.kind is Kind.CHAIN


def test_a_tool_goes_by_its_own_name(trees: Captured) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    FunctionTool.from_defaults(add)(a=1, b=2)
    [tree] = trees
    assert (tree.root.kind, tree.root.name) == (Kind.TOOL, "add")
    assert tree.root.inputs == {"a": 1, "b": 2}
    assert tree.root.outputs == 3


def test_a_name_alone_proves_nothing(trees: Captured) -> None:
    """F6."""

    class TravelAgentRetriever:
        @get_dispatcher().span
        def retrieve(self, query: str) -> str:
            return query

    TravelAgentRetriever().retrieve("x")
    [tree] = trees
    assert (tree.root.kind, tree.root.name) == (Kind.CHAIN, "TravelAgentRetriever.retrieve")


def test_own_functions_with_a_span_are_chains(trees: Captured) -> None:
    @get_dispatcher().span
    def plan(trip: str, days: int = 3) -> dict[str, str]:
        return {"plan": trip}

    plan("Rome")
    [tree] = trees
    assert (tree.root.name, tree.root.inputs, tree.root.outputs) == ("plan", {"trip": "Rome"}, {"plan": "Rome"})


@pytest.mark.parametrize("mode", ["context", "condense_question", "simple", "condense_plus_context"])
def test_chat_engine_is_one_tree_with_a_model(trees: Captured, index: VectorStoreIndex, mode: str) -> None:
    index.as_chat_engine(chat_mode=mode, llm=Echo()).chat("Where is Paris?")
    [tree] = trees
    assert tree.root.inputs["message"] == "Where is Paris?"
    assert tree.root.outputs["response"] == "the answer is here"
    assert any(event.kind is Kind.MODEL and not event.internal for event in tree.events)
    assert tree.total_tokens is not None
