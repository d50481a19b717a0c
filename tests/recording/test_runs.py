"""The table of open runs: who is found, for how long, and that it stays bounded."""

from __future__ import annotations

import pytest

from eventtree.recording.pipeline import Pipeline
from eventtree.recording.runs import ENDED_RUNS, Run, Runs
from tests.trees import new_id


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
