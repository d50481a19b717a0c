"""Attributes of OTLP's flavors: an event in two dialects, and additions for single backends. Pure.

`GENAI` follows OpenTelemetry's semantic-conventions-genai v0.1.0 (messages: its JSON schemas), with the older spellings
that some backends still require; `OPENINFERENCE` the release 0.1.42, which Phoenix stores; the others Langfuse 3.22,
LangSmith (2026-08) and MLflow 3.17. A span has content once: `input.value` and `output.value` only if no row before
them has it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from eventtree.kinds import OK, JsonValue, Kind
from eventtree.remembered import Remembered
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import as_text, tools_of
from eventtree.serializer.times import first_token, iso, later
from eventtree.serializer.vendor import without_nulls
from eventtree.trace import span_id
from eventtree.vendors import otlp_event as of
from eventtree.vendors.otlp_event import Facts, json_text, value_text
from eventtree.vendors.otlp_wire import KEYS, add

ALL = frozenset(Kind)


class Row(NamedTuple):
    """One attribute: the event's field it reports (`links`: the root's ties to a dataset), its value, as a path in
    `Facts` or a function of it, and the kinds that have it.
    """

    attribute: str
    """A name in `.*` gives an attribute for each leaf of its value, an object or a list. A name in `.value` is text or
    JSON; its `.mime_type` is an attribute too.
    """
    field: str
    value: str | Callable[[Facts], Any]
    kinds: Collection[Kind] = ALL
    is_content: bool = False
    """It reports the whole field: later rows of this content are left out."""
    at_root: bool = False
    """Only a tree's root has it."""


Table = tuple[Row, ...]
WHO = ("session_id", "user", "tags", "framework", "environment", "release")
WHAT = ("kind", "name", "provider", "model", "asked_model", "params", "prompt")
"""Fields that are alike in a tree's events (`WHO`), or in the same run of all trees (`WHAT`). Their attributes are
remembered by them, so their rows may use no other field, except `WHO` of the root and the operation.
"""
WHO_OF, WHAT_OF = attrgetter(*WHO), attrgetter(*WHAT[1:5])
OPTIONAL = ("usage", "cost", "time_to_first_token")
"""Fields that most events don't have. Without one its rows are skipped, like `status` and `error` of a good end."""
NUMBERS = frozenset({int, float, bool})
"""Types whose false values are sent too."""
LONGEST = 8_192
"""Most bytes of remembered attributes."""


class Group:
    """Rows whose attributes are written together."""

    __slots__ = ("known", "rows")

    def __init__(self, rows: Iterable[Row]) -> None:
        """Prepare each row: value, attribute, prefix of its leaves, content field, attribute of its type."""
        self.rows = [
            (attrgetter(row.value) if isinstance(row.value, str) else row.value, KEYS[row.attribute],
             row.attribute[:-1] if row.attribute[-1] == "*" else None, row.field if row.is_content else None,
             KEYS[row.attribute[:-5] + "mime_type"] if row.attribute.endswith(".value") else None)
            for row in rows
        ]  # fmt: skip
        self.known: Remembered[Any, bytes] = Remembered(128)

    def write(self, facts: Facts) -> list[bytes]:
        """The rows' attributes of an event, as fields of its span, in pieces; without empty values."""
        found: list[bytes] = []
        contents = []
        for value_of, key, before, content, beside in self.rows:
            if content is not None and content in contents:
                continue
            value = value_of(facts)
            if not value and (value is None or (beside is None and type(value) not in NUMBERS)):
                continue
            if before is not None:
                for name, one in leaves(value, before):
                    add(found, KEYS[name], one)
            elif beside is None:
                add(found, key, value)
            else:
                add(found, beside, "text/plain" if isinstance(value, str) else "application/json")
                add(found, key, value if isinstance(value, str) else to_json(value))
            if content is not None:
                contents.append(content)
        return found

    def remembered(self, key: Any, facts: Facts) -> bytes:
        """The attributes of an event with this key, written for the first one."""
        known = self.known.get(key)
        if known is None:
            known = b"".join(self.write(facts))
            if len(known) < LONGEST:
                self.known.keep(key, known)
        return known


