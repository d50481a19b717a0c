"""Records in, trees out. No thread, clock, file or socket: the same records give the same tree, in any order.

The records become runs (`run.py`). Then `build` makes events of the runs:

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
- a long text that stands in another record of the tree is put where it belongs (`texts.py`); one whose record is
  damaged is marked, and the run too;
- session, user and environment are the root's; where it names no session or no user, those that were `configured` for
  it, else those of the runs below it if they agree (a chain around a graph: only the graph's runs bear its thread).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

from eventtree import record
from eventtree.event import EventTree, Kind
from eventtree.pace import let_go, paced, paced_dict, paced_sorted
from eventtree.record import SESSION_KEYS, USER_KEYS, Record, first_of
from eventtree.tree import structure
from eventtree.tree.events import Pricing, Settled, event_of, ordered
from eventtree.tree.nesting import rooted, settle_unclosed, silent, wrappers
from eventtree.tree.prompts import PROMPT_KEYS, find_prompts
from eventtree.tree.run import Run
from eventtree.tree.structure import RETRY
from eventtree.tree.texts import complete

START = attrgetter("start", "id")
OF_A_RUN = frozenset({record.OPEN, record.NOTE, record.CLOSE})
"""Kinds of records that say something of a run."""


class TreeBuilder:
    """One tree growing from its records. `build` may be called at any time, and again after more records."""

    def __init__(self, tree_id: str) -> None:
        """Start an empty tree."""
        self.id = tree_id
        self._runs: dict[str, Run] = {}
        self._feedback: list[Record] = []
        self._held: dict[str, Run] = {}
        self._repeats = False
        self._values: dict[int, Any] = {}
        """What records hold that others repeat, by number."""
        self.needs_open = False
        """Runs without an open make no event: else it was damaged, and they are marked."""
        self.others: set[str] = set()
        """Kinds of records that say nothing of a run."""

    @classmethod
    def of(cls, tree_id: str, records: Iterable[Record]) -> TreeBuilder:
        """The tree of these records so far."""
        builder = cls(tree_id)
        for entry in paced(records):
            builder.add(entry)
        return builder

    def add(self, entry: Record) -> None:
        """Take one record of this tree, in any order; kinds that say nothing of a run are passed over."""
        kind, run_id = entry["r"], entry["id"]
        if kind in OF_A_RUN:
            run = self._runs.get(run_id)
            if run is None:
                run = self._runs[run_id] = Run(run_id)
            if kind == record.CLOSE and not run.close:
                run.close = entry  # as nearly every close is its run's only one
            else:
                run.take(entry)
            if record.SAME in entry:
                self._repeats = True
        elif kind == record.FEEDBACK:
            self._feedback.append(entry)
        else:
            self.others.add(kind)

    def hold(self, earlier: Iterable[Record]) -> None:
        """Know the records of a tree that went out before this part of it, for the texts in them."""
        self._held = TreeBuilder.of(self.id, earlier)._runs

    @property
    def told(self) -> int:
        """How many events the tree has by the close of its root."""
        root = self._runs.get(self.id)
        return 0 if root is None else record.events_of(root.close)

    def build(self, pricing: Pricing | None = None, *, part: bool = False) -> EventTree | None:
        """The tree of the records so far, or None if they hold no run.

        With `part`, the records are a later part of a tree that was sent before: parents are kept though unknown here.
        """
        settled = self.settle(part=part)
        if settled is None:
            return None
        each = paced(settled.runs.values(), each=True)
        events = ordered([event_of(run, settled, pricing) for run in each])
        let_go(settled.runs)
        let_go(settled.parents)
        feedback: tuple[Record, ...] = ()
        if self._feedback:
            in_time = sorted(self._feedback, key=lambda entry: at if type(at := entry.get("at")) is int else 0)
            feedback = tuple({k: v for k, v in entry.items() if k not in ("r", "tree", "vendors")} for entry in in_time)
        return EventTree.made(self.id, events, feedback)

    def let_go(self) -> None:
        """Forget all records, now that the tree is built: there may be many."""
        let_go(self._runs)

    def settle(self, *, part: bool = False) -> Settled | None:
        """What the runs decide together: each then becomes an event, or a sum, by itself. None without one."""
        seen = [run for run in paced(self._runs.values()) if run.open or (run.close and not self.needs_open)]
        if not seen:
            return None
        if self._held or self._repeats:
            complete([*self._held.values(), *seen], self._values)
        in_time = paced_sorted(seen, START)
        found = _Found(in_time)
        words, runs, parents = found.words, paced_dict(found.runs), paced_dict(found.parents)
        # The root first: parents, session and user of all the others depend on it.
        root = self._root(runs)
        if root.id != self.id and root.open.get("joined"):
            # The rest of the tree is elsewhere: what this part is of has to stand somewhere.
            root.metadata = {"parent_run_id": root.open.get("parent"), "parent_tree_id": self.id}
        # Safe parents next. All that follows walks up by them, and would never end in a ring.
        safe = rooted(parents, root.id)
        if part:  # what is above it was sent before; a ring hangs under the tree's root
            top = {self.id: None}
            safe = {
                one: safe[one] or top.get(one, self.id) if above in runs else above for one, above in parents.items()
            }
        parents = paced_dict(safe)
        configured = root.close.get("configured") or {}
        session, user = (
            root.learned(name) or _named(root, keys, words) or configured.get(name) or _agreed(runs, keys, words)
            for name, keys in (("session", SESSION_KEYS), ("user", USER_KEYS))
        )
        # Who wraps whom decides whose tokens count, so it is settled before any event is made.
        around = wrappers(found.with_usage, runs, parents)
        quiet = silent(found.asked, runs, parents, around)
        if found.is_unclosed:
            settle_unclosed(runs, parents)
        _add_structure(runs, parents, words)
        # Statuses and kinds are final from here on.
        start = next((run.start for run in in_time if run.open), 0)
        return Settled(self.id, runs, parents, around, quiet, (session, user, root.learned("environment")), start)

    def _root(self, runs: Mapping[str, Run]) -> Run:
        own = runs.get(self.id)
        if own is not None:
            return own
        orphans = [run for run in runs.values() if run.open.get("parent") not in runs]
        return min(orphans or runs.values(), key=attrgetter("start", "id"))


def fold(records: Iterable[Record], pricing: Pricing | None = None) -> list[EventTree]:
    """All trees in `records`, in the order they first appear; records may come in any order."""
    growing: dict[str, TreeBuilder] = {}
    for entry in records:
        if entry["tree"]:
            growing.setdefault(entry["tree"], TreeBuilder(entry["tree"])).add(entry)
    built = (builder.build(pricing) for builder in growing.values())
    return [tree for tree in built if tree is not None]


def _named(run: Run, keys: tuple[str, ...], words: set[str]) -> str | None:
    """The value that a run's own metadata gives."""
    found = None if words.isdisjoint(keys) else first_of(run.open.get("metadata") or {}, keys)
    return None if found is None else str(found)


