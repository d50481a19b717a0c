"""Appending: one log per process, one `write` per record, rolled by size.

What must hold:
- When `append` has returned, the line is in a file (or waits in memory, counted, while the disk refuses). A signal
  handler or `__del__` that interrupts a write of the same thread has its line there when that write returns.
- A process writes only to its own logs. A forked child starts a log of its own.
- A disk that refuses or dawdles costs the app one write (`overflow.py`).
- Every event is counted when it is recorded, also if its line is lost; each log begins with the sums (`record.py`).
- `PROCESS.alive` stays locked while the process lives. Others see by it which open runs will never close.
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
from eventtree.journal.overflow import SLOW_SECONDS, Overflow, is_slow
from eventtree.journal.tally import Tally
from eventtree.record import Record, encode, log_line

ROLL_BYTES = 8 * 1024 * 1024
"""A log is closed and the next begun at this size."""
LOOK_SECONDS = 1.0
LOOK_BYTES = 64 * 1024
"""Seconds and bytes after which the journal checks that its log still exists."""
LARGE = 64 * 1024
"""A payload of this size is written without a copy into a line."""
UNSURE_RECORDS = 1000
"""Most lines kept for a second write while the disk cannot even answer whether the log exists."""

Entry = tuple[bytes, tuple[str, ...], int | None]
"""A record to append: its JSON, the names under which its events are counted, and their number (None: the one event of
a run's open).
"""


class Journal(Folder):
    """A folder of logs, and the one this process appends to. Safe for threads and forks."""

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
        """Why no new tree is recorded, which names its count too; None while trees are recorded."""
        self.roll_bytes = roll_bytes
        self._begin(held_bytes)
        _journals.add(self)

    def _begin(self, held_bytes: int) -> None:
        self.process = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
        self.tally = Tally()
        self.dropped = 0
        """Records lost because the disk refused and memory was full."""
        self.restarts = 0
        """How often the current log was deleted from outside."""
        self._lock = RLock()
        self._is_writing = False
        self._inner: deque[Entry] = deque()
        """Records of signal handlers that interrupted a write."""
        self._number = 0
        self.appended = 0
        """Lines appended by this process: the next line's number, and a cheap sign of a busy app."""
        self._size = self._checksum = 0
        """Of the current log, from its lines in memory."""
        self._alive: Held | None = None
        self._overflow = Overflow(self.files, self._lock, self._disk_is_back, held_bytes)
        self.log = self._overflow.log = f"{self.process}.0000.log"
        """Name of the current log."""
        self._next_look = 0.0
        self._look_size = 0
        self._unsure: list[tuple[Data, tuple[str, ...], int | None]] = []
        """Lines since the last check that the log exists."""

    @property
    def held(self) -> int:
        """Bytes waiting in memory for a disk that refuses."""
        return self._overflow.size

    def append(self, payload: bytes, counted: tuple[str, ...] = (), events: int | None = None) -> None:
        """Append one record, and count its `events` for the names in `counted` (None: one run opens).

        Never raises OSError: while the disk refuses, or the app's stack is full, lines wait in memory for another try.
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
                # First make sure there is a log, then write the line, then remember it: if the log is deleted
                # meanwhile, the next look writes the line again.
                if now >= self._next_look or self._size >= self._look_size:
                    self._look(now)
                    # The new log's first line, and lines to write again, come first.
                    self._inner.append((payload, counted, events))
                    payload, counted, events = self._inner.popleft()
                while True:
                    # Count before writing: a lost line is then reported as lost, not as never recorded.
                    if counted:
                        if events is None:
                            opened = self.tally.opened
                            opened[counted] = opened.get(counted, 0) + 1
                        else:
                            self.tally.added[counted] += events
                    # The line of `line.frame` and its share of `line.checksum`, without two calls.
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
                            # The write was slow for its size: the app's thread must not wait for the next one.
                            took = monotonic() - now
                            if took > SLOW_SECONDS and is_slow(took, len(payload)):
                                overflow.is_holding = True
                        else:
                            self._hold(line, counted, events)
                    except (OSError, RecursionError):
                        overflow.is_holding = True
                        self._hold(line, counted, events)
                    # The line, not the payload: an encoder's bytes may keep many times their size alive.
                    self._unsure.append((line, counted, events))
                    if not self._inner:
                        break
                    payload, counted, events = self._inner.popleft()
                    now = monotonic()
            finally:
                self._is_writing = False
            # Checked after the flag is down: from here on an interrupting record writes itself.
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
        """Apply new bounds."""
        self.max_bytes = bounds.memory_bytes if isinstance(self.files, MemoryFiles) else bounds.journal_bytes
        self._overflow.max_bytes = bounds.held_bytes
        # The journal measures its size whenever a log is full.
        self.roll_bytes = min(ROLL_BYTES, max(1, self.max_bytes // 64))

    def flush_held(self) -> None:
        """Retry lines that wait in memory, or that went to a deleted log."""
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
        """Write the log's last line, with the number of events recorded: the process ends in good order."""
        self.flush_held()
        with self._lock:
            if self._size:
                # No look in between: the line states this log's length.
                self._next_look, self._look_size = math.inf, self._size + 1
                self.append(encode(self.sums(end=True)), (), 0)
                self._next_look = 0.0

    def close(self) -> None:
        """End the journal and release its descriptors and lock: a process of many tests has many journals."""
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
        """The sums of this process so far, as a log's first line or (with `end`) its last one."""
        with self._lock:
            tally, whole, now = self.tally, (self._size, self._checksum), time.time_ns()
            recorded, lost = tally.totals, dict(tally.lost)
            return log_line(self.process, os.getpid(), now, recorded, lost, tally.events, whole, end=end)

    def _roll(self) -> None:
        """Begin the next log: the next line written is its first."""
        self.look_for_room()
        # The lock before the first line: a reader takes the writer of a log without a lock for dead.
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
        """Begin a log before a line, if there is none, or the last is full or was deleted.

        Lines since the last look may have gone to the deleted log, so they are written again.
        """
        self._next_look, self._look_size = now + LOOK_SECONDS, 0
        try:
            # The deletion first: a deleted log is not full, and its lines have to be written again.
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
            # Deleted events belong to no sum any more: counting starts again here.
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
        """Begin the child's own log; the parent keeps its descriptors and lock."""
        # The child closes its copies of the descriptors; the parent's keep its locks.
        self.files.forget()
        self._begin(self._overflow.max_bytes)


_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
_opened: dict[str, Journal] = {}


def open_journal(folder: str) -> Journal:
    """The journal of a folder, or the memory journal; one object per folder and process.

    Raises:
        JournalError: the folder cannot be used.
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
