"""Converts objects of all other classes. The converter is chosen once for each class, and remembered.

The rules are one table, tried in order: objects that must not be touched, then those with fields, then those that
inherit from a builtin. Fields are read from where Python keeps them, without properties and `__getattr__`. All other
objects are only named: their own code (a repr, an iteration) may query a database, wait, consume data, or never end.
"""

from __future__ import annotations

import dataclasses
import enum
import gc
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from eventtree.content.python_values import EXACT as BUILTIN
from eventtree.content.python_values import INHERITED, from_text_by
from eventtree.content.walk import MASK, MAX_KINDS, MISSING, Converter, Fields, Reader, Walk, fields_of, name_of, slot
from eventtree.diagnostics import DICT_OF, MODULE_OF, MRO_OF, QUALNAME_OF
from eventtree.kinds import JsonValue
from eventtree.remembered import Remembered

SMALL_ARRAY = 64
"""Arrays up to this many numbers are recorded; of larger ones only the dimensions."""

Path = tuple[object, object]
T = TypeVar("T")


def class_path(kind: type) -> Path:
    """Module and qualified name, the key of tables of other people's classes."""
    return MODULE_OF(kind), QUALNAME_OF(kind)


def nearest(kind: type, table: Mapping[Path, T]) -> T | None:
    """The entry of `table` for a class, or for the nearest class it inherits from."""
    return next((table[path] for each in MRO_OF(kind) if (path := class_path(each)) in table), None)


def has(kind: type, name: str) -> bool:
    """Whether a class defines `name`, without asking its metaclass."""
    return any(name in DICT_OF(each) for each in MRO_OF(kind))


# --- objects with fields, or read as another value -----------------------------------------------------------------


def with_names(names: tuple[str, ...]) -> Converter:
    """Converter of objects with these fields; a field that was never set is left out."""
    return Reader(
        lambda value: Fields((name, item) for name in names if (item := slot(value, name, MISSING)) is not MISSING)
    )


def names_of(kind: type) -> frozenset[str]:
    """The fields of a pydantic model's class that are not excluded from its own JSON."""
    # Later names are older; asking a current model for an old one warns.
    tables = (getattr(kind, name, None) for name in ("__pydantic_fields__", "model_fields", "__fields__"))
    known: dict[str, Any] = next((found for found in tables if isinstance(found, dict)), {})
    return frozenset(name for name, field in known.items() if not getattr(field, "exclude", None))


NAMES: Remembered[type, frozenset[str]] = Remembered(MAX_KINDS, names_of)


def model(value: object) -> Any:
    """A pydantic model's stored fields and extras, without its serializer, and a workflow event's private data."""
    kind, own = type(value), fields_of(value)
    names = NAMES[kind]
    if "root" in own and len(names) == 1 and getattr(kind, "__pydantic_root_model__", False):
        return own["root"]
    found = Fields(own)
    for name in [name for name in found if name not in names]:
        del found[name]
    more = slot(value, "__pydantic_private__")
    for one in (slot(value, "__pydantic_extra__"), more.get("_data") if type(more) is dict else None):
        if type(one) is dict:
            found.update(one)
    return found


def from_number(walk: Walk, value: Any, depth: int) -> JsonValue:
    """A numpy scalar."""
    item = value.item()
    # The item of a long double is itself: Python has no number for it.
    return walk.text(repr(value)) if type(item) is type(value) else walk.value(item, depth)


def from_array(walk: Walk, value: Any, depth: int) -> JsonValue:
    """A numpy array or a column: its numbers if few, else its shape."""
    if math.prod(value.shape) <= SMALL_ARRAY:
        return walk.value(value.tolist(), depth)
    return {**from_shape(walk, value, depth), "dtype": walk.text(str(value.dtype))}


# --- objects that are only named -----------------------------------------------------------------------------------


def from_shape(walk: Walk, value: Any, _depth: int) -> dict[str, JsonValue]:
    """The shape of a table or a tensor, whose numbers may be on another device."""
    return {**name_of(walk, value), "shape": [int(length) for length in value.shape]}


