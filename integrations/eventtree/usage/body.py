"""A provider's own answer, whole or chunk by chunk: what it reports of usage, which model it names, why it stopped."""

from __future__ import annotations

from typing import Any

from eventtree.content import items_of
from eventtree.content.finish import finish_of_body
from eventtree.event import JsonValue
from eventtree.usage.collect import PLACES, Listed, field, fields, kept, merge, model_in

NESTED = ("response", "message", "metadata", "result", "data", "delta")
"""Events of a provider's stream that wrap the body (Mistral's in `data`, Cohere's last one in `delta`)."""


class Body:
    """Gathers what the bodies of one answer report. Only strings and plain JSON are kept."""

    __slots__ = ("finish", "listed", "model", "raw", "streamed")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.raw: dict[str, JsonValue] = {}
        self.listed = Listed()
        self.model: str | None = None
        self.finish: str | None = None
        self.streamed = False

    def read_body(self, raw: Any) -> None:
        """Keep what a provider's body, or an event of its stream, reports."""
        raw = fields(raw)
        for body in (raw, *(fields(field(raw, name)) for name in NESTED)) if raw is not None else ():
            if body is None or isinstance(body, str):
                continue
            merge(self.raw, kept(body) if body is raw else kept(body, PLACES))
            self._list(body)
            self.model = model_in(body) or self.model
            self.finish = _finish(body) or self.finish

    def _list(self, body: Any) -> None:
        """What it lists besides its counts: OpenAI's hosted tools, Gemini's searches (of each candidate; at the top in
        llama-index-llms-google-genai).
        """
        output, candidates = field(body, "output"), field(body, "candidates")
        if output is not None:
            self.listed.items(output)
        for one in (body, *map(fields, items_of(candidates) or ())):
            about = field(one, "grounding_metadata") or field(one, "groundingMetadata")
            if about is not None:
                self.listed.grounding(about)

    def usage(self, provider: str | None) -> JsonValue:
        """What is recorded under `usage`, or None where nothing was reported."""
        listed = self.listed.record()
        if not (self.raw or listed):
            return None
        return {
            "raw": self.raw, "provider": provider, "streamed": self.streamed, **({"listed": listed} if listed else {}),
        }  # fmt: skip


def _finish(body: Any) -> str | None:
    why = finish_of_body(body, field)
    return str(getattr(why, "value", why)) if why is not None else None
