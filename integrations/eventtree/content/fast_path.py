"""The usual values, copied by a few short functions: JSON of a modest size, and LangChain's messages of plain text.

What comes out is what the walk (walk.py) makes of the same value, at a fifth of the time; the tests compare the two.
Whatever is not usual is refused, and the walk does it from the start. Without a redactor only: with one the time goes
into redacting. Runs no code of the user.

`room` is a list of one number: the characters still welcome. Containers look at it before they are entered, which
bounds the time, also where a list contains itself; whoever calls looks at it in the end. Texts up to `SHORT` count by
the items that they are.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from math import isfinite
from operator import itemgetter
from typing import Any, Final

from eventtree.content import framework_values, python_values
from eventtree.content import messages as chat
from eventtree.content.finish import finish_reason
from eventtree.content.messages import CALL_ARGUMENTS, CALL_ID, CALL_NAME, REST, ROLES, SPOKEN, first
from eventtree.content.parts import TYPES
from eventtree.content.walk import CONVERTERS, LONG, MANY, MAX_KINDS, SHORT, Limits, clean, fields_of, shareable, slot
from eventtree.diagnostics import DICT_OF, MRO_OF
from eventtree.event import JsonValue
from eventtree.remembered import Remembered

NOT_SIMPLE: Final = object()
"""Returned for a value that the walk has to do."""
DEPTH = 8
ITEMS = 1_000
"""Most items of one container."""
NODE = 27
"""Characters that an item counts for beside its text: its quotes, comma and marks."""
SMALL = 1 << 53
LIST = frozenset({list})
WORDS = frozenset({type(None), bool})
DATA = "data:"
"""Beginning of a URL that holds the file itself."""
BASIC = itemgetter("content", "type", "additional_kwargs", "response_metadata", "name", "id")
NAMES = ("name", "id")
USUAL = frozenset(chat.KNOWN) - (frozenset(REST) - {*NAMES})
"""Fields of which nothing but these is taken as it is: only a tool's message has others."""
ROLE_OF: dict[Any, str] = {role: ROLES.get(role, role) for role in SPOKEN}
FIELDS = frozenset(chat.KNOWN)
CALLING = frozenset({"tool_calls", "function_call"})
"""Keys of `additional_kwargs` whose dicts say nothing new in a message that has `tool_calls` itself."""

Copy = Callable[[Any, list[int], int], JsonValue]


def room_in(limits: Limits) -> int:
    """Characters of a value that may be copied here: none where a limit is so narrow that it may cut such a value."""
    is_ample = limits.max_depth > DEPTH and limits.max_items >= ITEMS
    return min(limits.max_bytes, limits.max_nodes * NODE) if is_ample else 0


def itself(value: JsonValue, _room: list[int], _depth: int) -> JsonValue:
    """None, True and False."""
    return value


def whole(value: int, _room: list[int], _depth: int) -> JsonValue:
    """An int that every reader of JSON follows."""
    return value if -SMALL < value < SMALL else NOT_SIMPLE


def number(value: float, _room: list[int], _depth: int) -> JsonValue:
    """A float that JSON has a number for."""
    return value if isfinite(value) else NOT_SIMPLE


def text(value: str, room: list[int], _depth: int = 0) -> JsonValue:
    """A text of the builtin class; a long one may be the data URL of a file."""
    room[0] -= len(value)
    if len(value) > SHORT:
        if value.startswith(DATA):
            return NOT_SIMPLE
        shareable[0] += len(value) > LONG
    return value if value.isascii() else clean(value)


def text_like(value: str, room: list[int], _depth: int) -> JsonValue:
    """A text of a class that inherits, such as LangChain's."""
    return text(str.__str__(value), room)


def dict_of(value: dict[Any, Any], room: list[int], depth: int) -> JsonValue:
    """A dict of the builtin class, whose keys are text. One with a `type` may describe a file; see parts.from_dict."""
    if depth >= DEPTH or len(value) > ITEMS:
        return NOT_SIMPLE
    out = value.copy()
    if not out:
        return out
    names = "".join(out)  # raises where a key is no text
    room[0] -= NODE * len(out) + len(names)
    if room[0] < 0 or not names.isascii():
        return NOT_SIMPLE
    if "type" in out or "inline_data" in out:
        kind = out.get("type", "")
        if type(kind) is not str or kind in TYPES or "inline_data" in out:
            return NOT_SIMPLE
    for key, item in out.items():
        if type(key) is not str:
            return NOT_SIMPLE
        kind = type(item)
        if kind is str:
            if len(item) <= SHORT and item.isascii():
                continue
        elif kind in WORDS:
            continue
        plain = out[key] = COPIES[kind](item, room, depth + 1)
        if plain is NOT_SIMPLE:
            return NOT_SIMPLE
    return out


def list_of(value: list[Any], room: list[int], depth: int) -> JsonValue:
    """A list of the builtin class."""
    if len(value) > ITEMS or depth >= DEPTH:
        return NOT_SIMPLE
    room[0] -= NODE * len(value)
    if room[0] < 0:
        return NOT_SIMPLE
    out = [COPIES[type(item)](item, room, depth + 1) for item in value.copy()]
    shareable[0] += len(out) >= MANY and type(out[0]) is dict
    return NOT_SIMPLE if NOT_SIMPLE in out else out


