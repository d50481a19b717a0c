"""How far one vendor has got: sums, settled trees, parts of trees already taken, and what its replies taught.

An append-only file of lines (`line.py`), read whole at the start, one line per answered request. From time to time it
is rewritten as one line that says the same.

    {"c": "ack", "items": {tree: [[key, …], delivered, dead]}}       these items need never be sent again
    {"c": "settle", "tree", "events", "dropped": {reason: n}, "spans": {log: end}}     the tree is done with
    {"c": "drop", "events", "reason"}                                accepted and dropped at once: sampled, late, …
    {"c": "learn", "name": value}
    {"c": "state", …}                                                all of it at once
    {"c": "parked", "why": text or null}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pydantic_core

from eventtree.journal.files import Files
from eventtree.journal.line import LineReader, frame

COMPACT_TREES = 5_000
"""Settled trees remembered by id before the file is rewritten."""

KEPT_TREES = 1_000
"""Trees settled last that stay known by id, so that what comes late is recognised."""

Spans = Mapping[str, int]
"""Log → offset behind a tree's last record there."""


class Cursor:
    """State of one vendor; whoever holds the vendor's lock writes, anybody may `refresh` and read."""

    def __init__(self, files: Files, name: str) -> None:
        """Read `name` (`VENDOR.FINGERPRINT.cursor`) as it stands.

        Raises:
            OSError: it cannot be read.
        """
        self.files = files
        self.name = name
        self._clear()
        self.refresh()

    def _clear(self) -> None:
        self.accepted = 0
        """Events of settled trees, and those dropped at once."""
        self.delivered = 0
        self.dead = 0
        self.dropped: Counter[str] = Counter()
        self.partly: dict[str, set[str]] = {}
        self.settled: dict[str, dict[str, int]] = {}
        self.offsets: dict[str, int] = {}
        self.learned: dict[str, str] = {}
        self.parked: str | None = None
        self._reader = LineReader(self.files, self.name)
        self._seq = 0

    def refresh(self) -> None:
        """Take in what the holder has written since."""
        if self.files.size(self.name) < self._reader.offset:
            self._clear()
        if self.files.size(self.name) == 0:
            return
        while lines := self._reader.read():
            for line in lines:
                self._seq = line.seq + 1
                self._apply(pydantic_core.from_json(line.payload))

    def is_settled(self, tree: str, spans: Spans) -> bool:
        """Whether a tree whose records end at `spans` is done with."""
        known = self.settled.get(tree)
        if known is not None:
            return all(end <= known.get(log, 0) for log, end in spans.items())
        return bool(spans) and self._is_behind(spans)

    def _is_behind(self, spans: Spans) -> bool:
        """Whether all of it lies before the offsets; a log that is not among them any more is gone."""
        return all(end <= self.offsets.get(log, end if self.offsets else 0) for log, end in spans.items())

    def ack(self, items: Mapping[str, tuple[list[str], int, int]]) -> None:
        """Per tree: keys of items that were answered, events delivered by them, events dead-lettered by them."""
        self._write({"c": "ack", "items": {tree: list(entry) for tree, entry in items.items()}})

    def settle(self, tree: str, events: int, dropped: Mapping[str, int], spans: Spans) -> None:
        """The tree is done with; `events` is how many it had, `dropped` those with no place."""
        self._write({"c": "settle", "tree": tree, "events": events, "dropped": dict(dropped), "spans": dict(spans)})

    def drop(self, events: int, reason: str) -> None:
        """Events that were accepted and dropped without ever being a tree."""
        self._write({"c": "drop", "events": events, "reason": reason})

    def revive(self, events: int) -> None:
        """Dead letters sent again: they are no longer dead."""
        self._write({"c": "revive", "events": events})

    def learn(self, values: Mapping[str, str]) -> None:
        """Remember what a reply taught."""
        if any(self.learned.get(name) != value for name, value in values.items()):
            self._write({"c": "learn", "values": dict(values)})

    def park(self, why: str | None) -> None:
        """Say why nothing is being sent, or None when it is again."""
        if why != self.parked:
            self._write({"c": "parked", "why": why})

    def advance(self, offsets: Mapping[str, int]) -> None:
        """Everything before `offsets` (all logs that are left) is done with: rewrite the file, forgetting it.

        Without offsets the file is rewritten as it is.

        Raises:
            OSError: the disk refuses; the old file stays.
        """
        if offsets:
            self.offsets = {log: max(end, self.offsets.get(log, 0)) for log, end in offsets.items()}
            recent = set(list(self.settled)[-KEPT_TREES:])
            self.settled = {
                tree: spans for tree, spans in self.settled.items() if tree in recent or not self._is_behind(spans)
            }
        line = frame(0, pydantic_core.to_json(self._state()))
        self.files.replace(self.name, line)
        self._reader = LineReader(self.files, self.name, len(line))
        self._seq = 1

    def _state(self) -> dict[str, Any]:
        return {
            "c": "state", "accepted": self.accepted, "delivered": self.delivered, "dead": self.dead,
            "dropped": dict(self.dropped), "partly": {tree: sorted(keys) for tree, keys in self.partly.items()},
            "settled": self.settled, "offsets": self.offsets, "learned": self.learned, "parked": self.parked,
        }  # fmt: skip

    def _write(self, entry: dict[str, Any]) -> None:
        line = frame(self._seq, pydantic_core.to_json(entry))
        self._apply(entry)
        self._seq += 1
        self.files.append(self.name, line)
        self._reader.offset += len(line)
        self._reader.next_seq = self._seq

    def _apply(self, entry: dict[str, Any]) -> None:
        getattr(self, f"_on_{entry['c']}")(entry)

    def _on_ack(self, entry: dict[str, Any]) -> None:
        for tree, (keys, delivered, dead) in entry["items"].items():
            self.partly.setdefault(tree, set()).update(keys)
            self.delivered += delivered
            self.dead += dead

    def _on_settle(self, entry: dict[str, Any]) -> None:
        self.partly.pop(entry["tree"], None)
        spans = self.settled.setdefault(entry["tree"], {})
        for log, end in entry["spans"].items():
            spans[log] = max(end, spans.get(log, 0))
        self.accepted += entry["events"]
        self.dropped.update(entry["dropped"])

    def _on_drop(self, entry: dict[str, Any]) -> None:
        self.accepted += entry["events"]
        self.dropped[entry["reason"]] += entry["events"]

    def _on_revive(self, entry: dict[str, Any]) -> None:
        self.dead -= entry["events"]
        self.delivered += entry["events"]

    def _on_learn(self, entry: dict[str, Any]) -> None:
        self.learned.update(entry["values"])

    def _on_parked(self, entry: dict[str, Any]) -> None:
        self.parked = entry["why"]

    def _on_state(self, entry: dict[str, Any]) -> None:
        reader, seq = self._reader, self._seq
        self._clear()
        self._reader, self._seq = reader, seq
        self.accepted, self.delivered, self.dead = entry["accepted"], entry["delivered"], entry["dead"]
        self.dropped.update(entry["dropped"])
        self.partly = {tree: set(keys) for tree, keys in entry["partly"].items()}
        self.settled, self.offsets = entry["settled"], entry["offsets"]
        self.learned, self.parked = entry["learned"], entry["parked"]
