"""The usage that handlers recorded of a model run → one `Usage`.

The frameworks keep usage in several places of one answer, and lose something in each: LangChain's own form drops
Mistral's cache, Anthropic's streams lose the input, LlamaIndex keeps the provider's body only. So every place is read
(see `providers` and `reader`), one is chosen, and others that agree with it add the details it lacks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

from eventtree.event import Usage, closed_as, opened_class
from eventtree.kinds import JsonValue
from eventtree.usage import providers
from eventtree.usage.hosted import billed_queries
from eventtree.usage.reader import MOST_TOKENS, SIDES, Reading, add, check_parts, count, find, find_each, read

PLACES = ("usage_metadata", "response_metadata", "llm_output", "raw", "additional_kwargs")
"""The places of a record, in order of trust."""

PER_GENERATION = ("usage_metadata", "response_metadata")
"""Places that exist once for each generation; the others are about the whole request."""

MODALITIES = frozenset({"image", "audio", "video"})
MODIFIER_PATHS = tuple(providers.MODIFIERS)
GOOGLE = frozenset({"google", "gemini", "vertexai", "vertex", "genai"})
FIELDS = {name.removesuffix("_tokens"): name for name in Usage.model_fields if name.endswith("_tokens")}


def normalize(raw: JsonValue, inputs: JsonValue = None, model: str | None = None) -> Usage | None:
    """The usage in a handler's record, or None if it has none. Takes any JSON; never raises.

    `inputs` are the event's: files in them without a count of their own are named in `uncounted`. `model` decides how
    many of its searches Gemini bills.

    A `Usage` may have no figures: its `problems` then say why none can be believed, or which record has them.
    """
    if not isinstance(raw, dict):
        return None
    plain = plain_counts(raw)
    if plain is not None:
        sent, answered, total = plain
        uncounted = _uncounted(raw, NOTHING, {}, inputs)
        return _made(input_tokens=sent, output_tokens=answered, total_tokens=total, uncounted=uncounted, raw=raw)
    record = _Record.of(raw)
    readings = _last_snapshot(record, _readings(record))
    units = _listed_units(record, model)
    if not readings:
        is_on_the_first = any(one.get("token_usage") == {} for one in record.places.get("llm_output", ()))
        if record.batch > 1 and is_on_the_first:
            # BaseLLM.generate puts the sum of a batch on its first prompt and an empty dict on the others.
            problem = f"counted on the first of the batch's {record.batch} prompts"
            return Usage(cached=record.is_cached, raw=raw, problems=(problem,))
        return Usage(cached=record.is_cached, units=units, raw=raw) if record.is_cached or units else None
    chosen = _choose(record, readings)
    _replace_input(record, chosen, readings)
    _enrich(chosen, readings)
    _name_quirks(record, chosen, inputs)
    tiers = chain((r.tier for r in (chosen, *readings)), map(_stated_tier, record.dicts))
    tier = next(filter(None, tiers), None)
    if tier is None and (tier := _stated_tier(_dict(raw.get("asked")))) in providers.REQUESTED_TIERS:
        chosen.problems.append(f"service tier {tier} was asked for, and the client does not tell which it was")
    others = next((one.others for one in readings if one.others), {})
    return _made(
        **_fields(chosen),
        units=_counted(units, chosen),
        others={other: _made(**_fields(reading), service_tier=tier) for other, reading in others.items()},
        uncounted=_uncounted(raw, record.listed, chosen.figures, inputs),
        cached=record.is_cached,
        service_tier=tier,
        problems=tuple(_problems(record, chosen, readings)),
        raw=raw,
    )


def _counted(listed: Mapping[str, int], chosen: Reading) -> dict[str, int]:
    """The billed units. A count by the provider goes before the length of its list."""
    units = {**listed, **{name: chosen.figures[name] for name in providers.UNITS if name in chosen.figures}}
    return {name: n for name, n in units.items() if n or name.endswith("_tokens")}


PLAIN = ("input_tokens", "output_tokens", "total_tokens")
SILENT = frozenset({"usage_metadata", "streamed", "provider", "batch_size", "answers"})
"""Keys of a record that cannot change the counts of a single answer."""
UNSTATED: list[JsonValue] = [{}]
"""A place of one answer that states nothing."""
INCOMPLETE_STREAMS = frozenset(one.provider for one in providers.QUIRKS if not one.mark)
"""Providers whose clients leave a figure that decides the price out of every stream."""
WRITES = ("cache_write_5m", "cache_write_1h")
CACHED = ("cache_read", "cache_write")
NOTHING: dict[str, JsonValue] = {}


def _made(**fields: Any) -> Usage:
    """A usage of these fields. They have been checked before, and are not checked again."""
    return closed_as(OPEN_USAGE(**fields), Usage)


OPEN_USAGE = opened_class(Usage)


def plain_counts(raw: JsonValue) -> tuple[int, int, int] | None:
    """Input, output and total of the usual record, else None: one answer, three counts that add up, and nothing else
    in the record. All rules of this module would give just these counts.
    """
    counts = raw.get("usage_metadata") if type(raw) is dict else None
    if type(counts) is not list or len(counts) != 1 or type(first := counts[0]) is not dict or len(first) != len(PLAIN):
        return None
    sent, answered, total = first.get("input_tokens"), first.get("output_tokens"), first.get("total_tokens")
    if not type(sent) is type(answered) is type(total) is int or raw.get("batch_size", 1) != 1:
        return None
    for key in raw.keys() - SILENT:
        if (value := raw[key]) and value != UNSTATED:
            return None
    if raw.get("streamed") and str(raw.get("provider")) in INCOMPLETE_STREAMS:
        return None
    return (sent, answered, total) if sent > 0 <= answered and sent + answered == total <= MOST_TOKENS else None


@dataclass(frozen=True, slots=True)
class _Record:
    """A handler's record, looked through once."""

    raw: dict[str, JsonValue]
    places: Mapping[str, list[dict[str, JsonValue]]]
    listed: Mapping[str, JsonValue]
    """Billed things that the answer lists beside its counts; see `hosted`."""
    words: frozenset[str]
    """The provider's name in words, as the framework and the answer give it."""
    is_streamed: bool
    is_cached: bool
    """The answer came from the framework's cache; langchain-core's only mark of it is `total_cost: 0`."""
    batch: int

    @classmethod
    def of(cls, raw: dict[str, JsonValue]) -> _Record:
        """The record of `raw`."""
        found = {place: dicts for place in PLACES if place in raw and (dicts := places(raw, place))}
        if summed := _dict(_dict(raw.get("chunks")).get("sum")):
            # LangChain's protocol events (v3) end with the sums of the chunks' counts, and the last one's details.
            counts = [summed if _is_same(one, summed) else one for one in found.get("usage_metadata", ())]
            found["usage_metadata"] = counts
        names = [raw.get("provider"), *[one.get("model_provider") for one in found.get("response_metadata", ())]]
        words = frozenset().union(*[_split(name) for name in names if isinstance(name, str)])
        costs = [one["total_cost"] for one in found.get("usage_metadata", ()) if "total_cost" in one]
        is_free = bool(costs) and all(type(cost) in (int, float) and cost == 0 for cost in costs)
        is_cached, is_streamed = is_free or raw.get("cached") is True, raw.get("streamed") is True
        listed, batch = _dict(raw.get("listed")), count(raw.get("batch_size")) or 1
        return cls(raw, found, listed, words, is_streamed, is_cached, batch)

    @property
    def dicts(self) -> Iterator[dict[str, JsonValue]]:
        """The dicts of all places."""
        return chain.from_iterable(self.places.values())


