"""The result of an experiment: scores, cost and duration of its trees, alone and compared with another experiment.

The trees are those of `example(…, experiment=NAME)`; their scores come from `row.score` and `feedback`. If a tree has
several scores of one name, the last counts. All of this is read from the journal, no vendor is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from eventtree.errors import JournalError
from eventtree.event import EventTree
from eventtree.journal import Journal
from eventtree.kinds import JsonValue
from eventtree.query.trees import trees
from eventtree.summary import Table, Tabled, gist, plural, seconds, shorten, usd
from eventtree.tree.filter import Filter

COST, DURATION, TOKENS = "cost", "duration", "tokens"
"""Figures of every row besides its scores: dollars, seconds, tokens."""
FIGURES = (COST, DURATION, TOKENS)
SHOWN = 60
"""Characters of a text in a table."""
MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class Stat:
    """A figure over all rows that have it."""

    mean: float
    spread: float | None
    """The standard deviation; None of a single value."""
    count: int


class ExperimentRow(NamedTuple):
    """One tree of an experiment: a row of the dataset, the answer to it, and its scores."""

    datapoint_id: str | None
    input: JsonValue
    expected: JsonValue
    output: JsonValue
    scores: Mapping[str, float]
    status: str
    cost: float | None
    duration: float | None
    tokens: int | None
    tree_id: str

    @property
    def key(self) -> str:
        """The datapoint's id, else the input: rows of two experiments with the same key are compared."""
        return self.datapoint_id or gist(self.input, 10_000)

    def figure(self, name: str) -> float | None:
        """A score, or one of `FIGURES`."""
        found: float | None = getattr(self, name) if name in FIGURES else self.scores.get(name)
        return found

    @classmethod
    def of(cls, tree: EventTree) -> ExperimentRow:
        """The row of a tree."""
        root, dollars, known = tree.root, tree.total_usd, tree.root.metadata
        point = known.get("eventtree_datapoint_id")
        return cls(
            None if point is None else str(point), root.inputs, known.get("eventtree_expected"), root.outputs,
            scores_of(tree), str(root.status), None if dollars is None else float(dollars), root.duration,
            tree.total_tokens, tree.id,
        )  # fmt: skip


