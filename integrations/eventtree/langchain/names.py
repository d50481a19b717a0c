"""What a run is called, and when it began, from the little that LangChain says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

KNOWN_IDS = 1_000
"""Forgotten all at once, so few enough to take no time."""


class RunIds(dict[int, str]):
    """Run ids as text, by their number (`run_id.int`: to hash or write a UUID itself takes several calls).

    Each is asked for at a run's start and end and by its children.
    """

    def __missing__(self, number: int) -> str:
        """Write one that is not known."""
        if len(self) >= KNOWN_IDS:
            self.clear()
        digits = f"{number:032x}"
        text = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        self[number] = text
        return text


_ids = RunIds()


def key_of(run_id: UUID) -> str:
    """A run's id as text; one that is no UUID, as a caller may have given it, as it reads."""
    try:
        return _ids[run_id.int]
    except AttributeError:
        return str(run_id)


def name_of(name: str | None, serialized: Any, otherwise: str) -> str:
    """The run's name: as given, else its class's."""
    if name:
        return str(name)
    if isinstance(serialized, Mapping):
        found = serialized.get("name") or (serialized.get("id") or [None])[-1]
        if found:
            return str(found)
    return otherwise


def started_ns(run_id: UUID) -> int | None:
    """When a run began whose start we were not told: LangChain's ids begin with the time, in ms."""
    return (run_id.int >> 80) * 1_000_000 if getattr(run_id, "version", None) == 7 else None
