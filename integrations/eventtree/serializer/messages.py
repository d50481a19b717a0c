"""From our neutral messages to the OpenAI chat form that most vendors display. Pure; takes any JSON.

The neutral messages are those of `event.py`. A well-formed one becomes a message as the OpenAI API accepts it; anything
else (a run's inputs may be any JSON) becomes text, and nothing raises:

===========================================  =======================================================================
neutral                                      OpenAI form
===========================================  =======================================================================
content text, or text parts alone            text
parts of several types                       parts: `text`, `image_url`; audio, files, video and bytes that were not
                                             kept become a text part that names them; other dicts stay as they are
no content                                   no `content` key; also for empty text beside tool calls
tool_calls [{id, name, arguments}]           [{id, type, function {name, arguments: text}}]; no id: `call_0`, `call_1`
reasoning, status, finish_reason, id, other  no place; `open_message` keeps them as further keys
===========================================  =======================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

from eventtree.content.messages import ROLES, SPOKEN
from eventtree.event import Event
from eventtree.kinds import JsonValue
from eventtree.pace import paced
from eventtree.serializer.formats import to_json

Message = dict[str, JsonValue]

ADDRESSED = frozenset({"name", "tool_call_id", "tool_calls"})
PLACED = ADDRESSED | {"role", "content"}
"""Keys of a neutral message that the OpenAI form has too."""
CONTAINERS = (dict, list)
MANY = 4
"""Length of a list from which on some of its messages have probably been converted before."""


def as_text(value: JsonValue) -> str:
    """A string unchanged, None as an empty one, anything else as compact JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(value).decode()


def finite(value: JsonValue) -> float | int | None:
    """The value if it is a number that JSON and a float can hold, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


# Content


def text_of(content: JsonValue) -> str:
    """The text of a message's content: parts joined, media named in brackets."""
    if isinstance(content, list):
        return "".join(part_text(part) for part in content)
    return part_text(content) if isinstance(content, dict) else as_text(content)


def part_text(part: JsonValue) -> str:
    """The text of one part."""
    if not isinstance(part, dict):
        return as_text(part)
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if part.get("type") in MEDIA_TYPES:
        return media_text(part)
    return as_text(part)


def media_text(part: Mapping[str, JsonValue]) -> str:
    """A name for a medium that cannot be sent: `[image/png, 1204 bytes, sha256 9f…]` or `[audio https://…]`."""
    words = [as_text(part.get("mime_type") or part.get("type"))]
    if part.get("url"):
        return f"[{words[0]} {as_text(part['url'])}]"
    words += [f"{as_text(part['bytes'])} bytes"] if part.get("bytes") is not None else []
    words += [f"sha256 {as_text(part['sha256'])}"] if part.get("sha256") else []
    return f"[{', '.join(words)}]"


def openai_part(part: JsonValue) -> dict[str, JsonValue]:
    """One part of a message's content."""
    if isinstance(part, dict) and isinstance(part.get("type"), str):
        if part["type"] == "image" and isinstance(part.get("url"), str):
            return {"type": "image_url", "image_url": {"url": part["url"]}}
        if part["type"] not in ("text", *MEDIA_TYPES):
            return part
    return {"type": "text", "text": part_text(part)}


def openai_content(content: JsonValue) -> str | list[dict[str, JsonValue]]:
    """Content as text if all of it is text, else as a list of parts."""
    if not isinstance(content, list):
        return text_of(content)
    parts = [openai_part(part) for part in content]
    if all(part["type"] == "text" for part in parts):
        return "".join(as_text(part.get("text")) for part in parts)
    return parts


MEDIA_TYPES = ("image", "audio", "file", "video")
"""A tuple, not a set: the type of an app's part may be a list or an object."""


# Messages


def openai_message(message: JsonValue, role: str = "user") -> dict[str, Any]:
    """A message with the OpenAI keys only; `role` is for a message without one."""
    if not isinstance(message, dict):
        return {"role": role, "content": openai_content(message)}
    own, content, is_plain = message.get("role"), message.get("content"), ADDRESSED.isdisjoint(message)
    calls = [] if is_plain else openai_tool_calls(message.get("tool_calls"))
    form: dict[str, Any] = {"role": own if isinstance(own, str) and own else role}
    if content is not None and not (calls and content in ("", [])):
        form["content"] = content if isinstance(content, str) else openai_content(content)
    if is_plain:
        return form
    for key in ("name", "tool_call_id"):
        if (named := message.get(key)) is not None and named != "":
            form[key] = as_text(named)
    if calls:
        form["tool_calls"] = calls
    return form


