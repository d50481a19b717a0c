"""Code that both generations of Humanloop's API share: settings, messages, model settings, and `metadata`.

The hosted service closed in September 2025: set `base_url` (or HUMANLOOP_API_URL, HUMANLOOP_BASE_URL, HUMANLOOP_URL) to
an installation of your own, with or without the version path. The default still names the old host.

Neither API has fields for tags, a session's name, a status, notes, the run's own name, the model that answered under
another name than it was asked for, cached tokens, the time to the first token or a traceback. The function `metadata`
puts them into a log's field of that name, beside the run's own metadata. If the user has a key of the same name, ours
becomes `eventtree.<key>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, ClassVar

from eventtree.event import Event
from eventtree.kinds import MODEL, OK, JsonValue
from eventtree.serializer import view as views
from eventtree.serializer.messages import (
    Forms,
    as_text,
    finite,
    is_message,
    is_messages,
    messages_in,
    messages_out,
    openai_message,
    role_among,
    text_of,
    tools_of,
)
from eventtree.serializer.times import first_token
from eventtree.serializer.vendor import Vendor, without_nulls
from eventtree.serializer.view import TreeView

Fields = dict[str, Any]


class Humanloop(Vendor):
    """Settings of both generations."""

    env: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "api_key": ("HUMANLOOP_API_KEY", "HUMANLOOP_KEY"),
        "base_url": ("HUMANLOOP_API_URL", "HUMANLOOP_BASE_URL", "HUMANLOOP_URL"),
        "project": ("HUMANLOOP_PROJECT",),
    }
    version: ClassVar[str]
    """The last part of the base url: v4 or v5."""

    project: str = "default"
    """v5: the folder of the Files; v4: the project. The first log creates it."""

    save: bool = True
    """False asks Humanloop to keep no inputs and outputs."""
    provider_payloads: bool = False
    """Send model calls as `provider_request` and `provider_response` too, as the framework has them, not as they were
    sent to the provider.
    """

    @classmethod
    def normal_url(cls, url: str) -> str:
        """`url` with this generation's version path instead of its own."""
        return re.sub(r"/v[45]$", "", url.rstrip("/")) + f"/{cls.version}"

    def auth(self) -> dict[str, str]:
        """The header that carries the key."""
        return {"X-API-KEY": self.key}

    def advice(self) -> tuple[str, ...]:
        """A warning if the host is the default, which has closed."""
        if self.base_url != self.normal_url(self.default_url):
            return ()
        return ("the hosted service closed in September 2025: set base_url=… or HUMANLOOP_API_URL to a host of yours",)

    def identity(self) -> tuple[str, ...]:
        """The project is part of the destination."""
        return (*super().identity(), self.project)


@lru_cache(maxsize=1024)
def slug(name: str) -> str:
    """A name as one part of a path: letters, digits, `_ . -`, at most 100 characters."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "unnamed"


# Messages

ROLES = frozenset({"user", "assistant", "system", "tool"})
"""Roles of both APIs in every edition (`developer` exists only since 0.8.38)."""

DETAILS = ("high", "low", "auto")


def message(value: JsonValue, role: str = "user") -> Fields:
    """A message in Humanloop's form: no nulls, parts of text and images only; an unknown role becomes the `name`."""
    form = openai_message(value, role)
    known = role_among(ROLES, form["role"])
    if known is None:
        form.setdefault("name", form["role"])
    form["role"] = known or "user"
    if isinstance(form.get("content"), list):
        form["content"] = [part(item) for item in form["content"]]
    return form


def part(value: Mapping[str, JsonValue]) -> Fields:
    """A part of a message: text, or an image by its URL; anything else as text."""
    image = value.get("image_url") if value.get("type") == "image_url" else None
    known = {"url": image} if isinstance(image, str) else image
    if isinstance(known, dict) and isinstance(known.get("url"), str):
        detail = next((name for name in DETAILS if name == known.get("detail")), None)
        return {"type": "image_url", "image_url": without_nulls({"url": known["url"], "detail": detail})}
    return {"type": "text", "text": text_of(value)}


