"""A tree as vendors need it: parents and children, failures, feedback, links to a dataset.

Metadata keys that begin with `eventtree_` are ours: they link a tree to a row of a dataset (`eventtree_run_id`,
`eventtree_dataset_id`, `eventtree_datapoint_id`, `eventtree_experiment`, `eventtree_expected`, `eventtree_scores`).
They are read from the root alone, because frameworks hand a root's metadata down to all its children.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, cached_property
from operator import attrgetter
from typing import Any

from eventtree.event import Cost, Event, EventTree, Usage
from eventtree.kinds import ERROR, OK, JsonValue
from eventtree.pace import paced
from eventtree.serializer.messages import Forms, finite, has_short_messages, spelled_out
from eventtree.serializer.times import iso

OWN = "eventtree_"


class TreeView:
    """A tree without framework plumbing: its root, its parents and children, its feedback."""

    def __init__(self, tree: EventTree) -> None:
        """The view of a tree, without changing it."""
        self.tree = tree
        self.id = tree.id
        self.root = tree.root
        self.has_feedback = bool(tree.feedback)
        self.forms: Forms = vars(tree).setdefault("forms", Forms())
        """Shared by the vendors."""
        own = self.root.metadata
        self.has_links = bool(own) and any(key.startswith(OWN) for key in own)
        """Whether the root's metadata has such links."""

    @classmethod
    def of(cls, tree: EventTree) -> TreeView:
        """The view of a finished tree without plumbing, with LangGraph's short messages written out."""
        known = vars(tree)
        if "shown" not in known:  # built for the first vendor, shared by the others
            shown = spelled(tree.without_internal(), known.setdefault("forms", Forms()))
            known["shown"] = None if shown is tree else shown  # None, so that the tree does not refer to itself
        return cls(known["shown"] or tree)

    @property
    def events(self) -> Iterable[Event]:
        """The events, parents first, with rests between them in the delivery thread."""
        return paced(self.tree.events, each=True)

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of all its events."""
        return frozenset(event.id for event in paced(self.tree.events))

    def is_root(self, event: Event) -> bool:
        """Whether the event is the tree's root. A late part has none: its first event has a parent."""
        return event.parent_id is None and event.id == self.root.id

    def parent_id(self, event: Event) -> str | None:
        """The id of the event above; the root's id if that event is unknown, None for the root itself.

        In a late part (its first event has a parent) the parents were sent before, and their ids are used unchanged.
        """
        root, parent = self.root, event.parent_id
        if parent == root.id or root.parent_id is not None:
            return parent
        if event.id == root.id:
            return None
        return parent if parent in self.ids else root.id

    @cached_property
    def children_ids(self) -> dict[str, list[str]]:
        """Event id → the ids of its children."""
        found: dict[str, list[str]] = {}
        for event in self.events:
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
        """The events of `tree` that the view does not have, with the reason."""
        if len(tree.events) == len(self.tree.events):
            return {}
        return {event.id: "internal" for event in tree.events if event.id not in self.ids}

    def dataset_field(self, name: str) -> JsonValue:
        """A link to a dataset, from the root's metadata: `run_id`, `dataset_id`, `experiment`, `expected`, …"""
        return self.root.metadata.get(OWN + name)

    def links(self, event: Event, names: Iterable[str]) -> dict[str, JsonValue]:
        """The root's links to a dataset with these `names`; none for any other event."""
        if not self.has_links or not self.is_root(event):
            return {}
        return {name: self.dataset_field(name) for name in names}

    def feedback(self, event: Event) -> list[dict[str, JsonValue]]:
        """Feedback on the event. Feedback on the tree, or on none of its events, counts for the root."""
        return self.feedback_by_event.get(event.id, [])

    @cached_property
    def feedback_by_event(self) -> dict[str, list[dict[str, JsonValue]]]:
        """Event id → the feedback on that event."""
        found: dict[str, list[dict[str, JsonValue]]] = {}
        for feedback in self.tree.feedback:
            found.setdefault(about(feedback, self.ids, self.root.id), []).append(feedback)
        return found

    def has_more(self, event: Event) -> bool:
        """Whether an event may have scores or an expected output, from feedback or the root's links."""
        return self.has_feedback or (self.has_links and event is self.root)

    def expected(self, event: Event) -> JsonValue:
        """The expected output: the event's newest correction, else on the root that of the dataset."""
        if not self.has_more(event):
            return None
        corrections = [
            feedback["correction"] for feedback in self.feedback(event) if feedback.get("correction") is not None
        ]
        if corrections:
            return corrections[-1]
        return self.links(event, ("expected",)).get("expected")

    def scores(self, event: Event) -> dict[str, float]:
        """Numbers by name from feedback and, on the root, from `eventtree_scores`."""
        if not self.has_more(event):
            return {}
        named = self.links(event, ("scores",)).get("scores")
        found = dict(named) if isinstance(named, dict) else {}
        for feedback in self.feedback(event):
            found.update(scored(feedback))
        numbers = {name: number(score) for name, score in found.items()}
        return {name: score for name, score in numbers.items() if score is not None}


