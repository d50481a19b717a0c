"""One odd part never blanks the message around it, and no field of a message disappears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock

from eventtree.content import Sanitizer
from tests.plain import message as message_of

write = Sanitizer()
walked = Sanitizer()
walked.room = 0

NO_CALL = "this is no tool call"


@dataclass(slots=True)
class Slots:
    """A tool call without a `__dict__`."""

    id: str = "c1"
    name: str = "look_up"
    arguments: str = '{"word": "x"}'


class Broken:
    """An address whose text cannot be read."""

    def __str__(self) -> str:
        raise OSError("no text")


ODD: list[tuple[Any, dict[str, Any]]] = [
    (("a", "tuple"), {"arguments": ["a", "tuple"], "error": NO_CALL}),
    ("a text", {"arguments": "a text", "error": NO_CALL}),
    (None, {"arguments": None, "error": NO_CALL}),
    (7, {"arguments": 7, "error": NO_CALL}),
    (Slots(), {"id": "c1", "name": "look_up", "arguments": {"word": "x"}}),
    ({"id": "c1", "function": "look_up"}, {"arguments": {"id": "c1", "function": "look_up"}, "error": NO_CALL}),
]
GOOD = {"id": "c2", "function": {"name": "f", "arguments": "{}"}}

SPELLINGS: dict[str, Callable[[Any], Any]] = {
    "langchain": lambda calls: AIMessage("the text", additional_kwargs={"tool_calls": calls}),
    "llama_index": lambda calls: ChatMessage("the text", role="assistant", additional_kwargs={"tool_calls": calls}),
    "dict": lambda calls: {"role": "assistant", "content": "the text", "tool_calls": calls},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("odd", "expected"), ODD, ids=[type(odd).__name__ for odd, _ in ODD])
def test_an_odd_tool_call_is_marked_and_the_rest_stays(spelling: str, odd: Any, expected: dict[str, Any]) -> None:
    """Text, role and the other calls."""
    message = SPELLINGS[spelling]([odd, GOOD])
    found = message_of(write, message)
    assert (found["role"], found["content"]) == ("assistant", "the text")
    assert len(found["tool_calls"]) == 2
    assert expected in found["tool_calls"]
    assert {"id": "c2", "name": "f", "arguments": {}} in found["tool_calls"]
    assert write.messages([message]) == [message_of(walked, message)]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("calls", ["a text", 5, ("a",)])
def test_tool_calls_that_are_no_list_are_marked(spelling: str, calls: Any) -> None:
    found = message_of(write, SPELLINGS[spelling](calls))
    assert (found["role"], found["content"]) == ("assistant", "the text")
    assert found["tool_calls"][0]["error"] == NO_CALL


def odd(**fields: Any) -> AIMessage:
    """A message with fields that were set behind its class's back."""
    message = AIMessage("the text")
    message.__dict__.update(fields)
    return message