def _agreed(runs: Mapping[str, Run], keys: tuple[str, ...], words: set[str]) -> str | None:
    """The value all runs agree on (runs without one are ignored); None if they differ."""
    if words.isdisjoint(keys):
        return None
    named = (run.open.get("metadata") for run in runs.values())
    found = {first_of(about, keys) for about in named if about and not about.keys().isdisjoint(keys)} - {None}
    return str(found.pop()) if len(found) == 1 else None


class _Found:
    """What one look at the runs of a tree finds: most need nothing of what could be worked out of them."""

    __slots__ = ("asked", "is_unclosed", "parents", "runs", "with_usage", "words")

    def __init__(self, in_time: list[Run]) -> None:
        self.runs: dict[str, Run] = {}
        self.parents: dict[str, str | None] = {}
        self.words: set[Any] = set()
        """Frameworks, statuses, keys of metadata, and tags of attempts up to their number."""
        self.with_usage: list[Run] = []
        self.asked: list[Run] = []
        """Models and embeddings."""
        self.is_unclosed = False
        runs, parents, words, add = self.runs, self.parents, self.words, self.words.add
        for run in paced(in_time):
            run_id, closed, opened = run.id, run.close, run.open.get
            runs[run_id] = run
            parents[run_id] = opened("parent")
            add(opened("framework"))
            if metadata := opened("metadata"):
                words.update(metadata)
            for tag in opened("tags", ()):
                if RETRY in tag:
                    add(tag.rpartition(":")[0])
            if not closed:
                self.is_unclosed = True
            add(closed.get("status"))
            if closed.get("usage"):
                self.with_usage.append(run)
            if (closed.get("kind") or opened("kind")) in COUNTED:
                self.asked.append(run)


COUNTED = frozenset({Kind.MODEL, Kind.EMBEDDING})


def _add_structure(runs: Mapping[str, Run], parents: Mapping[str, str | None], words: set[str]) -> None:
    if not PROMPT_KEYS.isdisjoint(words):
        find_prompts(runs.values(), parents)
    if structure.INTEGRATION in words:
        for run_id in structure.agents(runs, parents):
            runs[run_id].kind = Kind.AGENT
    turns = structure.turns(runs, parents) if structure.LLAMA_INDEX in words else {}
    attempts = {} if structure.TRIED_AGAIN.isdisjoint(words) else structure.attempts(runs, parents)
    for key, found in (("agent", turns), ("attempt", attempts)):
        for run_id, value in found.items():
            runs[run_id].metadata = {**runs[run_id].metadata, key: value}
