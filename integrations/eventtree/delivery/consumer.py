"""One vendor's way from the journal to the wire. Whoever holds the vendor's lock ships for all processes.

    feed ──due trees──▶ fold ──▶ plan (encode, waves, groups) ──▶ sender ──▶ answers ──▶ cursor

An answer settles items one request at a time, so that after a crash at most the requests under way are sent again.
A tree is settled when all its items are.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from eventtree import diagnostics, record
from eventtree.delivery.dead_letters import DeadLetters
from eventtree.delivery.feed import Feed, Folder, PendingFeedback, lower
from eventtree.delivery.http import Http
from eventtree.delivery.retry import Backoff
from eventtree.delivery.sender import Sender
from eventtree.event import EventTree
from eventtree.journal.cursor import Cursor
from eventtree.journal.files import Held
from eventtree.journal.holder import beat, stalled_holder
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.trees import LoggedTree, find_trees, joined, load, part_beyond
from eventtree.serializer.packing import waves
from eventtree.serializer.requests import Item
from eventtree.serializer.serialize import plan
from eventtree.vendors import Vendor

BATCH_EVENTS = 500
"""Events taken at once: enough to fill a vendor's largest request."""
BATCH_FEEDBACK = 100
FEEDBACK_SECONDS = 2.0
"""How long feedback waits for a tree that has not been seen in the logs, while there is more to read."""
AHEAD_TREES = 2_000
AHEAD_RECORDS = 100_000
"""Due trees, and their records, that may wait to be taken: what bounds memory while a vendor is down."""
POLL_SECONDS = 0.25
LOCK_SECONDS = 1.0
"""How often to ask for a lock that another process holds."""
COMPACT_TREES = 500
"""Trees settled since the cursor was last rewritten, before it is again: so much each start and report reads anew."""
COMPACT_SECONDS = 5.0


@dataclass(slots=True)
class PendingTree:
    """A tree on its way: what its events are counted as once its items have been taken."""

    logged: LoggedTree
    events: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


MakeFeed = Callable[[Mapping[str, int], Mapping[str, tuple[int, int]]], Feed]
"""From offsets and the damage known before them to a feed."""


class Feeds:
    """The feeds of one shipper: the shared one, and how a consumer that was behind comes to it."""

    def __init__(self, journal: Journal, folder: Folder, make_feed: MakeFeed) -> None:
        """`make_feed` makes one that starts at given offsets."""
        self.journal = journal
        self.folder = folder
        self.make = make_feed
        self.shared: Feed | None = None

    def subscribe(self, consumer: Consumer, offsets: Mapping[str, int], damage: Mapping[str, tuple[int, int]]) -> Feed:
        """A feed from `offsets`: the shared one where it has not begun to read, else one of the consumer's own."""
        shared = self.shared
        if shared is None or not shared.subscribers:
            shared = self.shared = self.make(offsets, damage)
        elif shared.has_begun:
            shared = self.make(offsets, damage)
        else:
            shared.scan.begin_at(offsets, damage)
        shared.subscribers.append(consumer)
        return shared

    def join(self, consumer: Consumer, own: Feed) -> Feed:
        """The shared feed, once a consumer with a feed of its own has read as far; else that one still.

        The same trees must be growing in both: one that the shared feed has handed out would never reach the consumer,
        one that only its own feed has handed out would reach it twice.
        """
        shared = self.shared
        if shared is None or not shared.subscribers:
            self.shared = own
            return own
        shared.read()
        own.read()
        if own.scan.offsets() != shared.scan.offsets() or own.growing.keys() != shared.growing.keys():
            return own
        own.subscribers.remove(consumer)
        shared.subscribers.append(consumer)
        return shared


