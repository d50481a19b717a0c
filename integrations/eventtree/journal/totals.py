"""The number of events recorded for each vendor, counted independently of delivery, which counts those it has read.

If the two differ, events were lost in between, and the report says so. Each process counts its events by vendor as it
appends them, and writes the sums into every log's first line and, at a clean exit, into a last line. So the logs need
not be read. If a process was killed or still runs, the records of its last log are counted.
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
from eventtree.journal.folder import number_of, process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import LineReader, frame, stretches, unframe
from eventtree.journal.relayed import is_relayed, keep_size, readdress
from eventtree.journal.scan import Entry, entries_of

TAIL_BYTES = 64 * 1024
"""The longest last line of a log."""
NO_VENDOR = ""
"""Name under which events of trees without vendors are counted."""
REMOVED = "removed"
"""File with the sums of processes whose logs have all been removed."""


@dataclass(slots=True)
class LogSums:
    """The sums of one log alone, as its writer counted: those after the log less those before it."""

    recorded: Counter[str]
    begin: int
    """Offset of its first record."""
    size: int
    whole: int
    checksum: int
    """Checksum of its first `whole` bytes as they were written. The rest, up to `size`, is the line with these sums.
    Both are 0 if the log has just been read and may grow.
    """


@dataclass(slots=True)
class RecordedSums:
    """Recorded events by vendor (`NAME.FINGERPRINT`), as the recording processes counted them."""

    recorded: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Records that neither disk nor memory accepted."""
    events: int = 0
    is_exact: bool = True
    """False if the last events of a killed process can no longer be counted by vendor."""
    by_log: dict[str, LogSums] = field(default_factory=dict)
    """Log → its own sums, if its writer has stated them."""


def recorded_sums(journal: Journal, only: str | None = None) -> RecordedSums:
    """The sums of all processes, or of `only` one."""
    found = RecordedSums()
    removed = journal.files.read(REMOVED, 0) if only is None else b""
    for payload in (kept := _payloads(removed)):
        _add(found, payload)
    found.is_exact = found.is_exact and len(kept) == removed.count(b"\n")
    for process, names in groupby(journal.logs(), process_of):
        if only not in (None, process):
            continue
        _add_process(found, journal, list(names), journal.sums() if process == journal.process else None)
    if is_relayed(journal.files):
        found.by_log.clear()  # a relay replicates lines, not whole trees
    for part in found.by_log.values():
        part.recorded, _ = readdress(journal.files, part.recorded)
    found.recorded, is_exact = readdress(journal.files, found.recorded)
    found.lost, _ = readdress(journal.files, found.lost)
    found.is_exact = found.is_exact and is_exact
    return found


def remove_log(journal: Journal, log: str, left: list[str]) -> bool:
    """Remove a log that no vendor needs from those `left` of its process; False for the newest of several.

    The newest has the sums of all, and goes last; its sums are then kept in `REMOVED`, for the report.
    """
    process = process_of(log)
    is_partition = "." in process  # the logs of a collector's partition have no sums of earlier ones
    if log == left[-1] != left[0] and not is_partition:
        return False
    if is_partition or log == left[0] == left[-1]:
        _add_process(found := RecordedSums(), journal, [log])
        kept = {"recorded": found.recorded, "lost": found.lost, "events": found.events, "exact": found.is_exact}
        journal.files.append(REMOVED, frame(0, record.encode({"process": process, **kept})))
    size = journal.files.size(log)
    journal.files.remove(log)  # first: the disk may be full
    keep_size(journal.files, log, size)
    left.remove(log)
    return True


def _add_process(found: RecordedSums, journal: Journal, logs: list[str], own: record.Record | None = None) -> None:
    """Add the sums of a process: its `own` if it is this one, those of its last line, or those that are counted."""
    headers = [_header(journal, log) for log in logs]
    footer = _footer(journal, logs[-1])
    for log, before, after in zip(logs, headers, [*headers[1:], footer], strict=True):
        if before is not None and after is not None:
            found.by_log[log] = _log_sums(before, after)
    if own is not None:
        _add(found, own)
    elif footer is not None:
        _add(found, footer.sums)
    else:
        _count(journal, logs, headers, found)


def _add(found: RecordedSums, sums: record.Record) -> None:
    found.recorded.update(sums.get("recorded") or {})
    found.lost.update(sums.get("lost") or {})
    found.events += int(sums.get("events") or 0)
    found.is_exact = found.is_exact and bool(sums.get("exact", True))


class _SumsLine(NamedTuple):
    """A line of sums, and its place."""

    sums: record.Record
    begin: int
    end: int


def _header(journal: Journal, log: str) -> _SumsLine | None:
    """The first line of a log, if it has the sums of the earlier logs of its process."""
    return _sums_line(journal.files.read(log, 0, TAIL_BYTES).partition(b"\n")[0], 0)


