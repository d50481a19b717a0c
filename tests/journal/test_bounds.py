"""Bounds of the journal: what is settled goes by age and size, what is full takes no new tree, all of it counted."""

from __future__ import annotations

import time

import pytest

from eventtree import flush
from eventtree.delivery.report import make_report
from eventtree.door import Door
from eventtree.journal import Journal, MemoryFiles
from eventtree.journal.sweep import sweep
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.recording import record_tree


def door_of(
    journal: Journal, server: VendorServer | None = None, monkeypatch: pytest.MonkeyPatch | None = None
) -> Door:
    vendors = [Braintrust(**server.settings("braintrust"))] if server else []
    door = Door(vendors=vendors, journal=":memory:")
    door.journal.roll_bytes = journal.roll_bytes
    door.journal.max_bytes = journal.max_bytes
    return door


def test_settled_logs_go_oldest_first_and_the_sums_stay() -> None:
    with VendorServer() as server:
        door = door_of(Journal(MemoryFiles(), roll_bytes=2_000), server)
        for _ in range(20):
            record_tree(door)
        before = flush(10).vendors["braintrust"]
        logs = door.journal.logs()
        gone = sweep(door.journal, kept_bytes=0)
        assert gone == logs[:-1]
        after = make_report(door.journal).vendors["braintrust"]
        assert (after.accepted, after.delivered, after.waiting) == (before.accepted, before.delivered, 0) == (60, 60, 0)
        record_tree(door)
        assert flush(10).vendors["braintrust"].delivered == 63
        assert len(server.event_ids("braintrust")) == 63


def test_what_a_vendor_has_not_taken_is_never_removed() -> None:
    door = Door(vendors=[Braintrust(api_key="k", base_url="http://127.0.0.1:9")], journal=":memory:")
    door.journal.roll_bytes = 2_000
    for _ in range(20):
        record_tree(door)
    assert sweep(door.journal, kept_bytes=0, kept_seconds=0, now=time.time() + 1e9) == []
    assert make_report(door.journal).vendors["braintrust"].waiting == 60


def test_logs_within_the_bounds_stay_for_looking_at() -> None:
    door = door_of(Journal(MemoryFiles(), roll_bytes=2_000))
    for _ in range(10):
        record_tree(door)
    assert sweep(door.journal) == []
    assert len(sweep(door.journal, kept_seconds=0, now=time.time() + 10)) > 1


def test_f18_a_full_journal_takes_no_new_tree_and_counts_what_it_leaves_out() -> None:
    door = Door(vendors=[Braintrust(api_key="k", base_url="http://127.0.0.1:9")], journal=":memory:")
    door.journal.roll_bytes, door.journal.max_bytes = 2_000, 10_000
    for _ in range(60):
        record_tree(door)
    report = make_report(door.journal)
    sums = report.vendors["braintrust"]
    assert sums.accepted == 180
    assert sums.unexplained == 0
    assert report.events < 60
    assert report.events % 3 == 0, "never half a tree"
