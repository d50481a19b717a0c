"""The built-in models behave as a provider's do: stream, call tools, count tokens, and answer from what they read."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from llama_index.core.base.llms.types import ChatMessage

from eventtree.demo.chat_model import ANSWERING_MODEL, DocumentChatModel
from eventtree.demo.embedding import embed
from eventtree.demo.language import (
    CACHE_STEP,
    NO_ANSWER,
    PROMPT,
    Meter,
    answer,
    pieces,
    read_prompt,
    tokens,
    words,
)
from eventtree.demo.llm import DocumentLLM

CONTEXT = """source: a.md
title: Swifts

Swifts sleep on the wing. They nest in walls.

source: b.md
title: Owls

Owls hunt at night."""
QUESTION = "When do owls hunt?"
ASKED = PROMPT.format(context=CONTEXT, question=QUESTION)


@tool
def search_documents(query: str) -> str:
    """Search."""
    return CONTEXT


@tool
def count_words(text: str) -> int:
    """Count."""
    return len(text.split())


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (QUESTION, "Owls hunt at night. [b.md]"),
        ("Where do swifts sleep?", "Swifts sleep on the wing. [a.md]"),
        ("Who nests in walls?", "They nest in walls. [a.md]"),
        ("What is the capital of Peru?", NO_ANSWER),
        ("", NO_ANSWER),
    ],
)
def test_an_answer_is_made_of_the_sentence_that_shares_most_words(question: str, said: str) -> None:
    assert answer(question, CONTEXT) == said


def test_another_passage_gives_another_answer() -> None:
    assert answer(QUESTION, CONTEXT.replace("at night", "at dusk")) == "Owls hunt at dusk. [b.md]"


def test_a_prompt_is_read_back_into_question_and_passages() -> None:
    assert read_prompt(ASKED) == (QUESTION, CONTEXT)
    assert read_prompt(f"{CONTEXT}\nQuery: {QUESTION}\nAnswer: ") == (QUESTION, CONTEXT)
    assert read_prompt("just this") == ("just this", "")


def test_the_chat_model_streams_words_and_ends_with_usage_and_the_models_name() -> None:
    parts = list(DocumentChatModel().stream([HumanMessage(ASKED)]))
    assert [part.text for part in parts if part.text] == ["Owls", " hunt", " at", " night.", " [b.md]"]
    whole = sum(parts[1:], parts[0])
    assert isinstance(whole, AIMessageChunk)
    assert whole.usage_metadata is not None
    usage = whole.usage_metadata
    assert usage["output_tokens"] == len(tokens("Owls hunt at night. [b.md]"))
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert whole.response_metadata["model_name"] == ANSWERING_MODEL
    assert whole.response_metadata["finish_reason"] == "stop"


def test_invoking_says_what_streaming_says() -> None:
    said = DocumentChatModel().invoke([HumanMessage(ASKED)])
    assert said.text == "Owls hunt at night. [b.md]"
    assert said.usage_metadata is not None


def test_the_chat_model_searches_counts_and_then_answers_with_both_results() -> None:
    model = DocumentChatModel().bind_tools([search_documents, count_words])
    messages = [HumanMessage(QUESTION)]
    first = model.invoke(messages)
    assert [(call["name"], call["args"]) for call in first.tool_calls] == [("search_documents", {"query": QUESTION})]
    messages += [first, ToolMessage(CONTEXT, tool_call_id="1", name="search_documents")]
    second = model.invoke(messages)
    assert second.tool_calls[0]["args"] == {"text": "Owls hunt at night. [b.md]"}
    assert second.response_metadata["finish_reason"] == "tool_calls"
    messages += [second, ToolMessage("99", tool_call_id="2", name="count_words")]
    assert model.invoke(messages).text == "Owls hunt at night. [b.md] (99 words)"


def test_a_later_question_of_one_conversation_searches_anew() -> None:
    model = DocumentChatModel().bind_tools([search_documents])
    earlier = [HumanMessage(QUESTION), ToolMessage(CONTEXT, tool_call_id="1", name="search_documents")]
    assert model.invoke([*earlier, HumanMessage("And swifts?")]).tool_calls[0]["args"] == {"query": "And swifts?"}


def test_only_a_shared_beginning_is_read_from_the_cache_in_whole_steps() -> None:
    meter = Meter()
    long = "one two three four " * 50
    assert meter.measure(long, "x").cached == 0
    longer = meter.measure(f"{long} and more", "x y")
    assert longer.cached == len(tokens(long)) // CACHE_STEP * CACHE_STEP > 0
    assert longer.output == 2
    assert meter.measure(f"Other. {long}", "x").cached == 0


def test_llamaindexs_model_streams_and_leaves_usage_where_openais_class_does() -> None:
    parts = list(DocumentLLM().stream_chat([ChatMessage(ASKED)]))
    assert "".join(part.delta or "" for part in parts) == "Owls hunt at night. [b.md]"
    raw = parts[-1].raw
    assert raw["model"] == ANSWERING_MODEL
    assert raw["usage"]["total_tokens"] == raw["usage"]["prompt_tokens"] + raw["usage"]["completion_tokens"]
    assert DocumentLLM().complete(ASKED).text == DocumentLLM().chat([ChatMessage(ASKED)]).message.content


def test_texts_with_the_same_words_point_the_same_way() -> None:
    owls, hunting, swifts = (embed(text) for text in ("owls hunted", "Hunters: owls", "swifts sleep"))
    near, far = dot(owls, hunting), dot(owls, swifts)
    assert near == pytest.approx(1.0)
    assert far == pytest.approx(0.0)
    assert embed("") == embed("the of")


def dot(one: list[float], other: list[float]) -> float:
    """The scalar product."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_a_stream_loses_no_letter() -> None:
    for text in ("one two  three\nfour ", "", "one", " one"):
        assert "".join(pieces(text)) == text


def test_forms_of_one_word_are_one_word() -> None:
    assert words("How is it removed? By removal: remove it.") == ["remov", "remov", "remov"]
