"""Short functions that copy the usual values: JSON of a modest size, and LangChain's messages of plain text.

The walk (walk.py) makes the same copy in five times the time; the tests compare the two. An unusual value raises here,
and the walk copies it from the start. Not used with a redactor: redacting would take most of the time anyway. Runs no
code of the user.

`room` is a list of one number: the characters that may still be copied. It is checked before a container is entered,
which bounds the time, also where a list contains itself; the caller checks it at the end. Texts up to `SHORT` count
only as items.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from math import isfinite
from operator import attrgetter
from typing import Any, NamedTuple

from eventtree.config import Bounds
from eventtree.content import framework_values, python_values
from eventtree.content import messages as chat
from eventtree.content.finish import finish_reason
from eventtree.content.messages import ELSEWHERE, REST, ROLES, SPOKEN
from eventtree.content.parts import TYPES
from eventtree.content.walk import (
    CONVERTERS,
    LONG,
    MANY,
    MAX_KINDS,
    SHORT,
    Fields,
    Reader,
    clean,
    shareable,
)
from eventtree.diagnostics import DICT_OF, MODULE_OF, MRO_OF
from eventtree.kinds import JsonValue
from eventtree.record import encode, fragment, is_harmless, written
from eventtree.remembered import Remembered

DEPTH = 8
ITEMS = 1_000
"""Most items of one container."""
NODE = 27
"""Characters an item counts for besides its text: quotes, comma and marks."""
SMALL = 1 << 53
KEY_LENGTH = 64
DATA = "data:"
"""A URL that begins so contains the file itself."""
PLAIN_FIELDS = 6
"""Number of fields every message has: content, type, name, id and two dicts."""
ANSWER_FIELDS = 9
"""Number of fields an answer has: those, calls, invalid calls and usage."""
MESSAGE = PLAIN_FIELDS * NODE
MOST_CONVERSATIONS = 32
MOST_HELD = 256 * 1024
"""Most conversations remembered while their trees are open, and most bytes of each."""
ROLE_OF: dict[Any, str] = {role: ROLES.get(role, role) for role in SPOKEN}
FIELDS = frozenset(chat.KNOWN)
OF_TOOL = tuple(name for name in REST if name not in ("name", "id"))
OWN_CALL = frozenset({"name", "args", "id", "type"})
"""Keys of LangChain's own tool calls."""
CALLING = frozenset({"tool_calls", "function_call"})
"""Keys of `additional_kwargs` whose dicts only repeat a message's own `tool_calls`."""

Copy = Callable[[Any, list[int], int], JsonValue]


class Unusual(Exception):  # noqa: N818  (no error)
    """The walk has to copy this value. Raised as a class: a kept exception would keep its frames alive."""


def room_in(bounds: Bounds) -> int:
    """Most characters of a value copied here: 0 if a limit is narrow enough to truncate a usual value."""
    is_ample = bounds.depth > DEPTH and bounds.items >= ITEMS
    return min(bounds.value_bytes, bounds.nodes * NODE) if is_ample else 0


def itself(value: JsonValue, _room: list[int], _depth: int) -> JsonValue:
    """None, True and False."""
    return value


def whole(value: int, _room: list[int], _depth: int) -> JsonValue:
    """An int that every JSON parser reads exactly."""
    if -SMALL < value < SMALL:
        return value
    raise Unusual


def number(value: float, _room: list[int], _depth: int) -> JsonValue:
    """A finite float: JSON has no other."""
    if isfinite(value):
        return value
    raise Unusual


def text(value: str, room: list[int], _depth: int = 0) -> str:
    """A text of the builtin class; a long one may be the data URL of a file."""
    if len(value) > SHORT:
        room[0] -= len(value)
        if room[0] < 0 or value.startswith(DATA):
            raise Unusual
        shareable[0] += len(value) > LONG
    return value if value.isascii() else clean(value)


def text_like(value: str, room: list[int], _depth: int) -> JsonValue:
    """A text of a subclass of str, such as LangChain's."""
    return text(str.__str__(value), room)


def checked(value: Any, room: list[int]) -> str:
    """A value that must be a text."""
    if type(value) is not str:
        raise Unusual
    return value if len(value) <= SHORT and value.isascii() else text(value, room)


def learn(key: str) -> None:
    """Check a new key, and remember it if it can be written unchanged."""
    if len(key) > KEY_LENGTH or not key.isascii():
        raise Unusual
    KEYS.keep(key, None)


KEYS: Remembered[str, None] = Remembered(MAX_KINDS)
"""Keys that passed `learn`. The same few keys recur in every run."""


