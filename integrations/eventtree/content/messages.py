"""Chat messages of every spelling as one shape: Message in eventtree/event.py.

Three things leave the content, so that a reader finds each in one place: reasoning in text goes to `reasoning`, tool
calls go to `tool_calls` (once, where a provider repeats them), and a file's bytes become size and sha256. Content of a
single remaining text becomes that text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eventtree import diagnostics
from eventtree.content.finish import INNER, NAMES, finish_reason
from eventtree.content.python_values import items_of
from eventtree.content.truncate import cut_marker
from eventtree.content.walk import Walk, fields_of, slot
from eventtree.diagnostics import DICT_OF, MRO_OF
from eventtree.kinds import JsonValue

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
"""A framework's name for a role → ours; other roles keep their name."""
OWN_ROLES = frozenset({"user", "assistant", "system", "tool", "function", "developer"})
"""Role names of ours: no redactor gets them."""
SPOKEN = OWN_ROLES.union(ROLES)
CHAT = frozenset({"chat", "ChatMessageChunk"})

CALL_ID = ("call_id", "tool_call_id", "tool_id", "id")
CALL_NAME = ("name", "tool_name")
CALL_ARGUMENTS = ("args", "arguments", "input", "tool_kwargs", "partial_json")
CALL_FIELDS = frozenset({*CALL_ID, *CALL_NAME, *CALL_ARGUMENTS, "type", "block_type", "function", "index", "error"})
"""Fields of a tool call that are written under a name of ours, or dropped; all others are its `extra`."""
CALL_TYPES = frozenset({"tool_use", "tool_call", "function_call", "invalid_tool_call"})
REASONING = ("reasoning", "thinking", "content")
NO_CALL = "this is no tool call"

KNOWN: Mapping[str, type] = {
    **dict.fromkeys((
        *("content", "data", "blocks", "type", "role", "__openai_role__", "example", "chunk_position"),
        *("tool_calls", "invalid_tool_calls", "function_call", "tool_call_chunks"),
        *("tool_call_id", "name", "status", "id", "artifact"),
        *("response_metadata", "usage_metadata", "usage", "prompt_tokens", "completion_tokens", "total_tokens"),
    ), object),
    "additional_kwargs": dict, "reasoning_content": str, "audio": dict,
}  # fmt: skip
"""Field of a message, or a provider's addition → its type. Fields of this type are written under a name of ours, or in
the model's event (finish reasons, usage); all others are `extra`.
"""

ELSEWHERE = frozenset({
    *NAMES, *(outer for outer, _ in INNER), "status", "object",
    *("model_name", "model", "model_id", "modelId", "model_provider"),
    *("token_usage", "tokenUsage", "usage", "usage_metadata", "service_tier"),
})  # fmt: skip
"""Entries of an answer's `response_metadata` that the event has: model, usage, finish reason."""

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
    """A dict itself, or an object's fields; empty for a value without fields, such as a text."""
    return value if isinstance(value, dict) else slot_fields(value)


def is_dict(value: object) -> bool:
    """Whether this is a dict of the builtin class."""
    return type(value) is dict


def as_dict(value: object) -> Fields:
    """A dict itself; an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """A list or tuple as a list, an empty value as an empty list, any other value as a list's only item."""
    items = items_of(value)
    if items is not None:
        return list(items)
    return [] if is_empty(value) else [value]


def is_empty(value: object) -> bool:
    """Whether a field has no value. Only builtin values are compared: a user's `__eq__` may do anything."""
    return value is None or (type(value) in (tuple, list, dict, str) and not value)


def from_langchain(walk: Walk, message: object, depth: int) -> JsonValue:
    """A LangChain message of any class."""
    fields = {**fields_of(message), **as_dict(slot(message, "__pydantic_extra__"))}
    more = as_dict(fields.get("additional_kwargs"))
    kind = fields.get("type")
    role = more.get("__openai_role__") or (fields.get("role") if kind in CHAT else kind)
    return written(walk, role, fields, more, fields.get("response_metadata"), depth)


