"""The index: a row for each tree, found in milliseconds in journals of any size.

It takes no lock that delivery needs, and is filled only as far as a search needs it, the newest trees first.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from threading import RLock
from typing import Any, Self, TypeVar

from eventtree import config
from eventtree.content.walk import clean
from eventtree.errors import JournalError
from eventtree.event import EventTree
from eventtree.journal import Journal
from eventtree.journal.trees import find_trees, load
from eventtree.pricing.pricer import Pricer
from eventtree.query.fill import FOREVER, Filler
from eventtree.query.opened import Deliveries, Delivery, Opened, Place
from eventtree.query.packed import ROOTED, id_of, start_of, stored, with_affix
from eventtree.query.search import ALL, Cursor, Page, Search
from eventtree.query.store import connect, discard, file_of, has_key, is_busy, key_of, transaction
from eventtree.remembered import Remembered
from eventtree.tree.filter import Filter
from eventtree.tree.stored import fold_records

T = TypeVar("T")
WHOLE_ID = 36
"""Characters of a UUID: the id of a tree, or of an event."""
QUICKLY_PLACED = 32 * 1024 * 1024
"""Size of unplaced logs beyond which searching their bytes for an id is quicker than placing them."""
ALL_PLACED = "SELECT tree, id, NULL FROM ids"
KEPT_TREES = 8
"""Trees that stay folded: the viewer asks for the same tree again with each event that is opened."""


class Index:
    """The index of one journal. Safe for threads; several processes may open the same. Methods raise OSError where
    the disk refuses.

    `prices` are as in the settings, and default to them. A price function, or a tokenizer in the settings, has no name
    that identifies it in another process: then the index is in memory.
    """

    def __init__(self, journal: Journal, prices: Any = None) -> None:
        """Open the index; nothing is read yet.

        Raises:
            ConfigError: the prices are wrong.
        """
        settings = config.resolve()
        self.journal = journal
        self.pricer = Pricer.of(settings.prices if prices is None else prices, settings.tokenizer)
        self._deliveries = Deliveries(journal)
        self.file = file_of(journal, None if settings.tokenizer else name_of(self.pricer))
        self._lock = RLock()
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which stays for the next time."""
        with self._lock:
            self._db.close()

    def refresh(self, seconds: float = FOREVER) -> bool:
        """Fill the index for so long; True once every tree of the journal has its row."""
        with self._lock:
            return self._safely(lambda: self._filler.fill(seconds))

    def search(
        self, chosen: Filter = ALL, *, before: Cursor | None = None, limit: int = 100, seconds: float = FOREVER
    ) -> Page:
        """The newest trees that a filter chooses, from the end of another page on; fills the index as far as needed.

        After `seconds`, the trees found until then are returned.
        """
        with self._lock:
            return self._safely(lambda: self._search.page(chosen, before, limit, time.monotonic() + seconds))

    def tree(self, tree_id: str) -> EventTree | None:
        """The tree with that id, with an event of that id, or whose id begins or ends so; None if there is none.

        Raises:
            JournalError: several trees' ids begin or end so.
        """
        found = self._lines(tree_id)
        return None if found is None else fold_records(found[0], load(self.journal, found[1]), self.pricer)

    def opened(self, tree_id: str) -> Opened | None:
        """The tree that `tree` would find, with its open runs and vendors; folded again only if it has grown.

        Raises:
            JournalError: several trees' ids begin or end so.
        """
        found = self._lines(tree_id)
        if found is None:
            return None
        with self._lock:
            known = self._opened.get(found[0])
        if known is None or known.lines != found[1]:
            known = Opened.of(self.journal, *found, self.pricer)
            with self._lock:
                self._opened.keep(found[0], known)
        return known

    def _lines(self, tree_id: str) -> tuple[str, list[Place]] | None:
        """The id of a tree, and the place of each of its records."""
        tree_id = clean(tree_id)
        with self._lock:
            found = self._safely(lambda: self._numbered(tree_id))
            if found is not None:
                return found[1], self._filler.places(found[0])
            # The index has no ids of events: the logs are searched for the bytes of one.
            logged = find_trees(self.journal, [tree_id], with_feedback=True).get(tree_id)
            return None if logged is None else (logged.id, list(logged.lines))

    def stream(self, chosen: Filter = ALL) -> Iterator[EventTree]:
        """The trees that a filter chooses, oldest first, one at a time, so that one alone takes memory."""
        with self._lock:
            # Without a filter no row is needed, only the places of lines.
            self._safely(self._filler.fill if chosen.choices else self._filler.place_all)
            condition = self._search.condition(chosen)
            rows = f"SELECT tree, id, shape FROM trees WHERE ({condition.sql})" if chosen.choices else ALL_PLACED
            found = self._db.execute(f"{rows} ORDER BY tree", condition.values)
        for number, tree_id, shape in found:
            lines = self._filler.places(number)
            tree = fold_records(id_of(tree_id), load(self.journal, lines), self.pricer)
            if tree is not None and (not chosen.choices or chosen.matches(tree, self._search.vendors(shape))):
                yield tree

    def deliveries(self, opened: Opened) -> dict[str, Delivery]:
        """The state of a tree at each vendor it names, `NAME.FINGERPRINT`."""
        with self._lock:
            return self._deliveries.of(opened.tree.id, opened.vendors, opened.lines)

    def progress(self) -> tuple[int, int]:
        """Trees that have their row, and all trees found so far."""
        with self._lock:
            ((found, stale),) = self._db.execute("SELECT (SELECT count(*) FROM ids), (SELECT count(*) FROM stale)")
            return found - stale, found

    @contextmanager
    def verified_logs(self) -> Iterator[None]:
        """A block in which counting the journal skips the logs that an earlier count has verified.

        Logs that are verified in the block are stored for the next process.
        """
        verified = self.journal.verified
        read = "SELECT log, mark, places FROM verified"
        with self._lock:
            rows = self._safely(lambda: [(log, mark, json.loads(one)) for log, mark, one in self._db.execute(read)])
        verified.update({log: (mark, list(map(tuple, places))) for log, mark, places in rows})
        yield
        kept = [(log, *found) for log in self.journal.logs() if (found := verified.get(log))]
        fresh = [(log, mark, json.dumps(places)) for log, mark, places in kept]
        with self._lock, suppress(sqlite3.Error), transaction(self._db):  # without it, the next count verifies again
            self._db.execute("DELETE FROM verified")
            self._db.executemany("INSERT INTO verified VALUES (?, ?, ?)", fresh)

    def unknown_models(self) -> dict[str, int]:
        """Models without a known price → how often they were used, in the trees that have their row."""
        with self._lock:
            shapes = self._search.condition(ALL).shapes
            met: Counter[str] = Counter()
            for shape, count in self._db.execute("SELECT shape, count(*) FROM trees GROUP BY shape"):
                for model in shapes[shape].priceless:
                    met[model] += count
            return dict(sorted(met.items()))

    def _begin(self) -> None:
        self._key = key_of(self.journal)
        self._db = connect(self.file, self._key)
        self._filler = Filler(self.journal, self._db, self.pricer)
        self._search = Search(self._filler)
        self._opened: Remembered[str, Opened | None] = Remembered(KEPT_TREES)

    def _safely(self, work: Callable[[], T]) -> T:
        """Do it. If the file is damaged, or was filled from another journal, do it with a new one."""
        try:
            if key_of(self.journal) == self._key and has_key(self._db, self._key):
                return work()
        except (sqlite3.DatabaseError, ValueError) as error:
            if is_busy(error):
                raise JournalError("the index is being filled by another process. Try again in a moment") from None
            discard(self.file)
        self._db.close()
        self._begin()
        return work()

    def _numbered(self, wanted: str) -> tuple[int, str] | None:
        """Number and id of the tree whose id is `wanted`, or begins or ends with it."""
        self._filler.look()
        exact = self._db.execute("SELECT tree FROM ids WHERE id = ?", (stored(wanted),)).fetchone()
        if exact is not None and exact[0] >= ROOTED:
            self._filler.place_since(start_of(exact[0]))  # it may have new lines
            return exact[0], wanted
        if len(wanted) >= WHOLE_ID and self._filler.unplaced_bytes() > QUICKLY_PLACED:
            return None
        self._filler.place_since()
        sql, values = with_affix(wanted)
        rows = self._db.execute(f"SELECT tree, id FROM ids WHERE {sql} ORDER BY tree DESC LIMIT 4", values)
        found = [(number, id_of(one)) for number, one in rows]
        if len(found) > 1:
            some = ", ".join(one for _, one in found[:3])
            raise JournalError(f"several trees begin or end with {wanted}: {some}. Write more of the id")
        return found[0] if found else None


def name_of(pricer: Pricer) -> str | None:
    """A name that identifies prices; None for a price function, which has none."""
    if pricer.quote is not None:
        return None
    return f"{pricer.table.source if pricer.table else ''} {version('genai-prices')}"
