"""Objects of all other classes. What to do with one is decided once for its class, here, and remembered.

The rules stand in one table, tried in order: what must not be touched first, then what has fields, then what inherits
from a builtin. Fields are read from where Python keeps them, past properties and `__getattr__`. Everything else is only
named: its own code (a repr, an iteration) may ask a database, wait, use up what the app still needs, or never end.
"""

from __future__ import annotations

import enum
import gc
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from eventtree.content import containers, scalars
from eventtree.content.fail_closed import MASK
from eventtree.content.walk import Converter, Walk, fields_of, name_of, slot
from eventtree.diagnostics import MRO_OF
from eventtree.event import JsonValue

SMALL_ARRAY = 64
"""Arrays up to this many numbers are written out; of larger ones only the dimensions."""

Path = tuple[object, object]
T = TypeVar("T")


def class_path(kind: type) -> Path:
    """Module and qualified name, the key of tables of other people's classes."""
    return type.__dict__["__module__"].__get__(kind), type.__dict__["__qualname__"].__get__(kind)


def nearest(kind: type, table: Mapping[Path, T]) -> T | None:
    """The entry of `table` for a class, or for the nearest class it inherits from."""
    return next((table[path] for each in MRO_OF(kind) if (path := class_path(each)) in table), None)


def from_enum(walk: Walk, value: enum.Enum, depth: int) -> JsonValue:
    """An enum's member, by its value."""
    return walk.value(slot(value, "_value_"), depth)


def from_secret(_walk: Walk, _value: object, _depth: int) -> JsonValue:
    """A value that its owner marked as secret."""
    return MASK


def from_name(walk: Walk, value: object, _depth: int) -> JsonValue:
    """An object that is only named."""
    return name_of(walk, value)


def from_object(walk: Walk, value: object, _depth: int) -> JsonValue:
    """Any object, by its class and its identity: to ask it for more would run its code, which may do anything."""
    return {**name_of(walk, value), "id": hex(id(value))}


def from_stream(walk: Walk, value: object, _depth: int) -> JsonValue:
    """An iterator, coroutine or file: named, never read. A generator goes by its function's name too."""
    named = name_of(walk, value)
    if type(value) in (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType):
        named["name"] = walk.text(value.__qualname__)  # type: ignore[attr-defined]
    return named


def from_pattern(walk: Walk, value: Any, _depth: int) -> JsonValue:
    """A compiled regular expression, by its text."""
    return walk.value(value.pattern, _depth)


def from_array(walk: Walk, value: Any, depth: int) -> JsonValue:
    """A numpy array or a column: its numbers if few, else its shape."""
    if math.prod(value.shape) <= SMALL_ARRAY:
        return walk.value(value.tolist(), depth)
    return {**from_shape(walk, value, depth), "dtype": walk.text(str(value.dtype))}


def from_shape(walk: Walk, value: Any, _depth: int) -> dict[str, JsonValue]:
    """A table or a tensor, whose numbers may lie on another device."""
    return {**name_of(walk, value), "shape": [int(length) for length in value.shape]}


def from_attribute(name: str) -> Converter:
    """Converter of objects that stand for one of their fields."""

    def convert(walk: Walk, value: object, depth: int) -> JsonValue:
        return walk.value(slot(value, name), depth)

    return convert


def from_proxy(walk: Walk, value: types.MappingProxyType[Any, Any], depth: int) -> JsonValue:
    """A read-only view, by the mapping behind it, which only the collector can name without running its code."""
    return walk.value(gc.get_referents(value)[0], depth)


def from_chain_map(walk: Walk, value: object, depth: int) -> JsonValue:
    """Several dicts as one; the first that has a key wins."""
    maps = slot(value, "maps")
    if type(maps) is not list or not {dict}.issuperset(map(type, maps)):
        return walk.value(maps, depth)
    merged: dict[Any, Any] = {}
    for one in reversed(maps):
        merged |= one
    return walk.value(merged, depth)


def from_number(walk: Walk, value: Any, depth: int) -> JsonValue:
    """A numpy scalar."""
    item = value.item()
    # A long double is its own item: Python has no number for it.
    return walk.text(repr(value)) if type(item) is type(value) else walk.value(item, depth)


def with_fields(walk: Walk, value: object, pairs: list[tuple[str, Any]], depth: int) -> JsonValue:
    """An object as a dict of its fields."""
    if blocked := walk.enter(value, depth):
        return blocked
    try:
        return walk.pairs(pairs[: walk.take(len(pairs))], depth + 1)
    finally:
        walk.leave(value)


def from_model(kind: type) -> Converter:
    """Converter of a pydantic model: fields and extras as stored, no serializer run, excluded ones left out."""
    # Later names are older; asking a current model for an old one warns.
    tables = (getattr(kind, name, None) for name in ("__pydantic_fields__", "model_fields", "__fields__"))
    known: dict[str, Any] = next((found for found in tables if isinstance(found, dict)), {})
    names = frozenset(name for name, field in known.items() if not getattr(field, "exclude", None))

    def convert(walk: Walk, value: object, depth: int) -> JsonValue:
        own = fields_of(value)
        if "root" in own and len(names) == 1 and getattr(kind, "__pydantic_root_model__", False):
            return walk.value(own["root"], depth)
        pairs = [(name, item) for name, item in list(own.items()) if name in names]
        return with_fields(walk, value, pairs + extras(value), depth)

    return convert


