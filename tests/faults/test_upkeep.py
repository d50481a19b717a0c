"""F40-F43: cost follows what is unsettled, not what ever was; a stopped shipper is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from eventtree import flush
from eventtree.delivery.report import make_report
from eventtree.journal import DiskFiles, Journal, frame
from eventtree.journal.cursor import Cursor
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.faults.test_servers import soon, start
from tests.trees import new_id, record_tree


def settled_logs(server: VendorServer, folder: Path, logs: int, trees: int) -> None:
    """Logs of dead processes in which every tree is settled, as the cursor says."""
    journal = Journal(DiskFiles(folder))
    vendor = Braintrust(api_key="k", base_url=server.url)  # type: ignore[arg-type]
    ref = {"name": "braintrust", "fingerprint": vendor.fingerprint(journal.salt)}
    name = f"braintrust.{ref['fingerprint']}"
    cursor = Cursor(journal.files, f"{name}.cursor")
    offsets = dict(cursor.offsets)
    for number in range(logs):
        process = f"20250101T000000-{number}-{uuid.uuid4().hex[:8]}"
        lines: list[dict[str, Any]] = [{"r": "log", "id": process, "tree": "", "eventtree": 1}]
        for _ in range(trees):
            head = {"id": str(uuid.uuid4())}
            head["tree"] = head["id"]
            lines += [
                {"r": "open", **head, "kind": "chain", "name": "x", "start": 1, "vendors": [ref]},
                {"r": "close", **head, "duration": 5, "status": "ok", "vendors": [ref], "events": 1},
            ]
        lines.append({"r": "log", "id": process, "tree": "", "recorded": {name: trees}, "events": trees, "end": True})
        data = b"".join(frame(seq, json.dumps(line, separators=(",", ":")).encode()) for seq, line in enumerate(lines))
        (folder / f"{process}.0000.log").write_bytes(data)
        offsets[f"{process}.0000.log"] = len(data)
    cursor.accepted = cursor.delivered = cursor.accepted + logs * trees
    cursor.advance(offsets)


SCRIPT = """
import time
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree
from eventtree.delivery.shipper import all_shippers
pipeline = Pipeline(vendors=["braintrust"])
record_tree(pipeline)
time.sleep(0.5)
"""


def test_f40_a_short_script_delivers_at_its_exit_beside_five_thousand_settled_logs(own_place: Path) -> None:
    """F40: three of them in turn; the sums of what is settled stand."""
    with VendorServer() as server:
        own_place.mkdir(mode=0o700)
        settled_logs(server, own_place, 5_000, 2)
        for number in range(1, 4):
            script = start(server, "-c", SCRIPT)
            script.communicate(timeout=30)
            assert script.returncode == 0
            assert len(server.event_ids("braintrust")) == 3 * number
        sums = make_report(Journal(DiskFiles(own_place))).vendors["braintrust"]
        assert (sums.accepted, sums.delivered, sums.waiting) == (10_009, 10_009, 0)
        assert not sums.differs


def test_f40_settled_trees_add_little_to_a_start(own_place: Path) -> None:
    """F40: 100,000 of them at most 50 ms; CPU of this thread, the best of three."""
    with VendorServer() as server:
        own_place.mkdir(mode=0o700)
        journal = Journal(DiskFiles(own_place))

        def began() -> float:
            from eventtree.delivery.feed import Feed

            at = time.thread_time()
            fresh = Journal(DiskFiles(own_place))
            [name] = [name for name in fresh.files.names() if name.endswith(".cursor")]
            cursor = Cursor(fresh.files, name)
            feed = Feed(fresh, cursor.offsets, cursor.damage)
            assert not feed.read()
            return time.thread_time() - at

        settled_logs(server, own_place, 1, 10)
        before = min(began() for _ in range(3))
        settled_logs(server, own_place, 100, 1_000)
        took = min(began() for _ in range(3))
        print(f"start: {before * 1e3:.1f} ms, beside 100,000 settled trees {took * 1e3:.1f} ms")
        assert took - before <= 0.05
        assert journal.salt


@pytest.mark.parametrize("what", ["settled logs", "open runs"])
def test_f41_an_idle_shipper_costs_next_to_nothing(own_place: Path, what: str) -> None:
    """F41: beside 5,000 logs of dead processes, or 10,000 open runs: under 1 % of a core."""
    with VendorServer() as server:
        own_place.mkdir(mode=0o700)
        if what == "settled logs":
            settled_logs(server, own_place, 5_000, 2)
        settings = {"api_key": "k", "base_url": server.url}
        pipeline = Pipeline(vendors=[Braintrust(**settings)])
        for _ in range(10_000 if what == "open runs" else 0):
            recorder.open(pipeline, new_id(), None, kind=Kind.CHAIN, name="x", inputs="x")
        record_tree(pipeline)
        assert flush(30).vendors["braintrust"].delivered >= 3
    # The server is gone by now: it polls a hundred times a second in this process, which is not the shipper's work.
    # A busy machine is still reading the logs for a while.
    shares = [1.0]
    while shares[-1] >= 0.01 and len(shares) < 60:
        began = time.process_time()
        time.sleep(2.0)
        shares.append((time.process_time() - began) / 2.0)
    print(f"idle beside {what}: {shares[-1]:.2%} of a core")
    assert shares[-1] < 0.01


HOLDS = """
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree
from eventtree import flush
record_tree(Pipeline(vendors=["braintrust"]))
flush(10)
print("ready", flush=True)
input()
"""


def test_f42_a_stopped_shipper_is_named_by_its_process_id(
    own_place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F42: in the report, what `flush` returns, the log and the command; it goes on when it is continued."""
    monkeypatch.setattr("eventtree.journal.holder.STALLED_SECONDS", 5.0)
    with VendorServer() as server:
        holder = start(server, "-c", HOLDS)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        try:
            pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url=server.url)])  # type: ignore[arg-type]
            assert flush(1).vendors["braintrust"].stalled is None
            os.kill(holder.pid, signal.SIGSTOP)
            record_tree(pipeline)
            soon(lambda: flush(0.1).vendors["braintrust"].stalled == holder.pid, 20)
            assert flush(0.1).vendors["braintrust"].waiting == 3
            soon(lambda: f"waits for process {holder.pid}" in caplog.text, 5)
            time.sleep(5)
            command = [sys.executable, "-m", "eventtree", "report", "--journal", str(own_place)]
            assert str(holder.pid) in subprocess.run(command, check=True, capture_output=True, text=True).stdout
        finally:
            os.kill(holder.pid, signal.SIGCONT)
        sums = flush(20).vendors["braintrust"]
        assert (sums.waiting, sums.delivered) == (0, 6)
        soon(lambda: flush(0.1).vendors["braintrust"].stalled is None, 10)
        holder.communicate("\n", timeout=20)
