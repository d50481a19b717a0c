"""What a collector does with chunks: the one rule by which its logs are, byte for byte, what processes elsewhere wrote.

    chunk.offset == size    append, sync, acknowledge
    chunk.offset <  size    it is there: acknowledge
    chunk.offset >  size    a hole: ask for the log again from `size`, and let the chunk come again

So a chunk that comes twice, late or out of order does no harm. A hole that nobody fills for a minute becomes one
damaged line, so that all behind it keeps its place: what it held is counted as lost by the gap in the lines' numbers.

A process that was not heard of for a minute, with nothing waiting to be read, is taken for dead: its open runs arrive
as `incomplete`, and the report counts it as vanished. What comes after all is late.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from typing import NamedTuple

import pydantic_core

from eventtree import diagnostics
from eventtree.journal.files import DiskFiles
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.relayed import ended, vanished
from eventtree.record import encode
from eventtree.relay.port import Chunk

SILENCE_SECONDS = 60.0
LOG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}(\.\d{1,8}){1,2}\.log")
"""A log that may be written; whatever else a message names is refused."""
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
REMOVED = 1 << 62
"""Size of a log that is gone, while later ones of its process are there: whatever it held was here."""


class Outcome(NamedTuple):
    """What becomes of a message."""

    is_taken: bool
    log: str = ""
    size: int | None = None
    """How long the log is now; None for a message that cannot be read."""


class Writer:
    """Writes into a collector's folder, which nobody else writes logs into."""

    def __init__(self, journal: Journal, files: DiskFiles, silence: float) -> None:
        """Nobody was heard of yet."""
        self.journal = journal
        self.files = files
        self.silence = silence
        self._holes: dict[str, float] = {}
        """Log with a hole → when it was seen first."""
        self._heard: dict[str, float] = {}
        """Process → when it was heard of last, as far as it lives."""
        self._left: dict[str, int] = {}
        """Process → what its relay had yet to send."""

    def write(self, messages: Iterable[bytes]) -> list[Outcome]:
        """Write what messages hold, and sync it.

        Raises:
            OSError: the disk refuses some of it.
        """
        unsynced: dict[str, int] = {}
        try:
            outcomes = [self._outcome(message, unsynced) for message in messages]
            for fd in unsynced.values():
                os.fsync(fd)
            return outcomes
        finally:
            for fd in unsynced.values():
                os.close(fd)

    def _outcome(self, message: bytes, unsynced: dict[str, int]) -> Outcome:
        try:
            log, offset, data, has_ended, left = Chunk.unpack(message)
            if not LOG.fullmatch(log):
                raise ValueError("no log of ours")
        except ValueError as error:
            # It would come again as it is. What it held is missed with the next chunk of its log, and asked for.
            diagnostics.failed("collecting", error)
            return Outcome(is_taken=True)
        size, end = self._size(log), offset + len(data)
        if data and end <= size:
            return Outcome(True, log, size)
        if offset > size:
            if time.monotonic() - self._holes.setdefault(log, time.monotonic()) <= self.silence:
                return Outcome(False, log, size)
            self._put(log, offset - 1, b"\n", unsynced)  # nobody has its bytes any more
        if data:
            self._put(log, offset, data, unsynced)
            self._left[process_of(log)] = left
        self._holes.pop(log, None)
        self._hear(process_of(log), has_ended)
        return Outcome(True, log, max(size, end))

    def _size(self, log: str) -> int:
        """How long a log is; of one that was removed, settled and old, how long it was."""
        size = self.files.size(log)
        if size:
            return size
        process = process_of(log)
        logs = [name for name in self.journal.all_logs() if process_of(name) == process]
        if logs and _number(logs[-1]) > _number(log):
            return REMOVED
        try:
            return int(pydantic_core.from_json(self.files.read(ended(process), 0) or b"{}").get(log, 0))
        except (ValueError, TypeError, AttributeError):
            return 0  # the file is damaged

    def _put(self, log: str, offset: int, data: bytes, unsynced: dict[str, int]) -> None:
        """Write at an offset, all of it or nothing; a new log is synced with its folder."""
        if log not in unsynced:
            if not self.files.size(log) and "" not in unsynced:
                unsynced[""] = os.open(self.files.folder, os.O_RDONLY | os.O_CLOEXEC)
            unsynced[log] = os.open(self.files.folder / log, FLAGS, 0o600)
        left, at = memoryview(data), offset
        try:
            while left:
                written = os.pwrite(unsynced[log], left, at)
                left, at = left[written:], at + written
        except OSError:
            os.ftruncate(unsynced[log], offset)
            raise

    # -- who still writes --------------------------------------------------------------------------------------------

    def _hear(self, process: str, has_ended: bool) -> None:
        """It writes; if it was taken for dead, it is not any more. Or it writes no more."""
        if not has_ended:
            self._heard[process] = time.monotonic()
            for said in (ended(process), vanished(process)):
                self.files.remove(said)
        elif not self.files.size(ended(process)):
            self._end(process)

    def _end(self, process: str) -> None:
        """The sizes of its logs are kept: they may be removed, and a chunk of them come again."""
        self._heard.pop(process, None)
        self._left.pop(process, None)
        sizes = {log: self.files.size(log) for log in self.journal.all_logs() if process_of(log) == process}
        self.files.replace(ended(process), encode(sizes))

    def begin(self, partition: int) -> None:
        """From now on the processes of a partition have to be heard of, as far as they have not ended."""
        for process in set(map(process_of, self.journal.all_logs())):
            if _home_of(process) == partition and not self.files.size(ended(process)):
                self._heard[process] = time.monotonic()

    def end_silent(self, partition: int) -> None:
        """End the processes of a partition that were not heard of for too long, while nothing waits to be read."""
        now = time.monotonic()
        for process, at in list(self._heard.items()):
            if now - at > self.silence and _home_of(process) == partition:
                self.files.replace(vanished(process), b"%d\n" % self._left.get(process, 0))
                self._end(process)


def _number(log: str) -> int:
    return int(log.rsplit(".", 2)[1])


def _home_of(process: str) -> int:
    """The partition whose collector hears of a process (see `split.py`)."""
    return int(process.rpartition(".")[2]) if "." in process else 0
