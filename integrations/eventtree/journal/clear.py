"""Deleting the contents of trees. Events that still wait for a vendor are counted as dropped `by_user`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from eventtree import record
from eventtree.journal.counts import cursor_keys, key_of
from eventtree.journal.cursor import Cursor
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import frame
from eventtree.journal.relayed import addressing, cursor_of
from eventtree.journal.totals import BY_USER, RecordedSums, remove_log, sums_of
from eventtree.journal.trees import CLEARED, LoggedTree, Place, entry_at, load, part_beyond, trees_in


def clear(journal: Journal, tree_ids: set[str] | None = None) -> int:
    """Delete the contents of some trees, or of all; returns how many.

    Lines are overwritten in place, since their process may still be writing the log. Logs of ended processes are
    removed when nothing is left in them.
    """
    gone = {tree.id: tree for tree in trees_in(journal).values() if tree_ids is None or tree.id in tree_ids}
    settled = _settled_trees(journal)
    for tree in gone.values():
        tree.late = tree.is_apart and tree.id in settled  # for the tree's vendors, whoever its parts name
    # Once before and once after, since another process may read lines in between.
    journal.files.append(CLEARED, b".")
    owed = _settle(journal, gone)
    # Now, since the sums of a killed process are counted from the lines that go.
    ended = {process: list(logs) for process, logs in groupby(journal.logs(), process_of)}
    sums = {process: sums_of(journal, logs) for process, logs in ended.items() if not journal.is_alive(process)}
    for tree_id, tree in gone.items():
        left, places = owed.get(tree_id, (b"", ()))
        for place in reversed(list(tree.lines)):  # last line first: cursors know a tree by its end
            name, offset, length = place
            entry = entry_at(journal, place)
            seq, kind = (entry.line.seq, entry.kind) if entry is not None else (0, "")
            if kind == record.DROP and tree_id in owed:
                continue  # it says what was left before, and holds nothing else
            line = _padded(seq, length, left) if left and place in places and kind != record.FEEDBACK else None
            left = left if line is None else b""
            journal.files.overwrite(name, offset, line or _blank(seq, length))
    _remove_empty(journal, sums)
    journal.files.append(CLEARED, b".")
    return sum(tree.has_runs for tree in gone.values())


def _settled_trees(journal: Journal) -> set[str]:
    """The trees that some vendor has settled: its own, and not only parts of them."""
    cursors = [Cursor(journal.files, f"{'.'.join(key)}.cursor") for key in cursor_keys(journal)]
    return {tree_id for cursor in cursors for tree_id in cursor.settled.keys() - cursor.foreign.keys()}


def _remove_empty(journal: Journal, sums: Mapping[str, RecordedSums]) -> None:
    """Remove empty logs of the ended processes that `sums` names."""
    filled = {log for tree in trees_in(journal).values() for log in tree.spans}
    for process, names in groupby(journal.logs(), process_of):
        left = list(names)
        if process in sums:
            for name in [name for name in left if name not in filled]:
                remove_log(journal, name, left, sums[process])


def _named(journal: Journal, tree: LoggedTree) -> set[str]:
    """Names of the cursors of all vendors that a tree's records name."""
    found = set[str]()
    is_addressed = addressing(journal.files) is not None
    for entry in load(journal, tree.lines):
        if entry["r"] != record.FEEDBACK and (tree.is_apart or entry["id"] not in tree.parts):
            named = tree.refs if is_addressed else record.refs_of(entry)
            found.update(map(cursor_of, named or ()))
    return found


