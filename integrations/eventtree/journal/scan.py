"""The one way to read the logs: the head and the place of every record, each written before what depends on it.

Delivery, reports, retention, `show`, `export` and `clear` all read by it. What must hold:
- The logs of one process are read strictly in order, each to its end before the next: a run's close may stand in a
  later log than its open, and is never seen first.
- A torn last line counts as damaged once nobody can complete it: its writer has died, or has gone on to the next log.
- A log that nobody writes any more is read once. So an idle reader costs what is still written, not what ever was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from eventtree import record
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import Line, LineReader

ALIVE_SECONDS = 2.0
"""How often to ask whether the writer of a log still lives."""
ASKED_AT_ONCE = 20
"""How many writers are asked in one look: asking takes their lock, and a journal may hold thousands of logs."""


class Entry(NamedTuple):
    """A record as a scan sees it: its kind, the run and the tree it is about, and its line."""

    kind: str
    run_id: str
    tree_id: str
    line: Line


class Scan:
    """Follows all logs of a journal from given offsets; each `read` goes on where the last one stopped."""

    def __init__(
        self,
        journal: Journal,
        offsets: Mapping[str, int] = MappingProxyType({}),
        damage: Mapping[str, tuple[int, int]] = MappingProxyType({}),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start in each log at its offset, the start of a line (default: the log's beginning).

        `damage` is what is known to be broken before these offsets: damaged and lost lines by log.
        """
        self.journal = journal
        self.clock = clock
        self.readers: dict[str, LineReader] = {}
        self._offsets = dict(offsets)
        self._damage = dict(damage)
        self._done: set[str] = set()
        """Logs that nobody writes any more and that were read to their end."""
        self.gone: set[str] = set()
        """Processes that have died and whose logs have all been read."""
        self._read_until: dict[str, float] = {}
        self._dead: set[str] = set()
        self._asked: dict[str, float] = {}

    def read(self, wants_more: Callable[[], bool] = lambda: True, only: str | None = None) -> Iterator[Entry]:
        """The next stretch of each process's logs (or of `only` that one's); yields nothing when all has been read.

        `wants_more` is asked before each stretch.

        Raises:
            OSError: the disk refuses; the next call goes on at the same place.
        """
        logs = self.journal.all_logs()
        self._forget_removed(logs)
        for process, names in groupby(logs, process_of):
            if only not in (None, process):
                continue
            *earlier, newest = names
            began = self.clock()
            is_dead = process in self.gone or self.is_dead(process)
            for name in (*earlier, newest):
                if name in self._done or self.journal.is_newer(name):
                    continue
                if not wants_more():
                    return
                is_left = name != newest or is_dead
                yield from self._stretch(name, is_left)
                if not self._at_end(name):
                    break  # a later log of this process must wait
                if is_left:
                    self._done.add(name)
            else:
                self._read_until[process] = began
                if is_dead:
                    self.gone.add(process)

    def begin_at(self, offsets: Mapping[str, int], damage: Mapping[str, tuple[int, int]]) -> None:
        """Begin in each log at the lower of two offsets; only before the first read."""
        for log in list(self._offsets):
            if offsets.get(log, 0) < self._offsets[log]:
                self._offsets[log] = offsets.get(log, 0)
                self._damage[log] = damage.get(log, (0, 0))

    def read_until(self, processes: Iterable[str]) -> float:
        """The time up to which all that these processes wrote has been read; -inf while some of it never was."""
        return min((self._read_until.get(process, float("-inf")) for process in processes), default=float("inf"))

    def is_dead(self, process: str) -> bool:
        """Whether the writer has died (as far as was asked lately)."""
        if process in self._dead:
            return True
        now = self.clock()
        busy = sum(now - asked < ALIVE_SECONDS for asked in list(self._asked.values())[-ASKED_AT_ONCE:])
        if now - self._asked.get(process, float("-inf")) >= ALIVE_SECONDS and busy < ASKED_AT_ONCE:
            self._asked.pop(process, None)  # asked last stands last
            self._asked[process] = now
            if not self.journal.is_alive(process):
                self._dead.add(process)
        return process in self._dead

    def has_read(self, process: str) -> bool:
        """Whether all that this process has written so far has been read."""
        return all(
            name in self._done or self._at_end(name)
            for name in self.journal.all_logs()
            if process_of(name) == process and not self.journal.is_newer(name)
        )

    def offsets(self) -> dict[str, int]:
        """Log → how far it has been read."""
        return {name: reader.offset for name, reader in self.readers.items()}

    def damage(self, before: Mapping[str, int] | None = None) -> dict[str, tuple[int, int]]:
        """Log → damaged and lost lines: all that were found, or those before given offsets."""
        found = dict(self._damage)
        for log, reader in self.readers.items():
            bad, lost = self._damage.get(log, (0, 0))
            offset = reader.offset + 1 if before is None else before.get(log, 0)
            more = reader.damage.before(offset)
            found[log] = (bad + more[0], lost + more[1])
        return found

    def _stretch(self, name: str, is_left: bool) -> Iterator[Entry]:
        reader = self.readers.get(name)
        if reader is None:
            reader = self.readers[name] = LineReader(self.journal.files, name, self._offsets.get(name, 0))
        if self._at_end(name):
            return
        lines = reader.read()
        if is_left and not lines:
            lines = reader.last_words()
        for line in lines:
            try:
                kind, run_id, tree_id = record.head(line.payload)
            except (ValueError, RecursionError):
                continue  # whole, and yet no record of ours
            if tree_id:
                yield Entry(kind, run_id, tree_id, line)

    def _at_end(self, name: str) -> bool:
        reader = self.readers.get(name)
        return reader is not None and self.journal.files.size(name) <= reader.offset

    def _forget_removed(self, logs: list[str]) -> None:
        for name in self.readers.keys() - set(logs):
            del self.readers[name]
            self._done.discard(name)


def read_all(journal: Journal, on_line: Callable[[], None] = lambda: None) -> Iterator[Entry]:
    """Every record of the journal as it stands now."""
    scan = Scan(journal)
    more = True
    while more:
        more = False
        for entry in scan.read():
            more = True
            on_line()
            yield entry
