"""OTLP 1.9 over HTTP and the GenAI conventions v0.1.0, by the sections of contracts/otlp.md.

Takes protobuf and JSON, gzip or not, at `/v1/traces` and `/v1/logs` and below the paths of Langfuse and LangSmith; and
what Phoenix, MLflow and Langfuse take as feedback. Stricter than most backends: every known attribute must have its
type, messages must be valid against the released schemas (restated here as tables), content may be on a span once.
Order is free: a parent may come after its children.
"""

from __future__ import annotations

import base64
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from eventtree.testing.contracts.contract import (
    Call,
    Incoming,
    Json,
    Reply,
    Route,
    VendorRules,
    VendorState,
    decompressed,
    new_id,
    refuse,
    strict_json,
)
from eventtree.testing.contracts.fields import Text, opened, parse, wrong, wrong_if

MAX_BYTES = 20 * 1024 * 1024  # 4
PROTOBUF, JSON_TYPE = "application/x-protobuf", "application/json"
IDS = ("traceId", "spanId", "parentSpanId")


# 4: the bytes


def read_message(module: str, name: str, incoming: Incoming) -> Json:
    """Decompress and decode a body; protobuf becomes its JSON form."""
    content_type = incoming.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in (PROTOBUF, JSON_TYPE):
        raise refuse(f"content type is {content_type or 'missing'}, not {JSON_TYPE} or {PROTOBUF}", status=415)
    body = decompressed(incoming)
    if content_type == JSON_TYPE:
        return strict_json(body)
    try:
        from google.protobuf.json_format import MessageToDict

        message = getattr(importlib.import_module(f"opentelemetry.proto.{module}_pb2"), name)
    except ImportError:
        raise refuse("protobuf needs pip install 'eventtree[otlp]'", status=501) from None
    try:
        form = MessageToDict(message.FromString(body), use_integers_for_enums=True)
    except Exception:  # noqa: BLE001  (protobuf's errors are of whichever of its implementations is there)
        raise refuse(f"body is no {name}") from None
    return in_hex(form)


def in_hex(form: Json) -> Json:
    """4: ids are hex in OTLP's JSON, where protobuf's own JSON has base64."""
    if isinstance(form, list):
        return [in_hex(one) for one in form]
    if isinstance(form, dict):
        return {key: base64.b64decode(one).hex() if key in IDS else in_hex(one) for key, one in form.items()}
    return form


read_traces = partial(read_message, "collector.trace.v1.trace_service", "ExportTraceServiceRequest")
read_logs = partial(read_message, "collector.logs.v1.logs_service", "ExportLogsServiceRequest")


# 4: the messages


