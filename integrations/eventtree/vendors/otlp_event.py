"""Values of OTLP attributes from an event, and messages in both dialects. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventtree.event import Event
from eventtree.kinds import AGENT, CHAIN, MODEL, JsonValue, Kind
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import (
    MEDIA_TYPES,
    Forms,
    Message,
    as_text,
    finite,
    is_messages,
    media_text,
    messages_in,
    messages_out,
    openai_tool_calls,
    part_text,
)
from eventtree.serializer.vendor import without_nulls
from eventtree.serializer.view import TreeView

UNKNOWN = "unknown"
"""An unknown provider of a model call, or name of a tool: the conventions require both."""
PARTS = frozenset({
    "text", "reasoning", "tool_call", "tool_call_response", "server_tool_call", "server_tool_call_response", "blob",
    "uri", "file", *MEDIA_TYPES,
})  # fmt: skip
"""Types of parts that the schemas define, or that are converted into one of theirs. Other types are sent unchanged."""
IN_PARTS = frozenset({"role", "content", "parts", "tool_calls", "tool_call_id", "reasoning"})
"""Keys of a message that its role and parts contain."""
TEXTS = frozenset({"name", "finish_reason"})


NOTHING: Mapping[str, Any] = {}
NO_MESSAGES: list[Message] = []
OPERATIONS: Mapping[Kind, str] = {
    Kind.EMBEDDING: "embeddings", Kind.RETRIEVER: "retrieval", Kind.TOOL: "execute_tool", Kind.AGENT: "invoke_agent",
}  # fmt: skip


class Facts:
    """An event of a tree, with the values that several attributes share."""

    __slots__ = (
        "asked_model", "cost", "event", "input_messages", "inputs", "is_root", "kind", "operation", "output_messages",
        "outputs", "params", "prompt", "session", "user", "view",
    )  # fmt: skip

    def __init__(self, event: Event, view: TreeView) -> None:
        """Compute the shared values of `event` in its tree."""
        root, kind, inputs, outputs = view.root, event.kind, event.inputs, event.outputs
        self.event, self.view, self.kind, self.is_root = event, view, kind, view.is_root(event)
        self.asked_model = event.asked_model or event.model
        self.params: Mapping[str, Any] = event.params or NOTHING
        self.prompt: Mapping[str, Any] = event.prompt or NOTHING
        self.cost: Mapping[str, Any] = NOTHING if event.cost is None else views.cost_of(event.cost)
        self.session, self.user = event.session_id or root.session_id, event.user or root.user
        self.inputs: Mapping[str, Any] = inputs if type(inputs) is dict else NOTHING
        self.outputs: Mapping[str, Any] = outputs if type(outputs) is dict else NOTHING
        self.operation = OPERATIONS.get(kind)
        """The GenAI conventions' name of the operation; None if they have none."""
        self.input_messages: list[Message] = NO_MESSAGES
        """The inputs' messages, if the inputs have nothing else; `output_messages` likewise."""
        self.output_messages: list[Message] = NO_MESSAGES
        if kind is MODEL:
            self.operation = "text_completion" if "prompt" in self.inputs else "chat"
            self.input_messages = messages_in(event, view.forms.are_messages)
            self.output_messages = messages_out(event)
        elif kind is AGENT:
            self.input_messages, self.output_messages = only_messages(inputs), only_messages(outputs)
        elif kind is CHAIN and self.is_root:
            self.operation = "invoke_workflow"


Value = Callable[[Facts], Any]


def only(value: JsonValue, key: str, *others: str) -> JsonValue:
    """An object's value at this key, if it has no keys but this and `others`: none may be left out."""
    return value.get(key) if isinstance(value, dict) and value.keys() <= {key, *others} else None


def only_messages(value: JsonValue) -> list[Message]:
    """Messages of inputs or outputs that have nothing else."""
    found: Any = only(value, "messages")
    return found if is_messages(found) else []


def json_text(value: JsonValue) -> bytes | None:
    """A value as JSON, None without one. Attributes have it as a text: no backend reads structured ones."""
    return None if value is None else to_json(value)


def value_text(value: JsonValue) -> str | None:
    """A text itself, any other value as JSON."""
    return None if value is None else as_text(value)


def numeric(kind: type) -> Callable[[JsonValue], Any]:
    """Function that converts a number to this type; it returns None for any other value."""
    return lambda value: None if (known := finite(value)) is None else kind(known)


number, count = numeric(float), numeric(int)


def texts(value: JsonValue) -> list[str]:
    """A list of texts; a single value becomes a list of one."""
    return [as_text(one) for one in (value if isinstance(value, list) else [value]) if one is not None]


def text_in(value: JsonValue, key: str = "") -> str | None:
    """A text, or an object's text at this key."""
    found = value.get(key) if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def dollars(part: str) -> Value:
    """A part of the cost: `input`, `output`, `total`."""
    return lambda facts: facts.cost.get(f"{part}_usd")


def money(form: str) -> Value:
    """Dollars of input, output and total, as a JSON object with keys of this form; None without a total."""

    def made(facts: Facts) -> bytes | None:
        found = {form.format(part): facts.cost.get(f"{part}_usd") for part in ("input", "output", "total")}
        return None if facts.cost.get("total_usd") is None else to_json(without_nulls(found))

    return made


def param(make: Callable[[JsonValue], Any], *names: str) -> Value:
    """A parameter's value, under the first of its names that has one."""
    return lambda facts: next((make(found) for name in names if (found := facts.params.get(name)) is not None), None)


