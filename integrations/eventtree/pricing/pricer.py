"""Tokens → money. The most reliable source goes first, and is named beside the figure.

1. the user, on the event itself  2. nothing, where the answer came from a cache  3. the user's function
4. the provider, in its answer  5. the user's table  6. genai-prices. Unknown is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from eventtree.diagnostics import must_pass
from eventtree.event import Cost, Frozen, Usage
from eventtree.kinds import JsonValue
from eventtree.pricing.catalogue import Catalogue
from eventtree.pricing.stated import cost_of, given_in, reported_in
from eventtree.pricing.table import Prices, Row, Table, charge, extras, load
from eventtree.usage.normalize import plain_counts
from eventtree.usage.tokenizer import Tokenizer, infer

PriceFunction = Callable[[Usage | None, str | None, str | None, datetime], JsonValue]
"""A user's own pricing: (usage, model, provider, at) → a number, a cost object, a `Cost`, or None for "do not know"."""

INFERRED = ", inferred tokens"
"""Suffix of a figure's source if a tokenizer counted the tokens, since nobody reported them."""

SUMS = ("input_usd", "output_usd", "total_usd")
FREE: Mapping[str, Any] = {**dict.fromkeys(SUMS, Decimal(0)), "source": "cached"}

PER: dict[str, str] = {
    "_mtok": "1M tokens",
    "_mchars": "1M characters",
    "_kcount": "1,000",
    "_kpages": "1,000 pages",
    "_hours": "hour",
}
"""Suffix of genai-prices' price keys → the quantity of one price."""


class PriceLine(Frozen):
    """One price of a model: `usd` for each `per`, only for inputs longer than `above` tokens if given."""

    name: str
    usd: Decimal
    per: str = "1M tokens"
    above: int | None = None


class Explanation(Frozen):
    """The prices of a model, and where they come from: `why` is one sentence for each step of the decision."""

    model: str
    provider: str | None
    source: str | None
    charged_as: str | None
    lines: tuple[PriceLine, ...]
    why: tuple[str, ...]


