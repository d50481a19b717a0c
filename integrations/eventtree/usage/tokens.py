"""What the handlers recorded of a model run's usage → one `Usage`.

The frameworks keep usage in several places of one answer, and lose something in each: LangChain's normalised form drops
Mistral's cache, Anthropic's streams lose the input, LlamaIndex keeps the provider's body only. Every place is read (see
`shapes` and `reading`), one is chosen, and the others add the details it lacks, where they agree with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from eventtree.event import JsonValue, Usage
from eventtree.usage.reading import Reading, add, check_parts, count, find_each, read
from eventtree.usage.shapes import CONTAINERS, REPEATS, TIERS, UNITS

PLACES = ("usage_metadata", "response_metadata", "llm_output", "raw", "additional_kwargs")
"""The places of a record, in order of trust."""

PER_GENERATION = ("usage_metadata", "response_metadata")
"""Places that exist once for each generation; the others speak of the whole request."""

GOOGLE = frozenset({"google", "gemini", "vertexai", "vertex", "genai"})
FIELDS = {name.removesuffix("_tokens"): name for name in Usage.model_fields if name.endswith("_tokens")}


def normalise(raw: JsonValue) -> Usage | None:
    """The usage in what a handler recorded, or None where it holds none. Takes any JSON; never raises.

    A `Usage` without figures is an answer too: it names why nothing can be believed, or that another record has it.
    """
    if not isinstance(raw, dict):
        return None
    cached = _is_cached(raw)
    readings = _readings(raw)
    if not readings:
        return _without_figures(raw, cached)
    chosen = _choose(raw, readings)
    _mend_input(raw, chosen, readings)
    _enrich(chosen, readings)
    return _usage(raw, chosen, readings, cached)


def places(raw: Mapping[str, JsonValue], place: str) -> list[dict[str, JsonValue]]:
    """The dicts recorded at `place`: one for each generation, or one."""
    value = raw.get(place)
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict) and one]


def _words(raw: Mapping[str, JsonValue]) -> frozenset[str]:
    """The provider's name in words, as the framework and the answer give it."""
    names = [raw.get("provider"), *(one.get("model_provider") for one in places(raw, "response_metadata"))]
    return frozenset().union(*[_split(name) for name in names if isinstance(name, str)])


