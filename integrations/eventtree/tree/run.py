"""A run of a tree, built from its records, which may come twice and in any order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventtree import record
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.record import CLOSE, NOTE, OPEN, Record

NOTHING: Mapping[str, Any] = {}
"""Never changed. A plain dict, since it is merged fastest."""
NONE_YET: list[Any] = []
"""Never changed."""


class Run:
    """A run as far as its records have come. The records are shared and never changed."""

    __slots__ = (
        "close", "id", "is_cancelled", "kind", "lost_texts", "metadata", "notes", "open", "passed", "prompt", "start",
    )  # fmt: skip

    def __init__(self, run_id: str) -> None:
        """Start without records."""
        self.id = run_id
        self.open = self.close = NOTHING
        self.start = 0
        self.passed: list[Run] = NONE_YET
        """Records of it that do not count, each as a run: later records may refer to texts in them."""
        self.notes: list[Record] = NONE_YET
        self.is_cancelled = False
        """Whether the run never closed, and the nearest closed run above it was cancelled."""
        self.kind: Kind | None = None
        """Kind that the structure of the tree proves (an agent); None elsewhere."""
        self.lost_texts = 0
        """Number of its texts that are in another record, which is damaged."""
        self.prompt: dict[str, JsonValue] | None = None
        """The prompt of a model, if its metadata names one."""
        self.metadata = NOTHING
        """Turns and attempts that the structure of the tree adds."""

    def take(self, entry: Record) -> None:
        """Add a record. The first open counts, and of several closes the earliest by duration.

        A close may come before its open: a journal is read log by log, and a log may be damaged.
        """
        kind = entry["r"]
        if kind == OPEN and not self.open:
            self.open, self.start = entry, entry.get("start", 0)
        elif kind == CLOSE and not self.close:
            self.close = entry
        elif kind == NOTE:
            self.notes = self.notes or []
            self.notes.append(entry)
        elif kind == CLOSE and entry.get("duration", 0) < self.close.get("duration", 0):
            self._pass_over(self.close)
            self.close = entry
        else:
            self._pass_over(entry)

    def _pass_over(self, entry: Mapping[str, Any]) -> None:
        if record.SAME in entry:
            other = Run(self.id)
            other.open = entry
            self.passed = [*self.passed, other]

    @property
    def status(self) -> str:
        return str(self.close.get("status", Status.CANCELLED if self.is_cancelled else Status.INCOMPLETE))

    @property
    def outputs(self) -> JsonValue:
        """Outputs of the close; of a run that never closed, the text streamed until its root closed."""
        if self.close:
            return self.close.get("outputs")
        return next((note.get("value") for note in self.notes if note["name"] == record.PARTIAL), None)

    def learned(self, key: str) -> Any:
        """A value of its close, else of its open."""
        value = self.close.get(key)
        return self.open.get(key) if value is None else value
