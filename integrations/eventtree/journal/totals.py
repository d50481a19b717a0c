"""What was accepted, counted where it was recorded: the second witness of the law.

Each process counts its events by vendor as it appends them, and writes the sums into every log's header and, at its
end, into a last line. So they are had without reading the logs; for a process that was killed, or goes on, the records
of its last log are counted. The first witness is delivery, which counts the events of the trees it has read: where the
two differ, something was lost on the way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import pydantic_core

from eventtree import record
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import LineReader, frame, stretches, unframe
from eventtree.journal.relayed import is_relayed, keep_size, readdress
from eventtree.journal.scan import Entry, entries_of

TAIL_BYTES = 64 * 1024
"""No last line of a log is longer."""
NO_VENDOR = ""
"""Name under which events that go to no vendor are counted."""
BY_USER = "by_user"
"""Why events are dropped that somebody has cleared."""
REMOVED = "removed"
"""File of the sums of processes whose logs have all been removed."""


@dataclass(slots=True)
class Part:
    """What one log alone holds, as its writer counted it: the sums behind it, less those before it."""

    recorded: Counter[str]
    begin: int
    """Where its first record stands."""
    size: int
    whole: int
    checksum: int
    """Of its first `whole` bytes, as they were written; the rest, up to `size`, is the line that says so. Both 0 where
    the log has just been read, and may grow.
    """


@dataclass(slots=True)
class Captured:
    """Events by the vendor they are for (`NAME.FINGERPRINT`), as the processes that recorded them counted."""

    recorded: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Records that neither disk nor memory would take."""
    events: int = 0
    is_exact: bool = True
    """False where a killed process's last events cannot be counted by vendor any more."""
    parts: dict[str, Part] = field(default_factory=dict)
    """Log → its part of this, where the sums of its writer tell."""


def captured(journal: Journal, only: str | None = None) -> Captured:
    """The sums of all processes, or of `only` that one."""
    found = Captured()
    removed = journal.files.read(REMOVED, 0) if only is None else b""
    for payload in (kept := _payloads(removed)):
        _add(found, payload)
    found.is_exact = found.is_exact and len(kept) == removed.count(b"\n")
    for process, names in groupby(journal.logs(), process_of):
        if only not in (None, process):
            continue
        _add_process(found, journal, list(names), journal.sums() if process == journal.process else None)
    if is_relayed(journal.files):
        found.parts.clear()  # what is replicated is no whole tree
    for part in found.parts.values():
        part.recorded, _ = readdress(journal.files, part.recorded)
    found.recorded, is_exact = readdress(journal.files, found.recorded)
    found.lost, _ = readdress(journal.files, found.lost)
    found.is_exact = found.is_exact and is_exact
    return found


def sums_of(journal: Journal, logs: list[str]) -> Captured:
    """The sums of a process, of which these are all logs that are left."""
    found = Captured()
    _add_process(found, journal, logs)
    return found


def remove_log(journal: Journal, log: str, left: list[str], sums: Captured | None = None) -> bool:
    """Remove a log, which nobody needs, from those `left` of its process; False for the newest of several.

    That has the sums of all, and goes last; then they are kept apart, or its events would be missing from the report.
    """
    process = process_of(log)
    is_partition = "." in process  # whose logs have no sums of those before
    if log == left[-1] != left[0] and not is_partition:
        return False
    if is_partition or log == left[0] == left[-1]:
        found = sums_of(journal, [log]) if sums is None or is_partition else sums
        kept = {"recorded": found.recorded, "lost": found.lost, "events": found.events, "exact": found.is_exact}
        journal.files.append(REMOVED, frame(0, record.encode({"process": process, **kept})))
    size = journal.files.size(log)
    journal.files.remove(log)  # first: the disk may be full
    keep_size(journal.files, log, size)
    left.remove(log)
    return True


