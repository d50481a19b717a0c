"""Bounds of the journal: what is settled goes by age and size, what is full takes no new tree, all of it counted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from eventtree import diagnostics, flush
from eventtree.delivery import tidy
from eventtree.delivery.report import make_report
from eventtree.errors import ConfigError
from eventtree.journal import DiskFiles, Journal, MemoryFiles
from eventtree.journal.retention import remove_settled
from eventtree.journal.trees import trees_in
from eventtree.kinds import Kind
from eventtree.recording import runs
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Braintrust
from tests.trees import new_id, record_tree


def pipeline_of(
    journal: Journal, server: VendorServer | None = None, monkeypatch: pytest.MonkeyPatch | None = None
) -> Pipeline:
    vendors = [Braintrust(**server.settings("braintrust"))] if server else []
    pipeline = Pipeline(vendors=vendors, journal=":memory:")
    pipeline.journal.roll_bytes = journal.roll_bytes
    pipeline.journal.max_bytes = journal.max_bytes
    return pipeline


def test_settled_logs_go_oldest_first_and_the_sums_stay() -> None:
    with VendorServer() as server:
        pipeline = pipeline_of(Journal(MemoryFiles(), roll_bytes=2_000), server)
        for _ in range(20):
            record_tree(pipeline)
        before = flush(10).vendors["braintrust"]
        logs = pipeline.journal.logs()
        gone = remove_settled(pipeline.journal, kept_bytes=0)
        assert gone == logs[:-1]
        after = make_report(pipeline.journal).vendors["braintrust"]
        assert (after.accepted, after.delivered, after.waiting) == (before.accepted, before.delivered, 0) == (60, 60, 0)
        record_tree(pipeline)
        assert flush(10).vendors["braintrust"].delivered == 63
        assert len(server.event_ids("braintrust")) == 63


def test_what_a_vendor_has_not_taken_is_never_removed() -> None:
    pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url="http://127.0.0.1:9")], journal=":memory:")
    pipeline.journal.roll_bytes = 2_000
    for _ in range(20):
        record_tree(pipeline)
    assert remove_settled(pipeline.journal, kept_bytes=0, kept_seconds=0, now=time.time() + 1e9) == []
    assert make_report(pipeline.journal).vendors["braintrust"].waiting == 60


def test_logs_within_the_bounds_stay_for_looking_at() -> None:
    pipeline = pipeline_of(Journal(MemoryFiles(), roll_bytes=2_000))
    for _ in range(10):
        record_tree(pipeline)
    assert remove_settled(pipeline.journal) == []
    assert len(remove_settled(pipeline.journal, kept_seconds=0, now=time.time() + 10)) > 1


def test_f18_a_full_journal_takes_no_new_tree_and_counts_what_it_leaves_out() -> None:
    pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url="http://127.0.0.1:9")], journal=":memory:")
    pipeline.journal.roll_bytes, pipeline.journal.max_bytes = 2_000, 10_000
    for _ in range(60):
        record_tree(pipeline)
    report = make_report(pipeline.journal)
    sums = report.vendors["braintrust"]
    assert sums.accepted == 180
    assert sums.unexplained == 0
    assert report.events < 60
    assert report.events % 3 == 0, "never half a tree"


def nowhere() -> Braintrust:
    return Braintrust(api_key="k", base_url="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("journal", "bounds", "reason"),
    [("", {"journal_bytes": 10_000}, "journal_full"), (":memory:", {"memory_bytes": 10_000}, "memory_full")],
)
def test_f18_a_journal_keeps_to_its_bytes_and_counts_what_it_leaves_out(
    journal: str, bounds: dict[str, int], reason: str
) -> None:
    """The law in events; whole trees are left out."""
    pipeline = Pipeline(vendors=[nowhere()], journal=journal or None, bounds=bounds)
    for _ in range(60):
        record_tree(pipeline)
    report = make_report(pipeline.journal)
    sums = report.vendors["braintrust"]
    assert (sums.accepted, sums.unexplained, report.events % 3) == (180, 0, 0)
    size = sum(pipeline.journal.files.size(name) for name in pipeline.journal.logs())
    assert size < 40_000, "what is left out is counted in a line of its own"
    pipeline.shipper.stop()
    waiting = pipeline.shipper.report().vendors["braintrust"].waiting
    assert waiting + sum(sums.dropped.values()) == 180
    trees = trees_in(pipeline.journal).values()
    assert {tree.dropped[1] if tree.dropped else "" for tree in trees} == {"", reason}


def test_what_a_refusing_disk_leaves_in_memory_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: DiskFiles, name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    pipeline = Pipeline(vendors=[nowhere()], bounds={"held_bytes": 8_000})
    pipeline.shipper.stop()
    with monkeypatch.context() as patch:
        patch.setattr(DiskFiles, "append", refuse)
        root = new_id()
        recorder.open(pipeline, root, None, kind=Kind.CHAIN, name="chain", inputs="x" * 3_000)
        for _ in range(20):
            record_tree(pipeline)
        child = new_id()
        recorder.open(pipeline, child, root, kind=Kind.TOOL, name="tool", inputs="y" * 6_000)
        assert pipeline.journal.full == "memory_full"
        assert 0 < pipeline.journal.held <= 8_000
        assert diagnostics.truncations["held_bytes"] == pipeline.journal.dropped > 0
    pipeline.journal.flush_held()
    recorder.close(pipeline, child)
    recorder.close(pipeline, root)
    sums = make_report(pipeline.journal).vendors["braintrust"]
    assert (sums.unexplained, pipeline.journal.held) == (0, 0)


@pytest.mark.parametrize("bounds", [{"kept_bytes": 0}, {"kept_days": 0}])
def test_settled_logs_go_by_size_and_by_age(bounds: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "TIDY_SECONDS", 0.05)
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))], bounds=bounds)
        pipeline.journal.roll_bytes = 2_000
        for _ in range(10):
            record_tree(pipeline)
        sums = flush(10).vendors["braintrust"]
        deadline = time.monotonic() + 5
        while len(pipeline.journal.logs()) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        after = pipeline.shipper.report().vendors["braintrust"]
        assert (after.accepted, after.delivered, after.unexplained) == (sums.accepted, 30, 0)


@pytest.mark.parametrize(("bounds", "forgotten"), [({"open_runs": 3}, 3), ({"open_hours": 1}, 2)])
def test_open_runs_are_bounded_by_number_and_age(
    bounds: dict[str, int], forgotten: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their records stay: they arrive as incomplete."""
    pipeline = Pipeline(vendors=[nowhere()], bounds=bounds)
    real, offset = runs.monotonic_ns, [0]
    monkeypatch.setattr(runs, "monotonic_ns", lambda: real() + offset[0])
    for number in range(6):
        offset[0] += (number == 2) * 3_700 * 10**9
        recorder.open(pipeline, new_id(), None, kind=Kind.CHAIN, name="chain")
    assert diagnostics.truncations["open_runs"] == forgotten
    assert len(recorder.runs) == 6 - forgotten
    report = pipeline.shipper.report()
    assert report.cut == {"open_runs": forgotten}
    assert (report.vendors["braintrust"].accepted, report.vendors["braintrust"].unexplained) == (6, 0)


