"""Makes a run's event: its fields, tokens, cost, notes and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, Protocol, cast

from pydantic.dataclasses import rebuild_dataclass

from eventtree import record
from eventtree.event import Cost, Event, EventError, Note, Usage, closed_as, opened_class
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.pace import let_go, paced, paced_sorted
from eventtree.pricing.stated import cost_of
from eventtree.record import GIVEN_COST
from eventtree.tree.run import NOTHING, Run
from eventtree.tree.structure import HIDDEN, LANGCHAIN, PLUMBING
from eventtree.usage.normalize import normalize

rebuild_dataclass(cast("Any", Event))  # at import, rather than in the first tree

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ASKS_A_MODEL = (Kind.MODEL, Kind.EMBEDDING, Kind.RERANKER)


class Pricing(Protocol):
    """Counts and prices runs: `eventtree.pricing.Pricer`. Without one, nothing is inferred or priced."""

    def infer(self, inputs: JsonValue, outputs: JsonValue, model: str | None) -> Usage | None:
        """A tokenizer's count."""

    def price(
        self,
        usage: Usage | None,
        *,
        model: str | None,
        asked: str | None = None,
        provider: str | None,
        base_url: str | None = None,
        at: datetime,
        given: JsonValue = None,
    ) -> Cost | None:
        """The cost of a run; `asked` is the model that was asked, `model` the one that answered."""


@dataclass(slots=True)
class Settled:
    """The facts of a tree that depend on all of its runs."""

    tree_id: str
    runs: dict[str, Run]
    parents: dict[str, str | None]
    wrappers: set[str]
    """Model runs that only wrap another model run."""
    silent: set[str]
    """Runs for which no tokens may be counted."""
    shared: tuple[Any, Any, Any]
    """Session, user and environment of the tree."""
    start: int
    """When the first run began, in ns."""


KINDS = {str(kind): kind for kind in Kind}
STATUSES = {str(status): status for status in Status}


