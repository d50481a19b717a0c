"""HoneyHive by contracts/honeyhive.md: the legacy routes (wrapped bodies) and /v1 (bare, closed bodies).

State: a session must have been started before an event may name it, a parent must have come before its child, in the
same session, an id comes twice only with the same content, and only what exists can be updated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Required

from pydantic import AfterValidator
from typing_extensions import TypedDict

from eventtree.testing.contracts.contract import (
    Call,
    Flaw,
    Json,
    Refusal,
    Reply,
    Route,
    VendorRules,
    VendorState,
    new_id,
    refuse,
)
from eventtree.testing.contracts.fields import (
    Amount,
    Count,
    EpochMs,
    Object,
    Text,
    Uuid,
    closed,
    known_keys,
    opened,
    parse,
    seconds_between,
    time_order,
    wrong,
    wrong_if,
)

RESERVED = {  # A.9: the server overwrites these on sessions
    "num_events",
    "num_model_events",
    "has_feedback",
    "cost",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
}
SLACK_MS = 5.0  # start and end are whole milliseconds, duration may have a fraction
SLACK_SHARE = 0.01


def nothing_reserved(metadata: Object) -> Object:
    """A.9: these keys of a session's metadata are the server's own."""
    taken = sorted(RESERVED & metadata.keys())
    if taken:
        raise wrong(f"{', '.join(taken)} on a session is the server's own")
    return metadata


def duration_in_ms(event: Any) -> Any:
    """A.1: duration is milliseconds too, so it agrees with end - start; the first token came within it."""
    duration = event.get("duration")
    elapsed = seconds_between(event, "start_time", "end_time", default=duration or 0)
    slack = SLACK_MS + SLACK_SHARE * elapsed
    if duration is not None and abs(duration - elapsed) > slack:
        raise wrong("duration is not end_time - start_time in milliseconds")
    first_token = event.get("metadata", {}).get("time_to_first_token_ms", 0)
    if (duration is not None or elapsed) and first_token > elapsed + slack:
        raise wrong("time_to_first_token_ms is longer than the event")
    return event


@opened
class KnownMetadata(TypedDict, total=False):  # A.9: the names of metadata that are read by the vendor's own pages
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    input_tokens: Count
    output_tokens: Count
    cache_read_input_tokens: Count
    cache_write_input_tokens: Count
    reasoning_tokens: Count
    cost: Amount
    latency_ms: Amount
    time_to_first_token_ms: Amount
    finish_reason: str
    model_name: str
    provider: str


Metadata = Annotated[
    KnownMetadata,
    wrong_if(
        "time to first token is time_to_first_token_ms, in milliseconds", lambda known: "time_to_first_token" in known
    ),
]
SessionMetadata = Annotated[Object, AfterValidator(nothing_reserved)]


@opened
class Config(TypedDict, total=False):  # A.9: config of a model event
    model: str
    provider: str
    hyperparameters: Object


class EventFields(TypedDict, total=False):  # A.1, 'Event fields': what both generations share
    project_id: str
    event_id: Uuid
    session_id: Uuid
    parent_id: Uuid
    children_ids: list[Uuid]
    inputs: Required[Object]
    outputs: Object
    error: str
    start_time: EpochMs
    end_time: EpochMs
    metadata: Metadata
    feedback: Object
    metrics: Object
    user_properties: Object


@closed
class LegacyEvent(EventFields, total=False):  # A.1, column '0.2'
    project: Required[Text]
    source: Required[Text]
    event_name: Required[Text]
    event_type: Required[Literal["model", "tool", "chain"]]
    config: Required[Config]
    duration: Required[Amount]


@closed
class V1Event(EventFields, total=False):  # A.1, column 'v1'
    event_type: Required[Literal["model", "tool", "chain", "session"]]
    source: Text
    event_name: Text
    config: Config
    duration: Amount


class SessionFields(TypedDict, total=False):  # A.5: what both generations share
    session_id: Uuid
    config: Object
    inputs: Object
    outputs: Object
    metadata: SessionMetadata
    user_properties: Object
    children_ids: list[Uuid]
    start_time: EpochMs
    end_time: EpochMs
    duration: Amount


@closed
class LegacySession(SessionFields, total=False):  # A.5, POST /session/start
    session_name: Required[Text]
    source: Required[Text]
    project: Required[Text]
    metrics: Object
    feedback: Object
    error: str


@closed
class V1Session(SessionFields, total=False):  # A.5, POST /v1/sessions
    session_name: Text
    event_name: Text
    source: Text


@closed
class SessionProperties(TypedDict, total=False):  # A.2, session_properties
    session_id: Uuid
    session_name: Text
    source: Text
    start_time: EpochMs
    config: Object
    inputs: Object
    outputs: Object
    error: str
    metrics: Object
    feedback: Object
    metadata: SessionMetadata
    user_properties: Object


@closed
class LegacyBatch(TypedDict, total=False):  # A.2
    events: Required[list[Any]]
    is_single_session: bool
    single_session: bool
    session_properties: SessionProperties
    session: SessionProperties


@closed
class V1Batch(TypedDict, total=False):  # A.3
    events: Required[list[Any]]
    single_session: bool
    session_properties: SessionProperties


@closed
class SessionBatch(TypedDict):  # A.3, POST /v1/sessions/{session_id}/events/batch
    events: list[Any]


@closed
class WrappedSession(TypedDict):  # A.5: the wrapped object, not the bare one and not JSON text
    session: Object


@closed
class WrappedEvent(TypedDict):  # A.4: an object, not JSON text
    event: Object


@closed
class V1Update(TypedDict, total=False):  # A.4: what an update can change; anything else would be ignored without a word
    metadata: Object
    feedback: Object
    metrics: Object
    outputs: Object
    config: Object
    user_properties: Object
    duration: Amount
    end_time: EpochMs
    children_ids: list[Uuid]


@closed
class LegacyUpdate(V1Update, total=False):  # A.4, PUT /events
    event_id: Required[Uuid]


in_order = time_order("start_time", "end_time")
in_ms = AfterValidator(duration_in_ms)


@dataclass(frozen=True, slots=True)
class Generation:
    """The tables of one generation of the API; `fields` names the keys where the published schema is open."""

    event: Any
    batch: type
    fields: type
    is_open: bool
    status_if_all_are_wrong: int


LEGACY = Generation(Annotated[LegacyEvent, in_order, in_ms], LegacyBatch, LegacyEvent, True, 500)
V1 = Generation(Annotated[V1Event, in_order, in_ms], V1Batch, V1Event, False, 400)


@dataclass
class HoneyHiveState(VendorState):
    """The sessions of HoneyHive, and the session of each event."""

    sessions: set[str] = field(default_factory=set)
    homes: dict[str, str] = field(default_factory=dict)

    conflict_status: ClassVar[int] = 400


@dataclass
class Batch:
    """One batch on its way in: the session its events fall back to, and the ids it has already seen."""

    generation: Generation
    session_id: str | None = None
    overrides: bool = False
    seen: set[str] = field(default_factory=set)


def session_of(event: Json, batch: Batch, state: HoneyHiveState) -> str:
    """A.2, A.3, A.10: the session an event goes to must have been started, else the event is an orphan."""
    named = event.get("session_id")
    session_id = batch.session_id if batch.overrides else named or batch.session_id
    if session_id is None:
        raise refuse("required key is missing: the event would be an orphan", "session_id")
    if session_id not in state.sessions:
        raise refuse("names a session that was never started", "session_id")
    return str(session_id)


def check_parent(event: Json, session_id: str, state: HoneyHiveState) -> None:
    """A.1: a parent is the session or an event that came before, in the same session."""
    parent_id = event.get("parent_id", session_id)
    if parent_id == event.get("event_id"):
        raise refuse("an event cannot be its own parent", "parent_id")
    if parent_id == session_id:
        return
    if parent_id not in state.homes:
        raise refuse("parent was not sent before its child", "parent_id")
    if state.homes[parent_id] != session_id:
        raise refuse("parent is in another session", "parent_id")


def start_by_event(event: Json, state: HoneyHiveState) -> str:
    """A.1: an event of type session is the session itself: its id is the session's, and it has no parent."""
    event_id = event.get("event_id")
    if event_id is None or event.get("session_id", event_id) != event_id or "parent_id" in event:
        raise refuse("a session's event_id is its session_id, and it has no parent", "event_type")
    state.sessions.add(event_id)
    state.keep("session", event_id, event)
    return str(event_id)


