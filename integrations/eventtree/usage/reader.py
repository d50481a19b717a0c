"""One dict of a provider → its figures, in our convention: input includes the cache, output includes reasoning.

A figure that cannot be true is taken out and named in `problems`; nothing is guessed.

Which shape a dict has, and which of its paths lead somewhere, depends on its keys alone. So it is worked out once for
each set of keys (`_plan`) and remembered: the answers of one model look alike.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from eventtree.event import JsonValue
from eventtree.usage.providers import FORMATS, ProviderFormat

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
"""Each whole and the parts that together may not exceed it."""


@dataclass(slots=True)
class Reading:
    """What one place of a record says."""

    place: str
    shape: str
    figures: dict[str, int]
    problems: list[str] = field(default_factory=list)
    tier: str | None = None
    remarks: list[str] = field(default_factory=list)
    """What the figures leave out. They may be sound all the same."""
    others: dict[str, Reading] = field(default_factory=dict)
    """Rounds that other models ran within the answer, by model: not in the figures, and billed."""

    @property
    def is_complete(self) -> bool:
        """Whether both sides are known."""
        return "input" in self.figures and "output" in self.figures

    @property
    def is_sound(self) -> bool:
        """Whether both sides are known and nothing contradicts them."""
        return self.is_complete and not self.problems

    def copy(self, place: str) -> Reading:
        """The same figures, at `place`, to be changed."""
        return Reading(
            place, self.shape, self.figures.copy(), self.problems.copy(), self.tier, self.remarks, self.others
        )

    def agrees(self, other: Reading) -> bool:
        """Whether both name the same input and output."""
        mine, theirs = self.figures, other.figures
        return mine.get("input") == theirs.get("input") and mine.get("output") == theirs.get("output")


def read(raw: Mapping[str, JsonValue], place: str, gap_is_thinking: bool = False) -> Reading | None:
    """The figures in `raw`, or None where no shape fits it. `gap_is_thinking`: see `_explain_gap`."""
    plan = _plan(raw)
    if plan is None:
        return None
    reading = _read_by(plan, raw, place, gap_is_thinking)
    return _with_rounds(reading, plan.shape, raw) if "iterations" in raw and plan.shape.name == "anthropic" else reading


def add(readings: list[Reading]) -> Reading:
    """The sum of several: a side that one of them lacks is unknown, a detail is the sum of what is known."""
    first = readings[0]
    figures: dict[str, int] = {}
    for reading in readings:
        for name, value in reading.figures.items():
            figures[name] = figures.get(name, 0) + value
    for name in ("input", "output", "total"):
        if any(name not in reading.figures for reading in readings):
            figures.pop(name, None)
    problems = list(dict.fromkeys(problem for reading in readings for problem in reading.problems))
    remarks = list(dict.fromkeys(remark for reading in readings for remark in reading.remarks))
    summed = Reading(first.place, first.shape, figures, problems, first.tier, remarks, _add_others(readings))
    check_parts(summed)
    return summed


def _add_others(readings: list[Reading]) -> dict[str, Reading]:
    models = dict.fromkeys(model for reading in readings for model in reading.others)
    return {model: add([one.others[model] for one in readings if model in one.others]) for model in models}


def count(value: JsonValue) -> int | None:
    """`value` as a number of tokens, or None: bool, text, fractions and negative numbers are no counts."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if 0 <= value <= MOST_TOKENS else None


def find(raw: JsonValue, path: str) -> list[JsonValue]:
    """All values other than null at `path` (one, unless the path picks items of a list)."""
    if "[" not in path:
        # By far the most paths, and most of them lead nowhere: no generators for these.
        for key in _keys(path):
            if not isinstance(raw, dict) or (raw := raw.get(key)) is None:
                return []
        return [] if raw is None else [raw]
    found = [raw]
    for key, field_name, wanted in _steps(path):
        found = [item for one in found for item in _step(one, key, field_name, wanted)]
    return [value for value in found if value is not None]


def find_each(raw: Mapping[str, JsonValue], paths: tuple[str, ...]) -> Iterator[tuple[str, JsonValue]]:
    """`find` for several paths, in their order: each with what it leads to. Those whose first key is absent cost
    next to nothing.
    """
    for path, first in _firsts(paths):
        if first is None:
            yield path, raw
        elif first in raw:
            for value in find(raw, path):
                yield path, value


