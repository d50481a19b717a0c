"""Appending: one log per process, one `write` per record, rolled by size.

What must hold:
- When `append` has returned, the line is in a file (or counted as held in memory while the disk refuses).
- A process writes only to its own logs. A forked child starts a log of its own.
- A disk that refuses or dawdles costs the app one write. Then lines are held in memory, in order, and a thread of ours
  tries again each second; it ends when nothing is held.
- Logs of a newer format are neither read nor removed.
- `PROCESS.alive` stays locked while the process lives, so that others know whose open runs will never close.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import time
import weakref
from collections import deque
from pathlib import Path
from threading import Lock, Thread

from eventtree import diagnostics
from eventtree.config import BOUNDS, MEMORY, Bounds
from eventtree.journal.files import DiskFiles, Files, Held, MemoryFiles
from eventtree.journal.line import frame
from eventtree.record import LOG, VERSION, Record, encode

ROLL_BYTES = 8 * 1024 * 1024
"""A log is closed and the next begun at this size."""
SALT_BYTES = 32
HEADER_BYTES = 512
"""No log's first line is longer."""
PROBE_SECONDS = 1.0
"""How long to leave a refusing disk alone before trying again; and how often to see whether the log is still there."""
PROBE_BYTES = 64 * 1024
"""How much is recorded at most before looking whether the log is still there."""
UNSURE_RECORDS = 1000
"""How many of these are kept while the disk will not even say."""
SLOW_SECONDS = 0.5
"""A disk whose write takes longer is left alone too."""
DRAIN_BYTES = 256 * 1024
"""How much of what was held is written at once."""

LOG_NAME = re.compile(r"(.*?)(?:\.(\d+))?\.log")
"""A log: which process wrote it, and its number."""
MADE_BY = re.compile(rb'"eventtree":(\d+)')


