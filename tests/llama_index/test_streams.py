"""A lazy stream stays in its tree, is never consumed by us, and ends when it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, ClassVar

import pytest
from llama_index.core import SummaryIndex, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.schema import TextNode
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span import BaseSpan
from llama_index_instrumentation.span_handlers import BaseSpanHandler

import eventtree
from eventtree import process
from eventtree.event import Event, EventTree
from eventtree.kinds import Kind, Status
from eventtree.llama_index.streams import Streams
from eventtree.recording.recorder import recorder
from eventtree.testing.capture import Captured
from tests.llama_index.conftest import outline
from tests.llama_index.models import USAGE, Caller, Echo

TEXT = "the answer is here"
STREAMED = [
    "chain RetrieverQueryEngine.query",
    "  retriever VectorIndexRetriever.retrieve",
    "    embedding MockEmbedding.get_query_embedding",
    "  chain CompactAndRefine.synthesize",
    "    chain CompactAndRefine.get_response",
    "      model Echo.stream_complete",
]


class Answers(Caller):
    """A chat model that answers with the same text."""

    def answer(self, messages: Sequence[ChatMessage]) -> ChatMessage:
        return ChatMessage(role="assistant", content=TEXT)


def model_of(tree: EventTree) -> Event:
    """The innermost model event."""
    return next(event for event in tree.events if event.kind is Kind.MODEL and not event.internal)


def test_streaming_query_is_one_tree_closed_with_the_full_text(trees: Captured, index: VectorStoreIndex) -> None:
    response = index.as_query_engine(llm=Echo(), streaming=True).query("Where?")
    assert not trees, "the query is over before its stream began"
    assert "".join(response.response_gen) == TEXT
    [tree] = trees  # though `response` still holds the generator
    assert outline(tree) == STREAMED
    assert all(event.status is Status.OK for event in tree.events)
    assert tree.root.outputs["response"] == TEXT
    assert tree.root.outputs["sources"]
    model = model_of(tree)
    assert model.outputs == {"text": TEXT}
    assert model.usage is not None and model.usage.total_tokens == 13
    assert model.time_to_first_token is not None
    assert tree.root.duration is not None and model.duration is not None
    assert tree.root.duration >= model.duration


async def test_async_streaming_query_is_one_tree(trees: Captured, index: VectorStoreIndex) -> None:
    response = await index.as_query_engine(llm=Echo(), streaming=True).aquery("Where?")
    assert not trees
    text = "".join([token async for token in response.response_gen])
    assert text == TEXT
    [tree] = trees
    assert tree.root.outputs["response"] == TEXT
    assert model_of(tree).outputs["text" if "text" in model_of(tree).outputs else "messages"]
    assert tree.total_tokens == 13


def test_stream_read_in_another_thread_stays_in_its_tree(trees: Captured, index: VectorStoreIndex) -> None:
    response = index.as_query_engine(llm=Echo(), streaming=True).query("Where?")
    reader = threading.Thread(target=lambda: list(response.response_gen))
    reader.start()
    reader.join()
    [tree] = trees
    assert outline(tree) == STREAMED


def test_interleaved_streams_keep_their_models_apart(trees: Captured, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(llm=Echo(), streaming=True)
    first, second = engine.query("one"), engine.query("two")
    for _pair in zip(first.response_gen, second.response_gen, strict=True):
        pass
    assert [outline(tree) for tree in trees] == [STREAMED, STREAMED]
    assert ["one" in model_of(tree).inputs["prompt"] for tree in trees] == [True, False]


def test_stream_of_a_query_read_inside_another_span_stays_with_its_query(
    trees: Captured, index: VectorStoreIndex
) -> None:
    response = index.as_query_engine(llm=Echo(), streaming=True).query("Where?")

    @get_dispatcher().span
    def render() -> str:
        return "".join(response.response_gen)

    render()
    query, rendered = trees
    assert outline(query) == STREAMED
    assert outline(rendered) == ["chain render"]


def test_stopping_early_is_cancelled_and_keeps_what_came(trees: Captured, index: VectorStoreIndex) -> None:
    """B6."""
    response = index.as_query_engine(llm=Echo(), streaming=True).query("Where?")
    stream = response.response_gen
    assert [next(stream), next(stream)] == ["the ", "answer "]
    stream.close()
    [tree] = trees
    assert (model_of(tree).status, model_of(tree).outputs) == (Status.CANCELLED, {"text": "the answer "})
    assert tree.root.status is Status.CANCELLED
    assert tree.root.error is None
    assert tree.root.outputs["response"] == "the answer "


def test_dropped_stream_is_cancelled(trees: Captured, index: VectorStoreIndex) -> None:
    response = index.as_query_engine(llm=Echo(), streaming=True).query("Where?")
    next(response.response_gen)
    del response
    gc.collect()
    [tree] = trees
    assert tree.root.status is model_of(tree).status is Status.CANCELLED
    assert tree.root.outputs["response"] == "the "


def test_stream_that_nobody_began_is_cancelled(trees: Captured, index: VectorStoreIndex) -> None:
    response = index.as_query_engine(llm=Echo(), streaming=True).query("Where?")
    assert not trees
    del response
    gc.collect()
    [tree] = trees
    assert tree.root.status is Status.CANCELLED
    assert not [event for event in tree.events if event.kind is Kind.MODEL]


async def test_async_stream_stopped_early_is_cancelled(trees: Captured, index: VectorStoreIndex) -> None:
    """B6."""
    response = await index.as_query_engine(llm=Echo(), streaming=True).aquery("Where?")
    async for _token in response.response_gen:
        break
    await response.response_gen.aclose()
    [tree] = trees
    assert tree.root.status is Status.CANCELLED


async def test_cancelled_task_cancels_the_stream(trees: Captured) -> None:
    """B5."""

    class Slow(Caller):
        async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
            from llama_index.core.base.llms.types import ChatResponse
            from llama_index.core.llms.callbacks import llm_chat_callback

            @llm_chat_callback()
            async def inner(_self: Any, messages: Any, **kwargs: Any) -> Any:
                async def chunks() -> Any:
                    yield ChatResponse(message=ChatMessage(role="assistant", content="a"), delta="a")
                    await asyncio.sleep(30)

                return chunks()

            return await inner(self, messages, **kwargs)

    async def read() -> None:
        async for _chunk in await Slow().astream_chat([ChatMessage(content="hi")]):
            begun.set()

    begun = asyncio.Event()
    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [tree] = trees
    assert tree.root.status is Status.CANCELLED
    assert tree.root.outputs == {"messages": [{"role": "assistant", "content": "a"}]}


def test_model_that_fails_in_the_stream_fails_its_query(trees: Captured, index: VectorStoreIndex) -> None:
    """B8."""
    response = index.as_query_engine(llm=Echo(fails=2), streaming=True).query("Where?")
    with pytest.raises(ValueError, match="down"):
        list(response.response_gen)
    [tree] = trees
    assert tree.root.status is model_of(tree).status is Status.ERROR
    assert tree.root.error is not None and tree.root.error.message == "the model is down"
    assert model_of(tree).outputs == {"text": "the answer "}


@pytest.mark.parametrize("mode", ["context", "condense_question", "simple", "condense_plus_context"])
def test_streaming_chat_engine_is_one_tree(trees: Captured, index: VectorStoreIndex, mode: str) -> None:
    response = index.as_chat_engine(chat_mode=mode, llm=Echo()).stream_chat("Where is Paris?")
    assert "".join(response.response_gen) == TEXT
    [tree] = trees.wait(1)
    assert tree.root.outputs["response"] == TEXT
    assert tree.root.status is Status.OK
    assert model_of(tree).outputs in ({"text": TEXT}, {"messages": [{"role": "assistant", "content": TEXT}]})


class ReadFirst(BaseSpanHandler[BaseSpan]):
    """Holds the exit of `stream_chat` back until `told` is set, and says when it is over."""

    told: ClassVar = threading.Event()
    exited: ClassVar = threading.Event()

    def span_exit(self, id_: str, *args: Any, **kwargs: Any) -> None:
        if "Engine.stream_chat-" in id_:
            self.told.wait(5)

    def new_span(self, *args: Any, **kwargs: Any) -> None: ...
    def prepare_to_exit_span(self, *args: Any, **kwargs: Any) -> None: ...
    def prepare_to_drop_span(self, *args: Any, **kwargs: Any) -> None: ...


class Exits(ReadFirst):
    """Comes after our handler."""

    def span_exit(self, id_: str, *args: Any, **kwargs: Any) -> None:
        if "Engine.stream_chat-" in id_:
            self.exited.set()


class Interposes(BaseEventHandler):
    """At the event named `at`, runs a span and lets `stream_chat` exit before the reading thread goes on."""

    at: str

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        if type(event).__name__ == self.at and not ReadFirst.told.is_set():
            get_dispatcher().span(lambda: None)()
            ReadFirst.told.set()
            ReadFirst.exited.wait(5)


@pytest.mark.parametrize("mode", ["context", "condense_question", "simple", "condense_plus_context"])
@pytest.mark.parametrize("at", ["LLMCompletionEndEvent", "LLMChatEndEvent", "StreamChatEndEvent"])
def test_chat_stream_that_a_thread_read_before_the_engine_returned_is_whole(
    trees: Captured, index: VectorStoreIndex, monkeypatch: pytest.MonkeyPatch, mode: str, at: str
) -> None:
    """The engine's thread is through with the model before the engine's span has exited."""
    root = get_dispatcher()
    ReadFirst.told.clear()
    ReadFirst.exited.clear()
    llm = Answers() if at == "LLMChatEndEvent" else Echo()
    with monkeypatch.context() as patched:
        patched.setattr(root, "span_handlers", [ReadFirst(), *root.span_handlers, Exits()])
        patched.setattr(root, "event_handlers", [*root.event_handlers, Interposes(at=at)])
        response = index.as_chat_engine(chat_mode=mode, llm=llm).stream_chat("Where is Paris?")
        assert "".join(response.response_gen) == TEXT
    tree = next(one for one in trees.wait(1) if "stream_chat" in one.root.name)
    assert [event.status for event in tree.events] == [Status.OK] * len(tree.events)
    assert tree.root.outputs["response"] == TEXT
    assert model_of(tree).status is Status.OK


@pytest.mark.parametrize("mode", ["simple", "context"])
def test_chat_streams_are_whole_however_their_threads_are_switched(
    trees: Captured, index: VectorStoreIndex, mode: str
) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(24):
            response = index.as_chat_engine(chat_mode=mode, llm=Echo()).stream_chat("Where is Paris?")
            assert "".join(response.response_gen) == TEXT
        process.settle()
    finally:
        sys.setswitchinterval(interval)
    told = [(tree.root.status, tree.root.outputs["response"]) for tree in trees.wait(24)]
    assert told == [(Status.OK, TEXT)] * 24


@pytest.mark.parametrize("mode", ["context", "condense_question", "simple", "condense_plus_context"])
async def test_async_streaming_chat_engine_is_one_tree(trees: Captured, index: VectorStoreIndex, mode: str) -> None:
    """C7: the simple engine's task reads a stream of the model that opens another one when it is first read."""
    response = await index.as_chat_engine(chat_mode=mode, llm=Echo()).astream_chat("Where is Paris?")
    assert "".join([token async for token in response.async_response_gen()]) == TEXT
    [tree] = trees.wait(1)
    assert tree.root.outputs["response"] == TEXT
    assert tree.root.status is Status.OK
    assert tree.total_tokens == USAGE["total_tokens"]


