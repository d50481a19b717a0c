"""Records in, trees out. No thread, clock, file or socket: the same records give the same tree, in any order.

Each run of a tree is in one of four states, told by which of its records have been seen. `RULES` says what a record
does in each; nothing else decides. Then `build` makes events of the runs:

- a run without a close is `incomplete`, or `cancelled` where the nearest run above that closed was (a cancelled
  retriever of LangChain never closes); one without an open keeps what its close says and is marked `damaged`;
- of two closes the earlier one counts (by duration), so a repeated end changes nothing;
- a parent that is not in the tree, or that would make a ring, is replaced by the root;
- what a close learned (model, params, inputs of a streamed chain, …) wins over what the open knew;
- usage stands on the innermost model run: one around another that has usage loses its own (scenario C7);
- where nobody reported usage, `Pricing.infer` may count it: on the innermost of nested model runs, the outermost of
  nested embeddings (the inner ones are the framework's plumbing);
- a cost may be given for any run: at its close, by notes named `eventtree_cost` (summed), or as `eventtree_cost` in its
  metadata, where it was not inherited from the run above: LangChain hands metadata down;
- session, user and environment are the root's; where it names no session or no user, those that were `configured` for
  it, else those of the runs below it if they agree (a chain around a graph: only the graph's runs bear its thread).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from eventtree import record
from eventtree.event import Cost, Event, EventError, EventTree, JsonValue, Kind, Note, Status, Usage
from eventtree.pricing.stated import cost_of
from eventtree.record import GIVEN_COST, SESSION_KEYS, USER_KEYS, Record, first_of
from eventtree.tree import structure
from eventtree.usage import normalise

ASKS_A_MODEL = frozenset({Kind.MODEL, Kind.EMBEDDING, Kind.RERANKER})


class Pricing(Protocol):
    """Who counts and prices, from outside: `eventtree.usage.Pricer`. Without it nothing is inferred or priced."""

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
        """What a run cost; `asked` is the name by which the `model` that answered was asked."""


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNSEEN, OPENED, CLOSED, WHOLE = "unseen", "opened", "closed", "whole"

RULES: Mapping[tuple[str, str], tuple[str, str]] = {
    # (state, record): (what is done, state afterwards)
    (UNSEEN, record.OPEN): ("keep_open", OPENED),
    (UNSEEN, record.NOTE): ("keep_note", UNSEEN),
    (UNSEEN, record.CLOSE): ("keep_close", CLOSED),
    (OPENED, record.OPEN): ("ignore", OPENED),
    (OPENED, record.NOTE): ("keep_note", OPENED),
    (OPENED, record.CLOSE): ("keep_close", WHOLE),
    (CLOSED, record.OPEN): ("keep_open", WHOLE),
    (CLOSED, record.NOTE): ("keep_note", CLOSED),
    (CLOSED, record.CLOSE): ("keep_earlier", CLOSED),
    (WHOLE, record.OPEN): ("ignore", WHOLE),
    (WHOLE, record.NOTE): ("keep_note", WHOLE),
    (WHOLE, record.CLOSE): ("keep_earlier", WHOLE),
}


@dataclass(slots=True)
class _Run:
    id: str
    state: str = UNSEEN
    open: Record = field(default_factory=dict)
    close: Record = field(default_factory=dict)
    notes: list[Record] = field(default_factory=list)
    is_cancelled: bool = False
    """It never closed, and what was around it was cancelled."""
    kind: Kind | None = None
    """What the structure of its tree says it is, where it does."""
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    """What the structure of its tree adds."""

    def keep_open(self, entry: Record) -> None:
        self.open = entry

    def keep_close(self, entry: Record) -> None:
        self.close = entry

    def keep_earlier(self, entry: Record) -> None:
        if entry.get("duration", 0) < self.close.get("duration", 0):
            self.close = entry

    def keep_note(self, entry: Record) -> None:
        self.notes.append(entry)

    def ignore(self, entry: Record) -> None:
        """Nothing: it is a repetition."""

    @property
    def status(self) -> str:
        return str(self.close.get("status", Status.CANCELLED if self.is_cancelled else Status.INCOMPLETE))

    @property
    def outputs(self) -> JsonValue:
        """What it closed with; where it never closed, what had come until its root did."""
        partial = (note.get("value") for note in self.notes if note["name"] == record.PARTIAL)
        return self.close.get("outputs") if self.close else next(partial, None)

    def learned(self, key: str) -> Any:
        value = self.close.get(key)
        return self.open.get(key) if value is None else value


@dataclass(frozen=True, slots=True)
class _Nest:
    """How the runs of a tree lie in each other."""

    runs: Mapping[str, _Run]
    parents: Mapping[str, str | None]
    wrappers: set[str]
    """Model runs around another that has usage."""
    silent: set[str]
    """Runs whose tokens, if somebody counted them, would stand on another run too."""


class TreeBuilder:
    """One tree growing from its records. `build` may be called at any time, and again after more records."""

    def __init__(self, tree_id: str, rest: Callable[[], None] = lambda: None) -> None:
        """Start an empty tree. `rest` is called between records and between events: the caller may pause."""
        self.id = tree_id
        self._rest = rest
        self._runs: dict[str, _Run] = {}
        self._feedback: list[Record] = []

    def add(self, entry: Record) -> None:
        """Take one record of this tree, in any order; kinds that say nothing of a run are passed over."""
        if entry["r"] == record.FEEDBACK:
            self._feedback.append(entry)
        elif (UNSEEN, entry["r"]) in RULES:
            run = self._runs.get(entry["id"])
            if run is None:
                run = self._runs[entry["id"]] = _Run(entry["id"])
            act, run.state = RULES[run.state, entry["r"]]
            getattr(run, act)(entry)
        self._rest()

    def build(self, pricing: Pricing | None = None, *, part: bool = False) -> EventTree | None:
        """The tree as far as its records tell, or None if they hold no run.

        With `part`, the records are a later part of a tree that has gone out: parents are kept though unknown here.
        """
        runs = {run.id: run for run in self._runs.values() if run.state != UNSEEN}
        if not runs:
            return None
        start = min((run.open["start"] for run in runs.values() if run.open), default=0)
        root = self._root(runs)
        in_order = sorted(runs.values(), key=lambda run: (run.open.get("start", 0), run.id))
        parents = {run.id: run.open.get("parent") for run in in_order}
        if not part:
            parents = _rooted(parents, root.id)
        shared = {key: root.learned(key) for key in ("session", "user", "environment")}
        configured = root.close.get("configured") or {}
        for key, names in (("session", SESSION_KEYS), ("user", USER_KEYS)):
            shared[key] = shared[key] or configured.get(key) or _agreed(runs, names)
        wrappers = _wrappers(runs, parents)
        nest = _Nest(runs, parents, wrappers, _silent(runs, parents, wrappers))
        _settle_unclosed(runs, parents)
        _add_structure({run.id: run for run in in_order}, parents)
        events = []
        for run in runs.values():
            events.append(_event(run, self.id, parents[run.id], shared, start, _figures(run, nest, pricing)))
            self._rest()
        in_time = sorted(self._feedback, key=lambda entry: at if type(at := entry.get("at")) is int else 0)
        feedback = tuple({k: v for k, v in entry.items() if k not in ("r", "tree", "vendors")} for entry in in_time)
        return EventTree(id=self.id, events=_ordered(events), feedback=feedback)

    def _root(self, runs: Mapping[str, _Run]) -> _Run:
        own = runs.get(self.id)
        if own is not None:
            return own
        orphans = [run for run in runs.values() if run.open.get("parent") not in runs]
        return min(orphans or runs.values(), key=lambda run: (run.open.get("start", 0), run.id))


def fold(records: Iterable[Record], pricing: Pricing | None = None) -> list[EventTree]:
    """All trees in `records`, in the order they first appear; records may come in any order."""
    growing: dict[str, TreeBuilder] = {}
    for entry in records:
        if entry["tree"]:
            growing.setdefault(entry["tree"], TreeBuilder(entry["tree"])).add(entry)
    built = (builder.build(pricing) for builder in growing.values())
    return [tree for tree in built if tree is not None]


def _rooted(parents: Mapping[str, str | None], root: str) -> dict[str, str | None]:
    """Parents such that everything hangs, directly or not, under `root`."""
    safe: dict[str, str | None] = {root: None}
    for start in parents:
        path: list[str] = []
        node: str | None = start
        while node is not None and node in parents and node not in safe and node not in path:
            path.append(node)
            node = parents[node]
        # `node` is now known to be safe, or missing, or on the path itself (a ring).
        top = node if node in safe else root
        for child in reversed(path):
            safe[child] = top
            top = child
    return safe


def _agreed(runs: Mapping[str, _Run], keys: tuple[str, ...]) -> str | None:
    """What the runs that say something of it all say."""
    found = {first_of(about, keys) for run in runs.values() if (about := run.open.get("metadata"))} - {None}
    return str(found.pop()) if len(found) == 1 else None


def _wrappers(runs: Mapping[str, _Run], parents: Mapping[str, str | None]) -> set[str]:
    """Model runs around another model run that has usage of its own, or that hand on the answer of one."""
    found = _handing_on(runs)
    for run in runs.values():
        if run.open.get("kind") != Kind.MODEL or not run.close.get("usage"):
            continue
        above = parents[run.id]
        while above is not None and above in runs:
            if runs[above].open.get("kind") == Kind.MODEL:
                found.add(above)
            above = parents[above]
    return found


def _handing_on(runs: Mapping[str, _Run]) -> set[str]:
    """Model runs with the very answer of another that ran within their time: LangChain tells a model that is asked
    inside a model the parent of the outer one, so they stand side by side.
    """
    by_answer: dict[tuple[str, ...], list[_Run]] = {}
    for run in runs.values():
        usage = run.close.get("usage")
        answers = usage.get("answers") if isinstance(usage, dict) and not usage.get("cached") else None
        if isinstance(answers, list) and answers:
            by_answer.setdefault(tuple(str(one) for one in answers), []).append(run)
    pairs = ((outer, inner) for same in by_answer.values() for outer in same for inner in same)
    return {outer.id for outer, inner in pairs if _encloses(outer, inner)}


def _encloses(outer: _Run, inner: _Run) -> bool:
    """Whether one ran wholly within the time of the other."""
    starts = [run.open.get("start", 0) for run in (outer, inner)]
    ends = [start + run.close.get("duration", 0) for start, run in zip(starts, (outer, inner), strict=True)]
    return bool(starts[0] < starts[1] and ends[1] <= ends[0])


def _silent(runs: Mapping[str, _Run], parents: Mapping[str, str | None], wrappers: set[str]) -> set[str]:
    """Runs whose tokens, if somebody counted them, would stand on another run too."""
    found: set[str] = set()
    for run in runs.values():
        kind = run.learned("kind")
        if kind not in (Kind.MODEL, Kind.EMBEDDING):
            continue
        above = parents[run.id]
        while above is not None and above in runs:
            if runs[above].learned("kind") == kind:
                was_told = bool(runs[above].close.get("usage")) and above not in wrappers
                found.add(above if kind == Kind.MODEL and not was_told else run.id)
            above = parents[above]
    return found


def _settle_unclosed(runs: Mapping[str, _Run], parents: Mapping[str, str | None]) -> None:
    for run in runs.values():
        if run.close:
            continue
        above = parents[run.id]
        while above is not None and above in runs and not runs[above].close:
            above = parents[above]
        nearest = runs.get(above) if above is not None else None
        run.is_cancelled = nearest is not None and nearest.close.get("status") == Status.CANCELLED


def _add_structure(runs: Mapping[str, _Run], parents: Mapping[str, str | None]) -> None:
    for run_id in structure.agents(runs, parents):
        runs[run_id].kind = Kind.AGENT
    for key, found in (("agent", structure.turns(runs, parents)), ("attempt", structure.attempts(runs, parents))):
        for run_id, value in found.items():
            runs[run_id].metadata = {**runs[run_id].metadata, key: value}


def _ordered(events: list[Event]) -> tuple[Event, ...]:
    """By start, but never a child before its parent."""
    children: dict[str | None, list[Event]] = {}
    ids = {event.id for event in events}
    for event in sorted(events, key=lambda event: (event.start, event.id)):
        children.setdefault(event.parent_id if event.parent_id in ids else None, []).append(event)
    placed: list[Event] = []
    wave = children.get(None, [])
    while wave:
        placed.extend(wave)
        wave = [child for event in wave for child in children.get(event.id, ())]
    return tuple(placed)


def _event(
    run: _Run,
    tree_id: str,
    parent: str | None,
    shared: Mapping[str, Any],
    earliest: int,
    figures: tuple[Usage | None, Cost | None],
) -> Event:
    start = _time(run.open.get("start", earliest))
    duration = run.close.get("duration")
    usage, cost = figures
    metadata = {**run.open.get("metadata", {}), **run.close.get("metadata", {}), **run.metadata}
    error = run.close.get("error")
    model, asked = run.learned("model"), run.open.get("model")
    return Event(
        id=run.id,
        parent_id=parent,
        tree_id=tree_id,
        session_id=shared["session"],
        kind=run.kind or run.learned("kind") or Kind.CHAIN,
        name=run.open.get("name", "unknown"),
        status=Status(run.status),
        error=_error(error),
        internal=bool(run.learned("internal")),
        inputs=run.learned("inputs"),
        outputs=run.outputs,
        model=model,
        asked_model=None if asked == model else asked,
        provider=run.learned("provider"),
        params={**(run.open.get("params") or {}), **(run.close.get("params") or {})} or None,
        usage=usage,
        cost=cost,
        start=start,
        duration=None if duration is None else max(0, duration) / 1e9,
        time_to_first_token=_first_token(run),
        tags=tuple(run.open.get("tags", ())),
        metadata=metadata,
        user=shared["user"],
        environment=shared["environment"],
        framework=run.open.get("framework"),
        notes=_notes(run),
    )


def _error(kept: Any) -> EventError | None:
    """The error of a run; its keys are gone too where a redactor has failed."""
    if kept is None:
        return None
    known = {key: kept[key] for key in EventError.model_fields if key in kept} if isinstance(kept, dict) else {}
    texts = {key: str(value) for key, value in known.items() if value is not None}
    return EventError(**{"type": "unknown", "message": "[redaction failed]", **texts})


def _figures(run: _Run, nest: _Nest, pricing: Pricing | None) -> tuple[Usage | None, Cost | None]:
    """Tokens and money of one run: what was reported, else what can be counted."""
    raw_usage = None if run.id in nest.wrappers else run.close.get("usage")
    usage = normalise(raw_usage, run.learned("inputs"), run.learned("model")) if raw_usage else None
    if pricing is None:
        return usage, None
    kind, model, status = run.learned("kind"), run.learned("model"), run.status
    is_own = run.id not in nest.wrappers and run.id not in nest.silent
    has_answered = run.outputs is not None and status in (Status.OK, Status.CANCELLED)
    if usage is None and is_own and has_answered and kind in (Kind.MODEL, Kind.EMBEDDING):
        usage = pricing.infer(run.learned("inputs"), run.outputs, model)
    above = nest.parents[run.id]
    given = _given(run, nest.runs.get(above) if above is not None else None)
    # A model whose tokens nobody knows may still cost something: a fee by request, or by the user's function.
    if usage is None and given is None and not (is_own and kind in ASKS_A_MODEL and status == Status.OK):
        return None, None
    cost = pricing.price(
        usage,
        model=model,
        asked=run.open.get("model"),
        provider=run.learned("provider"),
        base_url=run.learned("base_url"),
        at=_time(run.open.get("start", 0)),
        given=given,
    )
    return _with_problems(usage, cost)


def _with_problems(usage: Usage | None, cost: Cost | None) -> tuple[Usage | None, Cost | None]:
    """What a price leaves out stands where all problems do; a cost without any figure is none."""
    if cost is None or not cost.problems:
        return usage, cost
    if usage is not None:
        usage = usage.model_copy(update={"problems": (*usage.problems, *cost.problems)})
    is_known = any(amount is not None for amount in (cost.input_usd, cost.output_usd, cost.total_usd))
    return usage, cost.model_copy(update={"problems": ()}) if is_known else None


def _given(run: _Run, above: _Run | None) -> JsonValue:
    """The cost the user gave for this run."""
    if run.close.get("cost") is not None:
        return run.close["cost"]
    noted = [cost_of(note.get("value"), "given") for note in run.notes if note["name"] == GIVEN_COST]
    totals = [cost.total_usd for cost in noted if cost is not None and cost.total_usd is not None]
    if totals:
        return str(sum(totals, Decimal(0)))
    known, learned = run.open.get("metadata", {}), run.close.get("metadata", {})
    said = learned.get(GIVEN_COST, known.get(GIVEN_COST))
    inherited = above.open.get("metadata", {}).get(GIVEN_COST) if above is not None else None
    return None if said == inherited else said


def _first_token(run: _Run) -> float | None:
    times = [note["after"] for note in run.notes if note["name"] == record.FIRST_TOKEN and "after" in note]
    return min(times) / 1e9 if times else None


def _notes(run: _Run) -> tuple[Note, ...]:
    found = [
        Note(name=note["name"], at=_time(note["at"]), value=note.get("value"))
        for note in sorted(run.notes, key=lambda note: note["at"])
        if note["name"] not in record.OWN_NOTES
    ]
    if not run.open:
        found.append(Note(name="damaged", at=_time(0), value="the record of its start was lost"))
    return tuple(found)


def _time(at_ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_ns // 1000)
