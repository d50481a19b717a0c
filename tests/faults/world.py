"""A small world under full control: processes on one journal, a vendor, and clocks that jump instead of waiting."""

from __future__ import annotations

import asyncio
import hashlib
import random
import selectors
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, ClassVar

from eventtree.delivery.consumer import Consumer
from eventtree.delivery.feed import Feed, Feeds, Folder
from eventtree.delivery.http import Http, Reply, UnansweredError
from eventtree.delivery.report import Report, VendorTotals, make_report
from eventtree.delivery.retry import Backoff
from eventtree.event import EventTree
from eventtree.journal import Journal, MemoryFiles
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import Recorder
from eventtree.serializer.formats import to_json
from eventtree.serializer.requests import Route
from eventtree.vendors import Encoded, Item, Request, Vendor

START = 1_000.0


class PlainVendor(Vendor):
    """A vendor that takes rows."""

    kind: ClassVar[str] = "plain"
    env: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    default_url: ClassVar[str] = "http://127.0.0.1:9"
    routes: ClassVar[Mapping[str, Route]] = {"rows": Route("POST", "/rows", (b"[", b"]"), max_items=20)}
    accepts_updates: ClassVar[bool] = True

    def encode(self, tree: EventTree) -> Encoded:
        """One row an event."""
        rows = ({"id": event.id, "name": event.name, "status": event.status} for event in tree.events)
        return Encoded(tuple(Item(row["id"], tree.id, (row["id"],), "rows", to_json(row)) for row in rows))

    def encode_update(self, tree: EventTree, ended: Collection[str]) -> tuple[Item, ...]:
        """The row of what has ended, once more."""
        return tuple(item._replace(event_ids=()) for item in self.encode(tree).items if item.key in ended)


class Sink(Http):
    """What stands behind `Http.send`: takes rows, or fails as told. Bodies are remembered by id."""

    def __init__(self) -> None:
        """Take everything at once."""
        super().__init__()
        self.mode = "healthy"
        self.latency = 0.05
        self.poison: Callable[[str], bool] = lambda _: False
        self.rows: dict[str, list[bytes]] = {}
        self.requests = 0
        self.times: list[float] = []

    @property
    def changed(self) -> dict[str, list[bytes]]:
        """Ids that came again with other content, unless what came before was an event that had not ended."""
        told = {run: list(dict.fromkeys(bodies)) for run, bodies in self.rows.items()}
        return {run: bodies for run, bodies in told.items() if any(b'"incomplete"' not in body for body in bodies[:-1])}

    async def send(self, request: Request, auth: Mapping[str, str]) -> Reply:
        """Answer by the mode."""
        self.requests += 1
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.latency)
        if self.mode in ("503", "429", "401") or (self.mode == "413" and len(request.items) > 1):
            return reply(int(self.mode), b"no")
        if self.mode == "silent":
            await asyncio.sleep(30)
            raise UnansweredError("no answer within 30 s")
        if any(self.poison(item.key) for item in request.items):
            return reply(400, b"poison")
        for item in request.items:
            self.rows.setdefault(item.key, []).append(item.content)
        if self.mode == "cut":
            raise UnansweredError("the answer is cut")
        await asyncio.sleep(self.latency)
        return reply(200, b"{}")


def reply(status: int, body: bytes) -> Reply:
    """An answer."""
    return Reply(status, {}, body, truncated=False)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next thing that is due instead of waiting for it."""

    def __init__(self) -> None:
        """Start the clock."""
        self.now = START
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """The clock."""
        return self.now

    def run(self, work: Coroutine[Any, Any, Any], seconds: float) -> bool:
        """Run `work` for so long by this clock; False if it was not done and has been cancelled."""

        async def bounded() -> bool:
            try:
                await asyncio.wait_for(work, seconds)
            except TimeoutError:
                return False
            return True

        return self.run_until_complete(bounded())


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[valid-type,misc]
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class FaultyFiles(MemoryFiles):
    """A disk that refuses to write, read or both, and forgets none of what it took."""

    def __init__(self) -> None:
        """Start healthy."""
        super().__init__()
        self.refuses: Callable[[str], bool] = lambda _: False
        self.hides: Callable[[str], bool] = lambda _: False
        self.is_full = False

    def append(self, name: str, data: bytes) -> None:
        """All or nothing."""
        if self.is_full or self.refuses(name):
            raise OSError(28, "No space left on device", name)
        super().append(name, data)

    def replace(self, name: str, data: bytes) -> None:
        """In one step, or not."""
        if self.is_full or self.refuses(name):
            raise OSError(28, "No space left on device", name)
        super().replace(name, data)

    def read(self, name: str, offset: int, size: int | None = None) -> bytes:
        """What is there."""
        if self.hides(name):
            raise OSError(5, "Input/output error", name)
        return super().read(name, offset, size)

    def die(self, process: str) -> None:
        """The system frees what a dead process held."""
        self._locks.discard(f"{process}.alive")


class Process:
    """One process: its journal, its recorder, its pipeline."""

    def __init__(self, files: MemoryFiles, vendors: Iterable[Vendor], chance: random.Random) -> None:
        """Start."""
        self.chance = chance
        self.journal = Journal(files)
        self.journal._overflow.start_healer = lambda: None  # type: ignore[method-assign]
        self.recorder = Recorder()
        self.pipeline = Pipeline(journal=":memory:", deliver=False, vendors=())
        self.pipeline.journal = self.journal
        salt = self.journal.salt
        self.pipeline.vendor_refs = tuple({"name": v.name, "fingerprint": v.fingerprint(salt)} for v in vendors)
        self.open: list[tuple[str, str | None]] = []

    def start(self, parent: str | None = None) -> str:
        """Open a run."""
        run = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        self.recorder.open(self.pipeline, run, parent, kind=Kind.CHAIN if parent is None else Kind.TOOL, name="run")
        self.open.append((run, parent))
        return run

    def end(self, run: str) -> None:
        """Close a run."""
        self.open = [one for one in self.open if one[0] != run]
        self.recorder.close(self.pipeline, run, outputs="x")

    def tree(self, children: int = 2) -> list[str]:
        """A whole tree's ids."""
        root = self.start()
        ids = [root]
        for _ in range(children):
            ids.append(self.start(root))
            self.end(ids[-1])
        self.end(root)
        return ids


