"""The encoding of a route's items: JSON, or what the vendor's protocol prescribes (OTLP: protobuf)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import pydantic_core

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

from eventtree.content.truncate import TOO_DEEP, truncate
from eventtree.kinds import JsonValue

DEEPEST = 200
"""Levels to which a too deep body is cut; common parsers of JSON accept about as many."""
LIGHT_BYTES = 512
"""Fields of at most this size are never shortened: ids, names, times, counts."""
UTC_Z = 0 if orjson is None else orjson.OPT_UTC_Z
"""A datetime in UTC ends with Z, as pydantic writes it."""
LINKS = re.compile(r"(^|_)(id|ids|parents|name|type|path)$")
"""Fields that name or link a row (HoneyHive's `children_ids` can be long)."""


@dataclass(frozen=True, slots=True)
class Format:
    """How items, and the requests made of them, become bytes."""

    content_type: str
    separator: bytes
    """Bytes between the items of a request."""
    read: Callable[[bytes], JsonValue]
    """An item, or a request's body, as JSON: for people, exports and dead letters."""
    write: Callable[[JsonValue], bytes]
    """An item from the JSON that `read` gave."""
    shorten: Callable[[bytes, int], bytes | None]
    """An item in at most so many bytes, by shortening its texts; None if that is impossible."""


def to_json(value: JsonValue) -> bytes:
    """Compact UTF-8 JSON. Levels too deep for JSON parsers are replaced by a mark."""
    if orjson is not None:
        try:
            return orjson.dumps(value, None, UTC_Z)
        except TypeError:
            pass  # an integer of more than 64 bits, a text that is no Unicode, too many levels
    try:
        return pydantic_core.to_json(value, inf_nan_mode="null")
    except ValueError:
        return pydantic_core.to_json(_cut(value, DEEPEST), inf_nan_mode="null")


def _cut(value: JsonValue, levels: int) -> JsonValue:
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return TOO_DEEP
    if isinstance(value, list):
        return [_cut(item, levels - 1) for item in value]
    return {key: _cut(item, levels - 1) for key, item in value.items()}


def _shortened(content: bytes, max_bytes: int) -> bytes | None:
    row = pydantic_core.from_json(content)
    shorter = truncate_row(row, max_bytes) if isinstance(row, dict) else None
    return None if shorter is None else to_json(shorter)


def truncate_row(row: dict[str, JsonValue], max_bytes: int) -> dict[str, JsonValue] | None:
    """The row with its heavy fields shortened to fit; None if a field would have to be removed.

    Light fields, and those that name or link the row, stay as they are. `truncate` gets all heavy ones together, so
    that the longest texts are shortened most. A lone heavy field that is an object may be the row itself in a wrapper
    (`{"interaction": {…}}`): then its fields are shortened.
    """
    heavy = {key: part for key, part in row.items() if not LINKS.search(key) and len(to_json(part)) > LIGHT_BYTES}
    light = {key: None if key in heavy else part for key, part in row.items()}
    room = max_bytes - len(to_json(light))
    if len(heavy) == 1:
        [(key, inner)] = heavy.items()
        shorter_inner = truncate_row(inner, room) if isinstance(inner, dict) else None
        if shorter_inner is not None:
            return {**row, key: shorter_inner}
    shorter = truncate(heavy, room) if heavy and room > 0 else None
    return {**row, **shorter} if isinstance(shorter, dict) and shorter.keys() == heavy.keys() else None


JSON = Format("application/json", b",", json.loads, to_json, _shortened)
