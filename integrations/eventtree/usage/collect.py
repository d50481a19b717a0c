"""Copies the usage out of an answer, as plain JSON without text. The keys come from the tables in `providers`.

It runs on the app's thread, so it only copies: `normalize` computes later, from the journal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any

from pydantic import BaseModel

from eventtree.content import items_of
from eventtree.content.finish import finish_of_body
from eventtree.diagnostics import must_pass
from eventtree.kinds import JsonValue
from eventtree.usage.hosted import CALLS, FILES, GROUNDINGS, NOT_BILLED, QUERIES, ROUNDS, STANDARD
from eventtree.usage.providers import CONTAINERS, FORMATS, MODIFIERS, TIERS

WRAPPERS = frozenset({"", "response", "message", "metadata", "result"})
"""Keys that hold a whole answer with its text. They are not copied; handlers read them where needed."""

LONGEST = 200
"""Characters kept of a name, and entries of a list or a dict: more are no usage."""
DEEPEST = 6
SMALLEST, LARGEST = -(2**63), 2**63
NUMBERS = (int, float)  # not `int | float`: that makes a new object each time it is asked
PRICED = (("_hidden_params", "response_cost"), ("headers", "x-litellm-response-cost"))
"""Where LiteLLM states the cost. Nothing else under these keys is copied."""


def _firsts(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(path.partition(".")[0].partition("[")[0] for path in paths)


PLACES = _firsts((*CONTAINERS, *TIERS, *MODIFIERS)) - WRAPPERS
"""Keys under which an answer holds its usage, its service tier, or a modifier of its price."""

COUNTS = _firsts(path for form in FORMATS for paths in form.reads.values() for path in paths.split(" | "))
COUNTS |= _firsts(mark for form in FORMATS for mark in form.marks)
"""Keys of counts that an answer has at its top level (Ollama, Bedrock Invoke, Databricks)."""

KEPT = PLACES | COUNTS | {"system_fingerprint", "model_provider", "cost", "cost_details", "cost_in_usd_ticks"}
"""Keys that are copied from the top level of an answer."""
LOOKED_FOR = KEPT | {holder for holder, _ in PRICED}


MODEL_NAMES = ("model_name", "model", "model_id", "modelVersion", "model_version")

WORDS_OF_USAGE = frozenset(
    word
    for path in (*CONTAINERS, *TIERS, *MODIFIERS, *KEPT, *(paths for one in FORMATS for paths in one.reads.values()))
    for word in re.findall(r"[\w-]+", path)
) | frozenset({
    *("usage_metadata", "response_metadata", "llm_output", "raw", "additional_kwargs", "cached", "streamed", "chunks"),
    *("provider", "batch_size", "answers", "total_cost", "last", "sum", "repeats", "additions", "listed"),
    *("asked", "ttl"),
    *("units", "queries", "files", "rounds", "sent", *CALLS.values(), *QUERIES.values(), *GROUNDINGS.values()),
    *(name for place in PRICED for name in place),
})  # fmt: skip
"""Every key of recorded usage and stated costs. The app's redactor is not applied to them, or counts would be lost."""

NAMES_OF_USAGE = frozenset({
    *("provider", "model_provider", "system_fingerprint", "service_tier", "type", "speed", "modality", "answers"),
    *("files", "rounds", "sent", "ttl", *(path.rpartition(".")[2] for path in (*TIERS, *MODIFIERS))),
})  # fmt: skip
"""Those of them whose value is a text: the provider, the tier, the modality of a count."""


def usage_in(body: Any, keys: frozenset[str] = KEPT) -> dict[str, JsonValue]:
    """The values of `body` under `keys`, as plain JSON; empty ones are left out."""
    if type(body) is dict or isinstance(body, Mapping):
        names = [key for key in body if key in keys]
    else:
        # Properties are in no dict, so each place is asked for by name; counts at the top level are plain fields.
        own = getattr(body, "__dict__", None) or ()
        names = [*PLACES, *(key for key in own if key in keys and key not in PLACES)]
    found = {}
    for key in names:
        value = field(body, key)
        if key == "results" and (items := items_of(value)) is not None:
            # Titan on Bedrock has its counts beside the text of the answer.
            value = [{"tokenCount": one.get("tokenCount")} for one in items if isinstance(one, dict)]
        elif key == "tokens" and not isinstance(value, Mapping):
            continue  # Cohere's counts; log probabilities elsewhere
        plain = figures(value)
        if plain is not None and plain != {} and plain != []:
            found[key] = plain
    for holder, name in PRICED:
        beside = field(body, holder)
        if beside is not None and isinstance(beside, Mapping):  # of headers in any case
            cost = figures(next((value for key, value in beside.items() if str(key).lower() == name), None))
            if cost is not None:
                found[holder] = {name: cost}
    return found


