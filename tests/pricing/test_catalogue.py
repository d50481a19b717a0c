"""Our prices against genai-prices itself, asked directly."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot

from eventtree.event import Cost, Usage
from eventtree.pricing.catalogue import Catalogue, _figures, _sums, _sums_by_rates
from eventtree.pricing.pricer import Pricer
from eventtree.usage.normalize import normalize

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


def counted(input_tokens: int | None, output_tokens: int | None, **more: Any) -> Usage:
    total = None if input_tokens is None or output_tokens is None else input_tokens + output_tokens
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=total, **more)


def priced(usage: Usage, model: str, provider: str | None, **more: Any) -> Cost | None:
    return Pricer().price(usage, model=model, provider=provider, **{"at": AT, **more})


def test_gpt_4o_mini_costs_what_openai_lists() -> None:
    """C2: 0.15 in, 0.60 out, 0.075 from the cache, a million each."""
    cost = priced(counted(2_000_000, 1_000_000, cache_read_tokens=1_000_000), "gpt-4o-mini", "openai")
    assert cost is not None
    assert (cost.input_usd, cost.output_usd, cost.total_usd) == (Decimal("0.225"), Decimal("0.6"), Decimal("0.825"))
    assert cost.source == f"genai-prices {genai_prices.__version__}"


def test_a_long_prompt_is_charged_by_its_tier() -> None:
    """gemini-2.5-pro doubles above 200k."""
    short, long = (priced(counted(n, 1000), "gemini-2.5-pro", "google_genai") for n in (200_000, 200_001))
    assert short and long
    assert short.total_usd == Decimal("1.25") * 200_000 / 1_000_000 + Decimal(10) * 1000 / 1_000_000
    assert long.total_usd == Decimal("2.5") * 200_001 / 1_000_000 + Decimal(15) * 1000 / 1_000_000


CASES: list[tuple[str, str, dict[str, int]]] = [
    ("gpt-4o", "openai", {"cache_read_tokens": 500}),
    ("gpt-4o-2024-08-06", "openai", {}),
    ("gpt-5-mini", "openai", {"cache_read_tokens": 500, "reasoning_tokens": 90}),
    ("gpt-4o", "azure", {}),
    ("claude-sonnet-4-5-20250929", "anthropic", {"cache_read_tokens": 500, "cache_write_tokens": 200}),
    (
        "claude-haiku-4-5",
        "anthropic",
        {"cache_write_tokens": 300, "cache_write_5m_tokens": 100, "cache_write_1h_tokens": 200},
    ),
    ("gemini-2.5-flash", "google", {"input_audio_tokens": 400}),
    ("gemini-2.5-pro", "google", {"reasoning_tokens": 50}),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", {"cache_read_tokens": 100}),
    ("mistral-large-latest", "mistral", {"cache_read_tokens": 100}),
    ("command-r-plus", "cohere", {}),
    ("deepseek-chat", "deepseek", {"cache_read_tokens": 640}),
    ("llama-3.3-70b-versatile", "groq", {}),
    ("grok-4", "x-ai", {"reasoning_tokens": 30}),
    ("openai/gpt-4o-mini", "openrouter", {}),
    ("sonar-deep-research", "perplexity", {"reasoning_tokens": 60}),
]


@pytest.mark.parametrize(("model", "provider", "details"), CASES, ids=[f"{p}/{m}" for m, p, _ in CASES])
def test_the_figure_is_genai_prices_own(model: str, provider: str, details: dict[str, int]) -> None:
    """C2, C3: caches, audio and reasoning arrive where genai-prices expects them."""
    theirs = {k.replace("reasoning_tokens", "output_reasoning_tokens"): v for k, v in details.items()}
    asked = genai_prices.Usage(input_tokens=1000, output_tokens=100, **theirs)
    expected = genai_prices.calc_price(asked, model, provider_id=provider, genai_request_timestamp=AT)
    cost = priced(counted(1000, 100, **details), model, provider)
    assert cost is not None
    assert (cost.input_usd, cost.output_usd) == (expected.input_price, expected.output_price)
    assert cost.total_usd == expected.total_price > 0


LISTED = [
    (provider.id, model.id, {}) for provider in get_snapshot().providers for model in provider.models if model.prices
] + [
    (provider.id, model.id, variant.when)
    for provider in get_snapshot().providers
    for model in provider.models
    for variant in model.price_variants or ()
]


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "aws", "x-ai", "mistral", "deepseek"])
def test_what_is_multiplied_here_is_what_genai_prices_comes_to(provider: str) -> None:
    """C2, C3: each model and condition on both sides of each length of the input, with caches and reasoning."""
    catalogue, chance = Catalogue(), random.Random(provider)
    for model, context in ((model, context) for owner, model, context in LISTED if owner == provider):
        found = catalogue.find(model, provider, None)
        if found is None:
            continue  # its list has names that only a pattern of another one's fits
        asked = catalogue._ask(found, dict(context), AT)
        for sent in (0, 1000, *(step + more for step in asked.steps for more in (0, 1))) if asked.prices else ():
            read, written = chance.choice((0, sent // 3)), chance.choice((0, sent // 4))
            more = {"cache_read_tokens": read, "cache_write_tokens": written, "cache_write_1h_tokens": written // 2}
            usage = counted(sent, 100, **more, reasoning_tokens=chance.choice((0, 90)))
            assert _sums_by_rates(asked, _figures(usage)) == _sums(asked, _figures(usage)), (model, context, usage)


PROVIDERS: dict[str, str] = {
    "openai": "openai",
    "OpenAI": "openai",
    "azure": "azure",
    "azure_openai": "azure",
    "azure_openai_llm": "azure",
    "openai_llm": "openai",
    "anthropic": "anthropic",
    "Anthropic_LLM": "anthropic",
    "google_genai": "google",
    "google_vertexai": "google",
    "vertexai": "google",
    "google-gla": "google",
    "amazon_bedrock": "aws",
    "bedrock_converse": "aws",
    "openai-mantle": "aws",
    "anthropic-mantle": "aws",
    "mistralai": "mistral",
    "xai": "x-ai",
    "groq": "groq",
    "together": "together",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "openrouter": "openrouter",
}


@pytest.mark.parametrize(("name", "listed"), PROVIDERS.items())
def test_the_frameworks_names_of_providers_are_known(name: str, listed: str) -> None:
    """frameworks.md A7: ls_provider and LlamaIndex's class names."""
    assert Catalogue().provider_id(name, None) == listed


