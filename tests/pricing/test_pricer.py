"""Who is asked first, and what stands beside the figure."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventtree.errors import ConfigError
from eventtree.event import Cost, Usage
from eventtree.pricing.pricer import Pricer
from eventtree.pricing.stated import reported_in
from eventtree.usage.normalize import normalize

AT = datetime(2026, 11, 1, tzinfo=UTC)
USED = Usage(input_tokens=1000, output_tokens=100, total_tokens=1100)
TABLE = {"gpt-4o*": {"input": 1, "output": 2}}


def price(pricer: Pricer, usage: Usage | None = USED, **more: Any) -> Cost | None:
    return pricer.price(usage, **{"model": "gpt-4o-mini", "provider": "openai", "at": AT, **more})


def recorded(raw: dict[str, Any]) -> Usage:
    usage = normalize({"usage_metadata": [{"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}], **raw})
    assert usage is not None
    return usage


def total(cost: Cost | None) -> tuple[Decimal | None, str | None]:
    assert cost is not None
    return cost.total_usd, cost.source


REPORTED = recorded({"raw": {"usage": {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0.95}}})


def test_the_user_goes_first_then_the_function_then_the_provider_then_the_table_then_genai_prices() -> None:
    """C9: the precedence, one step after the other."""
    full = Pricer(TABLE, quote=lambda *_: 7)
    assert total(price(full, REPORTED, given=3)) == (Decimal(3), "given")
    assert total(price(full, REPORTED)) == (Decimal(7), "callable")
    full = Pricer(TABLE, quote=lambda *_: None)
    assert total(price(full, REPORTED)) == (Decimal("0.95"), "provider")
    assert total(price(full))[1].startswith("table:")  # type: ignore[union-attr]
    assert total(price(Pricer()))[1].startswith("genai-prices ")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.25, (None, None, Decimal("0.25"))),
        (0, (None, None, Decimal(0))),
        ({"input_usd": 0.1, "output_usd": 0.2}, (Decimal("0.1"), Decimal("0.2"), Decimal("0.3"))),
        ({"total_usd": 1.5}, (None, None, Decimal("1.5"))),
        ({"input_usd": 0.1}, (Decimal("0.1"), None, None)),
    ],
)
def test_a_given_cost_is_taken_as_it_is(given: Any, expected: Any) -> None:
    """C9: images, tool fees, anything: on any event, also one without tokens."""
    cost = price(Pricer(), None, given=given)
    assert cost is not None
    assert (cost.input_usd, cost.output_usd, cost.total_usd, cost.source) == (*expected, "given")


@pytest.mark.parametrize("given", [-1, True, "much", float("nan"), float("inf"), [], {"input_usd": -1}, {}])
def test_what_is_no_amount_is_not_given(given: Any) -> None:
    """Rule 4: nothing negative, nothing invented."""
    assert price(Pricer(catalogue=False), given=given) is None


def test_a_model_class_may_give_the_cost_in_usage_metadata() -> None:
    """C9: usage_metadata.total_cost."""
    meta = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "total_cost": 0.5}
    assert total(price(Pricer(TABLE), recorded({"usage_metadata": [meta, meta]}))) == (Decimal(1), "given")


def test_an_answer_from_the_cache_costs_nothing() -> None:
    """C4: also where the stored answer says what it once cost."""
    usage = REPORTED.model_copy(update={"cached": True})
    for pricer in (Pricer(), Pricer(TABLE, quote=lambda *_: 7)):
        assert price(pricer, usage) == Cost(
            input_usd=Decimal(0), output_usd=Decimal(0), total_usd=Decimal(0), source="cached"
        )


ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "openrouter, langchain": ({"llm_output": {"token_usage": {"prompt_tokens": 1, "cost": 0.00014}}}, "0.00014"),
    "openrouter, llama-index": ({"raw": {"usage": {"cost": 0.00014}}}, "0.00014"),
    "openrouter, own key": (
        {"raw": {"usage": {"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}}},
        "1.05",
    ),
    "openrouter, no own key": (
        {"raw": {"usage": {"cost": 0.05, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.04}}}},
        "0.05",
    ),
    "openrouter, own key, the mark was lost": (
        {"response_metadata": [{"cost": 0, "cost_details": {"upstream_inference_cost": 1}}]},
        "1",
    ),
    "openrouter, own key, the mark and its fee": (
        {"response_metadata": [{"cost": 0.05, "cost_details": {"upstream_inference_cost": 1}}]},
        "1.05",
    ),
    "openrouter, no own key, the mark was lost": (
        {"response_metadata": [{"cost": 0.05, "cost_details": {"upstream_inference_cost": 0.05}}]},
        "0.05",
    ),
    "openrouter, a free model": ({"raw": {"usage": {"cost": 0, "cost_details": {"upstream_inference_cost": 0}}}}, "0"),
    "litellm": ({"response_metadata": [{"headers": {"X-LiteLLM-Response-Cost": "2.85e-05"}}]}, "0.0000285"),
    "litellm sdk": ({"raw": {"_hidden_params": {"response_cost": 0.01}}}, "0.01"),
    "xai": ({"raw": {"usage": {"cost_in_usd_ticks": 37756000}}}, "0.0037756"),
    "perplexity": (
        {"raw": {"usage": {"cost": {"input_tokens_cost": 0.1, "output_tokens_cost": 0.2, "total_cost": 0.305}}}},
        "0.305",
    ),
    "n generations of one request": (
        {"response_metadata": [{"token_usage": {"cost": 0.5}}, {"token_usage": {"cost": 0.5}}]},
        "0.5",
    ),
    "n requests": ({"response_metadata": [{"token_usage": {"cost": 0.5}}, {"token_usage": {"cost": 0.25}}]}, "0.75"),
}


@pytest.mark.parametrize(("raw", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_what_the_provider_says_it_charged_is_found(raw: dict[str, Any], expected: str) -> None:
    """It knows best, after the user."""
    assert total(reported_in(raw)) == (Decimal(expected), "provider")
    assert total(price(Pricer(), recorded(raw))) == (Decimal(expected), "provider")
    assert total(price(Pricer(), None, reported=raw)) == (Decimal(expected), "provider")


@pytest.mark.parametrize("cost", [-1, "x", None, True, [1]])
def test_a_reported_cost_that_is_none_is_ignored(cost: Any) -> None:
    """Rule 4."""
    assert reported_in({"raw": {"usage": {"cost": cost}}}) is None


def test_a_header_handed_over_apart_counts_as_reported() -> None:
    """LiteLLM's header where no usage arrived."""
    assert total(price(Pricer(), None, reported="0.002")) == (Decimal("0.002"), "provider")


