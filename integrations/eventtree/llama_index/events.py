"""Reads the framework's events: a table gives, for each event class, the action on the run of its span.

Most events only repeat a span's arguments or result: they are not in the table and add nothing. An event of a user's
own class becomes a note of the run in which it happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from eventtree.content.objects import class_path
from eventtree.content.walk import MAX_KINDS
from eventtree.kinds import Status
from eventtree.llama_index.inputs import UNNAMED
from eventtree.llama_index.responses import Answer
from eventtree.llama_index.span import Span
from eventtree.llama_index.spans import Spans
from eventtree.llama_index.streams import Ending
from eventtree.recording.boundary import guarded
from eventtree.recording.exceptions import describe
from eventtree.recording.recorder import recorder
from eventtree.recording.status import status_of
from eventtree.remembered import Remembered
from eventtree.usage.collect import files_sent

OURS = ("llama_index", "workflows")
"""Packages whose events are the framework's."""

STAMPS = frozenset({"timestamp", "id_", "span_id", "tags"})

Action = Callable[[Spans, Span, Any], None]


class Events:
    """Takes the dispatcher's events for one handler."""

    def __init__(self, spans: Spans) -> None:
        """Add to the runs of `spans`."""
        self.spans = spans
        self.pipeline = spans.pipeline

    @guarded
    def take(self, event: Any, **_: Any) -> None:
        """Take one event."""
        spans = self.spans
        if spans.streams.pending:
            spans.closing.look()
        act = ACTION_OF[type(event)]
        if act is _structured:
            # The event's span is that of the reader, because the stream runs lazily.
            spans.closing.finish_structured(event.output)
        elif act is not None and (span := spans.open.get(event.span_id)) is not None:
            act(spans, span, event)


def _action_of(cls: type) -> Action | None:
    for module, name in map(class_path, cls.__mro__):
        if str(module).partition(".")[0] in (*OURS, "llama_index_instrumentation"):
            return ACTIONS.get(str(name))
        if cls.__module__.partition(".")[0] not in OURS:
            return _note
    return None


ACTION_OF: Remembered[type, Action | None] = Remembered(MAX_KINDS, _action_of)
"""Class of an event → its action."""


def _begun(spans: Spans, span: Span, event: Any) -> None:
    answer = span.begin_answer()
    if not spans.pipeline.content:
        answer.sent = files_sent(getattr(event, "messages", None))
    _model_named(spans, span, event)


def _model_named(spans: Spans, span: Span, event: Any) -> None:
    """Take the model's name from the event, where the object itself does not have it."""
    if span.names_model or not span.facts.has_settings:
        return
    fields = vars(event)
    name = fields.get("model_name") or (fields.get("model_dict") or {}).get("model_name")
    if isinstance(name, str) and name not in UNNAMED:
        span.model = name


def _progressed(spans: Spans, span: Span, event: Any) -> None:
    if span.begin_answer().progress(event.response):
        recorder.first_token(span.run)


def _ended(spans: Spans, span: Span, event: Any) -> None:
    answer = span.begin_answer()
    answer.end(spans.pipeline, event.response)
    if span.waiting:
        spans.closing.finish_stream(span, Ending(time.monotonic_ns(), Status.OK, text_of(answer, event.response)))


def text_of(answer: Answer, response: Any) -> str:
    """The full text of a stream."""
    full = getattr(response, "text", None) or getattr(getattr(response, "message", None), "content", None)
    return full if isinstance(full, str) and len(full) >= len(answer.text) else answer.text


def _raised(spans: Spans, span: Span, event: Any) -> None:
    """Close a stream that failed after its span had returned it. A failure before that is reported by `drop`."""
    if span.waiting:
        span.error = describe(event.exception)
        text = span.answer.text if span.answer is not None else None
        spans.closing.finish_stream(span, Ending(time.monotonic_ns(), status_of(event.exception)[0], text, span.error))


def _cancelled(spans: Spans, span: Span, event: Any) -> None:
    span.status = Status.CANCELLED
    if spans.pipeline.content and isinstance(event.reason, str):
        recorder.learn(span.run, metadata={"cancelled": event.reason})


def _tool_called(spans: Spans, span: Span, event: Any) -> None:
    recorder.note(span.run, "tool_call", {"name": getattr(event.tool, "name", None), "arguments": event.arguments})


def _note(spans: Spans, span: Span, event: Any) -> None:
    own = {name: value for name, value in vars(event).items() if name not in STAMPS}
    recorder.note(span.run, type(event).__name__, own)


def _structured(spans: Spans, span: Span, event: Any) -> None:
    """Do nothing: `take` does it."""


ACTIONS: Mapping[str, Action] = {
    "LLMChatStartEvent": _begun,
    "LLMCompletionStartEvent": _begun,
    "LLMChatInProgressEvent": _progressed,
    "LLMCompletionInProgressEvent": _progressed,
    "LLMChatEndEvent": _ended,
    "LLMCompletionEndEvent": _ended,
    "LLMStructuredPredictEndEvent": _structured,
    "EmbeddingStartEvent": _model_named,
    "SparseEmbeddingStartEvent": _model_named,
    "ReRankStartEvent": _model_named,
    "AgentToolCallEvent": _tool_called,
    "ExceptionEvent": _raised,
    "SpanCancelledEvent": _cancelled,
}
"""Name of the framework's event class → its action."""
