"""Appending: one log per process, one `write` per record, rolled by size.

What must hold:
- When `append` has returned, the line is in a file (or counted as held in memory while the disk refuses).
- A process writes only to its own logs. A forked child starts a log of its own.
- `PROCESS.alive` stays locked while the process lives, so that others know whose open runs will never close.
"""

from __future__ import annotations

import os
import secrets
import time
import weakref
from collections import deque
from pathlib import Path
from threading import Lock

from eventtree.config import MEMORY
from eventtree.journal.files import DiskFiles, Files, Held, MemoryFiles
from eventtree.journal.line import frame
from eventtree.record import LOG, VERSION, encode

ROLL_BYTES = 8 * 1024 * 1024
"""A log is closed and the next begun at this size."""
SALT_BYTES = 32
MAX_BYTES = 4 * 1024 * 1024 * 1024
MEMORY_BYTES = 64 * 1024 * 1024
"""All logs together; beyond this no new tree is recorded, and what is left out is counted."""
HELD_BYTES = 64 * 1024 * 1024
"""How much may wait in memory while the disk refuses; what comes then is dropped and counted."""
PROBE_SECONDS = 1.0
"""How long to leave a refusing disk alone before trying again."""


class Journal:
    """One folder (or memory) of logs, as this process sees it. Safe for threads and forks."""

    def __init__(
        self, files: Files, *, roll_bytes: int = ROLL_BYTES, held_bytes: int = HELD_BYTES, max_bytes: int = MAX_BYTES
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
        self._next_probe = 0.0

    @property
    def held(self) -> int:
        """Bytes waiting in memory for a disk that refuses."""
        return self._held_size

    @property
    def salt(self) -> bytes:
        """The journal's own salt for fingerprints of keys; made once.

        Raises:
            OSError: it can be neither read nor made.
        """
        if self._salt is None:
            if self.files.size("salt") < SALT_BYTES:
                # Two processes may do this at once: both then take the bytes that came first.
                self.files.append("salt", secrets.token_bytes(SALT_BYTES))
            self._salt = self.files.read("salt", 0, SALT_BYTES)
        return self._salt

    def append(self, payload: bytes) -> None:
        """Add one record. Never raises OSError: while the disk refuses, lines are held in memory and tried again."""
        with self._guard:
            if self._size == 0 or self._size >= self.roll_bytes:
                self._roll()
            line = frame(self._seq, payload)
            self._seq += 1
            self.appended += 1
            self._put(line)

    def flush_held(self) -> None:
        """Try once more to bring held lines to the disk."""
        with self._guard:
            self._drain()

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
        """All logs of all processes, oldest first."""
        return [name for name in self.files.names() if name.endswith(".log")]

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
        self._put(line)

    def _put(self, line: bytes) -> None:
        self._size += len(line)
        if not self._held:
            try:
                self.files.append(self.log, line)
            except OSError:
                self._next_probe = time.monotonic() + PROBE_SECONDS
            else:
                return
        if self._held_size + len(line) > self.held_bytes:
            self.dropped += 1
            return
        self._held.append(line)
        self._held_size += len(line)
        if self._is_swollen():
            self.full = "memory_full"
        if time.monotonic() >= self._next_probe:
            self._drain()

    def _drain(self) -> None:
        while self._held:
            try:
                self.files.append(self.log, self._held[0])
            except OSError:
                self._next_probe = time.monotonic() + PROBE_SECONDS
                return
            self._held_size -= len(self._held.popleft())
        if self.full is not None:
            self.look_for_room()

    def after_fork(self) -> None:
        """In the child: a log of its own; the parent's descriptors and lock are left to the parent."""
        self.files.forget()
        self._begin()


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
            _opened[key] = Journal(MemoryFiles(), roll_bytes=MEMORY_BYTES // 64, max_bytes=MEMORY_BYTES)
        else:
            _opened[key] = Journal(DiskFiles(Path(key)))
    return _opened[key]


def _after_fork_in_child() -> None:
    for journal in list(_journals):
        journal.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
