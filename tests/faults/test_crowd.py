"""F30-F33: several vendors on one feed, one of them away; restarts; replays. Compared with a second record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.crowd import Crowd


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    world = Crowd()
    yield world
    world.close()


@pytest.mark.parametrize("away", ["plain", "final", "onetree"])
def test_f43_a_vendor_that_falls_behind_the_others_gets_every_event_in_the_end(
    crowd: Crowd, away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F30"""
    monkeypatch.setattr("eventtree.delivery.due.AHEAD_TREES", 20)
    crowd.sinks[away].mode = "503"
    for _ in range(4):
        for _ in range(60):
            crowd.tree()
        crowd.ship(60.0)
    others = [sink for name, sink in crowd.sinks.items() if name != away]
    assert all(len(sink.rows) >= 240 for sink in others), "the others were held up"
    crowd.settle()
    crowd.check()
    assert set(crowd.repeats().values()) == {0}


@pytest.mark.parametrize("away", ["plain", "final", "onetree"])
def test_f44_what_others_have_settled_is_new_to_a_vendor_that_was_away(crowd: Crowd, away: str) -> None:
    """F31"""
    crowd.sinks[away].mode = "503"
    for _ in range(30):
        crowd.tree()
    crowd.ship(20.0)
    crowd.kill_shipper()
    crowd.settle()
    crowd.check()
    assert set(crowd.repeats().values()) == {0}


def test_f44_an_old_open_run_costs_no_tree_a_second_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    """F31: the offset of a later log is kept while the first one is read anew."""
    monkeypatch.setattr("eventtree.journal.cursor.KEPT_TREES", 5)
    crowd = Crowd(roll_bytes=300_000)
    old = crowd.begin()
    for _ in range(600):
        crowd.tree()
    assert len(crowd.processes[0].journal.logs()) >= 2
    crowd.ship(60.0)
    crowd.stop_shipper()
    other = crowd.fork()
    for round_ in range(3):
        crowd.tree(other)
        crowd.processes.reverse()
        crowd.ship(0.2 + round_ / 10)
        crowd.stop_shipper()
    crowd.settle()
    crowd.check()
    assert set(crowd.repeats().values()) == {0}
    assert old in crowd.recorded
    crowd.close()


def test_f45_a_replay_twice_sends_each_tree_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """F32: what is remembered of it does not depend on how many trees there were."""
    monkeypatch.setattr("eventtree.journal.cursor.KEPT_TREES", 5)
    crowd = Crowd()
    crowd.processes[0].pipeline.vendor_refs = ()
    for _ in range(40):
        crowd.tree()
    for _ in range(3):
        crowd.ship(30.0, all_trees=True)
        crowd.stop_shipper()
    crowd.check()
    assert set(crowd.repeats().values()) == {0}
    crowd.close()


def test_f46_a_disk_that_refuses_to_read_in_the_middle_costs_no_vendor_a_tree(crowd: Crowd) -> None:
    """F33"""
    for _ in range(30):
        crowd.tree()
    first = crowd.begin()
    kid = crowd.child(first)
    crowd.ship(10.0)
    calls = [0]

    def every_third(name: str) -> bool:
        calls[0] += name.endswith(".log")
        return name.endswith(".log") and calls[0] % 3 == 0 and calls[0] < 25

    crowd.files.hides = every_third
    for _ in range(30):
        crowd.tree()
    crowd.processes[0].end(first)
    crowd.ship(30.0)
    crowd.processes[0].end(kid)
    crowd.ship(10.0)
    crowd.settle()
    report = crowd.report()
    for name, sums in report.vendors.items():
        assert sums.waiting == sums.unexplained == 0
        assert sums.delivered + sum(sums.dropped.values()) == len(crowd.recorded), (name, sums)
        assert set(sums.dropped) <= {"late"}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["tree", "tree", "burst", "begin", "child", "end", "ship", "ship", "sink", "die", "fork", "kill", "stop"]
        ),
        st.integers(0, 1_000),
    ),
    min_size=15,
    max_size=40,
)


def play(sequence: list[tuple[str, int]]) -> None:
    """One story of several processes and vendors; at its end each vendor has what was recorded."""
    crowd = Crowd(roll_bytes=20_000)
    modes = ("healthy", "503", "429", "silent", "401")
    try:
        for name, number in sequence:
            process = crowd.processes[number % len(crowd.processes)]
            if name == "tree":
                crowd.tree(process, number % 4)
            elif name == "burst":
                for _ in range(15):
                    crowd.tree(process, 1)
            elif name == "begin":
                crowd.begin(process)
            elif name == "child" and process.open:
                crowd.child(process.open[number % len(process.open)][0], process)
            elif name == "end" and process.open:
                process.end(process.open[number % len(process.open)][0])
            elif name == "ship":
                crowd.ship(0.05 + number / 50)
            elif name == "sink":
                list(crowd.sinks.values())[number % 3].mode = modes[number % len(modes)]
            elif name == "die" and not process.open:
                crowd.die(process)
            elif name == "fork" and len(crowd.processes) < 3:
                crowd.fork()
            elif name == "kill":
                crowd.kill_shipper()
            elif name == "stop":
                crowd.stop_shipper()
        report = crowd.settle()
        for name, sums in report.vendors.items():
            assert (sums.waiting, sums.dead, sums.unexplained) == (0, 0, 0), sums
            assert sums.accepted == len(crowd.recorded), (len(crowd.recorded), sums)
            assert set(sums.dropped) <= {"late"}, sums
            late = sums.dropped.get("late", 0)
            assert sums.delivered == len(crowd.recorded) - late
            if name != "onetree":
                assert len(set(crowd.recorded) - set(crowd.sinks[name].rows)) == late, (name, late)
            if name == "plain":
                assert late == 0, sums
                ends = [bodies[-1] for bodies in crowd.sinks[name].rows.values()]
                assert not [body for body in ends if b'"incomplete"' in body]
    finally:
        crowd.close()


def test_f33_a_run_that_ends_after_its_tree_went_out_is_updated() -> None:
    """F33: the root ends, its tree is waited for in vain and goes out, and only then the child ends."""
    play([("begin", 0), ("child", 0), ("end", 0), ("ship", 108)])


@pytest.mark.parametrize("examples", [150, pytest.param(5_000, marks=pytest.mark.slow)])
def test_f33_stories_of_several_vendors_and_processes(examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """F33: R12 for a crowd, with queues of a few trees and cursors that forget early."""
    monkeypatch.setattr("eventtree.delivery.due.AHEAD_TREES", 10)
    monkeypatch.setattr("eventtree.delivery.consumer.COMPACT_TREES", 8)
    monkeypatch.setattr("eventtree.journal.cursor.KEPT_TREES", 400)
    settings(max_examples=examples, deadline=None, database=None)(given(STEPS)(play))()


def test_f44_a_root_whose_end_was_lost_goes_out_after_a_day(crowd: Crowd) -> None:
    """F44: its process lives on, and will never say that it closed; and at once when that process ends."""
    process = crowd.processes[0]
    lost = [crowd.begin(), crowd.begin()]
    kid = crowd.child(lost[0])
    process.end(kid)
    crowd.tree()
    crowd.ship(60.0)
    assert set(lost) & set(crowd.sinks["plain"].rows) == set()
    for _ in range(30):
        crowd.loop.now += 3_600
        crowd.ship(90.0)
    assert {*lost, kid} <= set(crowd.sinks["plain"].rows)
    assert crowd.report().vendors["plain"].waiting == 0
