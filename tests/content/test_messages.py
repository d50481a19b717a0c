"""Chat messages of LangChain and LlamaIndex, and as dicts, come out in one shape."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.base.llms.types import ChatMessage as LlamaMessage

from eventtree.content import Sanitizer
from tests.plain import message as message_of

write = Sanitizer()


class Stranger(BaseMessage):
    """A message class nobody has heard of."""

    type: str = "stranger"
    mood: str = "good"


class MyHuman(HumanMessage):
    """A class of the user's own."""


MESSAGES: list[tuple[Any, dict[str, Any]]] = [
    (HumanMessage("hi"), {"role": "user", "content": "hi"}),
    (HumanMessageChunk("hi"), {"role": "user", "content": "hi"}),
    (MyHuman("hi", name="ann", id="m1"), {"role": "user", "content": "hi", "name": "ann", "id": "m1"}),
    (SystemMessage("be kind"), {"role": "system", "content": "be kind"}),
    (
        SystemMessage("be kind", additional_kwargs={"__openai_role__": "developer"}),
        {"role": "developer", "content": "be kind"},
    ),
    (ChatMessage("x", role="critic"), {"role": "critic", "content": "x"}),
    (FunctionMessage("x", name="f"), {"role": "function", "content": "x", "name": "f"}),
    (Stranger(content="x"), {"role": "stranger", "content": "x", "extra": {"mood": "good"}}),
    (RemoveMessage(id="m1"), {"role": "remove", "content": "", "id": "m1"}),
    (
        ToolMessage("r", tool_call_id="c1", name="f", status="error"),
        {"role": "tool", "content": "r", "tool_call_id": "c1", "name": "f", "status": "error"},
    ),
    (AIMessageChunk("a"), {"role": "assistant", "content": "a"}),
    (
        AIMessage("a", response_metadata={"finish_reason": "length"}),
        {"role": "assistant", "content": "a", "finish_reason": "length"},
    ),
    (
        AIMessage("a", response_metadata={"stop_reason": "end_turn"}),
        {"role": "assistant", "content": "a", "finish_reason": "end_turn"},
    ),
    (
        AIMessage("", additional_kwargs={"reasoning_content": "hm"}),
        {"role": "assistant", "content": "", "reasoning": "hm"},
    ),
    (LlamaMessage("hi"), {"role": "user", "content": "hi"}),
    (LlamaMessage(role=MessageRole.CHATBOT, content="hi"), {"role": "assistant", "content": "hi"}),
    (LlamaMessage(role="model", content="hi"), {"role": "assistant", "content": "hi"}),
    (LlamaMessage(role="developer", content="hi"), {"role": "developer", "content": "hi"}),
    (
        LlamaMessage(role="tool", content="r", additional_kwargs={"tool_call_id": "c1", "name": "f"}),
        {"role": "tool", "content": "r", "tool_call_id": "c1", "name": "f"},
    ),
    ({"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}),
    ({"role": "human", "content": "hi"}, {"role": "user", "content": "hi"}),
    ({"type": "ai", "content": "hi", "id": "m1"}, {"role": "assistant", "content": "hi", "id": "m1"}),
    ({"type": "human", "data": {"content": "hi"}}, {"role": "user", "content": "hi"}),
    (("user", "hi"), {"role": "user", "content": "hi"}),
    (("ai", "hi"), {"role": "assistant", "content": "hi"}),
    ("hi", {"role": "user", "content": "hi"}),
    (5, {"role": "unknown", "content": 5}),
    ({"role": "assistant", "content": None}, {"role": "assistant", "content": None}),
]


@pytest.mark.parametrize(("value", "expected"), MESSAGES, ids=[str(n) for n in range(len(MESSAGES))])
def test_each_message_has_its_role_and_content(value: Any, expected: dict[str, Any]) -> None:
    """F3."""
    assert message_of(write, value) == expected


def test_messages_take_a_list_or_a_single_one() -> None:
    """What callers hand over differs."""
    assert write.messages([HumanMessage("a"), ("ai", "b")]) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    assert write.messages(HumanMessage("a")) == write.messages("a") == write.messages(("user", "a"))


def test_message_that_lost_its_fields_is_still_a_message() -> None:
    """F3: model_construct validates nothing."""
    assert message_of(write, HumanMessage.model_construct()) == {"role": "user", "content": None}
    broken = HumanMessage.model_construct(content=object(), additional_kwargs=None, type="human")
    assert message_of(write, broken)["content"]["object"] == "object"


# --- tool calls ---------------------------------------------------------------------------------------------------

CALL = {"id": "c1", "name": "add", "arguments": {"a": 1}}
OPENAI_CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
WITH_CALL = [
    AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}]),
    AIMessage("", additional_kwargs={"tool_calls": [OPENAI_CALL]}),
    AIMessage([{"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}]),
    AIMessage(
        [{"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}],
        tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}],
    ),
    AIMessage([{"type": "function_call", "id": "fc_9", "call_id": "c1", "name": "add", "arguments": '{"a":1}'}]),
    LlamaMessage(role="assistant", blocks=[ToolCallBlock(tool_call_id="c1", tool_name="add", tool_kwargs={"a": 1})]),
    LlamaMessage(role="assistant", content="", additional_kwargs={"tool_calls": [OPENAI_CALL]}),
    {"role": "assistant", "content": "", "tool_calls": [OPENAI_CALL]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}]},
]


