"""The logs, read once for all consumers: a due tree is folded and priced once, whatever the number of vendors.

    scan ──entries──▶ growing trees ──due──▶ offered to each consumer ──fold (the first asks, all share)──▶ encode

A consumer that is level with the others subscribes to the shared feed. One that got its vendor's lock later, or whose
vendor was away for long, has a feed of its own from its cursor on, until it is level again. So no other consumer waits
for it, and its unsent trees are not kept in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from eventtree import diagnostics, record
from eventtree.event import EventTree
from eventtree.journal.journal import Journal
from eventtree.journal.scan import Entry, Scan
from eventtree.journal.trees import PINNED_BYTES, KeptLines, LoggedTree, find_trees, load
from eventtree.pace import let_go, paced
from eventtree.record import FEEDBACK, Refs
from eventtree.tree.builder import TreeBuilder
from eventtree.tree.events import Pricing

GRACE_SECONDS = 2.0
"""A tree whose root has closed waits this long for children that are still open."""
RECENT_TREES = 10_000
"""Trees offered last that are remembered: a later line of such a tree makes a late part."""
SHARED_BYTES = 16 * 1024 * 1024
"""Size of the logged trees whose folded form is kept for consumers that have not taken it. Beyond it the oldest are
forgotten, and folded again when needed.
"""
READ_TRIES = 10
"""Tries to read a tree that the disk refuses, a second apart, before it counts as damaged."""
AGED_SECONDS = 60.0
"""Interval at which all growing trees are checked for their age."""
IDLE_SECONDS = 0.2
"""Pause after a reading that found nothing, unless this process has recorded something since."""


@dataclass(slots=True)
class PendingFeedback:
    """A feedback that is not settled: the place of its record, and the event or tree it is on."""

    key: str
    about: str
    """The id of the event or tree it is on."""
    tree: str
    vendors: Refs | None
    """None if the recording process did not know the run: delivery searches the journal for it."""
    log: str
    offset: int
    length: int
    since: float

    @property
    def end(self) -> int:
        """The end of its record."""
        return self.offset + self.length


class Subscriber(Protocol):
    """The methods of a consumer that its feed calls."""

    def offer(self, tree: LoggedTree) -> None:
        """Take a due tree."""

    def hear(self, feedback: PendingFeedback) -> None:
        """Take a feedback."""

    def has_settled(self, tree_id: str) -> bool:
        """Whether a tree with this id was sent to this vendor before."""

    def fall_behind(self, offsets: Mapping[str, int] | None) -> None:
        """Leave the feed and read alone: from these offsets, or (None) from the cursor."""

    @property
    def is_full(self) -> bool:
        """Whether no more trees may wait in memory."""


@dataclass(slots=True)
class Folded:
    """A tree of the readable records, and the number of lost events by reason."""

    tree: EventTree | None
    lost: Counter[str]


class Folder:
    """Folds logged trees, each once, and keeps the result until all consumers that need it have taken it."""

    def __init__(self, journal: Journal, pricing: Callable[[], Pricing | None], rest: Callable[[], None]) -> None:
        """Fold trees of `journal` with the current value of `pricing`; `rest` is called between records."""
        self.journal = journal
        self.pricing = pricing
        self.rest = rest
        self.lines = KeptLines(journal)
        """Lines that the feeds have read and that are not folded yet."""
        self._kept: dict[int, tuple[LoggedTree, Folded]] = {}
        """By the identity of the logged tree, which the entry keeps alive."""
        self._kept_bytes = 0
        self._unreadable: Counter[str] = Counter()

    def fold(self, logged: LoggedTree) -> Folded:
        """Fold a tree, or return its kept fold.

        Raises:
            OSError: the disk refuses to read; the tenth time the tree counts as damaged.
        """
        known = self._kept.get(id(logged))
        folded = known[1] if known is not None else self._built(logged, self._records(logged))
        logged.takers -= 1
        if logged.takers <= 0:
            self._drop(logged)
        elif known is None:
            self._keep(logged, folded)
        return folded

    def look(self) -> None:
        """Call before folding: forget all kept folds if trees were cleared since."""
        if self.lines.has_cleared():
            self._kept.clear()
            self._kept_bytes = 0

    def forget(self, trees: Iterable[LoggedTree]) -> None:
        """Remove a taker of each tree: that consumer does not need the fold after all."""
        for logged in trees:
            logged.takers -= 1
            if logged.takers <= 0:
                self._drop(logged)
                self.lines.drop(logged)

    async def find(self, ids: set[str]) -> dict[str, LoggedTree]:
        """Complete trees by their id or that of an event. It searches all logs, in another thread: for rare cases."""
        return await asyncio.to_thread(find_trees, self.journal, ids, self.rest) if ids else {}

    def _keep(self, logged: LoggedTree, folded: Folded) -> None:
        self._kept[id(logged)] = (logged, folded)
        self._kept_bytes += logged.size
        while self._kept_bytes > SHARED_BYTES:
            # The oldest waits for a consumer whose vendor is away, and must not use the others' memory.
            self._drop(next(iter(self._kept.values()))[0])

    def _drop(self, logged: LoggedTree) -> None:
        if self._kept.pop(id(logged), None) is not None:
            self._kept_bytes -= logged.size

    def _records(self, logged: LoggedTree) -> list[record.Record]:
        try:
            kept = self.lines.take(logged)
            records = record.decode_all(kept) if kept else list(load(self.journal, logged.lines))
            let_go(kept)
            return records
        except OSError:
            self._unreadable[logged.id] += 1
            if self._unreadable[logged.id] < READ_TRIES:
                raise
            return []  # after so many tries it counts as damaged

    def _built(self, logged: LoggedTree, records: list[record.Record]) -> Folded:
        """The boundary around folding and pricing: a tree for which they raise is `damaged`, the others are sent.

        Reading is outside of it, since a disk may be readable again later. A user's price function is inside: its
        OSError would come again.
        """
        try:
            return self._fold(logged, records)
        except Exception as error:  # noqa: BLE001  (the boundary around each tree: one must not stop the others)
            diagnostics.failed("reading a tree", error)
            return Folded(None, Counter(damaged=max(1, logged.events)))

    def _fold(self, logged: LoggedTree, records: list[record.Record]) -> Folded:
        builder = TreeBuilder.of(logged.id, records)
        if logged.is_part and any(record.SAME in entry for entry in records):
            # Recorded while the root ended: the texts they refer to are in the part that was sent.
            for whole in find_trees(self.journal, [logged.id], self.rest).values():
                builder.hold(load(self.journal, whole.lines))
        builder.needs_open = logged.late  # there, runs without an open were sent while they were open
        own = max(logged.events - logged.joined, 0 if logged.late else builder.stated_events)
        tree = builder.build(self.pricing(), part=logged.late or logged.is_apart)
        builder.let_go()
        let_go(records)
        lost = max(0, own + logged.joined_events - (len(tree.events) if tree is not None else 0))
        by_user = min(lost, len(builder.cleared))
        return Folded(tree, +Counter(by_user=by_user, damaged=lost - by_user) if lost else NONE_LOST)


NONE_LOST: Counter[str] = Counter()


class Feed:
    """Reads the logs from given offsets, and offers each due tree to its subscribers, oldest first."""

    def __init__(
        self,
        journal: Journal,
        offsets: Mapping[str, int],
        damage: Mapping[str, tuple[int, int]],
        *,
        lines: KeptLines | None = None,
        grace: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start at `offsets`, with the damage known before them.

        `lines` keeps the lines until their tree is folded.
        """
        self.journal = journal
        self.grace = grace
        self.clock = clock
        self.lines = KeptLines(journal) if lines is None else lines
        self.scan = Scan(journal, offsets, damage, clock=clock)
        self.subscribers: list[Subscriber] = []
        self.growing: dict[str, LoggedTree] = {}
        self.has_begun = False
        self._recent: dict[str, Refs | None] = {}
        """Trees offered last → the vendors they name."""
        self._ripening: dict[str, LoggedTree] = {}
        """The growing trees that only wait for their grace to end. The others are not polled."""
        self._gone = 0
        self._aged = clock()
        self._idle: tuple[float, int] = (float("-inf"), -1)
        """The last time nothing was found, and the number of records of this process by then."""

    def read(self) -> bool:
        """Read the new lines; True if there may be more to read at once.

        Raises:
            OSError: the disk refuses.
        """
        began, recorded = self.clock(), self.journal.appended
        if began - self._idle[0] < IDLE_SECONDS and recorded == self._idle[1]:
            return False
        self.has_begun = True
        # Full subscribers leave before a stretch is read, never in the middle of one.
        self._part_from_full()
        if not self._has_room():
            return True
        more = False
        for stretch in self.scan.read(self._has_room):
            more = True
            for entry in paced(stretch):
                try:
                    self._add(entry)
                except Exception as error:  # noqa: BLE001  (the boundary around each record)
                    diagnostics.failed("reading a record", error)
            self.lines.bound()
        # Only after reading: a line just read may be the one that a tree waits for.
        self._ripen(self.clock())
        if not more:
            self._idle = (began, recorded)
        return more

    def _part_from_full(self) -> None:
        """Let subscribers with a full queue leave and read alone, if others have room: these must not wait.

        This happens only between stretches of a log: no offset describes a stretch that is half offered.
        """
        full = [one for one in self.subscribers if one.is_full]
        if len(full) < len(self.subscribers):
            for one in full:
                self.subscribers.remove(one)
                one.fall_behind(self.offsets())

    def offsets(self) -> dict[str, int]:
        """Log → offset of the oldest record of a growing tree, else the offset up to which the log has been read."""
        low = self.scan.offsets()
        lower(low, self.growing.values())
        return low

    def _has_room(self) -> bool:
        return not any(one.is_full for one in self.subscribers)

    def _add(self, entry: Entry) -> None:
        kind, _, tree_id, _, _, length, payload = entry
        if kind == FEEDBACK:
            self._hear(entry)
            return
        tree = self.growing.get(tree_id)
        if tree is None:
            # A tree that one vendor has settled may be new to another, which was away: each decides in `offer`.
            resumed = any(one.has_settled(tree_id) for one in self.subscribers)
            late, vendors = tree_id in self._recent, self._recent.get(tree_id)
            tree = LoggedTree(tree_id, late=late, is_resumed=resumed, since=self.clock(), vendors=vendors)
            self.growing[tree_id] = tree
            self.lines.begin(tree)
        tree.add(entry, self.clock)
        if tree.kept is not None:
            tree.kept.append(payload)
            self.lines.size += length
        if (tree.root_closed and tree.is_whole) or tree.dropped is not None or tree.size > PINNED_BYTES:
            self._hand_out(tree)
        elif tree.root_closed or tree.late or tree.is_resumed or tree.parts:
            self._grow(tree)

    def _grow(self, tree: LoggedTree) -> None:
        """Watch a tree that may become due without another record."""
        if tree.root_closed or tree.is_part or tree.is_apart:
            self._ripening[tree.id] = tree
        if tree.parts and not tree.root_closed:  # the run that just closed may be the last one of a living process
            self._hand_out_if_left(tree, self.clock())

    def _hear(self, entry: Entry) -> None:
        _, run_id, tree_id, log, offset, length, payload = entry
        given = record.decode(payload)
        key, vendors = str(given.get("key", "")), record.refs_of(given)
        feedback = PendingFeedback(key, run_id, tree_id, vendors, log, offset, length, since=self.clock())
        for one in self.subscribers:
            one.hear(feedback)

    def _ripen(self, now: float) -> None:
        """Offer the trees that have waited long enough, or whose processes have died.

        Trees that need another record are not checked: thousands of open runs cost nothing while they wait.
        """
        for tree in list(self._ripening.values()):
            self._hand_out_if_due(tree, now)
        if len(self.scan.gone) != self._gone:
            self._gone = len(self.scan.gone)
            for tree in list(self.growing.values()):
                self._hand_out_if_left(tree, now)
        if now - self._aged >= AGED_SECONDS:
            self._aged = now
            for tree in list(self.growing.values()):
                self._hand_out_if_due(tree, now)

    def _hand_out_if_left(self, tree: LoggedTree, now: float) -> None:
        # The rest of a part alone may be in a log that was not read yet: it waits like a tree that has ended.
        if tree.is_left(self.scan.gone):
            tree.parts_open.clear()
            self._hand_out_if_due(tree, now) if tree.is_apart else self._hand_out(tree)

    def _hand_out_if_due(self, tree: LoggedTree, now: float) -> None:
        # A missing part may come from any process, also from one that is unknown here.
        read_until = self.scan.read_until(None if tree.lacks_parts else tree.processes)
        if tree.is_due(now, read_until, self.grace):
            self._hand_out(tree)

    def _hand_out(self, tree: LoggedTree) -> None:
        # First out of `growing`: from here on the queues of consumers that take it hold back the offsets.
        self.growing.pop(tree.id, None)
        self._ripening.pop(tree.id, None)
        # Recent before it is offered: every later record of it is a late part.
        self._recent.pop(tree.id, None)
        if not tree.is_apart:  # the next part of such a tree is sent by itself too
            self._recent[tree.id] = tree.vendors
        while len(self._recent) > RECENT_TREES:
            del self._recent[next(iter(self._recent))]
        for one in list(self.subscribers):
            try:
                one.offer(tree)
            except Exception as error:  # noqa: BLE001  (one consumer's trouble, with the disk say, is no other's)
                diagnostics.failed("offering a tree", error)
                self.subscribers.remove(one)
                one.fall_behind(None)
        if tree.takers <= 0:
            self.lines.drop(tree)  # no consumer will fold it


