"""Agents are agents, and attempts are numbered: what the fold works out from how the runs of a tree lie."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent, middleware
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import RetryPolicy, Send

from eventtree.event import EventTree
from eventtree.kinds import Kind
from eventtree.langchain import CallbackHandler
from tests.langchain.fakes import Model, answer, needs_agent_marks, tool_caller

One = Callable[[], EventTree]

ASKED: Any = {"messages": [("user", "Who?")]}
DEEP = {"ls_integration": "deepagents", "lc_agent_name": None}
"""What deepagents' `create_deep_agent` puts over the marks of `create_agent` (deepagents/graph.py, 0.7)."""


@pytest.fixture
def config(handler: CallbackHandler) -> RunnableConfig:
    return {"callbacks": [handler]}


def agents_of(tree: EventTree) -> list[str]:
    return [event.name for event in tree.events if event.kind is Kind.AGENT]


def numbers(tree: EventTree, name: str) -> list[tuple[Any, str]]:
    """Attempt and status of the events of a name, by start."""
    found = sorted((event for event in tree.events if event.name == name), key=lambda event: event.start)
    return [(event.metadata.get("attempt"), event.status.value) for event in found]


class Flaky:
    """Fails so many times, then gives an answer."""

    def __init__(self, failures: int, result: Any) -> None:
        self.left, self.result = failures, result

    def __call__(self, *_: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise ValueError("not yet")
        return self.result


# Agents


@needs_agent_marks
@pytest.mark.parametrize(
    "marks",
    [DEEP, {**DEEP, "lc_agent_name": "boss"}, {"ls_integration": "ours"}, {"lc_agent_name": "boss"}],
    ids=["deep", "deep and named", "other mark", "name alone"],
)
@pytest.mark.parametrize("given", ["with_config", "invoke"])
def test_an_agent_whose_marks_are_overridden_is_an_agent(
    config: RunnableConfig, tree: One, marks: dict[str, Any], given: str
) -> None:
    """As its subagents are, and nothing else in it."""
    sub = create_agent(Model(), [], name="librarian")

    @tool
    def ask(question: str) -> str:
        """Ask another."""
        (RunnableLambda(lambda x: x) | Model()).invoke(question)
        return str(sub.invoke({"messages": [("user", question)]})["messages"][-1].content)

    agent: Any = create_agent(Model(reply=tool_caller("ask", question="Who?")), [ask])
    if given == "with_config":
        agent.with_config({"metadata": marks}).invoke(ASKED, config)
    else:
        agent.invoke(ASKED, {**config, "metadata": marks})
    assert agents_of(tree()) == ["LangGraph", "librarian"]


@needs_agent_marks
def test_a_nameless_agent_below_a_deep_agent_is_an_agent(config: RunnableConfig, tree: One) -> None:
    """It inherits every mark; that it asks a model in a node of its own proves it."""
    sub = create_agent(Model(), [])

    @tool
    def ask(question: str) -> str:
        """Ask another."""
        return str(sub.invoke({"messages": [("user", question)]})["messages"][-1].content)

    agent = create_agent(Model(reply=tool_caller("ask", question="Who?")), [ask], name="boss")
    agent.with_config({"metadata": {**DEEP, "lc_agent_name": "boss"}}).invoke(ASKED, config)
    assert agents_of(tree()) == ["boss", "LangGraph"]


def test_a_graph_of_the_users_is_no_agent_for_its_nodes_name(config: RunnableConfig, tree: One) -> None:
    """F6"""
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [Model().invoke(state["messages"])]})
    graph.add_edge(START, "model")
    graph.compile().invoke(ASKED, config)
    assert agents_of(tree()) == []


@needs_agent_marks
def test_a_graph_within_an_agent_that_clears_the_name_is_no_agent(config: RunnableConfig, tree: One) -> None:
    """As langgraph advises for graphs that are no subagents."""
    graph = StateGraph(MessagesState)
    graph.add_node("think", lambda state: {"messages": [Model().invoke(state["messages"])]})
    graph.add_edge(START, "think")
    inner = graph.compile()

    @tool
    def ask(question: str) -> str:
        """Ask a graph."""
        inner.invoke({"messages": [("user", question)]}, {"metadata": {"lc_agent_name": None}})
        return "it"

    create_agent(Model(reply=tool_caller("ask", question="Who?")), [ask], name="boss").invoke(ASKED, config)
    assert agents_of(tree()) == ["boss"]


@needs_agent_marks
def test_a_chain_that_alone_has_the_handler_is_a_chain(handler: CallbackHandler, tree: One) -> None:
    """It inherits the marks of the agent whose tool calls it."""
    chain = (RunnableLambda(lambda x: x) | Model()).with_config(callbacks=[handler])

    @tool
    def ask(question: str) -> str:
        """Ask a chain."""
        return str(chain.invoke(question).content)

    create_agent(Model(reply=tool_caller("ask", question="Who?")), [ask], name="boss").invoke(ASKED)
    assert "ls_integration" in tree().root.metadata
    assert agents_of(tree()) == []


# Attempts


