"""How runs end: control flow, errors, cancellation (scenarios B)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import pickle
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForRetrieverRun,
    BaseCallbackHandler,
    CallbackManagerForRetrieverRun,
)
from langchain_core.callbacks.manager import atrace_as_chain_group, trace_as_chain_group
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from eventtree import process
from eventtree.config import BOUNDS
from eventtree.event import EventTree
from eventtree.journal import open_journal
from eventtree.kinds import Status
from eventtree.langchain import CallbackHandler, langgraph, set_global_handler
from eventtree.recording.recorder import recorder
from eventtree.testing.capture import Captured
from tests.langchain.conftest import named, shape
from tests.langchain.fakes import Dictating, Library, Model, call, raising, tool_caller, until

Trees = Callable[[], list[EventTree]]
One = Callable[[], EventTree]

needs_graph_callbacks = pytest.mark.skipif(
    importlib.util.find_spec("langgraph.callbacks") is None, reason="this langgraph tells no handler of its pauses"
)


class State(TypedDict):
    """A graph's state."""

    said: str


@pytest.fixture
def config(handler: CallbackHandler) -> RunnableConfig:
    return {"callbacks": [handler], "configurable": {"thread_id": "thread-1"}}


def graph(step: Callable[[State], Any], **compile_with: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("ask", step)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=InMemorySaver(), **compile_with)


def asking(state: State) -> State:
    return {"said": interrupt("Really?")}


def statuses(tree: EventTree) -> dict[str, str]:
    return {event.name: event.status.value for event in tree.events}


def test_an_interrupt_pauses_node_and_graph(config: RunnableConfig, tree: One) -> None:
    """B1, B3"""
    graph(asking).invoke({"said": ""}, config)
    assert statuses(tree()) == {"LangGraph": "interrupted", "ask": "interrupted"}
    assert all(event.error is None for event in tree().events)
    (note,) = tree().root.notes
    assert note.name == "interrupt"
    assert note.value["interrupts"][0]["value"] == "Really?"
    if importlib.util.find_spec("langgraph.callbacks") is not None:
        assert note.value["checkpoint_id"]


def test_a_resumed_run_is_linked_by_its_thread(config: RunnableConfig, trees: Trees) -> None:
    """B2: also where another handler sees the second half."""
    app = graph(asking)
    app.invoke({"said": ""}, config)
    app.invoke(Command(resume="yes"), {**config, "callbacks": [CallbackHandler(strict=True)]})
    first, second = trees()
    assert first.root.session_id == second.root.session_id == "thread-1"
    assert second.root.status is Status.OK
    notes = {note.name: note.value for note in second.root.notes}
    assert "resume" in notes
    assert any(note.value.get("resume") == "yes" for note in second.root.notes)


def paused_then_resumed(trees: Trees) -> tuple[EventTree, EventTree]:
    """The two trees of a thread, by start."""
    first, second = sorted(trees(), key=lambda tree: tree.root.start)
    assert first.root.status is Status.INTERRUPTED
    assert first.root.session_id == second.root.session_id == "thread-1"
    return first, second


@pytest.mark.parametrize("who", ["one handler", "two handlers", "the global one"])
def test_a_resumed_run_names_the_tree_it_resumes(config: RunnableConfig, trees: Trees, who: str) -> None:
    """B2"""
    app = graph(asking)
    other = dict(config)
    if who == "two handlers":
        other["callbacks"] = [CallbackHandler(strict=True)]
    if who == "the global one":
        set_global_handler(strict=True)
        config["callbacks"] = other["callbacks"] = []
    app.invoke({"said": ""}, config)
    app.invoke(Command(resume="yes"), other)
    first, second = paused_then_resumed(trees)
    assert second.root.metadata["resumes"] == first.id
    assert "resumes" not in first.root.metadata


