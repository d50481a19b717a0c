"""An `EventTree` as JSON for the page: an outline of all events, and one event with its contents.

The outline has no contents, so that ten thousand events are a quick answer; contents are fetched an event at a time,
long fields in pieces. Names are those of the public event JSON.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any

import pydantic_core

from eventtree.errors import JournalError
from eventtree.event import Event, EventTree
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.query import TreeRow
from eventtree.tree.links import answers_to, given_to, resumed_in
from eventtree.tree.sums import models_of, tokens_of

MOST_EVENTS = 50_000
"""Events of one outline."""
LONGEST_NAME = 200
SHORT_TEXT = 400
"""Characters of a tool's answer that are shown beside its call."""
WHOLE_BYTES = 512 * 1024
"""Size of an event's contents in one answer; longer fields are fetched in pieces."""
PIECE_BYTES = 1 << 20
RUNNING = "running"
"""Status of an event without an end, while its process is alive."""

Json = dict[str, Any]


def outline(tree: EventTree, running: Collection[str]) -> Json:
    """A tree without contents: its own fields, and a row for each event. `running` are the ids of open runs."""
    root, places = tree.root, {event.id: place for place, event in enumerate(tree.events)}
    shown = tree.events[:MOST_EVENTS]
    models = [{**one._asdict(), "model": cut(one.model), "usd": number(one.usd)} for one in models_of(tree)]
    return {
        "id": tree.id, "name": cut(root.name), "status": status_of(root, running), "session": root.session_id,
        "user": root.user, "environment": root.environment, "tags": list(root.tags), "start": root.start.timestamp(),
        "duration": root.duration, "resumes": resumed_in(tree), "models": models,
        "sums": {
            "tokens": tokens_of(tree), "usd": number(tree.total_usd), "unpriced": tree.unpriced,
            "events": len(tree.events), "errors": sum(event.status is Status.ERROR for event in tree.events),
        },
        "feedback": list(tree.feedback), "hidden": len(tree.events) - len(shown),
        "damaged": any(note.name == "damaged" for event in tree.events for note in event.notes),
        "events": [row_of(event, root, places.get(event.parent_id or "", -1), running) for event in shown],
    }  # fmt: skip


def row(tree: TreeRow) -> Json:
    """A tree in the list."""
    status = RUNNING if tree.running and tree.status == Status.INCOMPLETE else tree.status
    return {
        "id": tree.id, "name": tree.name, "kind": tree.kind, "status": status, "session": tree.session,
        "start": tree.start.timestamp(), "duration": tree.duration, "models": list(tree.models),
        "tokens": tree.tokens, "usd": number(tree.usd), "unpriced": tree.unpriced,
    }  # fmt: skip


def row_of(event: Event, root: Event, parent: int, running: Collection[str]) -> list[Any]:
    """One event of an outline: a list, since the names of fields would be most of the answer."""
    usage, usd = event.usage, event.cost.total_usd if event.cost else None
    uses = usage is not None or (event.kind is Kind.MODEL and event.status is Status.OK and not event.internal)
    return [
        event.id, parent, event.kind, cut(event.name), status_of(event, running),
        round((event.start - root.start).total_seconds(), 6), event.duration, event.time_to_first_token,
        cut(event.model or ""), usage.total_tokens if usage else None, number(usd), uses, event.internal,
        len(event.notes),
    ]  # fmt: skip


def status_of(event: Event, running: Collection[str]) -> str:
    """An event's status; `running` while it may still end."""
    return RUNNING if event.status is Status.INCOMPLETE and event.id in running else str(event.status)


def event_in(tree: EventTree, event_id: str) -> Event:
    """The event of a tree with this id; raises JournalError if there is none."""
    found = next((event for event in tree.events if event.id == event_id), None)
    if found is None:
        raise JournalError(f"no event {event_id} in this tree")
    return found


def detail(tree: EventTree, event: Event, running: Collection[str]) -> bytes:
    """One event as its public JSON, with related events and feedback.

    `long` is the size in bytes of each field that is too long to be included: `piece` returns it by range.
    """
    fields = {name: _json(getattr(event, name)) for name in Event.model_fields}
    room, long = WHOLE_BYTES, {}
    for name, value in sorted(fields.items(), key=lambda item: len(item[1])):
        room -= len(value)
        if room < 0:
            long[name], fields[name] = len(value), b"null"
    more = {
        "status": status_of(event, running), "long": long, "answers": answers(tree, event),
        "given_to": given_to(tree, event), "feedback": [one for one in tree.feedback if one.get("id") == event.id],
    }  # fmt: skip
    fields |= {name: _json(value) for name, value in more.items()}
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in fields.items()) + b"}"


def piece(event: Event, name: str, offset: int, size: int) -> Json:
    """Part of a long field's JSON text, the offset of the next part, and the size of the whole."""
    whole = _json(getattr(event, name))
    end = min(len(whole), offset + min(size, PIECE_BYTES))
    while offset < end < len(whole) and whole[end] & 0xC0 == 0x80:
        end -= 1  # a character is not split
    text = whole[offset:end].decode("utf-8", "replace")
    return {"text": text, "next": end if end < len(whole) else None, "bytes": len(whole)}


def answers(tree: EventTree, event: Event) -> Json:
    """Tool call id → the beginning of the answer, and the event that gave it."""
    found: Json = {}
    for call, tool, content in answers_to(tree, event):
        text = content if isinstance(content, str) else _json(content).decode()
        shown = {"content": text[:SHORT_TEXT], "whole": len(text) <= SHORT_TEXT}
        found[call] = {"event": tool.id, "name": cut(tool.name), "status": tool.status, **shown}
    return found


def cut(text: str) -> str:
    """A name, shortened for a row."""
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def number(usd: Decimal | None) -> float | None:
    """Dollars as a number of JSON."""
    return None if usd is None else float(usd)


def _json(value: JsonValue) -> bytes:
    return pydantic_core.to_json(value, inf_nan_mode="null")
