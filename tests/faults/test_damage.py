"""F12, R11: a log damaged at any byte or cut anywhere delivers what is whole, marks what is half, counts the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.world import FaultyFiles, Process, VendorTotals, World

TREES = 5
CHILDREN = 3
EVENTS = TREES * (CHILDREN + 1)


class Recorded:
    """A log of twenty events, and where each line stands."""

    def __init__(self) -> None:
        """Record it."""
        world = World()
        self.trees = [world.one.tree(CHILDREN) for _ in range(TREES)]
        self.events = {run for tree in self.trees for run in tree}
        self.log = world.one.journal.log
        self.data = world.files.read(self.log, 0, 1 << 20)
        self.salt = world.files.read("salt", 0, 32)
        world.close()

    def lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Start, end and content of each line."""
        start = 0
        for line in self.data.splitlines(keepends=True):
            yield start, start + len(line), line
            start += len(line)

    def of(self, run: str) -> list[int]:
        """Numbers of the lines that are this event's records."""
        return [number for number, (_, _, line) in enumerate(self.lines()) if f'"id":"{run}"'.encode() in line]

    def delivered(self, data: bytes) -> tuple[World, VendorTotals, int]:
        """The world after delivery of such a log, by another process, the law checked; and the lines found broken."""
        files = FaultyFiles()
        files.append("salt", self.salt)
        files.append(self.log, data)
        world = World(files)
        world.consumer = None
        for _ in range(12):
            world.ship(3.0, 12)
        report = world.report()
        return world, world.sums(), report.damaged_lines + report.lost_lines


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    """The same log for all."""
    return Recorded()