@pytest.mark.parametrize("name", ["fm", "genericfakechatmodel", "mychatopenaiwrapper", "multimodalmodel", "", None])
def test_a_class_name_is_no_provider_and_the_model_decides(name: str | None) -> None:
    """frameworks.md A7: ls_provider of an unknown class is its lowercased name."""
    assert Catalogue().provider_id(name, None) is None
    known, unknown = (priced(counted(1000, 100), "gpt-4o-mini", one) for one in ("openai", name))
    assert known == unknown is not None


def test_a_known_provider_is_never_replaced() -> None:
    """Rule 4: a model that its provider does not list is unknown, though another one lists it."""
    pricer = Pricer()
    assert pricer.price(counted(10, 10), model="gpt-4o-mini", provider="anthropic", at=AT) is None
    assert pricer.unknown == {"gpt-4o-mini": 1}


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("deepseek-r1:8b", "ollama"),
        ("gpt-4o-mini", "Ollama_llm"),
        ("gpt-4o-mini", "llama_cpp"),
        ("gpt-4o-mini", "vllm"),
        ("openai/gpt-oss-120b", "huggingface"),
        ("deepseek-chat", "nvidia_ai_endpoints"),
    ],
)
def test_a_model_that_runs_elsewhere_is_not_charged_as_its_maker_charges(model: str, provider: str) -> None:
    """Money is never invented: what runs on one's own machine, or at a host that is not listed."""
    pricer = Pricer()
    assert pricer.price(counted(1000, 100), model=model, provider=provider, at=AT) is None
    assert pricer.unknown == {model: 1}


def test_the_cloud_bills_and_not_the_maker_of_the_model() -> None:
    model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert Catalogue().provider_id("anthropic_bedrock", None) == "aws"
    assert priced(counted(1000, 100), model, "anthropic_bedrock") == priced(counted(1000, 100), model, "bedrock")


@pytest.mark.parametrize(
    "name",
    [
        "models/gemini-2.5-flash",
        "publishers/google/models/gemini-2.5-flash",
        "projects/acme/locations/us-central1/publishers/google/models/gemini-2.5-flash",
    ],
)
def test_googles_names_of_resources_are_names_of_models(name: str) -> None:
    """LlamaIndex and Vertex AI ask for models so."""
    plain = priced(counted(1000, 100), "gemini-2.5-flash", "google_genai")
    assert plain is not None
    assert priced(counted(1000, 100), name, "google_genai") == plain


