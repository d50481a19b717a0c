"""The seam both frameworks' handlers call: open, note, close. Each writes one line to the journal.

A handler reads its framework's arguments and calls here; here a run gets its id, its tree and its parent (`runs.py`),
and becomes a record. Several handlers may see one run: the first records it, the others only add their vendors to its
tree.

Whatever a part of a record does, the record is written: `_append_marked` marks the part. What else goes wrong is
raised, for the boundary around each callback (`boundary.py`) to count.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any

from eventtree import diagnostics, process, record
from eventtree.content.fast_path import forget
from eventtree.content.walk import shareable
from eventtree.event import JsonValue, Kind, Status
from eventtree.record import SESSION_KEYS, USER_KEYS, Record, closed, encode, first_of, opened
from eventtree.recording.callback_context import remember_tree
from eventtree.recording.caller import caller
from eventtree.recording.exceptions import describe
from eventtree.recording.remote import active_traceparent, remote
from eventtree.recording.runs import NOTHING, Run, Runs, Tree, names_of
from eventtree.recording.session import current_example, current_session
from eventtree.recording.texts import Shared, Texts

if TYPE_CHECKING:
    from eventtree.journal import Journal
    from eventtree.recording.pipeline import Pipeline


OK = Status.OK


class Recorder(Runs):
    """The open runs of one process, and how they are written down. Safe for threads, and inside signal handlers."""

    def __init__(self) -> None:
        """Start with no open runs."""
        super().__init__()
        self.capture_journal: Journal | None = None
        """The journal that trees go to instead of their pipeline's, for no vendor (`testing.capture`)."""
        self.capture_pipelines: dict[str, list[Pipeline]] = {}
        """Id of a tree that went there → the pipelines that saw it."""

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
        **more: Any,
    ) -> None:
        """Record that a run opened.

        `inputs` is the user's object and `convert` turns it into plain JSON (default `pipeline.sanitize`); it is only
        called when the run is recorded. `known` may hold `model`, `provider`, `params`, `internal`, `session`,
        `user`, as the framework gives them (`more` of it by name); `state` is what `recall` gives back while
        the run is open; `start_ns` is the wall clock of a run that began before its callback.

        An open run is not recorded again: where another pipeline opens it, its tree gains that pipeline's vendors;
        where the same one does, it is a duplicate. The id of a run that has ended may be used again: the new run gets
        a fresh id and keeps the given one in `metadata.run_id`.
        """
        if more:
            known = {**known, **more}
        met = shareable[0]
        # Before the run takes its monotonic clock: what follows its end must not seem to begin before that.
        now = time_ns()
        # The table next, atomically: of all handlers and threads that report this run, one gets to record it.
        run = self.enter(pipeline, run_id, parent_id, metadata)
        if run is None:
            return
        tree = run.tree
        if pipeline not in tree.pipelines:
            self._join(tree, pipeline)  # of another handler's tree this one sees only what begins here
        if run.pipelines[0] is not pipeline:
            return  # another handler has recorded the run: it is not written twice
        if state:
            run.state = state
        if start_ns is not None:
            run.early = max(0, now - start_ns)
            run.start -= run.early
            now = min(start_ns, now)
        # The run is in the table: nothing from here to its record may fail. Names come again and again, so look first.
        plain_name = pipeline.names[name] if type(name) is str else pipeline.part("name", name)
        entry = opened(run.id, tree.id, run.parent, kind._value_, plain_name, now)
        if framework is not None:
            entry["framework"] = framework
        # A root decides for its whole tree whether it is recorded, before inputs are converted.
        is_root = run.id == tree.root
        if is_root:
            self._begin_tree(pipeline, run)
            entry["tree"], entry["vendors"] = tree.id, tree.vendors
        # A skipped tree converts nothing: its runs are only counted, and written as one sum when the root closes.
        if tree.skipped:
            return
        if tree.remote is not None:
            entry["joined"] = True
        if run.id != run_id:
            entry["metadata"] = {"run_id": run_id}
        # Inputs come last: they are the part most likely to fail, and everything else is in the entry by then.
        texts, shared = tree.texts, None
        try:
            if known:
                pipeline.add(entry, known)
            if is_root:
                metadata, tags = self._root(pipeline, tree, entry, metadata, tags, known), None
                if parent_id is not None:
                    metadata["parent_run_id"] = parent_id
            if tags is not None and (type(tags) is not list or tags) and (plain_tags := pipeline.plain_tags(tags)):
                entry["tags"] = plain_tags
            if metadata is not None and (type(metadata) is not dict or metadata):
                if "metadata" in entry:
                    entry["metadata"] = pipeline.part("metadata", metadata) | entry["metadata"]
                else:
                    entry["metadata"] = pipeline.about(metadata)
            if inputs is not None and pipeline.content:
                entry["inputs"] = pipeline.plain(inputs) if convert is None else convert(inputs)
            if met != shareable[0] or (texts is not None and texts.repeats):
                shared = self._share(tree, texts, entry)
            payload = encode(entry)
            if shared is not None or len(payload) > pipeline.most_bytes:
                payload = pipeline.fitted(payload, entry, shared)
        except BaseException as error:  # code of handlers and of the app runs in here
            if diagnostics.must_pass(error):
                raise
            self._append_marked(tree, entry, "" if inputs is None else "inputs", error, run.counted)
        else:
            tree.journal.append(payload, run.counted)
            if shared is not None:
                shared.written(len(payload))
        # Delivery is started after the line is written: a thread that cannot start must not cost the record.
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
        **more: Any,
    ) -> None:
        """Record that a run closed.

        `outputs` and `inputs` (those a streamed chain learns at its end) are the user's objects. `learned` may hold
        `model`, `provider`, `params`, `usage` (raw places where the framework keeps it), `metadata`, `cost` (`more` of
        it by name).
        The end of a run that is not open is ignored, as is a second end. `end_ns` is the monotonic clock of an end that
        is reported later.
        """
        if more:
            learned = {**learned, **more}
        # Off the table first, atomically: of two threads that report an end, one gets to record it.
        run, left = self.leave(run_id)
        if run is None:
            return
        tree, met, streamed, late = run.tree, shareable[0], run.streamed, run.late
        if run.state is not NOTHING or run.token_seen or late is not None:
            # Of a run that has ended is kept what it may be asked for as a parent.
            run.state, run.streamed, run.late = NOTHING, None, None
        # Below a root that ends: what still streams is noted before the root's close, which makes the tree due.
        for one in left:
            self._keep_partial(one)
        is_root = run.id == tree.root
        if tree.skipped:
            if is_root:
                self._count_skipped(tree)
            return
        texts, shared = tree.texts, None
        entry = closed(run.id, tree.id, (end_ns or run.ended) - run.start, status._value_)
        # A root repeats at its close whom the tree is for and how large it is: the record of its start may be damaged.
        if is_root:
            entry["vendors"] = tree.vendors
            entry["events"] = tree.events
            if tree.parts:
                entry["parts"] = tree.parts
            # What is recorded from here on may come after the tree has gone out, and points to nothing.
            tree.texts, tree.is_over = None, True
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
            if met != shareable[0] or (texts is not None and texts.repeats):
                shared = self._share(tree, texts, entry)
            payload = encode(entry)
            if shared is not None or len(payload) > pipeline.most_bytes:
                payload = pipeline.fitted(payload, entry, shared)
        except BaseException as odd:  # as in `open`
            if diagnostics.must_pass(odd):
                raise
            self._append_marked(tree, entry, "" if outputs is None else "outputs", odd)
        else:
            tree.journal.append(payload)
            if shared is not None:
                shared.written(len(payload))
        if run.id == tree.id:
            pipeline.ended()

    def _share(self, tree: Tree, texts: Texts | None, entry: Record) -> Shared | None:
        """Let a record that holds long texts repeat them by number, as long as its tree's root is open."""
        if texts is None:
            if tree.is_over and entry["id"] != tree.root:
                return None
            texts = Texts(tree.journal)
            if not tree.is_over:
                tree.texts = texts
        return texts.share(entry)

    def note(self, run_id: str, name: str, value: Any = None, *, pipeline: Pipeline | None = None) -> None:
        """Record something that happened during an open run; nothing if the run is unknown. `value` is the user's.

        With `pipeline`, nothing either if another pipeline records the run: its handler reports the same.
        """
        run = self.find(run_id)
        if run is None or run.tree.skipped or (pipeline is not None and run.pipelines[0] is not pipeline):
            return
        entry = record.noted(run.id, run.tree.id, name, time_ns(), monotonic_ns() - run.start)
        run.pipelines[0].add(entry, {"name": name, "value": value})
        self._write(run.tree, entry)

    def learn(self, run_id: str, **facts: Any) -> None:
        """Keep what is learned of an open run (`kind`, `status` if it ends ok, …) for its close record."""
        run = self.find(run_id)
        if run is not None:
            run.late = run.pipelines[0].add(dict(run.late or NOTHING), facts)

    def first_token(self, run_id: str) -> None:
        """Record, once, that the run's first token with content has come. Cheap when it has come before."""
        run = self.runs.get(run_id) or self.find(run_id)
        if run is not None and not run.token_seen:
            run.streamed = []
            run.token_seen = True
            self.note(run_id, record.FIRST_TOKEN)

    def new_tree(self, tree_id: str, pipeline: Pipeline) -> Tree:
        """In the pipeline's journal and for its vendors, unless a test captures it."""
        if self.capture_journal is None:
            return super().new_tree(tree_id, pipeline)
        tree = Tree(tree_id, pipeline, self.capture_journal, ())
        self.capture_pipelines[tree_id] = tree.pipelines
        return tree

    def _begin_tree(self, pipeline: Pipeline, run: Run) -> None:
        """Settle whether the tree is recorded, and tell the blocks around it."""
        tree, run.is_unasked = run.tree, True
        rate = pipeline.settings.sample_rate
        remember_tree(pipeline, tree.id)
        for block in (current_example(), current_session()):
            if block is not None:
                block.tree_ids.append(tree.id)
        # Of a part of another process' tree that process has decided.
        is_sampled = rate >= 1 or self.capture_journal is not None or tree.remote is not None or _share(tree.id) < rate
        tree.skipped = tree.skipped or (tree.journal.full if is_sampled else "sampled")
        if diagnostics.is_delivery_thread():
            tree.skipped = "internal"
        if tree.skipped and tree.remote is not None:
            # Counted as a tree of its own: that it is missing says nothing of the rest.
            tree.id, tree.remote, tree.counted = tree.root, None, names_of(tree.vendors)

    def _root(
        self,
        pipeline: Pipeline,
        tree: Tree,
        entry: Record,
        metadata: Mapping[str, Any] | None,
        tags: Iterable[str] | None,
        known: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Add what only a root has; gives back its metadata."""
        given, row, session = pipeline.settings, current_example(), current_session()
        own = dict(row.metadata) if row is not None else {}
        if metadata is not None:
            own.update(metadata if type(metadata) is dict else pipeline.part("metadata", metadata))
        if given.callers:
            own.setdefault("eventtree_caller", caller())
        here = (None, None) if session is None else (session.id, session.user)
        handed = tree.remote or remote()
        if handed is not None:
            known = {"session": handed.session, "user": handed.user, **known}
            if handed.run is not None and tree.remote is None:
                own |= {"parent_run_id": handed.run, "parent_tree_id": handed.tree}
        if tree.remote is None:
            tree.traceparent = active_traceparent() or (handed.traceparent if handed is not None else None)
        if tree.traceparent is not None:
            entry["traceparent"] = tree.traceparent
        entry.update(pipeline.deployment)
        for key, *values in (
            ("session", here[0], given.session, known.get("session"), first_of(own, SESSION_KEYS)),
            ("user", here[1], given.user, known.get("user"), first_of(own, USER_KEYS)),
        ):
            entry.pop(key, None)
            for value in values:
                # Made plain before it is looked at: a name of the app's own class may do anything when it is compared.
                if value is not None and (plain := pipeline.part("name", value)):
                    entry[key] = plain
                    break
        more = [] if tags is None else pipeline.plain_tags(tags)
        if pipeline.tags or more:
            entry["tags"] = [*pipeline.tags, *(tag for tag in more if tag not in pipeline.tags)]
        return {**given.metadata, **own}

    def _join(self, tree: Tree, pipeline: Pipeline) -> None:
        """Another handler sees a run of the tree: from now on the tree is for its vendors too."""
        # The table changes under the lock, the record is written outside it: nobody waits here for a disk.
        with self._lock:
            if pipeline in tree.pipelines:
                return
            tree.pipelines.append(pipeline)
            refs = pipeline.vendor_refs if self.capture_journal is None else ()
            fresh = [ref for ref in refs if ref not in tree.vendors]
            if fresh:
                tree.vendors = [*tree.vendors, *fresh]
                tree.counted = names_of(tree.vendors) if tree.remote is None else tree.counted
            # What opens from here on is counted for the fresh vendors as it opens.
            entry, events = record.joined(tree.id, tree.root, tree.vendors), tree.events
        remember_tree(pipeline, tree.id)
        if fresh and not tree.skipped:
            self._write(tree, entry, counted=names_of(fresh) if tree.remote is None else (), events=events)
            pipeline.wake()

    def _keep_partial(self, run: Run) -> None:
        """Record the text a model has streamed. LangChain reports no end of it when a graph is cancelled."""
        pipeline = run.pipelines[0]
        if run.streamed and pipeline.content and not run.tree.skipped:
            after = monotonic_ns() - run.start
            entry = record.noted(run.id, run.tree.id, record.PARTIAL, time_ns(), after)
            entry["value"] = _partial(pipeline, run, run.streamed)
            self._write(run.tree, entry)

    def _count_skipped(self, tree: Tree) -> None:
        assert tree.skipped is not None
        entry = record.dropped(tree.id, tree.vendors, tree.skipped, tree.events)
        self._write(tree, entry, counted=tree.counted, events=tree.events)

    def _write(self, tree: Tree, entry: Record, counted: tuple[str, ...] = (), events: int | None = None) -> None:
        """Append a record that is plain already, and count so many events under these names."""
        try:
            payload, pipeline = encode(entry), tree.pipelines[0]
            if len(payload) > pipeline.most_bytes:
                payload = pipeline.fitted(payload, entry)
        except Exception as error:  # noqa: BLE001  (a value that should be plain may not be)
            self._append_marked(tree, entry, "", error, counted, events)
        else:
            tree.journal.append(payload, counted, events)

    def _append_marked(
        self,
        tree: Tree,
        entry: Record,
        part: str,
        error: BaseException,
        counted: tuple[str, ...] = (),
        events: int | None = None,
    ) -> None:
        """Append a record that could not be made or written as it is: an odd part costs no more than itself.

        A `part` that should be there and is not has raised `error`; whatever else JSON cannot hold is made plain.
        """
        diagnostics.failed("recording", error)
        pipeline = tree.pipelines[0]
        if part and pipeline.content:
            entry.setdefault(part, f"[this could not be recorded: {diagnostics.class_name(error)}]")
        # Part by part: each that cannot be written becomes plain by itself, the others stay as they are.
        payload = encode({key: _writable(pipeline, value) for key, value in entry.items()})
        tree.journal.append(payload, counted, events)
        # Raised only once the record is written: strict mode reports faults, it does not lose events.
        if pipeline.settings.strict:
            raise error


def _writable(pipeline: Pipeline, value: Any) -> JsonValue:
    try:
        encode(value)
    except Exception:  # noqa: BLE001  (half a surrogate, a class that JSON has nothing for, too many levels)
        return pipeline.plain(value)
    return value


def _partial(pipeline: Pipeline, run: Run, streamed: list[str]) -> JsonValue:
    """The text that a model has streamed, as its answer."""
    text = "".join(streamed[:: run.duplicates + 1])
    return pipeline.plain({"messages": [{"role": "assistant", "content": text}]})


def _share(tree_id: str) -> float:
    """A number in [0, 1) that is the same for every handler that sees the tree."""
    return random.Random(tree_id.encode(errors="backslashreplace")).random()


recorder = Recorder()
"""The one of this process."""

process.after_fork("handlers", recorder.after_fork)
