"""How many events wait for each vendor: one pass over the unsettled part of the logs, recorded sums for the rest.

A journal of millions of settled events is counted as fast as an empty one: a vendor's cursor says how far all is
settled, and only what stands behind that is read. A tree that is whole is counted and forgotten, so that a dead
vendor's backlog of any length takes no memory either.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal
from eventtree.journal.relayed import COLLECTOR, is_relayed
from eventtree.journal.scan import Entry, Scan
from eventtree.journal.totals import Captured
from eventtree.journal.trees import LoggedTree
from eventtree.record import Refs

CURSOR = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})\.((?:local-)?[0-9a-f]{16})\.cursor")
"""Name of a vendor's cursor; whatever else is called so is not ours."""

Key = tuple[str, str]
"""A vendor as trees name it: `(name, fingerprint)`."""
RECENT_TREES = 10_000


@dataclass(slots=True)
class Counts:
    """The counts of one pass over the unsettled part of the journal."""

    events: int = 0
    """Events recorded in what was read."""
    waiting: Counter[Key] = field(default_factory=Counter)
    """Events of trees that a vendor has not settled."""
    joined: Counter[Key] = field(default_factory=Counter)
    """Of those, events that another process has counted for no vendor."""
    feedback: Counter[Key] = field(default_factory=Counter)
    finished_here: set[Key] = field(default_factory=set)
    """Vendors that have yet to settle a finished tree, or feedback, of this process."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Events of trees that name no vendor and were only counted, by reason."""
    needed: set[str] = field(default_factory=set)
    """Logs that hold something which a vendor it names has not settled."""
    vendors: set[Key] = field(default_factory=set)
    damaged_lines: int = 0
    lost_lines: int = 0


def count(
    journal: Journal,
    cursors: Callable[[Key], Cursor],
    *,
    offsets: Mapping[str, int] | None = None,
    damage: Mapping[str, tuple[int, int]] | None = None,
    on_line: Callable[[], None] = lambda: None,
    only: str | None = None,
    keys: Iterable[Key] = (),
) -> Counts:
    """Count what stands behind `offsets` (default: everything); `cursors` gives each vendor's.

    With `only`, the logs of that process alone. `keys` are vendors that may have settled what is read.

    Raises:
        OSError: the disk refuses to read.
    """
    found = Counts()
    found.vendors.update(keys)
    growing: dict[str, LoggedTree] = {}
    counting = _Counting(journal, cursors, found)
    scan = Scan(journal, offsets or {}, damage or {})
    for entry in scan.read_all(on_line, only):
        if entry.kind == record.FEEDBACK:
            counting.add_feedback(entry)
            continue
        tree = growing.get(entry.tree_id)
        if tree is None:
            known = counting.vendors_of_late_part(entry.tree_id)
            tree = growing[entry.tree_id] = LoggedTree(entry.tree_id, late=known is not None, vendors=known)
        found.events += entry.kind == record.OPEN
        tree.add(entry)
        if tree.is_whole or tree.dropped is not None:
            counting.add(growing.pop(entry.tree_id))
    for tree in growing.values():
        counting.add(tree)
    totals = scan.damage().values()
    found.damaged_lines, found.lost_lines = sum(bad for bad, _ in totals), sum(lost for _, lost in totals)
    return found


def cursor_keys(journal: Journal) -> set[Key]:
    """Every vendor that has a cursor: `(name, fingerprint)`."""
    found = (CURSOR.fullmatch(name) for name in journal.files.names())
    return {(one[1], one[2]) for one in found if one is not None}


class Cursors:
    """The cursors of a journal, each read once; those of this process have lines that a full disk refuses."""

    def __init__(self, journal: Journal, holders: Mapping[str, Cursor] = MappingProxyType({})) -> None:
        """Read none yet; `holders` are this process's, by file name."""
        self.journal = journal
        self.holders = holders
        self.known: dict[Key, Cursor] = {}

    def __call__(self, key: Key) -> Cursor:
        """The cursor of a vendor."""
        if key not in self.known:
            cursor = self.known[key] = Cursor(self.journal.files, f"{key[0]}.{key[1]}.cursor")
            if cursor.name in self.holders:
                cursor.add_unwritten(self.holders[cursor.name])
        return self.known[key]

    def settled_before(self, keys: Iterable[Key]) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
        """Up to where all of these vendors have settled each log, and the damage known before that."""
        cursors = [self(key) for key in keys]
        if not cursors:
            return {}, {}
        logs = set(cursors[0].offsets).intersection(*(cursor.offsets for cursor in cursors[1:]))
        lowest = {log: min(cursors, key=lambda cursor: cursor.offsets[log]) for log in logs}
        damage = {log: cursor.damage[log] for log, cursor in lowest.items() if log in cursor.damage}
        return {log: cursor.offsets[log] for log, cursor in lowest.items()}, damage