@cache
def groups_of(flavor: str, kind: Kind, is_root: bool, is_ok: bool, *is_none: bool) -> tuple[Group, ...]:
    """Rows that may give such events an attribute: of `WHO`, of `WHAT`, and all others."""
    absent = {field for field, is_absent in zip(OPTIONAL, is_none, strict=True) if is_absent}
    absent |= {"status", "error"} if is_ok else set()
    rows = [
        row for row in FLAVORS[flavor]
        if kind in row.kinds and row.field not in absent and (is_root or not row.at_root)
    ]  # fmt: skip
    rest = {row.field for row in rows} - {*WHO, *WHAT}
    return tuple(Group([row for row in rows if row.field in fields]) for fields in (WHO, WHAT, rest))


def attributes_of(flavor: str, facts: Facts) -> list[bytes]:
    """An event's attributes, as fields of its span, in pieces."""
    event = facts.event
    who, what, rest = groups_of(
        flavor, event.kind, facts.is_root, event.status is OK,
        event.usage is None, event.cost is None, event.time_to_first_token is None,
    )  # fmt: skip
    asked = None if event.params is None and event.prompt is None else to_json([event.params, event.prompt])
    return [
        who.remembered((WHO_OF(event), WHO_OF(facts.view.root)), facts),
        what.remembered((facts.operation, WHAT_OF(event), asked), facts),
        *rest.write(facts),
    ]


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The values in an object or a list, each with its path as its name: `0.message.role`."""
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(one, dict | list):
            yield from leaves(one, f"{name}{key}.")
        elif one is not None:
            yield f"{name}{key}", one


# Every flavor: attributes of ours, or of tracing in general

MODELS = frozenset({Kind.MODEL, Kind.EMBEDDING})
TALKS = frozenset({Kind.MODEL, Kind.AGENT})
PRICED = frozenset({*MODELS, Kind.RERANKER})
MODEL, TOOL, AGENT, CHAIN, RETRIEVER, RERANKER, EMBEDDING = (
    frozenset({Kind(name)}) for name in ("model", "tool", "agent", "chain", "retriever", "reranker", "embedding")
)


def _dataset(facts: Facts) -> dict[str, str | None]:
    found = facts.view.links(facts.event, ("run_id", "dataset_id", "datapoint_id", "experiment", "expected"))
    return {name: value_text(one) for name, one in found.items()}


def _caller(facts: Facts) -> dict[str, Any]:
    known = facts.view.dataset_field("caller")
    names = {"function": "function.name", "file": "file.path", "line": "line.number"}
    found = known.items() if isinstance(known, dict) else ()
    return {names[key]: one for key, one in found if key in names and isinstance(one, str | int)}


TOTAL = of.dollars("total")
KINDS = {kind: "LLM" if kind is Kind.MODEL else kind.upper() for kind in Kind}
ABOUT: Table = (
    Row("openinference.span.kind", "kind", lambda facts: KINDS[facts.kind]),
    Row("session.id", "session_id", "session"),
    Row("user.id", "user", "user"),
    Row("metadata", "metadata", lambda facts: json_text(views.own_metadata(facts.event) or None)),
    Row("tag.tags", "tags", "event.tags"),
    Row(
        "error.type",
        "error",
        lambda facts: (
            views.failure(facts.event) and ((facts.event.error.type if facts.event.error else "") or "_OTHER")
        ),
    ),
    Row("eventtree.id", "id", "event.id"),
    Row("eventtree.framework", "framework", "event.framework"),
    Row("eventtree.*", "status", lambda facts: views.ended(facts.event)),
    Row("eventtree.usage", "usage", lambda facts: json_text(views.usage_rest(facts.event, PLACED_TOKENS) or None)),
    Row("eventtree.*", "links", _dataset, at_root=True),
    Row("code.*", "links", _caller, at_root=True),
)

# OpenTelemetry's GenAI

PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai", "azure_openai": "azure.ai.openai", "azure_ai": "azure.ai.inference",
    "aws": "aws.bedrock", "bedrock": "aws.bedrock", "amazon_bedrock": "aws.bedrock", "bedrock_converse": "aws.bedrock",
    "google": "gcp.gemini", "google_genai": "gcp.gemini", "gemini": "gcp.gemini", "google_gla": "gcp.gemini",
    "vertexai": "gcp.vertex_ai", "google_vertexai": "gcp.vertex_ai", "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai", "mistralai": "mistral_ai", "xai": "x_ai", "x-ai": "x_ai", "watsonx": "ibm.watsonx.ai",
    "ibm": "ibm.watsonx.ai", "moonshot": "moonshot_ai", "moonshotai": "moonshot_ai",
}  # fmt: skip
"""Our name of a provider → the conventions'; all others (openai, anthropic, cohere, groq, deepseek, …) are the same."""
PARAMS: Mapping[str, tuple[Callable[[JsonValue], Any], tuple[str, ...]]] = {
    "temperature": (of.number, ("temperature",)),
    "top_p": (of.number, ("top_p",)),
    "frequency_penalty": (of.number, ("frequency_penalty",)),
    "presence_penalty": (of.number, ("presence_penalty",)),
    "max_tokens": (of.count, ("max_tokens", "max_completion_tokens", "max_output_tokens")),
    "seed": (of.count, ("seed",)),
    "top_k": (of.count, ("top_k",)),
    "choice.count": (lambda asked: None if asked == 1 else of.count(asked), ("n", "candidate_count")),
    "stop_sequences": (of.texts, ("stop", "stop_sequences")),
    "stream": (lambda asked: asked if isinstance(asked, bool) else None, ("stream", "streaming")),
    "reasoning.level": (lambda asked: of.text_in(asked, "effort"), ("reasoning_effort", "reasoning")),
    "previous_response.id": (as_text, ("previous_response_id",)),
    "encoding_formats": (of.texts, ("encoding_format",)),
}
"""Attribute below `gen_ai.request` → function that makes its value, and the parameter's names."""
SOURCES = {"provider": "provider"}
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
"""Attribute below `gen_ai.usage` → field of `Usage`. Phoenix reads only `cache_creation`, the older spelling."""
PLACED_TOKENS: Collection[str] = {
    "total_tokens", *(name for name in TOKENS.values() if "audio" not in name and "image" not in name)
}  # fmt: skip


