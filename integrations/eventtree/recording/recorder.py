"""The seam both pipelines call: open, note, close. Owns ids, clocks and the one table of open runs of the process.

A handler of a framework reads its arguments and calls here; here a run gets its id, its tree and its parent, and one line goes to the journal. What is kept between the open and the close of a run is ids, clocks and the text that
a model has streamed so far (its end may never be told), no object of the user. Several pipelines may see one run: the
first records it, the others only add their vendors to its tree.

`Recorder` methods raise whatever goes wrong; the guard at the pipeline (`diagnostics.py`) catches, counts and logs it.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from eventtree import diagnostics, record
from eventtree.config import Bounds
from eventtree.content import items_of
from eventtree.event import JsonValue, Kind, Status
from eventtree.recording.callback_context import Session, current_example, current_session, remember_tree
from eventtree.recording.caller import caller
from eventtree.recording.exceptions import describe
from eventtree.tree.builder import SESSION_KEYS, USER_KEYS, first_of

if TYPE_CHECKING:
    from eventtree.journal import Journal
    from eventtree.recording.pipeline import Pipeline

ENDED_RUNS = 10_000
ENDED_SECONDS = 600.0
"""A run that ended stays known as a parent for this many runs and seconds."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Tree:
    """What a process keeps of a tree with open or lately ended runs."""

    __slots__ = ("events", "id", "journal", "open", "pipelines", "session", "skipped", "vendors")

    def __init__(self, tree_id: str, pipeline: Pipeline) -> None:
        self.id = tree_id
        self.journal = recorder.capture_journal or pipeline.journal
        self.pipelines: list[Pipeline] = [pipeline]
        if recorder.capture_journal is not None:
            recorder.capture_pipelines[tree_id] = self.pipelines
        self.vendors: list[dict[str, str]] = [] if recorder.capture_journal else list(pipeline.vendor_refs)
        self.session: Session | None = None
        self.skipped: str | None = None
        """Why it is only counted, not recorded."""
        self.events = 0
        self.open: dict[str, None] = {}
        """Keys of its open runs, as given by the framework."""


class Run:
    """An open run: ids and clocks. What most runs never have stands in the class until it is set."""

    token_seen = False
    duplicates = 0
    """How many extra times this handler reported the start. A handler registered twice reports every later event as
    many extra times.
    """
    streamed: list[str] | None = None
    """What its model has said, from the first token on, for an end that comes without it or never."""
    state: Mapping[str, Any] = NOTHING
    """What its pipeline wants back later: small plain values, nothing of the user's. Replaced, never changed."""
    late: dict[str, JsonValue] | None = None
    """What was learned of it since it opened; its close record will say it."""

    def __init__(self, run_id: str, parent: str | None, tree: Tree, pipeline: Pipeline) -> None:
        self.id = run_id
        self.parent = parent
        self.tree = tree
        self.pipelines: tuple[Pipeline, ...] = (pipeline,)
        self.start = time.monotonic_ns()


