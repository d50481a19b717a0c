"""What a vendor makes of a tree and of an answer: items, routes, lookups, requests, verdicts. Frozen, without logic."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from eventtree.event import JsonValue


@dataclass(frozen=True, slots=True)
class Item:
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
    """Values for this item's url, e.g. (("log_id", "…"),). Items with different ones never share a request."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tree as one vendor takes it. Every event of the tree is in an item's `event_ids` or in `dropped`."""

    items: tuple[Item, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Event id → reason (design.md's closed list) for those the vendor has no place for."""


@dataclass(frozen=True, slots=True)
class Route:
    """How items become one HTTP call.

    `path` may hold `{names}`: an item's `path_params` fill them when the request is made, what delivery learned from a
    lookup fills them when it is sent. `envelope` is put around the comma-joined items; None sends a single item bare.
    """

    method: str
    path: str
    envelope: tuple[bytes, bytes] | None = None
    max_items: int = 1
    status_actions: Mapping[int, str] = field(default_factory=dict)
    """Status → act, where this route differs from the vendor's other ones."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A call made once whose answer gives the value of a `{name}` in paths; in exports `export_as` stands in for it."""

    name: str
    method: str
    path: str
    content: bytes
    read: Callable[[JsonValue], str | None]
    export_as: str


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP call a vendor expects, and the items inside it."""

    method: str
    url: str
    content: bytes
    items: tuple[Item, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    """Without the key: delivery adds the vendor's `auth()` when it sends."""

    @property
    def body(self) -> JsonValue:
        """The JSON that goes over the wire, parsed."""
        return json.loads(self.content)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the events this request delivers."""
        return tuple(event_id for item in self.items for event_id in item.event_ids)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of each item of a request. Items that are in neither `refused` nor `retry` were taken."""

    refused: Mapping[str, str] = field(default_factory=dict)
    """Item key → the vendor's words: never to be sent again."""
    retry: frozenset[str] = frozenset()
    """Item keys the vendor did not take this time."""
    learned: Mapping[str, str] = field(default_factory=dict)
    """Values to remember, e.g. a log's id on the vendor's side."""
    verified: bool = True
    """False where a 2xx came with a body that cannot be read."""