def _provider(facts: Facts) -> str | None:
    own = facts.event.provider or (of.UNKNOWN if facts.kind in MODELS else "")
    return PROVIDERS.get(own.lower(), own)


def _query(facts: Facts) -> str | None:
    """A retriever's query, if it has no other inputs."""
    inputs = facts.event.inputs
    return inputs if isinstance(inputs, str) else of.text_in(of.only(inputs, "query"))


GENAI: Table = (
    Row("gen_ai.operation.name", "kind", "operation"),
    Row("gen_ai.provider.name", "provider", _provider, {*MODELS, Kind.RETRIEVER}),
    Row("gen_ai.prompt.name", "prompt", lambda facts: facts.prompt.get("name"), MODEL),
    Row("gen_ai.prompt.version", "prompt", lambda facts: facts.prompt.get("version"), MODEL),
    Row("gen_ai.request.model", "asked_model", "asked_model", PRICED),
    Row("gen_ai.response.model", "model", "event.model", PRICED),
    Row("gen_ai.response.id", "outputs",
        lambda facts: next((one for message in facts.output_messages if (one := of.text_in(message.get("id")))), None),
        MODEL),
    Row("gen_ai.conversation.id", "session_id", "session", {Kind.MODEL, Kind.AGENT, Kind.CHAIN}),
    *(Row(f"gen_ai.request.{name}", "params", of.param(make, *names), MODELS)
      for name, (make, names) in PARAMS.items()),
    Row("gen_ai.output.type", "params",
        of.param(lambda asked: OUTPUT_TYPES.get(of.text_in(asked, "type") or ""), "response_format"), MODELS),
    Row("gen_ai.retrieval.top_k", "params", of.param(of.count, "k", "top_k", "similarity_top_k"), RETRIEVER),
    Row("eventtree.params", "params",
        lambda facts: json_text({key: one for key, one in facts.params.items() if key not in PLACED_PARAMS} or None)),
    Row("gen_ai.response.finish_reasons", "outputs", of.finish_reasons, MODEL),
    Row("gen_ai.response.time_to_first_chunk", "time_to_first_token", lambda facts: first_token(facts.event), MODELS),
    *(Row(f"gen_ai.usage.{name}", "usage", f"event.usage.{ours}", PRICED) for name, ours in TOKENS.items()),
    *(Row(f"gen_ai.usage.{name}", "cost", TOTAL) for name in ("cost", "cost.amount")),
    Row("gen_ai.usage.cost.currency", "cost", lambda facts: None if TOTAL(facts) is None else "USD"),
    Row("gen_ai.usage.cost.source", "cost",
        lambda facts: None if TOTAL(facts) is None else SOURCES.get(as_text(facts.cost.get("source")), "local")),
    Row("eventtree.cost", "cost", lambda facts: json_text(facts.cost)),
    Row("gen_ai.tool.name", "name", "event.name", TOOL),
    Row("gen_ai.tool.type", "kind", lambda facts: "function", TOOL),
    Row("gen_ai.tool.call.id", "outputs",
        lambda facts: of.text_in(facts.outputs.get("tool_call_id") or facts.event.metadata.get("tool_call_id")), TOOL),
    Row("gen_ai.tool.call.arguments", "inputs",
        lambda facts: json_text(one if isinstance(one := facts.event.inputs, dict | None) else {"input": one}),
        TOOL, True),
    Row("gen_ai.tool.call.result", "outputs", lambda facts: as_text(facts.event.outputs), TOOL, True),
    Row("gen_ai.agent.name", "name", "event.name", AGENT),
    *(Row(f"gen_ai.{name}.name", "name", "event.name", CHAIN, at_root=True) for name in ("agent", "workflow")),
    Row("gen_ai.retrieval.query.text", "inputs", _query, RETRIEVER, True),
    Row("gen_ai.retrieval.documents", "outputs",
        lambda facts: json_text(of.documents(of.only(facts.outputs, "documents"))), RETRIEVER, True),
    Row("gen_ai.embeddings.dimension.count", "outputs",
        lambda facts: of.count(facts.outputs.get("dimensions")), EMBEDDING),
    Row("gen_ai.input.messages", "inputs",
        lambda facts: of.messages_text(facts.input_messages, facts.view.forms), TALKS, True),
    Row("gen_ai.output.messages", "outputs",
        lambda facts: of.messages_text(facts.output_messages, facts.view.forms), TALKS, True),
    Row("gen_ai.tool.definitions", "params",
        lambda facts: json_text([*map(of.tool_definition, tools_of(facts.event))] or None), MODEL),
    Row("input.value", "inputs", "event.inputs", is_content=True),
    Row("output.value", "outputs", "event.outputs", is_content=True),
)  # fmt: skip


