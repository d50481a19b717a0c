"""The collector: writes what relays send into its own journal, which is shipped, shown and reported on as any other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable

from eventtree import diagnostics
from eventtree.config import Settings
from eventtree.delivery.shipper import Shipper
from eventtree.errors import JournalError
from eventtree.journal.counts import cursor_keys
from eventtree.journal.files import DiskFiles
from eventtree.journal.journal import Journal
from eventtree.journal.relayed import TAKERS, is_collected
from eventtree.record import BY_NAME
from eventtree.relay.port import AwayError, Delivery, Port
from eventtree.relay.settings import Target
from eventtree.relay.write import SILENCE_SECONDS, Outcome, Writer
from eventtree.vendors import Vendor

AGAIN_SECONDS, LONGEST_SECONDS = 0.2, 5.0
STANDBY_SECONDS = 1.0
"""A collector that stands by asks for the lease this often."""
RENEW_SECONDS = 2.0
ASK_SECONDS = 2.0
"""A hole is asked for again this often."""


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
        self.vendors = tuple(vendors)
        self.settings = settings
        files.replace(TAKERS, "".join(f"{one.name}\n" for one in self.vendors).encode() or b"\n")
        self.shipper = Shipper(journal)
        self.writer = Writer(journal, files, silence)
        self._asked: dict[str, float] = {}
        """Log → when it was asked for again last."""

    async def run(self, target: Target, *, partitions: int | None, take: Collection[int] | None = None) -> None:
        """Collect until cancelled, over one connection after the other.

        Raises:
            ConfigError, RefusedError: the engine does not take us as we are.
        """
        pause, is_away = AGAIN_SECONDS, False
        try:
            while True:
                port = target.connection(serves=True)
                try:
                    await port.open(partitions)
                    pause, is_away = AGAIN_SECONDS, False
                    async with asyncio.TaskGroup() as tasks:
                        for partition in range(port.partitions):
                            if take is None or partition in take:
                                tasks.create_task(self._collect(port, partition))
                except* AwayError as away:
                    if not is_away:
                        diagnostics.logger.warning("nothing comes from %s: %s", target.url, away.exceptions[0])
                    is_away = True
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
                    # Nobody is taken for dead before there was time to hear of it; only then may trees be shipped.
                    self.writer.begin(partition)
                    if self.vendors:
                        self.shipper.serve(self.vendors, self.settings)
            if not has_lease:
                await asyncio.sleep(STANDBY_SECONDS)
                renewed = float("-inf")
                continue
            batch = await port.receive(partition)
            if batch:
                await self._take(port, batch)
            else:
                self.writer.end_silent(partition)

    async def _take(self, port: Port, batch: list[Delivery]) -> None:
        """Write a batch, sync it, and only then acknowledge it; ask for what is missing."""
        try:
            outcomes = await asyncio.to_thread(self.writer.write, [delivery.message for delivery in batch])
        except OSError as error:
            # The disk refuses: nothing is acknowledged, so that the engine keeps it and relays wait.
            diagnostics.failed("collecting", error)
            outcomes = [Outcome(is_taken=False)] * len(batch)
            await asyncio.sleep(STANDBY_SECONDS)
        for delivery, (is_taken, log, size) in zip(batch, outcomes, strict=True):
            now = time.monotonic()
            if not is_taken and size is not None and now - self._asked.get(log, float("-inf")) >= ASK_SECONDS:
                self._asked[log] = now
                await port.ask(log, size)
            await port.answer(delivery, is_taken, size)
