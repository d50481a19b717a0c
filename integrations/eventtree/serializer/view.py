"""A tree as vendors look at it: who hangs under whom, what failed, what was thought of it.

Metadata keys that begin with `eventtree_` are ours: they tie a tree to a row of a dataset (`eventtree_run_id`,
`eventtree_dataset_id`, `eventtree_datapoint_id`, `eventtree_experiment`, `eventtree_expected`, `eventtree_scores`).
They are read from the root alone, because frameworks hand a root's metadata down to all its children.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from eventtree.event import Event, EventTree, JsonValue, Status
from eventtree.serializer.messages import finite, is_short, spelled_out
from eventtree.serializer.times import iso

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OWN = "eventtree_"


@dataclass(frozen=True)
class TreeView:
    """A tree without framework plumbing, and how its events hang together."""

    tree: EventTree

    @classmethod
    def of(cls, tree: EventTree) -> TreeView:
        """The view of a finished tree, what was said in short forms spelled out as messages."""
        shown = tree.without_internal()
        if not any(is_short(event.inputs) for event in shown.events):
            return cls(shown)
        events = (
            event.model_copy(update={"inputs": spelled_out(event.inputs)}) if is_short(event.inputs) else event
            for event in shown.events
        )
        return cls(shown.model_copy(update={"events": tuple(events)}))

    @cached_property
    def root(self) -> Event:
        """The root event."""
        return self.tree.root

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of all events in it."""
        return frozenset(event.id for event in self.tree.events)

    def parent_id(self, event: Event) -> str | None:
        """The id of the event above; the root's where that one is unknown, None for the root itself.

        In a late part (its first event has a parent) the parents went out before, and are named as they are.
        """
        if self.root.parent_id is not None:
            return event.parent_id
        if event.id == self.root.id:
            return None
        return event.parent_id if event.parent_id in self.ids else self.root.id

    @cached_property
    def children_ids(self) -> dict[str, list[str]]:
        """The ids of the events directly below each."""
        found: dict[str, list[str]] = {}
        for event in self.tree.events:
            parent = self.parent_id(event)
            if parent is not None:
                found.setdefault(parent, []).append(event.id)
        return found

    def user(self, event: Event) -> str | None:
        """The event's user, else the tree's."""
        return event.user or self.root.user

    def session_id(self, event: Event) -> str | None:
        """The event's session, else the tree's."""
        return event.session_id or self.root.session_id

    def dropped(self, tree: EventTree) -> dict[str, str]:
        """The events of the whole `tree` that are not in it, with the reason."""
        return {event.id: "internal" for event in tree.events if event.id not in self.ids}

    def dataset_field(self, name: str) -> JsonValue:
        """What ties the tree to a dataset: `run_id`, `dataset_id`, `datapoint_id`, `experiment` or `expected`."""
        return self.root.metadata.get(OWN + name)

    def feedback(self, event: Event) -> list[dict[str, JsonValue]]:
        """Feedback on the event; what names the tree, or nothing known, is on the root."""
        return self.feedback_by_event.get(event.id, [])

    @cached_property
    def feedback_by_event(self) -> dict[str, list[dict[str, JsonValue]]]:
        """Feedback under the id of the event it is on."""
        found: dict[str, list[dict[str, JsonValue]]] = {}
        for said in self.tree.feedback:
            found.setdefault(about(said, self.ids, self.root.id), []).append(said)
        return found

    def expected(self, event: Event) -> JsonValue:
        """What the answer should have been: the newest correction, else the dataset's word on the root."""
        corrections = [said["correction"] for said in self.feedback(event) if said.get("correction") is not None]
        if corrections:
            return corrections[-1]
        return self.dataset_field("expected") if event.id == self.root.id else None

    def scores(self, event: Event) -> dict[str, float]:
        """Numbers by name from feedback and, on the root, from `eventtree_scores`."""
        named = self.dataset_field("scores") if event.id == self.root.id else None
        found = dict(named) if isinstance(named, dict) else {}
        for said in self.feedback(event):
            found.update(scored(said))
        numbers = {name: number(score) for name, score in found.items()}
        return {name: score for name, score in numbers.items() if score is not None}


def scored(said: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What a feedback scores, by name; a score without a name is `score`."""
    score, name = said.get("score"), said.get("name")
    return score if isinstance(score, dict) else {name if isinstance(name, str) and name else "score": score}


def scores_in(said: Mapping[str, JsonValue]) -> dict[str, float]:
    """The numbers among what a feedback scores."""
    numbers = {name: number(score) for name, score in scored(said).items()}
    return {name: score for name, score in numbers.items() if score is not None}


def said_at(said: Mapping[str, JsonValue]) -> str | None:
    """When a feedback came in, ISO 8601."""
    at = finite(said.get("at"))
    try:
        return None if at is None else iso(EPOCH + timedelta(microseconds=int(at) // 1000))
    except OverflowError:
        return None


def rating(said: Mapping[str, JsonValue]) -> JsonValue:
    """The score of the run as a whole; None where it has a name."""
    return None if said.get("name") or isinstance(said.get("score"), dict) else said.get("score")


def target(said: Mapping[str, JsonValue], tree: EventTree | None) -> str:
    """The id of the event that late feedback is on: the root's, where its own was not sent."""
    if tree is None:
        return str(said["id"])
    shown = TreeView.of(tree)
    return about(said, shown.ids, shown.root.id)


def about(said: Mapping[str, JsonValue], known: frozenset[str], otherwise: str) -> str:
    """The id of the event that feedback is on."""
    named = (said.get(key) for key in ("event_id", "id"))
    return next((one for one in named if isinstance(one, str) and one in known), otherwise)


def number(value: JsonValue) -> float | None:
    """A finite number, true and false as 1 and 0; None for anything else."""
    known = int(value) if isinstance(value, bool) else finite(value)
    return None if known is None else float(known)


def own_metadata(event: Event) -> dict[str, JsonValue]:
    """The run's own metadata, without the keys that are ours."""
    return {key: value for key, value in event.metadata.items() if not key.startswith(OWN)}


def error_line(event: Event) -> str | None:
    """`Type: message` of what an event ended with, whatever its status."""
    if event.error is None:
        return None
    return ": ".join(part for part in (event.error.type, event.error.message) if part) or "error"


def failure(event: Event) -> str | None:
    """`Type: message` of a failed event; None for every other status, since control flow is no error."""
    return (error_line(event) or "error") if event.status is Status.ERROR else None


def ended(event: Event) -> dict[str, JsonValue]:
    """How an event ended, where that is neither well nor by an error: its status, and why."""
    if event.status in (Status.OK, Status.ERROR):
        return {}
    return {"status": str(event.status), "status_reason": error_line(event)}


def notes_of(event: Event, without: str | None = None) -> list[dict[str, JsonValue]]:
    """What happened during an event, in order; notes of the name `without` have another place."""
    told = (note for note in event.notes if note.name != without)
    notes = ({"name": note.name, "at": iso(note.at), "value": note.value} for note in told)
    return [{key: value for key, value in note.items() if value is not None} for note in notes]


def seconds(value: float | None) -> float | None:
    """A duration that a vendor can take: finite and not negative; None where it is unknown or neither."""
    return max(value, 0.0) if value is not None and math.isfinite(value) else None


def first_token(event: Event) -> float | None:
    """Seconds to the first token, unless they contradict the duration."""
    first, duration = seconds(event.time_to_first_token), seconds(event.duration)
    return None if first is None or (duration is not None and first > duration) else first
