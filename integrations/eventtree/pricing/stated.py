"""Stated costs: by the user on an event, or by the provider in its answer. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from eventtree.event import Cost
from eventtree.kinds import JsonValue
from eventtree.usage.normalize import places
from eventtree.usage.reader import find, find_each

REPORTED: Mapping[str, Decimal] = {
    "headers.x-litellm-response-cost": Decimal(1),  # LiteLLM proxy: docs.litellm.ai/docs/proxy/cost_tracking
    "_hidden_params.response_cost": Decimal(1),  # LiteLLM SDK
    "token_usage.cost_in_usd_ticks": Decimal("1e-10"),  # xAI: docs.x.ai/developers/cost-tracking
    "usage.cost_in_usd_ticks": Decimal("1e-10"),
    "cost_in_usd_ticks": Decimal("1e-10"),
    "token_usage.cost": Decimal(1),  # OpenRouter: openrouter.ai/docs, usage accounting; Perplexity gives an object
    "usage.cost": Decimal(1),
    "response.usage.cost": Decimal(1),
    "cost": Decimal(1),
}
"""Path where an answer may state its cost within a place → US dollars of one unit."""
PATHS = tuple(REPORTED)

SIDES: dict[str, tuple[str, ...]] = {
    "input_usd": ("input_usd", "input_tokens_cost"),
    "output_usd": ("output_usd", "output_tokens_cost"),
    "total_usd": ("total_usd", "total_cost"),
}
"""The keys of a cost object: ours, and Perplexity's (docs.perplexity.ai, usage.cost)."""


def money(value: JsonValue, unit: Decimal = Decimal(1)) -> Decimal | None:
    """`value` as dollars, or None if it is no amount: bool, negative, not finite, text that is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return amount * unit if amount.is_finite() and 0 <= amount < Decimal("1e15") else None


def cost_of(value: JsonValue, source: str, unit: Decimal = Decimal(1)) -> Cost | None:
    """A cost from a number (the total) or an object of `input_usd`, `output_usd`, `total_usd`; else None."""
    if not isinstance(value, Mapping):
        total = money(value, unit)
        return None if total is None else Cost(total_usd=total, source=source)
    sides = {
        side: next((amount for key in keys if (amount := money(value.get(key), unit)) is not None), None)
        for side, keys in SIDES.items()
    }
    if all(amount is None for amount in sides.values()):
        return None
    if sides["total_usd"] is None and sides["input_usd"] is not None and sides["output_usd"] is not None:
        sides["total_usd"] = sides["input_usd"] + sides["output_usd"]
    return Cost.model_validate({**sides, "source": source})


def given_in(raw: JsonValue) -> Cost | None:
    """The `total_cost` that the user's model class put into `usage_metadata`, summed over the generations."""
    if not isinstance(raw, dict):
        return None
    return _sum([money(one["total_cost"]) for one in places(raw, "usage_metadata") if "total_cost" in one], "given")


def reported_in(raw: JsonValue) -> Cost | None:
    """The cost that the provider states, in a handler's record of usage. Places for the whole request come first."""
    if not isinstance(raw, dict):
        return None
    for place in ("llm_output", "raw", "response_metadata", "additional_kwargs"):
        costs = [cost for one in places(raw, place) if (cost := _reported(one)) is not None]
        if costs:
            # All generations of one request repeat its cost.
            return (
                costs[0] if costs.count(costs[0]) == len(costs) else _sum([one.total_usd for one in costs], "provider")
            )
    return None


def _reported(one: dict[str, JsonValue]) -> Cost | None:
    headers = one.get("headers")
    if isinstance(headers, dict):
        one = {**one, "headers": {str(name).lower(): value for name, value in headers.items()}}
    for path, value in find_each(one, PATHS):
        cost = cost_of(value, "provider", REPORTED[path])
        if cost is not None:
            return _with_upstream(cost, one, path)
    return None


def _with_upstream(cost: Cost, one: dict[str, JsonValue], path: str) -> Cost:
    """Add the upstream cost of OpenRouter with the user's own key (is_byok), where `cost` is its fee alone. LangChain's
    streams drop the mark: there, a cost below the upstream cost shows it.
    """
    parent = path.rpartition("cost")[0]
    if not path.endswith("cost") or cost.total_usd is None:
        return cost
    mark = find(one, f"{parent}is_byok")
    upstream = find(one, f"{parent}cost_details.upstream_inference_cost")
    amount = money(upstream[0]) if upstream else None
    if amount is None or (mark != [True] if mark else cost.total_usd >= amount):
        return cost
    return cost.model_copy(update={"total_usd": cost.total_usd + amount})


def _sum(amounts: list[Decimal | None], source: str) -> Cost | None:
    known = [amount for amount in amounts if amount is not None]
    return Cost(total_usd=sum(known, Decimal(0)), source=source) if known and len(known) == len(amounts) else None
