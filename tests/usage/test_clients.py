"""Bodies over HTTP, through the real clients of both frameworks: what we say of tokens and money is what they say."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventtree import config
from eventtree.event import Usage
from eventtree.journal import open_journal
from eventtree.testing.capture import Captured
from tests.usage import bodies, other_bodies
from tests.usage.conftest import Asked, needs
from tests.usage.served import Provider

pytest.importorskip("langchain_openai")
needs("langchain_anthropic")

COUNTED = Usage(
    input_tokens=1200, output_tokens=80, total_tokens=1280, cache_read_tokens=1024, reasoning_tokens=64,
    input_audio_tokens=0, output_audio_tokens=0,
)  # fmt: skip
KEY = "sk-nothing"


@pytest.fixture(autouse=True)
def nothing_left(served: Provider) -> Iterator[None]:
    """Every answer is asked for."""
    yield
    assert not served.answers


def langchain(model: Any, streamed: bool | str = False, **settings: Any) -> None:
    """Ask a LangChain model; a stream may be one of protocol events."""
    from eventtree.langchain import CallbackHandler

    more = {"callbacks": [CallbackHandler(strict=True)], **settings}
    if streamed == "stream_events":
        list(model.stream_events("Hello", config=more, version="v3"))
    elif streamed:
        list(model.stream("Hello", config=more))
    else:
        model.invoke("Hello", config=more)


def chat_openai(served: Provider, **more: Any) -> Any:
    from langchain_openai import ChatOpenAI

    settings = {"model": "gpt-4o-mini", "api_key": KEY, "base_url": f"{served.url}/v1", "max_retries": 0, **more}
    return ChatOpenAI(**settings)


def chat_anthropic(served: Provider, **more: Any) -> Any:
    from langchain_anthropic import ChatAnthropic

    settings = {"model": "claude-sonnet-4-5", "api_key": KEY, "base_url": served.url, "max_retries": 0, **more}
    return ChatAnthropic(**settings)


def figures(usage: Usage | None) -> dict[str, Any]:
    assert usage is not None
    return usage.model_dump(include={name for name in Usage.model_fields if name.endswith("_tokens")})


@pytest.mark.parametrize("streamed", [False, True])
def test_openai_chat_through_langchain(served: Provider, asked: Asked, streamed: bool) -> None:
    """C1, C2, C3: cached and reasoning are parts, streamed or not."""
    served.will((bodies.openai_stream if streamed else bodies.openai)(bodies.OPENAI_USAGE))
    langchain(chat_openai(served, stream_usage=True), streamed)
    assert figures(asked.event.usage) == figures(COUNTED)
    cost = asked.event.cost
    assert cost is not None
    # gpt-4o-mini: 0.15 a million in, half of it cached, 0.60 out.
    assert cost.input_usd == (Decimal("0.15") * 176 + Decimal("0.075") * 1024) / 1_000_000
    assert cost.output_usd == Decimal("0.60") * 80 / 1_000_000
    assert cost.source and cost.source.startswith("genai-prices ")


def test_openai_responses_through_langchain(served: Provider, asked: Asked) -> None:
    """C2: other names, the same figures."""
    served.will(bodies.responses(bodies.RESPONSES_USAGE))
    langchain(chat_openai(served, model="gpt-5-mini", use_responses_api=True))
    assert (asked.event.usage and asked.event.usage.reasoning_tokens, asked.event.model) == (
        64,
        "gpt-5-mini-2025-08-07",
    )
    assert asked.event.usage and asked.event.usage.cache_read_tokens == 1024
    assert asked.event.cost and asked.event.cost.total_usd


def test_several_choices_are_one_requests_tokens(served: Provider, asked: Asked) -> None:
    """C6: n=2 comes with one usage for both."""
    served.will(bodies.openai(bodies.OPENAI_USAGE, n=2))
    langchain(chat_openai(served, n=2))
    assert figures(asked.event.usage) == figures(COUNTED)


ANTHROPIC = {"input_tokens": 1200, "output_tokens": 80, "cache_read_tokens": 1000, "cache_write_tokens": 24}


def test_anthropic_through_langchain(served: Provider, asked: Asked) -> None:
    """C2: the input includes the cache, writes of 5 minutes and 1 hour stand apart and are charged apart."""
    served.will(bodies.anthropic(bodies.ANTHROPIC_USAGE))
    langchain(chat_anthropic(served))
    usage, cost = asked.event.usage, asked.event.cost
    assert usage is not None
    assert {name: getattr(usage, name) for name in ANTHROPIC} == ANTHROPIC
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (20, 4)
    assert cost is not None
    plain, read, short, long = (Decimal(price) for price in ("3", "0.3", "3.75", "6"))
    assert cost.input_usd == (plain * 176 + read * 1000 + short * 20 + long * 4) / 1_000_000


def test_an_anthropic_stream_that_counts_at_its_end(served: Provider, asked: Asked) -> None:
    """C1: the start says 1 for the output, the end the whole."""
    start = {**bodies.ANTHROPIC_USAGE, "output_tokens": 1}
    served.will(bodies.anthropic_stream(start, bodies.ANTHROPIC_USAGE))
    langchain(chat_anthropic(served), streamed=True)
    assert asked.event.usage is not None
    assert {name: getattr(asked.event.usage, name) for name in ANTHROPIC} == ANTHROPIC


def test_an_anthropic_stream_whose_client_loses_the_input_is_flagged(served: Provider, asked: Asked) -> None:
    """C1: langchain-anthropic says 0 where the last event counts the output only: unknown, never 0, and no price."""
    start = {"input_tokens": 176, "output_tokens": 1}
    served.will(bodies.anthropic_stream(start, {"output_tokens": 80}))
    langchain(chat_anthropic(served), streamed=True)
    usage = asked.event.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (None, 80, None)
    assert usage.problems == ("input is 0 though a prompt was sent: the stream did not report it",)
    assert asked.event.cost is None


def test_a_stream_without_usage_is_counted_and_says_so(served: Provider, asked: Asked) -> None:
    """C8: the model's own tokenizer, from files on this machine."""
    pytest.importorskip("llama_index.core", reason="its package holds the tokenizer's files", exc_type=ImportError)
    served.will(bodies.openai_stream())
    langchain(chat_openai(served, stream_usage=False), streamed=True)
    usage, cost = asked.event.usage, asked.event.cost
    assert usage is not None and cost is not None
    assert (usage.input_tokens, usage.output_tokens, usage.inferred) == (8, 2, True)
    assert usage.problems == ("inferred: counted without tools and images",)
    assert cost.source and cost.source.endswith(", inferred tokens")


