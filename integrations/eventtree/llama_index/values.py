"""LlamaIndex's own classes in the vocabulary of `eventtree.event`; all else is left to `eventtree.content`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from eventtree.event import JsonValue
from eventtree.llama_index.kinds import lookup

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline


def text_of_query(query: Any) -> str:
    """The text of a query: a string, or a bundle that holds one."""
    return query if isinstance(query, str) else str(getattr(query, "query_str", query) or "")


class Shaper:
    """Makes values plain for one pipeline: redacted, shortened, and in our words."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Use what the pipeline makes objects plain with."""
        self.pipeline = pipeline
        self.plain = pipeline.sanitize
        self.text: Callable[[str], str] = pipeline.text
        self.messages = pipeline.sanitize.messages

    def value(self, value: Any) -> JsonValue:
        """Any value: by its class if the table knows it, lists of nodes as documents, all else as it is."""
        if isinstance(value, list) and value:
            if lookup(value[0], NODES):
                return self.documents(value)
            if lookup(value[0], TOOLS):
                return [self.text(tool_name(tool)) for tool in value]
        convert = lookup(value, VALUES)
        return self.plain(value) if convert is None else convert(self, value)

    def documents(self, nodes: Any) -> JsonValue:
        """Nodes (scored or not) as documents."""
        return self.plain.documents(list(nodes or ()))

    def sources(self, nodes: Any) -> list[JsonValue]:
        """Nodes by id and score; the retriever's event below has their text."""
        found = []
        for node in nodes or ():
            inner = getattr(node, "node", node)
            name, score = getattr(inner, "node_id", ""), getattr(node, "score", None)
            found.append({"id": self.text(str(name)), "score": self.plain(score)})
        return found

    def answer(self, response: Any, text: JsonValue) -> JsonValue:
        """An engine's answer: its text, and which nodes it stands on."""
        out: dict[str, JsonValue] = {"response": text}
        if sources := self.sources(getattr(response, "source_nodes", None)):
            out["sources"] = sources
        return out


def _response(shaper: Shaper, value: Any) -> JsonValue:
    return shaper.answer(value, shaper.plain(value.response))


def _streamed(shaper: Shaper, value: Any) -> JsonValue:
    return shaper.answer(value, shaper.plain(getattr(value, "response_txt", None) or getattr(value, "response", None)))


def _query(shaper: Shaper, value: Any) -> JsonValue:
    return shaper.text(text_of_query(value))


def _chat(shaper: Shaper, value: Any) -> JsonValue:
    return {"messages": [shaper.plain.message(value.message)]}


def _completion(shaper: Shaper, value: Any) -> JsonValue:
    return {"text": shaper.text(value.text)}


def _stop(shaper: Shaper, value: Any) -> JsonValue:
    # A subclass is its own result.
    result = value._result
    return shaper.plain(value) if result is None else shaper.value(result)


def _agent_output(shaper: Shaper, value: Any) -> JsonValue:
    fields = {name: getattr(value, name, None) for name in ("response", "structured_response", "tool_calls")}
    kept = {name: shaper.value(field) for name, field in fields.items() if field}
    return kept | {"agent": shaper.text(value.current_agent_name)}


def _message(shaper: Shaper, value: Any) -> JsonValue:
    return shaper.plain.message(value)


def _node(shaper: Shaper, value: Any) -> JsonValue:
    return shaper.plain.document(value)


def _tool_output(shaper: Shaper, value: Any) -> JsonValue:
    raw = value.raw_output
    return shaper.value(raw) if isinstance(raw, str | int | float | bool | list | dict) else shaper.text(value.content)


def _prompt(shaper: Shaper, value: Any) -> JsonValue:
    template = getattr(value, "template", None)
    if isinstance(template, str):
        return shaper.text(template)
    if (default := getattr(value, "default_template", None)) is not None:
        return _prompt(shaper, default)
    messages = getattr(value, "message_templates", None)
    return shaper.messages(messages) if messages else shaper.text(type(value).__name__)


def _name(shaper: Shaper, value: Any) -> JsonValue:
    return shaper.text(type(value).__name__)


def _tool(shaper: Shaper, value: Any) -> JsonValue:
    return shaper.text(tool_name(value))


def tool_name(tool: Any) -> str:
    """A tool's own name, else that of its class."""
    return str(getattr(getattr(tool, "metadata", None), "name", None) or type(tool).__name__)


VALUES: Mapping[str, Callable[[Shaper, Any], JsonValue]] = {
    "llama_index.core.base.response.schema.Response": _response,
    "llama_index.core.base.response.schema.PydanticResponse": _response,
    "llama_index.core.base.response.schema.StreamingResponse": _streamed,
    "llama_index.core.base.response.schema.AsyncStreamingResponse": _streamed,
    "llama_index.core.chat_engine.types.AgentChatResponse": _response,
    "llama_index.core.chat_engine.types.StreamingAgentChatResponse": _streamed,
    "llama_index.core.schema.QueryBundle": _query,
    "llama_index.core.schema.NodeWithScore": _node,
    "llama_index.core.schema.BaseNode": _node,
    "llama_index.core.base.llms.types.ChatResponse": _chat,
    "llama_index.core.base.llms.types.CompletionResponse": _completion,
    "llama_index.core.base.llms.types.ChatMessage": _message,
    "llama_index.core.agent.workflow.workflow_events.AgentOutput": _agent_output,
    "llama_index.core.tools.types.ToolOutput": _tool_output,
    "llama_index.core.prompts.base.BasePromptTemplate": _prompt,
    "llama_index.core.base.llms.base.BaseLLM": _name,
    "llama_index.core.tools.types.BaseTool": _tool,
    "workflows.events.StopEvent": _stop,
}
"""Class path → how a value of that class is told."""

TOOL_OUTPUTS: Mapping[str, bool] = {"llama_index.core.tools.types.ToolOutput": True}
TOOLS: Mapping[str, bool] = {"llama_index.core.tools.types.BaseTool": True}
RESPONSES: Mapping[str, bool] = {
    "llama_index.core.base.llms.types.ChatResponse": True,
    "llama_index.core.base.llms.types.CompletionResponse": True,
}
"""What a model returns."""

NODES: Mapping[str, bool] = {
    "llama_index.core.schema.NodeWithScore": True,
    "llama_index.core.schema.BaseNode": True,
}


def is_error(value: Any) -> bool:
    """Whether a tool's output says that the tool failed."""
    return lookup(value, TOOL_OUTPUTS) is not None and bool(value.is_error)


def dimensions(result: Any) -> dict[str, JsonValue]:
    """Of embeddings only how many and how long: never the vectors."""
    is_single = not isinstance(result, list) or (bool(result) and isinstance(result[0], int | float))
    vectors = [result] if is_single else result
    out: dict[str, JsonValue] = {"count": len(vectors)}
    first = vectors[0] if vectors else None
    if isinstance(first, list) and first:
        out["dimensions"] = len(first)
    return out
