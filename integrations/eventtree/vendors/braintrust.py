"""Braintrust: one complete row for each event, into a project's logs or an experiment (contracts/braintrust.md).

Rows go to `/v1/project_logs/{id}/insert`, or with `experiment="…"` to `/v1/experiment/{id}/insert`; a tree whose root
names an experiment (`eventtree_experiment`) goes to that one. Late feedback is merged into its row by `…/feedback`; if
it is sent twice, its comment appears twice. Ids are looked up once by name (get-or-create); `project_id` needs no
lookup. An id is one row of its project or experiment: sending it twice is harmless.

=====================  =================================================================================================
ours                   Braintrust
=====================  =================================================================================================
id, parent, tree       `id` and `span_id`, `span_parents`, `root_span_id`
kind                   `span_attributes.type`: model → llm; tool → tool; retriever, embedding, reranker → function;
                       chain, agent → task; the kind itself in `metadata.kind`
name                   `span_attributes.name`
inputs, outputs        `input`, `output`: of a model OpenAI messages and a list of choices; of a retriever the query and
                       the list of documents; of anything else the value, messages in it in OpenAI form
error                  `error`: type, message and traceback as text, as the vendor's own SDK writes it
model, provider        `metadata.model`, `metadata.provider`; `metadata.asked_model` where that is another name
params                 `metadata`: those of `PARAMS` and `tools` under the vendor's names, the rest in `metadata.params`
usage                  `metrics`: those of `TOKENS`; how they came about in `metadata.usage`
cost                   `metrics.estimated_cost` (USD), its parts and source in `metadata.cost`
times                  `metrics.start`, `metrics.end`, `metrics.time_to_first_token` (seconds), `created`
other statuses         `metadata.status`, `metadata.status_reason`
tags                   `tags` on the root's row, `metadata.tags` below it (a trace shows the tags of its root)
session, user          `metadata.session_id`, `metadata.user_id`
metadata               `metadata.metadata` (where the vendor's own handlers put it), so that no key can collide
notes                  `metadata.notes`
environment            `context.span_origin.environment`; its `instrumentation` is the framework
user's line            `context.caller_functionname`, `caller_filename`, `caller_lineno` of the root (`callers=True`)
scores                 `scores` where 0 ≤ score ≤ 1, else `metrics` (late ones: the audit log's metadata); all feedback
                       as it was given in `metadata.feedback`
correction, expected   `expected`
dataset row            `origin` where dataset and row are known; `metadata.run_id`, `metadata.experiment` otherwise
=====================  =================================================================================================

Not sent: `usage.raw`, and the framework's plumbing (dropped as `internal`; its children move up). Token details that
the vendor does not list as metrics are in `metadata.usage`. Left to the server: facets. Not used: `caller_*` in metrics
(deprecated). Rows are complete; only a run that ends after its row was sent is merged into it (`_is_merge`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC
from functools import lru_cache
from operator import attrgetter
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from pydantic import Field, model_validator

from eventtree.event import Event, EventTree, Usage
from eventtree.kinds import ERROR, MODEL, OK, JsonValue, Kind
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import (
    Forms,
    Message,
    as_text,
    messages_in,
    messages_out,
    open_message,
    openai_form,
    role_among,
    tools_of,
)
from eventtree.serializer.packing import in_waves
from eventtree.serializer.requests import Encoded, Item, Lookup, Request, Route, Verdict, new_item
from eventtree.serializer.times import first_token, from_ns, in_utc, iso, moment, seconds
from eventtree.serializer.vendor import ABOUT_ONE, Feedback, Vendor, id_in, is_null, own_version, without_nulls
from eventtree.serializer.view import TreeView

TYPES: Mapping[Kind, str] = {
    Kind.MODEL: "llm", Kind.TOOL: "tool", Kind.RETRIEVER: "function", Kind.EMBEDDING: "function",
    Kind.RERANKER: "function", Kind.CHAIN: "task", Kind.AGENT: "task",
}  # fmt: skip
PROMPT, COMPLETION = "prompt_tokens", "completion_tokens"
TOKENS: Mapping[str, tuple[str, str | None]] = {
    PROMPT: ("input_tokens", None),
    COMPLETION: ("output_tokens", None),
    "tokens": ("total_tokens", None),
    "prompt_cached_tokens": ("cache_read_tokens", PROMPT),
    "prompt_cache_creation_tokens": ("cache_write_tokens", PROMPT),
    "prompt_cache_creation_5m_tokens": ("cache_write_5m_tokens", PROMPT),
    "prompt_cache_creation_1h_tokens": ("cache_write_1h_tokens", PROMPT),
    "completion_reasoning_tokens": ("reasoning_tokens", COMPLETION),
    "prompt_audio_tokens": ("input_audio_tokens", PROMPT),
    "completion_audio_tokens": ("output_audio_tokens", COMPLETION),
    "completion_image_tokens": ("output_image_tokens", COMPLETION),
}
"""Braintrust's name in `metrics` → ours in `Usage`, and the metric it is part of. A part larger than its total is a
contradiction: it is not sent as a metric, only in `metadata.usage`.
"""
TOTALS = [name for name, (_, total) in TOKENS.items() if total is None]
"""The first of `TOKENS`."""
NO_PARTS = (None,) * (len(TOKENS) - len(TOTALS))
COUNTS_OF = attrgetter(*(ours for ours, _ in TOKENS.values()))
METRICS = frozenset({*TOKENS, "start", "end", "time_to_first_token", "estimated_cost", "total_tokens"})
"""Names in `metrics` that have a meaning for Braintrust. A score of the same name is not sent as a metric."""
PARAMS = frozenset({
    "temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "stop", "response_format",
    "tool_choice", "parallel_tool_calls",
})  # fmt: skip
"""Parameters that Braintrust reads from `metadata`."""
SINGLE: Mapping[Kind, tuple[str, str]] = {
    Kind.RETRIEVER: ("query", "documents"), Kind.RERANKER: ("query", "documents"), Kind.EMBEDDING: ("texts", "count"),
}  # fmt: skip
"""Kind → keys of its inputs and outputs. If an object has no other key, only the value is sent."""
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
"""Roles that Braintrust shows. A message of another role is sent as the user's or the assistant's, and has its own role
in `original_role`.
"""

LATE = ("id", "span_id", "root_span_id", "span_parents", "output", "error", "metrics", "metadata")
"""The fields that change when a run ends after its row was sent, and the ids, in case that row is gone."""
EVENTS, FEEDBACK = (b'{"events":[', b"]}"), (b'{"feedback":[', b"]}")


class Braintrust(Vendor):
    """Send trees to Braintrust: `Braintrust(project="rag")`, the key from `BRAINTRUST_API_KEY`."""

    kind: ClassVar[str] = "braintrust"
    accepts_updates: ClassVar[bool] = True
    accepts_parts: ClassVar[bool] = True
    env: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "api_key": ("BRAINTRUST_API_KEY",),
        "base_url": ("BRAINTRUST_API_URL", "BRAINTRUST_BASE_URL"),
        "project": ("BRAINTRUST_PROJECT",),
        "project_id": ("BRAINTRUST_PROJECT_ID",),
        "org_name": ("BRAINTRUST_ORG_NAME",),
    }
    default_url: ClassVar[str] = "https://api.braintrust.dev"
    routes: ClassVar[Mapping[str, Route]] = {
        "logs": Route("POST", "/v1/project_logs/{project_id}/insert", EVENTS, max_items=100),
        "experiment": Route("POST", "/v1/experiment/{experiment_id}/insert", EVENTS, max_items=100),
        "logs_feedback": Route(
            "POST", "/v1/project_logs/{project_id}/feedback", FEEDBACK, max_items=100, status_actions=ABOUT_ONE
        ),
        "experiment_feedback": Route(
            "POST", "/v1/experiment/{experiment_id}/feedback", FEEDBACK, max_items=100, status_actions=ABOUT_ONE
        ),
    }
    max_bytes: ClassVar[int] = 6_000_000
    """Below the 6 MiB of the vendor's gateway, with room for the envelope."""

    project: str = Field(default="default", min_length=1)
    """Name of the project whose logs get the rows."""
    project_id: str = ""
    """The project by id: it needs no lookup. It wins over `project`, but `BRAINTRUST_PROJECT_ID` does not win over an
    argument `project=`.
    """
    experiment: str = ""
    """Name of an experiment, which gets the rows instead of the project's logs."""
    org_name: str = ""
    """Name of the organization, for a key that belongs to several."""

    @model_validator(mode="before")
    @classmethod
    def _named_project(cls, given: Any) -> Any:
        named = given.get("project") is not None and given.get("project_id") is None
        return {**given, "project_id": ""} if named else given

    def identity(self) -> tuple[str, ...]:
        """Host, organisation, project and experiment."""
        return (*super().identity(), self.org_name, self.project_id or f"name:{self.project}", self.experiment)

    def lookups(self) -> tuple[Lookup, ...]:
        """The project's id by its name, then the experiment's."""
        project = self.get_or_create(
            "project_id", "/v1/project", self.project, {"name": self.project, "org_name": self.org_name or None}
        )
        experiment = self.named_experiment("experiment_id", self.experiment)
        return (*(() if self.project_id else (project,)), *((experiment,) if self.experiment else ()))

    def lookup_of(self, name: str) -> Lookup | None:
        """The lookup for a `{name}` in a path; `{experiment_id:NAME}` is an experiment that a tree names."""
        kind, _, value = name.partition(":")
        if kind == "experiment_id" and value:
            return self.named_experiment(name, unquote(value))
        return super().lookup_of(name)

    def named_experiment(self, name: str, experiment: str) -> Lookup:
        """The experiment's id by its name, in this project."""
        project = self.project_id or "{project_id}"
        fields = {"project_id": project, "name": experiment, "ensure_new": False}
        return self.get_or_create(name, "/v1/experiment", experiment, fields)

    def destination(self, tree: EventTree | None) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Route and path parameters of a tree's rows: its experiment, else the setting's, else the project's logs."""
        named = tree.root.metadata.get(f"{views.OWN}experiment") if tree is not None else None
        if isinstance(named, str) and named.strip() and named != self.experiment:
            return "experiment", (("experiment_id", f"{{experiment_id:{quote(named, safe='')}}}"),)
        if self.experiment:
            return "experiment", ()
        return "logs", (("project_id", quote(self.project_id, safe="")),) if self.project_id else ()

    @staticmethod
    def get_or_create(name: str, path: str, export_as: str, fields: dict[str, Any]) -> Lookup:
        """A call that returns the id of a named object, and creates it if needed."""
        # Only the project's id may have a `{name}` to fill in: braces in the app's own names are escaped.
        written = (
            (k, to_json(v) if k == "project_id" else to_json(v).replace(b"{", b"\\u007b"))
            for k, v in fields.items()
            if v is not None
        )
        content = b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), value) for key, value in written)
        return Lookup(name, "POST", path, content, id_in, quote(export_as, safe=""))

    def encode(self, tree: EventTree) -> Encoded:
        """A row for each event, parents first, a wave for each batch of them."""
        view = TreeView.of(tree)
        (route, place), tree_id = self.destination(tree), tree.id
        rows = [
            new_item((event.id, tree_id, (event.id,), route, to_json(row(event, view)), 0, place))
            for event in view.events
        ]
        return Encoded(tuple(in_waves(rows, self.routes[route], self.max_bytes)), view.dropped(tree))

    def encode_update(self, tree: EventTree, ended: Collection[str]) -> tuple[Item, ...]:
        """Updates to merge into the events' rows, so that feedback received meanwhile stays."""
        view = TreeView.of(tree)
        route, place = self.destination(tree)
        items = []
        for event in (event for event in view.events if event.id in ended):
            whole = row(event, view)
            whole["metadata"] = {**whole["metadata"], "status": str(event.status)}
            late = {key: whole[key] for key in LATE if key in whole} | {"_is_merge": True}
            items.append(Item(f"{event.id}:late", tree.id, (), route, to_json(late), path_params=place))
        return tuple(items)

    def encode_feedback(self, feedback: Feedback, tree: EventTree | None, learned: Mapping[str, str]) -> Encoded:
        """Feedback for the vendor to merge into the row. Scores outside 0 to 1 go to the row's audit log."""
        route, place = self.destination(tree)
        scores, own, comment = views.scores_in(feedback), feedback.get("metadata"), feedback.get("comment")
        audit = {
            **(own if isinstance(own, dict) else {}), **without_nulls({"user_id": feedback.get("user")}),
            **{name: score for name, score in scores.items() if not 0 <= score <= 1},
        }  # fmt: skip
        known = {
            "scores": {name: score for name, score in scores.items() if 0 <= score <= 1} or None,
            "expected": feedback.get("correction"), "comment": None if comment is None else as_text(comment),
        }  # fmt: skip
        fields = without_nulls(known)
        row = {"id": views.target(feedback, tree), **fields, "source": "external"}
        content = to_json({**row, **({"metadata": audit} if audit else {})})
        item = Item(feedback["key"], feedback["tree"], (), f"{route}_feedback", content, 0, place)
        return Encoded((item,) if fields or audit else ())

    def read_success(self, request: Request, reply: JsonValue) -> Verdict:
        """The vendor takes all rows or none: a 2xx is verified if it has an id for each row."""
        if request.items[0].route.endswith("_feedback"):
            return Verdict(verified=isinstance(reply, dict))
        ids = reply.get("row_ids") if isinstance(reply, dict) else None
        return Verdict(verified=isinstance(ids, list) and len(ids) == len(request.items))


