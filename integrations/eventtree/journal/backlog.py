"""Which trees stand in the logs, and where: ids and byte ranges of unfinished trees, never their contents."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import READ_BYTES, Line, LineReader, unframe

GRACE_SECONDS = 2.0
"""How long a tree whose root has closed waits for children that are still open."""
PINNED_BYTES = 64 * 1024 * 1024
PINNED_SECONDS = 86_400.0
"""A tree that holds back more than this goes out as it is."""
AHEAD_TREES = 2_000
AHEAD_RECORDS = 100_000
"""Finished trees, and their records, that may wait to be taken before reading stops: what bounds memory while a vendor
is down."""
TAKEN_TREES = 10_000
NEAR_BYTES = 32 * 1024
"""Records of a tree no further apart than this are read together."""
ALIVE_SECONDS = 2.0
"""How often to ask whether the writers of other logs still live."""

FEEDBACK_SECONDS = 2.0
"""How long feedback waits for a tree that has not been seen in the logs, while there is more to read."""

Refs = list[dict[str, str]]


@dataclass(slots=True)
class LoggedTree:
    """A tree as the index knows it."""

    id: str
    late: bool = False
    """It is what came after the tree had gone out."""
    vendors: Refs | None = None
    """None until its root's record has been seen."""
    events: int = 0
    open: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    """Runs that closed here and did not open here: of a late part, those that went out before they had ended."""
    root_opened: bool = False
    root_closed: bool = False
    size: int = 0
    since: float = 0.0
    closed_at: float = 0.0
    ranges: list[tuple[str, int, int]] = field(default_factory=list)
    spans: dict[str, int] = field(default_factory=dict)
    dropped: tuple[int, str] | None = None
    """Events that were never recorded, and why."""

    def add(self, kind: str, run_id: str, line: Line, now: float) -> None:
        """Take one more record of the tree: of which kind, on which run, and its line."""
        self.ranges.append((line.name, line.offset, line.length))
        self.spans[line.name] = line.offset + line.length
        self.size += line.length
        if kind == record.OPEN:
            self.events += 1
            self.open.add(run_id)
        elif kind == record.CLOSE:
            (self.open.discard if run_id in self.open else self.ended.add)(run_id)
        if run_id == self.id and kind in (record.OPEN, record.CLOSE, record.VENDORS, record.DROP):
            self._root(kind, line.payload, now)

    def _root(self, kind: str, payload: bytes, now: float) -> None:
        if kind == record.OPEN:
            self.root_opened = True
        if kind == record.CLOSE:
            self.root_closed, self.closed_at = True, now
            if self.vendors is not None:
                return
        entry = record.decode(payload)
        self.vendors = entry.get("vendors", self.vendors)
        if kind == record.DROP:
            self.dropped = (entry["events"], entry["reason"])

    @property
    def is_whole(self) -> bool:
        """Whether every run has opened and closed here: nothing more can be expected of the tree."""
        return self.root_opened and self.root_closed and not self.open and not self.ended

    def is_due(self, now: float, read_until: float, grace: float) -> bool:
        """Whether the tree is finished, or has waited long enough.

        `read_until` is the time up to which all its writers' logs have been read. What a tree still lacks may stand in
        what has not been read, however long that takes, so only time up to then counts as waiting.
        """
        if self.dropped is not None:
            return True
        if self.root_closed or self.late:
            waited = read_until - max(self.closed_at, self.since)
            return waited >= (grace if self.open else 0.0)
        return self.size > PINNED_BYTES or now - self.since > PINNED_SECONDS


@dataclass(slots=True)
class PendingFeedback:
    """A feedback that is not done with: where its record stands."""

    key: str
    tree: str
    log: str
    offset: int
    length: int
    since: float

    @property
    def end(self) -> int:
        """Where its record ends."""
        return self.offset + self.length


