"""Inputs and outputs of the app's own code in the vocabulary of `event.py`, by the kind of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from eventtree.content import items_of
from eventtree.kinds import JsonValue, Kind
from eventtree.usage.collect import field, fields
from eventtree.usage.failed import messages_in

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline

Convert = Callable[["Pipeline", Any], JsonValue]


def _asked(pipeline: Pipeline, given: Any) -> JsonValue:
    """A model's inputs: messages (also among arguments), or a prompt."""
    if isinstance(given, str):
        return {"prompt": pipeline.text(given)}
    if isinstance(given, dict) and items_of(given.get("messages")) is not None:
        rest = {key: value for key, value in given.items() if key != "messages"}
        plain = pipeline.plain(rest) if rest else {}
        return {"messages": pipeline.sanitize.messages(given["messages"]), **(plain if type(plain) is dict else {})}
    return pipeline.plain(given) if items_of(given) is None else {"messages": pipeline.sanitize.messages(given)}


def _answered(pipeline: Pipeline, given: Any) -> JsonValue:
    """The messages of a provider's answer, the first with the answer's id. A text is one message."""
    body = fields(given)
    found = [{"role": "assistant", "content": given}] if isinstance(given, str) else list(messages_in(body))
    if found and isinstance(own := field(body, "id"), str):
        found[0].setdefault("id", own)
    return {"messages": pipeline.sanitize.messages(found)} if found else pipeline.plain(given)


def _documents(pipeline: Pipeline, given: Any) -> JsonValue:
    return {"documents": pipeline.sanitize.found(given)}


def _vectors(_: Pipeline, given: Any) -> JsonValue:
    listed = items_of(field(given, "data"))  # OpenAI's body
    return dimensions(given if listed is None else [field(one, "embedding") for one in listed])


def _under(name: str) -> Convert:
    def convert(pipeline: Pipeline, given: Any) -> JsonValue:
        plain = pipeline.plain(given)
        return plain if type(plain) is dict else {name: plain}

    return convert


INPUTS: Mapping[Kind, Convert] = {
    Kind.MODEL: _asked,
    Kind.TOOL: _under("input"),
    Kind.RETRIEVER: _under("query"),
    Kind.RERANKER: _under("query"),
    Kind.EMBEDDING: _under("texts"),
}
OUTPUTS: Mapping[Kind, Convert] = {
    Kind.MODEL: _answered,
    Kind.RETRIEVER: _documents,
    Kind.RERANKER: _documents,
    Kind.EMBEDDING: _vectors,
}
"""Kind → form of the values that the app gave. Other kinds keep them unchanged."""


def dimensions(result: Any) -> dict[str, JsonValue]:
    """The number and length of embeddings; the vectors are never recorded."""
    vectors = items_of(result)
    if vectors is None or (vectors and isinstance(vectors[0], int | float)):
        vectors = [result]
    first = items_of(vectors[0]) if vectors else None
    return {"count": len(vectors), **({"dimensions": len(first)} if first else {})}


def text_of(chunk: Any) -> str:
    """The text that a chunk of a provider's stream adds; empty in an unknown form.

    Known are a text, OpenAI's `choices[0].delta.content` and Responses' `delta`, Anthropic's `delta.text`, Gemini's
    parts, and `text` or `content` of others.
    """
    if isinstance(chunk, str):
        return chunk
    body = fields(chunk)
    first = next(iter(items_of(field(body, "choices")) or items_of(field(body, "candidates")) or ()), None)
    parts = items_of(field(field(first, "content"), "parts")) or ()
    delta = field(first, "delta") or field(body, "delta") or field(body, "message")
    places = (delta, *(field(delta, key) for key in ("content", "text")), *(field(one, "text") for one in parts))
    own = (field(one, key) for one in (first, body) for key in ("text", "content"))
    return next((found for found in (*places, *own) if isinstance(found, str)), "")
