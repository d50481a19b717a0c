"""What `to_rows` gives makes a data frame, with pandas and with polars, whatever the first rows lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import eventtree
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree

FRAMES: dict[str, dict[str, Any]] = {"pandas": {}, "polars": {"infer_schema_length": None}}


@pytest.fixture(params=FRAMES)
def frame(request: pytest.FixtureRequest) -> Callable[[list[dict[str, Any]]], Any]:
    """A data frame of rows, as the page about looking says."""
    library = pytest.importorskip(request.param)
    return lambda rows: library.DataFrame(rows, **FRAMES[request.param])


def test_rows_of_trees_events_and_experiments_make_a_frame(frame: Callable[[list[dict[str, Any]]], Any]) -> None:
    with_session, plain = Pipeline(session="s", user="u"), Pipeline()
    with eventtree.example("row-1", expected=1, experiment="nightly") as row:
        record_tree(with_session)
        row.score("correct", True)
    for _ in range(120):  # newest first: polars looks at a hundred
        record_tree(plain)
    with eventtree.example("row-2", expected=None, experiment="nightly"):
        record_tree(plain)
    trees, events = eventtree.trees().to_rows(), eventtree.trees(session="s")
    for rows in (trees, next(iter(events)).to_rows(), eventtree.experiment("nightly").to_rows()):
        made = frame(rows)
        assert len(made) == len(rows)
        assert list(made.columns) == list(rows[0])
    made = frame(trees)
    assert len(trees) == 122
    assert made["usd"].sum() == pytest.approx(sum(row["usd"] for row in trees))
    assert "s" in list(made["session"])
