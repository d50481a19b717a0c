"""Disks that refuse, dawdle or vanish, clocks that jump, outages, and journals of another version."""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eventtree import flush
from eventtree.delivery.report import make_report
from eventtree.journal import DiskFiles, Journal, MemoryFiles, frame, overflow
from eventtree.journal import journal as journal_module
from eventtree.journal.files import Data, joined
from eventtree.journal.retention import remove_settled
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust, vendor_class
from tests.faults.world import FaultyFiles, World
from tests.trees import new_id, record_tree


def remove(folder: Path) -> None:
    """Delete a folder under a running delivery, which may write one more file there meanwhile."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def put_a_file_in_its_place(folder: Path) -> None:
    """Replace a folder by a file, however often the delivery makes the folder anew in between."""
    while not folder.is_file():
        remove(folder)
        with contextlib.suppress(FileExistsError):
            folder.touch(exist_ok=False)


def test_f02_ten_minutes_without_a_vendor_lose_nothing() -> None:
    """F02, R3: 20 events a second for 10 minutes into an outage; by a clock that jumps."""
    world = World()
    world.sink.mode = "503"
    ids: set[str] = set()
    world.ship(1.0, 2)
    began, world.sink.requests = world.loop.now, 0
    for seconds in range(0, 600, 20):
        for _ in range(100):
            ids.update(world.one.tree(3))
        world.ship(began + seconds + 20 - world.loop.now, 1_000)
    asked = world.sink.requests
    world.sink.mode = "healthy"
    recovered = world.loop.now
    world.sink.times.clear()
    for _ in range(60):
        world.ship(1.0, 1_000)
        if world.sums().waiting == 0:
            break
    sums = world.sums()
    print(f"outage: {asked} requests, first success after {world.sink.times[0] - recovered:.0f} s, ", end="")
    print(f"backlog gone after {world.loop.now - recovered:.0f} s, {len(ids) - sums.delivered} of {len(ids)} lost")
    assert len(ids) == sums.delivered == sums.accepted == 12_000
    assert set(world.sink.rows) == ids
    assert asked <= 60
    assert world.sink.times[0] - recovered <= 35
    assert world.loop.now - recovered <= 95
    world.close()


@pytest.mark.parametrize("kind", ["braintrust", "otlp"])
@pytest.mark.parametrize("seconds", [2, *(pytest.param(long, marks=pytest.mark.slow) for long in (60, 600))])
def test_f02_a_real_outage_loses_nothing(seconds: int, kind: str) -> None:
    """F02, R3: 20 events a second by real clocks and real requests, answered with 503 until the outage ends."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[vendor_class(kind)(**server.settings(kind))])
        server.script(kind, [503] * 10_000)
        began = time.monotonic()
        for number in range(seconds * 5):
            record_tree(pipeline, children=3)
            time.sleep(max(0.0, began + (number + 1) / 5 - time.monotonic()))
        asked = len(server.requests)
        server.unscript(kind)
        recovered = time.monotonic()
        while not server.event_ids(kind):
            assert time.monotonic() - recovered <= 35
            time.sleep(0.02)
        first = time.monotonic() - recovered
        sums = flush(180).vendors[kind]
        lost = seconds * 20 - len(set(server.event_ids(kind)))
        print(f"{seconds} s away: {asked} requests, first success after {first:.1f} s, backlog gone after", end=" ")
        print(f"{time.monotonic() - recovered:.1f} s, {lost} of {seconds * 20} lost, {server.repeats(kind)}")
        assert lost == sums.unexplained == sums.waiting == 0
        assert asked <= 60


def test_f11_a_full_disk_loses_nothing_and_repeats_nothing() -> None:
    """F11: delivery goes on, answers are remembered, and all heals when there is room."""
    world = World()
    before = {run for _ in range(5) for run in world.one.tree(2)}
    world.files.is_full = True
    during = {run for _ in range(5) for run in world.one.tree(2)}
    world.ship(30.0, 50)
    assert set(world.sink.rows) == before
    assert world.one.journal.held > 0
    assert world.report().unwritten_bytes == 0
    assert world.sums().waiting == 15, "on the disk nothing is acknowledged yet"
    world.settle()
    assert set(world.sink.rows) == before | during
    assert all(len(bodies) == 1 for bodies in world.sink.rows.values())
    assert (world.sums().delivered, world.sums().waiting) == (30, 0)
    world.close()