@pytest.mark.parametrize(
    ("arn", "model"),
    [
        ("::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (
            ":1:inference-profile/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (":1:application-inference-profile/a1", "nobody"),
    ],
)
def test_amazons_names_of_resources_are_names_of_models(arn: str, model: str) -> None:
    """A profile of one's own does not say whose model it is."""
    plain = priced(counted(1000, 100), model, "amazon_bedrock")
    assert (plain is None) == (model == "nobody")
    assert priced(counted(1000, 100), f"arn:aws:bedrock:us-west-2:{arn}", "amazon_bedrock") == plain


def test_the_base_url_goes_before_the_name() -> None:
    """ChatOpenAI pointed at another provider still says openai."""
    there = priced(counted(10, 10), "llama-3.3-70b-versatile", "openai", base_url="https://api.groq.com/openai/v1")
    assert there == priced(counted(10, 10), "llama-3.3-70b-versatile", "groq")
    assert there is not None


def test_a_base_url_nobody_lists_changes_nothing() -> None:
    """A gateway of one's own."""
    here = priced(counted(10, 10), "gpt-4o-mini", "openai", base_url="https://llm.example.com/v1")
    assert here == priced(counted(10, 10), "gpt-4o-mini", "openai")


def test_the_price_is_the_one_of_the_events_time() -> None:
    """o3 became cheaper in June 2025."""
    before, after = (
        priced(counted(1_000_000, 0), "o3", "openai", at=datetime(2025, month, 1, tzinfo=UTC)) for month in (6, 7)
    )
    assert before and after
    assert (before.input_usd, after.input_usd) == (Decimal(10), Decimal(2))


def test_what_one_pricer_remembers_is_told_apart() -> None:
    """By time, counts, tier and model; asked twice, the answer is the same."""
    pricer = Pricer()
    asked = [
        (counted(1_000_000, 0), "o3", datetime(2025, 6, 1, tzinfo=UTC)),
        (counted(1_000_000, 0), "o3", datetime(2025, 7, 1, tzinfo=UTC)),
        (counted(2_000_000, 0), "o3", datetime(2025, 7, 1, tzinfo=UTC)),
        (counted(2_000_000, 0, service_tier="priority"), "gpt-4o-mini", AT),
        (counted(2_000_000, 0), "gpt-4o-mini", datetime(2025, 7, 1, tzinfo=UTC)),
    ]
    rounds = [[pricer.price(usage, model=model, provider="openai", at=at) for usage, model, at in asked] for _ in "12"]
    alone = [priced(usage, model, "openai", at=at) for usage, model, at in asked]
    assert rounds == [alone, alone]
    assert len({cost.input_usd for cost in alone if cost}) == len(asked)


def test_the_service_tier_has_its_price() -> None:
    """Priority costs more, and comes from the renamed keys too."""
    meta = {
        "input_tokens": 1000,
        "output_tokens": 100,
        "total_tokens": 1100,
        "input_token_details": {"priority": 1000},
        "output_token_details": {"priority": 100},
    }
    usage = normalize({"usage_metadata": [meta]})
    assert usage is not None
    expected = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=1000, output_tokens=100),
        "gpt-4o-mini",
        provider_id="openai",
        genai_request_timestamp=AT,
        price_context={"service_tier": "priority"},
    )
    cost, plain = priced(usage, "gpt-4o-mini", "openai"), priced(counted(1000, 100), "gpt-4o-mini", "openai")
    assert cost and plain and plain.total_usd
    assert cost.total_usd == expected.total_price > plain.total_usd


def test_a_tier_has_no_price_where_only_the_models_maker_lists_one() -> None:
    """Azure's Claude: genai-prices has the model from Anthropic's list and leaves its tiers out."""
    plain, batch = (
        priced(counted(1000, 100, service_tier=tier), "claude-opus-4-6", "azure") for tier in (None, "batch")
    )
    assert plain and plain.total_usd
    assert batch == Cost(problems=("service_tier batch has no price",))


def test_cohere_is_charged_by_its_billed_units() -> None:
    """frameworks.md C: the prompt's own tokens are not billed."""
    units = {"billed_input_tokens": 5, "billed_output_tokens": 100}
    cost = priced(counted(1000, 100, units=units), "command-r-plus", "cohere")
    assert cost == priced(counted(5, 100), "command-r-plus", "cohere")


