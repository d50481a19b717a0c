"""Every run stands under its true parent, in a tree of its own root (scenarios A)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph

from eventtree.event import EventTree
from eventtree.kinds import Kind
from eventtree.langchain import CallbackHandler, set_global_handler
from eventtree.recording.recorder import recorder
from eventtree.recording.runs import ENDED_RUNS, ENDED_SECONDS
from tests.langchain.conftest import named, shape
from tests.langchain.fakes import Library, Model, TextModel, call, needs_agent_marks, raising, tool_caller

Trees = Callable[[], list[EventTree]]
One = Callable[[], EventTree]

PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "{question}")])
CHAIN = PROMPT | Model() | StrOutputParser()
CHAIN_SHAPE = ["chain RunnableSequence", "  chain ChatPromptTemplate", "  model Model", "  chain StrOutputParser"]
ASKED = {"question": "Who?"}


@pytest.fixture
def config(handler: CallbackHandler) -> RunnableConfig:
    return {"callbacks": [handler]}


def test_batch_gives_one_tree_for_each_input(config: RunnableConfig, trees: Trees) -> None:
    """A1"""
    CHAIN.batch([{"question": str(n)} for n in range(3)], config)
    assert [shape(tree) for tree in trees()] == [CHAIN_SHAPE] * 3
    assert {tree.root.inputs["question"] for tree in trees()} == {"0", "1", "2"}


async def test_abatch_gives_one_tree_for_each_input(config: RunnableConfig, trees: Trees) -> None:
    """A1"""
    await CHAIN.abatch([{"question": str(n)} for n in range(3)], config)
    assert [shape(tree) for tree in trees()] == [CHAIN_SHAPE] * 3


async def test_batch_as_completed_gives_one_tree_for_each_input(config: RunnableConfig, trees: Trees) -> None:
    """A1"""
    list(CHAIN.batch_as_completed([{"question": str(n)} for n in range(3)], config))
    async for _ in CHAIN.abatch_as_completed([{"question": str(n)} for n in range(3)], config):
        pass
    assert [shape(tree) for tree in trees()] == [CHAIN_SHAPE] * 6


async def test_awaits_in_a_row_give_separate_trees(
    config: RunnableConfig, handler: CallbackHandler, trees: Trees
) -> None:
    """A2"""
    ids = []
    for _ in range(5):
        await CHAIN.ainvoke(ASKED, config)
        ids.append(handler.last_tree_id)
    assert [shape(tree) for tree in trees()] == [CHAIN_SHAPE] * 5
    assert ids == [tree.id for tree in trees()]


async def test_no_context_residue(config: RunnableConfig) -> None:
    """A2: what is left in the caller's context is our note of the last tree, nothing of LangChain's or of a run."""
    before = dict(copy_context().items())
    await CHAIN.ainvoke(ASKED, config)
    assert {var.name for var in dict(copy_context().items()).keys() - before.keys()} <= {"eventtree_last_tree"}


async def test_calls_leave_the_context_of_the_handlers_maker_as_it_was() -> None:
    """A2"""
    config: RunnableConfig = {"callbacks": [CallbackHandler(strict=True)]}
    before = dict(copy_context().items())
    for _ in range(2):
        await CHAIN.ainvoke(ASKED, config)
    assert dict(copy_context().items()) == before


async def test_concurrent_awaits_give_separate_trees(
    config: RunnableConfig, handler: CallbackHandler, trees: Trees
) -> None:
    """A4"""

    async def one(number: int) -> tuple[str | None, int]:
        await CHAIN.ainvoke({"question": str(number)}, config)
        return handler.last_tree_id, number

    answers = await asyncio.gather(*(one(number) for number in range(50)))
    assert [shape(tree) for tree in trees()] == [CHAIN_SHAPE] * 50
    assert {(tree.id, int(tree.root.inputs["question"])) for tree in trees()} == set(answers)


def test_a_handler_shared_by_threads_keeps_trees_apart(
    config: RunnableConfig, handler: CallbackHandler, trees: Trees
) -> None:
    """A4"""

    def one(number: int) -> tuple[str | None, int]:
        CHAIN.invoke({"question": str(number)}, config)
        return handler.last_tree_id, number

    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(one, range(100)))
    assert [shape(tree) for tree in trees()] == [CHAIN_SHAPE] * 100
    assert {(tree.id, int(tree.root.inputs["question"])) for tree in trees()} == answers


async def test_nothing_is_logged(config: RunnableConfig, caplog: pytest.LogCaptureFixture) -> None:
    """A3"""
    caplog.set_level(logging.INFO)
    await CHAIN.ainvoke(ASKED, config)
    async for _ in CHAIN.astream(ASKED, config):
        break
    stream = CHAIN.astream(ASKED, config)
    await anext(stream)
    await stream.aclose()
    assert [r for r in caplog.records if r.name != "asyncio"] == []


def test_a_handler_only_on_the_model_makes_a_root_that_keeps_the_foreign_parent(
    handler: CallbackHandler, trees: Trees
) -> None:
    """A5, A6"""
    chain = PROMPT | Model(callbacks=[handler])
    for _ in range(3):
        chain.invoke(ASKED)
    assert [shape(tree) for tree in trees()] == [["model Model"]] * 3
    for tree in trees():
        assert uuid.UUID(tree.root.metadata["parent_run_id"]) != uuid.UUID(tree.id)
    assert not recorder.runs


def test_a_config_passed_inside_a_step_does_not_lose_the_tree(
    config: RunnableConfig, handler: CallbackHandler, tree: One
) -> None:
    """A7"""

    def step(_: object) -> str:
        return CHAIN.invoke(ASKED, {"callbacks": [handler]})

    RunnableLambda(step).invoke("x", config)
    assert shape(tree()) == ["chain step", *(f"  {line}" for line in CHAIN_SHAPE)]


async def test_a_config_passed_inside_an_async_step_does_not_lose_the_tree(
    config: RunnableConfig, handler: CallbackHandler, tree: One
) -> None:
    """A7, A8"""

    async def step(_: object) -> str:
        return await asyncio.create_task(CHAIN.ainvoke(ASKED, {"callbacks": [handler]}))

    await RunnableLambda(step).ainvoke("x", config)
    assert shape(tree()) == ["chain step", *(f"  {line}" for line in CHAIN_SHAPE)]


def test_parallel_branches_stand_side_by_side(config: RunnableConfig, tree: One) -> None:

    RunnableParallel(a=CHAIN, b=RunnablePassthrough()).invoke(ASKED, config)
    lines = shape(tree())
    assert lines[0] == "chain RunnableParallel<a,b>"
    assert sorted(lines[1:]) == sorted([*(f"  {line}" for line in CHAIN_SHAPE), "  chain RunnablePassthrough"])


def test_threads_and_tasks_of_the_user_keep_parents_where_the_context_is_copied(
    config: RunnableConfig, tree: One
) -> None:
    def step(_: object) -> str:
        context = copy_context()
        with ThreadPoolExecutor() as pool:
            return pool.submit(context.run, CHAIN.invoke, ASKED).result()

    RunnableLambda(step).invoke("x", config)
    assert shape(tree()) == ["chain step", *(f"  {line}" for line in CHAIN_SHAPE)]


@needs_agent_marks
def test_a_subagent_called_by_a_tool_stands_under_the_tool(config: RunnableConfig, tree: One) -> None:
    """A11, F6: agents are told by structure, with and without a name of their own."""
    named_one = create_agent(Model(), [], name="librarian")
    nameless = create_agent(Model(), [])

    @tool
    def ask(question: str) -> str:
        """Ask others."""
        nameless.invoke({"messages": [("user", question)]})
        return str(named_one.invoke({"messages": [("user", question)]})["messages"][-1].content)

    outer = create_agent(Model(reply=tool_caller("ask", question="Who?")), [ask], name="desk")
    outer.invoke({"messages": [("user", "Who?")]}, config)
    assert shape(tree()) == [
        "agent desk",
        "  chain model",
        "    model Model",
        "  chain tools",
        "    tool ask",
        "      agent LangGraph",
        "        chain model",
        "          model Model",
        "      agent librarian",
        "        chain model",
        "          model Model",
        "  chain model",
        "    model Model",
    ]


def test_a_chain_is_no_agent_for_its_name(config: RunnableConfig, tree: One) -> None:
    """F6"""
    CHAIN.with_config(run_name="travel_agent_prompt").invoke(ASKED, config)
    assert tree().root.kind is Kind.CHAIN


@needs_agent_marks
def test_a_chain_inside_an_agents_tool_is_a_chain(config: RunnableConfig, tree: One) -> None:
    """F6: the mark that an agent leaves in the metadata is inherited by what its tools run."""

    @tool
    def ask(question: str) -> str:
        """Ask a chain."""
        return CHAIN.invoke({"question": question})

    agent = create_agent(Model(reply=tool_caller("ask", question="Who?")), [ask])
    agent.invoke({"messages": [("user", "Who?")]}, config)
    assert [event.name for event in tree().events if event.kind is Kind.AGENT] == ["LangGraph"]


def test_a_subgraph_stands_under_its_node(config: RunnableConfig, tree: One) -> None:
    """A11"""
    inner = StateGraph(MessagesState)
    inner.add_node("think", lambda state: {"messages": [Model().invoke(state["messages"])]})
    inner.add_edge(START, "think")
    outer = StateGraph(MessagesState)
    outer.add_node("sub", inner.compile())
    outer.add_edge(START, "sub")
    outer.add_edge("sub", END)
    outer.compile().invoke({"messages": [("user", "Who?")]}, config)
    assert shape(tree()) == [
        "chain LangGraph",
        "  chain sub",
        "    chain LangGraph",
        "      chain think",
        "        model Model",
    ]


def test_a_given_id_and_name_are_kept(config: RunnableConfig, tree: One) -> None:
    given = uuid.uuid4()
    CHAIN.invoke(ASKED, {**config, "run_id": given, "run_name": "ask"})
    assert (tree().id, tree().root.name) == (str(given), "ask")


def test_an_id_used_twice_keeps_both_runs(config: RunnableConfig, trees: Trees) -> None:
    given = uuid.uuid4()
    for _ in range(2):
        CHAIN.invoke(ASKED, {**config, "run_id": given})
    first, second = trees()
    assert first.id == str(given) != second.id
    assert second.root.metadata["run_id"] == str(given)
    assert [shape(first), shape(second)] == [CHAIN_SHAPE] * 2


def test_an_id_that_is_no_uuid_is_kept_as_it_reads(config: dict[str, Any], tree: One) -> None:
    """LangChain hands on whatever the caller gives."""
    CHAIN.invoke(ASKED, {**config, "run_id": "order-7"})
    assert (tree().id, shape(tree())) == ("order-7", CHAIN_SHAPE)


def test_a_second_start_of_an_open_run_is_a_duplicate(handler: CallbackHandler, tree: One) -> None:
    """A10: whatever objects come with it, and under whichever parent."""
    given = uuid.uuid4()
    handler.on_chain_start(None, "a", run_id=given, name="step")
    handler.on_chain_start(None, "b", run_id=uuid.UUID(str(given)), name="again", parent_run_id=given)
    handler.on_chain_end("b", run_id=given, parent_run_id=given)
    handler.on_chain_end("a", run_id=given)
    assert shape(tree()) == ["chain step"]
    assert (tree().root.inputs, tree().root.outputs) == ("a", "b")


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "batch"])
async def test_a_handler_that_a_configuration_holds_twice_records_once(
    handler: CallbackHandler, trees: Trees, how: str
) -> None:
    """A10: LangChain joins the handlers of `with_config` and of the call, and tells the same one everything twice."""

    def step(word: str) -> str:
        dispatch_custom_event("eventtree_cost", 0.5)
        return word

    chain = (CHAIN | step | Library() | RunnableLambda(str)).with_config(callbacks=[handler])
    config: RunnableConfig = {"callbacks": [handler]}
    if how == "invoke":
        chain.invoke(ASKED, config)
    elif how == "ainvoke":
        await chain.ainvoke(ASKED, config)
    elif how == "stream":
        list(chain.stream(ASKED, config))
    else:
        chain.batch([ASKED, ASKED], config)
    assert len(trees()) == (2 if how == "batch" else 1)
    for tree in trees():
        assert len(tree.events) == len(tree.children(tree.root)) + 1 == 7
        assert tree.total_tokens == 15
        assert [note.value for note in named(tree, "step").notes] == [0.5]


@pytest.mark.parametrize("how", ["a tool", "a text model", "a retriever", "a model"])
def test_single_runs_told_twice_are_recorded_once(handler: CallbackHandler, tree: One, how: str) -> None:
    """A10"""

    @tool
    def look(word: str) -> str:
        """Look up."""
        return word

    steps: dict[str, Any] = {"a tool": look, "a text model": TextModel(), "a retriever": Library(), "a model": Model()}
    step = steps[how].with_config(callbacks=[handler])
    step.invoke({"word": "x"} if how == "a tool" else "x", {"callbacks": [handler]})
    assert len(tree().events) == 1
    assert tree().root.status == "ok"


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "tool"])
async def test_each_custom_event_is_a_note_though_the_run_is_told_twice(
    handler: CallbackHandler, tree: One, how: str
) -> None:
    """A10: what happens inside a run is told once, by the manager of its children."""

    def step(word: str) -> str:
        """Tell of two alike."""
        for _ in range(2):
            dispatch_custom_event("eventtree_cost", 0.5)
        return word

    chain = (tool(step) if how == "tool" else RunnableLambda(step)).with_config(callbacks=[handler])
    config: RunnableConfig = {"callbacks": [handler]}
    if how == "ainvoke":
        await chain.ainvoke("x", config)
    else:
        chain.invoke({"word": "x"} if how == "tool" else "x", config)
    assert [note.value for note in tree().root.notes] == [0.5, 0.5]
    assert tree().total_usd == 1


def test_a_late_child_finds_its_ended_parent(handler: CallbackHandler, tree: One) -> None:
    root, child = uuid.uuid4(), uuid.uuid4()
    handler.on_chain_start(None, "a", run_id=root, name="root")
    handler.on_chain_end("a", run_id=root)
    handler.on_chain_start(None, "b", run_id=child, parent_run_id=root, name="late")
    handler.on_chain_end("b", run_id=child, parent_run_id=root)
    assert shape(tree()) == ["chain root", "  chain late"]


def test_a_parent_that_ended_long_ago_is_unknown(handler: CallbackHandler, trees: Trees) -> None:
    root, child = uuid.uuid4(), uuid.uuid4()
    handler.on_chain_start(None, "a", run_id=root, name="root")
    handler.on_chain_end("a", run_id=root)
    for _ in range(ENDED_RUNS):
        recorder.ended[str(uuid.uuid4())] = recorder.ended[str(root)]
    handler.on_chain_start(None, "x", run_id=(other := uuid.uuid4()), name="other")
    handler.on_chain_end("x", run_id=other)
    handler.on_chain_start(None, "b", run_id=child, parent_run_id=root, name="late")
    handler.on_chain_end("b", run_id=child, parent_run_id=root)
    assert len(recorder.ended) <= ENDED_RUNS
    assert [shape(tree) for tree in trees()] == [["chain root"], ["chain other"], ["chain late"]]


def test_a_parent_that_ended_ten_minutes_ago_is_unknown(handler: CallbackHandler, trees: Trees) -> None:
    root, other, child = (uuid.uuid4() for _ in range(3))
    handler.on_chain_start(None, "a", run_id=root, name="root")
    handler.on_chain_end("a", run_id=root)
    recorder.ended[str(root)].ended -= int((ENDED_SECONDS + 1) * 1e9)
    recorder._next_look = 0
    handler.on_chain_start(None, "x", run_id=other, name="other")
    handler.on_chain_end("x", run_id=other)
    handler.on_chain_start(None, "b", run_id=child, parent_run_id=root, name="late")
    handler.on_chain_end("b", run_id=child, parent_run_id=root)
    assert [shape(tree) for tree in trees()] == [["chain root"], ["chain other"], ["chain late"]]
    assert trees()[2].root.metadata["parent_run_id"] == str(root)


def test_retries_are_numbered_and_the_whole_is_ok(config: RunnableConfig, tree: One) -> None:
    """B10"""
    failures = iter([ValueError("once"), ValueError("twice")])

    def flaky(_: object) -> str:
        for error in failures:
            raise error
        return "done"

    RunnableLambda(flaky).with_retry(wait_exponential_jitter=False, stop_after_attempt=3).invoke("x", config)
    root = tree().root
    attempts = tree().children(root)
    assert root.status == "ok"
    assert [event.status.value for event in attempts] == ["error", "error", "ok"]
    assert [event.metadata.get("attempt") for event in attempts] == [1, 2, 3]


@pytest.mark.parametrize("inside", [False, True])
def test_fallback_attempts_stand_under_the_whole(config: RunnableConfig, tree: One, inside: bool) -> None:
    """B10: LangChain itself reports the attempts of `invoke` as siblings of the whole."""
    good, bad = Model(name="good"), Model(name="bad", reply=raising(ValueError("no")))
    whole = bad.with_fallbacks([good])
    (PROMPT | whole if inside else whole).invoke(ASKED if inside else "Who?", config)
    found = named(tree(), "RunnableWithFallbacks")
    attempts = tree().children(found)
    assert [(event.name, event.status.value, event.metadata["attempt"]) for event in attempts] == [
        ("bad", "error", 1),
        ("good", "ok", 2),
    ]
    assert found.status == "ok"


async def test_async_fallback_attempts_stand_under_the_whole(config: RunnableConfig, tree: One) -> None:
    """B10"""
    good, bad = Model(name="good"), Model(name="bad", reply=raising(ValueError("no")))
    await (PROMPT | bad.with_fallbacks([good])).ainvoke(ASKED, config)
    found = named(tree(), "RunnableWithFallbacks")
    assert [event.metadata["attempt"] for event in tree().children(found)] == [1, 2]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "stream"])
@pytest.mark.parametrize("inside", [False, True])
async def test_fallbacks_of_another_name_are_numbered_where_they_are_alike(
    config: RunnableConfig, tree: One, how: str, inside: bool
) -> None:
    """B10: a run name hides the class's; the fold numbers attempts of one name all the same."""
    good, bad = Model(name="good"), Unstreamable(name="bad", reply=raising(ValueError("no")))
    whole = (bad | StrOutputParser()).with_fallbacks([good | StrOutputParser()]).with_config(run_name="careful")
    chain: Any = PROMPT | whole if inside else whole
    asked = ASKED if inside else "Who?"
    if how == "invoke":
        chain.invoke(asked, config)
    elif how == "batch":
        chain.batch([asked], config)
    elif how == "stream":
        list(chain.stream(asked, config))
    else:
        await chain.ainvoke(asked, config)
    found = tree().children(tree().root)[1] if inside else tree().root
    assert (found.name, found.status, found.metadata.get("attempt")) == ("careful", "ok", None)
    assert [named(tree(), name).status.value for name in ("bad", "good")] == ["error", "ok"]
    assert [event.metadata["attempt"] for event in tree().events if "attempt" in event.metadata] == [1, 2]
    assert tree().total_tokens == 15


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch"])
async def test_fallbacks_that_are_retried_number_their_own_attempts(
    config: RunnableConfig, tree: One, how: str
) -> None:
    """B10: LangChain hands the tag of the retry down to them."""
    bad = Model(name="bad", reply=raising(ValueError("no")))
    whole = bad.with_fallbacks([bad]).with_retry(wait_exponential_jitter=False, stop_after_attempt=2)
    with pytest.raises(ValueError, match="no"):
        if how == "invoke":
            whole.invoke("Who?", config)
        elif how == "batch":
            whole.batch(["Who?"], config)
        else:
            await whole.ainvoke("Who?", config)
    attempts = tree().children(tree().root)
    assert [event.metadata["attempt"] for event in attempts] == [1, 2]
    for attempt in attempts:
        assert [event.metadata["attempt"] for event in tree().children(attempt)] == [1, 2]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "astream"])
