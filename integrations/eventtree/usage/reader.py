"""One dict of a provider → its figures, in our convention: input includes the cache, output includes reasoning.

A figure that cannot be true is removed and named in `problems`; nothing is guessed.

The form of a dict, and which of its paths have a value, depend on its keys alone. So each set of keys is analysed once
(`_plan`), and the plan is remembered: the answers of one model look alike.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from eventtree.kinds import JsonValue
from eventtree.remembered import Remembered
from eventtree.usage.providers import FORMATS, UNITS, ProviderFormat

MOST_TOKENS = 10**15
"""A count above this is no count: no provider bills a quadrillion tokens, and vendors' numbers end at 2**53."""

PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("input", ("cache_read", "cache_write")),
    ("input", ("input_audio", "input_image")),
    ("input", ("cache_read_audio", "cache_read_image")),
    ("cache_read", ("cache_read_audio", "cache_read_image")),
    ("output", ("reasoning",)),
    ("output", ("output_audio", "output_image")),
    ("cache_write", ("cache_write_5m", "cache_write_1h")),
)
"""Each whole, and its parts, whose sum may not exceed it."""

SIDES = ("input", "output", "total")


@dataclass(slots=True)
class Reading:
    """The figures that one place of a record reports."""

    place: str
    form: str
    figures: dict[str, int]
    problems: list[str] = field(default_factory=list)
    tier: str | None = None
    remarks: list[str] = field(default_factory=list)
    """What the figures do not include, though they may be right."""
    others: dict[str, Reading] = field(default_factory=dict)
    """Billed rounds of other models within the answer, by model. The figures do not include them."""

    @property
    def is_complete(self) -> bool:
        """Whether both sides are known."""
        return "input" in self.figures and "output" in self.figures

    @property
    def is_sound(self) -> bool:
        """Whether both sides are known and nothing contradicts them."""
        return self.is_complete and not self.problems

    def copy(self, place: str) -> Reading:
        """A copy for `place`, whose figures may be changed."""
        return Reading(
            place, self.form, self.figures.copy(), self.problems.copy(), self.tier, self.remarks, self.others
        )

    def agrees(self, other: Reading) -> bool:
        """Whether both name the same input and output."""
        mine, theirs = self.figures, other.figures
        return mine.get("input") == theirs.get("input") and mine.get("output") == theirs.get("output")


def read(raw: Mapping[str, JsonValue], place: str, gap_is_thinking: bool = False) -> Reading | None:
    """The figures in `raw`, or None if it has no known form. `gap_is_thinking`: see `_complete_total`."""
    plan = _plan(raw)
    if plan is None:
        return None
    reading = _read_by(plan, raw, place, gap_is_thinking)
    return _with_rounds(reading, plan.form, raw) if "iterations" in raw and plan.form.name == "anthropic" else reading


def add(readings: list[Reading]) -> Reading:
    """The sum of several readings. A side that one of them lacks is unknown; a detail is the sum of the known ones."""
    first = readings[0]
    names = dict.fromkeys(name for reading in readings for name in reading.figures)
    models = dict.fromkeys(model for reading in readings for model in reading.others)
    summed = Reading(
        first.place,
        first.form,
        {
            name: sum(reading.figures.get(name, 0) for reading in readings)
            for name in names
            if name not in SIDES or all(name in reading.figures for reading in readings)
        },
        list(dict.fromkeys(problem for reading in readings for problem in reading.problems)),
        first.tier,
        list(dict.fromkeys(remark for reading in readings for remark in reading.remarks)),
        {model: add([one.others[model] for one in readings if model in one.others]) for model in models},
    )
    check_parts(summed)
    return summed


def count(value: JsonValue) -> int | None:
    """`value` as a number of tokens, or None: bool, text, fractions and negative numbers are no counts."""
    is_count = type(value) is int or (type(value) is float and value.is_integer())
    return int(value) if is_count and 0 <= value <= MOST_TOKENS else None


def find(raw: JsonValue, path: str) -> list[JsonValue]:
    """All values other than null at `path` (one, unless the path picks items of a list)."""
    found = [raw]
    for key, picked_by, wanted in _steps(path):
        found = [value for one in found if isinstance(one, dict) and (value := one.get(key)) is not None]
        if picked_by is not None:
            items = [item for value in found if isinstance(value, list) for item in value if isinstance(item, dict)]
            found = [item for item in items if not picked_by or str(item.get(picked_by)) in wanted]
    return found


def find_each(raw: Mapping[str, JsonValue], paths: tuple[str, ...]) -> Iterator[tuple[str, JsonValue]]:
    """The values at several paths, in order, each with its path. A path whose first key is absent costs little."""
    for path, first in _first_keys(paths):
        if first in raw or not path:
            for value in find(raw, path):
                yield path, value