def test_unknown_models_are_remembered_by_name() -> None:
    """Named once in the report, with how often."""
    pricer = Pricer()
    for _ in range(3):
        assert price(pricer, model="llama3.1:8b", provider="ollama") is None
    assert price(pricer, None, model="other", provider=None) is None
    assert pricer.unknown == {"llama3.1:8b": 3}


def test_no_model_no_price() -> None:
    """Rule 4."""
    assert price(Pricer(TABLE), model=None) is None


def test_usage_without_figures_has_no_price() -> None:
    """Rule 4: a flagged usage is no free one."""
    assert price(Pricer(), Usage(problems=("contradiction",))) is None


def test_a_function_that_fails_is_counted_and_nobody_else_is_asked() -> None:
    """Rule 1: no exception leaves; its prices are not the public ones."""

    def quote(*_: Any) -> Any:
        raise KeyError("my table")

    pricer = Pricer(quote=quote)
    assert price(pricer) is None
    assert (pricer.failures, pricer.unknown) == ({"KeyError": 1}, {})


def test_a_function_that_does_not_know_passes_on() -> None:
    """None is "do not know"."""
    assert total(price(Pricer(quote=lambda *_: None)))[1].startswith("genai-prices ")  # type: ignore[union-attr]


def test_a_function_may_return_a_cost() -> None:
    """With its own source, or without."""
    assert total(price(Pricer(quote=lambda *_: Cost(total_usd=Decimal(2))))) == (Decimal(2), "callable")
    assert total(price(Pricer(quote=lambda *_: Cost(total_usd=Decimal(2), source="finance")))) == (
        Decimal(2),
        "finance",
    )


