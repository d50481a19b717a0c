"""From recorder to vendor over loopback, with what goes wrong on the way. Every test ends with the law."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from eventtree import example, flush
from eventtree.delivery.report import Report
from eventtree.delivery.shipper import Shipper
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import Answer, VendorServer
from eventtree.testing.contracts.contract import Reply, decompressed
from eventtree.vendors import VENDORS, Vendor, vendor_class
from tests.trees import new_id, record_tree

pytestmark = pytest.mark.usefixtures("impatient")


class PickyServer(VendorServer):
    """Refuses every whole request in which there is poison."""

    def _judge(self, rules: Any, incoming: Any, body: Any, unreadable: Any) -> Reply:
        if b"poison" in decompressed(incoming):
            return Reply(status=400, body={"error": "I will not take poison"})
        return super()._judge(rules, incoming, body, unreadable)


@pytest.fixture
def picky() -> Iterator[PickyServer]:
    with PickyServer() as running:
        yield running


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as running:
        yield running


def vendor(server: VendorServer, kind: str, **more: object) -> Vendor:
    return vendor_class(kind)(**server.settings(kind), **more)


def lawful(report: Report) -> Report:
    for sums in report.vendors.values():
        assert sums.unexplained == 0, sums
    return report


@pytest.mark.parametrize("kind", VENDORS)
def test_every_vendor_gets_every_event(server: VendorServer, kind: str) -> None:
    pipeline = Pipeline(vendors=[vendor(server, kind)], user="u", session="s")
    trees = [record_tree(pipeline, question=f"Where is {n}?", children=3) for n in range(5)]
    report = lawful(flush(10))
    sums = report.vendors[kind]
    assert (sums.accepted, sums.delivered, sums.waiting, sums.dead) == (20, 20, 0, 0)
    assert report.settled
    assert not server.refused
    if kind != "nebuly":
        assert set(trees) <= set(server.event_ids(kind))


def test_a_tree_with_a_thousand_events_goes_out_in_several_requests(server: VendorServer) -> None:
    pipeline = Pipeline(
        vendors=[vendor(server, kind) for kind in ("braintrust", "honeyhive", "humanloop_v4")], user="u"
    )
    record_tree(pipeline, children=999)
    report = lawful(flush(30))
    assert {sums.delivered for sums in report.vendors.values()} == {1000}
    assert not server.refused


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 520])
def test_f03_a_passing_fault_is_outlived(server: VendorServer, status: int) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")])
    server.script("braintrust", [status] * 3)
    record_tree(pipeline)
    assert lawful(flush(10)).vendors["braintrust"].delivered == 3
    assert len(server.events("braintrust")) == 3


def test_f08_a_lost_answer_repeats_the_request_with_equal_content(server: VendorServer) -> None:
    """R2"""
    pipeline = Pipeline(vendors=[vendor(server, "braintrust", project_id=None)])
    record_tree(pipeline)
    flush(10)
    server.script("braintrust", [Answer(cut=True, apply=True)])
    record_tree(pipeline)
    assert lawful(flush(10)).vendors["braintrust"].delivered == 6
    assert server.repeats("braintrust").changed == 0
    assert server.repeats("braintrust").same == 3


def test_f04_a_request_too_large_is_halved_until_it_fits(server: VendorServer) -> None:
    """R5, D6"""
    with VendorServer(max_bytes={"braintrust": 4_000}) as small:
        pipeline = Pipeline(vendors=[vendor(small, "braintrust")])
        record_tree(pipeline, children=40)
        report = lawful(flush(20))
        assert report.vendors["braintrust"].delivered == 41
        assert len(set(small.event_ids("braintrust"))) == 41


def test_f04_one_event_too_large_is_shortened_not_dropped() -> None:
    """R5, D6"""
    with VendorServer(max_bytes={"braintrust": 6_000}) as small:
        pipeline = Pipeline(vendors=[vendor(small, "braintrust")])
        tree = record_tree(pipeline, question="begin " + "x" * 50_000 + " end")
        report = lawful(flush(20))
        assert report.vendors["braintrust"].delivered == 3
        row = next(row for row in small.events("braintrust") if row["id"] == tree)
        assert row["input"]["question"].startswith("begin")
        assert "cut" in row["input"]["question"]


@pytest.mark.parametrize("poison", [1, 3, 10])
def test_f05_poison_is_isolated_and_keeps_the_vendors_words(picky: PickyServer, poison: int) -> None:
    """R4: 99 / 97 / 90 of 100 delivered, within 19 / 49 / 129 requests."""
    pipeline = Pipeline(vendors=[vendor(picky, "honeyhive", generation="v1")])
    tree = new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain")
    for number in range(99):
        child = new_id()
        recorder.open(
            pipeline, child, tree, kind=Kind.TOOL, name="poison" if number % 9 == 0 and number < 9 * poison else "tool"
        )
        recorder.close(pipeline, child, outputs="x")
    recorder.close(pipeline, tree)
    report = lawful(flush(20))
    sums = report.vendors["honeyhive"]
    assert (sums.delivered, sums.dead, sums.waiting) == (100 - poison, poison, 0)
    letters = next(consumer for consumer in pipeline.shipper.consumers.values()).dead.read()
    assert len(letters) == poison
    assert all("poison" in letter["words"] and letter["status"] == 400 for letter in letters)
    assert len(picky.requests) <= {1: 19, 3: 49, 10: 129}[poison] + 1


@pytest.mark.parametrize("status", [401, 403, 404, 405, 501, 307])
def test_f06_a_wrong_setting_parks_the_vendor_and_keeps_everything(
    server: VendorServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """F06, F07"""
    pipeline = Pipeline(vendors=[vendor(server, "braintrust"), vendor(server, "nebuly")], user="u")
    server.script("braintrust", [Answer(status=status, headers={"Location": "http://127.0.0.1:9/"})] * 50)
    for _ in range(3):
        record_tree(pipeline)
    report = lawful(flush(1.0))
    assert report.vendors["nebuly"].delivered == 9
    parked = report.vendors["braintrust"]
    assert (parked.waiting, parked.delivered, parked.dead) == (9, 0, 0)
    assert str(status) in (parked.parked or "")
    assert sum("parked" in message for message in caplog.messages) == 1
    assert sum(call.vendor == "braintrust" for call in server.requests) == 1


def test_f24_a_dead_vendor_delays_no_other(server: VendorServer) -> None:
    dead = vendor_class("braintrust")(api_key="k", base_url="http://127.0.0.1:9")
    pipeline = Pipeline(vendors=[dead, vendor(server, "honeyhive")])
    began = time.monotonic()
    record_tree(pipeline)
    while len(server.events("honeyhive")) < 3:
        assert time.monotonic() - began < 5
        time.sleep(0.01)
    report = lawful(flush(0.2))
    assert report.vendors["honeyhive"].delivered == 3
    assert report.vendors["braintrust"].waiting == 3


@pytest.mark.parametrize(
    ("reason", "given"), [("no_end_user", {}), ("no_user_text", {"user": "ada", "question": "", "children": 0})]
)
def test_a_tree_that_nebuly_cannot_take_is_dropped_by_reason_and_that_is_said_once(
    server: VendorServer, caplog: pytest.LogCaptureFixture, reason: str, given: dict[str, Any]
) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "nebuly"), vendor(server, "honeyhive")], user=given.pop("user", None))
    for _ in range(2):
        record_tree(pipeline, **given)
    sums = lawful(flush(10)).vendors
    assert sums["nebuly"].dropped == {reason: sums["nebuly"].accepted}
    assert sums["honeyhive"].delivered == sums["honeyhive"].accepted
    assert [line.getMessage() for line in caplog.records if reason in line.getMessage()] == [
        f"nebuly takes no tree with reason {reason}. {vendor_class('nebuly').drop_hints[reason]}"
    ]


def test_what_was_not_sampled_is_counted(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")], sample_rate=0.5)
    for _ in range(40):
        record_tree(pipeline)
    sums = lawful(flush(10)).vendors["braintrust"]
    assert sums.accepted == 120
    assert sums.delivered + sums.dropped["sampled"] == 120
    assert 0 < sums.delivered < 120


def test_two_pipelines_record_a_run_once_and_both_vendors_get_it(server: VendorServer) -> None:
    first = Pipeline(vendors=[vendor(server, "braintrust")])
    second = Pipeline(vendors=[vendor(server, "honeyhive")])
    tree = new_id()
    for pipeline in (first, second):
        recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain")
    for pipeline in (first, second):
        recorder.close(pipeline, tree, outputs="x")
    report = lawful(flush(10))
    assert {name: sums.delivered for name, sums in report.vendors.items()} == {"braintrust": 1, "honeyhive": 1}


def test_a_child_that_comes_after_its_tree_went_out_is_sent_or_counted(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, kind) for kind in ("braintrust", "nebuly")], user="u")
    tree = record_tree(pipeline)
    lawful(flush(10))
    late = new_id()
    recorder.open(pipeline, late, tree, kind=Kind.TOOL, name="late")
    recorder.close(pipeline, late, outputs="x")
    deadline = time.monotonic() + 5
    while pipeline.shipper.report().waiting and time.monotonic() < deadline:
        time.sleep(0.02)
    report = lawful(pipeline.shipper.report())
    assert report.vendors["nebuly"].dropped == {"late": 1}
    assert report.vendors["braintrust"].delivered == 4
    assert server.events("braintrust")[-1]["span_parents"] == [tree]


def test_what_ends_after_its_tree_went_out_is_updated(server: VendorServer) -> None:
    """v4 by PATCH, HoneyHive by PUT, Braintrust by a merge; where nothing can be updated it stays as it was."""
    pipeline = Pipeline(vendors=[vendor(server, kind) for kind in VENDORS], user="u")
    tree, slow = new_id(), new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain", inputs={"question": "Where?"})
    recorder.open(pipeline, slow, tree, kind=Kind.TOOL, name="slow", inputs={"input": "x"})
    recorder.close(pipeline, tree, outputs={"answer": "here"})
    lawful(flush(10))
    before = len(server.requests)
    recorder.close(pipeline, slow, outputs="at last")
    deadline = time.monotonic() + 5
    while len(server.requests) < before + 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    sums = lawful(flush(10)).vendors
    assert not server.refused
    sent = {one.vendor: one for one in server.requests[before:]}
    assert sent.keys() == {"humanloop_v4", "honeyhive", "braintrust"}
    patch, put, insert = sent["humanloop_v4"], sent["honeyhive"], sent["braintrust"]
    assert (patch.method, patch.path, patch.query) == ("PATCH", "/v4/logs", {"reference_id": slow})
    assert patch.body.keys() == {"output", "duration"}
    assert patch.body["output"] == "at last"
    assert (put.method, put.body["event_id"], put.body["outputs"]) == ("PUT", slow, {"text": "at last"})
    assert put.body["metadata"]["status"] == "ok"
    (row,) = insert.body["events"]
    assert (row["id"], row["_is_merge"], row["output"]) == (slow, True, "at last")
    assert {name: (one.accepted, one.delivered) for name, one in sums.items()} == dict.fromkeys(VENDORS, (2, 2))


def test_an_experiment_whose_name_is_refused_stops_no_other_tree(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")])
    record_tree(pipeline)
    flush(10)  # by now the project's id is known
    server.script("braintrust", [400])
    with example(experiment="refused"):
        record_tree(pipeline)
    record_tree(pipeline)
    sums = lawful(flush(10)).vendors["braintrust"]
    assert (sums.delivered, sums.dead, sums.waiting) == (6, 3, 0)


def test_the_memory_journal_delivers_too(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")], journal=":memory:")
    record_tree(pipeline)
    assert lawful(flush(10)).vendors["braintrust"].delivered == 3


@pytest.mark.parametrize("turns", range(5))
def test_a_stop_that_meets_a_wake_is_a_stop(server: VendorServer, turns: int) -> None:
    """Python 3.11's `asyncio.wait_for` answers a wake and forgets the cancellation that comes some turns after it."""
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")])
    record_tree(pipeline)
    flush(10)
    (consumer,) = pipeline.shipper.consumers.values()
    loop, thread = pipeline.shipper._loop, pipeline.shipper._thread
    assert loop is not None and thread is not None

    def cancel(after: int) -> None:
        if after:
            loop.call_soon(cancel, after - 1)
            return
        for task in asyncio.all_tasks(loop):
            task.cancel()

    loop.call_soon_threadsafe(lambda: (consumer.wake(), cancel(turns)))
    thread.join(5)
    assert not thread.is_alive()