async def test_fallbacks_inside_fallbacks(config: RunnableConfig, tree: One, how: str) -> None:
    """B10"""
    good, bad = Model(name="good"), Model(name="bad", reply=raising(ValueError("no")))
    chain = PROMPT | (bad | StrOutputParser()).with_fallbacks([bad.with_fallbacks([good])])
    if how == "invoke":
        chain.invoke(ASKED, config)
    elif how == "batch":
        chain.batch([ASKED], config)
    elif how == "ainvoke":
        await chain.ainvoke(ASKED, config)
    else:
        assert [chunk async for chunk in chain.astream(ASKED, config)]
    top = tree().children(tree().root)
    assert [(event.name, event.metadata.get("attempt")) for event in top] == [
        ("ChatPromptTemplate", None),
        ("RunnableWithFallbacks", None),
    ]
    attempts = tree().children(top[1])
    assert [(event.name, event.metadata["attempt"]) for event in attempts] == [
        ("RunnableSequence", 1),
        ("RunnableWithFallbacks", 2),
    ]
    inner = tree().children(attempts[1])
    assert [(event.name, event.metadata["attempt"]) for event in inner] == [("bad", 1), ("good", 2)]


class Unstreamable(Model):
    """Fails before its first chunk: only then do fallbacks stand in."""

    def _stream(self, *args: Any, **more: Any) -> Any:
        raise ValueError("no")
        yield


