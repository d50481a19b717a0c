"""Delivery to one vendor. The process that holds the vendor's lock ships for all processes.

    feed ──due trees──▶ queue ──▶ tree sender ──▶ answers ──▶ ledger (cursor, dead letters)
         ──feedback──────────▶ feedback sender ──┘

The consumer decides when: it takes the lock, reads on, lets trees and then feedback be sent, and moves the cursor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain

from eventtree import diagnostics
from eventtree.delivery.due import DueTrees
from eventtree.delivery.feed import Feed, Feeds, lower
from eventtree.delivery.feedback import FeedbackSender
from eventtree.delivery.http import Http
from eventtree.delivery.ledger import Ledger
from eventtree.delivery.retry import Backoff
from eventtree.delivery.sender import Sender
from eventtree.delivery.tree_sender import TreeSender
from eventtree.journal.cursor import Cursor
from eventtree.journal.files import Held
from eventtree.journal.folder import process_of
from eventtree.journal.holder import stalled_holder
from eventtree.journal.journal import Journal
from eventtree.journal.trees import LoggedTree, part_beyond
from eventtree.tree.filter import judge_of
from eventtree.vendors import Vendor

BATCH_EVENTS = 500
"""Events taken at once: enough to fill a vendor's largest request."""
POLL_SECONDS = 0.25
LOCK_SECONDS = 1.0
"""Interval at which a lock of another process is tried."""
COMPACT_TREES = 500
"""The cursor is rewritten after so many settled trees, whose lines each start and report would read."""
COMPACT_SECONDS = 5.0


