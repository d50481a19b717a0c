"""genai-prices behind one class: no other file knows the library. It is imported at the first price, not before."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

from eventtree.event import Cost, Usage
from eventtree.remembered import Remembered
from eventtree.usage.hosted import ALWAYS_SEARCHES, unpriced_units
from eventtree.usage.normalize import conditions, unusual

KEYS = {"input": ("input", "cache"), "output": ("output",)}
"""Side → prefixes of genai-prices' keys for its tokens."""

ALIASES: dict[str, str] = {
    "amazon": "aws",
    "azureopenai": "azure",
    "bedrock": "aws",
    "claude": "anthropic",
    "copilot": "github-copilot",
    "gemini": "google",
    "grok": "x-ai",
    "mantle": "aws",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "togetherai": "together",
    "vertex": "google",
    "vertexai": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
    "zhipu": "zhipuai",
}
"""Words in the frameworks' names of providers → genai-prices' ids. The ids themselves are found without this table."""

HOSTS = ("azure", "aws", "bedrock", "mantle", "vertex", "vertexai")
"""Clouds that bill other makers' models. In "anthropic_bedrock" such a word counts, not the maker's."""

UNLISTED = frozenset({
    *("ollama", "llamacpp", "llama_cpp", "llamafile", "lmstudio", "lm_studio", "mlx", "vllm", "gpt4all"),
    *("huggingface", "nvidia", "ibm", "watsonx", "sambanova", "deepinfra", "replicate", "oci", "sagemaker"),
})  # fmt: skip
"""Providers that run other makers' models, on your own machine or for a price that genai-prices does not list. There
the model's usual price would be wrong.
"""

RESOURCE = re.compile(
    r"^(projects/[^/]+/locations/[^/]+/)?(publishers/[^/]+/)?models/"
    r"|^arn:aws[\w-]*:bedrock:[^/]*:(foundation-model|inference-profile)/"
)
"""The prefix of a model's name in Google's and Amazon's clients."""

FACTORS: Mapping[tuple[str, str, str], tuple[re.Pattern[str], Decimal]] = {
    # platform.claude.com/docs/en/manage-claude/data-residency, "Pricing": 1.1x for all token categories, Opus 4.6 and
    # later; the models before it do not take the parameter.
    ("inference_geo", "us", "anthropic"): (
        re.compile(r"claude-(?!\d|instant|(opus|sonnet|haiku)-4-[015](?!\d))"),
        Decimal("1.1"),
    ),
}
"""(Condition in an answer, its value, provider) → the models whose token prices it multiplies, and the factor. Fees for
searches are not multiplied.
"""

AUDIO = ("input_audio", "output_audio")
AUDIO_APART = frozenset({"openai", "azure"})
"""Providers that never charge audio as text: platform.openai.com/docs/pricing. For older models genai-prices has only
the price of text.
"""

FINE_TUNED = re.compile(r"^ft:|\.ft-")
"""OpenAI's fine-tuned models. genai-prices lacks their price of cached input, which is half of the input's."""

OTHER_NAMES = {
    "cache_read_audio_tokens": "cache_audio_read_tokens",
    "cache_read_image_tokens": "cache_image_read_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
}
FIGURES = {
    name: OTHER_NAMES.get(name, name)
    for name in Usage.model_fields
    if name.endswith("_tokens") and name != "total_tokens"
}
"""Our figure → genai-prices' name for it. Both conventions agree: wholes include their parts."""

SENT_ANSWERED = ("input_tokens", "output_tokens")
SIDES = frozenset(SENT_ANSWERED)
COUNTS_OF = attrgetter(*SENT_ANSWERED, "total_tokens")
ZERO, ONE = Decimal(0), Decimal(1)
FIGURES_OF = attrgetter(*FIGURES)
DETAILS_OF = attrgetter(*(name for name in FIGURES if name not in SIDES), "units", "service_tier")
OF_OUTPUT = frozenset({"output_tokens", "output_reasoning_tokens"})
WITHIN = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "cache_write_5m_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_tokens",
    "output_reasoning_tokens": "output_tokens",
}
"""A count → the count it is part of. These parts do not overlap, so that each token has one price."""
RATED = SIDES | WITHIN.keys()

UNITS: dict[str, tuple[str, ...]] = {
    **{unit: (unit,) for unit in ("web_searches", "rerank_searches", "storage_searches", "social_searches")},
    **{unit: (unit,) for unit in ("code_executions", "input_video_tokens", "output_video_tokens")},
    "citation_tokens": ("output_citation_tokens",),
    "audio_seconds": ("audio_seconds", "input_audio_seconds"),
}
"""Our unit → genai-prices' names for it."""