def test_stopping_twice_is_quiet(server: VendorServer, capfd: pytest.CaptureFixture[str]) -> None:
    """The second stop meets consumers that are still ending the first."""
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")])
    record_tree(pipeline)
    flush(10)
    loop, thread = pipeline.shipper._loop, pipeline.shipper._thread
    assert loop is not None and thread is not None
    for _ in range(2):
        pipeline.shipper.stop(0)
    thread.join(5)
    assert not thread.is_alive()
    assert capfd.readouterr().err == ""


def test_the_answer_to_what_is_on_its_way_is_read_before_delivery_stops(server: VendorServer) -> None:
    server.script("braintrust", [Answer(delay=1.0)])
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")])
    record_tree(pipeline, children=3)
    while not server.requests:
        time.sleep(0.01)
    pipeline.shipper.stop(30.0)
    record_tree(pipeline, children=3)
    assert lawful(flush(10)).settled
    ids = server.event_ids("braintrust")
    assert len(ids) == len(set(ids)) == 8


def test_a_stop_before_the_loop_runs_is_a_stop(server: VendorServer) -> None:
    """The flag is seen first, the cancellation comes while the consumers are ending."""
    shipper = Shipper(Pipeline(deliver=False).journal)
    braintrust = vendor(server, "braintrust")
    shipper.vendors = {"braintrust.0": braintrust}
    shipper._stopping = True

    async def serve() -> None:
        task = asyncio.ensure_future(shipper._serve())
        asyncio.get_running_loop().call_soon(shipper._end)
        await task

    asyncio.run(serve())
    consumer = shipper.consumers["braintrust.0"]
    assert consumer.sender.requests == 0
    lock = shipper.journal.files.lock(f"{consumer.name}.lock")
    assert lock is not None  # who comes next may ship
    lock.release()