def take_event(raw: Json, batch: Batch, state: HoneyHiveState) -> str:
    """Accept one event and return its id."""
    drop = state.options.open_rows and batch.generation.is_open
    event = parse(batch.generation.event, known_keys(batch.generation.fields, raw, drop=drop))
    if event["event_type"] == "session":
        return start_by_event(event, state)
    event_id = event.get("event_id") or new_id()
    if event_id in batch.seen:
        raise refuse("id comes twice in one request", "event_id")
    batch.seen.add(event_id)
    session_id = session_of(event, batch, state)
    check_parent(event, session_id, state)
    state.is_repeat("event", event_id, raw, "event_id")
    state.homes[event_id] = session_id
    state.keep("event", event_id, raw)
    return str(event_id)


def take_batch(events: list[Json], batch: Batch, state: HoneyHiveState) -> Reply:
    """A.2, A.3: take what is right; 500 with the ids of the created ones when something was wrong."""
    created: list[str] = []
    flaws: list[Flaw] = []
    for index, raw in enumerate(events):
        try:
            created.append(take_event(raw, batch, state))
        except Refusal as refusal:
            flaws += (flaw._replace(at=("events", index, *flaw.at)) for flaw in refusal.flaws)
    if flaws and not created and batch.generation.status_if_all_are_wrong != 500:
        raise Refusal(*flaws, status=batch.generation.status_if_all_are_wrong)
    body: dict[str, Json] = {"event_ids": created, "success": not flaws}
    if batch.session_id is not None:
        body["session_id"] = batch.session_id
    if not flaws:
        return Reply(body)
    texts = [str(flaw) for flaw in flaws]
    return Reply({**body, "errors": texts}, 500, problem="; ".join(texts))