@lru_cache(maxsize=64)
def _first_keys(paths: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((path, re.split(r"[.\[]", path)[0]) for path in paths)


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[tuple[str, str | None, frozenset[str]], ...]:
    """ "a[modality=AUDIO,IMAGE].b" → steps of (key, the field to pick by or None, the values wanted)."""
    steps = []
    for part in path.split(".") if path else ():
        key, is_list, pick = part.removesuffix("]").partition("[")
        name, _, wanted = pick.partition("=")
        steps.append((key, name if is_list else None, frozenset(wanted.split(","))))
    return tuple(steps)


OWN_ROUNDS = frozenset({"message", "compaction", "fallback_message"})
"""Anthropic's rounds of the model that answered: platform.claude.com/docs/en/build-with-claude/compaction."""


def _with_rounds(reading: Reading, form: ProviderFormat, raw: Mapping[str, JsonValue]) -> Reading:
    """Add Anthropic's rounds within one answer: the sums at the top include neither compaction rounds nor those of
    other models (an advisor: platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool).
    """

    def read_round(one: Mapping[str, JsonValue]) -> Reading:
        return _read_by(_planned(form, one), one, reading.place, False)

    found = raw["iterations"] if isinstance(raw["iterations"], list) else []
    rounds = [(str(one.get("type"))[:40], one) for one in found if isinstance(one, dict)]
    kinds = {kind for kind, _ in rounds}
    own = [one for kind, one in rounds if kind in OWN_ROUNDS]
    if "compaction" in kinds:
        own = [own[0] | {"server_tool_use": raw.get("server_tool_use")}, *own[1:]]
        sums = add([read_round(one) for one in own])
        reading = Reading(reading.place, reading.form, sums.figures, sums.problems, reading.tier)
    for kind in sorted(kinds - OWN_ROUNDS - {"advisor_message"}):
        reading.remarks.append(f"iterations has a round of a type that is not known ({kind})")
    if len({one["model"] for one in own if isinstance(one.get("model"), str)}) > 1:
        reading.remarks.append("iterations has rounds of several models: the cost is by the one that answered")
    for kind, one in rounds:
        if kind in OWN_ROUNDS:
            continue
        model, billed = one.get("model"), read_round(one)
        if isinstance(model, str) and billed.is_sound:
            reading.others[model] = add([reading.others[model], billed]) if model in reading.others else billed
        else:
            reading.remarks.append(f"a round of type {kind} has no model or no counts: it has no price")
    return reading


class _Plan(NamedTuple):
    """How dicts with one set of keys are read."""

    form: ProviderFormat
    direct: list[tuple[str, list[str]]]
    """Figure → the keys that lead to its value, which exists."""
    searched: list[tuple[str, list[str]]]
    """Figure → its paths into lists, whose items decide whether there is a value."""
    tier: str | None


DEPTH = 3
"""Keys along the longest path of any form."""
_plans: Remembered[Hashable, _Plan | None] = Remembered(1024)


def _plan(raw: Mapping[str, JsonValue]) -> _Plan | None:
    """How to read `raw`, or None where no form fits it."""
    keys = _keys_of(raw, DEPTH)
    if keys in _plans:
        return _plans[keys]
    form = next((form for form in FORMATS if form.fits(raw)), None)
    return _plans.keep(keys, None if form is None else _planned(form, raw))


def _keys_of(raw: Mapping[str, JsonValue], depth: int) -> Hashable:
    """The keys of all values other than null, with those of the dicts among them."""
    return tuple(
        [
            (key, _keys_of(value, depth - 1)) if type(value) is dict and depth > 1 else (key, type(value) is list)
            for key, value in raw.items()
            if value is not None
        ]
    )


def _planned(form: ProviderFormat, raw: Mapping[str, JsonValue]) -> _Plan:
    # langchain_openai renames the details with the tier and adds the tier's name as a key.
    details = [one for one in map(raw.get, ("input_token_details", "output_token_details")) if isinstance(one, dict)]
    tiers = (tier for tier in ("priority", "flex") for one in details if tier in one or f"{tier}_cache_read" in one)
    plan = _Plan(form, [], [], next(tiers, None))
    for name, paths in form.reads.items():
        # Only alternatives that can have a value in a dict with these keys are kept.
        viable = [path for path in paths.split(" | ") if _may_lead(raw, path)]
        if name in UNITS and viable and find(raw, viable[0]) == [{}]:
            continue  # mistralai's `Unset`: no value was given
        if viable and "[" not in viable[0]:
            plan.direct.append((name, viable[0].split(".")))
        elif viable:
            plan.searched.append((name, viable))
    return plan


def _may_lead(raw: JsonValue, path: str) -> bool:
    """Whether `path` leads to a value, or into a list."""
    whole, is_list, _ = path.partition("[")
    found = find(raw, whole)
    return isinstance(found[0], list) if found and is_list else bool(found)


def _read_by(plan: _Plan, raw: Mapping[str, JsonValue], place: str, gap_is_thinking: bool) -> Reading:
    form, figures = plan.form, dict[str, int]()
    reading = Reading(place, form.name, figures, tier=plan.tier)
    for name, keys in plan.direct:
        value: JsonValue = raw
        for key in keys:
            value = value[key]
        if type(value) is int and 0 <= value <= MOST_TOKENS:
            figures[name] = value
        else:
            _take(reading, name, [value])
    for name, paths in plan.searched:
        _take(reading, name, next((values for path in paths if (values := find(raw, path))), []))
    if form.absent_output_is_zero and "output" not in figures and "input" in figures and not reading.problems:
        figures["output"] = 0
    if split := figures.get("cache_write_5m", 0) + figures.get("cache_write_1h", 0):
        # If only the parts of 5 minutes and of an hour are given (LangChain then sets the whole to 0), their sum.
        whole = figures["cache_write"] = figures.get("cache_write") or split
        if split > whole:
            reading.problems.append(f"cache writes of 5m and 1h are {split}, of all {whole}")
            figures.pop("cache_write_5m", None)
            figures.pop("cache_write_1h", None)
    stated = figures.copy()
    _move_inside(form, figures)
    _complete_total(reading, stated, gap_is_thinking)
    check_parts(reading)
    return reading


def _take(reading: Reading, name: str, values: list[JsonValue]) -> None:
    counts = [count(value) for value in values]
    if values and None not in counts:
        reading.figures[name] = sum(one for one in counts if one is not None)
    elif values:
        # The value if it is a number, else only its type: a user's text must not get into a problem.
        shown = (str(v)[:24] if isinstance(v, int | float) else type(v).__name__ for v in values[:3])
        reading.problems.append(f"{name} is no count ({', '.join(shown)})")


FLIPS: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"reasoning"}),
    frozenset({"cache"}),
    frozenset({"reasoning", "cache"}),
)


