"""Counting the events that wait for each vendor: one pass over the unsettled part of the logs, sums for the rest.

A journal of millions of settled events is counted as fast as an empty one: only lines behind the offsets of the
vendors' cursors are read. A complete tree is counted and forgotten, so that a long backlog takes no memory either.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from types import MappingProxyType

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.files import UNSURE
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import checksum, stretches, unframe
from eventtree.journal.relayed import COLLECTOR, is_relayed
from eventtree.journal.scan import Entry, Scan, entries
from eventtree.journal.totals import LogSums, RecordedSums, refs_before
from eventtree.journal.trees import LoggedTree, part_beyond
from eventtree.record import Refs

CURSOR = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})\.((?:local-)?[0-9a-f]{16})\.cursor")
"""Name of a vendor's cursor."""

Key = tuple[str, str]
"""A vendor as trees name it: `(name, fingerprint)`."""
RECENT_TREES = 10_000
MOST_UNSUMMED = 1_000
"""A log with more records that its sums leave out is read each time."""


@dataclass(slots=True)
class Counts:
    """The counts of one pass over the unsettled part of the journal."""

    waiting: Counter[Key] = field(default_factory=Counter)
    """Events of trees that a vendor has not settled."""
    joined: Counter[Key] = field(default_factory=Counter)
    """Those of them that another process has recorded without knowing their vendors."""
    feedback: Counter[Key] = field(default_factory=Counter)
    finished_here: set[Key] = field(default_factory=set)
    """Vendors that have not settled all finished trees and feedback of this process."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Events that were only counted, of trees without vendors, by reason."""
    needed: set[str] = field(default_factory=set)
    """Logs with a record that some vendor has not settled."""
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
    by_log: Mapping[str, LogSums] = MappingProxyType({}),
) -> Counts:
    """Count the records behind `offsets` (default: all); `cursors` gives the cursor of each vendor.

    With `only`, only the logs of that process are read. `keys` are vendors that may have settled some of the trees.
    A log whose sums in `by_log` still match it is not read, and is not in `needed`.
    """
    found = Counts()
    found.vendors.update(keys)
    growing: dict[str, LoggedTree] = {}
    counting = Counting(journal, cursors, found)
    begin = dict(offsets or {})
    # The fallback: the vendors of a part, or of feedback, may be named in a log that was not read.
    read = partial(count, journal, cursors, offsets=offsets, damage=damage, on_line=on_line, only=only, keys=keys)
    trusted = _TrustedLogs(journal, cursors, found.vendors, by_log).add_to(counting, begin) if by_log else {}
    known_damage = {log: bad for log, bad in (damage or {}).items() if log not in trusted}
    scan = Scan(journal, begin, known_damage)
    unbound: list[Entry] = []
    for entry in scan.read_all(on_line, only):
        kind, _, tree_id, *_, payload = entry
        if kind == record.FEEDBACK:
            if not counting.add_feedback(entry):
                unbound.append(entry)
            continue
        tree = growing.get(tree_id)
        if tree is None:
            known = counting.vendors_of_late_part(tree_id)
            if trusted and (known is None or len(known) < len(found.vendors)):
                if record.JOINED in payload:
                    return read()
                known = _began_before(journal, entry, trusted) or known
            tree = growing[tree_id] = LoggedTree(tree_id, late=known is not None, vendors=known)
        tree.add(entry)
        if tree.is_whole or tree.dropped is not None:
            counting.add(growing.pop(tree_id))
    for tree in growing.values():
        counting.add(tree)
    missing = [entry for entry in unbound if not counting.add_feedback(entry, all_read=True)]
    unread = counting.taken_of_unread()
    if trusted and (missing or unread):
        return read()
    totals = scan.damage().values()
    found.damaged_lines, found.lost_lines = sum(bad for bad, _ in totals), sum(lost for _, lost in totals)
    found.waiting += unread
    if not (found.damaged_lines or found.lost_lines):
        found.joined += unread
    return found


