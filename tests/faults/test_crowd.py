"""F30-F33: several vendors on one feed, one of them away; restarts; replays. Compared with a second record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
