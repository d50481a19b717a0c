"""Appending: one log per process, one `write` per record, rolled by size.

What must hold:
- When `append` has returned, the line is in a file (or waits in memory, counted, while the disk refuses). Inside a
  signal handler or a `__del__` that came while this very thread was writing, it is there once that write has returned.
- A process writes only to its own logs. A forked child starts a log of its own.
- A disk that refuses or dawdles costs the app one write (`overflow.py`).
- Every event is counted as it is recorded, apart from its line; each log begins with the sums so far (`record.py`).
- `PROCESS.alive` stays locked while the process lives, so that others know whose open runs will never close.
"""

from __future__ import annotations

import math
import os
import secrets
import time
import weakref
from collections import deque
from pathlib import Path
from threading import RLock
from time import monotonic
from zlib import crc32

from eventtree import process
from eventtree.config import BOUNDS, MEMORY, Bounds
from eventtree.journal.files import Data, DiskFiles, Files, Held, MemoryFiles, joined
from eventtree.journal.folder import Folder
from eventtree.journal.line import unframe
from eventtree.journal.overflow import SLOW_SECONDS, Overflow
from eventtree.journal.tally import Tally
from eventtree.record import Record, encode, log_line

ROLL_BYTES = 8 * 1024 * 1024
"""A log is closed and the next begun at this size."""
LOOK_SECONDS = 1.0
LOOK_BYTES = 64 * 1024
"""The log is looked for this often, and after this many bytes."""
LARGE = 64 * 1024
"""A payload of so many bytes is written without another copy of it."""
UNSURE_RECORDS = 1000
"""How many of these are kept while the disk does not even answer whether the log is there."""

Entry = tuple[bytes, tuple[str, ...], int | None]
"""A record to append: its JSON, the names under which its events are counted, and how many there are (None: as a run
opens, its one).
"""