def finish_reasons(facts: Facts) -> list[str]:
    """Finish reason of each generation."""
    found = texts([message.get("finish_reason") for message in facts.output_messages])
    return found or texts(facts.outputs.get("finish_reason") or None)


# Documents, messages, tools: as JSON by the schemas of the conventions


def documents(given: JsonValue) -> list[dict[str, Any]] | None:
    """A list of documents, each as `{id, score, content, metadata}`; None for any other value."""
    found = []
    for document in given if isinstance(given, list) else ():
        known = document if isinstance(document, dict) else {"text": as_text(document)}
        own = {"id": value_text(known.get("id")), "score": number(known.get("score")), "content": known.get("text")}
        more = {key: one for key, one in known.items() if key not in ("id", "score", "text")}
        found.append({key: one for key, one in {**own, **more}.items() if one is not None})
    return found if isinstance(given, list) else None


def messages_text(messages: list[Message], forms: Forms) -> bytes | None:
    """Messages by the schemas, each written once for all events that have it."""
    return b"[%b]" % b",".join(forms.of(messages, message_text)) if messages else None


def message_text(message: Message) -> bytes:
    """A neutral message with its content as parts. Its other keys stay: the schemas are open."""
    form: dict[str, JsonValue] = {"role": message["role"], "parts": parts_of(message)}
    for key, value in message.items():
        if key not in IN_PARTS and value is not None and (value != "" or key not in TEXTS):
            form[key] = as_text(value) if key in TEXTS else value
    return to_json(form)


def parts_of(message: Message) -> list[JsonValue]:
    """Reasoning, content, tool calls; a tool's message has its response."""
    content, answered, calls = message.get("content"), message.get("tool_call_id"), message.get("tool_calls")
    if type(content) is str and content and len(message) == 2 and message["role"] != "tool":
        return [{"type": "text", "content": content}]  # nearly every message
    parts: list[JsonValue] = []
    if (thought := message.get("reasoning")) not in (None, ""):
        parts.append({"type": "reasoning", "content": as_text(thought)})
    if message["role"] == "tool" or answered:
        named = {"id": as_text(answered)} if answered else {}
        parts.append({"type": "tool_call_response", **named, "response": content})
    else:
        given = content if isinstance(content, list) else [content]
        parts += [part_of(part) for part in given if part not in (None, "")]
    for call in calls if isinstance(calls, list) else ():
        known = call if isinstance(call, dict) else {"arguments": call}
        named = {"id": as_text(known["id"])} if known.get("id") else {}
        name = as_text(known.get("name")) or UNKNOWN
        parts.append({"type": "tool_call", "name": name, "arguments": known.get("arguments"), **named})
    return parts


def part_of(part: JsonValue) -> dict[str, JsonValue]:
    """One part of a message's content. A medium without kept bytes has its hash as the file's id."""
    if type(part) is str:
        return {"type": "text", "content": part}
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(part, dict) and isinstance(kind, str):
        made = {"modality": "document" if kind == "file" else kind, "mime_type": text_in(part, "mime_type")}
        if kind in MEDIA_TYPES and isinstance(part.get("url"), str):
            return without_nulls({"type": "uri", **made, "uri": part["url"]})
        if kind in MEDIA_TYPES and part.get("sha256"):
            kept = {"file_id": as_text(part["sha256"]), "bytes": part.get("bytes")}
            return without_nulls({"type": "file", **made, **kept})
        if kind not in PARTS:
            return part
    return {"type": "text", "content": part_text(part)}


def tool_definition(tool: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A tool offered to a model: a flat function, or any other tool with type and name."""
    function = tool.get("function")
    if isinstance(function, dict):
        return {"type": "function", **function, "name": as_text(function.get("name")) or UNKNOWN}
    kind = as_text(tool.get("type")) or UNKNOWN
    return {**tool, "type": kind, "name": as_text(tool.get("name")) or kind}


# Flat, by the names of OpenInference's attributes


def flat_message(message: Message) -> dict[str, Any]:
    """A message as attributes."""
    content, calls = message.get("content"), openai_tool_calls(message.get("tool_calls"))
    own = {key: as_text(message.get(key)) or None for key in ("name", "tool_call_id", "reasoning", "finish_reason")}
    parts = content if isinstance(content, list) else ()
    return {"message": {
        "role": as_text(message["role"]), **own,
        "content": None if isinstance(content, list) else as_text(content) or None,
        "contents": [{"message_content": flat_part(part)} for part in parts],
        "tool_calls": [{"tool_call": {"id": call["id"], "function": call["function"]}} for call in calls],
    }}  # fmt: skip


def flat_part(part: JsonValue) -> dict[str, str]:
    """One part of a message's content as attributes."""
    known = part if isinstance(part, dict) else {"type": "text", "text": part}
    if known.get("type") == "image" and isinstance(known.get("url"), str):
        return {"type": "image", "image.image.url": known["url"]}
    if known.get("type") == "text":
        return {"type": "text", "text": as_text(known.get("text"))}
    return {"type": "text", "text": media_text(known) if "sha256" in known or "url" in known else as_text(part)}


def flat_documents(given: JsonValue) -> list[dict[str, Any]]:
    """A list of documents as attributes; empty for any other value."""
    found = []
    for one in documents(given) or ():
        content, metadata = as_text(one.get("content")), json_text(one.get("metadata") or None)
        own = {"id": one.get("id"), "score": one.get("score"), "content": content, "metadata": metadata}
        found.append({"document": own})
    return found