@pytest.mark.parametrize("ending", [".cursor", ".dead", ".log", ""])
def test_f11_whichever_file_is_refused_nothing_is_lost(ending: str) -> None:
    """F11: EIO for the cursor, the dead letters, the logs, or all; a third of the events is poison."""
    world = World()
    world.sink.poison = lambda run: int(run[:2], 16) % 3 == 0
    ids = {run for _ in range(3) for run in world.one.tree(2)}
    world.files.refuses = lambda name: name.endswith(ending)
    ids |= {run for _ in range(3) for run in world.one.tree(2)}
    world.ship(30.0, 50)
    world.settle()
    sums = world.sums()
    good = {run for run in ids if not world.sink.poison(run)}
    assert set(world.sink.rows) == good
    assert all(len(bodies) == 1 for bodies in world.sink.rows.values())
    assert (sums.delivered, sums.dead, sums.waiting) == (len(good), len(ids) - len(good), 0)
    world.close()


def test_f11_a_deleted_journal_begins_anew(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F11: somebody removes the folder while we write and ship: what comes afterwards is delivered."""
    monkeypatch.setattr(journal_module, "LOOK_SECONDS", 0.02)
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        record_tree(pipeline)
        assert flush(10).vendors["braintrust"].delivered == 3
        remove(own_place)
        time.sleep(0.05)
        ids = [record_tree(pipeline) for _ in range(3)]
        deadline = time.monotonic() + 10
        while not set(ids) <= set(server.event_ids("braintrust")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        sums = flush(10).vendors["braintrust"]
        assert (sums.unexplained, sums.waiting) == (0, 0)
        assert len(server.event_ids("braintrust")) == 12
        assert own_place.stat().st_mode & 0o777 == 0o700, "the user's alone again"


def test_f11_what_is_recorded_right_after_the_folder_went_is_delivered_too(own_place: Path) -> None:
    """F11, R7: before anybody has looked whether the log is still there; and flush raises nothing meanwhile."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        record_tree(pipeline)
        assert flush(10).vendors["braintrust"].delivered == 3
        remove(own_place)
        assert flush(0.1).waiting == 0
        ids = {record_tree(pipeline) for _ in range(3)}
        flush(10)
        deadline = time.monotonic() + 10
        while not ids <= set(server.event_ids("braintrust")):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_f11_a_file_where_the_folder_was_raises_nothing_and_loses_nothing(own_place: Path) -> None:
    """F11, R7"""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        record_tree(pipeline)
        flush(10)
        put_a_file_in_its_place(own_place)
        ids = {record_tree(pipeline) for _ in range(3)}
        assert "report: NotADirectoryError" in flush(0.1).failures
        own_place.unlink()
        deadline = time.monotonic() + 10
        while not ids <= set(server.event_ids("braintrust")):
            flush(0.1)
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("from_the_start", [True, False])
def test_f11_what_is_delivered_while_the_disk_is_full_is_reported_so(
    monkeypatch: pytest.MonkeyPatch, from_the_start: bool
) -> None:
    """F11: answers are remembered in memory, and the report knows."""
    is_full = from_the_start

    def refusing(real: Callable[..., None]) -> Callable[..., None]:
        def method(self: DiskFiles, name: str, data: bytes) -> None:
            if is_full and name.endswith(".cursor"):
                raise OSError(28, "No space left on device")
            real(self, name, data)

        return method

    for name in ("append", "replace"):
        monkeypatch.setattr(DiskFiles, name, refusing(getattr(DiskFiles, name)))
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        for delivered in (3, 6):
            record_tree(pipeline)
            sums = flush(10).vendors["braintrust"]
            assert (sums.accepted, sums.delivered, sums.waiting, sums.unexplained) == (delivered, delivered, 0, 0)
            is_full = True
        is_full = False
        record_tree(pipeline)
        assert flush(10).vendors["braintrust"].delivered == 9
        assert len(server.event_ids("braintrust")) == 9


def test_f11_a_disk_full_from_the_start_raises_nothing(monkeypatch: pytest.MonkeyPatch, own_place: Path) -> None:
    """F11, R7: not even the salt can be written."""
    full = {"is": True}
    append = DiskFiles.append

    def refusing(self: DiskFiles, name: str, data: bytes) -> None:
        if full["is"]:
            raise OSError(28, "No space left on device")
        append(self, name, data)

    monkeypatch.setattr(DiskFiles, "append", refusing)
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        tree = record_tree(pipeline)
        report = flush(0.1)
        assert report.unwritten_bytes > 0
        assert not report.settled
        full["is"] = False
        sums = flush(10).vendors["braintrust"]
        assert (sums.delivered, sums.unexplained) == (3, 0)
        assert tree in server.event_ids("braintrust")
        assert (own_place / "salt").read_bytes() == pipeline.journal.salt


class SlowFiles(MemoryFiles):
    """A disk that takes its time over a log."""

    seconds = 0.0
    slow_writes = 0

    def append(self, name: str, data: bytes) -> None:
        """Wait, then write."""
        if self.seconds and name.endswith(".log"):
            self.slow_writes += 1
            time.sleep(self.seconds)
        super().append(name, data)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_f14_a_file_system_without_locks_keeps_all_for_one_that_has_them(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F14: warnings are errors here, as some apps make them, so that filelock's way around has no effect."""
    with VendorServer() as server:
        with monkeypatch.context() as patch:
            patch.setattr("fcntl.flock", without_locks(code))
            pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
            record_tree(pipeline)
            assert flush(0.5).waiting == 3
        record_tree(pipeline)
        sums = flush(20).vendors["braintrust"]
        assert (sums.accepted, sums.delivered, sums.unexplained) == (6, 6, 0)
        assert len(server.event_ids("braintrust")) == 6


def without_locks(code: int) -> Callable[..., None]:
    def flock(*_: object) -> None:
        raise OSError(code, "no locks")

    return flock


def test_f28_a_slow_disk_is_paid_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """F28: the app waits for one write; a thread of ours probes, and then all is on disk in its order."""
    for module in (overflow, journal_module):
        monkeypatch.setattr(module, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(overflow, "PROBE_SECONDS", 0.05)
    files = SlowFiles()
    journal = Journal(files)
    journal.append(b'{"n":0}')
    files.seconds = 0.2
    took = []
    for number in range(1, 200):
        began = time.monotonic()
        journal.append(b'{"n":%d}' % number)
        took.append(time.monotonic() - began)
    assert took[0] >= 0.2
    assert sum(took[1:]) < 0.2, "paid once"
    assert journal.held > 0
    files.seconds = 0.0
    deadline = time.monotonic() + 5
    while journal._overflow._healer is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    journal.append(b'{"n":200}')
    lines = files.read(journal.log, 0, 1 << 20).split(b"\n")[1:-1]
    assert [line.split(b" ", 2)[2] for line in lines] == [b'{"n":%d}' % number for number in range(201)]
    assert journal.held == 0
    report = make_report(journal)
    assert (report.damaged_lines, report.lost_lines) == (0, 0)


@pytest.mark.parametrize(("megabytes_a_second", "is_slow"), [(20, False), (2, True)])
def test_f28_a_large_record_takes_its_time_on_a_disk_that_is_not_slow(
    megabytes_a_second: int, monkeypatch: pytest.MonkeyPatch, *, is_slow: bool
) -> None:
    """F28: by seconds alone, records of tens of megabytes filled the memory, and the next ones were lost."""
    now = [0.0]

    class RatedFiles(MemoryFiles):
        def append(self, name: str, data: Data) -> None:
            super().append(name, data)
            now[0] += len(joined(data)) / (megabytes_a_second * 1_000_000)

    monkeypatch.setattr(journal_module, "monotonic", lambda: now[0])
    monkeypatch.setattr(overflow.Overflow, "start_healer", lambda _: None)
    journal = Journal(RatedFiles())
    for _ in range(3):
        journal.append(b'{"n":"%b"}' % (b"x" * 15_000_000))
    assert (journal.held > 0, journal.dropped) == (is_slow, 0)


@pytest.mark.parametrize("step", [86_400, -86_400, 3_600, -3_600, 10**9, -(10**9)])
def test_f19_a_wall_clock_that_jumps_makes_no_negative_time(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """F19: a step during a tree: durations stay, no child is outside its parent, all is delivered."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        real, offset = time.time_ns, [0]
        monkeypatch.setattr("eventtree.recording.runs.time_ns", lambda: real() + offset[0])
        tree, child = new_id(), new_id()
        recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain")
        offset[0] = step * 10**9
        recorder.open(pipeline, child, tree, kind=Kind.TOOL, name="tool")
        recorder.close(pipeline, child)
        offset[0] = -step * 10**9
        recorder.close(pipeline, tree)
        sums = flush(10).vendors["braintrust"]
        assert (sums.delivered, sums.unexplained) == (2, 0)
        of = {row["span_id"]: row["metrics"] for row in server.events("braintrust")}
        assert of[tree]["start"] <= of[child]["start"] <= of[child]["end"] <= of[tree]["end"] < of[tree]["start"] + 60
        assert not server.refused


@pytest.mark.parametrize("year", [1970, 2038, 2039, 9998])
def test_f19_any_year_is_delivered(year: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """F19"""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        with monkeypatch.context() as patch:
            patch.setattr("eventtree.recording.runs.time_ns", lambda: (year - 1970) * 31_556_952 * 10**9 + 1)
            record_tree(pipeline)
        sums = flush(10).vendors["braintrust"]
        # The server that plays the vendor refuses years that cannot be: those are dead letters, not crashes.
        assert (sums.delivered + sums.dead, sums.waiting, sums.unexplained) == (3, 0, 0)


def test_f19_a_suspended_machine_goes_on_where_it_was() -> None:
    """F19: the monotonic clock leaps by a day in the middle of an outage."""
    world = World()
    world.sink.mode = "503"
    ids = set(world.one.tree(2))
    world.ship(20.0, 10)
    world.loop.now += 86_400
    world.sink.mode = "healthy"
    world.ship(31.0, 100)
    assert set(world.sink.rows) == ids
    assert world.sums().delivered == 3
    world.close()


def test_f26_a_journal_of_a_newer_version_is_left_untouched_and_reported() -> None:
    """F26: of version N+1, whatever its lines look like."""
    world = World()
    ids = world.one.tree(2)
    name = "20990101T000000-1-aaaaaaaa.0000.log"
    header = frame(0, b'{"r":"log","id":"x","tree":"","eventtree":2,"pid":1,"at":1}')
    foreign = header + b"another framing altogether\n" * 100
    world.files.append(name, foreign)
    world.settle()
    report = world.report()
    assert report.newer_logs == (name,)
    assert (report.damaged_lines, report.lost_lines) == (0, 0)
    assert set(world.sink.rows) == set(ids)
    remove_settled(world.one.journal, kept_bytes=0, kept_seconds=0, now=time.time() + 1e9)
    assert world.files.read(name, 0, 1 << 20) == foreign
    assert world.sums().delivered == 3
    world.close()


def test_f26_a_vendor_nobody_here_knows_keeps_its_events() -> None:
    """F26: a tree names a vendor of which there are no settings: it waits, and the report names it."""
    world = World()
    world.one.pipeline.vendor_refs = (*world.one.pipeline.vendor_refs, {"name": "acme", "fingerprint": "f"})
    world.one.tree(2)
    world.settle()
    found = world.report().vendors
    assert (found["plain"].delivered, found["plain"].unexplained) == (3, 0)
    assert (found["acme"].waiting, found["acme"].unexplained) == (3, 0)
    remove_settled(world.one.journal, kept_bytes=0, kept_seconds=0, now=time.time() + 1e9)
    assert world.report().vendors["acme"].waiting == 3
    world.close()


def test_f26_a_cursor_with_words_of_a_newer_version_is_read() -> None:
    """F26"""
    world = World(FaultyFiles())
    world.one.tree(2)
    world.settle()
    (name,) = [name for name in world.files.names() if name.endswith(".cursor")]
    world.files.append(name, frame(99, b'{"c":"teleport","tree":"x"}'))
    assert world.sums().delivered == 3
    world.close()


def test_trees_of_a_new_log_wait_though_the_cursor_has_forgotten_others() -> None:
    """A log that came after a compaction is not behind it: its trees wait, and no remove_settled takes it."""
    world = World()
    world.one.tree(2)
    world.settle()
    assert world.consumer is not None
    world.consumer.ledger.cursor.advance(world.consumer.offsets())
    world.sink.mode = "503"
    other = world.fork()
    other.tree(2)
    assert world.sums().waiting == 3
    world.crash(other)
    remove_settled(world.one.journal, kept_bytes=0, kept_seconds=0, now=time.time() + 1e9)
    assert world.sums().waiting == 3
    world.settle()
    assert world.sums().delivered == 6
    world.close()