def cursor_keys(journal: Journal) -> set[Key]:
    """Every vendor that has a cursor: `(name, fingerprint)`."""
    found = (CURSOR.fullmatch(name) for name in journal.files.names())
    return {(one[1], one[2]) for one in found if one is not None}


class Cursors:
    """The cursors of a journal, each read once, with the lines of this process that a full disk has refused."""

    def __init__(self, journal: Journal, holders: Mapping[str, Cursor] = MappingProxyType({})) -> None:
        """Read none yet; `holders` are the cursors of this process, by file name."""
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
        """Log → offset before which all of these vendors have settled it; and the known damage before that."""
        cursors = [self(key) for key in keys]
        if not cursors:
            return {}, {}
        logs = set(cursors[0].offsets).intersection(*(cursor.offsets for cursor in cursors[1:]))
        lowest = {log: min(cursors, key=lambda cursor: cursor.offsets[log]) for log in logs}
        damage = {log: cursor.damage[log] for log, cursor in lowest.items() if log in cursor.damage}
        return {log: cursor.offsets[log] for log, cursor in lowest.items()}, damage


def count_unsettled(
    journal: Journal,
    cursors: Cursors,
    known: RecordedSums,
    on_line: Callable[[], None] = lambda: None,
    *,
    trusts_sums: bool = False,
) -> Counts:
    """Count the events and feedback that a vendor has not settled, also of vendors that have no cursor yet.

    With `trusts_sums`, a log is not read if it is as its writer left it and no vendor has begun it: then the sums of
    `known` count it, so that a long backlog is counted like a short one. If those sums are not exact, because some
    tree has its root in the log of another process, all logs are read.
    """
    named = {key_of(name) for name, events in known.recorded.items() if "." in name and events}
    keys = named | cursor_keys(journal)
    offsets, damage = cursors.settled_before(keys)
    by_log = known.by_log if trusts_sums and known.is_exact else {}
    return count(journal, cursors, offsets=offsets, damage=damage, on_line=on_line, keys=keys, by_log=by_log)


def key_of(name: str) -> Key:
    """`NAME.FINGERPRINT` as `(name, fingerprint)`."""
    vendor, _, fingerprint = name.rpartition(".")
    return vendor, fingerprint


def _began_before(journal: Journal, first: Entry, trusted: Mapping[str, LogSums]) -> Refs | None:
    """The vendors of a tree that began in a log that was not read; None if `first` is the tree's first record."""
    kind, run_id, tree_id, log, *_, payload = first
    if (run_id == tree_id and kind == record.OPEN) or record.JOINED in payload:
        return None
    earlier = [one for one in trusted if process_of(one) == process_of(log)]
    return refs_before(journal, earlier, {tree_id}).get(tree_id)


NOT_SUMMED = {kind: b'{"r":"%b",' % kind.encode() for kind in (record.FEEDBACK, record.DROP, record.VENDORS)}
"""Kinds of records that the sums of a log leave out, wholly or in part, as their lines contain them."""