@needs_graph_callbacks
def test_a_pause_told_twice_is_noted_once(handler: CallbackHandler, config: RunnableConfig, trees: Trees) -> None:
    """A10, B2: a configuration may hold a handler twice."""
    asks = graph(asking).with_config(callbacks=[handler])
    asks.invoke({"said": ""}, config)
    asks.invoke(Command(resume="yes"), config)
    first, second = ([note.value for note in tree.root.notes] for tree in trees())
    assert [len(value["interrupts"]) for value in first] == [1]
    assert [value.get("resume") for value in second] == ["yes", None]


@needs_graph_callbacks
def test_a_graph_paused_before_a_node_is_linked_too(config: RunnableConfig, trees: Trees) -> None:
    """B2"""
    app = graph(lambda state: state, interrupt_before=["ask"])
    app.invoke({"said": ""}, config)
    app.invoke(None, config)
    first, second = paused_then_resumed(trees)
    assert second.root.metadata["resumes"] == first.id


def test_a_thread_that_went_on_is_not_resumed_twice(config: RunnableConfig, trees: Trees) -> None:
    """B2"""
    app = graph(asking)
    app.invoke({"said": ""}, config)
    app.invoke(Command(resume="yes"), config)
    app.invoke({"said": "again"}, config)
    app.invoke(Command(resume="yes"), config)
    found = sorted(trees(), key=lambda tree: tree.root.start)
    assert [tree.root.metadata.get("resumes") for tree in found] == [None, found[0].id, None, found[2].id]


OTHER_PROCESS = """
import pickle, sys
from eventtree.langchain import CallbackHandler
from langgraph.types import Command
from tests.langchain.test_status import asking, graph

saved, writes, journal = pickle.load(sys.stdin.buffer)
app = graph(asking)
config = {"configurable": {"thread_id": "thread-1", "checkpoint_ns": ""}}
at = app.checkpointer.put(config, saved.checkpoint, saved.metadata, saved.checkpoint["channel_versions"])
for task, channel, value in writes:
    app.checkpointer.put_writes(at, [(channel, value)], task)
app.invoke(Command(resume="yes"), {**config, "callbacks": [CallbackHandler(journal=journal, strict=True)]})
"""


@needs_graph_callbacks
def test_a_run_resumed_in_another_process_is_linked_by_thread_and_checkpoint(
    config: RunnableConfig, trees: Trees, own_place: Path
) -> None:
    """B2"""
    app = graph(asking)
    app.invoke({"said": ""}, config)
    saved = app.checkpointer.get_tuple({"configurable": {"thread_id": "thread-1"}})
    given = pickle.dumps((saved._replace(pending_writes=None), saved.pending_writes, str(own_place)))
    here = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", OTHER_PROCESS], input=given, check=True, cwd=here, timeout=300)
    first, second = paused_then_resumed(trees)
    assert second.root.status is Status.OK
    (paused,) = [note.value for note in first.root.notes]
    resumed = next(note.value for note in second.root.notes if "checkpoint_id" in note.value)
    assert resumed["checkpoint_id"] == paused["checkpoint_id"]


def test_what_is_kept_of_paused_threads_is_bounded(handler: CallbackHandler) -> None:
    """E1"""
    for number in range(langgraph.PAUSED.most + 10):
        langgraph.PAUSED.keep(f"thread {number}", "tree")
    assert 0 < len(langgraph.PAUSED) <= langgraph.PAUSED.most
    assert "thread 0" not in langgraph.PAUSED
    langgraph.PAUSED.clear()


