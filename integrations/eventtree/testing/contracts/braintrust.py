"""Braintrust by contracts/braintrust.md: the public REST inserts, feedback, projects, experiments and login.

State: rows go to a project or experiment that exists, a parent's span_id must be known in the same trace before its
child names it, an id seen again is an upsert (counted), an id twice in one request is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from eventtree.testing.contracts.contract import (
    Call,
    Handler,
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
    EpochSeconds,
    IsoTime,
    NumbersOnly,
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

MAX_BYTES = 6 * 1024 * 1024  # B.1, Limits
SLACK_SECONDS = 0.05
PARTS = {  # B.4: these count a part of what the other counts
    "prompt_cached_tokens": "prompt_tokens",
    "prompt_cache_creation_tokens": "prompt_tokens",
    "prompt_audio_tokens": "prompt_tokens",
    "completion_reasoning_tokens": "completion_tokens",
    "completion_audio_tokens": "completion_tokens",
    "completion_image_tokens": "completion_tokens",
}


def parts_within_totals(metrics: Any) -> Any:
    """B.4: a subset of the tokens is not larger than the whole."""
    for part, whole in PARTS.items():
        if metrics.get(part, 0) > metrics.get(whole, float("inf")):
            raise wrong(f"{part} is a subset of {whole} and cannot be larger")
    return metrics


def first_token_after_end(metrics: Any) -> bool:
    """B.4: time_to_first_token is in seconds, so it is not longer than the span."""
    elapsed = seconds_between(metrics, "start", "end", default=float("inf"))
    return bool(metrics.get("time_to_first_token", 0) > elapsed + SLACK_SECONDS)


@opened
class KnownMetrics(TypedDict, total=False):  # B.1 and B.4
    start: EpochSeconds
    end: EpochSeconds
    prompt_tokens: Count
    completion_tokens: Count
    tokens: Count
    prompt_cached_tokens: Count
    prompt_cache_creation_tokens: Count
    prompt_cache_creation_5m_tokens: Count
    prompt_cache_creation_1h_tokens: Count
    completion_reasoning_tokens: Count
    prompt_audio_tokens: Count
    completion_audio_tokens: Count
    completion_image_tokens: Count
    time_to_first_token: Amount
    estimated_cost: Amount


Metrics = Annotated[
    KnownMetrics,
    NumbersOnly,
    wrong_if("total_tokens is not canonical, the total is called tokens", lambda metrics: "total_tokens" in metrics),
    time_order("start", "end"),
    AfterValidator(parts_within_totals),
    wrong_if("time_to_first_token is longer than the span: it is in seconds", first_token_after_end),
]
Scores = dict[str, Annotated[float, Field(ge=0, le=1)] | None]


@opened
class SpanAttributes(TypedDict, total=False):  # B.1: the types of the public specification
    name: str
    type: Literal[
        "llm",
        "score",
        "function",
        "eval",
        "task",
        "tool",
        "automation",
        "facet",
        "preprocessor",
        "classifier",
        "review",
    ]
    purpose: Literal["scorer"]


@opened
class Metadata(TypedDict, total=False):  # B.1: `model` is a named key
    model: str | None


@closed
class Origin(TypedDict, total=False):  # B.1
    object_type: Required[str]
    object_id: Required[str]
    id: Required[str]
    _xact_id: str
    created: IsoTime


@opened
class Function(TypedDict):  # B.4: a tool call's arguments are text
    name: str
    arguments: str


@opened
class ToolCall(TypedDict):  # B.4
    id: str
    type: Literal["function"]
    function: Function


@opened
class Message(TypedDict, total=False):  # B.4, 'LLM input': an OpenAI chat message
    role: Required[Literal["system", "developer", "user", "assistant", "tool", "function"]]
    content: Required[str | list[Object] | None]
    tool_calls: list[ToolCall]


@opened
class Choice(TypedDict, total=False):  # B.4, 'LLM output'
    index: Required[Count]
    finish_reason: Required[str | None]
    message: Required[Message]


@closed
class Row(TypedDict, total=False):  # B.1, 'Row fields': all optional, all nullable
    id: Text | None
    span_id: Text | None
    root_span_id: Text | None
    span_parents: list[Text] | None
    span_attributes: SpanAttributes | None
    input: Any
    output: Any
    expected: Any
    error: Any
    scores: Scores | None
    metrics: Metrics | None
    metadata: Metadata | None
    tags: list[str] | None
    context: Object | None
    created: IsoTime | None
    origin: Origin | None
    facets: dict[str, str] | None
    _is_merge: bool | None
    _merge_paths: list[list[str]] | None
    _array_delete: list[Object] | None
    _object_delete: bool | None
    _parent_id: str | None


@closed
class Insert(TypedDict):  # B.1
    events: list[Any]


@closed
class Project(TypedDict, total=False):  # B.3
    name: Required[Text]
    description: str
    org_name: str


@closed
class Experiment(TypedDict, total=False):  # B.3
    project_id: Required[Uuid]
    name: Text
    description: str
    repo_info: Object
    base_exp_id: Uuid
    dataset_id: Uuid
    dataset_version: str
    public: bool
    metadata: Object
    tags: list[str]
    ensure_new: bool


@closed
class FeedbackItem(TypedDict, total=False):  # B.3
    id: Required[Text]
    scores: Scores
    expected: Any
    comment: str
    metadata: Object
    source: Literal["app", "api", "external"]
    tags: list[str]


@closed
class Feedback(TypedDict):  # B.3
    feedback: list[FeedbackItem]


@dataclass
class BraintrustState(VendorState):
    """The objects of Braintrust (projects and experiments), their rows, and the spans of each trace in them."""

    projects: dict[str, str] = field(default_factory=dict)
    experiments: dict[str, Json] = field(default_factory=dict)
    rows: set[tuple[str, str]] = field(default_factory=set)
    spans: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @property
    def all_projects(self) -> set[str]:
        """Ids of the projects that exist."""
        return {*self.projects.values(), *self.options.braintrust_projects}


def check_model_call(row: Json) -> None:
    """B.4: a row of type llm holds OpenAI messages in and choices out, where it holds any (B.1: all is optional)."""
    if (row.get("span_attributes") or {}).get("type") != "llm":
        return
    for name, table in (("input", list[Message]), ("output", list[Choice])):
        if row.get(name) is not None:
            parse(table, row[name], name)


def check_place(row: Json, object_id: str, state: BraintrustState, fresh: dict[tuple[str, str, str], str]) -> None:
    """B.1, 'Nesting and roots': parents are span_ids (not row ids) already known in this trace."""
    span_id, root_id, parents = row.get("span_id"), row.get("root_span_id"), row.get("span_parents") or []
    if (span_id is None) != (root_id is None):
        raise refuse("span_id and root_span_id go together", "root_span_id")
    if span_id is None:
        if parents:
            raise refuse("a row with parents needs a span_id and a root_span_id", "span_parents")
        return
    for parent in parents:
        if parent == span_id:
            raise refuse("a span cannot be its own parent", "span_parents")
        if (object_id, root_id, parent) not in state.spans.keys() | fresh.keys():
            raise refuse("names no span_id that came before in this trace", "span_parents")
    span = (object_id, root_id, span_id)
    owner = state.spans.get(span, fresh.get(span))
    if owner is not None and owner != row.get("id"):
        raise refuse("span_id already belongs to another row", "span_id")
    fresh[span] = row.get("id") or ""


def check_row(
    raw: Json, object_id: str, state: BraintrustState, fresh: dict[tuple[str, str, str], str], seen: set[str]
) -> str:
    """Check one row and return its id; nothing is kept yet."""
    row = parse(Row, known_keys(Row, raw, drop=state.options.open_rows))
    check_model_call(row)
    row_id = row.get("id") or new_id()
    if row_id in seen:
        raise refuse("id comes twice in one request: combine the rows first", "id")
    seen.add(row_id)
    is_update = row.get("_is_merge") and (object_id, row_id) in state.rows
    if not is_update:
        check_place(row, object_id, state, fresh)
    if state.options.refuse_repeats:
        state.is_repeat("event", row_id, raw, "id")
    return str(row_id)


def insert(object_id: str, call: Call, state: BraintrustState) -> Reply:
    """B.1: all rows or an error; row_ids are in the order of the rows."""
    rows = parse(Insert, call.body)["events"]
    fresh: dict[tuple[str, str, str], str] = {}
    seen: set[str] = set()
    ids = []
    for index, raw in enumerate(rows):
        try:
            ids.append(check_row(raw, object_id, state, fresh, seen))
        except Refusal as refusal:
            flaws = (flaw._replace(at=("events", index, *flaw.at)) for flaw in refusal.flaws)
            raise Refusal(*flaws, status=refusal.status) from None
    state.spans |= fresh
    state.rows |= {(object_id, row_id) for row_id in ids}
    for row_id, raw in zip(ids, rows, strict=True):
        state.keep("event", row_id, raw)
    return Reply({"row_ids": ids})


def give_feedback(object_id: str, call: Call, state: BraintrustState) -> Reply:
    """B.3: feedback is about a row that was inserted before."""
    items = parse(Feedback, call.body)["feedback"]
    for index, item in enumerate(items):
        if (object_id, item["id"]) not in state.rows:
            raise refuse("names a row that was never inserted", "feedback", index, "id")
    for item in items:
        state.keep("feedback", item["id"], item)
    return Reply({"status": "success"})


def of(what: Literal["project", "experiment"], act: Callable[[str, Call, BraintrustState], Reply]) -> Handler:
    """B.1, B.3: the act on a project or an experiment; the path's id is the UUID of one that exists."""

    def handle(call: Call, state: BraintrustState) -> Reply:
        object_id = parse(Uuid, call.args["object_id"], "path")
        if object_id not in (state.all_projects if what == "project" else state.experiments):
            raise refuse(f"unknown {what}", "path", status=403)
        return act(object_id, call, state)

    return handle


