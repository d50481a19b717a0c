"""Field types that several vendors share, and the check of a body against a table of fields.

A table is a `TypedDict`: `Required[...]` marks required keys, every other key is optional, and none may be null unless
its type allows it. `closed` tables refuse unknown keys, `opened` ones accept them. Types are strict: no text for a
number, no bool for an integer, no NaN.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails, PydanticCustomError

from eventtree.testing.contracts.contract import Flaw, Json, Refusal

Place = tuple[str | int, ...]

closed = with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
opened = with_config(ConfigDict(extra="allow", strict=True, allow_inf_nan=False))

TEXTS = {"extra_forbidden": "unknown key", "missing": "required key is missing"}
UNITS = ((1e8, "seconds"), (1e11, "milliseconds"), (1e14, "microseconds"), (1e17, "nanoseconds"))
"""Least value of a time since 1970 → its unit: each range spans the years 1973 to 5138."""


def wrong(text: str) -> PydanticCustomError:
    """Build a validator's error."""
    return PydanticCustomError("value_error", "{text}", {"text": text})


def wrong_if(text: str, is_wrong: Callable[[Any], bool]) -> AfterValidator:
    """The rule of a table or a field that refuses wrong values with this text."""

    def check(value: Any) -> Any:
        if is_wrong(value):
            raise wrong(text)
        return value

    return AfterValidator(check)


def unit_of(value: float) -> str:
    """Guess the unit of a time since 1970 from its size."""
    return next((unit for least, unit in reversed(UNITS) if value >= least), "no time of our days")


def in_unit(expected: str) -> AfterValidator:
    """The rule that a time since 1970 is in the `expected` unit."""

    def check(value: float) -> float:
        if unit_of(value) != expected:
            raise wrong(f"must be {expected} since 1970, looks like {unit_of(value)}")
        return value

    return AfterValidator(check)


def canonical_uuid(value: str) -> str:
    """Refuse a text that is not a UUID in its canonical lowercase form."""
    try:
        parsed = uuid.UUID(value)
    except ValueError:
        raise wrong("is not a UUID") from None
    if str(parsed) != value:
        raise wrong("is not a canonical lowercase UUID")
    return value


def iso_time(value: str) -> str:
    """Refuse a text that is not an ISO-8601 time with a zone."""
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise wrong("is not an ISO-8601 time") from None
    if parsed.tzinfo is None:
        raise wrong("has no time zone")
    if len(value) < len("2024-01-01T00:00Z") or not 1973 <= parsed.year <= 5138:
        raise wrong("is no plausible time")
    return value


def time_order(start: str, end: str) -> AfterValidator:
    """The rule of a table that its `end` does not come before its `start` (both numbers or both ISO texts)."""
    return wrong_if(f"{end} is before {start}", lambda fields: seconds_between(fields, start, end, default=0) < 0)


def seconds_between(fields: Any, start: str, end: str, *, default: float) -> float:
    """The time from `start` to `end` in their own unit (seconds for ISO texts), or `default`."""
    first, last = fields.get(start), fields.get(end)
    if first is None or last is None:
        return default
    if isinstance(first, str):
        return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
    return float(last - first)


def numbers_only(values: Json) -> Json:
    """Refuse a map with a value that is no number (bool and null are none)."""
    if not isinstance(values, dict):
        return values
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(f"{name} must be a number, not {'null' if value is None else type(value).__name__}")
    return values


def whole(value: Any) -> Any:
    """An integer for a float without a fraction: JSON has one kind of number, and HoneyHive's client writes 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, wrong_if("must not be empty", lambda value: not value.strip())]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]

Object = dict[str, Any]
Uuid = Annotated[str, AfterValidator(canonical_uuid)]
IsoTime = Annotated[str, AfterValidator(iso_time)]
EpochMs = Annotated[int, in_unit("milliseconds"), BeforeValidator(whole)]
EpochSeconds = Annotated[float, in_unit("seconds")]
NumbersOnly = BeforeValidator(numbers_only)


@cache
def adapter(table: Any) -> TypeAdapter[Any]:
    """The check of a table, made once."""
    return TypeAdapter(table)


def parse(table: Any, body: Json, *at: str | int) -> Any:
    """Check `body` against a table and return it, or refuse it with all its flaws."""
    try:
        return adapter(table).validate_python(body, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise Refusal(*(flaw_from(detail, at) for detail in details)) from None


def flaw_from(detail: ErrorDetails, at: Place) -> Flaw:
    """A flaw from one of pydantic's errors."""
    text = TEXTS.get(detail["type"], detail["msg"])
    if detail["input"] is None and detail["type"] != "missing":
        text = f"must not be null, leave the key out ({text})"
    return Flaw((*at, *detail["loc"]), text, detail["type"])


def known_keys(table: type, body: Json, *, drop: bool) -> Json:
    """Drop the keys that `table` does not name, for a vendor whose published schema is open."""
    if not drop or not isinstance(body, Mapping):
        return body
    return {key: value for key, value in body.items() if key in table.__annotations__}
