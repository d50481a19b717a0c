"""An event in the words of OpenInference, which Phoenix stores. Pure. Follows its release 0.1.42."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from eventtree.event import JsonValue, Kind
from eventtree.serializer.messages import Message, as_text, media_text, openai_tool_call, tools_of
from eventtree.vendors.otlp_genai import (
    PRICED,
    TALKS,
    Row,
    Table,
    Told,
    finish_reasons,
    json_text,
    mime_type,
    retrieved,
    value_text,
)


def flat_messages(messages: Iterable[Message] | None) -> dict[str, Any]:
    """Messages as attributes, numbered."""
    found: dict[str, Any] = {}
    for at, message in enumerate(messages or ()):
        start = f"{at}.message."
        found[f"{start}role"] = as_text(message["role"])
        content = message.get("content")
        if isinstance(content, list):
            for number, part in enumerate(content):
                found |= {
                    f"{start}contents.{number}.message_content.{key}": one for key, one in flat_part(part).items()
                }
        elif content not in (None, ""):
            found[f"{start}content"] = as_text(content)
        for key in ("name", "tool_call_id", "reasoning", "finish_reason"):
            if message.get(key) not in (None, ""):
                found[f"{start}{key}"] = as_text(message[key])
        calls = message.get("tool_calls")
        for number, call in enumerate(calls if isinstance(calls, list) else ()):
            made = openai_tool_call(call, number)
            place = f"{start}tool_calls.{number}.tool_call."
            found[f"{place}id"] = made["id"]
            found[f"{place}function.name"] = made["function"]["name"]
            found[f"{place}function.arguments"] = made["function"]["arguments"]
    return found


def flat_part(part: JsonValue) -> dict[str, str]:
    """One part of a message's content."""
    known = part if isinstance(part, dict) else {"type": "text", "text": part}
    if known.get("type") == "image" and isinstance(known.get("url"), str):
        return {"type": "image", "image.image.url": known["url"]}
    if known.get("type") == "text":
        return {"type": "text", "text": as_text(known.get("text"))}
    return {"type": "text", "text": media_text(known) if "sha256" in known or "url" in known else as_text(part)}


def flat_documents(value: JsonValue) -> dict[str, Any] | None:
    """The documents of inputs or outputs as attributes, numbered."""
    listed = value.get("documents") if isinstance(value, dict) else None
    found: dict[str, Any] = {}
    for at, document in enumerate(listed if isinstance(listed, list) else ()):
        known = retrieved(document)
        for key in ("id", "score"):
            if key in known:
                found[f"{at}.document.{key}"] = known[key]
        found[f"{at}.document.content"] = as_text(known.get("content"))
        if known.get("metadata"):
            found[f"{at}.document.metadata"] = json_text(known["metadata"])
    return found or None


def _flat_texts(told: Told) -> dict[str, Any] | None:
    listed = told.field(told.event.inputs, "texts")
    given = listed if isinstance(listed, list) else ()
    return {f"{at}.embedding.text": as_text(text) for at, text in enumerate(given)} or None


def _flat_tools(told: Told) -> dict[str, Any] | None:
    return {f"{at}.tool.json_schema": json_text(tool) for at, tool in enumerate(tools_of(told.event))} or None


def _usage(name: str) -> Callable[[Told], Any]:
    return lambda told: getattr(told.usage, name, None)


def _params(told: Told) -> str | None:
    return json_text({key: one for key, one in told.params.items() if key != "tools"} or None)


def whole_input(told: Told) -> JsonValue:
    """Inputs that no flat attribute holds."""
    is_placed = told.input_messages is not None or (told.event.kind is Kind.EMBEDDING and _flat_texts(told))
    query = told.field(told.event.inputs, "query")
    if told.event.kind in (Kind.RETRIEVER, Kind.RERANKER) and isinstance(query, str):
        return query
    return None if is_placed else told.event.inputs


