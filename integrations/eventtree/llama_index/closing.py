"""Closes runs: a span's status, outputs and usage come from its result, its stream's end or its exception."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from eventtree.content.reported import reported_failure
from eventtree.kinds import JsonValue, Status
from eventtree.llama_index.classify import REPORTING
from eventtree.llama_index.responses import MODEL_RESPONSES, TOOL_OUTPUTS, failure_in, outputs_of
from eventtree.llama_index.span import Span
from eventtree.llama_index.streams import Ending, Stream, Streams, frame_of, reading, running
from eventtree.recording.recorder import recorder

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline

OK, ERROR, CANCELLED = Status.OK, Status.ERROR, Status.CANCELLED
UNKNOWN = {"output_unknown": "its stream was the user's and no event reported it"}
"""Metadata of a run whose output is not known."""


class Closing:
    """Closes spans and the streams that they wait for."""

    def __init__(self, pipeline: Pipeline, opened: dict[str, Span], streams: Streams) -> None:
        """Close what is in `opened` and `streams`."""
        self.pipeline = pipeline
        self.open = opened
        self.streams = streams

    def close(
        self, span: Span, *, status: Status = OK, result: Any = None, text: str | None = None, at: int | None = None
    ) -> None:
        """Close the span's run with a `result`, or the full `text` of its stream, `at` a time (now by default)."""
        if self.open.pop(span.id, None) is None:
            return  # another thread has closed it
        if self.streams.pending:
            self._extend(span, at)
        learned: dict[str, Any] = {} if span.model is None else {"model": span.model}
        if span.facts.is_model:
            self._settle_model(span, status, result)
            if span.answer is not None:
                learned["usage"] = span.answer.usage(span.facts.provider)
                if span.answer.model is not None:
                    learned["model"] = span.answer.model
        if span.waiting and text is None and status is OK and span.answer is None and span.outputs is None:
            learned["metadata"] = UNKNOWN
        if span.internal:
            learned["internal"] = True
        reported = None if TOOL_OUTPUTS[type(result)] is None else reported_failure(result, self.pipeline.sanitize)
        if status is OK:
            status = span.status or (OK if reported is None else ERROR)
        error: Any = None
        if status is ERROR:
            error = span.error or (reported and (failure_in(result) or reported))
        outputs: JsonValue = None
        if self.pipeline.content:
            if span.answer is None and span.outputs is None and text is None:
                outputs = None if result is None else outputs_of(self.pipeline, span.facts.kind, result)
            else:
                outputs = self._outputs(span, result, text)
        recorder.close(self.pipeline, span.run, status, outputs, lambda plain: plain, error, None, at, learned)

    def finish_stream(self, span: Span, ending: Ending) -> None:
        """Close a model whose stream ended; the streams that it ran inside end like it, unless they go on."""
        self.close(span, status=ending.status, at=ending.at)
        self._pass_on(span, ending)

    def finish_structured(self, output: Any) -> None:
        """Close the stream of structured predictions around this call with its last `output`."""
        for stream in list(self.streams.among(running(sys._getframe()))):
            spans = [span for span in self._spans_of(stream) if span.facts.method in REPORTING]
            for span in spans:
                span.outputs = self.pipeline.plain(output) if self.pipeline.content else None
            if spans:
                self.end_stream(stream, Ending(time.monotonic_ns(), OK))

    def look(self) -> None:
        """Close the spans that waited for streams that are over."""
        for stream in self.streams.pending[:]:
            if stream.is_over:
                self.lose_stream(stream)

    def lose_stream(self, stream: Stream) -> None:
        """Close the spans of a stream whose generator is gone, has ended, or will never be read."""
        ending = stream.ending or self._unreported(stream)
        models = [span for span in self._spans_of(stream) if span.facts.is_model]
        if ending.status is CANCELLED:  # the streams that it reads were not read to their end either
            inside = {span.id for span in self._inside(self._spans_of(stream)) if span.waiting}
            for other in self.streams.all() if inside else ():
                if other.ending is None and inside.intersection(other.spans):
                    other.ending = ending
        self.end_stream(stream, ending)
        for span in models:
            self._pass_on(span, ending)

    def end_stream(self, stream: Stream, ending: Ending) -> None:
        """Close the spans that wait for the stream."""
        self.streams.remove(stream)
        for span in self._spans_of(stream):
            span.error = span.error or ending.error
            self.close(span, status=ending.status, text=ending.text, at=ending.at)

    def wait(self, span: Span, generator: Any) -> None:
        """Let the span wait for its generator. A thread may have read a model inside it to the end already."""
        span.waiting = True
        # The order matters: first add the stream, then look for an ending. `_pass_on` in another thread first leaves
        # the ending, then looks for streams, so one of the two finds the other's.
        stream = self.streams.add(generator, span.id)
        frame = frame_of(generator)
        if span.model_ending is not None and (frame is None or id(frame) in span.model_ending.inside):
            stream.ending = span.model_ending
            self.streams.look_later(stream)
            self.look()

    def _pass_on(self, span: Span, ending: Ending) -> None:
        """Give a model's ending to the streams that it ran inside."""
        frames, above = list(running(sys._getframe())), {one.id: one for one in span.ancestors()}
        # The order matters: first the spans above, since one of them may be about to return a stream that a thread has
        # read already (`wait`).
        ending = ending._replace(inside=frozenset(map(id, frames)))
        for one in above.values():
            one.model_ending = ending
        # Then the streams in this call stack, and streams of the spans above that end with the model outside of it: a
        # closed generator releases the model after it has left the stack, and a model that fails or is cancelled in
        # another thread ends its reader.
        inside = list(self.streams.among(frames))
        others = [one for one in self.streams.all() if one not in inside and not above.keys().isdisjoint(one.spans)]
        inside += [one for one in others if one.is_over or ending.status is not OK]
        readers = list(self.streams.among(reading(frames)))
        for stream in inside:
            # A stream whose end is reported by an event still waits for that event; without it the stream was cut off.
            is_self_reporting = ending.status is OK and any(one.reports_end for one in self._spans_of(stream))
            stream.ending = ending._replace(status=CANCELLED) if is_self_reporting else ending
            if stream in readers and not is_self_reporting:
                self.end_stream(stream, ending)
            else:
                self.streams.look_later(stream)
        # Last the look: what is over by now is closed at once, innermost first.
        self.look()

    def _extend(self, span: Span, at: int | None) -> None:
        """A stream in which something ends after its model lasts that long."""
        for stream in self.streams.pending:
            if stream.ending is not None and any(one.id in stream.spans for one in span.ancestors()):
                stream.ending = stream.ending._replace(at=max(stream.ending.at, at or time.monotonic_ns()))

    def _unreported(self, stream: Stream) -> Ending:
        """How a stream ended inside which no model ended: unread, if it was the framework's own or a model still runs
        in it; else it is not known.
        """
        spans = self._spans_of(stream)
        inside = [one for one in self._inside(spans) if one.facts.is_model]
        text = next((one.answer.text for one in inside + spans if one.answer is not None and one.answer.parts), None)
        is_reported = any(span.reports_end for span in spans)
        expected = any(span.facts.family not in ("", "other") and not span.facts.is_model for span in spans)
        unread = inside or is_reported or expected or not stream.is_over
        return Ending(time.monotonic_ns(), CANCELLED if unread else OK, text)

    def _inside(self, spans: list[Span]) -> list[Span]:
        return [one for one in list(self.open.values()) if any(above in spans for above in one.ancestors())]

    def _spans_of(self, stream: Stream) -> list[Span]:
        return [span for one in stream.spans if (span := self.open.get(one)) is not None]

    def _settle_model(self, span: Span, status: Status, result: Any) -> None:
        """A model whose class emits no events: its result is its answer, or else that of the call around it."""
        if span.answer is not None:
            return
        if MODEL_RESPONSES[type(result)] is not None:
            span.begin_answer().end(self.pipeline, result)
        elif status is ERROR:
            span.mark_outer_calls()
        elif any(above.answer for above in span.outer_calls()):
            span.internal = True

    def _outputs(self, span: Span, result: Any, text: str | None) -> JsonValue:
        answer = span.answer
        if answer is not None and answer.outputs is not None:
            return answer.outputs
        if answer is not None and answer.parts:
            return answer.partial(self.pipeline, span.facts.verb.endswith("chat"))
        if text is not None and not span.facts.is_model:
            return {**span.outputs, "response": self.pipeline.text(text)} if span.outputs else self.pipeline.text(text)
        if span.outputs is not None or result is None:
            return span.outputs
        return outputs_of(self.pipeline, span.facts.kind, result)
