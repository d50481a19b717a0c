"""Records in, trees out. No thread, clock, file or socket: the same records give the same tree, in any order.

The records become runs (`run.py`). Then `build` makes events of the runs:

- a run without a close is `incomplete`, or `cancelled` if the nearest closed run above it was (a cancelled retriever of
  LangChain never closes); a run without an open has the values of its close and is marked `damaged`;
- of two closes the earlier one counts (by duration), so a repeated end changes nothing;
- a parent that is not in the tree, or that would make a ring, is replaced by the root;
- a value of the close (model, params, inputs of a streamed chain, …) replaces that of the open;
- usage is on the innermost model run: a run around another with usage loses its own (scenario C7);
- if nobody reported usage, `Pricing.infer` may count it: on the innermost of nested model runs, the outermost of nested
  embeddings (the inner ones are the framework's plumbing);
- a cost may be given for any run: at its close, by notes named `eventtree_cost` (summed), or as `eventtree_cost` in its
  metadata, unless that is inherited from the run above: LangChain hands metadata down;
- a long text that is in another record of the tree is put back (`texts.py`); if that record is damaged, the text is
  replaced by a mark, and the run is marked too;
- session, user and environment are the root's; if it names no session or no user, those `configured` for it, else those
  of the runs below it if they agree (in a chain around a graph, only the graph's runs have its thread).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

from eventtree import record
from eventtree.event import EventTree
from eventtree.kinds import Kind
from eventtree.pace import let_go, paced, paced_dict, paced_sorted
from eventtree.record import CLEARED, SAME, SESSION_KEYS, USER_KEYS, Record, first_of
from eventtree.tree import structure
from eventtree.tree.events import Pricing, Settled, event_of, ordered
from eventtree.tree.nesting import rooted, settle_unclosed, silent, wrappers
from eventtree.tree.prompts import PROMPT_KEYS, find_prompts
from eventtree.tree.run import Run
from eventtree.tree.structure import RETRY
from eventtree.tree.texts import complete

START = attrgetter("start", "id")
OF_A_RUN = frozenset({record.OPEN, record.NOTE, record.CLOSE})
"""Kinds of records that belong to a run."""


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
        """Values that records repeat, by number."""
        self.needs_open = False
        """Whether runs without an open make no event. Otherwise their open was damaged, and their event is marked."""
        self.cleared: set[str] = set()
        """Runs of which a record was cleared: they make no event."""

    @classmethod
    def of(cls, tree_id: str, records: Iterable[Record]) -> TreeBuilder:
        """The tree of these records so far."""
        builder = cls(tree_id)
        for entry in paced(records):
            builder.add(entry)
        return builder

    def add(self, entry: Record) -> None:
        """Add one record of this tree, in any order; only those of runs and feedback count."""
        kind, run_id = entry["r"], entry["id"]
        if kind in OF_A_RUN:
            run = self._runs.get(run_id)
            if run is None:
                run = self._runs[run_id] = Run(run_id)
            run.take(entry)
            if SAME in entry:
                self._repeats = True
            if CLEARED in entry:
                self.cleared.add(run_id)
        elif kind == record.FEEDBACK and CLEARED not in entry:
            self._feedback.append(entry)

    def hold(self, earlier: Iterable[Record]) -> None:
        """Use the texts in earlier records of the tree, which were sent before this part of it."""
        self._held = TreeBuilder.of(self.id, earlier)._runs

    @property
    def stated_events(self) -> int:
        """The number of events that the close of the root states."""
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
        """Decide all that depends on several runs; each then becomes an event by itself. None if there is no run."""
        seen = [run for run in paced(self._runs.values()) if run.open or (run.close and not self.needs_open)]
        if self.cleared:
            seen = [run for run in seen if run.id not in self.cleared]
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
            # The rest of the tree is in another journal: the root of this part names where it belongs.
            root.metadata = {"parent_run_id": root.open.get("parent"), "parent_tree_id": self.id}
        # Then safe parents: all later steps walk up by them, and would never end in a ring.
        safe = rooted(parents, root.id)
        if part:  # its parents were sent before; a ring hangs under the tree's root
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
        # Wrappers before events: they decide whose tokens count.
        around = wrappers(found.with_usage, runs, parents)
        quiet = silent(found.asked, runs, parents, around)
        if found.is_unclosed:
            settle_unclosed(runs, parents)
        _add_structure(runs, parents, words)
        # Statuses and kinds are final from here on.
        start = in_time[0].start or next((run.start for run in in_time if run.open), 0)
        return Settled(self.id, runs, parents, around, quiet, (session, user, root.learned("environment")), start)

    def _root(self, runs: Mapping[str, Run]) -> Run:
        own = runs.get(self.id)
        if own is not None:
            return own
        orphans = [run for run in runs.values() if run.open.get("parent") not in runs]
        return min(orphans or runs.values(), key=attrgetter("start", "id"))


def _named(run: Run, keys: tuple[str, ...], words: set[str]) -> str | None:
    """The value in a run's own metadata."""
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
    """Facts about the runs of a tree, found in one pass: most trees have none that need further work."""

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
