"""The collector: writes what relays send into its own journal, which is shipped, shown and reported on as any other.

    chunk.offset == size    append, sync, acknowledge
    chunk.offset <  size    it is there: acknowledge
    chunk.offset >  size    a hole: ask for the log again from `size`, and let the chunk come again

So a chunk that comes twice, late or out of order does no harm, and every log is, byte for byte, what its process wrote.
A hole that nobody fills for a minute is filled with one damaged line, so that all behind it keeps its place: what it
held is counted as lost by the gap in the numbers of the lines.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby

import pydantic_core

from eventtree import diagnostics
from eventtree.config import Settings
from eventtree.delivery.shipper import Shipper
from eventtree.errors import JournalError
from eventtree.journal.counts import cursor_keys
from eventtree.journal.files import DiskFiles
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.relayed import TAKERS, ended, is_collected
from eventtree.record import BY_NAME
from eventtree.relay.ends import SILENCE_SECONDS, Heard, home_of
from eventtree.relay.port import AwayError, Chunk, Delivery, Mark, Port, unpack
from eventtree.relay.settings import Target
from eventtree.vendors import Vendor

LOG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}(\.\d{1,8}){1,2}\.log")
"""A log that may be written; whatever else a message names is refused."""
FILES = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
AGAIN_SECONDS, LONGEST_SECONDS = 0.2, 5.0
STANDBY_SECONDS = 1.0
"""A collector that stands by asks for the lease this often."""
RENEW_SECONDS = 2.0
ASK_SECONDS = 2.0
"""A hole is asked for again this often."""


@dataclass(slots=True)
class Outcome:
    """What becomes of a message."""

    is_taken: bool
    size: int | None = None
    """How long its log is now; None for a message that cannot be read."""
    hole: tuple[str, int] | None = None
    """A log, and from where its bytes are wanted again."""


class Collector:
    """Collects into one journal, and ships it."""

    def __init__(
        self, journal: Journal, vendors: Iterable[Vendor], settings: Settings, *, silence: float = SILENCE_SECONDS
    ) -> None:
        """Mark the folder as a collector's: from here on vendors go by their names in it.

        Raises:
            JournalError: the folder's own processes deliver from it, or it is in memory.
        """
        if not isinstance(journal.files, DiskFiles):
            raise JournalError("a collector's journal is a folder. Name one: --journal DIR")
        if not is_collected(journal.files) and any(key != BY_NAME for _, key in cursor_keys(journal)):
            raise JournalError(f"journal {journal.files.folder}: it delivers for itself. Name another: --journal DIR")
        self.journal = journal
        self.files = journal.files
        self.vendors = tuple(vendors)
        self.settings = settings
        self.silence = silence
        self.files.replace(TAKERS, "".join(f"{one.name}\n" for one in self.vendors).encode() or b"\n")
        self.shipper = Shipper(journal)
        self.heard = Heard(self.files, silence)
        self._holes: dict[str, tuple[float, float]] = {}
        """Log with a hole → when it was seen first, and asked for last."""

    async def run(self, target: Target, *, partitions: int | None, take: Collection[int] | None = None) -> None:
        """Collect until cancelled, over one connection after the other.

        Raises:
            ConfigError, RefusedError: the engine does not take us as we are.
        """
        pause = AGAIN_SECONDS
        try:
            while True:
                port = target.connection(serves=True)
                try:
                    await port.open(partitions)
                    pause = AGAIN_SECONDS
                    mine = [one for one in range(port.partitions) if take is None or one in take]
                    async with asyncio.TaskGroup() as tasks:
                        for partition in mine:
                            tasks.create_task(self._collect(port, partition))
                except* AwayError as away:
                    diagnostics.logger.warning("the collector's engine is away: %s", away.exceptions[0])
                finally:
                    await port.close()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_SECONDS)
        finally:
            self.shipper.stop(2.0)

    async def _collect(self, port: Port, partition: int) -> None:
        """Take the partition's lease, or stand by for it; then write what comes."""
        renewed = float("-inf")
        has_lease = False
        while True:
            if time.monotonic() - renewed >= RENEW_SECONDS:
                had, has_lease, renewed = has_lease, await port.lease(partition), time.monotonic()
                if has_lease and not had:
                    self._begin(partition)
            if not has_lease:
                await asyncio.sleep(STANDBY_SECONDS)
                renewed = float("-inf")
                continue
            batch = await port.receive(partition)
            if batch:
                await self._take(port, batch)
            else:
                self.heard.end_silent(partition)

    def _begin(self, partition: int) -> None:
        """Nobody is taken for dead before there was time to hear of it; only then may trees be shipped."""
        processes = {name for name, _ in groupby(self.journal.all_logs(), process_of)}
        self.heard.begin(one for one in processes if home_of(one) == partition)
        if self.vendors:
            self.shipper.serve(self.vendors, self.settings)

    async def _take(self, port: Port, batch: list[Delivery]) -> None:
        """Write a batch, sync it, and only then acknowledge it; ask for what is missing."""
        try:
            outcomes = await asyncio.to_thread(self._write, batch)
        except OSError as error:
            # The disk refuses: nothing is acknowledged, so that the engine keeps it and relays wait.
            diagnostics.failed("collecting", error)
            outcomes = [Outcome(is_taken=False)] * len(batch)
            await asyncio.sleep(STANDBY_SECONDS)
        for delivery, outcome in zip(batch, outcomes, strict=True):
            if outcome.hole is not None:
                await self._ask(port, *outcome.hole)
            await delivery.answer(outcome.is_taken, outcome.size)

    async def _ask(self, port: Port, log: str, size: int) -> None:
        first, asked = self._holes.get(log, (time.monotonic(), float("-inf")))
        if time.monotonic() - asked >= ASK_SECONDS:
            asked = time.monotonic()
            await port.ask(log, size)
        self._holes[log] = (first, asked)

    # -- the disk, in a thread -----------------------------------------------------------------------------------------

    def _write(self, batch: list[Delivery]) -> list[Outcome]:
        unsynced: dict[str, int] = {}
        try:
            outcomes = [self._outcome(delivery.message, unsynced) for delivery in batch]
            for fd in unsynced.values():
                os.fsync(fd)
            return outcomes
        finally:
            for fd in unsynced.values():
                os.close(fd)

    def _outcome(self, message: bytes, unsynced: dict[str, int]) -> Outcome:
        """Write what a message holds; `unsynced` gains the descriptors of what was written."""
        try:
            found = unpack(message)
            names = found.sizes if isinstance(found, Mark) else (found.log,)
            if not all(LOG.fullmatch(name) for name in names):
                raise ValueError("no log of ours")
        except ValueError as error:
            # It would come again as it is. What it held is missed with the next chunk of its log, and asked for.
            diagnostics.failed("collecting", error)
            return Outcome(is_taken=True)
        return self._on_mark(found) if isinstance(found, Mark) else self._on_chunk(found, unsynced)

    def _on_mark(self, mark: Mark) -> Outcome:
        missing = [log for log, size in mark.sizes.items() if self._size(log) < size]
        if not mark.ended:
            self.heard.of(mark.process)
        elif not missing or all(map(self._is_lost, missing)):
            self.heard.end(mark.process, mark.sizes)
        hole = (missing[0], self._size(missing[0])) if missing else None
        is_taken = not missing or not mark.ended or all(map(self._is_lost, missing))
        return Outcome(is_taken, 0 if is_taken else -1, hole)

    def _on_chunk(self, chunk: Chunk, unsynced: dict[str, int]) -> Outcome:
        size, end = self._size(chunk.log), chunk.offset + len(chunk.data)
        if end <= size:
            return Outcome(is_taken=True, size=size)
        if chunk.offset > size:
            if not self._is_lost(chunk.log):
                return Outcome(is_taken=False, size=size, hole=(chunk.log, size))
            self._put(chunk.log, size, b"-" * (chunk.offset - size - 1) + b"\n", unsynced)
        self._put(chunk.log, chunk.offset, chunk.data, unsynced)
        self._holes.pop(chunk.log, None)
        self.heard.of(process_of(chunk.log))
        return Outcome(is_taken=True, size=end)

    def _is_lost(self, log: str) -> bool:
        """Whether a hole was asked for in vain for so long that nobody has its bytes any more."""
        first = self._holes.get(log, (float("inf"), 0.0))[0]
        return time.monotonic() - first > self.silence

    def _size(self, log: str) -> int:
        """How long a log is; of one that was removed, settled and old, how long it was."""
        size = self.files.size(log)
        if size:
            return size
        process = process_of(log)
        later = [name for name in self.journal.all_logs() if process_of(name) == process and name > log]
        if later:
            return 1 << 62
        try:
            return int(pydantic_core.from_json(self.files.read(ended(process), 0) or b"{}").get(log, 0))
        except ValueError:
            return 0

    def _put(self, log: str, offset: int, data: bytes, unsynced: dict[str, int]) -> None:
        """Write at an offset, all of it or nothing; a new log is synced with its folder."""
        if log not in unsynced:
            if not self.files.size(log) and "" not in unsynced:
                unsynced[""] = os.open(self.files.folder, os.O_RDONLY | os.O_CLOEXEC)
            unsynced[log] = os.open(self.files.folder / log, FILES, 0o600)
        left, at = memoryview(data), offset
        try:
            while left:
                written = os.pwrite(unsynced[log], left, at)
                left, at = left[written:], at + written
        except OSError:
            os.ftruncate(unsynced[log], offset)
            raise
