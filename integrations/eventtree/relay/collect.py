"""The collector: writes the chunks of relays into its own journal, which is shipped, shown and reported like any other.

By one rule its logs equal the original ones byte for byte, even if chunks come twice, late or out of order:

    chunk.offset == size    append, sync, acknowledge
    chunk.offset <  size    already there: acknowledge
    chunk.offset >  size    a hole: ask for the log again from `size`, and do not acknowledge the chunk

A log begins only when the one before it is whole, because a reader of a process's logs never goes back.
A hole that gets no bytes for a minute becomes one damaged line, so that all lines behind it keep their places: the gap
in the lines' numbers counts its records as lost. A process that is silent for a minute, with no chunk waiting to be
read, is taken for dead: its open runs become `incomplete`, and the report counts it as vanished. Records that still
arrive later are late.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Iterable
from typing import Any

from eventtree import diagnostics
from eventtree.config import Settings
from eventtree.delivery.shipper import Shipper
from eventtree.errors import ConfigError, JournalError
from eventtree.journal.counts import cursor_keys
from eventtree.journal.files import DiskFiles
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.relayed import ENDED, TAKERS, is_collected, removed_size
from eventtree.record import BY_NAME
from eventtree.relay.port import AwayError, Chunk, Port, pause_after, port_at
from eventtree.vendors import Vendor

STANDBY_SECONDS = 1.0
"""A standby collector asks for the lease this often."""
LEARN_SECONDS = 5.0
"""A collector looks this often for partitions that another has added."""
ASK_SECONDS, ASK_LONGEST = 2.0, 30.0
"""A log is asked for again after this time, then after longer ones: the answer may wait behind many chunks."""
STOP_SECONDS = 10.0
"""A collector that stops waits this long for vendors' answers; Kubernetes waits for 30 seconds."""


class Collector:
    """Collects into one journal, and ships it."""

    def __init__(
        self, journal: Journal, vendors: Iterable[Vendor], settings: Settings, *, silence: float = 60.0
    ) -> None:
        """Mark the folder as a collector's: from now on, vendors are known by their names in it.

        Raises:
            JournalError: the folder's own processes deliver from it, or it is in memory.
        """
        files = journal.files
        if not isinstance(files, DiskFiles):
            raise JournalError("a collector's journal is a folder. Name one: --journal DIR")
        if not is_collected(files) and any(key != BY_NAME for _, key in cursor_keys(journal)):
            raise JournalError(f"journal {files.folder}: it delivers for itself. Name another: --journal DIR")
        self.vendors, self.settings = tuple(vendors), settings
        files.replace(TAKERS, "".join(f"{one.name}\n" for one in self.vendors).encode() or b"\n")
        self.shipper, self.writer = Shipper(journal), Writer(journal, files, silence)
        self._asked: dict[str, tuple[float, float]] = {}
        """Log → when it was last asked for again, and the pause before the next time."""
        self._failures = 0
        """Failed connections in a row."""

    async def run(self, url: str, *, partitions: int | None = None, take: Collection[int] | None = None) -> None:
        """Collect until cancelled, over one connection after another.

        Raises:
            ConfigError, RefusedError: the engine does not take us as we are.
        """
        try:
            while True:
                try:
                    # A task that has no group behind it: only there does a cancellation stay known (`_go_on`).
                    await asyncio.create_task(self._connected(url, partitions, take))
                except AwayError as away:
                    if not self._failures:
                        diagnostics.logger.warning("nothing comes from %s: %s", url, away)
                self._failures += 1
                await asyncio.sleep(pause_after(self._failures))
        finally:
            self.shipper.stop(STOP_SECONDS)

    async def _connected(self, url: str, partitions: int | None, take: Collection[int] | None) -> None:
        """Collect over one connection until it breaks, from each partition, also from new ones."""
        async with port_at(url, serves=True).opened(partitions) as port, asyncio.TaskGroup() as tasks:
            self._failures, known = 0, set[int]()
            while True:
                _go_on()
                mine = {number for number in range(port.most) if take is None or number in take}
                if not mine:
                    problem = f"none of them is among the {port.most} there are, counted from 0"
                    raise ConfigError("--take", problem, "Take some of these")
                for partition in mine - known:
                    tasks.create_task(self._collect(port, partition))
                known |= mine
                await asyncio.sleep(LEARN_SECONDS)
                await port.learn()

    async def _collect(self, port: Port, partition: int) -> None:
        """Take the partition's lease, or wait for it; then write chunks, and renew the lease before each batch."""
        while True:
            if await port.lease(partition):
                # The order matters: first every process gets time to report; only then may trees be shipped.
                self.writer.begin(port, partition)
                if self.vendors:
                    self.shipper.serve(self.vendors, self.settings)
                while await port.lease(partition):
                    _go_on()
                    if batch := await port.receive(partition):
                        await self._take(port, batch)
                    else:
                        self.writer.end_silent(port, partition)
            await asyncio.sleep(STANDBY_SECONDS)

    async def _take(self, port: Port, batch: list[tuple[bytes, Any]]) -> None:
        """Write a batch, sync it, and only then acknowledge it; ask for missing bytes."""
        try:
            outcomes = await asyncio.to_thread(self.writer.write, [message for message, _ in batch])
        except OSError as error:
            # The disk refuses: nothing is acknowledged, so that the engine keeps it and relays wait.
            diagnostics.failed("collecting", error)
            outcomes = [(False, "", None)] * len(batch)
            await asyncio.sleep(STANDBY_SECONDS)
        for (_, mark), (is_taken, log, size) in zip(batch, outcomes, strict=True):
            if not is_taken and size is not None and self._is_due(log):
                await port.ask(log, size)
            await port.answer(mark, is_taken, log, size)

    def _is_due(self, log: str) -> bool:
        """Whether a log is asked for again now: first at once, then after longer and longer pauses."""
        now, (at, pause) = time.monotonic(), self._asked.get(log, (float("-inf"), 0.0))
        if is_due := now - at >= pause:
            self._asked[log] = now, min(max(ASK_SECONDS, 2 * pause), ASK_LONGEST)
        return is_due


