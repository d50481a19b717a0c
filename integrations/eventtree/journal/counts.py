"""How many events each tree of the journal has, and which vendors it names: what reports and sweeps count with.

A tree that looks finished is packed into 20 bytes: with a dead vendor and millions of events, who counts stays small.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import LineReader

Keys = tuple[tuple[str, str], ...]
"""Vendors a tree names: `(name, fingerprint)`."""


class CountedTree:
    """A tree as the counts knows it."""

    __slots__ = ("alone", "closed", "drop", "events", "open", "own", "reason", "spans", "vendors")

    def __init__(self) -> None:
        self.events = 0
        self.open: set[str] = set()
        self.alone: set[str] | None = None
        """Runs that closed though no opened record was found: it is damaged."""
        self.closed = False
        self.drop = 0
        self.reason = ""
        self.vendors: Keys = ()
        self.spans: dict[str, int] = {}
        self.own = False

    @property
    def is_finished(self) -> bool:
        """Nothing more is expected of it, and it stands in one log."""
        return self.closed and not self.open and self.alone is None and len(self.spans) == 1


class PackedTrees:
    """Finished trees of one log that name the same vendors, in the order they ended there."""

    __slots__ = ("ends", "events", "names", "own")

    def __init__(self, own: bool) -> None:
        self.own = own
        self.names = array("q")
        """Hashes of their ids."""
        self.ends = array("Q")
        """Where each ends in the log."""
        self.events = array("I")
        """0 in place of one that has been taken out again."""

    def add(self, tree_id: str, end: int, events: int) -> None:
        """One more."""
        self.names.append(hash(tree_id))
        self.ends.append(end)
        self.events.append(events)

    def find(self, tree_id: str, offset: int = 0) -> int | None:
        """Number of a tree that ends behind `offset`, or None."""
        try:
            return self.names.index(hash(tree_id), bisect_right(self.ends, offset))
        except ValueError:
            return None

    def at(self, tree_id: str, end: int) -> int | None:
        """Number of the tree that ends there, or None."""
        number = bisect_left(self.ends, end)
        is_it = number < len(self.ends) and self.ends[number] == end and self.names[number] == hash(tree_id)
        return number if is_it else None

    def behind(self, offset: int) -> int:
        """Events of the trees that end behind `offset`."""
        return sum(self.events[bisect_right(self.ends, offset) :])


class CountedFeedback:
    """A feedback as the counts knows it."""

    __slots__ = ("end", "log", "own", "vendors")

    def __init__(self, vendors: Keys, log: str, end: int, own: bool) -> None:
        self.vendors, self.log, self.end, self.own = vendors, log, end, own


class Counts:
    """Counts the events of every tree in the logs; each call of `read` goes on where the last stopped."""

    def __init__(self, journal: Journal, on_line: Callable[[], None] = lambda: None) -> None:
        """Count `journal`, nothing read yet; `on_line` is called after each line."""
        self.journal = journal
        self.on_line = on_line
        self.trees: dict[str, CountedTree] = {}
        """Those that are not packed."""
        self.packed: dict[str, dict[tuple[Keys, str], PackedTrees]] = {}
        """By log; then by vendors and the reason for which they were only counted ("" for what was recorded)."""
        self.feedback: dict[str, CountedFeedback] = {}
        self.readers: dict[str, LineReader] = {}

    def read(self, until: float = float("inf"), *, only_own: bool = False) -> bool:
        """Take in what has been written since (by this process, or by all); forget logs that are gone.

        False if `until` (monotonic seconds) came before all was read.
        """
        names = set(self.journal.logs())
        if self.readers.keys() - names:
            self.readers.clear()
            self.trees.clear()
            self.packed.clear()
            self.feedback.clear()
        for name in sorted(names):
            own = process_of(name) == self.journal.process
            if only_own and not own:
                continue
            reader = self.readers.setdefault(name, LineReader(self.journal.files, name))
            while lines := reader.read():
                for line in lines:
                    self._count(line.payload, name, line.offset + line.length, own)
                    self.on_line()
                if time.monotonic() >= until:
                    return False
            if self._is_cut(name, reader):
                for line in reader.last_words():
                    self._count(line.payload, name, line.offset + line.length, own)
        return True

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
        tree = self.trees.get(tree_id)
        if tree is None:
            is_new = run_id == tree_id and kind in (record.OPEN, record.DROP)
            tree = self.trees[tree_id] = CountedTree() if is_new else self._unpacked(tree_id)
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
        if tree.is_finished:
            self._pack(tree_id, tree, log)

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

    def _pack(self, tree_id: str, tree: CountedTree, log: str) -> None:
        of_log = self.packed.setdefault(log, {})
        key = (tree.vendors, tree.reason)
        if key not in of_log:
            of_log[key] = PackedTrees(tree.own)
        of_log[key].add(tree_id, tree.spans[log], tree.events + tree.drop)
        del self.trees[tree_id]

    def _unpacked(self, tree_id: str) -> CountedTree:
        """A tree again, of which something came late; a fresh one if it was never seen."""
        tree = CountedTree()
        for log, (vendors, reason), trees in self._all_packed():
            number = trees.find(tree_id)
            if number is not None and trees.events[number]:
                tree.closed, tree.own, tree.vendors, tree.reason = True, trees.own, vendors, reason
                tree.spans[log] = trees.ends[number]
                tree.events, tree.drop = (0, trees.events[number]) if reason else (trees.events[number], 0)
                trees.events[number] = 0
                break
        return tree

    def _all_packed(self) -> Iterator[tuple[str, tuple[Keys, str], PackedTrees]]:
        for log, of_log in self.packed.items():
            for key, trees in of_log.items():
                yield log, key, trees

    @property
    def events(self) -> int:
        """Events that are recorded in the logs."""
        packed = sum(sum(trees.events) for _, (_, reason), trees in self._all_packed() if not reason)
        return packed + sum(tree.events for tree in self.trees.values())

    def dropped(self) -> Counter[str]:
        """Events of trees that name no vendor and were only counted, by reason."""
        found: Counter[str] = Counter()
        for tree in self.trees.values():
            if tree.drop and not tree.vendors:
                found[tree.reason] += tree.drop
        for _, (vendors, reason), trees in self._all_packed():
            if reason and not vendors:
                found[reason] += sum(trees.events)
        return found

    def waiting(self, key: tuple[str, str], cursor: Cursor) -> tuple[int, int]:
        """Events of unsettled trees that name a vendor, and how many of those are this process's, in finished trees."""
        events = finished = 0
        for tree_id, tree in self.trees.items():
            if key in tree.vendors and not cursor.is_settled(tree_id, tree.spans):
                # Lines of what a vendor has taken may have been damaged since.
                count = max(tree.events + tree.drop, sum(cursor.taken.get(tree_id, ())))
                events += count
                finished += count if tree.own and tree.closed else 0
        for _, trees, count in self._unsettled(key, cursor):
            events += count
            finished += count if trees.own else 0
        return events + self._begun(key, cursor), finished

    def _unsettled(self, key: tuple[str, str], cursor: Cursor) -> Iterator[tuple[str, PackedTrees, int]]:
        """Packed trees that name a vendor, with their log, and how many of their events it has not settled."""
        settled = _by_log(cursor)
        for log, (vendors, _), trees in self._all_packed():
            if key in vendors:
                offset = cursor.offsets.get(log, 0)
                ahead = (trees.at(tree_id, end) for tree_id, end in settled.get(log, ()) if end > offset)
                yield log, trees, trees.behind(offset) - sum(trees.events[n] for n in ahead if n is not None)

    def _begun(self, key: tuple[str, str], cursor: Cursor) -> int:
        """What a vendor has taken of unsettled trees beyond what the logs still know of them."""
        more = 0
        for tree_id, taken in cursor.taken.copy().items():  # its holder goes on meanwhile
            if tree_id not in self.trees:
                more += max(0, sum(taken) - self._known(tree_id, key, cursor.offsets))
        return more

    def _known(self, tree_id: str, key: tuple[str, str], offsets: Mapping[str, int]) -> int:
        for log, (vendors, _), trees in self._all_packed():
            number = trees.find(tree_id, offsets.get(log, 0)) if key in vendors else None
            if number is not None:
                return trees.events[number]
        return 0

    def cursors(self) -> dict[tuple[str, str], Cursor]:
        """Where each vendor that is named stands."""
        return {key: Cursor(self.journal.files, f"{key[0]}.{key[1]}.cursor") for key in self.vendor_keys()}

    def needed_logs(self, cursors: Mapping[tuple[str, str], Cursor]) -> set[str]:
        """Logs that hold something which a vendor it names has not settled."""
        needed = {
            log
            for tree_id, tree in self.trees.items()
            if any(not cursors[key].is_settled(tree_id, tree.spans) for key in tree.vendors)
            for log in tree.spans
        }
        needed |= {
            said.log
            for name, said in self.feedback.items()
            if any(not cursors[key].is_feedback_done(name, said.log, said.end) for key in said.vendors)
        }
        for key, cursor in cursors.items():
            needed |= {log for log, _, count in self._unsettled(key, cursor) if count}
        return needed

    def waiting_feedback(self, key: tuple[str, str], cursor: Cursor) -> tuple[int, int]:
        """Feedback that waits for a vendor, and how much of it is this process's."""
        found = [
            said.own
            for name, said in self.feedback.items()
            if key in said.vendors and not cursor.is_feedback_done(name, said.log, said.end)
        ]
        return len(found), sum(found)

    def vendor_keys(self) -> set[tuple[str, str]]:
        """Every vendor that a tree or a feedback names."""
        named = [tree.vendors for tree in self.trees.values()] + [said.vendors for said in self.feedback.values()]
        named += [vendors for _, (vendors, _), _ in self._all_packed()]
        return {key for vendors in named for key in vendors}


def _by_log(cursor: Cursor) -> dict[str, list[tuple[str, int]]]:
    """Trees a vendor has settled beyond its offsets: by log, with the end of each there."""
    found: dict[str, list[tuple[str, int]]] = {}
    for tree_id, spans in cursor.settled.copy().items():
        for log, end in spans.items():
            found.setdefault(log, []).append((tree_id, end))
    return found


def _keys(entry: record.Record) -> Keys:
    """The vendors a record names."""
    return tuple((ref["name"], ref["fingerprint"]) for ref in entry.get("vendors") or ())
