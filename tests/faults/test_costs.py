"""R6 and R9: what a callback costs and what memory grows, whatever is wrong."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from pathlib import Path

import pytest

from eventtree.door import Door
from eventtree.journal import DiskFiles
from eventtree.recorder import recorder
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Braintrust
from tests.recording import record_tree

MEGABYTE = 1 << 20


@pytest.mark.parametrize("events", [21_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_r9_memory_stays_flat_while_a_vendor_is_dead(events: int) -> None:
    """R9: at most 20 MB beyond warm-up."""
    door = Door(vendors=[Braintrust(api_key="k", base_url="http://127.0.0.1:9")])
    for _ in range(1_000):
        record_tree(door)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range((events - 3_000) // 3):
        record_tree(door)
    time.sleep(1.0)
    grown = (tracemalloc.get_traced_memory()[0] - before) / MEGABYTE
    tracemalloc.stop()
    door.shipper.stop()
    recorder.ended.clear()
    print(f"{events} events with a dead vendor: {grown:.1f} MB beyond warm-up")
    assert grown <= 20


@pytest.mark.bench
def test_r6_a_callback_costs_the_same_whatever_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R6: three events a tree; p50, p99, p99.9 of a tree's time on the caller's thread."""
    append = DiskFiles.append

    def full(self: DiskFiles, name: str, data: bytes) -> None:
        if name.endswith(".log"):
            raise OSError(28, "No space left on device")
        append(self, name, data)

    medians = {}
    for state in ("healthy", "dead", "hanging", "disk full"):
        with VendorServer() as server, monkeypatch.context() as patch:
            if state == "hanging":
                server.script("braintrust", [Answer(delay=20)] * 100)
            settings = server.settings("braintrust")
            if state == "dead":
                settings["base_url"] = "http://127.0.0.1:9"
            door = Door(vendors=[Braintrust(**settings)], journal=tmp_path / state)
            if state == "disk full":
                patch.setattr(DiskFiles, "append", full)
            took = []
            for _ in range(2_000):
                began = time.perf_counter()
                record_tree(door)
                took.append((time.perf_counter() - began) * 1e6 / 7)
                time.sleep(0.0005)
            cuts = statistics.quantiles(took, n=1000)
            medians[state] = cuts[499]
            print(f"{state:10}: p50 {cuts[499]:.0f} µs, p99 {cuts[989]:.0f} µs, p99.9 {cuts[998]:.0f} µs a callback")
            door.shipper.stop()
    assert max(medians.values()) <= 1.5 * min(medians.values())