class Recorder:
    """The open runs of one process, and what may be done with them. Safe for threads."""

    def __init__(self) -> None:
        """Start with no open runs."""
        self.runs: dict[str, Run] = {}
        self.ended: OrderedDict[str, tuple[str, Tree, float, Run | None]] = OrderedDict()
        """Id of a run that ended → its event's id, tree and time; and the run itself where only its root has ended."""
        self.numbers_attempts = False
        """Whether any run was opened whose attempts are numbered by its state: before that nobody looks for one."""
        self.capture_journal: Journal | None = None
        """Where trees go instead of their pipeline's journal and vendors (`testing.capture`)."""
        self.capture_pipelines: dict[str, list[Pipeline]] = {}
        """Id of a tree that went there → the pipelines that saw it."""
        self.waiting: weakref.WeakSet[Any] = weakref.WeakSet()
        """What has a `settle` to call when the state of the process matters."""
        self.lost_track = 0
        """Open runs forgotten because there were too many, or for their age."""
        self.left_open = 0
        """Runs that were still open when their root ended; an end that comes late is still recorded."""
        self._guard = threading.RLock()

    def open(
        self,
        pipeline: Pipeline,
        run_id: str,
        parent_id: str | None,
        *,
        kind: Kind,
        name: str,
        inputs: Any = None,
        convert: Callable[[Any], JsonValue] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        state: Mapping[str, Any] = NOTHING,
        start_ns: int | None = None,
        **known: Any,
    ) -> None:
        """Record that a run opened.

        `inputs` is the user's object and `convert` turns it into plain JSON (default `pipeline.sanitize`); it is only
        called when the run is recorded. `known` may hold `model`, `provider`, `params`, `internal`, `framework`, `session`,
        `user`, as the framework gives them; `state` is what `recall` gives back while the run is open; `start_ns` is the
        wall clock for a run that began before we were told. An open run is not recorded again: where another pipeline opens
        it, its tree gains that pipeline's vendors; where the same pipeline does, it is a duplicate. The id of a run that has
        ended may be used again: the new run gets a fresh id and keeps the given one in `metadata.run_id`.
        """
        with self._guard:
            found = self.runs.get(run_id)
            if found is not None:
                if pipeline not in found.pipelines:
                    found.pipelines = (*found.pipelines, pipeline)
                    self._join(found.tree, pipeline)
                elif pipeline is found.pipelines[0]:
                    found.duplicates += 1
                return
            event_id = run_id if run_id not in self.ended else str(uuid.uuid4())
            parent, tree = self._place(pipeline, event_id, parent_id)
            # Before the run takes its monotonic clock: what follows its end must not seem to begin before that.
            start = time.time_ns() if start_ns is None else start_ns
            run = Run(event_id, parent, tree, pipeline)
            if state:
                run.state = state
            if start_ns is not None:
                run.start -= max(0, time.time_ns() - start_ns)
            tree.events += 1
            tree.open[run_id] = None
            self.runs[run_id] = run
            if parent is None or len(self.runs) > pipeline.open_runs:
                self._forget_oldest(pipeline.settings.bounds)
        entry: record.Record = {
            "r": record.OPEN, "id": event_id, "tree": tree.id, "parent": parent, "kind": kind._value_,
            "name": pipeline.names[name], "start": start,
        }  # fmt: skip
        if parent is None:
            self._root(pipeline, tree, entry, metadata, tags, known, parent_id)
        if tree.skipped:
            return
        if inputs is not None and pipeline.content:
            entry["inputs"] = (convert or pipeline.sanitize)(inputs)
        if tags and "tags" not in entry:
            entry["tags"] = _tags(pipeline, tags)
        if metadata and "metadata" not in entry:
            entry["metadata"] = pipeline.part("metadata", metadata)
        if event_id != run_id:
            entry["metadata"] = {**entry.get("metadata", {}), "run_id": run_id}
        entry.update(pipeline.parts(known))
        tree.journal.append(record.encode(entry))

    def close(
        self,
        pipeline: Pipeline,
        run_id: str,
        *,
        status: Status = Status.OK,
        outputs: Any = None,
        convert: Callable[[Any], JsonValue] | None = None,
        error: BaseException | Mapping[str, Any] | None = None,
        inputs: Any = None,
        if_unopened: Mapping[str, Any] | None = None,
        end_ns: int | None = None,
        **learned: Any,
    ) -> None:
        """Record that a run closed.

        `outputs` and `inputs` (those a streamed chain learns at its end) are the user's objects. `learned` may hold
        `model`, `provider`, `params`, `usage` (raw places where the framework keeps it), `metadata`, `cost`.
        `end_ns` is the monotonic clock for a run whose end was seen later.
        `if_unopened` holds arguments for `open` (`parent_id`, `kind`, `name`, …) for a run whose start had no callback;
        without it such an end is ignored, as is a second end.
        """
        with self._guard:
            run = self.find(run_id)
            if run is None:
                if if_unopened is None or run_id in self.ended:
                    return
                self.open(pipeline, run_id, **if_unopened)
                run = self.runs[run_id]
            left = self._take(run_id, run)
            tree = run.tree
        for one in left:
            self._keep_partial(one)
        if tree.skipped:
            if run.id == tree.id:
                self._count_skipped(tree)
            return
        entry: record.Record = {
            "r": record.CLOSE, "id": run.id, "tree": tree.id, "duration": (end_ns or time.monotonic_ns()) - run.start,
            "status": status._value_,
        }  # fmt: skip
        if pipeline.content:
            if outputs is not None:
                entry["outputs"] = (convert or pipeline.sanitize)(outputs)
            elif run.streamed:
                entry["outputs"] = _partial(pipeline, run)
            if inputs is not None:
                entry["inputs"] = pipeline.sanitize(inputs)
        if error is not None:
            entry["error"] = pipeline.part("error", describe(error) if isinstance(error, BaseException) else error)
        if run.id == tree.id:
            entry["vendors"] = tree.vendors
            entry["events"] = tree.events
        entry.update(pipeline.parts(learned))
        if run.late is not None:
            entry.update({key: value for key, value in run.late.items() if key != "status" or status is Status.OK})
        tree.journal.append(record.encode(entry))

    def note(self, run_id: str, name: str, value: Any = None, *, pipeline: Pipeline | None = None) -> None:
        """Record something that happened during an open run; nothing if the run is unknown. `value` is the user's.

        With `pipeline`, nothing either if another pipeline records the run: both are told of what happens.
        """
        run = self.find(run_id)
        if run is None or run.tree.skipped or (pipeline is not None and run.pipelines[0] is not pipeline):
            return
        entry = {
            "r": record.NOTE, "id": run.id, "tree": run.tree.id, "at": time.time_ns(),
            "after": time.monotonic_ns() - run.start, **run.pipelines[0].parts({"name": name, "value": value}),
        }  # fmt: skip
        run.tree.journal.append(record.encode(entry))

    def first_token(self, run_id: str) -> None:
        """Record, once, that the run's first token with content has come. Cheap when it has come before."""
        run = self.runs.get(run_id) or self.find(run_id)
        if run is not None and not run.token_seen:
            run.streamed = []
            run.token_seen = True
            self.note(run_id, record.FIRST_TOKEN)

    def learn(self, run_id: str, **facts: Any) -> None:
        """Keep what is learned of an open run (`kind`, `status` if it ends ok, …) for its close record."""
        run = self.find(run_id)
        if run is not None:
            run.late = {**(run.late or {}), **run.pipelines[0].parts(facts)}

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
            ended = self.ended.get(run_id)
            run = ended[3] if ended is not None else None
        return run

    def knows(self, run_id: str) -> bool:
        """Whether the run is open, or ended a short while ago."""
        return run_id in self.runs or run_id in self.ended

    def is_open(self, run_id: str) -> bool:
        """Whether the run is open."""
        return self.find(run_id) is not None

    def is_live(self, run_id: str) -> bool:
        """Whether the run is open, or has ended in a tree whose root is open."""
        ended = self.ended.get(run_id)
        return self.find(run_id) is not None or (ended is not None and ended[1].id in self.runs)

    def tree_of(self, run_id: str) -> str | None:
        """Id of the tree of a run that is open, or ended a short while ago."""
        run, ended = self.find(run_id), self.ended.get(run_id)
        return run.tree.id if run is not None else ended[1].id if ended is not None else None

    def settle(self) -> None:
        """Let handlers close what ended without a callback (streams that were read). Before a flush, and at exit."""
        for pipeline in list(self.waiting):
            pipeline.settle()

    def descends(self, run_id: str, ancestor_id: str) -> bool:
        """Whether both runs are of one tree and `run_id` opened later: of two enclosing runs the inner one."""
        run, ancestor = self.runs.get(run_id), self.runs.get(ancestor_id)
        return run is not None and ancestor is not None and run.tree is ancestor.tree and run.start >= ancestor.start

    def _place(self, pipeline: Pipeline, event_id: str, parent_id: str | None) -> tuple[str | None, Tree]:
        if parent_id is not None:
            parent = self.runs.get(parent_id)
            if parent is not None:
                return parent.id, parent.tree
            ended = self.ended.get(parent_id)
            if ended is not None:
                return ended[0], ended[1]
        return None, Tree(event_id, pipeline)

    def _root(
        self,
        pipeline: Pipeline,
        tree: Tree,
        entry: record.Record,
        metadata: Mapping[str, Any] | None,
        tags: Iterable[str] | None,
        known: dict[str, JsonValue],
        foreign_parent: str | None,
    ) -> None:
        row = current_example()
        if row is not None:
            row.tree_ids.append(tree.id)
            metadata = {**row.metadata, **(metadata or {})}
        own = dict(metadata or {})
        if pipeline.settings.callers:
            own.setdefault("eventtree_caller", caller())
        session = current_session()
        here, given = (session.id, session.user) if session is not None else (None, None), pipeline.settings
        named = known.pop("session", None), known.pop("user", None)
        entry["session"] = here[0] or given.session or named[0] or first_of(own, SESSION_KEYS)
        entry["user"] = here[1] or given.user or named[1] or first_of(own, USER_KEYS)
        if session is not None:
            session.tree_ids.append(tree.id)
        remember_tree(pipeline, tree.id)
        rate = pipeline.settings.sample_rate if self.capture_journal is None else 1.0
        is_sampled = rate >= 1 or _share(tree.id) < rate
        tree.skipped = tree.journal.full if is_sampled else "sampled"
        if diagnostics.is_delivery_thread():
            tree.skipped = "internal"
        own = {**pipeline.settings.metadata, **own}
        entry["metadata"] = pipeline.part("metadata", own)
        if foreign_parent is not None:
            entry["metadata"]["parent_run_id"] = foreign_parent
        entry["tags"] = _tags(
            pipeline, [*pipeline.settings.tags, *(tag for tag in tags or () if tag not in pipeline.settings.tags)]
        )
        entry["environment"] = pipeline.settings.environment
        entry["vendors"] = tree.vendors
        for key in ("session", "user", "environment"):
            if entry[key] is not None:
                entry[key] = pipeline.text(entry[key])
        pipeline.wake()

    def _join(self, tree: Tree, pipeline: Pipeline) -> None:
        if pipeline in tree.pipelines:
            return
        tree.pipelines.append(pipeline)
        fresh = [ref for ref in pipeline.vendor_refs if ref not in tree.vendors and self.capture_journal is None]
        remember_tree(pipeline, tree.id)
        if fresh:
            tree.vendors = [*tree.vendors, *fresh]
            entry = {"r": record.VENDORS, "id": tree.id, "tree": tree.id, "vendors": tree.vendors}
            tree.journal.append(record.encode(entry))
            pipeline.wake()

    def _take(self, run_id: str, run: Run) -> Sequence[Run]:
        """Take a run that ends off the table; a root takes with it what is still open below, and gives it back."""
        tree = run.tree
        if self.runs.get(run_id) is run:
            del self.runs[run_id]
            tree.open.pop(run_id, None)
        self._end(run_id, run, None)
        if run.id != tree.id:
            return ()
        left = self._leave(tree) if tree.open else ()
        self._forget_ended()
        return left

    def _leave(self, tree: Tree) -> Sequence[Run]:
        """Runs that never end must not pile up: they leave the table with their root, but may still be closed."""
        found = []
        for run_id in tree.open:
            left = self.runs.pop(run_id, None)
            if left is not None:
                self._end(run_id, left, left)
                self.left_open += 1
                found.append(left)
        tree.open.clear()
        return found

    def _keep_partial(self, run: Run) -> None:
        """Record what a model had said whose end may never be told (LangChain's are not, when a graph is cancelled)."""
        if run.streamed and run.pipelines[0].content and not run.tree.skipped:
            entry = {
                "r": record.NOTE, "id": run.id, "tree": run.tree.id, "name": record.PARTIAL, "at": time.time_ns(),
                "value": _partial(run.pipelines[0], run),
            }  # fmt: skip
            run.tree.journal.append(record.encode(entry))

    def _end(self, run_id: str, run: Run, left: Run | None) -> None:
        if run_id in self.ended:
            self.ended.move_to_end(run_id)
        self.ended[run_id] = (run.id, run.tree, time.monotonic(), left)
        while len(self.ended) > ENDED_RUNS:
            self.ended.popitem(last=False)

    def _forget_ended(self) -> None:
        """Bound the runs that ended by age; looked at whenever a root ends."""
        limit = time.monotonic() - ENDED_SECONDS
        while next(iter(self.ended.values()))[2] < limit:
            self.ended.popitem(last=False)

    def _forget_oldest(self, bounds: Bounds) -> None:
        """Bound the table by number and age; looked at whenever a root opens."""
        limit = time.monotonic_ns() - int(bounds.open_hours * 3600e9)
        while len(self.runs) > bounds.open_runs or next(iter(self.runs.values())).start < limit:
            oldest = next(iter(self.runs))
            run = self.runs.pop(oldest)
            run.tree.open.pop(oldest, None)
            self._end(oldest, run, None)
            self.lost_track += 1
            diagnostics.truncations["open_runs"] += 1

    def _count_skipped(self, tree: Tree) -> None:
        entry = {
            "r": record.DROP, "id": tree.id, "tree": tree.id, "vendors": tree.vendors, "reason": tree.skipped,
            "events": tree.events,
        }  # fmt: skip
        tree.journal.append(record.encode(entry))


def _partial(pipeline: Pipeline, run: Run) -> JsonValue:
    """What a model had said, as its answer."""
    text = "".join((run.streamed or [])[:: run.duplicates + 1])
    return pipeline.sanitize({"messages": [{"role": "assistant", "content": text}]})


def _tags(pipeline: Pipeline, tags: Iterable[Any]) -> list[JsonValue]:
    return [pipeline.names[tag] if type(tag) is str else pipeline.sanitize(tag) for tag in items_of(tags) or ()]


def _share(tree_id: str) -> float:
    """A number in [0, 1) that is the same for every handler that sees the tree."""
    return random.Random(tree_id).random()


recorder = Recorder()
"""The one of this process."""


def _after_fork_in_child() -> None:
    recorder._guard = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
