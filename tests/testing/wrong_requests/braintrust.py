"""Requests Braintrust refuses; the project exists, SETUP writes a root row into it."""

from __future__ import annotations

from typing import Any

from tests.testing.wrong_requests.wrong import Request, Wrong

PROJECT = "55555555-5555-4555-8555-555555555555"
UNKNOWN = "99999999-9999-4999-8999-999999999999"
INSERT = f"/v1/project_logs/{PROJECT}/insert"
FEEDBACK = f"/v1/project_logs/{PROJECT}/feedback"
START = 1_760_000_000.25


def row(**changes: Any) -> dict[str, Any]:
    good = {
        "id": "child",
        "span_id": "child-span",
        "root_span_id": "trace",
        "span_parents": ["root-span"],
        "span_attributes": {"name": "llm", "type": "llm"},
        "input": [{"role": "user", "content": "hi"}],
        "output": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ho"}}],
        "metrics": {"start": START, "end": START + 0.5, "prompt_tokens": 3, "completion_tokens": 2, "tokens": 5},
        "metadata": {"model": "m"},
    }
    return good | changes


def rows(*some: dict[str, Any]) -> dict[str, Any]:
    return {"events": list(some)}


ROOT_ROW = {
    "id": "root",
    "span_id": "root-span",
    "root_span_id": "trace",
    "span_attributes": {"name": "chain", "type": "task"},
    "input": {"question": "hi"},
    "output": "ho",
    "metrics": {"start": START, "end": START + 1},
}
SETUP: list[Request] = [("POST", INSERT, rows(ROOT_ROW))]


def wrong_row(name: str, reason: str, at: str = "", /, **changes: Any) -> Wrong:
    place = f"events.0.{at}" if at else "events.0"
    return Wrong(name, INSERT, rows(row(**changes)), f"{place}: {reason}", 400)


def wrong_metric(name: str, reason: str, at: str = "metrics", /, **metrics: Any) -> Wrong:
    return wrong_row(name, reason, at, metrics={"start": START, "end": START + 0.5, **metrics})


