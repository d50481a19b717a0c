"""The usual values, copied in one short recursion: JSON of a modest size, and LangChain's messages of plain text.

What comes out is what the walk (walk.py) makes of the same value, at a fifth of the time; the tests compare the two.
Whatever is not usual is refused, and the walk does it from the start. Without a redactor only: with one the time goes
into redacting. Runs no code of the user.

`room` is a list of one number: the characters still welcome. It bounds the time, also where a list contains itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from eventtree.content import frameworks, scalars
from eventtree.content import messages as chat
from eventtree.content.messages import CALL_ARGUMENTS, CALL_ID, CALL_NAME, CHAT, FINISH, REST, ROLES, first
from eventtree.content.objects import fields_of
from eventtree.content.walk import CONVERTERS, SHORT, clean
from eventtree.event import JsonValue

UNUSUAL: Final = object()
"""Returned for a value that the walk has to do."""
ROOM = 1 << 16
DEPTH = 8
ITEMS = 64
"""Most items of one container."""
NODE = 27
"""Characters that an item counts for beside its text: its quotes, comma and marks."""
SMALL = 1 << 53
PART_KEYS = frozenset({"type", "inline_data"})
"""Keys of dicts that may describe a file; see parts.from_dict."""
SHAPING = frozenset({"__openai_role__", "reasoning_content", "audio"})
CALLING = frozenset({"tool_calls", "function_call"})
"""What in a message's `additional_kwargs` changes how it is written; the second where it has no `tool_calls` itself."""


def copied(value: Any, room: list[int], depth: int = 0) -> JsonValue:
    """A plain copy of `value`, or UNUSUAL."""
    kind = type(value)
    if kind is str:
        return text(value, room)
    if kind is dict:
        return dict_of(value, room, depth)
    if kind is list:
        return list_of(value, room, depth)
    if value is None or kind is bool or (kind is int and -SMALL < value < SMALL) or (kind is float and isfinite(value)):
        return value
    convert = CONVERTERS[kind]
    if convert is chat.from_langchain:
        return message(fields_of(value), room)
    if convert is scalars.from_str:
        return text(str.__str__(value), room)
    if convert is frameworks.from_prompt:
        asked = messages_of(fields_of(value).get("messages"), room, depth + 1)
        return asked if asked is UNUSUAL else {"messages": asked}
    return UNUSUAL


def text(value: str, room: list[int]) -> JsonValue:
    """A text of the builtin class."""
    room[0] -= len(value)
    if room[0] < 0 or (len(value) > SHORT and value.startswith("data:")):
        return UNUSUAL
    return value if value.isascii() else clean(value)


def dict_of(value: dict[Any, Any], room: list[int], depth: int) -> JsonValue:
    """A dict of the builtin class. Most values are short texts, so these are done here."""
    room[0] -= NODE * len(value)
    if len(value) > ITEMS or depth >= DEPTH or room[0] < 0:
        return UNUSUAL
    out: dict[str, JsonValue] = {}
    for key, item in value.items():
        if type(key) is not str or len(key) > SHORT or not key.isascii() or key in PART_KEYS:
            return UNUSUAL
        room[0] -= len(key)
        if type(item) is str and len(item) <= SHORT and item.isascii():
            room[0] -= len(item)
        elif item is not None:
            item = copied(item, room, depth + 1)
            if item is UNUSUAL:
                return UNUSUAL
        out[key] = item
    return out


def list_of(value: list[Any], room: list[int], depth: int) -> JsonValue:
    """A list of the builtin class."""
    room[0] -= NODE * len(value)
    if len(value) > ITEMS or depth >= DEPTH or room[0] < 0:
        return UNUSUAL
    out = [copied(item, room, depth + 1) for item in value.copy()]
    return UNUSUAL if UNUSUAL in out else out


def message(fields: Mapping[str, Any], room: list[int]) -> JsonValue:
    """A LangChain message whose content is text; see messages.written."""
    content, role, more = fields.get("content"), fields.get("type"), fields.get("additional_kwargs")
    if type(content) is not str or type(role) is not str or role in CHAT or fields.get("invalid_tool_calls"):
        return UNUSUAL
    calls = fields.get("tool_calls")
    if more and not (SHAPING.isdisjoint(more) and (calls or CALLING.isdisjoint(more))):
        return UNUSUAL
    room[0] -= 6 * NODE
    out: dict[str, JsonValue] = {"role": text(ROLES.get(role, role), room), "content": text(content, room)}
    if calls:
        out["tool_calls"] = [tool_call(call, room) for call in calls] if type(calls) is list else UNUSUAL
    for key in REST:
        if (item := fields.get(key)) is not None:
            out[key] = text(item, room) if type(item) is str else UNUSUAL
    about = fields.get("response_metadata")
    if about:
        reason = first(about, FINISH) if type(about) is dict else UNUSUAL
        if reason is not None:
            out["finish_reason"] = text(reason, room) if type(reason) is str else UNUSUAL
    return UNUSUAL if UNUSUAL in out.values() or (calls and UNUSUAL in out["tool_calls"]) else out


def tool_call(call: Any, room: list[int]) -> JsonValue:
    """One of LangChain's own; see messages.tool_call."""
    if type(call) is not dict or "function" in call or "error" in call:
        return UNUSUAL
    identity, name = first(call, CALL_ID), first(call, CALL_NAME)
    arguments = first(call, CALL_ARGUMENTS)
    if type(identity) is not str or type(name) is not str or type(arguments) is not dict:
        return UNUSUAL
    room[0] -= 4 * NODE
    out = {"id": text(identity, room), "name": text(name, room), "arguments": dict_of(arguments, room, 1)}
    return UNUSUAL if UNUSUAL in out.values() else out


def messages_of(values: Any, room: list[int], depth: int = 0) -> JsonValue:
    """A list of LangChain messages, at least one."""
    if type(values) is not list or not values:
        return UNUSUAL
    for value in values:
        if CONVERTERS[type(value)] is not chat.from_langchain:
            return UNUSUAL
    return list_of(values, room, depth)
