"""Failures, through the real clients: an answer that came is billed though of no use, one that did not is null."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from eventtree.event import Event
from eventtree.kinds import Status
from eventtree.usage.failed import body_in, messages_in
from tests.usage import bodies
from tests.usage.conftest import Asked, needs
from tests.usage.served import Answer, Provider
from tests.usage.test_clients import chat_anthropic, chat_openai, llama_openai

pytest.importorskip("langchain_openai")
needs("langchain_anthropic")


class Person(BaseModel):
    """What is asked for."""

    name: str


USAGE = {"prompt_tokens": 127, "completion_tokens": 16, "total_tokens": 143}
CUT = '{"name": "Ad'


def cut(reason: str) -> dict[str, Any]:
    body = bodies.openai(USAGE)
    body["choices"][0] |= {"finish_reason": reason, "message": {"role": "assistant", "content": CUT}}
    return body


def call(model: Any) -> None:
    from eventtree.langchain import CallbackHandler

    with pytest.raises(Exception):  # noqa: B017 - whatever the client makes of it
        model.invoke("Hello", config={"callbacks": [CallbackHandler(strict=True)]})


async def acall(served: Provider) -> None:
    from eventtree.langchain import CallbackHandler

    async with httpx.AsyncClient() as own:  # the one langchain_openai shares would outlive this loop
        model = chat_openai(served, http_async_client=own).with_structured_output(Person, method="json_schema")
        with pytest.raises(Exception):  # noqa: B017
            await model.ainvoke("Hello", config={"callbacks": [CallbackHandler(strict=True)]})


def assert_billed(event: Event, reason: str) -> None:
    assert event.status is Status.ERROR and event.usage is not None and event.cost is not None
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.problems) == (127, 16, ())
    assert event.cost.total_usd == (Decimal("0.15") * 127 + Decimal("0.6") * 16) / 1_000_000
    (message,) = event.outputs["messages"]
    assert (message["role"], message["content"], message["finish_reason"]) == ("assistant", CUT, reason)


@pytest.mark.parametrize("is_async", [False, True], ids=["invoke", "ainvoke"])
@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_structured_answer_that_was_cut_keeps_bill_and_text(
    served: Provider, asked: Asked, reason: str, is_async: bool
) -> None:
    served.will(cut(reason))
    if is_async:
        asyncio.run(acall(served))
    else:
        call(chat_openai(served).with_structured_output(Person, method="json_schema"))
    assert_billed(asked.event, reason)
    assert asked.event.model == bodies.MINI


@pytest.mark.parametrize("code", [400, 401, 429, 500])
@pytest.mark.parametrize("way", ["langchain", "langchain, streamed", "anthropic", "llama_index"])
def test_an_answer_that_never_came_is_null(served: Provider, asked: Asked, code: int, way: str) -> None:
    """LangChain's placeholder for the error is no answer."""
    served.answers.append(Answer(b'{"error": {"message": "no", "type": "t", "code": "c"}}', status=code))
    if way == "llama_index":
        with pytest.raises(Exception):  # noqa: B017
            llama(served)
    else:
        model = chat_anthropic(served) if way == "anthropic" else chat_openai(served, streaming="streamed" in way)
        call(model)
    event = asked.event
    assert (event.status, event.outputs, event.usage, event.cost) == (Status.ERROR, None, None, None)


def test_a_stream_that_breaks_keeps_what_came_and_nothing_else(served: Provider, asked: Asked) -> None:
    """One message, with the text; LangChain adds an empty one for the error."""
    half = bodies.openai_stream()[:2]
    served.will([*half, {"error": {"message": "overloaded", "type": "server_error"}}])
    call(chat_openai(served, streaming=True))
    (message,) = asked.event.outputs["messages"]
    assert (message["role"], message["content"]) == ("assistant", "Hi")


