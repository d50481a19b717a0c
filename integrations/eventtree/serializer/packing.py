"""From items to requests: waves, groups, bytes; and smaller requests after a refusal. Pure; shared by all vendors.

A wave has items that may be sent together, after all lower waves. Trees that are serialized together share waves, so
that a hundred small trees fill a batch. Bodies are joined once, when a request is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from eventtree.pace import let_go, paced
from eventtree.serializer.formats import JSON, Format
from eventtree.serializer.requests import Item, Request, Route
from eventtree.serializer.vendor import Vendor

Group = tuple[Item, ...]
"""Items of one wave, one route and the same path parameters that go into one request."""


def waves(items: Iterable[Item], vendor: Vendor) -> list[list[Group]]:
    """Items as groups, wave by wave, lowest first. The order within a wave stays."""
    together: dict[int, list[Item]] = {}
    for item in paced(items):
        together.setdefault(item.wave, []).append(item)
    return [list(groups(together[wave], vendor)) for wave in sorted(together)]


def groups(items: Sequence[Item], vendor: Vendor) -> Iterator[Group]:
    """Groups of one wave: items of one route and the same path parameters, up to the route's count and size."""
    together: dict[tuple[str, tuple[tuple[str, str], ...]], list[Item]] = {}
    for item in paced(items):
        together.setdefault((item.route, item.path_params), []).append(item)
    for (route_name, _), group in together.items():
        yield from chunks(group, vendor.routes[route_name], vendor.max_bytes)


def chunks(items: Sequence[Item], route: Route, max_bytes: int) -> Iterator[Group]:
    """Cut items of one route into groups within the route's count and the vendor's size.

    Items of one tree that fit into one group stay together, so that no child is sent at the same time as its parent.
    """
    if route.max_items == 1:
        yield from zip(paced(items))
        return
    group: list[Item] = []
    size = 0
    for _, block in groupby(paced(items), key=TREE_ID):
        together = list(block)
        length = sum([len(item.content) + 1 for item in paced(together)])
        if len(together) <= route.max_items and length <= max_bytes:
            if group and (len(group) + len(together) > route.max_items or size + length > max_bytes):
                yield tuple(group)
                group, size = [], 0
            group += together
            size += length
            continue
        for item in paced(together):
            length = len(item.content) + 1
            if group and (len(group) >= route.max_items or size + length > max_bytes):
                yield tuple(group)
                group, size = [], 0
            group.append(item)
            size += length
    if group:
        yield tuple(group)


def in_waves(items: list[Item], route: Route, max_bytes: int, first: int = 0) -> Iterator[Item]:
    """One tree's items, parents first, with a wave for each batch, so that no child is sent before its parent.

    The given items have the wave `first`. If there are several batches, the list is emptied.
    """
    if len(items) <= route.max_items and sum([len(item.content) + 1 for item in items]) <= max_bytes:
        yield from items  # the usual case: one batch
        return
    for wave, batch in enumerate(chunks(items, route, max_bytes), first):
        yield from (item if item.wave == wave else item._replace(wave=wave) for item in batch)
    let_go(items)


def request(items: Group, vendor: Vendor) -> Request:
    """The request of a group. Delivery also makes smaller requests with it after a refusal."""
    route = vendor.routes[items[0].route]
    form = route.format
    content = form.separator.join([item.content for item in items])
    if route.envelope is not None:
        content = b"".join((route.envelope[0], content, route.envelope[1]))
    url = vendor.base_url + fill(route.path, dict(items[0].path_params))
    headers = {"Content-Type": form.content_type, "Accept": form.content_type}
    return Request(route.method, url, content, items, headers, form)


def halves(items: Sequence[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Two parts of the items, in order; the second is empty for a single item.

    Cut at the power of two nearest to the middle: isolating 10 poisoned of 100 then takes 85 requests at worst, not 91.
    """
    power = 1 << (len(items) - 1).bit_length() >> 1
    middle = max(power if 3 * power <= 2 * len(items) else power // 2, 1)
    return tuple(items[:middle]), tuple(items[middle:])


def truncate_item(item: Item, max_bytes: int, form: Format = JSON) -> Item | None:
    """The item with content of at most `max_bytes`; None if it is no larger, or cannot be shortened so far."""
    if len(item.content) <= max_bytes:
        return None
    content = form.shorten(item.content, max_bytes)
    return item._replace(content=content) if content is not None and len(content) <= max_bytes else None


TREE_ID = attrgetter("tree_id")
NAMES = re.compile(r"\{([^{}]+)\}")


def names_in(path: str) -> tuple[str, ...]:
    """The `{names}` in a path or body that still have no value."""
    return tuple(dict.fromkeys(NAMES.findall(path)))


def export_url(url: str, vendor: Vendor) -> str:
    """The url with readable names instead of ids that only the server knows."""
    found = {name: vendor.lookup_of(name) for name in names_in(url)}
    return fill(url, {name: lookup.export_as for name, lookup in found.items() if lookup is not None})


def fill(path: str, values: Mapping[str, str]) -> str:
    """Put values into a path's `{names}`; names without a value stay."""
    for name, value in values.items():
        path = path.replace("{" + name + "}", value)
    return path