def graph_of(step: Any, policy: RetryPolicy, fan_out: Any = "step") -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("step", step, retry_policy=policy)
    graph.add_conditional_edges(START, lambda _: fan_out, ["step"])
    graph.add_edge("step", END)
    return graph.compile()


POLICY = RetryPolicy(max_attempts=4, initial_interval=0.001, retry_on=ValueError)


def test_a_retry_policys_attempts_are_numbered(config: RunnableConfig, tree: One) -> None:
    """LangGraph tells nothing of them but the runs."""
    graph_of(Flaky(2, {"messages": []}), POLICY).invoke(ASKED, config)
    assert numbers(tree(), "step") == [(1, "error"), (2, "error"), (3, "ok")]


async def test_a_retry_policys_attempts_are_numbered_in_async_code_and_without_contents(
    own_place: Any, tree: One
) -> None:
    """The id of the node's task tells, no content."""
    flaky = Flaky(1, {"messages": []})

    async def step(state: MessagesState) -> Any:
        return flaky(state)

    handler = CallbackHandler(strict=True, content=False)
    await graph_of(step, POLICY).ainvoke(ASKED, {"callbacks": [handler]})
    assert numbers(tree(), "step") == [(1, "error"), (2, "ok")]


def test_tasks_side_by_side_are_numbered_each_for_itself(config: RunnableConfig, tree: One) -> None:
    """Two of one name and one input: their task ids keep them apart."""
    tries: list[int] = []

    def step(state: Any) -> Any:
        tries.append(1)
        if len(tries) <= 2:
            time.sleep(0.01)
            raise ValueError("not yet")
        return {"messages": []}

    graph_of(step, POLICY, [Send("step", ASKED), Send("step", ASKED)]).invoke(ASKED, config)
    assert sorted(numbers(tree(), "step")) == [(1, "error"), (1, "error"), (2, "ok"), (2, "ok")]


def test_a_loop_back_to_a_node_is_no_attempt(config: RunnableConfig, tree: One) -> None:
    """Nor is anything else that repeats without a failure."""
    graph = StateGraph(MessagesState)
    graph.add_node("step", lambda _: {"messages": [AIMessage("x")]})
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: "step" if len(state["messages"]) < 4 else END, ["step", END])
    graph.compile().invoke(ASKED, config)
    assert numbers(tree(), "step") == [(None, "ok")] * 3


def test_a_model_retry_middlewares_attempts_are_numbered(config: RunnableConfig, tree: One) -> None:
    """Siblings below the agent's node."""
    if not hasattr(middleware, "ModelRetryMiddleware"):
        pytest.skip("langchain 1.0 has none")
    retry = middleware.ModelRetryMiddleware(max_retries=3, initial_delay=0.001, jitter=False)
    create_agent(Model(reply=Flaky(2, answer())), [], middleware=[retry]).invoke(ASKED, config)
    assert numbers(tree(), "Model") == [(1, "error"), (2, "error"), (3, "ok")]


def test_a_tool_retry_middlewares_attempts_are_numbered(config: RunnableConfig, tree: One) -> None:
    """By the id of the call."""
    flaky = Flaky(1, "found")

    @tool
    def look_up(word: str) -> str:
        """Look it up."""
        return str(flaky())

    retry = middleware.ToolRetryMiddleware(max_retries=2, initial_delay=0.001, jitter=False)
    agent = create_agent(Model(reply=tool_caller("look_up", word="x")), [look_up], middleware=[retry])
    agent.invoke(ASKED, config)
    assert numbers(tree(), "look_up") == [(1, "error"), (2, "ok")]


def test_a_fallback_middlewares_attempts_are_numbered_where_the_class_is_one(config: RunnableConfig, tree: One) -> None:
    """Of another class it may be another call: nothing is guessed."""

    class Other(Model):
        pass

    fallback = ModelFallbackMiddleware(Model(reply=Flaky(1, "")), Other())
    create_agent(Model(reply=Flaky(1, "")), [], middleware=[fallback]).invoke(ASKED, config)
    assert numbers(tree(), "Model") == [(1, "error"), (2, "error")]
    assert numbers(tree(), "Other") == [(None, "ok")]


def test_a_call_with_other_arguments_is_no_attempt(config: RunnableConfig, tree: One) -> None:
    """A loop of the user's over several things, of which one fails."""
    model = Model(reply=Flaky(1, answer()))

    def each(things: list[str]) -> None:
        for thing in things:
            try:
                model.invoke(thing)
            except ValueError:
                continue

    RunnableLambda(each).invoke(["a", "b", "b"], config)
    assert numbers(tree(), "Model") == [(None, "error"), (None, "ok"), (None, "ok")]


def test_retries_are_numbered_where_contents_are_off(own_place: Any, tree: One) -> None:
    """`with_retry` tags its attempts."""
    handler = CallbackHandler(strict=True, content=False)
    flaky = RunnableLambda(Flaky(2, "x")).with_retry(wait_exponential_jitter=False, stop_after_attempt=3)
    flaky.invoke("x", {"callbacks": [handler]})
    assert [event.metadata.get("attempt") for event in tree().children(tree().root)] == [1, 2, 3]
