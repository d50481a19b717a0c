"""What a model's responses contain: text, usage, the model that answered. Only strings and plain JSON are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventtree.event import JsonValue, Kind
from eventtree.llama_index.classify import by_class
from eventtree.recording.exceptions import describe
from eventtree.recording.shapes import dimensions
from eventtree.usage.collect import Body, field, fields, merge, usage_in
from eventtree.usage.failed import messages_in

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline

MODEL_RESPONSES = by_class(
    {
        ("llama_index.core.base.llms.types", "ChatResponse"): True,
        ("llama_index.core.base.llms.types", "CompletionResponse"): True,
    }
)
TOOL_OUTPUTS = by_class(
    {
        ("llama_index.core.tools.types", "ToolOutput"): True,
        ("llama_index.core.agent.workflow.workflow_events", "ToolCallResult"): False,
    }
)
"""Results of tools, and of the steps of agents that call them → whether it is the tool's own result."""


EMBEDDING, FINDING = Kind.EMBEDDING, frozenset({Kind.RETRIEVER, Kind.RERANKER})


class Answer(Body):
    """Gathers one model run's responses, chunk by chunk or at once."""

    __slots__ = ("additional", "is_provided", "outputs", "parts", "sent")

    def __init__(self, is_provided: bool) -> None:
        """Begin with nothing; where `is_provided`, the responses contain what a provider sent."""
        super().__init__()
        self.is_provided = is_provided
        self.parts: list[str] = []
        self.additional: dict[str, JsonValue] = {}
        self.outputs: JsonValue = None
        self.sent: list[str] = []

    def progress(self, response: Any) -> bool:
        """Take a chunk of a stream; whether it had content."""
        self.streamed = True
        delta = getattr(response, "delta", None)
        if isinstance(delta, str) and delta:
            self.parts.append(delta)
        self.read(response)
        return bool(delta) or says_more(response)

    def end(self, pipeline: Pipeline, response: Any) -> None:
        """Take the last response; of a stream it has the full text."""
        if response is None:
            return
        self.read(response)
        if pipeline.content:
            self.outputs = pipeline.plain(response)
            self._complete(pipeline)

    def read(self, response: Any) -> None:
        """Keep usage, model and finish reason; a later chunk's count wins, an absent one changes nothing."""
        if not self.is_provided:
            return
        self.read_body(getattr(response, "raw", None))
        message = field(fields(response), "message")
        self.listed.items(field(fields(message), "blocks"))
        for holder in (message, response):
            extra = field(fields(holder), "additional_kwargs")
            if extra:
                merge(self.additional, usage_in(extra))
                self.listed.items(field(extra, "built_in_tool_calls"))  # OpenAIResponses

    def fail(self, pipeline: Pipeline, body: Any) -> None:
        """Take the provider's answer that an exception carried."""
        self.read_body(body)
        messages = list(messages_in(body)) if pipeline.content else []
        if messages:
            self.outputs = {"messages": pipeline.sanitize.messages(messages)}

    @property
    def text(self) -> str:
        """What has come so far."""
        return "".join(self.parts)

    def partial(self, pipeline: Pipeline, chat: bool) -> JsonValue:
        """Outputs of a stream that ended early."""
        if not self.parts or not pipeline.content:
            return None
        text = pipeline.text(self.text)
        return {"messages": [{"role": "assistant", "content": text}]} if chat else {"text": text}

    def usage(self, provider: str | None) -> JsonValue:
        """What is recorded under `usage`, or None where nothing arrived."""
        found = super().usage(provider)
        if found is None and not self.additional:
            return None
        places = found or {"raw": {}, "provider": provider, "streamed": self.streamed}
        return {**places, "additional_kwargs": self.additional, **({"sent": self.sent} if self.sent else {})}

    def _complete(self, pipeline: Pipeline) -> None:
        """Add why it ended, and text that came in deltas only (some models' last chunk lacks it)."""
        if not isinstance(self.outputs, dict):
            return
        for message in self.outputs.get("messages", ()):
            if self.finish:
                message.setdefault("finish_reason", pipeline.text(self.finish))
            if isinstance(message.get("content"), str) or not message.get("content"):
                # OpenAI's Responses end with a message without blocks where the answer is incomplete.
                message["content"] = self.longer(pipeline, message.get("content") or "")
        if isinstance(self.outputs.get("text"), str):
            self.outputs["text"] = self.longer(pipeline, self.outputs["text"])
            if self.finish:
                self.outputs["finish_reason"] = pipeline.text(self.finish)

    def longer(self, pipeline: Pipeline, text: str) -> str:
        """`text`, or all deltas where it is only their beginning."""
        whole = self.text
        return pipeline.text(whole) if len(whole) > len(text) and whole.startswith(text) else text


def says_more(response: Any) -> bool:
    """Whether a chunk without text has content all the same: a tool call, a thought, an image."""
    message = fields(field(fields(response), "message"))
    extra = field(message, "additional_kwargs")
    if isinstance(extra, dict) and (extra.get("tool_calls") or extra.get("thinking_delta")):
        return True
    blocks = field(message, "blocks")
    kinds = [(field(one, "block_type"), one) for one in blocks] if isinstance(blocks, list) else []
    return any(kind not in (None, "text", "thinking") or field(one, "content") for kind, one in kinds)


def failure_in(result: Any) -> JsonValue:
    """The exception a tool's result carries, described."""
    error = getattr(getattr(result, "tool_output", result), "exception", None)
    return describe(error) if isinstance(error, BaseException) else None


def outputs_of(pipeline: Pipeline, kind: Kind, result: Any) -> JsonValue:
    """The outputs of a span by what it returned."""
    if kind in FINDING:
        return {"documents": pipeline.sanitize.found(result)}
    if kind is EMBEDDING:
        return dimensions(result)
    if TOOL_OUTPUTS[type(result)]:
        result = _own_result(result)
        if TOOL_OUTPUTS[type(result)]:  # A tool may return a tool's output itself, which is then wrapped in another.
            result = _own_result(result)
    return pipeline.plain(result)


def _own_result(output: Any) -> Any:
    # An agent that finds no such tool says so in the content alone; that of a tool that returned nothing is "None".
    is_content = output.raw_output is None and output.content not in ("", "None")
    return output.content if is_content else output.raw_output