class Journal(Folder):
    """A folder of logs, to one of which this process appends. Safe for threads and forks."""

    def __init__(
        self,
        files: Files,
        *,
        roll_bytes: int = ROLL_BYTES,
        held_bytes: int = BOUNDS.held_bytes,
        max_bytes: int = BOUNDS.journal_bytes,
    ) -> None:
        """Use `files`; nothing is written before the first record."""
        super().__init__(files)
        self.max_bytes = max_bytes
        self.full: str | None = None
        """The reason why no new tree is recorded, under which it is counted; None while trees are recorded."""
        self.roll_bytes = roll_bytes
        self._begin(held_bytes)
        _journals.add(self)

    def _begin(self, held_bytes: int) -> None:
        self.process = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
        self.tally = Tally()
        self.dropped = 0
        """Records lost so, events or not."""
        self.restarts = 0
        """How often somebody has deleted the log that was being written."""
        self._lock = RLock()
        self._is_writing = False
        self._inner: deque[Entry] = deque()
        """Records of signal handlers that interrupted the writing of another."""
        self._number = 0
        self.appended = 0
        """Lines this process has appended: the number of the next, and a cheap sign of a busy app."""
        self._size = self._checksum = 0
        """Of the log being written, as its lines were made."""
        self._alive: Held | None = None
        self._overflow = Overflow(self.files, self._lock, self._disk_is_back, held_bytes)
        self.log = self._overflow.log = f"{self.process}.0000.log"
        """Name of the log being written."""
        self._next_look = 0.0
        self._look_size = 0
        self._unsure: list[tuple[Data, tuple[str, ...], int | None]] = []
        """Lines of records since the last look whether the log is still there."""

    @property
    def held(self) -> int:
        """Bytes waiting in memory for a disk that refuses."""
        return self._overflow.size

    def append(self, payload: bytes, counted: tuple[str, ...] = (), events: int | None = None) -> None:
        """Add one record, and so many events to the totals of these names; without a number, the one that opens here.

        Never raises OSError: while the disk refuses, or the app's stack has no room, lines wait in memory and are tried
        again.
        """
        self._lock.acquire()  # twice as quick as `with`
        try:
            if self._is_writing:
                # The same thread is writing: a signal handler or a `__del__` came in between. Its record is next.
                self._inner.append((payload, counted, events))
                return
            self._is_writing = True
            try:
                now = monotonic()
                # First make sure there is a log to write to, then write the line, then remember it: a line that
                # goes to a log somebody deletes meanwhile is among those written again at the next look.
                if now >= self._next_look or self._size >= self._look_size:
                    self._look(now)
                    # What that has appended comes first.
                    self._inner.append((payload, counted, events))
                    payload, counted, events = self._inner.popleft()
                while True:
                    # Counted before it is written: a line that is lost then shows as lost, not as never recorded.
                    if counted:
                        if events is None:
                            opened = self.tally.opened
                            opened[counted] = opened.get(counted, 0) + 1
                        else:
                            self.tally.added[counted] += events
                    # A line as `line.frame` makes it, and its part of the log's sum as `line.checksum` does.
                    number, overflow = self.appended, self._overflow
                    crc = crc32(payload, number)
                    line: Data
                    if len(payload) < LARGE:
                        line = b"%08x %d %b\n" % (crc, number, payload)
                        self._size += len(line)
                    else:
                        line = b"%08x %d " % (crc, number), payload, b"\n"
                        self._size += sum(map(len, line))
                    self.appended = number + 1
                    self._checksum ^= crc
                    try:
                        # While one line waits, all later ones wait behind it: the log keeps its order.
                        if not overflow.is_holding:
                            self.files.append(self.log, line)
                            # Written, but slowly: the next line does not wait for this disk on the app's thread.
                            if monotonic() - now > SLOW_SECONDS:
                                overflow.is_holding = True
                        else:
                            self._hold(line, counted, events)
                    except (OSError, RecursionError):
                        overflow.is_holding = True
                        self._hold(line, counted, events)
                    # The line and not the payload: an encoder's bytes may hold on to many times their size.
                    self._unsure.append((line, counted, events))
                    if not self._inner:
                        break
                    payload, counted, events = self._inner.popleft()
                    now = monotonic()
            finally:
                self._is_writing = False
            # Looked at after the flag is down: what comes from here on writes for itself.
            if self._inner:
                self.append(*self._inner.popleft())
        finally:
            self._lock.release()

    def _hold(self, line: Data, counted: tuple[str, ...], events: int | None) -> None:
        if not self._overflow.hold(joined(line)):
            self.dropped += 1
            for name in counted:
                self.tally.lost[name] += 1 if events is None else events
        if self._overflow.is_half_full:
            self.full = "memory_full"

    def bound(self, bounds: Bounds) -> None:
        """Keep to these from now on."""
        self.max_bytes = bounds.memory_bytes if isinstance(self.files, MemoryFiles) else bounds.journal_bytes
        self._overflow.max_bytes = bounds.held_bytes
        # Room is looked for whenever a log is full.
        self.roll_bytes = min(ROLL_BYTES, max(1, self.max_bytes // 64))

    def flush_held(self) -> None:
        """Try once more to write the lines that wait in memory, or went to a log that somebody has deleted."""
        with self._lock:
            if self._size and not self._is_writing:
                self._is_writing = True
                try:
                    self._look(monotonic())
                finally:
                    self._is_writing = False
                if self._inner:
                    self.append(*self._inner.popleft())
        if self._overflow.is_holding:
            self._overflow.drain()

    def end(self) -> None:
        """The process ends in good order: the last line of its log says how many events it has recorded."""
        self.flush_held()
        with self._lock:
            if self._size:
                # No look in between: the line says how long this log is.
                self._next_look, self._look_size = math.inf, self._size + 1
                self.append(encode(self.sums(end=True)), (), 0)
                self._next_look = 0.0

    def close(self) -> None:
        """End it, and give back its descriptors and its lock: a process of many tests has many journals."""
        self.end()
        for key in [key for key, one in _opened.items() if one is self]:
            del _opened[key]
        self.files.forget()
        if self._alive is not None:
            self._alive.release()
            self._alive = None

    def look_for_room(self) -> None:
        """Measure all logs, and open or close the journal for new trees."""
        try:
            total = sum(self.files.size(name) for name in self.logs())
        except OSError:
            return
        over = "memory_full" if isinstance(self.files, MemoryFiles) else "journal_full"
        self.full = over if total > self.max_bytes else "memory_full" if self._overflow.is_half_full else None

    def sums(self, *, end: bool = False) -> Record:
        """What this process has recorded so far, as a log's first line or (with `end`) its last one says it."""
        with self._lock:
            tally, whole, now = self.tally, (self._size, self._checksum), time.time_ns()
            recorded, lost = tally.totals, dict(tally.lost)
            return log_line(self.process, os.getpid(), now, recorded, lost, tally.events, whole, end=end)

    def _roll(self) -> None:
        """Begin the next log: its first line is what is written next."""
        self.look_for_room()
        # The lock before the first line: a reader that sees a log without one takes its writer for dead.
        if self._alive is None:
            try:
                self._alive = self.files.lock(f"{self.process}.alive")
            except OSError:
                self._alive = None
        sums = self.sums()
        if self._size:
            self._number += 1
            self.log = self._overflow.log = f"{self.process}.{self._number:04d}.log"
            self._size = self._checksum = 0
        self._inner.appendleft((encode(sums), (), 0))

    def _look(self, now: float) -> None:
        """Before a line: begin a log where there is none, or the last is full, or somebody has deleted it.

        What is written to a deleted log nobody would find. What was recorded since the last look may have gone there,
        so it is written again.
        """
        self._next_look, self._look_size = now + LOOK_SECONDS, 0
        try:
            # Gone or not comes first: a deleted log is not full, and its lines have to be written again.
            is_gone = self._size > 0 and not self._overflow.is_holding and self.files.size(self.log) == 0
            if is_gone:
                self.files.remove(self.log)
        except OSError:
            is_gone = False
            del self._unsure[:-UNSURE_RECORDS]
        else:
            unsure, self._unsure = self._unsure, []
        if is_gone:
            self._alive = None
            self.restarts += 1
            # What was deleted is nobody's any more: it is counted from here on.
            self.tally.clear()
            again = ((unframe(joined(line)[:-1])[1], names, events) for line, names, events in unsure if events != 0)
            self._inner.extendleft(reversed([*again]))
        if is_gone or not 0 < self._size < self.roll_bytes:
            self._roll()
        if is_gone or not self._is_salt_kept:
            self._keep_salt()
        self._look_size = min(self._size + LOOK_BYTES, self.roll_bytes)

    def _disk_is_back(self) -> None:
        self._keep_salt()
        if self.full is not None:
            self.look_for_room()

    def after_fork(self) -> None:
        """In the child: a log of its own; the parent's descriptors and lock are left to the parent."""
        # The child closes its copies of the descriptors; the parent keeps its own, and with them its locks.
        self.files.forget()
        self._begin(self._overflow.max_bytes)


_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
_opened: dict[str, Journal] = {}


def open_journal(folder: str) -> Journal:
    """The journal of a folder, or the memory journal; one object per folder and process.

    Raises:
        JournalError: the folder cannot be used as it stands.
    """
    key = folder if folder == MEMORY else str(Path(folder).expanduser().absolute())
    if key not in _opened:
        if folder == MEMORY:
            _opened[key] = Journal(MemoryFiles())
            _opened[key].bound(BOUNDS)
        else:
            _opened[key] = Journal(DiskFiles(Path(key)))
    return _opened[key]


def _after_fork_in_child() -> None:
    for journal in list(_journals):
        journal.after_fork()


def _at_exit() -> None:
    for journal in list(_journals):
        journal.end()


process.at_exit("journal", _at_exit)
process.after_fork("journal", _after_fork_in_child)
