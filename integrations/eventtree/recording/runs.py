"""The table of a process's open runs: ids, clocks and streamed texts, no object of the user. No I/O.

A run is found by its framework's id, and stays known as a parent for a while after it has ended.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice, takewhile
from time import monotonic_ns, time_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from eventtree import diagnostics
from eventtree.config import Bounds
from eventtree.kinds import JsonValue
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
"""Ended runs that are forgotten at once."""
NONE: Sequence[Any] = ()

NOTHING: Mapping[str, Any] = MappingProxyType({})
NO_VENDOR = ("",)
"""The name under which events of trees without vendors are counted."""


class Tree:
    """A tree of this process, with open or lately ended runs."""

    def __init__(self, tree_id: str, pipeline: Pipeline, journal: Journal, vendors: Sequence[Ref]) -> None:
        """Begin with the pipeline that saw the root."""
        self.id = tree_id
        self.root = tree_id
        """Its first run in this process: its root, or the first run of a part of another process's tree."""
        self.clock = time_ns() - monotonic_ns()
        """What makes monotonic times of its runs and notes wall-clock ones: where the wall clock is set meanwhile, none
        begins outside its parent, or before the end of the run before it.
        """
        self.journal = journal
        self.pipelines = [pipeline]
        self.vendors = vendors
        self.counted = names_of(vendors) if vendors else NO_VENDOR
        """The names under which the journal counts its events."""
        self.open: dict[str, None] = {}
        """Keys of its open runs, as given by the framework."""
        self.events = 0
        self.is_asked = False
        """Whether its handler has looked for values that only runs below the root can see."""
        self.is_own = True
        """Whether all its runs are of the app's own code: then the context alone gives the parent of a new run."""
        self.skipped: str | None = None
        """The reason why the tree is only counted, not recorded."""
        self.remote: Remote | None = None
        """The other process's run below which this part belongs. Its events are counted for no vendor, since only that
        process knows the tree's vendors.
        """
        self.parts = 0
        """How often its runs were handed on to other processes: so many parts may still come."""
        self.traceparent: str | None = None
        """The app's own OpenTelemetry span around it, or that of the other process."""
        self.session: JsonValue = None
        """Session and `user` of its first run, which are handed on with its runs."""
        self.user: JsonValue = None
        self.texts: Texts | None = None
        """The long texts in its records, while its root is open in this process."""
        self.is_over = False
        """Whether its root has ended."""
        self.owed: list[Run] = []
        """Runs that ended, or were left open by their root, whose start is not written yet."""

    def close(self, entry: Record) -> None:
        """End the tree: add its vendors and its number of events to the root's close.

        The vendors are in the root's open too, which may be damaged.
        """
        entry["vendors"], entry["events"] = self.vendors, self.events
        if self.parts:
            entry["parts"] = self.parts
        # Later records may be read after the tree was sent: they may not refer to texts of earlier ones.
        self.texts, self.is_over = None, True

    def become_part(self, root: str, caller: Remote) -> None:
        """Become the part of another process's tree that begins with the run `root`."""
        self.root, self.remote, self.counted, self.traceparent = root, caller, (PART,), caller.traceparent

    def stand_alone(self) -> None:
        """Become a tree of its own instead of a part of another process's."""
        self.id, self.remote, self.counted = self.root, None, names_of(self.vendors)


class Run:
    """A run: ids and clocks. Fields are set as it opens, without a constructor, which would cost a call; rare ones have
    their default in the class.
    """

    id: str
    parent: str | None
    tree: Tree
    pipelines: tuple[Pipeline, ...]
    counted: tuple[str, ...]
    """The names under which its event was counted as it opened."""
    start: int
    state: Mapping[str, Any]
    """Small plain values for its handler (`recall`), no object of the user. Replaced, never changed."""
    late: dict[str, JsonValue] | None
    """Facts learned since it opened, for its close record."""
    token_seen: bool
    streamed: list[str] | None
    """The text that its model has streamed so far, in case its end comes without a text, or never."""
    early = 0
    """Nanoseconds by which it began before its first callback."""
    duplicates = 0
    """How many extra times its handler reported the start. A handler registered twice reports every later event as
    many extra times.
    """
    ended = 0
    """Monotonic clock of its end, or of its root's."""
    is_left = False
    """Whether its root has ended before it: its own end may still come."""
    owed: Record | None = None
    """The record of its start, if writing that was interrupted or found no room on the stack."""

    def began(self, start_ns: int) -> None:
        """Set the start of a run that began before its first callback, given in wall-clock ns."""
        self.early = max(0, time_ns() - start_ns)
        self.start -= self.early