def dict_of(value: dict[Any, Any], room: list[int], depth: int) -> JsonValue:
    """A dict of the builtin class, whose keys are text. One with a `type` may describe a file; see parts.from_dict."""
    out = value.copy()
    count = len(out)
    left = room[0] = room[0] - NODE * count
    if left < 0 or depth >= DEPTH or count > ITEMS or "inline_data" in out:
        raise Unusual
    if "type" in out and (type(out["type"]) is not str or out["type"] in TYPES):
        raise Unusual
    for key, item in out.items():
        if type(key) is not str:
            raise Unusual
        if key not in KEYS:
            learn(key)
        kind = type(item)
        if kind is str:
            if len(item) > SHORT or not item.isascii():
                out[key] = text(item, room)
        elif kind is int:
            if not -SMALL < item < SMALL:
                raise Unusual
        elif item is not None:
            out[key] = COPIES[kind](item, room, depth + 1)
    return out


def as_it_is(value: dict[Any, Any]) -> Any:
    """A small, flat dict written in one call, such as a run's metadata; None if `dict_of` has to copy it.

    Flat: short texts and numbers, lists of them and dicts of them. No dict in it may describe a file, no text be one.
    """
    try:
        json = written(value) if is_flat(value, 1) else None
    except RuntimeError:  # another thread changes it
        return None
    return None if json is None or len(json) > LONGEST_WRITTEN else fragment(json)


LONGEST_WRITTEN = 1_000


def is_flat(value: dict[Any, Any], depth: int) -> bool:
    """Whether a dict has only values that JSON writes unchanged, in lists, and in dicts nested up to `depth`."""
    if "type" in value or "inline_data" in value:
        return False
    for item in value.values():
        kind = type(item)
        if kind is str:
            if len(item) > SHORT:
                return False
        elif kind is tuple or kind is list:
            for one in item:
                if len(one) > SHORT if type(one) is str else type(one) not in FLAT:
                    return False
        elif kind is dict:
            if not depth or not is_flat(item, depth - 1):
                return False
        elif kind not in FLAT and (kind is not float or not isfinite(item)):
            return False
    return True


FLAT = frozenset({int, bool, type(None)})


def list_of(value: list[Any], room: list[int], depth: int) -> JsonValue:
    """A list of the builtin class."""
    count = len(value)
    room[0] -= NODE * count
    if room[0] < 0 or count > ITEMS or depth >= DEPTH:
        raise Unusual
    if count >= MANY and COPIES[type(value[0])] is message:
        return messages_of(value, room)
    depth += 1
    out: list[JsonValue] = []
    for item in value.copy():
        out.append(COPIES[type(item)](item, room, depth))  # noqa: PERF401  (a comprehension is a call)
    if count >= MANY and type(out[0]) is dict:
        shareable[0] += 1
    return out


def tuple_of(value: tuple[Any, ...], room: list[int], depth: int) -> JsonValue:
    """A tuple of the builtin class, as a list: each run of a graph has two in its metadata."""
    return list_of(list(value[: ITEMS + 1]), room, depth)


def message(value: Any, room: list[int], _depth: int) -> JsonValue:
    """A LangChain message whose content is text; see messages.written."""
    own = value.__dict__
    content, more, about = own["content"], own["additional_kwargs"], own["response_metadata"]
    if type(content) is not str or value.__pydantic_extra__:
        raise Unusual
    room[0] -= MESSAGE
    if len(content) > SHORT or not content.isascii():
        content = text(content, room)
    out: dict[str, JsonValue] = {"role": ROLE_OF[own["type"]], "content": content}
    if (count := len(own)) > PLAIN_FIELDS or more:
        calls, wrong = own.get("tool_calls"), own.get("invalid_tool_calls")
        if wrong or (more and not says_nothing_new(more, calls)):
            raise Unusual
        if calls:
            out["tool_calls"] = tool_calls(calls, room)
        if count != ANSWER_FIELDS or calls is None or wrong is None or "usage_metadata" not in own:
            if not FIELDS.issuperset(own):
                raise Unusual
            for key in OF_TOOL:
                if (item := own.get(key)) is not None:
                    out[key] = checked(item, room)
    if (name := own["name"]) is not None:
        out["name"] = checked(name, room)
    if (identity := own["id"]) is not None:
        out["id"] = checked(identity, room)
    if about:
        if type(about) is not dict:
            raise Unusual
        reason = about.get("finish_reason")
        if type(reason) is str and (plain := REASONS.get(reason)):
            out["finish_reason"] = plain
        elif (reason := finish_reason(about)) is not None:
            out["finish_reason"] = known(reason, room)
        if not ELSEWHERE.issuperset(about) and (left := chat.left_out(about)):
            out["left_out"] = list_of(left, room, 0)
    return out


