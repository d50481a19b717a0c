"""HoneyHive: a session for each tree, then its events in batches (contracts/honeyhive.md).

`generation="legacy"` (default, the most widely served) uses `/session/start` and `/events/batch`; `"v1"` uses
`/v1/sessions` and `/v1/events/batch`, whose schemas are closed and know no project (the key decides).

=====================  =================================================================================================
ours                   HoneyHive
=====================  =================================================================================================
tree                   session with `session_id` = uuid5 of the tree's id, carrying the root's inputs, outputs, times
id                     `event_id`; of an id that is no UUID, which HoneyHive refuses, a UUID made of its hash
kind                   `event_type`: model → model; tool, retriever, embedding, reranker → tool; chain, agent → chain;
                       the kind itself in `metadata.kind`
parent, children       `parent_id`; the session's id for the root; `children_ids`
inputs                 `inputs`: messages as `chat_history` in OpenAI form; what is no object as `{"input": …}`
outputs                `outputs`: a message as `role`, `content`, `tool_calls`, further generations in `generations`;
                       a list of messages as `chat_history`; text as `{"text": …}`, else `{"value": …}`
model, provider        `config.model`, `config.provider`; `config.type` is chat or completion; where the model was asked
                       for by another name, that is `metadata.asked_model`
params                 `config.hyperparameters`; tools, tool_choice, response_format, template directly in `config`
usage                  `metadata`: prompt_tokens, completion_tokens, total_tokens, cache_read_input_tokens,
                       cache_write_input_tokens, reasoning_tokens and those of `TOKENS`; fees in `usage_units`
cost                   `metadata.cost` (USD), its parts and source in `metadata.cost_details`
times                  `start_time`, `end_time` (ms, integers), `duration` (ms), `metadata.time_to_first_token_ms`
error                  `error`, its traceback in `metadata.traceback` (v1 sessions have no error: the root event has it)
other statuses         `metadata.status`, `metadata.status_reason`
tags, notes            `metadata.tags`, `metadata.notes`
session, user          `metadata.conversation_id`, `user_properties.user_id`
environment            `source` (else the setting)
metadata               `metadata`, key by key; a key that has a meaning of its own there goes to `metadata.metadata`
name of tool, agent    `metadata.tool_name`, `metadata.tool_call_id`, `metadata.agent_name`
scores, feedback       `metrics.<name>`, a comment on one score `metrics.<name>_explanation`; `feedback.rating`,
                       `feedback.comment`, `feedback.ground_truth`
dataset row            `metadata.run_id`, `metadata.dataset_id`, `metadata.datapoint_id`, `metadata.experiment` on
                       session and root
=====================  =================================================================================================

Not sent: `usage.raw`, and the framework's plumbing (dropped as `internal`; its children move up). Left to the server:
project_id, sums of a session; `children_ids` of more than 1,000 children. The legacy schema requires `duration`: for an
event that never closed it is the time to its first token, else 0; it then has no `end_time`, and says so in its status.

Late feedback is an update (PUT) of the event, and of the session too if it is on the tree; updates are merged. A run
that ends after it was sent is updated in the same way; its error is in `metadata.error`, since `error` cannot be
updated. The effect of a repeated `event_id` is not documented; a session may be started any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, ClassVar, Literal
from urllib.parse import quote
from uuid import NAMESPACE_OID, uuid5

from pydantic import Field

from eventtree.event import Event, EventTree, Usage
from eventtree.kinds import ERROR, MODEL, OK, JsonValue, Kind
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import (
    Forms,
    is_messages,
    messages_in,
    messages_out,
    open_message,
    openai_form,
    text_of,
    tools_of,
)
from eventtree.serializer.packing import in_waves
from eventtree.serializer.requests import Encoded, Item, Request, Route, Verdict, new_item
from eventtree.serializer.times import EPOCH, first_token, in_utc, seconds
from eventtree.serializer.vendor import ABOUT_ONE, Feedback, Vendor, json_in, without_nulls
from eventtree.serializer.view import TreeView
from eventtree.trace import uuid_of

EVENT_TYPES: Mapping[Kind, str] = {
    Kind.MODEL: "model", Kind.TOOL: "tool", Kind.RETRIEVER: "tool", Kind.EMBEDDING: "tool", Kind.RERANKER: "tool",
    Kind.CHAIN: "chain", Kind.AGENT: "chain",
}  # fmt: skip
TOKENS: Mapping[str, str] = {
    "prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "total_tokens": "total_tokens",
    "cache_read_input_tokens": "cache_read_tokens", "cache_write_input_tokens": "cache_write_tokens",
    "cache_write_5m_input_tokens": "cache_write_5m_tokens", "cache_write_1h_input_tokens": "cache_write_1h_tokens",
    **{name: name for name in ("reasoning_tokens", "input_audio_tokens", "output_audio_tokens", "input_image_tokens",
                               "output_image_tokens")},
}  # fmt: skip
"""HoneyHive's name in `metadata` → ours in `Usage`."""
COUNTS_OF = attrgetter(*TOKENS.values())
CONFIG_PARAMS = ("tool_choice", "response_format", "template")
"""Parameters of a model that go into `config` itself, beside the hyperparameters and the tools."""
MILLISECOND = timedelta(milliseconds=1)
LINKS = ("run_id", "dataset_id", "datapoint_id", "experiment")
RESERVED = frozenset({
    *TOKENS, *LINKS, "input_tokens", "output_tokens", "cost", "cost_details", "latency_ms", "time_to_first_token",
    "time_to_first_token_ms", "finish_reason", "finish_reasons", "model_name", "response_model", "provider",
    "tool_name", "tool_call_id", "agent_name", "user_id", "tags", "notes", "conversation_id", "kind", "framework",
    "status", "status_reason", "traceback", "cached", "tokens_inferred", "usage_problems", "usage_units",
    "service_tier", "asked_model", "metadata", "num_events", "num_model_events", "has_feedback",
})  # fmt: skip
"""Names in `metadata` that HoneyHive or eventtree uses: a run's own key of that name moves one level down."""
MANY_CHILDREN = 1_000
"""More children than these are not listed: they would fill a request, and each has its `parent_id` anyway."""