def places(size: int, step: int) -> range:
    """Every `step`-th byte; the steps of CI have no divisor in common with the length of a line."""
    return range(step // 2, size, step)


def flip(recorded: Recorded, place: int) -> None:
    """Flip one bit there: only events of that line (or, for a newline, of the two it parts) may suffer."""
    damaged = bytearray(recorded.data)
    damaged[place] ^= 0x01
    world, sums, broken = recorded.delivered(bytes(damaged))
    hit = recorded.data[:place].count(b"\n")
    lines = {hit, hit + 1} if recorded.data[place : place + 1] == b"\n" else {hit}
    gone = {run for run in recorded.events if set(recorded.of(run)) <= lines}
    rows = set(world.sink.rows)
    whole_trees = {run for tree in recorded.trees if not any(run in gone for run in tree[:1]) for run in tree}
    assert recorded.events - gone & recorded.events >= rows
    assert whole_trees - gone <= rows, place
    assert broken >= 1 or place == len(recorded.data) - 1, place
    assert (sums.waiting, sums.dead) == (0, 0)
    assert sums.delivered == len(rows)
    # A child of which nothing is left is known from the number its root's close tells.
    known = {run for tree in recorded.trees if tree[0] not in gone for run in tree}
    assert sums.accepted == len(known | rows), place
    assert sums.dropped.get("damaged", 0) == len(known - rows), place
    world.close()


def test_f12_a_flipped_bit_costs_at_most_its_own_event(recorded: Recorded) -> None:
    """F12, R11: every 97th byte, and both sides of every line's end."""
    ends = {end - offset for _, end, _ in recorded.lines() for offset in (1, 2)}
    for place in sorted({*places(len(recorded.data), 97), *ends}):
        flip(recorded, place)


@pytest.mark.slow
def test_f12_every_bit_in_turn(recorded: Recorded) -> None:
    """F12, R11"""
    for place in range(len(recorded.data)):
        flip(recorded, place)


def cut(recorded: Recorded, length: int) -> None:
    """Cut there: what has a record before the cut is delivered, open runs as incomplete; nothing else is counted."""
    world, sums, _ = recorded.delivered(recorded.data[:length])
    whole = [line for _, end, line in recorded.lines() if end <= length + 1]
    seen = {run for run in recorded.events for line in whole if f'"id":"{run}"'.encode() in line}
    assert set(world.sink.rows) == seen, length
    assert (sums.accepted, sums.delivered, sums.waiting) == (len(seen), len(seen), 0), length
    world.close()


def test_f12_a_log_cut_anywhere_delivers_all_before_the_cut(recorded: Recorded) -> None:
    """F12, R11: every 89th length, and each line's end."""
    ends = {end + offset for _, end, _ in recorded.lines() for offset in (-1, 0, 1)}
    for length in sorted({*places(len(recorded.data), 89), *ends}):
        cut(recorded, min(length, len(recorded.data)))


@pytest.mark.slow
def test_f12_every_length_in_turn(recorded: Recorded) -> None:
    """F12, R11"""
    for length in range(len(recorded.data)):
        cut(recorded, length)


def test_f12_an_event_with_one_damaged_record_is_delivered_and_marked(recorded: Recorded) -> None:
    """F12: the start of a child is damaged: it arrives, its tree whole, and `notes` say so."""
    from eventtree.event import EventTree
    from tests.faults.world import PlainVendor

    seen: list[EventTree] = []
    original = PlainVendor.encode
    child = recorded.trees[0][1]
    (start, end, _) = list(recorded.lines())[recorded.of(child)[0]]
    damaged = recorded.data[:start] + b"#" * (end - start - 1) + b"\n" + recorded.data[end:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainVendor, "encode", lambda self, tree: (seen.append(tree), original(self, tree))[1])
        world, sums, broken = recorded.delivered(damaged)
    assert (sums.accepted, sums.delivered, broken) == (EVENTS, EVENTS, 2)
    event = next(event for tree in seen for event in tree.events if event.id == child)
    assert [note.name for note in event.notes] == ["damaged"]
    assert event.status == "ok"
    world.close()


def test_f12_a_child_of_which_nothing_is_left_is_counted_as_damaged(recorded: Recorded) -> None:
    """F12: both records are damaged; the root's close tells how many there were."""
    data = recorded.data
    for number in recorded.of(recorded.trees[0][1]):
        start, end, _ = list(recorded.lines())[number]
        data = data[:start] + b"#" * (end - start - 1) + b"\n" + data[end:]
    world, sums, _ = recorded.delivered(data)
    assert (sums.accepted, sums.delivered, sums.dropped) == (EVENTS, EVENTS - 1, {"damaged": 1})
    world.close()


@pytest.mark.parametrize("tail", [b"\0" * 4_096, b"\xff" * 100, b"{" * 300, b"\n" * 50, b"deadbeef 7 {}\n" * 3])
def test_f12_whatever_stands_behind_the_last_line_is_passed_over(recorded: Recorded, tail: bytes) -> None:
    """F12: a zeroed tail, rubbish, empty lines."""
    world, sums, _ = recorded.delivered(recorded.data + tail)
    assert (sums.accepted, sums.delivered, sums.waiting) == (EVENTS, EVENTS, 0)
    world.close()


def test_f12_a_damaged_cursor_sends_again_and_never_miscounts() -> None:
    """F12: each line of a cursor in turn is made unreadable; the law holds and nothing is lost."""
    world = World()
    ids = {run for _ in range(4) for run in world.one.tree(2)}
    world.settle()
    (name,) = [name for name in world.files.names() if name.endswith(".cursor")]
    lines = world.files.read(name, 0, 1 << 20).splitlines(keepends=True)
    assert len(lines) > 4
    for number, line in enumerate(lines):
        files = FaultyFiles()
        for other in world.files.names():
            files.append(other, world.files.read(other, 0, 1 << 20))
        files.replace(name, b"".join([*lines[:number], b"x" * (len(line) - 1) + b"\n", *lines[number + 1 :]]))
        again = World(files)
        again.sums()
        again.settle()
        sums = again.sums()
        assert (sums.accepted, sums.delivered, sums.waiting) == (len(ids), len(ids), 0), number
        again.close()
    world.close()


def test_f12_a_tree_damaged_between_counting_and_sending_is_counted() -> None:
    """F12: the lines were whole when they were indexed."""
    world = World()
    world.sink.mode = "503"
    ids = world.one.tree(3)
    world.ship(1.0, 3)
    assert world.consumer is not None
    data = world.files.read(world.one.journal.log, 0, 1 << 20)
    lost = [line for line in data.splitlines(keepends=True) if ids[2].encode() in line]
    for line in lost:
        world.files.overwrite(world.one.journal.log, data.index(line), b"\xff" * (len(line) - 1))
    world.consumer.release()
    world.consumer = None
    world.settle()
    sums = world.sums()
    assert (sums.delivered, sums.dropped) == (3, {"damaged": 1})
    world.close()


def test_f11_a_disk_that_will_not_read_a_tree_is_asked_again() -> None:
    """F11, F12: EIO for a while costs nothing; EIO for ever makes the tree damaged, and the next goes on."""
    for heals in (True, False):
        world = World()
        first = world.one.tree(2)
        world.ship(0.01, 1)
        reads = {"left": 3 if heals else 10_000}

        def hides(name: str, reads: dict[str, int] = reads, world: World = world) -> bool:
            is_load = name.endswith(".log") and world.consumer is not None and world.consumer.feed is not None
            reads["left"] -= is_load
            return is_load and reads["left"] >= 0

        world.files.hides = hides
        second = world.one.tree(2)
        for _ in range(30):
            world.ship(5.0, 10)
        world.files.hides = lambda _: False
        world.settle()
        sums = world.sums()
        assert sums.accepted == 6
        assert sums.delivered + sums.dropped.get("damaged", 0) == 6
        if heals:
            assert set(world.sink.rows) == {*first, *second}
        world.close()


def test_f12_a_second_process_reads_what_the_first_left(recorded: Recorded) -> None:
    """F12: the file of a foreign program, an empty one and a swapped name do no harm."""
    files = FaultyFiles()
    files.append("salt", recorded.salt)
    files.append(recorded.log, recorded.data)
    files.append("a.0000.log", b"")
    files.append("b.0000.log", b"hello\nworld\n" * 10)
    files.append("b.0001.log", recorded.data[100:400])
    files.append("notes.txt", b"hello")
    world = World(files)
    assert isinstance(world.one, Process)
    world.settle()
    assert world.sums().delivered == EVENTS
    world.close()
