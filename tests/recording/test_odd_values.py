"""F31: whatever the app's values do, each run is recorded; the odd part is marked, and costs no more than itself."""

from __future__ import annotations

import inspect
import logging
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import eventtree
from eventtree import diagnostics, flush
from eventtree.config import Bounds
from eventtree.errors import ConfigError
from eventtree.journal import Journal, MemoryFiles
from eventtree.kinds import Kind, Status
from eventtree.langchain import CallbackHandler
from eventtree.llama_index import DispatcherHandler
from eventtree.record import MAX_DEPTH
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import VendorServer, capture
from eventtree.vendors import VENDORS, vendor_class
from tests.trees import new_id, record_tree

HALF = "half \ud800 a pair"


class Meta(type):
    """Raises for its classes' names."""

    __name__ = property(lambda cls: 1 / 0)  # type: ignore[assignment]
    __module__ = property(lambda cls: 1 / 0)  # type: ignore[assignment]


class NamelessError(Exception, metaclass=Meta):
    """An error whose class has no name that can be had."""


class Raising(Mapping[str, Any]):
    """Metadata that cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Any:
        raise RuntimeError

    def __len__(self) -> int:
        return 3


def never(value: Any) -> Any:
    """A conversion that fails."""
    raise ValueError(value)


ODD_OPENS: list[dict[str, Any]] = [
    *({"known": known} for known in (
        {"provider": object()}, {"provider": {"a": 1}}, {"provider": HALF, "model": HALF},
        {"provider": b"x", "model": 7}, {"session": HALF}, {"session": 10**5000}, {"user": 10**5000},
        {"params": {"x": object()}}, {"params": "text"},
    )),
    {"name": HALF}, {"name": None}, {"name": ["a"]}, {"metadata": {"user_id": 10**5000, "session_id": HALF}},
    {"metadata": Raising()}, {"metadata": {HALF: HALF}}, {"tags": [HALF, None, object(), 10**5000]},
    {"tags": Raising()}, {"tags": "one"}, {"inputs": 1, "convert": never},
    {"inputs": HALF, "convert": lambda value: value}, {"inputs": 1, "convert": lambda value: object()},
]  # fmt: skip
ODD_CLOSES: list[dict[str, Any]] = [
    {"outputs": 1, "convert": never}, {"outputs": HALF, "convert": lambda value: value},
    {"error": NamelessError("x"), "status": Status.ERROR}, {"error": {"type": HALF}, "status": Status.ERROR},
    {"inputs": NamelessError("y")},
    *({"learned": learned} for learned in (
        {"model": HALF}, {"model": object(), "provider": object()}, {"usage": {"x": HALF}}, {"usage": object()},
        {"metadata": {"x": object()}}, {"cost": HALF},
    )),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ODD_OPENS)))
def test_f31_an_odd_start_is_recorded_with_a_mark(number: int) -> None:
    odd = {"kind": Kind.MODEL, "name": "run", **ODD_OPENS[number]}
    pipeline = Pipeline(sample_rate=0.999999)
    with capture() as trees:
        root, child = new_id(), new_id()
        recorder.open(pipeline, root, None, **odd)
        recorder.open(pipeline, child, root, **odd)
        recorder.close(pipeline, child)
        recorder.close(pipeline, root)
        (tree,) = trees
    assert [event.id for event in tree.events] == [root, child]
    assert all(event.status is Status.OK and isinstance(event.name, str) for event in tree.events)


@pytest.mark.parametrize("number", range(len(ODD_CLOSES)))
def test_f31_an_odd_end_is_recorded_with_a_mark(number: int) -> None:
    pipeline = Pipeline()
    with capture() as trees:
        root, child = new_id(), new_id()
        for run, parent in ((root, None), (child, root)):
            recorder.open(pipeline, run, parent, kind=Kind.MODEL, name="run")
        for run in (child, root):
            recorder.close(pipeline, run, **ODD_CLOSES[number])
        (tree,) = trees
    assert [event.status for event in tree.events] == [ODD_CLOSES[number].get("status", Status.OK)] * 2


@pytest.mark.parametrize("kind", VENDORS)
def test_f31_odd_values_reach_every_vendor_and_are_counted(kind: str) -> None:
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[vendor_class(kind)(**server.settings(kind))], user="u")
        for odd in ODD_OPENS:
            run = new_id()
            recorder.open(pipeline, run, None, **{"kind": Kind.MODEL, "name": "run", "inputs": "q", **odd})
            recorder.close(pipeline, run, outputs="a")
        for odd in ODD_CLOSES:
            run = new_id()
            recorder.open(pipeline, run, None, kind=Kind.MODEL, name="run", inputs="q")
            recorder.close(pipeline, run, **{"outputs": "a", **odd})
        sums = flush(30).vendors[kind]
        assert (sums.accepted, sums.waiting, sums.unexplained) == (len(ODD_OPENS) + len(ODD_CLOSES), 0, 0)
        assert sums.delivered + sum(sums.dropped.values()) == sums.accepted


def test_f31_a_note_with_odd_values_is_recorded() -> None:
    pipeline = Pipeline()
    with capture() as trees:
        run = new_id()
        recorder.open(pipeline, run, None, kind=Kind.CHAIN, name="run")
        for odd in (HALF, object(), {HALF: 1}, {"x": object()}):
            recorder.note(run, "odd", odd)
        recorder.note(run, HALF, 1)
        recorder.close(pipeline, run)
        assert len(trees[0].root.notes) == 5


def test_f31_metadata_that_looks_the_same_is_recorded_as_it_is() -> None:
    values: list[Any] = [
        *(None, float("nan"), None, 1, True, 1.0, "1", [1, None], (1, None), {"a": float("inf")}, HALF, 2**64)
    ]
    pipeline = Pipeline(vendors=[])
    with capture() as trees:
        for value in values:
            for text in ("x", "y"):
                given = {"at": value, "same": {"key": "x"}}
                for _ in range(2):
                    run = new_id()
                    recorder.open(pipeline, run, None, Kind.CHAIN, "root", metadata=given)
                    given["same"]["key"] = text
                    recorder.open(pipeline, child := new_id(), run, Kind.CHAIN, "child", metadata=given)
                    recorder.close(pipeline, child)
                    recorder.close(pipeline, run)
        found = [event.metadata for tree in trees for event in tree.events]
    kept: Any = [pipeline.plain(value) for value in values for _ in range(8)]
    assert [repr(one["at"]) for one in found] == list(map(repr, kept))
    assert [one["same"]["key"] for one in found] == ["x", "x", "x", "x", "x", "y", "y", "y"] * len(values)


def test_f31_a_strict_pipeline_records_and_raises() -> None:
    pipeline = Pipeline(strict=True)
    with capture() as trees:
        with pytest.raises(ValueError, match="1"):
            recorder.open(pipeline, run := new_id(), None, kind=Kind.CHAIN, name="x", inputs=1, convert=never)
        recorder.close(pipeline, run)
        assert "could not be recorded: ValueError" in str(trees[0].root.inputs)


def test_f31_a_run_with_an_old_id_whose_start_was_hidden_is_recorded(own_place: Path) -> None:
    """Its id says that it began days ago: it is the newest in the table all the same."""
    handler = CallbackHandler()
    milliseconds = int((time.time() - 3 * 86_400) * 1000)
    old = uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | 5)
    with capture() as trees:
        handler.on_llm_end(None, run_id=old)
        handler.on_chain_end("x", run_id=uuid.UUID(int=old.int + 1))
        assert [tree.root.status for tree in trees] == [Status.OK, Status.OK]
    assert not recorder.runs
    assert not diagnostics.failures


@pytest.mark.parametrize(
    "callback", ["on_chain", "on_llm", "on_chat_model", "on_tool", "on_retriever"], ids=lambda name: str(name)[3:]
)
@pytest.mark.parametrize("end", ["end", "error"])
def test_f31_a_callback_that_fails_over_its_arguments_loses_no_run(
    callback: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root whose start or end cannot be read is recorded bare: it neither is missing nor waits for ever."""
    monkeypatch.setattr("eventtree.langchain.handler.parent_of", lambda _: 1 / 0)
    monkeypatch.setattr("eventtree.langchain.handler.key_of", lambda _: 1 / 0)
    handler, root, child = CallbackHandler(), uuid.uuid4(), uuid.uuid4()
    ends = {"on_chat_model": "on_llm"}.get(callback, callback)
    with capture() as trees:
        getattr(handler, f"{callback}_start")({}, "x", run_id=root, name="root")
        getattr(handler, f"{callback}_start")({}, "x", run_id=child, parent_run_id=root, name="child")
        for run in (child, root):
            getattr(handler, f"{ends}_{end}")(ValueError("x"), run_id=run)
        (tree,) = trees
    assert [(event.id, event.parent_id) for event in tree.events] == [(str(root), None), (str(child), str(root))]
    assert {event.status for event in tree.events} == {Status.OK if end == "end" else Status.ERROR}
    assert not recorder.runs