ENDINGS = {"_mtok": "_tokens", "_kcount": "", "_hours": "_seconds"}
"""Suffix of genai-prices' price keys → suffix of its names for the count that is priced."""

CACHE_SIZE = 4096


class Sums(NamedTuple):
    """US dollars of the input, of the output, and in total."""

    input: Decimal
    output: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True)
class Found:
    """A model that genai-prices lists, and its provider there."""

    provider: Any
    model: Any
    variants: tuple[Any, ...]
    """Conditions that change its prices: a tier, a batch, a speed, each perhaps from some day on."""
    plain: Remembered[int, ModelPrices]
    """Minute → its prices without a condition. Some prices change with the time of day."""


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """The prices of a model at some time and on some conditions."""

    found: Found
    context: dict[str, str]
    at: datetime
    prices: Mapping[str, Any]
    """Prices by genai-prices' keys. A price is a Decimal, or has a base and tiers."""
    charged: frozenset[str]
    """The sides (input, output) whose tokens have a price."""
    fees: frozenset[str]
    """The units with a price; `requests` has the fee of a call."""
    steps: tuple[int, ...]
    """Lengths of the input above which the prices change."""
    rates: dict[int, Mapping[str, Decimal] | None]
    """Number of steps that an input exceeds → the price of one more token of each count."""
    is_whole: bool
    """Whether both sides have a price, and no fee is charged that the answer does not count."""

    def rates_of(self, tokens: int) -> Mapping[str, Decimal] | None:
        """The price of one more token of each count, for an input of `tokens`; None if the price is not linear."""
        step = bisect_left(self.steps, tokens)
        if step not in self.rates:
            self.rates[step] = _rates(self, (0, *self.steps)[step])
        return self.rates[step]


class Catalogue:
    """Prices by model, provider and base URL, from genai-prices."""

    def __init__(self) -> None:
        """Import nothing yet."""
        self._snapshot: Any = None
        self._known: Remembered[tuple[str, str | None, str | None], Found | None] = Remembered(CACHE_SIZE)
        self._asked: Remembered[tuple[int, ...], ModelPrices] = Remembered(CACHE_SIZE)
        """By the identities of a price and of its variants, objects that the snapshot keeps alive."""

    @cached_property
    def source(self) -> str:
        """Name and version of the library, the source of its figures."""
        import genai_prices

        return f"genai-prices {genai_prices.__version__}"

    def find(self, model: str, provider: str | None, base_url: str | None) -> Found | None:
        """The model that genai-prices lists, or None. Remembered until the library updates its prices."""
        snapshot = self._latest()
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._known, self._asked = Remembered(CACHE_SIZE), Remembered(CACHE_SIZE)
        key = (model, provider, base_url)
        if key not in self._known:
            return self._known.keep(key, self._find(model, self.provider_id(provider, base_url)))
        return self._known[key]

    @cached_property
    def _latest(self) -> Callable[[], Any]:
        from genai_prices.data_snapshot import get_snapshot

        return get_snapshot

    def provider_id(self, provider: str | None, base_url: str | None) -> str | None:
        """The id of the provider that genai-prices lists at `base_url` or under that name; else a word of `UNLISTED`.

        Only whole words of a name count: LangChain's `ls_provider` of an unknown class is the class's name in lower
        case ("genericfakechatmodel").
        """
        listed = self._latest().providers
        by_url = (one.id for one in listed if base_url and re.match(one.api_pattern, base_url))
        return next(by_url, None) or _listed((provider or "").lower().strip(), {one.id for one in listed})

    def price(
        self,
        usage: Usage,
        model: str,
        provider: str | None,
        base_url: str | None,
        at: datetime,
        plain: tuple[int, int, int] | None,
    ) -> Cost | None:
        """The cost of `usage` at that time, or None if genai-prices has no price. `plain` are its `plain_counts`."""
        found = self.find(model, provider, base_url)
        if found is None:
            return None
        if plain == COUNTS_OF(usage) and not any(DETAILS_OF(usage)):
            # The usual case: two counts, and nothing else that a price could depend on.
            minute, factor = int(at.timestamp()) // 60, ONE
            asked = found.plain.get(minute) or found.plain.keep(minute, self._ask(found, {}, at))
            rates = asked.rates_of(plain[0]) if asked.is_whole and not usage.uncounted else None
            if rates is not None:
                sent = rates["input_tokens"] * plain[0] if plain[0] else ZERO
                answered = rates["output_tokens"] * plain[1] if plain[1] else ZERO
                total = sent + answered + rates["requests"]
                return Cost.model_construct(input_usd=sent, output_usd=answered, total_usd=total, source=self.source)
            figures = dict(zip(SENT_ANSWERED, plain[:2], strict=True))
        else:
            context, factor, problems = _conditions(usage, found, at)
            if problems:
                return Cost(problems=problems)
            asked, figures = self._ask(found, context, at), _figures(usage)
        sums = asked.prices and (_sums_by_rates(asked, figures) or _sums(asked, figures))
        return _cost(asked, sums, usage, figures, factor, self.source) if sums else None

    def _ask(self, found: Found, context: dict[str, str], at: datetime) -> ModelPrices:
        """The prices of a model that apply at that time and on these conditions, built once."""
        standard = found.model.get_prices(at)
        changes = [one for one in found.variants if _fits(one, context, at)]
        key = (id(standard), *map(id, changes))
        if key in self._asked:
            return self._asked[key]
        own = vars(found.model.get_prices(at, context) if changes else standard)
        prices = {name: price for name, price in own.items() if price is not None}
        token_prices = [name for name in prices if name.endswith("_mtok")]
        charged = frozenset(side for side, keys in KEYS.items() if any(name.startswith(keys) for name in token_prices))
        fees = frozenset(map(_counted, prices))
        steps = sorted({tier.start for price in prices.values() for tier in getattr(price, "tiers", ())})
        is_whole = len(charged) == len(KEYS) and ("requests" in fees or not ALWAYS_SEARCHES.search(found.model.id))
        return self._asked.keep(key, ModelPrices(found, context, at, prices, charged, fees, tuple(steps), {}, is_whole))

    def prices(self, model: str, provider: str | None, base_url: str | None, at: datetime) -> Mapping[str, Any] | None:
        """genai-prices' own prices of a model at that time, by its price keys; None if the model is not listed."""
        found = self.find(model, provider, base_url)
        return None if found is None else self._ask(found, {}, at).prices

    def _find(self, model: str, provider_id: str | None) -> Found | None:
        try:
            owner, listed = self._snapshot.find_provider_model(RESOURCE.sub("", model), None, provider_id, None)
        except LookupError:
            return None
        is_own = any(listed is one for one in owner.models)  # it ignores the variants of another provider's model
        return Found(owner, listed, tuple(listed.price_variants or ()) if is_own else (), Remembered(64))


