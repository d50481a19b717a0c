"""Spans → runs: what happens when the dispatcher says that one was entered, exited or dropped.

Between enter and exit a span is ids, clocks and plain JSON; no object of the user is kept, streams are known weakly
(`streams`). The guard stands in front of every method the dispatcher calls, because the dispatcher swallows whatever
we raise, without a log.
"""

from __future__ import annotations

import inspect
import sys
import uuid
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from eventtree.enclosing import langchain_run
from eventtree.event import JsonValue, Kind, Status
from eventtree.failure import describe
from eventtree.guard import guarded
from eventtree.llama_index import arguments, kinds
from eventtree.llama_index.answers import Answer
from eventtree.llama_index.endings import future_behind, status_of, waits
from eventtree.llama_index.kinds import Facts, facts
from eventtree.llama_index.propagation import restored_run
from eventtree.llama_index.streams import Ending, Stream, Streams, generator_of
from eventtree.llama_index.values import Shaper, dimensions, is_error
from eventtree.recorder import OPEN_RUNS, recorder

if TYPE_CHECKING:
    from eventtree.door import Door

FRAMEWORK = "llama_index"
STEP_TAGS = ("llamaindex.step.input_event", "llamaindex.step.input_summary", "llamaindex.start_event")
"""Tags in which the workflow repeats a step's input."""

WITH_SETTINGS = frozenset({Kind.MODEL, Kind.EMBEDDING, Kind.RERANKER})


class Span:
    """An open span."""

    __slots__ = (
        "above", "answer", "asked", "error", "facts", "id", "internal", "learned", "metadata", "outputs", "owner",
        "run", "status", "waiting",
    )  # fmt: skip

    def __init__(self, span_id: str, found: Facts, owner: int, above: Span | None) -> None:
        """Know the span `span_id`; `owner` is the id of its object, `above` the span it hangs under."""
        self.id = span_id
        self.run = run_id(span_id)
        self.facts = found
        self.owner = owner
        self.above = above
        self.internal = False
        self.answer: Answer | None = None
        """What its model said, once an event brought something."""
        self.outputs: JsonValue = None
        """Kept of a result that waits for its stream."""
        self.asked = False
        """Whether its object said which model it asks."""
        self.learned: dict[str, JsonValue] = {}
        self.metadata: dict[str, JsonValue] = {}
        self.status: Status | None = None
        self.error: JsonValue = None
        self.waiting = False

    def ancestors(self) -> Iterator[Span]:
        """The spans around this one, innermost first."""
        above = self.above
        while above is not None:
            yield above
            above = above.above


def run_id(span_id: str) -> str:
    """The run's id: the uuid at the end of the span's id, else one made of all of it."""
    tail = span_id[-36:]
    if len(tail) == 36 and tail[8] == tail[13] == tail[18] == tail[23] == "-":
        return tail
    return str(uuid.uuid5(uuid.NAMESPACE_OID, span_id))


