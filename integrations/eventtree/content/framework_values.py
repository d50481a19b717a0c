"""Converters of objects of LangChain, LangGraph and LlamaIndex, by the path of the class. Neither is ever imported.

A subclass is read like its base, which covers the message and node classes of users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventtree.content import messages
from eventtree.content.finish import finish_reason
from eventtree.content.messages import first, is_empty, media_part, slot_fields
from eventtree.content.objects import Path, model
from eventtree.content.python_values import items_of
from eventtree.content.walk import Converter, Fields, Reader, Walk, fields_of, name_of, slot
from eventtree.diagnostics import qualified
from eventtree.kinds import JsonValue

KINDS = ("image", "audio", "video")


def filled(fields: Mapping[str, Any]) -> Fields:
    """The fields that are not None."""
    return Fields({name: item for name, item in fields.items() if item is not None})


def renamed(**names: str) -> Converter:
    """Converter that keeps these fields of an object, under these names, if they have a value."""

    def read(value: object) -> Fields:
        found = Fields()
        for name, field in names.items():
            if (item := slot(value, field)) is not None and not is_empty(item):
                found[name] = item
        return found

    return Reader(read)


def langchain_document(value: object) -> Fields:
    """A LangChain document, with the score that a reranker puts into its metadata."""
    fields = fields_of(value)
    metadata = fields.get("metadata")
    score = first(metadata, ("relevance_score", "score")) if isinstance(metadata, dict) else None
    score = score if isinstance(score, int | float) else None
    return filled({"id": fields.get("id"), "text": fields.get("page_content"), "score": score, "metadata": metadata})


TEXTS = ("text", "page_content", "content")


def document(found: JsonValue) -> dict[str, JsonValue]:
    """One Document, from plain JSON."""
    if type(found) is not dict:
        return {"text": found}
    text = next((key for key in TEXTS if key in found), "text")
    return found if text == "text" else {("text" if key == text else key): item for key, item in found.items()}


def node(value: object, score: object = None) -> Fields:
    """A LlamaIndex node or document, of text or media."""
    fields = fields_of(value)
    text, resource = fields.get("text"), fields.get("text_resource")
    if text is None and resource is not None:
        text = fields_of(resource).get("text")
    identity, metadata = fields.get("id_"), fields.get("metadata")
    found = Fields(id=identity, text=text, score=score, metadata=metadata)
    if any(fields[name] is not None for name in MEDIA.intersection(fields)):
        found.update({kind: media(fields, kind) for kind in KINDS})
    elif not (identity is None or text is None or score is None or metadata is None):
        return found  # most nodes
    return filled(found)


MEDIA = frozenset(f"{kind}{end}" for kind in KINDS for end in ("", "_resource", "_url", "_path"))
"""Fields of a node with media."""


def media(fields: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """A node's image, audio or video as a part."""
    resource = fields.get(f"{kind}_resource")
    if resource is not None:
        inner = fields_of(resource)
        payload, address, mime = inner.get("data"), inner.get("url") or inner.get("path"), inner.get("mimetype")
    else:
        payload, mime = fields.get(kind), fields.get(f"{kind}_mimetype")
        address = fields.get(f"{kind}_url") or fields.get(f"{kind}_path")
    return None if payload is None and address is None else media_part(kind, mime, payload, address)


def scored(value: object) -> Fields:
    """A LlamaIndex node with its score."""
    fields = fields_of(value)
    return node(fields.get("node"), fields.get("score"))


def from_generation(walk: Walk, value: object, depth: int) -> JsonValue:
    """One answer of a model, a message or a text."""
    fields = fields_of(value)
    why = finish_reason(fields.get("generation_info"))
    if fields.get("message") is None:
        return walk.fields(
            value, Fields({"text": fields.get("text")} | ({} if why is None else {"finish_reason": why})), depth
        )
    plain = walk.value(fields["message"], depth)
    if why is not None and type(plain) is dict and "finish_reason" not in plain:
        plain["finish_reason"] = walk.value(why, depth)
    return plain


def result(value: object) -> Any:
    """A LangChain LLMResult or ChatResult: all answers in order, as a model's outputs."""
    rows = items_of(fields_of(value).get("generations")) or ()
    answers = [answer for row in rows for answer in items_of(row) or (row,)]
    if any("message" in fields_of(answer) for answer in answers):
        return Fields(messages=answers)
    return answers[0] if len(answers) == 1 else Fields(texts=[fields_of(one).get("text") for one in answers])


def response(value: object) -> Fields:
    """An engine's answer: its text, and its sources by id and score. The retriever's event has their text.

    A stream gives the text the app has read so far; before that only its class is named.
    """
    fields = fields_of(value)
    text, nodes = first(fields, ("response_txt", "response")), fields.get("source_nodes")
    found = Fields(response=fields.get("response_gen") if text is None else text)
    if not is_empty(nodes):
        listed = items_of(nodes)
        found["sources"] = nodes if listed is None else [source(node) for node in listed]
    return found


