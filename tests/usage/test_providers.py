"""Every other provider through its real clients in both frameworks: the event says what the body on the wire says.

Each test needs a client that the default run does not have; it is skipped where that is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from eventtree.event import Usage
from eventtree.kinds import Kind
from eventtree.testing import capture
from tests.usage import bodies
from tests.usage import other_bodies as other
from tests.usage.served import Answer, Provider, events

pytestmark = pytest.mark.filterwarnings("ignore")

KEY = "sk-nothing"
ONE = {"input_tokens": 1200, "output_tokens": 80, "total_tokens": 1280}
CACHED = {**ONE, "cache_read_tokens": 1024}
REASONED = {**CACHED, "reasoning_tokens": 64}
WRITTEN = {**ONE, "cache_read_tokens": 1000, "cache_write_tokens": 24}
BILLED = {"billed_input_tokens": 1100, "billed_output_tokens": 70}
SEEN_ONLY = "the tokens that the model saw: the client does not tell how many of them are billed"
BILLED_ONLY = "the units that are billed: the client's streams do not tell the tokens"

Model = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One client of one provider, and what it is answered."""

    client: str
    """`package.Class`."""
    settings: Callable[[str], dict[str, Any]]
    """The class's arguments, by the server's address."""
    answer: Answer
    stream: Answer
    expected: dict[str, int]
    streamed: dict[str, int] | None = None
    """What a stream says, where its body or its client say less."""
    units: dict[str, int] = field(default_factory=dict)
    named: str | None = None
    """The problem the event names where a stream's client says something else than its body."""
    named_whole: str | None = None
    """The same of an answer that is not streamed."""


def at(address: str, **more: Any) -> Callable[[str], dict[str, Any]]:
    """The arguments `more`, and the server's address where they say {url}."""
    return lambda url: {**more, address.partition("=")[0]: (address.partition("=")[2] or "{url}").format(url=url)}


AWS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-west-2"}
CLAUDE = "anthropic.claude-3-5-sonnet-20240620-v1:0"


def google(url: str) -> dict[str, Any]:
    return {"model": "gemini-2.5-flash", "google_api_key": KEY, "base_url": url, "max_retries": 1}


def google_llama(url: str) -> dict[str, Any]:
    from google.genai import types

    # The client would ask the service about the model.
    options = types.HttpOptions(base_url=url)
    return {"model": "gemini-2.5-flash", "api_key": KEY, "http_options": options, "context_window": 9, "max_tokens": 9}


def bedrock(url: str, model: str = CLAUDE, **more: Any) -> dict[str, Any]:
    return {"model": model, "endpoint_url": url, **AWS, **more}


def cohere_llama(url: str) -> dict[str, Any]:
    return {"model": "command-a-03-2025", "api_key": KEY, "base_url": url}


MISTRAL = partial(
    Case, answer=other.chat(other.MISTRAL_USAGE, "mistral-small-latest"),
    stream=other.chat_stream(other.MISTRAL_USAGE, "mistral-small-latest"), expected=CACHED,
)  # fmt: skip
GEMINI = partial(
    Case, answer=other.whole(other.gemini(other.GEMINI_USAGE)), stream=other.gemini_stream(), expected=REASONED
)
OLLAMA = partial(Case, stream=other.ollama_stream(), expected=ONE)
DEEPSEEK = partial(
    Case, answer=other.chat(other.DEEPSEEK_USAGE, "deepseek-chat"),
    stream=other.chat_stream(other.DEEPSEEK_USAGE, "deepseek-chat"), expected=REASONED,
)  # fmt: skip
AZURE = partial(
    Case, answer=other.chat(bodies.OPENAI_USAGE, bodies.MINI, prompt_filter_results=[]),
    stream=Answer(events(bodies.openai_stream(bodies.OPENAI_USAGE)), "text/event-stream"), expected=REASONED,
)  # fmt: skip
GROQ = partial(
    Case, answer=other.chat(other.GROQ_USAGE, "openai/gpt-oss-20b"),
    stream=other.chat_stream(other.GROQ_USAGE, "openai/gpt-oss-20b", key="x_groq"), expected=REASONED,
)  # fmt: skip
CONVERSE = partial(Case, answer=other.converse(), stream=other.converse_stream(), expected=WRITTEN)

