"""An event in the words of OpenTelemetry's GenAI conventions, and what backends read beside them. Pure.

Follows semantic-conventions-genai v0.1.0 (messages: its JSON schemas), with the older spellings that backends still
read alone, and the keys of Langfuse 3.22, LangSmith (2026-08) and MLflow 3.17. Content stands once on a span:
`input.value` and `output.value` hold only what the conventions have no place for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from eventtree.event import Event, JsonValue, Kind
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import (
    MEDIA_TYPES,
    Message,
    as_text,
    finite,
    is_messages,
    messages_in,
    messages_out,
    part_text,
    tools_of,
)
from eventtree.serializer.times import first_token
from eventtree.serializer.view import TreeView

MODELS = frozenset({Kind.MODEL, Kind.EMBEDDING})
TALKS = frozenset({Kind.MODEL, Kind.AGENT})
PRICED = frozenset({*MODELS, Kind.RERANKER})
PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai", "azure_openai": "azure.ai.openai", "azure_ai": "azure.ai.inference",
    "aws": "aws.bedrock", "bedrock": "aws.bedrock", "amazon_bedrock": "aws.bedrock", "bedrock_converse": "aws.bedrock",
    "google": "gcp.gemini", "google_genai": "gcp.gemini", "gemini": "gcp.gemini", "google_gla": "gcp.gemini",
    "vertexai": "gcp.vertex_ai", "google_vertexai": "gcp.vertex_ai", "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai", "mistralai": "mistral_ai", "xai": "x_ai", "x-ai": "x_ai", "watsonx": "ibm.watsonx.ai",
    "ibm": "ibm.watsonx.ai", "moonshot": "moonshot_ai", "moonshotai": "moonshot_ai",
}  # fmt: skip
"""Our names → the well-known ones; all others (openai, anthropic, cohere, groq, deepseek, …) are the same."""
UNKNOWN = "unknown"
"""The provider is required on calls of models; this one is not known."""
OPERATIONS: Mapping[Kind, str] = {
    Kind.EMBEDDING: "embeddings", Kind.RETRIEVER: "retrieval", Kind.TOOL: "execute_tool", Kind.AGENT: "invoke_agent",
}  # fmt: skip
OPENINFERENCE_KINDS: Mapping[Kind, str] = {**{kind: kind.value.upper() for kind in Kind}, Kind.MODEL: "LLM"}
MODALITIES = {"file": "document"}


class Told:
    """An event of a tree, with what several attributes are made of worked out once."""

    def __init__(self, event: Event, view: TreeView) -> None:
        """Look at `event` within its tree."""
        self.event = event
        self.view = view
        self.is_root = view.is_root(event)
        self.usage = event.usage
        self.params = event.params or {}

    @cached_property
    def operation(self) -> str | None:
        """What the convention calls the run; None where it has no name for it."""
        kind = self.event.kind
        if kind is Kind.MODEL:
            inputs = self.event.inputs
            return "text_completion" if isinstance(inputs, dict) and "prompt" in inputs else "chat"
        return OPERATIONS.get(kind) or ("invoke_workflow" if kind is Kind.CHAIN and self.is_root else None)

    @cached_property
    def asked_model(self) -> str | None:
        """The model by the name it was asked for."""
        return self.event.asked_model or self.event.model

    @cached_property
    def input_messages(self) -> list[Message] | None:
        """The messages that went in, where there is nothing else in the inputs."""
        if self.event.kind is Kind.MODEL:
            return messages_in(self.event) or None
        return only_messages(self.event.inputs) if self.event.kind is Kind.AGENT else None

    @cached_property
    def output_messages(self) -> list[Message] | None:
        """The messages that came out, where there is nothing else in the outputs."""
        if self.event.kind is Kind.MODEL:
            return messages_out(self.event) or None
        return only_messages(self.event.outputs) if self.event.kind is Kind.AGENT else None

    def param(self, *names: str) -> JsonValue:
        """A parameter, by the first of its names that has a value."""
        return next((self.params[name] for name in names if self.params.get(name) is not None), None)

    def cost(self, part: str = "total_usd") -> float | None:
        """Dollars."""
        known = getattr(self.event.cost, part, None)
        return None if known is None else float(known)

    def field(self, value: JsonValue, key: str) -> JsonValue:
        """A field of an object."""
        return value.get(key) if isinstance(value, dict) else None


class Row(NamedTuple):
    """One attribute: which field of the event it tells, how its value is made, and on which kinds it stands."""

    attribute: str
    field: str
    """One that ends in `.*` stands for as many attributes as its value has keys."""
    value: Callable[[Told], Any]
    kinds: Collection[Kind] = frozenset(Kind)


Table = tuple[Row, ...]


def attributes_of(table: Mapping[Kind, Table], told: Told) -> dict[str, Any]:
    """The attributes of an event, without those that have no value."""
    found: dict[str, Any] = {}
    for row in table[told.event.kind]:
        value = row.value(told)
        if value is None or value == "" or value == []:
            continue
        if row.attribute.endswith("*"):
            found.update({f"{row.attribute[:-1]}{key}": one for key, one in value.items()})
        else:
            found[row.attribute] = value
    return found


def by_kind(*tables: Table) -> Mapping[Kind, Table]:
    """The rows of each kind."""
    rows = [row for table in tables for row in table]
    return {kind: tuple(row for row in rows if kind in row.kinds) for kind in Kind}


# Values


def json_text(value: JsonValue) -> str | None:
    """A value as JSON text, None as nothing. Attributes hold texts: no backend reads structured ones."""
    return None if value is None else to_json(value).decode()


def value_text(value: JsonValue) -> str | None:
    """A text as it is, any other value as JSON."""
    return value if isinstance(value, str) else json_text(value)


def mime_type(value: JsonValue) -> str | None:
    """The type of what `value_text` gives."""
    return None if value is None else "text/plain" if isinstance(value, str) else "application/json"


def count(value: JsonValue) -> int | None:
    """A whole number."""
    known = finite(value)
    return None if known is None else int(known)


def number(value: JsonValue) -> float | None:
    """A number."""
    known = finite(value)
    return None if known is None else float(known)


def texts(value: JsonValue) -> list[str] | None:
    """A list of texts; one alone is a list too."""
    found = value if isinstance(value, list) else [value]
    return [as_text(one) for one in found if one is not None] or None


def only_messages(value: JsonValue) -> list[Message] | None:
    """The messages of inputs or outputs that hold nothing else."""
    inner = value["messages"] if isinstance(value, dict) and value.keys() == {"messages"} else None
    return inner if is_messages(inner) else None


# Messages, as the schemas of the conventions have them


def parted(message: Message) -> dict[str, JsonValue]:
    """A neutral message with its content as parts. Its other keys stay: the schemas are open."""
    known = ("role", "content", "tool_calls", "tool_call_id", "reasoning", "name", "finish_reason")
    made: dict[str, JsonValue] = {"role": as_text(message["role"]), "parts": list(parts_of(message))}
    for key in ("name", "finish_reason"):
        if message.get(key) not in (None, ""):
            made[key] = as_text(message[key])
    return made | {key: one for key, one in message.items() if key not in (*known, "parts") and one is not None}


def parts_of(message: Message) -> Iterable[dict[str, JsonValue]]:
    """Reasoning, content, tool calls; of a tool's message its response."""
    if message.get("reasoning") not in (None, ""):
        yield {"type": "reasoning", "content": as_text(message["reasoning"])}
    content = message.get("content")
    if message.get("role") == "tool" or message.get("tool_call_id"):
        call = message.get("tool_call_id")
        yield {"type": "tool_call_response", **({"id": as_text(call)} if call else {}), "response": content}
    else:
        for part in content if isinstance(content, list) else [content]:
            if part not in (None, ""):
                yield part_of(part)
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        known = call if isinstance(call, dict) else {"arguments": call}
        name = as_text(known.get("name")) or UNKNOWN
        made = {"type": "tool_call", "name": name, "arguments": known.get("arguments")}
        yield {**made, **({"id": as_text(known["id"])} if known.get("id") else {})}