def asked(event: Event, forms: Forms) -> tuple[list[Fields] | None, Fields]:
    """A run's inputs as (messages, the rest as an object). Messages are None if the inputs have none."""
    inputs = event.inputs
    listed = inputs.get("messages") if isinstance(inputs, dict) else inputs
    if listed is None or not (forms.are_messages(listed) or (event.kind is MODEL and isinstance(listed, list))):
        return None, as_object(inputs)
    rest = {key: value for key, value in inputs.items() if key != "messages"} if isinstance(inputs, dict) else {}
    return forms.of(messages_in(event, forms.are_messages), message), rest


def answered(event: Event) -> tuple[Fields | None, str | None]:
    """A run's outputs as (message, text), of a model its first generation. The message is None if there is none.

    It is the output itself, or the last assistant message of its `messages`. The text is the string that both APIs
    require: a message's text, else the output as text or JSON.
    """
    outputs, found = event.outputs, None
    if isinstance(outputs, str) and event.kind is not MODEL:
        return None, outputs
    text: str | None
    messages: Any = outputs.get("messages") if isinstance(outputs, dict) else outputs
    if is_message(outputs):
        found = outputs
    elif is_messages(messages):
        found = next((one for one in reversed(messages) if role_among(ROLES, one["role"]) == "assistant"), None)
    if event.kind is MODEL and (answers := messages_out(event)):
        found, text = (answers[0] if found else None), text_of(answers[0].get("content"))
    elif found is outputs:
        text = None if outputs is None else text_of(outputs.get("content"))
    else:
        text = as_text(outputs)
    return message(found, "assistant") if found else None, text


def as_object(value: JsonValue) -> Fields:
    """An object unchanged, None as {}, anything else under `input`."""
    if isinstance(value, dict):
        return value
    return {} if value is None else {"input": value}


def called(event: Event) -> str:
    """The event's name, never blank."""
    return event.name.strip() or str(event.kind)


def asked_model(event: Event) -> str | None:
    """The model by the name it was asked for; the name in the answer may differ from call to call."""
    return event.asked_model or event.model


def model(event: Event) -> str:
    """The model's name, which both APIs require."""
    return (asked_model(event) or "").strip() or "unknown"


# Model settings: other settings make a new version of a File, so nothing of a single call may be among them

PROVIDERS = {
    "openai": "openai", "azure": "openai_azure", "azure_openai": "openai_azure", "openai_azure": "openai_azure",
    "anthropic": "anthropic", "bedrock": "bedrock", "amazon_bedrock": "bedrock", "aws": "bedrock",
    "aws_bedrock": "bedrock", "bedrock_converse": "bedrock", "cohere": "cohere", "deepseek": "deepseek",
    "google": "google", "google_genai": "google", "google_gla": "google", "google_vertexai": "google",
    "vertexai": "google", "vertex_ai": "google", "gemini": "google", "groq": "groq", "replicate": "replicate",
    "mock": "mock",
}  # fmt: skip
"""Frameworks' names of providers → Humanloop's. Others are not sent as `provider`, but beside it."""


def provider(event: Event, known: Collection[str]) -> str | None:
    """The event's provider, if it is one of `known`."""
    name = PROVIDERS.get(re.sub(r"[^a-z]+", "_", (event.provider or "").lower()))
    return name if name in known else None


def whole(value: JsonValue) -> int | None:
    """The value if it is a whole number."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def tokens(value: JsonValue) -> int | None:
    """The value if it can be a limit on tokens; -1 means no limit."""
    limit = whole(value)
    return limit if limit is not None and limit >= -1 else None


def stops(value: JsonValue) -> str | list[str] | None:
    """The value if it is a text or a list of texts."""
    texts = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
    return value if isinstance(value, str) else texts or None


def response_format(value: JsonValue) -> Fields | None:
    """The value if it asks for JSON in Humanloop's form."""
    if not isinstance(value, dict) or value.get("type") not in ("json_object", "json_schema"):
        return None
    schema = value.get("json_schema")
    return {"type": value["type"], **({"json_schema": schema} if isinstance(schema, dict) else {})}