def row(event: Event, view: TreeView) -> dict[str, Any]:
    """The row of an event."""
    parent, more, kind = view.parent_id(event), view.has_more(event), event.kind
    scores = view.scores(event) if more else {}
    tokens = {} if event.usage is None else tokens_of(event.usage)
    fields: dict[str, Any] = {
        "id": event.id, "span_id": event.id, "root_span_id": view.id,
        "span_parents": [] if parent is None else [parent],
        "span_attributes": {"name": event.name or str(kind), "type": TYPES[kind]}, "created": moment(event.start),
    }  # fmt: skip
    if not is_null(given := input_of(event, view.forms)):
        fields["input"] = given
    if not is_null(came := output_of(event, view.forms)):
        fields["output"] = came
    if event.status is ERROR:
        fields["error"] = error_of(event)
    fields["metrics"] = metrics_of(event, tokens, scores)
    fields["metadata"] = metadata_of(event, tokens, view)
    fields["context"] = context_of(event, view)
    if parent is None:
        if event.tags:
            fields["tags"] = list(dict.fromkeys(event.tags))
        if view.has_links and (origin := origin_of(view)):
            fields["origin"] = origin
    if more:
        in_range = {name: score for name, score in scores.items() if 0 <= score <= 1}
        fields |= without_nulls({"expected": view.expected(event), "scores": in_range or None})
    return fields


