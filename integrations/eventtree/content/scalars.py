"""Single values: numbers, text, bytes, dates, names of classes and functions. One converter for each exact class."""

from __future__ import annotations

import datetime
import decimal
import fractions
import math
import pathlib
import types
import uuid
from collections.abc import Callable
from typing import Any

from eventtree.content.parts import digest, from_data_url
from eventtree.content.walk import Converter, DataUrl, Walk
from eventtree.diagnostics import qualified, text_of
from eventtree.event import JsonValue

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def from_itself(_walk: Walk, value: JsonValue, _depth: int) -> JsonValue:
    """None, True and False."""
    return value


def from_int(walk: Walk, value: int, _depth: int) -> JsonValue:
    """An int; as text beyond 64 bits, where not every reader of JSON follows (hex where even text has no end)."""
    value = int.__int__(value)
    if INT_MIN <= value <= INT_MAX:
        return value
    return walk.text(int.__repr__(value) if value.bit_length() < 4096 else hex(value))


def from_float(_walk: Walk, value: float, _depth: int) -> JsonValue:
    """A float; as text where JSON has no number for it."""
    number = float.__float__(value)
    if math.isfinite(number):
        return number
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


def from_str(walk: Walk, value: str, _depth: int) -> JsonValue:
    """A text, also of a subclass of str."""
    return walk.string(str.__str__(value))


def from_bytes(_walk: Walk, value: bytes, _depth: int) -> JsonValue:
    """Bytes, by their size and sha256."""
    return {"type": "file", **digest(value)}


def from_buffer(_walk: Walk, value: bytearray | memoryview, _depth: int) -> JsonValue:
    """Bytes that may change or grow while they are hashed: hash a copy, so that their owner is never locked out."""
    return {"type": "file", **digest(bytes(value))}


def from_text_of(walk: Walk, value: Any, _depth: int) -> JsonValue:
    """Classes whose str is the value: URL, IP address."""
    return walk.text(str.__str__(str(value)))


def from_text_by(write: Callable[[Any], str]) -> Converter:
    """Converter of values that `write`, a method of a class of Python's own, makes text of."""
    return lambda walk, value, _depth: walk.text(write(value))


def from_timedelta(_walk: Walk, value: datetime.timedelta, _depth: int) -> JsonValue:
    """A duration, in seconds."""
    return datetime.timedelta.total_seconds(value)


def from_named(walk: Walk, value: Any, _depth: int) -> JsonValue:
    """Functions and methods, by their qualified name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "function")
    return walk.text(f"{module}.{name}" if type(module) is str and module != "builtins" else str(name))


def from_class(walk: Walk, value: type, _depth: int) -> JsonValue:
    """A class, by its qualified name."""
    return walk.text(qualified(value))


def from_module(walk: Walk, value: types.ModuleType, _depth: int) -> JsonValue:
    """A module, by its name."""
    return walk.text(str(types.ModuleType.__getattribute__(value, "__name__")))


def from_exception(walk: Walk, value: BaseException, _depth: int) -> JsonValue:
    """An exception: its class and what it says."""
    return {"type": walk.text(qualified(type(value))), "message": walk.text(text_of(value))}


EXACT: dict[type, Converter] = {
    type(None): from_itself,
    bool: from_itself,
    int: from_int,
    float: from_float,
    str: from_str,
    bytes: from_bytes,
    bytearray: from_buffer,
    memoryview: from_buffer,
    complex: from_text_by(complex.__repr__),
    decimal.Decimal: from_text_by(decimal.Decimal.__str__),
    fractions.Fraction: from_text_by(fractions.Fraction.__str__),
    uuid.UUID: from_text_by(uuid.UUID.__str__),
    datetime.datetime: from_text_by(datetime.datetime.isoformat),
    datetime.date: from_text_by(datetime.date.isoformat),
    datetime.time: from_text_by(datetime.time.isoformat),
    datetime.timedelta: from_timedelta,
    types.FunctionType: from_named,
    types.BuiltinFunctionType: from_named,
    types.MethodType: from_named,
    types.ModuleType: from_module,
    type: from_class,
    DataUrl: from_data_url,
}
"""Converters of exactly these classes."""

INHERITED: dict[type, Converter] = {
    **{kind: EXACT[kind] for kind in EXACT if kind not in (bool, type(None), types.ModuleType, DataUrl)},
    pathlib.PurePath: from_text_by(pathlib.PurePath.__str__),
    BaseException: from_exception,
    types.ModuleType: from_module,
}
"""Converters of these classes and of those that inherit from them."""
