"""How many events each tree of the journal has, and which vendors it names: what reports and sweeps count with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import LineReader


class CountedTree:
    """A tree as the census knows it."""

    __slots__ = ("alone", "closed", "drop", "events", "open", "own", "reason", "spans", "vendors")

    def __init__(self) -> None:
        self.events = 0
        self.open: set[str] = set()
        self.alone: set[str] | None = None
        """Runs that closed though no opened record was found: it is damaged."""
        self.closed = False
        self.drop = 0
        self.reason = ""
        self.vendors: tuple[tuple[str, str], ...] = ()
        self.spans: dict[str, int] = {}
        self.own = False


class CountedFeedback:
    """A feedback as the census knows it."""

    __slots__ = ("end", "log", "own", "vendors")

    def __init__(self, vendors: tuple[tuple[str, str], ...], log: str, end: int, own: bool) -> None:
        self.vendors, self.log, self.end, self.own = vendors, log, end, own


class Census:
    """Counts the events of every tree in the logs; each call of `read` goes on where the last stopped."""

    def __init__(self, journal: Journal, on_line: Callable[[], None] = lambda: None) -> None:
        """Count `journal`, nothing read yet; `on_line` is called after each line."""
        self.journal = journal
        self.on_line = on_line
        self.trees: dict[str, CountedTree] = {}
        self.feedback: dict[str, CountedFeedback] = {}
        self.readers: dict[str, LineReader] = {}

    def read(self) -> None:
        """Take in what has been written since; forget logs that are gone."""
        names = set(self.journal.logs())
        if self.readers.keys() - names:
            self.readers.clear()
            self.trees.clear()
            self.feedback.clear()
        for name in sorted(names):
            reader = self.readers.setdefault(name, LineReader(self.journal.files, name))
            own = process_of(name) == self.journal.process
            while lines := reader.read():
                for line in lines:
                    self._count(line.payload, name, line.offset + line.length, own)
                    self.on_line()
            if self._is_cut(name, reader):
                for line in reader.last_words():
                    self._count(line.payload, name, line.offset + line.length, own)

    def _is_cut(self, name: str, reader: LineReader) -> bool:
        """Whether something stands behind the last newline though nobody writes there any more."""
        return self.journal.files.size(name) > reader.offset and not self.journal.is_alive(process_of(name))

    def _count(self, payload: bytes, log: str, end: int, own: bool) -> None:
        try:
            kind, run_id, tree_id = record.head(payload)
        except ValueError:
            return
        if not tree_id:
            return
        if kind == record.FEEDBACK:
            entry = record.decode(payload)
            self.feedback[entry.get("key", "")] = CountedFeedback(_keys(entry), log, end, own)
            return
        tree = self.trees.setdefault(tree_id, CountedTree())
        tree.spans[log] = end
        tree.own = tree.own or own
        if kind == record.OPEN:
            if tree.alone is None or run_id not in tree.alone:
                tree.events += 1
                tree.open.add(run_id)
        elif kind == record.CLOSE:
            if run_id in tree.open:
                tree.open.discard(run_id)
            elif tree.alone is None or run_id not in tree.alone:
                tree.alone = {run_id, *(tree.alone or ())}
                tree.events += 1
        if run_id == tree_id and kind in (record.OPEN, record.CLOSE, record.VENDORS, record.DROP):
            self._root(tree, kind, payload)

    @staticmethod
    def _root(tree: CountedTree, kind: str, payload: bytes) -> None:
        if kind == record.CLOSE:
            tree.closed = True
            if tree.vendors:
                return
        entry = record.decode(payload)
        tree.vendors = _keys(entry)
        if kind == record.DROP:
            tree.drop, tree.reason, tree.closed = entry["events"], entry["reason"], True

    def dropped(self) -> Counter[str]:
        """Events of trees that name no vendor and were only counted, by reason."""
        found: Counter[str] = Counter()
        for tree in self.trees.values():
            if tree.drop and not tree.vendors:
                found[tree.reason] += tree.drop
        return found

    def waiting(self, key: tuple[str, str], cursor: Cursor) -> tuple[int, int]:
        """Events of unsettled trees that name a vendor, and how many of those trees are finished and this process's."""
        events = finished = 0
        for tree_id, tree in self.trees.items():
            if key in tree.vendors and not cursor.is_settled(tree_id, tree.spans):
                # Lines of what a vendor has taken may have been damaged since.
                events += max(tree.events + tree.drop, sum(cursor.taken.get(tree_id, ())))
                finished += tree.own and tree.closed
        events += sum(sum(taken) for tree_id, taken in cursor.taken.items() if tree_id not in self.trees)
        return events, finished

    def unsaid(self, key: tuple[str, str], cursor: Cursor) -> tuple[int, int]:
        """Feedback that waits for a vendor, and how much of it is this process's."""
        found = [
            said.own
            for name, said in self.feedback.items()
            if key in said.vendors and not cursor.is_told(name, said.log, said.end)
        ]
        return len(found), sum(found)

    def vendor_keys(self) -> set[tuple[str, str]]:
        """Every vendor that a tree or a feedback names."""
        named = [tree.vendors for tree in self.trees.values()] + [said.vendors for said in self.feedback.values()]
        return {key for vendors in named for key in vendors}


def _keys(entry: record.Record) -> tuple[tuple[str, str], ...]:
    """The vendors a record names: `(name, fingerprint)`."""
    return tuple((ref["name"], ref["fingerprint"]) for ref in entry.get("vendors") or ())
