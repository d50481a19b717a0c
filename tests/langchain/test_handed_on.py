"""Work that outlives its caller, and sessions that the app configures: both are known though no callback tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.runnables import ConfigurableFieldSpec, RunnableConfig, RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory

import eventtree
from eventtree.event import EventTree
from eventtree.langchain import CallbackHandler
from eventtree.recording.remote import read
from tests.langchain.conftest import named, shape
from tests.langchain.fakes import Model, collected

One = Callable[[], EventTree]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*eprecated")


@pytest.fixture
def config(handler: CallbackHandler) -> RunnableConfig:
    return {"callbacks": [handler]}


async def test_a_task_that_outlives_its_caller_stays_in_the_callers_tree(config: RunnableConfig, tree: One) -> None:
    """LangChain names the parent by id, which is known for a while after it has ended."""
    tasks: list[asyncio.Task[Any]] = []

    async def later() -> None:
        await asyncio.sleep(0.02)
        await Model().ainvoke("x")

    async def start(given: str) -> str:
        tasks.append(asyncio.create_task(later()))
        return given

    await RunnableLambda(start).with_config(run_name="start").ainvoke("x", config)
    assert shape(tree()) == ["chain start"]
    await tasks[0]
    assert shape(tree()) == ["chain start", "  model Model"]
    assert named(tree(), "Model").parent_id == tree().root.id


def remembering() -> Any:
    """A model with a history for each session."""
    return RunnableWithMessageHistory(Model(), lambda session_id: InMemoryChatMessageHistory())


@pytest.mark.parametrize("how", ["invoke", "stream", "ainvoke", "astream"])
async def test_a_configured_session_is_the_trees(config: RunnableConfig, tree: One, how: str) -> None:
    """`RunnableWithMessageHistory` is told of it by `configurable`, alone or inside a chain."""
    chain = RunnableLambda(lambda x: x) | remembering()
    given: Any = {**config, "configurable": {"session_id": "s-1"}}
    if how == "invoke":
        chain.invoke("hi", given)
    elif how == "stream":
        list(chain.stream("hi", given))
    elif how == "ainvoke":
        await chain.ainvoke("hi", given)
    else:
        await collected(chain.astream("hi", given))
    assert {event.session_id for event in tree().events} == {"s-1"}


@pytest.mark.parametrize(
    "given",
    [{"metadata": {"session_id": "s,1", "user_id": 7}}, {"configurable": {"session_id": "s,1", "user": "7"}}],
    ids=["metadata", "configurable"],
)
def test_a_session_that_only_langchain_names_is_handed_on(config: RunnableConfig, tree: One, given: Any) -> None:
    sent = []
    chain = RunnableLambda(lambda x: x) | RunnableLambda(lambda x: sent.append(read(eventtree.headers())))
    chain.invoke("x", {**config, **given})
    assert [(one.session, one.user) for one in sent if one is not None] == [("s,1", "7")]
    assert (tree().root.session_id, tree().root.user) == ("s,1", "7")


def test_a_history_of_its_own_is_the_root(config: RunnableConfig, tree: One) -> None:
    """With the keys of LangChain's own example."""
    fields = [ConfigurableFieldSpec(id=name, annotation=str) for name in ("user_id", "conversation_id")]

    def history(user_id: str, conversation_id: str) -> InMemoryChatMessageHistory:
        return InMemoryChatMessageHistory()

    chain = RunnableWithMessageHistory(Model(), history, history_factory_config=fields)
    chain.invoke("hi", {**config, "configurable": {"user_id": "123", "conversation_id": "1"}})
    assert (tree().root.name, tree().root.session_id, tree().root.user) == ("RunnableWithMessageHistory", "1", "123")


def test_what_is_named_counts_before_what_is_configured(config: RunnableConfig, tree: One) -> None:
    with eventtree.session("named"):
        remembering().invoke("hi", {**config, "configurable": {"session_id": "s-1", "user_id": "u"}})
    assert (tree().root.session_id, tree().root.user) == ("named", "u")


def test_a_call_inside_configures_nothing_for_the_tree(config: RunnableConfig, tree: One) -> None:
    """Several sessions in one tree are none."""

    def both(_: Any) -> None:
        for session in ("a", "b"):
            remembering().invoke("hi", {"configurable": {"session_id": session}})

    RunnableLambda(both).invoke("x", config)
    assert tree().root.session_id is None


def test_a_configured_session_is_redacted(own_place: Any, tree: One) -> None:
    handler = CallbackHandler(strict=True, redact=lambda text: text.replace("Ann", "…"))
    remembering().invoke("hi", {"callbacks": [handler], "configurable": {"session_id": "of Ann"}})
    assert tree().root.session_id == "of …"