def test_f31_an_error_without_a_name_is_the_runs_error() -> None:
    handler = CallbackHandler()
    with capture() as trees:
        handler.on_chain_start({}, "x", run_id=(run := uuid.uuid4()), name="root")
        handler.on_chain_error(NamelessError("why"), run_id=run)
        error = trees[0].root.error
    assert error is not None
    assert (error.type.rpartition(".")[2], error.message) == ("NamelessError", "why")
    assert not diagnostics.failures


@pytest.mark.parametrize("what", ["exit", "drop"])
def test_f31_a_span_whose_end_cannot_be_read_is_closed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventtree.llama_index.spans.Closing.close", lambda *_, **__: 1 / 0)
    handler, run = DispatcherHandler(), new_id()
    with capture() as trees:
        bound = inspect.signature(new_id).bind()
        handler._spans.enter(f"Engine.query-{run}", bound, None, None, None)
        getattr(handler._spans, what)(
            f"Engine.query-{run}", bound, None, ValueError("x") if what == "drop" else "answer"
        )
        assert trees[0].root.status is (Status.ERROR if what == "drop" else Status.OK)
    assert not recorder.runs


def test_f31_a_failing_log_handler_of_the_app_never_reaches_it() -> None:
    class Failing(eventtree.LogHandler):
        def handle(self, record: Any) -> bool:
            raise OSError("the app's log is full")

    failing = Failing()
    diagnostics.logger.addHandler(failing)
    try:
        diagnostics.failed("somewhere", NamelessError())
    finally:
        diagnostics.logger.removeHandler(failing)
    assert diagnostics.failures["log handler"] == 1


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize(
    "bounds", [{"depth": MAX_DEPTH}, {"value_bytes": 1_000}, {"depth": 3}, {"items": 10}, {"nodes": 20}]
)
def test_f31_the_bounds_that_are_allowed_leave_records_that_can_be_read(kind: str, bounds: dict[str, int]) -> None:
    wide = {f"key {number}": {"a": {"b": list(range(20))}} for number in range(200)}
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[vendor_class(kind)(**server.settings(kind))], bounds=bounds, user="u")
        for value in (nested(400), {"messages": [{"role": "user", "content": nested(400)}]}, wide):
            record_tree(pipeline, question=value, metadata={"x": value, **wide}, tags=[str(n) for n in range(200)])
        sums = flush(30).vendors[kind]
        assert (sums.accepted, sums.dead, sums.waiting, sums.unexplained) == (9, 0, 0, 0)
        assert not server.refused