def open_message(message: JsonValue, role: str = "user") -> dict[str, Any]:
    """A message in OpenAI form that keeps its other keys, for vendors that take any."""
    if type(message) is dict and ADDRESSED.isdisjoint(message) and None not in message.values():
        own, content = message.get("role"), message.get("content")
        if type(content) is type(own) is str and own:
            return {"role": own, "content": content, **message}  # as most are, and as all below would have it
    form = openai_message(message, role)
    if isinstance(message, dict) and not message.keys() <= PLACED:
        form.update({key: value for key, value in message.items() if key not in PLACED and value is not None})
    return form


def openai_tool_calls(calls: JsonValue) -> list[dict[str, Any]]:
    """Tool calls with their arguments as text."""
    return [openai_tool_call(call, at) for at, call in enumerate(calls)] if isinstance(calls, list) else []


def openai_tool_call(call: JsonValue, at: int) -> dict[str, Any]:
    """The tool call at index `at` of its message."""
    if not isinstance(call, dict):
        call = {"name": "unknown", "arguments": call}
    inner = call.get("function")
    named = inner if isinstance(inner, dict) else call
    function = {"name": as_text(named.get("name")) or "unknown", "arguments": as_text(named.get("arguments")) or "{}"}
    return {"id": as_text(call.get("id")) or f"call_{at}", "type": "function", "function": function}


def is_message(value: JsonValue) -> bool:
    """Whether a value is a neutral message (event.py)."""
    if not isinstance(value, dict) or "role" not in value or not isinstance(value["role"], str):
        return False
    return "content" in value or "tool_calls" in value


def is_messages(value: JsonValue) -> bool:
    """Whether a value is a list of messages, at least one."""
    return isinstance(value, list) and bool(value) and all(map(is_message, value))


NEAREST = {"developer": "system", "function": "tool"}
"""Roles that not every vendor has → the nearest role."""


def role_among(allowed: Collection[str], role: JsonValue) -> str | None:
    """The role, under any of its names, as one of a vendor's roles; None if the vendor has no such role."""
    name = role.lower() if isinstance(role, str) else ""
    if name in allowed and name not in ROLES:
        return name
    neutral = ROLES.get(name, name)
    return next((known for known in (neutral, NEAREST.get(neutral)) if known in allowed), None)


def has_short_messages(inputs: JsonValue, are_messages: Callable[[JsonValue], bool] = is_messages) -> bool:
    """Whether a run's inputs have `messages` in LangGraph's short forms: pairs of role and content, or bare texts."""
    messages = inputs.get("messages") if isinstance(inputs, dict) else None
    if not isinstance(messages, list) or not messages or are_messages(messages):
        return False
    return all(isinstance(item, str) or is_pair(item) or is_message(item) for item in messages)


def is_pair(value: JsonValue) -> bool:
    """Whether a value is LangGraph's pair of a role and a content."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in SPOKEN


def spelled_out(inputs: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Inputs with short `messages` written out as neutral ones."""
    messages = [
        {"role": ROLES.get(item[0], item[0]), "content": item[1]} if is_pair(item) else with_role(item, "user")
        for item in inputs["messages"]
    ]
    return {**inputs, "messages": messages}


