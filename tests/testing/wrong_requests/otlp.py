"""Requests that no OTLP backend should take; SETUP exports a span, on which feedback can be."""

from __future__ import annotations

import json
from typing import Any

from tests.testing.wrong_requests.wrong import Request, Wrong, without

TRACE, SPAN, OTHER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
PATH = "/v1/traces"
AT = "resourceSpans.0.scopeSpans.0.spans.0"
START = 1_760_000_000_000_000_000


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


def span(*attributes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    good = {
        "traceId": TRACE, "spanId": SPAN, "name": "chat m", "kind": 3,
        "startTimeUnixNano": str(START), "endTimeUnixNano": str(START + 5),
        "attributes": [attribute("gen_ai.operation.name", stringValue="chat"),
                       attribute("gen_ai.provider.name", stringValue="openai"), *attributes],
    }  # fmt: skip
    return good | changes


def export(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def annotation(**changes: Any) -> dict[str, Any]:
    return {"data": [{"span_id": SPAN, "name": "fit", "annotator_kind": "HUMAN", "result": {"score": 1}} | changes]}


SETUP: list[Request] = [("POST", PATH, export(span()))]


def wrong(name: str, reason: str, /, *attributes: dict[str, Any], at: str = "", **changes: Any) -> Wrong:
    place = ".".join(filter(None, (AT, at)))
    return Wrong(name, PATH, export(span(*attributes, **changes)), f"{place}: {reason}", 400)


def text(key: str, value: Any) -> dict[str, Any]:
    return attribute(key, stringValue=value if isinstance(value, str) else json.dumps(value))


IN, OUT = "gen_ai.input.messages", "gen_ai.output.messages"
ASSESSMENTS = f"/api/3.0/mlflow/traces/tr-{TRACE}/assessments"
ASSESSED: dict[str, Any] = {
    "assessment_name": "fit", "trace_id": f"tr-{TRACE}", "span_id": SPAN, "feedback": {"value": 1},
    "source": {"source_type": "HUMAN", "source_id": "ada"},
}  # fmt: skip

WRONG = [
    wrong("a trace id in base64", "is not 32 hex digits", at="traceId", traceId="CvdlGRbNQ92ESOshHIAxnA=="),
    wrong("a trace id of zeros", "is all zero", at="traceId", traceId="0" * 32),
    wrong("a span id that is too short", "is not 16 hex digits", at="spanId", spanId="b7ad"),
    wrong("a span id of zeros", "is all zero", at="spanId", spanId="0" * 16),
    wrong("its own parent", "a span cannot be its own parent", at="parentSpanId", parentSpanId=SPAN),
    wrong("no name", "must not be empty", at="name", name=" "),
    wrong("a kind there is not", "Input should be less than or equal to 5", at="kind", kind=9),
    wrong("a kind by name", "Input should be a valid integer", at="kind", kind="SPAN_KIND_CLIENT"),
    wrong("a time as a number", "Input should be a valid string", at="startTimeUnixNano", startTimeUnixNano=START),
    wrong("an end before the start", "is before the start", at="endTimeUnixNano", endTimeUnixNano=str(START - 1)),
    wrong("a status there is not", "Input should be less than or equal to 2", at="status.code", status={"code": 3}),
    wrong("an attribute twice", "comes twice", attribute("x", intValue="1"), attribute("x", intValue="1"), at="x"),
    wrong("tokens as text", "must be intValue, not stringValue", text("gen_ai.usage.input_tokens", "7"),
          at="gen_ai.usage.input_tokens"),
    wrong("tokens below zero", "is less than zero", attribute("gen_ai.usage.output_tokens", intValue="-1"),
          at="gen_ai.usage.output_tokens"),
    wrong("an operation there is not", "'talk' is no operation", at="gen_ai.operation.name",
          attributes=[text("gen_ai.operation.name", "talk")]),
    wrong("a model call without provider", "is required on calls of models", at="gen_ai.provider.name",
          attributes=[text("gen_ai.operation.name", "chat")]),
    wrong("an OpenInference kind there is not", "'UNKNOWN' is no kind", text("openinference.span.kind", "UNKNOWN"),
          at="openinference.span.kind"),
    wrong("messages that are no JSON", "is no JSON", text(IN, "hello"), at=IN),
    wrong("a message without parts", "required key is missing", text(IN, [{"role": "user"}]), at=f"{IN}.0.parts"),
    wrong("a message with content", "required key is missing", text(OUT, [{"role": "x", "content": "y"}]),
          at=f"{OUT}.0.parts"),
    wrong("a text part without content", "a part of type text needs content",
          text(IN, [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}]), at=f"{IN}.0.parts.0"),
    wrong("a tool without a name", "required key is missing", text("gen_ai.tool.definitions", [{"type": "function"}]),
          at="gen_ai.tool.definitions.0.name"),
    wrong("content twice", f"says again what {IN} says", text("input.value", "hi"), text(IN, []), at="input.value"),
    Wrong("a span twice", PATH, export(span(), span()), "resourceSpans.0.scopeSpans.0.spans.1.spanId: "
          "comes twice in one request", 400),
    Wrong("no spans", PATH, {"resourceSpans": []}, "resourceSpans: holds no span", 400),
    Wrong("feedback on nothing", "/v1/span_annotations", annotation(span_id=OTHER),
          "data.0.spanId: names a span that was never sent", 404),
    Wrong("an annotator there is not", "/v1/span_annotations", annotation(annotator_kind="CAT"),
          "data.0.annotator_kind: Input should be 'LLM', 'CODE' or 'HUMAN'", 400),
    Wrong("an assessment of nothing", ASSESSMENTS, {"assessment": without(ASSESSED, "feedback")},
          "assessment: needs either feedback or expectation", 400),
    Wrong("a score without a name", "/api/public/scores", {"traceId": TRACE, "value": 1},
          "name: required key is missing", 400),
]  # fmt: skip
