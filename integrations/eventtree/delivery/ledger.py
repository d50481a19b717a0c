"""One vendor's settled events: its cursor while this process ships to it, and its dead letters.

The sender reports each answer here. Each request is written down by itself, so that after a crash at most the requests
under way are sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from eventtree.delivery.dead_letters import DeadLetters
from eventtree.delivery.sender import REJECTED
from eventtree.diagnostics import Warnings
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal
from eventtree.journal.trees import LoggedTree, part_beyond
from eventtree.record import Refs, is_local
from eventtree.serializer.requests import Item
from eventtree.tree.filter import judge_of
from eventtree.vendors import Vendor

LOST = ("by_user", "damaged")
"""Reasons for dropping events whose records are gone."""


class Ledger:
    """The counts of one vendor, as its sender's `Outcome`.

    With `takes_over`, the counts of `VENDOR.FINGERPRINT`: older settings of the vendor, which trees name.
    """

    def __init__(self, journal: Journal, vendor: Vendor, *, all_trees: bool, takes_over: str | None) -> None:
        """Read nothing yet: the cursor belongs to the process with the vendor's lock. `all_trees` means a replay."""
        self.vendor = vendor
        self.journal, self.files = journal, journal.files
        self.all_trees = all_trees
        self.takes_over = takes_over
        self.name = takes_over or f"{vendor.name}.{vendor.fingerprint(journal.salt)}"
        self.fingerprint = self.name.rsplit(".", 1)[1]
        self.keeps = judge_of(vendor.keep)
        self.wanted: set[str] = set()
        """Trees that `keep` left out and that are sent after all, since feedback on them fits `keep`."""
        self.dead = DeadLetters(journal.files, f"{self.name}.dead", vendor.routes)
        self.warn_once = Warnings(vendor.name)
        self.cursor: Cursor
        """The same cursor, for callers that know it is open."""
        self.opened: Cursor | None = None
        """The cursor, while this process ships to the vendor."""
        self.refused_feedback: set[str] = set()
        """Keys of feedback that was refused in the present round."""

    def open(self) -> Cursor:
        """Read the cursor, to write it from here on; the caller holds the vendor's lock."""
        self.opened = self.cursor = cursor = Cursor(self.files, f"{self.name}.cursor")
        cursor.take_over()
        if self.takes_over is not None:
            # Other settings may mean another project, so ids are looked up again.
            cursor.learned = {k: v for k, v in cursor.learned.items() if self.vendor.lookup_of(k) is None}
        return cursor

    # -- trees --------------------------------------------------------------------------------------------------------

    def is_for_us(self, tree: LoggedTree) -> bool:
        """Whether a tree was recorded for this vendor and these settings; a replay takes all trees that may be sent."""
        return self.takes(tree.refs)

    def takes(self, named: Refs | None) -> bool:
        """Whether a tree or feedback that names these vendors is for this one."""
        if {"name": self.vendor.name, "fingerprint": self.fingerprint} in (named or ()):
            return True
        if not self.all_trees or not named or is_local(self.fingerprint):
            return self.all_trees
        may_leave = not all(is_local(ref["fingerprint"]) for ref in named)
        if not may_leave:
            self.warn_once("local", "gets nothing that was recorded for %s alone", "a server on this machine")
        return may_leave

    def has_settled(self, tree_id: str) -> bool:
        """Whether a tree with this id was sent to this vendor before, and not only parts of it, apart."""
        if self.opened is None or self.is_wanted(tree_id):
            return False
        is_replayed = self.opened.foreign.get(tree_id)
        return tree_id in self.opened.settled and (is_replayed is None or (self.all_trees and is_replayed))

    def is_left_out(self, tree_id: str) -> bool:
        """Whether `keep` left the tree out, and still does."""
        return tree_id in self.cursor.left_out and not self.is_wanted(tree_id)

    def is_wanted(self, tree_id: str) -> bool:
        """Whether a tree that `keep` left out is sent after all: by a replay, or since there is feedback on it."""
        return tree_id in self.cursor.left_out and (self.all_trees or tree_id in self.wanted)

    def settled_of(self, tree: LoggedTree) -> Mapping[str, int]:
        """Log → end of a tree's lines that were settled with earlier parts of it."""
        if self.is_wanted(tree.id):
            return {}
        spans = self.cursor.settled.get(tree.id)
        if spans is not None:
            return spans
        # All trees before the offset are settled, except those of other vendors, which only a replay sends.
        return self.cursor.replayed if self._is_replay(tree) else self.cursor.offsets

    def settle(self, tree: LoggedTree, events: int, dropped: Counter[str], left_out: int = 0) -> None:
        """Record that a tree is settled; `left_out` of its events were left out by `keep`."""
        is_replay = self._is_replay(tree)
        uncounted = events if is_replay else tree.joined_events
        apart = events if tree.is_apart else 0
        is_back = self.is_wanted(tree.id)
        if is_back:  # the others were settled when it was left out: they had been cleared or damaged before
            late = part_beyond(self.journal, tree, self.cursor.settled_of(tree.id))
            events = min(events, self.cursor.left_out[tree.id][0] + (late.recorded if late is not None else 0))
            uncounted = late.joined_events if late is not None else 0
        # Events that the vendor has taken may have been cleared or damaged since: none is counted as both.
        over = sum(self.cursor.taken.get(tree.id, ())) + sum(dropped.values()) - events
        for reason in LOST if dropped else ():
            if (less := max(0, min(over, dropped[reason]))) > 0:
                over -= less
                dropped = dropped - Counter({reason: less})
        self.cursor.settle(
            tree.id, events + max(0, over), dropped, tree.spans, uncounted=uncounted, apart=apart,
            left_out=left_out, is_back=is_back, is_replay=is_replay,
        )  # fmt: skip
        self.wanted.discard(tree.id)
        for reason in dropped:
            hint = self.vendor.drop_hints.get(reason)
            if hint is not None:
                self.warn_once(reason, f"takes no tree with reason {reason}. %s", hint)

    def _is_replay(self, tree: LoggedTree) -> bool:
        if not self.all_trees or tree.names(self.vendor.name, self.fingerprint):
            return False
        # A cleared tree is still for the vendors that its root named.
        return tree.vendors is not None or not self.has_settled(tree.id) or self.cursor.foreign.get(tree.id, False)

    # -- answers, as the sender reports them --------------------------------------------------------------------------

    def park(self, why: str | None) -> None:
        """Record why the vendor is parked. A takeover stays parked until it is complete, in case of a restart."""
        if why is not None or self.takes_over is None:
            self.cursor.park(why)

    def taken(self, items: Sequence[Item]) -> None:
        """Record that the vendor has taken these items: they are never sent again."""
        self._acknowledge(items, dead=False)

    def refused(self, items: Sequence[Item], status: int | None, words: str) -> None:
        """Keep items that the vendor will never take as dead letters, with its words."""
        # The letter first: a crash between the two lines sends the items again, the other order would lose them.
        self.dead.add(items, status, words)
        self.refused_feedback.update(item.key for item in items if not item.event_ids)
        self._acknowledge(items, dead=True)
        self.warn_once("dead", "refused an event (%s); `eventtree report` counts them, the journal keeps them", status)

    def buried(self, item: Item, words: str) -> None:
        """Keep a tree that the vendor's code cannot encode as a dead letter; its server was not asked."""
        self.dead.add((item,), None, words)
        self._acknowledge((item,), dead=True)
        self.warn_once("buried", "got nothing of a tree: %s. It is a dead letter", words)

    def rejected(self, items: Sequence[Item], words: str) -> None:
        """Count items as dropped that the vendor left out of a request, and that must not be sent again."""
        # First as dead: if the second line is lost they count as dead, and the sums still add up.
        self._acknowledge(items, dead=True)
        self.cursor.forgo(sum(len(item.event_ids) for item in items), REJECTED)
        self.warn_once(REJECTED, "took a request but for some of its events (%s); the report counts them", words)

    def _acknowledge(self, items: Sequence[Item], *, dead: bool) -> None:
        per_tree: dict[str, list[Any]] = {}
        for item in items:
            of_tree = per_tree.get(item.tree_id)
            if of_tree is None:
                of_tree = per_tree[item.tree_id] = [[], 0, 0]
            of_tree[0].append(item.key)
            of_tree[1 + dead] += len(item.event_ids)
        if per_tree:
            self.cursor.ack(per_tree)