class Consumer:
    """Ships to one vendor. `run` is a task that never ends by itself; `step` is one round of it.

    `takes_over` is the name (`VENDOR.FINGERPRINT`) under whose settings trees were recorded that go out with these.
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
        self.all_trees = all_trees
        self.takes_over = takes_over
        self.clock = clock
        self.name = takes_over or f"{vendor.name}.{vendor.fingerprint(journal.salt)}"
        self.fingerprint = self.name.rsplit(".", 1)[1]
        self.dead = DeadLetters(journal.files, f"{self.name}.dead")
        self.sender = Sender(vendor, http, self, backoff=backoff, clock=clock)
        self.cursor: Cursor | None = None
        self.feed: Feed | None = None
        self.idle = False
        """Nothing was due at the last look."""
        self.caught_up = False
        """It has come, once, to the end of what there was; or another process has the lock, and sees to it."""
        self._lock: Held | None = None
        self._wake = asyncio.Event()
        self._compacted = (clock(), 0)
        self._due: deque[LoggedTree] = deque()
        self._queued: dict[str, LoggedTree] = {}
        """Those in `_due`, by id: what comes for them meanwhile goes with them."""
        self._due_records = 0
        self._on_the_way: list[LoggedTree] = []
        self._left_behind: dict[str, int] | None = None
        """Where to read on, since it has left the shared feed with a full queue."""
        self._is_astray = False
        """It does not know what it was offered: it begins again where its cursor stands."""
        self._feedback: dict[str, PendingFeedback] = {}
        """Feedback that waits, by its key: for its tree to go out, then to be taken."""
        self._refused: set[str] = set()
        """Keys of feedback that was refused while it is being sent."""

    # -- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ship until cancelled; whatever goes wrong is logged once and tried again."""
        try:
            while True:
                try:
                    await self.step()
                except Exception as error:  # noqa: BLE001  (a consumer's boundary: its trouble is no other's)
                    diagnostics.failed(f"delivery to {self.vendor.name}", error)
                    await asyncio.sleep(LOCK_SECONDS)
        finally:
            self.release()

    async def step(self) -> None:
        """Take the lock if it is free, then send what is due, or wait for a moment."""
        if not self.hold():
            self.idle, self.caught_up = False, True
            pid = stalled_holder(self.journal.files, self.name)
            if pid is not None:
                self.sender.warn_once("stalled", "waits for process %s, which ships to it and does not move", pid)
            await self._pause(LOCK_SECONDS)
            return
        more = self._read()
        due = self._take(BATCH_EVENTS)
        if due:
            self.idle = False
            await self._ship(due)
        # Feedback follows its tree: what is on trees that are still due waits for a later round.
        feedback = self._feedback_due(all_read=not more and not due)
        if feedback:
            self.idle = False
            await self._send_feedback(feedback)
        if not due and not feedback and more:
            await asyncio.sleep(0)
        elif not feedback:
            if not due:
                self.idle = self.caught_up = True
            self._tidy()
            if not due:
                await self._pause(POLL_SECONDS)

    def wake(self) -> None:
        """Look at once (called in the loop's thread)."""
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):  # `wait_for` of Python 3.11 loses a cancellation that meets a wake
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    # -- the vendor's lock, and what is read under it -----------------------------------------------------------------

    def hold(self) -> bool:
        """Whether this consumer ships; takes the vendor's lock if it is free, and begins where the cursor stands."""
        if self._lock is not None and self.cursor is not None and self.cursor.is_gone():
            self.release()  # somebody has deleted the journal's files while we were shipping
        if self._is_astray:
            self._forget_offers()
            self.cursor = self.feed = None
        if self._lock is None:
            self._lock = self.journal.files.lock(f"{self.name}.lock")
        if self._lock is not None and self.feed is None:
            self.cursor = Cursor(self.journal.files, f"{self.name}.cursor")
            self.cursor.take_over()
            if self.takes_over is not None:
                # Other settings may have other projects: they are asked for again.
                known = self.cursor.learned
                self.cursor.learned = {k: v for k, v in known.items() if self.vendor.lookup_of(k) is None}
            # A replay sends also what was recorded for others, wherever it stands.
            start = ({}, {}) if self.all_trees else (self.cursor.offsets, self.cursor.damage)
            self.feed = self.feeds.subscribe(self, *start)
        return self._lock is not None

    def beat(self) -> None:
        """Say, while this consumer ships, that its process moves.

        Raises:
            OSError: the disk refuses.
        """
        if self._lock is not None:
            beat(self.journal.files, self.name)

    def release(self) -> None:
        """Let another process ship; it begins behind all that is settled."""
        if self.cursor is not None and self.feed is not None:
            self._compact()
            if self in self.feed.subscribers:
                self.feed.subscribers.remove(self)
        self._forget_offers()
        self.cursor = self.feed = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _forget_offers(self) -> None:
        self.feeds.folder.forget(self._due)
        self._due.clear()
        self._queued.clear()
        self._feedback.clear()
        self._due_records, self._left_behind, self._is_astray = 0, None, False

    def _read(self) -> bool:
        """Have the feed read on; True if there may be more to read at once."""
        assert self.feed is not None
        if self._left_behind is not None:
            if self._due:
                return True  # first what is in the queue
            damage = self.feed.scan.damage(self._left_behind)
            self.feed, self._left_behind = self.feeds.make(self._left_behind, damage), None
            self.feed.subscribers.append(self)
        more = self.feed.read()
        if not more and self.feed is not self.feeds.shared:
            self.feed = self.feeds.join(self, self.feed)
        return more

    def offer(self, tree: LoggedTree) -> None:
        """Take a tree that is due, if it is for this vendor, less what has gone out before.

        Raises:
            OSError: the disk refuses to read.
        """
        has_settled = self.has_settled(tree.id)
        is_ours = self.all_trees or tree.names(self.vendor.name, self.fingerprint)
        if not (is_ours or (tree.vendors is None and has_settled)):
            return
        waiting = self._queued.get(tree.id)
        if waiting is not None:
            whole = joined(waiting, tree)
            self.feeds.folder.forget([waiting])
            self._due[self._due.index(waiting)] = self._queued[tree.id] = whole
            self._due_records += len(tree.lines)
            return
        part = part_beyond(self.journal, tree, partial(self._is_settled, tree))
        if part is None:
            return
        if has_settled and not part.late:
            part = replace(part, late=True, takers=0)  # the others, to whom it is new, share the whole
        part.takers += part is tree
        self._due.append(part)
        self._queued[part.id] = part
        self._due_records += len(part.lines)

    def fall_behind(self, offsets: Mapping[str, int] | None) -> None:
        """Read on by itself: from these offsets once its queue is empty, or at once from its cursor."""
        if offsets is None:
            self._is_astray = True
        else:
            self._left_behind = dict(offsets)

    def hear(self, feedback: PendingFeedback) -> None:
        """Take a feedback that may be for this vendor and is not settled."""
        ref = {"name": self.vendor.name, "fingerprint": self.fingerprint}
        is_mine = self.all_trees or feedback.vendors is None or ref in feedback.vendors
        if is_mine and not self._cursor.is_feedback_done(feedback.key, feedback.log, feedback.end):
            self._feedback[feedback.key] = feedback

    def has_settled(self, tree_id: str) -> bool:
        """Whether a tree of that id has gone out before."""
        return self.cursor is not None and tree_id in self.cursor.settled

    @property
    def is_full(self) -> bool:
        """Whether as much waits to be sent as may in memory."""
        return len(self._due) >= AHEAD_TREES or self._due_records >= AHEAD_RECORDS

    @property
    def growing(self) -> bool:
        """Whether a tree is only waiting for its grace to end."""
        return self.feed is not None and any(tree.root_closed for tree in self.feed.growing.values())

    def is_through_with(self, process: str) -> bool:
        """Whether nothing that this process has recorded, and finished, waits to be sent."""
        feed = self.feed
        if feed is None or self._left_behind is not None or not feed.scan.has_read(process):
            return False
        waiting = (*self._due, *self._on_the_way, *(t for t in feed.growing.values() if t.root_closed or t.late))
        return not any(process in tree.processes for tree in waiting) and not any(
            process_of(feedback.log) == process for feedback in self._feedback.values()
        )

    def _is_settled(self, tree: LoggedTree, log: str, end: int) -> bool:
        spans = self._cursor.settled.get(tree.id)
        if spans is not None:
            return end <= spans.get(log, 0)
        # Behind the offset all is settled, but for what was recorded for others: a replay may have sent it, or not.
        known = self._cursor.replayed if self._is_replay(tree) else self._cursor.offsets
        return end <= known.get(log, 0)

    def _is_replay(self, tree: LoggedTree) -> bool:
        return self.all_trees and not tree.names(self.vendor.name, self.fingerprint)

    def _take(self, events: int) -> list[LoggedTree]:
        """Trees that are due, up to about that many events."""
        taken: list[LoggedTree] = []
        while self._due and events > 0:
            tree = self._due.popleft()
            self._queued.pop(tree.id, None)
            self._due_records -= len(tree.lines)
            events -= max(1, tree.events)
            taken.append(tree)
        return taken

    def _put_back(self, trees: Iterable[LoggedTree], *, behind: bool = False) -> None:
        """Trees that could not be settled are due again, before all others or `behind` them."""
        for tree in trees if behind else reversed(list(trees)):
            waiting = self._queued.get(tree.id)
            if waiting is not None:
                self._due.remove(waiting)
                self._due_records -= len(waiting.lines)
                self.feeds.folder.forget([waiting])
                tree = joined(tree, waiting)
            (self._due.append if behind else self._due.appendleft)(tree)
            self._queued[tree.id] = tree
            self._due_records += len(tree.lines)

    def _tidy(self) -> None:
        """Bring to the disk what it refused; now and then rewrite the cursor; say that a takeover is complete."""
        cursor = self._cursor
        cursor.persist()
        self.dead.persist()
        now = self.clock()
        settled = len(cursor.settled)
        if settled - self._compacted[1] > COMPACT_TREES and now - self._compacted[0] > COMPACT_SECONDS:
            self._compact()
        if self.takes_over is not None and self.idle and not self.growing:
            cursor.park(None)

    def _compact(self) -> None:
        cursor = self._cursor
        if self._is_astray or (len(cursor.settled) == self._compacted[1] and not cursor.held):
            return
        try:
            offsets = self._offsets()
            damage = self.feed.scan.damage(offsets) if self.feed is not None else {}
            cursor.advance(offsets, damage, is_replay=self.all_trees)
        except OSError:
            return  # the file as it is says the same
        self._compacted = (self.clock(), len(cursor.settled))

    def _offsets(self) -> dict[str, int]:
        """Log → the oldest line of what is not settled: growing, due, on its way, or feedback."""
        assert self.feed is not None
        low = dict(self._left_behind) if self._left_behind is not None else self.feed.offsets()
        lower(low, (*self._due, *self._on_the_way))
        for feedback in self._feedback.values():
            low[feedback.log] = min(feedback.offset, low.get(feedback.log, feedback.offset))
        return low

    @property
    def _cursor(self) -> Cursor:
        assert self.cursor is not None
        return self.cursor

    # -- from trees to answers --------------------------------------------------------------------------------------

    async def _ship(self, due: list[LoggedTree]) -> None:
        """Fold, plan and send trees; settle those of which nothing is left to send."""
        self._on_the_way = due
        try:
            ended_late = {tree.id for tree in due if tree.late and tree.ended and self.vendor.accepts_updates}
            whole = await self._find(ended_late)
            pending = {tree.id: PendingTree(tree) for tree in due}
            updates = [item for tree in due if tree.id in whole for item in self._updates(tree, whole[tree.id])]
            planned = plan(
                self._trees(pending), self.vendor, more=updates, is_wanted=lambda item: self._is_left(item, pending)
            )
            for tree_id, error in planned.failed.items():
                self._bury_tree(pending[tree_id], error)
            for tree_id, dropped in planned.dropped:
                pending[tree_id].dropped.update(dropped.values())
            stuck = await self.sender.send(planned.waves)
            for tree_id, one in pending.items():
                if tree_id not in stuck:
                    self._settle(one)
            self._on_the_way = []
            self._put_back((one.logged for tree_id, one in pending.items() if tree_id in stuck), behind=True)
        except BaseException:
            if self.cursor is not None:
                left = [tree for tree in due if not self.cursor.is_settled(tree.id, tree.spans)]
                self._put_back(left)
            raise
        finally:
            self._on_the_way = []

    def _trees(self, pending: Mapping[str, PendingTree]) -> Iterator[EventTree]:
        """The trees, folded; what is lost or dropped of each is noted on the way."""
        for one in pending.values():
            logged = one.logged
            if logged.dropped is not None or (logged.late and not self.vendor.accepts_updates):
                one.events, reason = logged.dropped or (logged.events, "late")
                one.dropped[reason] += one.events
                self.feeds.folder.forget([logged])
            else:
                folded = self.feeds.folder.fold(logged)
                one.dropped += folded.lost
                one.events = folded.lost.total() + (len(folded.tree.events) if folded.tree is not None else 0)
                if folded.tree is not None:
                    yield folded.tree
            self.feeds.folder.rest()

    def _is_left(self, item: Item, pending: Mapping[str, PendingTree]) -> bool:
        """Whether an item has yet to be sent. Of a late part, what counts for no event went out with the tree."""
        is_part = pending[item.tree_id].logged.late
        return item.key not in self._cursor.partly.get(item.tree_id, ()) and bool(item.event_ids or not is_part)

    def _updates(self, late: LoggedTree, whole: LoggedTree) -> list[Item]:
        """Of a late part: items for what ended here, and had gone out before that."""
        try:
            tree = self.feeds.folder.fold(whole).tree
            items = () if tree is None else self.vendor.encode_update(tree, late.ended)
        except Exception as error:  # noqa: BLE001  (the boundary around each tree: one must not stop the others)
            diagnostics.failed(f"encoding for {self.vendor.name}", error)
            return []
        done = self._cursor.partly.get(late.id, ())
        return [item for item in items if item.key not in done]

    def _bury_tree(self, one: PendingTree, error: BaseException) -> None:
        words = f"eventtree could not encode this tree: {type(error).__name__}"
        tree = self.feeds.folder.fold(one.logged).tree
        ids = tuple(event.id for event in tree.events) if tree is not None else ()
        self.refused((Item(one.logged.id, one.logged.id, ids, next(iter(self.vendor.routes)), b"null"),), None, words)

    def _settle(self, one: PendingTree) -> None:
        is_replay = self._is_replay(one.logged)
        self._cursor.settle(one.logged.id, one.events, one.dropped, one.logged.spans, is_replay=is_replay)
        for reason in one.dropped:
            hint = self.vendor.drop_hints.get(reason)
            if hint is not None:
                self.sender.warn_once(reason, f"takes no tree with reason {reason}. %s", hint)

    async def _find(self, ids: set[str]) -> dict[str, LoggedTree]:
        """Whole trees by the id of an event or their own, looked for in all logs: off the loop, for what is rare."""
        return await asyncio.to_thread(find_trees, self.journal, ids, self.feeds.folder.rest) if ids else {}

    # -- what the sender tells ----------------------------------------------------------------------------------------

    @property
    def learned(self) -> Mapping[str, str]:
        """What replies taught, by name."""
        return self._cursor.learned

    def learn(self, values: Mapping[str, str]) -> None:
        """Remember what a reply taught."""
        self._cursor.learn(values)

    def unlearn(self, names: Iterable[str]) -> None:
        """Forget what the vendor does not know any more."""
        self._cursor.unlearn(names)

    def park(self, why: str | None) -> None:
        """Keep why the vendor takes nothing. What takes over stays parked until all has gone out, for a next start."""
        if why is not None or self.takes_over is None:
            self._cursor.park(why)

    def taken(self, items: Sequence[Item]) -> None:
        """The vendor has these: they need never be sent again."""
        self._acknowledge(items, dead=False)

    def refused(self, items: Sequence[Item], status: int | None, words: str) -> None:
        """The vendor will never take these: keep them as dead letters, with its words."""
        self.dead.add(items, status, words)
        self._refused.update(item.key for item in items if not item.event_ids)
        self._acknowledge(items, dead=True)
        self.sender.warn_once(
            "dead", "refused an event (%s); `eventtree report` counts them, the journal keeps them", status
        )

    def _acknowledge(self, items: Sequence[Item], *, dead: bool) -> None:
        per_tree: dict[str, tuple[list[str], int, int]] = {}
        for item in items:
            keys, delivered, lost = per_tree.get(item.tree_id, ([], 0, 0))
            count = len(item.event_ids)
            per_tree[item.tree_id] = ([*keys, item.key], delivered + (not dead) * count, lost + dead * count)
        if per_tree:
            self._cursor.ack(per_tree)

    # -- feedback: once its tree has gone out ---------------------------------------------------------------------

    def _feedback_due(self, *, all_read: bool) -> list[PendingFeedback]:
        """Feedback whose tree has gone out (or will not: it is not in the logs), oldest first."""
        if not self._feedback or self.feed is None:
            return []
        now = self.clock()
        busy = self.feed.growing.keys() | self._queued.keys()
        return [
            one
            for one in self._feedback.values()
            if not {one.tree, one.about} & busy
            and (all_read or self.has_settled(one.tree) or now - one.since >= FEEDBACK_SECONDS)
        ][:BATCH_FEEDBACK]

    async def _send_feedback(self, due: Sequence[PendingFeedback]) -> None:
        """Hand feedback to the vendor, that on one tree in order; it counts for itself, never for events."""
        trees = await self._find({one.about for one in due} | {one.tree for one in due})
        turns: Counter[str] = Counter()
        planned: list[tuple[PendingFeedback, str, list[Item], str]] = []
        for one in due:
            logged = trees.get(one.about) or trees.get(one.tree)
            if logged is not None and self._put_off(one, logged):
                continue
            if one.vendors is None and logged is not None and not self._is_for_us(logged):
                self._feedback.pop(one.key, None)  # its tree goes elsewhere
                continue
            tree_id = logged.id if logged is not None else one.tree
            items, fate = self._feedback_items(one, tree_id, logged)
            planned.append((one, tree_id, [replace(item, wave=turns[tree_id]) for item in items], fate))
            turns[tree_id] += 1
        stuck = await self.sender.send(waves((item for _, _, items, _ in planned for item in items), self.vendor))
        for one, tree_id, items, fate in planned:
            if tree_id in stuck:
                one.since = self.clock()
                continue
            dead = any(item.key in self._refused for item in items)
            self._cursor.settle_feedback(one.key, tree_id, one.log, one.end, "dead" if dead else fate)
            self._feedback.pop(one.key, None)
        self._refused.clear()

    def _is_for_us(self, tree: LoggedTree) -> bool:
        return self.all_trees or tree.names(self.vendor.name, self.fingerprint)

    def _put_off(self, one: PendingFeedback, tree: LoggedTree) -> bool:
        """Whether the tree goes on where the logs have not been read yet, or has yet to go out: looked at later."""
        read = self.feed.scan.offsets() if self.feed is not None else {}
        is_ahead = any(end > read.get(log, end) for log, end in tree.spans.items())
        busy = self._queued.keys() | (self.feed.growing.keys() if self.feed is not None else set())
        if is_ahead or tree.id in busy:
            one.since = self.clock()
            return True
        return False

    def _feedback_items(self, one: PendingFeedback, tree_id: str, logged: LoggedTree | None) -> tuple[list[Item], str]:
        """What is left to send of a feedback, and what it counts as once that is taken."""
        entry = next(load(self.journal, [(one.log, one.offset, one.length)]), None)
        if entry is None or entry["r"] != record.FEEDBACK:
            return [], "by_user"  # it has been cleared
        if one.vendors is None and (logged is None or logged.dropped is not None):
            return [], "unknown_id"
        try:
            tree = self.feeds.folder.fold(logged).tree if logged is not None else None
            encoded = self.vendor.encode_feedback(
                {**entry, "tree": tree_id, "key": one.key}, tree, self._cursor.learned
            )
        except Exception as error:  # noqa: BLE001  (one that a vendor chokes on must not stop the others)
            diagnostics.failed(f"encoding feedback for {self.vendor.name}", error)
            return [], "dead"
        if not encoded.items:
            return [], encoded.dropped.get(one.key, "no_place")
        done = self._cursor.partly.get(tree_id, ())
        return [item for item in encoded.items if item.key not in done], "delivered"
