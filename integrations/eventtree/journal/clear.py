"""Deleting the contents of trees. What still waits for a vendor is counted as dropped `by_user`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import frame, unframe
from eventtree.journal.relayed import addressing, cursor_of
from eventtree.journal.totals import keep_removed
from eventtree.journal.trees import CLEARED, LoggedTree, load, trees_in


def clear(journal: Journal, tree_ids: set[str] | None = None) -> int:
    """Delete the contents of some trees, or all; returns how many. What still waited counts as dropped `by_user`.

    Lines are overwritten where they stand, since the process that wrote them may still be writing; logs of processes
    that have ended are removed when nothing is left in them.
    """
    gone = {tree.id: tree for tree in trees_in(journal).values() if tree_ids is None or tree.id in tree_ids}
    # Before and after: whoever reads meanwhile may have read either.
    journal.files.append(CLEARED, b".")
    counted = {tree_id: _counted(journal, tree) for tree_id, tree in gone.items()}
    busy = _settle(journal, gone, counted)
    for tree_id, tree in gone.items():
        owed = _owed(tree_id, counted[tree_id], busy)
        for name, offset, length in reversed(list(tree.lines)):  # where it ends is how vendors' cursors know a tree
            seq = _seq(journal.files.read(name, offset, length))
            line = None if owed is None else _padded(seq, length, owed)
            owed = owed if line is None else None
            journal.files.overwrite(name, offset, line or _blank(seq, length))
    _remove_empty(journal)
    journal.files.append(CLEARED, b".")
    return sum(tree.has_runs for tree in gone.values())


def _remove_empty(journal: Journal) -> None:
    """Remove logs of processes that have ended in which nothing is left."""
    left = {log for tree in trees_in(journal).values() for log in tree.spans}
    for process, names in groupby(journal.logs(), process_of):
        logs = list(names)
        empty = [name for name in logs if name not in left]
        if empty and not journal.is_alive(process):
            if len(empty) == len(logs):
                keep_removed(journal, process, logs)
            for name in empty:
                journal.files.remove(name)


def _seq(line: bytes) -> int:
    try:
        return unframe(line.rstrip(b"\n"))[0]
    except ValueError:
        return 0


class _Counted(NamedTuple):
    """The events of a cleared tree, and the vendors that have to count them."""

    vendors: Mapping[str, dict[str, str]]
    """The vendors that any record of the tree names, by their cursors' names."""
    events: int
    reason: str


def _counted(journal: Journal, tree: LoggedTree) -> _Counted:
    vendors: dict[str, dict[str, str]] = {}
    events, reason = 0, "by_user"
    is_addressed = addressing(journal.files) is not None
    for entry in load(journal, tree.lines):
        if tree.is_apart or entry["id"] not in tree.parts:
            named = tree.refs if is_addressed else record.refs_of(entry)
            vendors.update((cursor_of(ref), ref) for ref in named or ())
        if entry["r"] == record.OPEN:
            events += 1
        elif entry["r"] == record.DROP:
            dropped, reason = record.dropped_by(entry)
            events += dropped
    return _Counted(vendors, events, reason)


def _settle(journal: Journal, gone: Mapping[str, LoggedTree], counted: Mapping[str, _Counted]) -> set[str]:
    """Count the cleared trees in the cursors; returns the cursors whose lock another process has."""
    busy = set[str]()
    for name in sorted(set[str]().union(*(tree.vendors for tree in counted.values()))):
        lock = journal.files.lock(name.removesuffix(".cursor") + ".lock")
        if lock is None:
            busy.add(name)
            continue
        try:
            # Under the lock: another process would go on writing what it knew before.
            cursor = Cursor(journal.files, name)
            cursor.advance({})
            for tree_id, tree in gone.items():
                _settle_feedback(cursor, _feedback_in(journal, tree), name)
                known = counted[tree_id]
                if name in known.vendors and not cursor.is_settled(tree_id, tree.spans):
                    sent = sum(cursor.taken.get(tree_id, ()))
                    left = max(0, known.events - sent)
                    dropped, uncounted = {known.reason: left}, tree.joined_events
                    cursor.settle(tree_id, sent + left, dropped, tree.spans, uncounted=uncounted)
        finally:
            lock.release()
    return busy


def _owed(tree_id: str, tree: _Counted, busy: set[str]) -> bytes | None:
    """The record that stays of a tree: a process that ships, and has yet to read its lines, counts its events by it."""
    vendors = [ref for name, ref in tree.vendors.items() if name in busy]
    if not vendors:
        return None
    return record.encode(record.dropped(tree_id, vendors, tree.reason, tree.events))


def _feedback_in(journal: Journal, tree: LoggedTree) -> Iterator[tuple[record.Record, str, int]]:
    """Feedback among a tree's lines, with the log and the end of its line."""
    for line in tree.lines:
        for entry in load(journal, [line]):
            if entry["r"] == record.FEEDBACK:
                yield entry, line[0], line[1] + line[2]


def _settle_feedback(cursor: Cursor, feedback: Iterator[tuple[record.Record, str, int]], cursor_name: str) -> None:
    for entry, log, end in feedback:
        is_mine = cursor_name in map(cursor_of, record.refs_of(entry) or ())
        key = str(entry.get("key", ""))
        if is_mine and not cursor.is_feedback_done(key, log, end):
            cursor.settle_feedback(key, entry["tree"], log, end, "by_user")


def _blank(seq: int, length: int) -> bytes:
    """A whole line of that length which says nothing."""
    return _padded(seq, length, record.encode(record.cleared())) or b" " * (length - 1) + b"\n"


def _padded(seq: int, length: int, payload: bytes) -> bytes | None:
    """A line of that length, or None if it is too short for the payload."""
    padding = length - len(frame(seq, payload))
    return None if padding < 0 else frame(seq, payload[:-1] + b" " * padding + b"}")
