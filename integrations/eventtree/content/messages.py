"""Chat messages of every spelling as one shape: Message in eventtree/event.py.

Three kinds of things are moved out of the content, so that a reader finds them in one place: reasoning that is text
goes to `reasoning`, requests for tools to `tool_calls` (once, where a provider says them twice), the bytes of files to
their size and sha256. What is left as a single text is given as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eventtree.content.objects import fields_of
from eventtree.content.walk import Walk
from eventtree.event import JsonValue

Fields = Mapping[Any, Any]

ROLES = {
    "human": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
    "FunctionMessageChunk": "function",
}
"""What the frameworks call a role → what it is called here; other roles keep their name."""
SPOKEN = frozenset({"user", "assistant", "system", "tool", "function", "developer", *ROLES})
CHAT = frozenset({"chat", "ChatMessageChunk"})

CALL_ID = ("call_id", "tool_call_id", "tool_id", "id")
CALL_NAME = ("name", "tool_name")
CALL_ARGUMENTS = ("args", "arguments", "input", "tool_kwargs", "partial_json")
CALL_TYPES = frozenset({"tool_use", "tool_call", "function_call", "invalid_tool_call"})
REASONING = ("reasoning", "thinking", "content")
FINISH = ("finish_reason", "stop_reason", "done_reason", "finishReason")

MEDIA_BLOCKS = {
    "image": ("image", "image", "image_mimetype"),
    "audio": ("audio", "audio", "format"),
    "video": ("video", "video", "video_mimetype"),
    "document": ("file", "data", "document_mimetype"),
}
"""LlamaIndex block → type of part, the field with base64 in bytes, the field with the mime type."""


def first(fields: Fields, keys: tuple[str, ...]) -> Any:
    """The first of `keys` that has a value."""
    for key in keys:
        if fields.get(key) is not None:
            return fields[key]
    return None


def as_fields(value: object) -> Fields:
    """A dict as it is, an object by its fields."""
    return value if isinstance(value, dict) else fields_of(value)


def from_langchain(walk: Walk, message: object, depth: int) -> JsonValue:
    """A LangChain message of any class."""
    fields = fields_of(message)
    more = fields.get("additional_kwargs") or {}
    kind = fields.get("type")
    role = more.get("__openai_role__") or (fields.get("role") if kind in CHAT else kind)
    return written(walk, role, fields, more, fields.get("response_metadata"), depth)


def from_llama_index(walk: Walk, message: object, depth: int) -> JsonValue:
    """A LlamaIndex chat message: its blocks are the content."""
    fields = fields_of(message)
    more = fields.get("additional_kwargs") or {}
    role = fields.get("role")
    view = {"content": fields.get("blocks"), "id": more.get("id"), "name": more.get("name")}
    view["tool_call_id"] = more.get("tool_call_id")
    return written(walk, getattr(role, "_value_", role), view, more, more, depth)


def from_dict(walk: Walk, message: dict[Any, Any], depth: int) -> JsonValue:
    """A message as a dict: OpenAI's and Anthropic's {role, content}, LangChain's {type, content} or {type, data}."""
    kind = message.get("type")
    if "role" not in message and type(message.get("data")) is dict:
        message = {"role": kind, **message["data"]}
    more = message.get("additional_kwargs") or message
    return written(walk, message.get("role") or kind, message, more, message.get("response_metadata"), depth)


def written(walk: Walk, role: object, fields: Fields, more: Fields, about: object, depth: int) -> JsonValue:
    """One Message. `more` holds what providers add to a message, `about` what they say of the answer."""
    if blocked := walk.enter(fields, depth):
        return {"role": "unknown", "content": blocked}
    try:
        out: dict[str, JsonValue] = {"role": walk.text(ROLES.get(role, role)) if type(role) is str else "unknown"}
        content = fields.get("content")
        calls = requested(fields, more)
        thoughts: list[str] = []
        if more and type(more.get("reasoning_content")) is str:
            thoughts.append(more["reasoning_content"])
        if type(content) is str:
            out["content"] = walk.string(content)
        else:
            out["content"] = content_of(walk, content, calls, thoughts, depth + 1)
        if more and type(more.get("audio")) is dict:
            out["content"] = with_audio(walk, out["content"], more["audio"], depth + 1)
        if calls:
            out["tool_calls"] = [tool_call(walk, call, depth + 1) for call in calls[: walk.take(len(calls))]]
        if thoughts:
            out["reasoning"] = walk.text("\n\n".join(thoughts))
        add_rest(walk, out, fields, about, depth)
        return out
    finally:
        walk.leave(fields)