class HoneyHive(Vendor):
    """Send trees to HoneyHive: `HoneyHive(project="rag")`, the key from `HH_API_KEY`."""

    kind: ClassVar[str] = "honeyhive"
    accepts_updates: ClassVar[bool] = True
    accepts_parts: ClassVar[bool] = True
    env: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "api_key": ("HH_API_KEY", "HONEYHIVE_API_KEY", "HH_INGESTION_API_KEY"),
        "base_url": ("HH_API_URL", "HONEYHIVE_SERVER_URL", "HH_SERVER_URL"),
        "project": ("HH_PROJECT",),
        "source": ("HH_SOURCE",),
    }
    default_url: ClassVar[str] = "https://api.dp1.us.honeyhive.ai"
    routes: ClassVar[Mapping[str, Route]] = {
        "session": Route("POST", "/session/start", (b'{"session":', b"}")),
        "events": Route("POST", "/events/batch", (b'{"events":[', b"]}"), max_items=100),
        "v1_session": Route("POST", "/v1/sessions"),
        "feedback": Route("PUT", "/events", status_actions=ABOUT_ONE),
        "v1_feedback": Route("PUT", "/v1/events/{event_id}", status_actions=ABOUT_ONE),
        "v1_events": Route("POST", "/v1/events/batch", (b'{"events":[', b"]}"), max_items=100),
    }

    project: str = Field(default="default", min_length=1)
    """Name of the project; `v1` knows none, since its key decides."""
    source: str = Field(default="dev", min_length=1)
    """Label of the place a tree comes from; an event's `environment` wins."""
    generation: Literal["legacy", "v1"] = "legacy"
    """Which of HoneyHive's two APIs the key is for."""

    def identity(self) -> tuple[str, ...]:
        """Host and project: both generations write to one place."""
        return (*super().identity(), self.project)

    def encode(self, tree: EventTree) -> Encoded:
        """A session (wave 0), then the events, parents first, a wave for each batch of them."""
        view = TreeView.of(tree)
        session_route, events_route, _ = ROUTE_NAMES[self.generation]
        start = Item(f"{tree.id}:session", tree.id, (), session_route, to_json(self.session(view)))
        body, tree_id = self.event, tree.id
        events = [
            new_item((uuid_of(event.id), tree_id, (event.id,), events_route, to_json(body(event, view)), 1, ()))
            for event in view.events
        ]
        waves = in_waves(events, self.routes[events_route], self.max_bytes, first=1)
        return Encoded((start, *waves), view.dropped(tree))

    def encode_feedback(self, feedback: Feedback, tree: EventTree | None, learned: Mapping[str, str]) -> Encoded:
        """An update of the event; of the session too, where the whole tree is meant. Updates are merged."""
        parts = {"metrics": metrics_in(feedback) or None, "feedback": feedback_fields(feedback) or None}
        changes, on = without_nulls(parts), views.target(feedback, tree)
        both = (on, session_of(feedback["tree"])) if on == feedback["tree"] else (on,)
        return Encoded(tuple(self.update(feedback["key"], feedback["tree"], each, changes) for each in both if changes))

    def encode_update(self, tree: EventTree, ended: Collection[str]) -> tuple[Item, ...]:
        """Updates of outputs, times and metadata, which has the error: no other field can be updated."""
        view = TreeView.of(tree)
        # The legacy route's older schema knows no `end_time`: there `duration` has to do.
        fixed = {"start_time"} if self.generation == "v1" else {"start_time", "end_time"}
        items = []
        for event in (event for event in view.events if event.id in ended):
            ending = without_nulls({"status": str(event.status), "error": views.failure(event)})
            known = {key: value for key, value in times(event).items() if key not in fixed}
            metadata = {event.id: event_metadata(event, view)}
            if event.id == tree.id:
                metadata[session_of(tree.id)] = session_metadata(event, view)
            for on, own in metadata.items():
                changes = {"outputs": outputs_of(event, view.forms), "metadata": {**own, **ending}, **known}
                items.append(self.update("late", tree.id, on, without_nulls(changes)))
        return tuple(items)

    def update(self, key: str, tree_id: str, on: str, changes: Mapping[str, Any]) -> Item:
        """An update of an event or a session."""
        on = uuid_of(on)
        body = dict(changes) if self.generation == "v1" else {"event_id": on, **changes}
        place = (("event_id", quote(on, safe="")),)
        return Item(f"{key}:{on}", tree_id, (), ROUTE_NAMES[self.generation][2], to_json(body), 0, place)

    def session(self, view: TreeView) -> dict[str, Any]:
        """The body of a tree's session, made of its root."""
        root = view.root
        legacy = {
            "project": self.project, "error": views.failure(root), "metrics": metrics_of(root, view) or None,
            "feedback": feedback_of(root, view),
        }  # fmt: skip
        shared = {
            "session_id": session_of(view.id), "session_name": name_of(root), "children_ids": [uuid_of(root.id)],
            "source": self.source_of(root, view), "config": {}, "inputs": inputs_of(root, view.forms),
            "outputs": outputs_of(root, view.forms),
            "metadata": session_metadata(root, view), "user_properties": user_properties(root, view), **times(root),
        }  # fmt: skip
        return without_nulls(shared | (legacy if self.generation == "legacy" else {}))

    def event(self, event: Event, view: TreeView) -> dict[str, Any]:
        """The body of an event."""
        session, below, more = session_of(view.id), view.children_ids.get(event.id, ()), view.has_more(event)
        fields: dict[str, Any] = {
            **({"project": self.project} if self.generation == "legacy" else {}),
            "source": self.source_of(event, view), "event_name": name_of(event),
            "event_type": EVENT_TYPES[event.kind], "event_id": uuid_of(event.id), "session_id": session,
            "parent_id": uuid_of(view.parent_id(event) or session),
            **({"children_ids": list(map(uuid_of, below))} if 0 < len(below) <= MANY_CHILDREN else {}),
            "config": config_of(event), "inputs": inputs_of(event, view.forms),
        }  # fmt: skip
        if (outputs := outputs_of(event, view.forms)) is not None:
            fields["outputs"] = outputs
        if event.status is ERROR:
            fields["error"] = views.failure(event)
        fields["metadata"] = event_metadata(event, view)
        if more:
            fields |= without_nulls({"metrics": metrics_of(event, view) or None, "feedback": feedback_of(event, view)})
        if user := view.user(event):
            fields["user_properties"] = {"user_id": user}
        return fields | times(event)

    def source_of(self, event: Event, view: TreeView) -> str:
        """The environment of the event, else of its root, else the setting. Blank ones are skipped: the vendor refuses
        them.
        """
        for label in (event.environment, view.root.environment):
            if label and label.strip():
                return label
        return self.source

    def read_reply(self, request: Request, status: int, body: bytes) -> Verdict | None:
        """The verdict; a 500 that lists `event_ids` has taken those and no others."""
        ids = taken_ids(json_in(body)) if status == 500 else None
        return super().read_reply(request, status, body) if ids is None else Verdict(retry=missing(request, ids))

    def read_success(self, request: Request, reply: JsonValue) -> Verdict:
        """The verdict; a 200 may list fewer `event_ids` than were sent. Updates are answered with any body, or none."""
        if request.method == "PUT":
            return Verdict()
        is_taken = isinstance(reply, dict) and reply.get("success") is not False
        return Verdict(retry=missing(request, taken_ids(reply)), verified=is_taken)