def effort(value: JsonValue) -> str | None:
    """The value if it is one of OpenAI's words."""
    return value if isinstance(value, str) and value in ("low", "medium", "high") else None


Check = Callable[[JsonValue], Any]

SETTINGS: Mapping[str, tuple[tuple[str, ...], Check]] = {
    "max_tokens": (("max_tokens", "max_completion_tokens", "max_output_tokens"), tokens),
    "temperature": (("temperature",), finite),
    "top_p": (("top_p",), finite),
    "stop": (("stop", "stop_sequences"), stops),
    "presence_penalty": (("presence_penalty",), finite),
    "frequency_penalty": (("frequency_penalty",), finite),
    "seed": (("seed",), whole),
    "response_format": (("response_format",), response_format),
    "reasoning_effort": (("reasoning_effort",), effort),
}
"""Humanloop's field → names of the parameter, and the function that checks its value. Others go to `metadata`."""

NAMED_ELSEWHERE = frozenset({"model", "model_name", "tools"})


def settings(event: Event, fields: Collection[str]) -> Fields:
    """The `fields` of a version that the event's parameters set."""
    params = event.params
    if not params:
        return {}
    found: Fields = {}
    for field, (names, check) in SETTINGS.items():
        if field in fields:
            found[field] = next((v for v in (check(params.get(name)) for name in names) if v is not None), None)
    return without_nulls(found)


def unplaced(event: Event, fields: Collection[str]) -> Fields:
    """The parameters that `settings` does not include."""
    if not event.params:
        return {}
    placed = {name for field in settings(event, fields) for name in SETTINGS[field][0]} | NAMED_ELSEWHERE
    return {name: one for name, one in event.params.items() if name not in placed and one is not None}


def tool_functions(event: Event) -> list[Fields]:
    """The tools offered to a model: flat, always with a description. The provider's own tools have a name or type."""
    functions = []
    for tool in tools_of(event):
        given = tool.get("function")
        function = given if isinstance(given, dict) else tool
        name = as_text(function.get("name") or tool.get("type")) or "unknown"
        schema, strict = function.get("parameters"), function.get("strict")
        known = {
            "name": name, "description": as_text(function.get("description")) or name,
            "strict": strict if isinstance(strict, bool) else None,
            "parameters": schema if isinstance(schema, dict) else None,
        }  # fmt: skip
        functions.append(without_nulls(known))
    return functions


# Metadata

USAGE_FIELDS = frozenset({"input_tokens", "output_tokens"})


def metadata(
    event: Event, view: TreeView, more: Mapping[str, JsonValue], placed: Collection[str] = USAGE_FIELDS
) -> Fields:
    """The run's own metadata, then `more` and all values that have no field (token counts in `placed` have one)."""
    known: Fields = {"kind": str(event.kind), "name": event.name, "status": str(event.status)}
    if event.status is not OK and (reason := views.ended(event).get("status_reason")) is not None:
        known["status_reason"] = reason
    known["tree_id"] = event.tree_id
    if (session := view.session_id(event)) is not None:
        known["session_id"] = session
    if event.tags:
        known["tags"] = event.tags
    if event.framework is not None:
        known["framework"] = event.framework
    if event.asked_model or event.usage or event.cost or event.time_to_first_token is not None:
        known |= without_nulls(figures(event, placed))
    if event.error and event.error.traceback is not None:
        known["traceback"] = event.error.traceback
    if event.notes and (notes := views.notes_of(event, without=LOG)):
        known["notes"] = notes
    if view.has_links or more:
        known |= without_nulls({**view.links(event, LINKS), **more})
    own = views.own_metadata(event)
    if own and not own.keys().isdisjoint(known):
        known = {f"eventtree.{key}" if key in own else key: one for key, one in known.items()}
    return {**own, **known} if own else known


def figures(event: Event, placed: Collection[str]) -> Fields:
    """An answer's model, times, tokens and cost, as far as they have no field."""
    usage, cost = views.usage_rest(event, placed), views.cost_of(event.cost) if event.cost else {}
    return {
        "response_model": event.model if event.asked_model else None, "time_to_first_token": first_token(event),
        "usage": None if placed and usage.keys() == {"total_tokens"} else usage or None,
        "cost": {name: cost[name] for name in ("total_usd", "source") if name in cost} or None,
    }  # fmt: skip


