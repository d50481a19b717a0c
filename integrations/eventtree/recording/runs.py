"""The table of open runs of a process: ids, clocks and what streamed so far, no object of the user. No I/O.

A run is found by the id its framework gave it. It stays known as a parent for a while after it has ended.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice, takewhile
from time import monotonic_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from eventtree import diagnostics
from eventtree.config import Bounds
from eventtree.event import JsonValue
from eventtree.record import PART, Record, Ref
from eventtree.recording.remote import Remote, handed_on, remote
from eventtree.remembered import oldest_of

if TYPE_CHECKING:
    from eventtree.journal import Journal
    from eventtree.recording.pipeline import Pipeline
    from eventtree.recording.texts import Texts

ENDED_RUNS = 10_000
ENDED_SECONDS = 600.0
"""A run that ended stays known as a parent for this many runs and seconds."""
FORGOTTEN = ENDED_RUNS // 10
"""So many of them are forgotten at once."""
NONE: Sequence[Any] = ()

NOTHING: Mapping[str, Any] = MappingProxyType({})
NO_VENDOR = ("",)
"""Under which name events are counted that are for no vendor."""


class Tree:
    """A tree of this process, with open or lately ended runs."""

    def __init__(self, tree_id: str, pipeline: Pipeline, journal: Journal, vendors: Sequence[Ref]) -> None:
        """Begin with the pipeline that saw the root."""
        self.id = tree_id
        self.root = tree_id
        """The run with which it began here: its root, or the first of a part that belongs to another process' tree."""
        self.journal = journal
        self.pipelines = [pipeline]
        self.vendors = vendors
        self.counted = names_of(vendors) if vendors else NO_VENDOR
        """Under which names the journal counts its events."""
        self.open: dict[str, None] = {}
        """Keys of its open runs, as given by the framework."""
        self.events = 0
        self.is_asked = False
        """Whether it was looked for what only runs below its root can see."""
        self.is_own = True
        """Whether all its runs are of own code, which its context names: nothing else can enclose what opens."""
        self.skipped: str | None = None
        """The reason why the tree is only counted, not recorded."""
        self.remote: Remote | None = None
        """The run of another process that it is a part of; its events are counted for no vendor, since that process
        knows for whom its tree is.
        """
        self.parts = 0
        """How often its runs were handed on, less what came back to this process: so many parts may be to come."""
        self.traceparent: str | None = None
        """The app's own OpenTelemetry span around it, or that of the process it is a part for."""
        self.session: JsonValue = None
        """As its first run's record has it, and `user`: what is handed on with its runs."""
        self.user: JsonValue = None
        self.texts: Texts | None = None
        """The long texts in its records, while its root is open in this process."""
        self.is_over = False
        """Whether that has ended."""
        self.owed: list[Run] = []
        """Runs that have ended and whose start is not written yet."""

    def close(self, entry: Record) -> None:
        """Its root ends: add to the root's record what only that says.

        Whom the tree is for, and how large it is: the record of the root's start may be damaged.
        """
        entry["vendors"], entry["events"] = self.vendors, self.events
        if self.parts:
            entry["parts"] = self.parts
        # What is recorded from here on may come after the tree has gone out, and points to nothing.
        self.texts, self.is_over = None, True

    def stand_alone(self) -> None:
        """Be no part of another process' tree."""
        self.id, self.remote, self.counted = self.root, None, names_of(self.vendors)


class Run:
    """A run: ids and clocks. Most fields are set as it opens, without a constructor, which would be one call more; what
    few ever have, or ask for, stands in the class: an object's own fields are found in a tenth of the time.
    """

    id: str
    parent: str | None
    tree: Tree
    pipelines: tuple[Pipeline, ...]
    counted: tuple[str, ...]
    """The names under which its event was counted as it opened."""
    start: int
    state: Mapping[str, Any]
    """Small plain values that its pipeline gets back by `recall`, no object of the user. Replaced, never changed."""
    late: dict[str, JsonValue] | None
    """Facts learned since it opened, for its close record."""
    token_seen: bool
    streamed: list[str] | None
    """The text its model has streamed so far, for an end that comes without it or never."""
    early = 0
    """Nanoseconds by which it began before its first callback, which put it into the table."""
    duplicates = 0
    """How many extra times its handler reported the start. A handler registered twice reports every later event as
    many extra times.
    """
    ended = 0
    """Monotonic clock of its end, or of its root's."""
    is_left = False
    """Its root has ended and it has not: its own end may still come."""
    owed: Record | None = None
    """The record of its start, until that is written: it may be interrupted, or find no room on the stack."""

    def began(self, now: int, start_ns: int) -> int:
        """It began before it was put into the table; returns when, in wall-clock ns."""
        self.early = max(0, now - start_ns)
        self.start -= self.early
        return min(start_ns, now)