ROUTE_NAMES = {"legacy": ("session", "events", "feedback"), "v1": ("v1_session", "v1_events", "v1_feedback")}
"""Generation → routes of sessions, events and updates."""


def taken_ids(reply: JsonValue) -> set[str] | None:
    """The `event_ids` that a reply lists; None if it has no such list."""
    ids = reply.get("event_ids") if isinstance(reply, dict) else None
    return {one for one in ids if isinstance(one, str)} if isinstance(ids, list) else None


def missing(request: Request, taken: set[str] | None) -> frozenset[str]:
    """Keys of the items whose ids a reply does not list; none if it lists as many ids as items."""
    if taken is None or len(taken) >= len(request.items):
        return frozenset()
    return frozenset(item.key for item in request.items if item.event_ids and item.key not in taken)


@lru_cache(maxsize=256)
def session_of(tree_id: str) -> str:
    """The id of a tree's session."""
    return str(uuid5(NAMESPACE_OID, f"eventtree:honeyhive:{tree_id}"))


def name_of(event: Event) -> str:
    """The event's name; its kind if the name is blank, which the vendor refuses."""
    return event.name if event.name.strip() else str(event.kind)


# Times


def times(event: Event) -> dict[str, int | float]:
    """`start_time`, `end_time` (if known) and `duration`."""
    start_ms = (in_utc(event.start) - EPOCH) // MILLISECOND
    duration = seconds(event.duration)
    if duration is None:
        return {"start_time": start_ms, "duration": to_ms(seconds(event.time_to_first_token)) or 0}
    return {"start_time": start_ms, "end_time": start_ms + round(duration * 1000), "duration": to_ms(duration) or 0}