def test_what_openrouter_charged_is_believed(served: Provider, asked: Asked) -> None:
    """The provider's figure goes before a price list."""
    served.will(bodies.openai({**bodies.OPENAI_USAGE, "cost": 0.00042}))
    langchain(chat_openai(served))
    cost = asked.event.cost
    assert cost is not None
    assert (cost.total_usd, cost.source) == (Decimal("0.00042"), "provider")


def test_what_a_litellm_proxy_charged_is_believed(served: Provider, asked: Asked) -> None:
    """Its header, which LangChain keeps on request; no other header is recorded."""
    headers = {"x-litellm-response-cost": "2.85e-05", "x-request-id": "secret-7"}
    served.will(bodies.openai(bodies.OPENAI_USAGE), headers=headers)
    langchain(chat_openai(served, include_response_headers=True))
    event = asked.event
    assert event.cost is not None and event.usage is not None
    assert (event.cost.total_usd, event.cost.source) == (Decimal("0.0000285"), "provider")
    assert "secret-7" not in str(event.usage.raw)


def test_the_users_function_goes_before_what_the_provider_says(served: Provider, asked: Asked) -> None:
    """Given by the user, whichever way."""
    config.configure(prices=lambda usage, model, provider, at: usage.input_tokens if model == bodies.MINI else None)
    served.will(bodies.openai({**bodies.OPENAI_USAGE, "cost": 0.00042}))
    langchain(chat_openai(served))
    cost = asked.event.cost
    assert cost is not None
    assert (cost.total_usd, cost.source) == (Decimal(1200), "callable")


def test_the_users_table_goes_before_the_public_prices(served: Provider, asked: Asked) -> None:
    """By the response's model name."""
    config.configure(prices={"gpt-4o-mini-2024*": {"input": 1, "output": 2}})
    served.will(bodies.openai(bodies.OPENAI_USAGE))
    langchain(chat_openai(served))
    cost = asked.event.cost
    assert cost is not None
    assert cost.total_usd == Decimal("0.00136")
    assert cost.source and cost.source.startswith("table:")


@pytest.mark.parametrize("name", ["gpt-4o-mini", bodies.MINI])
def test_the_users_table_may_name_the_model_as_it_was_asked(served: Provider, asked: Asked, name: str) -> None:
    """The answer comes from gpt-4o-mini-2024-07-18."""
    config.configure(prices={name: {"input": 1, "output": 2}})
    served.will(bodies.openai(bodies.OPENAI_USAGE))
    langchain(chat_openai(served))
    assert asked.event.cost is not None
    assert asked.event.cost.total_usd == Decimal("0.00136")


