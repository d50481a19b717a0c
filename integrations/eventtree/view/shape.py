"""An `EventTree` as the page takes it: an outline of all events, and one event with its contents.

The outline holds no contents, so that ten thousand events are a quick answer; contents come one event at a time, and
what is long of them in pieces. The words are those of the public event JSON.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any

import pydantic_core

from eventtree.errors import JournalError
from eventtree.event import Event, EventTree, JsonValue, Kind, Status, Usage

MOST_EVENTS = 50_000
"""Events of one outline."""
LONGEST_NAME = 200
SHORT_TEXT = 400
"""Of a tool's answer, what stands beside the call."""
WHOLE_BYTES = 512 * 1024
"""Contents of one event that are answered at once; a field beyond it comes in pieces."""
PIECE_BYTES = 1 << 20
TOKENS = tuple(name for name in Usage.model_fields if name.endswith("_tokens"))
RUNNING = "running"
"""How an event stands whose end was not recorded, while its process lives."""

Json = dict[str, Any]


def outline(tree: EventTree, running: Collection[str]) -> Json:
    """A tree without contents: what holds for all of it, and a row for each event. `running` are ids of open runs."""
    root, places = tree.root, {event.id: place for place, event in enumerate(tree.events)}
    shown = tree.events[:MOST_EVENTS]
    return {
        "id": tree.id, "name": cut(root.name), "status": status_of(root, running), "session": root.session_id,
        "user": root.user, "environment": root.environment, "tags": list(root.tags), "start": root.start.timestamp(),
        "duration": root.duration, "resumes": resumed_in(tree), "sums": sums_of(tree), "models": models_of(tree),
        "feedback": list(tree.feedback), "hidden": len(tree.events) - len(shown),
        "damaged": any(note.name == "damaged" for event in tree.events for note in event.notes),
        "events": [row_of(event, root, places.get(event.parent_id or "", -1), running) for event in shown],
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
    """How an event ended; `running` where its end is yet to come."""
    return RUNNING if event.status is Status.INCOMPLETE and event.id in running else str(event.status)


def sums_of(tree: EventTree) -> Json:
    """Tokens by kind and dollars of a tree; what no event knows is None."""
    used = [one for event in tree.events if event.usage for one in (event.usage, *event.usage.others.values())]
    known = {name: [count for one in used if (count := getattr(one, name)) is not None] for name in TOKENS}
    return {
        "tokens": {name: sum(counts) for name, counts in known.items() if counts}, "usd": number(tree.total_usd),
        "unpriced": tree.unpriced, "events": len(tree.events),
        "errors": sum(event.status is Status.ERROR for event in tree.events),
    }  # fmt: skip


def models_of(tree: EventTree) -> list[Json]:
    """What each model used and cost, and where the figures come from, the most used first."""
    calls: dict[str, list[Event]] = {}
    for event in tree.events:
        if event.usage is not None or event.cost is not None:
            calls.setdefault(event.model or event.name, []).append(event)
    found = []
    for model, events in calls.items():
        tokens = [one.usage.total_tokens for one in events if one.usage and one.usage.total_tokens is not None]
        usd = [one.cost.total_usd for one in events if one.cost and one.cost.total_usd is not None]
        figures = {"total": sum(tokens) if tokens else None, "usd": number(sum(usd, Decimal(0))) if usd else None}
        sources = list(dict.fromkeys(one.cost.source if one.cost else None for one in events))
        found.append({"model": cut(model), "calls": len(events), **figures, "sources": sources})
    return sorted(found, key=lambda one: -(one["total"] or 0))


def resumed_in(tree: EventTree) -> str | None:
    """The paused tree that this one goes on with."""
    found = (event.metadata.get("resumes") for event in tree.events)
    return next((paused for paused in found if isinstance(paused, str)), None)


def event_in(tree: EventTree, event_id: str) -> Event:
    """One event of a tree.

    Raises:
        JournalError: it has none of that id.
    """
    found = next((event for event in tree.events if event.id == event_id), None)
    if found is None:
        raise JournalError(f"no event {event_id} in this tree")
    return found


def detail(tree: EventTree, event: Event, running: Collection[str]) -> bytes:
    """One event as its public JSON, with what the page joins to it.

    `long` names each field that is too long, with its bytes: `piece` answers it by range.
    """
    fields = {name: _json(getattr(event, name)) for name in Event.model_fields}
    room, long = WHOLE_BYTES, {}
    for name, value in sorted(fields.items(), key=lambda item: len(item[1])):
        room -= len(value)
        if room < 0:
            long[name], fields[name] = len(value), b"null"
    more = {
        "status": status_of(event, running), "long": long, "answers": answers_to(tree, event),
        "given_to": given_to(tree, event), "feedback": [one for one in tree.feedback if one.get("id") == event.id],
    }  # fmt: skip
    fields |= {name: _json(value) for name, value in more.items()}
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in fields.items()) + b"}"


def piece(event: Event, name: str, offset: int, size: int) -> Json:
    """Part of a long field's JSON text, where the next one begins, and the bytes of the whole."""
    whole = _json(getattr(event, name))
    end = min(len(whole), offset + min(size, PIECE_BYTES))
    while offset < end < len(whole) and whole[end] & 0xC0 == 0x80:
        end -= 1  # no character is parted
    text = whole[offset:end].decode("utf-8", "replace")
    return {"text": text, "next": end if end < len(whole) else None, "bytes": len(whole)}


def answers_to(tree: EventTree, event: Event) -> Json:
    """Tool call id → the tool's event that answered it, for the calls that a model's answer makes."""
    calls = {call.get("id") for one in _listed(event.outputs, "messages") for call in _listed(one, "tool_calls")}
    found: Json = {}
    for tool in tree.events if calls else ():
        for value in tool.outputs if isinstance(tool.outputs, list) else (tool.outputs,):
            call = value.get("tool_call_id") if tool.kind is Kind.TOOL and isinstance(value, dict) else None
            if isinstance(call, str) and call in calls:
                content = value.get("content")
                text = content if isinstance(content, str) else _json(content).decode()
                shown = {"content": text[:SHORT_TEXT], "whole": len(text) <= SHORT_TEXT}
                found[call] = {"event": tool.id, "name": cut(tool.name), "status": tool.status, **shown}
    return found


def given_to(tree: EventTree, event: Event) -> dict[int, list[str]]:
    """Place of each retrieved document → the models of the tree that were given its text."""
    is_search = event.kind in (Kind.RETRIEVER, Kind.RERANKER)
    documents = _listed(event.outputs, "documents") if is_search else []
    texts = {place: str(one.get("text") or "").strip() for place, one in enumerate(documents)}
    found: dict[int, list[str]] = {}
    for model in tree.events if documents else ():
        if model.kind is Kind.MODEL and model.start >= event.start:
            given = "\n".join(_texts(model.inputs))
            for place, text in texts.items():
                if text and text in given:
                    found.setdefault(place, []).append(model.id)
    return found


def cut(text: str) -> str:
    """A name as far as a row shows it."""
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def number(usd: Decimal | None) -> float | None:
    """Dollars as JSON has them."""
    return None if usd is None else float(usd)


def _listed(value: JsonValue, key: str) -> list[Json]:
    """The objects in a list of an object; none where it is of another form."""
    inner = value.get(key) if isinstance(value, dict) else None
    return [one for one in inner if isinstance(one, dict)] if isinstance(inner, list) else []


def _texts(value: JsonValue) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _json(value: JsonValue) -> bytes:
    return pydantic_core.to_json(value, inf_nan_mode="null")
