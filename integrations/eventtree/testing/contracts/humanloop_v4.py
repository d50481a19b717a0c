"""Humanloop v4 by contracts/humanloop-v4.md: logs one by one or as a bare array, updates, feedback, sessions.

State: a parent must have come in an earlier request of the same session, a log must exist before it is updated or
judged, and an array is taken as a whole or not at all. Only fields of both published specifications are taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, Discriminator, Field, Tag
from typing_extensions import TypedDict

from eventtree.testing.contracts.contract import Call, Json, Refusal, Reply, Route, VendorState, new_id, refuse
from eventtree.testing.contracts.fields import IsoTime, Object, Text, closed, known_keys, parse, wrong, wrong_if
from eventtree.testing.contracts.humanloop import LogFields, Message, ModelFields, TokenFields, humanloop

PAIRS = (("session_id", "session_reference_id"), ("parent_id", "parent_reference_id"))  # 3.2: at most one of each
NEEDED = (("project", "project_id"), ("config", "config_id"))  # 3.2: one of each
DAY_SECONDS = 86_400.0


def one_of_each(log: Any) -> Any:
    """3.2: which keys exclude and which need each other."""
    for pair in NEEDED:
        if not log.keys() & set(pair):
            raise wrong(f"needs {' or '.join(pair)}")
    for pair in PAIRS:
        if log.keys() >= set(pair):
            raise wrong(f"takes at most one of {' and '.join(pair)}")
    return log


@closed
class ModelConfig(ModelFields, total=False):  # 3.2: closed; 3.8: the providers are a closed list
    type: Required[Literal["model"]]
    provider: Literal["openai", "openai_azure", "mock", "anthropic", "cohere", "replicate", "google", "groq"]
    name: str
    description: str
    prompt_template: str
    chat_template: list[Message]
    tools: list[Object]


@closed
class ToolConfig(TypedDict, total=False):  # 3.2
    type: Required[Literal["tool"]]
    name: Required[Text]
    description: str
    parameters: Object
    source_code: str
    other: Object


def type_of(config: Any) -> str | None:
    """3.2: config.type discriminates."""
    return config.get("type") if isinstance(config, dict) else None


Config = Annotated[
    Annotated[ModelConfig, Tag("model")] | Annotated[ToolConfig, Tag("tool")],
    Discriminator(type_of, custom_error_type="config_type", custom_error_message="config.type must be model or tool"),
]


@closed
class InlineFeedback(TypedDict, total=False):  # 3.2, `feedback` on a log
    type: Required[Text]
    value: Required[str]
    data_id: str
    user: str
    created_at: IsoTime


@closed
class Log(LogFields, TokenFields, total=False):  # 3.2
    project: Text
    project_id: Text
    session_id: Text
    session_reference_id: Text
    parent_id: Text
    parent_reference_id: Text
    reference_id: Text
    config: Config
    config_id: Text
    messages: list[Message]
    output_message: Message
    duration: Annotated[float, Field(ge=0, le=DAY_SECONDS)]
    judgment: bool | float
    feedback: InlineFeedback | list[InlineFeedback]


@closed
class Update(TypedDict, total=False):  # 3.3: nothing else can be updated
    output: str
    error: str
    duration: Annotated[float, Field(ge=0, le=DAY_SECONDS)]


@closed
class Feedback(TypedDict, total=False):
    """3.5: the value is text in both specifications; there is no reference_id variant of data_id."""

    type: Required[Text]
    value: str
    data_id: Required[Text]
    user: str
    created_at: IsoTime
    unset: bool


VALUE_OR_UNSET = wrong_if(  # 3.5: the value may be left out only to unset
    "needs a value, or unset: true", lambda item: "value" not in item and item.get("unset") is not True
)


@closed
class Project(TypedDict, total=False):  # 3.1, POST /projects
    name: Required[Text]
    directory_id: str


@closed
class EvaluationLog(TypedDict):  # 3.1, POST /evaluations/{evaluation_id}/log
    datapoint_id: Text
    log: Any


@dataclass
class HumanloopV4State(VendorState):
    """The projects and sessions of Humanloop, and its logs by both kinds of id."""

    projects: dict[str, str] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    session_references: dict[str, str] = field(default_factory=dict)
    logs: dict[str, str | None] = field(default_factory=dict)
    """Session of each log, by its `data_...` id."""
    references: dict[str, str] = field(default_factory=dict)
    """The `data_...` id of each reference_id."""


def session_of(log: Json, state: HumanloopV4State) -> str | None:
    """3.2: an id must exist, a reference makes a session on first use; None where it is still to be made."""
    if "session_id" in log and log["session_id"] not in state.sessions:
        raise refuse("unknown session", "session_id", status=404)
    return log.get("session_id") or state.session_references.get(log.get("session_reference_id"))


def check_parent(log: Json, session: str | None, fresh: set[str], state: HumanloopV4State) -> None:
    """3.2 and 3.4: the parent came in an earlier request of the same session."""
    reference, parent = log.get("parent_reference_id"), log.get("parent_id")
    if reference is None and parent is None:
        return
    key = "parent_id" if reference is None else "parent_reference_id"
    if not log.keys() & {"session_id", "session_reference_id"}:
        raise refuse("a child needs session_id or session_reference_id", key)
    if reference in fresh:
        raise refuse("may not refer to a log in the same request", key)
    known = parent if reference is None else state.references.get(reference, "")
    if known not in state.logs:
        raise refuse("parent was not sent before its child", key)
    if session is None or state.logs[known] != session:
        raise refuse("parent is in another session", key)


def check_log(raw: Json, fresh: set[str], seen: set[str], state: HumanloopV4State) -> Json:
    """Check one log; nothing is kept yet."""
    log = parse(Annotated[Log, AfterValidator(one_of_each)], known_keys(Log, raw, drop=state.options.open_rows))
    # 3.1, 3.2: a project is made by naming it; an id must exist.
    if "project_id" in log and log["project_id"] not in state.projects.values():
        raise refuse("unknown project", "project_id", status=404)
    check_parent(log, session_of(log, state), fresh, state)
    reference = log.get("reference_id")
    if reference is None:
        return log
    if reference in seen:
        raise refuse("reference_id comes twice in one request", "reference_id")
    seen.add(reference)
    state.is_repeat("event", reference, raw, "reference_id")
    return log


def keep_log(raw: Json, log: Json, state: HumanloopV4State) -> Json:
    """Accept a log and answer as 3.3: the reference_id is not echoed."""
    session = session_of(log, state)
    if session is None and "session_reference_id" in log:
        session = state.session_references.setdefault(log["session_reference_id"], new_id("sesh_"))
        state.sessions.add(session)
    project_id = log.get("project_id") or state.projects.setdefault(log["project"], new_id("pr_"))
    data_id = new_id("data_")
    state.logs[data_id] = session
    reference = log.get("reference_id")
    if reference is not None:
        state.references[reference] = data_id
    state.keep("event", reference or data_id, raw)
    return {"id": data_id, "project_id": project_id, "session_id": session}


def take_logs(raws: list[Json], state: HumanloopV4State, *, is_array: bool) -> list[Json]:
    """3.4: all of the array or nothing."""
    references = (raw.get("reference_id") for raw in raws if isinstance(raw, dict))
    fresh = {reference for reference in references if isinstance(reference, str)}
    seen: set[str] = set()
    logs: list[Json] = []
    for index, raw in enumerate(raws):
        try:
            logs.append(check_log(raw, fresh, seen, state))
        except Refusal as refusal:
            place = (index,) if is_array else ()
            flaws = (flaw._replace(at=(*place, *flaw.at)) for flaw in refusal.flaws)
            raise Refusal(*flaws, status=refusal.status) from None
    return [keep_log(raw, log, state) for raw, log in zip(raws, logs, strict=True)]


def post_logs(call: Call, state: HumanloopV4State) -> Reply:
    """3.1: array in, array out."""
    if isinstance(call.body, list):
        return Reply(take_logs(call.body, state, is_array=True))
    return Reply(take_logs([call.body], state, is_array=False)[0])


def update(data_id: str, call: Call, state: HumanloopV4State) -> Reply:
    """3.3."""
    changes = parse(Update, call.body)
    state.keep("update", data_id, call.body)
    return Reply({"id": data_id, **changes})


def patch_by_id(call: Call, state: HumanloopV4State) -> Reply:
    """3.1, PATCH /logs/{id}."""
    if call.args["data_id"] not in state.logs:
        raise refuse("unknown log", "path", status=404)
    return update(call.args["data_id"], call, state)


def patch_by_reference(call: Call, state: HumanloopV4State) -> Reply:
    """3.1, PATCH /logs?reference_id=."""
    reference = call.query.get("reference_id")
    if not reference:
        raise refuse("required query parameter is missing", "query", "reference_id")
    if reference not in state.references:
        raise refuse("unknown log", "query", "reference_id", status=404)
    return update(state.references[reference], call, state)


def check_feedback(item: Json, state: HumanloopV4State, *at: str | int) -> Json:
    """3.5: feedback is about a log that exists."""
    parse(Annotated[Feedback, VALUE_OR_UNSET], item, *at)
    if item["data_id"] not in state.logs:
        raise refuse("unknown log", *at, "data_id", status=404)
    return item


def post_feedback(call: Call, state: HumanloopV4State) -> Reply:
    """3.1 and 3.5: one or an array."""
    is_array = isinstance(call.body, list)
    raws = call.body if is_array else [call.body]
    items = [check_feedback(raw, state, *((index,) if is_array else ())) for index, raw in enumerate(raws)]
    for item in items:
        state.keep("feedback", item["data_id"], item)
    answers = [{"id": new_id("ann_"), **item} for item in items]
    return Reply(answers if is_array else answers[0])


def post_session(call: Call, state: HumanloopV4State) -> Reply:
    """3.1: no body, 201."""
    session_id = new_id("sesh_")
    state.sessions.add(session_id)
    state.keep("session", session_id, None)
    return Reply({"id": session_id}, 201)


def post_project(call: Call, state: HumanloopV4State) -> Reply:
    """3.1: 201."""
    project = parse(Project, call.body)
    return Reply({"id": state.projects.setdefault(project["name"], new_id("pr_")), "name": project["name"]}, 201)


def post_evaluation_log(call: Call, state: HumanloopV4State) -> Reply:
    """3.1: 201."""
    log = parse(EvaluationLog, call.body)["log"]
    return Reply(take_logs([log], state, is_array=False)[0], 201)


HUMANLOOP_V4 = humanloop(
    "v4",
    (
        Route("POST", "/v4/logs", post_logs),
        Route("PATCH", "/v4/logs/<data_id>", patch_by_id),
        Route("PATCH", "/v4/logs", patch_by_reference),
        Route("POST", "/v4/feedback", post_feedback),
        Route("POST", "/v4/sessions", post_session, has_body=False),
        Route("POST", "/v4/projects", post_project),
        Route("POST", "/v4/evaluations/<evaluation_id>/log", post_evaluation_log),
    ),
    HumanloopV4State,
)
