"""The usual values, copied by a few short functions: JSON of a modest size, and LangChain's messages of plain text.

What comes out is what the walk (walk.py) makes of the same value, at a fifth of the time; the tests compare the two.
What is not usual raises here, and the walk does it from the start. Without a redactor only: with one the time goes into
redacting. Runs no code of the user.

`room` is a list of one number: the characters still welcome. Containers look at it before they are entered, which
bounds the time, also where a list contains itself; whoever calls looks at it in the end. Texts up to `SHORT` count by
the items that they are.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from math import isfinite
from operator import attrgetter
from typing import Any, NamedTuple

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
    Limits,
    Reader,
    clean,
    shareable,
)
from eventtree.diagnostics import DICT_OF, MODULE_OF, MRO_OF
from eventtree.event import JsonValue
from eventtree.record import encode, fragment, is_harmless, written
from eventtree.remembered import Remembered

DEPTH = 8
ITEMS = 1_000
"""Most items of one container."""
NODE = 27
"""Characters that an item counts for beside its text: its quotes, comma and marks."""
SMALL = 1 << 53
KEY_LENGTH = 64
DATA = "data:"
"""Beginning of a URL that holds the file itself."""
PLAIN_FIELDS = 6
"""A message of so many fields has those of any message: content, type, name, id and two dicts."""
MESSAGE = PLAIN_FIELDS * NODE
MOST_CONVERSATIONS = 32
MOST_HELD = 256 * 1024
"""So many conversations, of so many bytes each, are remembered while their trees are open."""
ROLE_OF: dict[Any, str] = {role: ROLES.get(role, role) for role in SPOKEN}
FIELDS = frozenset(chat.KNOWN)
OF_TOOL = tuple(name for name in REST if name not in ("name", "id"))
USUAL = FIELDS - frozenset(OF_TOOL)
"""Fields of which only `name` and `id` are taken as they are: a tool's message alone has others."""
OWN_CALL = frozenset({"name", "args", "id", "type"})
"""Keys of LangChain's own tool calls."""
CALLING = frozenset({"tool_calls", "function_call"})
"""Keys of `additional_kwargs` whose dicts say nothing new in a message that has `tool_calls` itself."""

Copy = Callable[[Any, list[int], int], JsonValue]


class Unusual(Exception):  # noqa: N818  (no error)
    """The walk has to do this value. Raised as a class: an exception that is kept would hold the frames it came by."""


def room_in(limits: Limits) -> int:
    """Characters of a value that may be copied here: none where a limit is so narrow that it may cut such a value."""
    is_ample = limits.max_depth > DEPTH and limits.max_items >= ITEMS
    return min(limits.max_bytes, limits.max_nodes * NODE) if is_ample else 0


def itself(value: JsonValue, _room: list[int], _depth: int) -> JsonValue:
    """None, True and False."""
    return value


def whole(value: int, _room: list[int], _depth: int) -> JsonValue:
    """An int that every reader of JSON follows."""
    if -SMALL < value < SMALL:
        return value
    raise Unusual


def number(value: float, _room: list[int], _depth: int) -> JsonValue:
    """A float that JSON has a number for."""
    if isfinite(value):
        return value
    raise Unusual


def text(value: str, room: list[int], _depth: int = 0) -> str:
    """A text of the builtin class; a long one may be the data URL of a file."""
    room[0] -= len(value)
    if len(value) > SHORT:
        if room[0] < 0 or value.startswith(DATA):
            raise Unusual
        shareable[0] += len(value) > LONG
    return value if value.isascii() else clean(value)


def text_like(value: str, room: list[int], _depth: int) -> JsonValue:
    """A text of a class that inherits, such as LangChain's."""
    return text(str.__str__(value), room)


def checked(value: Any, room: list[int]) -> str:
    """What has to be a text."""
    if type(value) is not str:
        raise Unusual
    return value if len(value) <= SHORT and value.isascii() else text(value, room)


def learn(key: str) -> None:
    """Look at a key that is not known: it may stand as it is."""
    if len(key) > KEY_LENGTH or not key.isascii():
        raise Unusual
    KEYS.keep(key, None)


KEYS: Remembered[str, None] = Remembered(MAX_KINDS)
"""Keys that were looked at: they come again and again."""


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
    """A dict whose JSON is small and says nothing that `dict_of` looks for, written in one call; None for others.

    What a run's metadata holds: few texts and numbers, and lists or dicts of those.
    """
    try:
        json = written(value) if is_flat(value, 1) else None
    except RuntimeError:  # another thread changes it
        return None
    return None if json is None or len(json) > LONGEST_WRITTEN or DATA_IN in json else fragment(json)


