"""F48-F51, and more of F30: what stood between the app's odd classes, a lost thread, a second path and the records."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from eventtree import diagnostics, flush
from eventtree.delivery import tidy
from eventtree.delivery.report import make_report
from eventtree.journal import DiskFiles, Journal
from eventtree.journal.totals import recorded_sums
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust, vendor_class
from tests.faults.test_servers import soon
from tests.trees import new_id, record_model, record_tree


def raises(error: type[BaseException]) -> Any:
    """A method that raises it."""

    def method(*args: Any, **kwargs: Any) -> Any:
        raise error("code of the app's own")

    return method


METHODS = ("__eq__", "__ne__", "__hash__", "__bool__", "__len__", "__iter__", "__str__", "keys", "items", "get")


def odd(base: Any, value: Any, error: type[BaseException]) -> Any:
    """A value of a class that raises whatever is asked of it."""
    return type("Odd", (base,), {name: raises(error) for name in METHODS})(value)


class Meta(type):
    """A class of this class cannot even be asked what it is."""

    __getattribute__ = raises(RuntimeError)


ODD = {
    "text": lambda error: odd(str, "x", error),
    "empty text": lambda error: odd(str, "", error),
    "number": lambda error: odd(int, 3, error),
    "dict": lambda error: odd(dict, {"a": 1}, error),
    "list": lambda error: odd(list, ["a"], error),
    "class": lambda _: Meta("Odd", (), {}),
    "digits": lambda _: 10**5000,
}
PARTS = ("name", "model", "provider", "params", "metadata", "tags", "inputs", "session", "user")


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ODD)
def test_f48_classes_whose_code_raises_cost_no_record(kind: str, error: type[BaseException]) -> None:
    """F48: none of their code is asked; what is asked all the same, and raises, is marked in its record."""
    pipeline = Pipeline(strict=True)
    for part in (*PARTS, "metadata.session_id", "metadata.user_id", "tag"):
        value = ODD[kind](error)
        is_given = part in ("name", "metadata", "tags", "inputs")
        given: dict[str, Any] = {"name": "x", **({part: value} if is_given else {"known": {part: value}})}
        if part.startswith("metadata."):
            given = {"name": "x", "metadata": {part.partition(".")[2]: value}}
        elif part == "tag":
            given = {"name": "x", "tags": ["a", value]}
        before = pipeline.journal.appended
        root, child = new_id(), new_id()
        recorder.open(pipeline, root, None, kind=Kind.MODEL, **given)
        recorder.open(pipeline, child, root, kind=Kind.MODEL, **given)
        recorder.note(root, "odd", {"a": value, "b": [value]})
        recorder.close(pipeline, child, outputs=value, inputs=value, learned={"usage": value, "metadata": value})
        recorder.close(pipeline, root)
        assert pipeline.journal.appended - before == 5 + (before == 0), part
    assert not diagnostics.failures


def fails_over(error: type[BaseException]) -> Any:
    """What turns inputs into JSON, and fails."""
    return raises(error)


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_f48_whatever_a_part_raises_the_record_is_written(error: type[BaseException]) -> None:
    """F48: the boundary behind it: SystemExit and its like too."""
    pipeline = Pipeline()
    run = new_id()
    recorder.open(pipeline, run, None, kind=Kind.CHAIN, name="x", inputs=1, convert=fails_over(error))
    recorder.close(pipeline, run, outputs=1, convert=fails_over(error))
    assert (pipeline.journal.tally.events, pipeline.journal.appended) == (1, 3)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("what", ["prices", "tokenizer"])
def test_f49_functions_of_yours_that_would_end_the_thread_stop_no_lane(what: str, error: type[BaseException]) -> None:
    with VendorServer() as server:
        vendor = vendor_class("braintrust")(**server.settings("braintrust"))
        settings: dict[str, Any] = {what: raises(error)}
        pipeline = Pipeline(vendors=[vendor], **settings)
        for _ in range(3):
            record_tree(pipeline)
            run = new_id()
            recorder.open(pipeline, run, None, kind=Kind.MODEL, name="x", known={"model": "gpt-4o"}, inputs="hello")
            recorder.close(pipeline, run, outputs="there")
        sums = flush(20).vendors["braintrust"]
        assert (sums.accepted, sums.delivered, sums.unexplained) == (12, 12, 0), sums


MOVED = """
import os, sys
from eventtree.journal import DiskFiles
from eventtree.recording.pipeline import Pipeline
from eventtree.vendors import Braintrust
from tests.trees import record_tree
append, full = DiskFiles.append, [True]
def refusing(self, name, data):
    if full[0] and (sys.argv[2] == "all" or name == "salt"):
        raise OSError(28, "No space left on device")
    append(self, name, data)
