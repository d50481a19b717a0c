"""genai-prices, behind one small class: the only file that knows it. It is imported at the first price, not before."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from eventtree.event import Cost, JsonValue, Usage
from eventtree.usage.normalize import PLACES, places
from eventtree.usage.reader import find_each

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

UNITS = ("web_searches", "rerank_searches")
"""Our units that genai-prices may price."""

ZEROS: dict[str, str] = {
    **{name.replace("_tokens", "_mtok"): name for name in FIGURES.values()},
    **{f"{unit}_kcount": unit for unit in (*UNITS, "storage_searches")},
}
"""Price keys whose count is said to be 0 where it is not known: genai-prices infers what is left out, which doubles the
time of a lookup and comes to 0 too.
"""

SPEED_PATHS = ("usage.speed", "token_usage.speed", "speed")
CACHE_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Found:
    """What genai-prices has on a model: its own provider and model, and the counts it would like to know."""

    provider: Any
    model: Any
    zeros: Mapping[str, int]
    is_timed: bool
    """Whether its price depends on when it was asked."""


class Catalogue:
    """Prices by model, provider and base URL, from genai-prices."""

    def __init__(self) -> None:
        """Nothing is imported yet."""
        self._snapshot: Any = None
        self._known: dict[tuple[str, str | None, str | None], Found | None] = {}
        self._priced: dict[tuple[Hashable, ...], Cost | None] = {}
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
        if snapshot is not self._snapshot or len(self._known) >= CACHE_SIZE:
            self._snapshot, self._known, self._priced = snapshot, {}, {}
        key = (model, provider, base_url)
        if key not in self._known:
            self._known[key] = self._find(model, self.provider_id(provider, base_url))
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

    def price(self, usage: Usage, model: str, provider: str | None, base_url: str | None, at: datetime) -> Cost | None:
        """What `usage` cost at that time, or None where genai-prices cannot say."""
        found = self.find(model, provider, base_url)
        if found is None:
            return None
        figures, context = _figures(usage), _context(usage)
        key = (model, provider, base_url, at if found.is_timed else None, *figures.items(), *context.items())
        if key not in self._priced:
            if len(self._priced) >= CACHE_SIZE:
                self._priced.clear()
            self._priced[key] = self._price(found, figures, context, at)
        return self._priced[key]

    def _price(self, found: Found, figures: dict[str, int], context: dict[str, str], at: datetime) -> Cost | None:
        from genai_prices import Usage as Counts

        counts = Counts(**{**found.zeros, **figures})
        try:
            sums = found.model.calc_price(
                counts, found.provider, genai_request_timestamp=at, price_context=context or None
            )
        except (ValueError, LookupError, ArithmeticError):
            return None  # parts that overlap (cached audio) and have no price together
        return _cost(sums, figures, self.source)

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
        variants = [variant.constraint for variant in listed.price_variants or ()]
        is_timed = isinstance(listed.prices, list) or any(constraint is not None for constraint in variants)
        return Found(owner, listed, zeros, is_timed)


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


def _context(usage: Usage) -> dict[str, str]:
    """What else decides the price: the service tier, a batch, Anthropic's fast mode."""
    context = {} if usage.service_tier is None else {"service_tier": usage.service_tier}
    if usage.service_tier == "batch":
        context["processing"] = "batch"
    speed = _speed(usage.raw)
    return context if speed is None else {**context, "speed": speed}


def _speed(raw: JsonValue) -> str | None:
    if not isinstance(raw, Mapping):
        return None
    found = (speed for place in PLACES for one in places(raw, place) for _, speed in find_each(one, SPEED_PATHS))
    return next((speed for speed in found if isinstance(speed, str)), None)


def _cost(sums: Any, figures: Mapping[str, int], source: str) -> Cost | None:
    """The sides of a price; a side whose count or price is not known is None, where genai-prices says 0."""
    prices = {key: price for key, price in vars(sums.model_price).items() if price is not None}
    has_tiers = any(hasattr(price, "tiers") for price in prices.values())
    input_usd, output_usd = sums.input_price, sums.output_price
    if "input_tokens" not in figures or not _is_priced(prices, ("input", "cache"), figures["input_tokens"]):
        input_usd = None
    if "output_tokens" in figures and not _is_priced(prices, ("output",), figures["output_tokens"]):
        output_usd = None
    if "output_tokens" not in figures and _is_priced(prices, ("output",), 1):
        output_usd = None
    if has_tiers and "input_tokens" not in figures:
        output_usd = None  # the length of the input decides the price of the output
    if not prices or (input_usd is None and output_usd is None):
        return None
    total: Decimal | None = None if input_usd is None or output_usd is None else sums.total_price
    return Cost(input_usd=input_usd, output_usd=output_usd, total_usd=total, source=source)


def _is_priced(prices: Mapping[str, Any], sides: tuple[str, ...], tokens: int) -> bool:
    return tokens == 0 or any(key.endswith("_mtok") and key.startswith(sides) for key in prices)