REQUIRED: Mapping[str, tuple[str, ...]] = {
    "text": ("content",), "reasoning": ("content",), "tool_call": ("name",), "tool_call_response": ("response",),
    "server_tool_call": ("name", "server_tool_call"), "server_tool_call_response": ("server_tool_call_response",),
    "blob": ("modality", "content"), "uri": ("modality", "uri"), "file": ("modality", "file_id"),
}  # fmt: skip
"""Types of parts that the schemas know → what each must have. Any other type may have anything."""


def part_of(part: JsonValue) -> dict[str, JsonValue]:
    """One part of a message's content. Of a medium whose bytes were not kept its hash is the file's id."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in MEDIA_TYPES and isinstance(part, dict):
        made = {"modality": MODALITIES.get(kind, kind), **({"mime_type": part["mime_type"]} if isinstance(
            part.get("mime_type"), str) else {})}  # fmt: skip
        if isinstance(part.get("url"), str):
            return {"type": "uri", **made, "uri": part["url"]}
        if part.get("sha256"):
            size = {"bytes": part["bytes"]} if part.get("bytes") is not None else {}
            return {"type": "file", **made, "file_id": as_text(part["sha256"]), **size}
    if isinstance(kind, str) and kind not in REQUIRED and kind not in MEDIA_TYPES and isinstance(part, dict):
        return part
    return {"type": "text", "content": part_text(part)}


def tool_definition(tool: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A tool a model was offered: a function flat, any other with a type and a name."""
    function = tool.get("function")
    if isinstance(function, dict):
        return {"type": "function", **function, "name": as_text(function.get("name")) or UNKNOWN}
    kind = as_text(tool.get("type")) or UNKNOWN
    return {**tool, "type": kind, "name": as_text(tool.get("name")) or kind}