def event_of(run: Run, settled: Settled, pricing: Pricing | None) -> Event:
    """The event of a run. Each field of `Event` is set here."""
    opened, closed, shared = run.open.get, run.close.get, settled.shared
    duration, error, asked, framework = closed("duration"), closed("error"), opened("model"), opened("framework")
    inputs, model, provider, internal = closed("inputs"), closed("model"), closed("provider"), closed("internal")
    kind: Any = closed("kind") or opened("kind") or Kind.CHAIN
    status = closed("status") or run.status
    event = new(OPEN_EVENT)
    event.id = run.id
    event.parent_id = parent = settled.parents[run.id]
    event.tree_id = settled.tree_id
    event.session_id, event.user, event.environment = shared
    event.kind = kind = run.kind or KINDS.get(kind, kind)
    event.name = name = opened("name", "unknown")
    event.status = STATUSES.get(status) or Status(str(status))
    event.error = None if error is None else _error(error)
    tags = event.tags = tuple(opened("tags", ()))
    internal = bool(opened("internal") if internal is None else internal)
    is_named = type(name) is str
    event.internal = internal or (framework == LANGCHAIN and is_named and (PLUMBING[name] or HIDDEN in tags))
    event.inputs = opened("inputs") if inputs is None else inputs
    event.outputs = closed("outputs") if run.close else run.outputs
    event.model = model = asked if model is None else model
    event.asked_model = asked = None if asked == model else asked
    event.provider = provider = opened("provider") if provider is None else provider
    params, metadata, notes = opened("params"), opened("metadata"), run.notes
    event.params = _merged(params, closed("params")) or None if params or "params" in run.close else None
    event.prompt = run.prompt
    event.start = EPOCH + MICROSECOND * (opened("start", settled.start) // 1000)
    is_alone = not run.metadata and "metadata" not in run.close
    event.metadata = {} if not metadata and is_alone else _merged(metadata, closed("metadata"), run.metadata)
    event.usage, event.cost = figures_of(run, event, settled, pricing)
    event.duration = None if duration is None else duration / 1e9 if duration > 0 else 0.0
    event.time_to_first_token = _first_token(run) if notes else None
    event.release = release = opened("release")
    event.service = service = opened("service")
    event.framework = framework
    event.traceparent = traceparent = opened("traceparent")
    event.notes = _notes(run, event.start) if notes or not run.open or run.lost_texts else ()
    # Values of other types than their fields' are left to the constructor, which converts or refuses.
    is_usual = is_named and type(kind) is Kind
    for text in (parent, *shared, model, asked, provider, release, service, framework, traceparent, *tags):
        if text is not None and type(text) is not str:
            is_usual = False
    if is_usual and None not in tags:
        return closed_as(event, Event)
    return Event(**{name: getattr(event, name) for name in Event.model_fields})


OPEN_EVENT = opened_class(Event)
new = object.__new__


def _merged(first: dict[str, Any] | None, second: Mapping[str, Any] | None, third: Any = NOTHING) -> dict[str, Any]:
    """The mappings merged; later ones win. The first alone is not copied, since records are never changed."""
    if not second and not third and (first is None or type(first) is dict):
        return first or {}
    return {**(first or NOTHING), **(second or NOTHING), **third}


def _error(kept: Any) -> EventError:
    """The error of a run. If the redactor failed, even its keys are missing."""
    known = {key: kept[key] for key in EventError.model_fields if key in kept} if isinstance(kept, dict) else {}
    texts = {key: str(value) for key, value in known.items() if value is not None}
    return EventError(**{"type": "unknown", "message": "[redaction failed]", **texts})


def figures_of(run: Run, event: Event, settled: Settled, pricing: Pricing | None) -> tuple[Usage | None, Cost | None]:
    """Usage and cost of a run: reported, or else counted."""
    raw_usage, asks_a_model = run.close.get("usage"), event.kind in ASKS_A_MODEL
    if not (raw_usage or asks_a_model or run.notes or GIVEN_COST in event.metadata or "cost" in run.close):
        return None, None  # most runs
    if run.id in settled.wrappers:
        raw_usage = None
    usage = normalize(raw_usage, event.inputs, event.model) if raw_usage else None
    if pricing is None:
        return usage, None
    given = _given(run, settled)
    if usage is None and given is None and not asks_a_model:
        return None, None
    is_own = run.id not in settled.wrappers and run.id not in settled.silent
    has_answered = event.outputs is not None and event.status in (Status.OK, Status.CANCELLED)
    if usage is None and is_own and has_answered and event.kind in (Kind.MODEL, Kind.EMBEDDING):
        usage = pricing.infer(event.inputs, event.outputs, event.model)
    # A model without known tokens may still have a cost: a fee by request, or one from the user's function.
    if usage is None and given is None and not (is_own and asks_a_model and event.status is Status.OK):
        return None, None
    base_url = run.close.get("base_url")
    cost = pricing.price(
        usage,
        model=event.model,
        asked=run.open.get("model"),
        provider=event.provider,
        base_url=run.open.get("base_url") if base_url is None else base_url,
        at=event.start if run.open else EPOCH,
        given=given,
    )
    return _with_problems(usage, cost)


def _with_problems(usage: Usage | None, cost: Cost | None) -> tuple[Usage | None, Cost | None]:
    """Move the cost's problems to the usage, which has all of them; a cost without a figure is None."""
    if cost is None or not cost.problems:
        return usage, cost
    if usage is not None:
        usage = usage.model_copy(update={"problems": (*usage.problems, *cost.problems)})
    is_known = any(amount is not None for amount in (cost.input_usd, cost.output_usd, cost.total_usd))
    return usage, cost.model_copy(update={"problems": ()}) if is_known else None


def _given(run: Run, settled: Settled) -> JsonValue:
    """The cost of this run as given by the user."""
    if run.close.get("cost") is not None:
        return run.close["cost"]
    if run.notes:
        noted = [cost_of(note.get("value"), "given") for note in run.notes if note["name"] == GIVEN_COST]
        totals = [cost.total_usd for cost in noted if cost is not None and cost.total_usd is not None]
        if totals:
            return str(sum(totals, Decimal(0)))
    known, learned = run.open.get("metadata", NOTHING), run.close.get("metadata", NOTHING)
    own = learned.get(GIVEN_COST, known.get(GIVEN_COST))
    if own is None:
        return None
    above = settled.runs.get(settled.parents[run.id] or "")
    inherited = above.open.get("metadata", NOTHING).get(GIVEN_COST) if above is not None else None
    return None if own == inherited else own


def _first_token(run: Run) -> float | None:
    times = [note["after"] for note in run.notes if note["name"] == record.FIRST_TOKEN and "after" in note]
    return min(times) / 1e9 if times else None


def _notes(run: Run, start: datetime) -> tuple[Note, ...]:
    found = [
        Note(name=note["name"], at=_time(note["at"]), value=note.get("value"))
        for note in sorted(run.notes, key=lambda note: note["at"])
        if note["name"] not in record.OWN_NOTES
    ]
    if not run.open:
        found.append(Note(name="damaged", at=start, value="the record of its start was lost"))
    if run.lost_texts:
        lost = f"{run.lost_texts} of its texts stood in another record, which was lost"
        found.append(Note(name="damaged", at=start, value=lost))
    return tuple(found)


def _time(at_ns: int) -> datetime:
    return EPOCH + MICROSECOND * (at_ns // 1000)


def ordered(events: list[Event]) -> tuple[Event, ...]:
    """The events by start, but never a child before its parent."""
    in_time = paced_sorted(events, attrgetter("start", "id"))
    first, *others = in_time
    for event in paced(others):
        if event.parent_id != first.id:
            break
    else:
        return tuple(in_time)  # a root and its children, as in most trees
    children: dict[str | None, list[Event]] = {}
    ids = {event.id for event in paced(events)}
    for event in paced(in_time):
        children.setdefault(event.parent_id if event.parent_id in ids else None, []).append(event)
    placed: list[Event] = []
    wave = children.get(None, [])
    while wave:
        placed += wave
        wave = [child for event in paced(wave) for child in children.get(event.id, ())]
    let_go(children)
    return tuple(placed)