class Backlog:
    """Reads the logs from where a cursor stands and hands out the trees that are due, oldest first.

    `mine` tells by a root's vendors whether a tree is wanted; None (unknown: its root's records are gone) is asked too.
    """

    def __init__(
        self,
        journal: Journal,
        cursor: Cursor,
        mine: Callable[[Refs | None], bool],
        *,
        grace: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        on_line: Callable[[], None] = lambda: None,
    ) -> None:
        """Start at the cursor's offsets; `on_line` is called after each record, so that the caller can pause."""
        self.journal = journal
        self.cursor = cursor
        self.mine = mine
        self.grace = grace
        self.clock = clock
        self.on_line = on_line
        self.growing: dict[str, LoggedTree] = {}
        self.due: deque[LoggedTree] = deque()
        self._queued: dict[str, LoggedTree] = {}
        """Those in `due`, by id: what comes for them meanwhile goes with them."""
        self._taken: dict[str, None] = {}
        """Ids of the trees taken last, settled yet or not: what comes for them is late."""
        self.said: dict[str, PendingFeedback] = {}
        """Feedback that waits, by its key: for its tree to go out, then to be taken."""
        self.readers: dict[str, LineReader] = {}
        self._read_until: dict[str, float] = {}
        """Process → when its logs were last read to their end."""
        self._asked = float("-inf")
        self._dead: set[str] = set()

    def read(self) -> bool:
        """Take in what has been written since; True if there may be more to read at once.

        The logs of one process are read strictly in order, each to its end before the next: a run's close may stand in
        a later log than its open, and must not be seen first.
        """
        more = False
        logs = self.journal.logs()
        for gone in self.readers.keys() - set(logs):
            del self.readers[gone]
        for process, names in groupby(logs, process_of):
            *left_behind, newest = names
            began = self.clock()
            for name in (*left_behind, newest):
                if len(self.due) >= AHEAD_TREES or sum(len(tree.ranges) for tree in self.due) >= AHEAD_RECORDS:
                    return False
                lines = self._read_log(name, is_left=name != newest)
                more = more or bool(lines)
                if not self._at_end(name):
                    break
            else:
                self._read_until[process] = began
        self._ripen()
        return more

    def _read_log(self, name: str, *, is_left: bool) -> list[Line]:
        """Take in the next stretch of a log; of one whose writer has gone on to the next also a torn last line."""
        reader = self.readers.get(name)
        if reader is None:
            reader = self.readers[name] = LineReader(self.journal.files, name, self.cursor.offsets.get(name, 0))
        lines = reader.read()
        if is_left and not lines:
            lines = reader.last_words()
        for line in lines:
            self._feed(line)
            self.on_line()
        return lines

    def take(self, events: int) -> list[LoggedTree]:
        """Trees that are due, up to about that many events."""
        taken: list[LoggedTree] = []
        while self.due and events > 0:
            tree = self.due.popleft()
            self._queued.pop(tree.id, None)
            self._taken[tree.id] = None
            if len(self._taken) > TAKEN_TREES:
                del self._taken[next(iter(self._taken))]
            events -= max(1, tree.events)
            taken.append(tree)
        return taken

    def take_feedback(self, number: int, *, caught_up: bool) -> list[PendingFeedback]:
        """Feedback whose tree has gone out (or will not: it is not in the logs), oldest first; it stays in `said`."""
        now = self.clock()
        busy = self.growing.keys() | {tree.id for tree in self.due}
        return [
            said
            for said in self.said.values()
            if said.tree not in busy
            and (caught_up or said.tree in self.cursor.settled or now - said.since >= FEEDBACK_SECONDS)
        ][:number]

    def put_off(self, said: PendingFeedback, tree: LoggedTree | None) -> bool:
        """Whether the feedback's tree stands where the logs have not been read yet; it is looked at again later."""
        spans = {} if tree is None else tree.spans
        is_ahead = any(name not in self.readers or end > self.readers[name].offset for name, end in spans.items())
        if is_ahead:
            said.since = self.clock()
        return is_ahead

    def hear(self, said: PendingFeedback) -> record.Record | None:
        """The record of a feedback, read again; None if it was deleted meanwhile."""
        data = self.journal.files.read(said.log, said.offset, said.length)
        try:
            entry = record.decode(data[data.index(b" ", 9) + 1 :])
        except ValueError:
            return None
        return entry if entry["r"] == record.FEEDBACK else None

    def load(self, tree: LoggedTree) -> Iterator[record.Record]:
        """The tree's records, read again from the logs; what was deleted or damaged meanwhile is left out.

        Raises:
            OSError: the disk refuses to read what is there; another time it may not.
        """
        for name, start, end, ranges in _neighbours(tree.ranges):
            data = self.journal.files.read(name, start, end - start)
            for offset, length in ranges:
                try:
                    yield record.decode(unframe(data[offset - start : offset - start + length].rstrip(b"\n"))[1])
                except ValueError:
                    continue

    def put_back(self, trees: Iterable[LoggedTree]) -> None:
        """Trees that were taken and could not be settled: they are due again, before all others."""
        for tree in reversed(list(trees)):
            self.due.appendleft(tree)
            self._queued[tree.id] = tree

    def offsets(self, unsettled: Iterable[LoggedTree] = ()) -> dict[str, int]:
        """Per log, where the oldest record stands that is not done with: `growing`, `due` and `unsettled` count."""
        low = {name: reader.offset for name, reader in self.readers.items()}
        for tree in (*self.growing.values(), *self.due, *unsettled):
            for name, offset, _ in tree.ranges:
                if offset < low.get(name, 0):
                    low[name] = offset
        for said in self.said.values():
            low[said.log] = min(said.offset, low.get(said.log, said.offset))
        return low

    def _feed(self, line: Line) -> None:
        try:
            kind, run_id, tree_id = record.head(line.payload)
        except ValueError:
            return
        if not tree_id:
            return
        if kind == record.FEEDBACK:
            self._hear(line)
            return
        queued = self._queued.get(tree_id)
        if queued is not None:
            queued.add(kind, run_id, line, self.clock())
            return
        tree = self.growing.get(tree_id)
        if tree is None:
            if self._is_old(tree_id, line):
                return
            late = tree_id in self.cursor.settled or tree_id in self._taken
            tree = self.growing[tree_id] = LoggedTree(tree_id, late=late, since=self.clock())
        tree.add(kind, run_id, line, self.clock())
        if tree.is_whole or tree.dropped is not None:
            self._finish(tree)

    def _hear(self, line: Line) -> None:
        entry = record.decode(line.payload)
        key, end = entry.get("key", ""), line.offset + line.length
        if self.mine(entry.get("vendors")) and not self.cursor.is_feedback_done(key, line.name, end):
            self.said[key] = PendingFeedback(key, entry["tree"], line.name, line.offset, line.length, self.clock())

    def _is_old(self, tree_id: str, line: Line) -> bool:
        """Whether the record belongs to what was settled already (the log is being read again)."""
        spans = self.cursor.settled.get(tree_id)
        return spans is not None and line.offset + line.length <= spans.get(line.name, 0)

    def _ripen(self) -> None:
        now = self.clock()
        if now - self._asked >= ALIVE_SECONDS:
            self._asked = now
            self._bury_writers()
        for tree in list(self.growing.values()):
            writers = {process_of(name) for name in tree.spans}
            read_until = min(self._read_until.get(process, float("-inf")) for process in writers)
            is_orphan = writers <= self._dead and self._has_read(writers)
            if is_orphan or tree.is_due(now, read_until, self.grace):
                self._finish(tree)

    def _bury_writers(self) -> None:
        processes = {process_of(name) for name in self.readers} - self._dead
        self._dead |= {process for process in processes if not self.journal.is_alive(process)}
        for name, reader in self.readers.items():
            if process_of(name) in self._dead:
                for line in reader.last_words():
                    self._feed(line)

    def _has_read(self, processes: set[str]) -> bool:
        return all(self._at_end(name) for name in self.journal.logs() if process_of(name) in processes)

    def _at_end(self, name: str) -> bool:
        reader = self.readers.get(name)
        return reader is not None and self.journal.files.size(name) <= reader.offset

    def _finish(self, tree: LoggedTree) -> None:
        self.growing.pop(tree.id, None)
        if self.mine(tree.vendors) if not tree.late else True:
            self.due.append(tree)
            self._queued[tree.id] = tree