def _add_process(found: Captured, journal: Journal, logs: list[str], own: record.Record | None = None) -> None:
    """Add the sums of a process: its `own`, those it ended with, or what its last log holds beyond those before it."""
    said = [_header(journal, log) for log in logs]
    footer = _footer(journal, logs[-1])
    for log, before, after in zip(logs, said, [*said[1:], footer], strict=True):
        if before is not None and after is not None:
            found.parts[log] = _part(before, after)
    if own is not None:
        _add(found, own)
    elif footer is not None:
        _add(found, footer.sums)
    else:
        _count(journal, logs, said, found)


def _add(found: Captured, sums: record.Record) -> None:
    found.recorded.update(sums.get("recorded") or {})
    found.lost.update(sums.get("lost") or {})
    found.events += int(sums.get("events") or 0)
    found.is_exact = found.is_exact and bool(sums.get("exact", True))


class _Said(NamedTuple):
    """A line of sums, and where it stands."""

    sums: record.Record
    begin: int
    end: int


def _header(journal: Journal, log: str) -> _Said | None:
    """The first line of a log, if it is the sums of what its process had recorded before."""
    return _said(journal.files.read(log, 0, TAIL_BYTES).partition(b"\n")[0], 0)


def _footer(journal: Journal, log: str) -> _Said | None:
    """The last line of a log, if it is the sums with which its process ended."""
    at = max(0, journal.files.size(log) - TAIL_BYTES)
    tail = journal.files.read(log, at)
    last = tail[:-1].rpartition(b"\n")[2] if tail.endswith(b"\n") else b""
    found = _said(last, at + len(tail) - len(last) - 1)
    return found if found is not None and found.sums.get("end") else None


def _said(line: bytes, begin: int) -> _Said | None:
    sums = next(iter(_payloads(line)), {})
    return _Said(sums, begin, begin + len(line) + 1) if sums.get("r") == record.LOG and "recorded" in sums else None


def _part(before: _Said, after: _Said) -> Part:
    """What a log holds between two lines of sums; the second stands at its end, or begins the next."""
    recorded = Counter[str](after.sums["recorded"])
    recorded.subtract(before.sums["recorded"])
    whole, checksum = after.sums.get("whole", (-1, 0))
    size = after.end if after.sums.get("end") else whole
    return Part(+recorded, before.end, size, whole, checksum)


def _payloads(data: bytes) -> list[record.Record]:
    found = []
    for line in data.split(b"\n"):
        try:
            entry = pydantic_core.from_json(unframe(line)[1])
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _count(journal: Journal, logs: list[str], said: Sequence[_Said | None], found: Captured) -> None:
    """The sums in the newest header there is, and what the logs from there on hold.

    Where nobody can say whom a tree is for that began in an older log than its children, all logs are read.
    """
    start = next((number for number in range(len(logs) - 1, 0, -1) if said[number] is not None), 0)
    sums = _counted(journal, logs, start, said[start])
    if start and not sums.is_exact:
        sums = _counted(journal, logs, 0, said[0])
    found.recorded += sums.recorded
    found.lost += sums.lost
    found.events += sums.events
    found.is_exact = found.is_exact and sums.is_exact
    found.parts |= sums.parts


def _counted(journal: Journal, logs: list[str], start: int, base: _Said | None) -> Captured:
    """The sums in a header, and what its log and those after it hold."""
    found, counting = Captured(), _Counting()
    size = 0
    for name in logs[start:]:
        reader = LineReader(journal.files, name)
        for entry in entries_of(reader):
            counting.add(entry)
        size = reader.offset
        # What is damaged had been recorded: as what, nobody can say.
        is_whole = not (reader.damage.bad_lines or reader.damage.lost)
        counting.is_exact = counting.is_exact and is_whole
        is_undamaged = is_whole and size == journal.files.size(name)
    counting.look_back(journal, logs[:start])
    if base is not None:
        _add(found, base.sums)
        if start == len(logs) - 1 and is_undamaged and counting.is_exact:
            found.parts[logs[start]] = Part(+counting.recorded, base.end, size, 0, 0)
    found.recorded += counting.recorded
    found.events += counting.events
    found.is_exact = found.is_exact and counting.is_exact
    return found