def from_stream(walk: Walk, value: object, _depth: int) -> JsonValue:
    """The name of an iterator, coroutine or file, which is never read. A generator also has its function's name."""
    named = name_of(walk, value)
    if type(value) in (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType):
        named["name"] = walk.text(value.__qualname__)  # type: ignore[attr-defined]
    return named


def from_object(walk: Walk, value: object, _depth: int) -> JsonValue:
    """An object's class and identity: anything more would run its code, which may do anything."""
    return {**name_of(walk, value), "id": hex(id(value))}


# --- the rules ----------------------------------------------------------------------------------------------------

PATHS: dict[Path, Converter] = {
    **dict.fromkeys(
        [("pydantic.types", "_SecretBase"), ("pydantic.v1.types", "SecretStr"), ("pydantic.v1.types", "SecretBytes")],
        lambda _walk, _value, _depth: MASK,
    ),
    **dict.fromkeys([("pydantic.main", "BaseModel"), ("pydantic.v1.main", "BaseModel")], Reader(model)),
    **dict.fromkeys(
        [("pydantic.networks", "_BaseUrl"), ("pydantic.networks", "_BaseMultiHostUrl"), ("pydantic_core", "Url"),
         ("httpx", "URL"), ("zoneinfo", "ZoneInfo"), ("ipaddress", "_BaseAddress"), ("ipaddress", "_BaseNetwork")],
        from_text_by(str),
    ),
    ("numpy", "generic"): from_number,
    **dict.fromkeys(
        [("numpy", "ndarray"), ("pandas", "Series"), ("pandas.core.series", "Series"), ("pandas", "Index"),
         ("pandas.core.indexes.base", "Index")],
        from_array,
    ),
    **dict.fromkeys(
        [("pandas", "DataFrame"), ("pandas.core.frame", "DataFrame"), ("torch", "Tensor"),
         ("jaxlib.xla_extension", "ArrayImpl"), ("jaxlib._jax", "ArrayImpl")],
        from_shape,
    ),
    **dict.fromkeys(
        [("collections", f"User{kind}") for kind in ("Dict", "List", "String")],
        Reader(lambda value: slot(value, "data")),
    ),
    ("collections", "ChainMap"): Reader(lambda value: slot(value, "maps")),
    ("re", "Pattern"): lambda walk, value, depth: walk.value(value.pattern, depth),
    **dict.fromkeys(
        [("types", "SimpleNamespace"), ("argparse", "Namespace")],
        Reader(lambda value: Fields(fields_of(value))),
    ),
    **dict.fromkeys([("os", "_Environ"), ("unittest.mock", "NonCallableMock")], name_of),
}  # fmt: skip
"""Path of another package's class → converter of it and its subclasses."""


def as_fields(kind: type) -> Converter | None:
    """The converter of a dataclass or a named tuple, by its fields."""
    if has(kind, "__dataclass_fields__"):
        return with_names(tuple(field.name for field in dataclasses.fields(kind)))
    names = getattr(kind, "_fields", None)
    if tuple in MRO_OF(kind) and type(names) is tuple:
        return Reader(lambda value: Fields(zip(names, tuple.__iter__(value), strict=False)))
    return None


STREAMS = ("__next__", "__anext__", "__await__")

RULES: tuple[Callable[[type], Converter | None], ...] = (
    lambda kind: nearest(kind, PATHS),
    # Enums come before str and int, which some of them inherit from.
    lambda kind: Reader(lambda value: slot(value, "_value_")) if enum.Enum in MRO_OF(kind) else None,
    # An object that gives each item once is only named: reading it would take the items from the app.
    lambda kind: from_stream if any(has(kind, name) for name in STREAMS) else None,
    as_fields,
    lambda kind: next((INHERITED[each] for each in MRO_OF(kind) if each in INHERITED), None),
    lambda _kind: from_object,
)
"""Each gives the converter of a class, or None."""

EXACT: dict[type, Converter] = {
    **BUILTIN,
    # The mapping behind it, which only the garbage collector can name without running its code.
    types.MappingProxyType: Reader(lambda value: gc.get_referents(value)[0]),
}