@lru_cache(maxsize=64)
def _firsts(paths: tuple[str, ...]) -> tuple[tuple[str, str | None], ...]:
    return tuple((path, path.partition(".")[0].partition("[")[0] if path else None) for path in paths)


def _step(raw: JsonValue, key: str, field_name: str | None, wanted: frozenset[str]) -> Iterator[JsonValue]:
    if not isinstance(raw, dict):
        return
    value = raw.get(key)
    if field_name is None:
        yield value
    elif isinstance(value, list):
        items = (item for item in value if isinstance(item, dict))
        yield from (item for item in items if not field_name or str(item.get(field_name)) in wanted)


@lru_cache(maxsize=1024)
def _keys(path: str) -> tuple[str, ...]:
    return tuple(path.split(".")) if path else ()


@lru_cache(maxsize=1024)
def _alternatives(paths: str) -> tuple[str, ...]:
    return tuple(paths.split(" | "))


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[tuple[str, str | None, frozenset[str]], ...]:
    """ "a[modality=AUDIO,IMAGE].b" → steps of (key, the field to pick by or None, the values wanted)."""
    if not path:
        return ()
    steps = []
    for part in path.split("."):
        match = re.fullmatch(r"(.+)\[(?:(\w+)=(.+))?\]", part)
        key, name, wanted = match.groups() if match else (part, None, None)
        steps.append((key, (name or "") if match else None, frozenset((wanted or "").split(","))))
    return tuple(steps)


OWN_ROUNDS = frozenset({"message", "compaction", "fallback_message"})
"""Anthropic's rounds of the model that answered: platform.claude.com/docs/en/build-with-claude/compaction."""


def _with_rounds(reading: Reading, shape: ProviderFormat, raw: Mapping[str, JsonValue]) -> Reading:
    """Anthropic's rounds within one answer. The sums at the top leave out what compacted the context, and what other
    models did (an advisor: platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool).
    """
    found = raw["iterations"] if isinstance(raw["iterations"], list) else []
    rounds = [one for one in found if isinstance(one, dict)]
    kinds = set(map(_type_of, rounds))
    own = [one for one in rounds if _type_of(one) in OWN_ROUNDS]
    if "compaction" in kinds:
        server_tools = {"server_tool_use": raw.get("server_tool_use")}
        sums = add(
            [_read_round(shape, one | (server_tools if n == 0 else {}), reading.place) for n, one in enumerate(own)]
        )
        reading = Reading(reading.place, reading.shape, sums.figures, sums.problems, reading.tier)
    for kind in sorted(kinds - OWN_ROUNDS - {"advisor_message"}):
        reading.remarks.append(f"iterations has a round of a type that is not known ({kind})")
    if len({one["model"] for one in own if isinstance(one.get("model"), str)}) > 1:
        reading.remarks.append("iterations has rounds of several models: the cost is by the one that answered")
    for one in rounds:
        if _type_of(one) not in OWN_ROUNDS:
            _add_other(reading, shape, one)
    return reading


def _type_of(one: Mapping[str, JsonValue]) -> str:
    """A round's type as a text, whatever it is."""
    return str(one.get("type"))[:40]


def _read_round(shape: ProviderFormat, one: Mapping[str, JsonValue], place: str) -> Reading:
    return _read_by(_planned(shape, one), one, place, False)


def _add_other(reading: Reading, shape: ProviderFormat, one: Mapping[str, JsonValue]) -> None:
    """A round that is billed by itself: by its model, where both are known."""
    model, round_read = one.get("model"), _read_round(shape, one, reading.place)
    if not isinstance(model, str) or not round_read.is_sound:
        reading.remarks.append(f"a round of type {_type_of(one)} has no model or no counts: it has no price")
        return
    before = reading.others.get(model)
    reading.others[model] = add([before, round_read]) if before else round_read


class _Plan(NamedTuple):
    """How dicts with one set of keys are read."""

    shape: ProviderFormat
    direct: tuple[tuple[str, tuple[str, ...]], ...]
    """Figure → the keys that lead to its value, which is there."""
    searched: tuple[tuple[str, str], ...]
    """Figure → its paths, where it depends on the items of a list whether one leads anywhere."""
    tier: str | None


