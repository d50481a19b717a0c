"""The recorder that all handlers call: open, note, close. Each writes one line to the journal.

A handler reads its framework's arguments and calls the recorder, which gives a run its id, tree and parent (`runs.py`)
and writes a record. If several handlers report one run, the first records it and the others add their vendors to its
tree.

If a part of a record fails, the record is written without it (`appending.py`). Other errors are raised, and counted by
the boundary around each callback (`boundary.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from eventtree import diagnostics, process, record
from eventtree.content.fast_path import forget
from eventtree.content.walk import shareable
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.record import Record
from eventtree.recording import roots
from eventtree.recording.appending import append, append_marked
from eventtree.recording.callback_context import remember_tree
from eventtree.recording.exceptions import describe
from eventtree.recording.runs import NOTHING, Run, Runs, Tree, names_of

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline


OK = Status.OK


class Recorder(Runs):
    """The open runs of one process, and their records. Safe for threads, and inside signal handlers."""

    def open(
        self,
        pipeline: Pipeline,
        run_id: str,
        parent_id: str | None,
        kind: Kind,
        name: str,
        inputs: Any = None,
        convert: Callable[[Any], JsonValue] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        known: Mapping[str, Any] = NOTHING,
        state: Mapping[str, Any] = NOTHING,
        framework: str | None = None,
        start_ns: int | None = None,
    ) -> None:
        """Record that a run opened.

        `inputs` is the user's object and `convert` turns it into plain JSON (default `pipeline.sanitize`); it is only
        called when the run is recorded. `known` may have `model`, `provider`, `params`, `internal`, `session`, `user`
        as the framework gives them; `recall` returns `state` while the run is open; `start_ns` is the wall clock of a
        run that began before its callback.

        An open run is not recorded again: if another pipeline opens it, its tree gains that pipeline's vendors; if the
        same one does, it is a duplicate. An ended run's id may be used again: the new run gets a fresh id and keeps
        the given one in `metadata.run_id`.
        """
        met = shareable[0]
        # First the table, atomically: of all handlers and threads that report this run, one records it.
        run = self.enter(pipeline, run_id, parent_id, metadata)
        if run is None:
            return
        tree = run.tree
        if pipeline not in tree.pipelines:
            self._join(tree, pipeline)  # this handler sees only the part of the tree that begins here
        if run.pipelines[0] is not pipeline:
            return  # another handler has recorded the run: it is not written twice
        if state:
            run.state = state
        if start_ns is not None:
            run.began(start_ns)
        # The run is in the table: nothing from here to its record may fail.
        entry: Record = {
            "r": record.OPEN, "id": run.id, "tree": tree.id, "parent": run.parent, "kind": kind._value_,
            "name": kind._value_, "start": tree.clock + run.start,
        }  # fmt: skip
        if framework is not None:
            entry["framework"] = framework
            tree.is_own = False
        # A root decides for its whole tree whether it is recorded, before inputs are converted.
        is_root = run.id == tree.root
        if is_root:
            roots.begin(pipeline, run, is_captured=self.capture_journal is not None)
            entry["tree"], entry["vendors"] = tree.id, tree.vendors
        # A skipped tree converts nothing: its runs are only counted, and the root's close writes their sum.
        if tree.skipped:
            return
        if tree.remote is not None:
            entry["joined"] = True
        try:
            # Inputs come last: they are most likely to fail, and by then the entry has everything else.
            try:
                entry["name"] = pipeline.names[name] if type(name) is str else pipeline.part("name", name)
                if known:
                    pipeline.add(entry, known)
                if self.numbers_attempts and (attempt := self._next_attempt(parent_id)) is not None:
                    metadata = {**(metadata or NOTHING), "attempt": attempt}
                if is_root:
                    metadata, tags = roots.describe(pipeline, tree, entry, parent_id, metadata, tags), None
                elif not tree.is_asked and (found := roots.ask(pipeline, tree)):
                    self.learn(parent_id or "", configured=found)
                if tags is not None and (type(tags) is not list or tags) and (plain_tags := pipeline.plain_tags(tags)):
                    entry["tags"] = plain_tags
                if metadata is not None and (type(metadata) is not dict or metadata):
                    entry["metadata"] = pipeline.about(metadata)
                if run.id != run_id:
                    entry["metadata"] = {**pipeline.part("metadata", metadata or {}), "run_id": run_id}
                if inputs is not None and pipeline.content:
                    entry["inputs"] = pipeline.plain(inputs) if convert is None else convert(inputs)
            except BaseException as error:  # code of handlers and of the app runs in here
                if diagnostics.must_pass(error):
                    raise
                append_marked(tree, entry, "" if inputs is None else "inputs", error, run.counted)
            else:
                append(tree, entry, tree.texts, met, run.counted)
        except BaseException:
            # Only now: while this thread may still write it, an end reported by another must not.
            run.owed = entry
            raise
        # Delivery starts after the line is written: a thread that cannot start must not cost the record.
        if is_root:
            pipeline.wake()

    def close(
        self,
        pipeline: Pipeline,
        run_id: str,
        status: Status = OK,
        outputs: Any = None,
        convert: Callable[[Any], JsonValue] | None = None,
        error: BaseException | Mapping[str, Any] | None = None,
        inputs: Any = None,
        end_ns: int | None = None,
        learned: Mapping[str, Any] = NOTHING,
    ) -> None:
        """Record that a run closed.

        `outputs` and `inputs` (a streamed chain reports them at its end) are the user's objects. `learned` may have
        `model`, `provider`, `params`, `usage` (raw places where the framework keeps it), `metadata`, `cost`.
        The end of a run that is not open is ignored, as is a second end. `end_ns` is the monotonic clock of an end
        reported later.
        """
        # First off the table, atomically: of two threads that report an end, one records it.
        run, left = self.leave(run_id)
        if run is None:
            return
        met, tree, streamed, late = shareable[0], run.tree, run.streamed, run.late
        if run.state is not NOTHING or streamed is not None or late is not None:
            # An ended run keeps only what its children need.
            run.state, run.streamed, run.late = NOTHING, None, None
        # Note texts still streaming below a root before its close, which makes the tree due.
        for one in left:
            self._keep_partial(one)
            if one.owed:
                tree.owed.append(one)
        is_root = run.id == tree.root
        if tree.skipped:
            if is_root:
                append(tree, record.dropped(tree.id, tree.vendors, tree.skipped, tree.events), counted=tree.counted,
                       events=tree.events)  # fmt: skip
            return
        if run.owed:
            tree.owed.append(run)
        if tree.owed:
            _write_owed(tree)
        entry: Record = {
            "r": record.CLOSE, "id": run.id, "tree": tree.id, "duration": (end_ns or run.ended) - run.start,
            "status": status._value_,
        }  # fmt: skip
        texts = tree.texts
        if is_root:
            tree.close(entry)
            forget()
        try:
            if inputs is not None and pipeline.content:
                entry["inputs"] = pipeline.plain(inputs)
            if error is not None:
                entry["error"] = pipeline.part("error", describe(error) if isinstance(error, BaseException) else error)
            if learned:
                pipeline.add(entry, learned)
            if late is not None:
                entry.update({key: value for key, value in late.items() if key != "status" or status is OK})
            if pipeline.content:
                if outputs is not None:
                    entry["outputs"] = pipeline.plain(outputs) if convert is None else convert(outputs)
                elif streamed:
                    entry["outputs"] = _partial(pipeline, run, streamed)
        except BaseException as odd:  # as in `open`
            if diagnostics.must_pass(odd):
                raise
            append_marked(tree, entry, "" if outputs is None else "outputs", odd)
        else:
            append(tree, entry, texts, met)
        if is_root and tree.remote is None:
            pipeline.ended()

    def note(self, run_id: str, name: str, value: Any = None, *, pipeline: Pipeline | None = None) -> None:
        """Record a note of an open run; an unknown run is ignored. `value` is the user's object.

        With `pipeline`, a run that another pipeline records is ignored too: its handler reports the same note.
        """
        run = self.find(run_id)
        if run is None or run.tree.skipped or (pipeline is not None and run.pipelines[0] is not pipeline):
            return
        entry = _noted(run, name)
        run.pipelines[0].add(entry, {"name": name, "value": value})
        append(run.tree, entry)

    def learn(self, run_id: str, **facts: Any) -> None:
        """Keep facts about an open run (`kind`, `status` if it ends ok, …) for its close record."""
        run = self.find(run_id)
        if run is not None:
            run.late = run.pipelines[0].add(dict(run.late or NOTHING), facts)

    def first_token(self, run_id: str) -> None:
        """Record a run's first token with content, once. Later calls are cheap."""
        run = self.runs.get(run_id) or self.find(run_id)
        if run is not None and not run.token_seen:
            run.streamed = []
            run.token_seen = True
            self.note(run_id, record.FIRST_TOKEN)

    def _next_attempt(self, parent_id: str | None) -> int | None:
        """Next attempt's number below a run that numbers attempts; None below any other."""
        attempts = self.recall(parent_id).get("attempts")
        if attempts is None or parent_id is None:
            return None
        self.remember(parent_id, attempts=attempts + 1)
        return int(attempts) + 1

    def _join(self, tree: Tree, pipeline: Pipeline) -> None:
        """Add to a tree the vendors of another handler that reports a run of it."""
        # Change the table under the lock; write the record outside it, so that no thread waits for a disk.
        with self._lock:
            if pipeline in tree.pipelines:
                return
            tree.pipelines.append(pipeline)
            refs = pipeline.vendor_refs if self.capture_journal is None else ()
            fresh = [ref for ref in refs if ref not in tree.vendors]
            if fresh:
                tree.vendors = [*tree.vendors, *fresh]
                tree.counted = names_of(tree.vendors) if tree.remote is None else tree.counted
            # Later runs count for the fresh vendors when they open; count the earlier ones here.
            entry, events = record.joined(tree.id, tree.root, tree.vendors), tree.events
        remember_tree(pipeline, tree.id)
        if fresh and not tree.skipped:
            append(tree, entry, counted=names_of(fresh) if tree.remote is None else (), events=events)
            pipeline.wake()

    def _keep_partial(self, run: Run) -> None:
        """Record a model's streamed text. LangChain reports no end of a model when a graph is cancelled."""
        pipeline = run.pipelines[0]
        if run.streamed and pipeline.content and not run.tree.skipped:
            entry = _noted(run, record.PARTIAL)
            entry["value"] = _partial(pipeline, run, run.streamed)
            append(run.tree, entry)


def _write_owed(tree: Tree) -> None:
    """Write open records not written yet. If the stack is full here too, a run above writes them."""
    while tree.owed:
        run = tree.owed.pop()
        try:
            if run.owed:
                append(tree, run.owed, counted=run.counted)
        except RecursionError:
            tree.owed.append(run)
            return
        run.owed = None


def _noted(run: Run, name: str) -> Record:
    now = monotonic_ns()
    return record.noted(run.id, run.tree.id, name, run.tree.clock + now, now - run.start)


def _partial(pipeline: Pipeline, run: Run, streamed: list[str]) -> JsonValue:
    """A model's streamed text as its answer."""
    text = "".join(streamed[:: run.duplicates + 1])
    return pipeline.plain({"messages": [{"role": "assistant", "content": text}]})


recorder = Recorder()
"""The recorder of this process."""

process.after_fork("handlers", recorder.after_fork)
