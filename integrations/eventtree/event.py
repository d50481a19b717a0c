"""The vendor-neutral event and the tree it belongs to: the public JSON of eventtree.

An event is one run of a framework, folded from its journal records. Its `inputs` and `outputs` are plain JSON, in the
shapes below, so that every vendor reads one vocabulary whichever framework it came from:

=========  ==========================================  =====================================================
kind       inputs                                      outputs
=========  ==========================================  =====================================================
model      {"messages": [Message]} (chat) or           {"messages": [Message]}, one for each generation, or
           {"prompt": text} (text model)               {"text": text, "finish_reason"} ({"texts": [text]}, n > 1)
tool       {argument: value} or {"input": text}        whatever the tool returned (text, JSON or a Message)
retriever  {"query": text}                             {"documents": [Document]}
reranker   {"query": text, "documents": [Document]}    {"documents": [Document]}
embedding  {"texts": [text]}                           {"count": int, "dimensions": int}
chain,     whatever the user passed                    whatever came out
agent
=========  ==========================================  =====================================================

Message   {"role": "system" | "user" | "assistant" | "tool" | other, "content": text or list of parts,
           "tool_calls": [{"id", "name", "arguments": object or text, "error", "extra"}], "tool_call_id", "name",
           "status", "reasoning", "finish_reason", "id", "artifact": what a tool keeps from the model,
           "extra": {fields without a name here}}; keys that do not apply are absent.
Part      {"type": "text", "text"} | {"type": "image" | "audio" | "file" | "video", "url" or
          ("mime_type", "bytes": size, "sha256")} | any other dict, kept as it is.
Document  {"id", "text", "score", "metadata"}; keys that do not apply are absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

JsonValue = Any
"""Sanitizer JSON: None, bool, int, float, str, list or dict with str keys."""


class Kind(StrEnum):
    """What a run is."""

    CHAIN = "chain"
    MODEL = "model"
    TOOL = "tool"
    RETRIEVER = "retriever"
    EMBEDDING = "embedding"
    RERANKER = "reranker"
    AGENT = "agent"


class Status(StrEnum):
    """How a run ended; `interrupted` is control flow, `incomplete` a run that never closed."""

    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"


Usd = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""US dollars: exact in Python, a plain number in JSON."""

Tokens = Annotated[int, Field(ge=0)]


class Frozen(BaseModel):
    """Immutable, closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EventError(Frozen):
    """Why a run failed: the exception's qualified type, its message, and a shortened traceback."""

    type: str
    message: str
    traceback: str | None = None


class Usage(Frozen):
    """Tokens of one run. None is unknown, never zero.

    `input_tokens` includes cache reads, cache writes, audio and images; `output_tokens` includes reasoning and audio;
    the details are subsets; `total_tokens` is input + output. `inferred` marks a tokenizer's count.
    `raw` is what the provider sent; `problems` names contradictions found in it (they are flagged, never guessed away).
    """

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    total_tokens: Tokens | None = None
    cache_read_tokens: Tokens | None = None
    cache_read_audio_tokens: Tokens | None = None
    cache_read_image_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None
    cache_write_5m_tokens: Tokens | None = None
    cache_write_1h_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    input_audio_tokens: Tokens | None = None
    output_audio_tokens: Tokens | None = None
    input_image_tokens: Tokens | None = None
    output_image_tokens: Tokens | None = None
    units: dict[str, Tokens] = Field(default_factory=dict)
    """What the provider counts besides tokens: `web_searches`, `rerank_searches`, `billed_input_tokens`, ..."""
    others: dict[str, Usage] = Field(default_factory=dict)
    """Tokens of other models that took part in the answer (an advisor's): not in the counts above, but in the cost."""
    uncounted: tuple[str, ...] = ()
    """What went in or came out and has no count of its own, as `output_image`: the provider may charge it otherwise."""
    inferred: bool = False
    cached: bool = False
    """The answer came from a cache of the framework: nothing was used, the cost is 0."""
    service_tier: str | None = None
    problems: tuple[str, ...] = ()
    raw: JsonValue = None