@lru_cache(maxsize=256)
def _split(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[^a-z0-9]+", name.lower()))


def _is_cached(raw: Mapping[str, JsonValue]) -> bool:
    """Whether the answer came from the framework's cache; langchain-core's only mark of it is `total_cost: 0`."""
    costs = [one["total_cost"] for one in places(raw, "usage_metadata") if "total_cost" in one]
    return raw.get("cached") is True or (bool(costs) and all(type(c) in (int, float) and c == 0 for c in costs))


def _without_figures(raw: dict[str, JsonValue], cached: bool) -> Usage | None:
    batch = count(raw.get("batch_size")) or 1
    if batch > 1 and any(one.get("token_usage") == {} for one in places(raw, "llm_output")):
        # BaseLLM.generate puts the sum of a batch on its first prompt and an empty dict on the others.
        return Usage(cached=cached, raw=raw, problems=(f"counted on the first of the batch's {batch} prompts",))
    return Usage(cached=True, raw=raw) if cached else None


def _readings(raw: Mapping[str, JsonValue]) -> list[Reading]:
    """One reading for each place that has figures (or problems), in order of trust."""
    words = _words(raw)
    by_place = {place: [r for one in places(raw, place) if (r := _read_place(one, place, words))] for place in PLACES}
    requests = [by_place[place][0] for place in PLACES if place not in PER_GENERATION and by_place[place]]
    request = next((r for r in requests if r.is_sound), None) if (count(raw.get("batch_size")) or 1) == 1 else None
    return [_together(found, request, words) for found in by_place.values() if found]


def _read_place(one: Mapping[str, JsonValue], place: str, words: frozenset[str]) -> Reading | None:
    for _, value in find_each(one, ("",) if place == "usage_metadata" else CONTAINERS):
        reading = read(value, place, not words.isdisjoint(GOOGLE)) if isinstance(value, dict) else None
        if reading is not None and (reading.figures or reading.problems):
            reading.tier = reading.tier or _stated_tier(one)
            return reading
    return None


def _stated_tier(one: Mapping[str, JsonValue]) -> str | None:
    return next((tier for _, tier in find_each(one, TIERS) if isinstance(tier, str)), None)


def _together(found: list[Reading], request: Reading | None, words: frozenset[str]) -> Reading:
    """n generations: the request's own usage if it is known, else their sum, unless each repeats the request's."""
    first = found[0]
    if len(found) == 1:
        return first
    is_same = all(one.figures == first.figures for one in found)
    summed = add(found)
    if request and summed.agrees(request):
        return summed
    if request and is_same and first.agrees(request):
        return first
    if request and summed.is_complete:
        return Reading(first.place, request.shape, dict(request.figures), [], request.tier or first.tier)
    if is_same and words & frozenset(REPEATS):
        return first
    if is_same:
        summed.problems.append(f"{len(found)} generations with the same usage, summed: it may be one request's")
    return summed


def _is_starved(raw: Mapping[str, JsonValue], reading: Reading) -> bool:
    """Input 0 where none can be: a stream whose last event counted only the output (langchain-anthropic reports 0
    then), or an Anthropic answer of 0 and 0 (a compacted context).
    """
    is_anthropic = "anthropic" in _words(raw) or reading.shape == "anthropic"
    if reading.figures.get("input") != 0 or not (is_anthropic or raw.get("streamed") is True):
        return False
    return reading.figures.get("output") != 0 or is_anthropic


def _choose(raw: Mapping[str, JsonValue], readings: list[Reading]) -> Reading:
    """The first that is whole and free of contradictions, else the first that is whole, else the first.

    Where the provider's own body of a single, unstreamed answer says otherwise than the framework's normalised form,
    the body is believed: it is nearer to the source, and what differs is the client's doing. It is named.
    """
    starved = [r for r in readings if _is_starved(raw, r)]
    # What the start of a stream said has an input, but not yet the whole output.
    least_output = max((r.figures.get("output", 0) for r in starved), default=0)
    fed = [r for r in readings if r not in starved and r.figures.get("output", 0) >= least_output]
    preferred = [[r for r in fed if r.is_sound], [r for r in fed if r.is_complete], readings]
    chosen = next(group[0] for group in preferred if group)
    chosen = Reading(chosen.place, chosen.shape, dict(chosen.figures), list(chosen.problems), chosen.tier)
    if chosen.place != "usage_metadata" or raw.get("streamed") is True or len(places(raw, "usage_metadata")) > 1:
        return chosen
    bodies = [r for r in fed if r.is_sound and r.place in ("response_metadata", "llm_output", "raw")]
    other = next((r for r in bodies if not r.agrees(chosen)), None)
    if other is None or (count(raw.get("batch_size")) or 1) > 1:
        return chosen
    said = " and ".join(f"{r.place} says {r.figures['input']} + {r.figures['output']}" for r in (chosen, other))
    return Reading(other.place, other.shape, dict(other.figures), [said], other.tier or chosen.tier)


def _mend_input(raw: Mapping[str, JsonValue], chosen: Reading, readings: list[Reading]) -> None:
    """An input of 0 that cannot be: take the input side from a place that has one, else say that it is unknown."""
    if not _is_starved(raw, chosen):
        return
    sides = ("input", "cache", "total")
    chosen.figures = {name: value for name, value in chosen.figures.items() if not name.startswith(sides)}
    if chosen.figures.get("output") == 0:
        del chosen.figures["output"]
    fed = next((r for r in readings if r.figures.get("input")), None)
    if fed is None:
        chosen.problems.append("input is 0 though a prompt was sent: the stream did not report it")
        return
    chosen.figures |= {n: v for n, v in fed.figures.items() if n.startswith(sides) and n != "total"}
    if chosen.is_complete:
        chosen.figures["total"] = chosen.figures["input"] + chosen.figures["output"]


def _enrich(chosen: Reading, readings: list[Reading]) -> None:
    """Add the details that only other places have, from those which agree on input and output."""
    for other in readings:
        has_more = other.figures.keys() - chosen.figures.keys() or (
            other.figures.get("cache_write") and not chosen.figures.get("cache_write")
        )
        if not (has_more and chosen.is_complete and other.is_sound and other.agrees(chosen)):
            continue
        richer = Reading(chosen.place, chosen.shape, other.figures | chosen.figures)
        if not chosen.figures.get("cache_write") and other.figures.get("cache_write"):
            richer.figures["cache_write"] = other.figures["cache_write"]
        check_parts(richer)
        if not richer.problems:
            chosen.figures = richer.figures


def _usage(raw: dict[str, JsonValue], chosen: Reading, readings: list[Reading], cached: bool) -> Usage:
    problems = list(chosen.problems)
    batch = count(raw.get("batch_size")) or 1
    if batch > 1 and chosen.place == "llm_output":
        problems.append(f"the sum of the batch's {batch} prompts")
    figures: dict[str, Any] = {FIELDS[name]: value for name, value in chosen.figures.items() if name in FIELDS}
    tier = next((r.tier for r in (chosen, *readings) if r.tier), None) or _tier(raw)
    units = {name: value for name, value in chosen.figures.items() if name in UNITS}
    return Usage(**figures, units=units, cached=cached, service_tier=tier, problems=tuple(problems), raw=raw)


def _tier(raw: Mapping[str, JsonValue]) -> str | None:
    """A service tier that stands in a place without figures."""
    found = (_stated_tier(one) for place in PLACES for one in places(raw, place))
    return next((tier for tier in found if tier is not None), None)