# OpenInference


def _params_text(facts: Facts) -> bytes | None:
    return json_text({key: one for key, one in facts.params.items() if key != "tools"} or None)


def _embedded(facts: Facts) -> list[dict[str, Any]]:
    texts = of.only(facts.inputs, "texts")
    return [{"embedding": {"text": as_text(one)}} for one in (texts if isinstance(texts, list) else ())]


COUNTS = {
    "prompt": "input_tokens", "completion": "output_tokens", "total": "total_tokens",
    "prompt_details.cache_read": "cache_read_tokens", "prompt_details.cache_write": "cache_write_tokens",
    "prompt_details.audio": "input_audio_tokens", "completion_details.reasoning": "reasoning_tokens",
    "completion_details.audio": "output_audio_tokens",
}  # fmt: skip
OPENINFERENCE: Table = (
    Row("embedding.model_name", "model", "event.model", EMBEDDING),
    Row("reranker.model_name", "model", "event.model", RERANKER),
    *(Row(f"llm.{name}", "model", "event.model", MODEL) for name in ("model_name", "response.model_name")),
    Row("llm.request.model_name", "asked_model", "asked_model", MODEL),
    *(Row(f"llm.{name}", "provider", "event.provider", MODEL) for name in ("provider", "system")),
    Row("prompt.id", "prompt", lambda facts: facts.prompt.get("name"), MODEL),
    Row("llm.prompt_template.version", "prompt", lambda facts: facts.prompt.get("version"), MODEL),
    Row("llm.invocation_parameters", "params", _params_text, MODEL),
    Row("eventtree.params", "params", _params_text, ALL - MODEL),
    Row("llm.tools.*", "params",
        lambda facts: [{"tool": {"json_schema": json_text(tool)}} for tool in tools_of(facts.event)], MODEL),
    Row("llm.finish_reason", "outputs", lambda facts: ", ".join(of.finish_reasons(facts)), MODEL),
    Row("eventtree.time_to_first_token", "time_to_first_token", "event.time_to_first_token", MODEL),
    *(Row(f"llm.token_count.{name}", "usage", f"event.usage.{ours}", PRICED)
      for name, ours in COUNTS.items()),
    Row("llm.cost.prompt", "cost", of.dollars("input")),
    Row("llm.cost.completion", "cost", of.dollars("output")),
    Row("llm.cost.total", "cost", TOTAL),
    Row("llm.input_messages.*", "inputs",
        lambda facts: facts.view.forms.of(facts.input_messages, of.flat_message), TALKS, True),
    Row("llm.output_messages.*", "outputs",
        lambda facts: facts.view.forms.of(facts.output_messages, of.flat_message), TALKS, True),
    Row("tool.name", "name", "event.name", TOOL),
    Row("tool.id", "outputs", lambda facts: as_text(facts.outputs.get("tool_call_id")), TOOL),
    Row("agent.name", "name", "event.name", AGENT),
    Row("retrieval.documents.*", "outputs",
        lambda facts: of.flat_documents(of.only(facts.outputs, "documents")), RETRIEVER, True),
    Row("reranker.output_documents.*", "outputs",
        lambda facts: of.flat_documents(of.only(facts.outputs, "documents")), RERANKER, True),
    Row("reranker.input_documents.*", "inputs",
        lambda facts: of.flat_documents(of.only(facts.inputs, "documents", "query")), RERANKER, True),
    Row("reranker.query", "inputs", lambda facts: as_text(of.only(facts.inputs, "query", "documents")), RERANKER),
    Row("embedding.embeddings.*", "inputs", _embedded, EMBEDDING, True),
    Row("input.value", "inputs", _query, RETRIEVER, True),
    Row("input.value", "inputs",
        lambda facts: None if of.only(facts.inputs, "query") else facts.event.inputs, RERANKER, True),
    Row("input.value", "inputs", "event.inputs", ALL - RERANKER, True),
    Row("output.value", "outputs", "event.outputs", is_content=True),
)  # fmt: skip


