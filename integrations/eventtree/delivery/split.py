"""Making requests smaller: fewer items, then shorter items. Pure.

An item that alone is too large keeps its shape. Its light fields stay as they are, and so do those that name or link
it, whatever their size: `truncate` sees only the heavy ones, all together, so that the longest texts pay most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pydantic_core

from eventtree.content.truncate import truncate
from eventtree.event import JsonValue
from eventtree.serializer.requests import Item
from eventtree.serializer.vendor import to_json

LIGHT_BYTES = 512
"""No id, name, time or count of a vendor's format is longer."""
LINKS = re.compile(r"(^|_)(id|ids|parents|name|type|path)$")
"""Fields that name or link a row (HoneyHive's `children_ids` can be long)."""


def halves(items: Sequence[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Two runs of items in their order; the second is empty for a single item.

    Cut at the power of two nearest to the middle: isolating 10 poisoned of 100 then takes 85 requests at worst, not 91.
    """
    power = 1 << (len(items) - 1).bit_length() >> 1
    middle = max(power if 3 * power <= 2 * len(items) else power // 2, 1)
    return tuple(items[:middle]), tuple(items[middle:])


def truncate_item(item: Item, max_bytes: int) -> Item | None:
    """The same item with content of at most `max_bytes`; None if it cannot be brought there, or is there already."""
    if len(item.content) <= max_bytes:
        return None
    row = pydantic_core.from_json(item.content)
    shorter = truncate_row(row, max_bytes) if isinstance(row, dict) else None
    content = to_json(shorter)
    return item._replace(content=content) if shorter is not None and len(content) <= max_bytes else None


def truncate_row(row: dict[str, JsonValue], max_bytes: int) -> dict[str, JsonValue] | None:
    """The row with its heavy fields shortened to fit; None where a field would have to go.

    A lone heavy field that is an object may be the row itself in a wrapper (`{"interaction": {…}}`): it is looked into.
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