def documents(event: Event) -> list[JsonValue] | None:
    """What a retriever found, as `{id, score, content, metadata}`."""
    found = event.outputs.get("documents") if isinstance(event.outputs, dict) else None
    return [retrieved(document) for document in found] if isinstance(found, list) else None


def retrieved(document: JsonValue) -> dict[str, JsonValue]:
    """One document."""
    if not isinstance(document, dict):
        return {"content": as_text(document)}
    known = {"id": value_text(document.get("id")), "score": number(document.get("score")),
             "content": document.get("text")}  # fmt: skip
    more = {key: one for key, one in document.items() if key not in ("id", "score", "text")}
    return {key: one for key, one in {**known, **more}.items() if one is not None}


# The table of the conventions


def _usage(name: str) -> Callable[[Told], Any]:
    return lambda told: getattr(told.usage, name, None)


def _param(make: Callable[[JsonValue], Any], *names: str) -> Callable[[Told], Any]:
    return lambda told: make(told.param(*names))


def _choices(value: JsonValue) -> int | None:
    return None if value == 1 else count(value)


def _reasoning_level(value: JsonValue) -> str | None:
    level = value.get("effort") if isinstance(value, dict) else value
    return level if isinstance(level, str) else None


def _output_type(value: JsonValue) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else value
    return {"json_object": "json", "json_schema": "json", "text": "text"}.get(as_text(kind))


def _switch(value: JsonValue) -> bool | None:
    return value if isinstance(value, bool) else None


PARAMS: Mapping[str, tuple[Callable[[JsonValue], Any], tuple[str, ...]]] = {
    "gen_ai.request.temperature": (number, ("temperature",)),
    "gen_ai.request.top_p": (number, ("top_p",)),
    "gen_ai.request.frequency_penalty": (number, ("frequency_penalty",)),
    "gen_ai.request.presence_penalty": (number, ("presence_penalty",)),
    "gen_ai.request.max_tokens": (count, ("max_tokens", "max_completion_tokens", "max_output_tokens")),
    "gen_ai.request.seed": (count, ("seed",)),
    "gen_ai.request.top_k": (count, ("top_k",)),
    "gen_ai.request.choice.count": (_choices, ("n", "candidate_count")),
    "gen_ai.request.stop_sequences": (texts, ("stop", "stop_sequences")),
    "gen_ai.request.stream": (_switch, ("stream", "streaming")),
    "gen_ai.request.reasoning.level": (_reasoning_level, ("reasoning_effort", "reasoning")),
    "gen_ai.request.previous_response.id": (value_text, ("previous_response_id",)),
    "gen_ai.request.encoding_formats": (texts, ("encoding_format",)),
    "gen_ai.output.type": (_output_type, ("response_format",)),
}
"""Attribute → how its value is made, and the names of the parameter."""
PLACED_PARAMS = frozenset({"tools", *(name for _, names in PARAMS.values() for name in names)})
TOKENS: Mapping[str, str] = {
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
    "gen_ai.usage.cache_write.input_tokens": "cache_write_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
    "gen_ai.usage.audio.input_tokens": "input_audio_tokens",
    "gen_ai.usage.image.input_tokens": "input_image_tokens",
    "gen_ai.usage.audio.output_tokens": "output_audio_tokens",
    "gen_ai.usage.image.output_tokens": "output_image_tokens",
    "gen_ai.usage.audio.cache_read.input_tokens": "cache_read_audio_tokens",
    "gen_ai.usage.image.cache_read.input_tokens": "cache_read_image_tokens",
}
"""Attribute → field of `Usage`. `cache_creation` is the older spelling, which Phoenix reads alone."""
PLACED_TOKENS = frozenset(
    {"input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"}
)


