"""R6 and R9: what a callback costs and what memory grows, whatever is wrong."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventtree.journal import DiskFiles
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Braintrust
from tests.trees import record_tree

ROOT = Path(__file__).parents[2]

DEAD = """
import resource, sys, time
from pathlib import Path
from eventtree import flush
from eventtree.recording.pipeline import Pipeline
from eventtree.vendors import Braintrust
from tests.trees import record_tree

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)

pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url="http://127.0.0.1:9")], exit_timeout=0)
for _ in range(7_000):
    record_tree(pipeline)
flush(5)  # delivery has begun too, and met the vendor: on a busy machine later
end = time.monotonic() + 60
while not any(one.sender.gate.trouble for one in list(pipeline.shipper.consumers.values())) and time.monotonic() < end:
    flush(5)
pipeline.shipper.report()
before = highest = resident()
trees = int(sys.argv[1]) // 3
for number in range(1, trees + 1):
    record_tree(pipeline)
    if number % (trees // 4) == 0:
        waiting = pipeline.shipper.report().vendors["braintrust"].waiting
        highest = max(highest, resident())
pipeline.shipper.stop()
print(highest - before, waiting)
"""
"""A process of its own: what other tests have left of the heap would be measured with it."""


@pytest.mark.parametrize(("events", "most"), [(21_000, 4), pytest.param(1_000_000, 20, marks=pytest.mark.slow)])
def test_r9_memory_stays_flat_while_a_vendor_is_dead(events: int, most: int, tmp_path: Path) -> None:
    """R9: at most 20 MB beyond warm-up over a million events, reports and sweeps among them."""
    command = [sys.executable, "-c", DEAD, str(events)]
    settings = {**os.environ, "EVENTTREE_JOURNAL": str(tmp_path / "journal")}
    ran = subprocess.run(command, env=settings, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    beyond, waiting = ran.stdout.split()
    print(f"{events} events with a dead vendor: {float(beyond):.1f} MB beyond warm-up, {waiting} wait")
    assert int(waiting) == 3 * (7_000 + 4 * (events // 3 // 4))
    assert float(beyond) <= most


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
            pipeline = Pipeline(vendors=[Braintrust(**settings)], journal=tmp_path / state)
            if state == "disk full":
                patch.setattr(DiskFiles, "append", full)
            took = []
            for _ in range(2_000):
                began = time.perf_counter()
                record_tree(pipeline)
                took.append((time.perf_counter() - began) * 1e6 / 7)
                time.sleep(0.0005)
            cuts = statistics.quantiles(took, n=1000)
            medians[state] = cuts[499]
            print(f"{state:10}: p50 {cuts[499]:.0f} µs, p99 {cuts[989]:.0f} µs, p99.9 {cuts[998]:.0f} µs a callback")
            pipeline.shipper.stop()
    assert max(medians.values()) <= 1.5 * min(medians.values())
