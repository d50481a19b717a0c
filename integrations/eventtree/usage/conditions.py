"""What a price depends on besides the model: the tier and whatever else an answer states, and what it multiplies by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from eventtree.event import JsonValue, Usage
from eventtree.usage.normalize import PLACES, places
from eventtree.usage.providers import MODIFIERS, ORDINARY
from eventtree.usage.reader import find_each

MODIFIER_PATHS = tuple(MODIFIERS)


class Factor(NamedTuple):
    """`times` the token prices where an answer says `name` is `value`; fees for searches stay as they are."""

    name: str
    value: str
    provider: str
    model: re.Pattern[str]
    times: Decimal


FACTORS: tuple[Factor, ...] = (
    # platform.claude.com/docs/en/manage-claude/data-residency, "Pricing": 1.1x for all token categories, Opus 4.6 and
    # later; the models before it do not take the parameter.
    Factor(
        "inference_geo",
        "us",
        "anthropic",
        re.compile(r"claude-(?!\d|instant|(opus|sonnet|haiku)-4-[015](?!\d))"),
        Decimal("1.1"),
    ),
)


def factor_of(name: str, value: str, provider: str, model: str) -> Decimal | None:
    """The factor, or None where none is known."""
    fits = (one for one in FACTORS if (one.name, one.value, one.provider) == (name, value, provider))
    return next((one.times for one in fits if one.model.match(model)), None)


def conditions(usage: Usage) -> dict[str, str]:
    """The service tier and the modifiers an answer states, in lower case."""
    tier = {} if usage.service_tier is None else {"service_tier": usage.service_tier.lower()}
    return tier | _modifiers(usage.raw)


def unusual(usage: Usage) -> dict[str, str]:
    """Those of the conditions that may change a price."""
    return {name: value for name, value in conditions(usage).items() if value not in ORDINARY}


def _modifiers(raw: JsonValue) -> dict[str, str]:
    if not isinstance(raw, Mapping):
        return {}
    found = (item for place in PLACES for one in places(raw, place) for item in find_each(one, MODIFIER_PATHS))
    return {MODIFIERS[path]: value[:40].lower() for path, value in found if isinstance(value, str)}