def test_a_node_interrupt_pauses_its_graph(config: RunnableConfig, tree: One) -> None:
    """B1"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langgraph.errors import NodeInterrupt

        graph(raising(NodeInterrupt("Really?"))).invoke({"said": ""}, config)
    assert set(statuses(tree()).values()) == {"interrupted"}
    assert tree().root.notes[0].value["interrupts"][0]["value"] == "Really?"
    assert all(event.error is None for event in tree().events)


async def sleep(state: State) -> State:
    await asyncio.sleep(30)
    return state


async def test_a_graphs_time_limit_for_its_steps_cancels(config: RunnableConfig, tree: One) -> None:
    """B5"""
    app = graph(sleep)
    app.step_timeout = 0.05
    with pytest.raises(TimeoutError):
        await app.ainvoke({"said": ""}, config)
    assert statuses(tree()) == {"LangGraph": "cancelled", "ask": "cancelled"}
    assert all(event.error is None for event in tree().events)


def test_a_graphs_time_limit_for_its_steps_cancels_in_sync_code(config: RunnableConfig, tree: One) -> None:
    """B5: the node's thread cannot be stopped, and ends by itself afterwards."""
    go_on = threading.Event()

    def stuck(state: State) -> State:
        go_on.wait(10)
        return state

    app = graph(stuck)
    app.step_timeout = 0.05
    app_thread = threading.Thread(target=lambda: (time.sleep(0.3), go_on.set()))
    app_thread.start()
    with pytest.raises(TimeoutError):
        app.invoke({"said": ""}, config)
    app_thread.join()
    assert tree().root.status is Status.CANCELLED
    assert tree().root.error is None


async def test_a_nodes_time_limit_cancels(config: RunnableConfig, tree: One) -> None:
    """B5"""
    builder = StateGraph(State)
    if "timeout" not in inspect.signature(StateGraph.add_node).parameters:
        pytest.skip("this langgraph has no time limits for nodes")
    builder.add_node("ask", sleep, timeout=0.05)
    builder.add_edge(START, "ask")
    with pytest.raises(Exception, match="exceeded its run timeout"):
        await builder.compile().ainvoke({"said": ""}, config)
    assert statuses(tree()) == {"LangGraph": "cancelled", "ask": "cancelled"}
    assert all(event.error is None for event in tree().events)


