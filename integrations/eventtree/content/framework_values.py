"""What LangChain, LangGraph and LlamaIndex hand around, by the path of the class. Neither is ever imported.

A class that inherits from one of these is read in the same way, so a message or node class of the user is no surprise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventtree.content import messages
from eventtree.content.objects import Path, class_path, fields_of, slot, with_fields
from eventtree.content.walk import MRO_OF, Converter, Walk, name_of
from eventtree.event import JsonValue

Fields = dict[str, Any]
Pairs = list[tuple[str, Any]]


def renamed(**names: str) -> Converter:
    """Converter of objects of which these fields are kept, under these names, where they have a value."""

    def convert(walk: Walk, value: object, depth: int) -> JsonValue:
        pairs = [(name, slot(value, field)) for name, field in names.items()]
        return with_fields(walk, value, [pair for pair in pairs if not is_empty(pair[1])], depth)

    return convert


def is_empty(value: object) -> bool:
    """Whether a field says nothing. Only builtin values are compared: a user's `__eq__` may do anything."""
    return value is None or (type(value) in (tuple, list, dict, str) and not value)


def from_field(name: str) -> Converter:
    """Converter of objects that stand for one of their fields."""

    def convert(walk: Walk, value: object, depth: int) -> JsonValue:
        return walk.value(slot(value, name), depth)

    return convert


def from_view(view: Callable[[Fields], Pairs]) -> Converter:
    """Converter of objects that `view` turns into pairs."""

    def convert(walk: Walk, value: object, depth: int) -> JsonValue:
        pairs = [pair for pair in view(fields_of(value)) if pair[1] is not None]
        return with_fields(walk, value, pairs, depth)

    return convert


def langchain_document(fields: Fields) -> Pairs:
    """A LangChain document. Rerankers put the score into the metadata."""
    metadata = fields.get("metadata")
    score = messages.first(metadata, ("relevance_score", "score")) if isinstance(metadata, dict) else None
    score = score if isinstance(score, int | float) else None
    return [
        ("id", fields.get("id")),
        ("text", fields.get("page_content")),
        ("score", score),
        ("metadata", metadata),
    ]


def node(fields: Fields) -> Pairs:
    """A LlamaIndex node or document, of text or of something else."""
    text = fields.get("text")
    resource = fields.get("text_resource")
    if text is None and resource is not None:
        text = fields_of(resource).get("text")
    return [
        ("id", fields.get("id_")),
        ("text", text),
        ("metadata", fields.get("metadata")),
        *((kind, media(fields, kind)) for kind in ("image", "audio", "video")),
    ]


def media(fields: Fields, kind: str) -> Fields | None:
    """The image, audio or video of a node as a part."""
    resource = fields.get(f"{kind}_resource")
    if resource is not None:
        held = fields_of(resource)
        payload, place, mime = held.get("data"), held.get("url") or held.get("path"), held.get("mimetype")
    else:
        payload, mime = fields.get(kind), fields.get(f"{kind}_mimetype")
        place = fields.get(f"{kind}_url") or fields.get(f"{kind}_path")
    if payload is None and place is None:
        return None
    if isinstance(payload, bytes) and payload.isascii():
        payload = payload.decode("ascii")
    part = {"type": kind, "mime_type": mime, "base64": payload, "url": None if place is None else str(place)}
    return {key: item for key, item in part.items() if item is not None}


def from_scored(walk: Walk, value: object, depth: int) -> JsonValue:
    """A LlamaIndex node with its score, as a document."""
    fields = fields_of(value)
    plain = walk.value(fields.get("node"), depth)
    score = fields.get("score")
    if score is None or type(plain) is not dict:
        return plain
    return {**{key: plain[key] for key in ("id", "text") if key in plain}, "score": walk.value(score, depth), **plain}


def from_generation(walk: Walk, value: object, depth: int) -> JsonValue:
    """One answer of a model: a message, or a text."""
    fields = fields_of(value)
    why = messages.first(fields.get("generation_info") or {}, messages.FINISH)
    if fields.get("message") is None:
        pairs = [("text", fields.get("text"))] + ([("finish_reason", why)] if why is not None else [])
        return with_fields(walk, value, pairs, depth)
    plain = walk.value(fields["message"], depth)
    if why is not None and type(plain) is dict and "finish_reason" not in plain:
        plain["finish_reason"] = walk.value(why, depth)
    return plain


def from_result(walk: Walk, value: object, depth: int) -> JsonValue:
    """A LangChain LLMResult or ChatResult: all answers in order, as a model's outputs."""
    rows = fields_of(value).get("generations") or []
    answers = [answer for row in rows for answer in (row if isinstance(row, list) else [row])]
    if any("message" in fields_of(answer) for answer in answers):
        return with_fields(walk, value, [("messages", answers)], depth)
    texts = [fields_of(answer).get("text") for answer in answers]
    pairs: Pairs = [("text", texts[0])] if len(texts) == 1 else [("texts", texts)]
    return with_fields(walk, value, pairs, depth)


