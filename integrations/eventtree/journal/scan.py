"""The one way to read the logs: head and place of every record, in the order its process wrote them.

Delivery, reports, retention, `show`, `export` and `clear` all use it. What must hold:
- The logs of one process are read strictly in order, each to its end before the next: a run's close may be in a later
  log than its open, and is never seen first.
- A torn last line counts as damaged once its writer has died or has begun the next log: it stays torn.
- A finished log is read once, so an idle reader costs as much as there are living writers, not old logs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, groupby, islice
from types import MappingProxyType

from eventtree import record
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import Line, LineReader
from eventtree.journal.relayed import addressing, is_collected
from eventtree.pace import paced

ALIVE_SECONDS = 2.0
"""Seconds between two checks whether a writer is alive."""
UNKNOWN_SECONDS = 10.0
"""Seconds between two looks at the logs of writers that were not checked yet."""
NAMING = frozenset({record.FEEDBACK, record.VENDORS})
"""Records that name vendors for any run, not only a root."""
ASKED_AT_ONCE = 5
ASK_SECONDS = 0.2
"""Most writers checked at once, and the seconds until the next check: it tries their lock, and a journal may have
thousands of logs.
"""


Entry = tuple[str, str, str, str, int, int, bytes]
"""A record's kind, run and tree, and its `Line`."""


