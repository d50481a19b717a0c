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
from functools import partial
from itertools import groupby
from types import MappingProxyType

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.files import UNSURE
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import Line, checksum, stretches, unframe
from eventtree.journal.relayed import COLLECTOR, is_relayed
from eventtree.journal.scan import Entry, Scan, entry_of
from eventtree.journal.totals import Captured, Part, refs_before
from eventtree.journal.trees import LoggedTree, part_beyond
from eventtree.record import Refs

CURSOR = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})\.((?:local-)?[0-9a-f]{16})\.cursor")
"""Name of a vendor's cursor; whatever else is called so is not ours."""

Key = tuple[str, str]
"""A vendor as trees name it: `(name, fingerprint)`."""
RECENT_TREES = 10_000
MOST_APART = 1_000
"""A log with more records that its sums do not tell whole is read each time."""


@dataclass(slots=True)
class Counts:
    """The counts of one pass over the unsettled part of the journal."""

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
    parts: Mapping[str, Part] = MappingProxyType({}),
) -> Counts:
    """Count what stands behind `offsets` (default: everything); `cursors` gives each vendor's.

    With `only`, the logs of that process alone. `keys` are vendors that may have settled what is read. Of `parts`, sums
    of logs, those are believed that still hold: `needed` lacks these logs.
    """
    found = Counts()
    found.vendors.update(keys)
    growing: dict[str, LoggedTree] = {}
    counting = _Counting(journal, cursors, found)
    begin = dict(offsets or {})
    # Whom a part is for, or feedback on what its process did not know, may stand in a log that was not read.
    read = partial(count, journal, cursors, offsets=offsets, damage=damage, on_line=on_line, only=only, keys=keys)
    believed = _Believed(journal, cursors, found.vendors, parts).add_to(counting, begin) if parts else {}
    known_damage = {log: bad for log, bad in (damage or {}).items() if log not in believed}
    scan = Scan(journal, begin, known_damage)
    unbound: list[Entry] = []
    for entry in scan.read_all(on_line, only):
        if entry.kind == record.FEEDBACK:
            if not counting.add_feedback(entry):
                unbound.append(entry)
            continue
        tree = growing.get(entry.tree_id)
        if tree is None:
            known = counting.vendors_of_late_part(entry.tree_id)
            if believed and (known is None or len(known) < len(found.vendors)):
                if record.JOINED in entry.line.payload:
                    return read()
                known = _began_before(journal, entry, believed) or known
            tree = growing[entry.tree_id] = LoggedTree(entry.tree_id, late=known is not None, vendors=known)
        tree.add(entry)
        if tree.is_whole or tree.dropped is not None:
            counting.add(growing.pop(entry.tree_id))
    for tree in growing.values():
        counting.add(tree)
    missing = [entry for entry in unbound if not counting.add_feedback(entry, all_read=True)]
    unmet = counting.taken_of_unmet()
    if believed and (missing or unmet):
        return read()
    totals = scan.damage().values()
    found.damaged_lines, found.lost_lines = sum(bad for bad, _ in totals), sum(lost for _, lost in totals)
    found.waiting += unmet
    if not (found.damaged_lines or found.lost_lines):
        found.joined += unmet
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


def count_unsettled(
    journal: Journal,
    cursors: Cursors,
    known: Captured,
    on_line: Callable[[], None] = lambda: None,
    *,
    believes: bool = False,
) -> Counts:
    """Count what is not settled. Every vendor that events were recorded for counts, whether it has a cursor or not.

    One that `believes` the sums of `known` reads no log that is as its writer left it, and that no vendor has begun:
    so a backlog of any length is counted like a short one. Where they are not exact, some tree has its root in the log
    of another process than its runs, and all logs are read.
    """
    named = {key_of(name) for name, events in known.recorded.items() if "." in name and events}
    keys = named | cursor_keys(journal)
    offsets, damage = cursors.settled_before(keys)
    parts = known.parts if believes and known.is_exact else {}
    return count(journal, cursors, offsets=offsets, damage=damage, on_line=on_line, keys=keys, parts=parts)


def key_of(name: str) -> Key:
    """`NAME.FINGERPRINT` as `(name, fingerprint)`."""
    vendor, _, fingerprint = name.rpartition(".")
    return vendor, fingerprint