LOG = "log"
"""The name of the notes that `eventtree.LogHandler` makes."""


def stdout(event: Event) -> str | None:
    """The log lines that a `LogHandler` recorded during a run."""
    values = [note.value for note in event.notes if note.name == LOG] if event.notes else ()
    lines = [as_text(value.get("line")) if isinstance(value, dict) else as_text(value) for value in values]
    return "\n".join(lines) or None


def payloads(event: Event, forms: Forms) -> Fields:
    """A model call's request and response: messages in OpenAI form, usage in the provider's."""
    inputs = event.inputs if isinstance(event.inputs, dict) else {}
    given = {"prompt": inputs["prompt"]} if is_text_model(event) else {"messages": asked(event, forms)[0]}
    messages = [openai_message(one, "assistant") for one in messages_out(event)]
    used = event.usage.raw if event.usage else None
    response = without_nulls({"model": event.model, "messages": messages or None, "usage": used})
    params = {key: value for key, value in (event.params or {}).items() if value is not None}
    request = without_nulls({**params, "model": params.get("model", asked_model(event)), **given})
    return {"provider_request": request, "provider_response": response if messages else None}


LINKS = ("dataset_id", "experiment", "expected", "scores")
"""Links to a dataset that have no field of their own."""


def tokens_and_cost(event: Event) -> Fields:
    """Tokens and US dollars, in fields of both APIs."""
    usage, cost = event.usage, event.cost
    return {
        "prompt_tokens": usage.input_tokens if usage else None, "output_tokens": usage.output_tokens if usage else None,
        "prompt_cost": float(cost.input_usd) if cost and cost.input_usd is not None else None,
        "output_cost": float(cost.output_usd) if cost and cost.output_usd is not None else None,
    }  # fmt: skip


def rest_of_answer(event: Event) -> Fields:
    """Parts of a model's answer that have no field: further generations, and the reasoning of the first."""
    outputs = event.outputs if event.kind is MODEL and isinstance(event.outputs, dict) else {}
    several: list[Any] = next((outputs[key] for key in ("messages", "texts") if isinstance(outputs.get(key), list)), [])
    first = several[0] if several and isinstance(several[0], dict) else {}
    return {"generations": several if len(several) > 1 else None, "reasoning": first.get("reasoning")}


def finish_reason(event: Event) -> str | None:
    """The finish reason of a model's first generation."""
    answers = messages_out(event) if event.kind is MODEL else []
    reason = answers[0].get("finish_reason") if answers else None
    return reason if isinstance(reason, str) else None


def is_text_model(event: Event) -> bool:
    """Whether a model's inputs are a prompt, not messages."""
    return isinstance(event.inputs, dict) and "prompt" in event.inputs and "messages" not in event.inputs


def datapoint(event: Event, view: TreeView) -> str | None:
    """The id of the dataset row of the tree, on its root."""
    return text_or_none(view.links(event, ("datapoint_id",)).get("datapoint_id")) if view.has_links else None


def text_or_none(value: JsonValue) -> str | None:
    """The value if it is a text that is not blank."""
    return value if isinstance(value, str) and value.strip() else None


GOOD = 0.5
"""From this score on, feedback without a name is a good rating."""


def judgments(feedback: Mapping[str, JsonValue]) -> list[tuple[str, str | float]]:
    """A feedback as pairs of (name, judgment): scores by their names, a nameless one as `rating` good or bad."""
    score, name = feedback.get("score"), text_or_none(feedback.get("name"))
    named = score if isinstance(score, dict) else {name: score} if name else {}
    numbers = {key: views.number(value) for key, value in named.items() if key.strip()}
    found: list[tuple[str, str | float]] = [(key, value) for key, value in numbers.items() if value is not None]
    rating = None if named else views.number(score)
    if rating is not None:
        found.append(("rating", "good" if rating >= GOOD else "bad"))
    words = ((key, as_text(feedback.get(key))) for key in ("correction", "comment"))
    return found + [(key, text) for key, text in words if text.strip()]
