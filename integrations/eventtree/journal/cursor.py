"""How far one vendor has got: sums, settled trees, items of other trees it has taken, values learned from replies.

An append-only file of lines (`line.py`), one for each answered request, read once at the start. From time to time it is
rewritten as one `state` line.

    {"c": "ack", "items": {tree: [[key, …], delivered, dead]}}       these items are never sent again
    {"c": "settle", "tree", "events", "taken": [delivered, dead], "dropped": {reason: n}, "spans": {log: end},
     "uncounted": n, "apart": n, "left_out": n, "back", "replay"}    the tree is settled (`Cursor.settle`)
    {"c": "sent", "log", "end", "events", "dropped": {reason: n}, "learned": {…}}    a relay has replicated to `end`
    {"c": "feedback", "key", "log", "end", "fate": "delivered" | "dead" | reason, "tree"}    a feedback is settled
    {"c": "learn", "values": {name: value or null}}                  null forgets a value
    {"c": "state", …}                                                everything at once
    {"c": "parked", "why": text or null}
    {"c": "forgo", "events", "reason"}                               these dead events have no dead letter: dropped

Any line may be damaged: a tree's `settle` repeats the sums of its acks, and items of a lost ack are sent again.
While the disk refuses, lines wait in memory, so that this process sends no answered item again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import pydantic_core

from eventtree import record
from eventtree.journal.files import Files
from eventtree.journal.line import frame, unframe
from eventtree.journal.progress import Progress, Spans

KEPT_TREES = 1_000
"""Trees settled last that stay known by id, so that their late parts are recognised."""


class Cursor(Progress):
    """State of one vendor. Only the process that holds the vendor's lock writes it; all may read it."""

    def __init__(self, files: Files, name: str) -> None:
        """Read the file `name` (`VENDOR.FINGERPRINT.cursor`).

        Raises:
            OSError: it cannot be read.
        """
        self.files = files
        self.name = name
        super().__init__()
        self.damaged_lines = 0
        """Lines of this file that could not be read."""
        self._size = 0
        """Length of the file when it was last read or written here."""
        self._seq = 0
        self._unwritten = bytearray()
        self._is_torn = False
        self._is_gathering = False
        self._read()

    def _read(self) -> None:
        # In one read: the lock's holder may replace the file at any moment.
        data = self.files.read(self.name, 0)
        for raw in data.split(b"\n")[:-1]:
            try:
                seq, payload = unframe(raw)
                self.apply(pydantic_core.from_json(payload))
                self._seq = seq + 1
            except Exception:  # noqa: BLE001  (a damaged line: its items are sent again, never lost)
                self.damaged_lines += 1
        self._size = len(data)

    def ack(self, items: Mapping[str, Sequence[Any]]) -> None:
        """Record answered items, by tree: their keys, the events they delivered, the events that are dead letters."""
        self._write({"c": "ack", "items": items})

    def settle(
        self, tree: str, events: int, dropped: Mapping[str, int], spans: Spans, *, uncounted: int = 0, apart: int = 0,
        left_out: int = 0, is_back: bool = False, is_replay: bool = False,
    ) -> None:  # fmt: skip
        """Record that a tree of `events` events is settled; `dropped` are those that were not sent, by reason.

        `uncounted` events were not recorded for this vendor: their tree names others, or another process recorded
        them. `apart` events were sent without their tree, which is in another journal. `left_out` events were kept back
        by the setting `keep`; a replay may send them later, and then settles the tree again with `is_back`. A tree that
        names others `is_replay`.
        """
        taken = self.taken.get(tree, (0, 0))
        entry = {
            "c": "settle", "tree": tree, "events": events, "taken": taken, "dropped": dict(dropped),
            "spans": dict(spans),
        }  # fmt: skip
        if uncounted or apart or left_out or is_back or is_replay:
            rare = {
                "uncounted": uncounted, "apart": apart, "left_out": left_out, "back": is_back, "replay": is_replay,
            }  # fmt: skip
            entry |= {key: value for key, value in rare.items() if value}
        self._write(entry)

    def settle_feedback(self, key: str, tree: str, log: str, end: int, fate: str) -> None:
        """Record that a feedback is settled: delivered, dead, or dropped for a reason."""
        self._write({"c": "feedback", "key": key, "log": log, "end": end, "fate": fate, "tree": tree})

    def replicate(
        self, log: str, end: int, events: int, dropped: Mapping[str, int], learned: Mapping[str, str]
    ) -> None:
        """Record that a log is replicated up to `end`, with so many more `events` and dropped ones."""
        self._write(
            {"c": "sent", "log": log, "end": end, "events": events, "dropped": dict(dropped), "learned": dict(learned)}
        )

    def forgo(self, events: int, reason: str) -> None:
        """Count events as dropped that were just counted as dead: they have no dead letter."""
        self._write({"c": "forgo", "events": events, "reason": reason})

    def learn(self, values: Mapping[str, str]) -> None:
        """Remember values from a reply."""
        if any(self.learned.get(name) != value for name, value in values.items()):
            self._write({"c": "learn", "values": dict(values)})

    def park(self, why: str | None) -> None:
        """Record why nothing is being sent; None once it is again."""
        if why != self.parked:
            self._write({"c": "parked", "why": why})

    def unlearn(self, names: Iterable[str]) -> None:
        """Forget values that the vendor does not know any more."""
        self._write({"c": "learn", "values": dict.fromkeys(names)})

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Write all lines of the block together, at its end."""
        self._is_gathering = True
        try:
            yield
        finally:
            self._is_gathering = False
            self.persist()

    def advance(
        self,
        offsets: Mapping[str, int],
        damage: Mapping[str, tuple[int, int]] = MappingProxyType({}),
        *,
        is_replay: bool = False,
    ) -> None:
        """Rewrite the file, and forget the trees before `offsets` (of all remaining logs): all of them are settled.

        `damage` are the damaged and lost lines before them, by log. With `is_replay`, trees that were recorded for
        other vendors are settled too. Without offsets nothing is forgotten.

        Raises:
            OSError: the disk refuses; the old file stays.
        """
        if offsets:
            self.offsets = {log: max(end, self.offsets.get(log, 0)) for log, end in offsets.items()}
            replayed = {log: self.replayed.get(log, 0) for log in offsets}
            self.replayed = {log: max(end, offsets[log] * is_replay) for log, end in replayed.items()}
            self.damage = {log: damage[log] for log in offsets if any(damage.get(log, ()))}
            recent = set(list(self.settled)[-KEPT_TREES:])
            self.settled = {
                tree: spans for tree, spans in self.settled.items() if tree in recent or not self.is_behind(spans)
            }
            self.foreign = {tree: is_whole for tree, is_whole in self.foreign.items() if tree in self.settled}
            self.left_out = {tree: (n, log) for tree, (n, log) in self.left_out.items() if log in self.offsets}
            self.feedback_done = {
                key: end for key, end in self.feedback_done.items() if not self.is_behind(dict((end,)))
            }
        # The new file replaces the old in one step: a crash leaves one or the other.
        line = frame(0, record.encode(self.state()))
        self.files.replace(self.name, line)
        self._size = len(line)
        self._seq = 1
        self._unwritten.clear()
        self._is_torn = False

    def take_over(self) -> None:
        """Rewrite the file, now or once the disk allows: its last writer may have died in the middle of a line."""
        self._is_torn = True
        self.persist()

    def persist(self) -> None:
        """Write the lines that the disk has refused so far."""
        if not self._is_torn and not self._unwritten:
            return
        try:
            if self._is_torn:
                self.advance({})
                return
            self.files.append(self.name, bytes(self._unwritten))
        except OSError:
            return
        self._size += len(self._unwritten)
        self._unwritten.clear()

    def add_unwritten(self, holder: Cursor) -> None:
        """Apply the lines that the disk has refused to `holder`, which another thread writes."""
        for line in bytes(holder._unwritten).splitlines():
            seq, payload = unframe(line)
            if seq == self._seq:  # the others are already read here, or come again
                self._seq += 1
                self.apply(pydantic_core.from_json(payload))

    def is_gone(self) -> bool:
        """Whether the file was deleted since this process wrote it."""
        return not self._is_torn and self.files.size(self.name) < self._size

    @property
    def held(self) -> int:
        """Bytes of the lines that the disk has refused so far."""
        return len(self._unwritten)

    def _write(self, entry: dict[str, Any]) -> None:
        # Applied even if the disk refuses, so that this process sends no answered item again.
        line = frame(self._seq, record.encode(entry))
        self.apply(entry)
        self._seq += 1
        self._unwritten += line
        if not self._is_gathering:
            self.persist()