class Pricer:
    """Prices events. Not for the app's thread: the first price imports genai-prices (0.2 s)."""

    def __init__(
        self,
        table: Mapping[str, JsonValue] | str | Path | Table | None = None,
        quote: PriceFunction | None = None,
        catalogue: bool = True,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        """Read `table` now (ConfigError if it is wrong). `catalogue=False` leaves genai-prices out."""
        self.table = None if table is None else load(table)
        self.quote = quote
        self.catalogue = Catalogue() if catalogue else None
        self.tokenizer = tokenizer
        self.unknown: dict[str, int] = {}
        """Models without a price → how often they were used."""
        self.failures: dict[str, int] = {}
        """Type of an error of the user's function → how often it was raised."""

    @classmethod
    def of(cls, prices: Any, tokenizer: Tokenizer | None = None) -> Self:
        """The pricer of the setting `prices`: a function, a table, the path of one, or None for public prices alone.

        Raises:
            ConfigError: the table is wrong, or cannot be read.
        """
        is_function = callable(prices) and not isinstance(prices, Table)
        return cls(tokenizer=tokenizer, **{"quote" if is_function else "table": prices})

    def infer(self, inputs: JsonValue, outputs: JsonValue, model: str | None) -> Usage | None:
        """A tokenizer's count for a model event without reported usage, or None."""
        return infer(inputs, outputs, model, self.tokenizer)

    def price(
        self,
        usage: Usage | None,
        *,
        model: str | None,
        asked: str | None = None,
        provider: str | None,
        base_url: str | None = None,
        at: datetime,
        given: JsonValue = None,
        reported: JsonValue = None,
    ) -> Cost | None:
        """The cost of one event, or None.

        `model` is the model that answered, `asked` the name it was asked for: the user's table may have either. Public
        prices are looked up by `model` alone, since a proxy may have let another model answer.

        `given` is the user's figure, `reported` the provider's: a number, an object with `input_usd`, `output_usd`,
        `total_usd`, or (reported) a handler's whole record. Both may also be in `usage.raw`.
        """
        raw = usage.raw if usage is not None else None
        plain = plain_counts(raw)
        if plain:
            raw = None  # the usual record has no stated cost
        stated = cost_of(given, "given") if given is not None else None
        if stated is None and usage is not None:
            stated = Cost(**FREE) if usage.cached else given_in(raw)
        if stated is not None:
            return stated
        found, is_final = self._quoted(usage, model, provider, at)
        if found is None and not is_final and (raw or reported is not None):
            found = cost_of(reported, "provider") or reported_in(reported) or reported_in(raw)
        if found is None and not is_final:
            found, is_final = self._listed(usage, (model, asked), provider, base_url, at, plain)
            for other, share in usage.others.items() if usage is not None else ():
                found = found and _plus(found, self._listed(share, (other, None), provider, base_url, at)[0], other)
        if found is None and not is_final and model and _has_tokens(usage):
            self.unknown[model] = self.unknown.get(model, 0) + 1
        if found is not None and usage is not None and usage.inferred:
            return found.model_copy(update={"source": f"{found.source}{INFERRED}"})
        return found

    def explain(
        self, model: str, provider: str | None = None, *, base_url: str | None = None, at: datetime | None = None
    ) -> Explanation:
        """The prices of `model`, their source, and why no other source was used."""
        at, source, charged_as = at or datetime.now(UTC), None, None
        lines: tuple[PriceLine, ...] = ()
        why = [] if self.quote is None else ["your function is asked first, at each event"]
        row = self.table.row(model, provider, None, at) if self.table else None
        if self.table and row:
            why.append(f"{self.table.source} has a row for {row.model}")
            source, lines, charged_as = self.table.source, _row_lines(row), row.model
        else:
            why.append(f"{self.table.source} has no row for it" if self.table else "no table of your own is set")
        if row is None and self.catalogue is None:
            why.append("genai-prices is switched off")
        elif row is None and self.catalogue:
            found = self.catalogue.find(model, provider, base_url)
            prices = self.catalogue.prices(model, provider, base_url, at) or {}
            listed = self.catalogue.provider_id(provider, base_url)
            by = "the base URL" if self.catalogue.provider_id(None, base_url) else "name"
            step = f"{provider} is no provider it lists" if provider else "no provider is named"
            why.append(f"the provider is {listed}, by {by}" if listed else f"{step}: the model's name alone decides")
            why.append(f"{self.catalogue.source} {'knows' if found else 'does not know'} the model")
            lines = tuple(line for key, price in prices.items() for line in _lines(key, price))
            if found:
                charged_as = f"{found.provider.id}/{found.model.id}"
                source = self.catalogue.source if lines else None
                why += [] if lines else ["it has no price for it"]
        return Explanation(
            model=model, provider=provider, source=source, charged_as=charged_as, lines=lines, why=tuple(why)
        )

    def _quoted(
        self, usage: Usage | None, model: str | None, provider: str | None, at: datetime
    ) -> tuple[Cost | None, bool]:
        """The cost by the user's function, and whether a None is final: after its error no public price is used, which
        may differ from the user's.
        """
        if self.quote is None:
            return None, False
        try:
            answer = self.quote(usage, model, provider, at)
        except BaseException as error:  # the user's code: its error is counted, and delivery goes on
            if must_pass(error):
                raise
            name = type(error).__name__
            self.failures[name] = self.failures.get(name, 0) + 1
            return None, True
        if isinstance(answer, Cost):
            return answer.model_copy(update={"source": answer.source or "callable"}), False
        return cost_of(answer, "callable"), False

    def _listed(
        self,
        usage: Usage | None,
        names: tuple[str | None, str | None],
        provider: str | None,
        base_url: str | None,
        at: datetime,
        plain: tuple[int, int, int] | None = None,
    ) -> tuple[Cost | None, bool]:
        """The cost by the user's table or genai-prices, and whether a None is final."""
        tier = usage.service_tier if usage is not None else None
        for name in names if self.table else ():
            row = self.table.row(name, provider, tier, at) if self.table and name else None
            if self.table and row:
                return _charged(row, usage, self.table.source), True
        model = names[0]
        if self.catalogue is None or model is None or usage is None or not (_has_tokens(usage) or usage.units):
            return None, False
        return self.catalogue.price(usage, model, provider, base_url, at, plain), False


def _plus(cost: Cost, share: Cost | None, model: str) -> Cost:
    """The cost plus that of another model that took part. If that is unknown, so is the sum."""
    if share is None or share.total_usd is None:
        problems = (*cost.problems, f"{model[:80]} took part and has no price")
        return cost.model_copy(update={**dict.fromkeys(SUMS), "problems": problems})
    pairs = {name: (getattr(cost, name), getattr(share, name)) for name in SUMS}
    return cost.model_copy(update={name: None if None in both else sum(both) for name, both in pairs.items()})


def _has_tokens(usage: Usage | None) -> bool:
    return usage is not None and not (usage.input_tokens is None and usage.output_tokens is None)


def _charged(row: Row, usage: Usage | None, source: str) -> Cost | None:
    """The cost by a row of the user's table. A call without known tokens costs its fee and units, if there are any."""
    if usage is not None and _has_tokens(usage):
        return charge(row, usage, source)
    only_extras = extras(row, usage or Usage())
    has_token_prices = any(getattr(row, name) is not None for name in Prices.model_fields)
    return None if has_token_prices or not only_extras else Cost(total_usd=only_extras, source=source)


def _row_lines(row: Row) -> tuple[PriceLine, ...]:
    tokens = [(None, row), *((tier.above, tier) for tier in row.tiers)]
    lines = [
        PriceLine(name=name, usd=usd, above=above)
        for above, prices in tokens
        for name in Prices.model_fields
        if (usd := getattr(prices, name)) is not None
    ]
    extra = {"request": row.request, **row.units} if row.request else row.units
    return (*lines, *(PriceLine(name=name, usd=usd, per="1") for name, usd in extra.items()))


def _lines(key: str, price: Any) -> list[PriceLine]:
    """A price of genai-prices, a Decimal or one with a base and tiers, as lines."""
    ending = next((ending for ending in PER if key.endswith(ending)), "")
    name, per = key.removesuffix(ending) if ending else key, PER.get(ending, "1")
    if isinstance(price, Decimal):
        return [PriceLine(name=name, usd=price, per=per)]
    first = PriceLine(name=name, usd=price.base, per=per)
    return [first, *(PriceLine(name=name, usd=tier.price, per=per, above=tier.start) for tier in price.tiers)]
