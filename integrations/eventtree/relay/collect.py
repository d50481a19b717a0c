"""The collector: writes what relays send into its own journal, which is shipped, shown and reported on as any other.

By one rule its logs are, byte for byte, what processes elsewhere wrote, whatever comes twice, late or out of order:

    chunk.offset == size    append, sync, acknowledge
    chunk.offset <  size    it is there: acknowledge
    chunk.offset >  size    a hole: ask for the log again from `size`, and let the chunk come again

A hole that nobody fills for a minute becomes one damaged line, so that all behind it keeps its place: what it held is
counted as lost by the gap in the lines' numbers. A process that was not heard of for a minute, with nothing waiting to
be read, is taken for dead: its open runs arrive as `incomplete`, the report counts it as vanished; what comes after all
is late.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Iterable
from typing import Any

import pydantic_core

from eventtree import diagnostics
from eventtree.config import Settings
from eventtree.delivery.shipper import Shipper
from eventtree.errors import ConfigError, JournalError
from eventtree.journal.counts import cursor_keys
from eventtree.journal.files import DiskFiles
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.relayed import ENDED, SIZES, TAKERS, VANISHED, is_collected
from eventtree.record import BY_NAME, encode
from eventtree.relay.port import AwayError, Chunk, Port, pause_after
from eventtree.relay.settings import Target
from eventtree.vendors import Vendor

STANDBY_SECONDS = 1.0
"""A collector that stands by asks for the lease this often."""
ASK_SECONDS = 2.0
"""A hole is asked for again this often."""
SILENCE_SECONDS = 60.0
FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class Collector:
    """Collects into one journal, and ships it."""

    def __init__(
        self, journal: Journal, vendors: Iterable[Vendor], settings: Settings, *, silence: float = SILENCE_SECONDS
    ) -> None:
        """Mark the folder as a collector's: from here on vendors go by their names in it.

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
        self._asked: dict[str, float] = {}
        """Log → when it was asked for again last."""

    async def run(self, target: Target, *, partitions: int | None, take: Collection[int] | None = None) -> None:
        """Collect until cancelled, over one connection after the other.

        Raises:
            ConfigError, RefusedError: the engine does not take us as we are.
        """
        failures = 0
        try:
            while True:
                try:
                    async with target.connection(serves=True).opened(partitions) as port, asyncio.TaskGroup() as tasks:
                        failures = 0
                        mine = [number for number in range(port.partitions) if take is None or number in take]
                        if not mine:
                            problem = f"none of them is among the {port.partitions} there are, counted from 0"
                            raise ConfigError("--take", problem, "Take some of these")
                        for partition in mine:
                            tasks.create_task(self._collect(port, partition))
                except AwayError as away:
                    if not failures:
                        diagnostics.logger.warning("nothing comes from %s: %s", target.url, away)
                failures += 1
                await asyncio.sleep(pause_after(failures))
        finally:
            self.shipper.stop(2.0)

    async def _collect(self, port: Port, partition: int) -> None:
        """Take the partition's lease, or stand by for it; then write what comes, and renew it before each batch."""
        while True:
            if await port.lease(partition):
                # Nobody is taken for dead before there was time to hear of it; only then may trees be shipped.
                self.writer.begin(partition, port.partitions)
                if self.vendors:
                    self.shipper.serve(self.vendors, self.settings)
                while await port.lease(partition):
                    if batch := await port.receive(partition):
                        await self._take(port, batch)
                    else:
                        self.writer.end_silent(partition, port.partitions)
            await asyncio.sleep(STANDBY_SECONDS)

    async def _take(self, port: Port, batch: list[tuple[bytes, Any]]) -> None:
        """Write a batch, sync it, and only then acknowledge it; ask for what is missing."""
        try:
            outcomes = await asyncio.to_thread(self.writer.write, [message for message, _ in batch])
        except OSError as error:
            # The disk refuses: nothing is acknowledged, so that the engine keeps it and relays wait.
            diagnostics.failed("collecting", error)
            outcomes = [(False, "", None)] * len(batch)
            await asyncio.sleep(STANDBY_SECONDS)
        for (_, mark), (is_taken, log, size) in zip(batch, outcomes, strict=True):
            now = time.monotonic()
            if not is_taken and size is not None and now - self._asked.get(log, float("-inf")) >= ASK_SECONDS:
                self._asked[log] = now
                await port.ask(log, size)
            await port.answer(mark, is_taken, size)