Read = tuple[Mapping[str, int], Mapping[str, tuple[int, int]]]
"""How far logs were read, and what was found damaged and lost in them."""


def count_unsettled(
    journal: Journal,
    cursors: Cursors,
    known: Captured,
    on_line: Callable[[], None] = lambda: None,
    vendorless: Read = ({}, {}),
) -> Counts:
    """Count what is not settled. Every vendor that events were recorded for counts, whether it has a cursor or not.

    `vendorless` are stretches of logs in which no tree names a vendor: nothing in them can wait.

    Raises:
        OSError: the disk refuses to read.
    """
    named = {key_of(name) for name, events in known.recorded.items() if "." in name and events}
    keys = named | cursor_keys(journal)
    offsets, damage = cursors.settled_before(keys)
    for log, end in vendorless[0].items():
        if end > offsets.get(log, 0):
            offsets[log], damage[log] = end, vendorless[1][log]
    return count(journal, cursors, offsets=offsets, damage=damage, on_line=on_line, keys=keys)


def key_of(name: str) -> Key:
    """`NAME.FINGERPRINT` as `(name, fingerprint)`."""
    vendor, _, fingerprint = name.rpartition(".")
    return vendor, fingerprint


class _Counting:
    """Adds trees and feedback to the counts of the vendors they name."""

    def __init__(self, journal: Journal, cursors: Callable[[Key], Cursor], found: Counts) -> None:
        self.own = journal.process
        self.cursors = cursors
        self.found = found
        self.relayed = COLLECTOR if is_relayed(journal.files) else None
        """In a relayed folder: whom a part is for whose root is replicated already. No tree is settled as a whole."""
        self.recent: dict[str, Refs | None] = {}
        """Trees counted last → the vendors they name. A late part does not name its vendors itself."""

    def vendors_of_late_part(self, tree_id: str) -> Refs | None:
        """The vendors of a tree that was counted or settled before; None for a new tree."""
        if tree_id in self.recent:
            return self.recent[tree_id]
        named = (key for key in self.found.vendors if tree_id in self.cursors(key).settled)
        return [{"name": name, "fingerprint": fingerprint} for name, fingerprint in named] or self.relayed

    def add(self, tree: LoggedTree) -> None:
        self.recent.pop(tree.id, None)
        self.recent[tree.id] = tree.refs
        while len(self.recent) > RECENT_TREES:
            del self.recent[next(iter(self.recent))]
        events, reason = tree.dropped or (0, "")
        # Runs that closed though no opened record was found: it is damaged, the events are there.
        total = tree.events + events + (len(tree.ended) if not tree.late else 0)
        keys = keys_of(tree.refs)
        if reason and not keys:
            self.found.dropped[reason] += events
        for key in keys:
            self.found.vendors.add(key)
            cursor = self.cursors(key)
            if cursor.is_settled(tree.id, tree.spans):
                continue
            # Lines of what a vendor has taken may have been damaged since.
            self.found.waiting[key] += max(total, sum(cursor.taken.get(tree.id, ())))
            self.found.joined[key] += tree.joined_events
            self.found.needed.update(tree.spans)
            if (tree.is_ending or tree.dropped) and self.own in tree.processes:
                self.found.finished_here.add(key)

    def add_feedback(self, entry: Entry) -> None:
        line = entry.line
        try:
            feedback = record.decode(line.payload)
        except Exception:  # noqa: BLE001  (the boundary around each record)
            return
        refs = record.refs_of(feedback)
        for key in keys_of(self.vendors_of_late_part(entry.tree_id) if refs is None else refs):
            self.found.vendors.add(key)
            if not self.cursors(key).is_feedback_done(
                str(feedback.get("key", "")), line.name, line.offset + line.length
            ):
                self.found.feedback[key] += 1
                self.found.needed.add(line.name)
                if line.name.startswith(self.own):
                    self.found.finished_here.add(key)


def keys_of(refs: Refs | None) -> tuple[Key, ...]:
    """The vendors a record names."""
    return tuple((ref["name"], ref["fingerprint"]) for ref in refs or ())
