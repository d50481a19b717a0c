"""How the runs of a tree are nested: their parents, and which of nested model runs has the tokens.

Pure functions of the runs. A parent that is missing or part of a ring must not lose a run, and a model run around
another must not count its tokens a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventtree.kinds import CANCELLED, MODEL
from eventtree.tree.run import Run


def rooted(parents: Mapping[str, str | None], root: str) -> dict[str, str | None]:
    """Parents by which every run is a descendant of `root`."""
    safe: dict[str, str | None] = {root: None}
    for start, parent in parents.items():
        if start in safe:
            continue
        if parent in safe:
            safe[start] = parent  # the usual case: parents open before their children
            continue
        path: list[str] = []
        node: str | None = start
        while node is not None and node in parents and node not in safe and node not in path:
            path.append(node)
            node = parents[node]
        # `node` is now known to be safe, or missing, or on the path itself (a ring).
        top = node if node in safe else root
        for child in reversed(path):
            safe[child] = top
            top = child
    return safe


def wrappers(with_usage: Sequence[Run], runs: Mapping[str, Run], parents: Mapping[str, str | None]) -> set[str]:
    """Model runs with usage that merely wrap another model run.

    The inner run has the usage; counting the wrapper's too would count tokens twice.
    """
    found = _handing_on(with_usage)
    for run in with_usage:
        if run.open.get("kind") != MODEL:
            continue
        above = parents[run.id]
        while above is not None and above in runs:
            if runs[above].open.get("kind") == MODEL:
                found.add(above)
            above = parents[above]
    return found


def _handing_on(runs: Sequence[Run]) -> set[str]:
    """Model runs that return the answer of another model run, which ran within their time.

    LangChain gives a model that is called inside another model the outer one's parent, so the two are siblings.
    """
    if len(runs) < 2:
        return set()
    by_answer: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        usage = run.close.get("usage")
        answers = usage.get("answers") if isinstance(usage, dict) and not usage.get("cached") else None
        if isinstance(answers, list) and answers:
            by_answer.setdefault(tuple(str(one) for one in answers), []).append(run)
    pairs = ((outer, inner) for same in by_answer.values() for outer in same for inner in same)
    return {outer.id for outer, inner in pairs if _encloses(outer, inner)}


def _encloses(outer: Run, inner: Run) -> bool:
    """Whether `inner` ran wholly within the time of `outer`."""
    starts = [run.open.get("start", 0) for run in (outer, inner)]
    ends = [start + run.close.get("duration", 0) for start, run in zip(starts, (outer, inner), strict=True)]
    return bool(starts[0] < starts[1] and ends[1] <= ends[0])


def silent(
    asked: Sequence[Run], runs: Mapping[str, Run], parents: Mapping[str, str | None], wrappers: set[str]
) -> set[str]:
    """Models and embeddings whose tokens may not be counted: a run above or below has the same text, and counts it."""
    found: set[str] = set()
    for run in asked if len(asked) > 1 else ():
        kind, above = run.learned("kind"), parents[run.id]
        while above is not None and above in runs:
            if runs[above].learned("kind") == kind:
                has_usage = bool(runs[above].close.get("usage")) and above not in wrappers
                found.add(above if kind == MODEL and not has_usage else run.id)
            above = parents[above]
    return found


def settle_unclosed(runs: Mapping[str, Run], parents: Mapping[str, str | None]) -> None:
    for run in runs.values():
        if run.close:
            continue
        above = parents[run.id]
        while above is not None and above in runs and not runs[above].close:
            above = parents[above]
        nearest = runs.get(above) if above is not None else None
        run.is_cancelled = nearest is not None and nearest.close.get("status") == CANCELLED
