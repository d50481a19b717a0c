"""genai-prices, behind one small class: the only file that knows it. It is imported at the first price, not before."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

from eventtree.event import Cost, Usage
from eventtree.remembered import Remembered
from eventtree.usage.conditions import conditions, factor_of, unusual
from eventtree.usage.hosted import ALWAYS_SEARCHES, unpriced_units
from eventtree.usage.normalize import PLAIN, plain_counts

ALIASES: dict[str, str] = {
    "amazon": "aws",
    "azureopenai": "azure",
    "bedrock": "aws",
    "claude": "anthropic",
    "copilot": "github-copilot",
    "gemini": "google",
    "grok": "x-ai",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "togetherai": "together",
    "vertex": "google",
    "vertexai": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
    "zhipu": "zhipuai",
}
"""Words in the frameworks' names of providers → genai-prices' ids (which are words of their own)."""

FIGURES: dict[str, str] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_read_audio_tokens": "cache_audio_read_tokens",
    "cache_read_image_tokens": "cache_image_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_5m_tokens": "cache_write_5m_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "input_image_tokens": "input_image_tokens",
    "output_image_tokens": "output_image_tokens",
}
"""Our figure → genai-prices' name of it; both conventions agree (wholes include their parts)."""

UNITS = ("web_searches", "rerank_searches", "storage_searches", "social_searches", "code_executions")
"""Our units that genai-prices may price; they have its names."""

ZEROS: dict[str, str] = {
    **{name.replace("_tokens", "_mtok"): name for name in FIGURES.values()},
    **{f"{unit}_kcount": unit for unit in UNITS},
}
"""Price keys whose count is given as 0 where it is not known: genai-prices infers what is left out, which doubles the
time of a lookup and comes to 0 too.
"""

CACHE_SIZE = 4096
MILLION = Decimal(1_000_000)


class Rate(NamedTuple):
    """US dollars for a million tokens in and out, and for the request."""

    input: Decimal
    output: Decimal
    request: Decimal


@dataclass(frozen=True, slots=True)
class Found:
    """What genai-prices has on a model: its own provider and model, and the counts it would like to know."""

    provider: Any
    model: Any
    zeros: Mapping[str, int]
    variants: tuple[Any, ...]
    """What changes its prices: a tier, a batch, a speed, each perhaps from some day on."""
    is_timed: bool
    """Whether its price depends on when it was asked."""