_plans: dict[Hashable, _Plan | None] = {}
MOST_PLANS = 1024
DEPTH = 3
"""Keys along the longest path of any shape."""


def _plan(raw: Mapping[str, JsonValue]) -> _Plan | None:
    """How to read `raw`, or None where no shape fits it."""
    keys = _keys_of(raw, DEPTH)
    if keys in _plans:
        return _plans[keys]
    shape = next((shape for shape in FORMATS if shape.fits(raw)), None)
    plan = None if shape is None else _planned(shape, raw)
    if len(_plans) >= MOST_PLANS:
        _plans.clear()
    _plans[keys] = plan
    return plan


def _keys_of(raw: Mapping[str, JsonValue], depth: int) -> Hashable:
    """The keys of all values other than null, with those of the dicts among them."""
    return tuple(
        [
            (key, _keys_of(value, depth - 1)) if type(value) is dict and depth > 1 else (key, type(value) is list)
            for key, value in raw.items()
            if value is not None
        ]
    )


def _planned(shape: ProviderFormat, raw: Mapping[str, JsonValue]) -> _Plan:
    direct, searched = [], []
    for name, paths in shape.reads.items():
        # Of the alternatives only those count that can lead anywhere in a dict with these keys.
        viable = [path for path in _alternatives(paths) if _may_lead(raw, path)]
        if viable and "[" not in viable[0]:
            direct.append((name, _keys(viable[0])))
        elif viable:
            searched.append((name, " | ".join(viable)))
    return _Plan(shape, tuple(direct), tuple(searched), _tier_of_keys(raw))


def _may_lead(raw: JsonValue, path: str) -> bool:
    """Whether `path` leads to a value, or to a list that has to be looked into."""
    for part in path.split("."):
        key, is_list, _ = part.partition("[")
        if not isinstance(raw, dict) or (raw := raw.get(key)) is None:
            return False
        if is_list:
            return isinstance(raw, list)
    return True


def _read_by(plan: _Plan, raw: Mapping[str, JsonValue], place: str, gap_is_thinking: bool) -> Reading:
    shape, figures = plan.shape, dict[str, int]()
    reading = Reading(place, shape.name, figures, tier=plan.tier)
    for name, keys in plan.direct:
        value: JsonValue = raw
        for key in keys:
            value = value[key]
        counted = value if type(value) is int and 0 <= value <= MOST_TOKENS else count(value)
        if counted is not None:
            figures[name] = counted
        else:
            reading.problems.append(f"{name} is no count ({_describe([value])})")
    for name, paths in plan.searched:
        _search_figure(reading, name, paths, raw)
    if shape.absent_output_is_zero and "output" not in figures and "input" in figures and not reading.problems:
        figures["output"] = 0
    if "cache_write_5m" in figures or "cache_write_1h" in figures:
        _settle_writes(reading)
    stated = figures.copy()
    outside = _outside(shape, figures)
    if outside or "tool_input" in figures or "citation" in figures:
        _move_inside(figures, outside)
    _settle_total(reading, stated, gap_is_thinking)
    check_parts(reading)
    return reading


def _search_figure(reading: Reading, name: str, paths: str, raw: Mapping[str, JsonValue]) -> None:
    values = next((values for path in _alternatives(paths) if (values := find(raw, path))), [])
    counts = [count(value) for value in values]
    if values and None not in counts:
        reading.figures[name] = sum(one for one in counts if one is not None)
    elif values:
        reading.problems.append(f"{name} is no count ({_describe(values)})")


def _describe(values: list[JsonValue]) -> str:
    """The value where it is a number, else only its type: text of a user has no place in a problem."""
    return ", ".join(str(v)[:24] if isinstance(v, int | float) else type(v).__name__ for v in values[:3])


def _tier_of_keys(raw: Mapping[str, JsonValue]) -> str | None:
    """langchain_openai renames the details with the tier and adds the tier's name as a key."""
    details = [raw.get("input_token_details"), raw.get("output_token_details")]
    for tier in ("priority", "flex"):
        if any(isinstance(one, dict) and (tier in one or f"{tier}_cache_read" in one) for one in details):
            return tier
    return None