def test_plain_model_stream_is_one_event_that_ends_with_the_stream(trees: Captured) -> None:
    stream = Echo().stream_complete("hi")
    assert not trees
    assert [chunk.delta for chunk in stream] == Echo().words
    [tree] = trees
    assert [event.name for event in tree.events] == ["Echo.stream_complete"]
    assert tree.root.outputs == {"text": TEXT}


def test_wrapped_model_stream_counts_usage_once(trees: Captured) -> None:
    """C7."""
    for _chunk in Echo().stream_chat([ChatMessage(content="hi")]):
        pass
    [tree] = trees
    assert [(e.name, e.internal, e.usage is not None) for e in tree.events] == [
        ("Echo.stream_chat", True, False),
        ("Echo.stream_complete", False, True),
    ]
    assert tree.root.outputs["messages"][0]["content"] == TEXT


async def test_lazily_wrapped_async_model_stream_is_one_tree(trees: Captured) -> None:
    """CustomLLM.astream_chat opens its inner stream when it is first read, in whatever context that is."""
    async for _chunk in await Echo().astream_chat([ChatMessage(content="hi")]):
        pass
    [tree] = trees
    assert [event.name for event in tree.events] == ["Echo.astream_chat", "Echo.stream_chat", "Echo.stream_complete"]
    assert tree.total_tokens == 13


