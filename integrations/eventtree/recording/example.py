"""`example`: ties trees to the row of a dataset that they answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eventtree.recording.feedback import feedback
from eventtree.recording.session import Example, answering


class Row(Example):
    """The row of a dataset that a `with` block answers. `tree_ids` fills with the trees that open inside."""

    __slots__ = ()

    def score(self, name: str, value: float | bool, comment: str | None = None) -> None:
        """Score the answer: the block's last tree, or the next one if none has opened yet."""
        if self.tree_ids:
            feedback(self.tree_ids[-1], score=value, name=name, comment=comment)
        else:
            self.links["scores"] = {**self.links.get("scores", {}), name: value}


@contextmanager
def example(
    datapoint_id: str | None = None,
    *,
    expected: Any = None,
    experiment: str | None = None,
    run_id: str | None = None,
    dataset_id: str | None = None,
) -> Iterator[Row]:
    """Tie every tree that opens inside the block to a row of a dataset, also in tasks and threads that inherit it.

    `experiment` is the name of an experiment of Braintrust, created if it is missing; `run_id` is a run of HoneyHive or
    Humanloop. For `batch`, put the same into each input's `config["metadata"]`, which wins over the block:
    `eventtree_datapoint_id`, `eventtree_expected`, `eventtree_experiment`, `eventtree_run_id`, `eventtree_dataset_id`,
    `eventtree_scores`.
    """
    given = {
        "datapoint_id": datapoint_id, "expected": expected, "experiment": experiment, "run_id": run_id,
        "dataset_id": dataset_id,
    }  # fmt: skip
    row = Row({key: value for key, value in given.items() if value is not None})
    with answering(row):
        yield row