def _began_before(journal: Journal, first: Entry, believed: Mapping[str, Part]) -> Refs | None:
    """Whom a tree is for whose first record that is read is not its first: it began in a log that was not read."""
    if (first.run_id == first.tree_id and first.kind == record.OPEN) or record.JOINED in first.line.payload:
        return None
    process = process_of(first.line.name)
    earlier = [log for log in believed if process_of(log) == process]
    return refs_before(journal, earlier, {first.tree_id}).get(first.tree_id)


SUMMED_APART = {kind: b'{"r":"%b",' % kind.encode() for kind in (record.FEEDBACK, record.DROP, record.VENDORS)}
"""Records that the sums of a log do not tell whole."""


class _Believed:
    """The logs that need not be read, because their sums hold and no vendor is in the middle of them."""

    def __init__(
        self, journal: Journal, cursors: Callable[[Key], Cursor], keys: Iterable[Key], parts: Mapping[str, Part]
    ) -> None:
        self.journal = journal
        self.parts = parts
        self.begun = set[str]()
        """Logs of which a vendor has settled something, but not all."""
        for cursor in map(cursors, keys):
            halfway = (log for log, part in parts.items() if part.begin < cursor.offsets.get(log, 0) < part.size)
            self.begun.update(cursor.begun(), halfway)

    def add_to(self, counting: _Counting, begin: dict[str, int]) -> dict[str, Part]:
        """Count what such logs hold, and have reading begin behind them; returns them."""
        found: dict[str, Part] = {}
        for _, names in groupby(self.journal.logs(), process_of):
            logs = list(names)
            begun = [number for number, log in enumerate(logs) if log in self.begun]
            # Of a log between two of these trees may be settled that end in others.
            for number, log in enumerate(logs):
                part = self.parts.get(log)
                is_between = bool(begun) and begun[0] <= number <= begun[-1]
                if part is None or is_between or part.recorded[record.PART] or begin.get(log, 0) >= part.size:
                    continue
                entries = self._apart(log, part)
                if entries is not None:
                    found[log] = part
                    begin[log] = part.size
                    counting.add_part(log, part, entries)
        return found

    def _apart(self, log: str, part: Part) -> list[Entry] | None:
        """The feedback, and trees that were only counted, in a log; None where its sums do not hold, or say too little.

        Bytes that were held against their checksum once are not read again while their file bears the same mark.
        """
        files, verified = self.journal.files, self.journal.verified
        mark = f"{files.mark(log)} {part.size} {part.checksum}"
        known, places = verified.pop(log, (None, None))
        if known != mark or places is None:
            places = self._looked_through(log, part)
        if places is None:
            return None
        if not mark.startswith(UNSURE) and len(places) <= MOST_APART:
            verified[log] = mark, places
        begin = places[0][0] if places else 0
        data = files.read(log, begin, sum(places[-1]) - begin) if places else b""
        found = []
        for offset, length in places:
            seq, payload = unframe(data[offset - begin : offset - begin + length - 1])
            entry = entry_of(Line(log, offset, length, seq, payload))
            if entry is None or record.refs_of(record.decode(payload)) is None:
                return None
            found.append(entry)
        return found

    def _looked_through(self, log: str, part: Part) -> list[tuple[int, int]] | None:
        """Where those stand in a log, read in stretches; None where it is not the one that was summed up."""
        size, found, offset, total = self.journal.files.size(log), [], 0, 0
        if part.whole < 0 or (size != part.size if part.whole else size < part.size):
            return None
        for lines in stretches(self.journal.files, log, part.whole or part.size):
            places = _places_apart(lines)
            if places is None or not lines.endswith(b"\n"):
                return None
            found += [(offset + at, length) for at, length in places]
            offset += len(lines)
            try:
                total ^= checksum(lines) if part.whole else 0
            except ValueError:
                return None
        return found if offset == (part.whole or part.size) and total == part.checksum else None


def _places_apart(data: bytes) -> list[tuple[int, int]] | None:
    """Offset and length of the lines in a log that its sums do not tell whole; None where these say too little."""
    if SUMMED_APART[record.VENDORS] in data:
        return None
    found = []
    for needle in (SUMMED_APART[record.FEEDBACK], SUMMED_APART[record.DROP]):
        at = -1
        while (at := data.find(needle, at + 1)) >= 0:
            begin = data.rfind(b"\n", 0, at) + 1
            found.append((begin, data.find(b"\n", at) + 1 - begin))
    return sorted(found)