def known(reason: Any, room: list[int]) -> str:
    """Why an answer stopped. A reason that is written unchanged is remembered."""
    plain = checked(reason, room)
    return REASONS.keep(plain, plain) if finish_reason({"finish_reason": plain}) == plain != "" else plain


REASONS: Remembered[str, str] = Remembered(MAX_KINDS, longest=KEY_LENGTH)
"""Reasons that are written unchanged: a provider has few."""


def says_nothing_new(more: Any, calls: Any) -> bool:
    """Whether a message is written the same without its `additional_kwargs`."""
    return type(more) is dict and all(chat.is_empty(more[key]) or (calls and is_repeated(more, key)) for key in more)


def is_repeated(more: Any, key: Any) -> bool:
    """Whether `more[key]` is the provider's own spelling of the message's tool calls."""
    return key in CALLING and all(map(chat.is_dict, chat.as_list(more[key])))


def tool_calls(calls: Any, room: list[int]) -> JsonValue:
    """A list of LangChain's tool calls; see messages.tool_call."""
    if type(calls) is not list:
        raise Unusual
    out = []
    for call in calls:
        if type(call) is not dict or not OWN_CALL.issuperset(call) or type(arguments := call["args"]) is not dict:
            raise Unusual
        room[0] -= 4 * NODE
        identity, name = checked(call["id"], room), checked(call["name"], room)
        out.append({"id": identity, "name": name, "arguments": dict_of(arguments, room, 1)})
    return out


def messages_of(values: Any, room: list[int]) -> JsonValue:
    """A list of LangChain messages, at least one."""
    if type(values) is not list or not 0 < len(values) <= ITEMS:
        raise Unusual
    given = values.copy()
    room[0] -= NODE * len(given)
    if len(given) >= MANY:
        return conversation(given, room)
    out: list[JsonValue] = []
    for value in given:
        if COPIES[type(value)] is not message:
            raise Unusual
        out.append(message(value, room, 0))
    return out


class Conversation(NamedTuple):
    """Messages copied before, recognised by their JSON. The copies are shared: don't change them."""

    held: bytes
    plain: list[JsonValue]
    items: list[bytes]
    """JSON of each copy."""
    cost: int
    long: int


def conversation(given: list[Any], room: list[int]) -> list[JsonValue]:
    """Copy a conversation and read only its new messages: each step of an agent repeats all earlier ones.

    The first two texts find the remembered conversation; its whole JSON, written in one call, must then be the same.
    """
    for kind in {*map(type, given)}:
        if COPIES[kind] is not message:
            raise Unusual
    shareable[0] += 1
    fields = [*map(FIELDS_OF, given)]
    first = (fields[0]["content"], fields[1]["content"])
    is_usual = type(first[0]) is type(first[1]) is str and not any(map(EXTRA_OF, given)) and is_harmless(fields)
    known = CONVERSATIONS.get(first, NONE) if is_usual else NONE
    if len(known.plain) > len(given):
        known = NONE
    held = written(fields) if is_usual else None
    if held is None or not is_begun(held, known.held, len(given) == len(known.plain)):
        if is_usual:
            CONVERSATIONS.pop(first, None)
        known, held = NONE, None if known.held else held
    begun, was_long, fresh = room[0] - known.cost, shareable[0], given[len(known.plain) :]
    room[0], plain = begun, known.plain
    shareable[0] += known.long
    if fresh:
        added = [message(value, room, 0) for value in fresh]
        plain = [*plain, *added]
        if held is not None and len(held) <= MOST_HELD and not any(map(may_hold_nan, fresh)):
            items = [*known.items, *map(encode, added)]
            cost, long = begun + known.cost - room[0], shareable[0] - was_long
            found = CONVERSATIONS.keep(first, Conversation(held, plain, items, cost, long))
            ITEMS_OF.keep(id(plain), found)
    return plain


FIELDS_OF, EXTRA_OF = attrgetter("__dict__"), attrgetter("__pydantic_extra__")


def is_begun(held: bytes, before: bytes, is_all: bool) -> bool:
    """Whether the JSON of a list begins with that of another, or is the same."""
    return held == before if is_all else held.startswith(before[:-1]) and (not before or held[len(before) - 1] == COMMA)