CASES = [
    MISTRAL(
        "langchain_mistralai.ChatMistralAI",
        at("endpoint={url}/v1", model="mistral-small-latest", api_key=KEY, max_retries=1),
        streamed=ONE, named="the client's streams do not tell which tokens were cached",
    ),
    MISTRAL("llama_index.llms.mistralai.MistralAI", at("endpoint", api_key=KEY, max_retries=1)),
    GEMINI("langchain_google_genai.ChatGoogleGenerativeAI", google),
    GEMINI("llama_index.llms.google_genai.GoogleGenAI", google_llama),
    Case(
        "langchain_cohere.ChatCohere", at("base_url", model="command-a-03-2025", cohere_api_key=KEY),
        other.cohere(), other.cohere_stream(), ONE,  # the client drops the cache and what is billed
        streamed={"input_tokens": 1100, "output_tokens": 70, "total_tokens": 1170}, named=BILLED_ONLY,
        named_whole=SEEN_ONLY,
    ),
    Case(
        "llama_index.llms.cohere.Cohere", cohere_llama, other.whole(other.COHERE_1), other.cohere_1_stream(), CACHED,
        units=BILLED,
    ),
    OLLAMA("langchain_ollama.ChatOllama", at("base_url", model="llama3.2"), answer=other.ollama_stream()),
    OLLAMA(
        "llama_index.llms.ollama.Ollama", at("base_url", model="llama3.2", context_window=9),
        answer=other.whole(other.ollama()),
    ),
    DEEPSEEK("langchain_deepseek.ChatDeepSeek", at("api_base={url}/v1", model="deepseek-chat", api_key=KEY)),
    DEEPSEEK("llama_index.llms.deepseek.DeepSeek", at("api_base={url}/v1", model="deepseek-chat", api_key=KEY)),
    AZURE(
        "langchain_openai.AzureChatOpenAI",
        at("azure_endpoint", azure_deployment="mini", api_version="2024-10-21", api_key=KEY, stream_usage=True),
    ),
    AZURE(
        "llama_index.llms.azure_openai.AzureOpenAI",
        at(
            "azure_endpoint", engine="mini", model="gpt-4o-mini", api_version="2024-10-21", api_key=KEY,
            additional_kwargs={"stream_options": {"include_usage": True}},
        ),
    ),
    GROQ("langchain_groq.ChatGroq", at("base_url", model="openai/gpt-oss-20b", api_key=KEY)),
    GROQ("llama_index.llms.groq.Groq", at("api_base={url}/v1", model="openai/gpt-oss-20b", api_key=KEY)),
    Case(
        "langchain_xai.ChatXAI", at("xai_api_base={url}/v1", model="grok-4", api_key=KEY),
        other.chat(other.XAI_USAGE, "grok-4-0709"), other.chat_stream(other.XAI_USAGE, "grok-4-0709"), REASONED,
        named="the client's streams do not tell what xAI says it charged, nor its tools: the cost is by tokens",
    ),
    Case(
        "langchain_aws.ChatBedrock", partial(bedrock, beta_use_converse_api=False),
        other.invoke_claude(), other.invoke_claude_stream(), WRITTEN,
    ),
    Case(
        "langchain_aws.ChatBedrock", partial(bedrock, model="meta.llama3-8b-instruct-v1:0"),
        other.invoke_llama(), other.invoke_llama_stream(), ONE,
    ),
    CONVERSE("langchain_aws.ChatBedrockConverse", bedrock),
    CONVERSE("llama_index.llms.bedrock_converse.BedrockConverse", bedrock),
]  # fmt: skip


def made(case: Case, url: str) -> Any:
    """The client, or a skip where it is not installed."""
    package, _, name = case.client.rpartition(".")
    return getattr(pytest.importorskip(package), name)(**case.settings(url))


def ask(model: Any, streamed: bool) -> None:
    """In the way of its framework."""
    if hasattr(model, "stream_chat"):
        from llama_index.core.llms import ChatMessage

        list(model.stream_chat([ChatMessage("Hello")])) if streamed else model.chat([ChatMessage("Hello")])
    else:
        list(model.stream("Hello")) if streamed else model.invoke("Hello")


def asked(case: Case, served: Provider, streamed: bool) -> Usage:
    """The usage of the only model event."""
    served.answers.clear()
    model = made(case, served.url)
    with capture() as trees:
        served.answers.append(case.stream if streamed else case.answer)
        ask(model, streamed)
    (event,) = [one for tree in trees.wait() for one in tree.events if one.kind is Kind.MODEL and not one.internal]
    assert event.usage is not None
    return event.usage


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.client)
def test_a_client_of_another_provider_says_what_its_body_says(case: Case, served: Provider, streamed: bool) -> None:
    """C1, C2, C3: cached, written and thought tokens are parts; nothing is counted by a tokenizer."""
    usage = asked(case, served, streamed)
    expected = case.streamed if streamed and case.streamed is not None else case.expected
    names = {name for name in Usage.model_fields if name.endswith("_tokens")}
    found = usage.model_dump(exclude_none=True, include=names)
    assert {name: found.get(name) for name in expected} == expected, (found, usage.raw, usage.problems)
    assert {name: count for name, count in found.items() if name not in expected and count} == {}
    assert not usage.inferred
    named = case.named if streamed else case.named_whole
    assert usage.problems == (() if named is None else (named,))
    assert usage.units == (BILLED if named == BILLED_ONLY else case.units)