@pytest.mark.skipif(
    "except BaseException" not in inspect.getsource(atrace_as_chain_group),
    reason="this langchain-core tells no end of a cancelled group",
)
async def test_a_cancelled_chain_group_leaves_everything_cancelled(handler: CallbackHandler, tree: One) -> None:
    """B5"""
    set_global_handler(handler)

    async def group() -> None:
        async with atrace_as_chain_group("group", inputs={"q": "x"}) as manager:
            await (RunnableLambda(lambda x: x) | SlowModel()).ainvoke("x", {"callbacks": manager})

    task = asyncio.create_task(group())
    await until(lambda: task.done() or (len(recorder.runs) == 3 and len(recorder.ended) == 1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not recorder.runs)  # a cancelled model sends no end
    assert shape(tree()) == [
        "chain group",
        "  chain RunnableSequence",
        "    chain RunnableLambda",
        "    model SlowModel",
    ]
    assert [event.status.value for event in tree().events] == ["cancelled", "cancelled", "ok", "cancelled"]


def test_a_chain_group_that_ends_well(handler: CallbackHandler, tree: One) -> None:
    set_global_handler(handler)
    with trace_as_chain_group("group", inputs={"q": "x"}) as manager:
        Model().invoke("x", {"callbacks": manager})
        manager.on_chain_end({"a": "y"})
    assert shape(tree()) == ["chain group", "  model Model"]
    assert (tree().root.status, tree().root.inputs, tree().root.outputs) == ("ok", {"q": "x"}, {"a": "y"})


def test_runs_that_never_end_leave_the_table_by_age(handler: CallbackHandler, own_place: Path) -> None:
    """B5, E1: they are counted, and shown as what they are."""
    before = recorder.lost_track
    for _ in range(3):
        handler.on_chain_start(None, "x", run_id=uuid.uuid4(), name="lost")
    for run in recorder.runs.values():
        run.start -= int((BOUNDS.open_hours * 3600 + 1) * 1e9)
    handler.on_chain_start(None, "x", run_id=(next_run := uuid.uuid4()), name="next")
    handler.on_chain_end("x", run_id=next_run)
    assert (len(recorder.runs), recorder.lost_track) == (0, before + 3)
    lost = Captured(open_journal(str(own_place))).unfinished
    assert [(tree.root.name, tree.root.status.value) for tree in lost] == [("lost", "incomplete")] * 3


def test_a_global_handler_derives_the_notes_of_interrupt_and_resume(trees: Trees) -> None:
    """B1, B2"""
    set_global_handler(strict=True)
    app = graph(asking)
    config: RunnableConfig = {"configurable": {"thread_id": "thread-1"}}
    app.invoke({"said": ""}, config)
    app.invoke(Command(resume="yes"), config)
    first, second = trees()
    assert statuses(first) == {"LangGraph": "interrupted", "ask": "interrupted"}
    assert first.root.notes[0].value["interrupts"][0]["value"] == "Really?"
    assert [(note.name, note.value) for note in second.root.notes] == [("resume", {"resume": "yes"})]


def test_a_handler_that_was_there_before_langgraph(trees: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1, B2, B3"""
    with monkeypatch.context() as before:
        before.delitem(sys.modules, "langgraph.callbacks", raising=False)
        handler = CallbackHandler(strict=True)
    assert type(handler) is CallbackHandler
    app = graph(asking)
    config: RunnableConfig = {"callbacks": [handler], "configurable": {"thread_id": "thread-1"}}
    app.invoke({"said": ""}, config)
    app.invoke(Command(resume="yes"), config)
    first, second = paused_then_resumed(trees)
    assert [note.name for note in first.root.notes] == ["interrupt"]
    assert second.root.metadata["resumes"] == first.id


@needs_graph_callbacks
def test_a_static_interrupt_pauses_the_graph(config: RunnableConfig, tree: One) -> None:
    """B1"""
    graph(lambda state: state, interrupt_before=["ask"]).invoke({"said": ""}, config)
    assert tree().root.status is Status.INTERRUPTED


async def test_an_interrupt_in_async_code(config: RunnableConfig, tree: One) -> None:
    """B1"""
    await graph(asking).ainvoke({"said": ""}, config)
    assert statuses(tree()) == {"LangGraph": "interrupted", "ask": "interrupted"}
    assert tree().root.notes[0].name == "interrupt"


def test_an_interrupt_in_a_subgraph_pauses_all_above(config: RunnableConfig, tree: One) -> None:
    """B1"""
    inner = StateGraph(State)
    inner.add_node("deep", asking)
    inner.add_edge(START, "deep")
    outer = StateGraph(State)
    outer.add_node("sub", inner.compile())
    outer.add_edge(START, "sub")
    outer.compile(checkpointer=InMemorySaver()).invoke({"said": ""}, config)
    assert {event.status for event in tree().events} == {Status.INTERRUPTED}


def test_a_command_to_the_parent_is_ok_with_a_note(config: RunnableConfig, tree: One) -> None:
    """B1: ParentCommand"""
    inner = StateGraph(State)
    inner.add_node("jump", lambda state: Command(graph=Command.PARENT, goto="other", update={"said": "x"}))
    inner.add_edge(START, "jump")
    outer = StateGraph(State)
    outer.add_node("sub", inner.compile(), destinations=("other",))
    outer.add_node("other", lambda state: state)
    outer.add_edge(START, "sub")
    outer.compile().invoke({"said": ""}, {"callbacks": config["callbacks"]})
    assert {event.status for event in tree().events} == {Status.OK}
    assert any(note.name == "control_flow" for event in tree().events for note in event.notes)


def test_control_flow_is_told_by_module_and_name(handler: CallbackHandler, trees: Trees) -> None:
    """B1"""
    from langgraph import errors
    from langgraph.errors import GraphInterrupt

    class OwnInterrupt(GraphInterrupt):
        """An app's own kind of pause."""

    drained = getattr(errors, "GraphDrained", None) or type(
        "GraphDrained", (errors.GraphBubbleUp,), {"__module__": errors.__name__}
    )
    for error in (GraphInterrupt(), OwnInterrupt(), drained()):
        handler.on_chain_start(None, "x", run_id=(run := uuid.uuid4()), name="x")
        handler.on_chain_error(error, run_id=run)
    assert [tree.root.status.value for tree in trees()] == ["interrupted", "interrupted", "ok"]


def test_a_users_own_exception_of_that_name_is_an_error(config: RunnableConfig, tree: One) -> None:
    """B1"""

    class GraphInterrupt(Exception):
        """Not langgraph's."""

    with pytest.raises(GraphInterrupt):
        RunnableLambda(raising(GraphInterrupt("GraphBubbleUp"))).invoke("x", config)
    assert tree().root.status is Status.ERROR
    assert tree().root.error is not None
    assert tree().root.error.type.endswith("GraphInterrupt")


def test_an_error_carries_type_message_and_traceback(config: RunnableConfig, tree: One) -> None:
    """B4"""
    with pytest.raises(KeyError):
        (RunnableLambda(lambda x: x) | RunnableLambda(raising(KeyError("lost")))).invoke("x", config)
    error = tree().root.error
    assert error is not None
    assert (error.type, error.message) == ("KeyError", "'lost'")
    assert error.traceback is not None
    assert "in step" in error.traceback
    assert statuses(tree()) == {"RunnableSequence": "error", "RunnableLambda": "ok", "step": "error"}


class Unreadable(asyncio.CancelledError):
    """Ends a task, and says nothing."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_cancellation_whose_text_cannot_be_read(config: RunnableConfig, tree: One) -> None:
    with pytest.raises(Unreadable):
        RunnableLambda(raising(Unreadable())).invoke("x", config)
    assert tree().root.status is Status.CANCELLED


def test_an_error_whose_text_cannot_be_read(config: RunnableConfig, tree: One) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(Broken):
        RunnableLambda(raising(Broken())).invoke("x", config)
    assert tree().root.status is Status.ERROR


class SlowLibrary(Library):
    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        await asyncio.Event().wait()
        return []


class StoppedLibrary(Library):
    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        raise KeyboardInterrupt


async def wait(_: Any) -> str:
    await asyncio.Event().wait()
    return ""


@tool
async def wait_for_ever(word: str) -> str:
    """Wait."""
    return await wait(word)


class SlowModel(Model):
    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    "step",
    [RunnableLambda(wait), SlowLibrary(), SlowModel(), wait_for_ever],
    ids=["chain", "retriever", "model", "tool"],
)
async def test_a_cancelled_task_leaves_everything_cancelled(config: RunnableConfig, tree: One, step: Any) -> None:
    """B5"""
    chain = RunnableLambda(lambda x: x) | step
    task = asyncio.create_task(chain.ainvoke("x", config))
    await until(lambda: len(recorder.runs) == 2 and len(recorder.ended) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert [event.status.value for event in tree().events] == ["cancelled", "ok", "cancelled"]
    assert not recorder.runs
    assert all(event.error is None for event in tree().events)


ALONE = pytest.mark.parametrize(
    ("step", "asked"),
    [(SlowLibrary(), "x"), (SlowModel(), "x"), (wait_for_ever, {"word": "x"})],
    ids=["retriever", "model", "tool"],
)


@ALONE
async def test_what_is_called_alone_and_cancelled_is_cancelled(
    config: RunnableConfig, trees: Trees, step: Any, asked: Any
) -> None:
    """B5: LangChain tells no end of them, and there is no run around that ends."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(step.ainvoke(asked, config), 0.05)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await step.ainvoke(asked, config)
    await until(lambda: not recorder.runs)
    task = asyncio.create_task(step.ainvoke(asked, config))
    await until(lambda: len(recorder.runs) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not recorder.runs)
    assert [tree.root.status.value for tree in trees()] == ["cancelled"] * 3


@ALONE
async def test_a_kept_exception_does_not_hide_a_cancelled_run(
    config: RunnableConfig, tree: One, step: Any, asked: Any
) -> None:
    """B5"""
    task = asyncio.create_task(step.ainvoke(asked, config))
    await until(lambda: len(recorder.runs) == 1)
    task.cancel()
    kept = await asyncio.gather(task, return_exceptions=True)
    assert tree().root.status is Status.CANCELLED
    assert isinstance(kept[0], asyncio.CancelledError)


@ALONE
def test_a_run_whose_loop_has_closed_is_cancelled(config: RunnableConfig, tree: One, step: Any, asked: Any) -> None:
    """B5: `asyncio.run` leaves an exception that holds its own task."""

    async def impatient() -> None:
        async with asyncio.timeout(0.05):
            await step.ainvoke(asked, config)

    with pytest.raises(TimeoutError) as kept:
        asyncio.run(impatient())
    assert tree().root.status is Status.CANCELLED
    assert kept.value.__cause__ is not None


class Blocking(BaseCallbackHandler):
    """Another handler of the app's, which has not returned yet."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        self.released.wait(30)


@pytest.mark.parametrize("what", ["chain", "graph", "chain below a run of which no handler is told"])
async def test_a_chain_cancelled_while_its_start_is_reported_is_cancelled(
    handler: CallbackHandler, tree: One, what: str
) -> None:
    """B5: LangChain has not begun to look for errors then, and the tree would never go out."""
    other = Blocking()
    step: Any = create_agent(Model(), []) if what == "graph" else RunnableLambda(wait)
    asked = {"messages": [HumanMessage("x")]} if what == "graph" else "x"
    above = uuid.uuid4() if "below" in what else None
    manager = AsyncCallbackManager([handler, other], [handler, other], parent_run_id=above)
    task = asyncio.create_task(step.ainvoke(asked, {"callbacks": manager}))
    await until(lambda: len(recorder.runs) == 1)
    task.cancel()
    other.released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [event.status for event in tree().events] == [Status.CANCELLED]
    assert not recorder.runs


IMPATIENT = """
import asyncio
from eventtree.langchain import CallbackHandler
from tests.langchain.test_status import SlowModel

asyncio.run(asyncio.wait_for(SlowModel().ainvoke("x", {"callbacks": [CallbackHandler(strict=True)]}), 0.05))
"""


def test_a_process_that_ends_with_a_cancelled_run_says_so(trees: Trees) -> None:
    """B5"""
    here = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", IMPATIENT], capture_output=True, text=True, cwd=here, timeout=300)
    assert ended.stderr.splitlines()[-1] == "TimeoutError"
    assert [tree.root.status.value for tree in trees()] == ["cancelled"]


@ALONE
async def test_a_time_limit_inside_a_step_that_goes_on_cancels(
    config: RunnableConfig, tree: One, step: Any, asked: Any
) -> None:
    """B5"""

    async def patient(_: Any) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await step.ainvoke(asked)
        return "gave up"

    await RunnableLambda(patient).ainvoke("x", config)
    assert [event.status.value for event in tree().events] == ["ok", "cancelled"]


def test_a_sync_run_whose_end_is_never_reported_is_cancelled(config: RunnableConfig, trees: Trees) -> None:
    """LangChain reports no end of `with_fallbacks` whose stream is left at its first chunk, nor of Ctrl-C."""
    for _ in RunnableLambda(str).with_fallbacks([RunnableLambda(str)]).stream("x", config):
        break
    with pytest.raises(KeyboardInterrupt):
        StoppedLibrary().invoke("x", config)
    assert len(recorder.runs) == 1  # the first is over where another begins
    assert [tree.root.status.value for tree in trees()] == ["cancelled"] * 2


def test_a_sync_stream_goes_on_after_the_loop_in_which_it_began(config: RunnableConfig, tree: One) -> None:
    """Its run is no task's."""

    async def begun() -> Iterator[Any]:
        stream = (RunnableLambda(str) | str).with_fallbacks([RunnableLambda(str)]).stream("x", config)
        assert next(stream) == "x"
        return stream

    stream = asyncio.run(begun())
    process.settle()
    assert list(stream) == []
    assert tree().root.status is Status.OK


async def test_a_handler_called_by_hand_may_tell_the_end_with_another_id_object(
    handler: CallbackHandler, tree: One
) -> None:
    run_id = str(uuid.uuid4())
    handler.on_retriever_start(None, "x", run_id=uuid.UUID(run_id), name="far")
    await asyncio.sleep(0)
    assert list(recorder.runs) == [run_id]
    handler.on_retriever_end([], run_id=uuid.UUID(run_id))
    assert tree().root.status is Status.OK


async def test_a_time_limit_of_the_app_cancels(config: RunnableConfig, tree: One) -> None:
    """B5"""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(RunnableLambda(wait).ainvoke("x", config), 0.2)
    assert tree().root.status is Status.CANCELLED


DICTATING = Dictating()
AGENT = create_agent(DICTATING, [])
TALKS: dict[str, Callable[[RunnableConfig], Any]] = {
    "model": lambda config: DICTATING.astream("Who?", config),
    "chain": lambda config: (RunnableLambda(lambda x: x) | DICTATING).astream("Who?", config),
    # In these LangChain tells no end of the model.
    "graph's events": lambda config: AGENT.astream_events({"messages": [("user", "Who?")]}, config, version="v2"),
    "graph's messages": lambda config: AGENT.astream({"messages": [("user", "x")]}, config, stream_mode="messages"),
}


@pytest.mark.parametrize("how", ["time limit", "cancelled", "left"])
@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS)
async def test_what_a_model_had_said_is_kept(config: RunnableConfig, tree: One, talk: Any, how: str) -> None:
    """B5, B6"""
    set_global_handler(strict=True)  # sees it all too, and adds nothing

    async def listen(stream: Any) -> None:
        async for _ in stream:
            if how == "left" and said():
                break

    def said() -> bool:
        return any(len(run.streamed or ()) > 5 for run in recorder.runs.values())

    stream = talk(config)
    task = asyncio.create_task(listen(stream))
    if how == "time limit":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await task
    elif how == "cancelled":
        await until(said)
        task.cancel()
        await asyncio.wait([task])
    else:
        await task
    await stream.aclose()
    await until(lambda: not recorder.runs)
    model = named(tree(), "Dictating")
    (message,) = model.outputs["messages"]
    assert {tree().root.status, model.status} == {Status.CANCELLED}
    assert message["content"].split() == ["word"] * message["content"].count("word")
    assert "word word" in message["content"]
    assert len(message["content"]) < 40_000
    assert model.notes == () or model.notes[0].name == "cancelled"


async def test_what_a_model_had_said_before_an_error_is_kept(config: RunnableConfig, tree: One) -> None:
    """B5"""

    class Breaking(Dictating):
        async def _astream(self, *args: Any, **more: Any) -> Any:
            async for chunk in super()._astream(*args, **more):
                yield chunk
            raise ConnectionError("lost")

    with pytest.raises(ConnectionError):
        async for _ in create_agent(Breaking(reply="blue whale"), []).astream(
            {"messages": []}, config, stream_mode="messages"
        ):
            pass
    model = named(tree(), "Breaking")
    assert (model.status, model.error and model.error.message) == (Status.ERROR, "lost")
    assert model.outputs["messages"][0]["content"] == "blue whale"


async def test_a_time_limit_inside_a_step_cancels(config: RunnableConfig, tree: One) -> None:
    """B5"""

    async def step(_: Any) -> str:
        return await asyncio.wait_for(wait(""), 0.01)

    with pytest.raises(TimeoutError):
        await RunnableLambda(step).ainvoke("x", config)
    assert tree().root.status is Status.CANCELLED


def test_a_sockets_timeout_is_an_error(config: RunnableConfig, tree: One) -> None:
    with pytest.raises(TimeoutError):
        RunnableLambda(raising(TimeoutError("read timed out"))).invoke("x", config)
    assert tree().root.status is Status.ERROR


def test_a_model_stream_left_early_is_cancelled_with_what_had_come(config: RunnableConfig, tree: One) -> None:
    """B6"""
    stream = Model().stream("Who?", config)
    while not next(stream).content:
        pass
    stream.close()
    assert tree().root.status is Status.CANCELLED
    assert tree().root.outputs["messages"][0]["content"] == "blue"


async def test_an_async_model_stream_left_early_is_cancelled_with_what_had_come(
    config: RunnableConfig, tree: One
) -> None:
    """B6"""
    stream = Model().astream("Who?", config)
    async for chunk in stream:
        if chunk.content:
            break
    await stream.aclose()
    assert tree().root.status is Status.CANCELLED
    assert tree().root.outputs["messages"][0]["content"] == "blue"


@pytest.fixture
def failing() -> Iterator[Any]:
    @tool
    def fail(word: str) -> str:
        """Fail."""
        raise ToolException(f"no {word}")

    yield fail


def test_a_tool_error_that_escapes(config: RunnableConfig, tree: One, failing: Any) -> None:
    """B7"""
    with pytest.raises(ToolException):
        failing.invoke({"word": "x"}, config)
    assert tree().root.status is Status.ERROR


def test_a_tool_error_that_is_handled_is_still_an_error(config: RunnableConfig, tree: One, failing: Any) -> None:
    """B7"""
    failing.handle_tool_error = True
    agent = create_agent(Model(reply=tool_caller("fail", word="x")), [failing])
    agent.invoke({"messages": [("user", "x")]}, config)
    found = named(tree(), "fail")
    assert found.status is Status.ERROR
    assert found.error is not None
    assert found.error.message == "no x"
    assert found.outputs["status"] == "error"
    assert tree().root.status is Status.OK


def test_a_tool_that_interrupts(config: RunnableConfig, tree: One) -> None:
    """B1"""

    @tool
    def confirm(word: str) -> str:
        """Ask a human."""
        return str(interrupt(word))

    agent = create_agent(Model(reply=call("confirm", word="sure?")), [confirm], checkpointer=InMemorySaver())
    agent.invoke({"messages": [("user", "x")]}, config)
    assert named(tree(), "confirm").status is Status.INTERRUPTED
    assert tree().root.status is Status.INTERRUPTED


def test_runs_that_never_end_leave_the_table_with_their_root(handler: CallbackHandler, tree: One) -> None:
    """B5, E1"""
    root, child = uuid.uuid4(), uuid.uuid4()
    before = recorder.left_open
    handler.on_chain_start(None, "x", run_id=root, name="root")
    handler.on_retriever_start(None, "x", run_id=child, parent_run_id=root, name="lost")
    handler.on_chain_end("x", run_id=root)
    assert (len(recorder.runs), recorder.left_open) == (0, before + 1)
    assert named(tree(), "lost").status is Status.INCOMPLETE


def test_an_end_that_comes_after_the_roots_is_recorded(handler: CallbackHandler, tree: One) -> None:
    root, child = uuid.uuid4(), uuid.uuid4()
    handler.on_chain_start(None, "x", run_id=root, name="root")
    handler.on_chat_model_start(None, [[]], run_id=child, parent_run_id=root, name="late")
    handler.on_chain_end("x", run_id=root)
    handler.on_llm_new_token("x", run_id=child, parent_run_id=root)
    handler.on_llm_error(ValueError("late"), run_id=child, parent_run_id=root)
    handler.on_llm_error(ValueError("twice"), run_id=child, parent_run_id=root)
    found = named(tree(), "late")
    assert (found.status, found.error and found.error.message) == (Status.ERROR, "late")
    assert found.time_to_first_token is not None
    assert shape(tree()) == ["chain root", "  model late"]
