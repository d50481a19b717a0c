"""F30: a log that is as its writer left it is counted by its sums; the report says what reading it would say."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventtree import record
from eventtree.delivery.report import Report, make_report
from eventtree.journal import DiskFiles, Journal, MemoryFiles
from eventtree.journal import journal as journal_module
from eventtree.journal.clear import clear
from eventtree.journal.cursor import Cursor
from eventtree.journal.files import UNSURE
from eventtree.journal.line import READ_BYTES
from eventtree.journal.totals import recorded_sums
from eventtree.journal.trees import NEAR_BYTES, LoggedTree, find_trees, load, trees_in
from eventtree.kinds import Kind
from eventtree.query import Index
from eventtree.recording.feedback import add_feedback
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.vendors import Braintrust, Nebuly
from tests.trees import close_record, new_id, open_record, record_tree

URL = "http://127.0.0.1:9"
VENDORS = (Braintrust(api_key="k", base_url=URL), Nebuly(api_key="k", base_url=URL))


class Reads:
    """Remembers which logs were read in stretches, as a scan reads them, and how much was read of all."""

    stretches: set[str]
    read_bytes = 0

    def read(self, name: str, offset: int, size: int | None = None) -> bytes:
        if size == READ_BYTES:
            self.stretches.add(name)
        found: bytes = super().read(name, offset, size)  # type: ignore[misc]
        self.read_bytes += len(found)
        return found


class InMemory(Reads, MemoryFiles):
    pass


class OnDisk(Reads, DiskFiles):
    def mark(self, name: str) -> str:
        return super().mark(name).removeprefix(UNSURE)  # a test has no time to let its files grow old


@pytest.fixture(params=["memory", "disk"])
def journal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, own_place: Path) -> Journal:
    """A journal whose logs are short; pipelines write to it. On disk, what holds is remembered."""
    files = InMemory() if request.param == "memory" else OnDisk(own_place)
    files.stretches = set()
    found = Journal(files, roll_bytes=6_000)
    monkeypatch.setattr(found, "bound", lambda _: None)
    monkeypatch.setitem(journal_module._opened, ":memory:", found)
    return found


def pipeline_for(*vendors: Any, **more: Any) -> Pipeline:
    return Pipeline(vendors=vendors, journal=":memory:", deliver=False, **more)


def record_long(pipeline: Pipeline, children: int, *, close: bool = True) -> str:
    """A tree that lasts while others come and go, beyond the end of its log."""
    root = new_id()
    recorder.open(pipeline, root, None, kind=Kind.CHAIN, name="long")
    for _ in range(children):
        run = new_id()
        recorder.open(pipeline, run, root, kind=Kind.TOOL, name="step")
        record_tree(pipeline)
        recorder.close(pipeline, run)
    if close:
        recorder.close(pipeline, root)
    return root


def fresh(journal: Journal) -> Journal:
    """The journal as another process sees it, which remembers what the last one did."""
    found = Journal(journal.files)
    found.verified = journal.verified
    return found


def read_whole(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Report:
    """The report that reads all."""
    with monkeypatch.context() as patch:
        patch.setattr("eventtree.delivery.report.recorded_sums", lambda one: _without_logs(one))
        return make_report(fresh(journal))


def _without_logs(journal: Journal) -> Any:
    found = recorded_sums(journal)
    found.by_log = {}
    return found


def settle(cursor: Cursor, tree: LoggedTree) -> None:
    """Have a vendor take a tree."""
    cursor.ack({tree.id: ([tree.id], tree.events, 0)})
    cursor.settle(tree.id, tree.events, {}, tree.spans)


def logs_read(journal: Journal) -> set[str]:
    """The logs that a report reads line by line."""
    assert isinstance(journal.files, Reads)
    journal.files.stretches.clear()
    make_report(fresh(journal))
    return set(journal.files.stretches)


@pytest.mark.parametrize("ending", ["end", "goes on"])
def test_f30_logs_that_nobody_has_begun_are_not_read(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    one, both, none = pipeline_for(VENDORS[0]), pipeline_for(*VENDORS), pipeline_for()
    for pipeline in (one, both, none):
        record_long(pipeline, 12)
    record_long(both, 4, close=False)
    if ending == "end":
        journal.end()
    logs = journal.logs()
    assert len(logs) > 5
    read = logs_read(journal)
    assert read <= {logs[-1]}
    assert bool(read) is (ending != "end")
    assert make_report(fresh(journal)) == read_whole(journal, monkeypatch)


def test_f30_one_vendor_far_and_one_away(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The logs that one is in the middle of are read, also for the other; those before and behind are not."""
    both = pipeline_for(*VENDORS)
    for _ in range(40):
        record_tree(both)
    record_long(both, 8)
    journal.end()
    trees = trees_in(journal)
    logs = journal.logs()
    [name, _] = (f"{ref['name']}.{ref['fingerprint']}.cursor" for ref in both.vendor_refs)
    cursor = Cursor(journal.files, name)
    middle = logs[len(logs) // 2]
    for tree in trees.values():
        if max(tree.spans) < middle or (max(tree.spans) == middle and len(tree.spans) == 1 and tree.events % 2):
            settle(cursor, tree)
    read = logs_read(journal)
    assert middle in read or not any(middle in spans for spans in cursor.settled.values())
    assert logs[-2] not in read
    assert make_report(fresh(journal)) == read_whole(journal, monkeypatch)
    ends = {log: journal.files.size(log) for log in logs if log < middle}
    for log, offset, _ in (line for tree in trees.values() if tree.id not in cursor.settled for line in tree.lines):
        ends[log] = min(offset, ends.get(log, offset))
    cursor.advance(ends)
    assert make_report(fresh(journal)) == read_whole(journal, monkeypatch)
    assert not logs_read(journal) & set(logs[: len(logs) // 2 - 1])


def damage_byte(journal: Journal, log: str) -> None:
    data = journal.files.read(log, 0)
    at = len(data) // 2
    journal.files.overwrite(log, at, bytes([data[at] ^ 1]))


def cut_end(journal: Journal, log: str) -> None:
    journal.files.replace(log, journal.files.read(log, 0)[:-20])


def take_line_out(journal: Journal, log: str) -> None:
    lines = journal.files.read(log, 0).splitlines(keepends=True)
    journal.files.replace(log, b"".join(lines[:2] + lines[3:]))


def clear_one(journal: Journal, log: str) -> None:
    clear(journal, {next(tree.id for tree in trees_in(journal).values() if list(tree.spans) == [log])})


def damage_long_line(journal: Journal, log: str) -> None:
    line = max(journal.files.read(log, 0).split(b"\n"), key=len)
    assert len(line) > 1_000
    at = journal.files.read(log, 0).find(line) + len(line) // 2
    journal.files.overwrite(log, at, b"~")


@pytest.mark.parametrize("harm", [damage_byte, cut_end, take_line_out, clear_one, damage_long_line])
def test_f12_a_log_that_is_not_as_it_was_left_is_read(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Journal, str], None]
) -> None:
    both = pipeline_for(*VENDORS)
    for _ in range(40):
        record_tree(both)
        recorder.open(both, run := new_id(), None, kind=Kind.CHAIN, name="long", inputs={"text": "x" * 2_000})
        recorder.close(both, run)
    journal.end()
    log = journal.logs()[2]
    if isinstance(journal.files, DiskFiles):
        os.utime(journal.files.folder / log, (1, 1))  # the disk's clock may be coarser than this test is long
    assert not logs_read(journal)
    harm(fresh(journal), log)
    assert log in logs_read(journal)
    found = make_report(fresh(journal))
    assert found == read_whole(journal, monkeypatch)
    assert (found.damaged_lines + found.lost_lines > 0) is (harm is not clear_one)


def test_f30_what_held_once_is_not_read_again(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By none of the processes that ask through the index, as `eventtree report` does."""
    files = OnDisk(own_place)
    files.stretches = set()
    journal = Journal(files, roll_bytes=100_000)
    monkeypatch.setitem(journal_module._opened, str(own_place), journal)
    pipeline = Pipeline(vendors=VENDORS, journal=str(own_place), deliver=False)
    for _ in range(3):
        recorder.open(pipeline, run := new_id(), None, kind=Kind.CHAIN, name="long", inputs={"text": "x" * 99_000})
        recorder.close(pipeline, run)
        add_feedback(journal, run, run, pipeline.vendor_refs, {"score": 1})
    journal.end()
    reports, reads = [], []
    for _ in range(2):
        with Index(one := Journal(files)) as index, index.verified_logs():
            before = files.read_bytes
            reports.append(make_report(one))
            reads.append(files.read_bytes - before)
    assert reports[0] == reports[1] == make_report(Journal(files))
    assert reports[0].vendors["braintrust"].feedback == {"waiting": 3}
    assert reads[0] - reads[1] > 290_000
    with closing(sqlite3.connect(index.file)) as db, db:
        db.execute("UPDATE verified SET places = '[[1'")
    with Index(one := Journal(files)) as index, index.verified_logs():
        assert make_report(one) == reports[0]


def test_f30_feedback_and_trees_that_were_only_counted_are_told_by_believed_logs(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, none, seldom = pipeline_for(VENDORS[0]), pipeline_for(), pipeline_for(sample_rate=0)
    for _ in range(6):
        add_feedback(journal, tree := record_tree(one), tree, one.vendor_refs, {"score": 1})
        for _ in range(3):
            record_tree(none)
        record_tree(seldom)
    journal.end()
    assert not logs_read(journal)
    found = make_report(fresh(journal))
    assert found.dropped == {"sampled": 18}
    assert found.vendors["braintrust"].feedback == {"waiting": 6}
    assert found == read_whole(journal, monkeypatch)


def test_f30_a_vendor_that_joins_and_feedback_without_a_vendor_have_their_logs_read(journal: Journal) -> None:
    one, two = pipeline_for(VENDORS[0]), pipeline_for(VENDORS[1])
    root = new_id()
    recorder.open(one, root, None, kind=Kind.CHAIN, name="root")
    recorder.open(two, root, None, kind=Kind.CHAIN, name="root")
    recorder.close(one, root)
    for _ in range(12):
        record_tree(one)
    add_feedback(journal, root, root, None, {"score": 1})
    journal.end()
    assert logs_read(journal) == {journal.logs()[0], journal.logs()[-1]}


@pytest.mark.parametrize("taken", range(4))
@pytest.mark.parametrize("ended", [(), (0,), (1,), (0, 1, 2)])
def test_f30_a_tree_in_the_logs_of_three_processes_is_counted_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, taken: int, ended: tuple[int, ...]
) -> None:
    refs, tree = pipeline_for(VENDORS[0]).vendor_refs, new_id()
    name = f"{refs[0]['name']}.{refs[0]['fingerprint']}"
    processes = [Journal(journal.files) for _ in range(3)]
    for number, process in enumerate(processes):
        run = new_id() if number else tree
        root = {} if number else {"vendors": refs}
        opened = open_record(run, tree, tree if number else None, "tool", "part", 1)
        process.append(record.encode({**opened, **root}), (name,))
        process.append(record.encode({**close_record(run, tree, 1, "ok"), **root}))
        if number in ended:
            process.end()
    if taken:
        Cursor(journal.files, f"{name}.cursor").ack({tree: ([str(one) for one in range(taken)], taken, 0)})
    for _ in range(2):
        found = make_report(fresh(journal))
        sums = found.vendors["braintrust"]
        assert (sums.accepted, sums.delivered, sums.waiting) == (3, taken, 3 - taken)
        assert found == read_whole(journal, monkeypatch)


def test_f30_believed_or_read_the_sums_are_the_same_in_any_state(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(7)
    pipelines = [pipeline_for(VENDORS[0]), pipeline_for(*VENDORS), pipeline_for(), pipeline_for(VENDORS[1])]
    cursors: dict[str, Cursor] = {}
    for step in range(60):
        pipeline = rng.choice(pipelines)
        match rng.randrange(6):
            case 0:
                record_long(pipeline, rng.randrange(1, 4), close=rng.random() < 0.7)
            case 1 | 2:
                record_tree(pipeline, children=rng.randrange(4))
            case 3 if pipeline.vendor_refs:
                tree = record_tree(pipeline)
                add_feedback(journal, tree, tree, pipeline.vendor_refs, {"score": 1})
            case _:
                trees = list(trees_in(journal).values())
                refs = pipeline.vendor_refs[:1]
                for ref in refs:
                    name = f"{ref['name']}.{ref['fingerprint']}.cursor"
                    cursor = cursors.setdefault(name, Cursor(journal.files, name))
                    for tree in trees[: rng.randrange(len(trees) + 1)]:
                        if tree.is_whole and tree.names(**ref) and not cursor.is_settled(tree.id, tree.spans):
                            settle(cursor, tree)
        if step % 6 == 0:
            assert make_report(fresh(journal)) == read_whole(journal, monkeypatch), step
    journal.end()
    assert make_report(fresh(journal)) == read_whole(journal, monkeypatch)


def test_r9_nobody_takes_a_whole_log_into_memory(monkeypatch: pytest.MonkeyPatch, own_place: Path) -> None:
    """What a process takes for a moment it seldom gives back to the machine."""
    files = OnDisk(own_place)
    files.stretches = set()
    journal = Journal(files, roll_bytes=4 * READ_BYTES)
    monkeypatch.setattr(journal, "bound", lambda _: None)
    monkeypatch.setitem(journal_module._opened, ":memory:", journal)
    pipeline = pipeline_for(VENDORS[0])
    wanted = record_long(pipeline, 1_000, close=False)  # so that each log holds runs of a tree that began before it
    record_long(pipeline_for(), 10)
    assert len(journal.logs()) >= 3
    largest = 0
    read = DiskFiles.read

    def read_and_measure(*given: Any) -> bytes:
        nonlocal largest
        found = read(*given)
        largest = max(largest, len(found))
        return found

    monkeypatch.setattr(DiskFiles, "read", read_and_measure)
    assert make_report(fresh(journal)).events > 3_000
    assert recorded_sums(fresh(journal)).events > 3_000
    tree = find_trees(fresh(journal), [wanted])[wanted]
    assert sum(1 for _ in load(journal, tree.lines)) == tree.records > 2_000
    clear(fresh(journal), {wanted})
    assert 0 < largest <= READ_BYTES + max(length for _, _, length in tree.lines) + NEAR_BYTES