@pytest.mark.parametrize("value", WITH_CALL, ids=[str(n) for n in range(len(WITH_CALL))])
def test_tool_calls_of_every_provider_look_alike_and_come_once(value: Any) -> None:
    """One vocabulary for all vendors."""
    assert message_of(write, value) == {"role": "assistant", "content": "", "tool_calls": [CALL]}


def test_tool_calls_as_objects_of_an_sdk_are_read() -> None:
    """LlamaIndex keeps the provider's own objects."""
    from openai.types.chat import ChatCompletionMessageToolCall

    call = ChatCompletionMessageToolCall.model_validate(OPENAI_CALL)
    value = LlamaMessage(role="assistant", content="", additional_kwargs={"tool_calls": [call]})
    assert message_of(write, value)["tool_calls"] == [CALL]


def test_invalid_tool_call_keeps_its_text_and_its_error() -> None:
    """What a model wrote wrongly is worth reading."""
    message = AIMessage("", invalid_tool_calls=[{"name": "add", "args": "{a", "id": "c1", "error": "no JSON"}])
    assert message_of(write, message)["tool_calls"] == [
        {"id": "c1", "name": "add", "arguments": "{a", "error": "no JSON"}
    ]


def test_old_function_call_is_a_tool_call() -> None:
    """OpenAI's first spelling."""
    message = AIMessage("", additional_kwargs={"function_call": {"name": "add", "arguments": '{"a": 1}'}})
    assert message_of(write, message)["tool_calls"] == [{"name": "add", "arguments": {"a": 1}}]


# --- reasoning ----------------------------------------------------------------------------------------------------

THINKING = [
    AIMessage([{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "ok"}]),
    AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "ok", "index": 1}]),
    AIMessage([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, "ok"]),
    AIMessage("ok", additional_kwargs={"reasoning_content": "hm"}),
    LlamaMessage(role="assistant", blocks=[ThinkingBlock(content="hm"), TextBlock(text="ok")]),
]


@pytest.mark.parametrize("value", THINKING, ids=[str(n) for n in range(len(THINKING))])
def test_reasoning_stands_beside_the_content(value: Any) -> None:
    """One place for a reader to look; of a signature, which is of use to its provider alone, the name."""
    signed = {"left_out": ["signature"]} if value is THINKING[0] else {}
    assert message_of(write, value) == {"role": "assistant", "content": "ok", "reasoning": "hm", **signed}


@pytest.mark.parametrize("content", ["ok", [{"type": "text", "text": "ok"}]])
def test_what_an_answers_metadata_holds_besides_leaves_its_name(content: Any) -> None:
    """No field disappears without a mark; model, usage and finish reason stand in the event."""
    about = {"logprobs": {"content": [1]}, "safety_ratings": [{"x": 1}], "headers": {}, "model_name": "m",
             "finish_reason": "stop", "token_usage": {"total_tokens": 3}, "system_fingerprint": "fp"}  # fmt: skip
    out = message_of(write, AIMessage(content, response_metadata=about))
    assert out["left_out"] == ["logprobs", "safety_ratings", "system_fingerprint"]
    assert out["finish_reason"] == "stop"


def test_reasoning_that_can_not_be_read_stays_a_part() -> None:
    """Nothing is thrown away."""
    block = {"type": "redacted_thinking", "data": "abc"}
    assert message_of(write, AIMessage([block, {"type": "text", "text": "ok"}]))["content"][0] == block


# --- files --------------------------------------------------------------------------------------------------------

RAW = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
B64 = base64.b64encode(RAW).decode()
FILE = {"bytes": len(RAW), "sha256": hashlib.sha256(RAW).hexdigest()}
PNG = {"type": "image", "mime_type": "image/png", **FILE}

IMAGES = {
    "LangChain": {"type": "image", "base64": B64, "mime_type": "image/png"},
    "LangChain 0.3": {"type": "image", "source_type": "base64", "data": B64, "mime_type": "image/png"},
    "OpenAI": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
    "OpenAI, short": {"type": "image_url", "image_url": f"data:image/png;base64,{B64}"},
    "OpenAI responses": {"type": "input_image", "image_url": f"data:image/png;base64,{B64}"},
    "Anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
    "Gemini": {"inline_data": {"mime_type": "image/png", "data": B64}},
    "Gemini, bytes": {"type": "media", "mime_type": "image/png", "data": RAW},
    "URL-safe": {
        "type": "image",
        "base64": base64.urlsafe_b64encode(RAW).decode().rstrip("="),
        "mime_type": "image/png",
    },
    "with line breaks": {"type": "image", "base64": base64.encodebytes(RAW).decode(), "mime_type": "image/png"},
}


