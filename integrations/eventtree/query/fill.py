"""Filling the index from the logs, newest first, so that the last trees are there at once and the rest follows.

Two steps, each in small pieces. A log is *placed*: which lines are of which tree, by their heads. A tree is *folded*:
its lines are read, and its row is made of the very `EventTree` that delivery and `show` make, so that tokens and cost
say the same everywhere. Lines that come later make a tree stale, to be folded again.
"""

from __future__ import annotations

import re
import sqlite3
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from eventtree import record
from eventtree.event import EventTree
from eventtree.journal import Journal, LineReader
from eventtree.journal.journal import process_of
from eventtree.journal.scan import Entry, entries_of, entry_of
from eventtree.journal.trees import ROOT_KINDS, load
from eventtree.query.row import COLUMNS, Shape, figures
from eventtree.query.store import within
from eventtree.tree.events import Pricing
from eventtree.tree.stored import fold_records

FOLDED_AT_ONCE = 100
PATIENCE = 20.0
"""A tree that grows is folded again when this many times the time has passed that its last fold took."""
START = re.compile(rb'"start":(\d+)')
NEVER = float("-inf")

UPSERT_TREE = """
INSERT INTO trees (id, start, stale, rev) VALUES (?, ?, 1, ?)
ON CONFLICT (id) DO UPDATE SET stale = 1, rev = excluded.rev, start = coalesce(excluded.start, start) RETURNING seq
"""
ADD_LINES = """
INSERT INTO lines VALUES (?, ?, ?)
ON CONFLICT (tree, log) DO UPDATE SET places = CAST(places || excluded.places AS BLOB)
"""
UPDATE_TREE = f"UPDATE trees SET stale = 0, rev = ?, {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE seq = ?"
EMPTY_TREE = "UPDATE trees SET stale = 0, rev = ?, shape = NULL WHERE seq = ?"