class _TrustedLogs:
    """The logs that need not be read, because they match their sums and no vendor is in the middle of them."""

    def __init__(
        self, journal: Journal, cursors: Callable[[Key], Cursor], keys: Iterable[Key], by_log: Mapping[str, LogSums]
    ) -> None:
        self.journal = journal
        self.by_log = by_log
        self.begun = set[str]()
        """Logs that a vendor has settled in part."""
        for cursor in map(cursors, keys):
            halfway = (log for log, part in by_log.items() if part.begin < cursor.offsets.get(log, 0) < part.size)
            self.begun.update(cursor.begun(), halfway)

    def add_to(self, counting: Counting, begin: dict[str, int]) -> dict[str, LogSums]:
        """Add the sums of such logs, and set `begin` behind them; returns them."""
        found: dict[str, LogSums] = {}
        for _, names in groupby(self.journal.logs(), process_of):
            logs = list(names)
            begun = [number for number, log in enumerate(logs) if log in self.begun]
            # A log between two of these may have lines of settled trees that end in another log.
            for number, log in enumerate(logs):
                part = self.by_log.get(log)
                is_between = bool(begun) and begun[0] <= number <= begun[-1]
                if part is None or is_between or part.recorded[record.PART] or begin.get(log, 0) >= part.size:
                    continue
                entries = self._unsummed(log, part)
                if entries is not None:
                    found[log] = part
                    begin[log] = part.size
                    counting.add_part(log, part, entries)
        return found

    def _unsummed(self, log: str, part: LogSums) -> list[Entry] | None:
        """The records that a log's sums leave out; None if it does not match its sums, or they say too little.

        A log that has matched its checksum is not read again while its file has the same mark.
        """
        files, verified = self.journal.files, self.journal.verified
        mark = f"{files.mark(log)} {part.size} {part.checksum}"
        known, places = verified.pop(log, (None, None))
        if known != mark or places is None:
            places = self._verified(log, part)
        if places is None:
            return None
        if not mark.startswith(UNSURE) and len(places) <= MOST_UNSUMMED:
            verified[log] = mark, places
        begin = places[0][0] if places else 0
        data = files.read(log, begin, sum(places[-1]) - begin) if places else b""
        found = []
        for offset, length in places:
            _, payload = unframe(data[offset - begin : offset - begin + length - 1])
            entry = entries([(log, offset, length, payload)])
            if not entry or record.refs_of(record.decode(payload)) is None:
                return None
            found += entry
        return found

    def _verified(self, log: str, part: LogSums) -> list[tuple[int, int]] | None:
        """The places of those records, if the bytes of the log match its sums; else None. It is read in stretches."""
        size, found, offset, total = self.journal.files.size(log), [], 0, 0
        if part.whole < 0 or (size != part.size if part.whole else size < part.size):
            return None
        for lines in stretches(self.journal.files, log, part.whole or part.size):
            places = _unsummed_places(lines)
            if places is None or not lines.endswith(b"\n"):
                return None
            found += [(offset + at, length) for at, length in places]
            offset += len(lines)
            try:
                total ^= checksum(lines) if part.whole else 0
            except ValueError:
                return None
        return found if offset == (part.whole or part.size) and total == part.checksum else None


def _unsummed_places(data: bytes) -> list[tuple[int, int]] | None:
    """Offset and length of the lines that a log's sums leave out; None if the sums say too little about vendors."""
    if NOT_SUMMED[record.VENDORS] in data:
        return None
    found = []
    for needle in (NOT_SUMMED[record.FEEDBACK], NOT_SUMMED[record.DROP]):
        at = -1
        while (at := data.find(needle, at + 1)) >= 0:
            begin = data.rfind(b"\n", 0, at) + 1
            found.append((begin, data.find(b"\n", at) + 1 - begin))
    return sorted(found)


