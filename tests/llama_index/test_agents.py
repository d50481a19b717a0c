"""Agents and workflows: steps under their run, tools, handoffs, waits, timeouts, cancellations."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index_instrumentation.dispatcher import instrument_tags
from workflows import Context, Workflow, step
from workflows.errors import WorkflowCancelledByUser, WorkflowTimeoutError
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from eventtree.kinds import Kind, Status
from eventtree.llama_index import global_handler
from eventtree.testing.capture import Captured
from tests.llama_index.conftest import only, outline
from tests.llama_index.models import Caller, Echo


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def fail(why: str) -> str:
    """Fail."""
    raise KeyError(why)


def calculator(**settings: Any) -> FunctionAgent:
    """An agent that adds."""
    return FunctionAgent(
        name="calculator",
        description="adds",
        tools=[add, fail],
        llm=Caller(calls=[("add", {"a": 1, "b": 2})], **settings),
    )


async def test_function_agent_is_one_tree(trees: Captured) -> None:
    """A12, F5."""
    output = await calculator().run("1 + 2?")
    assert str(output) == "it is 3"
    [tree] = trees.wait()
    assert outline(tree) == [
        "agent FunctionAgent.run",
        "  chain init_run",
        "  chain setup_agent",
        "  chain run_agent_step",
        "    model Caller.astream_chat",
        "  chain parse_agent_output",
        "  chain call_tool",
        "    tool add",
        "  chain aggregate_tool_results",
        "  chain setup_agent",
        "  chain run_agent_step",
        "    model Caller.astream_chat",
        "  chain parse_agent_output",
    ]
    assert tree.root.metadata["agent"] == "calculator"
    assert tree.root.inputs == only(tree, "init_run").inputs == {"user_msg": "1 + 2?"}  # no null of what was not given
    assert tree.root.outputs["response"]["content"] == "it is 3"
    assert (only(tree, "add").inputs, only(tree, "add").outputs) == ({"a": 1, "b": 2}, 3)
    assert tree.total_tokens == 26
    first = next(event for event in tree.events if event.kind is Kind.MODEL)
    assert first.outputs["messages"][0]["tool_calls"][0]["name"] == "add"
    assert first.params is not None and first.params["tools"][0]["function"]["name"] == "add"


async def test_agent_workflow_hands_over_within_one_tree(trees: Captured) -> None:
    """A11."""
    greeter = FunctionAgent(
        name="greeter",
        description="greets",
        llm=Caller(calls=[("handoff", {"to_agent": "calculator", "reason": "sums"})]),
        can_handoff_to=["calculator"],
    )
    await AgentWorkflow(agents=[greeter, calculator()], root_agent="greeter").run("1 + 2?")
    [tree] = trees.wait()
    assert (tree.root.kind, tree.root.metadata["agent"]) == (Kind.AGENT, "greeter")
    agents = [event.metadata["agent"] for event in tree.events if event.name == "run_agent_step"]
    assert agents[0] == "greeter"
    assert "calculator" in agents
    assert only(tree, "handoff").kind is Kind.TOOL


async def test_agent_in_a_tool_of_an_agent_is_one_tree(trees: Captured) -> None:
    """A11."""

    async def ask(question: str) -> str:
        """Ask the calculator."""
        return str(await calculator().run(question))

    await FunctionAgent(name="outer", tools=[ask], llm=Caller(calls=[("ask", {"question": "1 + 2?"})])).run("go")
    [tree] = trees.wait()
    lines = outline(tree)
    at = lines.index("    tool ask")
    assert lines[at + 1] == "      agent FunctionAgent.run"
    assert [event.metadata["agent"] for event in tree.events if event.kind is Kind.AGENT] == ["outer", "calculator"]
    assert tree.total_tokens == 4 * 13


class Endless(Caller):
    """Its stream stops after the first chunk and never ends."""

    @llm_chat_callback()
    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        async def chunks() -> Any:
            yield ChatResponse(message=ChatMessage(role="assistant", content="half"), delta="half")
            streaming.set()
            await asyncio.sleep(30)

        return chunks()


streaming = threading.Event()


async def test_agent_cancelled_while_its_model_streams_keeps_what_came(trees: Captured) -> None:
    """B5."""
    streaming.clear()
    handler = FunctionAgent(name="a", tools=[add], llm=Endless()).run("go")
    await asyncio.to_thread(streaming.wait, 5)
    await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler
    [tree] = trees.wait()
    model = next(event for event in tree.events if event.kind is Kind.MODEL)
    assert (model.status, model.outputs["messages"][0]["content"]) == (Status.CANCELLED, "half")
    assert only(tree, "run_agent_step").status is tree.root.status is Status.CANCELLED


async def test_react_agent_is_one_tree(trees: Captured) -> None:
    thoughts = ["Thought: I can answer.\n", "Answer: ", "three"]
    await ReActAgent(name="thinker", llm=Echo(words=thoughts), tools=[add]).run("1 + 2?")
    [tree] = trees.wait()
    assert (tree.root.kind, tree.root.status) == (Kind.AGENT, Status.OK)
    assert tree.total_tokens == 13


async def test_tool_that_raises_is_an_error_and_the_agent_goes_on(trees: Captured) -> None:
    """B7."""
    agent = FunctionAgent(name="a", tools=[fail], llm=Caller(calls=[("fail", {"why": "no"})]))
    await agent.run("go")
    [tree] = trees.wait()
    tool = only(tree, "fail")
    assert tool.status is Status.ERROR
    assert tool.error is not None and tool.error.type == "KeyError"
    assert tree.root.status is Status.OK


class Greeting(Event):
    """Between the steps."""

    name: str


class Greeter(Workflow):
    """Two steps."""

    @step
    async def begin(self, ev: StartEvent) -> Greeting:
        return Greeting(name=ev.name)

    @step
    async def greet(self, ev: Greeting) -> StopEvent:
        if ev.name == "nobody":
            raise ValueError("nobody to greet")
        if ev.name == "sleeper":
            await asyncio.sleep(30)
        return StopEvent(result=f"hello {ev.name}")


async def test_workflow_steps_hang_under_their_run(trees: Captured) -> None:
    """A12."""
    assert await Greeter().run(name="Ann") == "hello Ann"
    [tree] = trees.wait()
    assert outline(tree) == ["chain Greeter.run", "  chain begin", "  chain greet"]
    assert (tree.root.inputs, tree.root.outputs) == ({"name": "Ann"}, "hello Ann")
    assert only(tree, "greet").inputs == {"name": "Ann"}


async def test_concurrent_runs_are_trees_of_their_own(trees: Captured) -> None:
    """A4."""
    await asyncio.gather(*(Greeter().run(name=str(number)) for number in range(20)))
    assert len(trees.wait(20)) == 20
    for tree in trees:
        assert outline(tree) == ["chain Greeter.run", "  chain begin", "  chain greet"]
        assert only(tree, "greet").inputs == tree.root.inputs


async def test_step_that_raises_fails_its_run(trees: Captured) -> None:
    with pytest.raises(ValueError, match="nobody"):
        await Greeter().run(name="nobody")
    [tree] = trees.wait()
    assert only(tree, "greet").status is tree.root.status is Status.ERROR
    assert tree.root.error is not None and tree.root.error.message == "nobody to greet"


async def test_timeout_is_an_error_of_the_run_and_cancels_the_step(trees: Captured) -> None:
    """B5."""
    with pytest.raises(WorkflowTimeoutError):
        await Greeter(timeout=0.05).run(name="sleeper")
    [tree] = trees.wait()
    assert tree.root.status is Status.ERROR
    assert only(tree, "greet").status is Status.CANCELLED


async def test_cancelled_run_is_cancelled(trees: Captured) -> None:
    """B5."""
    handler = Greeter().run(name="sleeper")
    await asyncio.sleep(0.05)
    await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler
    [tree] = trees.wait()
    assert tree.root.status is Status.CANCELLED
    assert tree.root.error is None
    assert only(tree, "greet").status is Status.CANCELLED


class Asks(Workflow):
    """Waits for a human."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(prefix="Name?"))
        return StopEvent(result=answer.response)


