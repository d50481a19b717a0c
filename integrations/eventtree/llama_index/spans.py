"""Makes runs of spans: the dispatcher reports each span that is entered, exited or dropped.

`parents` finds the parent of a span, `closing` closes it, `streams` holds the streams that spans wait for. Every method
that the dispatcher calls is guarded, because the dispatcher swallows exceptions without a log.
"""

from __future__ import annotations

import inspect
import sys
from asyncio import CancelledError
from collections.abc import Mapping
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from llama_index_instrumentation.dispatcher import active_instrument_tags

from eventtree.kinds import Status
from eventtree.llama_index import classify, inputs
from eventtree.llama_index.classify import BUILT_IN, FACTS, Facts
from eventtree.llama_index.closing import Closing
from eventtree.llama_index.parents import Parents, is_plumbing
from eventtree.llama_index.span import Span, run_and_name
from eventtree.llama_index.streams import Streams, frame_of, generator_of
from eventtree.loop import running_loop
from eventtree.recording.boundary import guarded
from eventtree.recording.exceptions import describe
from eventtree.recording.recorder import recorder
from eventtree.recording.runs import NOTHING
from eventtree.recording.status import status_of
from eventtree.remembered import oldest_of
from eventtree.usage.collect import field, fields
from eventtree.usage.failed import body_in

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline

FRAMEWORK = "llama_index"
STEP_TAGS = frozenset({"llamaindex.step.input_event", "llamaindex.step.input_summary", "llamaindex.start_event"})
"""Tags in which a workflow repeats a step's input."""

DISPATCHER = 2
"""Frames from a method of `Spans` up to the dispatcher's: the guard is between them."""
NEAR = 8
"""Most frames between ours and the dispatcher's."""

WRAPPERS = frozenset({"wrapper", "async_wrapper"})
"""The dispatcher's functions around a span that did not return a future."""


def _end_bare(spans: Spans, id_: str, _bound: Any, _instance: Any = None, came: object = None) -> None:
    """Record the end alone, where its result could not be read."""
    spans.open.pop(id_, None)
    status = Status.ERROR if isinstance(came, BaseException) else Status.OK
    recorder.close(spans.pipeline, run_and_name(id_)[0], status=status)


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
        """Open the run of a span that began."""
        if self.streams.pending:
            self.closing.look()
        if tags is None:
            tags = active_instrument_tags.get()  # a workflow's run passes none, but its context has them
        own, name = run_and_name(id_)
        found = FACTS[None if instance is None else type(instance), name]
        above, run, outlived = self.parents.enclosing(parent_id)
        span = Span(id_, own, found, 0 if instance is None else id(instance), above)
        known: Mapping[str, Any] = found.known
        if run is not None and is_plumbing(span):
            span.internal = True
            known = {**known, "internal": True}
        self.open[id_] = span
        if len(self.open) > self.pipeline.open_runs:
            self.open.pop(oldest_of(self.open) or "", None)
        if found.is_model:
            # Methods of a model that only format its prompt are plumbing around the call.
            for one in span.ancestors():
                if one.owner == span.owner and one.facts.method in classify.WRAPPERS:
                    one.internal = True
        if found.has_settings:
            known = {**known, **inputs.settings(instance, bound_args)}
            span.names_model = "model" in known
        has_more = tags or found.names_agent or outlived is not None
        recorder.open(
            self.pipeline, own, run, found.kind, (found.is_tool and _tool_name(instance)) or found.name,
            bound_args if bound_args.arguments else None,
            partial(inputs.inputs_of, self.pipeline, found),
            _metadata(found, instance, bound_args, tags, outlived) if has_more else None, None, known, NOTHING,
            FRAMEWORK,
        )  # fmt: skip

    @partial(guarded, otherwise=_end_bare)
    def exit(self, id_: str, bound_args: Any = None, instance: Any = None, result: Any = None, **_: Any) -> None:
        """Close a span that returned `result`, or let it wait if that is a stream."""
        if self.streams.pending:
            self.closing.look()
        span = self.open.get(id_)
        if span is None:
            return
        # A future can have ended the span only where a loop runs in this thread.
        if running_loop() is not None and (future := _future_behind(sys._getframe(DISPATCHER))) is not None:
            self._end_future(span, future, result)
        if result is None:
            if span.owner == 0 and span.status is None and _waits(sys._getframe(DISPATCHER)):
                span.status = Status.INTERRUPTED
        elif type(result) not in BUILT_IN:
            generator = generator_of(result)
            if generator is not None and (frame_of(generator) or span.model_ending):
                if self.pipeline.content and not span.facts.is_model and generator is not result:
                    span.outputs = self.pipeline.plain(result)
                self.closing.wait(span, generator)
                return
        self.closing.close(span, result=result)

    @partial(guarded, otherwise=_end_bare)
    def drop(
        self, id_: str, bound_args: Any = None, instance: Any = None, err: BaseException | None = None, **_: Any
    ) -> None:
        """Close a span that raised `err`."""
        self.closing.look()
        span = self.open.get(id_)
        if span is None:
            return
        if err is not None:
            span.error = describe(err)
            if span.facts.is_model and (body := body_in(err)) is not None:
                span.begin_answer().fail(self.pipeline, body)
        self.closing.close(span, status=Status.OK if err is None else status_of(err)[0])

    @guarded
    def look(self) -> None:
        """Close the spans that waited for streams that are over."""
        self.closing.look()

    @guarded
    def settle(self) -> None:
        """Close the spans of every stream that is over, also where no model ended in it."""
        for stream in self.streams.all():
            if stream.is_over:
                self.closing.lose_stream(stream)

    @guarded
    def give_up(self) -> None:
        """Close the spans of all streams at exit: nobody reads the open ones any more."""
        self.settle()
        for stream in self.streams.all():
            self.closing.lose_stream(stream)

    def _end_future(self, span: Span, future: Any, result: Any) -> None:
        """Take the status from the future, whose failure the framework hides. The span stays active in its context."""
        self.parents.keep_active(span)
        error = CancelledError() if future.cancelled() else future.exception()
        if result is None and error is not None:
            span.status, span.error = status_of(error)[0], describe(error)


