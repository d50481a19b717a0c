"""Reads a model's responses: text, usage, the model that answered. Keeps only strings and plain JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventtree.kinds import JsonValue, Kind
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
"""Class of a result of a tool, or of an agent's step that calls one → whether it is the tool's own result."""


EMBEDDING, FINDING = Kind.EMBEDDING, frozenset({Kind.RETRIEVER, Kind.RERANKER})


class Answer(Body):
    """Gathers one model run's responses, chunk by chunk or at once."""

    __slots__ = ("additional", "is_provided", "outputs", "parts", "sent")

    def __init__(self, is_provided: bool) -> None:
        """Begin empty. With `is_provided` the responses contain a provider's answer."""
        super().__init__()
        self.is_provided = is_provided
        self.parts: list[str] = []
        self.additional: dict[str, JsonValue] = {}
        self.outputs: JsonValue = None
        self.sent: list[str] = []

    def progress(self, response: Any) -> bool:
        """Take a chunk of a stream; returns whether it has content."""
        self.streamed = True
        delta = getattr(response, "delta", None)
        if isinstance(delta, str) and delta:
            self.parts.append(delta)
        self.read(response)
        return bool(delta) or says_more(response)

    def end(self, pipeline: Pipeline, response: Any) -> None:
        """Take the last response, which has a stream's full text."""
        if response is None:
            return
        self.read(response)
        if pipeline.content:
            self.outputs = pipeline.plain(response)
            self._complete(pipeline)

    def read(self, response: Any) -> None:
        """Read usage, model and finish reason. A later chunk's count replaces an earlier one."""
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
        """Take the provider's answer in an exception."""
        self.read_body(body)
        messages = list(messages_in(body)) if pipeline.content else []
        if messages:
            self.outputs = {"messages": pipeline.sanitize.messages(messages)}

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    def partial(self, pipeline: Pipeline, chat: bool) -> JsonValue:
        """The outputs of a stream that ended early."""
        if not self.parts or not pipeline.content:
            return None
        text = pipeline.text(self.text)
        return {"messages": [{"role": "assistant", "content": text}]} if chat else {"text": text}

    def usage(self, provider: str | None) -> JsonValue:
        """The record's `usage`, or None without any."""
        found = super().usage(provider)
        if found is None and not self.additional:
            return None
        places = found or {"raw": {}, "provider": provider, "streamed": self.streamed}
        return {**places, "additional_kwargs": self.additional, **({"sent": self.sent} if self.sent else {})}

    def _complete(self, pipeline: Pipeline) -> None:
        """Add the finish reason, and the text of the deltas where the last response lacks it."""
        if not isinstance(self.outputs, dict):
            return
        for message in self.outputs.get("messages", ()):
            if self.finish:
                message.setdefault("finish_reason", pipeline.text(self.finish))
            if isinstance(message.get("content"), str) or not message.get("content"):
                # An incomplete answer of OpenAI's Responses ends with a message without blocks.
                message["content"] = self.longer(pipeline, message.get("content") or "")
        if isinstance(self.outputs.get("text"), str):
            self.outputs["text"] = self.longer(pipeline, self.outputs["text"])
            if self.finish:
                self.outputs["finish_reason"] = pipeline.text(self.finish)

    def longer(self, pipeline: Pipeline, text: str) -> str:
        """`text`, or all deltas where `text` is only their beginning."""
        whole = self.text
        return pipeline.text(whole) if len(whole) > len(text) and whole.startswith(text) else text


def says_more(response: Any) -> bool:
    """Whether a chunk without text has other content: a tool call, a thought, an image."""
    message = fields(field(fields(response), "message"))
    extra = field(message, "additional_kwargs")
    if isinstance(extra, dict) and (extra.get("tool_calls") or extra.get("thinking_delta")):
        return True
    blocks = field(message, "blocks")
    kinds = [(field(one, "block_type"), one) for one in blocks] if isinstance(blocks, list) else []
    return any(kind not in (None, "text", "thinking") or field(one, "content") for kind, one in kinds)


def failure_in(result: Any) -> JsonValue:
    """The description of the exception in a tool's result."""
    error = getattr(getattr(result, "tool_output", result), "exception", None)
    return describe(error) if isinstance(error, BaseException) else None


def outputs_of(pipeline: Pipeline, kind: Kind, result: Any) -> JsonValue:
    """The outputs of a span, from its result."""
    if kind in FINDING:
        return {"documents": pipeline.sanitize.found(result)}
    if kind is EMBEDDING:
        return dimensions(result)
    if TOOL_OUTPUTS[type(result)]:
        result = _own_result(result)
        if TOOL_OUTPUTS[type(result)]:  # a tool may itself return a tool's output, which is then wrapped in another
            result = _own_result(result)
    return pipeline.plain(result)


def _own_result(output: Any) -> Any:
    # If an agent finds no such tool, only the content says so. The content of a tool that returned None is "None".
    is_content = output.raw_output is None and output.content not in ("", "None")
    return output.content if is_content else output.raw_output
