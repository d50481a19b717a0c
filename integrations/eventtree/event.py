"""The vendor-neutral event and the tree it belongs to: the public JSON of eventtree.

An event is one run of a framework, or of the app's own code, folded from its journal records. Its `inputs` and
`outputs` are plain JSON, in the shapes below, so that every vendor reads one vocabulary wherever it came from:

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
           "extra": {fields without a name here}, "left_out": [names of what the answer had and the record has not]};
           keys that do not apply are absent.
Part      {"type": "text", "text"} | {"type": "image" | "audio" | "file" | "video", "url" or
          ("mime_type", "bytes": size, "sha256")} | any other dict, kept as it is.
Document  {"id", "text", "score", "metadata"}; keys that do not apply are absent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from eventtree import summary
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.pace import paced


class _TimeSchema:
    """Gives pydantic the schema of a datetime: in a test that freezes time, it finds none for the replaced class."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Accept a datetime or its JSON."""
        return core_schema.datetime_schema()


Moment = Annotated[datetime, _TimeSchema()]
"""A time with its zone."""

Usd = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""US dollars: exact in Python, a plain number in JSON."""

Tokens = Annotated[int, Field(ge=0)]


CHECKED = ConfigDict(extra="forbid", defer_build=True)


class Frozen(BaseModel):
    """A value that cannot be changed and takes no unknown fields."""

    model_config = ConfigDict(frozen=True, **CHECKED)


class Light:
    """A value like `Frozen`, with the methods of pydantic's models, whose fields are slots.

    A fold makes thousands of these a second, and vendors read each field. Reading a slot takes a tenth of the time that
    a pydantic model takes, and the garbage collector has one object to walk instead of two.
    """

    __slots__ = ()
    model_fields: ClassVar[Mapping[str, FieldInfo]]
    """The fields by name, as pydantic describes them."""

    @classmethod
    def model_construct(cls, **values: Any) -> Self:
        """A value with these fields, the others by default. Nothing is checked."""
        return closed_as(opened_class(cls)(**values), cls)

    def fields(self) -> dict[str, Any]:
        """The fields by name; their values are not converted."""
        return {name: getattr(self, name) for name in self.model_fields}

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """A copy with some fields replaced. The new values are not checked."""
        return self.model_construct(**{**self.fields(), **(update or {})})

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """The value as a dict, by the options of pydantic's `model_dump`."""
        found: dict[str, Any] = _adapter(type(self)).dump_python(self, **options)
        return found

    def model_dump_json(self, **options: Any) -> str:
        """The value as JSON, by the options of pydantic's `model_dump_json`."""
        return _adapter(type(self)).dump_json(self, **options).decode()

    @classmethod
    def model_validate(cls, given: Any, **options: Any) -> Self:
        """The value that a dict describes.

        Raises:
            ValidationError: a field is unknown, missing or of another type.
        """
        return cast("Self", _adapter(cls).validate_python(given, **options))

    @classmethod
    def model_validate_json(cls, given: str | bytes, **options: Any) -> Self:
        """The value that JSON describes; raises as `model_validate` does."""
        return cast("Self", _adapter(cls).validate_json(given, **options))

    @classmethod
    def model_json_schema(cls, **options: Any) -> dict[str, Any]:
        """The JSON schema of the value."""
        return _adapter(cls).json_schema(**options)


L = TypeVar("L", bound=Light)


def _open_class(cls: type[Light]) -> type[Any]:
    defaults = {
        name: dataclasses.field(default_factory=cast("Callable[[], Any]", one.default_factory))
        if one.default_factory
        else one.default
        for name, one in cls.model_fields.items()
    }
    fields = [(name, Any, default) for name, default in defaults.items()]
    return dataclasses.make_dataclass(cls.__name__, fields, bases=(Light,), slots=True)


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
opened_class: Callable[[Any], type[Any]] = cache(_open_class)
"""A mutable class with the same fields. `closed_as` turns its object into the frozen value."""


def closed_as(new: Any, cls: type[L]) -> L:
    """Freeze an object of `opened_class(cls)` in place: it becomes a `cls`, and nothing is copied."""
    new.__class__ = cls
    value: L = new
    return value


