"""Spans → runs: what happens when the dispatcher reports that one was entered, exited or dropped.

`parents` finds what encloses a span, `closing` closes it, `streams` knows which spans wait for which stream. The guard
stands in front of every method that the dispatcher calls, because the dispatcher swallows whatever we raise, without a
log.
"""

from __future__ import annotations

import inspect
import sys
from asyncio import CancelledError
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index_instrumentation.dispatcher import active_instrument_tags

from eventtree.event import Kind, Status
from eventtree.llama_index import classify, inputs
from eventtree.llama_index.classify import FACTS, Facts
from eventtree.llama_index.closing import Closing, described
from eventtree.llama_index.parents import Enclosing, Parents, is_plumbing, mark_wrappers
from eventtree.llama_index.span import UUID_LENGTH, Span, run_id
from eventtree.llama_index.status import future_behind, status_of, waits
from eventtree.llama_index.streams import Streams, frame_of, generator_of
from eventtree.recording.boundary import guarded
from eventtree.recording.recorder import recorder
from eventtree.remembered import oldest_of
from eventtree.usage.collect import field, fields
from eventtree.usage.failed import body_in

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline

FRAMEWORK = "llama_index"
STEP_TAGS = frozenset({"llamaindex.step.input_event", "llamaindex.step.input_summary", "llamaindex.start_event"})
"""Tags in which the workflow repeats a step's input."""

DISPATCHER = 2
"""Frames between a method of `Spans` and the dispatcher's: the guard's."""

WITH_SETTINGS = frozenset({Kind.MODEL, Kind.EMBEDDING, Kind.RERANKER})


def _end_bare(spans: Spans, id_: str, _bound: Any, _instance: Any = None, came: object = None) -> None:
    """In place of an end that could not be read: that there was one."""
    spans.open.pop(id_, None)
    status = Status.ERROR if isinstance(came, BaseException) else Status.OK
    recorder.close(spans.pipeline, run_id(id_), status=status)


class Spans:
    """The open spans of one handler."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Record through `pipeline`."""
        self.pipeline = pipeline
        self.open: dict[str, Span] = {}
        self.streams = Streams(self.look)
        self.parents = Parents(self.open, self.streams)
        self.closing = Closing(pipeline, self.open, self.streams)

    @guarded
    def enter(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any = None,
        parent_id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """A span began."""
        if self.streams.pending:
            self.closing.look()
        if tags is None:
            tags = active_instrument_tags.get()  # A workflow's run passes none; they stand in its context.
        run = run_id(id_)
        name = id_[: -UUID_LENGTH - 1] if id_.endswith(run) else id_
        found = FACTS[None if instance is None else type(instance), name.rpartition(".")[2]]
        around = self.parents.enclosing(parent_id)
        span = Span(id_, run, found, id(instance) if instance is not None else 0, around.above)
        self._keep(span, around)
        recorder.open(
            self.pipeline,
            run,
            around.run,
            kind=found.kind,
            name=_name(found, instance, name),
            inputs=bound_args if bound_args.arguments else None,
            convert=partial(inputs.inputs_of, self.pipeline, found),
            metadata=_metadata(found, instance, bound_args, tags, around),
            known=self._known(span, instance, bound_args),
            framework=FRAMEWORK,
        )

    @partial(guarded, otherwise=_end_bare)
    def exit(self, id_: str, bound_args: Any = None, instance: Any = None, result: Any = None, **_: Any) -> None:
        """A span returned `result`, which may be a stream that has not begun."""
        if self.streams.pending:
            self.closing.look()
        span = self.open.get(id_)
        if span is None:
            return
        if result is None:
            self._explain_nothing(span)
        elif (generator := generator_of(result)) is not None and (frame_of(generator) or span.model_ending):
            self._wait(span, result, generator)
            return
        elif future_behind(sys._getframe(DISPATCHER)) is not None:
            self.parents.keep_active(span)
        self.closing.close(span, result=result)

    @partial(guarded, otherwise=_end_bare)
    def drop(
        self, id_: str, bound_args: Any = None, instance: Any = None, err: BaseException | None = None, **_: Any
    ) -> None:
        """A span raised `err`."""
        self.closing.look()
        span = self.open.get(id_)
        if span is not None:
            span.error = described(err)
            if span.is_model and err is not None and (body := body_in(err)) is not None:
                span.begin_answer().fail(self.pipeline, body)
            self.closing.close(span, status=status_of(err))

    @guarded
    def look(self) -> None:
        """Close what waited for streams that are over."""
        self.closing.look()

    @guarded
    def settle(self) -> None:
        """Close what waited for any stream that is over, also where no model ended in it."""
        for stream in self.streams.all():
            if stream.is_over:
                self.closing.lose_stream(stream)

    @guarded
    def give_up(self) -> None:
        """At exit: nobody will read the streams that are not over."""
        self.settle()
        for stream in self.streams.all():
            self.closing.lose_stream(stream)

    def _keep(self, span: Span, around: Enclosing) -> None:
        span.internal = around.run is not None and is_plumbing(span)
        self.open[span.id] = span
        if len(self.open) > self.pipeline.open_runs:
            self.open.pop(oldest_of(self.open) or "", None)
        mark_wrappers(span)

    def _known(self, span: Span, instance: Any, bound: inspect.BoundArguments) -> dict[str, Any]:
        known: dict[str, Any] = {} if span.facts.provider is None else {"provider": span.facts.provider}
        if span.internal:
            known["internal"] = True
        if span.facts.kind in WITH_SETTINGS:
            known |= inputs.settings(instance, bound)
            span.names_model = "model" in known
        return known

    def _explain_nothing(self, span: Span) -> None:
        """No result: it may be a future that failed, or a step that waits, both hidden by the framework."""
        future = future_behind(sys._getframe(DISPATCHER + 1))
        if future is not None:
            self.parents.keep_active(span)
            error = CancelledError() if future.cancelled() else future.exception()
            span.status = status_of(error) if error is not None else span.status
            span.error = described(error)
        elif span.owner == 0 and span.status is None and waits(sys._getframe(1)):
            span.status = Status.INTERRUPTED

    def _wait(self, span: Span, result: Any, generator: Any) -> None:
        if self.pipeline.content and not span.is_model and generator is not result:
            span.outputs = self.pipeline.plain(result)
        self.closing.wait(span, generator)


def _metadata(
    found: Facts,
    instance: Any,
    bound: inspect.BoundArguments,
    tags: Mapping[str, Any] | None,
    around: Enclosing,
) -> dict[str, Any]:
    own = {key: value for key, value in tags.items() if key not in STEP_TAGS} if tags else {}
    if found.family == classify.AGENT:
        own["agent"] = getattr(instance, "name", None) or getattr(instance, "root_agent", None)
    elif instance is None and "ev" in bound.arguments:
        own["agent"] = field(fields(bound.arguments["ev"]), "current_agent_name")
    if around.outlived is not None:
        own |= {"parent_run_id": around.outlived, "parent_tree_id": recorder.tree_of(around.outlived)}
    return {key: value for key, value in own.items() if value is not None} if own else own


def _name(found: Facts, instance: Any, name: str) -> str:
    """A tool by its own name, a step or function by its method, all else as `Class.method`."""
    if found.kind is Kind.TOOL:
        own = getattr(getattr(instance, "metadata", None), "name", None)
        if isinstance(own, str) and own:
            return own
    return found.method if instance is None else name
