"""Requests HoneyHive refuses; SETUP starts a session with one event in it."""

from __future__ import annotations

from typing import Any

from tests.testing.wrong_requests.wrong import Request, Wrong, without

SESSION = "11111111-1111-4111-8111-111111111111"
OTHER_SESSION = "22222222-2222-4222-8222-222222222222"
ROOT = "33333333-3333-4333-8333-333333333333"
CHILD = "44444444-4444-4444-8444-444444444444"
UNKNOWN = "99999999-9999-4999-8999-999999999999"
START = 1_760_000_000_000


def event(**changes: Any) -> dict[str, Any]:
    good = {
        "event_id": CHILD,
        "session_id": SESSION,
        "parent_id": ROOT,
        "project": "rag",
        "source": "dev",
        "event_name": "llm",
        "event_type": "model",
        "config": {"model": "m", "provider": "p"},
        "inputs": {"chat_history": [{"role": "user", "content": "hi"}]},
        "outputs": {"role": "assistant", "content": "ho"},
        "start_time": START,
        "end_time": START + 250,
        "duration": 250.4,
        "metadata": {"prompt_tokens": 3, "time_to_first_token_ms": 12.5},
    }
    return good | changes


def batch(*events: Any, **more: Any) -> dict[str, Any]:
    return {"events": list(events), **more}


def v1(**changes: Any) -> dict[str, Any]:
    return without(event(**changes), "project")


def session(**changes: Any) -> dict[str, Any]:
    return {"session": {"session_id": SESSION, "session_name": "chat", "source": "dev", "project": "rag"} | changes}


ROOT_EVENT = event(event_id=ROOT, parent_id=SESSION, event_type="chain", event_name="chain")
SETUP: list[Request] = [
    ("POST", "/session/start", session()),
    ("POST", "/session/start", session(session_id=OTHER_SESSION)),
    ("POST", "/events/batch", batch(ROOT_EVENT)),
]

ONE = "/events"
BATCH = "/events/batch"


def wrong_event(name: str, reason: str, at: str = "", /, **changes: Any) -> Wrong:
    return Wrong(name, ONE, {"event": event(**changes)}, f"{at}: {reason}" if at else reason, 400)


