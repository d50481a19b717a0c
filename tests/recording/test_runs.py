"""The table of open runs: who is found, for how long, and that it stays bounded."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.recording.runs import ENDED_RUNS, Run, Runs
from tests.trees import new_id, stored_trees


def entered(runs: Runs, pipeline: Pipeline, parent: str | None = None) -> Run:
    found = runs.enter(pipeline, new_id(), parent)
    assert found is not None
    return found


def test_a_run_is_found_while_it_is_open_and_a_parent_for_a_while_after() -> None:
    runs, pipeline = Runs(), Pipeline(journal=":memory:")
    root = entered(runs, pipeline)
    child = entered(runs, pipeline, root.id)
    assert (child.tree, child.parent, root.tree.events) == (root.tree, root.id, 2)
    assert runs.leave(child.id) == (child, ())
    assert runs.leave(child.id) == (None, ())
    assert runs.find(child.id) is None
    assert runs.knows(child.id)
    late = entered(runs, pipeline, child.id)
    assert late.parent == child.id
    ended, left = runs.leave(root.id)
    assert ended is root
    assert left == [late]
    assert not runs.runs
    assert runs.find(late.id) is late


def test_a_second_pipeline_gets_the_run_of_the_first_and_an_echo_nothing() -> None:
    runs, one, two = Runs(), Pipeline(journal=":memory:"), Pipeline(journal=":memory:")
    run_id = new_id()
    first = runs.enter(one, run_id, None)
    assert first is not None
    assert runs.enter(two, run_id, None) is first
    assert first.pipelines == (one, two)
    assert runs.enter(one, run_id, None) is None
    assert first.duplicates == 1
    assert runs.enter(two, run_id, None) is None
    assert first.duplicates == 1
    runs.leave(run_id)
    again = runs.enter(one, run_id, None)
    assert again is not None
    assert again.id != run_id


def test_the_table_is_bounded_by_number_and_age_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, pipeline = Runs(), Pipeline(journal=":memory:", bounds={"open_runs": 5})
    for _ in range(20):
        newest = entered(runs, pipeline)
    assert len(runs.runs) == 5
    for run in runs.runs.values():
        run.start -= 10**15
    newest = entered(runs, pipeline)
    assert list(runs.runs.values()) == [newest]
    assert runs.lost_track == 20
    newest.early, newest.start = 10**15, newest.start - 10**15
    entered(runs, pipeline)
    assert newest.id in runs.runs, "it began long ago, and is in the table since a moment"
    for run_id in [*runs.runs]:
        runs.leave(run_id)
    for _ in range(ENDED_RUNS + 10):
        runs.leave(entered(runs, pipeline).id)
    assert ENDED_RUNS // 2 < len(runs.ended) <= ENDED_RUNS
    assert runs.knows(newest.id) is False


def test_a_start_that_was_interrupted_is_written_at_the_latest_with_its_roots_end() -> None:
    pipeline, root, child = Pipeline(journal=":memory:"), new_id(), new_id()

    def interrupted(_: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    recorder.open(pipeline, root, None, Kind.CHAIN, "root")
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            recorder.open(pipeline, child, root, Kind.TOOL, "child", "x", interrupted)
    finally:
        signal.signal(signal.SIGINT, usual)
    recorder.close(pipeline, root)
    (tree,) = stored_trees(pipeline.journal)
    assert [(event.id, event.name) for event in tree.events] == [(root, "root"), (child, "child")]


def test_a_start_that_another_thread_is_about_to_write_is_written_once() -> None:
    pipeline, root, child = Pipeline(journal=":memory:"), new_id(), new_id()
    begun, ended = threading.Event(), threading.Event()

    def slow(_: Any) -> str:
        begun.set()
        assert ended.wait(10)
        return "x"

    recorder.open(pipeline, root, None, Kind.CHAIN, "root")
    opening = threading.Thread(target=recorder.open, args=(pipeline, child, root, Kind.TOOL, "child", "x", slow))
    opening.start()
    assert begun.wait(10)
    recorder.close(pipeline, child)
    recorder.close(pipeline, root)
    ended.set()
    opening.join()
    lines = b"".join(pipeline.journal.files.read(name, 0) for name in pipeline.journal.files.names())
    assert lines.count(b'"name":"child"') == 1
    (tree,) = stored_trees(pipeline.journal)
    assert [(event.id, event.inputs) for event in tree.events] == [(root, None), (child, "x")]