class Runs:
    """The open runs of one process and the runs that ended lately, both bounded. Safe for threads.

    The lock is held only while the table changes: nothing is converted or written under it, so no thread waits here for
    a disk, or for code of the app.
    """

    def __init__(self) -> None:
        """Start with no open runs."""
        self.runs: dict[str, Run] = {}
        self.ended: dict[str, Run] = {}
        self.numbers_attempts = False
        """Whether any run's attempts are numbered by its state: until then no handler looks for one."""
        self.lost_track = 0
        """Number of open runs that were forgotten, because there were too many or for their age."""
        self.left_open = 0
        """Number of runs that were still open when their root ended; a later end is still recorded."""
        self.capture_journal: Journal | None = None
        """The journal that gets all trees instead of the pipelines' journals, without vendors (`testing.capture`)."""
        self.capture_pipelines: dict[str, list[Pipeline]] = {}
        """Id of a captured tree → the pipelines that saw it."""
        self._next_look = 0
        self.after_fork()

    def after_fork(self) -> None:
        """Replace the lock: a thread of the parent may have held it. Re-entrant, for signal handlers that record."""
        self._lock = threading.RLock()

    def enter(self, pipeline: Pipeline, run_id: str, parent_id: str | None, metadata: Any = None) -> Run | None:
        """Put a run into the table, and return it; None if the same handler has reported it before.

        If another pipeline has put it there, it is returned unchanged: `pipelines[0]` is the one that opened it. A run
        without a known parent is a root, unless it joins a run of another process (by `joined`, or by its `metadata`).
        """
        # Twice as fast as `with`, here and in the journal.
        self._lock.acquire()
        try:
            runs = self.runs
            if run_id in runs:
                return self._reported_again(runs[run_id], pipeline)
            run = Run()
            # The id of an ended run is that of its event: if it is used again, the new run gets a fresh one.
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
            # Only after the insertion, so that the newest run is never the one forgotten.
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
        caller, pipeline = remote(), run.pipelines[0]
        if caller is None and type(metadata) is dict and "eventtree_run" in metadata:
            caller = handed_on(metadata, "eventtree_")
        if caller is not None and caller.run is not None:
            above = self.come_back(caller)  # it may be a run of this process
            if above is not None:
                return above
            # If its tree has ended, the run begins a tree of its own.
            if caller.tree is not None and not caller.is_skipped and caller.run not in self.ended:
                run.parent, run.tree = caller.run, self.new_tree(caller.tree, pipeline)
                run.tree.become_part(run.id, caller)
                return None
        run.parent, run.tree = None, self.new_tree(run.id, pipeline)
        # A part of a tree that is not recorded is counted by itself: the tree is counted by the caller.
        if caller is not None and caller.is_skipped and caller.run not in self.ended:
            run.tree.skipped = "sampled"
        return None

    def come_back(self, handed: Remote) -> Run | None:
        """The run that was handed on, if it is one of this process and its tree is open; no part will come for it."""
        found = None if handed.run is None else self.runs.get(handed.run) or self.ended.get(handed.run)
        if found is None:
            return None
        found.tree.parts = max(0, found.tree.parts - 1)
        return found if found.tree.root in self.runs else None

    def new_tree(self, tree_id: str, pipeline: Pipeline) -> Tree:
        """A new tree, in the pipeline's journal and for its vendors, unless a test captures it."""
        if self.capture_journal is None:
            return Tree(tree_id, pipeline, pipeline.journal, pipeline.vendor_refs)
        tree = Tree(tree_id, pipeline, self.capture_journal, ())
        self.capture_pipelines[tree_id] = tree.pipelines
        return tree

    def leave(self, run_id: str) -> tuple[Run | None, Sequence[Run]]:
        """Take a run that ends off the table, and with a root all runs still open below it, which are returned too."""
        run = self.runs.get(run_id)
        if run is None:
            return self._leave_late(run_id)
        run.ended = monotonic_ns()
        tree, ended = run.tree, self.ended
        # It stays known for a while, for later children and a repeated end. First into `ended`, then off the table in
        # one step: of two threads that report the end, one gets to record it, and no child misses its parent.
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
        """The `state` of an open run; empty for any other."""
        run = self.find(run_id) if run_id is not None else None
        return NOTHING if run is None else run.state

    def find(self, run_id: str) -> Run | None:
        """The run if it is open, also after the end of its root."""
        run = self.runs.get(run_id)
        if run is None:
            run = self.ended.get(run_id)
            if run is not None and not run.is_left:
                return None
        return run

    def event_of(self, run_id: str) -> tuple[str, Tree] | None:
        """Event id and tree of a run that is open or ended recently."""
        found = self.runs.get(run_id) or self.ended.get(run_id)
        return None if found is None else (found.id, found.tree)

    def tree_of(self, run_id: str) -> str | None:
        """Id of the tree of a run that is open or ended recently."""
        found = self.event_of(run_id)
        return None if found is None else found[1].id

    def knows(self, run_id: str) -> bool:
        """Whether the run is open or ended recently."""
        return run_id in self.runs or run_id in self.ended

    def is_open(self, run_id: str) -> bool:
        """Whether the run is open."""
        return self.find(run_id) is not None

    def is_live(self, run_id: str) -> bool:
        """Whether the run is open, or has ended in a tree whose root is open."""
        ended = self.ended.get(run_id)
        return self.find(run_id) is not None or (ended is not None and ended.tree.root in self.runs)

    def descends(self, run_id: str, ancestor_id: str) -> bool:
        """Whether both runs are of one tree and `run_id` opened later: of two enclosing runs, it is the inner one."""
        run, ancestor = self.runs.get(run_id), self.runs.get(ancestor_id)
        return run is not None and ancestor is not None and run.tree is ancestor.tree and run.start >= ancestor.start

    def _leave_open(self, tree: Tree) -> Sequence[Run]:
        """Take a tree's open runs off the table, so that runs without an end do not pile up; they may still close."""
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
        """Bound the ended runs by number, many at once: a dict finds its first key slowly after many deletions."""
        with self._lock, suppress(RuntimeError):  # a signal handler that records, in the middle of this
            for run_id in list(islice(self.ended, FORGOTTEN)):
                self.ended.pop(run_id, None)

    def _forget_ended(self, now: int) -> None:
        """Bound the ended runs by age; called now and then as a root ends."""
        self._next_look = now + int(ENDED_SECONDS * 1e7)
        limit = now - int(ENDED_SECONDS * 1e9)
        with suppress(RuntimeError):  # as above
            for run_id, _ in list(takewhile(lambda item: item[1].ended < limit, self.ended.items())):
                self.ended.pop(run_id, None)

    def _forget_oldest(self, bounds: Bounds) -> None:
        """Bound the table by number and age; called whenever a root opens. The newest run always stays."""
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