class Spans:
    """The open spans of one handler."""

    def __init__(self, door: Door) -> None:
        """Record through `door`."""
        self.door = door
        self.shaper = Shaper(door)
        self.open: dict[str, Span] = {}
        self.streams = Streams(self.gone)
        self.left_behind: dict[str, str | None] = {}
        """Spans that returned a future stay active in their caller's context: to which span that context belongs."""

    @guarded
    def enter(
        self,
        id_: str,
        bound: inspect.BoundArguments,
        instance: Any,
        parent_id: str | None,
        tags: Mapping[str, Any] | None,
    ) -> None:
        """A span began."""
        self.look()
        name = id_[:-37] if run_id(id_) == id_[-36:] else id_
        found = facts(instance, name.rpartition(".")[2])
        parent, enclosing = self._parent(parent_id)
        above = self.open.get(parent) if parent is not None else None
        span = Span(id_, found, id(instance) if instance is not None else 0, above)
        span.internal = enclosing is not None and self._is_plumbing(span)
        self.open[id_] = span
        if len(self.open) > OPEN_RUNS:
            self.open.pop(next(iter(self.open)))
        self._mark_wrappers(span)
        known = arguments.settings(self.shaper, instance, bound) if found.kind in WITH_SETTINGS else {}
        span.asked = "model" in known
        recorder.open(
            self.door,
            span.run,
            enclosing,
            kind=found.kind,
            name=_name(found, instance, name),
            inputs=bound,
            shape=partial(arguments.shape, self.shaper, found),
            metadata=self._metadata(found, instance, bound, tags, parent_id, enclosing),
            framework=FRAMEWORK,
            provider=found.provider,
            internal=span.internal,
            **known,
        )

    @guarded
    def exit(self, id_: str, result: Any) -> None:
        """A span returned `result`, which may be a stream that has not begun."""
        self.look()
        span = self.open.get(id_)
        if span is None:
            return
        if (future := future_behind(sys._getframe())) is not None:
            self._left_behind(span)
            error = CancelledError() if future.cancelled() else future.exception()
            span.status = status_of(error) if error is not None else span.status
            span.error = self.told(error)
        if result is None and span.owner == 0 and span.status is None and waits(sys._getframe()):
            span.status = Status.INTERRUPTED
        generator = generator_of(result)
        if generator is None:
            self._close(span, result=result)
            return
        span.waiting = True
        if span.facts.kind is not Kind.MODEL and self.door.content:
            span.outputs = self.shaper.value(result) if generator is not result else None
        self.streams.hold(generator, id_)

    @guarded
    def drop(self, id_: str, error: BaseException | None) -> None:
        """A span raised `error`."""
        self.look()
        span = self.open.get(id_)
        if span is not None:
            span.error = self.told(error)
            self._close(span, status=status_of(error))

    @guarded
    def gone(self, stream: Stream) -> None:
        """The generator of a stream is gone."""
        self._dropped(stream)

    def look(self) -> None:
        """Close what waited for streams that were about to end, and have."""
        for stream in self.streams.pending[:] if self.streams.pending else ():
            if stream.is_over:
                self._dropped(stream)

    @guarded
    def settle(self) -> None:
        """Close what waited for any stream that has ended, seen or unseen."""
        for stream in self.streams.all():
            if stream.is_over:
                self._dropped(stream)

    @guarded
    def give_up(self) -> None:
        """At exit: nobody will read the streams that are left."""
        self.settle()
        for stream in self.streams.all():
            self._dropped(stream)

    def finish_stream(self, span: Span, ending: Ending) -> None:
        """A model's stream ended: the spans whose streams it ran inside end with it, if nothing can follow."""
        self._close(span, status=ending.status)
        self._pass_on(span, ending)

    def _pass_on(self, span: Span, ending: Ending) -> None:
        """End the streams a model's stream ran inside, or look at them when something happens next."""
        above = {one.id for one in span.ancestors()}
        tails = dict(self.streams.around())
        # A closed generator lets go of what it iterated when its own frame has left the stack.
        tails |= {one: one.is_over for one in self.streams.all() if one not in tails and above.intersection(one.spans)}
        for stream, is_tail in tails.items():
            stream.ending = ending
            if is_tail:
                self._end_stream(stream, ending)
            elif stream not in self.streams.pending:
                self.streams.pending.append(stream)

    def told(self, error: BaseException | None) -> JsonValue:
        """An exception as it is recorded; the object itself holds frames of the user and is not kept."""
        return None if error is None else self.shaper.plain(describe(error))

    # --- parents ---

    def _parent(self, parent_id: str | None) -> tuple[str | None, str | None]:
        """The span a new one hangs under, and the run (of either framework) that encloses it."""
        while parent_id in self.left_behind and parent_id not in self.open:
            parent_id = self.left_behind[parent_id]
        own = parent_id if parent_id is not None and recorder.is_live(run_id(parent_id)) else None
        lazy = self.streams.owner()
        if lazy is not None and (own is None or not recorder.descends(run_id(own), run_id(lazy))):
            own = lazy
        run = run_id(own) if own is not None else restored_run()
        other = langchain_run()
        if other is not None and recorder.is_open(other) and (run is None or recorder.descends(other, run)):
            return None, other
        return own, run

    def _is_plumbing(self, span: Span) -> bool:
        """Whether the span adds nothing to the one above it."""
        mine = span.facts
        if (mine.family, mine.verb) in kinds.PLUMBING:
            return True
        above = span.above
        if above is None or span.owner == 0 or above.owner != span.owner or mine.kind is Kind.MODEL:
            return False
        is_private = mine.method.startswith("_") and not mine.method.startswith("__")
        return is_private or mine.method == above.facts.method or mine.kind is above.facts.kind is not Kind.CHAIN

    def _mark_wrappers(self, span: Span) -> None:
        """The innermost call of a model is the event; calls of the same model around it are plumbing."""
        if span.facts.kind is not Kind.MODEL:
            return
        for above in span.ancestors():
            if above.owner == span.owner and (above.facts.kind is Kind.MODEL or above.facts.method in kinds.WRAPPERS):
                above.internal = True

    def _left_behind(self, span: Span) -> None:
        if len(self.left_behind) > 1000:
            self.left_behind.pop(next(iter(self.left_behind)))
        self.left_behind[span.id] = None if span.above is None else span.above.id

    # --- closing ---

    def _close(self, span: Span, *, status: Status = Status.OK, result: Any = None, text: str | None = None) -> None:
        self.open.pop(span.id, None)
        answer = span.answer
        if status is Status.OK:
            status = span.status or (Status.ERROR if is_error(result) else Status.OK)
        learned: dict[str, JsonValue] = dict(span.learned)
        if answer is not None:
            learned["usage"] = answer.usage(span.facts.provider)
            learned["model"] = answer.model or learned.get("model")
        if status is Status.ERROR:
            learned["error"] = span.error or self.told(failure_in(result))
        recorder.close(
            self.door,
            span.run,
            status=status,
            outputs=self._outputs(span, status, result, text) if self.door.content else None,
            shape=as_it_is,
            metadata=span.metadata or None,
            internal=True if span.internal else None,
            **learned,
        )

    def _outputs(self, span: Span, status: Status, result: Any, text: str | None) -> JsonValue:
        answer = span.answer
        if answer is not None and answer.outputs is not None:
            return answer.outputs
        if answer is not None and answer.parts:
            return answer.partial(self.shaper, span.facts.verb.endswith("chat"))
        if text is not None and span.facts.kind is not Kind.MODEL:
            return {**span.outputs, "response": self.shaper.text(text)} if span.outputs else self.shaper.text(text)
        if span.outputs is not None:
            return span.outputs
        return None if result is None else OUTPUTS.get(span.facts.kind, _value)(self.shaper, result)

    def _dropped(self, stream: Stream) -> None:
        ending = stream.ending or self._unsaid(stream)
        models = [span for one in stream.spans if (span := self.open.get(one)) is not None and span.answer is not None]
        self._end_stream(stream, ending)
        for span in models:
            self._pass_on(span, ending)

    def _unsaid(self, stream: Stream) -> Ending:
        """How a stream ended of which no model told: unread, where it was the framework's own, else it is not known."""
        spans = [span for one in stream.spans if (span := self.open.get(one)) is not None]
        inside = [
            one
            for one in self.open.values()
            if one.answer is not None and any(above in spans for above in one.ancestors())
        ]
        text = next((one.answer.text for one in inside + spans if one.answer is not None and one.answer.parts), None)
        is_told = any(span.answer is not None for span in spans)
        expected = any(span.facts.family not in ("", "other") and span.facts.kind is not Kind.MODEL for span in spans)
        return Ending(Status.CANCELLED if inside or is_told or expected else Status.OK, text)

    def _end_stream(self, stream: Stream, ending: Ending) -> None:
        self.streams.release(stream)
        for span_id in stream.spans:
            span = self.open.get(span_id)
            if span is not None:
                span.error = span.error or ending.error
                self._close(span, status=ending.status, text=ending.text)

    def _metadata(
        self,
        found: Facts,
        instance: Any,
        bound: inspect.BoundArguments,
        tags: Mapping[str, Any] | None,
        parent_id: str | None,
        enclosing: str | None,
    ) -> dict[str, Any]:
        own = {key: value for key, value in (tags or {}).items() if key not in STEP_TAGS}
        if found.family == kinds.AGENT:
            own["agent"] = getattr(instance, "name", None) or getattr(instance, "root_agent", None)
        elif instance is None and (agent := getattr(bound.arguments.get("ev"), "current_agent_name", None)):
            own["agent"] = agent
        if enclosing is None and parent_id is not None:
            own["parent_run_id"] = run_id(parent_id)
        return {key: value for key, value in own.items() if value is not None}


def _name(found: Facts, instance: Any, name: str) -> str:
    """A tool by its own name, a step or function by its method, all else as `Class.method`."""
    if found.kind is Kind.TOOL:
        own = getattr(getattr(instance, "metadata", None), "name", None)
        if isinstance(own, str) and own:
            return own
    return found.method if instance is None else name


def as_it_is(value: JsonValue) -> JsonValue:
    """What is plain already."""
    return value


def failure_in(result: Any) -> BaseException | None:
    """The exception a tool's output carries."""
    error = getattr(result, "exception", None) if is_error(result) else None
    return error if isinstance(error, BaseException) else None


def _value(shaper: Shaper, result: Any) -> JsonValue:
    return shaper.value(result)


def _documents(shaper: Shaper, result: Any) -> JsonValue:
    return {"documents": shaper.documents(result)} if isinstance(result, list | tuple) else shaper.value(result)


def _embedding(shaper: Shaper, result: Any) -> JsonValue:
    return dimensions(result)


OUTPUTS: Mapping[Kind, Callable[[Shaper, Any], JsonValue]] = {
    Kind.RETRIEVER: _documents,
    Kind.RERANKER: _documents,
    Kind.EMBEDDING: _embedding,
}