@dataclass(frozen=True, slots=True, kw_only=True, config=CHECKED)
class EventError(Light):
    """Why a run failed: the exception's qualified type, its message, and a shortened traceback."""

    type: str
    """The exception's class with its module."""
    message: str
    """The exception's text."""
    traceback: str | None = None
    """The innermost frames."""


@dataclass(frozen=True, slots=True, kw_only=True, config=CHECKED)
class Usage(Light):
    """Tokens of one run. None is unknown, never zero. The details are parts of `input_tokens` or `output_tokens`."""

    input_tokens: Tokens | None = None
    """All that went in: cache reads and writes, audio and images are parts of it."""
    output_tokens: Tokens | None = None
    """All that came out: reasoning and audio are parts of it."""
    total_tokens: Tokens | None = None
    """Input and output."""
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
    """Counts of the provider besides tokens: `web_searches`, `rerank_searches`, `billed_input_tokens`, ..."""
    others: dict[str, Usage] = Field(default_factory=dict)
    """Tokens of other models that took part in the answer (an advisor's): not in the counts above, but in the cost."""
    uncounted: tuple[str, ...] = ()
    """Contents without a count of their own, as `output_image`: the provider may charge them differently."""
    inferred: bool = False
    """A tokenizer counted, since the provider reported nothing."""
    cached: bool = False
    """The answer came from a cache of the framework: nothing was used, the cost is 0."""
    service_tier: str | None = None
    """As the answer states it (`flex`, `priority`, …), where the price depends on it."""
    problems: tuple[str, ...] = ()
    """Contradictions in what the provider reported. They are named, never guessed away."""
    raw: JsonValue = None
    """The usage as the provider sent it."""


@dataclass(frozen=True, slots=True, kw_only=True, config=CHECKED)
class Cost(Light):
    """Money of one run in US dollars. None is unknown, never zero. `source` says where the figures come from."""

    input_usd: Usd | None = None
    """For what went in."""
    output_usd: Usd | None = None
    """For what came out."""
    total_usd: Usd | None = None
    problems: tuple[str, ...] = Field(default=(), exclude=True)
    """Why a figure is None though tokens are known. A fold moves them to the usage's `problems`."""
    source: str | None = None
    """`given`, `cached`, `callable`, `provider`, `table:NAME VERSION` or `genai-prices VERSION`."""


@dataclass(frozen=True, slots=True, kw_only=True, config=CHECKED)
class Note(Light):
    """Something that happened during a run: a retry, a custom event, an interrupt, a resume, a log line."""

    name: str
    """Its name: `retry`, `interrupt`, …"""
    at: Moment
    """Its time, in UTC."""
    value: JsonValue = None
    """Its contents."""