def from_llama_index(walk: Walk, message: object, depth: int) -> JsonValue:
    """A LlamaIndex chat message: its blocks are the content."""
    fields = fields_of(message)
    more = as_dict(fields.get("additional_kwargs"))
    role = fields.get("role")
    view = {**fields, "content": fields.get("blocks"), "id": more.get("id"), "name": more.get("name")}
    view["tool_call_id"] = more.get("tool_call_id")
    return written(walk, getattr(role, "_value_", role), view, more, more, depth)


def from_dict(walk: Walk, message: dict[Any, Any], depth: int) -> JsonValue:
    """A message as a dict: OpenAI's and Anthropic's {role, content}, LangChain's {type, content} or {type, data}."""
    kind = message.get("type")
    if "role" not in message and type(message.get("data")) is dict:
        message = {"role": kind, **message["data"]}
    more = as_dict(message.get("additional_kwargs")) or message
    return written(walk, message.get("role") or kind, message, more, message.get("response_metadata"), depth)


def written(walk: Walk, role: object, fields: Fields, more: Fields, about: object, depth: int) -> JsonValue:
    """One Message. `more` has the fields a provider adds to a message, `about` an answer's metadata."""
    if blocked := walk.enter(fields, depth):
        return {"role": "unknown", "content": blocked}
    try:
        role = ROLES.get(role, role) if type(role) is str else "unknown"
        out: dict[str, JsonValue] = {"role": role if role in OWN_ROLES or role == "unknown" else walk.text(role)}
        content = fields.get("content")
        calls = requested(fields, more)
        thoughts: list[str] = []
        if type(more.get("reasoning_content")) is str:
            thoughts.append(more["reasoning_content"])
        if type(content) is str:
            out["content"] = walk.string(content)
        else:
            out["content"] = content_of(walk, content, calls, thoughts, depth + 1)
        if type(more.get("audio")) is dict:
            out["content"] = with_audio(walk, out["content"], more["audio"], depth + 1)
        if calls:
            out["tool_calls"] = [tool_call(walk, call, depth + 1) for call in calls[: walk.take(len(calls))]]
        if thoughts:
            out["reasoning"] = walk.text("\n\n".join(thoughts))
        for key in REST:
            item = fields.get(key)
            if item is not None:
                out[key] = walk.text(item) if type(item) is str else walk.value(item, depth + 1)
        if about and (reason := finish_reason(about)) is not None:
            out["finish_reason"] = walk.value(reason, depth + 1)
        names = left_out(None if about is more else about)
        if thoughts and any(map(is_signed, items_of(content) or ())):
            names.append("signature")
        if names:
            out["left_out"] = [walk.text(name) for name in names[: walk.take(len(names))]]
        both = {**more, **fields}
        if others := [pair for pair in both.items() if not is_empty(pair[1]) and not is_known(*pair)]:
            out["extra"] = walk.pairs(others[: walk.take(len(others))], depth + 2)
        return out
    finally:
        walk.leave(fields)


REST = ("tool_call_id", "status", "artifact", "name", "id")
"""Keys of a message that are copied under the same name."""


def left_out(about: object) -> list[str]:
    """Names of an answer's metadata that the event leaves out (log probabilities, safety ratings, headers). Their
    values may be many times the answer's size.
    """
    if type(about) is not dict or ELSEWHERE.issuperset(about):
        return []
    return sorted(
        key for key, item in about.items() if type(key) is str and key not in ELSEWHERE and not is_empty(item)
    )


def is_signed(block: object) -> bool:
    """Whether a block of reasoning has a signature, which only its provider can use."""
    more = as_dict(slot(block, "additional_information"))
    return bool(type(block) is dict and block.get("signature")) or "signature" in more


def is_known(key: object, item: object) -> bool:
    """Whether a message's field is in `KNOWN`. Any other is a provider's own, or of a user's class."""
    return type(key) is str and issubclass(type(item), KNOWN.get(key, ()))