class World:
    """Files, processes, a vendor and who ships to it."""

    def __init__(self, files: FaultyFiles | None = None, seed: int = 0) -> None:
        """Start with one process."""
        self.files = files or FaultyFiles()
        self.vendor = PlainVendor(api_key="k")  # type: ignore[arg-type]
        self.sink = Sink()
        self.loop = JumpingLoop()
        self._end = weakref.finalize(self, self.loop.close)
        self.chance = random.Random(seed)
        self.processes = [Process(self.files, [self.vendor], self.chance)]
        self.consumer: Consumer | None = None
        self.shipper: Process | None = None

    def close(self) -> None:
        """Free the loop."""
        self._end()

    @property
    def one(self) -> Process:
        """The first process."""
        return self.processes[0]

    def fork(self) -> Process:
        """One more process on the same journal."""
        self.processes.append(Process(self.files, [self.vendor], self.chance))
        return self.processes[-1]

    def crash(self, process: Process) -> None:
        """Kill it; a fresh one starts if it was the last."""
        self.processes.remove(process)
        self.files.die(process.journal.process)
        if self.shipper is process and self.consumer is not None:
            self.consumer.release()
            self.consumer = self.shipper = None
        if not self.processes:
            self.fork()

    def ship(self, seconds: float = 60.0, steps: int = 20) -> None:
        """Some rounds of delivery by whoever ships, at most so long by the clock."""
        until = self.loop.now + seconds
        for _ in range(steps):
            if self.consumer is None:
                self.shipper = self.processes[0]
                self.consumer = self._lane(self.shipper.journal)
            try:
                done = self.loop.run(self.consumer.step(), until - self.loop.now)
            except OSError:
                self.loop.now += 1.0
                done = True
            if not done or self.loop.now >= until:
                return

    def _lane(self, journal: Journal) -> Consumer:
        backoff = Backoff(uniform=self.chance.uniform)
        folder = Folder(journal, lambda: None, lambda: None)
        feeds = Feeds(journal, folder, lambda *start: Feed(journal, *start, lines=folder.lines, clock=self.loop.time))
        return Consumer(journal, self.vendor, self.sink, feeds, backoff=backoff, clock=self.loop.time)

    def settle(self) -> None:
        """Mend everything and deliver all there is."""
        self.files.is_full = False
        self.files.refuses = self.files.hides = lambda _: False
        self.sink.mode = "healthy"
        for process in self.processes:
            process.journal.flush_held()
        for _ in range(20):
            self.ship(400.0, 40)
            if self.report().waiting == 0:
                return

    def report(self) -> Report:
        """The law, as the disk tells it."""
        return make_report(Journal(self.files))

    def sums(self) -> VendorTotals:
        """The vendor's sums; they must add up."""
        found = self.report().vendors.get("plain", VendorTotals(name="plain", fingerprint=""))
        assert found.unexplained == 0, found
        return found

    def on_disk(self) -> set[str]:
        """Ids of the events whose records are in the files."""
        found = Counter[str]()
        for name in self.files.names():
            if name.endswith(".log"):
                for line in self.files.read(name, 0, 1 << 30).splitlines():
                    if b'{"r":"open","id":"' in line:
                        found[line.split(b'"id":"', 1)[1][:36].decode()] += 1
        return set(found)


def digest(text: str) -> int:
    """A number that is the same in every run."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