def to_ms(duration: float | None) -> float | None:
    """Seconds in milliseconds, to the microsecond."""
    return None if duration is None else round(duration * 1000, 3)


# Contents


def inputs_of(event: Event, forms: Forms) -> dict[str, JsonValue]:
    """The event's inputs as an object, with the conversation in `chat_history`."""
    inputs = event.inputs
    if event.kind is MODEL and isinstance(inputs, dict) and inputs.get("messages") is not None:
        rest = {key: value for key, value in inputs.items() if key not in ("messages", "chat_history")}
        return {**rest, "chat_history": forms.of(messages_in(event, forms.are_messages), open_message)}
    if inputs is None:
        return {}
    return as_object(inputs, "input", "input", forms)


def outputs_of(event: Event, forms: Forms) -> dict[str, JsonValue] | None:
    """The event's outputs as an object, a model's answer as a message or text; None if there are none."""
    outputs = event.outputs
    if outputs is None:
        return None
    if event.kind is not MODEL or not isinstance(outputs, dict):
        return as_object(outputs, "text", "value", forms)
    # The first generation is the answer; if there are more, `generations` has all of them.
    rest = {key: value for key, value in outputs.items() if key not in ("messages", "texts")}
    answers = [open_message(message, "assistant") for message in messages_out(event)]
    several = {"generations": answers} if len(answers) > 1 else {}
    if outputs.get("messages") is not None:
        return {**rest, **(answers[0] if answers else {}), **several}
    if outputs.get("texts") is not None:
        return {"text": text_of(answers[0].get("content")) if answers else "", **rest, **several}
    return rest