class Scan:
    """Follows all logs of a journal from given offsets; each `read` continues where the last one stopped."""

    def __init__(
        self,
        journal: Journal,
        offsets: Mapping[str, int] = MappingProxyType({}),
        damage: Mapping[str, tuple[int, int]] = MappingProxyType({}),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start in each log at its offset, the start of a line (default: the log's beginning).

        `damage` is log → damaged and lost lines before its offset.
        """
        self.journal = journal
        self.clock = clock
        self.readers: dict[str, LineReader] = {}
        self._offsets = dict(offsets)
        self._damage = dict(damage)
        self._logs: dict[str, list[str]] = {}
        """Process → its logs, without the processes in `gone`."""
        self._listed: list[str] = []
        self._done: set[str] = set()
        """Logs that were read to their end after their writer had left them."""
        self.gone: set[str] = set()
        """Dead processes whose logs have all been read."""
        self._read_until: dict[str, float] = {}
        self._touched: dict[str, None] = {}
        """Processes with lines just read, or torn: these are checked first."""
        self._dead: set[str] = set()
        self._asked: dict[str, float] = {}
        self._last_asked = self._last_complete = float("-inf")
        self._addressed = addressing(journal.files)

    def read(self, wants_more: Callable[[], bool] = lambda: True, only: str | None = None) -> Iterator[list[Entry]]:
        """The next stretch of each process's logs (or of the process `only`); yields nothing when all has been read.

        `wants_more` is called before each stretch; False ends the read.

        Raises:
            OSError: the disk refuses; the next call continues at the same place.
        """
        self._list()
        # Check the writer before the log's end: a living one may write more after the end was read.
        self._ask()
        for process in self._to_read(only):
            *earlier, newest = self._logs[process]
            began = self.clock()
            is_dead = process in self._dead
            for name in (*earlier, newest):
                if name in self._done:
                    continue
                # Its writer has left this log: a torn last line stays torn, and the log is read once.
                is_left = name != newest or is_dead
                if not self._at_end(name):
                    if self.journal.is_newer(name):
                        continue
                    if not wants_more():
                        return
                    self._touched[process] = None
                    if entries := self._stretch(name, is_left):
                        yield entries
                    if not self._at_end(name):
                        break  # a later log of this process must wait
                if is_left:
                    self._done.add(name)
            else:
                # The time before the read, not after: lines written during it may have been missed.
                self._read_until[process] = began
                if is_dead:
                    self._forget(process)

    def read_all(self, on_line: Callable[[], None] = lambda: None, only: str | None = None) -> Iterator[Entry]:
        """Every record written so far, in all logs or in those of `only`; `on_line` is called for each."""
        more = True
        while more:
            more = False
            for stretch in self.read(only=only):
                more = True
                for entry in stretch:
                    on_line()
                    yield entry

    def _to_read(self, only: str | None) -> list[str]:
        """Processes to read now: those known to write, and from time to time all.

        Thousands of finished logs so cost next to nothing until their writers are known to be dead.
        """
        if only is not None:
            return [only] if only in self._logs else []
        now = self.clock()
        if now - self._last_complete < UNKNOWN_SECONDS:
            return [process for process in dict.fromkeys(chain(self._asked, self._touched)) if process in self._logs]
        self._last_complete = now
        return list(self._logs)

    def _list(self) -> None:
        listed = self.journal.all_logs()
        if listed is self._listed:
            return
        self._listed = listed
        self._revive()
        for name in self.readers.keys() - set(listed):
            del self.readers[name]
            self._done.discard(name)
        known = self._logs
        self._logs = {
            process: list(names) for process, names in groupby(listed, process_of) if process not in self.gone
        }
        if self._logs.keys() - known.keys():
            self._last_complete = float("-inf")  # a new process is read at once

    def _revive(self) -> None:
        """Follow again a relayed process that was taken for dead after a long silence and writes again."""
        if self.gone and is_collected(self.journal.files):
            back = {process for process in self.gone if self.journal.is_alive(process)}
            self.gone -= back
            self._dead -= back
            self._done = {name for name in self._done if process_of(name) not in back}

    def _forget(self, process: str) -> None:
        """Stop following a dead process whose logs have been read."""
        self.gone.add(process)
        del self._logs[process]
        for known in (self._touched, self._asked):
            known.pop(process, None)

    def begin_at(self, offsets: Mapping[str, int], damage: Mapping[str, tuple[int, int]]) -> None:
        """Begin each log at the lower of its two offsets; call before the first read."""
        for log in list(self._offsets):
            if offsets.get(log, 0) < self._offsets[log]:
                self._offsets[log] = offsets.get(log, 0)
                self._damage[log] = damage.get(log, (0, 0))

    def read_until(self, processes: Iterable[str] | None) -> float:
        """Time up to which all lines of these processes (None: all) have been read; -inf while one was never read."""
        if processes is None:
            processes = list(self._logs)
        living = (process for process in processes if process not in self.gone)
        return min((self._read_until.get(process, float("-inf")) for process in living), default=float("inf"))

    def _ask(self) -> None:
        """Check whether some of the writers are alive, first the writers of lines just read."""
        now = self.clock()
        if now - self._last_asked < ASK_SECONDS:
            return
        self._last_asked = now
        unsure = (
            process
            for process in chain(self._touched, reversed(self._logs))
            if process not in self._dead and now - self._asked.get(process, float("-inf")) >= ALIVE_SECONDS
        )
        for process in list(dict.fromkeys(islice(unsure, ASKED_AT_ONCE))):
            self._asked[process] = now
            if not self.journal.is_alive(process):
                self._dead.add(process)

    def has_read(self, process: str) -> bool:
        """Whether every line this process has written so far has been read."""
        self._list()
        names = self._logs.get(process, ())
        return all(name in self._done or self._at_end(name) or self.journal.is_newer(name) for name in names)

    def lines_read(self, process: str) -> int:
        """Number of lines read of a process, in all its logs."""
        readers = (self.readers.get(name) for name in reversed(self._logs.get(process, ())))
        return next((reader.next_seq for reader in readers if reader is not None and reader.next_seq), 0)

    def offsets(self) -> dict[str, int]:
        """Log → offset up to which it has been read, or from which it will be."""
        listed = set(self._listed or self.journal.all_logs())
        begin = {name: offset for name, offset in self._offsets.items() if name in listed}
        return {**begin, **{name: reader.offset for name, reader in self.readers.items()}}

    def damage(self, before: Mapping[str, int] | None = None) -> dict[str, tuple[int, int]]:
        """Log → number of damaged and of lost lines, all or before given offsets."""
        found = dict(self._damage)
        for log, reader in self.readers.items():
            bad, lost = self._damage.get(log, (0, 0))
            offset = reader.offset + 1 if before is None else before.get(log, 0)
            more = reader.damage.before(offset)
            found[log] = (bad + more[0], lost + more[1])
        return found

    def _stretch(self, name: str, is_left: bool) -> list[Entry]:
        reader = self.readers.get(name)
        if reader is None:
            reader = self.readers[name] = LineReader(self.journal.files, name, self._offsets.get(name, 0))
        found: list[Entry] = []
        before = -1
        # Read on to the first record: a stretch may have none (only a log's first line).
        while not found and before != reader.offset:
            before = reader.offset
            lines = reader.read()
            # Read the torn last line only after all whole lines.
            if is_left and before == reader.offset:
                lines = reader.last_words()
            found = entries(paced(lines), self._addressed)
        return found

    def _at_end(self, name: str) -> bool:
        reader = self.readers.get(name)
        offset = reader.offset if reader is not None else self._offsets.get(name, 0)
        return self.journal.files.size(name) <= offset


def entries(lines: Iterable[Line], addressed: Callable[[bytes], bytes] | None = None) -> list[Entry]:
    """The records of lines, without those of no tree (a log's first line), and without lines that are no record.

    `addressed` puts a collector's vendors into a relayed record that names vendors (`relayed.py`).
    """
    found = []
    for log, offset, length, payload in lines:
        try:
            kind, run_id, tree_id = record.head(payload)
            if addressed is not None and (run_id == tree_id or kind in NAMING or record.JOINED in payload):
                payload = addressed(payload)
        except Exception:  # noqa: BLE001  (the boundary around each record: one must not stop the others)
            continue
        if tree_id:
            found.append((kind, run_id, tree_id, log, offset, length, payload))
    return found


def entries_in(journal: Journal, log: str) -> Iterator[Entry]:
    """Every record of one log's whole lines, from its beginning."""
    return entries_of(LineReader(journal.files, log))


def entries_of(reader: LineReader) -> Iterator[Entry]:
    """Every record of the whole lines from a reader's offset on."""
    addressed = addressing(reader.files)
    while lines := reader.read():
        yield from entries(lines, addressed)
