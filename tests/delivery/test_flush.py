"""What `flush` reports where there is nothing to wait for, and of several journals at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from eventtree import aflush, flush
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.trees import record_tree


@pytest.mark.parametrize("enabled", ["0", "1"])
def test_a_flush_where_nothing_was_recorded_makes_no_journal(
    own_place: Path, monkeypatch: pytest.MonkeyPatch, enabled: str
) -> None:
    monkeypatch.setenv("EVENTTREE_ENABLED", enabled)
    report = flush(1)
    assert (report.journal, report.events, report.vendors) == (str(own_place), 0, {})
    assert not own_place.exists()


def test_what_was_left_out_of_several_journals_is_counted_together(own_place: Path, tmp_path: Path) -> None:
    for folder, times in ((own_place, 1), (tmp_path / "other", 2)):
        pipeline = Pipeline(journal=folder, sample_rate=0.0)
        for _ in range(times):
            record_tree(pipeline)
    assert flush(1).dropped == {"sampled": 9}


@pytest.mark.parametrize("kind", ["symlink", "long name"])
def test_a_flush_of_a_journal_that_cannot_be_used_reports_that(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("j" if kind == "symlink" else "j" * 300)
    if kind == "symlink":
        (tmp_path / "real").mkdir()
        folder.symlink_to(tmp_path / "real")
    monkeypatch.setenv("EVENTTREE_JOURNAL", str(folder))
    report = flush(1)
    assert (report.journal, report.events) == (str(folder), 0)
    assert [failure.split(":")[0] for failure in report.failures] == ["report"]


def test_a_cancelled_aflush_keeps_no_loop_from_closing() -> None:
    """The loop waits for its pool's threads, without limit before Python 3.12."""

    async def serve() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aflush(60), 0.1)

    with VendorServer() as server:
        server.script("braintrust", [503] * 1_000)
        record_tree(Pipeline(vendors=[Braintrust(**server.settings("braintrust"))], exit_timeout=0.1))
        began = time.monotonic()
        asyncio.run(serve())
        assert time.monotonic() - began < 30
