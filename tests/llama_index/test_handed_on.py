"""Work that outlives its caller names the tree it came from, and a resumed run the one it resumes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags
from workflows import Context, Workflow, step
from workflows.errors import WorkflowCancelledByUser
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from eventtree.llama_index import global_handler
from eventtree.testing.capture import Captured

dispatcher = get_dispatcher(__name__)
tasks: list[asyncio.Task[Any]] = []


@dispatcher.span
async def work() -> int:
    return 1


async def later() -> None:
    await asyncio.sleep(0.02)
    await work()


@dispatcher.span
async def outer() -> None:
    tasks.append(asyncio.create_task(later()))


class Starts(Workflow):
    """A step that starts a task and does not wait for it."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        tasks.append(asyncio.create_task(later()))
        return StopEvent()


async def start_in_langchain(_: Any) -> None:
    tasks.append(asyncio.create_task(later()))


CALLERS = {
    "a function": outer,
    "a workflow's step": lambda: Starts().run(),
    "a chain of LangChain's": lambda: RunnableLambda(start_in_langchain).ainvoke("x"),
}


@pytest.mark.parametrize("caller", CALLERS)
async def test_a_task_that_outlives_its_caller_names_the_tree_it_came_from(trees: Captured, caller: str) -> None:
    """It is a tree of its own, whose metadata says whose work it is."""
    tasks.clear()
    await CALLERS[caller]()
    await tasks[0]
    first, second = trees.wait(2)
    assert second.root.name.endswith("work")
    assert second.root.metadata["parent_tree_id"] == first.id
    assert second.root.metadata["parent_run_id"] in {event.id for event in first.events}


async def test_what_begins_after_a_run_names_nothing(trees: Captured) -> None:
    """A workflow's run stays LlamaIndex's active span where it was awaited, though it has ended."""
    tasks.clear()
    await Starts().run()
    await tasks[0]
    await work()
    assert "parent_tree_id" not in trees.wait(3)[-1].root.metadata
    assert "parent_run_id" not in trees.wait(3)[-1].root.metadata


class Asks(Workflow):
    """Waits for a human."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(prefix="Name?"))
        return StopEvent(result=answer.response)


async def test_a_run_resumed_from_a_saved_context_names_the_tree_that_paused(trees: Captured) -> None:
    """A saved context holds no id of its run: the app keeps the tree's id beside it, and hands it on as a tag."""
    handler = global_handler()
    assert handler is not None
    run = Asks().run()
    async for event in run.stream_events():
        if isinstance(event, InputRequiredEvent):
            break
    await asyncio.sleep(0.02)
    assert run.ctx is not None
    saved = {"context": run.ctx.to_dict(), "tree": handler.last_tree_id}
    await run.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await run

    workflow = Asks()
    with instrument_tags({"resumes": saved["tree"]}):
        resumed = workflow.run(ctx=Context.from_dict(workflow, saved["context"]))
    assert resumed.ctx is not None
    resumed.ctx.send_event(HumanResponseEvent(response="Ann"))
    assert await resumed == "Ann"
    first, second = trees.wait(2)
    assert second.root.metadata["resumes"] == first.id