DiskFiles.append = refusing
DiskFiles.identity = lambda self: sys.argv[1].encode() * 32  # as a folder that has another path here
pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url=os.environ["URL"])], deliver=False)
record_tree(pipeline)
print("recorded", flush=True)
sys.stdin.readline()
full[0] = False
pipeline.journal._next_look = 0.0
record_tree(pipeline)
pipeline.journal.flush_held()
os._exit(1)
"""


@pytest.mark.parametrize("refused", ["all", "salt"])
def test_f50_a_folder_of_two_paths_on_a_full_disk_is_one_journal(own_place: Path, refused: str) -> None:
    """F50: workers in containers that mount it elsewhere take two salts; what both recorded goes out."""
    with VendorServer() as server:
        vendor = Braintrust(api_key="k", base_url=server.url)  # type: ignore[arg-type]
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", MOVED, name, refused], env={**os.environ, "URL": server.url}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for name in "ab"
        ]  # fmt: skip
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "recorded\n"
        for worker in workers:
            worker.communicate("\n", timeout=20)
        assert len(Journal(DiskFiles(own_place)).salts) == 2
        pipeline = Pipeline(vendors=[vendor])
        record_tree(pipeline)
        soon(lambda: make_report(pipeline.journal).waiting == 0, 20)
        flush(5)
        assert len(server.event_ids("braintrust")) == 15


def test_f51_delivery_goes_on_without_a_thread_for_upkeep(monkeypatch: pytest.MonkeyPatch) -> None:
    """F51: the last thread the system would give is the shipper's."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "eventtree-worker":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(tidy, "FIRST_TIDY_SECONDS", 0.05)
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url=server.url)])  # type: ignore[arg-type]
        soon(lambda: diagnostics.failures["sweeping the journal: RuntimeError"], 10)
        time.sleep(0.2)
        thread = pipeline.shipper._thread
        assert thread is not None
        assert thread.is_alive()
        record_tree(pipeline)
        assert flush(10).vendors["braintrust"].delivered == 3
        assert pipeline.shipper._thread is thread


def test_f30_trees_over_several_logs_of_living_and_killed_processes_are_counted(own_place: Path) -> None:
    """F30: a root's own record, in an older log than its children's, says who they are for."""
    pipeline = Pipeline(vendors=[Braintrust(api_key="k")], deliver=False)  # type: ignore[arg-type]
    pipeline.journal.roll_bytes = 20_000
    root = new_id()
    recorder.open(pipeline, root, None, kind=Kind.CHAIN, name="x", inputs="x")
    for _ in range(200):
        record_model(pipeline, new_id(), root, "where " * 20)
    assert len(pipeline.journal.logs()) > 3
    from_memory, from_disk = recorded_sums(pipeline.journal), recorded_sums(Journal(DiskFiles(own_place)))
    for found in (from_memory, from_disk):
        assert (found.is_exact, found.events, list(found.recorded.values())) == (True, 201, [201])
    sums = make_report(Journal(DiskFiles(own_place))).vendors["braintrust"]
    assert (sums.recorded, sums.accepted, sums.differs) == (201, 201, False)


STORM = """
import signal, sys, time
from eventtree import diagnostics
from eventtree.recording import runs
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree
runs.ENDED_SECONDS = 0.001  # what has ended is forgotten all the time
pipeline, count, inside = Pipeline(deliver=False), [0], [False]
def on_alarm(*_):
    if not inside[0]:
        inside[0] = True
        record_tree(pipeline, children=1)
        count[0] += 1
        inside[0] = False
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
until = time.monotonic() + 4
while time.monotonic() < until:
    record_tree(pipeline, children=1)
    count[0] += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(count[0] * 2 - pipeline.journal.tally.events, len(pipeline.journal.tally.totals), dict(diagnostics.failures))
"""


def test_f33_a_storm_of_signals_that_record_breaks_no_table_of_runs() -> None:
    """F33: the tables of open and ended runs may change between any two instructions."""
    done = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.split()[0], done.stdout.split()[2]) == (0, "0", "{}"), done.stderr[-2000:]


class Lazy:
    """Asks its database whenever it is printed."""

    __repr__ = __str__ = raises(SystemExit)


def test_f48_an_exception_over_an_object_of_the_apps_prints_it_not() -> None:
    """F48: its own text is asked for where it has one, never its arguments'."""
    told = diagnostics.message_of
    assert told(ValueError(Lazy())) == f"<{__name__}.Lazy>"
    assert told(ValueError("words", Lazy(), 3)) == f"(words, <{__name__}.Lazy>, 3)"
    assert (told(ValueError("words", 3)), told(ValueError("words"))) == ("('words', 3)", "words")
    assert told(ValueError()) == ""
    assert told(KeyError(Lazy())) == f"<{__name__}.Lazy>"
    assert told(KeyError("words")) == "'words'"
