"""The sums at each moment: by whichever way they are counted, and whatever was cleared, removed or came late."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from eventtree.delivery import report
from eventtree.delivery.dead_letters import drop_letters, letters_in
from eventtree.delivery.report import Report, VendorTotals, make_report
from eventtree.journal import Journal
from eventtree.journal.clear import clear
from eventtree.journal.retention import remove_settled
from eventtree.journal.totals import recorded_sums
from eventtree.journal.trees import trees_in
from eventtree.kinds import Kind
from eventtree.recording.feedback import add_feedback
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.remote import Remote, joined, written
from tests.faults.crowd import Crowd
from tests.faults.world import Process, digest, reply

KEEPS = (None, None, "rate:0.5", "rate:0 OR feedback", "status:error OR rate:0.2")
MODES = ("healthy", "503", "429", "silent", "401", "cut")


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    world = Crowd()
    yield world
    world.close()


def read_whole(crowd: Crowd) -> Report:
    """The report that reads all logs."""

    def without_logs(journal: Journal) -> Any:
        found = recorded_sums(journal)
        found.by_log = {}
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "recorded_sums", without_logs)
        return make_report(Journal(crowd.files))


def checked(crowd: Crowd) -> dict[str, VendorTotals]:
    """The sums as they stand: believed or read they are the same, and nothing is unexplained."""
    found = crowd.report()
    assert found == read_whole(crowd)
    for sums in found.vendors.values():
        assert (sums.unexplained, sums.differs) == (0, False), sums
        assert min(sums.accepted, sums.delivered, sums.waiting, sums.dead, *sums.dropped.values(), 0) == 0, sums
    return found.vendors


def hand_on(caller: Process, worker: Process, run: str) -> str:
    """The worker's part of a run of the caller."""
    known = caller.recorder.find(run)
    assert known is not None
    known.tree.parts += 1  # as `headers()` does
    with joined(written(Remote(run, known.tree.id))):
        return worker.start()


def half_sent(crowd: Crowd, monkeypatch: pytest.MonkeyPatch, *, all_trees: bool = False) -> None:
    """Ship while a vendor takes one request, of twenty events, and is away for the next."""
    sink = crowd.sinks["plain"]
    send, before = sink.send, sink.requests

    async def once(*given: Any) -> Any:
        return reply(503, b"no") if sink.requests > before else await send(*given)

    with monkeypatch.context() as patch:
        patch.setattr(sink, "send", once)
        crowd.ship(1.0, all_trees=all_trees)
    assert checked(crowd)["plain"].delivered == 20


def join_late(crowd: Crowd, process: Process, run: str, vendors: int) -> None:
    """Another handler, with some of the vendors, sees a run that is open."""
    other = Pipeline(journal=":memory:", deliver=False, vendors=())
    other.journal = process.journal
    other.vendor_refs = crowd.processes[0].pipeline.vendor_refs[:vendors]
    process.recorder.open(other, run, None, kind=Kind.CHAIN, name="run")


# -- what comes late --------------------------------------------------------------------------------------------------


def test_f30_of_a_tree_that_went_out_only_what_came_late_waits(crowd: Crowd) -> None:
    process = crowd.processes[0]
    root = crowd.begin()
    kid = crowd.child(root)
    process.end(root)
    crowd.ship(20.0)
    crowd.child(kid)
    assert {(sums.accepted, sums.delivered, sums.waiting) for sums in checked(crowd).values()} == {(3, 2, 1)}
    crowd.settle()
    checked(crowd)


def test_f30_what_comes_late_of_a_tree_that_was_replayed_is_for_whom_the_tree_names(crowd: Crowd) -> None:
    process = crowd.processes[0]
    process.pipeline.vendor_refs = process.pipeline.vendor_refs[:1]
    root = crowd.begin()
    kid = crowd.child(root)
    process.end(root)
    crowd.ship(20.0, all_trees=True)
    crowd.stop_shipper()
    crowd.child(kid)
    for _ in range(2):
        assert {name: (sums.accepted, sums.recorded) for name, sums in checked(crowd).items()} == {
            "plain": (3, 3), "final": (2, 2), "onetree": (2, 2),
        }  # fmt: skip
        crowd.settle()
    assert {name: len(sink.rows) for name, sink in crowd.sinks.items()} == {"plain": 3, "final": 2, "onetree": 1}
    crowd.stop_shipper()
    crowd.ship(20.0, all_trees=True)
    assert {sums.accepted for sums in checked(crowd).values()} == {3}