def _documents_text(told: Told) -> str | None:
    return json_text(documents(told.event))


def _tool_arguments(told: Told) -> str | None:
    inputs = told.event.inputs
    return json_text(inputs if inputs is None or isinstance(inputs, dict) else {"input": inputs})


def _call_id(told: Told) -> str | None:
    found = told.field(told.event.outputs, "tool_call_id") or told.event.metadata.get("tool_call_id")
    return found if isinstance(found, str) else None


def finish_reasons(told: Told) -> list[str] | None:
    """How each generation ended."""
    outputs = told.event.outputs
    one = told.field(outputs, "finish_reason")
    return texts([message.get("finish_reason") for message in told.output_messages or ()]) or (
        texts(one) if one else None
    )


def _response_id(told: Told) -> str | None:
    found = (message.get("id") for message in told.output_messages or ())
    return next((one for one in found if isinstance(one, str) and one), None)


def other_input(told: Told) -> JsonValue:
    """Inputs that the conventions have no place for."""
    kind = told.event.kind
    placed = kind in (Kind.MODEL, Kind.TOOL) or (kind is Kind.RETRIEVER and query_of(told) is not None)
    return None if placed or told.input_messages is not None else told.event.inputs


def other_output(told: Told) -> JsonValue:
    """Outputs that the conventions have no place for."""
    kind = told.event.kind
    placed = kind in (Kind.MODEL, Kind.TOOL) or (kind is Kind.RETRIEVER and documents(told.event) is not None)
    return None if placed or told.output_messages is not None else told.event.outputs


def query_of(told: Told) -> str | None:
    """A retriever's query, where it has no other inputs."""
    inputs = told.event.inputs
    query = inputs["query"] if isinstance(inputs, dict) and inputs.keys() == {"query"} else inputs
    return query if isinstance(query, str) else None


def _dataset(told: Told) -> dict[str, Any] | None:
    names = ("run_id", "dataset_id", "datapoint_id", "experiment", "expected")
    found = told.view.links(told.event, names)
    return {name: value_text(one) for name, one in found.items() if one is not None} or None


def _caller(told: Told) -> dict[str, Any] | None:
    caller = told.view.dataset_field("caller") if told.is_root else None
    names = {"function": "function.name", "file": "file.path", "line": "line.number"}
    known = caller if isinstance(caller, dict) else {}
    return {names[key]: known[key] for key in names if isinstance(known.get(key), str | int)} or None


def _cost_source(told: Told) -> str | None:
    cost = told.event.cost
    return None if cost is None or cost.total_usd is None else "provider" if cost.source == "provider" else "local"


def _rest(told: Told) -> str | None:
    return json_text({key: one for key, one in told.params.items() if key not in PLACED_PARAMS} or None)


def session(told: Told) -> str | None:
    """The session."""
    return told.view.session_id(told.event)


ABOUT: Table = (
    Row("openinference.span.kind", "kind", lambda told: OPENINFERENCE_KINDS[told.event.kind]),
    Row("session.id", "session_id", session),
    Row("user.id", "user", lambda told: told.view.user(told.event)),
    Row("metadata", "metadata", lambda told: json_text(views.own_metadata(told.event) or None)),
    Row("tag.tags", "tags", lambda told: list(told.event.tags)),
    Row("error.type", "error", lambda told: error_type(told.event)),
    Row("eventtree.id", "id", lambda told: told.event.id),
    Row("eventtree.framework", "framework", lambda told: told.event.framework),
    Row("eventtree.*", "status", lambda told: {k: v for k, v in views.ended(told.event).items() if v} or None),
    Row("eventtree.usage", "usage", lambda told: json_text(views.usage_rest(told.event, PLACED_TOKENS) or None)),
    Row("eventtree.*", "metadata", _dataset),
    Row("code.*", "metadata", _caller),
)
"""What every flavor but LangSmith's own words has on all kinds: no convention of its own, or one of all of tracing."""

