"""LangChain and LlamaIndex in one program: one tree, every child under its true parent (design.md rule 2)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from llama_index.core import VectorStoreIndex
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.tools import FunctionTool
from typing_extensions import TypedDict
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

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


def test_an_engines_answer_reads_the_same_in_both_frameworks(trees: Captured, index: VectorStoreIndex) -> None:
    """One vocabulary: what comes out of the chain is what came out of the query."""
    RunnableLambda(index.as_query_engine(llm=Echo()).query).invoke("Where?")
    [tree] = trees
    [query] = tree.children(tree.root)
    assert tree.root.outputs == query.outputs
    assert list(query.outputs) == ["response", "sources"]


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


ANSWER = AIMessage("hello", usage_metadata={"input_tokens": 4, "output_tokens": 1, "total_tokens": 5})


def counting() -> Any:
    """A chain whose model reports 5 tokens."""
    return PromptTemplate.from_template("{question}") | GenericFakeChatModel(messages=itertools.repeat(ANSWER))


def test_usage_counts_once_through_all_layers(trees: Captured, index: VectorStoreIndex) -> None:
    """C7: a chain around a query engine around a chain, each with a model of its own."""

    class Asks(CustomQueryEngine):
        engine: Any

        def custom_query(self, query_str: str) -> str:
            return str(counting().invoke({"question": str(self.engine.query(query_str))}).content)

    engine = Asks(engine=index.as_query_engine(llm=Echo()))
    chain: Any = RunnableLambda(lambda x: str(engine.query(x))) | counting()
    chain.invoke("Where?")
    [tree] = trees
    assert outline(tree) == [
        "chain RunnableSequence",
        "  chain RunnableLambda",
        "    chain Asks.query",
        "      chain Asks.custom_query",
        *below(4),
        "        chain RunnableSequence",
        "          chain PromptTemplate",
        "          model GenericFakeChatModel",
        "  chain PromptTemplate",
        "  model GenericFakeChatModel",
    ]
    assert tree.total_tokens == 13 + 5 + 5


class Steps(Workflow):
    """A step that runs a chain."""

    @step
    async def ask(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=(await counting().ainvoke({"question": ev.question})).content)


async def test_chain_in_a_workflow_in_a_graph(trees: Captured) -> None:
    async def ask(state: Any) -> Any:
        return {"question": await Steps().run(question=state["question"])}

    class State(TypedDict):
        question: str

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    await graph.compile().ainvoke({"question": "Where?"})
    [tree] = trees.wait()
    lines = [line.strip() for line in outline(tree)]
    at = lines.index("chain Steps.run")
    assert lines[at - 1 : at + 5] == [
        "chain ask",
        "chain Steps.run",
        "chain ask",
        "chain RunnableSequence",
        "chain PromptTemplate",
        "model GenericFakeChatModel",
    ]
    depths = [len(line) - len(line.lstrip()) for line in outline(tree)][at - 1 : at + 5]
    assert [depth - depths[0] for depth in depths] == [0, 2, 4, 6, 8, 8]
    assert tree.total_tokens == 5


def test_streaming_query_made_in_a_chain_and_read_outside(trees: Captured, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=Echo(), streaming=True)
    response = RunnableLambda(engine.query).invoke("Where?")
    list(response.response_gen)
    recorded = [outline(tree) for tree in trees]
    assert len(recorded) == 1
    assert recorded[0][-1].strip() == "model Echo.stream_complete"