# Additions for single backends


def _langfuse_usage(facts: Facts) -> bytes | None:
    """Counts that add up to the total: Langfuse sums them."""
    usage: Any = facts.event.usage
    if usage.total_tokens is None:
        return None
    read, written, thought = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0, usage.reasoning_tokens or 0
    parts = {
        "input": (usage.input_tokens or 0) - read - written, "input_cached_tokens": read,
        "input_cache_creation": written, "output": (usage.output_tokens or 0) - thought,
        "output_reasoning_tokens": thought,
    }  # fmt: skip
    return json_text({**{key: one for key, one in parts.items() if one > 0}, "total": usage.total_tokens})


def _langfuse_version(facts: Facts) -> int | None:
    """The prompt's version: Langfuse's are numbers of 32 bits."""
    version = as_text(facts.prompt.get("version"))
    return int(version) if len(version) < 10 and version.isascii() and version.isdecimal() else None


def _langfuse_experiment(facts: Facts) -> dict[str, str | None]:
    names = {"run_id": "id", "experiment": "name", "dataset_id": "dataset.id", "datapoint_id": "item.id",
             "expected": "item.expected_output"}  # fmt: skip
    known = without_nulls(_dataset(facts))
    found = {theirs: known[ours] for ours, theirs in names.items() if ours in known}
    named = found.get("id") or found.get("name")
    return found | {"id": named, "item.root_observation_id": span_id(facts.event.id)} if named else {}