@pytest.mark.parametrize(("bound", "wrong"), [("depth", 1_000), ("depth", 2), ("value_bytes", 200), ("nodes", 1)])
def test_f31_a_bound_that_would_make_records_unreadable_is_refused(bound: str, wrong: int) -> None:
    field = Bounds.model_fields[bound].metadata
    allowed = next(value for limit in field for value in (getattr(limit, "le", None), getattr(limit, "ge", None))
                   if value is not None and (value < wrong) == hasattr(limit, "le"))  # fmt: skip
    with pytest.raises(ConfigError, match=rf"bounds\.{bound}.* {allowed}\b"):
        Pipeline(bounds={bound: wrong})


FORK = """
import os, sys, threading
from eventtree import flush
from eventtree.recording.pipeline import Pipeline
from eventtree.vendors import Braintrust
from tests.trees import record_tree
pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url=sys.argv[1])])
child = os.fork()
if child == 0:
    start = threading.Thread.start
    def refuse(thread):
        raise RuntimeError("can't start new thread")
    threading.Thread.start = refuse
    for _ in range(3):
        record_tree(pipeline)
    held = flush(0).vendors["braintrust"]
    assert (held.accepted, held.waiting) == (9, 9), held
    threading.Thread.start = start
    record_tree(pipeline)
    os._exit(0 if flush(20).vendors["braintrust"].delivered == 12 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_f32_a_forked_worker_that_gets_no_thread_loses_nothing() -> None:
    """It records without one; the next root, and a flush, try again."""
    with VendorServer() as server:
        done = subprocess.run(
            [sys.executable, "-c", FORK, server.settings("braintrust")["base_url"]], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert len(server.event_ids("braintrust")) == 12


def test_f32_a_handler_can_be_made_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    with VendorServer() as server:
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", refuse)
            pipeline = Pipeline(vendors=[vendor_class("braintrust")(**server.settings("braintrust"))])
            record_tree(pipeline)
        assert flush(20).vendors["braintrust"].delivered == 3


LOGGING_SIGNAL = """
import gc, itertools, logging, os, signal, sys, threading
import eventtree
from eventtree.journal import Journal, MemoryFiles
from eventtree.langchain import CallbackHandler
from eventtree.testing import capture
from langchain_core.runnables import RunnableLambda
log = logging.getLogger("app")
log.setLevel("INFO")
log.addHandler(eventtree.LogHandler())
said = itertools.count()

