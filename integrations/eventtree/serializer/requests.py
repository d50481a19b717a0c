"""The values a vendor deals in: items, routes, lookups, requests, verdicts. Frozen, without logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from eventtree.event import JsonValue
from eventtree.serializer.formats import JSON, Format

NONE: Mapping[str, str] = {}


class Item(NamedTuple):
    """The smallest thing a vendor is sent: one row, one log, one interaction, or the call that completes a trace.

    `key` names it within the vendor and stays the same whenever the tree is encoded again, so that a restart can skip
    what was already taken. `event_ids` are the events that count as delivered once it is. Items of a tree go out in
    the order of `wave`; all items of one wave may travel together or side by side.
    """

    key: str
    tree_id: str
    event_ids: tuple[str, ...]
    route: str
    content: bytes
    wave: int = 0
    path_params: tuple[tuple[str, str], ...] = ()
    """Values for the `{names}` in the path, as (("log_id", "…"),). Items with different ones share no request."""


made: Callable[[tuple[str, str, tuple[str, ...], str, bytes, int, tuple[tuple[str, str], ...]]], Item]
made = partial(tuple.__new__, Item)
"""An item of all its fields, as the class makes it in thrice the time."""


class Encoded(NamedTuple):
    """A tree as one vendor takes it. Every event of the tree is in an item's `event_ids` or in `dropped`."""

    items: tuple[Item, ...]
    dropped: Mapping[str, str] = NONE
    """Event id → reason, for events that the vendor has no field for. The report counts them by the reason."""


@dataclass(frozen=True, slots=True)
class Route:
    """How items become one HTTP call.

    `path` may hold `{names}`: an item's `path_params` fill them when the request is made, what delivery learned from a
    lookup fills them when it is sent. `envelope` is put around the joined items; None puts nothing there.
    """

    method: str
    path: str
    envelope: tuple[bytes, bytes] | None = None
    max_items: int = 1
    status_actions: Mapping[int, str] = field(default_factory=dict)
    """HTTP status → what delivery does, where this route differs from the vendor's other ones."""
    format: Format = JSON


@dataclass(frozen=True, slots=True)
class Lookup:
    """A call that is made once, and whose answer fills a `{name}` in paths. Exports show `export_as` there instead."""

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
        """What goes over the wire, as JSON."""
        return self.format.read(self.content)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the events this request delivers."""
        return tuple(event_id for item in self.items for event_id in item.event_ids)


class Verdict(NamedTuple):
    """What an answer says about each item of a request. The vendor has taken all items that are named nowhere here."""

    refused: Mapping[str, str] = NONE
    """Item key → the vendor's words. Such an item becomes a dead letter."""
    retry: frozenset[str] = frozenset()
    """Keys of items that the vendor did not take this time. They are sent again."""
    rejected: Mapping[str, str] = NONE
    """Item key → the vendor's words, where it says how many it left out, not which, and forbids to send them again: any
    of them stand for those. Their events count as dropped, `rejected`.
    """
    learned: Mapping[str, str] = NONE
    """Values to remember, such as a log's id at the vendor. They fill `{names}` and come back to `encode_feedback`."""
    warning: str = ""
    """What the vendor says though it has taken all. It is logged once."""
    verified: bool = True
    """False where a 2xx came with a body that cannot be read."""