async def test_step_that_waits_for_a_human_is_interrupted_not_failed(trees: Captured) -> None:
    """B1."""
    handler = Asks().run()
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            assert handler.ctx is not None
            handler.ctx.send_event(HumanResponseEvent(response="Ann"))
    assert await handler == "Ann"
    [tree] = trees.wait()
    assert [event.status for event in tree.events if event.name == "ask"] == [Status.INTERRUPTED, Status.OK]
    assert tree.root.status is Status.OK


class Outer(Workflow):
    """Runs another workflow inside a step."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await Greeter().run(name="Bob"))


async def test_nested_workflow_is_one_tree(trees: Captured) -> None:
    await Outer().run()
    [tree] = trees.wait()
    assert outline(tree) == [
        "chain Outer.run",
        "  chain go",
        "    chain Greeter.run",
        "      chain begin",
        "      chain greet",
    ]


async def test_instrument_tags_are_kept_and_name_session_and_user(trees: Captured) -> None:
    """F1."""
    with instrument_tags({"team": "blue", "session_id": "s1", "user_id": "u1"}):
        await Greeter().run(name="Ann")
    [tree] = trees.wait()
    assert tree.root.metadata["team"] == "blue"
    assert (tree.root.session_id, tree.root.user) == ("s1", "u1")


async def test_steps_do_not_repeat_their_input_in_metadata(trees: Captured) -> None:
    """F2."""
    await Greeter().run(name="Ann")
    [tree] = trees.wait()
    assert "Ann" not in str([event.metadata for event in tree.events])


class Blocking(Workflow):
    """A step that is no coroutine runs in a thread, which nobody can stop."""

    @step
    def work(self, ev: StartEvent) -> StopEvent:
        begun.set()
        go_on.wait(5)
        return StopEvent(result="worked")


begun, go_on = threading.Event(), threading.Event()


async def test_cancelled_run_with_a_sync_step_tells_that_the_step_went_on(trees: Captured) -> None:
    """B5."""
    begun.clear()
    go_on.clear()
    handler = Blocking().run()
    await asyncio.to_thread(begun.wait, 5)
    await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    [tree] = trees.wait()
    assert (tree.root.name, tree.root.status) == ("Blocking.run", Status.CANCELLED)
    work = only(tree, "work")
    assert (work.parent_id, work.status, work.outputs) == (tree.root.id, Status.OK, "worked")


async def test_cancelled_task_around_a_run_cancels_nothing_it_does_not_own(trees: Captured) -> None:
    """B5: the run goes on in a task of its own."""
    handler = Greeter().run(name="Ann")
    waiting = asyncio.create_task(asyncio.wait_for(asyncio.shield(_result(handler)), 5))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await handler == "hello Ann"
    [tree] = trees.wait()
    assert tree.root.status is Status.OK


async def _result(handler: Any) -> Any:
    return await handler


async def test_last_tree_is_the_workflows_that_was_awaited_last(trees: Captured) -> None:
    handler = global_handler()
    assert handler is not None
    Echo().complete("hi")
    await Greeter().run(name="Ann")
    mine = handler.last_tree_id
    await asyncio.gather(*(asyncio.create_task(_result(Greeter().run(name=str(n)))) for n in range(3)))
    assert [tree.root.name for tree in trees.wait(5)][:2] == ["Echo.complete", "Greeter.run"]
    assert mine == trees[1].id
    assert handler.last_tree_id is not None
