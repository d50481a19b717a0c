"""LangChain and LlamaIndex in one program: one tree, every child under its true parent (design.md rule 2)."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from llama_index.core import VectorStoreIndex
from llama_index.core.tools import FunctionTool
from typing_extensions import TypedDict

from eventtree.testing.capture import Captured
from tests.llama_index.conftest import outline
from tests.llama_index.models import Echo
from tests.llama_index.test_trees import QUERY


def below(depth: int) -> list[str]:
    """A query's outline at that depth."""
    return [f"{'  ' * depth}{line}" for line in QUERY]


def test_query_engine_in_a_lambda(trees: Captured, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=Echo())
    chain = RunnableLambda(lambda x: str(engine.query(x))) | RunnableLambda(str.upper)
    chain.invoke("Where?")
    [tree] = trees
    lines = outline(tree)
    assert lines[:2] == ["chain RunnableSequence", "  chain RunnableLambda"]
    assert lines[2:9] == below(2)


async def test_async_query_engine_in_a_lambda(trees: Captured, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=Echo())

    async def ask(question: str) -> str:
        return str(await engine.aquery(question))

    await (RunnableLambda(ask) | RunnableLambda(str.upper)).ainvoke("Where?")
    [tree] = trees.wait()
    assert outline(tree)[2] == "    chain RetrieverQueryEngine.aquery"


def test_query_engine_in_a_tool(trees: Captured, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=Echo())

    @tool
    def ask(question: str) -> str:
        """Ask."""
        return str(engine.query(question))

    ask.invoke({"question": "Where?"})
    [tree] = trees
    assert outline(tree) == ["tool ask", *below(1)]


def test_query_engine_in_a_retriever(trees: Captured, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=Echo())

    class Bridge(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            return [Document(page_content=str(engine.query(query)))]

    (RunnableLambda(str) | Bridge()).invoke("Where?")
    [tree] = trees
    lines = outline(tree)
    assert lines[2:4] == ["  retriever Bridge", "    chain RetrieverQueryEngine.query"]


def test_query_engine_in_a_graph_node(trees: Captured, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=Echo())

    class State(TypedDict):
        question: str

    graph = StateGraph(State)
    graph.add_node("ask", lambda state: {"question": str(engine.query(state["question"]))})
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    graph.compile().invoke({"question": "Where?"})
    [tree] = trees
    lines = outline(tree)
    at = next(number for number, line in enumerate(lines) if line.endswith("chain ask"))
    assert lines[at + 1].strip() == "chain RetrieverQueryEngine.query"
    assert lines[at + 1].index("c") > lines[at].index("c")


def test_chain_inside_a_llama_index_tool(trees: Captured) -> None:
    model = FakeListChatModel(responses=["hello"])

    def ask(question: str) -> str:
        """Ask."""
        return str(model.invoke(question).content)

    FunctionTool.from_defaults(ask)(question="hi")
    [tree] = trees
    assert outline(tree) == ["tool ask", "  model FakeListChatModel"]


def test_langchain_in_llama_index_in_langchain(trees: Captured) -> None:
    model = FakeListChatModel(responses=["hello"])

    def inner(question: str) -> str:
        """Ask."""
        return str(model.invoke(question).content)

    llama_tool = FunctionTool.from_defaults(inner)
    chain: Any = RunnableLambda(lambda x: str(llama_tool(question=x))) | RunnableLambda(str.upper)
    chain.invoke("hi")
    [tree] = trees
    assert outline(tree) == [
        "chain RunnableSequence",
        "  chain RunnableLambda",
        "    tool inner",
        "      model FakeListChatModel",
        "  chain upper",
    ]


def test_streaming_query_made_in_a_chain_and_read_outside(trees: Captured, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=Echo(), streaming=True)
    response = RunnableLambda(engine.query).invoke("Where?")
    list(response.response_gen)
    recorded = [outline(tree) for tree in trees]
    assert len(recorded) == 1
    assert recorded[0][-1].strip() == "model Echo.stream_complete"
