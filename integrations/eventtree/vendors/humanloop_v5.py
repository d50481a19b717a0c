"""Humanloop v5: one Log per request, a trace of Flow, Agent, Prompt and Tool Logs. Source: contracts/humanloop-v5.md.

========================================  ==========================================================================
event                                     Log
========================================  ==========================================================================
root; nested chain                        flow, opened `incomplete`, completed by PATCH after all below it
                                          (with nothing below it: `complete` at once)
nested agent whose model is known         agent (dialect `log_status`); any other agent is a flow
model                                     prompt
tool, retriever, embedding, reranker      tool
root that is neither chain nor agent      childless: stands alone, in no trace. With children: as above, in a flow made
                                          for it (id derived from the tree's; it repeats the root's inputs and outputs)
internal                                  dropped; its children hang under the nearest shown ancestor
========================================  ==========================================================================

Fields: id → `log_id`; name, of a model the named prompt's → `path` (`project/flows/name`,
`project/prompts/name`, …: a path holds one File of one type, so each type has its folder); parent → `trace_parent_id`;
times ISO, `provider_latency` seconds, costs US dollars; inputs → `inputs`, messages → `messages`; outputs → `output`
(always text: JSON where they are none) and `output_message`; error → `error` (type and message; to be interrupted or
cancelled is none); user → `user`; environment → the body's `environment` (a label, not a deployment);
`eventtree_datapoint_id` and `eventtree_run_id` of the root's metadata → `source_datapoint_id` and `run_id`; feedback →
`evaluators/log`, after everything else: a nameless score is judged by `rating` (good, bad), a correction by
`correction`, named scores and comments by external evaluators made for them (`project/scores/name`,
`project/remarks/comment`). `source` is `eventtree`. No place of their own: what `humanloop.metadata` lists; it goes to
`metadata`. Media without an address become text that names them. Parameters Humanloop does not know stay out of the
kernel: whatever changes with a call would make a new version of the File with every call. A provider it does not know
is named in the kernel's `attributes`. Dialect `trace_status` is for installations older than SDK 0.8.27: that name for
`log_status`, `log_id` on flows alone (so children and feedback hang on the nearest flow, other Logs have the server's
ids), no messages on flows, no agents. Whether a repeated `log_id` is refused, ignored or overwrites is not documented.
404 and 409 speak of one Log (unknown parent, completed flow), never of the project, hence `status_actions`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal
from urllib.parse import quote

from eventtree.event import Event, EventTree
from eventtree.kinds import AGENT, ERROR, MODEL, JsonValue, Kind
from eventtree.pace import paced
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.requests import Encoded, Item, Request, Route, Verdict, new_item
from eventtree.serializer.times import later, moment, seconds
from eventtree.serializer.vendor import ABOUT_ONE, Feedback, without_nulls
from eventtree.serializer.view import TreeView
from eventtree.vendors import humanloop
from eventtree.vendors.humanloop import Fields, Humanloop

Dialect = Literal["log_status", "trace_status"]
Form = Literal["flow", "agent", "prompt", "tool"]

FORMS: Mapping[Kind, Form] = {
    Kind.CHAIN: "flow", Kind.AGENT: "flow", Kind.MODEL: "prompt", Kind.TOOL: "tool", Kind.RETRIEVER: "tool",
    Kind.EMBEDDING: "tool", Kind.RERANKER: "tool",
}  # fmt: skip

FOLDERS: Mapping[Form, str] = {"flow": "flows", "agent": "agents", "prompt": "prompts", "tool": "tools"}

FLOW: Fields = {"attributes": {"made_by": "eventtree"}}
"""The kernel of every flow: constant, so that a flow has one version."""

EVALUATOR: Fields = {"evaluator_type": "external", "arguments_type": "target_free"}
"""The specification of evaluators made for scores with names (numbers) and for comments (text)."""

JUDGED = {"number": "scores", "text": "remarks"}
"""The folders of those evaluators, by what they return."""

SPEC5_PROVIDERS = frozenset(humanloop.PROVIDERS.values()) - {"deepseek"}
SPEC5_SETTINGS = frozenset(humanloop.SETTINGS) - {"reasoning_effort"}

CHOICES = {"none": "none", "auto": "auto", "required": "required", "any": "required"}


@dataclass(slots=True)
class Log:
    """A Log of a trace: its parent, the wave in which it is sent, and the wave after which a flow is completed."""

    id: str
    event: Event
    form: Form
    parent: Log | None
    wave: int
    last: int
    """The last wave of this Log and of all below it; a flow is completed after it."""
    made: bool = False
    """Whether it is a flow without an event of its own."""

    @property
    def is_opened(self) -> bool:
        """Whether it is a flow that is completed later, after all Logs below it."""
        return self.form == "flow" and self.last > self.wave


class HumanloopV5(Humanloop):
    """Humanloop's v5 API, on an installation of your own: the hosted service closed in September 2025."""

    kind: ClassVar[str] = "humanloop_v5"
    version: ClassVar[str] = "v5"
    default_url: ClassVar[str] = "https://api.humanloop.com/v5"
    routes: ClassVar[Mapping[str, Route]] = {
        "flow": Route("POST", "/flows/log"),
        "agent": Route("POST", "/agents/log"),
        "prompt": Route("POST", "/prompts/log"),
        "tool": Route("POST", "/tools/log"),
        "complete": Route("PATCH", "/flows/logs/{log_id}"),
        "judge": Route("POST", "/evaluators/log", status_actions=ABOUT_ONE),
    }
    status_actions: ClassVar[Mapping[int, str]] = {404: "bisect", 409: "bisect"}

    dialect: Dialect = "log_status"
    """`trace_status` for installations older than March 2025 (SDK 0.8.27)."""

    def encode(self, tree: EventTree) -> Encoded:
        """An item for each Log, for each flow's completion and for each judgment."""
        view = TreeView.of(tree)
        logs = trace(view, self.dialect)
        items = [self.opening(log, view) for log in paced(logs, each=True)]
        items += [self.completion(log) for log in paced(reversed(logs), each=True) if log.is_opened]
        for log in paced(logs) if view.has_feedback else ():
            items += [] if log.made else self.feedback(log, view, logs[0].last + 2)
        return Encoded(tuple(items), view.dropped(tree))

    def opening(self, log: Log, view: TreeView) -> Item:
        """The POST that makes a Log."""
        fields = self.shared(log, view) | BODIES[log.form](log.event, view, self.dialect)
        if log.is_opened:
            fields[self.dialect] = "incomplete"
        event_ids = () if log.made else (log.event.id,)
        return new_item((log.id, view.id, event_ids, log.form, to_json(fields), log.wave, ()))

    def completion(self, log: Log) -> Item:
        """The PATCH that completes a flow; it repeats the flow's outputs and error, which the vendor requires."""
        fields = {self.dialect: "complete", **ending(log.event, humanloop.answered(log.event)[1])}
        place = (("log_id", quote(log.id, safe="")),)
        return Item(f"{log.id}:complete", log.event.tree_id, (), "complete", to_json(fields), log.last + 1, place)

    def feedback(self, log: Log, view: TreeView, wave: int) -> list[Item]:
        """The POSTs that judge a Log; in the older dialect, where only flows have our ids, the flow above it."""
        judged = self.judged(log)
        items = []
        for at, feedback in enumerate(view.feedback(log.event) if judged else ()):
            key = str(feedback.get("key") or f"{log.id}:feedback:{at}")
            items += self.judges(key, judged or "", view.id, feedback, wave)
        return items

    def judged(self, log: Log) -> str | None:
        """The id of the Log that gets the feedback on a Log; None if there is none."""
        found = nearest_flow(log) if self.dialect == "trace_status" else log
        return found.id if self.dialect == "log_status" or found.form == "flow" else None

    def judges(self, key: str, judged: str, tree_id: str, feedback: Feedback, wave: int = 0) -> list[Item]:
        """A POST for each judgment of a feedback."""
        items = []
        for each, (name, judgment) in enumerate(humanloop.judgments(feedback)):
            content = to_json(self.judgment(f"{key}.{each}", judged, name, judgment, feedback))
            items.append(Item(f"{key}.{each}", tree_id, (), "judge", content, wave))
        return items

    def encode_feedback(self, feedback: Feedback, tree: EventTree | None, learned: Mapping[str, str]) -> Encoded:
        """Judgments of the Log; in the older dialect, of the flow above it."""
        judged: str | None = views.target(feedback, tree)
        if self.dialect == "trace_status":
            logs = {} if tree is None else {log.id: log for log in trace(TreeView.of(tree), self.dialect)}
            judged = self.judged(logs[judged]) if judged in logs else None
        return Encoded(tuple(self.judges(feedback["key"], judged, feedback["tree"], feedback)) if judged else ())

    def judgment(self, key: str, judged: str, name: str, judgment: str | float, feedback: Feedback) -> Fields:
        """An Evaluator's Log. `rating` and `correction` exist from the start, others are created by their first Log."""
        given = feedback.get("metadata")
        own = given if isinstance(given, dict) else {}
        returns = "number" if isinstance(judgment, float) else "text"
        known = returns == "text" and name in ("rating", "correction")
        fields = {
            "path": name if known else f"{self.project}/{JUDGED[returns]}/{humanloop.slug(name)}",
            "log_id": derived_id(key) if self.dialect == "log_status" else None, "parent_id": judged,
            "judgment": judgment, "spec": None if known else {**EVALUATOR, "return_type": returns},
            "source": "eventtree", "user": humanloop.text_or_none(feedback.get("user")),
            "metadata": {**own, **({"score": feedback["score"]} if known and name == "rating" else {})} or None,
        }  # fmt: skip
        return without_nulls(fields)

    def shared(self, log: Log, view: TreeView) -> Fields:
        """Fields that every type of Log has."""
        event, kind = log.event, log.event.kind
        prompt = humanloop.text_or_none(event.prompt.get("name")) if log.form == "prompt" and event.prompt else None
        fields: Fields = {
            "path": f"{self.project}/{FOLDERS[log.form]}/{humanloop.slug(prompt or humanloop.called(event))}"
        }
        if log.form == "flow" or self.dialect == "log_status":
            fields["log_id"] = log.id
        if log.parent is not None:
            fields["trace_parent_id"] = log.parent.id
        fields["start_time"] = moment(event.start)
        if (latency := seconds(event.duration)) is not None:
            if (end := later(event.start, latency)) is not None:
                fields["end_time"] = moment(end)
            fields["provider_latency"] = latency
        if event.status is ERROR:
            fields["error"] = views.failure(event)
        if event.notes and (lines := humanloop.stdout(event)) is not None:
            fields["stdout"] = lines
        if self.provider_payloads and kind is MODEL:
            fields |= without_nulls(humanloop.payloads(event, view.forms))
        fields["source"] = "eventtree"
        for name, value in (("user", view.user(event)), ("environment", event.environment)):
            if value and not value.isspace():
                fields[name] = value
        if view.has_links:
            # Tools have no field for the Evaluation run that a tree belongs to; older installations have none at all.
            has_run = log.parent is None and log.form != "tool" and self.dialect == "log_status"
            run_id = humanloop.text_or_none(view.dataset_field("run_id")) if has_run else None
            fields |= without_nulls({"source_datapoint_id": humanloop.datapoint(event, view), "run_id": run_id})
        if not self.save:
            fields["save"] = False
        return fields

    def read_success(self, request: Request, reply: JsonValue) -> Verdict:
        """A taken Log is answered with its id."""
        return Verdict(verified=isinstance(reply, dict) and isinstance(reply.get("id"), str))