@pytest.mark.parametrize("name", IMAGES)
def test_base64_of_every_provider_is_lifted_out(name: str) -> None:
    """F4."""
    message = HumanMessage([{"type": "text", "text": "see"}, IMAGES[name]])
    assert message_of(write, message)["content"] == [{"type": "text", "text": "see"}, PNG]
    assert write({"messages": [{"role": "user", "content": [IMAGES[name]]}]})["messages"][0]["content"] == [PNG]


OTHER_FILES = [
    ({"type": "audio", "base64": B64, "mime_type": "audio/wav"}, "audio", "audio/wav"),
    ({"type": "input_audio", "input_audio": {"data": B64, "format": "wav"}}, "audio", "audio/wav"),
    ({"type": "video", "base64": B64, "mime_type": "video/mp4"}, "video", "video/mp4"),
    ({"type": "file", "base64": B64, "mime_type": "application/pdf"}, "file", "application/pdf"),
    ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{B64}"}}, "file", "application/pdf"),
    ({"type": "input_file", "file_data": f"data:application/pdf;base64,{B64}"}, "file", "application/pdf"),
    (
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": B64}},
        "file",
        "application/pdf",
    ),
    ({"type": "media", "mime_type": "video/mp4", "data": B64}, "video", "video/mp4"),
]


@pytest.mark.parametrize(("block", "kind", "mime"), OTHER_FILES, ids=[str(n) for n in range(len(OTHER_FILES))])
def test_files_of_every_kind_are_lifted_out(block: dict[str, Any], kind: str, mime: str) -> None:
    """F4."""
    assert message_of(write, HumanMessage([block]))["content"] == [{"type": kind, "mime_type": mime, **FILE}]


def test_blocks_of_llama_index_become_parts() -> None:
    """F4."""
    message = LlamaMessage(
        blocks=[
            TextBlock(text="see"),
            ImageBlock(image=RAW),
            AudioBlock(audio=RAW, format="wav"),
            VideoBlock(video=RAW, video_mimetype="video/mp4"),
            DocumentBlock(data=RAW, title="t", document_mimetype="application/pdf"),
            ImageBlock(url="https://h/a.png"),
            CitationBlock(
                cited_content=TextBlock(text="c"), source="s", title="t", additional_location_info={"page": 1}
            ),
            CachePoint(cache_control=CacheControl(type="ephemeral")),
        ]
    )
    parts = message_of(write, message)["content"]
    assert parts[:3] == [{"type": "text", "text": "see"}, PNG, {"type": "audio", "mime_type": "audio/wav", **FILE}]
    assert parts[3] == {"type": "video", "mime_type": "video/mp4", **FILE}
    assert parts[4] == {"type": "file", "mime_type": "application/pdf", **FILE, "title": "t"}
    assert (parts[5]["type"], parts[5]["url"]) == ("image", "https://h/a.png")
    assert parts[6]["cited_content"] == {"type": "text", "text": "c"}
    assert parts[7]["type"] == "cache"


def test_stream_in_a_block_is_not_read() -> None:
    """E5."""
    import io

    stream = io.BytesIO(RAW)
    parts = message_of(write, LlamaMessage(blocks=[ImageBlock.model_construct(block_type="image", image=stream)]))[
        "content"
    ]
    assert stream.tell() == 0
    assert parts[0]["stream"] == {"object": "_io.BytesIO"}


def test_urls_stay_and_other_keys_with_them() -> None:
    """A link is worth keeping."""
    block = {"type": "image_url", "image_url": {"url": "https://h/a.png", "detail": "low"}}
    assert message_of(write, HumanMessage([block]))["content"] == [
        {"type": "image", "url": "https://h/a.png", "detail": "low"}
    ]


def test_spoken_answer_is_a_part() -> None:
    """OpenAI's audio stands beside the content."""
    message = AIMessage("", additional_kwargs={"audio": {"id": "a1", "data": B64, "transcript": "hello"}})
    [part] = message_of(write, message)["content"]
    assert part == {"type": "audio", **FILE, "id": "a1", "transcript": "hello"}


def test_three_megabytes_of_base64_leave_a_small_record() -> None:
    """F4."""
    block = {"type": "image", "base64": "QUJD" * 1_000_000, "mime_type": "image/png"}
    assert len(json.dumps(write.messages([HumanMessage([block])]))) < 300


def test_what_only_looks_like_a_file_stays_as_it_is() -> None:
    """A user's dict is not a provider's."""
    for value in (
        {"type": "file", "path": "/a"},
        {"type": "document", "data": "some text"},
        {"type": "image", "source": {"type": "text", "data": "alt"}},
        {"type": "text", "text": "x", "annotations": [{"url": "https://h"}]},
        {"type": ["image"], "url": "u"},
        {"type": "other", "base64": "QUJD"},
    ):
        assert write(value) == value


def test_base64_that_is_none_is_told_by_its_text() -> None:
    """F4: undecodable."""
    out = message_of(write, HumanMessage([{"type": "image", "base64": "not base64!", "mime_type": "image/png"}]))
    assert out["content"][0]["sha256"] == hashlib.sha256(b"not base64!").hexdigest()