def test_the_users_stream_is_the_users(trees: Captured) -> None:
    """E5."""
    begun: list[int] = []

    @get_dispatcher().span
    def count() -> Generator[int, None, None]:
        def numbers() -> Generator[int, None, None]:
            for number in range(3):
                begun.append(number)
                yield number

        made.append(weakref.ref(stream := numbers()))
        return stream

    made: list[Any] = []
    stream = count()
    assert stream is made[0]()
    assert begun == []
    assert next(stream) == 0
    assert begun == [0]
    assert list(stream) == [1, 2]
    [tree] = trees
    assert tree.root.status is Status.OK
    del stream
    gc.collect()
    assert made[0]() is None


def test_stream_behind_a_users_own_generator_may_go_on(trees: Captured) -> None:
    """Two models in one stream: the first one's end is not the stream's."""

    @get_dispatcher().span
    def twice() -> Iterator[str]:
        def both() -> Iterator[str]:
            for _ in range(2):
                for chunk in Echo().stream_complete("hi"):
                    yield chunk.delta or ""

        return both()

    stream = twice()
    for _ in range(6):
        next(stream)
    assert not trees
    assert len(list(stream)) == 2
    [tree] = trees
    assert outline(tree) == ["chain twice", "  model Echo.stream_complete", "  model Echo.stream_complete"]
    assert tree.root.outputs == TEXT


