"""What was accepted, counted where it was recorded: the second witness of the law.

Each process counts its events by vendor as it appends them, and writes the sums into every log's header and, at its
end, into a last line. So they are had without reading the logs; for a process that was killed the records of its last
log are counted. The first witness is delivery, which counts the events of the trees it has read: where the two differ,
something was lost on the way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby

import pydantic_core

from eventtree import record
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import unframe
from eventtree.journal.relayed import readdress
from eventtree.journal.scan import Entry, entries_in

TAIL_BYTES = 64 * 1024
"""No last line of a log is longer."""
NO_VENDOR = ""
"""Name under which events that go to no vendor are counted."""
REMOVED = "removed"
"""File of the sums of processes whose logs have all been removed."""


@dataclass(slots=True)
class Captured:
    """Events by the vendor they are for (`NAME.FINGERPRINT`), as the processes that recorded them counted."""

    recorded: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Records that neither disk nor memory would take."""
    events: int = 0
    is_exact: bool = True
    """False where a killed process's last events cannot be counted by vendor any more."""


def captured(journal: Journal, only: str | None = None) -> Captured:
    """The sums of all processes, or of `only` that one.

    Raises:
        OSError: the disk refuses to read.
    """
    found = Captured()
    for payload in _payloads(journal.files.read(REMOVED, 0)) if only is None else ():
        _add(found, payload)
    for process, names in groupby(journal.logs(), process_of):
        if only not in (None, process):
            continue
        logs = list(names)
        if process == journal.process:
            _add(found, journal.sums())
        else:
            _add_ended(found, journal, logs)
    found.recorded, is_exact = readdress(journal.files, found.recorded)
    found.lost, _ = readdress(journal.files, found.lost)
    found.is_exact = found.is_exact and is_exact
    return found


def keep_removed(journal: Journal, process: str, logs: list[str]) -> None:
    """Keep a process's sums, whose last logs are about to be removed.

    Raises:
        OSError: the disk refuses.
    """
    found = Captured()
    _add_ended(found, journal, logs)
    sums = {"recorded": found.recorded, "lost": found.lost, "events": found.events, "exact": found.is_exact}
    journal.files.append(REMOVED, journal.framed({"process": process, **sums}))


def _add_ended(found: Captured, journal: Journal, logs: list[str]) -> None:
    """Add the sums of another process: those it ended with, or for one that was killed what its logs hold."""
    footer = _footer(journal, logs[-1])
    if footer is not None:
        _add(found, footer)
    else:
        _count(journal, logs, found)


def _add(found: Captured, sums: record.Record) -> None:
    found.recorded.update(sums.get("recorded") or {})
    found.lost.update(sums.get("lost") or {})
    found.events += int(sums.get("events") or 0)
    found.is_exact = found.is_exact and bool(sums.get("exact", True))


def _footer(journal: Journal, log: str) -> record.Record | None:
    """The last line of a log, if it is the sums with which its process ended."""
    size = journal.files.size(log)
    tail = journal.files.read(log, max(0, size - TAIL_BYTES))
    last = tail[:-1].rpartition(b"\n")[2] if tail.endswith(b"\n") else b""
    for entry in _payloads(last + b"\n"):
        if entry.get("r") == record.LOG and entry.get("end"):
            return entry
    return None


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


def _count(journal: Journal, logs: list[str], found: Captured) -> None:
    """The sums in the newest header there is, and what the logs from there on hold.

    Where a root stands in an older log than its children, all logs are read: only its own record says who it is for.
    """
    start = next((number for number in range(len(logs) - 1, 0, -1) if _header(journal, logs[number])), 0)
    sums = _counted(journal, logs[start:])
    if start and not sums.is_exact:
        sums = _counted(journal, logs)
    found.recorded += sums.recorded
    found.lost += sums.lost
    found.events += sums.events
    found.is_exact = found.is_exact and sums.is_exact


def _header(journal: Journal, log: str) -> record.Record | None:
    """The first line of a log, if it is the sums of what its process had recorded before."""
    first = journal.files.read(log, 0, TAIL_BYTES).partition(b"\n")[0]
    return next((one for one in _payloads(first + b"\n") if "recorded" in one), None)


def _counted(journal: Journal, logs: list[str]) -> Captured:
    """The sums in the header of the first of these logs, and what they hold."""
    found = Captured()
    base = _header(journal, logs[0])
    if base is not None:
        _add(found, base)
    vendors: dict[str, tuple[str, ...]] = {}
    counts: Counter[str] = Counter()
    for name in logs:
        for entry in entries_in(journal, name):
            _count_entry(entry, vendors, counts, found)
    return found


def _count_entry(entry: Entry, vendors: dict[str, tuple[str, ...]], counts: Counter[str], found: Captured) -> None:
    kind, run_id, tree_id, line, _ = entry
    try:
        if kind == record.OPEN and record.is_joined(line.payload):
            found.events += 1
            found.recorded[record.PART] += 1
        elif kind == record.OPEN and run_id != tree_id:
            named = vendors.get(tree_id)
            found.is_exact = found.is_exact and named is not None
            counts[tree_id] += 1
            found.events += 1
            found.recorded.update(named or ())
        elif run_id == tree_id and kind in (record.OPEN, record.VENDORS, record.DROP):
            root = record.decode(line.payload)
            refs = record.refs_of(root) or ()
            named = tuple(f"{ref['name']}.{ref['fingerprint']}" for ref in refs) or (NO_VENDOR,)
            number = 1 if kind == record.OPEN else record.dropped_by(root)[0]
            if kind == record.VENDORS:
                fresh = [name for name in named if name not in vendors.get(tree_id, ())]
                found.recorded.update(dict.fromkeys(fresh, counts[tree_id]))
            else:
                found.recorded.update(dict.fromkeys(named, number))
            counts[tree_id] += kind == record.OPEN
            found.events += kind == record.OPEN
            vendors[tree_id] = named
    except Exception:  # noqa: BLE001  (the boundary around each record: one must not stop the others)
        return
