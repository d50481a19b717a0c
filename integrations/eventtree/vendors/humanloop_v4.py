"""Humanloop v4: Logs in bare arrays, one array per depth of the tree. Source: contracts/humanloop-v4.md.

========================================  ==========================================================================
event                                     Log
========================================  ==========================================================================
model                                     `config` of type `model`
chain, agent, tool, retriever,            `config` of type `tool` (the API's later editions know no other), its kind in
embedding, reranker                       `config.other`
internal                                  dropped; its children hang under the nearest shown ancestor
========================================  ==========================================================================

Fields: tree → `session_reference_id`; id → `reference_id`; parent → `parent_reference_id`, never in the
parent's own request (a wave is a depth); start → `created_at`; `duration` seconds; costs US dollars; inputs → `inputs`,
messages → `messages`; outputs → `output` (always text: JSON where they are none) and `output_message`; error → `error`;
environment → `environment`; `eventtree_datapoint_id` of the root's metadata → `source_datapoint_id`; `source` is
`eventtree`; feedback known so far → `feedback` (named scores, `rating` good or bad, `correction`, `comment`).

Without a field of their own: user, finish reason, tool choice, the user's session, other parameters, and the values of
`humanloop.metadata`; all go to `metadata`. A provider outside the closed list is named in `config.other`.

A root whose `eventtree_run_id` and datapoint are known goes to `/evaluations/{id}/log`, unless the run id is a UUID
(HoneyHive's); the run id is in `metadata` too. Late feedback goes to `/feedback`.

A run that ends after its Log was sent is updated by PATCH: only output, error and duration can be.

An answer is a list as long as the request's. It has the server's id of each event (`data_id:EVENT`), which later
feedback needs. Whether a repeated `reference_id` is harmless is not documented.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import ClassVar
from urllib.parse import quote

from eventtree.event import Event, EventTree
from eventtree.kinds import ERROR, MODEL, JsonValue
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import as_text
from eventtree.serializer.requests import Encoded, Item, Request, Route, Verdict, new_item
from eventtree.serializer.times import from_ns, iso, moment, seconds
from eventtree.serializer.vendor import ABOUT_ONE, Feedback, id_in, without_nulls
from eventtree.serializer.view import TreeView
from eventtree.vendors import humanloop
from eventtree.vendors.humanloop import Fields, Humanloop

PROVIDERS = frozenset(humanloop.PROVIDERS.values()) - {"bedrock", "deepseek"}
"""The closed list of the earlier of the two specifications."""
SETTINGS = frozenset(humanloop.SETTINGS) - {"reasoning_effort"}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""A `run_id` of this form is HoneyHive's, not an evaluation's, and goes to `metadata` alone."""


