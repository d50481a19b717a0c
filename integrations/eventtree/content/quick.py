"""The usual values, copied by a few short functions: JSON of a modest size, and LangChain's messages of plain text.

What comes out is what the walk (walk.py) makes of the same value, at a fifth of the time; the tests compare the two.
Whatever is not usual is refused, and the walk does it from the start. Without a redactor only: with one the time goes
into redacting. Runs no code of the user.

`room` is a list of one number: the characters still welcome. Containers look at it before they are entered, which
bounds the time, also where a list contains itself; whoever calls looks at it in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from eventtree.content import frameworks, scalars
from eventtree.content import messages as chat
from eventtree.content.messages import CALL_ARGUMENTS, CALL_ID, CALL_NAME, FINISH, REST, ROLES, SPOKEN, first
from eventtree.content.objects import fields_of
from eventtree.content.walk import CONVERTERS, MAX_KINDS, SHORT, clean
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
TEXT = frozenset({str})
ROLE_OF: dict[Any, str] = {role: ROLES.get(role, role) for role in SPOKEN}
SHAPING = frozenset({"__openai_role__", "reasoning_content", "audio"})
CALLING = frozenset({"tool_calls", "function_call"})
"""What in a message's `additional_kwargs` changes how it is written; the second where it has no `tool_calls` itself."""

Copy = Callable[[Any, list[int], int], JsonValue]


def itself(value: JsonValue, _room: list[int], _depth: int) -> JsonValue:
    """None, True and False."""
    return value


def whole(value: int, _room: list[int], _depth: int) -> JsonValue:
    """An int that every reader of JSON follows."""
    return value if -SMALL < value < SMALL else UNUSUAL


def number(value: float, _room: list[int], _depth: int) -> JsonValue:
    """A float that JSON has a number for."""
    return value if isfinite(value) else UNUSUAL


def text(value: str, room: list[int], _depth: int = 0) -> JsonValue:
    """A text of the builtin class; a long one may be the data URL of a file."""
    room[0] -= len(value)
    if len(value) > SHORT and value.startswith("data:"):
        return UNUSUAL
    return value if value.isascii() else clean(value)


def text_like(value: str, room: list[int], _depth: int) -> JsonValue:
    """A text of a class that inherits, such as LangChain's."""
    return text(str.__str__(value), room)


def dict_of(value: dict[Any, Any], room: list[int], depth: int) -> JsonValue:
    """A dict of the builtin class, whose keys are text. One with a `type` may describe a file; see parts.from_dict."""
    room[0] -= NODE * len(value)
    if len(value) > ITEMS or depth >= DEPTH or room[0] < 0 or "type" in value or "inline_data" in value:
        return UNUSUAL
    out = value.copy()
    if not TEXT.issuperset(map(type, out)):
        return UNUSUAL
    keys = "".join(out)
    if not keys.isascii():
        return UNUSUAL
    spent = len(keys)
    for key, item in out.items():
        if type(item) is str and len(item) <= SHORT and item.isascii():
            spent += len(item)
        elif item is not None:
            plain = out[key] = COPIES[type(item)](item, room, depth + 1)
            if plain is UNUSUAL:
                return UNUSUAL
    room[0] -= spent
    return out


def list_of(value: list[Any], room: list[int], depth: int) -> JsonValue:
    """A list of the builtin class."""
    room[0] -= NODE * len(value)
    if len(value) > ITEMS or depth >= DEPTH or room[0] < 0:
        return UNUSUAL
    out = [COPIES[type(item)](item, room, depth + 1) for item in value.copy()]
    return UNUSUAL if UNUSUAL in out else out


def message(value: Any, room: list[int], _depth: int) -> JsonValue:
    """A LangChain message whose content is text; see messages.written."""
    fields = fields_of(value)
    content, role, calls = fields.get("content"), ROLE_OF.get(fields.get("type")), fields.get("tool_calls")
    more, about = fields.get("additional_kwargs"), fields.get("response_metadata")
    if type(content) is not str or role is None or fields.get("invalid_tool_calls"):
        return UNUSUAL
    if more and not (SHAPING.isdisjoint(more) and (calls or CALLING.isdisjoint(more))):
        return UNUSUAL
    room[0] -= 6 * NODE
    out: dict[str, JsonValue] = {"role": role, "content": text(content, room)}
    if calls:
        out["tool_calls"] = [tool_call(call, room) for call in calls] if type(calls) is list else UNUSUAL
    for key in REST:
        if key in fields and (item := fields[key]) is not None:
            out[key] = text(item, room) if type(item) is str else UNUSUAL
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
        if COPIES[type(value)] is not message:
            return UNUSUAL
    return list_of(values, room, depth)


def prompt(value: Any, room: list[int], depth: int) -> JsonValue:
    """What a LangChain chat prompt makes."""
    asked = messages_of(fields_of(value).get("messages"), room, depth + 1)
    return asked if asked is UNUSUAL else {"messages": asked}


def unusual(_value: Any, _room: list[int], _depth: int) -> JsonValue:
    """Anything else."""
    return UNUSUAL


KNOWN: dict[Any, Copy] = {chat.from_langchain: message, scalars.from_str: text_like, frameworks.from_prompt: prompt}
"""Converter of the walk → how it is done here."""


class Copies(dict[type, Copy]):
    """Class → how its values are copied. Others than the builtin ones are found by the walk's converter for them."""

    def __missing__(self, kind: type) -> Copy:
        """Find and remember it for a class met for the first time."""
        found = KNOWN.get(CONVERTERS[kind], unusual)
        if len(self) >= MAX_KINDS:
            self.clear()
            self.update(BUILTIN)
        self[kind] = found
        return found


BUILTIN: dict[type, Copy] = {
    str: text, dict: dict_of, list: list_of, type(None): itself, bool: itself, int: whole, float: number,
}  # fmt: skip
COPIES = Copies(BUILTIN)


def copied(value: Any, most: int) -> JsonValue:
    """A plain copy of `value` if it is usual and of at most `most` characters, else UNUSUAL."""
    room = [most]
    plain = COPIES[type(value)](value, room, 0)
    return plain if room[0] >= 0 else UNUSUAL


def copied_messages(values: Any, most: int) -> JsonValue:
    """As `copied`, for a list of LangChain messages."""
    room = [most]
    plain = messages_of(values, room)
    return plain if room[0] >= 0 else UNUSUAL