def tuple_of(value: tuple[Any, ...], room: list[int], depth: int) -> JsonValue:
    """A tuple of the builtin class, as a list: each run of a graph has two in its metadata."""
    return NOT_SIMPLE if len(value) > ITEMS else list_of(list(value), room, depth)


def extras_of(kind: type) -> Callable[[Any], Any]:
    """How the fields are read that a pydantic model has beside those of its class, past the class's own code."""
    found = next((DICT_OF(each).get("__pydantic_extra__") for each in MRO_OF(kind)
                  if "__pydantic_extra__" in DICT_OF(each)), None)  # fmt: skip
    if type(found) is types.MemberDescriptorType:
        return found.__get__
    return lambda value: slot(value, "__pydantic_extra__")


EXTRAS: Remembered[type, Callable[[Any], Any]] = Remembered(MAX_KINDS, extras_of)
OWN = object.__getattribute__


def message(value: Any, room: list[int], _depth: int) -> JsonValue:
    """A LangChain message whose content is text; see messages.written."""
    own = OWN(value, "__dict__")  # `fields_of`
    content, kind, more, about, name, identity = BASIC(own)
    role = ROLE_OF.get(kind)
    if type(content) is not str or role is None or EXTRAS[type(value)](value):
        return NOT_SIMPLE
    room[0] -= 6 * NODE
    if len(content) > SHORT or not content.isascii():
        content = text(content, room)
    out: dict[str, JsonValue] = {"role": role, "content": content}
    get = own.get
    calls = get("tool_calls")
    if get("invalid_tool_calls") or (more and not is_plain(more, calls)):
        return NOT_SIMPLE
    if calls:
        out["tool_calls"] = tool_calls(calls, room)
    taken: tuple[str, ...] = () if name is identity is None else NAMES
    if not USUAL.issuperset(own):
        if not FIELDS.issuperset(own):
            return NOT_SIMPLE
        taken = REST
    for key in taken:
        item = get(key)
        if item is not None:
            if type(item) is not str:
                return NOT_SIMPLE
            out[key] = item if len(item) <= SHORT and item.isascii() else text(item, room)
    if about:
        reason = finish_reason(about)
        if reason is not None:
            if type(reason) is not str:
                return NOT_SIMPLE
            out["finish_reason"] = text(reason, room)
        if left := chat.left_out(about):
            out["left_out"] = list_of(left, room, 0)
    return NOT_SIMPLE if NOT_SIMPLE in out.values() else out


def is_plain(more: Any, calls: Any) -> bool:
    """Whether nothing in a message's `additional_kwargs` changes how it is written."""
    return type(more) is dict and all(chat.is_empty(more[key]) or (calls and is_repeated(more, key)) for key in more)


def is_repeated(more: Any, key: Any) -> bool:
    """Whether this is the provider's own spelling of a message's tool calls."""
    return key in CALLING and all(map(chat.is_dict, chat.as_list(more[key])))


def tool_calls(calls: Any, room: list[int]) -> JsonValue:
    """LangChain's own, in a list."""
    out = [tool_call(call, room) for call in calls] if type(calls) is list else [NOT_SIMPLE]
    return NOT_SIMPLE if NOT_SIMPLE in out else out


def tool_call(call: Any, room: list[int]) -> JsonValue:
    """One of LangChain's own; see messages.tool_call."""
    if type(call) is not dict or "function" in call or "error" in call or not chat.CALL_FIELDS.issuperset(call):
        return NOT_SIMPLE
    identity, name = first(call, CALL_ID), first(call, CALL_NAME)
    arguments = first(call, CALL_ARGUMENTS)
    if type(identity) is not str or type(name) is not str or type(arguments) is not dict:
        return NOT_SIMPLE
    room[0] -= 4 * NODE
    out = {"id": text(identity, room), "name": text(name, room), "arguments": dict_of(arguments, room, 1)}
    return NOT_SIMPLE if NOT_SIMPLE in out.values() else out


def messages_of(values: Any, room: list[int], depth: int = 0) -> JsonValue:
    """A list of LangChain messages, at least one."""
    if type(values) is not list or not 0 < len(values) <= ITEMS:
        return NOT_SIMPLE
    room[0] -= NODE * len(values)
    out = []
    for value in values.copy():
        if room[0] < 0 or COPIES[type(value)] is not message:
            return NOT_SIMPLE
        found = message(value, room, depth)
        if found is NOT_SIMPLE:
            return NOT_SIMPLE
        out.append(found)
    shareable[0] += len(out) >= MANY
    return out


def prompt(value: Any, room: list[int], depth: int) -> JsonValue:
    """The value of a LangChain chat prompt."""
    asked = messages_of(fields_of(value).get("messages"), room, depth + 1)
    return asked if asked is NOT_SIMPLE else {"messages": asked}


