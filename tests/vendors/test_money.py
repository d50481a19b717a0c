"""What a real LangChain run used and cost, as it stands in each vendor's requests, in the vendor's units."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from eventtree import flush
from eventtree.testing import VendorServer
from eventtree.vendors import vendor_class
from tests.usage import bodies
from tests.usage.served import Provider, provider

pytest.importorskip("langchain_openai")

INPUT_USD = (0.15 * 176 + 0.075 * 1024) / 1e6
OUTPUT_USD = 0.60 * 80 / 1e6


@pytest.fixture(scope="module")
def served() -> Iterator[Provider]:
    with provider() as place:
        yield place


def sent(served: Provider, kind: str, body: dict[str, Any], **settings: Any) -> Any:
    """What the vendor got of one run of a model with that answer."""
    from langchain_openai import ChatOpenAI

    from eventtree.langchain import CallbackHandler

    served.will(body)
    with VendorServer() as server:
        vendor = vendor_class(kind)(**server.settings(kind), **settings)
        handler = CallbackHandler(vendors=[vendor], user="ada", strict=True)
        model = ChatOpenAI(model="gpt-4o-mini", api_key="sk-x", base_url=f"{served.url}/v1", max_retries=0)
        model.invoke("Hello", config={"callbacks": [handler]})
        report = flush(20)
        assert report.settled
        assert not server.refused
        (event,) = server.events(kind)
        return event


@pytest.mark.parametrize("generation", ["legacy", "v1"])
def test_honeyhive_gets_tokens_and_dollars_in_metadata(served: Provider, generation: str) -> None:
    metadata = sent(served, "honeyhive", bodies.openai(bodies.OPENAI_USAGE), generation=generation)["metadata"]
    counts = ("prompt_tokens", "completion_tokens", "total_tokens", "cache_read_input_tokens", "reasoning_tokens")
    assert [metadata[name] for name in counts] == [1200, 80, 1280, 1024, 64]
    assert metadata["cost"] == pytest.approx(INPUT_USD + OUTPUT_USD)
    assert metadata["cost_details"]["source"].startswith("genai-prices ")


def test_honeyhive_is_told_what_was_inferred(served: Provider) -> None:
    """C8."""
    pytest.importorskip("llama_index.core", reason="its package holds the tokenizer's files", exc_type=ImportError)
    metadata = sent(served, "honeyhive", bodies.openai())["metadata"]
    assert (metadata["prompt_tokens"], metadata["completion_tokens"], metadata["tokens_inferred"]) == (8, 2, True)
    assert metadata["usage_problems"] == ["inferred: counted without tools and images"]
    assert metadata["cost_details"]["source"].endswith(", inferred tokens")


@pytest.mark.parametrize("kind", ["humanloop_v4", "humanloop_v5"])
def test_humanloop_gets_dollars_by_side(served: Provider, kind: str) -> None:
    log = sent(served, kind, bodies.openai(bodies.OPENAI_USAGE))
    assert (log["prompt_tokens"], log["output_tokens"]) == (1200, 80)
    assert (log["prompt_cost"], log["output_cost"]) == pytest.approx((INPUT_USD, OUTPUT_USD))


def test_braintrust_gets_metrics_whose_parts_are_parts(served: Provider) -> None:
    """C10: the vendor's own name of the total is there, for its screens to read."""
    metrics = sent(served, "braintrust", bodies.openai(bodies.OPENAI_USAGE))["metrics"]
    counts = ("prompt_tokens", "completion_tokens", "tokens", "prompt_cached_tokens", "completion_reasoning_tokens")
    assert [metrics[name] for name in counts] == [1200, 80, 1280, 1024, 64]
    assert metrics["estimated_cost"] == pytest.approx(INPUT_USD + OUTPUT_USD)


def interaction_step(found: Any) -> dict[str, Any]:
    """The model's step of a Nebuly interaction."""
    (step,) = [step for step in found["traces"] if "messages" in step]
    return dict(step)


