"""An open span: ids, clocks and plain JSON, no object of the user."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from eventtree.kinds import JsonValue, Status
from eventtree.llama_index.classify import REPORTING, Facts
from eventtree.llama_index.responses import Answer
from eventtree.llama_index.streams import Ending

UUID_LENGTH = 36


class Span:
    """A span that was entered and has not closed. Its stream may go on after its exit."""

    __slots__ = (
        "above", "answer", "error", "facts", "id", "internal", "model", "model_ending", "names_model",
        "outputs", "owner", "run", "status", "waiting",
    )  # fmt: skip

    def __init__(self, span_id: str, run: str, found: Facts, owner: int, above: Span | None) -> None:
        """Take its id, its run, the id of its object (`owner`, 0 for none) and the span `above` it."""
        self.id = span_id
        self.run = run
        self.facts = found
        self.owner = owner
        self.above = above
        self.internal = False
        self.answer: Answer | None = None
        """Its model's answer so far, from events and its result."""
        self.outputs: JsonValue = None
        """The outputs of a result that waits for its stream."""
        self.names_model = False
        """Whether its object names its model."""
        self.model: str | None = None
        """The model's name from an event."""
        self.status: Status | None = None
        self.error: JsonValue = None
        self.waiting = False
        """Whether it has returned a stream."""
        self.model_ending: Ending | None = None
        """The ending of the last model's stream below it."""

    def ancestors(self) -> Iterator[Span]:
        """The spans around this one, innermost first."""
        above = self.above
        while above is not None:
            yield above
            above = above.above

    def outer_calls(self) -> list[Span]:
        """The calls of the same model around this one."""
        return [one for one in self.ancestors() if one.owner == self.owner and one.facts.is_model]

    @property
    def reports_end(self) -> bool:
        """Whether an event will report the end of its stream."""
        return self.answer is not None or self.facts.method in REPORTING

    def begin_answer(self) -> Answer:
        """Its model's answer so far. An engine's `raw` is the user's, a model's the provider's."""
        if self.answer is None:
            self.answer = Answer(self.facts.is_model)
            self.mark_outer_calls()
        return self.answer

    def mark_outer_calls(self) -> None:
        """The innermost call of a model that reports an answer is the event; the calls around it are plumbing."""
        if self.facts.is_model:
            for above in self.outer_calls():
                above.internal = True


def run_and_name(span_id: str) -> tuple[str, str]:
    """The run's id (the UUID at the end of the span's id, else one made of the whole id), and the span's name."""
    tail = span_id[-UUID_LENGTH:]
    if tail[8:24:5] == "----" and len(tail) == UUID_LENGTH:
        return tail, span_id[: -UUID_LENGTH - 1]
    return str(uuid.uuid5(uuid.NAMESPACE_OID, span_id)), span_id