def result(value: Any, room: list[int], depth: int) -> JsonValue:
    """The answer of a LangChain chat model; see framework_values.from_result."""
    rows = fields_of(value).get("generations")
    if type(rows) is not list or not LIST.issuperset(map(type, rows)):
        return NOT_SIMPLE
    answers = [answer for row in rows for answer in row]
    room[0] -= NODE * len(answers)
    if room[0] < 0 or len(answers) > ITEMS:
        return NOT_SIMPLE
    out = [generation(answer, room, depth) for answer in answers]
    return {"messages": out} if out and NOT_SIMPLE not in out else NOT_SIMPLE


def generation(value: Any, room: list[int], depth: int) -> JsonValue:
    """One answer of a chat model; see framework_values.from_generation."""
    if CONVERTERS[type(value)] is not framework_values.from_generation:
        return NOT_SIMPLE
    fields = fields_of(value)
    given = fields.get("message")
    if COPIES[type(given)] is not message:
        return NOT_SIMPLE
    out: Any = message(given, room, depth)
    reason = finish_reason(fields.get("generation_info"))
    if out is NOT_SIMPLE or reason is None or "finish_reason" in out:
        return out
    if type(reason) is not str or len(reason) > SHORT:
        return NOT_SIMPLE
    out["finish_reason"] = text(reason, room)
    return out


def query(value: Any, room: list[int], _depth: int) -> JsonValue:
    """A LlamaIndex query that is a text; see framework_values.from_query."""
    get = fields_of(value).get
    asked = get("query_str")
    if type(asked) is not str or get("image_path") is not None or get("custom_embedding_strs") is not None:
        return NOT_SIMPLE
    return text(asked, room)


def scored(value: Any, room: list[int], depth: int) -> JsonValue:
    """A LlamaIndex node with its score; see framework_values.from_scored."""
    fields = fields_of(value)
    found, score = fields.get("node"), fields.get("score")
    out: Any = node(found, room, depth) if COPIES[type(found)] is node else NOT_SIMPLE
    if out is NOT_SIMPLE or score is None:
        return out
    if type(score) is not float or not isfinite(score):
        return NOT_SIMPLE
    return {"id": out["id"], "text": out["text"], "score": score, **out}


def node(value: Any, room: list[int], depth: int) -> JsonValue:
    """A LlamaIndex node that is text; see framework_values.node."""
    fields = fields_of(value)
    identity, resource, metadata = fields.get("id_"), fields.get("text_resource"), fields.get("metadata")
    words = fields.get("text") if resource is None else fields_of(resource).get("text")
    if type(identity) is not str or type(words) is not str or type(metadata) is not dict:
        return NOT_SIMPLE
    if any(fields.get(name) is not None for name in framework_values.MEDIA):
        return NOT_SIMPLE
    room[0] -= 3 * NODE
    about = dict_of(metadata, room, depth + 1)
    out = {"id": text(identity, room), "text": text(words, room), "metadata": about}
    return NOT_SIMPLE if NOT_SIMPLE in out.values() else out


def response(value: Any, room: list[int], depth: int) -> JsonValue:
    """The answer of a LlamaIndex engine, unless it is a stream; see framework_values.from_response."""
    fields = fields_of(value)
    answer, nodes = fields.get("response"), fields.get("source_nodes")
    if type(answer) is not str or "response_txt" in fields or not (nodes is None or type(nodes) is list):
        return NOT_SIMPLE
    out: dict[str, JsonValue] = {"response": text(answer, room)}
    if nodes:
        out["sources"] = list_of([framework_values.source(node) for node in nodes], room, depth + 1)
    return NOT_SIMPLE if NOT_SIMPLE in out.values() else out


def unusual(_value: Any, _room: list[int], _depth: int) -> JsonValue:
    """Anything else."""
    return NOT_SIMPLE


KNOWN: dict[Any, Copy] = {
    chat.from_langchain: message,
    python_values.from_str: text_like,
    framework_values.from_prompt: prompt,
    framework_values.from_result: result,
    framework_values.from_generation: generation,
    framework_values.from_node: node,
    framework_values.from_scored: scored,
    framework_values.from_query: query,
    framework_values.from_response: response,
}
"""Converter of the walk → how it is done here."""


BUILTIN: dict[type, Copy] = {
    str: text, dict: dict_of, list: list_of, tuple: tuple_of, type(None): itself, bool: itself, int: whole,
    float: number,
}  # fmt: skip


def copy_of(kind: type) -> Copy:
    """The copy function for another class, found by the walk's converter for it."""
    return KNOWN.get(CONVERTERS[kind], unusual)


COPIES: Remembered[type, Copy] = Remembered(MAX_KINDS, copy_of, begin=BUILTIN)
"""Class → how its values are copied."""


def copied_documents(values: Any, room: list[int]) -> JsonValue:
    """A list of LlamaIndex nodes."""
    if type(values) is not list or not {node, scored}.issuperset(COPIES[kind] for kind in set(map(type, values))):
        return NOT_SIMPLE
    return list_of(values, room, 0)