def may_hold_nan(value: Any) -> bool:
    """Whether a null in a message's JSON may stand for NaN: only one in tool calls may."""
    calls = value.__dict__.get("tool_calls")
    return bool(calls) and b"null" in (written(calls) or b"null")


def items_of(plain: list[JsonValue]) -> list[bytes] | None:
    """JSON of each item of a remembered list; None for any other."""
    found = ITEMS_OF.get(id(plain))
    return found.items if found is not None and found.plain is plain else None


def forget() -> None:
    """Forget all conversations, as a tree has ended."""
    CONVERSATIONS.clear()
    ITEMS_OF.clear()


COMMA = ord(",")
NONE = Conversation(b"", [], [], 0, 0)
CONVERSATIONS: Remembered[tuple[str, ...], Conversation] = Remembered(MOST_CONVERSATIONS)
"""Texts of the first two messages → the conversation so far."""
ITEMS_OF: Remembered[int, Conversation] = Remembered(MOST_CONVERSATIONS)
"""Id of a conversation's list of copies → the conversation."""


def prompt(value: Any, room: list[int], depth: int) -> JsonValue:
    """The value of a LangChain chat prompt."""
    return {"messages": messages_of(value.__dict__["messages"], room)}


def result(value: Any, room: list[int], depth: int) -> JsonValue:
    """The answer of a LangChain chat model; see framework_values.from_result and from_generation."""
    out = []
    rows = value.__dict__["generations"]
    if type(rows) is not list:
        raise Unusual
    for row in rows:
        if type(row) is not list or len(row) > ITEMS:
            raise Unusual
        for answer in row:
            if COPIES[type(answer)] is not generation or room[0] < 0:
                raise Unusual
            fields = answer.__dict__
            given, about = fields["message"], fields["generation_info"]
            if COPIES[type(given)] is not message:
                raise Unusual
            found: Any = message(given, room, depth)
            if about and "finish_reason" not in found and (reason := finish_reason(about)) is not None:
                found["finish_reason"] = checked(reason, room)
                if len(reason) > SHORT:
                    raise Unusual
            out.append(found)
    if not out or len(out) > ITEMS:
        raise Unusual
    return {"messages": out}


def generation(_value: Any, _room: list[int], _depth: int) -> JsonValue:
    """An answer outside a result: `result` copies its own."""
    raise Unusual


def read_by(read: Callable[[Any], Any]) -> Copy:
    """Copy function of objects that `read` turns into fields or another value; see walk.Reader."""

    def copy(value: Any, room: list[int], depth: int) -> JsonValue:
        found = read(value)
        if type(found) is Fields:
            return dict_of(found, room, depth)
        if depth >= DEPTH:  # `read` may return the object itself
            raise Unusual
        return COPIES[type(found)](found, room, depth + 1)

    return copy


def unusual(_value: Any, _room: list[int], _depth: int) -> JsonValue:
    """Anything else."""
    raise Unusual


KNOWN: dict[Any, Copy] = {
    chat.from_langchain: message,
    python_values.from_str: text_like,
    framework_values.from_prompt: prompt,
    framework_values.from_result: result,
    framework_values.from_generation: generation,
}
"""The walk's converter → its copy function here."""
MODELS = frozenset({message, prompt, result, generation})
"""Copy functions that read a pydantic model's `__dict__`."""


BUILTIN: dict[type, Copy] = {
    str: text, dict: dict_of, list: list_of, tuple: tuple_of, type(None): itself, bool: itself, int: whole,
    float: number,
}  # fmt: skip


def copy_of(kind: type) -> Copy:
    """The copy function for another class, found by the walk's converter for it."""
    convert = CONVERTERS[kind]
    if convert in KNOWN:
        found = KNOWN[convert]
        return unusual if found in MODELS and not is_open(kind) else found
    return read_by(convert.read) if isinstance(convert, Reader) else unusual


def is_open(kind: type) -> bool:
    """Whether reading a pydantic model's fields and extra fields runs no code of the app's classes."""
    own = [DICT_OF(each) for each in MRO_OF(kind)[:-1] if MODULE_OF(each) != "pydantic.main"]
    dicts = [names["__dict__"] for names in own if "__dict__" in names]  # any class without slots has one of Python's
    return all(READING.isdisjoint(names) for names in own) and {types.GetSetDescriptorType}.issuperset(map(type, dicts))


READING = frozenset({"__getattribute__", "__getattr__", "__pydantic_extra__"})
"""Names by which a class replaces how its fields are read."""


COPIES: Remembered[type, Copy] = Remembered(MAX_KINDS, copy_of, begin=BUILTIN)
"""Class → copy function of its values."""