class Forms:
    """The messages of one tree in the vendors' forms, each converted once.

    Every step of an agent has all the messages of earlier steps in its inputs, and the fold uses the same object for
    each. So fifty steps have a hundred messages to convert, not a thousand. Several vendors take the same form.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._messages: dict[int, JsonValue] = {}
        """Values that are messages, by identity."""
        self._known: dict[Any, dict[int, tuple[JsonValue, Any]]] = {}
        """Form → identity of a message → the message, which is kept alive so, and its form."""
        self.whole: dict[int, tuple[JsonValue, JsonValue]] = {}
        """Identity of inputs or outputs → these, and their `openai_form`."""

    def are_messages(self, value: JsonValue) -> bool:
        """`is_messages`, checking only messages that were not checked before."""
        if not isinstance(value, list) or len(value) < MANY:
            return is_messages(value)
        seen = self._messages
        for message in paced(value):
            if id(message) not in seen:
                if not is_message(message):
                    return False
                seen[id(message)] = message
        return True

    def of(self, messages: Sequence[JsonValue], form: Callable[[Any], Any]) -> list[Any]:
        """Each message in a form. Do not change the results: others get the same objects."""
        if len(messages) < MANY:
            return [form(message) for message in messages]
        known = self._known.setdefault(form, {})
        for message in paced(messages):
            if id(message) not in known:
                known[id(message)] = (message, form(message))
        return [known[one][1] for one in map(id, messages)]


def openai_form(value: JsonValue, forms: Forms) -> JsonValue:
    """Inputs or outputs in OpenAI form, if they are a message, or have messages as items or fields; else unchanged."""
    if type(value) is str:
        return value
    known = forms.whole.get(id(value))
    if known is None:
        known = forms.whole[id(value)] = (value, _openai_form(value, forms))
    return known[1]


def _openai_form(value: JsonValue, forms: Forms) -> JsonValue:
    form = openai_messages(value, forms)
    if form is not None or not isinstance(value, dict):
        return value if form is None else form
    holding = {}
    for key, part in value.items():
        if isinstance(part, CONTAINERS) and (form := openai_messages(part, forms)) is not None:
            holding[key] = form
    return {**value, **holding} if holding else value


def openai_messages(value: JsonValue, forms: Forms) -> Message | list[Message] | None:
    """A message, or a list of messages, in OpenAI form; None for anything else."""
    if isinstance(value, dict):
        return open_message(value) if is_message(value) else None
    return forms.of(value, open_message) if isinstance(value, list) and forms.are_messages(value) else None


# A model's messages, in and out

ROLE_OF = itemgetter("role")


def messages_in(event: Event, are_messages: Callable[[JsonValue], bool] = is_messages) -> list[Message]:
    """The messages in a model's inputs; any other inputs are one user message. Each has a `role`."""
    return gathered(event.inputs, "user", ("messages", "prompt", "prompts"), are_messages)


def messages_out(event: Event) -> list[Message]:
    """The messages in a model's outputs, one for each generation; text is an assistant message. Each has a `role`."""
    return gathered(event.outputs, "assistant", ("messages", "texts", "text"))


def gathered(
    value: JsonValue, role: str, keys: Sequence[str], are_messages: Callable[[JsonValue], bool] = is_messages
) -> list[Message]:
    """The messages under the first of `keys` that has a value, else the value itself as one message."""
    if isinstance(value, dict) and not is_message(value):
        for key in keys:
            if value.get(key) is not None:
                value = value[key]
                break
        else:
            value = value or None
    if are_messages(value) and all(map(ROLE_OF, value)):
        return list(value)  # the usual case
    return [with_role(item, role) for item in flat(value)]


def flat(value: JsonValue) -> list[JsonValue]:
    """The items of a list and of the lists in it; a lone value as one item, None as no item."""
    found, pending = [], [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        elif item is not None:
            found.append(item)
    return found


def with_role(item: JsonValue, role: str) -> Message:
    """The item as a message that names its role."""
    if not isinstance(item, dict):
        return {"role": role, "content": as_text(item)}
    named = item.get("role")
    if named and isinstance(named, str):
        return item
    is_roleless = "content" in item or "tool_calls" in item
    return {**item, "role": role} if is_roleless else {"role": role, "content": as_text(item)}


# Tools


def tools_of(event: Event) -> list[dict[str, Any]]:
    """The tools offered to a model (`params["tools"]`) in OpenAI form, whatever provider's form they have."""
    tools = event.params.get("tools") if event.params else None
    return [] if tools is None else [form for tool in flat(tools) for form in openai_tools(tool)]


def openai_tools(tool: JsonValue) -> list[dict[str, Any]]:
    """One tool in OpenAI form; several if it is Google's list of declarations."""
    if not isinstance(tool, dict):
        return [{"type": "function", "function": {"name": as_text(tool)}}]
    declared = tool.get("function_declarations")
    if isinstance(declared, list):
        return [form for item in flat(declared) for form in openai_tools(item)]
    if isinstance(tool.get("function"), dict):
        return [{**tool, "type": "function"}]
    return [function_tool(tool)] if isinstance(tool.get("name"), str) and is_function(tool) else [tool]


def is_function(tool: Mapping[str, JsonValue]) -> bool:
    """Whether a named tool is a function, not a tool that the provider runs (a web search)."""
    return tool.get("type") in (None, "function", "custom") or any(key in tool for key in SCHEMA_KEYS)


def function_tool(tool: Mapping[str, JsonValue]) -> dict[str, Any]:
    """A function from a flat tool: name, description, and a schema under the provider's own key."""
    schema = next((tool[key] for key in SCHEMA_KEYS if isinstance(tool.get(key), dict)), None)
    function = {"name": tool["name"], "description": tool.get("description"), "parameters": schema}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema", "args_schema")
"""OpenAI, Anthropic, Bedrock, LangChain."""