class Journal:
    """One folder (or memory) of logs, as this process sees it. Safe for threads and forks."""

    def __init__(
        self,
        files: Files,
        *,
        roll_bytes: int = ROLL_BYTES,
        held_bytes: int = BOUNDS.held_bytes,
        max_bytes: int = BOUNDS.journal_bytes,
    ) -> None:
        """Use `files`; nothing is written before the first record."""
        self.files = files
        self.max_bytes = max_bytes
        self.full: str | None = None
        """Why no new tree is recorded, or None: the reason it is counted under."""
        self.roll_bytes = roll_bytes
        self.held_bytes = held_bytes
        self.appended = 0
        """Records appended by this process: a cheap sign of a busy app."""
        self.dropped = 0
        """Records lost because disk and memory were full."""
        self._salt: bytes | None = None
        self._newer: dict[str, bool] = {}
        self._listing: tuple[list[str], list[str]] = ([], [])
        """The files there were at the last look, and which of them are logs."""
        self._begin()
        _journals.add(self)

    def _begin(self) -> None:
        self.process = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
        self._guard = Lock()
        self._number = 0
        self.log = f"{self.process}.0000.log"
        """Name of the log being written."""
        self._seq = 0
        self._size = 0
        self._alive: Held | None = None
        self._held: deque[bytes] = deque()
        self._held_size = 0
        self._is_holding = False
        """Lines go to memory: the disk refused, or was slow."""
        self._next_look = 0.0
        self._look_size = PROBE_BYTES
        self._unsure: list[bytes] = []
        """Records since the last look whether the log is still there."""
        self._drain_guard = Lock()
        self._healer: Thread | None = None

    @property
    def held(self) -> int:
        """Bytes waiting in memory for a disk that refuses."""
        return self._held_size

    @property
    def salt(self) -> bytes:
        """The journal's own salt for fingerprints of keys; made once."""
        if self._salt is None:
            try:
                self._salt = self._kept_salt(secrets.token_bytes(SALT_BYTES))
            except OSError:
                self._salt = secrets.token_bytes(SALT_BYTES)
        return self._salt

    def _kept_salt(self, fresh: bytes) -> bytes:
        if self.files.size("salt") < SALT_BYTES:
            # Two processes may do this at once: both then take the bytes that came first.
            self.files.append("salt", fresh)
        return self.files.read("salt", 0, SALT_BYTES)

    def append(self, payload: bytes) -> None:
        """Add one record. Never raises OSError: while the disk refuses, lines are held in memory and tried again."""
        with self._guard:
            now = time.monotonic()
            if now >= self._next_look or self._size >= self._look_size:
                self._look(now)
            if not 0 < self._size < self.roll_bytes:
                self._roll()
            line = frame(self._seq, payload)
            self._seq += 1
            self.appended += 1
            self._unsure.append(payload)
            self._put(line, now)

    def bound(self, bounds: Bounds) -> None:
        """Keep to these from now on."""
        self.max_bytes = bounds.memory_bytes if isinstance(self.files, MemoryFiles) else bounds.journal_bytes
        self.held_bytes = bounds.held_bytes
        # Room is looked for whenever a log is full.
        self.roll_bytes = min(ROLL_BYTES, max(1, self.max_bytes // 64))

    def flush_held(self) -> None:
        """Try once more to bring to the disk what was held, or went to a log that somebody has deleted."""
        with self._guard:
            self._look(time.monotonic())
        if self._is_holding:
            self.drain()

    def is_alive(self, process: str) -> bool:
        """Whether the process that writes logs of that name may still write."""
        if process == self.process:
            return True
        try:
            lock = self.files.lock(f"{process}.alive")
        except OSError:
            return True
        if lock is None:
            return True
        lock.release()
        return False

    def logs(self) -> list[str]:
        """All logs of all processes, oldest first; those of one process stand together, in the order it wrote them."""
        return [name for name in self.all_logs() if not self.is_newer(name)]

    def newer_logs(self) -> list[str]:
        """Logs that a later version has written: left untouched."""
        return [name for name in self.all_logs() if self.is_newer(name)]

    def all_logs(self) -> list[str]:
        """Logs of any version, in the order of `logs`: the same list as long as there are the same files."""
        names = self.files.names()
        known, logs = self._listing
        if names is not known:
            # By number, not by text: `.10000.log` comes after `.9999.log`.
            found = filter(None, map(LOG_NAME.fullmatch, names))
            logs = [one[0] for one in sorted(found, key=lambda one: (one[1], int(one[2] or 0)))]
            self._listing = (names, logs)
        return logs

    def is_newer(self, name: str) -> bool:
        known = self._newer.get(name)
        if known is None:
            try:
                first, newline, _ = self.files.read(name, 0, HEADER_BYTES).partition(b"\n")
            except OSError:
                return False
            made_by = MADE_BY.search(first)
            known = made_by is not None and int(made_by[1]) > VERSION
            if newline or len(first) == HEADER_BYTES:
                self._newer[name] = known
        return known

    def look_for_room(self) -> None:
        """Measure all logs, and open or close the journal for new trees."""
        try:
            total = sum(self.files.size(name) for name in self.logs())
        except OSError:
            return
        over = "memory_full" if isinstance(self.files, MemoryFiles) else "journal_full"
        self.full = over if total > self.max_bytes else "memory_full" if self._is_swollen() else None

    def _is_swollen(self) -> bool:
        """Half of what may be held in memory is: the rest is for trees that have begun."""
        return self._held_size > self.held_bytes // 2

    def _roll(self) -> None:
        self.look_for_room()
        if self._alive is None:
            try:
                self._alive = self.files.lock(f"{self.process}.alive")
            except OSError:
                self._alive = None
        if self._size:
            self._number += 1
            self.log = f"{self.process}.{self._number:04d}.log"
            self._size = 0
            self._look_size = PROBE_BYTES
        header = {
            "r": LOG,
            "id": self.process,
            "tree": "",
            "eventtree": VERSION,
            "pid": os.getpid(),
            "at": time.time_ns(),
        }
        line = frame(self._seq, encode(header))
        self._seq += 1
        self._put(line, time.monotonic())

    def _look(self, now: float) -> None:
        """If somebody has deleted the log, begin another: what is written to the old one nobody would find.

        What was recorded since the last look may have gone there: it is written again.
        """
        self._next_look = now + PROBE_SECONDS
        self._look_size = self._size + PROBE_BYTES
        try:
            is_gone = self._size > 0 and not self._is_holding and self.files.size(self.log) == 0
            if is_gone:
                self.files.remove(self.log)
        except OSError:
            del self._unsure[:-UNSURE_RECORDS]
            return
        unsure, self._unsure = self._unsure, []
        if is_gone:
            self._alive = None
            self._roll()
            for payload in unsure:
                self._put(frame(self._seq, payload), now)
                self._seq += 1
            if self._salt is not None:
                self._keep_salt()

    def _keep_salt(self) -> None:
        try:
            self._kept_salt(self.salt)
        except OSError:
            return

    def _put(self, line: bytes, began: float) -> None:
        self._size += len(line)
        if self._is_holding:
            self._hold(line)
            return
        try:
            self.files.append(self.log, line)
        except OSError:
            self._is_holding = True
            self._hold(line)
        else:
            if time.monotonic() - began > SLOW_SECONDS:
                self._is_holding = True

    def _hold(self, line: bytes) -> None:
        if self._held_size + len(line) > self.held_bytes:
            self.dropped += 1
            diagnostics.truncations["held_bytes"] += 1
            return
        self._held.append(line)
        self._held_size += len(line)
        if self._is_swollen():
            self.full = "memory_full"
        if self._healer is None:
            self._start_healer()

    def _start_healer(self) -> None:
        healer = Thread(target=_heal, args=(weakref.ref(self),), name="eventtree-disk", daemon=True)
        try:
            healer.start()
        except RuntimeError:
            return  # the interpreter is ending: the last try is `_at_exit`
        self._healer = healer

    def drain(self) -> bool:
        """Write what is held, until the disk refuses or dawdles; True once nothing is."""
        with self._drain_guard:
            while True:
                with self._guard:
                    if not self._held:
                        self._is_holding = False
                        self._healer = None
                        break
                    lines = self._first_held()
                    log = self.log
                began = time.monotonic()
                try:
                    self.files.append(log, b"".join(lines))
                except OSError:
                    return False
                with self._guard:
                    for line in lines:
                        self._held.popleft()
                        self._held_size -= len(line)
                if time.monotonic() - began > SLOW_SECONDS:
                    return False
        if self._salt is not None:
            self._keep_salt()
        if self.full is not None:
            self.look_for_room()
        return True

    def _first_held(self) -> list[bytes]:
        taken, size = [], 0
        for line in self._held:
            taken.append(line)
            size += len(line)
            if size >= DRAIN_BYTES:
                break
        return taken

    @staticmethod
    def framed(entry: Record) -> bytes:
        """A line of its own for a file beside the logs."""
        return frame(0, encode(entry))

    def after_fork(self) -> None:
        """In the child: a log of its own; the parent's descriptors and lock are left to the parent."""
        self.files.forget()
        self._begin()


def _heal(kept: weakref.ref[Journal]) -> None:
    """Try again each second until nothing is held, or nobody has the journal any more."""
    said = "the journal's disk refuses or dawdles; records wait in memory and would be lost with this process"
    diagnostics.logger.warning(said)
    while True:
        time.sleep(PROBE_SECONDS)
        journal = kept()
        if journal is None or journal.drain():
            return
        del journal


def process_of(log: str) -> str:
    """The process that wrote a log of that name."""
    return log.rsplit(".", 2)[0]


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
        journal.flush_held()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
