"""Several vendors on one journal, served by one shipper's feeds; what each has is compared with what was recorded."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Mapping
from typing import ClassVar

from eventtree.delivery.consumer import Consumer
from eventtree.delivery.feed import Feed, Feeds, Folder
from eventtree.delivery.report import Report, make_report
from eventtree.delivery.retry import Backoff
from eventtree.event import EventTree
from eventtree.journal import Journal
from eventtree.pricing.pricer import Pricer
from eventtree.serializer.formats import to_json
from eventtree.serializer.requests import Item
from eventtree.vendors import Encoded
from tests.faults.world import FaultyFiles, JumpingLoop, PlainVendor, Process, Sink


class FinalVendor(PlainVendor):
    """A vendor that takes a tree once, as it is then."""

    kind: ClassVar[str] = "final"
    accepts_updates: ClassVar[bool] = False


class OneTreeVendor(PlainVendor):
    """A vendor that takes a whole tree as one thing, like Nebuly; nothing late."""

    kind: ClassVar[str] = "onetree"
    accepts_updates: ClassVar[bool] = False

    def encode(self, tree: EventTree) -> Encoded:
        """One row, named after the tree."""
        ids = tuple(event.id for event in tree.events)
        return Encoded((Item(tree.id, tree.id, ids, "rows", to_json({"id": tree.id, "ids": ids})),))


class Crowd:
    """Processes, vendors of several kinds, a sink for each, and one shipper."""

    def __init__(self, seed: int = 0, *, roll_bytes: int | None = None) -> None:
        """Start with one process; nobody ships."""
        self.files = FaultyFiles()
        self.loop = JumpingLoop()
        self.chance = random.Random(seed)
        key = {"api_key": "k"}
        self.vendors = {kind.kind: kind(**key) for kind in (PlainVendor, FinalVendor, OneTreeVendor)}  # type: ignore[arg-type]
        self.sinks = {name: Sink() for name in self.vendors}
        self.roll_bytes = roll_bytes
        self.processes: list[Process] = []
        self.fork()
        self.consumers: dict[str, Consumer] = {}
        self.shipper: Process | None = None
        self.recorded: dict[str, str] = {}
        """Second record: event → its tree."""

    def fork(self) -> Process:
        """One more process."""
        made = Process(self.files, self.vendors.values(), self.chance)
        if self.roll_bytes is not None:
            made.journal.roll_bytes = self.roll_bytes
        self.processes.append(made)
        return made

    def tree(self, process: Process | None = None, children: int = 2) -> str:
        """Record a whole tree; returns its id."""
        ids = (process or self.processes[0]).tree(children)
        self.recorded.update(dict.fromkeys(ids, ids[0]))
        return ids[0]

    def begin(self, process: Process | None = None) -> str:
        """Open a root."""
        run = (process or self.processes[0]).start()
        self.recorded[run] = run
        return run

    def child(self, parent: str, process: Process | None = None) -> str:
        """Open a child."""
        run = (process or self.processes[0]).start(parent)
        self.recorded[run] = self.recorded[parent]
        return run

    def die(self, process: Process) -> None:
        """Kill a process; it ships no more."""
        self.processes.remove(process)
        self.files.die(process.journal.process)
        if self.shipper is process:
            self.kill_shipper()
        if not self.processes:
            self.fork()

    def kill_shipper(self) -> None:
        """The shipper's process dies: nothing is tidied, its locks are free."""
        for consumer in self.consumers.values():
            if consumer._lock is not None:
                consumer._lock.release()
        self.consumers, self.shipper = {}, None

    def stop_shipper(self) -> None:
        """The shipper ends in order."""
        for consumer in self.consumers.values():
            consumer.release()
        self.consumers, self.shipper = {}, None

    def ship(
        self, seconds: float = 5.0, *, all_trees: bool = False, pricer: Callable[[], Pricer] | None = None
    ) -> None:
        """Let all consumers run for so long by the clock."""
        if not self.consumers:
            self.shipper = self.processes[0]
            journal = self.shipper.journal
            folder = Folder(journal, pricer or (lambda: None), lambda: None)
            feeds = Feeds(
                journal, folder, lambda *start: Feed(journal, *start, lines=folder.lines, clock=self.loop.time)
            )
            for name, vendor in self.vendors.items():
                self.consumers[name] = Consumer(
                    journal, vendor, self.sinks[name], feeds, all_trees=all_trees, clock=self.loop.time,
                    backoff=Backoff(uniform=self.chance.uniform),
                )  # fmt: skip
            for consumer in self.consumers.values():
                try:
                    consumer.hold()
                except OSError:
                    continue
        self.loop.run(asyncio.wait_for(self._all(), None), seconds)

    async def _all(self) -> None:
        await asyncio.gather(*(self._steps(consumer) for consumer in self.consumers.values()))

    async def _steps(self, consumer: Consumer) -> None:
        while True:
            try:
                await consumer.step()
            except Exception:
                await asyncio.sleep(1.0)

    def settle(self, rounds: int = 30) -> Report:
        """Everything healthy; ship until nothing waits."""
        self.files.refuses = self.files.hides = lambda _: False
        self.files.is_full = False
        for sink in self.sinks.values():
            sink.mode = "healthy"
        for process in self.processes:
            process.journal.flush_held()
            for run, _ in list(process.open)[::-1]:
                process.end(run)
        for _ in range(rounds):
            self.ship(30.0)
            if self.report().waiting == 0:
                break
        return self.report()

    def report(self) -> Report:
        """The law as the disk tells it."""
        return make_report(Journal(self.files))

    def check(self, *, lost: Mapping[str, int] | None = None) -> None:
        """Every vendor has every recorded event, once, with its end; sums and second record agree."""
        report = self.report()
        trees = set(self.recorded.values())
        for name, sink in self.sinks.items():
            wanted = trees if name == "onetree" else set(self.recorded)
            assert set(sink.rows) == wanted, (name, len(wanted - set(sink.rows)), "missing")
            sums = report.vendors[name]
            assert (sums.waiting, sums.dead, sums.unexplained) == (0, 0, 0), sums
            assert sums.dropped == dict(lost or {}), sums
            assert sums.accepted == sums.delivered == len(self.recorded), (len(self.recorded), sums)
            if name == "onetree":
                arrived = {run for bodies in sink.rows.values() for run in self.recorded if run.encode() in bodies[-1]}
                assert arrived == set(self.recorded)
            else:
                open_still = [run for run, bodies in sink.rows.items() if b'"incomplete"' in bodies[-1]]
                assert not open_still, (name, len(open_still))

    def repeats(self) -> dict[str, int]:
        """How many rows came more than once, by vendor."""
        return {name: sum(len(bodies) - 1 for bodies in sink.rows.values()) for name, sink in self.sinks.items()}

    def close(self) -> None:
        """Free the loop."""
        self.loop.close()


def some_id() -> str:
    """An id of no run."""
    return str(uuid.uuid4())