@pytest.mark.parametrize(
    "fields",
    [
        {"additional_kwargs": ["a"]}, {"additional_kwargs": "a"}, {"response_metadata": ["a"]},
        {"response_metadata": {"incomplete_details": ["a"], "finish_reason": None}}, {"tool_calls": 3},
        {"invalid_tool_calls": "a"}, {"additional_kwargs": {"audio": "a", "reasoning_content": 3, "function_call": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_an_odd_field_leaves_text_and_role(fields: dict[str, Any]) -> None:
    """In the fast_path way and in the walk."""
    for writer in (write, walked):
        found = message_of(writer, odd(**fields))
        assert (found["role"], found["content"]) == ("assistant", "the text")
    assert write.messages([odd(**fields)]) == [message_of(walked, odd(**fields))]


def test_a_block_that_cannot_be_read_leaves_its_message() -> None:
    """LlamaIndex's blocks are objects, of which each may raise."""
    image = ImageBlock(url="http://127.0.0.1/x.png")
    image.__dict__["url"] = Broken()
    found = message_of(write, ChatMessage(role="user", blocks=[TextBlock(text="Look:"), image]))
    assert found["role"] == "user"
    assert found["content"][0] == {"type": "text", "text": "Look:"}
    assert found["content"][1]["problem"] == "OSError: no text"


def test_a_generations_odd_info_leaves_its_answer() -> None:
    generation = ChatGeneration(message=AIMessage("the text"))
    generation.__dict__["generation_info"] = ["a"]
    assert write(LLMResult(generations=[[generation]])) == {"messages": [{"role": "assistant", "content": "the text"}]}
    text = Generation(text="the text")
    text.__dict__["generation_info"] = "a"
    assert write(text) == {"text": "the text"}


def test_a_tools_artifact_is_kept() -> None:
    """MCP's structured content, a retriever tool's documents."""
    structured = ToolMessage("12 °C", tool_call_id="c1", artifact={"structured_content": {"celsius": 12}})
    assert message_of(write, structured)["artifact"] == {"structured_content": {"celsius": 12}}
    found = ToolMessage("whale", tool_call_id="c1", artifact=[Document("A whale.", id="d1")])
    assert message_of(write, found)["artifact"] == [{"id": "d1", "text": "A whale.", "metadata": {}}]
    assert write.messages([structured, found]) == walked.messages([structured, found])


def test_a_tools_artifact_is_bounded() -> None:
    large = ToolMessage("12 °C", tool_call_id="c1", artifact=["x" * 10_000] * 1_000)
    assert len(repr(write.fitted(message_of(write, large)))) < 2 * write.bounds.value_bytes


EXTRA: list[tuple[Any, dict[str, Any]]] = [
    (AIMessage("x", additional_kwargs={"refusal": "I must not", "parsed": None}), {"refusal": "I must not"}),
    (HumanMessage("x", mood="good"), {"mood": "good"}),
    (ChatMessage("x", additional_kwargs={"refusal": "no", "tool_calls": []}), {"refusal": "no"}),
    ({"role": "user", "content": "x", "cache_control": {"type": "x"}}, {"cache_control": {"type": "x"}}),
    ({"type": "ai", "content": "x", "additional_kwargs": {"citations": [1]}, "mood": "good"},
     {"citations": [1], "mood": "good"}),
    (odd(additional_kwargs=["a"]), {"additional_kwargs": ["a"]}),
    (odd(additional_kwargs={"audio": "a"}), {"audio": "a"}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), EXTRA, ids=[str(n) for n in range(len(EXTRA))])
def test_fields_without_a_name_of_ours_are_extra(message: Any, expected: dict[str, Any]) -> None:
    assert message_of(write, message)["extra"] == expected
    assert write.messages([message]) == [message_of(walked, message)]


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("x", additional_kwargs={"refusal": None}, response_metadata={"model_name": "m"}, usage_metadata=None),
        ChatMessage("x", additional_kwargs={"usage": {"input_tokens": 1}, "prompt_tokens": 1}),
        {"type": "ai", "content": "x", "name": None, "example": False, "response_metadata": {}, "usage_metadata": {}},
    ],
    ids=["langchain", "llama_index", "dict"],
)
def test_what_says_nothing_new_is_no_extra(message: Any) -> None:
    """What an answer says of itself stands in the model's event."""
    assert "extra" not in message_of(write, message)


def test_what_a_provider_adds_to_a_tool_call_is_extra() -> None:
    """Gemini's signature, Anthropic's caller."""
    call = {"name": "f", "args": {}, "id": "c1", "type": "tool_call", "caller": {"type": "direct"}}
    message = AIMessage("")
    message.tool_calls = [call]  # type: ignore[list-item]
    expected = {"id": "c1", "name": "f", "arguments": {}, "extra": {"caller": {"type": "direct"}}}
    assert message_of(write, message)["tool_calls"] == [expected]
    assert write.messages([message]) == [message_of(walked, message)]