# Contents


def input_of(event: Event, forms: Forms) -> JsonValue:
    """The event's inputs as Braintrust shows them."""
    if event.kind is MODEL:
        return forms.of(messages_in(event, forms.are_messages), known_role)
    form = openai_form(event.inputs, forms)
    return single(form, SINGLE[event.kind][0]) if event.kind in SINGLE else form


def output_of(event: Event, forms: Forms) -> JsonValue:
    """The event's outputs as Braintrust shows them."""
    if event.kind is MODEL:
        return [choice(at, message) for at, message in enumerate(messages_out(event))] or None
    if event.kind in SINGLE:
        return single(event.outputs, SINGLE[event.kind][1])
    return openai_form(event.outputs, forms)


KNOWN = frozenset(role for role in ROLES if role_among(ROLES, role) == role)


def known_role(message: Message, otherwise: str = "user") -> dict[str, JsonValue]:
    """A message in OpenAI form, in a role that the vendor shows."""
    content, own = message.get("content"), message["role"]
    if len(message) == 2 and type(content) is str and own in KNOWN:
        return {"content": content, "role": own}  # the usual case, with the same result as below
    form = {"content": None, **open_message(message, otherwise)}
    if form["role"] in KNOWN:
        return form
    role = role_among(ROLES, form["role"])
    return {**form, "role": role} if role else {**form, "role": otherwise, "original_role": form["role"]}


