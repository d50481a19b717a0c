"""One vendor's way from the journal to the wire. Whoever holds the vendor's lock ships for all processes.

    index ──due trees──▶ fold ──▶ encode ──items, by wave──▶ requests ──▶ answers ──▶ cursor

An answer settles items one request at a time, so that after a crash at most the requests under way are sent again.
A tree is settled when all its items are.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pydantic_core

from eventtree import diagnostics, record
from eventtree.content import known_secrets, masking
from eventtree.delivery.dead_letters import WORDS, DeadLetters
from eventtree.delivery.http import Http, Reply, UnansweredError
from eventtree.delivery.retry import Act, Backoff, Circuit, Parked, act_of, retry_after
from eventtree.delivery.split import halves, truncate_item
from eventtree.delivery.throttle import Throttle
from eventtree.errors import RequestError
from eventtree.event import EventTree
from eventtree.journal.backlog import GRACE_SECONDS, Backlog, LoggedTree, PendingFeedback, Refs, find_trees
from eventtree.journal.cursor import COMPACT_TREES, Cursor
from eventtree.journal.files import Held
from eventtree.journal.journal import Journal
from eventtree.serializer.serialize import fill, names_in, pack, request, waves
from eventtree.tree.builder import Pricing, TreeBuilder
from eventtree.vendors import Encoded, Item, Lookup, Request, Vendor, Verdict

BATCH_FEEDBACK = 100
BATCH_EVENTS = 500
"""Events taken at once: enough to fill a vendor's largest request."""
POLL_SECONDS = 0.25
LOCK_SECONDS = 1.0
"""How often to ask for a lock that another process holds."""
COMPACT_SECONDS = 60.0
CUT_OFF_TRIES = 3
LOOKED_AT = 1 << 16
"""Bytes of a vendor's words that are searched for its key."""
LARGE_BYTES = 512 * 1024
"""A request larger than this that is cut off so often is halved."""
SHORTEST_WAIT = 0.01
READ_TRIES = 10
"""How often, a second apart, to try to read a tree that the disk refuses to read, before it counts as damaged."""
LONE_TRIES = 3
"""How often one event that a vendor leaves out of a partial success is sent before it is a dead letter."""


OWN_NAME = ":"
"""Stands in names of lookups that hold a value of a tree's own (`{kind:VALUE}`)."""