def _move_inside(form: ProviderFormat, figures: dict[str, int]) -> None:
    """Add to input and output the tokens that the provider counts outside them."""
    sizes = {
        "cache": figures.get("cache_read", 0) + figures.get("cache_write", 0),
        "reasoning": figures.get("reasoning", 0),
    }
    tool_input = figures.pop("tool_input", 0)
    outside = form.outside
    if not form.documented and figures.keys() >= {"input", "output", "total"}:
        gap = figures["total"] - figures["input"] - figures["output"] - tool_input
        outside = _outside(form, sizes, {"cache": figures["input"], "reasoning": figures["output"]}, gap)
    if "input" in figures:
        figures["input"] += tool_input + (sizes["cache"] if "cache" in outside else 0)
    if "output" in figures:
        figures["output"] += figures.get("citation_tokens", 0) + (sizes["reasoning"] if "reasoning" in outside else 0)


def _outside(form: ProviderFormat, sizes: dict[str, int], wholes: dict[str, int], gap: int) -> frozenset[str]:
    """Which of cache and reasoning are outside input and output: those of the form, unless a total contradicts it."""
    for flip in FLIPS:
        outside = form.outside ^ flip
        is_fit = all(sizes[detail] for detail in flip) and sum([sizes[detail] for detail in outside]) == gap
        if is_fit and all(detail in outside or sizes[detail] <= wholes[detail] for detail in sizes):
            return outside
    return form.outside


def _complete_total(reading: Reading, stated: Mapping[str, int], gap_is_thinking: bool) -> None:
    """total = input + output: derive the missing one, and name a stated total that does not fit.

    Some providers' total lacks the tokens outside input and output, which is harmless. Google's OpenAI-compatible
    answers count thinking in the total only, and Mistral's the audio input.
    """
    figures, total = reading.figures, stated.get("total")
    if reading.is_complete:
        ours = figures["input"] + figures["output"]
        harmless = (ours, stated["input"] + stated["output"], ours - stated.get("tool_input", 0))
        if total is not None and total not in harmless:
            if gap_is_thinking and total > ours and "reasoning" not in figures:
                figures["reasoning"] = total - ours
                figures["output"] += total - ours
            elif figures.get("audio_seconds") and total > ours:
                figures["input_audio"] = total - ours
                figures["input"] += total - ours
            else:
                problem = f"total is {total}, input {figures['input']} and output {figures['output']}"
                reading.problems.append(problem)
        figures["total"] = figures["input"] + figures["output"]
        return
    for known, missing in (("input", "output"), ("output", "input")):
        if total is not None and known in figures and not reading.problems and total >= figures[known]:
            figures[missing] = total - figures[known]
            return


def check_parts(reading: Reading) -> None:
    """Remove every whole that is smaller than its parts, and the parts: neither can be believed."""
    figures = reading.figures
    largest = 0
    for whole, parts in PARTS:
        size = 0
        for part in parts:
            if part in figures:
                size += figures[part]
        if size > figures.get(whole, size):
            named = " + ".join([part for part in parts if part in figures])
            reading.problems.append(f"{named} is {size}, {whole} {figures[whole]}")
            for name in (whole, *parts, *(("total",) if whole in ("input", "output") else ())):
                figures.pop(name, None)
        elif size > largest:
            largest = size
    largest = max(largest, figures.get("input", 0), figures.get("output", 0))
    if figures.get("total", largest) < largest:
        reading.problems.append(f"total is {figures.pop('total')}, a part of it {largest}")
