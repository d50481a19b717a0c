"""The values that vendors and delivery exchange: items, routes, lookups, requests, verdicts. Frozen, without logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from eventtree.kinds import JsonValue
from eventtree.serializer.formats import JSON, Format

NONE: Mapping[str, str] = {}


class Item(NamedTuple):
    """The smallest unit sent to a vendor: one row, one log, one interaction, or the call that completes a trace.

    `key` identifies it at the vendor, and is the same whenever the tree is encoded, so that a restart can skip items
    that were taken. `event_ids` are the events that are delivered with it. Items of a tree are sent in the order of
    `wave`; items of one wave may be sent together or at the same time.
    """

    key: str
    tree_id: str
    event_ids: tuple[str, ...]
    route: str
    content: bytes
    wave: int = 0
    path_params: tuple[tuple[str, str], ...] = ()
    """Values for the `{names}` in the path, as (("log_id", "…"),). Items with different ones share no request."""


new_item: Callable[[tuple[str, str, tuple[str, ...], str, bytes, int, tuple[tuple[str, str], ...]]], Item]
new_item = partial(tuple.__new__, Item)
"""An item from a tuple of all its fields, in a third of the time that the class takes."""


class Encoded(NamedTuple):
    """A tree encoded for one vendor. Every event of the tree is in an item's `event_ids` or in `dropped`."""

    items: tuple[Item, ...]
    dropped: Mapping[str, str] = NONE
    """Event id → reason, for events that cannot be sent to this vendor. The report counts them by reason."""


@dataclass(frozen=True, slots=True)
class Route:
    """How items become one HTTP call.

    `path` may hold `{names}`: an item's `path_params` fill them when the request is made, values from lookups when it
    is sent. `envelope` is put around the joined items.
    """

    method: str
    path: str
    envelope: tuple[bytes, bytes] | None = None
    max_items: int = 1
    status_actions: Mapping[int, str] = field(default_factory=dict)
    """HTTP status → delivery's action, where this route differs from the vendor's others."""
    format: Format = JSON


@dataclass(frozen=True, slots=True)
class Lookup:
    """A call that is made once, and whose answer fills a `{name}` in paths. Exports show `export_as` instead."""

    name: str
    method: str
    path: str
    content: bytes
    read: Callable[[JsonValue], str | None]
    export_as: str


class Request(NamedTuple):
    """One HTTP call, and the items inside it."""

    method: str
    url: str
    content: bytes
    items: tuple[Item, ...]
    headers: Mapping[str, str] = NONE
    """Headers without the key: delivery adds the vendor's `auth()` when it sends."""
    format: Format = JSON

    @property
    def body(self) -> JsonValue:
        """The body as JSON."""
        return self.format.read(self.content)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the events this request delivers."""
        return tuple(event_id for item in self.items for event_id in item.event_ids)


class Verdict(NamedTuple):
    """The vendor's answer about each item of a request. Items that are not named here were taken."""

    refused: Mapping[str, str] = NONE
    """Item key → the vendor's words, for items it will never take: they become dead letters."""
    retry: frozenset[str] = frozenset()
    """Keys of items that the vendor did not take this time. They are sent again."""
    rejected: Mapping[str, str] = NONE
    """Item key → the vendor's words, if it states how many items it left out but not which, and they must not be sent
    again. Any items are named for them; their events count as dropped, `rejected`.
    """
    learned: Mapping[str, str] = NONE
    """Values to remember, such as a log's id at the vendor. They fill `{names}`, and are given to `encode_feedback`."""
    warning: str = ""
    """The vendor's remark on a request it has taken. It is logged once."""
    verified: bool = True
    """False if a 2xx came with an unexpected body."""
