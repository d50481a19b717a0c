"""The whole journal, for looking at, exporting and clearing: where each tree's lines stand, and their records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import Line, LineReader, frame

Ranges = list[tuple[str, int, int, int]]
"""Lines of a tree: log, offset, length, sequence number."""


def trees_in(journal: Journal) -> dict[str, Ranges]:
    """Every tree's lines, trees in the order they opened."""
    found: dict[str, Ranges] = {}
    for line in _lines(journal):
        try:
            _, _, tree_id = record.head(line.payload)
        except ValueError:
            continue
        if tree_id:
            found.setdefault(tree_id, []).append((line.name, line.offset, line.length, line.seq))
    return found


def records_of(journal: Journal, ranges: Ranges) -> Iterator[record.Record]:
    """The records at `ranges`; lines that are damaged are left out."""
    for name, offset, length, _ in ranges:
        data = journal.files.read(name, offset, length)
        try:
            yield record.decode(data[data.index(b" ", 9) + 1 :])
        except ValueError:
            continue


def clear(journal: Journal, tree_ids: set[str] | None = None) -> int:
    """Delete the contents of some trees, or all; returns how many. What still waited counts as dropped `by_user`.

    Lines are overwritten where they stand, since the process that wrote them may still be writing; logs of processes
    that have ended are removed when nothing is left in them.
    """
    found = trees_in(journal)
    gone = {tree: ranges for tree, ranges in found.items() if tree_ids is None or tree in tree_ids}
    counted = {tree_id: _counted(journal, ranges) for tree_id, ranges in gone.items()}
    busy = _settle(journal, gone, counted)
    for tree_id, ranges in gone.items():
        owed = _owed(tree_id, counted[tree_id], busy)
        for name, offset, length, seq in reversed(ranges):  # where it ends is how vendors' cursors know a tree
            line = None if owed is None else _padded(seq, length, owed)
            owed = owed if line is None else None
            journal.files.overwrite(name, offset, line or _blank(seq, length))
    left = trees_in(journal)
    for name in journal.logs():
        is_empty = all(name != log for ranges in left.values() for log, *_ in ranges)
        if is_empty and not journal.is_alive(process_of(name)):
            journal.files.remove(name)
    return len(gone)


class _Counted(NamedTuple):
    """What has to be accounted for when a tree is cleared."""

    vendors: Mapping[str, dict[str, str]]
    """Those that any record of it names, by their cursors' names."""
    events: int
    reason: str


def _counted(journal: Journal, ranges: Ranges) -> _Counted:
    vendors: dict[str, dict[str, str]] = {}
    events, reason = 0, "by_user"
    for entry in records_of(journal, ranges):
        vendors.update((_cursor_of(ref), ref) for ref in entry.get("vendors") or ())
        if entry["r"] == record.OPEN:
            events += 1
        elif entry["r"] == record.DROP:
            events, reason = events + entry["events"], entry["reason"]
    return _Counted(vendors, events, reason)


def _cursor_of(ref: Mapping[str, str]) -> str:
    return f"{ref['name']}.{ref['fingerprint']}.cursor"


def _settle(journal: Journal, gone: dict[str, Ranges], counted: Mapping[str, _Counted]) -> set[str]:
    """Count what has gone in the cursors; those that another process holds are given back."""
    busy = set[str]()
    for name in sorted(set[str]().union(*(tree.vendors for tree in counted.values()))):
        lock = journal.files.lock(name.removesuffix(".cursor") + ".lock")
        if lock is None:
            busy.add(name)
            continue
        try:
            cursor = Cursor(journal.files, name)
            cursor.advance({})
            for tree_id, ranges in gone.items():
                spans = {log: offset + length for log, offset, length, _ in ranges}
                _settle_feedback(cursor, records_of_feedback(journal, ranges), name)
                tree = counted[tree_id]
                if name in tree.vendors and not cursor.is_settled(tree_id, spans):
                    sent = sum(cursor.taken.get(tree_id, ()))
                    left = max(0, tree.events - sent)
                    cursor.settle(tree_id, sent + left, {tree.reason: left}, spans)
        finally:
            lock.release()
    return busy


def _owed(tree_id: str, tree: _Counted, busy: set[str]) -> bytes | None:
    """What has to stay of a tree so that whoever ships, and may not have come to its lines yet, counts it."""
    vendors = [ref for name, ref in tree.vendors.items() if name in busy]
    if not vendors:
        return None
    entry = {"r": record.DROP, "id": tree_id, "tree": tree_id, "vendors": vendors}
    return record.encode({**entry, "reason": tree.reason, "events": tree.events})


def records_of_feedback(journal: Journal, ranges: Ranges) -> Iterator[tuple[record.Record, str, int]]:
    """Feedback among a tree's lines, with the log and the end of its line."""
    for one in ranges:
        for entry in records_of(journal, [one]):
            if entry["r"] == record.FEEDBACK:
                yield entry, one[0], one[1] + one[2]


def _settle_feedback(cursor: Cursor, said: Iterator[tuple[record.Record, str, int]], cursor_name: str) -> None:
    for entry, log, end in said:
        is_mine = cursor_name in map(_cursor_of, entry.get("vendors") or ())
        if is_mine and not cursor.is_feedback_done(entry["key"], log, end):
            cursor.settle_feedback(entry["key"], entry["tree"], log, end, "by_user")


def _blank(seq: int, length: int) -> bytes:
    """A whole line of that length which says nothing."""
    return _padded(seq, length, b'{"r":"gone","id":"","tree":""}') or b" " * (length - 1) + b"\n"


def _padded(seq: int, length: int, payload: bytes) -> bytes | None:
    """A line of that length, or None if it is too short for the payload."""
    padding = length - len(frame(seq, payload))
    return None if padding < 0 else frame(seq, payload[:-1] + b" " * padding + b"}")


def _lines(journal: Journal) -> Iterator[Line]:
    for name in journal.logs():
        reader = LineReader(journal.files, name)
        while lines := reader.read():
            yield from lines