def _footer(journal: Journal, log: str) -> _SumsLine | None:
    """The last line of a log, if it has the sums of a process that exited cleanly."""
    at = max(0, journal.files.size(log) - TAIL_BYTES)
    tail = journal.files.read(log, at)
    last = tail[:-1].rpartition(b"\n")[2] if tail.endswith(b"\n") else b""
    found = _sums_line(last, at + len(tail) - len(last) - 1)
    return found if found is not None and found.sums.get("end") else None


def _sums_line(line: bytes, begin: int) -> _SumsLine | None:
    sums = next(iter(_payloads(line)), {})
    return _SumsLine(sums, begin, begin + len(line) + 1) if sums.get("r") == record.LOG and "recorded" in sums else None


def _log_sums(before: _SumsLine, after: _SumsLine) -> LogSums:
    """The sums of a log, between two lines of sums: the second ends it, or begins the next log."""
    recorded = Counter[str](after.sums["recorded"])
    recorded.subtract(before.sums["recorded"])
    whole, checksum = after.sums.get("whole", (-1, 0))
    size = after.end if after.sums.get("end") else whole
    return LogSums(+recorded, before.end, size, whole, checksum)


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


def _count(journal: Journal, logs: list[str], headers: Sequence[_SumsLine | None], found: RecordedSums) -> None:
    """Add the sums in the newest header, and count the logs from there on.

    If that does not give the vendors of a tree that began in an older log than its children, all logs are counted, if
    none of them was removed.
    """
    start = next((number for number in range(len(logs) - 1, 0, -1) if headers[number] is not None), 0)
    sums = _counted(journal, logs, start, headers[start])
    if start and not sums.is_exact and number_of(logs[-1]) - number_of(logs[0]) == len(logs) - 1:
        sums = _counted(journal, logs, 0, headers[0])
    found.recorded += sums.recorded
    found.lost += sums.lost
    found.events += sums.events
    found.is_exact = found.is_exact and sums.is_exact
    found.by_log |= sums.by_log


def _counted(journal: Journal, logs: list[str], start: int, base: _SumsLine | None) -> RecordedSums:
    """The sums in a header, plus the records of its log and of those after it."""
    found, counting = RecordedSums(), _Counting()
    size = 0
    for name in logs[start:]:
        reader = LineReader(journal.files, name)
        for entry in entries_of(reader):
            counting.add(entry)
        size = reader.offset
        # A damaged line had been recorded, but its vendors are unknown.
        is_whole = not (reader.damage.bad_lines or reader.damage.lost)
        counting.is_exact = counting.is_exact and is_whole
        is_undamaged = is_whole and size == journal.files.size(name)
    counting.look_back(journal, logs[:start])
    if base is not None:
        _add(found, base.sums)
        if start == len(logs) - 1 and is_undamaged and counting.is_exact:
            found.by_log[logs[start]] = LogSums(+counting.recorded, base.end, size, 0, 0)
    found.recorded += counting.recorded
    found.events += counting.events
    found.is_exact = found.is_exact and counting.is_exact
    return found


class _Counting:
    """Counts records by the vendors of their trees."""

    def __init__(self) -> None:
        self.recorded: Counter[str] = Counter()
        self.events = 0
        self.is_exact = True
        self._names: dict[str, tuple[str, ...]] = {}
        self._events: Counter[str] = Counter()
        """Tree → its events so far."""

    def add(self, entry: Entry) -> None:
        """Count one more record."""
        kind, run_id, tree_id, *_, payload = entry
        try:
            if kind == record.OPEN and record.is_joined(payload):
                self.events += 1
                self.recorded[record.PART] += 1
            elif kind == record.OPEN and run_id != tree_id:
                self._events[tree_id] += 1
                self.events += 1
                self.recorded.update(self._names.get(tree_id, ()))
            elif run_id == tree_id and kind in (record.OPEN, record.VENDORS, record.DROP):
                self._add_root(kind, tree_id, record.decode(payload))
        except Exception:  # noqa: BLE001  (the boundary around each record: one must not stop the others)
            return

    def _add_root(self, kind: str, tree_id: str, root: record.Record) -> None:
        named = _names_of(record.refs_of(root))
        number = 1 if kind == record.OPEN else record.events_of(root)
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
        """Count the events of trees whose roots are in these earlier logs."""
        unknown = self._events.keys() - self._names.keys()
        known = refs_before(journal, logs, unknown)
        for tree_id, refs in known.items():
            self.recorded.update(dict.fromkeys(_names_of(refs), self._events[tree_id]))
        self.is_exact = self.is_exact and known.keys() == unknown


def _names_of(refs: record.Refs | None) -> tuple[str, ...]:
    return tuple(f"{ref['name']}.{ref['fingerprint']}" for ref in refs or ()) or (NO_VENDOR,)


ROOT = re.compile(rb'"id":"([^"\\]+)","tree":"\1"')
"""The ids in the record of a root, whose id is that of its tree."""


def refs_before(journal: Journal, logs: Sequence[str], trees: Set[str]) -> dict[str, record.Refs]:
    """The vendors of trees that began in these logs, by their roots' records, found by their bytes, last log first."""
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