def _settle_writes(reading: Reading) -> None:
    """Cache writes: where only the 5m and 1h parts are given (LangChain sets the whole to 0 then), sum them."""
    figures = reading.figures
    split = figures.get("cache_write_5m", 0) + figures.get("cache_write_1h", 0)
    if split and not figures.get("cache_write"):
        figures["cache_write"] = split
    elif split > figures.get("cache_write", 0):
        reading.problems.append(f"cache writes of 5m and 1h are {split}, of all {figures['cache_write']}")
        figures.pop("cache_write_5m", None)
        figures.pop("cache_write_1h", None)


def _size(figures: Mapping[str, int], detail: str) -> int:
    if detail == "cache":
        return figures.get("cache_read", 0) + figures.get("cache_write", 0)
    return figures.get(detail, 0)


def _outside(shape: ProviderFormat, figures: Mapping[str, int]) -> frozenset[str]:
    """Which of cache and reasoning stand outside input and output: the shape says, a total may say otherwise."""
    total = figures.get("total")
    if shape.documented or total is None or "input" not in figures or "output" not in figures:
        return shape.outside
    cache, reasoning = _size(figures, "cache"), figures.get("reasoning", 0)
    gap = total - figures["input"] - figures["output"] - figures.get("tool_input", 0)
    if not (gap or shape.outside) and cache <= figures["input"] and reasoning <= figures["output"]:
        return shape.outside  # by far the most
    sizes = {"cache": cache, "reasoning": reasoning}
    for flip in FLIPS:
        outside = shape.outside ^ flip
        is_fit = all(sizes[detail] for detail in flip) and sum([sizes[detail] for detail in outside]) == gap
        if is_fit and _is_possible(figures, outside):
            return outside
    return shape.outside


FLIPS: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"reasoning"}),
    frozenset({"cache"}),
    frozenset({"reasoning", "cache"}),
)


def _is_possible(figures: Mapping[str, int], outside: frozenset[str]) -> bool:
    wholes = {"cache": "input", "reasoning": "output"}
    return all(detail in outside or _size(figures, detail) <= figures[whole] for detail, whole in wholes.items())


def _move_inside(figures: dict[str, int], outside: frozenset[str]) -> None:
    """Add to input and output what the provider keeps outside them."""
    more_input = figures.pop("tool_input", 0) + (_size(figures, "cache") if "cache" in outside else 0)
    more_output = figures.pop("citation", 0) + (_size(figures, "reasoning") if "reasoning" in outside else 0)
    if "input" in figures:
        figures["input"] += more_input
    if "output" in figures:
        figures["output"] += more_output


def _settle_total(reading: Reading, stated: Mapping[str, int], gap_is_thinking: bool) -> None:
    """total = input + output: derive the one that is missing, and name a stated total that does not fit."""
    figures = reading.figures
    total = figures.get("total")
    known = [side for side in ("input", "output") if side in figures]
    if len(known) == 2:
        if total is not None:
            _explain_gap(reading, stated, gap_is_thinking)
        figures["total"] = figures["input"] + figures["output"]
    elif total is not None and len(known) == 1 and not reading.problems:
        missing = "output" if known == ["input"] else "input"
        if total >= figures[known[0]]:
            figures[missing] = total - figures[known[0]]


def _explain_gap(reading: Reading, stated: Mapping[str, int], gap_is_thinking: bool) -> None:
    """A total that is not input + output. Known to be harmless: some providers leave what stands outside input and
    output out of their total too. Google's OpenAI-compatible answers count thinking in the total only.
    """
    figures, total = reading.figures, stated["total"]
    ours = figures["input"] + figures["output"]
    if total in (ours, stated["input"] + stated["output"], ours - stated.get("tool_input", 0)):
        return
    if gap_is_thinking and total > ours and "reasoning" not in figures:
        figures["reasoning"] = total - ours
        figures["output"] += total - ours
        return
    reading.problems.append(f"total is {total}, input {figures['input']} and output {figures['output']}")


def check_parts(reading: Reading) -> None:
    """Take out every whole that is smaller than its parts, and the parts: neither can be believed."""
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