def as_object(value: JsonValue, text_key: str, other_key: str, forms: Forms) -> dict[str, JsonValue]:
    """Inputs or outputs as an object; a list of messages in them becomes `chat_history`."""
    form = openai_form(value, forms)
    if not isinstance(form, dict):
        key = text_key if isinstance(form, str) else "chat_history" if is_messages(value) else other_key
        return {key: form}
    if "messages" not in value or "chat_history" in form or not is_messages(value["messages"]):
        return form
    rest = {key: item for key, item in form.items() if key != "messages"}
    return {"chat_history": form["messages"], **rest}


def config_of(event: Event) -> dict[str, JsonValue]:
    """Model, provider, parameters and tools; empty for an event without them."""
    form = None
    if event.kind is MODEL:
        is_text = isinstance(event.inputs, dict) and "prompt" in event.inputs and "messages" not in event.inputs
        form = "completion" if is_text else "chat"
    elif not event.params and not event.model:
        return {} if event.provider is None else {"provider": event.provider}
    params = {key: value for key, value in (event.params or {}).items() if value is not None}
    hyper = {key: value for key, value in params.items() if key not in (*CONFIG_PARAMS, "tools")}
    known = {
        "model": event.model, "provider": event.provider, "type": form, "hyperparameters": hyper or None,
        "tools": tools_of(event) or None, **{key: params.get(key) for key in CONFIG_PARAMS},
    }  # fmt: skip
    return without_nulls(known)


# Metadata


def own_metadata(event: Event) -> dict[str, JsonValue]:
    """The run's own metadata, with reserved keys one level down."""
    own = views.own_metadata(event)
    if RESERVED.isdisjoint(own):
        return own
    moved = {key: value for key, value in own.items() if key in RESERVED}
    free = {key: value for key, value in own.items() if key not in RESERVED}
    return {**free, "metadata": moved}


def session_metadata(root: Event, view: TreeView) -> dict[str, JsonValue]:
    """Metadata of a session, without sums, which the server computes."""
    ours = {
        "tags": list(root.tags) or None, "conversation_id": view.session_id(root), "framework": root.framework,
        **views.ended(root), **view.links(root, LINKS),
    }  # fmt: skip
    return {**own_metadata(root), **without_nulls(ours)}