class _RefusedNameError(Exception):
    """A vendor refuses what a tree itself names (its experiment): no setting of ours can hint that."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


@dataclass(slots=True)
class _Parcel:
    """A tree on its way: what is left to send, and what will never be."""

    ranges: LoggedTree
    events: int
    items: list[Item] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


class Consumer:
    """Ships to one vendor. `run` is a task that never ends by itself; `step` is one round of it."""

    is_own = True
    """It ships what was recorded for these very settings of the vendor."""

    def __init__(
        self,
        journal: Journal,
        vendor: Vendor,
        http: Http,
        *,
        pricing: Pricing | None = None,
        all_trees: bool = False,
        grace: float = GRACE_SECONDS,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ship trees of `journal` that name `vendor` (or, with `all_trees`, every tree)."""
        self.clock = clock
        self.journal = journal
        self.vendor = vendor
        self.fingerprint = vendor.fingerprint(journal.salt)
        self.name = f"{vendor.name}.{self.fingerprint}"
        self.pricing = pricing
        self.all_trees = all_trees
        self.grace = grace
        self.http = http
        self.backoff = backoff or Backoff()
        self.circuit = Circuit()
        self.throttle = Throttle(lambda: journal.appended)
        self._mask = masking(vendor.api_key.get_secret_value())
        self._unsaid = known_secrets()
        self.dead = DeadLetters(journal.files, f"{self.name}.dead")
        self.cursor: Cursor | None = None
        self.index: Backlog | None = None
        self.idle = False
        """Nothing was due at the last look."""
        self.caught_up = False
        """It has come, once, to the end of what there was; or another process has the lock, and sees to it."""
        self.parked: Parked | None = None
        self.unverified = 0
        self.requests = 0
        self._lock: Held | None = None
        self._wake = asyncio.Event()
        self._compacted = clock()
        self._said: set[str] = set()
        self._buried: set[str] = set()
        """Keys of feedback that was refused while it is being told."""
        self._looking = asyncio.Lock()
        self.trouble: str | None = None
        """Why the last request got no answer that settles it."""
        self._unreadable: Counter[str] = Counter()
        """Tree → how often the disk has refused to read it."""

    # -- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ship until cancelled; whatever goes wrong is logged once and tried again."""
        try:
            while True:
                try:
                    await self.step()
                except Exception as error:  # noqa: BLE001  (a consumer's boundary: one vendor's trouble is no other's)
                    diagnostics.failed(f"delivery to {self.vendor.name}", error)
                    await asyncio.sleep(LOCK_SECONDS)
        finally:
            self.release()

    async def step(self) -> None:
        """Take the lock if it is free, then send what is due, or wait for a moment."""
        if not self._hold():
            self.idle, self.caught_up = False, True
            await self._pause(LOCK_SECONDS)
            return
        index = self._reading()
        more = index.read()
        due = index.take(BATCH_EVENTS)
        if due:
            self.idle = False
            try:
                await self._ship(due)
            except BaseException:
                index.put_back(ranges for ranges in due if not self._cursor.is_settled(ranges.id, ranges.spans))
                raise
        said = index.take_feedback(BATCH_FEEDBACK, caught_up=not more and not due)
        if said:
            self.idle = False
            await self._tell(said)
        elif due:
            self._tidy(index)
        elif not more:
            self.idle = self.caught_up = True
            self._tidy(index)
            await self._pause(POLL_SECONDS)
        else:
            await asyncio.sleep(0)

    @property
    def growing(self) -> bool:
        """Whether a tree is only waiting for its grace to end."""
        return self.index is not None and any(tree.root_closed for tree in self.index.growing.values())

    def wake(self) -> None:
        """Look at once (called in the loop's thread)."""
        self._wake.set()

    def release(self) -> None:
        """Let another process ship."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):  # `wait_for` of Python 3.11 loses a cancellation that meets a wake
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _hold(self) -> bool:
        if self._lock is not None and self._is_gone():
            self.release()
        if self._lock is None:
            self._lock = self.journal.files.lock(f"{self.name}.lock")
            self.cursor = self.index = None
        return self._lock is not None

    def _is_gone(self) -> bool:
        """Somebody has deleted the journal's files while we were shipping."""
        return self.cursor is not None and self.cursor.is_gone()

    def _reading(self) -> Backlog:
        if self.index is None or self.cursor is None:
            self.cursor = Cursor(self.journal.files, f"{self.name}.cursor")
            self.cursor.take_over()
            self.index = Backlog(
                self.journal, self.cursor, self._is_mine, grace=self.grace, clock=self.clock, on_line=self.throttle
            )
        return self.index

    def _is_mine(self, refs: Refs | None) -> bool:
        if self.all_trees:
            return True
        return {"name": self.vendor.name, "fingerprint": self.fingerprint} in (refs or [])

    def _tidy(self, index: Backlog) -> None:
        cursor = self._cursor
        cursor.persist()
        self.dead.persist()
        now = self.clock()
        if len(cursor.settled) > COMPACT_TREES and now - self._compacted > COMPACT_SECONDS:
            self._compacted = now
            cursor.advance(index.offsets())

    @property
    def _cursor(self) -> Cursor:
        assert self.cursor is not None
        return self.cursor

    # -- from trees to items ----------------------------------------------------------------------------------------

    async def _ship(self, due: Sequence[LoggedTree]) -> None:
        wanted = {ranges.id for ranges in due if ranges.late and ranges.ended and self.vendor.accepts_updates}
        whole = await asyncio.to_thread(find_trees, self.journal, wanted, self.throttle) if wanted else {}
        parcels = [self._parcel(ranges, whole.get(ranges.id)) for ranges in due]
        for wave in waves(item for parcel in parcels for item in parcel.items):
            await self._send_wave(wave)
        for parcel in parcels:
            self._cursor.settle(parcel.ranges.id, parcel.events, parcel.dropped, parcel.ranges.spans)

    def _parcel(self, ranges: LoggedTree, whole: LoggedTree | None) -> _Parcel:
        parcel = self._what_opened(ranges)
        if whole is not None:
            parcel.items += self._endings(ranges, whole)
        return parcel

    def _endings(self, ranges: LoggedTree, whole: LoggedTree) -> list[Item]:
        """Of a late part: what ended here, and had gone out before that."""
        try:
            tree = self._tree(whole)[0]
            items = () if tree is None else self.vendor.encode_update(tree, ranges.ended)
        except Exception as error:  # noqa: BLE001  (a tree that one vendor chokes on must not stop the others)
            diagnostics.failed(f"encoding for {self.vendor.name}", error)
            return []
        done = self._cursor.partly.get(ranges.id, set())
        return [item for item in items if item.key not in done]

    def _what_opened(self, ranges: LoggedTree) -> _Parcel:
        if ranges.dropped is not None:
            events, reason = ranges.dropped
            return _Parcel(ranges, events, dropped=Counter({reason: events}))
        if ranges.late and not self.vendor.accepts_updates:
            return _Parcel(ranges, ranges.events, dropped=Counter(late=ranges.events))
        try:
            tree, lost = self._tree(ranges)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # Records that make no tree: they must not stop the others.
            diagnostics.failed(f"reading a tree for {self.vendor.name}", error)
            tree, lost = None, Counter(damaged=ranges.events)
        if tree is None:
            return _Parcel(ranges, lost.total(), dropped=lost)
        encoded = self._encoded(tree)
        parcel = _Parcel(ranges, len(tree.events) + lost.total(), dropped=lost + Counter(encoded.dropped.values()))
        done = self._cursor.partly.get(tree.id, set())
        parcel.items = [item for item in encoded.items if item.key not in done and (item.event_ids or not ranges.late)]
        for reason in parcel.dropped:
            self._say_drop(reason)
        self.throttle()
        return parcel

    def _tree(self, ranges: LoggedTree) -> tuple[EventTree | None, Counter[str]]:
        """The tree as far as it can be read, and its events that cannot: cleared meanwhile, or damaged."""
        builder = TreeBuilder(ranges.id)
        events, is_cleared = ranges.events, False
        records = self._records(ranges)
        if ranges.late:
            # What closes late has gone out as it was, and cannot be told again without its start.
            opened = {entry["id"] for entry in records if entry["r"] == record.OPEN}
            records = [entry for entry in records if entry["id"] in opened]
        for entry in records:
            builder.add(entry)
            is_cleared = is_cleared or entry["r"] in (record.GONE, record.DROP)
            if entry["r"] == record.CLOSE and entry["id"] == ranges.id and not ranges.late:
                events = max(events, entry.get("events", 0))
            self.throttle()
        tree = builder.build(self.pricing, part=ranges.late)
        lost = max(0, events - (len(tree.events) if tree is not None else 0))
        return tree, Counter({"by_user" if is_cleared else "damaged": lost} if lost else {})

    def _records(self, ranges: LoggedTree) -> list[record.Record]:
        assert self.index is not None
        try:
            return list(self.index.load(ranges))
        except OSError:
            self._unreadable[ranges.id] += 1
            if self._unreadable[ranges.id] < READ_TRIES:
                raise
            return []  # what the disk will not read again and again is damaged

    def _encoded(self, tree: EventTree) -> Encoded:
        try:
            return self.vendor.encode(tree)
        except Exception as error:  # noqa: BLE001  (a tree that one vendor chokes on must not stop the others)
            diagnostics.failed(f"encoding for {self.vendor.name}", error)
            words = f"eventtree could not encode this tree: {type(error).__name__}"
            ids = tuple(event.id for event in tree.events)
            self._bury((Item(tree.id, tree.id, ids, next(iter(self.vendor.routes)), b"null"),), None, words)
            return Encoded(())

    def _say_drop(self, reason: str) -> None:
        hint = self.vendor.drop_hints.get(reason)
        if hint is not None and reason not in self._said:
            self._said.add(reason)
            diagnostics.logger.warning("%s takes no tree with reason %s. %s", self.vendor.name, reason, hint)

    # -- feedback: once its tree has gone out ---------------------------------------------------------------------

    async def _tell(self, said: Sequence[PendingFeedback]) -> None:
        """Hand feedback to the vendor, that on one tree in order; it counts for itself, never for events."""
        index, cursor = self._reading(), self._cursor
        trees = await asyncio.to_thread(find_trees, self.journal, {one.tree for one in said}, self.throttle)
        said = [one for one in said if not index.put_off(one, trees.get(one.tree))]
        turns: Counter[str] = Counter()
        told: list[tuple[PendingFeedback, list[Item], str]] = []
        for one in said:
            items, fate = self._feedback_items(one, trees.get(one.tree))
            told.append((one, [replace(item, wave=turns[one.tree]) for item in items], fate))
            turns[one.tree] += 1
        for wave in waves(item for _, items, _ in told for item in items):
            await self._send_wave(wave)
        for one, items, fate in told:
            dead = any(item.key in self._buried for item in items)
            cursor.settle_feedback(one.key, one.tree, one.log, one.end, "dead" if dead else fate)
            index.said.pop(one.key, None)
        self._buried.clear()

    def _feedback_items(self, said: PendingFeedback, ranges: LoggedTree | None) -> tuple[list[Item], str]:
        """What is left to send of a feedback, and what it counts as once that is taken."""
        entry = self._reading().hear(said)
        if entry is None:
            return [], "by_user"
        try:
            tree = self._tree(ranges)[0] if ranges is not None else None
            encoded = self.vendor.encode_feedback(entry, tree, self._cursor.learned)
        except Exception as error:  # noqa: BLE001  (one that a vendor chokes on must not stop the others)
            diagnostics.failed(f"encoding feedback for {self.vendor.name}", error)
            return [], "dead"
        if not encoded.items:
            return [], encoded.dropped.get(said.key, "no_place")
        done = self._cursor.partly.get(said.tree, set())
        return [item for item in encoded.items if item.key not in done], "delivered"

    # -- from items to answers --------------------------------------------------------------------------------------

    async def _send_wave(self, wave: Sequence[Item]) -> None:
        room = asyncio.Semaphore(self.vendor.concurrency)

        async def one(made: Request) -> None:
            async with room:
                await self._settle_items(made.items)

        # gather, not TaskGroup: a consumer that is cancelled lets each request end or be cut by itself.
        await asyncio.gather(*(one(made) for made in pack(wave, self.vendor)))

    async def _settle_items(self, items: tuple[Item, ...]) -> None:
        """Send items until each is delivered or dead."""
        work = deque([items])
        lone_tries: Counter[str] = Counter()
        while work:
            part = self._fitting(work.popleft())
            made = request(part, self.vendor)
            try:
                act, reply, verdict = await self._answer(made)
            except UnansweredError:
                work.extendleft(reversed(halves(part)))
                continue
            except _RefusedNameError as error:
                self._bury(part, error.reply.status, self._words(error.reply))
                continue
            if verdict is not None:
                again = self._take(made, reply, verdict)
                work.extend(self._again(again, reply, lone_tries))
            elif act is Act.DELIVERED:
                self._take(made, reply, Verdict(verified=False))
            elif len(part) > 1:
                work.extendleft(reversed(halves(part)))
            elif act is Act.SPLIT and (smaller := truncate_item(part[0], self._smaller(part[0]))) is not None:
                work.appendleft((smaller,))
            else:
                self._bury(part, reply.status, self._words(reply))

    def _fitting(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """A lone item that is larger than the vendor takes, shortened by structure before it is sent."""
        envelope = self.vendor.routes[items[0].route].envelope or (b"", b"")
        room = self.vendor.max_bytes - len(envelope[0]) - len(envelope[1])
        if len(items) > 1 or len(items[0].content) <= room:
            return items
        shorter = truncate_item(items[0], room)
        return items if shorter is None else (shorter,)

    @staticmethod
    def _smaller(item: Item) -> int:
        return len(item.content) // 2

    def _again(self, items: tuple[Item, ...], reply: Reply, tries: Counter[str]) -> list[tuple[Item, ...]]:
        """What a partial success left out: halved at once, and alone only a few times."""
        if len(items) > 1:
            return list(halves(items))
        for item in items:
            tries[item.key] += 1
            if tries[item.key] >= LONE_TRIES:
                self._bury((item,), reply.status, self._words(reply))
                return []
        return [items] if items else []

    def _take(self, made: Request, reply: Reply, verdict: Verdict) -> tuple[Item, ...]:
        """Note what an answer says; the items that have to be sent again are returned."""
        if not verdict.verified:
            self.unverified += 1
            self._once("unverified", "answered %s with a body that cannot be read; counted as delivered", reply.status)
        # An answer may echo the key where an id is looked for: that is no id.
        learned = {name: value for name, value in verdict.learned.items() if self._mask(value) == value}
        if learned:
            self._cursor.learn(learned)
        left = {*verdict.refused, *verdict.retry}
        self._ack([item for item in made.items if item.key not in left], dead=False)
        for item in made.items:
            if item.key in verdict.refused:
                self._bury((item,), reply.status, self._unsaid(self._mask(verdict.refused[item.key])))
        return tuple(item for item in made.items if item.key in verdict.retry)

    def _bury(self, items: tuple[Item, ...], status: int | None, words: str) -> None:
        self.dead.add(items, status, words)
        self._buried.update(item.key for item in items if not item.event_ids)
        self._ack(items, dead=True)
        self._once("dead", "refused an event (%s); `eventtree report` counts them, the journal keeps them", status)

    def _ack(self, items: Sequence[Item], *, dead: bool) -> None:
        per_tree: dict[str, tuple[list[str], int, int]] = {}
        for item in items:
            keys, delivered, lost = per_tree.get(item.tree_id, ([], 0, 0))
            count = len(item.event_ids)
            per_tree[item.tree_id] = ([*keys, item.key], delivered + (not dead) * count, lost + dead * count)
        if per_tree:
            self._cursor.ack(per_tree)

    async def _answer(self, made: Request) -> tuple[Act, Reply, Verdict | None]:
        """Ask until there is an answer that is about these items, however long the vendor is away.

        Raises:
            UnansweredError: a large request of several items was cut off again and again. Servers that refuse its
                size (413) and close at once look like this: the answer is lost in the reset.
        """
        cut_off = 0
        # A conflict is about one id; whether a whole batch was taken before cannot be told from it.
        idempotent = self.vendor.idempotent and len(made.items) == 1
        status_actions = self.vendor.routes[made.items[0].route].status_actions
        while True:
            async with _Turn(self):
                try:
                    reply = await self._send(made)
                except RequestError as error:
                    if self.parked is not None and self.parked.wait(self.clock()) > 0:
                        continue  # a lookup has just said so
                    self._failed(str(error), None)
                    cut_off += isinstance(error, UnansweredError)
                    if cut_off >= CUT_OFF_TRIES and len(made.items) > 1 and len(made.content) > LARGE_BYTES:
                        raise UnansweredError(str(error)) from None
                    continue
                act = act_of(reply.status, {**self.vendor.status_actions, **status_actions}, idempotent=idempotent)
                verdict = self.vendor.read_reply(made, reply.status, reply.body)
                if verdict is None and act is Act.RETRY:
                    self._failed(f"HTTP {reply.status}", reply)
                elif verdict is None and act is Act.PARK:
                    self._park(f"HTTP {reply.status}: {self._words(reply)}")
                else:
                    self._succeeded()
                    return act, reply, verdict

    async def _send(self, made: Request) -> Reply:
        asked = (self.vendor.lookup_of(name) for name in names_in(made.url))
        async with self._looking:
            for lookup in (*self.vendor.lookups(), *(found for found in asked if found is not None)):
                await self._look_up(lookup)
        url = fill(made.url, self._cursor.learned)
        self.requests += 1
        filled = Request(made.method, url, made.content, made.items, made.headers)
        return await self.http.send(filled, self.vendor.auth())

    async def _look_up(self, lookup: Lookup) -> None:
        if lookup.name in self._cursor.learned:
            return
        known = self._cursor.learned
        content = fill(lookup.content.decode(), known).encode()
        url = self.vendor.base_url + fill(lookup.path, known)
        self.requests += 1
        reply = await self.http.send(Request(lookup.method, url, content, (), _JSON), self.vendor.auth())
        if not 200 <= reply.status < 300:
            act = act_of(reply.status, self.vendor.status_actions, idempotent=True)
            if act is Act.BISECT and OWN_NAME in lookup.name:
                raise _RefusedNameError(reply)
            if act is not Act.RETRY:
                self._park(f"HTTP {reply.status} when looking up {lookup.name}: {self._words(reply)}")
            raise RequestError(f"HTTP {reply.status} when looking up {lookup.name}")
        found = lookup.read(_parsed(reply))
        if not found or self._mask(found) != found:
            raise RequestError(f"no {lookup.name} in the answer")
        self._cursor.learn({lookup.name: found})

    def _words(self, reply: Reply) -> str:
        """The first of what a vendor says, fit for disk and logs: some echo the key they refuse."""
        # More than is kept is looked at: a key that is cut in two is not found.
        text = reply.body[:LOOKED_AT].decode("utf-8", "replace").replace("\0", "�")
        return self._unsaid(self._mask(text))[:WORDS]

    # -- patience ---------------------------------------------------------------------------------------------------

    def _failed(self, why: str, reply: Reply | None) -> None:
        wanted = retry_after(reply.headers, datetime.now(UTC)) if reply is not None else None
        delay = self.backoff.delay(self.circuit.failures + 1, wanted)
        self.circuit.failed(self.clock(), delay, wanted)
        self.trouble = why
        self._once("failing", "is not taking events (%s); they wait in the journal and are tried again", why)

    def _park(self, why: str) -> None:
        self.parked = Parked(why, self.clock())
        self.circuit.released()
        self._cursor.park(why[:WORDS])
        self._once("parked", "is parked (%s). Nothing is lost; hint its settings and start again", why)

    def _succeeded(self) -> None:
        self.circuit.succeeded()
        self.parked = self.trouble = None
        self._cursor.park(None)

    def _once(self, kind: str, text: str, value: object) -> None:
        if kind not in self._said:
            self._said.add(kind)
            diagnostics.logger.warning(f"%s {text}", self.vendor.name, value)


class _Turn:
    """Waits until the vendor may be asked; while its circuit is open, one request at a time asks."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer

    async def __aenter__(self) -> None:
        circuit = self.consumer.circuit
        while True:
            now = self.consumer.clock()
            wait = self.consumer.parked.wait(now) if self.consumer.parked is not None else 0.0
            if wait <= 0 and circuit.begin(now):
                return
            await asyncio.sleep(max(wait, circuit.wait(now), SHORTEST_WAIT))

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.consumer.circuit.released()


_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


def _parsed(reply: Reply) -> object:
    try:
        return pydantic_core.from_json(reply.body)
    except ValueError:
        return None
