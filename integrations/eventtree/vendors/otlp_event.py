"""An event as the tables of OTLP's flavors read it, and the one way in which a table becomes attributes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from eventtree.event import Event, JsonValue, Kind
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import Message, as_text, finite, is_messages, messages_in, messages_out
from eventtree.serializer.view import TreeView, cost_of

MODELS = frozenset({Kind.MODEL, Kind.EMBEDDING})
TALKS = frozenset({Kind.MODEL, Kind.AGENT})
PRICED = frozenset({*MODELS, Kind.RERANKER})


class Told:
    """An event of a tree, with what several attributes are made of worked out once."""

    def __init__(self, event: Event, view: TreeView) -> None:
        """Look at `event` within its tree."""
        self.event, self.view, self.usage = event, view, event.usage
        self.is_root = view.is_root(event)
        self.inputs, self.outputs, self.params, self.prompt = (
            value if isinstance(value, dict) else {}
            for value in (event.inputs, event.outputs, event.params, event.prompt)
        )
        self.asked_model = event.asked_model or event.model
        self.cost: Mapping[str, Any] = cost_of(event.cost) if event.cost else {}
        self.input_messages: list[Message] = []
        """Those that went in, where there is nothing else in the inputs; `output_messages` likewise."""
        self.output_messages: list[Message] = []
        if event.kind is Kind.MODEL:
            self.input_messages, self.output_messages = messages_in(event), messages_out(event)
        elif event.kind is Kind.AGENT:
            self.input_messages, self.output_messages = map(only_messages, (event.inputs, event.outputs))
        self.is_told: set[str] = set()
        """Fields whose content stands in an attribute already."""


class Row(NamedTuple):
    """One attribute: which field of the event it tells, how its value is made, and on which kinds it stands."""

    attribute: str
    """One that ends in `.*` stands for as many attributes as its value, an object or a list, has leaves."""
    field: str
    value: Callable[[Told], Any]
    kinds: Collection[Kind] = frozenset(Kind)
    is_content: bool = False
    """It tells the whole field: no later row of content tells it again."""


Table = tuple[Row, ...]


def by_kind(*tables: Table) -> Mapping[Kind, Table]:
    """The rows of each kind."""
    return {kind: tuple(row for table in tables for row in table if kind in row.kinds) for kind in Kind}


def attributes_of(table: Mapping[Kind, Table], told: Told) -> dict[str, Any]:
    """The attributes of an event, without those that have no value."""
    found: dict[str, Any] = {}
    for attribute, field, value_of, _, is_content in table[told.event.kind]:
        if is_content and field in told.is_told:
            continue
        value = value_of(told)
        if value is None or value in ("", [], {}):
            continue
        if attribute.endswith("*"):
            found.update(leaves(value, attribute[:-1]))
        else:
            found[attribute] = value
        if is_content:
            told.is_told.add(field)
    return found


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What stands in an object or a list, each with the way to it as its name: `0.message.role`."""
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(one, dict | list):
            yield from leaves(one, f"{name}{key}.")
        elif one is not None:
            yield f"{name}{key}", one


# Values


def json_text(value: JsonValue) -> str | None:
    """A value as JSON text, None as nothing. Attributes hold texts: no backend reads structured ones."""
    return None if value is None else to_json(value).decode()


def value_text(value: JsonValue) -> str | None:
    """A text as it is, any other value as JSON."""
    return value if isinstance(value, str) else json_text(value)


def typed(value: JsonValue) -> dict[str, str | None]:
    """A value as text, and what that is."""
    kind = "text/plain" if isinstance(value, str) else "application/json"
    return {} if value is None else {"value": value_text(value), "mime_type": kind}


def number(value: JsonValue) -> float | None:
    """A number."""
    known = finite(value)
    return None if known is None else float(known)


def count(value: JsonValue) -> int | None:
    """A whole number."""
    known = finite(value)
    return None if known is None else int(known)


def texts(value: JsonValue) -> list[str]:
    """A list of texts; one alone is a list too."""
    return [as_text(one) for one in (value if isinstance(value, list) else [value]) if one is not None]


def text_in(value: JsonValue, key: str) -> str | None:
    """A text; of an object the one at this key."""
    found = value.get(key) if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def only_messages(value: JsonValue) -> list[Message]:
    """The messages of inputs or outputs that hold nothing else."""
    found: Any = value["messages"] if isinstance(value, dict) and value.keys() == {"messages"} else None
    return found if is_messages(found) else []


def finish_reasons(told: Told) -> list[str]:
    """How each generation ended."""
    said = texts([message.get("finish_reason") for message in told.output_messages])
    return said or texts(told.outputs.get("finish_reason") or None)


def retrieved(document: JsonValue) -> dict[str, JsonValue]:
    """One document, as `{id, score, content, metadata}`."""
    if not isinstance(document, dict):
        return {"content": as_text(document)}
    named = {
        "id": value_text(document.get("id")),
        "score": number(document.get("score")),
        "content": document.get("text"),
    }
    more = {key: one for key, one in document.items() if key not in ("id", "score", "text")}
    return {key: one for key, one in {**named, **more}.items() if one is not None}


def token(name: str) -> Callable[[Told], Any]:
    """A field of `Usage`."""
    return lambda told: getattr(told.usage, name, None)


def dollars(part: str) -> Callable[[Told], float | None]:
    """A part of the cost: `input`, `output`, `total`."""
    return lambda told: told.cost.get(f"{part}_usd")


def param(make: Callable[[JsonValue], Any], names: tuple[str, ...]) -> Callable[[Told], Any]:
    """A parameter, by the first of its names that has a value."""
    return lambda told: make(next((told.params[name] for name in names if told.params.get(name) is not None), None))