class _Counting:
    """Adds trees and feedback to the counts of the vendors they name."""

    def __init__(self, journal: Journal, cursors: Callable[[Key], Cursor], found: Counts) -> None:
        self.journal, self.own = journal, journal.process
        self.cursors = cursors
        self.found = found
        self.relayed = COLLECTOR if is_relayed(journal.files) else None
        """In a relayed folder: whom a part is for whose root is replicated already. No tree is settled as a whole."""
        self.recent: dict[str, Refs | None] = {}
        """Trees counted last → the vendors they name. A late part does not name its vendors itself."""
        self.begun: dict[tuple[Key, str], tuple[int, int]] = {}
        """Trees of which a vendor has taken something → events seen so far, and counted: one may be met in pieces."""

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
        keys = keys_of(tree.refs)
        if tree.dropped is not None and not keys:
            events, reason = tree.dropped
            self.found.dropped[reason] += events
        for key in keys:
            self.found.vendors.add(key)
            cursor = self.cursors(key)
            if cursor.is_settled(tree.id, tree.spans):
                continue
            # Of a tree that went out before, what came late is left.
            part = part_beyond(self.journal, tree, cursor.settled_of(tree.id))
            if part is None:
                continue
            events = total = part.recorded
            taken = sum(cursor.taken.get(tree.id, ()))
            if taken:
                # Lines of what a vendor has taken may have been damaged since.
                seen, counted = self.begun.get((key, tree.id), (0, 0))
                self.begun[key, tree.id] = seen + total, max(seen + total, taken)
                events = max(seen + total, taken) - counted
            self.found.waiting[key] += events
            self.found.joined[key] += part.joined_events
            self.found.needed.update(tree.spans)
            if (tree.is_ending or tree.dropped) and self.own in tree.processes:
                self.found.finished_here.add(key)

    def taken_of_unmet(self) -> Counter[Key]:
        """What vendors have taken of trees that were not met: recorded for others, and a replay has begun to send them;
        or their records have been damaged since.
        """
        found = Counter[Key]()
        for key in self.found.vendors:
            cursor = self.cursors(key)
            for tree_id, taken in cursor.taken.items():
                if any(taken) and (key, tree_id) not in self.begun and tree_id not in cursor.settled:
                    found[key] += sum(taken)
        return found

    def add_part(self, log: str, part: Part, apart: Iterable[Entry]) -> None:
        """Add the sums of a log, and of it the records that these do not tell whole."""
        for name, events in part.recorded.items():
            key = key_of(name)
            if name and self.cursors(key).offsets.get(log, 0) <= part.begin:
                self.found.vendors.add(key)
                self.found.waiting[key] += events
        for entry in apart:
            if entry.kind == record.FEEDBACK:
                self.add_feedback(entry)
            elif not record.refs_of(dropped := record.decode(entry.line.payload)):
                events, reason = record.dropped_by(dropped)
                self.found.dropped[reason] += events

    def add_feedback(self, entry: Entry, *, all_read: bool = False) -> bool:
        """Count a feedback; False where its tree, which says whom it is for, was not met.

        It is not counted then unless `all_read`: for those who have settled the tree.
        """
        line = entry.line
        try:
            feedback = record.decode(line.payload)
        except Exception:  # noqa: BLE001  (the boundary around each record)
            return True
        refs = record.refs_of(feedback)
        is_bound = refs is not None or entry.tree_id in self.recent
        if not (is_bound or all_read):
            return False
        for key in keys_of(self.vendors_of_late_part(entry.tree_id) if refs is None else refs):
            self.found.vendors.add(key)
            if not self.cursors(key).is_feedback_done(
                str(feedback.get("key", "")), line.name, line.offset + line.length
            ):
                self.found.feedback[key] += 1
                self.found.needed.add(line.name)
                if line.name.startswith(self.own):
                    self.found.finished_here.add(key)
        return is_bound


def keys_of(refs: Refs | None) -> tuple[Key, ...]:
    """The vendors a record names."""
    return tuple((ref["name"], ref["fingerprint"]) for ref in refs or ())