class Catalogue:
    """Prices by model, provider and base URL, from genai-prices."""

    def __init__(self) -> None:
        """Nothing is imported yet."""
        self._snapshot: Any = None
        self._known: Remembered[tuple[str, str | None, str | None], Found | None] = Remembered(CACHE_SIZE)
        self._rates: Remembered[int, Rate | None] = Remembered(CACHE_SIZE)
        """By the identity of prices, which the snapshot keeps."""
        self._priced: Remembered[tuple[Hashable, ...], Any] = Remembered(CACHE_SIZE)
        """Answers by question: the same models come again, and the library takes a tenth of a delivery's time."""

    @cached_property
    def source(self) -> str:
        """The name and version that stand beside a figure."""
        import genai_prices

        return f"genai-prices {genai_prices.__version__}"

    def find(self, model: str, provider: str | None, base_url: str | None) -> Found | None:
        """What genai-prices has on a model, or None. Remembered, as long as its prices are not updated."""
        from genai_prices.data_snapshot import get_snapshot

        snapshot = get_snapshot()
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._known, self._priced, self._rates = (Remembered(CACHE_SIZE) for _ in range(3))
        key = (model, provider, base_url)
        if key not in self._known:
            return self._known.keep(key, self._find(model, self.provider_id(provider, base_url)))
        return self._known[key]

    def provider_id(self, provider: str | None, base_url: str | None) -> str | None:
        """The provider genai-prices lists at `base_url` or under that name; a class name is no provider.

        LangChain's `ls_provider` of an unknown class is its name in lower case ("genericfakechatmodel"), so only whole
        words count, not parts of them.
        """
        from genai_prices.data_snapshot import get_snapshot

        listed = get_snapshot().providers
        by_url = (one.id for one in listed if base_url and re.match(one.api_pattern, base_url))
        return next(by_url, None) or _listed((provider or "").lower().strip(), {one.id for one in listed})

    def price(
        self,
        usage: Usage,
        model: str,
        provider: str | None,
        base_url: str | None,
        at: datetime,
        *,
        is_usual: bool = False,
    ) -> Cost | None:
        """What `usage` cost at that time, or None where genai-prices cannot say. `is_usual`: it is known as plain."""
        found = self.find(model, provider, base_url)
        if found is None:
            return None
        rate = self._rate(found, at) if is_usual or is_plain(usage) else None
        if rate is not None:
            return _at_rate(rate, usage, self.source)
        figures, context, factor, problems = _figures(usage), *_conditions(usage, found, at)
        key = (model, provider, base_url, at if found.is_timed else None, *figures.items(), *context.items())
        if key not in self._priced:
            self._priced.keep(key, self._price(found, figures, context, at))
        sums = self._priced[key]
        if sums is None:
            return Cost(problems=problems) if problems else None
        return _cost(sums, usage, figures, factor, problems, self.source)

    def _price(self, found: Found, figures: dict[str, int], context: dict[str, str], at: datetime) -> Any:
        from genai_prices import Usage as Counts

        counts = Counts(**{**found.zeros, **figures})
        try:
            return found.model.calc_price(
                counts, found.provider, genai_request_timestamp=at, price_context=context or None
            )
        except (ValueError, LookupError, ArithmeticError):
            return None  # parts that overlap (cached audio) and have no price together

    def prices(self, model: str, provider: str | None, base_url: str | None, at: datetime) -> dict[str, Any] | None:
        """genai-prices' own prices of the model at that time, by its price keys; None where it has none."""
        found = self.find(model, provider, base_url)
        if found is None:
            return None
        return {key: price for key, price in vars(found.model.get_prices(at)).items() if price is not None}

    def _find(self, model: str, provider_id: str | None) -> Found | None:
        try:
            owner, listed = self._snapshot.find_provider_model(model, None, provider_id, None)
        except LookupError:
            return None
        zeros = {name: 0 for key, name in ZEROS.items() if key in _price_keys(listed)}
        variants = listed.price_variants or ()
        is_timed = isinstance(listed.prices, list) or any(one.constraint is not None for one in variants)
        return Found(owner, listed, zeros, tuple(variants), is_timed)

    def _rate(self, found: Found, at: datetime) -> Rate | None:
        """What genai-prices asks at that time for a million tokens of each side, where it but multiplies."""
        listed = found.model.prices
        prices = found.model.get_prices(at) if isinstance(listed, list) else listed
        if id(prices) not in self._rates:
            self._rates.keep(id(prices), self._worked_out(found, prices, at))
        return self._rates[id(prices)]

    def _worked_out(self, found: Found, prices: Any, at: datetime) -> Rate | None:
        known = {key: price for key, price in vars(prices).items() if price is not None}
        has_tiers = any(hasattr(price, "tiers") for price in known.values())
        if has_tiers or not {"input_mtok", "output_mtok"} <= known.keys() or ALWAYS_SEARCHES.search(found.model.id):
            return None
        sums = self._price(found, {"input_tokens": 1_000_000, "output_tokens": 1_000_000}, {}, at)
        if sums is None:
            return None
        return Rate(sums.input_price, sums.output_price, sums.total_price - sums.input_price - sums.output_price)


REST_OF = attrgetter(*(name for name in Usage.model_fields if name not in {*PLAIN, "raw", "inferred", "problems"}))


def is_plain(usage: Usage) -> bool:
    """Whether a usage has the three counts of the usual record, and nothing else that a price could depend on."""
    plain = plain_counts(usage.raw) if type(usage.raw) is dict and not any(REST_OF(usage)) else None
    return plain == (usage.input_tokens, usage.output_tokens, usage.total_tokens)


def _at_rate(rate: Rate, usage: Usage, source: str) -> Cost:
    input_usd = rate.input * (usage.input_tokens or 0) / MILLION
    output_usd = rate.output * (usage.output_tokens or 0) / MILLION
    total = input_usd + output_usd + rate.request
    return Cost.model_construct(input_usd=input_usd, output_usd=output_usd, total_usd=total, problems=(), source=source)


def _price_keys(model: Any) -> set[str]:
    """Every price a model has, whatever the day or tier."""
    plain = model.prices if isinstance(model.prices, list) else [model]
    return {key for one in (*plain, *(model.price_variants or ())) for key in vars(one.prices)}


def _listed(provider: str, ids: Iterable[str]) -> str | None:
    if provider in ids or provider == "litellm":
        return provider  # genai-prices takes litellm's provider from the model's name
    words = [provider, *re.split(r"[^a-z0-9]+", provider)]
    return next((one for word in words if (one := ALIASES.get(word, word)) in ids), None)


