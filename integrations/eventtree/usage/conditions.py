"""What a price depends on besides the model: the tier and whatever else an answer states, and what it multiplies by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from eventtree.event import JsonValue, Usage
from eventtree.usage.normalize import PLACES, places, plain_counts
from eventtree.usage.providers import MODIFIERS, ORDINARY
from eventtree.usage.reader import find_each

MODIFIER_PATHS = tuple(MODIFIERS)


FACTORS: Mapping[tuple[str, str, str], tuple[re.Pattern[str], Decimal]] = {
    # platform.claude.com/docs/en/manage-claude/data-residency, "Pricing": 1.1x for all token categories, Opus 4.6 and
    # later; the models before it do not take the parameter.
    ("inference_geo", "us", "anthropic"): (
        re.compile(r"claude-(?!\d|instant|(opus|sonnet|haiku)-4-[015](?!\d))"),
        Decimal("1.1"),
    ),
}
"""What an answer states, its value, the provider → the models of which it multiplies the prices of tokens, and by what.
Fees for searches stay as they are.
"""


def factor_of(name: str, value: str, provider: str, model: str) -> Decimal | None:
    """The factor, or None where none is known."""
    models, times = FACTORS.get((name, value, provider), (None, None))
    return times if models and models.match(model) else None


def conditions(usage: Usage) -> dict[str, str]:
    """The service tier and the modifiers an answer states, in lower case."""
    tier = {} if usage.service_tier is None else {"service_tier": usage.service_tier.lower()}
    return tier | _modifiers(usage.raw)


def unusual(conditions: Mapping[str, str]) -> dict[str, str]:
    """Those of the conditions that may change a price."""
    return {name: value for name, value in conditions.items() if value not in ORDINARY}


def _modifiers(raw: JsonValue) -> dict[str, str]:
    if not isinstance(raw, dict) or plain_counts(raw):
        return {}
    found = (item for place in PLACES for one in places(raw, place) for item in find_each(one, MODIFIER_PATHS))
    return {MODIFIERS[path]: value[:40].lower() for path, value in found if isinstance(value, str)}