def _settle(journal: Journal, gone: Mapping[str, LoggedTree]) -> dict[str, tuple[bytes, Set[Place]]]:
    """Settle the cleared trees in every cursor whose lock is free.

    Returns, by tree, a record to leave in the log, in the place of one of these lines: by it, the process that holds
    another cursor counts the events.
    """
    named = {tree_id: _named(journal, tree) for tree_id, tree in gone.items()}
    owed: dict[str, list[_Owed]] = {}
    for name in sorted({f"{'.'.join(key)}.cursor" for key in cursor_keys(journal)}.union(*named.values())):
        lock = journal.files.lock(name.removesuffix(".cursor") + ".lock")
        try:
            # Read under the lock, so that no other process writes an older state afterwards.
            cursor = Cursor(journal.files, name)
            if lock is not None:
                cursor.advance({})
            for tree_id, tree in gone.items():
                # Of a tree that went out before, only what came late is left.
                is_for_it = name in named[tree_id] or (not named[tree_id] and cursor.is_own(tree_id))
                part = part_beyond(journal, tree, cursor.settled_of(tree_id)) if is_for_it else None
                if part is tree and tree_id in cursor.settled and not tree.is_apart:
                    part = replace(tree, late=True)
                if lock is not None:
                    _settle_tree(cursor, tree, part)
                    _settle_feedback(cursor, _feedback_in(journal, tree), name)  # it ends what was begun of the tree
                elif part is not None and (part.has_runs or part.dropped):
                    vendor, fingerprint = key_of(name.removesuffix(".cursor"))
                    ref = {"name": vendor, "fingerprint": fingerprint}
                    rest = _Owed(ref, part, _without_counts(journal, part), cursor.is_own(tree_id))
                    owed.setdefault(tree_id, []).append(rest)
        finally:
            if lock is not None:
                lock.release()
    return {tree_id: _what_stays(tree_id, of_vendors) for tree_id, of_vendors in owed.items()}


class _Owed(NamedTuple):
    """A vendor that another process ships to, and what it has yet to settle of a tree."""

    ref: record.Ref
    part: LoggedTree
    fresh: LoggedTree
    """The part without records that only count events: those stay as they are."""
    is_own: bool
    """It has settled some of the tree, so it takes the rest for its own though that names nobody."""


def _without_counts(journal: Journal, part: LoggedTree) -> LoggedTree:
    """The lines of a part that came after an earlier clearing, as a late part; the part itself if there was none."""
    if part.dropped is None:
        return part
    since = LoggedTree(part.id, late=True)
    for line in part.lines:
        entry = entry_at(journal, line)
        if entry is not None and entry.kind != record.DROP:
            since.add(entry)
    return since


def _what_stays(tree_id: str, owed: list[_Owed]) -> tuple[bytes, Set[Place]]:
    """The record by which vendors count what is left of a tree, and the lines that all of them have yet to settle."""
    most = max((one.fresh for one in owed), key=attrgetter("recorded"))
    if not most.has_runs:
        return b"", set()
    before = max(one.part.recorded - one.fresh.recorded for one in owed)
    is_known = all(one.is_own or one.part.dropped for one in owed)
    refs = None if is_known else [one.ref for one in owed]
    left = record.dropped(tree_id, refs, BY_USER, most.recorded, most.joined_events, before)
    return record.encode(left), set.intersection(*(set(one.fresh.lines) for one in owed))


def _settle_tree(cursor: Cursor, tree: LoggedTree, part: LoggedTree | None) -> None:
    """Settle the unsent events of a tree. Events that `keep` left out cannot be sent any more."""
    if tree.id in cursor.left_out:
        left_out, sent = cursor.left_out[tree.id][0], sum(cursor.taken.get(tree.id, ()))
        cursor.settle(tree.id, left_out, {"sampled": left_out - sent}, {}, is_back=True)
    if part is not None and (part.has_runs or part.dropped):
        sent = sum(cursor.taken.get(tree.id, ()))
        left = max(0, part.recorded - sent)
        dropped = {(part.dropped or (0, BY_USER))[1]: left}
        cursor.settle(tree.id, sent + left, dropped, tree.spans, uncounted=part.joined_events)


def _feedback_in(journal: Journal, tree: LoggedTree) -> Iterator[tuple[record.Record, str, int]]:
    """The feedback in a tree's lines, each with its log and the end of its line."""
    for line in tree.lines:
        for entry in load(journal, [line]):
            if entry["r"] == record.FEEDBACK:
                yield entry, line[0], line[1] + line[2]


def _settle_feedback(cursor: Cursor, feedback: Iterator[tuple[record.Record, str, int]], cursor_name: str) -> None:
    for entry, log, end in feedback:
        is_mine = cursor_name in map(cursor_of, record.refs_of(entry) or ())
        key = str(entry.get("key", ""))
        if is_mine and not cursor.is_feedback_done(key, log, end):
            cursor.settle_feedback(key, entry["tree"], log, end, BY_USER)


def _blank(seq: int, length: int) -> bytes:
    """A valid line of that length without content."""
    return _padded(seq, length, record.encode(record.cleared())) or b" " * (length - 1) + b"\n"


def _padded(seq: int, length: int, payload: bytes) -> bytes | None:
    """A line of that length with a payload, or None if the payload is too long."""
    padding = length - len(frame(seq, payload))
    return None if padding < 0 else frame(seq, payload[:-1] + b" " * padding + b"}")