def test_a_table_charges_each_part_by_its_price_and_the_rest_plainly() -> None:
    """C2: input 1000 = 600 read + 100 written for 5 minutes + 200 for an hour + 100 plain."""
    row = {"input": 1, "output": 10, "cache_read": 0.1, "cache_write": 1.25, "cache_write_1h": 2, "reasoning": 20}
    usage = Usage(
        input_tokens=1000,
        output_tokens=100,
        cache_read_tokens=600,
        cache_write_tokens=300,
        cache_write_5m_tokens=100,
        cache_write_1h_tokens=200,
        reasoning_tokens=40,
    )
    cost = price(Pricer({"gpt-4o*": row}), usage)
    assert cost is not None
    assert cost.input_usd == (100 + 60 + 125 + 400) / Decimal(10**6)
    assert cost.output_usd == (600 + 800) / Decimal(10**6)
    assert cost.total_usd == Decimal("0.002085")


def test_parts_without_a_price_cost_what_the_whole_costs() -> None:
    """A short table is no wrong one."""
    usage = USED.model_copy(update={"cache_read_tokens": 600, "reasoning_tokens": 50})
    assert price(Pricer(TABLE), usage) == price(Pricer(TABLE), USED)


@pytest.mark.parametrize(
    ("row", "usage"),
    [
        ({"output": 1}, USED),
        ({"input": 1}, USED),
        ({"input": 1, "output": 1}, USED.model_copy(update={"input_tokens": None})),
        (
            {"input": 1, "output": 1, "cache_read": 1, "input_audio": 2},
            USED.model_copy(update={"cache_read_tokens": 900, "input_audio_tokens": 900}),
        ),
    ],
    ids=["no input price", "no output price", "no input count", "parts that overlap"],
)
def test_a_side_without_price_or_count_has_no_sum(row: dict[str, Any], usage: Usage) -> None:
    """Rule 4: half a price is not the price."""
    cost = price(Pricer({"*": row}), usage)
    assert cost is not None
    assert cost.total_usd is None


def test_a_row_for_the_model_without_an_answer_is_the_last_word() -> None:
    """Rule 4: genai-prices is not asked for what the user priced otherwise, and the model is not unknown."""
    pricer = Pricer({"gpt-4o*": {"tiers": [{"above": 10, "input": 1}]}})
    assert price(pricer, USED.model_copy(update={"input_tokens": None})) is None
    assert pricer.unknown == {}


LONG: dict[str, Any] = {
    "name": "acme",
    "prices": [
        {"model": "gpt-4o-mini", "provider": "azure", "input": 100, "output": 100},
        {"model": "gpt-4o-mini", "service_tier": "flex", "input": 50, "output": 50},
        {"model": "gpt-4o-mini", "before": "2026-06-01", "input": 9, "output": 9},
        {"model": "regex:^gpt-4o", "since": date(2026, 6, 1), "input": 1, "output": 1, "request": 0.5},
        {"model": "search", "units": {"web_searches": 0.01}},
        {"model": "long", "input": 1, "output": 2, "tiers": [{"above": 500, "input": 10}]},
    ],
}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "0.5011"),
        ({"provider": "azure"}, "0.11"),
        ({"at": datetime(2026, 5, 31, 23, tzinfo=UTC)}, "0.0099"),
        ({"at": datetime(2026, 6, 1)}, "0.5011"),
        ({"usage": USED.model_copy(update={"service_tier": "flex"})}, "0.055"),
        ({"model": "long"}, "0.0102"),
        ({"model": "search", "usage": USED.model_copy(update={"units": {"web_searches": 3}})}, None),
        ({"model": "search", "usage": Usage(units={"web_searches": 3})}, "0.03"),
    ],
)
def test_the_first_row_that_fits_is_used(more: dict[str, Any], expected: str | None) -> None:
    """By model pattern, provider, tier and date."""
    cost = price(Pricer(LONG, catalogue=False), **more)
    assert (cost and cost.total_usd) == (None if expected is None else Decimal(expected))
    assert cost is None or cost.source == "table:acme"


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_a_table_is_read_from_a_file(tmp_path: Path, ending: str) -> None:
    """Exact as it is written, never through a float."""
    text = {
        "json": json.dumps({"gpt-4o*": {"input": 0.1, "output": 0.7}}),
        "toml": '["gpt-4o*"]\ninput = 0.1\noutput = 0.7\n',
    }
    file = tmp_path / f"prices.{ending}"
    file.write_text(text[ending])
    cost = price(Pricer(file))
    assert cost and cost.source and cost.source.startswith(f"table:prices.{ending} ")
    assert cost == Cost(
        input_usd=Decimal("0.0001"),
        output_usd=Decimal("0.00007"),
        total_usd=Decimal("0.00017"),
        source=cost.source,
    )
    assert price(Pricer(str(file))) == cost