DEEP: Any = [[[[["x"]]]]]


@pytest.mark.parametrize(
    ("bounds", "value", "marker"),
    [
        ({"value_bytes": 1_000}, "x" * 5_000, "characters cut]"),
        ({"depth": 3}, DEEP, "deeper levels cut]"),
        ({"items": 10}, list(range(50)), "[40 items cut]"),
        ({"nodes": 20}, [list(range(10)) for _ in range(10)], "items cut]"),
    ],
)
def test_values_are_cut_to_the_bounds_marked_and_counted(bounds: dict[str, int], value: Any, marker: str) -> None:
    pipeline = Pipeline(vendors=[nowhere()], bounds=bounds)
    tree = new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain", inputs=value)
    recorder.close(pipeline, tree)
    log = pipeline.journal.files.read(pipeline.journal.log, 0, 1 << 20).decode()
    assert marker in log
    assert len(log) < 4_000
    report = pipeline.shipper.report()
    assert report.cut[next(iter(bounds))] > 0
    assert report.vendors["braintrust"].unexplained == 0


def test_a_reply_is_read_up_to_the_bound_and_counted() -> None:
    with VendorServer() as server:
        server.script("braintrust", [Answer(body="x" * 5_000, status=200)])
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))], bounds={"reply_bytes": 1_000})
        record_tree(pipeline)
        report = flush(10)
        assert report.cut == {"reply_bytes": 1}
        assert report.vendors["braintrust"].unexplained == 0


def test_bounds_come_from_the_environment_too_and_wrong_ones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTTREE_BOUNDS", "depth=3, journal_bytes=1000")
    pipeline = Pipeline(vendors=[])
    assert (pipeline.sanitize.bounds.depth, pipeline.journal.max_bytes) == (3, 1_000)
    for wrong, words in (
        ("depth", "Levels of lists"), ("depth=x", "Levels of lists"), ("depth=0", "Levels of lists"),
        ("breadth=3", "Bounds are journal_bytes"),
    ):  # fmt: skip
        monkeypatch.setenv("EVENTTREE_BOUNDS", wrong)
        with pytest.raises(ConfigError, match=rf"bounds.*{words}"):
            Pipeline(vendors=[])