LONGEST_WRITTEN = 1_000
DATA_IN = DATA.encode()


def is_flat(value: dict[Any, Any], depth: int) -> bool:
    """Whether a dict holds only what stands in JSON as it is, and containers of that."""
    if "type" in value or "inline_data" in value:
        return False
    for item in value.values():
        kind = type(item)
        if kind is str or kind is int:
            continue
        if kind is tuple or kind is list:
            if not FLAT.issuperset(map(type, item)):
                return False
        elif kind is dict:
            if not depth or not is_flat(item, depth - 1):
                return False
        elif kind not in FLAT and (kind is not float or not isfinite(item)):
            return False
    return True


FLAT = frozenset({str, int, bool, type(None)})


def list_of(value: list[Any], room: list[int], depth: int) -> JsonValue:
    """A list of the builtin class."""
    room[0] -= NODE * len(value)
    if room[0] < 0 or len(value) > ITEMS or depth >= DEPTH:
        raise Unusual
    if len(value) >= MANY and COPIES[type(value[0])] is message:
        return messages_of(value, room)
    out = [COPIES[type(item)](item, room, depth + 1) for item in value.copy()]
    shareable[0] += len(out) >= MANY and type(out[0]) is dict
    return out


def tuple_of(value: tuple[Any, ...], room: list[int], depth: int) -> JsonValue:
    """A tuple of the builtin class, as a list: each run of a graph has two in its metadata."""
    return list_of(list(value[: ITEMS + 1]), room, depth)


def message(value: Any, room: list[int], _depth: int) -> JsonValue:
    """A LangChain message whose content is text; see messages.written."""
    own = value.__dict__
    content, kind, more, about = own["content"], own["type"], own["additional_kwargs"], own["response_metadata"]
    if type(content) is not str or kind not in ROLE_OF or value.__pydantic_extra__:
        raise Unusual
    room[0] -= MESSAGE
    if len(content) > SHORT or not content.isascii():
        content = text(content, room)
    out: dict[str, JsonValue] = {"role": ROLE_OF[kind], "content": content}
    if len(own) > PLAIN_FIELDS:
        if more or own.get("tool_calls") or own.get("invalid_tool_calls") or not USUAL.issuperset(own):
            rest(own, out, more, room)
    elif more and not says_nothing_new(more, None):
        raise Unusual
    if (name := own["name"]) is not None:
        out["name"] = checked(name, room)
    if (identity := own["id"]) is not None:
        out["id"] = checked(identity, room)
    if about:
        if type(about) is not dict:
            raise Unusual
        reason = about.get("finish_reason")
        if type(reason) is str and reason in REASONS:
            out["finish_reason"] = REASONS[reason]
        elif (reason := finish_reason(about)) is not None:
            out["finish_reason"] = known(reason, room)
        if not ELSEWHERE.issuperset(about) and (left := chat.left_out(about)):
            out["left_out"] = list_of(left, room, 0)
    return out


def known(reason: Any, room: list[int]) -> str:
    """Why an answer stopped: what needs nothing done to it is known the next time."""
    plain = checked(reason, room)
    return REASONS.keep(plain, plain) if finish_reason({"finish_reason": plain}) == plain != "" else plain


REASONS: Remembered[str, str] = Remembered(MAX_KINDS, longest=KEY_LENGTH)
"""Reasons that are written as they are: a provider has few."""


def rest(own: dict[str, Any], out: dict[str, JsonValue], more: Any, room: list[int]) -> None:
    """Add the tool calls of a message of the model, and whose answer a message of a tool is."""
    calls = own.get("tool_calls")
    if own.get("invalid_tool_calls") or (more and not says_nothing_new(more, calls)):
        raise Unusual
    if calls:
        out["tool_calls"] = tool_calls(calls, room)
    if not FIELDS.issuperset(own):
        raise Unusual
    for key in OF_TOOL:
        if (item := own.get(key)) is not None:
            out[key] = checked(item, room)


def says_nothing_new(more: Any, calls: Any) -> bool:
    """Whether nothing in a message's `additional_kwargs` changes how it is written."""
    return type(more) is dict and all(chat.is_empty(more[key]) or (calls and is_repeated(more, key)) for key in more)


def is_repeated(more: Any, key: Any) -> bool:
    """Whether this is the provider's own spelling of a message's tool calls."""
    return key in CALLING and all(map(chat.is_dict, chat.as_list(more[key])))