def test_f30_a_part_is_for_whom_its_root_names_in_a_log_that_is_believed(crowd: Crowd) -> None:
    caller, worker = crowd.processes[0], crowd.fork()
    for names in (1, 0):
        caller.pipeline.vendor_refs = worker.pipeline.vendor_refs[:names]
        hand_on(caller, worker, caller.start())
        assert {name: sums.accepted for name, sums in checked(crowd).items()} == {"plain": 2}


def test_f30_feedback_waits_for_whom_its_tree_is_though_its_process_knew_neither(crowd: Crowd) -> None:
    tree = crowd.tree()
    add_feedback(crowd.fork().journal, tree, tree, None, {"score": 1})
    assert {sums.feedback["waiting"] for sums in checked(crowd).values()} == {1}


@pytest.mark.parametrize("is_cleared", [False, True])
def test_f30_a_new_shipper_counts_a_run_that_ends_late_once_beside_a_part_of_another_process(
    crowd: Crowd, *, is_cleared: bool
) -> None:
    """The rest of the tree is settled, so the part is late too: what it is read with began in the settled lines."""
    caller, worker = crowd.processes[0], crowd.fork()
    root = crowd.begin()
    kid = crowd.child(root)
    if is_cleared:
        clear(Journal(crowd.files))
    else:
        caller.end(root)
        crowd.ship(20.0)
        crowd.stop_shipper()
    worker.end(part := hand_on(caller, worker, kid))
    caller.end(kid)
    caller.end(root)
    crowd.ship(20.0)
    assert {(sums.accepted, sums.waiting) for sums in checked(crowd).values()} == {(3, 0)}
    for name in ("final", "onetree"):
        assert (part in str(crowd.sinks[name].rows)) is is_cleared
        assert checked(crowd)[name].dropped == ({"by_user": 2} if is_cleared else {"late": 1})
    assert part in crowd.sinks["plain"].rows


# -- what is cleared --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("most", [1, 3])
def test_f30_what_is_cleared_was_recorded(crowd: Crowd, most: int, *, is_killed: bool) -> None:
    """In the log of a process that lives, or was killed: neither has written its sums behind it."""
    trees = [crowd.tree() for _ in range(3)]
    crowd.fork()
    if is_killed:
        crowd.die(crowd.processes[0])
    assert clear(Journal(crowd.files), set(trees[:most])) == most
    for sums in checked(crowd).values():
        assert (sums.accepted, sums.waiting, sums.dropped) == (9, 9 - 3 * most, {"by_user": 3 * most})
    assert crowd.report().vendors["plain"].recorded == 9


