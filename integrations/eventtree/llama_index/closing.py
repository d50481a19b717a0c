"""How runs close: what a result, a stream's end or an exception makes of a span's status, outputs and usage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from eventtree.event import JsonValue, Kind, Status
from eventtree.llama_index.kinds import TELLING, lookup
from eventtree.llama_index.span import Span
from eventtree.llama_index.streams import Ended, Ending, Stream, Streams, frame_of, has_begun, running
from eventtree.llama_index.values import RESPONSES, Shaper, dimensions, is_error
from eventtree.recording.exceptions import describe
from eventtree.recording.recorder import recorder

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline

UNTOLD = "output_unknown"
UNTOLD_WHY = "its stream was the user's and no event told of it"


class Closing:
    """Closes spans, and the streams they wait for."""

    def __init__(self, pipeline: Pipeline, shaper: Shaper, opened: dict[str, Span], streams: Streams) -> None:
        """Close what is in `opened` and `streams`."""
        self.pipeline = pipeline
        self.shaper = shaper
        self.open = opened
        self.streams = streams

    def close(self, span: Span, *, status: Status = Status.OK, result: Any = None, text: str | None = None) -> None:
        """End the span's run with a `result`, or the full `text` of its stream."""
        if self.open.pop(span.id, None) is None:
            return  # Another thread was first.
        if span.is_model:
            self._settle_model(span, status, result)
        if span.waiting and text is None and status is Status.OK and span.answer is None and span.outputs is None:
            span.metadata[UNTOLD] = UNTOLD_WHY
        if status is Status.OK:
            status = span.status or (Status.ERROR if is_error(result) else Status.OK)
        learned = dict(span.learned)
        if span.answer is not None and span.is_model:
            learned["usage"] = span.answer.usage(self.shaper, span.facts.provider)
            if span.answer.model is not None:
                learned["model"] = self.shaper.text(span.answer.model)
        if status is Status.ERROR:
            learned["error"] = span.error or self.told(failure_in(result))
        recorder.close(
            self.pipeline,
            span.run,
            status=status,
            outputs=self._outputs(span, result, text) if self.pipeline.content else None,
            convert=as_it_is,
            metadata=span.metadata or None,
            internal=True if span.internal else None,
            **learned,
        )

    def told(self, error: BaseException | None) -> JsonValue:
        """An exception as it is recorded; the object itself holds frames of the user and is not kept."""
        return None if error is None else self.shaper.plain(describe(error))

    def finish_stream(self, span: Span, ending: Ending) -> None:
        """A model's stream ended: the spans whose streams it ran inside end with it, if nothing can follow."""
        self.close(span, status=ending.status)
        self._pass_on(span, ending)

    def finish_structured(self, output: Any) -> None:
        """The stream of structured predictions around this call ended with `output`."""
        for stream, _is_tail in list(self.streams.around()):
            spans = [span for span in self._spans_of(stream) if span.facts.method in TELLING]
            for span in spans:
                span.outputs = self.shaper.value(output) if self.pipeline.content else None
            if spans:
                self.end_stream(stream, Ending(Status.OK))

    def lose_stream(self, stream: Stream) -> None:
        """The stream's generator is gone, has ended if_unopened, or will never be read."""
        ending = stream.ending or self._unsaid(stream)
        models = [span for span in self._spans_of(stream) if span.is_model]
        if ending.status is Status.CANCELLED:
            self._cancel_inside(stream, ending)
        self.end_stream(stream, ending)
        for span in models:
            self._pass_on(span, ending)

    def end_stream(self, stream: Stream, ending: Ending) -> None:
        """Close the spans that wait for the stream."""
        self.streams.release(stream)
        for span in self._spans_of(stream):
            span.error = span.error or ending.error
            self.close(span, status=ending.status, text=ending.text)

    def catch_up(self, stream: Stream, ended: Ended) -> None:
        """A model may have ended inside the stream, in another thread, before the stream was known."""
        generator = stream.ref()
        frame = frame_of(generator) if generator is not None else None
        is_tail = True if frame is None else ended.inside.get(id(frame)) if has_begun(generator) else None
        if is_tail is None:
            return
        stream.ending = ended.ending
        if is_tail:
            self.end_stream(stream, ended.ending)
        else:
            self.streams.look_later(stream)

    def _leave_word(self, span: Span, ending: Ending) -> None:
        """Spans above may yet return a stream this model ended in."""
        ended = Ended(ending, {id(frame): is_tail for frame, is_tail in running(sys._getframe())})
        for above in span.ancestors():
            above.ended = ended

    def _pass_on(self, span: Span, ending: Ending) -> None:
        """End the streams a model's stream ran inside, or look at them when something happens next."""
        self._leave_word(span, ending)
        above = {one.id for one in span.ancestors()}
        tails = dict(self.streams.around())
        # A closed generator lets go of what it iterated when its own frame has left the stack.
        others = [one for one in self.streams.all() if one not in tails and above.intersection(one.spans)]
        tails |= {one: one.is_over for one in others if one.is_over or ending.status is not Status.OK}
        for stream, is_tail in tails.items():
            is_self_told = ending.status is Status.OK and any(one.tells for one in self._spans_of(stream))
            # Nobody told yet that it went on to its end.
            stream.ending = ending._replace(status=Status.CANCELLED) if is_self_told else ending
            if is_tail and not is_self_told:
                self.end_stream(stream, ending)
            else:
                self.streams.look_later(stream)

    def _unsaid(self, stream: Stream) -> Ending:
        """How a stream ended of which no model told: unread, where it was the framework's own or a model runs on
        inside it, else it is not known.
        """
        spans = self._spans_of(stream)
        inside = [one for one in self._inside(spans) if one.is_model]
        text = next((one.answer.text for one in inside + spans if one.answer is not None and one.answer.parts), None)
        is_told = any(span.tells for span in spans)
        expected = any(span.facts.family not in ("", "other") and not span.is_model for span in spans)
        unread = inside or is_told or expected or stream.is_suspended
        return Ending(Status.CANCELLED if unread else Status.OK, text)

    def _cancel_inside(self, stream: Stream, ending: Ending) -> None:
        """Streams that a cancelled one reads were not read to their end either."""
        inside = {span.id for span in self._inside(self._spans_of(stream)) if span.waiting}
        for other in self.streams.all() if inside else ():
            if other.ending is None and inside.intersection(other.spans):
                other.ending = ending

    def _inside(self, spans: list[Span]) -> list[Span]:
        return [one for one in list(self.open.values()) if any(above in spans for above in one.ancestors())]

    def _spans_of(self, stream: Stream) -> list[Span]:
        return [span for one in stream.spans if (span := self.open.get(one)) is not None]

    def _settle_model(self, span: Span, status: Status, result: Any) -> None:
        """A model whose class emits no events: its result tells, or else the call around it."""
        if span.answer is not None:
            return
        if result is not None and lookup(result, RESPONSES):
            span.begin_answer().end(self.shaper, result)
        elif status is Status.ERROR:
            span.mark_outer_calls()
        elif any(above.owner == span.owner and above.is_model and above.answer for above in span.ancestors()):
            span.internal = True

    def _outputs(self, span: Span, result: Any, text: str | None) -> JsonValue:
        answer = span.answer
        if answer is not None and answer.outputs is not None:
            return answer.outputs
        if answer is not None and answer.parts:
            return answer.partial(self.shaper, span.facts.verb.endswith("chat"))
        if text is not None and not span.is_model:
            return {**span.outputs, "response": self.shaper.text(text)} if span.outputs else self.shaper.text(text)
        if span.outputs is not None:
            return span.outputs
        return None if result is None else OUTPUTS.get(span.facts.kind, _value)(self.shaper, result)


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