def unparsable(_: object) -> str:
    """Turns down what the model said, after it has been paid for."""
    raise ValueError("unparsable")


def check_attempts(tree: EventTree, whole: str = "RunnableWithFallbacks") -> None:
    """A paid attempt that failed, then a good one."""
    found = named(tree, whole)
    first, second = tree.children(found)
    assert found.status == "ok"
    assert (first.name, first.status, first.metadata["attempt"]) == ("RunnableSequence", "error", 1)
    assert (second.name, second.status, second.metadata["attempt"]) == ("good", "ok", 2)
    assert tree.total_tokens == 30
    paid = named(tree, "paid")
    assert (paid.status, paid.usage and paid.usage.total_tokens) == ("ok", 15)
    assert paid.cost is not None
    assert second.cost is not None
    assert paid.cost.total_usd == second.cost.total_usd
    assert tree.total_usd == 2 * (second.cost.total_usd or 0)


FALLBACKS = (Model(name="paid") | RunnableLambda(unparsable)).with_fallbacks([Model(name="good")])


def test_a_failed_attempt_keeps_its_cost(config: RunnableConfig, tree: One) -> None:
    """B10"""
    FALLBACKS.invoke("Who?", config)
    check_attempts(tree())


def test_a_batch_of_fallbacks(config: RunnableConfig, trees: Trees) -> None:
    """A1, B10"""
    FALLBACKS.batch(["a", "b", "c"], config)
    assert len(trees()) == 3
    for tree in trees():
        check_attempts(tree)


