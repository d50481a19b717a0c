"""How the items of a route are written: JSON, unless a vendor's protocol wants something else (OTLP: protobuf)."""

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
from eventtree.event import JsonValue

DEEPEST = 200
"""Levels of a body that had to be cut; common readers of JSON take about as many."""
LIGHT_BYTES = 512
"""No id, name, time or count of a vendor's format is longer."""
LINKS = re.compile(r"(^|_)(id|ids|parents|name|type|path)$")
"""Fields that name or link a row (HoneyHive's `children_ids` can be long)."""


@dataclass(frozen=True, slots=True)
class Format:
    """The bytes of items, and of the requests made of them."""

    content_type: str
    separator: bytes
    """Stands between the items of a request."""
    read: Callable[[bytes], JsonValue]
    """An item, or a request's body, as JSON: for people, exports and dead letters."""
    write: Callable[[JsonValue], bytes]
    """The item again, from what `read` gave."""
    shorten: Callable[[bytes, int], bytes | None]
    """The item in at most so many bytes, its texts shortened; None where it cannot be brought there."""


def to_json(value: JsonValue) -> bytes:
    """Compact UTF-8 JSON; levels that are deeper than JSON readers go give way to a mark."""
    if orjson is not None:
        try:
            return orjson.dumps(value)
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
    """The row with its heavy fields shortened to fit; None where a field would have to go.

    Light fields stay as they are, and so do those that name or link the row, whatever their size: `truncate` sees only
    the heavy ones, all together, so that the longest texts pay most. A lone heavy field that is an object may be the
    row itself in a wrapper (`{"interaction": {…}}`): it is looked into.
    """
    heavy = {key: part for key, part in row.items() if not LINKS.search(key) and len(to_json(part)) > LIGHT_BYTES}
    light = {key: None if key in heavy else part for key, part in row.items()}
    room = max_bytes - len(to_json(light))
    if len(heavy) == 1:
        [(key, inner)] = heavy.items()
        within = truncate_row(inner, room) if isinstance(inner, dict) else None
        if within is not None:
            return {**row, key: within}
    shorter = truncate(heavy, room) if heavy and room > 0 else None
    return {**row, **shorter} if isinstance(shorter, dict) and shorter.keys() == heavy.keys() else None


JSON = Format("application/json", b",", json.loads, to_json, _shortened)