def requested(fields: Fields, more: Fields) -> list[Any]:
    """Tool calls a message lists outside its content."""
    listed = as_list(fields.get("tool_calls")) + as_list(fields.get("invalid_tool_calls"))
    given = as_list(more.get("tool_calls")) or as_list(more.get("function_call"))
    if not listed or more is fields:
        return listed or given
    # LangChain parses the provider's dicts into its own list, and skips other items.
    return listed + [call for call in given if not is_dict(call)]


def tool_call(walk: Walk, call: object, depth: int) -> JsonValue:
    """A provider's tool call as {"id", "name", "arguments"}, with an "error" if the model wrote it wrongly."""
    fields = as_fields(call)
    inner = fields.get("function")
    named = fields if inner is None else as_fields(inner)
    if not named:
        return {"arguments": walk.value(call, depth + 1), "error": NO_CALL}
    out: dict[str, JsonValue] = {}
    identity, name = first(fields, CALL_ID), first(named, CALL_NAME)
    if identity is not None:
        out["id"] = walk.value(identity, depth)
    if name is not None:
        out["name"] = walk.value(name, depth)
    out["arguments"] = walk.value(parsed(first(named, CALL_ARGUMENTS)), depth + 1)
    if isinstance(fields.get("error"), str):
        out["error"] = walk.text(fields["error"])
    if others := [pair for pair in fields.items() if pair[0] not in CALL_FIELDS and not is_empty(pair[1])]:
        out["extra"] = walk.pairs(others[: walk.take(len(others))], depth + 1)
    return out


def parsed(arguments: object) -> object:
    """Arguments parsed if their text is a JSON object; else unchanged."""
    if type(arguments) is str and arguments[:1] == "{":
        try:
            return json.loads(arguments)
        except (ValueError, RecursionError):
            return arguments
    return {} if arguments is None else arguments


def content_of(walk: Walk, content: object, calls: list[Any], thoughts: list[str], depth: int) -> JsonValue:
    """Content other than plain text, as parts. Its tool calls and reasoning move to `calls` and `thoughts`."""
    given = items_of(content)
    if given is None:
        return walk.value(content, depth)
    known = {call_id(call) for call in calls}
    blocks: list[Any] = []
    kept = given[: walk.take(len(given))]
    for block in (block if isinstance(block, str) else block_or_mark(walk, block) for block in kept):
        if isinstance(block, str):
            blocks.append({"type": "text", "text": block})
        elif not isinstance(block, dict) or not moved(block, calls, known, thoughts):
            blocks.append(block)
    if len(blocks) == 1 and is_text(blocks[0]):
        return walk.value(blocks[0]["text"], depth)
    if not blocks and (calls or thoughts):
        return ""
    parts = walk.items(blocks, depth)
    if len(kept) < len(given):
        parts.append({"type": "text", "text": cut_marker(len(given) - len(kept), "parts")})
    return parts


def is_text(block: object) -> bool:
    """Whether a block has a text and nothing else."""
    if not isinstance(block, dict) or block.get("type") not in ("text", "output_text", "input_text"):
        return False
    return isinstance(block.get("text"), str) and all(key in ("type", "text", "index", "id") for key in block)


def call_id(call: object) -> str | None:
    """Id of a provider's tool call, if it is a text."""
    found = first(as_fields(call), CALL_ID)
    return found if isinstance(found, str) else None


def moved(block: dict[Any, Any], calls: list[Any], known: set[str | None], thoughts: list[str]) -> bool:
    """Move a block to `calls` or `thoughts`. False if it is neither tool call nor readable reasoning."""
    kind = block.get("type")
    if not isinstance(kind, str):
        return False
    if kind in CALL_TYPES:
        if call_id(block) is None or call_id(block) not in known:
            calls.append(block)
        return True
    if kind in ("reasoning", "thinking") and (text := reasoning(block)):
        thoughts.append(text)
        return True
    return False


