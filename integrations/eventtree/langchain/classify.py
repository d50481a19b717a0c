"""A run's id and its name as text."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from eventtree.content import items_of
from eventtree.record import encode

FALLBACKS = "RunnableWithFallbacks"
"""Name of the run around the attempts of `with_fallbacks`, where the user gives it no other. It only numbers attempts:
a run that bears the name by chance loses nothing.
"""

KNOWN_IDS = 1_000
"""Forgotten all at once, so few enough to take no time."""


_ids: dict[int, str] = {}
"""Run ids as text, by their number (`run_id.int`: to hash or write a UUID itself takes several calls).

Each is asked for at a run's start and end and by its children.
"""


def key_of(run_id: UUID) -> str:
    """A run's id as text; a caller may have given an id that is no UUID, kept as it reads."""
    try:
        return _ids.get(run_id.int) or _written(run_id)
    except AttributeError:
        return str(run_id).encode("utf-8", "replace").decode() or "-"  # one that can be written, and is some id


def _written(run_id: Any) -> str:
    """A UUID as text. The encoder writes one in a third of the time."""
    if len(_ids) >= KNOWN_IDS:
        _ids.clear()
    try:
        known = encode(run_id)[1:-1].decode()
    except ValueError:  # of another library's class
        known = str(UUID(int=run_id.int))
    _ids[run_id.int] = known
    return known


def class_of(serialized: Any) -> str:
    """The name of the class that LangChain has serialized; empty where it says none."""
    path = serialized.get("id") if isinstance(serialized, dict) else None
    if type(path) is not list:
        path = items_of(path)
    return path[-1] if path and isinstance(path[-1], str) else ""


def name_of(name: str | None, serialized: Any, otherwise: str) -> str:
    """The run's name: as given, else its class's."""
    given = serialized.get("name") if isinstance(serialized, dict) else None
    if name is None and type(given) is str and given:
        return given
    names = (name, given, class_of(serialized), otherwise)
    return next(str.__str__(found) for found in names if isinstance(found, str) and found)


def started_ns(run_id: UUID) -> int | None:
    """When a run began whose start was not reported: LangChain's ids begin with the time, in ms.

    The end of that millisecond: so the run does not seem to begin before a sibling that ended within it.
    """
    return ((run_id.int >> 80) + 1) * 1_000_000 - 1 if getattr(run_id, "version", None) == 7 else None