Outcome = tuple[bool, str, int | None]
"""What becomes of a message: whether it need not come again, its log, and how long that is now; None: it can't be read.
"""


class Writer:
    """Writes into a collector's folder, which nobody else writes logs into."""

    def __init__(self, journal: Journal, files: DiskFiles, silence: float) -> None:
        """Nobody was heard of yet."""
        self.journal, self.files, self.silence = journal, files, silence
        self._holes: dict[str, float] = {}
        """Log with a hole → when it was seen first."""
        self._heard: dict[str, float] = {}
        """Process that lives → when it was heard of last."""
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
        except ValueError as error:
            # It would come again as it is. What it held is missed with the next chunk of its log, and asked for.
            diagnostics.failed("collecting", error)
            return True, "", None
        process, size, end, now = process_of(log), self._size(log), offset + len(data), time.monotonic()
        if data and end <= size:
            return True, log, size
        if offset > size:
            if now - self._holes.setdefault(log, now) <= self.silence:
                return False, log, size
            self._put(log, offset - 1, b"\n", unsynced)  # nobody has its bytes any more
        if data:
            there = max(0, size - offset)  # that stays as it is: its contents may have been cleared
            self._put(log, offset + there, data[there:], unsynced)
            self._left[process] = left
        self._holes.pop(log, None)
        if not has_ended:  # it writes; if it was taken for dead, it is not any more
            self._heard[process] = now
            for said in (ENDED, VANISHED):
                self.files.remove(process + said)
        elif not self.files.size(process + ENDED):
            self._end(process)
        return True, log, max(size, end)

    def _size(self, log: str) -> int:
        """How long a log is; of one that was removed, settled and old, how long it was."""
        return self.files.size(log) or self._sizes(process_of(log)).get(log, 0)

    def _sizes(self, process: str) -> dict[str, int]:
        try:
            found = pydantic_core.from_json(self.files.read(process + SIZES, 0) or b"{}")
            return {log: int(size) for log, size in found.items()}
        except (ValueError, TypeError, AttributeError):
            return {}  # the file is damaged

    def _keep_sizes(self, process: str) -> None:
        """Keep how long the logs of a process are: they may be removed, and a chunk of them come again."""
        logs = [log for log in self.journal.all_logs() if process_of(log) == process]
        if logs:
            sizes = self._sizes(process) | {log: self.files.size(log) for log in logs}
            self.files.replace(process + SIZES, encode(sizes))

    def _put(self, log: str, offset: int, data: bytes, unsynced: dict[str, int]) -> None:
        """Write at an offset, all of it or nothing; a new log is synced with its folder."""
        if log not in unsynced:
            if not self.files.size(log):
                self._keep_sizes(process_of(log))
                if "" not in unsynced:
                    unsynced[""] = os.open(self.files.folder, os.O_RDONLY)
            unsynced[log] = os.open(self.files.folder / log, FLAGS, 0o600)
        if os.pwrite(unsynced[log], data, offset) < len(data):
            os.ftruncate(unsynced[log], offset)
            raise OSError(28, "short write", log)

    def _end(self, process: str) -> None:
        """It writes no more."""
        self._keep_sizes(process)
        self.files.replace(process + ENDED, b"1\n")
        self._heard.pop(process, None)
        self._left.pop(process, None)

    def begin(self, partition: int, partitions: int) -> None:
        """From now on the processes of a partition have to be heard of, as far as they have not ended."""
        for process in set(map(process_of, self.journal.all_logs())):
            if _part_of(process) % partitions == partition and not self.files.size(process + ENDED):
                self._heard[process] = time.monotonic()

    def end_silent(self, partition: int, partitions: int) -> None:
        """End the processes of a partition that were not heard of for too long, while nothing waits to be read."""
        now = time.monotonic()
        for process, at in list(self._heard.items()):
            if now - at > self.silence and _part_of(process) % partitions == partition:
                try:
                    self.files.replace(process + VANISHED, b"%d\n" % self._left.get(process, 0))
                    self._end(process)
                except OSError as error:  # the disk refuses: at a later look
                    diagnostics.failed("collecting", error)


def _part_of(process: str) -> int:
    """Which part of a process's logs go by that name (`replicate.py`): so its partition hears of it."""
    return int(process.rpartition(".")[2]) if "." in process else 0
