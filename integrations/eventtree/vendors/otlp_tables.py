"""The attributes of OTLP's flavors: an event in the words of two dialects, and what single backends read beside. Pure.

`GENAI` follows OpenTelemetry's semantic-conventions-genai v0.1.0 (messages: its JSON schemas), with the older spellings
that backends still read alone; `OPENINFERENCE` the release 0.1.42, which Phoenix stores; the others Langfuse 3.22,
LangSmith (2026-08) and MLflow 3.17. Content stands once on a span: `input.*` and `output.*` hold what no row before
them has told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from eventtree.event import Event, JsonValue, Kind
from eventtree.serializer import view as views
from eventtree.serializer.messages import (
    MEDIA_TYPES,
    Message,
    as_text,
    media_text,
    openai_tool_calls,
    part_text,
    tools_of,
)
from eventtree.serializer.times import first_token, iso, later
from eventtree.serializer.vendor import without_nulls
from eventtree.trace import span_id
from eventtree.vendors.otlp_event import (
    MODELS,
    PRICED,
    TALKS,
    Row,
    Table,
    Told,
    count,
    dollars,
    finish_reasons,
    json_text,
    number,
    param,
    retrieved,
    text_in,
    texts,
    token,
    typed,
    value_text,
)

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
PARAMS: Mapping[str, tuple[Callable[[JsonValue], Any], tuple[str, ...]]] = {
    "temperature": (number, ("temperature",)),
    "top_p": (number, ("top_p",)),
    "frequency_penalty": (number, ("frequency_penalty",)),
    "presence_penalty": (number, ("presence_penalty",)),
    "max_tokens": (count, ("max_tokens", "max_completion_tokens", "max_output_tokens")),
    "seed": (count, ("seed",)),
    "top_k": (count, ("top_k",)),
    "choice.count": (lambda asked: None if asked == 1 else count(asked), ("n", "candidate_count")),
    "stop_sequences": (texts, ("stop", "stop_sequences")),
    "stream": (lambda asked: asked if isinstance(asked, bool) else None, ("stream", "streaming")),
    "reasoning.level": (lambda asked: text_in(asked, "effort"), ("reasoning_effort", "reasoning")),
    "previous_response.id": (value_text, ("previous_response_id",)),
    "encoding_formats": (texts, ("encoding_format",)),
}
"""Attribute below `gen_ai.request` → how its value is made, and the names of the parameter."""
OUTPUT_TYPES = {"json_object": "json", "json_schema": "json", "text": "text"}
PLACED_PARAMS = {"tools", "response_format", *(name for _, names in PARAMS.values() for name in names)}
TOKENS: Mapping[str, str] = {
    "input_tokens": "input_tokens", "output_tokens": "output_tokens",
    "cache_read.input_tokens": "cache_read_tokens", "cache_write.input_tokens": "cache_write_tokens",
    "cache_creation.input_tokens": "cache_write_tokens", "reasoning.output_tokens": "reasoning_tokens",
    "audio.input_tokens": "input_audio_tokens", "image.input_tokens": "input_image_tokens",
    "audio.output_tokens": "output_audio_tokens", "image.output_tokens": "output_image_tokens",
    "audio.cache_read.input_tokens": "cache_read_audio_tokens",
    "image.cache_read.input_tokens": "cache_read_image_tokens",
}  # fmt: skip
"""Attribute below `gen_ai.usage` → field of `Usage`. Phoenix reads `cache_creation` alone, the older spelling."""
PLACED_TOKENS = {*TOKENS.values(), "total_tokens"} - {
    name for name in TOKENS.values() if "_audio_" in name or "_image_" in name
}
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "text": ("content",), "reasoning": ("content",), "tool_call": ("name",), "tool_call_response": ("response",),
    "server_tool_call": ("name", "server_tool_call"), "server_tool_call_response": ("server_tool_call_response",),
    "blob": ("modality", "content"), "uri": ("modality", "uri"), "file": ("modality", "file_id"),
}  # fmt: skip
"""Types of parts that the schemas know → what each must have. Any other type may have anything."""
TOTAL = dollars("total")
SAID = ("role", "content", "parts", "tool_calls", "tool_call_id", "reasoning", "name", "finish_reason")


# Messages, as the schemas of the conventions have them


def parted(message: Message) -> dict[str, JsonValue]:
    """A neutral message with its content as parts. Its other keys stay: the schemas are open."""
    named = {key: as_text(message.get(key)) or None for key in ("name", "finish_reason")}
    more = {key: one for key, one in message.items() if key not in SAID}
    made = {"role": as_text(message["role"]), "parts": list(parts_of(message)), **named, **more}
    return {key: one for key, one in made.items() if one is not None}


def parts_of(message: Message) -> Iterable[dict[str, JsonValue]]:
    """Reasoning, content, tool calls; of a tool's message its response."""
    if message.get("reasoning") not in (None, ""):
        yield {"type": "reasoning", "content": as_text(message["reasoning"])}
    content, answered, calls = message.get("content"), message.get("tool_call_id"), message.get("tool_calls")
    if message.get("role") == "tool" or answered:
        yield {"type": "tool_call_response", **({"id": as_text(answered)} if answered else {}), "response": content}
    else:
        yield from (
            part_of(part) for part in (content if isinstance(content, list) else [content]) if part not in (None, "")
        )
    for call in calls if isinstance(calls, list) else ():
        known = call if isinstance(call, dict) else {"arguments": call}
        made = {"type": "tool_call", "name": as_text(known.get("name")) or UNKNOWN, "arguments": known.get("arguments")}
        yield {**made, **({"id": as_text(known["id"])} if known.get("id") else {})}