async def test_an_async_batch_of_fallbacks(config: RunnableConfig, trees: Trees) -> None:
    """A1, B10"""
    await FALLBACKS.abatch(["a", "b", "c"], config)
    assert len(trees()) == 3
    for tree in trees():
        check_attempts(tree)


@pytest.mark.parametrize("inside", [False, True])
def test_streaming_fallbacks(config: RunnableConfig, tree: One, inside: bool) -> None:
    """B10"""
    whole = Unstreamable(name="bad").with_fallbacks([Model(name="good")])
    list((PROMPT | whole).stream(ASKED, config) if inside else whole.stream("Who?", config))
    found = named(tree(), "RunnableWithFallbacks")
    assert found.status == "ok"
    assert [(e.name, e.status.value, e.metadata["attempt"]) for e in tree().children(found)] == [
        ("bad", "error", 1),
        ("good", "ok", 2),
    ]


async def test_async_streaming_fallbacks(config: RunnableConfig, tree: One) -> None:
    """B10"""
    assert [chunk async for chunk in FALLBACKS.astream("Who?", config)]
    check_attempts(tree())


def test_streaming_fallbacks_keep_the_cost_of_what_failed(config: RunnableConfig, tree: One) -> None:
    """B10"""
    assert list(FALLBACKS.stream("Who?", config))
    check_attempts(tree())