def _figures(usage: Usage) -> dict[str, int]:
    """Our figures under genai-prices' names. Cohere bills its own units instead of the model's tokens."""
    billed = {f"{side}_tokens": usage.units.get(f"billed_{side}_tokens") for side in ("input", "output")}
    counted = {name: getattr(usage, ours) for ours, name in FIGURES.items()}
    chosen = billed if any(value is not None for value in billed.values()) else counted
    units = {name: usage.units.get(name) for name in UNITS}
    return {name: value for name, value in {**chosen, **units}.items() if value is not None}


def _conditions(usage: Usage, found: Found, at: datetime) -> tuple[dict[str, str], Decimal, tuple[str, ...]]:
    """What else decides the price of the tokens: genai-prices' context, a factor, and what nobody has a price of."""
    context, factor, problems = conditions(usage), Decimal(1), list[str]()
    is_batch = context.get("service_tier") == "batch"
    for name, value in unusual(usage).items():
        asked = {name: value, "processing": "batch"} if is_batch and name == "service_tier" else {name: value}
        times = factor_of(name, value, found.provider.id, found.model.id)
        if times is None and not any(_fits(variant, asked, at) for variant in found.variants):
            problems.append(f"{name} {value} has no price")
        factor *= times or 1
    return context | ({"processing": "batch"} if is_batch else {}), factor, tuple(problems)


def _fits(variant: Any, asked: Mapping[str, str], at: datetime) -> bool:
    is_active = variant.constraint is None or variant.constraint.active(at)
    return bool(is_active and variant.when.items() <= asked.items())


def _cost(
    sums: Any, usage: Usage, figures: Mapping[str, int], factor: Decimal, problems: tuple[str, ...], source: str
) -> Cost | None:
    """A price as a cost, with a problem for each thing that it leaves out; then the total is None."""
    prices = {key: price for key, price in vars(sums.model_price).items() if price is not None}
    if not prices or problems:
        return Cost(problems=problems) if problems else None
    lost = [name for name in usage.uncounted if f"{name}_mtok" in prices]
    fees_listed = {key.removesuffix("_kcount") for key in prices if key.endswith("_kcount")}
    unpriced = _unpriced(sums.model.id, usage, fees_listed)
    problems = (*(f"{name} has a price of its own and no count" for name in lost), *unpriced)
    known = _known_sides(prices, figures) - {name.partition("_")[0] for name in lost}
    input_usd = sums.input_price * factor if "input" in known else None
    output_usd = sums.output_price * factor if "output" in known else None
    if not known:
        return Cost(problems=problems) if problems else None
    fees = sums.total_price - sums.input_price - sums.output_price
    total = None if input_usd is None or output_usd is None or unpriced else input_usd + output_usd + fees
    return Cost(input_usd=input_usd, output_usd=output_usd, total_usd=total, problems=problems, source=source)


def _known_sides(prices: Mapping[str, Any], figures: Mapping[str, int]) -> set[str]:
    """The sides whose count and price are known; genai-prices says 0 of the others."""
    known = set()
    if "input_tokens" in figures and _is_priced(prices, ("input", "cache"), figures["input_tokens"]):
        known.add("input")
    # What was not counted is 0 where nothing that comes out is charged: an embedding.
    is_embedding = "output_tokens" not in figures and not _is_priced(prices, ("output",), 1)
    has_tiers = any(hasattr(price, "tiers") for price in prices.values())
    if has_tiers and "input_tokens" not in figures:
        return known  # the length of the input decides the price of the output
    if is_embedding or ("output_tokens" in figures and _is_priced(prices, ("output",), figures["output_tokens"])):
        known.add("output")
    return known


def _unpriced(model: str, usage: Usage, priced: Collection[str]) -> tuple[str, ...]:
    """A problem for each unit without a price. Perplexity's fee of a request covers its searches."""
    if "requests" in priced:
        return ()
    problems = unpriced_units(usage, priced)
    if ALWAYS_SEARCHES.search(model) and not usage.units.get("web_searches"):
        return (*problems, "each request searches the web, which has no price")
    return problems


def _is_priced(prices: Mapping[str, Any], sides: tuple[str, ...], tokens: int) -> bool:
    return tokens == 0 or any(key.endswith("_mtok") and key.startswith(sides) for key in prices)