class Filler:
    """Brings an index up to its journal, a step at a time."""

    def __init__(self, journal: Journal, db: sqlite3.Connection, pricing: Pricing) -> None:
        """Fill `db` from `journal`."""
        self.journal = journal
        self.db = db
        self.pricing = pricing
        self._unplaced: list[tuple[float, str]] = []
        """Logs with lines that are in no row yet, and when they were written last; the newest is the last."""
        self._shapes: dict[str, int] = {}
        self._waits: dict[int, float] = {}
        """Trees that grow and were folded a moment ago → when to fold them again."""

    def look(self) -> None:
        """Find out what is to be done: logs that have grown, and those that are gone.

        Raises:
            OSError: the disk refuses to read.
        """
        files = self.journal.files
        known = dict(self.db.execute("SELECT name, upto FROM logs"))
        listed = self.journal.logs()
        gone = known.keys() - set(listed)
        if gone:
            within(self.db, lambda: self._leave_out(gone))
        grown = (name for name in listed if files.size(name) > known.get(name, 0))
        self._unplaced = sorted((files.changed_at(name), name) for name in grown)
        now = time.monotonic()
        self._waits = {seq: until for seq, until in self._waits.items() if until > now}

    def horizon(self) -> float:
        """Microseconds since the epoch from which on every tree has its row; -inf if all have."""
        unplaced = self._unplaced[-1][0] * 1_000_000 if self._unplaced else NEVER
        return max(unplaced, self._newest_stale())

    def step(self) -> None:
        """Place the newest log or fold the newest trees, whichever may hold the newer ones.

        Raises:
            OSError: the disk refuses to read.
        """
        if self._unplaced and self._unplaced[-1][0] * 1_000_000 >= self._newest_stale():
            self._place_newest()
        else:
            within(self.db, self._fold_newest)

    def place_since(self, start: float = NEVER) -> None:
        """Place all logs that were written since `start`, in microseconds since the epoch.

        Raises:
            OSError: the disk refuses to read.
        """
        while self._unplaced and self._unplaced[-1][0] * 1_000_000 >= start:
            self._place_newest()

    def unplaced_bytes(self) -> int:
        """How much of the logs is in no row yet."""
        return sum(self.journal.files.size(name) for _, name in self._unplaced)

    def places(self, seq: int) -> list[tuple[str, int, int]]:
        """Log, offset and length of each line of a tree."""
        rows = self.db.execute(
            "SELECT name, places FROM lines JOIN logs ON logs.id = log WHERE tree = ? ORDER BY name", (seq,)
        )
        return [(name, *place) for name, places in rows for place in _pairs(places)]

    def _newest_stale(self) -> float:
        newest = self.db.execute(self._stale("start", 1)).fetchone()
        return NEVER if newest is None else newest[0] or 0

    def _stale(self, columns: str, limit: int) -> str:
        """Selects the newest trees to fold. One without a root waits until no log is left that may have it."""
        waiting = ",".join(map(str, self._waits))
        rooted = "AND start IS NOT NULL" if self._unplaced else ""
        return (
            f"SELECT {columns} FROM trees WHERE stale {rooted} AND seq NOT IN ({waiting}) "
            f"ORDER BY start DESC LIMIT {limit}"
        )

    def _place_newest(self) -> None:
        _, name = self._unplaced[-1]
        within(self.db, lambda: self._place(name))
        self._unplaced.pop()

    def _place(self, name: str) -> None:
        known = self.db.execute("SELECT id, upto FROM logs WHERE name = ?", (name,)).fetchone()
        log, upto = known or (None, 0)
        places: dict[str, array[int]] = {}
        starts: dict[str, int] = {}
        reader = LineReader(self.journal.files, name, upto)
        for entry in self._entries(reader):
            places.setdefault(entry.tree_id, array("I")).extend((entry.line.offset, entry.line.length))
            if entry.kind == record.OPEN and entry.run_id == entry.tree_id:
                start = START.search(entry.line.payload)
                starts[entry.tree_id] = int(start[1]) // 1000 if start else 0
        rev = self._next_rev()
        if log is None:
            log = self.db.execute("INSERT INTO logs VALUES (NULL, ?, 0, 0, 0) RETURNING id", (name,)).fetchone()[0]
        damage = reader.damage
        self.db.execute(
            "UPDATE logs SET upto = ?, bad = bad + ?, lost = lost + ? WHERE id = ?",
            (reader.offset, damage.bad_lines, damage.lost, log),
        )
        for tree, found in places.items():
            seq = self.db.execute(UPSERT_TREE, (tree, starts.get(tree), rev)).fetchone()[0]
            self.db.execute(ADD_LINES, (seq, log, found.tobytes()))

    def _entries(self, reader: LineReader) -> Iterator[Entry]:
        """The records of a log; the end that its writer has torn is read as a scan reads it."""
        yield from (entry for entry in entries_of(reader) if entry.tree_id)
        if reader.offset < self.journal.files.size(reader.name) and not self._may_grow(reader.name):
            yield from (entry for entry in map(entry_of, reader.last_words()) if entry and entry.tree_id)

    def _may_grow(self, name: str) -> bool:
        process = process_of(name)
        newest = [one for one in self.journal.logs() if process_of(one) == process][-1:]
        return newest == [name] and self.journal.is_alive(process)

    def _fold_newest(self) -> None:
        rev = self._next_rev()
        for seq, tree_id in self.db.execute(self._stale("seq, id", FOLDED_AT_ONCE)).fetchall():
            began = time.monotonic()
            records = list(load(self.journal, self.places(seq)))
            tree = fold_records(tree_id, records, self.pricing)
            if tree is None:
                self.db.execute(EMPTY_TREE, (rev, seq))
                continue
            row = figures(tree, self._shape(tree, vendors_of(tree_id, records)))
            self.db.execute(UPDATE_TREE, (rev, *row, seq))
            if tree.root.duration is None:
                now = time.monotonic()
                self._waits[seq] = now + PATIENCE * (now - began)

    def _shape(self, tree: EventTree, vendors: Sequence[str]) -> int:
        text = Shape.of(tree, vendors).written
        number = self._shapes.get(text)
        if number is None:
            self.db.execute("INSERT OR IGNORE INTO shapes (text) VALUES (?)", (text,))
            number = self.db.execute("SELECT id FROM shapes WHERE text = ?", (text,)).fetchone()[0]
            if len(self._shapes) > 10_000:
                self._shapes.clear()
            self._shapes[text] = number
        return number

    def _leave_out(self, gone: set[str]) -> None:
        """Take out the lines of logs that were removed; trees without any line go with them."""
        rev = self._next_rev()
        for name in gone:
            (log,) = self.db.execute("SELECT id FROM logs WHERE name = ?", (name,)).fetchone()
            self.db.execute(
                "UPDATE trees SET stale = 1, rev = ? WHERE seq IN (SELECT tree FROM lines WHERE log = ?)", (rev, log)
            )
            self.db.execute("DELETE FROM lines WHERE log = ?", (log,))
            self.db.execute("DELETE FROM logs WHERE id = ?", (log,))
        self.db.execute("DELETE FROM trees WHERE stale AND NOT EXISTS (SELECT 1 FROM lines WHERE tree = seq)")

    def _next_rev(self) -> int:
        rev: int = self.db.execute("UPDATE about SET rev = rev + 1 RETURNING rev").fetchone()[0]
        return rev


def vendors_of(tree_id: str, records: Sequence[record.Record]) -> list[str]:
    """The vendors that a tree names, as `NAME.FINGERPRINT`: what its root's newest record says of them."""
    roots = (one for one in records if one["id"] == tree_id and one["r"] in ROOT_KINDS)
    named = [refs for one in roots if (refs := record.refs_of(one)) is not None]
    return [f"{ref['name']}.{ref['fingerprint']}" for ref in (named[-1] if named else ())]


def _pairs(places: bytes) -> Iterator[tuple[Any, Any]]:
    numbers = iter(array("I", places))
    return zip(numbers, numbers, strict=True)