NOT_MS = "must be milliseconds since 1970, looks like"
WRONG: list[Wrong] = [
    wrong_event("start in seconds", f"{NOT_MS} seconds", "start_time", start_time=1_760_000_000),
    wrong_event("start in microseconds", f"{NOT_MS} microseconds", "start_time", start_time=START * 1000),
    wrong_event("end in nanoseconds", f"{NOT_MS} nanoseconds", "end_time", end_time=START * 1_000_000),
    wrong_event("start as text", "Input should be a valid integer", "start_time", start_time="2025-10-09T08:53:20Z"),
    wrong_event("start with a fraction", "Input should be a valid integer", "start_time", start_time=START + 0.5),
    wrong_event("end with a fraction", "Input should be a valid integer", "end_time", end_time=START + 0.5),
    wrong_event("end before start", "end_time is before start_time", end_time=START - 1),
    wrong_event("duration in seconds", "duration is not end_time - start_time in milliseconds", duration=0.25),
    wrong_event("duration as text", "Input should be a valid number", "duration", duration="250"),
    wrong_event(
        "first token in nanoseconds",
        "time_to_first_token_ms is longer than the event",
        metadata={"time_to_first_token_ms": 12_500_000},
    ),
    wrong_event(
        "first token without unit",
        "time to first token is time_to_first_token_ms, in milliseconds",
        "metadata",
        metadata={"time_to_first_token": 0.1},
    ),
    wrong_event(
        "tokens as bool", "Input should be a valid integer", "metadata.total_tokens", metadata={"total_tokens": True}
    ),
    wrong_event(
        "upper-case id",
        "is not a canonical lowercase UUID",
        "event_id",
        event_id="ABCDEF00-0000-4000-8000-000000000000",
    ),
    wrong_event("id that is no UUID", "is not a UUID", "event_id", event_id="run-1"),
    wrong_event(
        "null parent",
        "must not be null, leave the key out (Input should be a valid string)",
        "parent_id",
        parent_id=None,
    ),
    wrong_event(
        "null error", "must not be null, leave the key out (Input should be a valid string)", "error", error=None
    ),
    wrong_event("inputs as text", "Input should be a valid dictionary", "inputs", inputs="hi"),
    wrong_event("outputs as list", "Input should be a valid dictionary", "outputs", outputs=["ho"]),
    wrong_event("event type generic", "Input should be 'model', 'tool' or 'chain'", "event_type", event_type="generic"),
    wrong_event("unknown key", "unknown key", "duration_ms", duration_ms=250),
    wrong_event("unknown parent", "parent was not sent before its child", "parent_id", parent_id=UNKNOWN),
    wrong_event("own parent", "an event cannot be its own parent", "parent_id", parent_id=CHILD),
    wrong_event("parent in another session", "parent is in another session", "parent_id", session_id=OTHER_SESSION),
    wrong_event("unknown session", "names a session that was never started", "session_id", session_id=UNKNOWN),
    wrong_event(
        "id seen with other content", "id already seen with other content", "event_id", event_id=ROOT, parent_id=SESSION
    ),
    Wrong("no project", ONE, {"event": without(event(), "project")}, "project: required key is missing", 400),
    Wrong("no config", ONE, {"event": without(event(), "config")}, "config: required key is missing", 400),
    Wrong(
        "no session",
        ONE,
        {"event": without(event(), "session_id")},
        "session_id: required key is missing: the event would be an orphan",
        400,
    ),
    Wrong("event as JSON text", ONE, {"event": "{}"}, "event: Input should be a valid dictionary", 400),
    Wrong("project in v1", "/v1/events", event(), "project: unknown key", 400),
    Wrong("v1 without inputs", "/v1/events", without(v1(), "inputs"), "inputs: required key is missing", 400),
    Wrong(
        "v1 session that is not itself",
        "/v1/events",
        v1(event_type="session"),
        "event_type: a session's event_id is its session_id, and it has no parent",
        400,
    ),
    Wrong(
        "is_single_session in v1",
        "/v1/events/batch",
        batch(v1(), is_single_session=True),
        "is_single_session: unknown key",
        400,
    ),
    Wrong(
        "v1 batch all wrong",
        "/v1/events/batch",
        batch(v1(parent_id=UNKNOWN)),
        "events.0.parent_id: parent was not sent before its child",
        400,
    ),
    Wrong(
        "path of unknown session",
        f"/v1/sessions/{UNKNOWN}/events/batch",
        batch(v1()),
        "session_id: path names a session that was never started",
        400,
    ),
    Wrong(
        "batch all wrong",
        BATCH,
        batch(event(parent_id=None)),
        "events.0.parent_id: must not be null, leave the key out (Input should be a valid string)",
        500,
    ),
    Wrong(
        "id twice in a batch", BATCH, batch(event(), event()), "events.1.event_id: id comes twice in one request", 500
    ),
    Wrong("events not a list", BATCH, {"events": {}}, "events: Input should be a valid list", 400),
    Wrong(
        "session not wrapped",
        "/session/start",
        {"session_id": SESSION},
        "session: required key is missing; session_id: unknown key",
        400,
    ),
    Wrong(
        "session without name",
        "/session/start",
        {"session": without(session()["session"], "session_name")},
        "session.session_name: required key is missing",
        400,
    ),
    Wrong(
        "reserved metadata",
        "/session/start",
        session(metadata={"cost": 1.0}),
        "session.metadata: cost on a session is the server's own",
        400,
    ),
    Wrong(
        "session with other content",
        "/session/start",
        session(source="prod"),
        "session.session_id: id already seen with other content",
        400,
    ),
    Wrong(
        "project on a v1 session", "/v1/sessions", {"session_name": "s", "project": "rag"}, "project: unknown key", 400
    ),
    Wrong(
        "feedback on a v1 session", "/v1/sessions", {"session_name": "s", "feedback": {}}, "feedback: unknown key", 400
    ),
    Wrong(
        "update of unknown event",
        ONE,
        {"event_id": UNKNOWN},
        "event_id: names an event that was never sent",
        400,
        "PUT",
    ),
    Wrong("update of inputs", ONE, {"event_id": ROOT, "inputs": {}}, "inputs: unknown key", 400, "PUT"),
    Wrong(
        "update of reserved metadata",
        ONE,
        {"event_id": SESSION, "metadata": {"num_events": 3}},
        "metadata: num_events on a session is the server's own",
        400,
        "PUT",
    ),
]