def open_single_session(envelope: Json, state: HoneyHiveState) -> str | None:
    """A.2: with is_single_session the call starts a session of its own, built from session_properties."""
    if not (envelope.get("is_single_session") or envelope.get("single_session")):
        return None
    properties = envelope.get("session_properties", envelope.get("session", {}))
    session_id = properties.get("session_id") or new_id()
    if session_id not in state.sessions:
        state.sessions.add(session_id)
        state.keep("session", session_id, properties)
    return str(session_id)


def post_batch(generation: Generation) -> Callable[[Call, HoneyHiveState], Reply]:
    """Make the handler of POST /events/batch or /v1/events/batch."""

    def handle(call: Call, state: HoneyHiveState) -> Reply:
        envelope = parse(generation.batch, call.body)
        batch = Batch(generation, open_single_session(envelope, state))
        return take_batch(envelope["events"], batch, state)

    return handle


def post_session_batch(call: Call, state: HoneyHiveState) -> Reply:
    """A.3: the session of the path overrides the events' own; the answer names no ids."""
    events = parse(SessionBatch, call.body)["events"]
    session_id = parse(Uuid, call.args["session_id"], "path")
    if session_id not in state.sessions:
        raise refuse("path names a session that was never started", "session_id")
    reply = take_batch(events, Batch(V1, session_id, overrides=True), state)
    return reply if reply.problem else Reply({"success": True})


def post_event_legacy(call: Call, state: HoneyHiveState) -> Reply:
    """A.4, POST /events."""
    event_id = take_event(parse(WrappedEvent, call.body)["event"], Batch(LEGACY), state)
    return Reply({"event_id": event_id, "success": True})


def post_event_v1(call: Call, state: HoneyHiveState) -> Reply:
    """A.4, POST /v1/events."""
    return Reply({"event_id": take_event(call.body, Batch(V1), state), "success": True})


def post_session_legacy(call: Call, state: HoneyHiveState) -> Reply:
    """A.5, POST /session/start; what a repeat with other content does is not documented, so it is refused."""
    raw = parse(WrappedSession, call.body)["session"]
    session = parse(
        Annotated[LegacySession, in_order], known_keys(LegacySession, raw, drop=state.options.open_rows), "session"
    )
    session_id = session.get("session_id") or new_id()
    state.is_repeat("session", session_id, raw, "session", "session_id")
    state.sessions.add(session_id)
    state.keep("session", session_id, raw)
    return Reply(session_event(raw, session_id))


def post_session_v1(call: Call, state: HoneyHiveState) -> Reply:
    """A.5, POST /v1/sessions: idempotent on session_id, a repeat merges."""
    session = parse(Annotated[V1Session, in_order], call.body)
    session_id = session.get("session_id") or new_id()
    state.sessions.add(session_id)
    state.keep("session", session_id, call.body)
    name = session.get("event_name") or session.get("session_name") or "unknown"
    return Reply(session_event({**session, "event_name": name}, session_id))


def session_event(session: Object, session_id: str) -> Object:
    """A.5: the answer is the session's event, with the places the key leads to."""
    places = {name: f"{name} of the key" for name in ("org_id", "workspace_id", "project_id")}
    return {**session, **places, "session_id": session_id, "event_id": session_id, "event_type": "session"}


def update(event_id: str, changes: Json, state: HoneyHiveState) -> Reply:
    """A.4: only what exists can be updated; a session's reserved metadata stays the server's.

    It answers with JSON, which the 1.7 client reads.
    """
    if event_id in state.sessions:
        parse(SessionMetadata, changes.get("metadata", {}), "metadata")
    elif event_id not in state.homes:
        raise refuse("names an event that was never sent", "event_id")
    state.keep("update", event_id, changes)
    return Reply({})


HONEYHIVE = VendorRules(
    name="honeyhive",
    prefixes=("/session", "/events", "/v1/sessions", "/v1/events"),
    routes=(
        Route("POST", "/session/start", post_session_legacy),
        Route("POST", "/events/batch", post_batch(LEGACY)),
        Route("POST", "/events", post_event_legacy),
        Route(
            "PUT", "/events", lambda call, state: update(parse(LegacyUpdate, call.body)["event_id"], call.body, state)
        ),
        Route("POST", "/v1/sessions", post_session_v1),
        Route("POST", "/v1/sessions/<session_id>/events/batch", post_session_batch),
        Route("POST", "/v1/events", post_event_v1),
        Route("POST", "/v1/events/batch", post_batch(V1)),
        Route(
            "PUT",
            "/v1/events/<event_id>",
            lambda call, state: update(call.args["event_id"], parse(V1Update, call.body), state),
        ),
    ),
    state=HoneyHiveState,
    auth="bearer",
    refusal_status=400,
    # A.2: the 1.7 client reads these of an error.
    error_body=lambda status, refusal: {"message": str(refusal), "errorCode": str(status)},
)
