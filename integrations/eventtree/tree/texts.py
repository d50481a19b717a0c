"""Putting repeated texts back into the records of a tree; recording/texts.py leaves them out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from operator import is_
from typing import Any

from eventtree import diagnostics, record
from eventtree.pace import paced
from eventtree.tree.run import Run

LOST = "…[a text that stood in another record, which is damaged]…"
LOST_ITEM = {"content": LOST}
MOST = 1 << 20
"""Numbers at one place; a record with more is damaged."""

Place = tuple[list[Any], list[range], list[range]]
"""A path; the numbers of the values there, and the numbers of the values that belong there."""


def complete(runs: Iterable[Run], values: dict[int, Any]) -> None:
    """Put back the values that records repeat from others (collected in `values`); mark those of a damaged record."""
    found = [
        (run, name, {key: value for key, value in entry.items() if key != record.SAME}, list(_places(entry)))
        for run in paced(each for one in runs for each in (one, *one.passed))
        for name, entry in (("open", run.open), ("close", run.close))
        if record.SAME in entry
    ]
    lost = 0
    for _, _, whole, places in paced(found):
        for path, here, _ in places:
            if here and type(text := _at(whole, path)) is str:
                values[here[0][0]] = text
    # Texts first, since repeated items may contain them; then items, which any record's list may refer to.
    for run, name, whole, places in paced(found):
        for path, _, of in places:
            if of and type(_at(whole, path)) is not list:
                lost += (missing := _put(whole, path, values.get(of[0][0], LOST)))
                run.lost_texts += missing
        for path, here, _ in places:
            if type(items := _at(whole, path)) is list:
                values.update(zip(chain.from_iterable(here), items, strict=False))
        setattr(run, name, whole)
    for run, _, whole, places in paced(found):
        for path, _, of in places:
            if of and type(_at(whole, path)) is list:
                items = list(map(values.get, chain.from_iterable(of), repeat(LOST_ITEM)))
                lost += (missing := _put(whole, path, items))
                run.lost_texts += missing
    if lost:
        diagnostics.failures["texts lost with a damaged record"] += lost


def _places(entry: Mapping[str, Any]) -> Iterator[Place]:
    """The places of a record; malformed ones are skipped."""
    same = entry[record.SAME]
    first, places = (same.get("from"), same.get("places")) if type(same) is dict else (0, None)
    for one in places if type(places) is list else ():
        try:
            yield list(one["at"]), _numbers(first, one.get("here", ())), _numbers(first, one.get("of", ()))
        except (LookupError, TypeError, ValueError, AttributeError):
            continue


def _numbers(first: Any, bounds: list[int]) -> list[range]:
    pairs = list(zip(bounds[::2], bounds[1::2], strict=True))
    if any(end - begin > MOST for begin, end in pairs):
        raise ValueError(bounds)
    return [range(first + begin, first + end) for begin, end in pairs if begin < end]


def _at(value: Any, path: list[Any]) -> Any:
    """The value at a path; None if there is none."""
    try:
        for step in path:
            value = value[step]
    except (LookupError, TypeError):
        return None
    return value


def _put(whole: record.Record, path: list[Any], value: Any) -> int:
    """Put a value in its place; returns how many values in it are lost. Shared records are copied before a change."""
    holder: Any = whole
    try:
        *above, last = path
        for step in above:
            holder[step] = holder[step].copy()
            holder = holder[step]
        holder[last] = value
    except (LookupError, TypeError, ValueError, AttributeError):
        return 0
    return (value is LOST) + (sum(map(is_, value, repeat(LOST_ITEM))) if type(value) is list else 0)
