"""Items to one vendor and answers back: how often to ask, what an answer means, when to make a request smaller.

    groups ──request──▶ turn (circuit, parked) ──▶ lookups ──▶ http ──▶ answer ─┬▶ taken, refused: to the outcome
                             ▲                                                  ├▶ halved, shortened: asked again
                             └────────────────── try again later ───────────────┘

Nothing here knows trees or journals: a consumer sends what is due by it, `resend` sends dead letters by it.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Protocol

import pydantic_core

from eventtree import diagnostics
from eventtree.content import known_secrets, masking
from eventtree.delivery.dead_letters import WORDS
from eventtree.delivery.http import Http, Reply, UnansweredError
from eventtree.delivery.retry import Act, Backoff, Circuit, Parked, act_of, retry_after
from eventtree.delivery.split import halves, truncate_item
from eventtree.diagnostics import Warnings
from eventtree.errors import RequestError
from eventtree.journal.cursor import Cursor
from eventtree.serializer.packing import Group, fill, names_in, request
from eventtree.serializer.requests import Item, Lookup, Request, Verdict
from eventtree.serializer.vendor import Vendor

CUT_OFF_TRIES = 3
LARGE_BYTES = 512 * 1024
"""A request larger than this that is cut off so often is halved."""
HALVE_AFTER = 5
HALVE_AGAIN_AFTER = 2
"""A request answered 5xx so often in a row is sent in halves; a half is halved after this many."""
LONE_TRIES = 3
"""A lone item that a vendor fails on (5xx, or left out of a partial success) is sent so often, then is a dead letter.
A 5xx counts against the item only if the vendor has taken others since."""
SUSPECTS = 10_000
LOOKED_AT = 1 << 16
"""Bytes of a vendor's words that are searched for its key."""
SHORTEST_WAIT = 0.01
REJECTED = "rejected"
"""Reason why events are dropped that a vendor left out of a request it took."""
GZIP_LEVEL = 1
"""A tenth of what is sent of text, for a few ms a megabyte."""
OWN_NAME = ":"
"""Stands in names of lookups that hold a value of a tree's own (`{kind:VALUE}`)."""
ID = re.compile(r"[A-Za-z0-9._~:@=+-]{1,256}")
"""An id that a vendor gave: what else stands there (a page of HTML, a line break) is not learned."""


class Outcome(Protocol):
    """The counts behind a sender, which reports each answer to them."""

    @property
    def cursor(self) -> Cursor:
        """The vendor's cursor: it remembers the ids and other values that replies taught, by name."""

    def taken(self, items: Sequence[Item]) -> None:
        """The vendor has these."""

    def refused(self, items: Sequence[Item], status: int | None, words: str) -> None:
        """The vendor will never take these; `words` are its own."""

    def rejected(self, items: Sequence[Item], words: str) -> None:
        """The vendor took a request without as many as these, and they must not be sent again."""

    def park(self, why: str | None) -> None:
        """The vendor takes nothing as it is set up (why), or does again (None)."""


