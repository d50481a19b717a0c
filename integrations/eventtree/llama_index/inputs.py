"""Reads the inputs of spans from their arguments, in the vocabulary of `eventtree.event`. Changes and keeps nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from eventtree.content import items_of
from eventtree.content.walk import slot
from eventtree.kinds import JsonValue, Kind
from eventtree.llama_index.classify import Facts, by_class
from eventtree.recording.model_settings import MODEL_KEYS, PARAMS, address_in
from eventtree.recording.pipeline import Params

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline

NAMES: Mapping[str, str] = {
    "str_or_query_bundle": "query",
    "query_bundle": "query",
    "query_str": "query",
    "ev": "event",
    "start_event": "event",
}
"""Parameter → name shown to a reader."""

QUERIES = ("str_or_query_bundle", "query_bundle", "query", "query_str")
"""Parameters that hold a query."""
UNNAMED = frozenset({"", "unknown"})
"""Values of a model's name that mean no name."""

HIDDEN = frozenset({"ctx", "init_state", "tags", "memory", "show_progress", "jobs", "semaphore", "job"})
"""Parameters that hold the framework's own state, not the user's input."""

CONTEXTS = by_class({("workflows.context.context", "Context"): True})
"""Classes of values that the framework injects into a call."""

VAR_POSITIONAL, VAR_KEYWORD = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
PACKED = frozenset({tuple, dict})
"""Classes of `*args` and `**kwargs`."""

FIGURES, LISTED = (int, float), (str, list, dict, tuple)
"""Classes of settings; an empty one of `LISTED` is not recorded."""


def named(bound: inspect.BoundArguments) -> tuple[list[Any], Mapping[str, Any]]:
    """The arguments in `*args`, and the others by name."""
    if PACKED.isdisjoint(map(type, bound.arguments.values())):
        return [], bound.arguments
    loose: list[Any] = []
    found: dict[str, Any] = {}
    parameters = bound.signature.parameters
    for name, value in bound.arguments.items():
        kind = parameters[name].kind if type(value) in PACKED else None
        if kind is VAR_POSITIONAL:
            loose.extend(value)
        elif kind is VAR_KEYWORD:
            found.update(value)
        else:
            found[name] = value
    return loose, found


def settings(instance: Any, bound: inspect.BoundArguments) -> dict[str, Any]:
    """Model, endpoint and parameters of a model's, embedding's or reranker's span, never its keys."""
    # Only fields are read: no property of the user's class runs.
    own, called = getattr(instance, "__dict__", None) or {}, named(bound)[1]
    given = {name: called.get(name, own.get(name)) for name in sorted(PARAMS & (own.keys() | called.keys()))}
    params = {name: one for name, one in given.items() if isinstance(one, FIGURES) or (isinstance(one, LISTED) and one)}
    known: dict[str, Any] = {"params": Params(params)} if params else {}
    models = (own.get(name) for name in MODEL_KEYS)
    if (model := next((one for one in models if isinstance(one, str) and one not in UNNAMED), None)) is not None:
        known["model"] = model
    if (address := address_in(own)) is not None:
        known["base_url"] = address
    return known


def inputs_of(pipeline: Pipeline, facts: Facts, bound: inspect.BoundArguments) -> JsonValue:
    """The inputs of a span: its arguments, in the vocabulary of its kind."""
    return BY_KIND.get(facts.kind, _any)(pipeline, facts, *named(bound))


def _model(pipeline: Pipeline, facts: Facts, loose: list[Any], found: Mapping[str, Any]) -> JsonValue:
    if facts.verb.endswith("chat"):
        messages = found.get("messages", loose[0] if loose else [])
        return {"messages": pipeline.sanitize.messages([] if messages is None else messages)}
    return {"prompt": pipeline.plain(found.get("prompt", loose[0] if loose else ""))}


def _query(found: Mapping[str, Any]) -> Any:
    """The text of the query among a call's arguments, or None."""
    query = next((found[name] for name in QUERIES if found.get(name) is not None), None)
    return slot(query, "query_str", query)


def _retriever(pipeline: Pipeline, facts: Facts, loose: list[Any], found: Mapping[str, Any]) -> JsonValue:
    return {"query": pipeline.plain(_query({"query": loose[0], **found} if loose else found))}


def _embedding(pipeline: Pipeline, facts: Facts, loose: list[Any], found: Mapping[str, Any]) -> JsonValue:
    values = (*found.values(), *loose)
    given = next((value for value in values if isinstance(value, str) or items_of(value) is not None), values[:1])
    return {"texts": pipeline.plain([given] if isinstance(given, str) else given)}


def _reranker(pipeline: Pipeline, facts: Facts, loose: list[Any], found: Mapping[str, Any]) -> JsonValue:
    query = _query(found)
    asked = {} if query is None else {"query": pipeline.plain(query)}
    return {**asked, "documents": pipeline.sanitize.found(found.get("nodes", loose[0] if loose else ()))}


def _tool(pipeline: Pipeline, facts: Facts, loose: list[Any], found: Mapping[str, Any]) -> JsonValue:
    kept = {name: value for name, value in found.items() if CONTEXTS[type(value)] is None}
    if loose:
        kept = {"input": loose[0] if len(loose) == 1 and not kept else loose, **kept}
    return pipeline.plain(kept)


def _any(pipeline: Pipeline, facts: Facts, loose: list[Any], found: Mapping[str, Any]) -> JsonValue:
    kept: dict[str, Any] = {}
    for name, value in found.items():
        if value is not None and name not in HIDDEN and CONTEXTS[type(value)] is None:
            kept[NAMES.get(name, name)] = value
    if len(kept) == 1 and "event" in kept:
        return pipeline.plain(kept["event"])
    if loose:
        kept["args"] = loose
    return pipeline.plain(kept) if kept else None


BY_KIND: Mapping[Kind, Callable[[Pipeline, Facts, list[Any], Mapping[str, Any]], JsonValue]] = {
    Kind.MODEL: _model, Kind.RETRIEVER: _retriever, Kind.EMBEDDING: _embedding, Kind.RERANKER: _reranker,
    Kind.TOOL: _tool,
}  # fmt: skip
"""Kind → reader of its spans' inputs; all others have `_any`."""