def test_query_that_found_nothing_needs_no_reader(trees: Captured) -> None:
    from llama_index.core.response_synthesizers import get_response_synthesizer

    response = get_response_synthesizer(llm=Echo(), streaming=True).synthesize("Where?", nodes=[])
    [tree] = trees
    assert tree.root.status is Status.OK
    assert list(response.response_gen) == ["Empty Response"]


def test_query_refined_over_two_chunks_ends_with_the_second_model(trees: Captured) -> None:
    """The first model's stream is read by the framework itself."""
    index = SummaryIndex([TextNode(text="Paris is in France."), TextNode(text="Rome is in Italy.")])
    stream = index.as_query_engine(llm=Echo(), response_mode="refine", streaming=True).query("Where?").response_gen
    next(stream)
    assert not trees
    list(stream)
    [tree] = trees
    assert [event.status for event in tree.events] == [Status.OK] * len(tree.events)
    assert [event.name for event in tree.events if event.kind is Kind.MODEL] == ["Echo.stream_complete"] * 2
    assert (tree.root.outputs["response"], tree.total_tokens) == (TEXT, 26)


class Chunks(Caller):
    """Streams the chunks it is given, and says before each how long it waited."""

    chunks: list[Any] = []
    """(seconds to wait, chunk)"""

    @llm_chat_callback()
    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        def stream() -> Any:
            for seconds, chunk in self.chunks:
                time.sleep(seconds)
                yield chunk

        return stream()


