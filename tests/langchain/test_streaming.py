"""Streams: whole output, first token with content, no record per token, the user's laziness untouched."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableGenerator

from eventtree.event import EventTree
from eventtree.journal import open_journal
from eventtree.journal.contents import records_of, trees_in
from eventtree.langchain import CallbackHandler
from tests.langchain.conftest import named
from tests.langchain.fakes import Model, call, collected

One = Callable[[], EventTree]

CHAIN = ChatPromptTemplate.from_messages([("user", "{question}")]) | Model() | StrOutputParser()
ASKED = {"question": "Who?"}


@pytest.fixture
def config(handler: CallbackHandler) -> RunnableConfig:
    return {"callbacks": [handler]}


def check(tree: EventTree) -> None:
    """The tree of CHAIN, streamed."""
    assert tree.root.inputs == ASKED
    assert tree.root.outputs == "blue whale"
    model = named(tree, "Model")
    assert model.outputs["messages"][0]["content"] == "blue whale"
    assert model.time_to_first_token is not None
    assert model.duration is not None
    assert 0 < model.time_to_first_token <= model.duration
    assert model.usage is not None
    assert (model.usage.input_tokens, model.usage.cache_read_tokens, model.usage.output_tokens) == (10, 4, 5)
    assert model.model == "gpt-4o-mini-2024-07-18"


def test_stream(config: RunnableConfig, tree: One) -> None:
    """C1"""
    assert "".join(CHAIN.stream(ASKED, config)) == "blue whale"
    check(tree())


async def test_astream(config: RunnableConfig, tree: One) -> None:
    """C1"""
    assert "".join(await collected(CHAIN.astream(ASKED, config))) == "blue whale"
    check(tree())


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_astream_events(config: RunnableConfig, tree: One, version: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        events = await collected(CHAIN.astream_events(ASKED, config, version=version))
    assert any(event["event"] == "on_chat_model_stream" for event in events)
    check(tree())


def test_stream_events_v3(config: RunnableConfig, tree: One) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = Model().stream_events("Who?", config, version="v3")
        list(stream)
    assert tree().root.outputs["messages"][0]["content"] == "blue whale"
    assert tree().root.time_to_first_token is not None


def test_stream_mode_messages(config: RunnableConfig, tree: One) -> None:
    agent = create_agent(Model(), [])
    chunks = list(agent.stream({"messages": [("user", "Who?")]}, config, stream_mode="messages"))
    assert len(chunks) > 2
    model = named(tree(), "Model")
    assert model.outputs["messages"][0]["content"] == "blue whale"
    assert model.time_to_first_token is not None


def test_a_role_chunk_is_no_first_token_but_a_tool_call_is(handler: CallbackHandler, tree: One) -> None:
    """C11"""
    stream = Model(reply=call("look", word="x"), first_chunks=3).stream("Who?", {"callbacks": [handler]})
    seen = [(bool(chunk.tool_call_chunks), first_token_is_recorded()) for chunk in stream]
    assert [recorded for calls, recorded in seen if not calls][:3] == [False] * 3
    assert (True, True) in seen
    assert tree().root.outputs["messages"][0]["tool_calls"][0]["arguments"] == {"word": "x"}


def first_token_is_recorded() -> bool:
    """Whether any open run has had its first token."""
    from eventtree.recorder import recorder

    return any(run.token_seen for run in recorder.runs.values())


def test_no_record_per_token(config: RunnableConfig, own_place: Path) -> None:
    list(Model(reply="word " * 500).stream("Who?", config))
    journal = open_journal(str(own_place))
    (ranges,) = trees_in(journal).values()
    assert [entry["r"] for entry in records_of(journal, ranges)] == ["open", "note", "close"]


def test_the_users_stream_stays_lazy_and_its_chunks_the_same(config: RunnableConfig) -> None:
    """E5"""
    made: list[object] = []

    def source(_: Iterator[Any]) -> Iterator[object]:
        for _number in range(3):
            made.append(object())
            yield made[-1]

    stream = RunnableGenerator(source).stream("x", config)
    first = next(stream)
    assert first is made[0]
    assert len(made) == 1
    stream.close()