NOT_SECONDS = "must be seconds since 1970, looks like"
MESSAGE = "output.0.message.tool_calls.0.function.arguments"
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}
CHOICE = {
    "index": 0,
    "finish_reason": "tool_calls",
    "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
}
WRONG: list[Wrong] = [
    wrong_metric("start in milliseconds", f"{NOT_SECONDS} milliseconds", "metrics.start", start=START * 1000),
    wrong_metric("end in nanoseconds", f"{NOT_SECONDS} nanoseconds", "metrics.end", end=START * 1e9),
    wrong_metric("end before start", "end is before start", end=START - 1),
    wrong_metric("null metric", "tokens must be a number, not null", tokens=None),
    wrong_metric("bool metric", "cached must be a number, not bool", cached=True),
    wrong_metric("text metric", "start must be a number, not str", start="2025-10-09T08:53:20Z"),
    wrong_metric("fraction of a token", "Input should be a valid integer", "metrics.prompt_tokens", prompt_tokens=3.0),
    wrong_metric("negative tokens", "Input should be greater than or equal to 0", "metrics.tokens", tokens=-1),
    wrong_metric("total_tokens", "total_tokens is not canonical, the total is called tokens", total_tokens=5),
    wrong_metric(
        "part above whole",
        "prompt_cached_tokens is a subset of prompt_tokens and cannot be larger",
        prompt_tokens=3,
        prompt_cached_tokens=4,
    ),
    wrong_metric(
        "first token in ms", "time_to_first_token is longer than the span: it is in seconds", time_to_first_token=120.0
    ),
    wrong_row("score above one", "Input should be less than or equal to 1", "scores.quality", scores={"quality": 5}),
    wrong_row("score as bool", "Input should be a valid number", "scores.good", scores={"good": True}),
    wrong_row(
        "span type",
        "Input should be 'llm', 'score', 'function', 'eval', 'task', 'tool', 'automation', 'facet', 'preprocessor', "
        "'classifier' or 'review'",
        "span_attributes.type",
        span_attributes={"type": "chain"},
    ),
    wrong_row("name on the row", "unknown key", "name", name="llm"),
    wrong_row("tags as map", "Input should be a valid list", "tags", tags={"a": "b"}),
    wrong_row("created without zone", "has no time zone", "created", created="2025-10-09T08:53:20"),
    wrong_row("created as number", "Input should be a valid string", "created", created=START),
    wrong_row("text as input of llm", "Input should be a valid list", "input", input="hi"),
    wrong_row("message without content", "required key is missing", "input.0.content", input=[{"role": "user"}]),
    wrong_row(
        "message role",
        "Input should be 'system', 'developer', 'user', 'assistant', 'tool' or 'function'",
        "input.0.role",
        input=[{"role": "human", "content": "hi"}],
    ),
    wrong_row(
        "message as output of llm",
        "required key is missing; events.0.output.0.finish_reason: required key is missing; "
        "events.0.output.0.message: required key is missing",
        "output.0.index",
        output=[{"role": "assistant", "content": "ho"}],
    ),
    wrong_row("arguments as object", "Input should be a valid string", MESSAGE, output=[CHOICE]),
    wrong_row(
        "unknown parent", "names no span_id that came before in this trace", "span_parents", span_parents=["nobody"]
    ),
    wrong_row(
        "row id as parent", "names no span_id that came before in this trace", "span_parents", span_parents=["root"]
    ),
    wrong_row("own parent", "a span cannot be its own parent", "span_parents", span_parents=["child-span"]),
    wrong_row(
        "parent in another trace",
        "names no span_id that came before in this trace",
        "span_parents",
        root_span_id="other",
    ),
    wrong_row("span without trace", "span_id and root_span_id go together", "root_span_id", root_span_id=None),
    wrong_row(
        "parents without span",
        "a row with parents needs a span_id and a root_span_id",
        "span_parents",
        span_id=None,
        root_span_id=None,
    ),
    wrong_row(
        "span of another row", "span_id already belongs to another row", "span_id", span_id="root-span", span_parents=[]
    ),
    Wrong(
        "child before parent",
        INSERT,
        rows(row(id="b", span_id="b", span_parents=["a"]), row(id="a", span_id="a")),
        "events.0.span_parents: names no span_id that came before in this trace",
        400,
    ),
    Wrong(
        "id twice",
        INSERT,
        rows(row(), row()),
        "events.1.id: id comes twice in one request: combine the rows first",
        400,
    ),
    Wrong("bare array", INSERT, [row()], "Input should be a valid dictionary", 400),
    Wrong(
        "rows instead of events", INSERT, {"rows": [row()]}, "events: required key is missing; rows: unknown key", 400
    ),
    Wrong("project by name", "/v1/project_logs/rag/insert", rows(row()), "path: is not a UUID", 400),
    Wrong("unknown project", f"/v1/project_logs/{UNKNOWN}/insert", rows(row()), "path: unknown project", 403),
    Wrong("unknown experiment", f"/v1/experiment/{UNKNOWN}/insert", rows(row()), "path: unknown experiment", 403),
    Wrong(
        "experiment of unknown project", "/v1/experiment", {"project_id": UNKNOWN}, "project_id: unknown project", 403
    ),
    Wrong("project without name", "/v1/project", {}, "name: required key is missing", 400),
    Wrong("project with empty name", "/v1/project", {"name": " "}, "name: must not be empty", 400),
    Wrong(
        "feedback on unknown row",
        FEEDBACK,
        {"feedback": [{"id": "nobody"}]},
        "feedback.0.id: names a row that was never inserted",
        400,
    ),
    Wrong(
        "feedback without id",
        FEEDBACK,
        {"feedback": [{"comment": "good"}]},
        "feedback.0.id: required key is missing",
        400,
    ),
    Wrong(
        "feedback source",
        FEEDBACK,
        {"feedback": [{"id": "root", "source": "me"}]},
        "feedback.0.source: Input should be 'app', 'api' or 'external'",
        400,
    ),
]