REST = ("tool_call_id", "name", "status", "id")


def add_rest(walk: Walk, out: dict[str, JsonValue], fields: Fields, about: object, depth: int) -> None:
    """The keys of a message that are taken as they are, and why the model stopped."""
    for key in REST:
        item = fields.get(key)
        if item is not None:
            out[key] = walk.text(item) if type(item) is str else walk.value(item, depth + 1)
    if about and isinstance(about, dict) and (reason := first(about, FINISH)) is not None:
        out["finish_reason"] = walk.value(reason, depth + 1)


def requested(fields: Fields, more: Fields) -> list[Any]:
    """The tool calls a message lists beside its content."""
    calls = fields.get("tool_calls")
    invalid = fields.get("invalid_tool_calls")
    if calls or invalid:
        return [*(calls or ()), *(invalid or ())]
    if not more:
        return []
    given = more.get("tool_calls")
    if isinstance(given, list) and given:
        return list(given)
    old = more.get("function_call")
    return [old] if isinstance(old, dict) else []


def tool_call(walk: Walk, call: object, depth: int) -> JsonValue:
    """A tool call of any provider as {"id", "name", "arguments"}, with an "error" where the model wrote it wrongly."""
    fields = as_fields(call)
    inner = fields.get("function")
    named = fields if inner is None else as_fields(inner)
    out: dict[str, JsonValue] = {}
    identity, name = first(fields, CALL_ID), first(named, CALL_NAME)
    if identity is not None:
        out["id"] = walk.value(identity, depth)
    if name is not None:
        out["name"] = walk.value(name, depth)
    out["arguments"] = walk.value(parsed(first(named, CALL_ARGUMENTS)), depth + 1)
    if isinstance(fields.get("error"), str):
        out["error"] = walk.text(fields["error"])
    return out


def parsed(arguments: object) -> object:
    """Arguments as an object where their text is one; what is no JSON stays text."""
    if type(arguments) is str and arguments[:1] == "{":
        try:
            return json.loads(arguments)
        except (ValueError, RecursionError):
            return arguments
    return {} if arguments is None else arguments


def content_of(walk: Walk, content: object, calls: list[Any], thoughts: list[str], depth: int) -> JsonValue:
    """Content that is no plain text: parts, with tool calls and reasoning moved to `calls` and `thoughts`."""
    if not isinstance(content, list | tuple):
        return walk.value(content, depth)
    known = {call_id(call) for call in calls}
    blocks: list[Any] = []
    kept = list(content[: walk.take(len(content))])
    for block in (block if isinstance(block, str) else block_of(block) for block in kept):
        if isinstance(block, dict) and moved(block, calls, known, thoughts):
            continue
        blocks.append({"type": "text", "text": block} if isinstance(block, str) else block)
    if len(blocks) == 1 and is_text(blocks[0]):
        return walk.value(blocks[0]["text"], depth)
    if not blocks and (calls or thoughts):
        return ""
    parts = walk.items(blocks, depth)
    if len(kept) < len(content):
        parts.append({"type": "text", "text": f"…[{len(content) - len(kept):,} parts cut]…"})
    return parts


def is_text(block: object) -> bool:
    """Whether a block is nothing but a text."""
    if not isinstance(block, dict) or block.get("type") not in ("text", "output_text", "input_text"):
        return False
    return isinstance(block.get("text"), str) and all(key in ("type", "text", "index", "id") for key in block)


def call_id(call: object) -> str | None:
    """The id of a tool call of any provider, if it is a text."""
    found = first(as_fields(call), CALL_ID)
    return found if isinstance(found, str) else None