def spelled(tree: EventTree, forms: Forms) -> EventTree:
    """The tree with LangGraph's short messages written out."""
    for event in paced(tree.events):
        given = event.inputs
        if type(given) is dict and "messages" in given and has_short_messages(given, forms.are_messages):
            break
    else:
        return tree
    events = (
        event.model_copy(update={"inputs": spelled_out(event.inputs)}) if has_short_messages(event.inputs) else event
        for event in paced(tree.events)
    )
    return tree.model_copy(update={"events": tuple(events)})


def scored(feedback: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The scores in a feedback by name. A score without a name is called `score`."""
    score, name = feedback.get("score"), feedback.get("name")
    return score if isinstance(score, dict) else {name if isinstance(name, str) and name else "score": score}


def scores_in(feedback: Mapping[str, JsonValue]) -> dict[str, float]:
    """The scores in a feedback that are numbers, by name."""
    numbers = {name: number(score) for name, score in scored(feedback).items()}
    return {name: score for name, score in numbers.items() if score is not None}


def rating(feedback: Mapping[str, JsonValue]) -> JsonValue:
    """The score without a name, which is on the run as a whole; None if the feedback has none."""
    return None if feedback.get("name") or isinstance(feedback.get("score"), dict) else feedback.get("score")


def target(feedback: Mapping[str, JsonValue], tree: EventTree | None) -> str:
    """The id of the event that late feedback is on; the root's if that event was not sent (plumbing)."""
    if tree is None:
        return str(feedback["id"])
    shown = TreeView.of(tree)
    return about(feedback, shown.ids, shown.root.id)


def about(feedback: Mapping[str, JsonValue], known: frozenset[str], otherwise: str) -> str:
    """The id of the event that feedback is on."""
    named = (feedback.get(key) for key in ("event_id", "id"))
    return next((one for one in named if isinstance(one, str) and one in known), otherwise)


def number(value: JsonValue) -> float | None:
    """A finite number, true and false as 1 and 0; None for anything else."""
    known = int(value) if isinstance(value, bool) else finite(value)
    return None if known is None else float(known)


def own_metadata(event: Event) -> dict[str, JsonValue]:
    """The run's own metadata without our keys, plus values that no vendor has a field for."""
    found = dict(event.metadata)
    if found and OWN in "".join(found):
        found = {key: value for key, value in found.items() if not key.startswith(OWN)}
    if event.release is None and event.service is None and event.prompt is None:
        return found
    prompt = event.prompt or {}
    more = {
        "release": event.release, "service": event.service,
        "prompt_name": prompt.get("name"), "prompt_version": prompt.get("version"),
    }  # fmt: skip
    return {**{key: value for key, value in more.items() if value is not None}, **found}


def error_line(event: Event) -> str | None:
    """The event's error as `Type: message`, whatever its status."""
    if event.error is None:
        return None
    return ": ".join(part for part in (event.error.type, event.error.message) if part) or "error"


def failure(event: Event) -> str | None:
    """`Type: message` of a failed event; None for every other status, since control flow is no error."""
    return (error_line(event) or "error") if event.status is ERROR else None


def ended(event: Event) -> dict[str, JsonValue]:
    """Status and reason of an event that was interrupted, cancelled or never closed; empty for ok and error."""
    if event.status in (OK, ERROR):
        return {}
    return {"status": str(event.status), "status_reason": error_line(event)}


PLAIN = frozenset({int, str, bool})
"""Types whose values are their own JSON."""
EMPTY: tuple[Any, ...] = ((), {})


@cache
def _without(placed: frozenset[str]) -> tuple[list[str], Callable[[Usage], Any], Any]:
    """The fields of a usage that are not `placed`, a function that reads them, and its result for an empty usage."""
    names = [name for name in Usage.model_fields if name != "raw" and name not in placed]
    values_in = attrgetter(*names)
    return names, values_in, values_in(Usage())


def usage_rest(event: Event, placed: Collection[str]) -> dict[str, JsonValue]:
    """The event's usage (details, fees, flags) without the counts that are `placed` in fields of their own."""
    if event.usage is None:
        return {}
    names, values_in, empty = _without(frozenset(placed))
    if (values := values_in(event.usage)) == empty:
        return {}
    rest = {
        name: value
        for name, value in zip(names, values, strict=True)
        if value is not None and value is not False and value not in EMPTY
    }
    if PLAIN.issuperset(map(type, rest.values())):
        return rest
    return event.usage.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"raw", *placed})


def cost_of(cost: Cost) -> dict[str, JsonValue]:
    """A cost as JSON: dollars as numbers, and their source."""
    usd = {"input_usd": cost.input_usd, "output_usd": cost.output_usd, "total_usd": cost.total_usd}
    known: dict[str, JsonValue] = {name: float(amount) for name, amount in usd.items() if amount is not None}
    return known if cost.source is None else {**known, "source": cost.source}


def notes_of(event: Event, without: str | None = None) -> list[dict[str, JsonValue]]:
    """The event's notes in order, except those named `without`, for which the vendor has a field."""
    if not event.notes:
        return []
    shown = (note for note in event.notes if note.name != without)
    notes = ({"name": note.name, "at": iso(note.at), "value": note.value} for note in shown)
    return [{key: value for key, value in note.items() if value is not None} for note in notes]
