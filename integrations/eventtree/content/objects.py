"""Objects of all other classes. What to do with one is decided once for its class, here, and remembered.

The rules stand in one table, tried in order: what must not be touched first, then what has fields, then what can be
read like a container. Fields are read from where Python keeps them, past properties and `__getattr__`.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, ItemsView, Mapping, MappingView, Sequence, Set
from dataclasses import fields
from typing import Any

from eventtree.content import containers, scalars
from eventtree.content.redact import MASK
from eventtree.content.walk import ADDRESS, MRO_OF, Converter, Walk, name_of, qualified
from eventtree.event import JsonValue

SMALL_ARRAY = 64
"""Arrays up to this many numbers are written out; of larger ones the shape is told."""
REPR_LENGTH = 500

Path = tuple[object, object]


def class_path(kind: type) -> Path:
    """Module and qualified name, the key of tables of other people's classes."""
    return type.__dict__["__module__"].__get__(kind), type.__dict__["__qualname__"].__get__(kind)


def fields_of(value: object) -> dict[str, Any]:
    """The object's own `__dict__`, whatever its class does with attributes; to be read only."""
    own = object.__getattribute__(value, "__dict__")
    return own if type(own) is dict else {}


def from_enum(walk: Walk, value: enum.Enum, depth: int) -> JsonValue:
    """An enum's member, by its value."""
    return walk.value(value._value_, depth)


def from_secret(_walk: Walk, _value: object, _depth: int) -> JsonValue:
    """What its owner marked as secret."""
    return MASK


def from_name(_walk: Walk, value: object, _depth: int) -> JsonValue:
    """An object that is only named."""
    return name_of(value)


def from_stream(walk: Walk, value: object, _depth: int) -> JsonValue:
    """An iterator, coroutine or file: named, never read. A generator goes by its function's name too."""
    named = {"object": qualified(type(value))}
    if type(value) in (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType):
        named["name"] = walk.text(value.__qualname__)  # type: ignore[attr-defined]
    return named


def from_repr(walk: Walk, value: object, _depth: int) -> JsonValue:
    """An object that says of itself what it is; without its address, which differs from run to run."""
    said = ADDRESS.sub("", str.__str__(repr(value)))
    short = walk.text(said) if len(said) <= REPR_LENGTH else walk.cut(said, REPR_LENGTH)
    return {"object": qualified(type(value)), "repr": short}


def from_array(walk: Walk, value: Any, depth: int) -> JsonValue:
    """A numpy array, a tensor, a column: its numbers if few, else its shape."""
    shape = tuple(value.shape)
    count = 1
    for length in shape:
        count *= int(length)
    if count <= SMALL_ARRAY:
        return walk.value(value.tolist(), depth)
    return {"object": qualified(type(value)), "shape": [int(n) for n in shape], "dtype": walk.text(str(value.dtype))}


def from_number(walk: Walk, value: Any, depth: int) -> JsonValue:
    """A numpy scalar."""
    item = value.item()
    return from_repr(walk, value, depth) if type(item) is type(value) else walk.value(item, depth)


def with_fields(walk: Walk, value: object, pairs: list[tuple[str, Any]], depth: int) -> JsonValue:
    """An object as a dict of its fields."""
    if blocked := walk.enter(value, depth):
        return blocked
    try:
        return walk.pairs(pairs[: walk.take(len(pairs))], depth + 1)
    finally:
        walk.leave(value)


def from_model(kind: type) -> Converter:
    """Converter of a pydantic model: fields and extras as they are held, no serializer run, excluded ones left out."""
    # Later names are older; asking a current model for an old one warns.
    held = (getattr(kind, name, None) for name in ("__pydantic_fields__", "model_fields", "__fields__"))
    known: dict[str, Any] = next((found for found in held if isinstance(found, dict)), {})
    names = frozenset(name for name, field in known.items() if not getattr(field, "exclude", None))

    def convert(walk: Walk, value: object, depth: int) -> JsonValue:
        own = fields_of(value)
        if "root" in own and len(names) == 1 and getattr(kind, "__pydantic_root_model__", False):
            return walk.value(own["root"], depth)
        pairs = [(name, item) for name, item in list(own.items()) if name in names]
        return with_fields(walk, value, pairs + extras(value), depth)

    return convert


def extras(value: object) -> list[tuple[str, Any]]:
    """What a pydantic model holds beside its fields, and what a workflow event keeps in private ones."""
    found = slot(value, "__pydantic_extra__")
    more = slot(value, "__pydantic_private__")
    dynamic, result = (more.get("_data"), more.get("_result")) if type(more) is dict else (None, None)
    pairs = [pair for held in (found, dynamic) if type(held) is dict for pair in list(held.items())]
    return pairs if result is None else [*pairs, ("result", result)]


def from_own_fields(walk: Walk, value: object, depth: int) -> JsonValue:
    """An object that is nothing but its attributes."""
    return with_fields(walk, value, list(fields_of(value).items()), depth)


def slot(value: object, name: str) -> Any:
    """An attribute as Python keeps it, or None."""
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None


class Missing:
    """Stands for a field that was never set."""


def from_attributes(names: tuple[str, ...]) -> Converter:
    """Converter of objects with these fields."""

    def convert(walk: Walk, value: object, depth: int) -> JsonValue:
        pairs = [(name, slot_or_missing(value, name)) for name in names]
        return with_fields(walk, value, [pair for pair in pairs if pair[1] is not Missing], depth)

    return convert


def slot_or_missing(value: object, name: str) -> Any:
    """An attribute as Python keeps it, or Missing."""
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return Missing


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
    ("types", "SimpleNamespace"): lambda _kind: from_own_fields,
    ("argparse", "Namespace"): lambda _kind: from_own_fields,
    ("os", "_Environ"): lambda _kind: from_name,
    ("unittest.mock", "NonCallableMock"): lambda _kind: from_name,
}
"""Other people's classes, by path, and how the converter of one that inherits from them is made."""


def by_path(kind: type) -> Converter | None:
    """Classes that are known by name."""
    return next((PATHS[path](kind) for each in MRO_OF(kind) if (path := class_path(each)) in PATHS), None)


def as_stream(kind: type) -> Converter | None:
    """Whatever gives each item once: naming it is all that may be done."""
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


def as_array(kind: type) -> Converter | None:
    """Arrays, tensors and columns of any library."""
    return from_array if all(has(kind, name) for name in ("tolist", "shape", "dtype")) else None


ABSTRACT: tuple[tuple[type, Converter], ...] = (
    (Mapping, containers.from_mapping),
    (ItemsView, containers.from_sequence),
    (MappingView, containers.from_sequence),
    (Set, containers.from_set),
    (Sequence, containers.from_sequence),
)


def as_container(kind: type) -> Converter | None:
    """Other mappings, sets and sequences, which may be read any number of times."""
    return next((convert for abstract, convert in ABSTRACT if issubclass(kind, abstract)), None)


def as_object(kind: type) -> Converter:
    """Anything: what it says of itself if it has a repr of its own, else its class."""
    speaker = next(each for each in MRO_OF(kind) if "__repr__" in type.__dict__["__dict__"].__get__(each))
    return from_name if speaker is object else from_repr


RULES: tuple[Callable[[type], Converter | None], ...] = (
    by_path,
    as_enum,
    as_stream,
    as_fields,
    as_builtin,
    as_array,
    as_container,
    as_object,
)
EXACT = {**scalars.EXACT, **containers.EXACT}