GENAI: Table = (
    Row("gen_ai.operation.name", "kind", lambda told: told.operation),
    Row("gen_ai.provider.name", "provider", lambda told: provider(told.event) or UNKNOWN, MODELS),
    Row("gen_ai.provider.name", "provider", lambda told: provider(told.event), {Kind.RETRIEVER}),
    Row("gen_ai.prompt.name", "prompt", lambda told: told.field(told.event.prompt, "name"), {Kind.MODEL}),
    Row("gen_ai.prompt.version", "prompt", lambda told: told.field(told.event.prompt, "version"), {Kind.MODEL}),
    Row("gen_ai.request.model", "asked_model", lambda told: told.asked_model, PRICED),
    Row("gen_ai.response.model", "model", lambda told: told.event.model, PRICED),
    Row("gen_ai.response.id", "outputs", _response_id, {Kind.MODEL}),
    Row("gen_ai.conversation.id", "session_id", session, {Kind.MODEL, Kind.AGENT, Kind.CHAIN}),
    *(Row(name, "params", _param(make, *names), MODELS) for name, (make, names) in PARAMS.items()),
    Row("gen_ai.retrieval.top_k", "params", _param(count, "k", "top_k", "similarity_top_k"), {Kind.RETRIEVER}),
    Row("eventtree.params", "params", _rest),
    Row("gen_ai.response.finish_reasons", "outputs", finish_reasons, {Kind.MODEL}),
    Row("gen_ai.response.time_to_first_chunk", "time_to_first_token", lambda told: first_token(told.event), MODELS),
    *(Row(name, "usage", _usage(ours), PRICED) for name, ours in TOKENS.items()),
    Row("gen_ai.usage.cost", "cost", lambda told: told.cost()),
    Row("gen_ai.usage.cost.amount", "cost", lambda told: told.cost()),
    Row("gen_ai.usage.cost.currency", "cost", lambda told: None if told.cost() is None else "USD"),
    Row("gen_ai.usage.cost.source", "cost", _cost_source),
    Row("eventtree.cost", "cost", lambda told: cost_text(told.event)),
    Row("gen_ai.tool.name", "name", lambda told: told.event.name, {Kind.TOOL}),
    Row("gen_ai.tool.type", "kind", lambda told: "function", {Kind.TOOL}),
    Row("gen_ai.tool.call.id", "outputs", _call_id, {Kind.TOOL}),
    Row("gen_ai.tool.call.arguments", "inputs", _tool_arguments, {Kind.TOOL}),
    Row("gen_ai.tool.call.result", "outputs", lambda told: value_text(told.event.outputs), {Kind.TOOL}),
    Row("gen_ai.agent.name", "name", lambda told: told.event.name, {Kind.AGENT}),
    Row("gen_ai.agent.name", "name", lambda told: told.event.name if told.is_root else None, {Kind.CHAIN}),
    Row("gen_ai.workflow.name", "name", lambda told: told.event.name if told.is_root else None, {Kind.CHAIN}),
    Row("gen_ai.retrieval.query.text", "inputs", query_of, {Kind.RETRIEVER}),
    Row("gen_ai.retrieval.documents", "outputs", _documents_text, {Kind.RETRIEVER}),
    Row("gen_ai.embeddings.dimension.count", "outputs",
        lambda told: count(told.field(told.event.outputs, "dimensions")), {Kind.EMBEDDING}),
    Row("gen_ai.input.messages", "inputs", lambda told: messages_text(told.input_messages), TALKS),
    Row("gen_ai.output.messages", "outputs", lambda told: messages_text(told.output_messages), TALKS),
    Row("gen_ai.tool.definitions", "params",
        lambda told: json_text([tool_definition(tool) for tool in tools_of(told.event)] or None), {Kind.MODEL}),
    Row("input.value", "inputs", lambda told: value_text(other_input(told))),
    Row("input.mime_type", "inputs", lambda told: mime_type(other_input(told))),
    Row("output.value", "outputs", lambda told: value_text(other_output(told))),
    Row("output.mime_type", "outputs", lambda told: mime_type(other_output(told))),
)  # fmt: skip


