"""The template of a prompt's run, from LangChain's serialized prompt: its text, or its messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eventtree.content.messages import ROLES, SPOKEN
from eventtree.langchain.classify import class_of
from eventtree.recording.pipeline import Params, Prepared
from eventtree.remembered import Remembered

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline

DEFAULT_FORMAT = "f-string"
LONGEST = 10_000
"""Characters of a prompt that is remembered."""
PREPARED: Remembered[tuple[str | None, ...], Prepared] = Remembered(64)
"""Texts of a prompt's messages → its params: one prompt is used again and again."""


def prepared(serialized: Any, pipeline: Pipeline) -> Any:
    """The params of a prompt, for a record. Those of the usual form are converted once, and remembered."""
    texts = _texts(serialized) if pipeline.is_ample else ()
    if not texts:
        return params_of(serialized)
    found = PREPARED.get(texts)
    if found is None:
        found = Prepared(pipeline.part("params", params_of(serialized)))
        if sum(len(text or "") for text in texts) <= LONGEST:
            PREPARED.keep(texts, found)
    return found


def _texts(serialized: Any) -> tuple[str | None, ...]:
    """The texts that determine the params of a usual chat prompt; empty for any other."""
    found: list[str | None] = []
    try:
        given = serialized["kwargs"]
        if given.get("partial_variables") or "template" in given or "input_variables" not in given:
            return ()
        for one in given["messages"]:
            own = one["kwargs"]
            inner = own["prompt"]["kwargs"]
            name, role, text, written_in = one["id"][-1], own.get("role"), inner["template"], inner["template_format"]
            if not type(name) is type(text) is type(written_in) is type(name if role is None else role) is str:
                return ()
            found += (name, role, text, written_in)
    except (LookupError, TypeError, AttributeError):
        return ()
    return tuple(found)


def params_of(serialized: Any) -> Params | None:
    """`template` (text, or `[{"role", "content"}]`), and the prompt's own `partial_variables`.

    None if it is no prompt, or cannot be serialized.
    """
    given = _arguments(serialized)
    if "template" in given:
        template: Any = given["template"]
        written_in = given.get("template_format")
    elif isinstance(given.get("messages"), list) and "input_variables" in given:
        template = [_message(one) for one in given["messages"]]
        written_in = _format_of(given["messages"])
    else:
        return None
    found = {"template": template, "partial_variables": given.get("partial_variables") or None}
    if written_in != DEFAULT_FORMAT:
        found["template_format"] = written_in
    return Params({key: value for key, value in found.items() if value is not None})


def _message(serialized: Any) -> dict[str, Any]:
    given = _arguments(serialized)
    name = class_of(serialized) or "unknown"
    if name == "MessagesPlaceholder":
        content: Any = f"{{{given.get('variable_name')}}}"
    elif isinstance(given.get("prompt"), list):
        content = [_arguments(one).get("template", _arguments(one)) for one in given["prompt"]]
    elif "prompt" in given:
        content = _arguments(given["prompt"]).get("template")
    else:
        content = given.get("content")
    # The class of a message, or of a message's template. A placeholder stands for the messages of a variable.
    kind = name.removesuffix("PromptTemplate").removesuffix("Message").removeprefix("Messages").lower()
    role = ROLES.get(kind, kind) if kind in SPOKEN or kind == "placeholder" else given.get("role") or name
    return {"role": role, "content": content}


def _format_of(messages: list[Any]) -> str:
    """The format of the messages' templates; all have the same."""
    prompts = (_arguments(_arguments(one).get("prompt")) for one in messages)
    return next((prompt["template_format"] for prompt in prompts if "template_format" in prompt), DEFAULT_FORMAT)


def _arguments(serialized: Any) -> Mapping[str, Any]:
    given = serialized.get("kwargs") if isinstance(serialized, dict) else None
    return given if isinstance(given, dict) else {}