def llama(served: Provider) -> None:
    pytest.importorskip("llama_index.llms.openai")
    from llama_index.core.llms import ChatMessage

    import eventtree.llama_index

    eventtree.llama_index.set_global_handler(strict=True)
    try:
        llama_openai(served).chat([ChatMessage("Hello")])
    finally:
        eventtree.llama_index.set_global_handler(None)


def test_an_exception_with_an_answer_keeps_it_through_llama_index(asked: Asked) -> None:
    """Openai's own exception, raised inside a model."""
    pytest.importorskip("llama_index.core", exc_type=ImportError)
    from llama_index.core.llms import ChatMessage, CustomLLM, LLMMetadata
    from llama_index.core.llms.callbacks import llm_chat_callback
    from openai import LengthFinishReasonError
    from openai.types.chat import ChatCompletion

    import eventtree.llama_index

    class Cut(CustomLLM):
        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata(model_name=bodies.MINI)

        @llm_chat_callback()
        def chat(self, messages: Any, **more: Any) -> Any:
            raise LengthFinishReasonError(completion=ChatCompletion.model_validate(cut("length")))

        complete = stream_complete = chat

    eventtree.llama_index.set_global_handler(strict=True)
    try:
        with pytest.raises(LengthFinishReasonError):
            Cut().chat([ChatMessage("Hello")])
    finally:
        eventtree.llama_index.set_global_handler(None)
    assert_billed(asked.event, "length")


class Carrying(Exception):
    """An exception with attributes."""

    def __init__(self, **about: Any) -> None:
        super().__init__("no use")
        self.__dict__.update(about)


class Read:
    """An HTTP client's response that has been read: httpx's and requests' keep the bytes there."""

    def __init__(self, content: bytes) -> None:
        self._content = content


BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "openai": (cut("length"), CUT),
    "openai, a refusal": (
        {"choices": [{"message": {"role": "assistant", "content": None, "refusal": "No."}}]}, "No.",
    ),
    "completions": ({"choices": [{"text": "Hi.", "finish_reason": "length"}]}, "Hi."),
    "responses": (bodies.responses(bodies.RESPONSES_USAGE), "Hi."),
    "anthropic": (bodies.anthropic(bodies.ANTHROPIC_USAGE), "Hi."),
    "gemini": (
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi."}]}, "finishReason": "MAX_TOKENS"}]},
        "Hi.",
    ),
    "bedrock converse": (
        {"output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}}, "stopReason": "max_tokens"}, "Hi.",
    ),
    "cohere": ({"message": {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}}, "Hi."),
    "ollama": ({"message": {"role": "assistant", "content": "Hi."}, "done_reason": "length"}, "Hi."),
}  # fmt: skip


@pytest.mark.parametrize(("body", "text"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("name", ["completion", "last_completion", "response", "body"])
def test_every_providers_answer_is_found_in_an_exception(body: dict[str, Any], text: str, name: str) -> None:
    import json

    from eventtree.content import Sanitizer

    for carried in (body, Read(json.dumps(body).encode())):
        found = body_in(Carrying(**{name: carried}))
        assert found == body
        (message,) = Sanitizer().messages(list(messages_in(found)))
        content = message["content"]
        assert (message["role"], content if isinstance(content, str) else content[0]["text"]) == ("assistant", text)


ERRORS = {
    "openai": {"error": {"message": "no", "type": "t", "code": None}},
    "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "no"}},
    "bedrock": {"Error": {"Code": "Throttled", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 429}},
    "cohere": {"message": "no"},
    "mistral": {"object": "error", "message": {"detail": []}, "type": "invalid_request_error"},
    "text": "no",
    "nothing": None,
    "a list": [{"error": {"code": 429}}],
}


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS)
def test_the_body_of_an_error_is_no_answer(body: Any) -> None:
    assert body_in(Carrying(response=body, body=body)) is None


def test_a_response_that_was_not_read_is_left_to_the_client() -> None:
    """Rule 1: nothing of the user's is consumed."""

    class Streaming:
        def json(self) -> Any:
            raise AssertionError("read")

        read = iter_bytes = json

    assert body_in(Carrying(response=Streaming())) is None
