"""The user's own prices: a dict, or a JSON or TOML file read once.

Short form, patterns of the model's name to prices in US dollars per million tokens:

    {"gpt-4o*": {"input": 2.5, "output": 10, "cache_read": 1.25}}

Long form, rows that may also depend on provider, service tier and day; the first row that matches is used:

    name = "acme 2026"
    [[prices]]
    model = "gpt-4o*"           # shell pattern, or "regex:^gpt-4o"
    provider = "azure"
    since = 2026-01-01          # from this day on (UTC)
    before = 2026-07-01         # until the day before this one
    input = 2.5
    output = 10
    request = 0.001             # per call
    units = { web_searches = 0.01 }
    tiers = [ { above = 200000, input = 5, output = 15 } ]   # where the input is longer, for all its tokens

Tokens without a price of their own (cache, audio, image, reasoning) are charged as the plain tokens they are part of.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import translate
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, PrivateAttr, ValidationError, field_validator

from eventtree.errors import ConfigError, complaint, did_you_mean
from eventtree.event import Cost, Frozen, Usage
from eventtree.kinds import JsonValue
from eventtree.remembered import Remembered
from eventtree.usage.hosted import unpriced_units
from eventtree.usage.normalize import conditions, unusual

SETTING = "prices"
MILLION = Decimal(1_000_000)
KNOWN_MODELS = 4096
"""Models whose rows are remembered, so that a long table is searched once for each."""
Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]

PARTS: Mapping[str, tuple[str, ...]] = {
    "input": ("cache_read", "cache_write", "cache_write_5m", "cache_write_1h", "input_audio", "input_image"),
    "output": ("reasoning", "output_audio", "output_image"),
}
"""Side → its parts, by the names of their prices; in `Usage` the names end in `_tokens`."""
WITHIN = {"cache_write_5m": "cache_write", "cache_write_1h": "cache_write"}
"""A part → the part that contains it, whose price it has if it has none of its own."""


class Prices(Frozen):
    """US dollars per million tokens. Tokens without a price are charged as the input or output they are part of."""

    input: Price | None = None
    output: Price | None = None
    cache_read: Price | None = None
    cache_write: Price | None = None
    cache_write_5m: Price | None = None
    cache_write_1h: Price | None = None
    reasoning: Price | None = None
    input_audio: Price | None = None
    output_audio: Price | None = None
    input_image: Price | None = None
    output_image: Price | None = None


class Above(Prices):
    """Prices for calls whose input is longer than `above` tokens; absent ones are those of the row."""

    above: int = Field(ge=0)


class Row(Prices):
    """The prices of one model (or several, by pattern), perhaps for some time only."""

    model: str = Field(min_length=1)
    provider: str | None = None
    service_tier: str | None = None
    since: date | None = None
    before: date | None = None
    request: Price = Decimal(0)
    units: dict[str, Price] = Field(default_factory=dict)
    tiers: tuple[Above, ...] = ()

    @field_validator("model")
    @classmethod
    def _is_pattern(cls, model: str) -> str:
        try:
            _compile(model)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return model

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The model's pattern, compiled."""
        return _compile(self.model)

    def fits(self, provider: str | None, tier: str | None, at: datetime) -> bool:
        """Whether this row, whose model matches, applies to a call."""
        day = (at if at.tzinfo is None else at.astimezone(UTC)).date()
        return (
            (self.provider is None or self.provider.lower() == (provider or "").lower())
            and (self.service_tier is None or self.service_tier == tier)
            and (self.since is None or day >= self.since)
            and (self.before is None or day < self.before)
        )

    def at_length(self, input_tokens: int | None) -> Prices | None:
        """The prices for an input of that length; None if they depend on an unknown length."""
        if not self.tiers:
            return self
        if input_tokens is None:
            return None
        reached = sorted((tier for tier in self.tiers if input_tokens > tier.above), key=lambda tier: tier.above)
        higher = reached[-1].model_dump(exclude={"above"}, exclude_none=True) if reached else {}
        return self.model_copy(update=higher)


class Table(Frozen):
    """A user's prices, and a name that is the source of every figure made with them.

    A table without a name gets its file's name and the beginning of a hash of its content, as a version.
    """

    name: str
    prices: tuple[Row, ...]
    _by_model: Remembered[str, tuple[Row, ...]] = PrivateAttr(default_factory=lambda: Remembered(KNOWN_MODELS))

    def row(self, model: str, provider: str | None, tier: str | None, at: datetime) -> Row | None:
        """The first row that fits, or None."""
        rows = self._by_model.get(model)
        if rows is None:
            rows = self._by_model.keep(model, tuple(row for row in self.prices if row.pattern.match(model)))
        return next((row for row in rows if row.fits(provider, tier, at)), None)

    @property
    def source(self) -> str:
        """The source of a figure made with this table."""
        return f"table:{self.name}"