class Counting:
    """Adds trees and feedback to the counts of the vendors they name."""

    def __init__(self, journal: Journal, cursors: Callable[[Key], Cursor], found: Counts) -> None:
        self.journal, self.own = journal, journal.process
        self.cursors = cursors
        self.found = found
        self.relayed = COLLECTOR if is_relayed(journal.files) else None
        """In a relayed folder, the vendor of a part whose root is already replicated; no tree is settled there."""
        self.recent: dict[str, Refs | None] = {}
        """Trees counted last → their vendors, which a late part does not name itself."""
        self.begun: dict[tuple[Key, str], tuple[int, int]] = {}
        """Trees that a vendor has taken in part → events read and counted so far: a tree may come in pieces."""

    def vendors_of_late_part(self, tree_id: str) -> Refs | None:
        """The vendors of a tree that was counted or settled before; None for a new tree."""
        if tree_id in self.recent:
            return self.recent[tree_id]
        named = (key for key in self.found.vendors if self.cursors(key).is_own(tree_id))
        return [{"name": name, "fingerprint": fingerprint} for name, fingerprint in named] or self.relayed

    def add(self, tree: LoggedTree) -> None:
        self.recent.pop(tree.id, None)
        self.recent[tree.id] = tree.refs
        while len(self.recent) > RECENT_TREES:
            del self.recent[next(iter(self.recent))]
        keys = keys_of(tree.refs)
        if tree.dropped is not None and not keys:
            events, reason = tree.dropped
            self.found.dropped[reason] += events
        self.found.vendors.update(keys)
        for key, part, events in self.unsettled(tree):
            self.found.waiting[key] += events
            self.found.joined[key] += part.joined_events
            self.found.needed.update(tree.spans)
            if (tree.is_ending or tree.dropped) and self.own in tree.processes:
                self.found.finished_here.add(key)

    def unsettled(self, tree: LoggedTree) -> Iterator[tuple[Key, LoggedTree, int]]:
        """The vendors that have not settled a tree: what is left of it for each, and the events to count for that."""
        for key in keys_of(tree.refs):
            cursor = self.cursors(key)
            # Of a tree that was sent before, only its late part is left.
            is_settled = cursor.is_settled(tree.id, tree.spans)
            part = None if is_settled else part_beyond(self.journal, tree, cursor.settled_of(tree.id))
            if part is None:
                continue
            events = total = part.recorded
            taken = sum(cursor.taken.get(tree.id, ()))
            if taken:
                # Lines that a vendor has taken may have been damaged since.
                seen, counted = self.begun.get((key, tree.id), (0, 0))
                self.begun[key, tree.id] = seen + total, max(seen + total, taken)
                events = max(seen + total, taken) - counted
            yield key, part, events

    def taken_of_unread(self) -> Counter[Key]:
        """Events that vendors have taken of trees that were not read: other vendors' trees in a replay, or trees whose
        records have been damaged since.
        """
        found = Counter[Key]()
        for key in self.found.vendors:
            cursor = self.cursors(key)
            for tree_id, taken in cursor.taken.items():
                if any(taken) and (key, tree_id) not in self.begun and tree_id not in cursor.settled:
                    found[key] += sum(taken)
        return found

    def add_part(self, log: str, part: LogSums, apart: Iterable[Entry]) -> None:
        """Add the sums of a log, and the records that they leave out."""
        for name, events in part.recorded.items():
            key = key_of(name)
            if name and self.cursors(key).offsets.get(log, 0) <= part.begin:
                self.found.vendors.add(key)
                self.found.waiting[key] += events
        for entry in apart:
            kind, *_, payload = entry
            if kind == record.FEEDBACK:
                self.add_feedback(entry)
            elif not record.refs_of(dropped := record.decode(payload)):
                events, reason = record.dropped_by(dropped)
                self.found.dropped[reason] += events

    def add_feedback(self, entry: Entry, *, all_read: bool = False) -> bool:
        """Count a feedback; False if its tree, which names the vendors, was not read.

        In that case it is counted only if `all_read`, for the vendors that have settled the tree.
        """
        _, _, tree_id, log, offset, length, payload = entry
        try:
            feedback = record.decode(payload)
        except Exception:  # noqa: BLE001  (the boundary around each record)
            return True
        refs = record.refs_of(feedback)
        is_bound = refs is not None or tree_id in self.recent
        if not (is_bound or all_read):
            return False
        for key in keys_of(self.vendors_of_late_part(tree_id) if refs is None else refs):
            self.found.vendors.add(key)
            if not self.cursors(key).is_feedback_done(str(feedback.get("key", "")), log, offset + length):
                self.found.feedback[key] += 1
                self.found.needed.add(log)
                if log.startswith(self.own):
                    self.found.finished_here.add(key)
        return is_bound


def keys_of(refs: Refs | None) -> tuple[Key, ...]:
    """The vendors a record names."""
    return tuple((ref["name"], ref["fingerprint"]) for ref in refs or ())