def _sums(asked: ModelPrices, figures: Mapping[str, int]) -> Sums | None:
    """The sums as genai-prices computes them."""
    from genai_prices import Usage as Counts

    found = asked.found
    try:
        done = found.model.calc_price(
            Counts(**figures),
            found.provider,
            genai_request_timestamp=asked.at,
            price_context=asked.context or None,
        )
    except (ValueError, LookupError, ArithmeticError):
        return None  # parts that overlap (cached audio) and have no price together
    return Sums(done.input_price, done.output_price, done.total_price)


def _sums_by_rates(asked: ModelPrices, figures: Mapping[str, int]) -> Sums | None:
    """The same sums, faster, if each token has a fixed price; else None."""
    counts = left = {name: n for name, n in figures.items() if n}
    if not (figures.keys() >= SIDES and counts.keys() <= RATED):
        return None
    if not counts.keys() <= SIDES:
        left = counts.copy()
        for name in counts.keys() & WITHIN.keys():
            left[WITHIN[name]] = left.get(WITHIN[name], 0) - counts[name]
    if min(left.values(), default=0) < 0:
        return None  # parts exceed their whole: genai-prices decides
    rates = asked.rates_of(figures["input_tokens"])
    if rates is None:
        return None
    sent, answered = Decimal(0), Decimal(0)
    for name, n in counts.items():
        if name in OF_OUTPUT:
            answered += rates[name] * n
        else:
            sent += rates[name] * n
    return Sums(sent, answered, sent + answered + rates["requests"])


def _rates(asked: ModelPrices, start: int) -> Mapping[str, Decimal] | None:
    """The price of one more token of each count, and of the request, for inputs longer than `start`."""
    base = {"input_tokens": start + 10, "output_tokens": 10, "cache_write_tokens": 5}
    if any(start < step <= start + 11 for step in asked.steps):
        return None
    plain = _sums(asked, base)
    more = {name: _sums(asked, base | {name: base.get(name, 0) + 1}) for name in RATED}
    if plain is None or None in more.values():
        return None
    rates = {name: sums.total - plain.total for name, sums in more.items() if sums}
    return rates | {"requests": plain.total - sum(rates[name] * n for name, n in base.items())}


def _counted(key: str) -> str:
    """genai-prices' name for the count that a price key prices."""
    ending = next((ending for ending in ENDINGS if key.endswith(ending)), "")
    return key.removesuffix(ending) + ENDINGS.get(ending, "")


