"""Tokens and cost of a tree, by kind of token and by model. A figure that no event has is None, never 0."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from eventtree.event import Event, EventTree, Usage

TOKENS = tuple(name for name in Usage.model_fields if name.endswith("_tokens"))


class ModelSum(NamedTuple):
    """Tokens and cost of one model in a tree."""

    model: str
    calls: int
    tokens: int | None
    usd: Decimal | None
    sources: tuple[str | None, ...]
    """The sources of the prices; None for a call without a price."""


def tokens_of(tree: EventTree) -> dict[str, int]:
    """Kind of token, as `Usage` names it, → the tree's number of them, for kinds that some event has."""
    used = [one for event in tree.events if event.usage for one in (event.usage, *event.usage.others.values())]
    known = {name: [count for one in used if (count := getattr(one, name)) is not None] for name in TOKENS}
    return {name: sum(counts) for name, counts in known.items() if counts}


def models_of(tree: EventTree) -> list[ModelSum]:
    """The tree's models, the most used first."""
    calls: dict[str, list[Event]] = {}
    for event in tree.events:
        if event.usage is not None or event.cost is not None:
            calls.setdefault(event.model or event.name, []).append(event)
    found = []
    for model, events in calls.items():
        tokens = [one.usage.total_tokens for one in events if one.usage and one.usage.total_tokens is not None]
        usd = [one.cost.total_usd for one in events if one.cost and one.cost.total_usd is not None]
        sources = tuple(dict.fromkeys(one.cost.source if one.cost else None for one in events))
        sums = (sum(tokens) if tokens else None, sum(usd, Decimal(0)) if usd else None)
        found.append(ModelSum(model, len(events), *sums, sources))
    return sorted(found, key=lambda one: -(one.tokens or 0))
