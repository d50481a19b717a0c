"""Python's own values: numbers, text, bytes, dates, names of classes and functions, and its containers.

Containers and their subclasses are read through the builtin's methods, so no code of the user runs, and never beyond
the size they had. One C call copies a container before the walk enters it: another thread may change it meanwhile.
"""

from __future__ import annotations

import array
import datetime
import decimal
import fractions
import math
import pathlib
import types
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from eventtree.content import parts
from eventtree.content.truncate import CUT, apart, cut_marker
from eventtree.content.walk import Converter, DataUrl, Walk, compact
from eventtree.diagnostics import qualified, text_of
from eventtree.kinds import JsonValue

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
ATTEMPTS = 8
EVERYTHING = slice(None)

# --- single values ------------------------------------------------------------------------------------------------


def from_itself(_walk: Walk, value: JsonValue, _depth: int) -> JsonValue:
    """None, True and False."""
    return value


def from_int(walk: Walk, value: int, _depth: int) -> JsonValue:
    """An int; beyond 64 bits, which not every JSON parser reads, as text (in hex from 4096 bits)."""
    value = int.__int__(value)
    if INT_MIN <= value <= INT_MAX:
        return value
    return walk.text(int.__repr__(value) if value.bit_length() < 4096 else hex(value))


def from_float(_walk: Walk, value: float, _depth: int) -> JsonValue:
    """A float; NaN and infinities as text, since JSON has no number for them."""
    number = float.__float__(value)
    if math.isfinite(number):
        return number
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


def from_str(walk: Walk, value: str, _depth: int) -> JsonValue:
    """A text of str or a subclass."""
    return walk.string(str.__str__(value))


def from_bytes_by(copy: Callable[[Any], bytes | bytearray]) -> Converter:
    """Converter of bytes to size and sha256. It reads a `copy`, so a bytearray of the app is never locked."""
    return lambda _walk, value, _depth: {"type": "file", **parts.digest(copy(value))}


def from_text_by(write: Callable[[Any], object]) -> Converter:
    """Converter of values to text by `write`, a method of a class of Python's."""
    return lambda walk, value, _depth: walk.text(str.__str__(write(value)))


def from_named(walk: Walk, value: Any, _depth: int) -> JsonValue:
    """A function or method, by its qualified name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "function")
    return walk.text(f"{module}.{name}" if type(module) is str and module != "builtins" else str(name))


def from_module(walk: Walk, value: types.ModuleType, _depth: int) -> JsonValue:
    """A module, by its name."""
    return walk.text(str(types.ModuleType.__getattribute__(value, "__name__")))


def from_exception(walk: Walk, value: BaseException, _depth: int) -> JsonValue:
    """An exception: class and message."""
    return {"type": walk.text(qualified(type(value))), "message": walk.text(text_of(value))}


# --- containers ---------------------------------------------------------------------------------------------------


def items_of(value: object) -> Sequence[Any] | None:
    """The items of a list or a tuple, read without its own methods; None for any other value.

    Another iterable may yield its items only once, and they belong to the app.
    """
    kind: Any = type(value)
    if kind is list or kind is tuple:
        return value  # type: ignore[return-value]
    base: Any = list if issubclass(kind, list) else tuple if issubclass(kind, tuple) else None
    found: Sequence[Any] | None = None if base is None else base.__getitem__(value, EVERYTHING)
    return found


def snapshot(items: Callable[[Any], Iterable[Any]], value: Any, kept: int) -> list[Any]:
    """The first `kept` items, read again from the start if another thread changes the size meanwhile."""
    for _ in range(ATTEMPTS):
        try:
            return list(islice(items(value), kept))
        except RuntimeError:
            continue
    return list(islice(items(value), kept))  # or the error, for the boundary


def from_dict(walk: Walk, value: dict[Any, Any], depth: int) -> JsonValue:
    """A dict or a subclass; a dict that describes a file becomes a part."""
    if blocked := walk.enter(value, depth):
        return blocked
    try:
        size = dict.__len__(value)
        telling = dict.__contains__(value, "type") or dict.__contains__(value, "inline_data")
        if telling and size <= parts.MANY and (part := parts.from_dict(walk, dict(dict.items(value)), depth)):
            return part
        kept = walk.take(size)
        out = walk.pairs(snapshot(dict.items, value, kept), depth + 1)
        if kept < size:
            out[apart(CUT, out)] = cut_marker(size - kept, "entries")
        return out
    finally:
        walk.leave(value)


def from_kind(kind: Any, *, is_set: bool = False) -> Converter:
    """Converter of a container, read through the builtin `kind`'s methods. A set becomes a sorted list."""
    size_of: Callable[[Any], int] = kind.__len__
    items: Callable[[Any], Iterable[Any]] = kind.__iter__ if hasattr(kind, "__iter__") else iter

    def convert(walk: Walk, value: Any, depth: int) -> JsonValue:
        if blocked := walk.enter(value, depth):
            return blocked
        try:
            size = size_of(value)
            kept = walk.take(size)
            out = walk.items(snapshot(items, value, kept), depth + 1)
            if kept < size:
                out.append(cut_marker(size - kept, "items"))
            return in_order(out) if is_set else out
        finally:
            walk.leave(value)

    return convert


def in_order(items: list[JsonValue]) -> list[JsonValue]:
    """Sorted items; by their JSON if they don't compare."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=compact)


# --- the tables ---------------------------------------------------------------------------------------------------

LISTS: tuple[Any, ...] = (
    *(list, tuple, deque, range, array.array),
    *(type({}.values()), type({}.items()), type(OrderedDict().values()), type(OrderedDict().items())),
)
SETS: tuple[Any, ...] = (set, frozenset, type({}.keys()), type(OrderedDict().keys()))

EXACT: dict[type, Converter] = {
    type(None): from_itself,
    bool: from_itself,
    int: from_int,
    float: from_float,
    str: from_str,
    bytes: from_bytes_by(lambda value: bytes.__getitem__(value, EVERYTHING)),
    bytearray: from_bytes_by(lambda value: bytearray.__getitem__(value, EVERYTHING)),
    memoryview: from_bytes_by(memoryview.tobytes),
    **{kind: from_text_by(kind.__repr__ if kind is complex else kind.__str__)
       for kind in (complex, decimal.Decimal, fractions.Fraction, uuid.UUID)},
    **{kind: from_text_by(kind.isoformat) for kind in (datetime.datetime, datetime.date, datetime.time)},
    datetime.timedelta: lambda _walk, value, _depth: datetime.timedelta.total_seconds(value),
    **dict.fromkeys((types.FunctionType, types.BuiltinFunctionType, types.MethodType), from_named),
    types.ModuleType: from_module,
    type: from_text_by(qualified),
    DataUrl: parts.from_data_url,
    dict: from_dict,
    **{kind: from_kind(kind) for kind in LISTS},
    **{kind: from_kind(kind, is_set=True) for kind in SETS},
}  # fmt: skip
"""Class → its converter, not for subclasses."""

INHERITED: dict[type, Converter] = {
    **{kind: EXACT[kind] for kind in EXACT if kind not in (bool, type(None), DataUrl, range)},
    pathlib.PurePath: from_text_by(pathlib.PurePath.__str__),
    BaseException: from_exception,
}
"""Class → its and its subclasses' converter."""