def _is_same(one: Mapping[str, JsonValue], other: Mapping[str, JsonValue]) -> bool:
    return all(one.get(name) == other.get(name) for name in PLAIN)


def _dict(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else NOTHING


def places(raw: Mapping[str, JsonValue], place: str) -> list[dict[str, JsonValue]]:
    """The dicts recorded at `place`: one for each generation, or one."""
    value = raw.get(place)
    if not value:
        return []
    return [one for one in (value if type(value) is list else [value]) if one and isinstance(one, dict)]


@lru_cache(maxsize=256)
def _split(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[^a-z0-9]+", name.lower()))


def _last_snapshot(record: _Record, readings: list[Reading]) -> list[Reading]:
    """The readings, with LangChain's sum replaced by the last chunk where chunks report running counts.

    Such chunks repeat the call's input. Google's clients subtract the chunk before, so theirs do add up.
    """
    chunks = _dict(record.raw.get("chunks"))
    if not chunks.get("repeats") or not record.words.isdisjoint(GOOGLE):
        return readings
    last = read(chunks["last"], "usage_metadata") if isinstance(chunks.get("last"), dict) else None
    if last is None:
        return readings
    if chunks.get("additions"):
        last.problems.append("some chunks of the stream repeat its usage and some add to it")
    others = [one for one in readings if one.place != "usage_metadata" and (not one.is_complete or one.agrees(last))]
    return [last, *others]


def _listed_units(record: _Record, model: str | None) -> dict[str, int]:
    """The billed units that the answer lists beside its counts; see `hosted`."""
    beside = {
        unit: n for key, unit in providers.UNITS_BESIDE.items() for one in record.dicts if (n := count(one.get(key)))
    }
    units, queries = (_dict(record.listed.get(key)).items() for key in ("units", "queries"))
    found = beside | {name: n for name, value in units if (n := count(value))}
    return found | {name: billed_queries(name, n, model) for name, value in queries if (n := count(value))}


def _readings(record: _Record) -> list[Reading]:
    """One reading for each place that has figures (or problems), in order of trust."""
    seen: list[tuple[JsonValue, Reading]] = []
    by_place = {
        place: [reading for one in dicts if (reading := _read_place(one, place, record.words, seen))]
        for place, dicts in record.places.items()
    }
    requests = [found[0] for place, found in by_place.items() if place not in PER_GENERATION and found]
    request = next((r for r in requests if r.is_sound), None) if record.batch == 1 else None
    return [_together(found, request, record.words) for found in by_place.values() if found]


def _read_place(
    one: Mapping[str, JsonValue], place: str, words: frozenset[str], seen: list[tuple[JsonValue, Reading]]
) -> Reading | None:
    for _, value in find_each(one, ("",) if place == "usage_metadata" else providers.CONTAINERS):
        # The frameworks copy the provider's body from place to place: each copy is read only once.
        before = next((reading for other, reading in seen if other == value), None)
        if before is not None:
            reading: Reading | None = before.copy(place)
        else:
            reading = read(value, place, not words.isdisjoint(GOOGLE)) if isinstance(value, dict) else None
        if reading is not None and (reading.figures or reading.problems):
            seen.append((value, reading))
            reading.tier = reading.tier or _stated_tier(one)
            return reading
    return None


def _stated_tier(one: Mapping[str, JsonValue]) -> str | None:
    tier = next((tier for _, tier in find_each(one, providers.TIERS) if isinstance(tier, str)), None)
    return None if tier is None else providers.TIER_NAMES.get(tier.lower(), tier)


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
        return Reading(first.place, request.form, dict(request.figures), [], request.tier or first.tier)
    if is_same and words & frozenset(providers.REPEATS):
        return first
    if is_same:
        summed.problems.append(f"{len(found)} generations with the same usage, summed: it may be one request's")
    return summed


def _is_starved(record: _Record, reading: Reading) -> bool:
    """Whether an input of 0 cannot be true: a stream whose last event counted only the output (langchain-anthropic),
    or an answer of 0 and 0 (langchain-aws without the counting headers, servers that do not count).
    """
    if reading.figures.get("input") != 0 or record.is_cached:
        return False
    is_anthropic = "anthropic" in record.words or reading.form == "anthropic"
    return is_anthropic or record.is_streamed or reading.figures.get("output") == 0


def _choose(record: _Record, readings: list[Reading]) -> Reading:
    """The first reading that is complete and free of contradictions, else the first complete one, else the first.

    If the provider's body of a single, unstreamed answer contradicts the framework's own form, the body is believed,
    since it is nearer to the source; the contradiction is named in `problems`.
    """
    starved = [r for r in readings if _is_starved(record, r)]
    # The figures of a stream's start have an input, but not yet the whole output.
    least_output = max([r.figures.get("output", 0) for r in starved], default=0)
    fed = [r for r in readings if r not in starved and r.figures.get("output", 0) >= least_output]
    sound = [r for r in fed if r.is_sound]
    chosen = [*sound, *[r for r in fed if r.is_complete], *readings][0]
    is_single = len(record.places.get("usage_metadata", ())) < 2 and record.batch == 1
    if chosen.place == "usage_metadata" and is_single and not record.is_streamed:
        bodies = (r for r in sound if r.place in ("response_metadata", "llm_output", "raw"))
        other = next((r for r in bodies if not r.agrees(chosen)), None)
        if other is not None:
            stated = [f"{r.place} says {r.figures['input']} + {r.figures['output']}" for r in (chosen, other)]
            tier = other.tier or chosen.tier
            return Reading(other.place, other.form, dict(other.figures), [" and ".join(stated)], tier)
    return chosen.copy(chosen.place)


def _replace_input(record: _Record, chosen: Reading, readings: list[Reading]) -> None:
    """Replace an input of 0 that cannot be true by that of another place; without one, it is unknown."""
    if not _is_starved(record, chosen):
        return
    sides = ("input", "cache", "total")
    chosen.figures = {name: value for name, value in chosen.figures.items() if not name.startswith(sides)}
    if chosen.figures.get("output") == 0:
        del chosen.figures["output"]
    fed = next((r for r in readings if r.figures.get("input")), None)
    if fed is None:
        why = "the stream did not report it" if record.is_streamed else "nobody counted it"
        chosen.problems.append(f"input is 0 though a prompt was sent: {why}")
        return
    chosen.figures |= {n: v for n, v in fed.figures.items() if n.startswith(sides) and n != "total"}
    if chosen.is_complete:
        chosen.figures["total"] = chosen.figures["input"] + chosen.figures["output"]


def _enrich(chosen: Reading, readings: list[Reading]) -> None:
    """Add details that `chosen` lacks, from places that agree with it on input and output."""
    for other in readings if len(readings) > 1 and chosen.is_complete else ():
        lacks_writes = other.figures.get("cache_write") and not chosen.figures.get("cache_write")
        if not (lacks_writes or other.figures.keys() - chosen.figures.keys()):
            continue
        if not (other.is_sound and other.agrees(chosen)):
            continue
        richer = Reading(chosen.place, chosen.form, other.figures | chosen.figures)
        if lacks_writes:
            richer.figures["cache_write"] = other.figures["cache_write"]
        check_parts(richer)
        if not richer.problems:
            chosen.figures = richer.figures


def _name_quirks(record: _Record, chosen: Reading, inputs: JsonValue) -> None:
    """Name in `problems` the figures that LangChain's client of this provider is known to leave out."""
    figures = chosen.figures
    is_summed = figures.get("cache_write") and figures.keys().isdisjoint(WRITES)
    if is_summed and any(one.get("ttl") == "1h" for one in _caches(record, inputs)):
        chosen.problems.append("cache writes of an hour were asked for, and the client does not tell which they are")
    is_silent = "anthropic" in record.words and "input" in figures and figures.keys().isdisjoint(CACHED)
    if is_silent and any(_caches(record, inputs)):
        # Anthropic's own input excludes the cache. The last event of a stream may have no more than the output, and
        # LlamaIndex's client keeps the input alone of the first.
        chosen.problems.append("a cache was asked for, and the stream does not tell how much of the input it was")
        chosen.figures = {name: n for name, n in figures.items() if not name.startswith(("input", "total"))}
    about = record.places.get("response_metadata", [])
    for quirk in providers.QUIRKS if "usage_metadata" in record.raw else ():
        shows = any(find(one, quirk.mark) for one in about) if quirk.mark else record.is_streamed
        if not shows or quirk.provider not in record.words or quirk.lacks in chosen.figures:
            continue
        chosen.problems.append(quirk.problem)
        sides = [side for side in SIDES[:2] if side in chosen.figures] if quirk.is_billed else ()
        chosen.figures |= {f"billed_{side}_tokens": chosen.figures[side] for side in sides}


def _caches(record: _Record, inputs: JsonValue) -> Iterator[dict[str, JsonValue]]:
    """What was asked of Anthropic's cache: by the call or a tool, a message, or a content block."""
    asked = _dict(record.raw.get("asked"))
    yield asked if "ttl" in asked else NOTHING
    for holder in (*_messages(inputs), *_parts(inputs)):
        for one in (holder, _dict(holder.get("extra")), _dict(holder.get("extras"))):
            yield _dict(one.get("cache_control"))


def _messages(inputs: JsonValue) -> list[dict[str, JsonValue]]:
    messages = inputs.get("messages") if isinstance(inputs, dict) else None
    return [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []


def _parts(inputs: JsonValue) -> list[dict[str, JsonValue]]:
    """The content blocks in the inputs."""
    found: list[dict[str, JsonValue]] = []
    for message in _messages(inputs):
        if isinstance(content := message.get("content"), list):
            found += [part for part in content if isinstance(part, dict)]
    return found


def _uncounted(
    raw: Mapping[str, JsonValue], listed: Mapping[str, JsonValue], figures: Collection[str], inputs: JsonValue
) -> tuple[str, ...]:
    """Images, audio and video in inputs and outputs that no figure counts."""
    made, seen = listed.get("files"), raw.get("sent")  # `sent`: where contents are not recorded
    parts = _parts(inputs)
    if not (parts or made or seen):
        return ()
    sent = {*(str(part.get("type")) for part in parts), *map(str, seen if isinstance(seen, list) else ())} & MODALITIES
    both = [*(f"input_{one}" for one in sorted(sent)), *(f"output_{one}" for one in made or () if isinstance(one, str))]
    return tuple(name for name in both if name not in figures and f"{name}_tokens" not in figures)


def _problems(record: _Record, chosen: Reading, readings: list[Reading]) -> Iterator[str]:
    yield from chosen.problems
    yield from dict.fromkeys(remark for one in readings for remark in one.remarks)
    if record.batch > 1 and chosen.place == "llm_output":
        yield f"the sum of the batch's {record.batch} prompts"
    # A round whose block the answer has, but which no place of the record counts.
    shown = record.listed.get("rounds")
    if shown and not any(
        _dict(body).get("iterations") for one in record.dicts for _, body in find_each(one, providers.CONTAINERS)
    ):
        yield from (f"a round of type {str(kind)[:40]} has no counts: it is not in the cost" for kind in shown)


def _fields(reading: Reading) -> dict[str, Any]:
    return {FIELDS[name]: value for name, value in reading.figures.items() if name in FIELDS}


def conditions(usage: Usage) -> dict[str, str]:
    """The service tier and the modifiers an answer states, in lower case."""
    stated = {} if usage.service_tier is None else {"service_tier": usage.service_tier.lower()}
    raw = NOTHING if plain_counts(usage.raw) else _dict(usage.raw)
    # `asked` is first, so that a value in the answer replaces the one asked for.
    found = (
        item for place in ("asked", *PLACES) for one in places(raw, place) for item in find_each(one, MODIFIER_PATHS)
    )
    return stated | {providers.MODIFIERS[path]: value[:40].lower() for path, value in found if isinstance(value, str)}


def unusual(conditions: Mapping[str, str]) -> dict[str, str]:
    """The conditions that may change a price."""
    return {name: value for name, value in conditions.items() if value not in providers.ORDINARY}