def _go_on() -> None:
    """Raise a cancellation that a client has swallowed: `wait_for` of Python 3.11 loses one that meets an answer."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


Outcome = tuple[bool, str, int | None]
"""Of a written message: whether it need not come again; its log, or the one that lacks bytes before it; and the length
of that log now (None: the message can't be read).
"""


class Writer:
    """Writes into a collector's folder; nothing else writes logs there."""

    def __init__(self, journal: Journal, files: DiskFiles, silence: float) -> None:
        """Begin without any process."""
        self.journal, self.files, self.silence = journal, files, silence
        self._holes: dict[tuple[str, int], float] = {}
        """Log that lacks bytes, and its size → since when. While it grows, the missing bytes are on their way."""
        self._living: dict[str, tuple[float, int]] = {}
        """Living process → the time of its last chunk, and the bytes that its relay had left to send."""

    def write(self, messages: Iterable[bytes]) -> list[Outcome]:
        """Write the chunks of messages, and sync them.

        Raises:
            OSError: the disk refuses some bytes.
        """
        unsynced = {"": os.open(self.files.folder, os.O_RDONLY)}  # for the names of new logs
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
            log, offset, data, has_ended, left, before = Chunk.unpack(message)
        except ValueError as error:
            # It would come again as it is. What it held is missed with the next chunk of its log, and asked for.
            diagnostics.failed("collecting", error)
            return True, "", None
        process, end, now = process_of(log), offset + len(data), time.monotonic()
        size = self._length(log)
        there = max(0, min(end, size) - offset)  # it stays as it is: its contents may have been cleared
        if there and b"\0" in self.files.read(log, offset, there):
            there = 0  # a power cut has left the length of what was not synced, without the bytes
        if data and there == len(data):
            if self.files.size(log):
                self._open(log, unsynced)  # whoever wrote it may not have come to sync it
            return True, log, size
        lacking = (log, size) if offset > size else None
        if before and not size and (known := self._length(before[0])) < before[1]:
            lacking = before[0], known
        if lacking and now - self._holes.setdefault(lacking, now) <= self.silence:
            return False, *lacking
        if offset > size:
            self._put(log, offset - 1, b"\n", unsynced)  # nobody has its bytes any more
        if before and before[0] in unsynced:
            os.fsync(unsynced[before[0]])  # a power cut, too, leaves no later log behind one that is cut
        if data:
            self._put(log, offset + there, data[there:], unsynced)
        self._holes.pop((log, size), None)
        if not has_ended:  # it writes; if it was taken for dead, it is not any more
            self._living[process] = now, left
            self.files.remove(process + ENDED)
        elif not self.files.size(process + ENDED):
            self._end(process)
        return True, log, max(size, end)

    def _length(self, log: str) -> int:
        return self.files.size(log) or removed_size(self.files, log)

    def _put(self, log: str, offset: int, data: bytes, unsynced: dict[str, int]) -> None:
        """Write at an offset, to be synced. Bytes that a full disk still took are there next time."""
        if os.pwrite(self._open(log, unsynced), data, offset) < len(data):
            raise OSError(28, "short write", log)

    def _open(self, log: str, unsynced: dict[str, int]) -> int:
        if log not in unsynced:
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            unsynced[log] = os.open(self.files.folder / log, flags, 0o600)
        return unsynced[log]

    def _end(self, process: str, left: int | str = "") -> None:
        """Mark a process as ended, with the bytes its relay had `left` to send if it fell silent."""
        self.files.replace(process + ENDED, f"{left}\n".encode())
        self._living.pop(process, None)

    def begin(self, port: Port, partition: int) -> None:
        """Expect chunks from now on of all processes of a partition that have not ended."""
        for process in set(map(process_of, self.journal.all_logs())):
            if port.partition_of(process) == partition and not self.files.size(process + ENDED):
                self._living[process] = time.monotonic(), 0

    def end_silent(self, port: Port, partition: int) -> None:
        """End the processes of a partition that were silent for too long, while no chunk waits to be read."""
        now = time.monotonic()
        for process, (at, left) in list(self._living.items()):
            if now - at > self.silence and port.partition_of(process) == partition:
                try:
                    self._end(process, left)
                except OSError as error:  # the disk refuses: at a later look
                    diagnostics.failed("collecting", error)