def hex_of(digits: int) -> AfterValidator:
    """The rule of an id of so many hex digits."""
    return wrong_if(f"is not {digits} hex digits", lambda value: not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", value))


NOT_ZERO = wrong_if("is all zero", lambda value: not value.strip("0"))
TraceId = Annotated[str, hex_of(32), NOT_ZERO]
SpanId = Annotated[str, hex_of(16), NOT_ZERO]
Whole = Annotated[str, wrong_if("is no 64-bit integer as text", lambda value: not re.fullmatch(r"-?\d{1,20}", value))]
"""64-bit integers are text in JSON."""


@opened
class Value(TypedDict, total=False):  # AnyValue
    stringValue: str
    boolValue: bool
    intValue: Whole
    doubleValue: float | Literal["NaN", "Infinity", "-Infinity"]
    arrayValue: dict[str, Any]
    kvlistValue: dict[str, Any]
    bytesValue: str


@opened
class Attribute(TypedDict):  # KeyValue
    key: Text
    value: Annotated[Value, wrong_if("has several values", lambda value: len(value) > 1)]


@opened
class Happened(TypedDict, total=False):  # Span.Event
    timeUnixNano: Whole
    name: Required[Text]
    attributes: list[Attribute]


@opened
class Link(TypedDict, total=False):  # Span.Link
    traceId: Required[TraceId]
    spanId: Required[SpanId]
    attributes: list[Attribute]


@opened
class Status(TypedDict, total=False):  # Status: unset, ok, error
    message: str
    code: Annotated[int, Field(ge=0, le=2)]


@opened
class Span(TypedDict, total=False):  # Span
    traceId: Required[TraceId]
    spanId: Required[SpanId]
    parentSpanId: SpanId
    name: Required[Text]
    kind: Annotated[int, Field(ge=0, le=5)]
    startTimeUnixNano: Whole
    endTimeUnixNano: Whole
    attributes: list[Attribute]
    events: list[Happened]
    links: list[Link]
    status: Status


@opened
class LogRecord(TypedDict, total=False):  # LogRecord, of an evaluation
    traceId: Required[TraceId]
    spanId: Required[SpanId]
    eventName: Required[Literal["gen_ai.evaluation.result"]]
    attributes: Required[list[Attribute]]


# 1: messages, by the released schemas


@opened
class Part(TypedDict):  # GenericPart: any type
    type: str


REQUIRED_OF_PART: Mapping[str, Mapping[str, type]] = {
    "text": {"content": str},
    "reasoning": {"content": str},
    "tool_call": {"name": str},
    "tool_call_response": {"response": object},
    "server_tool_call": {"name": str, "server_tool_call": dict},
    "server_tool_call_response": {"server_tool_call_response": dict},
    "blob": {"modality": str, "content": str},
    "uri": {"modality": str, "uri": str},
    "file": {"modality": str, "file_id": str},
}
"""Type of a part → its required keys and their types."""


def fits_its_type(part: Any) -> Any:
    """The schemas let any part pass as a generic one; a part of a known type is held to that type."""
    for key, kind in REQUIRED_OF_PART.get(part["type"], {}).items():
        if not isinstance(part.get(key), kind) if kind is not object else key not in part:
            raise wrong(f"a part of type {part['type']} needs {key}")
    return part


AnyPart = Annotated[Part, AfterValidator(fits_its_type)]


@opened
class Message(TypedDict, total=False):  # ChatMessage and OutputMessage
    role: Required[str]
    parts: Required[list[AnyPart]]
    name: str | None
    finish_reason: str | None


@opened
class Tool(TypedDict):  # GenericToolDefinition
    type: str
    name: str


@opened
class Document(TypedDict, total=False):  # RetrievalDocument
    id: str | None
    score: float | int | None


SCHEMAS: Mapping[str, Any] = {
    "gen_ai.input.messages": list[Message],
    "gen_ai.output.messages": list[Message],
    "gen_ai.system_instructions": list[AnyPart],
    "gen_ai.tool.definitions": list[Tool],
    "gen_ai.retrieval.documents": list[Document],
}
"""Attribute, which holds JSON text → its schema."""


# 1 and 2: attributes

OPERATIONS = frozenset(
    {"chat", "text_completion", "generate_content", "embeddings", "retrieval", "execute_tool", "invoke_agent"}
    | {"invoke_workflow", "create_agent", "plan", "fetch_response"}
)
KINDS = frozenset(
    {"LLM", "EMBEDDING", "CHAIN", "RETRIEVER", "RERANKER", "TOOL", "AGENT", "GUARDRAIL", "EVALUATOR", "PROMPT"}
)
TYPES: tuple[tuple[str, str], ...] = (
    (r"gen_ai\.usage\.cost(\.amount)?", "doubleValue"),
    (r"gen_ai\.usage\.cost\.(currency|source)", "stringValue"),
    (r"gen_ai\.usage\..*tokens", "intValue"),
    (r"gen_ai\.request\.(temperature|top_p|frequency_penalty|presence_penalty)", "doubleValue"),
    (r"gen_ai\.request\.(max_tokens|seed|top_k|choice\.count)", "intValue"),
    (r"gen_ai\.request\.(stop_sequences|encoding_formats)", "arrayValue"),
    (r"gen_ai\.request\.stream", "boolValue"),
    (r"gen_ai\.response\.finish_reasons", "arrayValue"),
    (r"gen_ai\.response\.time_to_first_chunk", "doubleValue"),
    (r"gen_ai\.(embeddings\.dimension\.count|retrieval\.top_k)", "intValue"),
    (r"gen_ai\.evaluation\.score\.value", "doubleValue"),
    (r"gen_ai\..*", "stringValue"),
    (r"llm\.token_count\..*", "intValue"),
    (r"llm\.cost\..*", "doubleValue"),
    (r".*\.document\.score", "doubleValue"),
    (r"langfuse\.observation\.prompt\.version", "intValue"),
    (r"tag\.tags|langfuse\.trace\.tags", "arrayValue"),
    (r"(llm|openinference|langfuse|langsmith|mlflow|session|user|input|output|metadata|error)\b.*", "stringValue"),
)
"""Attribute → its type; the first that fits."""
TWICE = (("input.value", "gen_ai.input.messages"), ("output.value", "gen_ai.output.messages"),
         ("input.value", "gen_ai.tool.call.arguments"), ("output.value", "gen_ai.tool.call.result"))  # fmt: skip


def check_attributes(listed: Json, *at: str | int) -> dict[str, Json]:
    """Each once, and of its type; the values by name."""
    found: dict[str, Json] = {}
    for one in listed or ():
        key, value = one["key"], one["value"]
        if key in found:
            raise refuse("comes twice", *at, key)
        kind = next((kind for pattern, kind in TYPES if re.fullmatch(pattern, key)), None)
        if kind is not None and kind not in value:
            raise refuse(f"must be {kind}, not {', '.join(value) or 'empty'}", *at, key)
        found[key] = next(iter(value.values()), None)
    return found


def check_meaning(known: dict[str, Json], *at: str | int) -> None:
    """1 and 2: the words of the conventions, and what goes with them."""
    operation = known.get("gen_ai.operation.name")
    if operation is not None and operation not in OPERATIONS:
        raise refuse(f"{operation!r} is no operation", *at, "gen_ai.operation.name")
    if operation in ("chat", "text_completion", "embeddings") and "gen_ai.provider.name" not in known:
        raise refuse("is required on calls of models", *at, "gen_ai.provider.name")
    kind = known.get("openinference.span.kind")
    if kind is not None and kind not in KINDS:
        raise refuse(f"{kind!r} is no kind", *at, "openinference.span.kind")
    for one, other in TWICE:
        if one in known and other in known:
            raise refuse(f"says again what {other} says", *at, one)
    for name, count in known.items():
        if name.endswith("tokens") and name.startswith("gen_ai.usage.") and str(count).startswith("-"):
            raise refuse("is less than zero", *at, name)
    for name, schema in SCHEMAS.items():
        if name in known:
            try:
                value = json.loads(known[name])
            except ValueError:
                raise refuse("is no JSON", *at, name) from None
            parse(schema, value, *at, name)


# What is sent


@dataclass
class OtlpState(VendorState):
    """The spans a backend has: by trace and span id, and in which trace each span id is."""

    spans: dict[tuple[str, str], str] = field(default_factory=dict)


def grouped(body: Json, outer: str, middle: str, inner: str) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """The innermost messages of a request, each with its place."""
    if not isinstance(body, dict) or not isinstance(body.get(outer, []), list):
        raise refuse(f"{outer} is missing", outer)
    for at, group in enumerate(body.get(outer, [])):
        check_attributes((group.get("resource") or {}).get("attributes"), outer, at, "resource")
        for number, scope in enumerate(group.get(middle, [])):
            for index, one in enumerate(scope.get(inner, [])):
                yield (outer, at, middle, number, inner, index), one


def export_traces(call: Call, state: OtlpState) -> Reply:
    """4: all spans, or none for a reason."""
    fresh: dict[tuple[str, str], tuple[str, Json]] = {}
    for at, raw in grouped(call.body, "resourceSpans", "scopeSpans", "spans"):
        span = parse(Span, raw, *at)
        place = (span["traceId"].lower(), span["spanId"].lower())
        if place in fresh:
            raise refuse("comes twice in one request", *at, "spanId")
        if span.get("parentSpanId", "").lower() == place[1]:
            raise refuse("a span cannot be its own parent", *at, "parentSpanId")
        if int(span.get("endTimeUnixNano", 0)) < int(span.get("startTimeUnixNano", 0)):
            raise refuse("is before the start", *at, "endTimeUnixNano")
        known = check_attributes(span.get("attributes"), *at)
        for number, happened in enumerate(span.get("events", ())):
            check_attributes(happened.get("attributes"), *at, "events", number)
        check_meaning(known, *at)
        fresh[place] = (known.get("eventtree.id") or ":".join(place), raw)
    if not fresh:
        raise refuse("holds no span", "resourceSpans")
    for place, (ident, raw) in fresh.items():
        state.spans[place] = ident
        state.keep("event", ident, raw)
    return Reply(b"", content_type=PROTOBUF)


def export_logs(call: Call, state: OtlpState) -> Reply:
    """1: evaluations, on spans that are there."""
    found = []
    for at, raw in grouped(call.body, "resourceLogs", "scopeLogs", "logRecords"):
        known = check_attributes(parse(LogRecord, raw, *at)["attributes"], *at)
        if "gen_ai.evaluation.name" not in known:
            raise refuse("is required", *at, "gen_ai.evaluation.name")
        known_span(state, raw["traceId"], raw["spanId"], *at)
        found.append(raw)
    for raw in found:
        state.keep("feedback", raw["spanId"], raw)
    return Reply(b"", content_type=PROTOBUF)


def known_span(state: OtlpState, trace: str | None, span: str, *at: str | int) -> None:
    """Feedback is on a span that was sent."""
    if not any(place[1] == span and trace in (None, place[0]) for place in state.spans):
        raise refuse("names a span that was never sent", *at, "spanId", status=404)


# 3: the calls of single backends for feedback


@opened
class Annotation(TypedDict, total=False):  # Phoenix
    span_id: Required[SpanId]
    name: Required[Text]
    annotator_kind: Required[Literal["LLM", "CODE", "HUMAN"]]
    result: Required[dict[str, Any]]
    identifier: str


@opened
class Annotations(TypedDict):  # Phoenix, `POST /v1/span_annotations`
    data: list[Annotation]


@opened
class Source(TypedDict):  # MLflow
    source_type: Literal["HUMAN", "LLM_JUDGE", "CODE"]
    source_id: str


@opened
class Assessment(TypedDict, total=False):  # MLflow
    assessment_name: Required[Text]
    trace_id: Required[str]
    span_id: SpanId
    source: Required[Source]
    feedback: dict[str, Any]
    expectation: dict[str, Any]


@opened
class Assessments(TypedDict):  # MLflow, `POST /api/3.0/mlflow/traces/{trace}/assessments`
    assessment: Assessment


@opened
class Score(TypedDict, total=False):  # Langfuse, `POST /api/public/scores`
    id: str
    traceId: Required[TraceId]
    observationId: SpanId
    name: Required[Text]
    value: Required[float | int | str]
    dataType: Literal["NUMERIC", "CATEGORICAL", "BOOLEAN", "TEXT"]


def annotate(call: Call, state: OtlpState) -> Reply:
    """Phoenix: with the same identifier it is the same annotation."""
    given = parse(Annotations, call.body)["data"]
    for at, one in enumerate(given):
        known_span(state, None, one["span_id"], "data", at)
    for one in given:
        state.keep("feedback", one.get("identifier", one["span_id"]), one)
    return Reply({"data": [{"id": new_id()} for _ in given]})


def assess(call: Call, state: OtlpState) -> Reply:
    """MLflow: a feedback or an expectation."""
    given = parse(Assessments, call.body)["assessment"]
    if ("feedback" in given) == ("expectation" in given):
        raise refuse("needs either feedback or expectation", "assessment")
    if given["trace_id"] != call.args["trace"]:
        raise refuse("is not the trace of the path", "assessment", "trace_id")
    known_span(state, given["trace_id"].removeprefix("tr-"), given.get("span_id", ""), "assessment")
    state.keep("feedback", given.get("span_id", ""), given)
    return Reply({"assessment": {**given, "assessment_id": f"a-{new_id()}"}})


def score(call: Call, state: OtlpState) -> Reply:
    """Langfuse."""
    given = parse(Score, call.body)
    known_span(state, given["traceId"], given.get("observationId", ""))
    state.keep("feedback", given.get("id", ""), given)
    return Reply({"id": given.get("id", new_id())})


OTLP = VendorRules(
    name="otlp",
    prefixes=("/v1/traces", "/v1/logs", "/v1/span_annotations", "/api/3.0/mlflow", "/api/public", "/otel"),
    routes=(
        *(Route("POST", f"{before}/v1/traces", export_traces, read=read_traces)
          for before in ("", "/api/public/otel", "/otel")),
        Route("POST", "/v1/logs", export_logs, read=read_logs),
        Route("POST", "/v1/span_annotations", annotate),
        Route("POST", "/api/3.0/mlflow/traces/<trace>/assessments", assess),
        Route("POST", "/api/public/scores", score),
    ),
    state=OtlpState,
    auth="optional",
    refusal_status=400,
    error_body=lambda status, refusal: {"code": 3, "message": str(refusal)},  # 4: google.rpc.Status
    max_bytes=MAX_BYTES,
)  # fmt: skip
