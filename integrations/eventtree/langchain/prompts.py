"""The template of a prompt's run, from what LangChain serializes of the prompt: its text, or its messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventtree.content.messages import ROLES, SPOKEN
from eventtree.langchain.classify import class_of

DEFAULT_FORMAT = "f-string"


def params_of(serialized: Any) -> dict[str, Any] | None:
    """`template` (text, or `[{"role", "content"}]`), and what the prompt already knows in `partial_variables`.

    None for what is no prompt, or one that cannot be serialized.
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
    return {key: value for key, value in found.items() if value is not None}


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
    """What the messages' templates are written in; they are all alike."""
    prompts = (_arguments(_arguments(one).get("prompt")) for one in messages)
    return next((prompt["template_format"] for prompt in prompts if "template_format" in prompt), DEFAULT_FORMAT)


def _arguments(serialized: Any) -> Mapping[str, Any]:
    given = serialized.get("kwargs") if isinstance(serialized, dict) else None
    return given if isinstance(given, dict) else {}
