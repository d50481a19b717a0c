"""How many events each tree of the journal has, and which vendors it names: what reports and sweeps count with."""

from __future__ import annotations

from collections.abc import Callable

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import LineReader


class CountedTree:
    """A tree as the census knows it."""

    __slots__ = ("closed", "drop", "events", "open", "own", "spans", "vendors")

    def __init__(self) -> None:
        self.events = 0
        self.open: set[str] = set()
        self.closed = False
        self.drop = 0
        self.vendors: tuple[tuple[str, str], ...] = ()
        self.spans: dict[str, int] = {}
        self.own = False


class Census:
    """Counts the events of every tree in the logs; each call of `read` goes on where the last stopped."""

    def __init__(self, journal: Journal, on_line: Callable[[], None] = lambda: None) -> None:
        """Count `journal`, nothing read yet; `on_line` is called after each line."""
        self.journal = journal
        self.on_line = on_line
        self.trees: dict[str, CountedTree] = {}
        self.readers: dict[str, LineReader] = {}

    def read(self) -> None:
        """Take in what has been written since; forget logs that are gone."""
        names = set(self.journal.logs())
        if self.readers.keys() - names:
            self.readers.clear()
            self.trees.clear()
        for name in sorted(names):
            reader = self.readers.setdefault(name, LineReader(self.journal.files, name))
            own = process_of(name) == self.journal.process
            while lines := reader.read():
                for line in lines:
                    self._count(line.payload, name, line.offset + line.length, own)
                    self.on_line()

    def _count(self, payload: bytes, log: str, end: int, own: bool) -> None:
        try:
            kind, run_id, tree_id = record.head(payload)
        except ValueError:
            return
        if not tree_id or kind == record.FEEDBACK:
            return
        tree = self.trees.setdefault(tree_id, CountedTree())
        tree.spans[log] = end
        tree.own = tree.own or own
        if kind == record.OPEN:
            tree.events += 1
            tree.open.add(run_id)
        elif kind == record.CLOSE:
            tree.open.discard(run_id)
        if run_id == tree_id and kind in (record.OPEN, record.CLOSE, record.VENDORS, record.DROP):
            self._root(tree, kind, payload)

    @staticmethod
    def _root(tree: CountedTree, kind: str, payload: bytes) -> None:
        if kind == record.CLOSE:
            tree.closed = True
            if tree.vendors:
                return
        entry = record.decode(payload)
        tree.vendors = tuple((ref["name"], ref["fingerprint"]) for ref in entry.get("vendors") or ())
        if kind == record.DROP:
            tree.drop, tree.closed = entry["events"], True

    def waiting(self, key: tuple[str, str], cursor: Cursor) -> tuple[int, int]:
        """Events of unsettled trees that name a vendor, and how many of those trees are finished and this process's."""
        events = finished = 0
        for tree_id, tree in self.trees.items():
            if key in tree.vendors and not cursor.is_settled(tree_id, tree.spans):
                events += tree.events + tree.drop
                finished += tree.own and tree.closed
        return events, finished

    def vendor_keys(self) -> set[tuple[str, str]]:
        """Every vendor that a tree names."""
        return {key for tree in self.trees.values() for key in tree.vendors}
