"""What the app and the system do to us: signals, starved threads, feedback loops, dropped handlers, odd payloads."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from eventtree import flush
from eventtree.delivery.report import Report, make_report
from eventtree.journal import DiskFiles, Journal
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.trees import new_id, record_tree

SIGNALLED = """
import os, signal, sys, uuid
before = {n: signal.getsignal(n) for n in signal.valid_signals()}
from eventtree.recording.pipeline import Pipeline
from eventtree.kinds import Kind
from eventtree.recording.recorder import recorder
pipeline = Pipeline(vendors=["braintrust"], deliver=False)
assert {n: signal.getsignal(n) for n in signal.valid_signals()} == before
tree = str(uuid.uuid4())
recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain")
recorder.close(pipeline, tree, outputs="x")
recorder.open(pipeline, str(uuid.uuid4()), None, kind=Kind.CHAIN, name="open")
os.kill(os.getpid(), int(sys.argv[1]))
"""


def braintrust(server: VendorServer) -> Braintrust:
    return Braintrust(**server.settings("braintrust"))


def lawful(report: Report) -> Report:
    assert all(sums.unexplained == 0 for sums in report.vendors.values())
    return report


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU])
def test_f16_a_signal_ends_the_app_as_ever_and_loses_nothing(own_place: Path, number: signal.Signals) -> None:
    """F16: we install no handlers; what was recorded is delivered by the next start."""
    with VendorServer() as server:
        env = {**os.environ, "BRAINTRUST_API_KEY": "test-key", "BRAINTRUST_API_URL": server.url}
        done = subprocess.run([sys.executable, "-c", SIGNALLED, str(int(number))], env=env, capture_output=True)
        assert done.returncode == -number, done.stderr
        pipeline = Pipeline(vendors=[braintrust(server)])
        deadline = time.monotonic() + 15
        while pipeline.shipper.report().vendors["braintrust"].delivered < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        lawful(pipeline.shipper.report())


def test_f16_ctrl_c_inside_a_callback_reaches_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """F16: KeyboardInterrupt is not ours to catch; the journal still works afterwards."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[braintrust(server)])
        append = pipeline.journal.files.append

        def interrupted(name: str, data: bytes) -> None:
            monkeypatch.setattr(pipeline.journal.files, "append", append)
            raise KeyboardInterrupt

        monkeypatch.setattr(pipeline.journal.files, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            record_tree(pipeline)
        record_tree(pipeline)
        assert lawful(flush(10)).vendors["braintrust"].delivered >= 3


def test_f17_busy_threads_starve_nobody() -> None:
    """F17: 64 threads that compute; everything is recorded and delivered."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[braintrust(server)])
        stop, turn = threading.Event(), sys.getswitchinterval()
        sys.setswitchinterval(turn / 10)  # 64 turns are short ones: the test is over the sooner
        threads = [threading.Thread(target=lambda: deque(iter(stop.is_set, True), maxlen=0)) for _ in range(64)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                record_tree(pipeline)
        finally:
            stop.set()
            sys.setswitchinterval(turn)
            for thread in threads:
                thread.join()
        assert lawful(flush(20)).vendors["braintrust"].delivered == 9


def test_f17_a_call_that_holds_the_interpreter_delays_delivery_only() -> None:
    """F17: a C call keeps the lock for a second."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[braintrust(server)])
        record_tree(pipeline)
        ctypes.PyDLL(None).usleep(1_000_000)
        record_tree(pipeline)
        assert lawful(flush(10)).vendors["braintrust"].delivered == 6


def test_f18_ten_times_the_rate_never_leaves_half_a_tree() -> None:
    """F18: more than fits, from four threads: whole trees are left out, and counted."""
    pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url="http://127.0.0.1:9")], journal=":memory:")
    pipeline.journal.roll_bytes, pipeline.journal.max_bytes = 20_000, 100_000
    threads = [threading.Thread(target=lambda: [record_tree(pipeline) for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = lawful(make_report(pipeline.journal))
    assert report.vendors["braintrust"].accepted == 1_200
    assert report.events < 1_200
    assert report.events % 3 == 0


@pytest.mark.parametrize("name", ["one byte", "a megabyte", "deep", "wide"])
def test_f20_payloads_of_any_size_arrive(name: str) -> None:
    """F20"""
    deep: Any = "bottom"
    for _ in range(10_000):
        deep = [deep]
    payloads = {
        "one byte": "x",
        "a megabyte": "x" * 1_000_000,
        "deep": deep,
        "wide": dict.fromkeys(map(str, range(100_000))),
    }
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[braintrust(server)])
        tree = new_id()
        recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain", inputs=payloads[name])
        recorder.close(pipeline, tree)
        assert lawful(flush(20)).vendors["braintrust"].delivered == 1
        assert not server.refused


def test_f20_a_tree_of_ten_thousand_events_arrives_whole() -> None:
    """F20"""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[braintrust(server)])
        record_tree(pipeline, children=9_999)
        assert lawful(flush(60)).vendors["braintrust"].delivered == 10_000


class Hostile:
    """Everything raises."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError

    def __iter__(self) -> Any:
        raise RuntimeError


def test_f21_objects_of_any_kind_arrive_marked() -> None:
    """F21: the event is kept, and generators are not consumed."""
    ring: list[Any] = []
    ring.append(ring)
    stream = (number for number in range(3))
    odd = [ring, Hostile(), stream, threading.Lock(), float("nan"), 2**70, b"\xff", "\ud800", {1, 2}]
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[braintrust(server)])
        tree = new_id()
        recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain", inputs=odd)
        recorder.close(pipeline, tree, outputs=odd)
        assert lawful(flush(10)).vendors["braintrust"].delivered == 1
        assert not server.refused
        assert list(stream) == [0, 1, 2]


def test_f23_runs_told_in_any_order_make_whole_trees_and_nothing_waits() -> None:
    """F23: ends without start, starts twice, unknown parents, children after their parents."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[braintrust(server)])
        root, child, stranger = new_id(), new_id(), new_id()
        recorder.close(pipeline, new_id(), outputs="never opened")
        recorder.open(pipeline, root, None, kind=Kind.CHAIN, name="root")
        recorder.open(pipeline, root, None, kind=Kind.CHAIN, name="root again")
        recorder.open(pipeline, child, root, kind=Kind.TOOL, name="child")
        recorder.close(pipeline, root)
        recorder.close(pipeline, root)
        recorder.close(pipeline, child)
        recorder.close(pipeline, child)
        recorder.open(pipeline, stranger, new_id(), kind=Kind.TOOL, name="of an unknown parent")
        recorder.close(pipeline, stranger)
        report = lawful(flush(10))
        deadline = time.monotonic() + 10
        while report.waiting and time.monotonic() < deadline:
            time.sleep(0.05)
            report = lawful(pipeline.shipper.report())
        assert report.waiting == 0
        assert not server.refused
        ids = server.event_ids("braintrust")
        assert len(ids) == len(set(ids)) == report.vendors["braintrust"].delivered


def test_f25_a_log_handler_that_records_events_makes_no_loop() -> None:
    """F25: every request of ours is logged, and every log line is recorded as an event."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[braintrust(server)])

        class Recording(logging.Handler):
            def emit(self, line: logging.LogRecord) -> None:
                run = new_id()
                recorder.open(pipeline, run, None, kind=Kind.TOOL, name="log")
                recorder.close(pipeline, run, outputs=line.getMessage())

        handler, root = Recording(), logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            record_tree(pipeline)
            flush(10)
            time.sleep(1.0)
            asked = len(server.requests)
            time.sleep(1.0)
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
        sums = lawful(flush(10)).vendors["braintrust"]
        assert len(server.requests) == asked <= 10
        assert sums.delivered >= 3
        assert sums.dropped.get("internal", 0) >= 1


def test_the_apps_own_sequence_of_chances_goes_on_undisturbed() -> None:
    """F03: an app that has seeded `random` draws the same whether or not a vendor makes us wait and try again."""
    with VendorServer() as server:
        server.script("braintrust", [503, 503])
        pipeline = Pipeline(vendors=[braintrust(server)])
        random.seed(7)
        before = random.getstate()
        record_tree(pipeline)
        assert lawful(flush(20)).settled
        assert random.getstate() == before
        assert len(server.requests) >= 3


def test_f27_a_thousand_handlers_leave_no_thread_and_no_descriptor() -> None:
    """F27: made and dropped without closing; what they recorded is delivered."""
    with VendorServer() as server:
        record_tree(Pipeline(vendors=[braintrust(server)]))
        flush(10)
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
        for _ in range(1_000):
            pipeline = Pipeline(vendors=[braintrust(server)])
            tree = new_id()
            recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain")
            recorder.close(pipeline, tree)
        del pipeline
        sums = lawful(flush(30)).vendors["braintrust"]
        gc.collect()
        assert sums.delivered == 1_003
        assert threading.active_count() <= threads + 6, "the server's own"
        assert len(os.listdir("/proc/self/fd")) <= files + 16
        assert sum(thread.name == "eventtree-shipper" for thread in threading.enumerate()) == 1


def test_f14_a_dead_writers_open_trees_are_adopted_within_five_seconds(own_place: Path) -> None:
    """F14: its process id may be anybody's by now; the lock tells."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[braintrust(server)])
        child = os.fork()
        if child == 0:
            recorder.open(pipeline, new_id(), None, kind=Kind.CHAIN, name="chain")
            os._exit(0)
        os.waitpid(child, 0)
        began = time.monotonic()
        while len(server.event_ids("braintrust")) < 1:
            assert time.monotonic() - began < 6
            time.sleep(0.05)
        print(f"adopted after {time.monotonic() - began:.1f} s")
        lawful(make_report(Journal(DiskFiles(own_place))))