def post_project(call: Call, state: BraintrustState) -> Reply:
    """B.3: get or create."""
    project = parse(Project, call.body)
    project_id = state.projects.setdefault(project["name"], new_id())
    return Reply({"id": project_id, "org_id": "org", "name": project["name"]})


def get_projects(call: Call, state: BraintrustState) -> Reply:
    """B.3, GET /v1/project?project_name=."""
    wanted = call.query.get("project_name")
    found = [(name, ident) for name, ident in state.projects.items() if wanted in (None, name)]
    return Reply({"objects": [{"id": ident, "org_id": "org", "name": name} for name, ident in found]})


def post_experiment(call: Call, state: BraintrustState) -> Reply:
    """B.3: the one of this name, unless ensure_new asks for another."""
    asked = parse(Experiment, call.body)
    if asked["project_id"] not in state.all_projects:
        raise refuse("unknown project", "project_id", status=403)
    key = (asked["project_id"], asked.get("name"))
    same = [one for one in state.experiments.values() if (one["project_id"], one["name"]) == key]
    if same and key[1] is not None and not asked.get("ensure_new"):
        return Reply(same[0])
    experiment_id = new_id()
    name = f"{key[1]}-{experiment_id[:8]}" if same or key[1] is None else key[1]
    state.experiments[experiment_id] = {"id": experiment_id, "project_id": key[0], "name": name}
    return Reply(state.experiments[experiment_id])