class _Counting:
    """Counts records by the vendors their trees are for."""

    def __init__(self) -> None:
        self.recorded: Counter[str] = Counter()
        self.events = 0
        self.is_exact = True
        self._names: dict[str, tuple[str, ...]] = {}
        self._events: Counter[str] = Counter()
        """Tree → its events so far."""

    def add(self, entry: Entry) -> None:
        """Count one more record."""
        kind, run_id, tree_id, line = entry
        try:
            if kind == record.OPEN and record.is_joined(line.payload):
                self.events += 1
                self.recorded[record.PART] += 1
            elif kind == record.OPEN and run_id != tree_id:
                self._events[tree_id] += 1
                self.events += 1
                self.recorded.update(self._names.get(tree_id, ()))
            elif run_id == tree_id and kind in (record.OPEN, record.VENDORS, record.DROP):
                self._add_root(kind, tree_id, record.decode(line.payload))
            elif kind == record.GONE:
                self.is_exact = False
        except Exception:  # noqa: BLE001  (the boundary around each record: one must not stop the others)
            return

    def _add_root(self, kind: str, tree_id: str, root: record.Record) -> None:
        named = _names_of(record.refs_of(root))
        number, reason = (1, "") if kind == record.OPEN else record.dropped_by(root)
        # What was cleared had been recorded; in which of the logs, nobody can say any more.
        self.is_exact = self.is_exact and reason != BY_USER
        if kind == record.VENDORS:
            self.is_exact = self.is_exact and tree_id in self._names
            fresh = [name for name in named if name not in self._names.get(tree_id, ())]
            self.recorded.update(dict.fromkeys(fresh, self._events[tree_id]))
        else:
            self.recorded.update(dict.fromkeys(named, number))
        self._events[tree_id] += kind == record.OPEN
        self.events += kind == record.OPEN
        self._names[tree_id] = named

    def look_back(self, journal: Journal, logs: Sequence[str]) -> None:
        """Count what is of trees that began in these logs before."""
        unknown = self._events.keys() - self._names.keys()
        known = refs_before(journal, logs, unknown)
        for tree_id, refs in known.items():
            self.recorded.update(dict.fromkeys(_names_of(refs), self._events[tree_id]))
        self.is_exact = self.is_exact and known.keys() == unknown


def _names_of(refs: record.Refs | None) -> tuple[str, ...]:
    return tuple(f"{ref['name']}.{ref['fingerprint']}" for ref in refs or ()) or (NO_VENDOR,)


ROOT = re.compile(rb'"id":"([^"\\]+)","tree":"\1"')
"""What the record of a tree's root bears: its own id as its tree's."""


def refs_before(journal: Journal, logs: Sequence[str], trees: Set[str]) -> dict[str, record.Refs]:
    """Whom trees are for that began in these logs: their roots' records, found by their bytes, the last log first."""
    found: dict[str, record.Refs] = {}
    for log in reversed(logs):
        if found.keys() == trees:
            break
        there: dict[str, record.Refs] = {}
        for lines in stretches(journal.files, log, journal.files.size(log)):
            for root in ROOT.finditer(lines):
                tree_id = root[1].decode("utf-8", "replace")
                if tree_id in trees and tree_id not in found:
                    there.update(_refs_at(lines, root.start(), tree_id))
        found |= there
    return found


def _refs_at(lines: bytes, at: int, tree_id: str) -> dict[str, record.Refs]:
    end = lines.find(b"\n", at)
    try:
        root = record.decode(unframe(lines[lines.rfind(b"\n", 0, at) + 1 : end if end >= 0 else None])[1])
    except ValueError:
        return {}
    refs = record.refs_of(root)
    return {tree_id: refs} if refs is not None and root["id"] == root["tree"] == tree_id else {}