def load(table: Mapping[str, JsonValue] | str | Path | Table) -> Table:
    """A table from a dict or a file; raises ConfigError if it is wrong."""
    if isinstance(table, Table):
        return table
    if not isinstance(table, Mapping | str | Path):
        raise ConfigError(
            SETTING, f"{type(table).__name__} is no price table", "Give a dict, a file's path or a function"
        )
    if isinstance(table, Mapping):
        content, name = dict(table), None
    else:
        content, name = _read(Path(table)), Path(table).name
    rows = content if "prices" in content else {"prices": _long(content)}
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()[:8]
    try:
        return Table.model_validate({"name": f"{name} {digest}" if name else digest, **rows})
    except ValidationError as error:
        where, problem = complaint(error)
        meant = did_you_mean(where.rpartition(".")[2], (*Row.model_fields, *Above.model_fields))
        hint = f"{meant}Correct that entry; see eventtree.pricing.table for the form"
        raise ConfigError(SETTING, f"{where}: {problem}", hint) from None


def charge(row: Row, usage: Usage, source: str) -> Cost | None:
    """The cost of `usage` by `row`. A side without count or price is None, and then the total is too."""
    prices = row.at_length(usage.input_tokens)
    if prices is None:
        return None
    input_usd, output_usd = _side(usage, prices, "input"), _side(usage, prices, "output")
    if prices.output is None and usage.output_tokens is None:
        output_usd = Decimal(0)  # an embedding, whose output is not charged
    if input_usd is None and output_usd is None:
        return None
    # A fee for the request covers the units used in it.
    unpriced = () if row.request else unpriced_units(usage, row.units)
    total = None if unpriced or input_usd is None or output_usd is None else input_usd + output_usd + extras(row, usage)
    odd = (
        f"{name} {value} has no price in {source}"
        for name, value in unusual(conditions(usage)).items()
        if name != "service_tier" or row.service_tier is None  # a row that names a tier has its price
    )
    return Cost(input_usd=input_usd, output_usd=output_usd, total_usd=total, problems=(*unpriced, *odd), source=source)


def extras(row: Row, usage: Usage) -> Decimal:
    """The cost of a call besides its tokens: a fee for the request, and counted units such as web searches."""
    return row.request + sum((row.units.get(unit, Decimal(0)) * n for unit, n in usage.units.items()), Decimal(0))


def _side(usage: Usage, prices: Prices, side: str) -> Decimal | None:
    rest: int | None = getattr(usage, f"{side}_tokens")
    plain: Decimal | None = getattr(prices, side)
    if rest is None:
        return None
    sum_usd = Decimal(0)
    counts = {name: getattr(usage, f"{name}_tokens") or 0 for name in PARTS[side]}
    for inner, outer in WITHIN.items():
        counts[outer] = counts.get(outer, 0) - counts.get(inner, 0)
    for name in PARTS[side]:
        own = getattr(prices, name)
        price = own if own is not None else getattr(prices, WITHIN.get(name, name))
        if price is not None:
            rest -= counts[name]
            sum_usd += price * counts[name]
    if rest < 0 or (rest > 0 and plain is None):
        # Parts that overlap (cached audio) may exceed the whole: which token has which price is unknown.
        return None
    return (sum_usd + (plain or Decimal(0)) * rest) / MILLION


def _compile(model: str) -> re.Pattern[str]:
    is_regex = model.startswith("regex:")
    return re.compile(model.removeprefix("regex:") if is_regex else translate(model), re.IGNORECASE)


def _long(short: Mapping[str, JsonValue]) -> list[JsonValue]:
    wrong = next((model for model, prices in short.items() if not isinstance(prices, Mapping)), None)
    if wrong is not None:
        raise ConfigError(SETTING, f"{wrong} has no prices", 'Write {"input": ..., "output": ...} after the model')
    return [{"model": model, **prices} for model, prices in short.items()]


def _read(path: Path) -> dict[str, JsonValue]:
    hint = "Give the path of a JSON or TOML file with prices, or a dict"
    try:
        text = path.read_text(encoding="utf-8")
        is_toml = path.suffix.lower() == ".toml"
        content = tomllib.loads(text, parse_float=Decimal) if is_toml else json.loads(text, parse_float=Decimal)
    except OSError as error:
        raise ConfigError(SETTING, f"{path} cannot be read ({error.strerror})", hint) from None
    except ValueError as error:
        raise ConfigError(SETTING, f"{path} is no valid file ({error})", hint) from None
    if not isinstance(content, dict):
        raise ConfigError(SETTING, f"{path} holds no table", hint)
    return content