def test_nebuly_v3_gets_whole_micro_dollars(served: Provider) -> None:
    """(26.4 + 76.8 + 48) millionths are 151.2."""
    step = interaction_step(sent(served, "nebuly", bodies.openai(bodies.OPENAI_USAGE), version="v3"))
    assert (step["input_tokens"], step["output_tokens"], step["cost"]) == (1200, 80, 151)
    assert type(step["cost"]) is int


def test_nebuly_v2_gets_tokens_and_finds_the_cost_itself(served: Provider) -> None:
    step = interaction_step(sent(served, "nebuly", bodies.openai(bodies.OPENAI_USAGE)))
    assert (step["input_tokens"], step["output_tokens"], "cost" in step) == (1200, 80, False)


@pytest.mark.parametrize("kind", ["honeyhive", "humanloop_v5", "humanloop_v4", "braintrust", "nebuly"])
def test_an_unknown_price_is_absent_and_named_once(served: Provider, kind: str) -> None:
    """Rule 4: unknown is never 0; the report names the model."""
    settings = {"version": "v3"} if kind == "nebuly" else {}
    event = sent(served, kind, bodies.openai(bodies.OPENAI_USAGE, model="our-own-7b"), **settings)
    told = {**event, **event.get("metrics", {}), **event.get("metadata", {})}
    step = interaction_step(event) if kind == "nebuly" else told
    assert not {"cost", "prompt_cost", "output_cost", "estimated_cost"} & {k for k, v in step.items() if v is not None}
    assert flush(5).unknown_models == {"our-own-7b": 1}


def test_the_handlers_own_prices_and_tokenizer_are_asked_in_the_delivery_thread(served: Provider) -> None:
    """Never on the app's thread."""
    from langchain_openai import ChatOpenAI

    from eventtree.langchain import CallbackHandler

    asked: list[str] = []

    def prices(usage: Any, *_: Any) -> int | None:
        asked.append(f"prices in {threading.current_thread().name}")
        return None if usage is None else usage.total_tokens

    def tokenizer(text: str) -> list[str]:
        asked.append(f"tokenizer in {threading.current_thread().name}")
        return list(text)

    served.will(bodies.openai(model="our-own-7b"))
    with VendorServer() as server:
        vendor = vendor_class("braintrust")(**server.settings("braintrust"))
        handler = CallbackHandler(vendors=[vendor], prices=prices, tokenizer=tokenizer, strict=True)
        model = ChatOpenAI(model="our-own-7b", api_key="sk-x", base_url=f"{served.url}/v1", max_retries=0)
        model.invoke("Hello", config={"callbacks": [handler]})
        report = flush(20)
        (event,) = server.events("braintrust")
    assert report.unknown_models == {}
    # role 4, content 5, six around the message and the reply; the answer has three letters.
    assert (event["metrics"]["prompt_tokens"], event["metrics"]["completion_tokens"]) == (15, 3)
    assert event["metrics"]["estimated_cost"] == 18
    assert event["metadata"]["usage"]["inferred"] is True
    assert event["metadata"]["cost"]["source"] == "callable, inferred tokens"
    assert set(asked) == {"prices in eventtree-shipper", "tokenizer in eventtree-shipper"}


def test_a_price_function_that_fails_is_counted_and_nothing_else_is_asked(served: Provider) -> None:
    """Rule 1, rule 4."""
    from langchain_openai import ChatOpenAI

    from eventtree.langchain import CallbackHandler

    served.will(bodies.openai(bodies.OPENAI_USAGE))
    with VendorServer() as server:
        vendor = vendor_class("braintrust")(**server.settings("braintrust"))
        handler = CallbackHandler(vendors=[vendor], prices=lambda *_: 1 / 0)
        model = ChatOpenAI(model="gpt-4o-mini", api_key="sk-x", base_url=f"{served.url}/v1", max_retries=0)
        model.invoke("Hello", config={"callbacks": [handler]})
        report = flush(20)
        (event,) = server.events("braintrust")
    assert "estimated_cost" not in event["metrics"]
    assert report.failures == {"prices: ZeroDivisionError": 1}