class Loud:
    def __init__(self):
        self.ring = self
    def __del__(self):
        log.info("gone %d", next(said))

def on_alarm(*_):
    log.info("alarm %d", next(said))
    signal.setitimer(signal.ITIMER_REAL, 0.0003)  # once more, and never inside itself

def step(value):
    for number in range(300):
        if "del" in sys.argv:
            gc.set_threshold(1 + number % 50, 1, 1)  # sooner or later it runs within the append
        Loud()
        log.info("line")
    return value

handler = CallbackHandler(journal=sys.argv[1])
if "signal" in sys.argv[2:]:
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.0003)
chain = RunnableLambda(step) | RunnableLambda(step)
threads = [threading.Thread(target=chain.invoke, args=(1, {"callbacks": [handler]})) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(5):
    chain.invoke(1, {"callbacks": [handler]})
signal.signal(signal.SIGALRM, signal.SIG_IGN)
for thread in threads:
    thread.join()
gc.disable()
from eventtree import diagnostics
print(next(said), dict(diagnostics.failures))
"""


@pytest.mark.parametrize("how", ["signal", "del", "signal del"])
def test_f33_what_logs_while_a_record_is_written_waits_for_nobody(own_place: Path, how: str) -> None:
    """A signal handler and `__del__` run inside our own code, on the thread that holds the journal's lock."""
    command = [sys.executable, "-c", LOGGING_SIGNAL, str(own_place), *how.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    said, failures = done.stdout.split(" ", 1)
    assert int(said) > 100
    assert failures == "{}\n"
    text = b"".join(path.read_bytes() for path in own_place.glob("*.log"))
    assert text.count(b'"line":"line"') == 8 * 2 * 300
    numbers = [int(line[9:].split(b" ", 1)[0]) for line in text.splitlines()]
    assert sorted(numbers) == list(range(len(numbers))), "every line is there once, and whole"


class Collecting(MemoryFiles):
    """Files on which the app's garbage goes in the middle of a write, as it may at any instruction."""

    garbage: list[Any] = []

    def append(self, name: str, data: bytes) -> None:
        while self.garbage:
            self.garbage.pop()
        super().append(name, data)


def test_f33_a_destructor_that_records_in_the_middle_of_a_write_is_written_next() -> None:
    journal = Journal(Collecting())

    class Loud:
        def __del__(self) -> None:
            journal.append(b'{"n":"inner"}', ("v.f",), 2)

    def record() -> None:
        journal.append(b'{"n":0}')
        Collecting.garbage += [Loud(), Loud()]
        journal.append(b'{"n":1}', ("v.f",))
        journal.append(b'{"n":2}')

    writer = threading.Thread(target=record, daemon=True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    lines = journal.files.read(journal.log, 0, 1 << 20).split(b"\n")[1:-1]
    assert [line.split(b":")[-1] for line in lines] == [b"0}", b"1}", b'"inner"}', b'"inner"}', b"2}"]
    assert journal.tally.totals == {"v.f": 5}


def test_f33_any_number_of_records_inside_records_takes_no_recursion() -> None:
    journal = Journal(Dripping())
    Dripping.journal = journal
    journal.append(b"{}")
    assert journal.files.read(journal.log, 0, 1 << 20).count(b" {}\n") == 5_001


class Dripping(MemoryFiles):
    """Files in whose every write something else is recorded."""

    journal: Journal
    left = 5_000

    def append(self, name: str, data: bytes) -> None:
        super().append(name, data)
        if self.left:
            self.left -= 1
            self.journal.append(b"{}")


def test_f33_two_threads_that_log_inside_each_others_locks_both_go_on(own_place: Path) -> None:
    """One logs, and waits for the journal; one writes to it, and in the middle a destructor logs."""
    handler, log = eventtree.LogHandler(), logging.getLogger("app.locks")
    log.addHandler(handler)
    log.setLevel("INFO")
    pipeline = Pipeline()
    recorder.open(pipeline, run := new_id(), None, kind=Kind.CHAIN, name="run")

    class Loud:
        def __del__(self) -> None:
            log.info("gone")

    append = pipeline.journal.files.append
    has_begun, may_end = threading.Event(), threading.Event()

    def slow(name: str, data: bytes) -> None:
        append(name, data)
        if not has_begun.is_set():
            has_begun.set()
            may_end.wait(5)
            Loud()

    pipeline.journal.files.append = slow  # type: ignore[method-assign]
    monitor = logging.LogRecord("app.locks", logging.INFO, __file__, 1, "line", None, None)

    def noting(record: logging.LogRecord) -> None:
        may_end.set()
        recorder.note(run, "log", record.getMessage())

    handler.emit = noting  # type: ignore[method-assign]
    writer = threading.Thread(target=recorder.note, args=(run, "mine"), daemon=True)
    writer.start()
    assert has_begun.wait(5)
    logger = threading.Thread(target=handler.handle, args=(monitor,), daemon=True)
    logger.start()
    for thread in (writer, logger):
        thread.join(10)
        assert not thread.is_alive()
    log.removeHandler(handler)
    recorder.close(pipeline, run)


def test_f33_a_flush_in_a_signal_handler_that_interrupts_recording_returns(own_place: Path) -> None:
    pipeline = Pipeline()
    done: list[bool] = []

    def flushing(*_: Any) -> None:
        pipeline.journal.flush_held()
        done.append(True)
        signal.setitimer(signal.ITIMER_REAL, 0.0005)

    usual = signal.signal(signal.SIGALRM, flushing)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    try:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            record_tree(pipeline)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert done


def test_f34_callbacks_beside_ten_thousand_open_runs_cost_the_same() -> None:
    from tests.bench.counting import counted

    handler = CallbackHandler()

    def call() -> None:
        root, child = uuid.uuid4(), uuid.uuid4()
        handler.on_chain_start({}, "x", run_id=root, name="root")
        handler.on_chain_start({}, "x", run_id=child, parent_run_id=root, name="child")
        handler.on_chain_end("y", run_id=child)
        handler.on_chain_end("y", run_id=root)

    def cost() -> int:
        return min(counted(call)[0] for _ in range(20))

    handler.on_chain_start({}, "x", run_id=uuid.uuid4(), name="open")
    alone = cost()
    for _ in range(9_999):
        handler.on_chain_start({}, "x", run_id=uuid.uuid4(), name="open")
    assert len(recorder.runs) == 10_000
    assert cost() <= alone


@pytest.mark.parametrize("odd", ["", HALF, '"', "\0", None, 5, b"x"])
def test_f31_a_run_of_an_odd_id_is_recorded_and_counted(odd: Any) -> None:
    """F31: whoever calls a handler by hand may give ids that are no UUIDs."""
    handler = CallbackHandler(vendors=[vendor_class("braintrust")(api_key="k")], deliver=False, journal=":memory:")
    child = uuid.uuid4()
    handler.on_chain_start({}, "x", run_id=odd, name="root")
    handler.on_chain_start({}, "x", run_id=child, parent_run_id=odd, name="child")
    handler.on_chain_end("y", run_id=child)
    handler.on_chain_end("y", run_id=odd)
    (sums,) = flush(0).vendors.values()
    assert (sums.accepted, sums.recorded) == (2, 2)