def test_attempts_are_counted_once_though_two_handlers_see_them(config: RunnableConfig, tree: One) -> None:
    """B10, F8"""
    set_global_handler(strict=True)
    FALLBACKS.batch(["Who?"], config)
    check_attempts(tree())


def test_retried_attempts_keep_their_cost(config: RunnableConfig, tree: One) -> None:
    """B10: a retried chain whose model had been paid before it failed."""
    left = [ValueError("once")]

    def once(message: Any) -> Any:
        if left:
            raise left.pop()
        return message

    chain = (Model() | RunnableLambda(once)).with_retry(wait_exponential_jitter=False, stop_after_attempt=2)
    chain.batch(["Who?"], config)
    assert tree().root.status == "ok"
    assert tree().total_tokens == 30
    assert [event.metadata.get("attempt") for event in tree().children(tree().root)] == [1, 2]


def test_streaming_steps_are_siblings(config: RunnableConfig, tree: One) -> None:
    assert "".join(CHAIN.stream(ASKED, config)) == "blue whale"
    assert sorted(shape(tree())) == sorted(CHAIN_SHAPE)


def test_the_last_tree_of_another_thread_is_not_ours(config: RunnableConfig, handler: CallbackHandler) -> None:
    CHAIN.invoke(ASKED, config)
    mine = handler.last_tree_id
    thread = threading.Thread(target=CHAIN.invoke, args=(ASKED, config))
    thread.start()
    thread.join()
    assert handler.last_tree_id == mine


def test_a_tool_called_twice_is_two_runs(config: RunnableConfig, tree: One) -> None:
    @tool
    def look(word: str) -> str:
        """Look up."""
        return word

    both = call("look", word="a")
    both.tool_calls.append({"name": "look", "args": {"word": "b"}, "id": "call_2", "type": "tool_call"})
    replies = iter([both, call("look", word="c")])
    agent = create_agent(Model(reply=lambda _: next(replies, Model()._answer([]))), [look])
    agent.invoke({"messages": [("user", "x")]}, config)
    tools = [event for event in tree().events if event.kind is Kind.TOOL]
    words = [event.inputs["word"] for event in tools]
    assert (sorted(words[:2]), words[2:]) == (["a", "b"], ["c"])  # the first two run at one time
    if "tool_call_id" in inspect.getsource(BaseTool.run).split("on_tool_start(")[1].split(")")[0]:
        assert [event.metadata["tool_call_id"] for event in tools] == ["call_look", "call_2", "call_look"]