class HumanloopV4(Humanloop):
    """Humanloop's v4 API, on an installation of your own: the hosted service closed in September 2025."""

    kind: ClassVar[str] = "humanloop_v4"
    accepts_updates: ClassVar[bool] = True
    version: ClassVar[str] = "v4"
    default_url: ClassVar[str] = "https://api.humanloop.com/v4"
    routes: ClassVar[Mapping[str, Route]] = {
        "logs": Route("POST", "/logs", (b"[", b"]"), max_items=100),
        "late": Route("PATCH", "/logs?reference_id={reference_id}", status_actions=ABOUT_ONE),
        "evaluation": Route("POST", "/evaluations/{evaluation_id}/log", status_actions=ABOUT_ONE),
        "feedback": Route("POST", "/feedback", (b"[", b"]"), max_items=100, status_actions=ABOUT_ONE),
    }
    max_bytes: ClassVar[int] = 4_000_000

    def encode(self, tree: EventTree) -> Encoded:
        """An item for each event, in the wave of its depth: a parent may not be in the request of its child."""
        view = TreeView.of(tree)
        depths: dict[str | None, int] = {None: -1}
        items = []
        for event in view.events:
            depth = depths[event.id] = depths.get(view.parent_id(event), -1) + 1
            items.append(self.item(event, view, depth))
        return Encoded(tuple(items), view.dropped(tree))

    def item(self, event: Event, view: TreeView, depth: int) -> Item:
        """A Log; the root's goes to its evaluation, if that and the datapoint are known."""
        log, row_id = self.log(event, view), humanloop.datapoint(event, view)
        run_id = humanloop.text_or_none(view.dataset_field("run_id")) if row_id is not None else None
        if run_id is None or row_id is None or UUID.fullmatch(run_id):
            return new_item((event.id, view.id, (event.id,), "logs", to_json(log), depth, ()))
        place = (("evaluation_id", quote(run_id, safe="")),)
        content = to_json({"datapoint_id": row_id, "log": log})
        return Item(event.id, view.id, (event.id,), "evaluation", content, depth, place)

    def encode_update(self, tree: EventTree, ended: Collection[str]) -> tuple[Item, ...]:
        """The output, error and duration of Logs: nothing else of a Log can be updated."""
        items = []
        for event in TreeView.of(tree).tree.events:
            changes = without_nulls(
                {**ending(event, humanloop.answered(event)[1]), "duration": seconds(event.duration)}
            )
            if event.id in ended and changes:
                place = (("reference_id", quote(event.id, safe="")),)
                items.append(Item(f"{event.id}:late", tree.id, (), "late", to_json(changes), 0, place))
        return tuple(items)

    def encode_feedback(self, feedback: Feedback, tree: EventTree | None, learned: Mapping[str, str]) -> Encoded:
        """Feedback needs the server's own id of a Log: the newest 20,000 or more are remembered."""
        data_id = learned.get(f"data_id:{views.target(feedback, tree)}")
        items = () if data_id is None else opinions(feedback)
        bodies = (to_json({**item, "data_id": data_id}) for item in items)
        key, on = feedback["key"], feedback["tree"]
        return Encoded(tuple(Item(f"{key}.{at}", on, (), "feedback", body) for at, body in enumerate(bodies)))

    def log(self, event: Event, view: TreeView) -> Fields:
        """The Log of an event."""
        messages, inputs = humanloop.asked(event, view.forms)
        answer, text = humanloop.answered(event)
        is_model, parent = event.kind is MODEL, view.parent_id(event)
        known: Fields = {
            "project": self.project, "session_reference_id": event.tree_id, "reference_id": event.id,
            **({} if parent is None else {"parent_reference_id": parent}),
            "config": model_config(event) if is_model else tool_config(event), "inputs": inputs,
        }  # fmt: skip
        if messages is not None:
            known["messages"] = messages
        if answer is not None:
            known["output_message"] = answer
        if text is not None:
            known["output"] = text
        if event.status is ERROR:
            known["error"] = views.failure(event)
        known["created_at"] = moment(event.start)
        if (duration := seconds(event.duration)) is not None:
            known["duration"] = duration
        if is_model:
            known |= without_nulls(humanloop.tokens_and_cost(event))
        if event.notes and (lines := humanloop.stdout(event)) is not None:
            known["stdout"] = lines
        if self.provider_payloads and is_model:
            known |= without_nulls(humanloop.payloads(event, view.forms))
        known["source"], known["metadata"] = "eventtree", metadata(event, view)
        given = view.feedback(event) if view.has_feedback else ()
        if judged := [one for feedback in given for one in opinions(feedback)]:
            known["feedback"] = judged
        if environment := humanloop.text_or_none(event.environment):
            known["environment"] = environment
        if (row_id := humanloop.datapoint(event, view)) is not None:
            known["source_datapoint_id"] = row_id
        if not self.save:
            known["save"] = False
        return known

    def read_success(self, request: Request, reply: JsonValue) -> Verdict:
        """Match the reply to the request by position: the server's ids, and whether each Log was answered."""
        route = request.items[0].route
        if route == "late":
            return Verdict(verified=isinstance(reply, dict))
        replies = [reply] if route == "evaluation" else reply
        if not isinstance(replies, list) or len(replies) != len(request.items):
            return Verdict(verified=False)
        if route == "feedback":
            return Verdict()
        ids = [id_in(log) for log in replies]
        learned = {f"data_id:{item.key}": data_id for item, data_id in zip(request.items, ids, strict=True) if data_id}
        return Verdict(learned=learned, verified=len(learned) == len(ids))


def ending(event: Event, text: str | None) -> Fields:
    """How a run ended: the text of its outputs, and its error."""
    return {"output": text, "error": views.failure(event)}


def model_config(event: Event) -> Fields:
    """The config of a model call. Each other config is a new version, so nothing of a single call may be in it."""
    provider = humanloop.provider(event, PROVIDERS)
    tools = [{key: value for key, value in tool.items() if key != "strict"} for tool in humanloop.tool_functions(event)]
    known = {
        "type": "model", "model": humanloop.model(event), "provider": provider,
        "endpoint": "complete" if humanloop.is_text_model(event) else "chat", "tools": tools or None,
        "other": {"provider": event.provider} if event.provider and provider is None else None,
        **humanloop.settings(event, SETTINGS),
    }  # fmt: skip
    return without_nulls(known)


def tool_config(event: Event) -> Fields:
    """The config of any run that is no model call."""
    kind, name = str(event.kind), humanloop.called(event)
    other = without_nulls({"kind": kind, "model": humanloop.asked_model(event), "provider": event.provider})
    return {"type": "tool", "name": name, "description": f"{kind} {name}", "other": other}


def metadata(event: Event, view: TreeView) -> Fields:
    """All values that have no field in this generation."""
    is_model = event.kind is MODEL
    params = humanloop.unplaced(event, SETTINGS) if is_model else event.params
    more = {"user": view.user(event), "params": params or None, **view.links(event, ("run_id",))}
    if is_model:
        more |= {"finish_reason": humanloop.finish_reason(event), **humanloop.rest_of_answer(event)}
    return humanloop.metadata(event, view, more, humanloop.USAGE_FIELDS if is_model else ())


def opinions(feedback: Feedback) -> list[Fields]:
    """A feedback as one item for each judgment."""
    user, at = humanloop.text_or_none(feedback.get("user")), from_ns(feedback.get("at"))
    return [
        without_nulls({"type": name, "value": as_text(value), "user": user, "created_at": iso(at) if at else None})
        for name, value in humanloop.judgments(feedback)
    ]