def _listed(provider: str, ids: Iterable[str]) -> str | None:
    if provider in ids or provider == "litellm":
        return provider  # genai-prices takes litellm's provider from the model's name
    words = [provider, *re.split(r"[^a-z0-9]+", provider)]
    words.sort(key=lambda word: word not in HOSTS)
    listed = next((one for word in words if (one := ALIASES.get(word, word)) in ids), None)
    return listed or next((word for word in words if word in UNLISTED), None)


def _figures(usage: Usage) -> dict[str, int]:
    """Our figures under genai-prices' names. Cohere bills its own units instead of the model's tokens."""
    figures = dict(zip(FIGURES.values(), FIGURES_OF(usage), strict=True))
    if usage.units:
        billed = {f"{side}_tokens": usage.units.get(f"billed_{side}_tokens") for side in KEYS}
        figures = billed if any(n is not None for n in billed.values()) else figures
        figures |= {name: usage.units.get(unit) for unit, names in UNITS.items() for name in names}
        if "audio_seconds" in usage.units and usage.input_tokens is not None:
            # The audio is billed by its length alone.
            figures["input_tokens"] = usage.input_tokens - (figures.pop("input_audio_tokens", 0) or 0)
    return {name: n for name, n in figures.items() if n is not None}


def _conditions(usage: Usage, found: Found, at: datetime) -> tuple[dict[str, str], Decimal, tuple[str, ...]]:
    """Conditions of a price: genai-prices' context, a factor on token prices, and a problem for each unknown one."""
    context, factor, problems = conditions(usage), Decimal(1), list[str]()
    is_batch = context.get("service_tier") == "batch"
    for name, value in unusual(context).items():
        asked = {name: value, "processing": "batch"} if is_batch and name == "service_tier" else {name: value}
        models, times = FACTORS.get((name, value, found.provider.id), (None, None))
        if models is not None and not models.match(found.model.id):
            times = None
        if times is None and not any(_fits(variant, asked, at) for variant in found.variants):
            problems.append(f"{name} {value} has no price")
        factor *= times or 1
    return context | ({"processing": "batch"} if is_batch else {}), factor, tuple(problems)


def _fits(variant: Any, asked: Mapping[str, str], at: datetime) -> bool:
    is_active = variant.constraint is None or variant.constraint.active(at)
    return bool(is_active and variant.when.items() <= asked.items())


def _cost(
    asked: ModelPrices, sums: Sums, usage: Usage, figures: Mapping[str, int], factor: Decimal, source: str
) -> Cost | None:
    """Sums as a cost. Each thing without a price becomes a problem, and the total is then None."""
    apart = [*(AUDIO if asked.found.provider.id in AUDIO_APART else ())]
    apart += ["cache_read"] if FINE_TUNED.search(asked.found.model.id) else []
    lost = [name for name in usage.uncounted if f"{name}_mtok" in asked.prices or name in apart]
    dear = [name for name in apart if figures.get(f"{name}_tokens") and f"{name}_mtok" not in asked.prices]
    unpriced: tuple[str, ...] = ()
    if "requests" not in asked.fees:  # a fee for the request (Perplexity) covers its searches
        unpriced = unpriced_units(usage, asked.fees)
        if ALWAYS_SEARCHES.search(asked.found.model.id) and not usage.units.get("web_searches"):
            unpriced = (*unpriced, "each request searches the web, which has no price")
    uncounted = [f"{name} has a price of its own and no count" for name in lost]
    problems = (*uncounted, *[f"{name} has a price of its own that is not known" for name in dear], *unpriced)
    known = _known_sides(asked, figures).difference([_side(name) for name in (*lost, *dear)])
    if not known:
        return Cost(problems=problems) if problems else None
    input_usd = sums.input * factor if "input" in known else None
    output_usd = sums.output * factor if "output" in known else None
    fees = sums.total - sums.input - sums.output
    total = None if input_usd is None or output_usd is None or unpriced else input_usd + output_usd + fees
    return Cost.model_construct(
        input_usd=input_usd, output_usd=output_usd, total_usd=total, problems=problems, source=source
    )


def _side(name: str) -> str:
    return "output" if name.startswith("output") else "input"


def _known_sides(asked: ModelPrices, figures: Mapping[str, int]) -> frozenset[str]:
    """The sides whose count and price are known. For the others genai-prices gives 0."""
    if len(asked.charged) == len(KEYS) and figures.keys() >= SIDES:
        return asked.charged
    counts = {side: figures.get(f"{side}_tokens") for side in KEYS}
    if counts["output"] is None and "output" not in asked.charged:
        counts["output"] = 0  # an embedding, whose output is not charged
    if counts["input"] is None and asked.steps:
        return frozenset()  # the length of the input decides the price of the output
    return frozenset(side for side, n in counts.items() if n == 0 or (n and side in asked.charged))