def test_a_proxy_that_has_another_model_answer_is_not_charged_as_the_one_that_was_asked(
    served: Provider, asked: Asked
) -> None:
    """Rule 4: the response's model name decides."""
    served.will(bodies.openai(bodies.OPENAI_USAGE, model="our-own-7b"))
    langchain(chat_openai(served))
    assert asked.event.cost is None


def test_a_provider_whose_class_is_built_on_openais_is_its_own(served: Provider, asked: Asked) -> None:
    """langchain_openai's base class writes "openai" into each answer; langchain_together leaves it there."""
    from langchain_openai.chat_models.base import BaseChatOpenAI

    class ChatTogether(BaseChatOpenAI):
        """As langchain_together's."""

        def _get_ls_params(self, *args: Any, **kwargs: Any) -> Any:
            return {**super()._get_ls_params(*args, **kwargs), "ls_provider": "together"}

    name = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    served.will(bodies.openai({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}, model=name))
    langchain(ChatTogether(model=name, api_key=KEY, base_url=f"{served.url}/v1", max_retries=0))
    assert (asked.event.provider, asked.event.model) == ("together", name)
    assert asked.event.cost is not None
    assert asked.event.cost.total_usd == Decimal("0.88") * 1100 / 1_000_000


def test_metadata_goes_first(served: Provider, asked: Asked) -> None:
    """C9: a figure on the run itself."""
    config.configure(prices=lambda *_: 7)
    served.will(bodies.openai({**bodies.OPENAI_USAGE, "cost": 0.00042}))
    langchain(chat_openai(served), metadata={"eventtree_cost": {"input_usd": 0.1, "output_usd": 0.2}})
    cost = asked.event.cost
    assert cost is not None
    assert (cost.total_usd, cost.source) == (Decimal("0.3"), "given")


def test_the_service_tier_decides_the_price(served: Provider, asked: Asked) -> None:
    """C2: flex is cheaper, and renames LangChain's details."""
    usage = {**bodies.RESPONSES_USAGE}
    served.will({**bodies.responses(usage), "service_tier": "flex"})
    langchain(chat_openai(served, model="gpt-5-mini", use_responses_api=True))
    assert asked.event.usage is not None and asked.event.cost is not None
    assert (asked.event.usage.service_tier, asked.event.usage.cache_read_tokens) == ("flex", 1024)
    # gpt-5-mini, standard: 0.25 in, 0.025 cached, 2.00 out.
    full = (Decimal("0.25") * 176 + Decimal("0.025") * 1024 + Decimal("2") * 80) / 1_000_000
    assert asked.event.cost.total_usd == full / 2


def test_the_base_url_tells_the_provider_and_holds_no_secret(served: Provider, own_place: Path, asked: Asked) -> None:
    """Recorded without user, password and query."""
    served.will(bodies.openai(bodies.OPENAI_USAGE))
    address = f"http://ada:hunter2@127.0.0.1:{served.port}/v1?key=hunter3"
    langchain(chat_openai(served, base_url=address, default_query={}))
    assert asked.event.cost is not None
    text = b"".join(path.read_bytes() for path in own_place.glob("*.log")).decode()
    assert f'"base_url":"http://127.0.0.1:{served.port}/v1"' in text
    assert "hunter" not in text


def test_an_answer_from_the_cache_costs_nothing(served: Provider, own_place: Path) -> None:
    """C4: the second time nothing is asked and nothing is paid."""
    from langchain_core.caches import InMemoryCache

    served.will(bodies.openai(bodies.OPENAI_USAGE))
    model = chat_openai(served, cache=InMemoryCache())
    for _ in range(2):
        langchain(model)
    first, second = [tree.root for tree in Captured(open_journal(str(own_place)))]
    assert first.usage and first.cost and second.usage and second.cost
    assert (first.usage.cached, second.usage.cached) == (False, True)
    assert first.cost.total_usd and (second.cost.total_usd, second.cost.source) == (Decimal(0), "cached")


@pytest.fixture
def llama_index(own_place: Path) -> Iterator[None]:
    """LlamaIndex, recorded."""
    pytest.importorskip("llama_index.llms.openai")
    import eventtree.llama_index

    eventtree.llama_index.set_global_handler(strict=True)
    yield
    eventtree.llama_index.set_global_handler(None)


def llama_openai(served: Provider, **more: Any) -> Any:
    from llama_index.llms.openai import OpenAI

    return OpenAI(model="gpt-4o-mini", api_key=KEY, api_base=f"{served.url}/v1", max_retries=0, **more)