@pytest.mark.parametrize("is_file", [False, True], ids=["dict", "file"])
def test_a_table_without_a_name_is_named_by_its_content(tmp_path: Path, is_file: bool) -> None:
    """The version beside the figure."""
    sources = []
    for number in (1, 2, 1):
        table: Any = {"gpt-4o*": {"input": number, "output": 1}}
        if is_file:
            (tmp_path / "prices.json").write_text(json.dumps(table))
            table = tmp_path / "prices.json"
        cost = price(Pricer(table))
        assert cost and cost.source and cost.source.startswith("table:")
        sources.append(cost.source)
    assert sources[0] != sources[1]
    assert sources[0] == sources[2]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"gpt": 3}, "gpt has no prices"),
        ({"gpt": {"input": -1}}, "prices.0.input"),
        ({"gpt": {"inptu": 1}}, "prices.0.inptu"),
        ({"prices": [{"model": "regex:(", "input": 1}]}, "prices.0.model"),
        ({"prices": [{"input": 1}]}, "prices.0.model"),
        ({"prices": 3}, "prices"),
    ],
)
def test_a_wrong_table_is_refused_at_construction(table: Any, said: str) -> None:
    """errors.py: the message names what is wrong and the hint."""
    with pytest.raises(ConfigError, match="prices: ") as caught:
        Pricer(table)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"), [("none.json", None), ("bad.json", "{"), ("bad.toml", "="), ("list.json", "[]")]
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, content: str | None) -> None:
    """errors.py: also a file that is not there."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match="prices: "):
        Pricer(tmp_path / name)


def test_a_table_is_explained() -> None:
    """What would be charged and why."""
    told = Pricer(LONG).explain("long")
    assert (told.source, told.charged_as, told.why) == ("table:acme", "long", ("table:acme has a row for long",))
    assert [(line.name, line.usd, line.above) for line in told.lines] == [
        ("input", Decimal(1), None),
        ("output", Decimal(2), None),
        ("input", Decimal(10), 500),
    ]
    extras = Pricer(LONG).explain("gpt-4o", at=AT).lines + Pricer(LONG).explain("search").lines
    assert [(line.name, line.per) for line in extras][-2:] == [("request", "1"), ("web_searches", "1")]


def test_genai_prices_is_explained() -> None:
    """Provider, tiers, and the steps that led there."""
    told = Pricer(TABLE, quote=lambda *_: None).explain("gemini-2.5-pro", "google_genai", at=AT)
    assert told.charged_as == "google/gemini-2.5-pro"
    assert told.source and told.source.startswith("genai-prices ")
    assert ("input", Decimal("2.5"), "1M tokens", 200_000) in [(x.name, x.usd, x.per, x.above) for x in told.lines]
    assert told.why[0] == "your function is asked first, at each event"
    assert told.why[2] == "the provider is google, by name"


@pytest.mark.parametrize(
    ("pricer", "model", "provider", "last"),
    [
        (Pricer(), "llama3.1:8b", "ollama", "does not know the model"),
        (Pricer(), "gpt-3.5-turbo", "github-copilot", "it has no price for it"),
        (Pricer(catalogue=False), "gpt-4o", None, "genai-prices is switched off"),
    ],
)
def test_what_has_no_price_is_explained(pricer: Pricer, model: str, provider: str | None, last: str) -> None:
    """Unknown, and why."""
    told = pricer.explain(model, provider)
    assert (told.source, told.lines) == (None, ())
    assert told.why[-1].endswith(last)


def test_a_table_that_is_loaded_already_is_taken() -> None:
    """One table for several pricers."""
    table = Pricer(TABLE).table
    assert price(Pricer(table)) == price(Pricer(TABLE))


def test_an_embedding_costs_its_input_by_a_table_too() -> None:
    """No output, and no price for one."""
    cost = price(Pricer({"*": {"input": 1}}), Usage(input_tokens=1000))
    assert cost is not None
    assert (cost.output_usd, cost.total_usd) == (Decimal(0), Decimal("0.001"))


def test_a_row_that_prices_nothing_known_has_no_cost() -> None:
    """Rule 4."""
    assert price(Pricer({"*": {"cache_read": 1}})) is None
