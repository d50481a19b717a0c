"""Filling the index from the logs, newest first, so that the last trees can be listed at once.

There are two steps, each in small pieces. A log is *placed*: the heads of its lines tell which tree each belongs to.
Trees are *folded*: their lines are read, and each row is made of the same `EventTree` as in delivery and `show`, so
that tokens and cost agree everywhere. New lines make a tree stale, and it is folded again.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from eventtree import record
from eventtree.event import EventTree
from eventtree.journal import Journal, LineReader
from eventtree.journal.folder import process_of
from eventtree.journal.scan import Entry, entries, entries_of
from eventtree.journal.trees import load
from eventtree.query.opened import Place, vendors_of
from eventtree.query.packed import OF_ONE_MOMENT, ROOTED, StoredId, id_of, number_at, packed, start_of, stored, unpacked
from eventtree.query.row import COLUMNS, Shape, figures
from eventtree.query.store import transaction
from eventtree.remembered import Remembered
from eventtree.tree.events import Pricing
from eventtree.tree.stored import fold_records

FOLDED_AT_ONCE = 250
FOLDED_BYTES = 4 * 1024 * 1024
"""Size of the lines that are read at once to be folded; a larger tree is read alone."""
ASKED_AT_ONCE = 500
"""Values of one SQL query."""
REFOLD_FACTOR = 40.0
"""A growing tree is folded again after this many times the duration of its last fold."""
START = re.compile(rb'"start":(\d{1,30})')
NEVER, FOREVER = float("-inf"), float("inf")

NEWEST_STALE = "SELECT tree, id FROM stale WHERE tree >= ? AND tree NOT IN ({waiting}) ORDER BY tree DESC LIMIT ?"
LINES = "SELECT tree, name, at, places FROM lines JOIN logs ON logs.id = log WHERE tree IN ({trees}) ORDER BY name, at"
ADD_TREE = f"INSERT OR REPLACE INTO trees (tree, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})"


class Filler:
    """Brings an index up to date with its journal, a step at a time."""

    def __init__(self, journal: Journal, db: sqlite3.Connection, pricing: Pricing) -> None:
        """Fill `db` from `journal`."""
        self.journal = journal
        self.db = db
        self.pricing = pricing
        self._unplaced: list[tuple[float, str]] = []
        """Logs with lines that are not placed, and when each was last written; the newest is the last."""
        self._shapes = Remembered[Hashable, int](10_000)
        """`Shape.made_of` → the number of the shape."""
        self._waits: dict[int, float] = {}
        """Growing trees that were folded a moment ago → when to fold them again."""

    def look(self) -> None:
        """Find the logs that have grown, and remove the lines of those that are gone."""
        files = self.journal.files
        known = dict(self.db.execute("SELECT name, upto FROM logs"))
        listed = self.journal.logs()
        gone = known.keys() - set(listed)
        if gone:
            self._remove(gone)
        grown = (name for name in listed if files.size(name) > known.get(name, 0))
        self._unplaced = sorted((files.changed_at(name), name) for name in grown)
        now = time.monotonic()
        self._waits = {tree: until for tree, until in self._waits.items() if until > now}

    def horizon(self) -> float:
        """Start, in microseconds since the epoch, from which on every tree has its row; -inf if all trees have."""
        unplaced = self._unplaced[-1][0] * 1_000_000 if self._unplaced else NEVER
        return max(unplaced, self._newest_stale())

    def step(self) -> None:
        """Place the newest log or fold the newest stale trees, whichever may have newer trees."""
        if self._unplaced and self._unplaced[-1][0] * 1_000_000 >= self._newest_stale():
            self._place_newest()
        else:
            try:
                self._fold_newest()
            except BaseException:
                self._shapes.clear()  # some may have been rolled back
                raise

    def fill(self, seconds: float = FOREVER) -> bool:
        """Fill the index for so long; True once every tree has its row."""
        end = time.monotonic() + seconds
        self.look()
        while (is_more := self.horizon() != NEVER) and time.monotonic() < end:
            self.step()
        return not is_more

    def place_all(self) -> None:
        """Place all logs; no tree is folded."""
        self.look()
        self.place_since()

    def place_since(self, start: float = NEVER) -> None:
        """Place the logs that were written since `start`, in microseconds since the epoch."""
        while self._unplaced and self._unplaced[-1][0] * 1_000_000 >= start:
            self._place_newest()

    def unplaced_bytes(self) -> int:
        """Size of the logs that have lines to place."""
        return sum(self.journal.files.size(name) for _, name in self._unplaced)

    def places(self, tree: int) -> list[Place]:
        """The place of each line of a tree."""
        return self._places([tree])[tree]

    def _places(self, trees: Sequence[int]) -> dict[int, list[Place]]:
        found: dict[int, list[Place]] = {tree: [] for tree in trees}
        for tree, name, at, places in self.db.execute(LINES.format(trees=_listed(trees))):
            found[tree] += [(name, offset, length) for offset, length in unpacked(at, places)]
        return found

    def _newest_stale(self) -> float:
        newest = self._stale(1)
        return start_of(newest[0][0]) if newest else NEVER

    def _stale(self, most: int) -> list[tuple[int, StoredId]]:
        """The newest trees to fold. One without a root waits until all logs are placed that may have it."""
        lowest = ROOTED if self._unplaced else 0
        return self.db.execute(NEWEST_STALE.format(waiting=_listed(self._waits)), (lowest, most)).fetchall()

    def _place_newest(self) -> None:
        _, name = self._unplaced[-1]
        with transaction(self.db):
            self._place(name)
        self._unplaced.pop()

    def _place(self, name: str) -> None:
        known = self.db.execute("SELECT id, upto FROM logs WHERE name = ?", (name,)).fetchone()
        log, upto = known or (None, 0)
        places: dict[str, list[int]] = {}
        starts: dict[str, int] = {}
        reader = LineReader(self.journal.files, name, upto)
        for kind, run_id, tree_id, _, offset, length, payload in chain(entries_of(reader), self._last_words(reader)):
            places.setdefault(tree_id, []).extend((offset, length))
            if kind == record.OPEN and run_id == tree_id:
                start = START.search(payload)
                starts[tree_id] = int(start[1]) // 1000 if start else 0
        if log is None:
            log = self.db.execute("INSERT INTO logs VALUES (NULL, ?, 0) RETURNING id", (name,)).fetchone()[0]
        self.db.execute("UPDATE logs SET upto = ? WHERE id = ?", (reader.offset, log))
        numbers = self._numbers(places)
        for tree_id, found in places.items():
            stored_id = stored(tree_id)
            number = self._number(stored_id, numbers.get(tree_id), starts.get(tree_id))
            self.db.execute("INSERT INTO lines VALUES (?, ?, ?, ?)", (number, log, found[0], packed(found)))
            self.db.execute("INSERT OR IGNORE INTO stale VALUES (?, ?)", (number, stored_id))

    def _last_words(self, reader: LineReader) -> Iterator[Entry]:
        """The records in the torn end of a log, once the rest has been read and nobody writes it: as in a scan."""
        if reader.offset < self.journal.files.size(reader.name):
            process = process_of(reader.name)
            newest = [one for one in self.journal.logs() if process_of(one) == process][-1:]
            if newest != [reader.name] or not self.journal.is_alive(process):  # else it may grow
                yield from entries(reader.last_words())

    def _numbers(self, trees: Iterable[str]) -> dict[str, int]:
        """Id → number of those trees that have lines already."""
        ids, found = list(map(stored, trees)), dict[str, int]()
        for at in range(0, len(ids), ASKED_AT_ONCE):
            asked = ids[at : at + ASKED_AT_ONCE]
            marks = ",".join("?" * len(asked))
            rows = self.db.execute(f"SELECT id, tree FROM ids WHERE id IN ({marks})", asked)
            found.update((id_of(one), tree) for one, tree in rows)
        return found

    def _number(self, stored_id: StoredId, known: int | None, start: int | None) -> int:
        """The number of a tree. It changes when the tree's start becomes known."""
        if known is not None and start in (None, start_of(known)):
            return known
        lowest = 0 if start is None else number_at(start)
        number = self._free_number(lowest)
        if known is not None and lowest <= known <= number:
            return known  # it began in a moment that is full
        self.db.execute("INSERT OR REPLACE INTO ids VALUES (?, ?)", (stored_id, number))
        if known is not None:
            self.db.execute("UPDATE lines SET tree = ? WHERE tree = ?", (number, known))
            self.db.execute("DELETE FROM trees WHERE tree = ?", (known,))
            self.db.execute("DELETE FROM stale WHERE tree = ?", (known,))
        return number

    def _free_number(self, lowest: int) -> int:
        """The next number in the first moment that is not full."""
        while True:
            beyond = lowest + OF_ONE_MOMENT if lowest else ROOTED
            among = "SELECT max(tree) FROM lines WHERE tree >= ? AND tree < ?"
            (taken,) = self.db.execute(among, (lowest, beyond)).fetchone()
            number = lowest if taken is None else int(taken) + 1
            if number < beyond:
                return number
            lowest = beyond

    def _fold_newest(self) -> None:
        """Make the rows of the newest stale trees, as many as are read at once."""
        with transaction(self.db):
            stale = dict(self._stale(FOLDED_AT_ONCE))
            places = self._places(list(stale))
            folded, size, lines = dict[int, StoredId](), 0, list[Place]()
            for tree, stored_id in stale.items():
                size += sum(length for _, _, length in places[tree])
                if folded and size > FOLDED_BYTES:
                    break
                folded[tree] = stored_id
                lines += places[tree]
            records: dict[str, list[record.Record]] = {}
            for one in load(self.journal, sorted(lines)):
                records.setdefault(one["tree"], []).append(one)
            rows = [self._row(tree, one, records.get(id_of(one), [])) for tree, one in folded.items()]
            self.db.executemany("DELETE FROM stale WHERE tree = ?", [row[:1] for row in rows])
            self.db.executemany("DELETE FROM trees WHERE tree = ?", [row for row in rows if len(row) == 1])
            self.db.executemany(ADD_TREE, [row for row in rows[::-1] if len(row) > 1])

    def _row(self, number: int, stored_id: StoredId, records: Sequence[record.Record]) -> tuple[Any, ...]:
        """Number and columns of a tree; the number alone if it cannot be folded."""
        began = time.monotonic()
        tree_id = id_of(stored_id)
        tree = fold_records(tree_id, records, self.pricing)
        if tree is None:
            return (number,)
        number = self._number(stored_id, number, start_of(number_at(round(tree.root.start.timestamp() * 1_000_000))))
        if tree.root.duration is None:
            now = time.monotonic()
            self._waits[number] = now + REFOLD_FACTOR * (now - began)
        return (number, stored_id, self._shape(tree, vendors_of(tree_id, records)), *figures(tree))

    def _shape(self, tree: EventTree, vendors: Sequence[str]) -> int:
        made_of = Shape.made_of(tree, vendors)
        number = self._shapes.get(made_of)
        if number is None:
            text = Shape.of(tree, vendors).written
            self.db.execute("INSERT OR IGNORE INTO shapes (text) VALUES (?)", (text,))
            number = self.db.execute("SELECT id FROM shapes WHERE text = ?", (text,)).fetchone()[0]
            self._shapes.keep(made_of, number)
        return number

    def _remove(self, gone: set[str]) -> None:
        """Delete the lines of removed logs, and the trees that have no line left."""
        with transaction(self.db):
            for name in gone:
                # Nothing is returned if another process that fills the same index was quicker.
                for log in self.db.execute("DELETE FROM logs WHERE name = ? RETURNING id", (name,)).fetchall():
                    self.db.execute(
                        "INSERT OR IGNORE INTO stale SELECT tree, id FROM ids WHERE tree IN "
                        "(SELECT tree FROM lines WHERE log = ?)", log
                    )  # fmt: skip
                    self.db.execute("DELETE FROM lines WHERE log = ?", log)
            for table in ("ids", "trees", "stale"):
                self.db.execute(f"DELETE FROM {table} WHERE tree NOT IN (SELECT tree FROM lines)")


def _listed(trees: Iterable[int]) -> str:
    return ",".join(map(str, trees))