CONTENTS: dict[str, dict[str, Any]] = {
    "text": {"content": "hi"},
    "tool call": {"additional_kwargs": {"tool_calls": [{"id": "call_1"}]}},
    "tool call as a block": {"blocks": [ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs={})]},
    "thought as a block": {"blocks": [ThinkingBlock(content="hm")]},
    "thought of Anthropic's": {"additional_kwargs": {"thinking_delta": "hm"}},
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_first_token_is_the_first_chunk_with_content(trees: Captured, content: dict[str, Any]) -> None:
    """C11: a role alone is none, nor is a block without anything in it."""
    roles = ({"content": ""}, {"blocks": [ThinkingBlock(content=""), TextBlock(text="")]})
    empty = [ChatResponse(message=ChatMessage(role="assistant", **role), delta="") for role in roles]
    first = ChatResponse(message=ChatMessage(role="assistant", **content), delta=content.get("content", ""))
    list(Chunks(chunks=[(0, empty[0]), (0, empty[1]), (0.05, first)]).stream_chat([ChatMessage(content="hi")]))
    [tree] = trees
    assert tree.root.time_to_first_token is not None and tree.root.time_to_first_token >= 0.05


async def test_streams_stopped_early_log_nothing(
    trees: Captured, index: VectorStoreIndex, caplog: pytest.LogCaptureFixture
) -> None:
    """A3."""
    engine = index.as_query_engine(llm=Echo(), streaming=True)
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            async for _token in (await engine.aquery("Where?")).response_gen:
                break
        for _token in engine.query("Where?").response_gen:
            break
        await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING or "ontext" in record.message]
    assert {tree.root.status for tree in trees.wait(4)} == {Status.CANCELLED}


class TwoModels(CustomQueryEngine):
    """Answers with what two models stream, one after the other, through a generator of the user's own."""

    first: Any
    second: Any

    def custom_query(self, query_str: str) -> Any:
        def both() -> Iterator[str]:
            for llm in (self.first, self.second):
                for chunk in llm.stream_complete(query_str):
                    yield chunk.delta or ""

        return StreamingResponse(response_gen=both())


def test_query_over_two_models_in_a_users_generator_ends_with_the_second(trees: Captured) -> None:
    engine = TwoModels(first=Echo(words=["one ", "two "]), second=Echo(words=["three"]))
    response = engine.query("Where?")
    stream = response.response_gen
    assert [next(stream), next(stream)] == ["one ", "two "]
    assert not trees
    assert list(stream) == ["three"]
    eventtree.flush(timeout=1)
    [tree] = trees
    assert outline(tree) == [
        "chain TwoModels.query",
        "  chain TwoModels.custom_query",
        "    model Echo.stream_complete",
        "    model Echo.stream_complete",
    ]
    assert tree.root.status is Status.OK
    assert [event.status for event in tree.events] == [Status.OK] * len(tree.events)
    assert tree.total_tokens == 26


def test_a_stream_that_is_seen_to_be_over_later_lasts_as_long_as_its_model(trees: Captured) -> None:
    response = TwoModels(first=Echo(), second=Echo()).query("Where?")
    list(response.response_gen)
    time.sleep(0.3)
    [tree] = trees  # looks
    ends = [event.end.timestamp() for event in tree.events if event.end is not None]
    assert tree.root.duration is not None and tree.root.duration < 0.3
    assert tree.root.end is not None and tree.root.end.timestamp() == pytest.approx(max(ends), abs=0.01)


def test_streams_in_streams_that_are_seen_to_be_over_later_last_as_long_as_their_model(trees: Captured) -> None:
    def tokens(chunks: Iterator[Any]) -> Iterator[Any]:
        yield from chunks

    @get_dispatcher().span
    def inner() -> Iterator[Any]:
        return tokens(Echo().stream_complete("hi"))

    @get_dispatcher().span
    def outer() -> Iterator[Any]:
        kept.append(inner())
        return tokens(kept[0])

    kept: list[Iterator[Any]] = []
    stream = outer()
    list(stream)
    time.sleep(0.3)
    [tree] = trees
    assert [event.duration is not None and event.duration < 0.3 for event in tree.events] == [True] * 3


