"""What a span was called with, in the vocabulary of `eventtree.event`. Reads; keeps and changes nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from eventtree.content import endpoint
from eventtree.event import JsonValue, Kind
from eventtree.llama_index.kinds import Facts, lookup
from eventtree.llama_index.values import Shaper, text_of_query

NAMES: Mapping[str, str] = {
    "str_or_query_bundle": "query",
    "query_bundle": "query",
    "query_str": "query",
    "ev": "event",
    "start_event": "event",
}
"""Names of parameters that are one thing to a reader."""

QUERIES = ("str_or_query_bundle", "query_bundle", "query", "query_str")
UNNAMED = frozenset({"", "unknown"})
"""Names of models that are none."""

HIDDEN = frozenset({"ctx", "init_state", "tags", "memory", "show_progress", "jobs", "semaphore", "job"})
"""Parameters that are the framework's own state, no input of the user."""

SCALARS = frozenset({str, int, float, bool})

CONTEXTS: Mapping[str, bool] = {"workflows.context.context.Context": True}
"""Classes whose values the framework injects into a call."""

PARAMS = frozenset({
    "temperature", "max_tokens", "max_new_tokens", "max_completion_tokens", "max_output_tokens", "top_p", "top_k",
    "stop", "seed", "presence_penalty", "frequency_penalty", "reasoning_effort", "logprobs", "top_logprobs",
    "tool_choice", "tools", "functions", "parallel_tool_calls", "response_format", "modalities", "dimensions", "top_n",
    "similarity_top_k",
})  # fmt: skip
"""Settings of a model worth recording, by the name of the attribute or of the call's keyword."""

MODEL_NAMES = ("model", "model_name", "model_id", "deployment_name", "azure_deployment")
URLS = ("api_base", "base_url", "azure_endpoint")


def named(bound: inspect.BoundArguments) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that came without a parameter of their own, and the others by name."""
    loose: list[Any] = []
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if not isinstance(value, tuple | dict):  # what `*args` and `**kwargs` are
            found[name] = value
            continue
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            loose.extend(value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        else:
            found[name] = value
    return loose, found


def settings(shaper: Shaper, instance: Any, bound: inspect.BoundArguments) -> dict[str, JsonValue]:
    """Model, endpoint and parameters of a model's, embedding's or reranker's span. Keys never are among them."""
    own = _attributes(instance)
    called = named(bound)[1]
    params = {name: called.get(name, own.get(name)) for name in sorted(PARAMS & (own.keys() | called.keys()))}
    known: dict[str, JsonValue] = {"params": {k: shaper.plain(v) for k, v in params.items() if _is_setting(v)} or None}
    known["model"] = _first_text(own, MODEL_NAMES)
    url = _first_text(own, URLS)
    known["base_url"] = shaper.text(address) if url and (address := endpoint(url)) else None
    return {key: value for key, value in known.items() if value is not None}


def _attributes(instance: Any) -> Mapping[str, Any]:
    # `vars` reads fields and runs no property of the user's class.
    return getattr(instance, "__dict__", None) or {}


def _first_text(own: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((own[name] for name in names if isinstance(own.get(name), str) and own[name] not in UNNAMED), None)


def _is_setting(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str | list | dict | tuple) and bool(value))


def shape(shaper: Shaper, facts: Facts, bound: inspect.BoundArguments) -> JsonValue:
    """The inputs of a span."""
    loose, found = named(bound)
    return SHAPES.get(facts.kind, _any)(shaper, facts, loose, found)


def _model(shaper: Shaper, facts: Facts, loose: list[Any], found: dict[str, Any]) -> JsonValue:
    if facts.verb.endswith("chat"):
        messages = found.get("messages", loose[0] if loose else [])
        return {"messages": shaper.messages(list(messages or ()))}
    prompt = found.get("prompt", loose[0] if loose else "")
    return {"prompt": shaper.text(str(prompt))}


def _retriever(shaper: Shaper, facts: Facts, loose: list[Any], found: dict[str, Any]) -> JsonValue:
    query = next((found[name] for name in QUERIES if name in found), None)
    return {"query": shaper.text(text_of_query(loose[0] if query is None and loose else query))}


def _embedding(shaper: Shaper, facts: Facts, loose: list[Any], found: dict[str, Any]) -> JsonValue:
    given = next((value for value in (*found.values(), *loose) if isinstance(value, str | list | tuple)), ())
    return {"texts": [shaper.text(str(text)) for text in ([given] if isinstance(given, str) else given)]}


def _reranker(shaper: Shaper, facts: Facts, loose: list[Any], found: dict[str, Any]) -> JsonValue:
    nodes = found.get("nodes", loose[0] if loose else ())
    query = found.get("query_bundle") or found.get("query_str")
    out: dict[str, JsonValue] = {"query": shaper.text(text_of_query(query))} if query is not None else {}
    return out | {"documents": shaper.documents(nodes)}


def _tool(shaper: Shaper, facts: Facts, loose: list[Any], found: dict[str, Any]) -> JsonValue:
    kept = {name: value for name, value in found.items() if lookup(value, CONTEXTS) is None}
    if not loose:
        return {shaper.text(name): shaper.value(value) for name, value in kept.items()}
    alone = len(loose) == 1 and not kept
    return {"input": shaper.value(loose[0] if alone else loose)} | {k: shaper.value(v) for k, v in kept.items()}


def _any(shaper: Shaper, facts: Facts, loose: list[Any], found: dict[str, Any]) -> JsonValue:
    kept = {
        NAMES.get(name, name): value
        for name, value in found.items()
        if value is not None and name not in HIDDEN and lookup(value, CONTEXTS) is None
    }
    if len(kept) == 1 and "event" in kept:
        return shaper.value(kept["event"])
    if not loose and SCALARS.issuperset(map(type, kept.values())):
        return shaper.plain(kept) or None
    out = {shaper.text(name): shaper.value(value) for name, value in kept.items()}
    if loose:
        out["args"] = [shaper.value(value) for value in loose]
    return out or None


SHAPES: Mapping[Kind, Callable[[Shaper, Facts, list[Any], dict[str, Any]], JsonValue]] = {
    Kind.MODEL: _model,
    Kind.RETRIEVER: _retriever,
    Kind.EMBEDDING: _embedding,
    Kind.RERANKER: _reranker,
    Kind.TOOL: _tool,
}
