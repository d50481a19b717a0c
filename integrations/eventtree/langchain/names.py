"""What a run is called, and when it began, from the little that LangChain says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

KNOWN_IDS = 1_000
"""Forgotten all at once, so few enough to take no time."""


class RunIds(dict[UUID, str]):
    """Run ids as text. Each is asked for at a run's start and end and by its children, and takes a while to write."""

    def __missing__(self, run_id: UUID) -> str:
        """Write one that is not known."""
        if len(self) >= KNOWN_IDS:
            self.clear()
        text = self[run_id] = str(run_id)
        return text


ids = RunIds()
"""Those of this process."""


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
    return (run_id.int >> 80) * 1_000_000 if run_id.version == 7 else None
