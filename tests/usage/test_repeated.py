"""Usage that a stream reports again and again, through the real clients: one call counts its input once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from eventtree.event import Usage
from eventtree.usage.collect import snapshot
from eventtree.usage.normalize import normalize
from tests.usage import bodies
from tests.usage.conftest import Asked, needs
from tests.usage.served import Provider
from tests.usage.test_clients import chat_anthropic, chat_openai, llama_openai

pytest.importorskip("langchain_openai")
needs("langchain_anthropic")

Chunks = list[dict[str, Any]]


class Growing(BaseChatModel):
    """Counts as langchain-google-genai does: the cache in the first chunk, thoughts in the first two."""

    @property
    def _llm_type(self) -> str:
        return "growing"

    def _generate(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Iterator[Any]:
        for sent, answered, cached, thought in ((100, 5, 80, 5), (0, 6, 0, 4), (0, 4, 0, 0)):
            usage: Any = {"input_tokens": sent, "output_tokens": answered, "total_tokens": sent + answered}
            usage |= {"input_token_details": {"cache_read": cached}, "output_token_details": {"reasoning": thought}}
            chunk = ChatGenerationChunk(message=AIMessageChunk("Hi", usage_metadata=usage))
            if run_manager:
                run_manager.on_llm_new_token("Hi", chunk=chunk)
            yield chunk


def counts(output: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": 100, "completion_tokens": output, "total_tokens": 100 + output, **more}


def running(n: int = 1) -> Chunks:
    """vLLM and SGLang with continuous usage: each chunk has its choice's count, the last one that of the request."""
    chunks = [chunk for chunk in bodies.openai_stream() for _ in range(n)]
    for place, chunk in enumerate(chunks):
        chunk = chunks[place] = {**chunk, "usage": counts(1 + place // n)}
        chunk["choices"] = [{**choice, "index": place % n} for choice in chunk["choices"]]
    return [*chunks, {**chunks[-1], "choices": [], "usage": counts(5 * n)}]


def twice() -> Chunks:
    """A gateway that sends the last chunk again."""
    whole = bodies.openai_stream(counts(5, prompt_tokens_details={"cached_tokens": 40}))
    return [*whole, whole[-1]]


def with_finish() -> Chunks:
    """A gateway that puts the usage at the chunk that ends the answer, and sends OpenAI's last one too."""
    whole = bodies.openai_stream(counts(5))
    whole[-2]["usage"] = counts(5)
    return whole


def zeros() -> Chunks:
    """A gateway that ends with a usage of nothing."""
    whole = with_finish()
    whole[-1]["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return whole


STREAMS: dict[str, tuple[Callable[[], Chunks], int]] = {
    "running": (running, 5),
    "running, two choices": (lambda: running(2), 10),
    "the last one twice": (twice, 5),
    "at the finish and at the end": (with_finish, 5),
    "zeros at the end": (zeros, 5),
    "once": (lambda: bodies.openai_stream(counts(5)), 5),
}


async def read(chunks: Any) -> None:
    async for _ in chunks:
        pass


async def asked_of(model: Any, way: str, config: Any) -> None:
    """Ask in one of the asynchronous ways."""
    if way == "ainvoke":
        await model.model_copy(update={"streaming": True}).ainvoke("Hello", config=config)
    elif way == "astream":
        await read(model.astream("Hello", config=config))
    else:
        await read(model.astream_events("Hello", config=config, version="v2"))


def ask(served: Provider, way: str, config: Any) -> None:
    """Ask in one of LangChain's ways."""
    if way.startswith("a"):
        asyncio.run(ask_async(served, way, config))
        return
    model = chat_openai(served, stream_usage=True)
    if way == "invoke":
        model.model_copy(update={"streaming": True}).invoke("Hello", config=config)
    else:
        list(model.stream("Hello", config=config) if way == "stream" else v3(model, config))


def v3(model: Any, config: Any) -> Any:
    return model.stream_events("Hello", config=config, version="v3")


async def ask_async(served: Provider, way: str, config: Any) -> None:
    async with httpx.AsyncClient() as own:  # the one langchain_openai shares would outlive this loop
        await asked_of(chat_openai(served, stream_usage=True, http_async_client=own), way, config)


WAYS = ["stream", "astream", "stream_events", "astream_events", "invoke", "ainvoke"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("chunks", "output"), STREAMS.values(), ids=STREAMS)
def test_a_call_counts_its_input_once_through_langchain(
    served: Provider, asked: Asked, way: str, chunks: Callable[[], Chunks], output: int
) -> None:
    from eventtree.langchain import CallbackHandler

    served.will(chunks())
    ask(served, way, {"callbacks": [CallbackHandler(strict=True)]})
    event = asked.event
    assert event.usage is not None and event.cost is not None
    assert (event.usage.input_tokens, event.usage.output_tokens) == (100, output)
    assert (event.usage.total_tokens, event.usage.problems) == (100 + output, ())
    if chunks is twice:
        assert event.usage.cache_read_tokens == 40


@pytest.mark.parametrize("handlers", ["one twice", "two"])
def test_a_handler_that_is_told_twice_takes_nothing_for_repeated(served: Provider, asked: Asked, handlers: str) -> None:
    """LangChain reports each chunk to each handler, and twice to one that it holds twice."""
    from eventtree.langchain import CallbackHandler

    first = CallbackHandler(strict=True)
    second = first if handlers == "one twice" else CallbackHandler(strict=True)
    served.will(running())
    ask(served, "stream", {"callbacks": [first, second]})
    assert asked.event.usage is not None
    assert (asked.event.usage.input_tokens, asked.event.usage.output_tokens) == (100, 5)
    chunks = asked.event.usage.raw["chunks"]
    assert chunks["repeats"] == 4


@pytest.mark.parametrize(("chunks", "output"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("is_async", [False, True], ids=["stream_chat", "astream_chat"])
def test_a_call_counts_its_input_once_through_llama_index(
    served: Provider, asked: Asked, is_async: bool, chunks: Callable[[], Chunks], output: int
) -> None:
    pytest.importorskip("llama_index.llms.openai")
    from llama_index.core.llms import ChatMessage

    import eventtree.llama_index

    async def ask_async() -> None:
        async with httpx.AsyncClient() as own:
            await read(await llama_openai(served, async_http_client=own, **asks).astream_chat([ChatMessage("Hello")]))

    asks = {"additional_kwargs": {"stream_options": {"include_usage": True}}}
    served.will(chunks())
    eventtree.llama_index.set_global_handler(strict=True)
    try:
        if is_async:
            asyncio.run(ask_async())
        else:
            list(llama_openai(served, **asks).stream_chat([ChatMessage("Hello")]))
    finally:
        eventtree.llama_index.set_global_handler(None)
    assert asked.event.usage is not None
    assert (asked.event.usage.input_tokens, asked.event.usage.output_tokens) == (100, output)
    assert asked.event.usage.problems == ()


def test_anthropics_cumulative_events_are_as_right_as_before(served: Provider, asked: Asked) -> None:
    """Message_start has the input and 1 for the output, each message_delta the whole so far."""
    from eventtree.langchain import CallbackHandler

    events = bodies.anthropic_stream({**bodies.ANTHROPIC_USAGE, "output_tokens": 1}, bodies.ANTHROPIC_USAGE)
    served.will(events)
    list(chat_anthropic(served).stream("Hello", config={"callbacks": [CallbackHandler(strict=True)]}))
    assert asked.event.usage is not None
    assert (asked.event.usage.input_tokens, asked.event.usage.output_tokens) == (1200, 80)
    assert asked.event.usage.problems == ()


@pytest.mark.parametrize("way", ["stream", "events"])
def test_the_details_of_chunks_that_add_up_are_summed_too(asked: Asked, way: str) -> None:
    """Gemini's client says in each chunk what came since the one before; LangChain's protocol events (v3) sum up the
    counts, and of their details have the last chunk's.
    """
    from eventtree.langchain import CallbackHandler

    config: Any = {"callbacks": [CallbackHandler(strict=True)]}
    model = Growing()
    list(model.stream("Hello", config=config) if way == "stream" else v3(model, config))
    usage = asked.event.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (100, 15, 115)
    assert (usage.cache_read_tokens, usage.reasoning_tokens, usage.problems) == (80, 9, ())


def test_a_stream_that_counts_once_is_recorded_as_one_that_does_not_stream(served: Provider, asked: Asked) -> None:
    """There is nothing to be told of its chunks."""
    from eventtree.langchain import CallbackHandler

    served.will(bodies.openai_stream(counts(5)))
    ask(served, "stream", {"callbacks": [CallbackHandler(strict=True)]})
    assert asked.event.usage is not None
    assert "chunks" not in asked.event.usage.raw


def folded(*chunks: tuple[int | None, int], summed: tuple[int, int], provider: str = "openai") -> Usage:
    """What becomes of chunks with these counts, and of LangChain's sum of them."""
    kept = None
    for sent, answered in chunks:
        kept = snapshot(kept, {"input_tokens": sent, "output_tokens": answered, "total_tokens": (sent or 0) + answered})
    whole = {"input_tokens": summed[0], "output_tokens": summed[1], "total_tokens": sum(summed)}
    usage = normalize({"usage_metadata": [whole], "chunks": kept, "streamed": True, "provider": provider})
    assert usage is not None
    return usage


FOLDS: dict[str, tuple[Usage, tuple[int, int]]] = {
    # langchain-google-genai subtracts what the chunk before said: what is left adds up.
    "gemini": (folded((100, 5), (0, 5), (0, 5), summed=(100, 15), provider="google_genai"), (100, 15)),
    "gemini, a tool's prompt comes later": (
        folded((10, 0), (300, 5), summed=(310, 5), provider="google_genai"), (310, 5),
    ),
    "perplexity": (folded((100, 5), (0, 5), summed=(100, 10), provider="perplexity"), (100, 10)),
    "the input at the start, the output at the end": (folded((100, 0), (0, 15), summed=(100, 15)), (100, 15)),
    "running": (folded((100, 1), (100, 2), (100, 3), summed=(300, 6)), (100, 3)),
    "running, the first has none": (folded((0, 1), (100, 2), (100, 3), summed=(200, 6)), (100, 3)),
    "the input grows": (folded((100, 1), (120, 2), summed=(220, 3)), (120, 2)),
}  # fmt: skip


@pytest.mark.parametrize(("usage", "expected"), FOLDS.values(), ids=FOLDS)
def test_what_repeats_is_told_from_what_adds_up(usage: Usage, expected: tuple[int, int]) -> None:
    assert (usage.input_tokens, usage.output_tokens, usage.problems) == (*expected, ())


def test_a_stream_that_repeats_and_adds_is_flagged() -> None:
    """Which of both it is cannot be told."""
    usage = folded((100, 1), (100, 2), (0, 9), summed=(200, 12))
    assert usage.problems == ("some chunks of the stream repeat its usage and some add to it",)


def test_the_reason_of_several_choices_is_said_once(served: Provider, asked: Asked) -> None:
    """langchain-core joins what the chunks of two choices say to "stopstop"."""
    from eventtree.langchain import CallbackHandler

    chunks = bodies.openai_stream(counts(5))
    second = {**chunks[-2], "choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}
    served.will([*chunks[:-1], second, chunks[-1]])
    list(chat_openai(served, stream_usage=True).stream("Hello", config={"callbacks": [CallbackHandler(strict=True)]}))
    assert isinstance(asked.event.outputs, dict)
    assert asked.event.outputs["messages"][0]["finish_reason"] == "stop"


ADVISED = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "advisor", "input": {}},
    {
        "type": "advisor_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {"type": "advisor_result", "text": "Yes."},
    },
]
COMPACTED = [{"type": "compaction", "content": "What was asked before."}]


@pytest.mark.filterwarnings("ignore:Received unexpected tool content block")
@pytest.mark.parametrize(("blocks", "kind"), [(ADVISED, "advisor_message"), (COMPACTED, "compaction")])
def test_a_round_whose_counts_a_stream_drops_is_named(
    served: Provider, asked: Asked, blocks: Chunks, kind: str
) -> None:
    """langchain-anthropic's streams leave out `iterations`, but not what the rounds have made."""
    from eventtree.langchain import CallbackHandler

    start, *text, delta, stop = bodies.anthropic_stream(
        {"input_tokens": 100, "output_tokens": 1},
        {
            "input_tokens": 100,
            "output_tokens": 5,
            "iterations": [{"type": kind, "input_tokens": 9, "output_tokens": 9}],
        },
    )
    shown = [
        event
        for place, block in enumerate(blocks)
        for event in (
            {"type": "content_block_start", "index": place, "content_block": block},
            {"type": "content_block_stop", "index": place},
        )
    ]
    said = [{**event, "index": len(blocks)} for event in text]
    compacted = {"type": "content_block_delta", "index": 0, "delta": {"type": "compaction_delta", "content": "It."}}
    shown[1:1] = [compacted] if kind == "compaction" else []
    served.will([start, *shown, *said, delta, stop])
    list(chat_anthropic(served).stream("Hello", config={"callbacks": [CallbackHandler(strict=True)]}))
    usage = asked.event.usage
    assert usage is not None
    assert usage.problems == (f"a round of type {kind} has no counts: it is not in the cost",)
