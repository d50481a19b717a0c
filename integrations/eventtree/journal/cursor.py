"""How far one vendor has got: sums, settled trees, parts of trees already taken, and what its replies taught.

An append-only file of lines (`line.py`), read whole at the start, one line per answered request. From time to time it
is rewritten as one line that says the same.

    {"c": "ack", "items": {tree: [[key, …], delivered, dead]}}       these items need never be sent again
    {"c": "settle", "tree", "events", "taken": [delivered, dead], "dropped": {reason: n}, "spans": {log: end},
     "uncounted": n, "apart": n, "left_out": n, "back"}              the tree is done with; so many events were recorded
                                                                     for others, are of a tree that is elsewhere, are
                                                                     left out for now; `back`: they were, and are sent
    {"c": "drop", "events", "reason"}                                accepted and dropped at once: sampled, late, …
    {"c": "sent", "log", "end", "events", "dropped": {reason: n}, "learned": {…}}    a relay: a log is elsewhere so far
    {"c": "told", "key", "log", "end", "fate": "delivered" | "dead" | reason, "tree"}    a feedback is done with
    {"c": "learn", "values": {name: value or null}}                  null: not known any more
    {"c": "state", …}                                                all of it at once
    {"c": "parked", "why": text or null}
    {"c": "forgo", "events", "reason"}    counted as dead, and given up: the vendor has no letter of them

Any line may be damaged: a tree's `settle` repeats the sums of its acks, and unknown items
are sent again, never lost.
While the disk refuses, lines wait in memory: this process sends no item again that was answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import pydantic_core

from eventtree import record
from eventtree.journal.files import Files
from eventtree.journal.line import frame, unframe
from eventtree.journal.progress import Progress, Spans

KEPT_TREES = 1_000
"""Trees settled last that stay known by id, so that what comes late is recognised."""


class Cursor(Progress):
    """State of one vendor; whoever holds the vendor's lock writes, anybody may read."""

    def __init__(self, files: Files, name: str) -> None:
        """Read `name` (`VENDOR.FINGERPRINT.cursor`) as it stands.

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
        # All of it at once: its holder may put a rewritten file in its place at any moment.
        data = self.files.read(self.name, 0)
        for raw in data.split(b"\n")[:-1]:
            try:
                seq, payload = unframe(raw)
                self.apply(pydantic_core.from_json(payload))
                self._seq = seq + 1
            except Exception:  # noqa: BLE001  (any line may be damaged; its items are sent again, never lost)
                self.damaged_lines += 1
        self._size = len(data)

    def ack(self, items: Mapping[str, tuple[list[str], int, int]]) -> None:
        """Per tree: keys of items that were answered, events delivered by them, events dead-lettered by them."""
        self._write({"c": "ack", "items": items})

    def settle(
        self, tree: str, events: int, dropped: Mapping[str, int], spans: Spans, *, uncounted: int = 0, apart: int = 0,
        left_out: int = 0, is_back: bool = False,
    ) -> None:  # fmt: skip
        """The tree is done with; `events` is how many it had, `dropped` those the vendor has no field for.

        So many of the events were `uncounted` for this vendor as they were recorded: they name others, or come of
        another process. So many were sent `apart` from their tree, which is in another journal; so many were left out,
        and may be sent later: then the same tree is settled again, and `is_back`.
        """
        taken = self.taken.get(tree, (0, 0))
        self._write(
            {"c": "settle", "tree": tree, "events": events, "taken": taken, "dropped": dict(dropped),
             "spans": dict(spans), **({"uncounted": uncounted} if uncounted else {}),
             **({"apart": apart} if apart else {}), **({"left_out": left_out} if left_out else {}),
             **({"back": True} if is_back else {})}
        )  # fmt: skip

    def settle_feedback(self, key: str, tree: str, log: str, end: int, fate: str) -> None:
        """A feedback is done with: delivered, dead, or dropped for a reason."""
        self._write({"c": "told", "key": key, "log": log, "end": end, "fate": fate, "tree": tree})

    def drop(self, events: int, reason: str) -> None:
        """Events that were accepted and dropped without ever being a tree."""
        self._write({"c": "drop", "events": events, "reason": reason})

    def replicate(
        self, log: str, end: int, events: int, dropped: Mapping[str, int], learned: Mapping[str, str]
    ) -> None:
        """A log is kept elsewhere as far as `end`. So many more events opened in it, or were `dropped`."""
        self._write(
            {"c": "sent", "log": log, "end": end, "events": events, "dropped": dict(dropped), "learned": dict(learned)}
        )

    def forgo(self, events: int, reason: str) -> None:
        """Events that were just counted as dead are given up: they count as dropped."""
        self._write({"c": "forgo", "events": events, "reason": reason})

    def learn(self, values: Mapping[str, str]) -> None:
        """Remember what a reply taught."""
        if any(self.learned.get(name) != value for name, value in values.items()):
            self._write({"c": "learn", "values": dict(values)})

    def park(self, why: str | None) -> None:
        """Say why nothing is being sent, or None when it is again."""
        if why != self.parked:
            self._write({"c": "parked", "why": why})

    def unlearn(self, names: Iterable[str]) -> None:
        """Forget what the vendor does not know any more."""
        self._write({"c": "learn", "values": dict.fromkeys(names)})

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Write the lines that come within together, at its end."""
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
        """Everything before `offsets` (all logs that are left) is done with: rewrite the file, forgetting it.

        `damage` says what was found broken there: damaged and lost lines by log. With `is_replay`, also what was
        recorded for others is.

        Without offsets the file is rewritten as it is.

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
            self.apart = {tree: None for tree in self.apart if tree in self.settled}
            self.left_out = {tree: (n, log) for tree, (n, log) in self.left_out.items() if log in self.offsets}
            self.feedback_done = {
                key: end for key, end in self.feedback_done.items() if not self.is_behind(dict((end,)))
            }
        # The new file takes the place of the old at once: a crash leaves one or the other, never half of both.
        line = frame(0, record.encode(self.state()))
        self.files.replace(self.name, line)
        self._size = len(line)
        self._seq = 1
        self._unwritten.clear()
        self._is_torn = False

    def take_over(self) -> None:
        """Rewrite the file, now or once the disk allows: its last holder may have died in the middle of a line."""
        self._is_torn = True
        self.persist()

    def persist(self) -> None:
        """Bring to the disk what it has refused so far."""
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
        """Take in what the disk has refused to its holder, another thread, so far."""
        for line in bytes(holder._unwritten).splitlines():
            seq, payload = unframe(line)
            if seq == self._seq:  # others it has written since, or will say anew
                self._seq += 1
                self.apply(pydantic_core.from_json(payload))

    def is_gone(self) -> bool:
        """Whether somebody has deleted the file since it was written here."""
        return not self._is_torn and self.files.size(self.name) < self._size

    @property
    def held(self) -> int:
        """Bytes that the disk has refused so far."""
        return len(self._unwritten)

    def _write(self, entry: dict[str, Any]) -> None:
        # Applied though the disk may refuse: this process sends nothing again that was answered.
        line = frame(self._seq, record.encode(entry))
        self.apply(entry)
        self._seq += 1
        self._unwritten += line
        if not self._is_gathering:
            self.persist()
