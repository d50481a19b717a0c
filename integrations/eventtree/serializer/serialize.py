"""Trees + vendor → requests: order, waves, and packing by count and bytes. No I/O; shared by all vendors.

A wave holds what may travel together: nothing of a wave is made before the wave below it. Trees that are serialized
together share waves, so that a hundred small trees fill a batch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from eventtree.diagnostics import logger
from eventtree.event import EventTree
from eventtree.serializer.vendor import chunks
from eventtree.vendors import Encoded, Item, Request, Vendor, resolve_vendors

HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


def serialize(trees: Iterable[EventTree], vendor: Vendor | str) -> Iterator[Request]:
    """Every request `vendor` needs for `trees`, in the order they have to be sent.

    `vendor` is a value, or a name with its settings from the environment, as for handlers. Yields `Request` values with
    `method`, `url`, `body` (JSON) and `ids` (the events inside). Values that only a reply can tell (a project's id)
    stand in the url by name; delivery looks them up, `export` shows the project's name. A tree that the vendor takes
    nothing of makes no request: logger `eventtree` warns of it, with the reason.

    Raises:
        ConfigError: it is no vendor, its name is unknown, or a setting is missing.
    """
    (taker,) = resolve_vendors((vendor,))
    encoded = [taker.encode(tree) for tree in trees]
    _warn_of_drops(taker, encoded)
    for wave in waves(item for one in encoded for item in one.items):
        yield from pack(wave, taker)


def _warn_of_drops(vendor: Vendor, encoded: Iterable[Encoded]) -> None:
    dropped = Counter(reason for one in encoded if not one.items for reason in set(one.dropped.values()))
    for reason, trees in dropped.items():
        hint = vendor.drop_hints.get(reason, "")
        logger.warning("%s takes nothing of %d trees: %s. %s", vendor.name, trees, reason, hint)


def waves(items: Iterable[Item]) -> list[list[Item]]:
    """Items grouped by wave, lowest first; the order within a wave is kept."""
    ordered = sorted(items, key=lambda item: item.wave)
    return [list(group) for _, group in groupby(ordered, key=lambda item: item.wave)]


def pack(items: Sequence[Item], vendor: Vendor) -> Iterator[Request]:
    """Requests for items of one wave: those of one route and place share, up to the route's count and size."""
    together: dict[tuple[str, tuple[tuple[str, str], ...]], list[Item]] = {}
    for item in items:
        together.setdefault((item.route, item.place), []).append(item)
    for (route_name, _), group in together.items():
        for chunk in chunks(group, vendor.routes[route_name], vendor.max_bytes):
            yield request(chunk, vendor)


def request(items: tuple[Item, ...], vendor: Vendor) -> Request:
    """One request for items of one route and place; also how delivery makes smaller ones after a refusal."""
    route = vendor.routes[items[0].route]
    content = b",".join(item.content for item in items)
    if route.envelope is not None:
        content = route.envelope[0] + content + route.envelope[1]
    return Request(route.method, vendor.base_url + fill(route.path, dict(items[0].place)), content, items, HEADERS)


NAMES = re.compile(r"\{([^{}]+)\}")


def names_in(path: str) -> tuple[str, ...]:
    """The `{names}` in a path or body that still have no value."""
    return tuple(dict.fromkeys(NAMES.findall(path)))


def for_export(url: str, vendor: Vendor) -> str:
    """The url with names standing in for what only a reply can tell."""
    found = {name: vendor.lookup_of(name) for name in names_in(url)}
    return fill(url, {name: lookup.export_as for name, lookup in found.items() if lookup is not None})


def fill(path: str, values: Mapping[str, str]) -> str:
    """Put known values into a path's `{names}`; unknown names stay."""
    for name, value in values.items():
        path = path.replace("{" + name + "}", value)
    return path