# The trace


def trace(view: TreeView, dialect: Dialect) -> list[Log]:
    """The Logs of a tree, parents first."""
    first, form = view.root, FORMS[view.root.kind]
    if form == "flow" or len(view.tree.events) == 1:
        root = Log(first.id, first, form, None, 0, 0)
    else:  # only a flow can have a trace: one is made
        root = Log(derived_id(f"trace:{view.id}"), first, "flow", None, 0, 0, made=True)
    logs = {root.id: root}
    for event in paced(view.tree.events if root.made else view.tree.events[1:]):
        parent = logs.get(view.parent_id(event) or "", root)
        parent = nearest_flow(parent) if dialect == "trace_status" else parent
        is_agent = event.kind is AGENT and event.model and dialect == "log_status"
        form = "agent" if is_agent else FORMS[event.kind]
        logs[event.id] = Log(event.id, event, form, parent, parent.wave + 1, parent.wave + 1)
    found = list(logs.values())
    for log in paced(reversed(found)):  # from the leaves up: the wave after which each flow may be completed
        if log.parent is not None:
            log.parent.last = max(log.parent.last, log.last + log.is_opened)
    return found


def derived_id(name: str) -> str:
    """An id for a Log without an event, always the same for one name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"eventtree:{name}"))


def nearest_flow(log: Log) -> Log:
    """The Log itself if it is a flow, else the flow above it."""
    while log.form != "flow" and log.parent is not None:
        log = log.parent
    return log


# The bodies


def flow_body(event: Event, view: TreeView, dialect: Dialect) -> Fields:
    """A flow. It has its outputs from the start, so that they are not lost if the completion is refused."""
    messages, inputs = humanloop.asked(event, view.forms)
    answer, text = humanloop.answered(event)
    fields: Fields = {"flow": FLOW, dialect: "complete", "inputs": inputs, **ending(event, text)}
    fields["metadata"] = humanloop.metadata(event, view, {"params": event.params} if event.params else {}, ())
    if dialect == "trace_status":
        return {**fields, "inputs": humanloop.as_object(event.inputs)}
    if messages is not None:
        fields["messages"] = messages
    if answer is not None:
        fields["output_message"] = answer
    return fields


def ending(event: Event, text: str | None) -> Fields:
    """How a flow ended: the text of its outputs (empty if unknown), and its error."""
    if event.status is not ERROR:
        return {"output": text or ""}
    return without_nulls({"output": text, "error": views.failure(event)})


def agent_body(event: Event, view: TreeView, dialect: Dialect) -> Fields:
    """A nested agent; the model calls below it have their own Logs."""
    messages, inputs = humanloop.asked(event, view.forms)
    answer, text = humanloop.answered(event)
    params = humanloop.unplaced(event, humanloop.SETTINGS) or None
    fields = {
        "agent": kernel(event, dialect), "inputs": inputs, "messages": messages, "output": text,
        "output_message": answer, **humanloop.tokens_and_cost(event),
        "metadata": humanloop.metadata(event, view, {"params": params}),
    }  # fmt: skip
    return without_nulls(fields)


def prompt_body(event: Event, view: TreeView, dialect: Dialect) -> Fields:
    """A model call."""
    messages, inputs = humanloop.asked(event, view.forms)
    answer, text = humanloop.answered(event)
    settings, counted, _ = edition(dialect)
    params = humanloop.unplaced(event, settings)
    choice = tool_choice(params.get("tool_choice"))
    params = {key: value for key, value in params.items() if key != "tool_choice" or choice is None}
    offered = humanloop.tool_functions(event)
    more = {"params": params or None, **humanloop.rest_of_answer(event)}
    fields = {
        "prompt": {**kernel(event, dialect), **({"tools": offered} if offered else {})}, "inputs": inputs,
        "messages": messages, "output": text, "output_message": answer, "tool_choice": choice,
        "finish_reason": humanloop.finish_reason(event), **humanloop.tokens_and_cost(event),
        "reasoning_tokens": event.usage.reasoning_tokens if event.usage and "reasoning_tokens" in counted else None,
        "metadata": humanloop.metadata(event, view, more, counted),
    }  # fmt: skip
    return without_nulls(fields)


def tool_body(event: Event, view: TreeView, dialect: Dialect) -> Fields:
    """A tool, or a retriever, embedding or reranker, which are tools to Humanloop."""
    _, text = humanloop.answered(event)
    kind, name = str(event.kind), humanloop.called(event)
    attributes = without_nulls({"kind": kind, "model": humanloop.asked_model(event), "provider": event.provider})
    fields = {
        "tool": {"function": {"name": name, "description": f"{kind} {name}"}, "attributes": attributes},
        "inputs": humanloop.as_object(event.inputs),
        "output": text,
        "metadata": humanloop.metadata(event, view, {"params": event.params or None}, ()),
    }
    return without_nulls(fields)


BODIES = {"flow": flow_body, "agent": agent_body, "prompt": prompt_body, "tool": tool_body}


@cache
def edition(dialect: Dialect) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The kernel's settings, the token counts that have fields, and the providers, in this dialect."""
    if dialect == "trace_status":
        return SPEC5_SETTINGS, humanloop.USAGE_FIELDS, SPEC5_PROVIDERS
    counted = humanloop.USAGE_FIELDS | {"reasoning_tokens"}
    return frozenset(humanloop.SETTINGS), counted, frozenset(humanloop.PROVIDERS.values())


def kernel(event: Event, dialect: Dialect) -> Fields:
    """The kernel of a Prompt or an Agent. Each other kernel is a new version, so nothing of a single call is in it."""
    settings, _, known = edition(dialect)
    provider = humanloop.provider(event, known)
    fields = {
        "model": humanloop.model(event), "endpoint": "complete" if humanloop.is_text_model(event) else "chat",
        "provider": provider,
        "attributes": {"provider": event.provider} if event.provider and provider is None else None,
        **humanloop.settings(event, settings),
    }  # fmt: skip
    return without_nulls(fields)


def tool_choice(value: object) -> str | Fields | None:
    """The choice, if it is in OpenAI's form; else None."""
    if isinstance(value, str):
        return CHOICES.get(value)
    function = value.get("function") if isinstance(value, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return {"type": "function", "function": {"name": function["name"]}}
    return None