def choice(at: int, message: Message) -> dict[str, JsonValue]:
    """A model's generation as a choice of the OpenAI API."""
    answer = message.copy()
    reason = as_text(answer.pop("finish_reason", None)) or None
    return {"index": at, "finish_reason": reason, "message": known_role(answer, "assistant")}


def single(value: JsonValue, key: str) -> JsonValue:
    """The field of an object, if it has no other; else the value itself."""
    return value[key] if isinstance(value, dict) and value.keys() == {key} else value


def error_of(event: Event) -> str:
    """Type, message and traceback of a failure."""
    failed = views.error_line(event) or "error"
    return f"{failed}\n\n{event.error.traceback}" if event.error and event.error.traceback else failed


# Numbers


def metrics_of(event: Event, tokens: Mapping[str, int], scores: Mapping[str, float]) -> dict[str, int | float]:
    """Known times, tokens and dollars without contradictions; and scores outside 0 to 1, which Braintrust refuses as
    scores, unless a metric has their name.
    """
    at, cost = event.start, event.cost
    start = (at if at.tzinfo is UTC else in_utc(at)).timestamp()
    found: dict[str, int | float] = {"start": start}
    if (duration := seconds(event.duration)) is not None:
        found["end"] = start + duration
    if event.time_to_first_token is not None and (first := first_token(event)) is not None:
        found["time_to_first_token"] = first
    if tokens:
        found |= tokens
    if cost is not None and cost.total_usd is not None and not is_null(usd := float(cost.total_usd)):
        found["estimated_cost"] = usd
    if not scores:
        return found
    others = {name: score for name, score in scores.items() if not 0 <= score <= 1 and name not in METRICS}
    return {**others, **found}


