"""Links in a tree besides parent and child: a tool call and its answer, a document and the models that got it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from eventtree.event import Event, EventTree
from eventtree.kinds import JsonValue, Kind


def answers_to(tree: EventTree, event: Event) -> Iterator[tuple[str, Event, JsonValue]]:
    """The tool calls in a model's answer: the id of each, the event that answered it, and the answer."""
    calls = {call.get("id") for one in _listed(event.outputs, "messages") for call in _listed(one, "tool_calls")}
    for tool in tree.events if calls else ():
        for value in tool.outputs if isinstance(tool.outputs, list) else (tool.outputs,):
            call = value.get("tool_call_id") if tool.kind is Kind.TOOL and isinstance(value, dict) else None
            if isinstance(call, str) and call in calls and isinstance(value, dict):
                yield call, tool, value.get("content")


def given_to(tree: EventTree, event: Event) -> dict[int, list[str]]:
    """Index of a retrieved document → ids of the tree's models whose inputs have its text."""
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


def resumed_in(tree: EventTree) -> str | None:
    """Id of the interrupted tree that this one resumed."""
    found = (event.metadata.get("resumes") for event in tree.events)
    return next((paused for paused in found if isinstance(paused, str)), None)


def _listed(value: JsonValue, key: str) -> list[dict[str, Any]]:
    """The objects in the list under a key; none if the value has another form."""
    inner = value.get(key) if isinstance(value, dict) else None
    return [one for one in inner if isinstance(one, dict)] if isinstance(inner, list) else []


def _texts(value: JsonValue) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
