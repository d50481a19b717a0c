"""Whose turn it was in a workflow of several agents, and attempts of its steps."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent
from workflows.retry_policy import ConstantDelayRetryPolicy

from eventtree.event import EventTree
from eventtree.llama_index import global_handler
from eventtree.testing.capture import Captured
from tests.llama_index.models import Caller

HANDOFF = ("handoff", {"to_agent": "calculator", "reason": "sums"})


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def desk() -> AgentWorkflow:
    """A greeter that hands over to a calculator."""
    greeter = FunctionAgent(
        name="greeter", description="greets", llm=Caller(calls=[HANDOFF]), can_handoff_to=["calculator"]
    )
    llm = Caller(calls=[HANDOFF, ("add", {"a": 1, "b": 2})])  # it sees the greeter's call in the history
    calculator = FunctionAgent(name="calculator", description="adds", tools=[add], llm=llm)
    return AgentWorkflow(agents=[greeter, calculator], root_agent="greeter")


def turns(tree: EventTree) -> list[tuple[str, Any]]:
    """Each event's name and agent, below the root, by start."""
    in_time = sorted(tree.events[1:], key=lambda event: event.start)
    return [(event.name, event.metadata.get("agent")) for event in in_time if not event.internal]


TURN = ["setup_agent", "run_agent_step", "Caller.astream_chat", "parse_agent_output"]


@pytest.mark.parametrize("content", [True, False])
async def test_each_step_tool_and_model_says_whose_turn_it_was(
    trees: Captured, content: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a handoff, and where contents are off."""
    monkeypatch.setattr(global_handler().pipeline, "content", content)  # type: ignore[union-attr]
    await desk().run("1 + 2?")
    [tree] = trees.wait()
    assert (tree.root.inputs is None) is not content
    assert turns(tree) == [
        *((name, "greeter") for name in ["init_run", *TURN, "call_tool", "handoff", "aggregate_tool_results"]),
        *((name, "calculator") for name in [*TURN, "call_tool", "add", "aggregate_tool_results", *TURN]),
    ]


@pytest.mark.filterwarnings("ignore:Skipping serialization")
async def test_a_run_that_goes_on_with_the_second_agent_says_so(trees: Captured) -> None:
    """The workflow's root agent is the greeter all the same."""
    workflow = desk()
    context = Context(workflow)
    await workflow.run("1 + 2?", ctx=context)
    await workflow.run("And?", ctx=context)
    second = trees.wait(2)[-1]
    assert {agent for _, agent in turns(second)} == {"calculator"}


async def test_an_agent_inside_a_tool_has_turns_of_its_own(trees: Captured) -> None:
    """What is below the inner agent is its own."""

    async def ask(question: str) -> str:
        """Ask the calculator."""
        inner = FunctionAgent(name="inner", tools=[add], llm=Caller(calls=[("add", {"a": 1, "b": 2})]))
        return str(await inner.run(question))

    await FunctionAgent(name="outer", tools=[ask], llm=Caller(calls=[("ask", {"question": "?"})])).run("go")
    [tree] = trees.wait()
    found = dict(turns(tree))
    assert (found["ask"], found["FunctionAgent.run"], found["add"]) == ("outer", "inner", "inner")


class Work(Event):
    number: int


class Flaky(Workflow):
    """Each of two pieces of work fails once, side by side."""

    failed: set[int] = set()
    done: set[int] = set()

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Work | None:
        self.failed, self.done = set(), set()
        for number in (1, 2):
            ctx.send_event(Work(number=number))
        return None

    @step(retry_policy=ConstantDelayRetryPolicy(delay=0.01, maximum_attempts=3))
    async def work(self, ev: Work) -> StopEvent | None:
        if ev.number not in self.failed:
            self.failed.add(ev.number)
            raise ValueError("not yet")
        self.done.add(ev.number)
        return StopEvent(result="done") if self.done == {1, 2} else None


async def test_attempts_of_a_step_are_numbered(trees: Captured) -> None:
    """By the event that the step is given."""
    await Flaky().run()
    [tree] = trees.wait()
    found = [event for event in tree.events if event.name == "work"]
    numbers = [(event.inputs["number"], event.metadata.get("attempt"), event.status.value) for event in found]
    assert sorted(numbers) == [(1, 1, "error"), (1, 2, "ok"), (2, 1, "error"), (2, 2, "ok")]