def extras(value: object) -> list[tuple[str, Any]]:
    """The extras of a pydantic model, and the private data of a workflow event."""
    found = slot(value, "__pydantic_extra__")
    more = slot(value, "__pydantic_private__")
    dynamic = more.get("_data") if type(more) is dict else None
    return [pair for one in (found, dynamic) if type(one) is dict for pair in list(one.items())]


def from_own_fields(walk: Walk, value: object, depth: int) -> JsonValue:
    """An object that is nothing but its attributes."""
    return with_fields(walk, value, list(fields_of(value).items()), depth)


class Missing:
    """Stands for a field that was never set."""


def from_attributes(names: tuple[str, ...]) -> Converter:
    """Converter of objects with these fields."""

    def convert(walk: Walk, value: object, depth: int) -> JsonValue:
        pairs = [(name, slot(value, name, Missing)) for name in names]
        return with_fields(walk, value, [pair for pair in pairs if pair[1] is not Missing], depth)

    return convert


def has(kind: type, name: str) -> bool:
    """Whether a class defines `name`, without asking its metaclass."""
    return any(name in type.__dict__["__dict__"].__get__(each) for each in MRO_OF(kind))


# --- the rules ----------------------------------------------------------------------------------------------------

PATHS: dict[Path, Callable[[type], Converter]] = {
    ("pydantic.types", "_SecretBase"): lambda _kind: from_secret,
    ("pydantic.v1.types", "SecretStr"): lambda _kind: from_secret,
    ("pydantic.v1.types", "SecretBytes"): lambda _kind: from_secret,
    ("pydantic.main", "BaseModel"): from_model,
    ("pydantic.v1.main", "BaseModel"): from_model,
    ("pydantic.networks", "_BaseUrl"): lambda _kind: scalars.from_text_of,
    ("pydantic.networks", "_BaseMultiHostUrl"): lambda _kind: scalars.from_text_of,
    ("pydantic_core", "Url"): lambda _kind: scalars.from_text_of,
    ("httpx", "URL"): lambda _kind: scalars.from_text_of,
    ("numpy", "generic"): lambda _kind: from_number,
    ("numpy", "ndarray"): lambda _kind: from_array,
    ("pandas.core.series", "Series"): lambda _kind: from_array,
    ("pandas.core.indexes.base", "Backlog"): lambda _kind: from_array,
    ("pandas.core.frame", "DataFrame"): lambda _kind: from_shape,
    ("torch", "Tensor"): lambda _kind: from_shape,
    ("jaxlib.xla_extension", "ArrayImpl"): lambda _kind: from_shape,
    ("jaxlib._jax", "ArrayImpl"): lambda _kind: from_shape,
    ("collections", "UserDict"): lambda _kind: from_attribute("data"),
    ("collections", "UserList"): lambda _kind: from_attribute("data"),
    ("collections", "UserString"): lambda _kind: from_attribute("data"),
    ("collections", "ChainMap"): lambda _kind: from_chain_map,
    ("re", "Pattern"): lambda _kind: from_pattern,
    ("ipaddress", "_BaseAddress"): lambda _kind: scalars.from_text_of,
    ("ipaddress", "_BaseNetwork"): lambda _kind: scalars.from_text_of,
    ("zoneinfo", "ZoneInfo"): lambda _kind: scalars.from_text_of,
    ("types", "SimpleNamespace"): lambda _kind: from_own_fields,
    ("argparse", "Namespace"): lambda _kind: from_own_fields,
    ("os", "_Environ"): lambda _kind: from_name,
    ("unittest.mock", "NonCallableMock"): lambda _kind: from_name,
}
"""Other people's classes, by path, and how the converter of one that inherits from them is made."""


def by_path(kind: type) -> Converter | None:
    """Classes that are known by name."""
    make = nearest(kind, PATHS)
    return None if make is None else make(kind)


def as_stream(kind: type) -> Converter | None:
    """An object that gives each item once: only its class may be named, or the app would miss items."""
    return from_stream if any(has(kind, name) for name in ("__next__", "__anext__", "__await__")) else None


def as_enum(kind: type) -> Converter | None:
    """Enums, before the str and int some of them are."""
    return from_enum if enum.Enum in MRO_OF(kind) else None


def as_fields(kind: type) -> Converter | None:
    """Dataclasses and named tuples, by their fields."""
    if has(kind, "__dataclass_fields__"):
        return from_attributes(tuple(field.name for field in fields(kind)))
    names = getattr(kind, "_fields", None)
    if tuple in MRO_OF(kind) and type(names) is tuple:
        return from_tuple_with(names)
    return None


def from_tuple_with(names: tuple[str, ...]) -> Converter:
    """Converter of a named tuple."""

    def convert(walk: Walk, value: tuple[Any, ...], depth: int) -> JsonValue:
        return with_fields(walk, value, list(zip(names, tuple.__iter__(value), strict=False)), depth)

    return convert


INHERITED = {**scalars.INHERITED, **containers.INHERITED}


def as_builtin(kind: type) -> Converter | None:
    """Classes that inherit from a builtin."""
    return next((INHERITED[each] for each in MRO_OF(kind) if each in INHERITED), None)


def as_object(_kind: type) -> Converter:
    """Anything else."""
    return from_object


RULES: tuple[Callable[[type], Converter | None], ...] = (
    by_path,
    as_enum,
    as_stream,
    as_fields,
    as_builtin,
    as_object,
)
EXACT = {**scalars.EXACT, **containers.EXACT, types.MappingProxyType: from_proxy}