class Experiment(Tabled):
    """The rows of one experiment, in the order they were run, and their statistics."""

    def __init__(self, name: str, rows: Iterable[ExperimentRow]) -> None:
        """The experiment `name` of these rows."""
        self.name = name
        self.rows = tuple(rows)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of all scores that some row has."""
        return tuple(sorted({name for row in self.rows for name in row.scores}))

    @property
    def stats(self) -> dict[str, Stat]:
        """Mean, spread and count of each score, and of cost (dollars), duration (seconds) and tokens."""
        found = {}
        for name in (*self.score_names, *FIGURES):
            values = [value for row in self.rows if (value := row.figure(name)) is not None]
            if values:
                found[name] = Stat(fmean(values), stdev(values) if len(values) > 1 else None, len(values))
        return found

    @property
    def errors(self) -> int:
        """Number of rows with a failed root."""
        return sum(row.status == "error" for row in self.rows)

    def to_rows(self) -> list[dict[str, Any]]:
        """The rows as dicts; a score is the column `score.NAME`.

        For `pandas.DataFrame(rows)` or `polars.DataFrame(rows, infer_schema_length=None)`.
        """
        plain = [row._asdict() for row in self.rows]
        names = self.score_names
        for row in plain:
            given = row.pop("scores")
            row |= {name: gist(row[name], 10_000) for name in ("input", "expected", "output")}
            row |= {f"score.{name}": given.get(name) for name in names}
        return plain

    def compare(self, other: Experiment) -> Comparison:
        """This experiment against another: both must have rows of the same datapoints, or inputs."""
        return Comparison(self, other)

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {stat.mean:.3g}" for name, stat in self.stats.items())
        return f"<Experiment {gist(self.name)}: {plural(len(self.rows), 'row')}{f', {means}' if means else ''}>"

    def _repr_html_(self) -> str:
        return stats_table(self.stats)._repr_html_() + self.table(MOST_ROWS)._repr_html_()

    def table(self, most: int | None = None) -> Table:
        """A line for each row: input, expected and actual output, and the figures."""
        names = self.score_names
        headings = ["row", "input", "expected", "output", *names, COST, DURATION, "tree"]
        rows = [
            [row.datapoint_id or "", gist(row.input, SHOWN), gist(row.expected, SHOWN), gist(row.output, SHOWN),
             *(figure(name, row.scores.get(name)) for name in names), usd(row.cost), seconds(row.duration),
             row.tree_id[-8:]]
            for row in self.rows[:most]
        ]  # fmt: skip
        return Table(headings, rows, repr(self)[1:-1])


class Comparison(Tabled):
    """Two experiments row by row: `mine` against `theirs`."""

    def __init__(self, mine: Experiment, theirs: Experiment) -> None:
        """Pair the rows with the same key; of several the last counts."""
        self.mine, self.theirs = mine, theirs
        before = {row.key: row for row in theirs.rows}
        after = {row.key: row for row in mine.rows}
        self.pairs = [(before[key], row) for key, row in after.items() if key in before]

    def change(self, name: str) -> tuple[float, int, int, int] | None:
        """Mean change of a figure over the pairs that have it in both, and how many rose, fell and stayed."""
        both = [(one.figure(name), two.figure(name)) for one, two in self.pairs]
        changes = [two - one for one, two in both if one is not None and two is not None]
        if not changes:
            return None
        rose, fell = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
        return fmean(changes), rose, fell, len(changes) - rose - fell

    def table(self) -> Table:
        """A line for each figure: both means, and how it changed."""
        headings = ["", shorten(self.theirs.name, 30), shorten(self.mine.name, 30), "change", "rose", "fell", "same"]
        before, after, rows = self.theirs.stats, self.mine.stats, []
        for name in (one for one in after if one in before):
            means = [figure(name, stats[name].mean) for stats in (before, after)]
            change = self.change(name)
            moved = ["", "", "", ""] if change is None else [figure(name, change[0], sign=True), *map(str, change[1:])]
            rows.append([name, *means, *moved])
        return Table(headings, rows, repr(self)[1:-1])

    def __repr__(self) -> str:
        names = f"{gist(self.mine.name)} against {gist(self.theirs.name)}"
        return f"<Comparison {names}: {plural(len(self.pairs), 'row')} in both>"


def experiment(name: str, *, journal: str | Path | Journal | None = None) -> Experiment:
    """The result of the experiment `name` in a journal (default: the configured one).

    Raises:
        JournalError: no tree belongs to it; the message names the experiments that exist.
    """
    found = [ExperimentRow.of(tree) for tree in trees(journal, where=Filter.named("experiment", name))]
    if not found:
        known = sorted({one for row in trees(journal).rows() for one in row.shape.experiment})
        hint = f"There are {', '.join(map(gist, known[:10]))}" if known else "Give example(…) an experiment"
        raise JournalError(f"no tree belongs to the experiment {gist(name)}. {hint}")
    return Experiment(name, reversed(found))


def scores_of(tree: EventTree) -> dict[str, float]:
    """Scores of a tree by name, of its example and its feedback; true counts as 1."""
    early = tree.root.metadata.get("eventtree_scores")
    found = dict(_numbers(early, "score"))
    for given in tree.feedback:
        found.update(_numbers(given.get("score"), given.get("name") or "score"))
    return found


def _numbers(score: JsonValue, name: str) -> Iterator[tuple[str, float]]:
    for key, value in score.items() if isinstance(score, dict) else ((name, score),):
        if isinstance(value, bool | int | float) and math.isfinite(value):
            yield str(key), float(value)


def stats_table(stats: Mapping[str, Stat]) -> Table:
    """A line for each figure: mean, spread and count."""
    rows = [
        [name, figure(name, stat.mean), "" if stat.spread is None else f"± {figure(name, stat.spread)}", stat.count]
        for name, stat in stats.items()
    ]
    return Table(["", "mean", "spread", "count"], rows)


def figure(name: str, value: float | None, *, sign: bool = False) -> str:
    """A score, dollars or seconds as text."""
    if value is None:
        return ""
    plus = "+" if sign and value > 0 else "-" if sign and value < 0 else ""
    size = abs(value) if sign else value
    if name == COST:
        return f"{plus}{usd(size)}"
    if name == DURATION:
        return f"{plus}{seconds(size)}"
    return f"{plus}{size:,.0f}" if name == TOKENS else f"{plus}{size:.3f}"