class _RefusedNameError(Exception):
    """A vendor refuses what a tree itself names (its experiment): no setting of ours can change that."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


class _StuckError(Exception):
    """One item is answered 5xx again and again, and nothing else was asked since: let others go first."""


@dataclass(slots=True)
class _Piece:
    """Items that travel together, and how the vendor has answered just these so far."""

    items: Group
    failed_at: int | None = None
    """Requests that the vendor had taken when these items, or the piece they were part of, failed first."""
    halve_after: int = HALVE_AFTER
    failures: int = 0
    lone_tries: int = 0
    cut_off: int = 0

    def halved(self) -> list[_Piece]:
        return [_Piece(half, self.failed_at, HALVE_AGAIN_AFTER) for half in halves(self.items) if half]


@dataclass(slots=True)
class _Suspect:
    """An item that failed alone."""

    passed: int
    """How many requests the vendor had taken when it failed first."""
    failures: int = 0


class Sender:
    """Sends groups of items to one vendor until each item is taken or refused, however long the vendor is away."""

    def __init__(
        self, vendor: Vendor, http: Http, outcome: Outcome, *, backoff: Backoff | None, clock: Callable[[], float]
    ) -> None:
        """Send to `vendor`; `outcome` keeps count."""
        self.vendor = vendor
        self.http = http
        self.outcome = outcome
        self.clock = clock
        self.backoff = backoff or Backoff()
        self.circuit = Circuit()
        self.parked: Parked | None = None
        self.trouble: str | None = None
        """The reason why the last request was not settled by an answer."""
        self.requests = 0
        self._passed = 0
        """Requests that the vendor has taken."""
        self._suspects: dict[tuple[str, str], _Suspect] = {}
        """Tree and key of lone items that failed; kept from one `send` to the next."""
        self.replies = _Replies(vendor.secrets())
        self.warn_once = Warnings(vendor.name)
        self._looking = asyncio.Lock()

    async def send(self, waves: Iterable[Sequence[Group]]) -> set[str]:
        """Send wave after wave; returns the trees of which something is stuck.

        An item is stuck when it alone is answered 5xx while nothing else is there to tell an outage from its own
        fault. The rest of its tree waits with it; send the tree again after others.
        """
        stuck: set[str] = set()

        async def settle(groups: Iterator[Group]) -> None:
            for group in groups:
                await self._settle(group, stuck)

        for wave in waves:
            groups = iter(wave)  # one for all: each takes the next
            # gather, not TaskGroup: a sender that is cancelled lets each request end or be cut by itself.
            await asyncio.gather(*(settle(groups) for _ in wave[: self.vendor.concurrency]))
        return stuck

    async def _settle(self, group: Group, stuck: set[str]) -> None:
        """Send a group's items until each is taken, refused or stuck: whole, then in smaller and smaller pieces."""
        # What is left of a piece always goes before the pieces behind it: a child never comes before its parent.
        work = deque(self._pieces(group))
        while work:
            piece = work.popleft()
            piece.items = tuple(item for item in piece.items if item.tree_id not in stuck)
            if not piece.items:
                continue
            # Shortened before it is sent: a lone item that is too large for the vendor would only come back.
            piece.items = self._fitting(piece.items)
            made = request(piece.items, self.vendor)
            try:
                act, reply, verdict = await self._answer(made, piece)
            except UnansweredError:
                work.extendleft(reversed(piece.halved()))
                continue
            except _RefusedNameError as error:
                self._refuse(piece.items, error.reply.status, self.replies.words(error.reply))
                continue
            except _StuckError:
                stuck.update(item.tree_id for item in piece.items)
                continue
            # From here on the vendor has answered. A body that speaks of each item counts more than the status.
            if verdict is not None:
                left = self._take(made, reply, verdict)
                work.extendleft(reversed(self._again(left, piece, reply)))
            elif act is Act.DELIVERED:
                self._take(made, reply, Verdict(verified=False))
            elif len(piece.items) > 1:
                work.extendleft(reversed(piece.halved()))
            elif act is Act.SPLIT and (smaller := self._truncated(piece.items[0])):
                work.appendleft(_Piece((smaller,)))
            else:
                # A lone item, as short as it can be: this one the vendor will never take.
                self._refuse(piece.items, reply.status, self.replies.words(reply))

    def _fitting(self, items: Group) -> Group:
        """A lone item that is larger than the vendor takes, shortened by structure before it is sent."""
        envelope = self.vendor.routes[items[0].route].envelope or (b"", b"")
        room = self.vendor.max_bytes - len(envelope[0]) - len(envelope[1])
        if len(items) > 1 or len(items[0].content) <= room:
            return items
        shorter = truncate_item(items[0], room, self.vendor.routes[items[0].route].format)
        return items if shorter is None else (shorter,)

    def _truncated(self, item: Item) -> Item | None:
        """A lone item that was refused for its size, in half of it."""
        return truncate_item(item, len(item.content) // 2, self.vendor.routes[item.route].format)

    def _again(self, items: Group, piece: _Piece, reply: Reply) -> list[_Piece]:
        """Pieces of the items that a partial success left out: halved at once, a lone item only a few times."""
        if len(items) > 1:
            return _Piece(items).halved()
        if items and piece.lone_tries + 1 >= LONE_TRIES:
            self._refuse(items, reply.status, self.replies.words(reply))
            return []
        return [_Piece(items, lone_tries=piece.lone_tries + 1)] if items else []

    def _take(self, made: Request, reply: Reply, verdict: Verdict) -> Group:
        """Note what an answer says of each item; the items that have to be sent again are returned."""
        if not verdict.verified:
            self.warn_once(
                "unverified", "answered %s with a body that cannot be read; counted as delivered", reply.status
            )
        if verdict.warning:
            self.warn_once("warning", "took a request and warns: %s", self.replies.masked(verdict.warning)[:WORDS])
        # Learned before acknowledged: after a crash between the two the ids are known, and the items sent again.
        learned = {name: value for name, value in verdict.learned.items() if self.replies.is_id(value)}
        if learned:
            self.outcome.cursor.learn(learned)
        left = {*verdict.refused, *verdict.retry, *verdict.rejected}
        self.outcome.taken([item for item in made.items if item.key not in left])
        for item in made.items:
            if item.key in verdict.refused:
                self._refuse((item,), reply.status, self.replies.masked(verdict.refused[item.key]))
        if verdict.rejected:
            words = self.replies.masked(next(iter(verdict.rejected.values())))[:WORDS]
            self.outcome.rejected([item for item in made.items if item.key in verdict.rejected], words)
        return tuple(item for item in made.items if item.key in verdict.retry)

    def _refuse(self, items: Group, status: int | None, words: str) -> None:
        for item in items:
            self._suspects.pop((item.tree_id, item.key), None)
        self.outcome.refused(items, status, words)

    async def _answer(self, made: Request, piece: _Piece) -> tuple[Act, Reply, Verdict | None]:
        """Ask until there is an answer that is about these items, however long the vendor is away.

        Act.RETRY comes back only where the vendor fails on these items and not on others.

        Raises:
            UnansweredError: a large request of several items was cut off again and again. Servers that refuse its
                size (413) and close at once look like this: the answer is lost in the reset.
            _StuckError: a lone item fails, and nothing has passed since.
        """
        # A conflict is about one id; whether a whole batch was taken before it does not show.
        idempotent = self.vendor.idempotent and len(made.items) == 1
        actions = {**self.vendor.status_actions, **self.vendor.routes[made.items[0].route].status_actions}
        asked_anew = False
        # Each turn is one request. While the circuit is open, turns come one at a time, later and later.
        while True:
            async with _Turn(self):
                try:
                    reply = await self._send(made)
                except RequestError as error:
                    if self.parked is not None and self.parked.wait(self.clock()) > 0:
                        continue  # a lookup has just parked the vendor
                    self._failed(str(error), None)
                    piece.cut_off += isinstance(error, UnansweredError)
                    if piece.cut_off >= CUT_OFF_TRIES and len(made.items) > 1 and len(made.content) > LARGE_BYTES:
                        raise UnansweredError(str(error)) from None
                    continue
                # Verdict before status: some vendors report single items under an error's status.
                act = act_of(reply.status, actions, idempotent=idempotent)
                verdict = self._verdict(made, reply)
                if verdict is None and act is Act.RETRY:
                    self._failed(f"HTTP {reply.status}", reply)
                    if reply.status >= 500 and self._is_its_fault(piece):
                        return act, reply, None
                elif verdict is None and act is Act.PARK:
                    # What was learned long ago (a project's id) may be what is unknown: ask for it once more first.
                    if not asked_anew and self._unlearn(made):
                        asked_anew = True
                        self.circuit.released()
                        continue
                    asked_anew = False
                    self._park(f"HTTP {reply.status}: {self.replies.words(reply)}")
                else:
                    self._passed += 1
                    self._succeeded()
                    return act, reply, verdict

    def _verdict(self, made: Request, reply: Reply) -> Verdict | None:
        try:
            return self.vendor.read_reply(made, reply.status, reply.body)
        except Exception as error:  # noqa: BLE001  (the boundary around each answer: what cannot be read says nothing)
            diagnostics.failed(f"reading an answer of {self.vendor.name}", error)
            return None

    def _is_its_fault(self, piece: _Piece) -> bool:
        """Whether the vendor fails on these items alone: several are halved to find out; one must fail by itself again
        and again while others pass. Where nothing passes it is an outage, and everything waits.

        Raises:
            _StuckError: there is nothing else to compare with now.
        """
        piece.failures += 1
        if piece.failed_at is None:
            piece.failed_at = self._passed
        if len(piece.items) > 1:
            return piece.failures >= piece.halve_after
        key = (piece.items[0].tree_id, piece.items[0].key)
        suspect = self._suspects.setdefault(key, _Suspect(piece.failed_at))
        suspect.failures += 1
        if len(self._suspects) > SUSPECTS:
            del self._suspects[next(iter(self._suspects))]
        if suspect.failures < LONE_TRIES:
            return False
        if self._passed > suspect.passed:
            return True
        raise _StuckError

    def _pieces(self, group: Group) -> list[_Piece]:
        """A group as it is, but for trees with an item that failed alone before: those items travel alone again, behind
        all others, and each item behind its parent.
        """
        suspects = {item.tree_id for item in group if (item.tree_id, item.key) in self._suspects}
        if not suspects:
            return [_Piece(group)]
        calm = tuple(item for item in group if item.tree_id not in suspects)
        ordered = sorted((item for item in group if item.tree_id in suspects), key=lambda item: item.tree_id)
        alone = groupby(
            ordered, key=lambda item: (item.tree_id, item.key if (item.tree_id, item.key) in self._suspects else "")
        )
        return [*([_Piece(calm)] if calm else []), *(_Piece(tuple(items)) for _, items in alone)]

    async def _send(self, made: Request) -> Reply:
        asked = (self.vendor.lookup_of(name) for name in names_in(made.url))
        # One at a time: the first request of many learns the id, the others find it known.
        async with self._looking:
            for lookup in (*self.vendor.lookups(), *(found for found in asked if found is not None)):
                await self._look_up(lookup)
        url = fill(made.url, self.outcome.cursor.learned)
        self.requests += 1
        filled = replace(made, url=url)
        if made.items and self.vendor.compresses(made.items[0].route):
            content = gzip.compress(made.content, GZIP_LEVEL, mtime=0)
            filled = replace(filled, content=content, headers={**made.headers, "Content-Encoding": "gzip"})
        return await self.http.send(filled, self.vendor.auth())

    async def _look_up(self, lookup: Lookup) -> None:
        if lookup.name in self.outcome.cursor.learned:
            return
        known = self.outcome.cursor.learned
        content = fill(lookup.content.decode(), known).encode()
        url = self.vendor.base_url + fill(lookup.path, known)
        self.requests += 1
        reply = await self.http.send(Request(lookup.method, url, content, (), _JSON), self.vendor.auth())
        if not 200 <= reply.status < 300:
            act = act_of(reply.status, self.vendor.status_actions, idempotent=True)
            if act is Act.BISECT and OWN_NAME in lookup.name:
                raise _RefusedNameError(reply)
            if act is not Act.RETRY:
                self._park(f"HTTP {reply.status} when looking up {lookup.name}: {self.replies.words(reply)}")
            raise RequestError(f"HTTP {reply.status} when looking up {lookup.name}")
        found = lookup.read(_parsed(reply))
        if not found or not self.replies.is_id(found):
            raise RequestError(f"no {lookup.name} in the answer")
        self.outcome.cursor.learn({lookup.name: found})

    def _unlearn(self, made: Request) -> bool:
        """Forget what lookups taught of this request's address; False if there is nothing of the kind."""
        names = {lookup.name for lookup in self.vendor.lookups()} | set(names_in(made.url))
        stale = [
            name for name in names if name in self.outcome.cursor.learned and self.vendor.lookup_of(name) is not None
        ]
        if stale:
            self.outcome.cursor.unlearn(stale)
        return bool(stale)

    def _failed(self, why: str, reply: Reply | None) -> None:
        wanted = retry_after(reply.headers, datetime.now(UTC)) if reply is not None else None
        delay = self.backoff.delay(self.circuit.failures + 1, wanted)
        self.circuit.failed(self.clock(), delay, wanted)
        self.trouble = why
        self.warn_once("failing", "is not taking events (%s); they wait in the journal and are tried again", why)

    def _park(self, why: str) -> None:
        self.parked = Parked(why, self.clock())
        self.circuit.released()
        self.outcome.park(why[:WORDS])
        self.warn_once("parked", "is parked (%s). Nothing is lost; correct its settings and start again", why)

    def _succeeded(self) -> None:
        self.circuit.succeeded()
        self.parked = self.trouble = None
        self.outcome.park(None)


class _Turn:
    """Waits until the vendor may be asked; while its circuit is open, one request at a time asks."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender

    async def __aenter__(self) -> None:
        circuit = self.sender.circuit
        while True:
            now = self.sender.clock()
            wait = self.sender.parked.wait(now) if self.sender.parked is not None else 0.0
            if wait <= 0 and circuit.begin(now):
                return
            await asyncio.sleep(max(wait, circuit.wait(now), SHORTEST_WAIT))

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.sender.circuit.released()


class _Replies:
    """Texts out of a vendor's replies, fit for disk and logs: some vendors echo the key they refuse."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._masks = [masking(secret) for secret in secrets]
        self._mask_secrets = known_secrets()

    def words(self, reply: Reply) -> str:
        """The first of a reply's text."""
        # Masked before it is shortened: half a key would not be found.
        text = reply.body[:LOOKED_AT].decode("utf-8", "replace").replace("\0", "�")
        return self.masked(text)[:WORDS]

    def masked(self, text: str) -> str:
        return self._mask_secrets(self._mask_keys(text))

    def is_id(self, text: str) -> bool:
        """Whether an answer gave an id: it may hold anything, and even echo the key, where one is looked for."""
        return ID.fullmatch(text) is not None and self._mask_keys(text) == text

    def _mask_keys(self, text: str) -> str:
        for mask in self._masks:
            text = mask(text)
        return text


_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


def _parsed(reply: Reply) -> object:
    try:
        return pydantic_core.from_json(reply.body)
    except (ValueError, RecursionError):
        return None