class Consumer:
    """Ships to one vendor. `run` is a task that never ends by itself; `step` is one round of it.

    `takes_over` is the name (`VENDOR.FINGERPRINT`) of older settings: trees recorded under them are sent with these.
    """

    def __init__(
        self,
        journal: Journal,
        vendor: Vendor,
        http: Http,
        feeds: Feeds,
        *,
        all_trees: bool = False,
        takes_over: str | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ship trees of `journal` that name `vendor` (or, with `all_trees`, every tree)."""
        self.journal = journal
        self.vendor = vendor
        self.feeds = feeds
        self.takes_over = takes_over
        self.clock = clock
        self.ledger = Ledger(journal, vendor, all_trees=all_trees, takes_over=takes_over)
        self.name, self.fingerprint, self.dead = self.ledger.name, self.ledger.fingerprint, self.ledger.dead
        self.sender = Sender(vendor, http, self.ledger, backoff=backoff, clock=clock)
        self.due = DueTrees(feeds.folder)
        self.feedback = FeedbackSender(self.ledger, self.sender, feeds.folder, self.due, clock)
        self.trees = TreeSender(self.ledger, self.sender, feeds.folder, self.due, self.feedback)
        self.hear, self.has_settled = self.feedback.hear, self.ledger.has_settled
        self.feed: Feed | None = None
        self.idle = False
        """Whether nothing was due in the last round."""
        self.caught_up = False
        """True once everything recorded before this process started has been read, or while another process ships."""
        self._lock: Held | None = None
        self._wake = asyncio.Event()
        self._compacted = (clock(), 0)
        self._left_behind: dict[str, int] | None = None
        """Offsets to read on from, once this consumer has left the shared feed with a full queue."""
        self._is_astray = False
        """An offer failed, so trees may be missing: begin again from the cursor."""

    @property
    def cursor(self) -> Cursor | None:
        """The vendor's cursor, while this consumer ships."""
        return self.ledger.opened

    # -- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ship until cancelled. An error is logged once, and the round is tried again."""
        try:
            while True:
                try:
                    await self.step()
                except Exception as error:  # noqa: BLE001  (a consumer's boundary: its trouble is no other's)
                    diagnostics.failed(f"delivery to {self.vendor.name}", error, then="its events wait in the journal")
                    await asyncio.sleep(LOCK_SECONDS)
        finally:
            self.release()

    async def step(self) -> None:
        """Take the lock if it is free, then send due trees and feedback, or wait for a moment."""
        # The lock comes first: two processes that send would deliver twice, and write over each other's cursor.
        if not self.hold():
            self.idle, self.caught_up = False, True
            pid = stalled_holder(self.journal.files, self.name)
            if pid is not None:
                self.ledger.warn_once("stalled", "waits for process %s, which ships to it and does not move", pid)
            await self._pause(LOCK_SECONDS)
            return
        # Read before sending, one stretch a round: the queue is bounded, so a long backlog is never all in memory.
        more = self._read()
        due = self.due.take(BATCH_EVENTS)
        if due:
            self.idle = False
            await self.trees.send(due)
        # Trees before feedback: feedback on a tree that is still due waits for a later round.
        feedback = self.feedback.due(self.feed, all_read=not more and not due) if self.feed is not None else []
        if feedback and self.feed is not None:
            self.idle = False
            await self.feedback.send(feedback, self.feed)
        if not due and not feedback and more:
            await asyncio.sleep(0)  # nothing for this vendor in that stretch: read the next one
        elif not feedback:
            if not due:
                self.idle = self.caught_up = True
            # The cursor moves only between rounds, when nothing is being sent: all before its offsets is settled.
            self._tidy()
            if not due:
                await self._pause(POLL_SECONDS)

    def serve(self, vendor: Vendor) -> None:
        """Go on with other settings of the same destination."""
        self.vendor = self.ledger.vendor = self.sender.vendor = vendor
        self.ledger.keeps = judge_of(vendor.keep)

    def wake(self) -> None:
        """End the pause (called in the loop's thread)."""
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):  # `wait_for` of Python 3.11 loses a cancellation that meets a wake
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    # -- the vendor's lock, the cursor and the feed -------------------------------------------------------------------

    def hold(self) -> bool:
        """Whether this consumer ships; takes the vendor's lock if it is free, and begins at the cursor's offsets."""
        if self._lock is not None and self.cursor is not None and self.cursor.is_gone():
            self.release()  # the journal's files were deleted meanwhile
        if self._is_astray:
            self._forget_offers()
        if self._lock is None:
            self._lock = self.journal.files.lock(f"{self.name}.lock")
        # The cursor is read only under the lock: until then another process writes it.
        if self._lock is not None and self.feed is None:
            cursor = self.ledger.open()
            # A replay also sends other vendors' trees, so it begins at the first line.
            start = ({}, {}) if self.ledger.all_trees else (cursor.offsets, cursor.damage)
            self.feed = self.feeds.subscribe(self, *start)
        return self._lock is not None

    def release(self) -> None:
        """Let another process ship, which begins at the cursor's offsets."""
        # The cursor is written, and the feed left, before the lock is given up.
        if self.cursor is not None and self.feed is not None:
            self._compact()
            if self in self.feed.subscribers:
                self.feed.subscribers.remove(self)
        self._forget_offers()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _forget_offers(self) -> None:
        """Forget the queue, the feedback and the feed: the next `hold` reads all of it again from the cursor."""
        self.due.clear()
        self.feedback.waiting.clear()
        self._left_behind, self._is_astray = None, False
        self.ledger.opened = self.feed = None

    def _read(self) -> bool:
        """Let the feed read on; True if there may be more to read at once."""
        assert self.feed is not None
        if self._left_behind is not None:
            if self.due:
                return True  # the queue is sent first
            damage = self.feed.scan.damage(self._left_behind)
            self.feed, self._left_behind = self.feeds.make(self._left_behind, damage), None
            self.feed.subscribers.append(self)
        more = self.feed.read()
        if not more and self.feed is not self.feeds.shared:
            self.feed = self.feeds.join(self, self.feed)
        return more

    # -- called by the feed -------------------------------------------------------------------------------------------

    def offer(self, tree: LoggedTree) -> None:
        """Queue a due tree, if it is for this vendor, without the lines that were sent before.

        Raises:
            OSError: the disk refuses to read.
        """
        has_settled = self.ledger.has_settled(tree.id)
        if not (self.ledger.is_for_us(tree) or (tree.vendors is None and has_settled)) or self.due.join(tree):
            return
        part = part_beyond(self.journal, tree, self.ledger.settled_of(tree))
        if part is None:
            return
        if part.late and part.root_opened and not has_settled:
            part.late = False  # only parts of it were sent before, apart
        if has_settled and not part.late:
            part = replace(part, late=True, takers=0, kept=None)  # consumers to whom it is new share the whole tree
        part.takers += part is tree
        self.due.append(part)

    def fall_behind(self, offsets: Mapping[str, int] | None) -> None:
        """Leave the shared feed: read alone from these offsets once the queue is empty, or at once from the cursor."""
        if offsets is None:
            self._is_astray = True
        else:
            self._left_behind = dict(offsets)

    @property
    def is_full(self) -> bool:
        """Whether no more trees may wait in memory."""
        return self.due.is_full

    # -- progress -----------------------------------------------------------------------------------------------------

    @property
    def growing(self) -> bool:
        """Whether a tree is only waiting for its grace to end."""
        return self.feed is not None and any(tree.is_ending for tree in self.feed.growing.values())

    def is_through_with(self, process: str) -> bool:
        """Whether no finished tree and no feedback of a process waits to be sent."""
        feed = self.feed
        if feed is None or self._left_behind is not None or not feed.scan.has_read(process):
            return False
        logs = {log for log in self.journal.all_logs() if process_of(log) == process}
        if not logs:
            return True
        growing = (tree for tree in feed.growing.values() if tree.is_ending)
        waiting = chain(self.trees.on_the_way, self.due, growing)
        return all(tree.places.keys().isdisjoint(logs) for tree in waiting) and all(
            feedback.log not in logs for feedback in self.feedback.waiting.values()
        )

    def offsets(self) -> dict[str, int]:
        """Log → the oldest unsettled line: of a growing, due or just sent tree, or of feedback."""
        assert self.feed is not None
        low = dict(self._left_behind) if self._left_behind is not None else self.feed.offsets()
        lower(low, (*self.due, *self.trees.on_the_way))
        for feedback in self.feedback.waiting.values():
            low[feedback.log] = min(feedback.offset, low.get(feedback.log, feedback.offset))
        return low

    def _tidy(self) -> None:
        """Write refused lines again; now and then rewrite the cursor; unpark a completed takeover."""
        cursor = self.ledger.cursor
        cursor.persist()
        self.dead.persist()
        now = self.clock()
        settled = len(cursor.settled)
        if settled - self._compacted[1] > COMPACT_TREES and now - self._compacted[0] > COMPACT_SECONDS:
            self._compact()
        if self.takes_over is not None and self.idle and not self.growing:
            cursor.park(None)

    def _compact(self) -> None:
        cursor = self.ledger.cursor
        # After a failed offer the offsets may be behind a tree that was not offered, and would settle it unsent.
        if self._is_astray or (len(cursor.settled) == self._compacted[1] and not cursor.held):
            return
        try:
            offsets = self.offsets()
            damage = self.feed.scan.damage(offsets) if self.feed is not None else {}
            cursor.advance(offsets, damage, is_replay=self.ledger.all_trees)
        except OSError:
            return  # the old file says the same
        self._compacted = (self.clock(), len(cursor.settled))
