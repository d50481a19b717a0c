"""Deleting the contents of trees. Events that still wait for a vendor are counted as dropped `by_user`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from io import BytesIO
from typing import NamedTuple

from eventtree import record
from eventtree.journal.counts import Counting, Counts, Cursors, Key, cursor_keys, key_of, keys_of
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import frame, is_damaged, stretches, unframe
from eventtree.journal.relayed import REPLICATED
from eventtree.journal.retention import remove_settled
from eventtree.journal.trees import CLEARED, LoggedTree, trees_in

BY_USER = "by_user"
ANY_TREE = b'"tree":"'
"""In every record."""


def clear(journal: Journal, tree_ids: set[str] | None = None) -> int:
    """Delete the contents of some trees, or of all; returns how many had any.

    Lines are overwritten in place, since their process may still be writing the log. Their heads stay, so that whoever
    reads the log counts the same events as before. Logs without contents are removed once they are settled.
    """
    logs, found = set(journal.logs()), trees_in(journal)
    gone = [tree for tree in found.values() if tree_ids is None or tree.id in tree_ids]
    # Once before and once after, since another process may read lines in between.
    journal.files.append(CLEARED, b".")
    feedback = [one for tree in gone for one in _overwrite(journal, tree)]
    journal.files.append(CLEARED, b".")
    dead = {process for process in set(map(process_of, logs)) if not journal.is_alive(process)}
    ended = [tree for tree in gone if tree.is_whole or tree.dropped is not None or tree.is_left(dead)]
    _settle(journal, ended, feedback)
    filled = {log for tree_id in found.keys() - {tree.id for tree in gone} for log in found[tree_id].spans}
    remove_settled(journal, unwanted=logs - filled)
    mentioned = [ANY_TREE] if tree_ids is None else [tree.id.encode("utf-8", "replace") for tree in gone]
    _overwrite_damaged(journal, mentioned, dead)
    return sum(tree.has_contents for tree in gone)


def _overwrite_damaged(journal: Journal, mentioned: Sequence[bytes], dead: set[str]) -> None:
    """Overwrite damaged lines that mention a cleared tree: no reader takes them for records, but their text is there.

    They stay damaged, and are counted as before.
    """
    for log in itertools.filterfalse(journal.is_newer, journal.logs()):
        offset = 0
        for line in itertools.chain.from_iterable(map(BytesIO, stretches(journal.files, log, journal.files.size(log)))):
            # A last line without its end is still being written, unless its writer is dead.
            is_written = line.endswith(b"\n") or process_of(log) in dead
            if is_written and is_damaged(line) and any(one in line for one in mentioned):
                journal.files.overwrite(log, offset, b"#" * len(line.rstrip(b"\n")))
            offset += len(line)


class _Feedback(NamedTuple):
    """A feedback that was cleared, and the place of its record."""

    key: str
    tree: LoggedTree
    vendors: record.Refs | None
    log: str
    end: int


def _overwrite(journal: Journal, tree: LoggedTree) -> Iterator[_Feedback]:
    """Leave the heads of a tree's records; yields its feedback."""
    for log, offset, length in tree.lines:
        try:
            seq, payload = unframe(journal.files.read(log, offset, length).rstrip(b"\n"))
            entry = record.decode(payload)
        except ValueError:  # it has been damaged meanwhile
            continue
        left = record.cleared(entry, length - len(frame(seq, b"")))
        if left is not None:
            journal.files.overwrite(log, offset, frame(seq, left))
        if entry["r"] == record.FEEDBACK:
            yield _Feedback(str(entry.get("key", "")), tree, record.refs_of(entry), log, offset + length)


def _settle(journal: Journal, trees: Sequence[LoggedTree], feedback: Sequence[_Feedback]) -> None:
    """Settle cleared trees and their feedback at the vendors that nobody ships to. Who ships reads what is left."""
    named = (*(tree.refs for tree in trees), *(one.vendors for one in feedback))
    keys = cursor_keys(journal).union(*map(keys_of, named)) - {key_of(REPLICATED)}  # a relay sends what is left
    with ExitStack() as locks:
        # Read under the locks, so that no other process writes an older state afterwards.
        cursors, held = Cursors(journal), set[Key]()
        for key in sorted(keys):
            lock = journal.files.lock(f"{key[0]}.{key[1]}.lock")
            if lock is not None:
                locks.callback(lock.release)
                cursors(key).take_over()
                locks.enter_context(cursors(key).gathered())
                held.add(key)
        counting = Counting(journal, cursors, Counts(vendors=keys))
        for tree in trees:
            late = counting.vendors_of_late_part(tree.id) if tree.vendors is None else None
            if late:
                tree.late, tree.vendors = True, late
            for key, part, events in counting.unsettled(tree):
                if key in held:
                    left = events - sum(cursors(key).taken.get(tree.id, ()))
                    reason = part.dropped[1] if part.dropped is not None else BY_USER
                    cursors(key).settle(
                        tree.id, events, {reason: left} if left else {}, tree.spans, uncounted=part.joined_events,
                        apart=events if part.is_apart else 0,
                    )  # fmt: skip
        for one in feedback:
            for key in held.intersection(keys_of(one.tree.refs if one.vendors is None else one.vendors)):
                if not cursors(key).is_feedback_done(one.key, one.log, one.end):
                    cursors(key).settle_feedback(one.key, one.tree.id, one.log, one.end, BY_USER)