def event_metadata(event: Event, view: TreeView) -> dict[str, JsonValue]:
    """Metadata of an event."""
    ours: dict[str, JsonValue] = {"kind": str(event.kind)}
    if event.tags:
        ours["tags"] = event.tags
    if (session := view.session_id(event)) is not None:
        ours["conversation_id"] = session
    if event.framework is not None:
        ours["framework"] = event.framework
    if event.error and event.error.traceback is not None:
        ours["traceback"] = event.error.traceback
    if event.notes:
        ours["notes"] = views.notes_of(event)
    if event.time_to_first_token is not None and (first := to_ms(first_token(event))) is not None:
        ours["time_to_first_token_ms"] = first
    if event.status is not OK:
        ours |= without_nulls(views.ended(event))
    if event.asked_model is not None:
        ours["asked_model"] = event.asked_model
    if event.usage is not None:
        ours |= without_nulls(usage_metadata(event.usage))
    if event.cost is not None and event.cost.total_usd is not None:
        ours |= without_nulls({"cost": float(event.cost.total_usd), "cost_details": views.cost_of(event.cost)})
    if event.kind in NAMES:
        ours |= without_nulls(NAMES[event.kind](event))
    if view.has_links:
        ours |= without_nulls(view.links(event, LINKS))
    own = own_metadata(event)
    return own | ours if own else ours


def usage_metadata(usage: Usage) -> dict[str, JsonValue]:
    """Tokens under the vendor's names, and facts about how they were counted."""
    return dict(zip(TOKENS, COUNTS_OF(usage), strict=True)) | {
        "tokens_inferred": usage.inferred or None, "cached": usage.cached or None, "service_tier": usage.service_tier,
        "usage_units": usage.units or None, "usage_problems": list(usage.problems) or None,
    }  # fmt: skip


def tool_call_id(event: Event) -> str | None:
    """The id of the tool call that a tool run answered, from its output message or its metadata."""
    places = (place for place in (event.outputs, event.metadata) if isinstance(place, dict))
    return next((str(one) for place in places if isinstance(one := place.get("tool_call_id"), str)), None)


def finish_reason(event: Event) -> str | None:
    """Why the model stopped: the first reason among its generations."""
    reasons = (message.get("finish_reason") for message in messages_out(event))
    return next((reason for reason in reasons if isinstance(reason, str)), None)


NAMES: Mapping[Kind, Callable[[Event], dict[str, JsonValue]]] = {
    Kind.TOOL: lambda event: {"tool_name": name_of(event), "tool_call_id": tool_call_id(event)},
    Kind.AGENT: lambda event: {"agent_name": name_of(event)},
    Kind.MODEL: lambda event: {"finish_reason": finish_reason(event)},
}
"""Kind → its additional keys of `metadata`."""


def user_properties(event: Event, view: TreeView) -> dict[str, str] | None:
    """The user; None if unknown."""
    user = view.user(event)
    return {"user_id": user} if user else None


def feedback_of(event: Event, view: TreeView) -> dict[str, JsonValue] | None:
    """The feedback on an event: the newest rating and comment, and the expected answer."""
    found: dict[str, JsonValue] = {}
    for feedback in view.feedback(event):
        found |= feedback_fields(feedback)
    return {**found, **without_nulls({"ground_truth": view.expected(event)})} or None


def metrics_of(event: Event, view: TreeView) -> dict[str, JsonValue]:
    """Scores by name, each with the comment that explains it."""
    found: dict[str, JsonValue] = dict(view.scores(event))
    for feedback in view.feedback(event):
        found |= metrics_in(feedback)
    return found


def metrics_in(feedback: Feedback) -> dict[str, JsonValue]:
    """The scores of one feedback. A comment on a named score explains it, by the vendor's convention."""
    scores, name, comment = views.scores_in(feedback), feedback.get("name"), feedback.get("comment")
    explained = isinstance(name, str) and name in scores and isinstance(comment, str) and comment
    return {**scores, **({f"{name}_explanation": comment} if explained else {})}


def feedback_fields(feedback: Feedback) -> dict[str, JsonValue]:
    """A feedback under HoneyHive's names, without named scores, which are metrics."""
    named = {"comment": "comment", "user_id": "user", "ground_truth": "correction", "metadata": "metadata"}
    return without_nulls(
        {"rating": views.rating(feedback), **{theirs: feedback.get(ours) for theirs, ours in named.items()}}
    )