def reasoning(block: Fields) -> str | None:
    """Text of a block of reasoning; None if it is encrypted or redacted."""
    text = first(block, REASONING)
    if isinstance(text, str) and text:
        return text
    summary = block.get("summary")
    if isinstance(summary, list):
        texts = [part["text"] for part in summary if isinstance(part, dict) and isinstance(part.get("text"), str)]
        return "\n\n".join(texts) or None
    return None


def block_of(block: object) -> object:
    """A LlamaIndex content block as the dict other providers write; any other value itself."""
    if isinstance(block, dict):
        return block
    fields = slot_fields(block)
    kind = fields.get("block_type")
    if kind == "text":
        return {"type": "text", "text": fields.get("text")}
    if kind in MEDIA_BLOCKS:
        part, field, mime = MEDIA_BLOCKS[kind]
        more = {key: fields.get(key) for key in ("title", "detail", "fps")}
        return media_part(part, fields.get(mime), fields.get(field), fields.get("url") or fields.get("path"), **more)
    if not isinstance(kind, str):
        return block
    rest = {key: item for key, item in fields.items() if key != "block_type"}
    if kind not in ("thinking", "tool_call"):  # such as a cache point, or a citation with blocks within
        rest = {key: blocks_of(item) for key, item in rest.items() if item is not None}
    return {"type": kind, **rest}


def blocks_of(value: object) -> object:
    """A block's inner block, or list of blocks, each by `block_of`."""
    items = items_of(value)
    return block_of(value) if items is None else [block_of(item) for item in items]


def block_or_mark(walk: Walk, block: object) -> object:
    """The block by `block_of`, or a mark if it raises. Its message is kept."""
    try:
        return block_of(block)
    except BaseException as problem:
        if diagnostics.must_pass(problem):
            raise
        return walk.unreadable(type(block), problem)


def slot_fields(value: object) -> Fields:
    """An object's fields, else its slots; empty without either."""
    try:
        if own := fields_of(value):
            return own
    except AttributeError:
        pass  # It has no `__dict__`: its fields are slots, if it has any.
    slots = (DICT_OF(kind).get("__slots__", ()) for kind in MRO_OF(type(value)))
    names = [name for each in slots for name in ((each,) if type(each) is str else each)]
    return {name: item for name in names if name[:2] != "__" and (item := slot(value, name)) is not None}


def media_part(kind: str, mime: object, payload: object, address: object, **more: object) -> dict[str, Any]:
    """An image, audio, video or file of LlamaIndex in the form of other providers. A stream is not read."""
    out: dict[str, Any] = {"type": kind, "mime_type": mime, "url": None if address is None else str(address), **more}
    if isinstance(payload, bytes):
        payload = payload.decode("ascii") if payload.isascii() else payload
    out["base64" if isinstance(payload, bytes | str) else "stream"] = payload
    return {key: item for key, item in out.items() if item is not None}


def from_block(walk: Walk, block: object, depth: int) -> JsonValue:
    """A LlamaIndex content block outside a message."""
    found = block_of(block)
    return walk.value(fields_of(block) if found is block else found, depth)


def with_audio(walk: Walk, content: JsonValue, audio: Fields, depth: int) -> JsonValue:
    """The content with OpenAI's spoken answer added as a part."""
    rest = {key: item for key, item in audio.items() if key != "data"}
    part = walk.value({"type": "audio", "base64": audio.get("data"), **rest}, depth)
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    return [*content, part] if isinstance(content, list) else content


def from_pair(walk: Walk, pair: object, depth: int) -> JsonValue:
    """A message from LangChain's pair (role, content)."""
    role, content = items_of(pair) or ()
    return written(walk, role, {"content": content}, {}, None, depth)


def is_pair(value: object) -> bool:
    """Whether a value is a pair (role, content)."""
    pair = items_of(value)
    return pair is not None and len(pair) == 2 and type(pair[0]) is str and pair[0] in SPOKEN


def is_message_dict(value: dict[Any, Any]) -> bool:
    """Whether a dict is a message."""
    kind = value.get("role") or value.get("type")
    named = isinstance(kind, str) and ("role" in value or kind in SPOKEN)
    return named and ("content" in value or "data" in value or "tool_calls" in value)