def test_a_stream_lasts_as_long_as_what_ran_in_it_after_its_model(trees: Captured) -> None:
    @get_dispatcher().span
    def answer() -> Iterator[str]:
        def tokens() -> Iterator[str]:
            for chunk in Echo().stream_complete("hi"):
                yield chunk.delta or ""
            get_dispatcher().span(lambda: time.sleep(0.1))()

        return tokens()

    stream = answer()
    list(stream)
    time.sleep(0.2)
    [tree] = trees
    assert tree.root.duration is not None and 0.1 <= tree.root.duration < 0.3


def test_a_query_whose_stream_was_read_waits_for_nothing(trees: Captured, index: VectorStoreIndex) -> None:
    """Its tree goes out though the app holds the response, and does nothing more."""
    response = index.as_query_engine(llm=Echo(), streaming=True).query("Where?")
    list(response.response_gen)
    assert not recorder.runs


@pytest.mark.parametrize(("read", "models"), [(1, 1), (3, 2)])
def test_query_over_two_models_stopped_early_is_cancelled(trees: Captured, read: int, models: int) -> None:
    """B6."""
    engine = TwoModels(first=Echo(words=["one ", "two "]), second=Echo(words=["three ", "four"]))
    stream = engine.query("Where?").response_gen
    for _ in range(read):
        next(stream)
    stream.close()
    eventtree.flush(timeout=1)
    [tree] = trees
    assert tree.root.status is Status.CANCELLED
    asked = [event for event in tree.events if event.kind is Kind.MODEL]
    assert len(asked) == models
    assert asked[-1].status is Status.CANCELLED


class Beside(CustomQueryEngine):
    """Returns a stream, and reads another of a model itself: before it returns, or later in the query's context."""

    llm: Any
    later: list[Any] = []

    def custom_query(self, query_str: str) -> Any:
        def read() -> None:
            list(self.llm.stream_complete("beside"))

        read()
        self.later.append(partial(copy_context().run, read))
        return StreamingResponse(response_gen=(chunk.delta for chunk in self.llm.stream_complete(query_str)))


@pytest.mark.parametrize("reads_later", [False, True])
def test_model_that_ended_beside_a_stream_says_nothing_of_it(trees: Captured, reads_later: bool) -> None:
    """B6."""
    engine = Beside(llm=Echo())
    response = engine.query("Where?")
    for read in engine.later if reads_later else ():
        read()
    assert not trees
    del response
    gc.collect()
    [tree] = trees
    assert tree.root.status is Status.CANCELLED
    assert TEXT not in str(tree.root.outputs)


@pytest.mark.parametrize("read", [0, 1, 3])
def test_users_stream_without_a_model_is_ok_wherever_it_was_left(trees: Captured, read: int) -> None:
    """Whether it was read to its end cannot be known without touching it: no error, and no false `cancelled`."""

    @get_dispatcher().span
    def count() -> Iterator[int]:
        yield from range(3)

    stream = count()
    for _ in range(read):
        next(stream)
    del stream
    gc.collect()
    [tree] = trees
    assert (tree.root.status, tree.root.outputs) == (Status.OK, None)
    assert tree.root.metadata["output_unknown"]


def test_streams_that_a_finalizer_begins_while_they_are_counted_break_nothing() -> None:
    """The collector may run at any allocation of ours, and with it code of the app, or another thread."""
    streams, kept = Streams(lambda: None), []

    class Begins:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            place: dict[str, Any] = {}
            exec("def words():\n    yield 1", place)
            kept.append(place["words"]())
            streams.add(kept[-1], "span")

    before = gc.get_threshold()
    gc.set_threshold(7, 1000, 1000)
    try:
        for number in range(200):
            Begins()
            room = [[] for _ in range(number % 7)]
            assert len(streams.all()) <= len(kept)
            del room
    finally:
        gc.set_threshold(*before)
    assert kept