def provider(event: Event) -> str | None:
    """Who runs the model, by the well-known name."""
    return None if event.provider is None else PROVIDERS.get(event.provider.lower(), event.provider)


def error_type(event: Event) -> str | None:
    """The exception of a failed event."""
    if views.failure(event) is None:
        return None
    return (event.error.type if event.error else "") or "_OTHER"


def cost_text(event: Event) -> str | None:
    """The cost with its parts and its source."""
    return json_text(views.cost_of(event.cost)) if event.cost else None


def messages_text(messages: list[Message] | None) -> str | None:
    """Messages as the schemas have them."""
    return None if messages is None else json_text([parted(message) for message in messages])


# What single backends read beside


def _langfuse_usage(told: Told) -> str | None:
    """Counts that add up to the total: Langfuse sums what it is given."""
    usage = told.usage
    if usage is None or usage.total_tokens is None:
        return None
    read, written, thought = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0, usage.reasoning_tokens or 0
    parts = {
        "input": (usage.input_tokens or 0) - read - written, "input_cached_tokens": read,
        "input_cache_creation": written, "output": (usage.output_tokens or 0) - thought,
        "output_reasoning_tokens": thought,
    }  # fmt: skip
    return json_text({**{key: one for key, one in parts.items() if one > 0}, "total": usage.total_tokens})


def _money(*keys: str) -> Callable[[Told], str | None]:
    """The dollars of input, output and all as a JSON object with these keys."""
    parts = ("input_usd", "output_usd", "total_usd")

    def made(told: Told) -> str | None:
        found = {key: told.cost(part) for key, part in zip(keys, parts, strict=True)}
        return None if told.cost() is None else json_text({key: one for key, one in found.items() if one is not None})

    return made


LANGFUSE: Table = (
    Row("langfuse.observation.usage_details", "usage", _langfuse_usage, PRICED),
    Row("langfuse.observation.cost_details", "cost", _money("input", "output", "total")),
    Row("langfuse.trace.name", "name", lambda told: told.event.name if told.is_root else None),
    Row("langfuse.trace.tags", "tags", lambda told: list(told.event.tags) if told.is_root else None),
    Row("langfuse.release", "release", lambda told: told.event.release),
    Row("langfuse.environment", "environment", lambda told: told.event.environment or told.view.root.environment),
)


def _langsmith_metadata(told: Told) -> dict[str, Any] | None:
    named = {"session_id": session(told), "user_id": told.view.user(told.event), "ls_provider": told.event.provider,
             "ls_model_name": told.asked_model}  # fmt: skip
    own = {key: value_text(one) for key, one in views.own_metadata(told.event).items()}
    return {key: one for key, one in {**own, **named}.items() if one is not None} or None


def _langsmith_usage(told: Told) -> str | None:
    usage = told.usage
    if usage is None:
        return None
    details = {
        "input_token_details": {"cache_read": usage.cache_read_tokens, "cache_creation": usage.cache_write_tokens},
        "output_token_details": {"reasoning": usage.reasoning_tokens},
    }
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
              "total_tokens": usage.total_tokens, "input_cost": told.cost("input_usd"),
              "output_cost": told.cost("output_usd"), "total_cost": told.cost()}  # fmt: skip
    kept = {name: {key: one for key, one in known.items() if one is not None} for name, known in details.items()}
    return json_text({key: one for key, one in {**counts, **kept}.items() if one not in (None, {})} or None)


LANGSMITH_KINDS = {Kind.MODEL: "llm", Kind.TOOL: "tool", Kind.RETRIEVER: "retriever", Kind.EMBEDDING: "embedding"}

LANGSMITH: Table = (
    Row("langsmith.span.kind", "kind", lambda told: LANGSMITH_KINDS.get(told.event.kind, "chain")),
    Row("langsmith.trace.name", "name", lambda told: told.event.name),
    Row("langsmith.span.tags", "tags", lambda told: ", ".join(told.event.tags)),
    Row("langsmith.metadata.*", "metadata", _langsmith_metadata),
    Row("langsmith.usage_metadata", "usage", _langsmith_usage, PRICED),
)
MLFLOW: Table = (Row("mlflow.llm.cost", "cost", _money("input_cost", "output_cost", "total_cost")),)