def merge(before: dict[str, JsonValue], found: Mapping[str, JsonValue]) -> None:
    """Add the usage of a chunk to that of earlier chunks: Anthropic's first event has the input, its last may not.

    Counts of a stream only grow, so a 0 after a count (some gateways end so) is ignored.
    """
    for key, plain in found.items():
        old = before.get(key)
        if isinstance(old, dict) and isinstance(plain, dict):
            before[key] = old | {name: value for name, value in plain.items() if value or not old.get(name)}
        elif plain or not old:
            before[key] = plain


def snapshot(before: Mapping[str, JsonValue] | None, counts: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Fold the usage of one more chunk of a stream into `before`, for `normalize`.

    A call has one input. So a chunk that reports it again repeats the count so far (vLLM, SGLang, xAI, gateways);
    other chunks report the tokens since the chunk before, and LangChain adds them up.
    """
    now = figures(counts)
    sent = now.get("input_tokens")
    if before is None:
        return {"last": now, "sum": now, "repeats": 0, "additions": 0}
    before = {**before, "sum": _summed(before["sum"], now)}
    if sent and sent >= (before["last"].get("input_tokens") or 0) > 0:
        return {**before, "last": now, "repeats": before["repeats"] + 1}
    if sent and not before["last"].get("input_tokens"):
        return {**before, "last": now}
    return {**before, "additions": before["additions"] + bool(now.get("output_tokens") or sent)}


def _summed(counts: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    summed = dict(counts)
    for name, value in more.items():
        old = summed.get(name)
        if isinstance(value, dict):
            summed[name] = _summed(old if isinstance(old, dict) else {}, value)
        else:
            summed[name] = old + value if type(old) is type(value) is int else value
    return summed


IDENTITIES = ("id", "tool_use_id", "tool_call_id")
DONE = ("action", "args", "content", "output")
"""Fields of an item with its result."""


class Listed:
    """Billed things that an answer lists beside its counts: calls of the provider's tools, search queries, files.

    Another chunk or another place of the answer may list the same thing again; it is counted once.
    """

    __slots__ = ("found",)

    def __init__(self) -> None:
        """Start empty."""
        self.found: set[tuple[str, str, str]] = set()
        """Key of the record, name, and identity of each thing."""

    def items(self, items: Any) -> None:
        """Add the blocks of a message, or the items of an answer's output."""
        for number, item in enumerate(items_of(items) or ()):
            if isinstance(item, str):
                continue
            item = fields(item)
            if field(item, "block_type") == "text":
                continue
            identity = next(filter(None, (_text(item, key) for key in IDENTITIES)), "")
            kind = _text(field(item, "extras"), "block_type") or _text(item, "type") or _text(item, "block_type")
            kind = STANDARD.get((kind, identity.partition("_")[0]), kind)
            if kind in CALLS:
                # A container is billed once, however much code runs in it.
                container = _text(item, "container_id") or _text(field(item, "extras"), "container_id")
                if not any(_text(fields(field(item, key)), "type") in NOT_BILLED for key in DONE):
                    self.found.add(("units", CALLS[kind], container or identity or f"{kind} {number}"))
            elif kind in ROUNDS:
                self.found.add(("rounds", ROUNDS[kind], ""))
            elif (family := _family(item, kind)) in FAMILIES:
                self.found.add(("files", family, ""))

    def grounding(self, about: Any) -> None:
        """Add Gemini's grounding metadata."""
        about = fields(about)
        for key, unit in QUERIES.items():
            texts = items_of(field(about, key)) or ()
            self.found.update(("queries", unit, one) for one in texts if isinstance(one, str) and one.strip())
        chunks = field(about, "grounding_chunks") or field(about, "groundingChunks")
        for chunk in map(fields, items_of(chunks) or ()):
            self.found.update(("units", unit, "") for key, unit in GROUNDINGS.items() if field(chunk, key) is not None)

    def record(self) -> dict[str, Any]:
        """`units` and `queries` (of Gemini's searches) with their numbers, `files` and `rounds` by name."""
        listed: dict[str, Any] = {}
        for (place, name), n in sorted(Counter([one[:2] for one in self.found]).items()) if self.found else ():
            if place in ("files", "rounds"):
                listed.setdefault(place, []).append(name)
            else:
                listed.setdefault(place, {})[name] = n
        return listed


def _family(item: Any, kind: str) -> str:
    """The modality of a block that is a file, else ""."""
    inline = next((one for key in ("inline_data", "inlineData") if (one := field(item, key)) is not None), None)
    if kind not in FILES and (kind or inline is None):
        return ""
    mimes = (_text(holder, key) for holder in (fields(inline), item) for key in ("mime_type", "mimeType"))
    return FILES.get(kind) or next(filter(None, mimes), "").partition("/")[0]


def files_sent(messages: Any) -> list[str]:
    """The modalities of the files in messages, for a record without contents: files without a count have no price."""
    listed = Listed()
    for message in map(fields, items_of(messages) or ()):
        blocks = field(message, "blocks")
        listed.items(field(message, "content") if blocks is None else blocks)
    files: list[str] = listed.record().get("files", [])
    return files


FAMILIES = frozenset(FILES.values()) - {""}


def _text(body: Any, name: str) -> str:
    value = field(body, name)
    return value if isinstance(value, str) else ""


def fields(body: Any) -> Any:
    """A pydantic model's fields as a dict. Asking the model for a missing field is slow, and is done for each chunk."""
    if not isinstance(body, BaseModel):
        return body
    extra = body.__pydantic_extra__
    return {**body.__dict__, **extra} if extra else body.__dict__


def field(body: Any, name: str) -> Any:
    """An entry of a dict or an attribute of a provider's object, or None; properties that raise are None."""
    if body is None:
        return None
    if type(body) is dict or isinstance(body, Mapping):
        return body.get(name)
    try:
        return getattr(body, name, None)
    except BaseException as error:  # a provider's class may do anything
        if must_pass(error):
            raise
        return None


def figures(value: Any, depth: int = 0) -> JsonValue:
    """Counts and names as plain JSON: numbers, short strings, and dicts and lists of them."""
    kind, entries = type(value), value
    if kind is str and len(value) <= LONGEST and value.isascii():
        return value
    if kind is not dict:  # a dict is by far the most usual, and the checks below are slow
        if value is None or kind is bool:
            return value
        if isinstance(value, str):
            return value[:LONGEST] if value.isascii() else value[:LONGEST].encode("utf-8", "replace").decode()
        if isinstance(value, NUMBERS):
            # A number too large for JSON becomes text, which `normalize` reports as no count.
            return value if SMALLEST < value < LARGEST else str(value)[:LONGEST]
        if depth > DEEPEST:
            return None
        items = items_of(value)
        if items is not None:
            return [figures(one, depth + 1) for one in items[:LONGEST]]
        if not isinstance(value, Mapping):
            entries = field(value, "__dict__")
            if not isinstance(entries, Mapping):
                return str(value) if isinstance(value, Decimal) else kind.__name__  # `normalize` reports it as no count
            # pydantic keeps fields that the client's model does not know (DeepSeek's cache) apart.
            more = field(value, "__pydantic_extra__")
            entries = {**entries, **(more if isinstance(more, Mapping) else {}), "__pydantic_extra__": None}
    elif depth > DEEPEST:
        return None
    found = {}
    is_short = kind is dict and len(value) <= LONGEST
    for key, one in entries.items() if is_short else islice(entries.items(), LONGEST):
        if type(one) is not int or not SMALLEST < one < LARGEST:
            one = figures(one, depth + 1)
            if one is None:
                continue
        if type(key) is str and key.isascii():
            found[key] = one
        elif isinstance(key, str):  # no other key is a name of a count
            found[figures(str.__str__(key))] = one
    return found


def model_in(body: Any) -> str | None:
    """The model that an answer names."""
    read = body.get if type(body) is dict else partial(field, body)
    for key in MODEL_NAMES:
        name = read(key)
        if isinstance(name, str) and name:
            return name
    return None


NESTED = ("response", "message", "metadata", "result", "data", "delta")
"""Events of a provider's stream that wrap the body (Mistral's in `data`, Cohere's last one in `delta`)."""


class Body:
    """Gathers usage, model and finish reason from the bodies of one answer, as strings and plain JSON."""

    __slots__ = ("finish", "listed", "model", "raw", "streamed")

    def __init__(self) -> None:
        """Start empty."""
        self.raw: dict[str, JsonValue] = {}
        self.listed = Listed()
        self.model: str | None = None
        self.finish: str | None = None
        self.streamed = False

    def read_body(self, raw: Any) -> None:
        """Add a provider's body, or an event of its stream."""
        raw = fields(raw)
        for body in (raw, *(fields(field(raw, name)) for name in NESTED)) if raw is not None else ():
            if body is None or isinstance(body, str):
                continue
            merge(self.raw, usage_in(body) if body is raw else usage_in(body, PLACES))
            self._list(body)
            self.model = model_in(body) or self.model
            if (why := finish_of_body(body, field)) is not None:
                self.finish = str(getattr(why, "value", why)) or self.finish

    def _list(self, body: Any) -> None:
        """Add OpenAI's hosted tools, and Gemini's searches (in each candidate, or at the top level in
        llama-index-llms-google-genai).
        """
        output, candidates = field(body, "output"), field(body, "candidates")
        if output is not None:
            self.listed.items(output)
        for one in (body, *map(fields, items_of(candidates) or ())):
            about = field(one, "grounding_metadata") or field(one, "groundingMetadata")
            if about is not None:
                self.listed.grounding(about)

    def usage(self, provider: str | None) -> JsonValue:
        """The value to record under `usage`; None if the answer reported none."""
        listed = self.listed.record()
        if not (self.raw or listed):
            return None
        return {
            "raw": self.raw, "provider": provider, "streamed": self.streamed, **({"listed": listed} if listed else {}),
        }  # fmt: skip
