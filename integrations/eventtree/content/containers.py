"""Dicts, lists, tuples, sets and the other containers of Python's own.

They, and classes that inherit from them, are read through the builtin's own methods, so no code of the user runs, and
never for more than the size they had. They are copied in one C call before the walk goes on, because another thread
may change them meanwhile.
"""

from __future__ import annotations

import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from eventtree.content import parts
from eventtree.content.truncate import CUT, apart, cut_marker
from eventtree.content.walk import Converter, Walk, compact
from eventtree.diagnostics import MRO_OF
from eventtree.event import JsonValue

ATTEMPTS = 8
EVERYTHING = slice(None)


def snapshot(items_of: Callable[[Any], Iterable[Any]], value: Any, kept: int) -> list[Any]:
    """The first `kept` items. Another thread may change the size meanwhile: then once more from the start."""
    for _ in range(ATTEMPTS):
        try:
            return list(islice(items_of(value), kept))
        except RuntimeError:
            continue
    return list(islice(items_of(value), kept))  # or the error, for the boundary


def from_dict(walk: Walk, value: dict[Any, Any], depth: int) -> JsonValue:
    """A dict or a subclass of it; a dict that describes a file becomes a part."""
    if blocked := walk.enter(value, depth):
        return blocked
    try:
        size = dict.__len__(value)
        telling = dict.__contains__(value, "type") or dict.__contains__(value, "inline_data")
        if telling and size <= parts.MANY and (part := parts.from_dict(walk, dict(dict.items(value)), depth)):
            return part
        kept = walk.take(size)
        pairs = snapshot(dict.items, value, kept)
        out = walk.pairs(pairs, depth + 1)
        return out if kept == size else cut_dict(out, size - kept)
    finally:
        walk.path.discard(id(value))


def cut_dict(out: dict[str, JsonValue], lost: int) -> dict[str, JsonValue]:
    """A dict of which `lost` entries were not read, saying so."""
    if lost > 0:
        out[apart(CUT, out)] = cut_marker(lost, "entries")
    return out


def cut_list(out: list[JsonValue], lost: int) -> list[JsonValue]:
    """A list of which `lost` items were not read, saying so."""
    if lost > 0:
        out.append(cut_marker(lost, "items"))
    return out


def from_list(walk: Walk, value: list[Any], depth: int) -> JsonValue:
    """A list or a subclass of it."""
    if blocked := walk.enter(value, depth):
        return blocked
    try:
        size = list.__len__(value)
        kept = walk.take(size)
        out = walk.items(list.__getitem__(value, slice(kept)), depth + 1)
        return out if kept == size else cut_list(out, size - kept)
    finally:
        walk.path.discard(id(value))


def items_of(value: object) -> Sequence[Any] | None:
    """The items of a list or a tuple, read past its own methods; None for everything else, which is not read.

    What is neither may give its items once, and then the app goes without.
    """
    kind: Any = type(value)
    if kind is list or kind is tuple:
        return value  # type: ignore[return-value]
    mro = MRO_OF(kind)
    base: Any = list if list in mro else tuple if tuple in mro else None
    found: Sequence[Any] | None = None if base is None else base.__getitem__(value, EVERYTHING)
    return found


def from_kind(kind: Any) -> Converter:
    """Converter of a container, read through the methods of the builtin `kind`."""
    size_of: Callable[[Any], int] = kind.__len__
    items_of: Callable[[Any], Iterable[Any]] = kind.__iter__ if hasattr(kind, "__iter__") else iter

    def convert(walk: Walk, value: Any, depth: int) -> JsonValue:
        if blocked := walk.enter(value, depth):
            return blocked
        try:
            size = size_of(value)
            kept = walk.take(size)
            return cut_list(walk.items(snapshot(items_of, value, kept), depth + 1), size - kept)
        finally:
            walk.path.discard(id(value))

    return convert


def from_set(kind: Any) -> Converter:
    """Converter of a set, as a sorted list."""
    listed = from_kind(kind)

    def convert(walk: Walk, value: Any, depth: int) -> JsonValue:
        out = listed(walk, value, depth)
        return in_order(out) if type(out) is list else out

    return convert


def in_order(items: list[JsonValue]) -> list[JsonValue]:
    """Sanitizer items sorted by themselves, or by their text where they don't compare."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=compact)


SETS: tuple[Any, ...] = (set, frozenset, type({}.keys()), type(OrderedDict().keys()))
LISTS: tuple[Any, ...] = (
    *(tuple, deque, range, array.array),
    *(type({}.values()), type({}.items()), type(OrderedDict().values()), type(OrderedDict().items())),
)
EXACT: dict[type, Converter] = {
    dict: from_dict,
    list: from_list,
    **{kind: from_kind(kind) for kind in LISTS},
    **{kind: from_set(kind) for kind in SETS},
}
BASES = (dict, list, tuple, set, frozenset, deque, array.array)
INHERITED: dict[type, Converter] = {kind: EXACT[kind] for kind in BASES}