@dataclass(frozen=True, slots=True, kw_only=True, config=CHECKED)
class Event(Light):
    """One run of a framework, with all that was recorded of it."""

    id: str
    """A UUID; LangChain's run id as it is."""
    parent_id: str | None
    """The event directly above; None for the root."""
    tree_id: str
    """The id of the tree's root."""
    session_id: str | None = None
    """The group of trees: `eventtree.session`, the setting `session`, or LangGraph's `thread_id`."""
    kind: Kind
    """The kind of the run."""
    name: str
    """As the framework calls the run."""
    status: Status
    """How the run ended."""
    error: EventError | None = None
    """Why the run failed; None for control flow such as an interrupt."""
    internal: bool = False
    """Plumbing of the framework. Vendors don't get it; what lies below it hangs under the event above it."""
    inputs: JsonValue = None
    """The input, as plain JSON."""
    outputs: JsonValue = None
    """The output, as plain JSON; of a stream left early, the part that had come."""
    model: str | None = None
    """As the answer names it (`gpt-4o-2024-08-06`), else as it was asked for."""
    asked_model: str | None = None
    """As it was asked for (`gpt-4o`), where the answer names another."""
    provider: str | None = None
    """Who runs the model: `openai`, `anthropic`, `azure`, …"""
    params: dict[str, JsonValue] | None = None
    """The model's parameters (`temperature`, …) and the tools it was offered."""
    prompt: dict[str, JsonValue] | None = None
    """Of a model: the `name` and `version` of the prompt it was asked with, where the metadata names one."""
    usage: Usage | None = None
    """Tokens, counted once, on the call that used them."""
    cost: Cost | None = None
    """Dollars."""
    start: Moment
    """The time at which the run began, in UTC."""
    duration: float | None = None
    """Seconds; None where no end is known."""
    time_to_first_token: float | None = None
    """Seconds from the start to the first piece of a streamed answer."""
    tags: tuple[str, ...] = ()
    """The framework's tags, and those of the setting `tags`."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """The framework's metadata, and that of the setting `metadata`."""
    user: str | None = None
    """Whose request it was: `eventtree.session(…, user=…)` or the setting `user`."""
    environment: str | None = None
    """The setting `environment`."""
    release: str | None = None
    """Of a root, and of the first event of another process' part: the setting `release`."""
    service: str | None = None
    """Of the same events: the setting `service`."""
    framework: str | None = None
    """`langchain` or `llama_index`; None of the app's own code."""
    traceparent: str | None = None
    """Of a root: the app's own OpenTelemetry span around it, as a W3C `traceparent`."""
    notes: tuple[Note, ...] = ()
    """Retries, custom events, interrupts and log lines, in order."""

    @property
    def end(self) -> datetime | None:
        """The time at which the run ended, or None while that is not known."""
        if self.duration is None:
            return None
        return datetime.fromtimestamp(self.start.timestamp() + self.duration, UTC)

    def __repr__(self) -> str:
        return f"<Event {summary.line_of_event(self)}>"

    __str__ = __repr__

    def __rich__(self) -> Any:
        from eventtree import terminal

        return terminal.event_view(self)

    def _repr_html_(self) -> str:
        from eventtree import notebook

        return notebook.event_html(self)


for _light in (EventError, Usage, Cost, Note, Event):
    _light.model_fields = cast("Any", _light).__pydantic_fields__


fill = object.__setattr__


class EventTree(Frozen):
    """A root event and all its descendants, parents before children, siblings by start time."""

    id: str
    events: tuple[Event, ...]
    feedback: tuple[dict[str, JsonValue], ...] = ()

    @classmethod
    def made(cls, tree_id: str, events: tuple[Event, ...], feedback: tuple[dict[str, JsonValue], ...]) -> EventTree:
        """The tree of the fold's own values. Nothing is checked."""
        tree = cls.__new__(cls)
        fill(tree, "__dict__", {"id": tree_id, "events": events, "feedback": feedback})
        fill(tree, "__pydantic_fields_set__", {"id", "events", "feedback"})
        fill(tree, "__pydantic_extra__", None)
        fill(tree, "__pydantic_private__", None)
        return tree

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields replaced. The new values are not checked; sums are computed anew."""
        copied = super().model_copy(update=update, deep=deep)
        for cached in vars(copied).keys() - type(self).model_fields.keys():
            del vars(copied)[cached]
        return copied

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
        for event in paced(self.events):
            if event.internal:
                break
        else:
            return self
        kept: dict[str, str | None] = {}
        events = []
        for event in paced(self.events):
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
        """How many events used something whose price is unknown. If any, the tree cost at least `total_usd`."""
        pairs = [(e.usage, e.cost) for e in self.events if e.usage is not None]
        used = [cost for usage, cost in pairs if usage.input_tokens or usage.output_tokens or usage.units]
        return sum(cost is None or cost.total_usd is None for cost in used)

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each event: plain values, and contents as JSON.

        For `pandas.DataFrame(rows)` or `polars.DataFrame(rows, infer_schema_length=None)`.
        """
        return [summary.event_row(event) for event in self.events]

    def __repr__(self) -> str:
        return f"<EventTree {summary.line_of(self)}>"

    __str__ = __repr__

    def __rich__(self) -> Any:
        from eventtree import terminal

        return terminal.TreeView(self)

    def _repr_html_(self) -> str:
        from eventtree import notebook

        return notebook.tree_html(self)
