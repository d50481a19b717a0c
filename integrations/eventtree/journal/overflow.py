"""When the disk refuses a write or is slow, later lines wait here, in memory, so that the app is held up only once.

    written ──refused, or slow──▶ in memory ──▶ a thread tries again each second ──▶ memory is empty ──▶ written

While one line waits, all later ones do too, so that the log keeps its order. The thread ends when no line waits, or
when the journal is no longer used.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from collections.abc import Callable
from threading import RLock, Thread
from typing import Any

from eventtree import diagnostics
from eventtree.journal.files import Files

DRAIN_BYTES = 256 * 1024
"""Bytes of waiting lines that are written at once."""
PROBE_SECONDS = 1.0
"""Pause before the disk is tried again."""
SLOW_SECONDS = 0.5
SLOW_BYTES = 8 * 1024 * 1024
"""A write that takes longer, and passes fewer bytes a second, counts as refused."""


def is_slow(seconds: float, size: int) -> bool:
    """Whether the disk was slow to write so many bytes."""
    return seconds > SLOW_SECONDS and seconds * SLOW_BYTES > size


class Overflow:
    """The lines of one journal that wait for its disk. `lock` is the journal's: it appends lines while holding it."""

    def __init__(self, files: Files, lock: Any, drained: Callable[[], object], max_bytes: int) -> None:
        """Start empty. `drained` is called when lines have been written; its object is referenced weakly."""
        self.files = files
        self.lock = lock
        self.max_bytes = max_bytes
        self.log = ""
        """The log that is being written."""
        self.is_holding = False
        self.size = 0
        self._lines: deque[bytes] = deque()
        self._drained = weakref.WeakMethod(drained)
        self._draining = RLock()
        self._is_draining = False
        self._healer: Thread | None = None

    @property
    def is_half_full(self) -> bool:
        """Whether half of the memory is used. The other half is for trees that have begun."""
        return self.size > self.max_bytes // 2

    def hold(self, line: bytes) -> bool:
        """Keep a line for later; False if the memory is full too, and the line is lost."""
        if self.size + len(line) > self.max_bytes:
            diagnostics.truncations["held_bytes"] += 1
            return False
        self._lines.append(line)
        self.size += len(line)
        if self._healer is None:
            self._healer = self.start_healer()
        return True

    def drain(self) -> bool:
        """Write the waiting lines until the disk refuses or is slow; True if none is left."""
        with self._draining:
            if self._is_draining:  # a signal handler that flushes has interrupted this very call
                return False
            self._is_draining = True
            try:
                is_empty = self._write_all()
            finally:
                self._is_draining = False
        # Outside both locks: `drained` measures the journal's folder, which a slow disk may delay.
        done = self._drained()
        if is_empty and done is not None:
            done()
        return is_empty

    def _write_all(self) -> bool:
        while True:
            with self.lock:
                if not self._lines:
                    # The journal writes to the disk again only from here, under its lock: no line overtakes another.
                    self.is_holding = False
                    self._healer = None
                    return True
                lines, log = self._first_lines(), self.log
            # Outside the lock, so that the app can append meanwhile; its lines wait behind these.
            began = time.monotonic()
            try:
                self.files.append(log, b"".join(lines))
            except OSError:
                return False
            # Removed only after the write: if it fails, these lines stay the first.
            with self.lock:
                for line in lines:
                    self._lines.popleft()
                    self.size -= len(line)
            if is_slow(time.monotonic() - began, sum(map(len, lines))):
                return False

    def start_healer(self) -> Thread | None:
        """Start the thread that tries again. None if the system refuses one: then the next line, or the exit, tries."""
        if sys.is_finalizing():
            return None  # its start would be waited for, and it never runs
        healer = Thread(target=_heal, args=(weakref.ref(self),), name="eventtree-disk", daemon=True)
        try:
            healer.start()
        except RuntimeError:  # the system has no thread left, or the interpreter is ending
            return None
        return healer

    def _first_lines(self) -> list[bytes]:
        taken, size = [], 0
        for line in self._lines:
            taken.append(line)
            size += len(line)
            if size >= DRAIN_BYTES:
                break
        return taken


def _heal(kept: weakref.ref[Overflow]) -> None:
    """Try again each second until no line waits, or the journal is no longer used."""
    diagnostics.logger.warning(
        "the journal's disk refuses or dawdles, or the app's stack is full: records wait in memory, and would be lost"
        " with this process"
    )
    while True:
        time.sleep(PROBE_SECONDS)
        overflow = kept()
        if overflow is None or overflow.drain():
            return
        del overflow