def source(scored: object) -> dict[str, Any]:
    """An answer's source node, with or without a score."""
    fields = slot_fields(scored)
    return {"id": slot_fields(fields.get("node", scored)).get("id_"), "score": fields.get("score")}


WIDE = {"query": "query_str", "image_path": "image_path", "texts": "custom_embedding_strs"}


def query(value: object) -> Any:
    """A query's text; its fields if it also has an image or texts to embed."""
    fields = fields_of(value)
    if is_empty(fields.get("image_path")) and is_empty(fields.get("custom_embedding_strs")):
        return fields.get("query_str")
    return Fields((name, item) for name, field in WIDE.items() if not is_empty(item := fields.get(field)))


TEMPLATES = ("template", "template_str", "message_templates", "default_template")


def template(value: object) -> Any:
    """A LlamaIndex prompt's text or messages; a selector's default prompt."""
    found = first(fields_of(value), TEMPLATES)
    return Fields(object=qualified(type(value))) if found is None else found


def stop(value: object) -> Any:
    """Result of a workflow's last event. An event of a user's class has none and is itself the result."""
    private = slot(value, "__pydantic_private__")
    found = private.get("_result") if type(private) is dict else None
    return model(value) if found is None else found


def from_tool_output(walk: Walk, value: object, depth: int) -> JsonValue:
    """A LlamaIndex tool's output, and the content it gives the model, if that differs."""
    fields = fields_of(value)
    content = messages.content_of(walk, fields.get("blocks") or [], [], [], depth + 1)
    output = walk.value(fields.get("raw_output"), depth + 1)
    out = walk.fields(value, filled({"tool_name": fields.get("tool_name"), "input": fields.get("raw_input")}), depth)
    if type(out) is not dict:
        return out
    out["output"] = content if output is None else output
    if output is not None and content != output and content != str(output):
        out["content"] = content
    if fields.get("is_error"):
        out["is_error"] = True
    return out


FACTS = ("name", "model", "model_name", "description")


def from_component(walk: Walk, value: object, _depth: int) -> JsonValue:
    """A model, tool or runnable as a value: class and name without settings."""
    facts = {key: slot(value, key) for key in FACTS}
    return name_of(walk, value) | {key: walk.text(text) for key, text in facts.items() if type(text) is str}


def from_tool(walk: Walk, value: object, _depth: int) -> JsonValue:
    """A LlamaIndex tool as the name by which models call it."""
    name = slot_fields(slot(value, "_metadata")).get("name")
    return walk.text(name) if type(name) is str else name_of(walk, value)


from_prompt = renamed(messages="messages")
from_node, from_scored, from_result = Reader(node), Reader(scored), Reader(result)
from_query, from_response = Reader(query), Reader(response)

LC, LI = "langchain_core", "llama_index.core"
BLOCKS, SCHEMA, REPLY = f"{LI}.base.llms.types", f"{LI}.schema", f"{LI}.base.response.schema"

TABLE: dict[Path, Converter] = {
    (f"{LC}.messages.base", "BaseMessage"): messages.from_langchain,
    (f"{LC}.prompt_values", "ChatPromptValue"): from_prompt,
    (f"{LC}.prompt_values", "StringPromptValue"): renamed(text="text"),
    (f"{LC}.documents.base", "Document"): Reader(langchain_document),
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
    (BLOCKS, "ChatResponse"): Reader(lambda value: Fields(messages=[slot(value, "message")])),
    (BLOCKS, "CompletionResponse"): renamed(text="text"),
    (SCHEMA, "NodeWithScore"): from_scored,
    (SCHEMA, "BaseNode"): from_node,
    (SCHEMA, "QueryBundle"): from_query,
    **{(REPLY, f"{kind}Response"): from_response for kind in ("", "Pydantic", "Streaming", "AsyncStreaming")},
    **{(f"{LI}.chat_engine.types", f"{kind}AgentChatResponse"): from_response for kind in ("", "Streaming")},
    (f"{LI}.agent.workflow.workflow_events", "AgentOutput"): renamed(
        agent="current_agent_name", **{name: name for name in ("response", "structured_response", "tool_calls")}
    ),
    (f"{LI}.tools.types", "ToolOutput"): from_tool_output,
    (f"{LI}.tools.types", "BaseTool"): from_tool,
    (f"{LI}.prompts.base", "BasePromptTemplate"): Reader(template),
    ("workflows.events", "StartEvent"): Reader(lambda value: filled(model(value))),
    ("workflows.events", "StopEvent"): Reader(stop),
    (f"{LI}.llms.llm", "ToolSelection"): messages.tool_call,
    ("langfuse.model", "BasePromptClient"): renamed(name="name", version="version"),
    (f"{LI}.base.llms.base", "BaseLLM"): from_component,
    (f"{LI}.base.embeddings.base", "BaseEmbedding"): from_component,
}
"""Path of a framework's class → converter of it and of its subclasses."""
