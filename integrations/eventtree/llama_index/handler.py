"""The handler: one pipeline, one span handler and one event handler on the root dispatcher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span import BaseSpan
from llama_index_instrumentation.span_handlers import BaseSpanHandler

from eventtree import process
from eventtree.config import HandlerSettings
from eventtree.llama_index.events import Events
from eventtree.llama_index.spans import Spans
from eventtree.recording.around import hand_on
from eventtree.recording.callback_context import share_with_callbacks
from eventtree.recording.handler import Handler
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import NAMES, handed_on, inner, remote, written

KEY = "eventtree"
"""Our key in the dispatcher's propagation context."""


class SpanHandler(BaseSpanHandler[BaseSpan]):
    """Passes the dispatcher's spans on."""

    if TYPE_CHECKING:
        spans: Spans

    def __init__(self, spans: Spans) -> None:
        """Pass them to `spans`."""
        super().__init__()
        # Not fields or private attributes of pydantic, which take 2 µs to read. So the dispatcher calls the guarded
        # methods directly.
        for name, value in (
            ("spans", spans), ("span_enter", spans.enter), ("span_exit", spans.exit), ("span_drop", spans.drop)
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @classmethod
    def class_name(cls) -> str:
        """The name the framework shows."""
        return "EventtreeSpanHandler"

    def capture_propagation_context(self) -> dict[str, Any]:
        """Name the active run, or without one the run that another process handed on. It is continued in this process
        by a child, in another by a part of the tree (`remote.py`).
        """
        share_with_callbacks()  # a workflow captures the context right before it runs in a new task
        found = hand_on()
        if found is None or found.run is None:
            return {}
        known = {name: getattr(found, name) for name in NAMES}
        if found.is_skipped or found.traceparent is not None:  # else the ids are enough
            known["traceparent"] = written(found)["traceparent"]
        return {KEY: known}

    def restore_propagation_context(self, context: dict[str, Any]) -> None:
        """Continue the run that was active where the context was captured. A value in another form is ignored."""
        found = context.get(KEY)
        handed = handed_on(found) if isinstance(found, Mapping) else None
        if handed is not None:
            inner.set(handed)
            recorder.come_back(handed)
        elif (before := remote()) is not None and before.run is not None:
            inner.set(None)  # the run of the worker's previous message does not enclose this one

    def close(self) -> None:
        """Drop the spans that are open when the dispatcher shuts down."""
        for span_id in list(self.spans.open):
            self.spans.drop(span_id, err=RuntimeError("dispatcher shutdown"))

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `Spans` does it."""

    new_span = prepare_to_exit_span = prepare_to_drop_span = _nothing


class EventHandler(BaseEventHandler):
    """Passes the dispatcher's events on."""

    def __init__(self, events: Events) -> None:
        """Pass them to `events`."""
        super().__init__()
        object.__setattr__(self, "handle", events.take)  # as above

    @classmethod
    def class_name(cls) -> str:
        """The name the framework shows."""
        return "EventtreeEventHandler"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Do nothing: `Events.take` does it."""


class DispatcherHandler(Handler):
    """Records everything that LlamaIndex runs while it is attached to the root dispatcher.

    Takes the settings every handler takes: `vendors`, `journal`, `session`, `user`, `tags`, `metadata`, `environment`,
    `sample_rate`. Most programs call `set_global_handler` instead. A pickle holds no keys and is not attached.

    Raises:
        ConfigError: a setting is wrong or missing.
        JournalError: the journal's folder cannot be used.
    """

    def __init__(self, **settings: Unpack[HandlerSettings]) -> None:
        """Resolve the settings; nothing is recorded before `attach`."""
        self.pipeline = Pipeline(**settings)
        self._spans = Spans(self.pipeline)
        self._span_handler = SpanHandler(self._spans)
        self._event_handler = EventHandler(Events(self._spans))
        process.before_flush(self._spans.settle)
        process.at_exit("handlers", self._spans.give_up)

    def attach(self) -> None:
        """Start recording. A second call changes nothing."""
        root = get_dispatcher()
        if not any(one is self._span_handler for one in root.span_handlers):
            root.add_span_handler(self._span_handler)
            root.add_event_handler(self._event_handler)

    def detach(self) -> None:
        """Stop recording, and leave the dispatcher as it was."""
        root = get_dispatcher()
        root.span_handlers[:] = [one for one in root.span_handlers if one is not self._span_handler]
        root.event_handlers[:] = [one for one in root.event_handlers if one is not self._event_handler]
