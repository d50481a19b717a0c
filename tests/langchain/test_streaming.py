"""Streams: whole output, first token with content, no record per token, the user's laziness untouched."""

from __future__ import annotations

import asyncio
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableGenerator

import eventtree
from eventtree.event import EventTree
from eventtree.journal import open_journal
from eventtree.journal.trees import load, trees_in
from eventtree.kinds import Status
from eventtree.langchain import CallbackHandler, set_global_handler
from eventtree.recording.recorder import recorder
from tests.langchain.conftest import named
from tests.langchain.fakes import Dictating, Model, answer, call, collected, until

Trees = Callable[[], list[EventTree]]
One = Callable[[], EventTree]

CHAIN = ChatPromptTemplate.from_messages([("user", "{question}")]) | Model() | StrOutputParser()
ASKED = {"question": "Who?"}

needs_v3 = pytest.mark.skipif(not hasattr(Model, "stream_events"), reason="this langchain-core has no protocol events")


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


@needs_v3
def test_stream_events_v3(config: RunnableConfig, tree: One) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = Model().stream_events("Who?", config, version="v3")
        list(stream)
    assert tree().root.outputs["messages"][0]["content"] == "blue whale"
    assert tree().root.time_to_first_token is not None


async def stream_v3(model: Model, config: RunnableConfig) -> list[Any]:
    """All protocol events of an answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return await collected(await model.astream_events("Who?", config, version="v3"))


@needs_v3
async def test_a_late_end_is_waited_for_by_a_flush(config: RunnableConfig, trees: Trees) -> None:
    """LangChain tells the end of an async v3 stream only after the user has had the last event."""
    await stream_v3(Model(), config)
    await eventtree.aflush(timeout=5)
    (tree,) = trees()
    assert (tree.root.status, tree.root.outputs["messages"][0]["content"]) == ("ok", "blue whale")
    assert tree.root.time_to_first_token is not None


class Indexed(Model):
    """Streams standard blocks that have their place as text, as LangChain makes them of Gemini's calls."""

    def _chunks(self, messages: Any) -> Iterator[AIMessageChunk]:
        whole = self._answer(messages)
        blocks: Any = [{**one, "type": "tool_call", "index": f"lc_tc_{n}"} for n, one in enumerate(whole.tool_calls)]
        about = {**whole.response_metadata, "output_version": "v1"}
        yield AIMessageChunk(blocks, id="run-1", usage_metadata=whole.usage_metadata, response_metadata=about)


LOOK = call("look", word="x")


@needs_v3
@pytest.mark.parametrize(
    ("model", "reply"),
    [(Model, "blue whale"), (Model, LOOK), (Indexed, LOOK)],
    ids=["text", "tool call", "tool call with more keys"],
)
def test_a_whole_answer_stays_one_though_its_loop_ends_at_once(
    config: RunnableConfig, tree: One, model: type[Model], reply: Any
) -> None:
    """What LangChain tells then is that the model's task was cancelled."""
    asyncio.run(stream_v3(model(reply=reply), config))
    root = tree().root
    (message,) = root.outputs["messages"]
    assert root.status is Status.OK
    assert message["finish_reason"] == "stop"
    if reply == "blue whale":
        assert message["content"] == "blue whale"
    else:
        assert (message["tool_calls"][0]["name"], message["tool_calls"][0]["arguments"]) == ("look", {"word": "x"})
    assert root.usage is not None
    assert (root.usage.total_tokens, root.usage.cache_read_tokens) == (15, 4)
    assert root.model == "gpt-4o-mini-2024-07-18"
    assert root.notes == ()


@needs_v3
def test_a_whole_answer_is_kept_once_though_two_handlers_see_it(config: RunnableConfig, tree: One) -> None:
    """F8"""
    set_global_handler(strict=True)
    asyncio.run(stream_v3(Model(), config))
    assert tree().root.outputs["messages"][0]["content"] == "blue whale"


@needs_v3
@pytest.mark.parametrize("tells", [False, True])
def test_an_unfinished_v3_answer_is_cancelled_and_what_had_come_kept(
    config: RunnableConfig, tree: One, tells: bool
) -> None:
    """B5"""
    set_global_handler(strict=True)  # sees it all too, and adds nothing

    async def cut() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream_v3(Dictating(tells=tells), config), 0.2)

    asyncio.run(cut())
    (message,) = tree().root.outputs["messages"]
    assert tree().root.status is Status.CANCELLED
    assert message["content"].startswith("word word")
    assert message["content"].split() == ["word"] * message["content"].count("word")


@pytest.mark.parametrize("twice", ["first", "second"])
def test_a_partial_answer_is_whole_though_one_of_two_handlers_is_registered_twice(
    handler: CallbackHandler, tree: One, twice: str
) -> None:
    """A10, F8"""
    other, given = CallbackHandler(strict=True), uuid.uuid4()
    handlers = [handler, handler, other] if twice == "first" else [handler, other, other]
    for each in handlers:
        each.on_chat_model_start(None, [[]], run_id=given)
    for word in ("one ", "two ", "three ", "four"):
        for each in handlers:
            each.on_llm_new_token(word, run_id=given)
    for each in handlers:
        each.on_llm_error(asyncio.CancelledError(), run_id=given)
    assert tree().root.outputs["messages"][0]["content"] == "one two three four"


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_chain_whose_stream_is_left_early_says_what_langchain_did(
    config: RunnableConfig, tree: One, how: str
) -> None:
    """B6: it reads the model's stream to its end, all of which is billed, and announces success."""
    stream = CHAIN.stream(ASKED, config)
    assert next(chunk for chunk in stream if chunk) == "blue"
    if how == "closed":
        stream.close()
    del stream
    model = named(tree(), "Model")
    assert (model.status, model.outputs["messages"][0]["content"]) == ("ok", "blue whale")
    assert model.usage is not None
    assert model.usage.total_tokens == 15
    assert tree().root.status is Status.OK
    assert tree().root.error is None


async def test_an_async_chain_whose_stream_is_left_early_is_cancelled(config: RunnableConfig, tree: One) -> None:
    """B6: here LangChain stops the model."""
    stream = CHAIN.astream(ASKED, config)
    async for chunk in stream:
        if chunk:
            break
    await stream.aclose()
    # The ends are shielded: they land later, the root's perhaps first.
    await until(lambda: not recorder.runs and not any(run.is_left for run in recorder.ended.values()))
    assert tree().root.status is Status.CANCELLED
    model = named(tree(), "Model")
    assert (model.status, model.outputs["messages"][0]["content"]) == ("cancelled", "blue")
    assert all(event.error is None for event in tree().events)


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
    return any(run.token_seen for run in recorder.runs.values())


def test_no_record_per_token(config: RunnableConfig, own_place: Path) -> None:
    list(Model(reply="word " * 500).stream("Who?", config))
    journal = open_journal(str(own_place))
    (logged,) = trees_in(journal).values()
    assert [entry["r"] for entry in load(journal, logged.lines)] == ["open", "note", "close"]


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


@pytest.mark.parametrize("sample_rate", [0.0, 1.0])
def test_nothing_that_was_streamed_is_kept_once_its_run_has_ended(sample_rate: float) -> None:
    """Ended runs stay known as parents: also where a tree is only counted, their texts don't stay."""
    handler = CallbackHandler(sample_rate=sample_rate)
    model = Model(reply=answer("a " * 5_000))
    for _ in range(3):
        list(model.stream("x", {"callbacks": [handler]}))
    assert recorder.ended
    assert [run for run in list(recorder.ended.values()) if run.streamed] == []