class Runs:
    """The open runs of one process and the runs that ended lately, both bounded. Safe for threads.

    The lock is held for changes of the table alone: nothing is made plain or written under it, so no thread ever waits
    here for a disk, or for code of the app.
    """

    def __init__(self) -> None:
        """Start with no open runs."""
        self.runs: dict[str, Run] = {}
        self.ended: dict[str, Run] = {}
        self.numbers_attempts = False
        """Whether any run was opened whose attempts are numbered by its state: before that nobody looks for one."""
        self.lost_track = 0
        """Open runs forgotten because there were too many, or for their age."""
        self.left_open = 0
        """Runs that were still open when their root ended; an end that comes late is still recorded."""
        self.capture_journal: Journal | None = None
        """The journal that trees go to instead of their pipeline's, for no vendor (`testing.capture`)."""
        self.capture_pipelines: dict[str, list[Pipeline]] = {}
        """Id of a tree that went there → the pipelines that saw it."""
        self._next_look = 0
        self.after_fork()

    def after_fork(self) -> None:
        """Make the lock anew: a thread of the parent may have held it. Re-entrant, for signal handlers that record."""
        self._lock = threading.RLock()

    def enter(self, pipeline: Pipeline, run_id: str, parent_id: str | None, metadata: Any = None) -> Run | None:
        """Put a run into the table, and return it; None if it is there already and its handler reports it once more.

        A run that another pipeline has put there is returned as it stands: `pipelines[0]` has opened it. One without a
        known parent is a root, unless it belongs to a run of another process (`joined`, or its `metadata` says so).
        """
        # Twice as quick as `with`, here and in the journal.
        self._lock.acquire()
        try:
            runs = self.runs
            if run_id in runs:
                return self._reported_again(runs[run_id], pipeline)
            run = Run()
            # The id of a run that has ended names its event already: one used again gets a fresh id.
            run.id = run_id if run_id not in self.ended else str(uuid.uuid4())
            run.pipelines = (pipeline,)
            run.state, run.late, run.streamed = NOTHING, None, None
            run.token_seen = False
            above = None if parent_id is None else runs.get(parent_id) or self.ended.get(parent_id)
            if above is None:
                above = self._begin(run, metadata)
            if above is not None:
                run.parent, run.tree = above.id, above.tree
            tree = run.tree
            run.counted = tree.counted
            run.start = monotonic_ns()
            runs[run_id] = run
            tree.events += 1
            tree.open[run_id] = None
            # After the insertion: the newest run stays, whatever has to go.
            if len(runs) > pipeline.open_runs or (above is None and len(runs) > 1):
                self._forget_oldest(pipeline.settings.bounds)
            return run
        finally:
            self._lock.release()

    def _reported_again(self, run: Run, pipeline: Pipeline) -> Run | None:
        if pipeline not in run.pipelines:
            run.pipelines = (*run.pipelines, pipeline)
            return run
        run.duplicates += pipeline is run.pipelines[0]
        return None

    def _begin(self, run: Run, metadata: Any) -> Run | None:
        """Give a run without a known parent its tree, or find the one above it after all."""
        caller = remote()
        if caller is None and type(metadata) is dict and "eventtree_run" in metadata:
            caller = handed_on(metadata, "eventtree_")
        if caller is not None and caller.run is not None:
            above = self.come_back(caller)  # it may be of this process after all
            if above is not None:
                return above
            if caller.run in self.ended:
                caller = None  # whose tree is over here: a tree of its own, that names it
        else:
            caller = None
        run.tree = self._tree(run.id, run.pipelines[0], caller)
        run.parent = None if run.tree.remote is None else run.tree.remote.run
        return None

    def _tree(self, run_id: str, pipeline: Pipeline, caller: Remote | None) -> Tree:
        """The tree that a run begins, or a part of the caller's."""
        if caller is None or caller.tree is None or caller.is_skipped:
            # A part of a tree that is not recorded is counted by itself: only its caller may speak for the tree.
            tree = self.new_tree(run_id, pipeline)
            tree.skipped = "sampled" if caller is not None and caller.is_skipped else None
            return tree
        tree = self.new_tree(caller.tree, pipeline)
        tree.root, tree.remote, tree.counted = run_id, caller, (PART,)
        tree.traceparent = caller.traceparent
        return tree

    def come_back(self, handed: Remote) -> Run | None:
        """The run that was handed on, where it is one of this process: no other will send a part for it.

        None too where its tree has ended.
        """
        found = None if handed.run is None else self.runs.get(handed.run) or self.ended.get(handed.run)
        if found is None:
            return None
        found.tree.parts = max(0, found.tree.parts - 1)
        return found if found.tree.root in self.runs else None

    def new_tree(self, tree_id: str, pipeline: Pipeline) -> Tree:
        """The tree that a root begins: in the pipeline's journal and for its vendors, unless a test captures it."""
        if self.capture_journal is None:
            return Tree(tree_id, pipeline, pipeline.journal, pipeline.vendor_refs)
        tree = Tree(tree_id, pipeline, self.capture_journal, ())
        self.capture_pipelines[tree_id] = tree.pipelines
        return tree

    def leave(self, run_id: str) -> tuple[Run | None, Sequence[Run]]:
        """Take a run that ends off the table; a root takes with it the runs still open below, returned beside it."""
        run = self.runs.get(run_id)
        if run is None:
            return self._leave_late(run_id)
        run.ended = monotonic_ns()
        tree, ended = run.tree, self.ended
        # It stays known for a while: children may open after it, and its end may be reported again. First there, then
        # off the table, in one step: of two that report the end one gets to record it, and no child misses its parent.
        ended[run_id] = run
        if self.runs.pop(run_id, None) is None:
            return None, ()
        tree.open.pop(run_id, None)
        if len(ended) > ENDED_RUNS:
            self._forget_many()
        if run.id != tree.root:
            return run, NONE
        with self._lock:
            left = self._leave_open(tree) if tree.open else NONE
            if run.ended > self._next_look:
                self._forget_ended(run.ended)
        return run, left

    def _leave_late(self, run_id: str) -> tuple[Run | None, Sequence[Run]]:
        with self._lock:
            run = self.find(run_id)
            if run is not None:
                run.is_left, run.ended = False, monotonic_ns()
            return run, NONE

    def remember(self, run_id: str, **facts: Any) -> None:
        """Add to an open run's `state`."""
        run = self.find(run_id)
        if run is not None:
            run.state = {**run.state, **facts}

    def recall(self, run_id: str | None) -> Mapping[str, Any]:
        """The `state` an open run was given; empty for others."""
        run = self.find(run_id) if run_id is not None else None
        return NOTHING if run is None else run.state

    def find(self, run_id: str) -> Run | None:
        """The run if it is open; also one whose root has ended before it."""
        run = self.runs.get(run_id)
        if run is None:
            run = self.ended.get(run_id)
            if run is not None and not run.is_left:
                return None
        return run

    def event_of(self, run_id: str) -> tuple[str, Tree] | None:
        """Id of the event, and the tree, of a run that is open or ended a short while ago."""
        found = self.runs.get(run_id) or self.ended.get(run_id)
        return None if found is None else (found.id, found.tree)

    def tree_of(self, run_id: str) -> str | None:
        """Id of the tree of a run that is open, or ended a short while ago."""
        found = self.event_of(run_id)
        return None if found is None else found[1].id

    def knows(self, run_id: str) -> bool:
        """Whether the run is open, or ended a short while ago."""
        return run_id in self.runs or run_id in self.ended

    def is_open(self, run_id: str) -> bool:
        """Whether the run is open."""
        return self.find(run_id) is not None

    def is_live(self, run_id: str) -> bool:
        """Whether the run is open, or has ended in a tree whose root is open."""
        ended = self.ended.get(run_id)
        return self.find(run_id) is not None or (ended is not None and ended.tree.root in self.runs)

    def descends(self, run_id: str, ancestor_id: str) -> bool:
        """Whether both runs are of one tree and `run_id` opened later: of two enclosing runs the inner one."""
        run, ancestor = self.runs.get(run_id), self.runs.get(ancestor_id)
        return run is not None and ancestor is not None and run.tree is ancestor.tree and run.start >= ancestor.start

    def _leave_open(self, tree: Tree) -> Sequence[Run]:
        """Runs that never end must not pile up: they leave the table with their root, but may still be closed."""
        found = []
        for run_id in list(tree.open):
            left = self.runs.pop(run_id, None)
            if left is not None:
                left.is_left = True
                self._end(run_id, left)
                self.left_open += 1
                found.append(left)
        tree.open.clear()
        return found

    def _end(self, run_id: str, run: Run) -> None:
        run.ended = monotonic_ns()
        self.ended[run_id] = run
        if len(self.ended) > ENDED_RUNS:
            self._forget_many()

    def _forget_many(self) -> None:
        """Bound the runs that ended by number: many at once, since the first of a dict are found the more slowly the
        more have gone before.
        """
        with self._lock, suppress(RuntimeError):  # a signal handler that records, in the middle of this
            for run_id in list(islice(self.ended, FORGOTTEN)):
                self.ended.pop(run_id, None)

    def _forget_ended(self, now: int) -> None:
        """Bound the runs that ended by age; looked at now and then as a root ends."""
        self._next_look = now + int(ENDED_SECONDS * 1e7)
        limit = now - int(ENDED_SECONDS * 1e9)
        with suppress(RuntimeError):  # as above
            for run_id, _ in list(takewhile(lambda item: item[1].ended < limit, self.ended.items())):
                self.ended.pop(run_id, None)

    def _forget_oldest(self, bounds: Bounds) -> None:
        """Bound the table by number and age; looked at whenever a root opens. The newest run stays in any case."""
        limit = monotonic_ns() - int(bounds.open_hours * 3600e9)
        while (oldest := oldest_of(self.runs)) is not None:
            run = self.runs.get(oldest)
            if run is None or (len(self.runs) <= bounds.open_runs and run.start + run.early >= limit):
                return
            self.runs.pop(oldest, None)
            run.tree.open.pop(oldest, None)
            self._end(oldest, run)
            self.lost_track += 1
            diagnostics.truncations["open_runs"] += 1


def names_of(vendors: Sequence[Ref]) -> tuple[str, ...]:
    """The names under which the journal counts events for these vendors."""
    return tuple(f"{ref['name']}.{ref['fingerprint']}" for ref in vendors) or NO_VENDOR