def login(call: Call, state: BraintrustState) -> Reply:
    """B.0: the bearer header and no body; the answer names the data plane."""
    return Reply({"org_info": [{"id": "org", "name": "org", "api_url": call.url, "proxy_url": call.url}]})


VERSION = {"version": "test", "logs3_payload_max_bytes": MAX_BYTES}  # B.1, Limits: a server may announce its limit

BRAINTRUST = VendorRules(
    name="braintrust",
    prefixes=("/v1/project", "/v1/project_logs", "/v1/experiment", "/api", "/version"),
    routes=(
        Route("POST", "/v1/project", post_project),
        Route("GET", "/v1/project", get_projects, has_body=False),
        Route("POST", "/v1/experiment", post_experiment),
        Route("POST", "/v1/project_logs/<object_id>/insert", of("project", insert)),
        Route("POST", "/v1/project_logs/<object_id>/feedback", of("project", give_feedback)),
        Route("POST", "/v1/experiment/<object_id>/insert", of("experiment", insert)),
        Route("POST", "/v1/experiment/<object_id>/feedback", of("experiment", give_feedback)),
        Route("POST", "/api/apikey/login", login, has_body=False),
        Route("GET", "/version", lambda call, state: Reply(VERSION), has_body=False),
    ),
    state=BraintrustState,
    auth="bearer",
    refusal_status=400,
    error_body=lambda status, refusal: str(refusal),  # B.1: no fixed shape; this is plain text
    max_bytes=MAX_BYTES,
)