def tokens_of(usage: Usage) -> dict[str, int]:
    """The known tokens, without parts that are larger than their total."""
    values = COUNTS_OF(usage)
    if values[len(TOTALS) :] == NO_PARTS and None not in values[: len(TOTALS)]:
        return dict(zip(TOTALS, values, strict=False))  # the usual case
    counts = without_nulls(dict(zip(TOKENS, values, strict=True)))
    return {name: count for name, count in counts.items() if count <= counts.get(TOKENS[name][1] or name, count)}


# Metadata


def metadata_of(event: Event, tokens: Mapping[str, int], view: TreeView) -> dict[str, JsonValue]:
    """The metadata of a row. The run's own metadata is one level down, so that no key can collide."""
    params, is_root = event.params, view.is_root(event)
    known: dict[str, JsonValue] = params_of(params) if params else {}
    if event.model is not None:
        known["model"] = event.model
    if event.asked_model is not None:
        known["asked_model"] = event.asked_model
    if event.provider is not None:
        known["provider"] = event.provider
    if params and (tools := tools_of(event)):
        known["tools"] = tools
    known["kind"] = str(event.kind)
    if (session := view.session_id(event)) is not None:
        known["session_id"] = session
    if (user := view.user(event)) is not None:
        known["user_id"] = user
    if own := views.own_metadata(event):
        known["metadata"] = own
    if event.tags and not is_root:
        known["tags"] = event.tags
    if event.notes:
        known["notes"] = views.notes_of(event)
    if event.usage is not None and (rest := views.usage_rest(event, [TOKENS[name][0] for name in tokens])):
        known["usage"] = rest
    if event.cost:
        known["cost"] = views.cost_of(event.cost)
    if view.has_feedback and (given := feedback_of(event, view)):
        known["feedback"] = given
    if event.status is not OK:
        known |= without_nulls(views.ended(event))
    if is_root and view.has_links:
        known |= without_nulls(view.links(event, ("run_id", "experiment", "datapoint_id")))
    return known


def feedback_of(event: Event, view: TreeView) -> list[dict[str, JsonValue]]:
    """All feedback on the event as it was given, without its ids."""
    addressed = ("r", "id", "tree", "event_id", "key", "vendors", "at")
    return [
        ({"at": iso(at)} if (at := from_ns(feedback.get("at"))) else {})
        | {key: value for key, value in feedback.items() if key not in addressed}
        for feedback in view.feedback(event)
    ]


def params_of(given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Parameters under the vendor's names; all others in `params`."""
    named: dict[str, JsonValue] = {}
    others: dict[str, JsonValue] = {}
    for key, value in given.items():
        if key not in PARAMS:
            if value is not None and key != "tools":
                others[key] = value
        elif not is_null(value):
            named[key] = value
    if others:
        named["params"] = others
    return named


def context_of(event: Event, view: TreeView) -> dict[str, JsonValue]:
    """The library, framework and environment that made the row; on the root also the user's line (`callers=True`)."""
    root = view.root
    origin = span_origin(event.framework or root.framework, event.environment or root.environment)
    caller = view.dataset_field("caller") if view.has_links and view.is_root(event) else None
    if not isinstance(caller, dict):
        return origin
    line = {f"caller_{theirs}": one for ours, theirs, kind in CALLER if type(one := caller.get(ours)) is kind}
    return origin | line


CALLER = (("function", "functionname", str), ("file", "filename", str), ("line", "lineno", int))
"""Our name, the vendor's name, and the type that the vendor accepts."""


@lru_cache(maxsize=256)
def span_origin(framework: str | None, environment: str | None) -> dict[str, JsonValue]:
    """The origin of an app's rows, the same for all of them."""
    named = {"instrumentation": framework, "environment": environment}
    known = {name: {"name": one} for name, one in named.items() if one}
    return {"span_origin": {**without_nulls({"name": "eventtree", "version": own_version()}), **known}}


def origin_of(view: TreeView) -> dict[str, JsonValue] | None:
    """The dataset row that the tree was run for."""
    dataset, row_id = view.dataset_field("dataset_id"), view.dataset_field("datapoint_id")
    if not (isinstance(dataset, str) and isinstance(row_id, str)):
        return None
    return {"object_type": "dataset", "object_id": dataset, "id": row_id}
