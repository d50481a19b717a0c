"""F43: a tree of 22,000 events goes out while the app records: its callbacks hardly wait."""

from __future__ import annotations

import time

import pytest

from eventtree import flush
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.trees import new_id

EVENTS = 22_000


@pytest.mark.bench
def test_f43_callbacks_hardly_wait_beside_a_tree_of_22000_events() -> None:
    """F43: p99 under a millisecond."""
    with VendorServer() as server:
        settings = {"api_key": "k", "base_url": server.url}
        pipeline = Pipeline(vendors=[Braintrust(**settings)])
        tree = new_id()
        recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="large", inputs="x")
        for number in range(EVENTS):
            run = new_id()
            recorder.open(pipeline, run, tree, kind=Kind.TOOL, name="tool", inputs={"q": "where " * 20, "n": number})
            recorder.close(pipeline, run, outputs="there " * 20)
        recorder.close(pipeline, tree, outputs="x")
        took = []
        until = time.monotonic() + 60
        while tree not in server.event_ids("braintrust") and time.monotonic() < until:
            run, began = new_id(), time.perf_counter()
            recorder.open(pipeline, run, None, kind=Kind.CHAIN, name="x", inputs="x")
            took.append(time.perf_counter() - began)
            recorder.close(pipeline, run, outputs="x")
            time.sleep(0.001)
        assert flush(60).vendors["braintrust"].waiting == 0
        took.sort()
        print(f"p99 {took[int(len(took) * 0.99)] * 1e3:.2f} ms, longest {took[-1] * 1e3:.1f} ms")
        assert took[int(len(took) * 0.99)] < 0.001
        assert took[-1] < 0.3  # the vendor is in this process too, and reads the whole tree