def whole_output(told: Told) -> JsonValue:
    """Outputs that no flat attribute holds."""
    placed = told.output_messages is not None
    if told.event.kind in (Kind.RETRIEVER, Kind.RERANKER):
        placed = flat_documents(told.event.outputs) is not None
    return None if placed else told.event.outputs


MODEL_NAME = {
    Kind.EMBEDDING: "embedding.model_name",
    Kind.RERANKER: "reranker.model_name",
    Kind.MODEL: "llm.model_name",
}
TOKENS = {
    "prompt": "input_tokens", "completion": "output_tokens", "total": "total_tokens",
    "prompt_details.cache_read": "cache_read_tokens", "prompt_details.cache_write": "cache_write_tokens",
    "prompt_details.audio": "input_audio_tokens", "completion_details.reasoning": "reasoning_tokens",
    "completion_details.audio": "output_audio_tokens",
}  # fmt: skip
LLM, RETRIEVER, RERANKER = {Kind.MODEL}, {Kind.RETRIEVER}, {Kind.RERANKER}

OPENINFERENCE: Table = (
    *(Row(name, "model", lambda told: told.event.model, {kind}) for kind, name in MODEL_NAME.items()),
    Row("llm.request.model_name", "asked_model", lambda told: told.asked_model, LLM),
    Row("llm.response.model_name", "model", lambda told: told.event.model, LLM),
    Row("llm.provider", "provider", lambda told: told.event.provider, LLM),
    Row("llm.system", "provider", lambda told: told.event.provider, LLM),
    Row("llm.invocation_parameters", "params", _params, LLM),
    Row("eventtree.params", "params", _params, set(Kind) - LLM),
    Row("llm.tools.*", "params", _flat_tools, LLM),
    Row("llm.finish_reason", "outputs", lambda told: ", ".join(finish_reasons(told) or ()), LLM),
    Row("eventtree.time_to_first_token", "time_to_first_token", lambda told: told.event.time_to_first_token, LLM),
    *(Row(f"llm.token_count.{name}", "usage", _usage(ours), PRICED) for name, ours in TOKENS.items()),
    Row("llm.cost.prompt", "cost", lambda told: told.cost("input_usd")),
    Row("llm.cost.completion", "cost", lambda told: told.cost("output_usd")),
    Row("llm.cost.total", "cost", lambda told: told.cost()),
    Row("llm.input_messages.*", "inputs", lambda told: flat_messages(told.input_messages) or None, TALKS),
    Row("llm.output_messages.*", "outputs", lambda told: flat_messages(told.output_messages) or None, TALKS),
    Row("tool.name", "name", lambda told: told.event.name, {Kind.TOOL}),
    Row("tool.id", "outputs", lambda told: value_text(told.field(told.event.outputs, "tool_call_id")), {Kind.TOOL}),
    Row("agent.name", "name", lambda told: told.event.name, {Kind.AGENT}),
    Row("retrieval.documents.*", "outputs", lambda told: flat_documents(told.event.outputs), RETRIEVER),
    Row("reranker.query", "inputs", lambda told: value_text(told.field(told.event.inputs, "query")), RERANKER),
    Row("reranker.input_documents.*", "inputs", lambda told: flat_documents(told.event.inputs), RERANKER),
    Row("reranker.output_documents.*", "outputs", lambda told: flat_documents(told.event.outputs), RERANKER),
    Row("embedding.embeddings.*", "inputs", _flat_texts, {Kind.EMBEDDING}),
    Row("input.value", "inputs", lambda told: value_text(whole_input(told)), set(Kind) - RERANKER),
    Row("input.mime_type", "inputs", lambda told: mime_type(whole_input(told)), set(Kind) - RERANKER),
    Row("output.value", "outputs", lambda told: value_text(whole_output(told))),
    Row("output.mime_type", "outputs", lambda told: mime_type(whole_output(told))),
)