def from_streaming(walk: Walk, value: object, depth: int) -> JsonValue:
    """A streaming response: what has been read of it so far; the stream itself is only named."""
    fields = fields_of(value)
    said = fields.get("response_txt") or fields.get("response")
    pairs = [("response", fields.get("response_gen") if said is None else said)]
    return with_fields(walk, value, [*pairs, ("source_nodes", fields.get("source_nodes") or [])], depth)


def from_tool_output(walk: Walk, value: object, depth: int) -> JsonValue:
    """What a LlamaIndex tool returned: its own value, and the content made of it for the model where that differs."""
    fields = fields_of(value)
    content = messages.content_of(walk, fields.get("blocks") or [], [], [], depth + 1)
    output = walk.value(fields.get("raw_output"), depth + 1)
    pairs: Pairs = [("tool_name", fields.get("tool_name")), ("input", fields.get("raw_input"))]
    out = with_fields(walk, value, [pair for pair in pairs if pair[1] is not None], depth)
    if type(out) is not dict:
        return out
    out["output"] = content if output is None else output
    if output is not None and content != output and content != str(output):
        out["content"] = content
    if fields.get("is_error"):
        out["is_error"] = True
    return out


from_prompt = renamed(messages="messages")
"""What a chat prompt makes; known to fast_path.py."""

TOLD = ("name", "model", "model_name", "description")


def from_component(walk: Walk, value: object, _depth: int) -> JsonValue:
    """A model, tool or runnable as a value: its class and name, none of its settings."""
    fields = slot(value, "__dict__")
    named = name_of(value)
    if type(fields) is dict:
        named |= {key: walk.text(fields[key]) for key in TOLD if type(fields.get(key)) is str}
    return named


LC, LI = "langchain_core", "llama_index.core"
BLOCKS, SCHEMA, REPLY = f"{LI}.base.llms.types", f"{LI}.schema", f"{LI}.base.response.schema"

TABLE: dict[Path, Converter] = {
    (f"{LC}.messages.base", "BaseMessage"): messages.from_langchain,
    (f"{LC}.prompt_values", "ChatPromptValue"): from_prompt,
    (f"{LC}.prompt_values", "StringPromptValue"): renamed(text="text"),
    (f"{LC}.documents.base", "Document"): from_view(langchain_document),
    (f"{LC}.outputs.generation", "Generation"): from_generation,
    (f"{LC}.outputs.llm_result", "LLMResult"): from_result,
    (f"{LC}.outputs.chat_result", "ChatResult"): from_result,
    (f"{LC}.runnables.base", "RunnableSerializable"): from_component,
    (f"{LC}.runnables.base", "Runnable"): from_component,
    ("langgraph.types", "Command"): renamed(graph="graph", update="update", resume="resume", goto="goto"),
    ("langgraph.types", "Send"): renamed(node="node", arg="arg"),
    ("langgraph.types", "Interrupt"): renamed(value="value", id="id"),
    (BLOCKS, "ChatMessage"): messages.from_llama_index,
    (BLOCKS, "BaseContentBlock"): messages.from_block,
    (BLOCKS, "ChatResponse"): from_field("message"),
    (BLOCKS, "CompletionResponse"): renamed(text="text"),
    (SCHEMA, "NodeWithScore"): from_scored,
    (SCHEMA, "BaseNode"): from_view(node),
    (SCHEMA, "QueryBundle"): renamed(query="query_str", image_path="image_path", texts="custom_embedding_strs"),
    (REPLY, "Response"): renamed(response="response", source_nodes="source_nodes"),
    (REPLY, "PydanticResponse"): renamed(response="response", source_nodes="source_nodes"),
    (REPLY, "StreamingResponse"): from_streaming,
    (REPLY, "AsyncStreamingResponse"): from_streaming,
    (f"{LI}.chat_engine.types", "AgentChatResponse"): renamed(
        response="response", sources="sources", source_nodes="source_nodes"
    ),
    (f"{LI}.chat_engine.types", "StreamingAgentChatResponse"): from_streaming,
    (f"{LI}.agent.workflow.workflow_events", "AgentOutput"): renamed(
        agent="current_agent_name",
        response="response",
        structured_response="structured_response",
        tool_calls="tool_calls",
    ),
    (f"{LI}.tools.types", "ToolOutput"): from_tool_output,
    (f"{LI}.llms.llm", "ToolSelection"): messages.tool_call,
    (f"{LI}.base.llms.base", "BaseLLM"): from_component,
    (f"{LI}.base.embeddings.base", "BaseEmbedding"): from_component,
}
"""Path of a framework's class → converter of it and of what inherits from it."""


def by_framework(kind: type) -> Converter | None:
    """Classes of the frameworks, the nearest in line first."""
    return next((TABLE[path] for each in MRO_OF(kind) if (path := class_path(each)) in TABLE), None)
