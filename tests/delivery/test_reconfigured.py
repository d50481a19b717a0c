"""A parked vendor goes on with the next settings of its name, and only a parked one does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventtree import flush
from eventtree.delivery.report import Report, VendorTotals, make_report
from eventtree.journal import DiskFiles, Journal
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Vendor, vendor_class
from tests.trees import record_tree

ENDS_PARKED = """
import sys
from eventtree import flush
from eventtree.recording.pipeline import Pipeline
from eventtree.vendors import Braintrust
from tests.trees import record_tree
pipeline = Pipeline(vendors=[Braintrust(project="p", api_key=sys.argv[2], base_url=sys.argv[1])])
for _ in range(3):
    record_tree(pipeline)
assert flush(5).vendors["braintrust"].parked
"""


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer(key="right") as running:
        yield running


def vendor(server: VendorServer, **more: object) -> Vendor:
    return vendor_class("braintrust")(**{**server.settings("braintrust"), **more})


def until_settled(seconds: float = 10) -> Report:
    until = time.monotonic() + seconds
    while (report := flush(0.2)).waiting and time.monotonic() < until:
        time.sleep(0.05)
    assert all(sums.unexplained == 0 for sums in report.vendors.values())
    return report


def by_fate(report: Report) -> tuple[int, int, int]:
    found: list[VendorTotals] = list(report.vendors.values())
    return sum(one.accepted for one in found), sum(one.delivered for one in found), report.waiting


def test_f06_another_key_in_the_same_process_sends_what_was_parked(server: VendorServer) -> None:
    record_tree(Pipeline(vendors=[vendor(server, api_key="wrong")]))
    assert "401" in str(flush(5).vendors["braintrust"].parked)
    record_tree(Pipeline(vendors=[vendor(server)]))
    report = until_settled()
    assert by_fate(report) == (6, 6, 0)
    assert [sums.parked for sums in report.vendors.values()] == [None, None]
    assert server.repeats("braintrust").changed == 0


def test_f06_a_second_wrong_key_changes_nothing_and_the_right_one_all(server: VendorServer) -> None:
    for key in ("wrong", "wronger"):
        record_tree(Pipeline(vendors=[vendor(server, api_key=key)]))
        assert flush(5).waiting
    Pipeline(vendors=[vendor(server)])
    assert by_fate(until_settled()) == (6, 6, 0)


def test_f06_the_next_process_with_the_right_key_sends_what_was_parked(server: VendorServer, own_place: Path) -> None:
    url = server.settings("braintrust")["base_url"]
    done = subprocess.run(
        [sys.executable, "-c", ENDS_PARKED, url, "wrong"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    Pipeline(vendors=[vendor(server)])
    report = until_settled()
    assert by_fate(report) == (9, 9, 0)
    assert len(set(server.event_ids("braintrust"))) == 9
    assert make_report(Journal(DiskFiles(own_place))).vendors["braintrust"].parked is None


@pytest.mark.parametrize("status", [403, 404, 307])
def test_f07_another_host_sends_what_was_parked(server: VendorServer, status: int) -> None:
    with VendorServer() as elsewhere:
        elsewhere.script("braintrust", [Answer(status=status, headers={"Location": "http://127.0.0.1:9/"})] * 9)
        record_tree(Pipeline(vendors=[vendor(elsewhere)]))
        assert str(status) in str(flush(5).vendors["braintrust"].parked)
        Pipeline(vendors=[vendor(server)])
        assert by_fate(until_settled()) == (3, 3, 0)


def test_what_only_waits_is_not_sent_with_other_settings(server: VendorServer) -> None:
    away = vendor(server, base_url="http://127.0.0.1:9")
    record_tree(Pipeline(vendors=[away]))
    assert flush(0.3).vendors["braintrust"].parked is None
    record_tree(Pipeline(vendors=[vendor(server)]))
    time.sleep(1.5)
    assert by_fate(flush(0.3)) == (6, 3, 3)
    assert len(server.event_ids("braintrust")) == 3


def test_two_names_are_two_vendors(server: VendorServer) -> None:
    record_tree(Pipeline(vendors=[vendor(server, api_key="wrong", name="theirs")]))
    assert flush(5).vendors["theirs"].parked
    record_tree(Pipeline(vendors=[vendor(server)]))
    time.sleep(1.5)
    report = flush(0.3)
    assert (report.vendors["theirs"].waiting, report.vendors["braintrust"].delivered) == (3, 3)