def _first_token_at(facts: Facts) -> bytes | None:
    waited = first_token(facts.event)
    at = None if waited is None else later(facts.event.start, waited)
    return None if at is None else json_text(iso(at))


def _langsmith_usage(facts: Facts) -> bytes | None:
    usage: Any = facts.event.usage
    cached = {"cache_read": usage.cache_read_tokens, "cache_creation": usage.cache_write_tokens}
    return json_text(without_nulls({
        **{f"{part}_tokens": getattr(usage, f"{part}_tokens") for part in ("input", "output", "total")},
        **{f"{part}_cost": facts.cost.get(f"{part}_usd") for part in ("input", "output", "total")},
        "input_token_details": without_nulls(cached) or None,
        "output_token_details": without_nulls({"reasoning": usage.reasoning_tokens}) or None,
    }) or None)  # fmt: skip


def _langsmith_metadata(facts: Facts) -> dict[str, Any]:
    own = {key: value_text(one) for key, one in views.own_metadata(facts.event).items()}
    return own | without_nulls({"session_id": facts.session, "user_id": facts.user,
                                "ls_provider": facts.event.provider, "ls_model_name": facts.asked_model})  # fmt: skip


LANGSMITH_KINDS = {Kind.MODEL: "llm", Kind.TOOL: "tool", Kind.RETRIEVER: "retriever", Kind.EMBEDDING: "embedding"}
LANGFUSE: Table = (
    Row("langfuse.observation.usage_details", "usage", _langfuse_usage, PRICED),
    Row("langfuse.observation.cost_details", "cost", of.money("{}")),
    Row("langfuse.observation.completion_start_time", "time_to_first_token", _first_token_at, MODEL),
    Row("langfuse.observation.prompt.name", "prompt", lambda facts: facts.prompt.get("name"), MODEL),
    Row("langfuse.observation.prompt.version", "prompt", _langfuse_version, MODEL),
    Row("langfuse.experiment.*", "links", _langfuse_experiment, at_root=True),
    Row("langfuse.trace.name", "name", "event.name", at_root=True),
    Row("langfuse.trace.tags", "tags", "event.tags", at_root=True),
    Row("langfuse.release", "release", "event.release"),
    Row("langfuse.environment", "environment", lambda facts: facts.event.environment or facts.view.root.environment),
)
LANGSMITH: Table = (
    Row("langsmith.span.kind", "kind", lambda facts: LANGSMITH_KINDS.get(facts.kind, "chain")),
    Row("langsmith.trace.name", "name", "event.name"),
    Row("langsmith.span.tags", "tags", lambda facts: ", ".join(facts.event.tags)),
    Row("langsmith.metadata.*", "metadata", _langsmith_metadata),
    Row("langsmith.usage_metadata", "usage", _langsmith_usage, PRICED),
)
MLFLOW: Table = (Row("mlflow.llm.cost", "cost", of.money("{}_cost")),)

FLAVORS: Mapping[str, Table] = {
    "genai": (*ABOUT, *GENAI),
    "openinference": (*ABOUT, *OPENINFERENCE),
    "langfuse": (*ABOUT, *GENAI, *LANGFUSE),
    "langsmith": (*ABOUT, *GENAI, *LANGSMITH),
    "mlflow": (*ABOUT, *GENAI, *MLFLOW),
}