def test_web_searches_are_charged() -> None:
    """C9: Anthropic bills 10 dollars for a thousand searches."""
    with_search, without = (
        priced(counted(1000, 100, units=units), "claude-opus-5", "anthropic") for units in ({"web_searches": 2}, {})
    )
    assert with_search and without and with_search.total_usd and without.total_usd
    assert with_search.total_usd - without.total_usd == Decimal("0.02")


@pytest.mark.parametrize(
    ("usage", "sides"),
    [(counted(None, 100), (False, True, False)), (counted(1000, None), (True, False, False))],
    ids=["no input", "no output"],
)
def test_a_side_that_is_not_known_has_no_price(usage: Usage, sides: tuple[bool, bool, bool]) -> None:
    """Rule 4: unknown is None, and so is the sum."""
    cost = priced(usage, "gpt-4o-mini", "openai")
    assert cost is not None
    assert tuple(v is not None for v in (cost.input_usd, cost.output_usd, cost.total_usd)) == sides


def test_an_output_whose_price_depends_on_an_unknown_input_has_none() -> None:
    """Rule 4: gemini-2.5-pro's output price depends on the length of the input."""
    assert priced(counted(None, 100), "gemini-2.5-pro", "google") is None


def test_an_embedding_costs_its_input() -> None:
    """No output, and no price for one."""
    cost = priced(counted(1_000_000, None), "text-embedding-3-small", "openai")
    assert cost is not None
    assert (cost.input_usd, cost.total_usd) == (Decimal("0.02"), Decimal("0.02"))


def test_a_listed_model_without_prices_is_unknown_and_not_free() -> None:
    """Rule 4: genai-prices answers 0 there."""
    assert priced(counted(10, 10), "gpt-3.5-turbo", "github-copilot") is None


def test_cached_audio_that_has_no_price_together_is_none() -> None:
    """Rule 4: parts that overlap in an unknown way."""
    usage = counted(100, 10, cache_read_tokens=90, input_audio_tokens=90)
    assert priced(usage, "gemini-2.5-flash", "google") is None


def test_new_prices_are_used_at_once() -> None:
    """genai-prices can update itself while the process runs."""
    from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot

    pricer = Pricer()
    assert pricer.price(counted(10, 10), model="gpt-4o-mini", provider="openai", at=AT) is not None
    kept = [one for one in get_snapshot().providers if one.id != "openai"]
    set_custom_snapshot(DataSnapshot(providers=kept, from_auto_update=False))
    try:
        assert pricer.price(counted(10, 10), model="gpt-4o-mini", provider="openai", at=AT) is None
    finally:
        set_custom_snapshot(None)


def test_importing_us_imports_neither_prices_nor_tokenizers() -> None:
    """Importing prices is lazy."""
    code = (
        "import sys, eventtree.pricing.pricer as p; p.Pricer(); print({'genai_prices', 'tiktoken'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


LONG_TABLE = {"prices": [{"model": f"ours-{number}*", "input": 1, "output": 2} for number in range(1000)]}


@pytest.mark.bench
@pytest.mark.parametrize("table", [None, LONG_TABLE], ids=["genai-prices", "after a long table"])
def test_a_lookup_takes_at_most_200_microseconds(table: Any) -> None:
    """This thread's time, in the best of several rounds, so that a busy machine does not decide."""
    pricer, rounds = Pricer(table), []
    for first in range(20):
        # Counts that were never asked before: what was is remembered.
        usages = [counted(1000 + 100 * first + n, 100, cache_read_tokens=500) for n in range(100)]
        started = time.thread_time()
        for usage in usages:
            pricer.price(usage, model="gpt-4o-mini", provider="openai", at=AT)
        rounds.append((time.thread_time() - started) / 100)
    assert min(rounds) <= 200e-6


def test_anthropics_fast_mode_has_its_price() -> None:
    """The answer's usage says speed."""
    usage = normalize({"raw": {"usage": {"input_tokens": 1000, "output_tokens": 100, "speed": "fast"}}})
    assert usage is not None
    expected = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=1000, output_tokens=100),
        "claude-opus-5",
        provider_id="anthropic",
        genai_request_timestamp=AT,
        price_context={"speed": "fast"},
    )
    cost = priced(usage, "claude-opus-5", "anthropic")
    assert cost is not None
    assert cost.total_usd == expected.total_price


def test_a_batch_has_its_price() -> None:
    """Anthropic's service_tier "batch" is half the price."""
    batch, plain = (
        priced(counted(1000, 100, service_tier=tier), "claude-haiku-4-5", "anthropic") for tier in ("batch", None)
    )
    assert batch and plain and batch.total_usd
    assert batch.total_usd * 2 == plain.total_usd