def tool_calls(calls: Any, room: list[int]) -> JsonValue:
    """LangChain's own, in a list; see messages.tool_call."""
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
    room[0] -= NODE * len(values)
    given = values.copy()
    if len(given) >= MANY:
        if not ONLY_MESSAGES.issuperset(map(COPIES.__getitem__, map(type, given))):
            raise Unusual
        shareable[0] += 1
        return conversation(given, room)
    plain = []
    for value in given:
        if COPIES[type(value)] is not message:
            raise Unusual
        plain.append(message(value, room, 0))
    return plain


ONLY_MESSAGES = frozenset({message})


class Conversation(NamedTuple):
    """Messages as they were read, to be known by what they hold. What was read is not to be changed."""

    held: bytes
    plain: list[JsonValue]
    items: list[bytes]
    """The JSON of each."""
    cost: int
    long: int


def conversation(given: list[Any], room: list[int]) -> list[JsonValue]:
    """Messages of which the first are known: with every step of an agent all come again, and one or two more.

    Known by all that they hold, written in one call, and found by the first two texts.
    """
    fields = [*map(FIELDS_OF, given)]
    first = (fields[0]["content"], fields[1]["content"])
    is_told = TEXT.issuperset(map(type, first)) and not any(map(EXTRA_OF, given)) and is_harmless(fields)
    known = CONVERSATIONS.get(first, NONE) if is_told else NONE
    if len(known.plain) > len(given):
        known = NONE
    held = written(fields) if is_told else None
    if held is None or not is_begun(held, known.held, len(given) == len(known.plain)):
        if is_told:
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
TEXT = frozenset({str})


def is_begun(held: bytes, before: bytes, is_all: bool) -> bool:
    """Whether the JSON of a list begins with that of another, or is the same."""
    return held == before if is_all else held.startswith(before[:-1]) and (not before or held[len(before) - 1] == COMMA)


def may_hold_nan(value: Any) -> bool:
    """Whether a null in what a message is known by may be NaN: elsewhere it cannot be where it is read."""
    calls = value.__dict__.get("tool_calls")
    return bool(calls) and b"null" in (written(calls) or b"null")


def items_of(plain: list[JsonValue]) -> list[bytes] | None:
    """The JSON of each item of a list, where that is known."""
    found = ITEMS_OF.get(id(plain))
    return found.items if found is not None and found.plain is plain else None


def forget() -> None:
    """A tree has ended: what was read for it is not kept."""
    CONVERSATIONS.clear()
    ITEMS_OF.clear()


COMMA = ord(",")
NONE = Conversation(b"", [], [], 0, 0)
CONVERSATIONS: Remembered[tuple[str, ...], Conversation] = Remembered(MOST_CONVERSATIONS)
"""Texts of the first two messages → how the conversation went on so far."""
ITEMS_OF: Remembered[int, Conversation] = Remembered(MOST_CONVERSATIONS)
"""Id of a list that was made of one → the same."""


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
            given = fields["message"]
            if COPIES[type(given)] is not message:
                raise Unusual
            found: Any = message(given, room, depth)
            about = fields.get("generation_info")
            if about and "finish_reason" not in found and (reason := finish_reason(about)) is not None:
                found["finish_reason"] = checked(reason, room)
                if len(reason) > SHORT:
                    raise Unusual
            out.append(found)
    if not out or len(out) > ITEMS:
        raise Unusual
    return {"messages": out}


def generation(_value: Any, _room: list[int], _depth: int) -> JsonValue:
    """One of the answers of a result, of which it is read."""
    raise Unusual


def read_by(read: Callable[[Any], Any]) -> Copy:
    """How objects are copied that say their fields, or what they stand for; see walk.Reader."""

    def copy(value: Any, room: list[int], depth: int) -> JsonValue:
        found = read(value)
        if type(found) is Fields:
            return dict_of(found, room, depth)
        if depth >= DEPTH:  # it may stand for itself
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
"""Converter of the walk → how it is done here."""
MODELS = frozenset({message, prompt, result, generation})
"""Those that read a pydantic model's own fields."""


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
    """Whether the fields of a pydantic model, and those beside them, are read without code of the app's classes."""
    own = [DICT_OF(each) for each in MRO_OF(kind)[:-1] if MODULE_OF(each) != "pydantic.main"]
    dicts = [names["__dict__"] for names in own if "__dict__" in names]  # any class without slots has one of Python's
    return all(READING.isdisjoint(names) for names in own) and {types.GetSetDescriptorType}.issuperset(map(type, dicts))


READING = frozenset({"__getattribute__", "__getattr__", "__pydantic_extra__"})
"""What a class has that answers for its fields in a way of its own."""


COPIES: Remembered[type, Copy] = Remembered(MAX_KINDS, copy_of, begin=BUILTIN)
"""Class → how its values are copied."""