class Cost(Frozen):
    """Money of one run in US dollars. None is unknown, never zero. `source` says where the figures come from."""

    input_usd: Usd | None = None
    output_usd: Usd | None = None
    total_usd: Usd | None = None
    problems: tuple[str, ...] = Field(default=(), exclude=True)
    """Why a figure is None where tokens are known: handed on to the usage, where a tree's problems stand."""
    source: str | None = None
    """`given`, `cached`, `callable`, `provider`, `table:NAME VERSION` or `genai-prices VERSION`."""


class Note(Frozen):
    """Something that happened during a run: a retry, a custom event, an interrupt, a resume."""

    name: str
    at: datetime
    value: JsonValue = None


class Event(Frozen):
    """One run, folded. Times: `start` is UTC wall clock, `duration` and `time_to_first_token` are seconds."""

    id: str
    parent_id: str | None
    tree_id: str
    session_id: str | None = None
    kind: Kind
    name: str
    status: Status
    error: EventError | None = None
    internal: bool = False
    inputs: JsonValue = None
    outputs: JsonValue = None
    model: str | None = None
    """As the answer names it (`gpt-4o-2024-08-06`), else as it was asked for."""
    asked_model: str | None = None
    """As it was asked for (`gpt-4o`), where the answer names another."""
    provider: str | None = None
    params: dict[str, JsonValue] | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    start: datetime
    duration: float | None = None
    time_to_first_token: float | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    user: str | None = None
    environment: str | None = None
    framework: str | None = None
    notes: tuple[Note, ...] = ()

    @property
    def end(self) -> datetime | None:
        """When the run ended, or None while that is not known."""
        if self.duration is None:
            return None
        return datetime.fromtimestamp(self.start.timestamp() + self.duration, UTC)


class EventTree(Frozen):
    """A root event and all that descend from it, parents before children, siblings by start time."""

    id: str
    events: tuple[Event, ...]
    feedback: tuple[dict[str, JsonValue], ...] = ()

    @property
    def root(self) -> Event:
        """The event the tree is named after."""
        return self.events[0]

    @cached_property
    def by_parent(self) -> dict[str | None, tuple[Event, ...]]:
        """Children of each event id, in order."""
        found: dict[str | None, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.parent_id, []).append(event)
        return {parent: tuple(children) for parent, children in found.items()}

    def children(self, event: Event) -> tuple[Event, ...]:
        """The events directly below `event`, by start time."""
        return self.by_parent.get(event.id, ())

    def walk(self) -> Iterator[tuple[int, Event]]:
        """Every event with its depth (root 0), depth first, children in order."""
        stack = [(0, self.root)]
        while stack:
            depth, event = stack.pop()
            yield depth, event
            stack.extend((depth + 1, child) for child in reversed(self.children(event)))

    def without_internal(self) -> EventTree:
        """The tree without framework plumbing: children of a dropped event hang under its nearest kept ancestor."""
        if not any(event.internal for event in self.events):
            return self
        kept: dict[str, str | None] = {}
        events = []
        for event in self.events:
            parent = kept.get(event.parent_id, event.parent_id) if event.parent_id else None
            if event.internal and event is not self.root:
                kept[event.id] = parent
                continue
            kept[event.id] = event.id
            events.append(event if parent == event.parent_id else event.model_copy(update={"parent_id": parent}))
        return EventTree(id=self.id, events=tuple(events), feedback=self.feedback)

    @cached_property
    def total_tokens(self) -> int | None:
        """Tokens of all events, each counted once; None where no event knows any."""
        used = [one for e in self.events if e.usage for one in (e.usage, *e.usage.others.values())]
        known = [usage.total_tokens for usage in used if usage.total_tokens is not None]
        return sum(known) if known else None

    @cached_property
    def total_usd(self) -> Decimal | None:
        """Dollars of all events; None where no event has a price."""
        known = [e.cost.total_usd for e in self.events if e.cost and e.cost.total_usd is not None]
        return sum(known, Decimal(0)) if known else None

    @cached_property
    def unpriced(self) -> int:
        """Events that used something whose price is not known: the dollars of the tree are at least `total_usd`."""
        pairs = [(e.usage, e.cost) for e in self.events if e.usage is not None]
        used = [cost for usage, cost in pairs if usage.input_tokens or usage.output_tokens or usage.units]
        return sum(cost is None or cost.total_usd is None for cost in used)