def test_f30_a_clearing_that_is_killed_at_any_line_leaves_the_sums_and_is_done_by_the_next(crowd: Crowd) -> None:
    crowd.tree()
    overwrite, left = crowd.files.overwrite, 0

    def killed(*given: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        overwrite(*given)

    for lines in range(1, 4):
        left = lines
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(crowd.files, "overwrite", killed)
            clear(Journal(crowd.files))
        assert {(sums.accepted, sums.waiting) for sums in checked(crowd).values()} == {(3, 3)}
    assert [clear(Journal(crowd.files)) for _ in range(2)] == [1, 0]
    assert {(sums.waiting, sums.dropped["by_user"]) for sums in checked(crowd).values()} == {(0, 3)}


@pytest.mark.parametrize("ships", [False, True])
def test_f30_a_tree_that_went_out_is_counted_once_though_it_is_cleared_with_its_feedback(
    crowd: Crowd, *, ships: bool
) -> None:
    tree = crowd.tree()
    crowd.ship(5.0)
    if not ships:
        crowd.stop_shipper()
    add_feedback(crowd.processes[0].journal, tree, tree, crowd.processes[0].pipeline.vendor_refs, {"score": 1})
    clear(Journal(crowd.files))
    checked(crowd)
    crowd.ship(5.0)
    for sums in checked(crowd).values():
        assert (sums.accepted, sums.delivered, sums.waiting, sums.dropped) == (3, 3, 0, {})


def test_f30_who_is_named_by_feedback_alone_is_owed_nothing_of_a_tree_that_is_cleared(crowd: Crowd) -> None:
    process = crowd.processes[0]
    refs = process.pipeline.vendor_refs
    process.pipeline.vendor_refs = refs[:1]
    tree = crowd.tree()
    add_feedback(process.journal, tree, tree, refs, {"score": 1})
    clear(Journal(crowd.files))
    assert {name: sums.accepted for name, sums in checked(crowd).items() if sums.accepted} == {"plain": 3}


@pytest.mark.parametrize("has_feedback", [False, True])
def test_f30_what_a_vendor_has_taken_of_a_tree_is_not_dropped_when_it_is_cleared(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, *, has_feedback: bool
) -> None:
    process = crowd.processes[0]
    ids = process.tree(30)
    if has_feedback:
        add_feedback(process.journal, ids[0], ids[0], process.pipeline.vendor_refs, {"score": 1})
    half_sent(crowd, monkeypatch)
    crowd.kill_shipper()
    clear(Journal(crowd.files))
    checked(crowd)
    crowd.ship(30.0)
    sums = checked(crowd)["plain"]
    assert (sums.accepted, sums.delivered, sums.dropped) == (31, 20, {"by_user": 11})


def test_f30_a_shipper_that_is_in_the_middle_of_a_tree_counts_it_once(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process clears meanwhile: what stays of the tree says how many events it had."""
    crowd.processes[0].tree(30)
    half_sent(crowd, monkeypatch)
    clear(Journal(crowd.files))
    checked(crowd)
    crowd.ship(30.0)
    sums = checked(crowd)["plain"]
    assert (sums.accepted, sums.delivered, sums.dropped) == (31, 20, {"by_user": 11})


@pytest.mark.parametrize("ships", [False, True])
def test_f30_a_run_that_ends_or_begins_after_its_tree_was_cleared_is_counted_once(crowd: Crowd, *, ships: bool) -> None:
    """Beside a shipper what stays of the tree says how many events it had; what comes later is cleared again."""
    process = crowd.processes[0]
    root = crowd.begin()
    if ships:
        crowd.ship(5.0)
    clear(Journal(crowd.files))
    for events in (2, 3):
        run = crowd.child(root)
        clear(Journal(crowd.files))
        assert {sums.accepted for sums in checked(crowd).values()} == {events}
        process.end(run)
    process.end(root)
    assert {sums.accepted for sums in checked(crowd).values()} == {3}
    clear(Journal(crowd.files))
    crowd.ship(30.0)
    for sums in checked(crowd).values():
        assert (sums.accepted, sums.waiting, sums.dropped) == (3, 0, {"by_user": 3})


def test_f30_what_a_shipper_has_read_of_a_tree_that_is_cleared_is_counted_once(crowd: Crowd) -> None:
    root = crowd.begin()
    crowd.ship(5.0)
    crowd.processes[0].end(root)
    clear(Journal(crowd.files))
    crowd.ship(30.0)
    assert {(sums.accepted, sums.dropped["by_user"]) for sums in checked(crowd).values()} == {(1, 1)}


def test_f30_a_part_that_is_cleared_was_counted_for_nobody_by_its_process(crowd: Crowd) -> None:
    worker = crowd.fork()
    root = crowd.begin()
    clear(Journal(crowd.files))
    crowd.ship(5.0)
    run = hand_on(crowd.processes[0], worker, root)
    worker.end(run)
    clear(Journal(crowd.files))
    crowd.ship(30.0)
    for process in list(crowd.processes):
        process.journal.end()
    assert {(sums.accepted, sums.recorded) for sums in checked(crowd).values()} == {(2, 2)}


def test_f30_a_replay_takes_nothing_for_anothers_that_came_after_its_tree_was_cleared(crowd: Crowd) -> None:
    root = crowd.begin()
    clear(Journal(crowd.files))
    crowd.child(root)
    crowd.ship(5.0, all_trees=True)
    crowd.stop_shipper()
    crowd.processes[0].journal.end()
    assert {(sums.accepted, sums.recorded) for sums in checked(crowd).values()} == {(2, 2)}


def test_f30_a_tree_cleared_again_beside_a_shipper_is_counted_once_by_those_ahead_and_those_behind(
    crowd: Crowd,
) -> None:
    """What stays of the first clearing has been read, or was not: what stays of the second is for both."""
    process = crowd.processes[0]
    root = crowd.begin()
    crowd.ship(5.0)
    assert clear(Journal(crowd.files)) == 1
    crowd.child(root)
    crowd.sinks["plain"].mode = "401"  # this one settles nothing any more
    crowd.tree()
    crowd.ship(5.0)
    assert clear(Journal(crowd.files)) == 2
    assert {sums.accepted for sums in checked(crowd).values()} == {5}
    add_feedback(process.journal, root, root, None, {"score": 1})
    crowd.ship(5.0)
    crowd.child(root)
    assert clear(Journal(crowd.files)) == 1
    assert clear(Journal(crowd.files)) == 0
    crowd.sinks["plain"].mode = "healthy"
    crowd.processes[0].end(root)
    crowd.ship(400.0)
    for name, sums in checked(crowd).items():
        assert (name, sums.accepted, sums.waiting) == (name, 6, 0)


@pytest.mark.parametrize("ships", [False, True])
@pytest.mark.parametrize("has_child", [False, True])
def test_f30_of_a_run_that_was_cleared_while_it_was_open_nothing_is_sent_when_it_ends(
    crowd: Crowd, *, has_child: bool, ships: bool
) -> None:
    """Beside a shipper that has read its start: it was an event that began in 1970, which vendors refuse."""
    root = crowd.begin()
    if ships:
        crowd.ship(5.0)
    clear(Journal(crowd.files))
    child = crowd.child(root) if has_child else None
    for run, _ in reversed(list(crowd.processes[0].open)):
        crowd.processes[0].end(run)
    crowd.ship(30.0)
    assert list(crowd.sinks["plain"].rows) == ([child] if has_child else [])
    for sums in checked(crowd).values():
        assert (sums.accepted, sums.waiting, sums.dropped) == (1 + has_child, 0, {"by_user": 1})


def test_f30_what_was_only_counted_keeps_its_reason_when_it_is_cleared(crowd: Crowd) -> None:
    process = crowd.processes[0]
    process.pipeline.settings = process.pipeline.settings.model_copy(update={"sample_rate": 0.0})
    process.tree(1)
    crowd.sinks["plain"].mode = "503"
    crowd.ship(1.0)
    assert clear(Journal(crowd.files)) == 0
    assert {tuple(sums.dropped) for sums in crowd.settle().vendors.values()} == {("sampled",)}


def test_f30_of_a_tree_that_was_left_out_what_is_cleared_cannot_be_replayed(crowd: Crowd) -> None:
    """A replay sends what came after."""
    process = crowd.processes[0]
    for name, vendor in crowd.vendors.items():
        crowd.vendors[name] = vendor.model_copy(update={"keep": "rate:0"})
    root = crowd.begin()
    process.end(crowd.child(root))
    process.end(root)
    crowd.ship(5.0)
    crowd.stop_shipper()
    clear(Journal(crowd.files))
    crowd.child(root)
    crowd.fork()
    crowd.die(process)
    crowd.ship(30.0, all_trees=True)
    sums = checked(crowd)["plain"]
    assert (sums.accepted, sums.delivered, sums.dropped) == (3, 1, {"by_user": 2})


@pytest.mark.parametrize("vendors", [slice(1, 2), slice(0, 3)])
def test_f30_a_part_that_is_cleared_with_the_rest_of_its_tree_is_for_the_vendors_of_the_tree(
    crowd: Crowd, vendors: slice
) -> None:
    """The root was cleared before: the part names fewer vendors than the tree, or more."""
    caller, worker = crowd.processes[0], crowd.fork()
    refs = caller.pipeline.vendor_refs
    caller.pipeline.vendor_refs, worker.pipeline.vendor_refs = refs[:2], refs[vendors]
    root = crowd.begin()
    clear(Journal(crowd.files))
    kid = crowd.child(root)
    hand_on(caller, worker, kid)
    clear(Journal(crowd.files))
    crowd.child(kid)
    for process in (caller, worker):
        process.journal.end()
    for events in (4, 0):
        named = [sums for sums in checked(crowd).values() if sums.accepted]
        assert [(sums.name, sums.accepted, sums.waiting) for sums in named] == [
            ("final", 4, events),
            ("plain", 4, events),
        ]
        crowd.settle()


def test_f30_a_tree_that_was_left_out_and_is_sent_for_its_feedback_is_counted_once_though_some_was_cleared(
    crowd: Crowd,
) -> None:
    """Feedback that a shipper has read is cleared with the tree's start; what came later fits `keep` by another."""
    crowd.vendors["plain"] = crowd.vendors["plain"].model_copy(update={"keep": "rate:0 OR feedback"})
    process = crowd.processes[0]
    root = crowd.begin()
    add_feedback(process.journal, root, root, process.pipeline.vendor_refs, {"score": 1})
    crowd.ship(5.0)
    clear(Journal(crowd.files))
    process.end(crowd.child(root))
    process.end(root)
    crowd.ship(30.0)
    assert checked(crowd)["plain"].dropped == {"by_user": 1, "sampled": 1}
    add_feedback(process.journal, root, root, process.pipeline.vendor_refs, {"score": 1})
    crowd.ship(30.0)
    assert {(sums.accepted, sums.waiting) for sums in checked(crowd).values()} == {(2, 0)}
    assert checked(crowd)["plain"].dropped == {"by_user": 1}


def test_f30_letters_are_removed_and_counted_in_one(crowd: Crowd) -> None:
    """Who is killed between the two would have told a wrong fate of another event."""
    crowd.sinks["plain"].poison = lambda _: True
    crowd.tree()
    crowd.ship(20.0)
    crowd.stop_shipper()
    first = letters_in(Journal(crowd.files), "plain")[:1]
    crowd.files.refuses = lambda name: name.endswith(".dead")
    with pytest.raises(OSError, match="No space"):
        drop_letters(Journal(crowd.files), first)
    crowd.files.refuses = lambda _: False
    for dead, dropped in ((3, {}), (2, {"by_user": 1}), (2, {"by_user": 1})):
        sums = checked(crowd)["plain"]
        assert (sums.dead, sums.dropped, len(letters_in(Journal(crowd.files), "plain"))) == (dead, dropped, dead)
        drop_letters(Journal(crowd.files), first)
    crowd.tree()
    crowd.ship(20.0)
    assert (checked(crowd)["plain"].dead, len(letters_in(Journal(crowd.files), "plain"))) == (5, 5)


# -- what is removed --------------------------------------------------------------------------------------------------


def test_f30_the_log_that_has_the_sums_of_its_process_goes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old run is not settled, all after it is: of the logs between, the newest stays as long as the oldest."""
    crowd = Crowd(roll_bytes=2_000)
    crowd.begin()
    for _ in range(12):
        crowd.tree()
    first = crowd.processes[0].journal
    crowd.ship(10.0)
    crowd.stop_shipper()
    first.end()
    crowd.fork()
    crowd.die(crowd.processes[0])
    logs = first.logs()
    assert len(logs) > 3
    removed = remove_settled(Journal(crowd.files), kept_bytes=0, now=0.0)
    assert removed and not {logs[0], logs[-1]} & set(removed)
    assert {sums.recorded for sums in checked(crowd).values()} == {37}
    crowd.settle()
    crowd.stop_shipper()
    assert remove_settled(Journal(crowd.files), kept_bytes=0, now=0.0) == [logs[0], logs[-1]]
    assert {sums.recorded for sums in checked(crowd).values()} == {37}
    crowd.close()


def test_f30_sums_are_not_counted_from_what_is_left_of_a_process_whose_logs_have_gone() -> None:
    """A root in its oldest log names another vendor in its newest; those between are removed."""
    crowd = Crowd(roll_bytes=2_000)
    process = crowd.processes[0]
    refs, process.pipeline.vendor_refs = process.pipeline.vendor_refs, process.pipeline.vendor_refs[:1]
    root = crowd.begin()
    for _ in range(12):
        crowd.tree()
    crowd.ship(10.0)
    process.pipeline.vendor_refs = refs
    join_late(crowd, process, root, 3)
    assert remove_settled(Journal(crowd.files), kept_bytes=0)
    assert [(sums.accepted, sums.recorded) for sums in checked(crowd).values()] == [(1, None), (1, None), (37, None)]
    crowd.close()


# -- what a replay sends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("was_left_out", [False, True])
def test_f30_a_replay_that_ends_halfway_through_a_tree(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, *, was_left_out: bool
) -> None:
    """Of a tree that was recorded for nobody, or left out (`keep`): what was taken of it is delivered, the rest not."""
    process, vendor = crowd.processes[0], crowd.vendors["plain"]
    if was_left_out:
        crowd.vendors["plain"] = vendor.model_copy(update={"keep": "rate:0"})
    else:
        process.pipeline.vendor_refs = ()
    process.tree(30)
    crowd.ship(5.0)
    crowd.stop_shipper()
    half_sent(crowd, monkeypatch, all_trees=True)
    crowd.stop_shipper()
    accepted, dropped = (31, {"sampled": 11}) if was_left_out else (20, {})
    sums = checked(crowd)["plain"]
    assert (sums.accepted, sums.delivered, sums.waiting, sums.dropped) == (accepted, 20, 0, dropped)
    crowd.ship(30.0, all_trees=True)
    sums = checked(crowd)["plain"]
    assert (sums.accepted, sums.delivered, sums.waiting, sums.dropped) == (31, 31, 0, {})


# -- what is damaged --------------------------------------------------------------------------------------------------


def test_f12_what_a_vendor_has_taken_of_a_tree_that_can_be_read_no_more(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = crowd.processes[0]
    process.tree(30)
    half_sent(crowd, monkeypatch)
    crowd.kill_shipper()
    log = process.journal.logs()[0]
    lines = crowd.files.read(log, 0).split(b"\n")
    crowd.files.overwrite(log, 0, b"\n".join(b"~" * len(line) for line in lines))
    sums = checked(crowd)["plain"]
    assert (sums.accepted, sums.delivered, sums.waiting) == (20, 20, 0)


@pytest.mark.parametrize("harmed", ["removed", "log"])
def test_f12_sums_that_cannot_be_read_are_none(crowd: Crowd, harmed: str) -> None:
    """Of what was removed, and of a killed process: no events are said to be counted twice."""
    for _ in range(2):
        crowd.tree()
        crowd.fork()
        crowd.die(crowd.processes[0])
        crowd.ship(30.0)
        crowd.stop_shipper()
        remove_settled(Journal(crowd.files), kept_bytes=0)
        crowd.tree()
    assert {sums.recorded for sums in checked(crowd).values()} == {12}
    name = harmed if harmed == "removed" else crowd.processes[0].journal.logs()[0]
    crowd.files.overwrite(name, crowd.files.size(name) // 2, b"~")
    assert {sums.recorded for sums in checked(crowd).values()} == {None}


# -- all of it --------------------------------------------------------------------------------------------------------


class Story:
    """A random sequence over several processes, with the sums looked at after each step."""

    def __init__(self, seed: int) -> None:
        """Some vendors choke on some events; logs are of any length."""
        self.rng = rng = random.Random(seed)
        self.crowd = Crowd(seed, roll_bytes=rng.choice([1_500, 4_000, 20_000]))
        for sink in self.crowd.sinks.values():
            if rng.random() < 0.4:
                sink.poison = partial(_chokes, every=rng.randrange(5, 12))
        for name, vendor in self.crowd.vendors.items():
            self.crowd.vendors[name] = vendor.model_copy(update={"keep": rng.choice(KEEPS)})
        self.steps: list[Callable[[Process], object]] = [
            lambda process: self.crowd.tree(process, rng.randrange(4)),
            lambda process: [self.crowd.tree(process, 1) for _ in range(rng.randrange(3, 15))],
            *2 * [lambda process: self.crowd.begin(process)],
            *2 * [lambda process: process.open and self.crowd.child(rng.choice(process.open)[0], process)],
            lambda process: process.open and process.end(rng.choice(process.open)[0]),
            *2 * [lambda _: self.crowd.ship(0.05 + rng.random() * rng.choice([1, 20]))],
            self._sink, self._die, self._fork, self._join, self._feedback, self._sampled, self._dead,
            self._join_late, self._clear,
            lambda _: self.crowd.kill_shipper(),
            lambda _: self.crowd.stop_shipper(),
            self._replay,
            lambda _: remove_settled(Journal(self.crowd.files), kept_bytes=rng.choice([0, 2_000, 10_000])),
        ]  # fmt: skip

    def play(self, steps: int) -> None:
        """So many steps, and the end: nothing waits."""
        for _ in range(steps):
            self.rng.choice(self.steps)(self.rng.choice(self.crowd.processes))
            checked(self.crowd)
        self.crowd.settle()
        assert {sums.waiting for sums in checked(self.crowd).values()} <= {0}
        self.crowd.close()

    def _sink(self, _: Process) -> None:
        self.rng.choice(list(self.crowd.sinks.values())).mode = self.rng.choice(MODES)

    def _die(self, process: Process) -> None:
        if self.rng.random() < 0.5:
            process.journal.end()
        self.crowd.die(process)

    def _fork(self, _: Process) -> None:
        if len(self.crowd.processes) < 4:
            refs = self.crowd.fork().pipeline.vendor_refs
            self.crowd.processes[-1].pipeline.vendor_refs = tuple(
                self.rng.sample(refs, self.rng.choice([0, 1, 2, 3, 3]))
            )

    def _join(self, process: Process) -> None:
        worker = self.rng.choice(self.crowd.processes)
        runs = [run for run, _ in process.open if process.recorder.find(run) is not None]
        if runs and worker is not process:
            part = hand_on(process, worker, self.rng.choice(runs))
            self.crowd.recorded[part] = part

    def _join_late(self, process: Process) -> None:
        if process.open:
            join_late(self.crowd, process, self.rng.choice(process.open)[0], self.rng.randrange(4))

    def _feedback(self, process: Process) -> None:
        trees = list(trees_in(Journal(self.crowd.files)))
        if trees:
            tree, refs = self.rng.choice(trees), self.rng.choice([None, process.pipeline.vendor_refs])
            add_feedback(process.journal, tree, tree, refs, {"score": 1})

    def _clear(self, _: Process) -> None:
        trees = list(trees_in(Journal(self.crowd.files)))
        some = set(self.rng.sample(trees, min(len(trees), self.rng.randrange(5))))
        clear(Journal(self.crowd.files), self.rng.choice([None, some, some]))

    def _sampled(self, process: Process) -> None:
        given = process.pipeline.settings
        process.pipeline.settings = given.model_copy(update={"sample_rate": 0.0})
        process.tree(self.rng.randrange(3))
        process.pipeline.settings = given

    def _replay(self, _: Process) -> None:
        self.crowd.stop_shipper()
        self.crowd.ship(self.rng.choice([0.3, 5]), all_trees=True)
        self.crowd.stop_shipper()

    def _dead(self, _: Process) -> None:
        letters = letters_in(Journal(self.crowd.files))
        if letters:
            self.crowd.stop_shipper()
            drop_letters(Journal(self.crowd.files), self.rng.sample(letters, self.rng.randrange(1, len(letters) + 1)))


def _chokes(run: str, every: int) -> bool:
    return digest(run) % every == 0


@pytest.mark.parametrize("stories", [80, pytest.param(2_000, marks=pytest.mark.slow)])
def test_r12_the_sums_are_right_at_each_moment(stories: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """R12: several processes, forks of the tree, kills, logs that roll and go, late vendors, feedback, dead letters."""
    monkeypatch.setattr("eventtree.delivery.due.AHEAD_TREES", 10)
    monkeypatch.setattr("eventtree.delivery.consumer.COMPACT_TREES", 8)
    for seed in range(stories):
        Story(seed).play(30)
