"""Long texts that stand in another record of the tree, put where they belong; recording/texts.py leaves them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventtree import diagnostics, record
from eventtree.tree.rules import Run

LOST = "…[a text that stood in another record, which is damaged]…"


def completed(entry: Mapping[str, Any], runs: Mapping[str, Run]) -> tuple[Mapping[str, Any], int]:
    """A record that holds pointers, with the texts in their place; how many stood in a damaged one, and are marked."""
    whole, lost = {key: value for key, value in entry.items() if key != record.SAME}, 0
    pointers = entry[record.SAME]
    for pointer in pointers if isinstance(pointers, list) else ():
        found = _text(pointer, runs)
        lost += found is None
        holder: Any = whole
        try:
            *above, last = pointer["at"]
            for step in above:  # records are shared: what changes is copied
                holder[step] = holder[step].copy()
                holder = holder[step]
            holder[last] = LOST if found is None else found
        except (LookupError, TypeError, ValueError, AttributeError):
            pass  # a pointer that nobody of ours has written
    if lost:
        diagnostics.failures["texts lost with a damaged record"] += lost
    return whole, lost


def _text(pointer: Any, runs: Mapping[str, Run]) -> str | None:
    """The text that a pointer leads to; None where its record is damaged."""
    try:
        run = runs[pointer["id"]]
        found: Any = run.open if pointer["r"] == record.OPEN else run.close
        for step in pointer["from"]:
            found = found[step]
    except (LookupError, TypeError):
        return None
    return found if type(found) is str else None