@pytest.mark.usefixtures("llama_index")
@pytest.mark.parametrize("streamed", [False, True])
def test_openai_chat_through_llama_index(served: Provider, asked: Asked, streamed: bool) -> None:
    """C1, C2, C3: the other framework, the same figures and the same price."""
    from llama_index.core.llms import ChatMessage

    served.will((bodies.openai_stream if streamed else bodies.openai)(bodies.OPENAI_USAGE))
    if streamed:
        more = {"stream_options": {"include_usage": True}}
        list(llama_openai(served, additional_kwargs=more).stream_chat([ChatMessage("Hello")]))
    else:
        llama_openai(served).chat([ChatMessage("Hello")])
    assert figures(asked.event.usage) == figures(COUNTED)
    assert asked.event.cost is not None
    assert asked.event.cost.total_usd == Decimal("0.0001512")


@pytest.mark.usefixtures("llama_index")
@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_moonshots_cache_is_read_through_both_frameworks(served: Provider, asked: Asked, framework: str) -> None:
    """Its usage names the cache at its top."""
    from llama_index.core.llms import ChatMessage

    served.will(bodies.openai(other_bodies.MOONSHOT_USAGE, "kimi-k2-0905-preview"))
    if framework == "langchain":
        langchain(chat_openai(served, model="kimi-k2-0905-preview"))
    else:
        llama_openai(served).chat([ChatMessage("Hello")])
    assert asked.event.usage is not None
    assert (asked.event.usage.cache_read_tokens, asked.event.usage.problems) == (1024, ())


def dearest(*_: Any) -> int:
    """The user's function."""
    return 7


STATED = {**bodies.OPENAI_USAGE, "cost": 0.5}
SAID = [
    ({"eventtree_cost": 0.04}, dearest, STATED, "0.04", "given"),
    (None, dearest, STATED, "7", "callable"),
    (None, {"gpt*": {"input": 1, "output": 1}}, STATED, "0.5", "provider"),
    (None, {"gpt*": {"input": 1, "output": 1}}, bodies.OPENAI_USAGE, "0.00128", "table:"),
    (None, None, bodies.OPENAI_USAGE, "0.0001512", "genai-prices "),
]


@pytest.mark.usefixtures("llama_index")
@pytest.mark.parametrize(("tags", "prices", "usage", "total", "source"), SAID, ids=[case[-1] for case in SAID])
def test_who_knows_the_cost_best_through_llama_index(
    served: Provider, asked: Asked, tags: Any, prices: Any, usage: dict[str, Any], total: str, source: str
) -> None:
    """Given, the user's function, the provider, the user's table, the public prices."""
    from llama_index.core.instrumentation.dispatcher import instrument_tags
    from llama_index.core.llms import ChatMessage

    config.configure(prices=prices)
    served.will(bodies.openai(usage))
    with instrument_tags(tags or {}):
        llama_openai(served).chat([ChatMessage("Hello")])
    cost = asked.event.cost
    assert cost is not None and cost.source
    assert (cost.total_usd, cost.source.startswith(source)) == (Decimal(total), True)


@pytest.mark.usefixtures("llama_index")
def test_a_llama_index_stream_without_usage_is_counted(served: Provider, asked: Asked) -> None:
    """C8: LlamaIndex asks for no usage in streams by itself."""
    from llama_index.core.llms import ChatMessage

    served.will(bodies.openai_stream())
    list(llama_openai(served).stream_chat([ChatMessage("Hello")]))
    assert asked.event.usage is not None
    assert (asked.event.usage.input_tokens, asked.event.usage.output_tokens, asked.event.usage.inferred) == (8, 2, True)


def test_a_tool_may_state_its_fee_and_a_chains_metadata_counts_once(own_place: Path) -> None:
    """C9: through LangChain's own ways of saying it."""
    from langchain_core.callbacks import dispatch_custom_event
    from langchain_core.runnables import RunnableLambda
    from langchain_core.tools import tool

    from eventtree.langchain import CallbackHandler

    @tool
    def draw(what: str) -> str:
        """Draw."""
        for _ in range(2):
            dispatch_custom_event("eventtree_cost", 0.04)
        return what

    settings = {"callbacks": [CallbackHandler(strict=True)], "metadata": {"eventtree_cost": 0.5}}
    (RunnableLambda(lambda x: {"what": x}) | draw).invoke("whale", config=settings)
    (tree,) = Captured(open_journal(str(own_place)))
    costs = {event.name: event.cost.total_usd for event in tree.events if event.cost}
    assert costs == {"RunnableSequence": Decimal("0.5"), "draw": Decimal("0.08")}
    assert tree.total_usd == Decimal("0.58")