def find_trees(
    journal: Journal, wanted: Iterable[str], on_line: Callable[[], None] = lambda: None
) -> dict[str, LoggedTree]:
    """Those of the wanted trees that the logs still have, wherever they stand. Reads all logs: for what is rare."""
    needles = {tree_id: tree_id.encode() for tree_id in wanted}
    found: dict[str, LoggedTree] = {}
    for name in journal.logs():
        data = journal.files.read(name, 0, journal.files.size(name))
        here = {tree_id for tree_id, needle in needles.items() if needle in data}
        on_line()
        reader = LineReader(journal.files, name)
        while here and (lines := reader.read()):
            for line in lines:
                on_line()
                kind, run_id, tree_id = _head(line)
                if tree_id in here and kind != record.FEEDBACK:
                    found.setdefault(tree_id, LoggedTree(tree_id)).add(kind, run_id, line, 0.0)
    return found


def owner_of(journal: Journal, wanted: str) -> tuple[str, Refs] | None:
    """The tree of an event (or the tree itself), and the vendors it names; None if the logs do not have it."""
    needle = wanted.encode()
    for name in reversed(journal.logs()):
        if needle not in journal.files.read(name, 0, journal.files.size(name)):
            continue
        reader = LineReader(journal.files, name)
        while lines := reader.read():
            for line in lines:
                kind, run_id, tree_id = _head(line)
                if wanted in (run_id, tree_id) and kind != record.FEEDBACK:
                    tree = find_trees(journal, [tree_id]).get(tree_id)
                    return None if tree is None or tree.dropped else (tree_id, tree.vendors or [])
    return None


def _head(line: Line) -> tuple[str, str, str]:
    try:
        return record.head(line.payload)
    except ValueError:
        return "", "", ""


def _neighbours(ranges: list[tuple[str, int, int]]) -> Iterator[tuple[str, int, int, list[tuple[int, int]]]]:
    """Ranges that stand close together in one log, as one stretch to read: `(log, start, end, ranges)`."""
    name, start, end, group = "", 0, 0, list[tuple[int, int]]()
    for log, offset, length in ranges:
        if log != name or offset - end > NEAR_BYTES or offset < end or end - start > READ_BYTES:
            if group:
                yield name, start, end, group
            name, start, group = log, offset, []
        group.append((offset, length))
        end = offset + length
    if group:
        yield name, start, end, group