def moved(block: dict[Any, Any], calls: list[Any], known: set[str | None], thoughts: list[str]) -> bool:
    """Whether a block was a tool call or reasoning, and is now noted as such."""
    kind = block.get("type")
    if not isinstance(kind, str):
        return False
    if kind in CALL_TYPES:
        if call_id(block) is None or call_id(block) not in known:
            calls.append(block)
        return True
    if kind in ("reasoning", "thinking") and (said := reasoning(block)):
        thoughts.append(said)
        return True
    return False


def reasoning(block: Fields) -> str | None:
    """The text of a block of reasoning; None where there is none to read (encrypted, redacted)."""
    said = first(block, REASONING)
    if isinstance(said, str) and said:
        return said
    summary = block.get("summary")
    if isinstance(summary, list):
        texts = [part["text"] for part in summary if isinstance(part, dict) and isinstance(part.get("text"), str)]
        return "\n\n".join(texts) or None
    return None


def block_of(block: object) -> object:
    """A LlamaIndex content block as the dict other providers write; anything else as it is."""
    if isinstance(block, dict):
        return block
    fields = slot_fields(block)
    kind = fields.get("block_type")
    if kind == "text":
        return {"type": "text", "text": fields.get("text")}
    if kind in MEDIA_BLOCKS:
        return media_of(fields, kind)
    if kind in ("thinking", "tool_call"):
        return {"type": kind, **{key: item for key, item in fields.items() if key != "block_type"}}
    if isinstance(kind, str):
        rest = {key: item for key, item in fields.items() if key != "block_type" and item is not None}
        return {"type": kind, **{key: blocks_of(item) for key, item in rest.items()}}
    return block


def slot_fields(block: object) -> Fields:
    """An object's fields, none where it has no dict."""
    try:
        return fields_of(block)
    except AttributeError:
        return {}


def blocks_of(value: object) -> object:
    """Blocks within a block."""
    return [block_of(item) for item in value] if isinstance(value, list) else block_of(value)


def media_of(fields: Fields, kind: str) -> dict[str, Any]:
    """An image, audio, video or document block. A stream in it is not read."""
    part, field, mime = MEDIA_BLOCKS[kind]
    out: dict[str, Any] = {"type": part, "mime_type": fields.get(mime)}
    payload = fields.get(field)
    if isinstance(payload, bytes):
        out["base64"] = payload.decode("ascii") if payload.isascii() else payload
    elif payload is not None:
        out["stream"] = payload
    place = fields.get("url") or fields.get("path")
    if place is not None:
        out["url"] = str(place)
    for key in ("title", "detail", "fps"):
        if fields.get(key) is not None:
            out[key] = fields[key]
    return {key: item for key, item in out.items() if item is not None}


def from_block(walk: Walk, block: object, depth: int) -> JsonValue:
    """A LlamaIndex content block on its own."""
    return walk.value(block_of(block), depth) if block_of(block) is not block else walk.value(fields_of(block), depth)


def with_audio(walk: Walk, content: JsonValue, audio: Fields, depth: int) -> JsonValue:
    """The content with the answer OpenAI gave as speech."""
    rest = {key: item for key, item in audio.items() if key != "data"}
    part = walk.value({"type": "audio", "base64": audio.get("data"), **rest}, depth)
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    return [*content, part] if isinstance(content, list) else content


def from_pair(walk: Walk, role: str, content: object, depth: int) -> JsonValue:
    """A message as LangChain's (role, content)."""
    return written(walk, role, {"content": content}, {}, None, depth)


def is_pair(value: object) -> bool:
    """Whether this is (role, content)."""
    return isinstance(value, tuple | list) and len(value) == 2 and type(value[0]) is str and value[0] in SPOKEN


def is_message_dict(value: dict[Any, Any]) -> bool:
    """Whether a dict is a message."""
    kind = value.get("role") or value.get("type")
    named = isinstance(kind, str) and ("role" in value or kind in SPOKEN)
    return named and ("content" in value or "data" in value or "tool_calls" in value)
