"""Lines: framing, and reading at any damage (R11, F12)."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest

from eventtree import record
from eventtree.delivery.feed import Feed, PendingFeedback
from eventtree.delivery.report import make_report
from eventtree.journal import DiskFiles, Journal, LineReader, MemoryFiles, frame
from eventtree.journal.clear import clear
from eventtree.journal.scan import Scan
from eventtree.journal.trees import LoggedTree, trees_in
from eventtree.kinds import Kind
from eventtree.record import encode
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from tests.trees import new_id


def entry(kind: str, tree: str, **more: object) -> bytes:
    return encode({"r": kind, "id": tree, "tree": tree, **more})


def journal_of(trees: int) -> Journal:
    journal = Journal(MemoryFiles())
    for number in range(trees):
        vendors = [{"name": "v", "fingerprint": "f"}]
        journal.append(entry("open", f"t{number}", parent=None, vendors=vendors))
        journal.append(entry("close", f"t{number}", status="ok", vendors=vendors))
    return journal


class Taker:
    """Takes what a feed hands out, if its root was seen."""

    is_full = False

    def __init__(self) -> None:
        self.found: list[str] = []

    def offer(self, tree: LoggedTree) -> None:
        if tree.vendors is not None:
            self.found.append(tree.id)

    def hear(self, feedback: PendingFeedback) -> None:
        """No feedback here."""

    def has_settled(self, tree_id: str) -> bool:
        return False


def read_all(journal: Journal) -> tuple[list[str], Scan]:
    feed, taker = Feed(journal, {}, {}, grace=0.0), Taker()
    feed.subscribers.append(taker)
    for _ in range(5):
        feed._idle = (float("-inf"), -1)
        feed.read()
    return taker.found, feed.scan


def test_a_line_holds_checksum_sequence_and_payload() -> None:
    assert frame(7, b'{"a":1}') == b"%08x 7 " % crc32(b'{"a":1}', 7) + b'{"a":1}\n'


def test_records_come_back_in_order_across_rolled_logs() -> None:
    journal = Journal(MemoryFiles(), roll_bytes=500)
    for number in range(50):
        journal.append(entry("note", "t", n=number))
    assert len(journal.logs()) > 5
    seqs = []
    for name in journal.logs():
        reader = LineReader(journal.files, name)
        count = len(reader.read(10_000))
        assert reader.next_seq is not None
        seqs += range(reader.next_seq - count, reader.next_seq)
    assert seqs == list(range(len(seqs)))


@pytest.mark.parametrize("step", [1, 7])
def test_f12_any_flipped_byte_leaves_every_other_tree_readable(step: int) -> None:
    """R11: 20 events, each byte in turn."""
    whole = journal_of(10)
    name = whole.logs()[0]
    data = whole.files.read(name, 0, 1 << 20)
    for position in range(step - 1, len(data), step):
        journal = Journal(MemoryFiles())
        damaged = bytearray(data)
        damaged[position] ^= 0x01
        journal.files.append(name, bytes(damaged))
        found, index = read_all(journal)
        hit = data[:position].count(b"\n")
        touched = {f"t{(line - 1) // 2}" for line in (hit, hit + 1 if data[position : position + 1] == b"\n" else hit)}
        assert {f"t{n}" for n in range(10)} - touched <= set(found), position
        assert index.readers[name].damage.bad_lines >= 1, position


def test_f12_a_log_cut_anywhere_opens_and_keeps_what_is_whole() -> None:
    """R11: every truncation."""
    whole = journal_of(5)
    name = whole.logs()[0]
    data = whole.files.read(name, 0, 1 << 20)
    for length in range(len(data)):
        journal = Journal(MemoryFiles())
        journal.files.append(name, data[:length])
        found, _ = read_all(journal)
        # A line that lacks only its newline is whole.
        lines = data[:length].count(b"\n") + (data[length : length + 1] == b"\n")
        opened = lines // 2
        assert found == [f"t{n}" for n in range(opened)], length


def test_f12_foreign_empty_and_zeroed_files_do_no_harm() -> None:
    journal = journal_of(2)
    journal.files.append("a.0000.log", b"")
    journal.files.append("b.0000.log", b"\0" * 5_000)
    journal.files.append("c.0000.log", b"hello\nworld\n" * 10)
    journal.files.append("notes.txt", b"hello")
    assert read_all(journal)[0] == ["t0", "t1"]


def test_f12_foreign_files_named_like_ours_do_no_harm(tmp_path: Path) -> None:
    files = DiskFiles(tmp_path / "j")
    for name in ("x.cursor", ".cursor", "a.b.cursor", ".dead", "x.dead", "x.log", ".log"):
        files.append(name, b"\xff not ours\n" * 9)
    report = make_report(Journal(files))
    assert (report.vendors, report.events, report.damaged_lines) == ({}, 0, 18)


def test_what_another_process_removes_meanwhile_reads_as_empty(tmp_path: Path) -> None:
    files = DiskFiles(tmp_path / "j")
    files.append("x.log", b"x")
    files.remove("x.log")
    assert files.read("x.log", 0, 10) == b""
    (tmp_path / "j").rmdir()
    assert files.names() == []


def test_a_missing_line_is_counted() -> None:
    journal = journal_of(3)
    name = journal.logs()[0]
    lines = journal.files.read(name, 0, 1 << 20).splitlines(keepends=True)
    journal.files.replace(name, b"".join(lines[:2] + lines[4:]))
    _, index = read_all(journal)
    assert index.readers[name].damage.lost == 2


def test_a_stretch_without_records_does_not_end_the_reading(own_place: Path) -> None:
    """A log whose second line is longer than one read; a log of which the first megabyte was cleared."""
    pipeline = Pipeline()
    runs = [new_id() for _ in range(3)]
    for number, run in enumerate(runs):
        recorder.open(pipeline, run, None, kind=Kind.CHAIN, name="root", inputs="x" * (600_000 >> number))
        recorder.close(pipeline, run)
    assert list(trees_in(pipeline.journal)) == runs
    clear(pipeline.journal, set(runs[:2]))
    assert [tree.id for tree in trees_in(pipeline.journal).values() if tree.has_contents] == runs[2:]


@pytest.mark.parametrize("is_all", [True, False])
def test_a_damaged_line_keeps_no_contents_of_a_tree_that_is_cleared(tmp_path: Path, *, is_all: bool) -> None:
    journal = Journal(DiskFiles(tmp_path / "j"))
    for tree in ("tree-0", "tree-1"):
        for text in ("whole secret", "damaged secret"):
            journal.append(entry("note", tree, text=f"{text} of {tree}"))
    journal.append(entry("note", "tree-2", text="a secret of no other record"))
    [log] = journal.logs()
    data = journal.files.read(log, 0)
    for text in (b"damaged secret", b"secret of no other"):
        data = data.replace(text, text.upper())
    journal.files.replace(log, data)
    before = make_report(journal).damaged_lines
    clear(journal, None if is_all else {"tree-0"})
    left = journal.files.read(log, 0)
    assert (b"of tree-0" in left, b"of tree-1" in left, b"NO OTHER" in left) == (False, not is_all, not is_all)
    assert (len(left), make_report(journal).damaged_lines) == (len(data), before)
    assert before == 3


def test_what_is_cleared_is_as_long_as_it_was_and_has_no_contents() -> None:
    for line in (
        entry("open", "t", framework="f", name="secret", start=1, vendors=[], joined=True, metadata={"cleared": True}),
        entry("note", "t", name="secret", at=1, after=1, value=1),
        entry("close", "t", duration=1, status="ok"),
        entry("close", "t", duration=1, status="ok", vendors=[{"name": "v", "fingerprint": "f"}], events=3, parts=1),
        entry("feedback", "t", key="k", at=1_700_000_000_000_000_000, comment="secret"),
    ):
        left = record.cleared(record.decode(line), len(line))
        assert left is not None
        assert (len(left), record.head(left), record.refs_in(left)) == (
            len(line),
            record.head(line),
            record.refs_in(line),
        )
        assert (record.is_cleared(line), record.is_cleared(left), b"secret" in left) == (False, True, False)
        assert record.cleared(record.decode(left), len(left)) == left
    for kind in ("vendors", "drop"):
        assert record.cleared({"r": kind, "id": "t", "tree": "t"}, 1_000) is None
