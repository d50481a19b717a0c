"""Dicts, lists, tuples, sets and what behaves like them.

Builtin containers, and classes that inherit from them, are read through the builtin's own methods, so no code of the
user runs. They are copied in one C call before the walk goes on, because another thread may change them meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from eventtree.content import parts
from eventtree.content.truncate import cut_marker
from eventtree.content.walk import CUT, Converter, Walk, apart, compact
from eventtree.event import JsonValue

ATTEMPTS = 8
AT_ONCE = 1000
"""Containers up to this size are copied whole; of larger ones no more than was promised by their size is read."""


def snapshot(items: Iterable[Any], kept: int, size: int) -> list[Any]:
    """The first `kept` of `size` items. Another thread may change the size meanwhile: then once more from the start."""
    try:
        return list(items) if kept == size <= AT_ONCE else list(islice(items, kept))
    except RuntimeError:
        return again(items, kept)


def again(items: Iterable[Any], kept: int) -> list[Any]:
    """The first `kept` items of what another thread keeps changing; at last the error, for the boundary."""
    for _ in range(ATTEMPTS):
        try:
            return list(islice(items, kept))
        except RuntimeError:
            continue
    return list(islice(items, kept))


def from_dict(walk: Walk, value: dict[Any, Any], depth: int) -> JsonValue:
    """A dict or a subclass of it; one that describes a file becomes a part."""
    if blocked := walk.enter(value, depth):
        return blocked
    try:
        if ("type" in value or "inline_data" in value) and (part := parts.from_dict(walk, value, depth)):
            return part
        size = dict.__len__(value)
        kept = walk.take(size)
        pairs = snapshot(dict.items(value), kept, size)
        out = walk.pairs(pairs, depth + 1)
        return out if kept == size else cut_dict(out, size - kept)
    finally:
        walk.path.discard(id(value))


def cut_dict(out: dict[str, JsonValue], lost: int) -> dict[str, JsonValue]:
    """A dict of which `lost` entries were not read, saying so."""
    if lost > 0:
        out[CUT if CUT not in out else apart(CUT, out)] = cut_marker(lost, "entries")
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


def from_tuple(walk: Walk, value: tuple[Any, ...], depth: int) -> JsonValue:
    """A tuple, as a list."""
    return from_list(walk, list(tuple.__iter__(value)), depth)


def from_sequence(walk: Walk, value: Any, depth: int) -> JsonValue:
    """Another sequence, or a view: deque, range, UserList, dict.values()."""
    if blocked := walk.enter(value, depth):
        return blocked
    try:
        size = len(value)
        kept = walk.take(size)
        return cut_list(walk.items(snapshot(value, kept, size), depth + 1), size - kept)
    finally:
        walk.path.discard(id(value))


def from_set(walk: Walk, value: Any, depth: int) -> JsonValue:
    """A set, as a sorted list."""
    out = from_sequence(walk, value, depth)
    return in_order(out) if type(out) is list else out


def in_order(items: list[JsonValue]) -> list[JsonValue]:
    """Sanitizer items sorted by themselves, or by their text where they don't compare."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=compact)


def from_mapping(walk: Walk, value: Any, depth: int) -> JsonValue:
    """A mapping that is no dict. A value that can't be read is marked, the others are kept."""
    if blocked := walk.enter(value, depth):
        return blocked
    try:
        size = len(value)
        kept = walk.take(size)
        keys = snapshot(value, kept, size)
        return cut_dict(walk.pairs(((key, Entry(value, key)) for key in keys), depth + 1), size - kept)
    finally:
        walk.path.discard(id(value))


class Entry:
    """A mapping's entry that is read when its turn comes, inside the boundary."""

    __slots__ = ("key", "mapping")

    def __init__(self, mapping: Any, key: Any) -> None:
        """The entry of `mapping` under `key`."""
        self.mapping = mapping
        self.key = key


def from_entry(walk: Walk, entry: Entry, depth: int) -> JsonValue:
    """The value of a mapping's entry."""
    return walk.value(entry.mapping[entry.key], depth)


EXACT: dict[type, Converter] = {
    dict: from_dict,
    list: from_list,
    tuple: from_tuple,
    set: from_set,
    frozenset: from_set,
    Entry: from_entry,
}
INHERITED: dict[type, Converter] = {kind: EXACT[kind] for kind in (dict, list, tuple, set, frozenset)}
