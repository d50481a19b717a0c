"""A disk that refuses or dawdles costs the app one write: from then on lines wait here, in memory and in order.

    written ──refused, or slow──▶ in memory ──▶ a thread of ours tries each second ──▶ memory is empty ──▶ written

While a line waits, every later one does too, so that the log keeps its order. The thread ends when nothing waits, or
when nobody has the journal any more.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from threading import RLock, Thread
from typing import Any

from eventtree import diagnostics
from eventtree.journal.files import Files

PROBE_SECONDS = 1.0
"""A refusing disk is tried again after this pause."""
SLOW_SECONDS = 0.5
"""A disk whose write takes longer is left alone too."""
DRAIN_BYTES = 256 * 1024
"""Waiting bytes that are written at once."""


class Overflow:
    """The lines of one journal that wait for its disk. `lock` is the journal's own: lines come under it."""

    def __init__(self, files: Files, lock: Any, drained: Callable[[], object], max_bytes: int) -> None:
        """Hold nothing; `drained` is called when the disk is back, on an object that is not kept alive."""
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
    def is_swollen(self) -> bool:
        """Half of what may wait in memory does: the rest is for trees that have begun."""
        return self.size > self.max_bytes // 2

    def hold(self, line: bytes) -> bool:
        """Keep a line for later; False if memory is full too, and it is lost."""
        if self.size + len(line) > self.max_bytes:
            diagnostics.truncations["held_bytes"] += 1
            return False
        self._lines.append(line)
        self.size += len(line)
        if self._healer is None:
            self._healer = self.start_healer()
        return True

    def drain(self) -> bool:
        """Write what waits, until the disk refuses or dawdles; True once nothing does."""
        with self._draining:
            if self._is_draining:  # a signal handler that flushes, inside this very call
                return False
            self._is_draining = True
            try:
                is_empty = self._write_all()
            finally:
                self._is_draining = False
        # Outside both locks: the journal measures its folder, which may take as long as the disk pleases.
        done = self._drained()
        if is_empty and done is not None:
            done()
        return is_empty

    def _write_all(self) -> bool:
        while True:
            with self.lock:
                if not self._lines:
                    # Only now, under the lock, may lines go to the disk again: none can overtake another.
                    self.is_holding = False
                    self._healer = None
                    return True
                lines, log = self._first_lines(), self.log
            # Written outside the lock: the app appends meanwhile, behind these lines.
            began = time.monotonic()
            try:
                self.files.append(log, b"".join(lines))
            except OSError:
                return False
            # Removed only once written: a write that fails leaves them first in line.
            with self.lock:
                for line in lines:
                    self._lines.popleft()
                    self.size -= len(line)
            if time.monotonic() - began > SLOW_SECONDS:
                return False

    def start_healer(self) -> Thread | None:
        """Start the thread that tries again; None where there can be none: the next line tries, or the exit."""
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
    """Try again each second until nothing waits, or nobody has the journal any more."""
    diagnostics.logger.warning(
        "the journal's disk refuses or dawdles; records wait in memory and would be lost with this process"
    )
    while True:
        time.sleep(PROBE_SECONDS)
        overflow = kept()
        if overflow is None or overflow.drain():
            return
        del overflow