MakeFeed = Callable[[Mapping[str, int], Mapping[str, tuple[int, int]]], Feed]
"""From offsets and the damage known before them to a feed."""


class Feeds:
    """The feeds of one shipper: the shared one, which a consumer that was behind joins once it is level."""

    def __init__(self, journal: Journal, folder: Folder, make_feed: MakeFeed) -> None:
        """`make_feed` makes a feed that starts at given offsets."""
        self.journal = journal
        self.folder = folder
        self.make = make_feed
        self.shared: Feed | None = None

    @property
    def behind(self) -> int:
        """Records of this process that the shared feed has yet to read."""
        return self.journal.appended - (self.shared.scan.lines_read(self.journal.process) if self.shared else 0)

    def subscribe(
        self, consumer: Subscriber, offsets: Mapping[str, int], damage: Mapping[str, tuple[int, int]]
    ) -> Feed:
        """A feed from `offsets`: the shared one if it has not begun to read, else one for this consumer alone."""
        shared = self.shared
        if shared is None or not shared.subscribers:
            shared = self.shared = self.make(offsets, damage)
        elif shared.has_begun:
            shared = self.make(offsets, damage)
        else:
            shared.scan.begin_at(offsets, damage)
        shared.subscribers.append(consumer)
        return shared

    def join(self, consumer: Subscriber, own: Feed) -> Feed:
        """The shared feed, if the consumer's own feed has read as far; else its own.

        The same trees must be growing in both: a tree that the shared feed has offered would never reach the consumer,
        a tree that only its own feed has offered would reach it twice.
        """
        shared = self.shared
        if shared is None or not shared.subscribers:
            self.shared = own
            return own
        # Both read to the end of the same files, so that equal offsets mean the same lines.
        shared.read()
        own.read()
        if own.scan.offsets() != shared.scan.offsets() or own.growing.keys() != shared.growing.keys():
            return own
        own.subscribers.remove(consumer)
        shared.subscribers.append(consumer)
        return shared


def lower(low: dict[str, int], trees: Iterable[LoggedTree]) -> None:
    """Bring each log's offset in `low` down to the oldest line of these trees."""
    for tree in trees:
        for name, places in tree.places.items():
            if places[0] < low.get(name, 0):
                low[name] = places[0]
