"""Why an answer stopped, through the real clients of both frameworks, streamed and not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eventtree.event import EventTree
from eventtree.testing.capture import Captured, capture
from tests.usage import bodies
from tests.usage.conftest import needs
from tests.usage.served import Provider

pytest.importorskip("langchain_openai")
needs("langchain_anthropic")
pytest.importorskip("llama_index.llms.openai")

KEY = "sk-nothing"


@pytest.fixture
def trees() -> Iterator[Captured]:
    with capture() as captured:
        yield captured


def reason(tree: EventTree) -> Any:
    """What the model's event says."""
    (event,) = [one for one in tree.events if one.usage is not None]
    return event.outputs["messages"][0].get("finish_reason")


def cut_chat() -> dict[str, Any]:
    body = bodies.openai(bodies.OPENAI_USAGE)
    body["choices"][0]["finish_reason"] = "length"
    return body


def cut_chat_stream() -> list[dict[str, Any]]:
    chunks = bodies.openai_stream(bodies.OPENAI_USAGE)
    chunks[-2]["choices"][0]["finish_reason"] = "length"
    return chunks


def cut_response() -> dict[str, Any]:
    body = bodies.responses(bodies.RESPONSES_USAGE)
    return {**body, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}


def response_events(end: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    begun = {**body, "status": "in_progress", "incomplete_details": None, "usage": None, "output": []}
    place = {"item_id": "m1", "output_index": 0, "content_index": 0, "logprobs": []}
    item = {"id": "m1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    return [
        {"type": "response.created", "response": begun, "sequence_number": 0},
        {"type": "response.output_item.added", "item": item, "output_index": 0, "sequence_number": 1},
        {"type": "response.output_text.delta", "delta": "Hi.", "sequence_number": 2, **place},
        {"type": end, "response": body, "sequence_number": 3},
    ]


def cut_response_stream() -> list[dict[str, Any]]:
    return response_events("response.incomplete", cut_response())


def whole_response_stream() -> list[dict[str, Any]]:
    return response_events("response.completed", bodies.responses(bodies.RESPONSES_USAGE))


def cut_claude() -> dict[str, Any]:
    return {**bodies.anthropic(bodies.ANTHROPIC_USAGE), "stop_reason": "max_tokens"}


def cut_claude_stream() -> list[dict[str, Any]]:
    found = bodies.anthropic_stream(bodies.ANTHROPIC_USAGE, {"output_tokens": 80})
    found[-2]["delta"]["stop_reason"] = "max_tokens"
    return found


CHAT, RESPONSES, CLAUDE = "chat", "responses", "claude"
CASES: list[tuple[str, Callable[[], Any], str]] = [
    (CHAT, cut_chat, "length"),
    (CHAT, cut_chat_stream, "length"),
    (RESPONSES, cut_response, "max_output_tokens"),
    (RESPONSES, cut_response_stream, "max_output_tokens"),
    (RESPONSES, lambda: bodies.responses(bodies.RESPONSES_USAGE), "completed"),
    (RESPONSES, whole_response_stream, "completed"),
    (CLAUDE, cut_claude, "max_tokens"),
    (CLAUDE, cut_claude_stream, "max_tokens"),
]


def langchain_model(served: Provider, api: str) -> Any:
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import ChatOpenAI

    if api == CLAUDE:
        return ChatAnthropic(model="claude-sonnet-4-5", api_key=KEY, base_url=served.url, max_retries=0)
    more: dict[str, Any] = {"use_responses_api": api == RESPONSES, "stream_usage": True}
    return ChatOpenAI(model="gpt-4o-mini", api_key=KEY, base_url=f"{served.url}/v1", max_retries=0, **more)


def llama_index_model(served: Provider, api: str) -> Any:
    if api == CLAUDE:
        found = pytest.importorskip("llama_index.llms.anthropic")
        return found.Anthropic(model="claude-sonnet-4-5", api_key=KEY, base_url=served.url, max_retries=0)
    from llama_index.llms.openai import OpenAI, OpenAIResponses

    kind = OpenAIResponses if api == RESPONSES else OpenAI
    return kind(model="gpt-4o-mini", api_key=KEY, api_base=f"{served.url}/v1", max_retries=0)


IDS = [f"{api}-{number}" for number, (api, _, _) in enumerate(CASES)]


@pytest.mark.parametrize(("api", "body", "expected"), CASES, ids=IDS)
def test_langchain_says_why_an_answer_stopped(
    served: Provider, trees: Captured, api: str, body: Callable[[], Any], expected: str
) -> None:
    answer = body()
    served.will(answer)
    model = langchain_model(served, api)
    if isinstance(answer, list):
        list(model.stream("Hello"))
    else:
        model.invoke("Hello")
    [tree] = trees.wait()
    assert reason(tree) == expected


@pytest.mark.parametrize(("api", "body", "expected"), CASES, ids=IDS)
def test_llama_index_says_why_an_answer_stopped(
    served: Provider, trees: Captured, api: str, body: Callable[[], Any], expected: str
) -> None:
    from llama_index.core.llms import ChatMessage

    model, answer = llama_index_model(served, api), body()
    served.will(answer)
    asked = [ChatMessage("Hello")]
    if isinstance(answer, list):
        list(model.stream_chat(asked))
    else:
        model.chat(asked)
    [tree] = trees.wait()
    assert reason(tree) == expected


def test_a_cut_response_keeps_its_text_through_llama_index(served: Provider, trees: Captured) -> None:
    """The last message of llama_index's stream has no blocks where the answer is incomplete."""
    from llama_index.core.llms import ChatMessage

    served.will(cut_response_stream())
    list(llama_index_model(served, RESPONSES).stream_chat([ChatMessage("Hello")]))
    [event] = [event for tree in trees.wait() for event in tree.events if event.usage is not None]
    assert event.outputs == {
        "messages": [{"role": "assistant", "content": "Hi.", "finish_reason": "max_output_tokens"}]
    }


def text_body() -> dict[str, Any]:
    """A completion of OpenAI's older API, which vLLM and others serve."""
    choice = {"index": 0, "text": "Hi.", "finish_reason": "length", "logprobs": None}
    model = "gpt-3.5-turbo-instruct"
    body = {"id": "c1", "object": "text_completion", "created": 1, "model": model, "choices": [choice]}
    return {**body, "usage": bodies.OPENAI_USAGE}


def test_langchains_text_model_says_why_it_stopped(served: Provider, trees: Captured) -> None:
    from langchain_openai import OpenAI

    served.will(text_body())
    OpenAI(model="gpt-3.5-turbo-instruct", api_key=KEY, base_url=f"{served.url}/v1", max_retries=0).invoke("Hello")
    [tree] = trees.wait()
    assert tree.root.outputs == {"text": "Hi.", "finish_reason": "length"}


def test_llama_indexs_text_model_says_why_it_stopped(served: Provider, trees: Captured) -> None:
    from llama_index.llms.openai import OpenAI

    served.will(text_body())
    settings: dict[str, Any] = {"api_key": KEY, "api_base": f"{served.url}/v1", "max_retries": 0, "max_tokens": 16}
    model = OpenAI(model="gpt-3.5-turbo-instruct", **settings)
    model.complete("Hello")
    [tree] = trees.wait()
    [event] = [one for one in tree.events if one.usage is not None]
    assert event.outputs == {"text": "Hi.", "finish_reason": "length"}
