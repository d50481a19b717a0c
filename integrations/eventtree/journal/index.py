"""Which trees stand in the logs, and where: ids and byte ranges of unfinished trees, never their contents."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import READ_BYTES, Line, LineReader

GRACE_SECONDS = 2.0
"""How long a tree whose root has closed waits for children that are still open."""
PINNED_BYTES = 64 * 1024 * 1024
PINNED_SECONDS = 86_400.0
"""A tree that holds back more than this goes out as it is."""
AHEAD_TREES = 2_000
"""Finished trees that may wait to be taken before reading stops: what bounds memory while a vendor is down."""
NEAR_BYTES = 32 * 1024
"""Records of a tree no further apart than this are read together."""
ALIVE_SECONDS = 2.0
"""How often to ask whether the writers of other logs still live."""

Refs = list[dict[str, str]]


@dataclass(slots=True)
class TreeRanges:
    """A tree as the index knows it."""

    id: str
    late: bool = False
    """It is what came after the tree had gone out."""
    vendors: Refs | None = None
    """None until its root's record has been seen."""
    events: int = 0
    open: set[str] = field(default_factory=set)
    root_closed: bool = False
    size: int = 0
    since: float = 0.0
    closed_at: float = 0.0
    ranges: list[tuple[str, int, int]] = field(default_factory=list)
    spans: dict[str, int] = field(default_factory=dict)
    dropped: tuple[int, str] | None = None
    """Events that were never recorded, and why."""

    def add(self, line: Line, now: float) -> None:
        """Take one more record of the tree."""
        kind, run_id, _ = record.head(line.payload)
        self.ranges.append((line.name, line.offset, line.length))
        self.spans[line.name] = line.offset + line.length
        self.size += line.length
        if kind == record.OPEN:
            self.events += 1
            self.open.add(run_id)
        elif kind == record.CLOSE:
            self.open.discard(run_id)
        if run_id == self.id and kind in (record.OPEN, record.CLOSE, record.VENDORS, record.DROP):
            self._root(kind, line.payload, now)

    def _root(self, kind: str, payload: bytes, now: float) -> None:
        if kind == record.CLOSE:
            self.root_closed, self.closed_at = True, now
            if self.vendors is not None:
                return
        entry = record.decode(payload)
        self.vendors = entry.get("vendors", self.vendors)
        if kind == record.DROP:
            self.dropped = (entry["events"], entry["reason"])

    def is_due(self, now: float, grace: float) -> bool:
        """Whether the tree is finished, or has waited long enough."""
        if self.dropped is not None:
            return True
        if self.root_closed or self.late:
            return not self.open or now - max(self.closed_at, self.since) >= grace
        return self.size > PINNED_BYTES or now - self.since > PINNED_SECONDS


class Index:
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
        self.growing: dict[str, TreeRanges] = {}
        self.due: deque[TreeRanges] = deque()
        self.readers: dict[str, LineReader] = {}
        self._asked = float("-inf")
        self._dead: set[str] = set()

    def read(self) -> bool:
        """Take in what has been written since; True if there may be more to read at once."""
        more = False
        names = set(self.journal.logs())
        for gone in self.readers.keys() - names:
            del self.readers[gone]
        for name in sorted(names):
            if len(self.due) >= AHEAD_TREES:
                return False
            reader = self.readers.get(name)
            if reader is None:
                reader = self.readers[name] = LineReader(self.journal.files, name, self.cursor.offsets.get(name, 0))
            for line in reader.read():
                self._feed(line)
                self.on_line()
                more = True
        self._ripen()
        return more

    def take(self, events: int) -> list[TreeRanges]:
        """Trees that are due, up to about that many events."""
        taken: list[TreeRanges] = []
        while self.due and events > 0:
            tree = self.due.popleft()
            events -= max(1, tree.events)
            taken.append(tree)
        return taken

    def load(self, tree: TreeRanges) -> Iterator[record.Record]:
        """The tree's records, read again from the logs; what was deleted or damaged meanwhile is left out."""
        for name, start, end, ranges in _neighbours(tree.ranges):
            try:
                data = self.journal.files.read(name, start, end - start)
            except OSError:
                continue
            for offset, length in ranges:
                line = data[offset - start : offset - start + length]
                try:
                    yield record.decode(line[line.index(b" ", 9) + 1 :])
                except ValueError:
                    continue

    def offsets(self, unsettled: Iterable[TreeRanges] = ()) -> dict[str, int]:
        """Per log, where the oldest record stands that is not done with: `growing`, `due` and `unsettled` count."""
        low = {name: reader.offset for name, reader in self.readers.items()}
        for tree in (*self.growing.values(), *self.due, *unsettled):
            for name, offset, _ in tree.ranges:
                if offset < low.get(name, 0):
                    low[name] = offset
        return low

    def _feed(self, line: Line) -> None:
        try:
            kind, _, tree_id = record.head(line.payload)
        except ValueError:
            return
        if not tree_id or kind == record.FEEDBACK:
            return
        tree = self.growing.get(tree_id)
        if tree is None:
            if self._is_old(tree_id, line):
                return
            late = tree_id in self.cursor.settled
            tree = self.growing[tree_id] = TreeRanges(tree_id, late=late, since=self.clock())
        tree.add(line, self.clock())
        if (tree.root_closed and not tree.open) or tree.dropped is not None:
            self._finish(tree)

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
            orphaned = all(process_of(name) in self._dead and self._at_end(name) for name in tree.spans)
            if orphaned or tree.is_due(now, self.grace):
                self._finish(tree)

    def _bury_writers(self) -> None:
        processes = {process_of(name) for name in self.readers} - self._dead
        self._dead |= {process for process in processes if not self.journal.is_alive(process)}
        for name, reader in self.readers.items():
            if process_of(name) in self._dead:
                for line in reader.last_words():
                    self._feed(line)

    def _at_end(self, name: str) -> bool:
        reader = self.readers.get(name)
        return reader is None or self.journal.files.size(name) <= reader.offset

    def _finish(self, tree: TreeRanges) -> None:
        self.growing.pop(tree.id, None)
        if self.mine(tree.vendors) if not tree.late else True:
            self.due.append(tree)


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