def part_of(part: JsonValue) -> dict[str, JsonValue]:
    """One part of a message's content. Of a medium whose bytes were not kept its hash is the file's id."""
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(part, dict) and isinstance(kind, str):
        made = {"modality": "document" if kind == "file" else kind, "mime_type": text_in(part, "mime_type")}
        if kind in MEDIA_TYPES and isinstance(part.get("url"), str):
            return without_nulls({"type": "uri", **made, "uri": part["url"]})
        if kind in MEDIA_TYPES and part.get("sha256"):
            return without_nulls(
                {"type": "file", **made, "file_id": as_text(part["sha256"]), "bytes": part.get("bytes")}
            )
        if kind not in REQUIRED and kind not in MEDIA_TYPES:
            return part
    return {"type": "text", "content": part_text(part)}


def tool_definition(tool: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A tool a model was offered: a function flat, any other with a type and a name."""
    function = tool.get("function")
    if isinstance(function, dict):
        return {"type": "function", **function, "name": as_text(function.get("name")) or UNKNOWN}
    kind = as_text(tool.get("type")) or UNKNOWN
    return {**tool, "type": kind, "name": as_text(tool.get("name")) or kind}


def messages_text(messages: list[Message]) -> str | None:
    """Messages as the schemas have them."""
    return json_text([*map(parted, messages)]) if messages else None


# Values of the tables


def operation(event: Event, is_root: bool) -> str | None:
    """What the convention calls the run; None where it has no name for it."""
    if event.kind is Kind.MODEL:
        return "text_completion" if isinstance(event.inputs, dict) and "prompt" in event.inputs else "chat"
    return OPERATIONS.get(event.kind) or ("invoke_workflow" if event.kind is Kind.CHAIN and is_root else None)


def provider(told: Told) -> str | None:
    """Who runs the model, by the well-known name."""
    own = told.event.provider or (UNKNOWN if told.event.kind in MODELS else "")
    return PROVIDERS.get(own.lower(), own)


def error_type(told: Told) -> str | None:
    """The exception of a failed event."""
    if views.failure(told.event) is None:
        return None
    return (told.event.error.type if told.event.error else "") or "_OTHER"


def session(told: Told) -> str | None:
    """The session."""
    return told.view.session_id(told.event)


def query_of(told: Told) -> str | None:
    """A retriever's query, where it has no other inputs."""
    query = told.inputs["query"] if told.inputs.keys() == {"query"} else told.event.inputs
    return query if isinstance(query, str) else None


def _call_id(told: Told) -> str | None:
    return text_in(told.outputs.get("tool_call_id") or told.event.metadata.get("tool_call_id"), "")


def _arguments(told: Told) -> str | None:
    inputs = told.event.inputs
    return json_text(inputs if inputs is None or isinstance(inputs, dict) else {"input": inputs})


def _documents(told: Told) -> str | None:
    found = told.outputs.get("documents")
    return json_text([*map(retrieved, found)]) if isinstance(found, list) else None


def _response_id(told: Told) -> str | None:
    return next((one for message in told.output_messages if (one := text_in(message.get("id"), ""))), None)


def _dataset(told: Told) -> dict[str, str | None]:
    found = told.view.links(told.event, ("run_id", "dataset_id", "datapoint_id", "experiment", "expected"))
    return {name: value_text(one) for name, one in found.items()}


def _caller(told: Told) -> dict[str, Any]:
    caller = told.view.dataset_field("caller") if told.is_root else None
    known = caller if isinstance(caller, dict) else {}
    names = {"function": "function.name", "file": "file.path", "line": "line.number"}
    return {name: known[key] for key, name in names.items() if isinstance(known.get(key), str | int)}


def _cost_source(told: Told) -> str | None:
    return None if TOTAL(told) is None else "provider" if told.cost.get("source") == "provider" else "local"


def _own_name(told: Told) -> str | None:
    return told.event.name if told.is_root or told.event.kind is not Kind.CHAIN else None


ABOUT: Table = (
    Row("openinference.span.kind", "kind",
        lambda told: "LLM" if told.event.kind is Kind.MODEL else told.event.kind.upper()),
    Row("session.id", "session_id", session),
    Row("user.id", "user", lambda told: told.view.user(told.event)),
    Row("metadata", "metadata", lambda told: json_text(views.own_metadata(told.event) or None)),
    Row("tag.tags", "tags", lambda told: list(told.event.tags)),
    Row("error.type", "error", error_type),
    Row("eventtree.id", "id", lambda told: told.event.id),
    Row("eventtree.framework", "framework", lambda told: told.event.framework),
    Row("eventtree.*", "status", lambda told: views.ended(told.event)),
    Row("eventtree.usage", "usage", lambda told: json_text(views.usage_rest(told.event, PLACED_TOKENS) or None)),
    Row("eventtree.*", "metadata", _dataset),
    Row("code.*", "metadata", _caller),
)  # fmt: skip
"""What every flavor has on all kinds: no convention of its own, or one of all of tracing."""

GENAI: Table = (
    Row("gen_ai.operation.name", "kind", lambda told: operation(told.event, told.is_root)),
    Row("gen_ai.provider.name", "provider", provider, {*MODELS, Kind.RETRIEVER}),
    Row("gen_ai.prompt.name", "prompt", lambda told: told.prompt.get("name"), {Kind.MODEL}),
    Row("gen_ai.prompt.version", "prompt", lambda told: told.prompt.get("version"), {Kind.MODEL}),
    Row("gen_ai.request.model", "asked_model", lambda told: told.asked_model, PRICED),
    Row("gen_ai.response.model", "model", lambda told: told.event.model, PRICED),
    Row("gen_ai.response.id", "outputs", _response_id, {Kind.MODEL}),
    Row("gen_ai.conversation.id", "session_id", session, {Kind.MODEL, Kind.AGENT, Kind.CHAIN}),
    *(Row(f"gen_ai.request.{name}", "params", param(*how), MODELS) for name, how in PARAMS.items()),
    Row("gen_ai.output.type", "params",
        param(lambda asked: OUTPUT_TYPES.get(text_in(asked, "type") or ""), ("response_format",)), MODELS),
    Row("gen_ai.retrieval.top_k", "params", param(count, ("k", "top_k", "similarity_top_k")), {Kind.RETRIEVER}),
    Row("eventtree.params", "params",
        lambda told: json_text({key: one for key, one in told.params.items() if key not in PLACED_PARAMS} or None)),
    Row("gen_ai.response.finish_reasons", "outputs", finish_reasons, {Kind.MODEL}),
    Row("gen_ai.response.time_to_first_chunk", "time_to_first_token", lambda told: first_token(told.event), MODELS),
    *(Row(f"gen_ai.usage.{name}", "usage", token(ours), PRICED) for name, ours in TOKENS.items()),
    Row("gen_ai.usage.cost", "cost", TOTAL),
    Row("gen_ai.usage.cost.amount", "cost", TOTAL),
    Row("gen_ai.usage.cost.currency", "cost", lambda told: None if TOTAL(told) is None else "USD"),
    Row("gen_ai.usage.cost.source", "cost", _cost_source),
    Row("eventtree.cost", "cost", lambda told: json_text(dict(told.cost)) if told.event.cost else None),
    Row("gen_ai.tool.name", "name", lambda told: told.event.name, {Kind.TOOL}),
    Row("gen_ai.tool.type", "kind", lambda told: "function", {Kind.TOOL}),
    Row("gen_ai.tool.call.id", "outputs", _call_id, {Kind.TOOL}),
    Row("gen_ai.tool.call.arguments", "inputs", _arguments, {Kind.TOOL}, True),
    Row("gen_ai.tool.call.result", "outputs", lambda told: value_text(told.event.outputs), {Kind.TOOL}, True),
    Row("gen_ai.agent.name", "name", _own_name, {Kind.AGENT, Kind.CHAIN}),
    Row("gen_ai.workflow.name", "name", _own_name, {Kind.CHAIN}),
    Row("gen_ai.retrieval.query.text", "inputs", query_of, {Kind.RETRIEVER}, True),
    Row("gen_ai.retrieval.documents", "outputs", _documents, {Kind.RETRIEVER}, True),
    Row("gen_ai.embeddings.dimension.count", "outputs",
        lambda told: count(told.outputs.get("dimensions")), {Kind.EMBEDDING}),
    Row("gen_ai.input.messages", "inputs", lambda told: messages_text(told.input_messages), TALKS, True),
    Row("gen_ai.output.messages", "outputs", lambda told: messages_text(told.output_messages), TALKS, True),
    Row("gen_ai.tool.definitions", "params",
        lambda told: json_text([*map(tool_definition, tools_of(told.event))] or None), {Kind.MODEL}),
    Row("input.*", "inputs", lambda told: typed(told.event.inputs), is_content=True),
    Row("output.*", "outputs", lambda told: typed(told.event.outputs), is_content=True),
)  # fmt: skip


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


def _langsmith_usage(told: Told) -> str | None:
    usage, known = told.usage, ("input", "output", "total")
    if usage is None:
        return None
    read, written, thought = usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens
    counts = {
        **{f"{part}_tokens": getattr(usage, f"{part}_tokens") for part in known},
        **{f"{part}_cost": dollars(part)(told) for part in known},
        "input_token_details": without_nulls({"cache_read": read, "cache_creation": written}) or None,
        "output_token_details": without_nulls({"reasoning": thought}) or None,
    }
    return json_text(without_nulls(counts) or None)


def _langsmith_metadata(told: Told) -> dict[str, Any]:
    own = {key: value_text(one) for key, one in views.own_metadata(told.event).items()}
    return own | without_nulls({"session_id": session(told), "user_id": told.view.user(told.event),
                                "ls_provider": told.event.provider, "ls_model_name": told.asked_model})  # fmt: skip


def _money(form: str) -> Callable[[Told], str | None]:
    """The dollars of input, output and all, as a JSON object with keys of this form."""

    def made(told: Told) -> str | None:
        found = {form.format(part): told.cost.get(f"{part}_usd") for part in ("input", "output", "total")}
        return None if TOTAL(told) is None else json_text(without_nulls(found))

    return made


def _prompt_version(told: Told) -> int | None:
    """Langfuse counts them: 32 bits."""
    version = as_text(told.prompt.get("version"))
    return int(version) if len(version) < 10 and version.isascii() and version.isdecimal() else None


def _experiment(told: Told) -> dict[str, str | None]:
    names = {"run_id": "id", "experiment": "name", "dataset_id": "dataset.id", "datapoint_id": "item.id",
             "expected": "item.expected_output"}  # fmt: skip
    found = {theirs: value_text(one) for ours, theirs in names.items() if (one := _dataset(told).get(ours)) is not None}
    named = found.get("id") or found.get("name")
    return found | {"id": named, "item.root_observation_id": span_id(told.event.id)} if named else {}


def _first_token_at(told: Told) -> str | None:
    waited = first_token(told.event)
    at = None if waited is None else later(told.event.start, waited)
    return None if at is None else json_text(iso(at))


LANGFUSE: Table = (
    Row("langfuse.observation.usage_details", "usage", _langfuse_usage, PRICED),
    Row("langfuse.observation.cost_details", "cost", _money("{}")),
    Row("langfuse.observation.completion_start_time", "time_to_first_token", _first_token_at, {Kind.MODEL}),
    Row("langfuse.observation.prompt.name", "prompt", lambda told: told.prompt.get("name"), {Kind.MODEL}),
    Row("langfuse.observation.prompt.version", "prompt", _prompt_version, {Kind.MODEL}),
    Row("langfuse.experiment.*", "metadata", _experiment),
    Row("langfuse.trace.name", "name", lambda told: told.event.name if told.is_root else None),
    Row("langfuse.trace.tags", "tags", lambda told: list(told.event.tags) if told.is_root else None),
    Row("langfuse.release", "release", lambda told: told.event.release),
    Row("langfuse.environment", "environment", lambda told: told.event.environment or told.view.root.environment),
)
LANGSMITH_KINDS = {Kind.MODEL: "llm", Kind.TOOL: "tool", Kind.RETRIEVER: "retriever", Kind.EMBEDDING: "embedding"}
LANGSMITH: Table = (
    Row("langsmith.span.kind", "kind", lambda told: LANGSMITH_KINDS.get(told.event.kind, "chain")),
    Row("langsmith.trace.name", "name", lambda told: told.event.name),
    Row("langsmith.span.tags", "tags", lambda told: ", ".join(told.event.tags)),
    Row("langsmith.metadata.*", "metadata", _langsmith_metadata),
    Row("langsmith.usage_metadata", "usage", _langsmith_usage, PRICED),
)
MLFLOW: Table = (Row("mlflow.llm.cost", "cost", _money("{}_cost")),)


# OpenInference


def flat_message(message: Message) -> dict[str, Any]:
    """A neutral message by the names of its attributes."""
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    calls = openai_tool_calls(message.get("tool_calls"))
    own = {key: as_text(message.get(key)) or None for key in ("name", "tool_call_id", "reasoning", "finish_reason")}
    return {"message": {
        "role": as_text(message["role"]), **own,
        "content": None if isinstance(content, list) else as_text(content) or None,
        "contents": [{"message_content": flat_part(part)} for part in parts],
        "tool_calls": [{"tool_call": {"id": call["id"], "function": call["function"]}} for call in calls],
    }}  # fmt: skip


def flat_part(part: JsonValue) -> dict[str, str]:
    """One part of a message's content."""
    known = part if isinstance(part, dict) else {"type": "text", "text": part}
    if known.get("type") == "image" and isinstance(known.get("url"), str):
        return {"type": "image", "image.image.url": known["url"]}
    if known.get("type") == "text":
        return {"type": "text", "text": as_text(known.get("text"))}
    return {"type": "text", "text": media_text(known) if "sha256" in known or "url" in known else as_text(part)}


def flat_documents(holder: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents of inputs or outputs by the names of their attributes."""
    listed = holder.get("documents")
    found = [retrieved(document) for document in (listed if isinstance(listed, list) else ())]
    return [
        {"document": {"id": one.get("id"), "score": one.get("score"), "content": as_text(one.get("content")),
                      "metadata": json_text(one.get("metadata") or None)}} for one in found
    ]  # fmt: skip


def _texts(told: Told) -> list[dict[str, Any]]:
    listed = told.inputs.get("texts")
    return [{"embedding": {"text": as_text(text)}} for text in (listed if isinstance(listed, list) else ())]


def _params(told: Told) -> str | None:
    return json_text({key: one for key, one in told.params.items() if key != "tools"} or None)


def _asked(told: Told) -> JsonValue:
    query = told.inputs.get("query") if told.event.kind is Kind.RETRIEVER else None
    return query if isinstance(query, str) else told.event.inputs


TOKENS = {
    "prompt": "input_tokens", "completion": "output_tokens", "total": "total_tokens",
    "prompt_details.cache_read": "cache_read_tokens", "prompt_details.cache_write": "cache_write_tokens",
    "prompt_details.audio": "input_audio_tokens", "completion_details.reasoning": "reasoning_tokens",
    "completion_details.audio": "output_audio_tokens",
}  # fmt: skip
LLM, RERANKER, EMBEDDING = {Kind.MODEL}, {Kind.RERANKER}, {Kind.EMBEDDING}

OPENINFERENCE: Table = (
    Row("embedding.model_name", "model", lambda told: told.event.model, EMBEDDING),
    Row("reranker.model_name", "model", lambda told: told.event.model, RERANKER),
    Row("llm.model_name", "model", lambda told: told.event.model, LLM),
    Row("llm.request.model_name", "asked_model", lambda told: told.asked_model, LLM),
    Row("llm.response.model_name", "model", lambda told: told.event.model, LLM),
    Row("llm.provider", "provider", lambda told: told.event.provider, LLM),
    Row("llm.system", "provider", lambda told: told.event.provider, LLM),
    Row("llm.invocation_parameters", "params", _params, LLM),
    Row("eventtree.params", "params", _params, set(Kind) - LLM),
    Row("llm.tools.*", "params",
        lambda told: [{"tool": {"json_schema": json_text(tool)}} for tool in tools_of(told.event)], LLM),
    Row("llm.finish_reason", "outputs", lambda told: ", ".join(finish_reasons(told)), LLM),
    Row("eventtree.time_to_first_token", "time_to_first_token", lambda told: told.event.time_to_first_token, LLM),
    *(Row(f"llm.token_count.{name}", "usage", token(ours), PRICED) for name, ours in TOKENS.items()),
    Row("llm.cost.prompt", "cost", dollars("input")),
    Row("llm.cost.completion", "cost", dollars("output")),
    Row("llm.cost.total", "cost", dollars("total")),
    Row("llm.input_messages.*", "inputs", lambda told: [*map(flat_message, told.input_messages)], TALKS, True),
    Row("llm.output_messages.*", "outputs", lambda told: [*map(flat_message, told.output_messages)], TALKS, True),
    Row("tool.name", "name", lambda told: told.event.name, {Kind.TOOL}),
    Row("tool.id", "outputs", lambda told: value_text(told.outputs.get("tool_call_id")), {Kind.TOOL}),
    Row("agent.name", "name", lambda told: told.event.name, {Kind.AGENT}),
    Row("retrieval.documents.*", "outputs", lambda told: flat_documents(told.outputs), {Kind.RETRIEVER}, True),
    Row("reranker.query", "inputs", lambda told: value_text(told.inputs.get("query")), RERANKER),
    Row("reranker.input_documents.*", "inputs", lambda told: flat_documents(told.inputs), RERANKER),
    Row("reranker.output_documents.*", "outputs", lambda told: flat_documents(told.outputs), RERANKER, True),
    Row("embedding.embeddings.*", "inputs", _texts, EMBEDDING, True),
    Row("input.*", "inputs", lambda told: typed(_asked(told)), set(Kind) - RERANKER, True),
    Row("output.*", "outputs", lambda told: typed(told.event.outputs), is_content=True),
)  # fmt: skip