def _metadata(
    found: Facts,
    instance: Any,
    bound: inspect.BoundArguments,
    tags: Mapping[str, Any] | None,
    outlived: str | None,
) -> dict[str, Any]:
    own = {key: value for key, value in (tags or {}).items() if key not in STEP_TAGS}
    if found.family == classify.AGENT:
        own["agent"] = getattr(instance, "name", None) or getattr(instance, "root_agent", None)
    elif instance is None and "ev" in bound.arguments:
        own["agent"] = field(fields(bound.arguments["ev"]), "current_agent_name")
    if outlived is not None:
        own |= {"parent_run_id": outlived, "parent_tree_id": recorder.tree_of(outlived)}
    return {key: value for key, value in own.items() if value is not None}


def _tool_name(instance: Any) -> str | None:
    """A tool's own name."""
    own = getattr(getattr(instance, "metadata", None), "name", None)
    return own if isinstance(own, str) and own else None


def _future_behind(frame: FrameType | None) -> Any:
    """The future that ends a span right now, or None.

    The dispatcher lets a span that returned a future exit with None, even if the future failed, and leaves the span
    active in its caller's context. Only the dispatcher's frame shows both.
    """
    for _ in range(NEAR):
        if frame is None or (name := frame.f_code.co_name) in WRAPPERS:
            return None
        if name == "handle_future_result":
            return frame.f_locals.get("future")
        frame = frame.f_back
    return None


def _waits(frame: FrameType | None) -> bool:
    """Whether the step that exits now paused for an event (say, from a human), which the workflow hides."""
    for _ in range(NEAR):
        if frame is None:
            return False
        step: Any = frame.f_locals.get("func") if frame.f_code.co_name == "async_wrapper" else None
        code = getattr(step, "__code__", None)
        if code is not None and "captured_waiting" in code.co_freevars:
            cell = step.__closure__[code.co_freevars.index("captured_waiting")]
            return cell.cell_contents is not None
        frame = frame.f_back
    return False
