"""Sending items to one vendor: how often to try, what an answer means, when to make a request smaller.

    groups ──request──▶ turn (circuit, parked) ──▶ lookups ──▶ http ──▶ answer ─┬▶ taken, refused: to the outcome
                             ▲                                                  ├▶ halved, shortened: asked again
                             └────────────────── try again later ───────────────┘

A sender knows no trees and no journal: consumers use it for due trees and feedback, `resend` for dead letters.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from eventtree import diagnostics
from eventtree.delivery.dead_letters import WORDS
from eventtree.delivery.gate import Gate
from eventtree.delivery.http import Http, Reply, UnansweredError
from eventtree.delivery.lookups import Lookups, RefusedNameError, Replies
from eventtree.delivery.retry import Act, Backoff, act_of
from eventtree.delivery.suspects import LONE_TRIES, Piece, StuckError, Suspects
from eventtree.diagnostics import Warnings
from eventtree.errors import RequestError
from eventtree.journal.cursor import Cursor
from eventtree.pace import paced
from eventtree.serializer.packing import Group, request, truncate_item
from eventtree.serializer.requests import Item, Request, Verdict
from eventtree.serializer.vendor import Vendor

CUT_OFF_TRIES = 3
LARGE_BYTES = 512 * 1024
"""A request larger than this is halved after so many cut-off tries."""
REJECTED = "rejected"
"""The reason for dropping events that a vendor left out of a request it has taken."""
NO_PLACE = frozenset({*range(300, 400), 404, 405})
"""Statuses that may mean a wrong address."""
GZIP_LEVEL = 1
"""Makes text ten times smaller, in a few ms a megabyte."""


class Outcome(Protocol):
    """The counts behind a sender, which reports each answer to them."""

    @property
    def cursor(self) -> Cursor:
        """The vendor's cursor, which remembers ids and other values from replies, by name."""

    def taken(self, items: Sequence[Item]) -> None:
        """The vendor has taken these items."""

    def refused(self, items: Sequence[Item], status: int | None, words: str) -> None:
        """The vendor will never take these items; `words` are its own."""

    def rejected(self, items: Sequence[Item], words: str) -> None:
        """The vendor took a request but for so many items, which must not be sent again."""

    def park(self, why: str | None) -> None:
        """The vendor takes nothing with its settings (why), or does again (None)."""


class Sender:
    """Sends groups of items to one vendor until each item is taken or refused, however long the vendor is away."""

    def __init__(
        self, vendor: Vendor, http: Http, outcome: Outcome, *, backoff: Backoff | None, clock: Callable[[], float]
    ) -> None:
        """Send to `vendor`; each answer is reported to `outcome`."""
        self.vendor = vendor
        self.http = http
        self.outcome = outcome
        self.warn_once = Warnings(vendor.name)
        self.replies = Replies(vendor)
        self.gate = Gate(self.warn_once, outcome.park, backoff, clock)
        self.lookups = Lookups(vendor, lambda: outcome.cursor, self.replies, self._send, self.gate)
        self.requests = self.on_the_way = 0
        """Requests so far, and those that have no answer yet."""
        self._suspects = Suspects()

    async def send(self, waves: Iterable[Sequence[Group]]) -> set[str]:
        """Send wave after wave; returns the ids of trees with a stuck item.

        An item is stuck if it alone is answered 5xx, and no other request shows whether that is an outage or its own
        fault. The rest of its tree waits with it; send the tree again after others.
        """
        stuck: set[str] = set()

        async def settle(groups: Iterator[Group]) -> None:
            for group in paced(groups, each=True):  # several answers may come at once
                try:
                    await self._settle(group, stuck)
                except BaseException as error:
                    if isinstance(error, Exception) or diagnostics.must_pass(error):
                        raise
                    # What a vendor's code raises (SystemExit) would end the loop, and with it all other vendors.
                    raise RuntimeError(f"{self.vendor.name}'s own code: {diagnostics.described(error)}") from None

        for wave in waves:
            groups = iter(wave)  # one for all: each takes the next
            if len(wave) == 1:
                await settle(groups)  # the usual case, without a task
                continue
            # gather, not TaskGroup: a sender that is cancelled lets each request end or be cut by itself.
            await asyncio.gather(*(settle(groups) for _ in wave[: self.vendor.concurrency]))
        return stuck

    async def _settle(self, group: Group, stuck: set[str]) -> None:
        """Send a group's items until each is taken, refused or stuck: whole, then in smaller and smaller pieces."""
        # The rest of a piece is sent before the pieces behind it, so that no child comes before its parent.
        work = deque(self._suspects.pieces(group))
        while work:
            piece = work.popleft()
            if stuck:
                piece.items = tuple(item for item in piece.items if item.tree_id not in stuck)
            if not piece.items:
                continue
            # Shortened before it is sent: a lone item that is too large for the vendor would be refused.
            piece.items = _fitting(piece.items, self.vendor)
            if piece.lone_tries:
                await self.gate.pause(piece.lone_tries)
            made = request(piece.items, self.vendor)
            try:
                act, reply, verdict = await self._answer(made, piece)
            except UnansweredError:
                work.extendleft(reversed(piece.halved()))
                continue
            except RefusedNameError as error:
                self._refuse(piece.items, error.reply.status, self.replies.words(error.reply))
                continue
            except StuckError:
                stuck.update(item.tree_id for item in piece.items)
                continue
            # From here on the vendor has answered. A body with a verdict on each item counts more than the status.
            if verdict is not None:
                if left := self._take(made, reply, verdict):
                    work.extendleft(reversed(self._again(left, piece, reply)))
            elif act is Act.DELIVERED:
                self._take(made, reply, Verdict(verified=False))
            elif len(piece.items) > 1:
                work.extendleft(reversed(piece.halved()))
            elif act is Act.SPLIT and (smaller := _truncated(piece.items[0], self.vendor)):
                work.appendleft(Piece((smaller,)))
            else:
                # A lone item, as short as possible: the vendor will never take it.
                self._refuse(piece.items, reply.status, self.replies.words(reply))

    def _again(self, items: Group, piece: Piece, reply: Reply) -> list[Piece]:
        """Pieces of the items that a partial success left out: halved at once, a lone item only a few times."""
        # If it has taken others, the vendor is available.
        failed_at = self._suspects.passed - 1 if len(items) < len(piece.items) else piece.failed_at
        if len(items) > 1:
            return Piece(items, failed_at).halved()
        if piece.lone_tries + 1 >= LONE_TRIES:
            self._refuse(items, reply.status, self.replies.words(reply))
            return []
        return [Piece(items, failed_at, lone_tries=piece.lone_tries + 1)]

    def _take(self, made: Request, reply: Reply, verdict: Verdict) -> Group:
        """Report the answer for each item; returns the items that must be sent again."""
        if not verdict.verified:
            self.warn_once(
                "unverified", "answered %s with a body that cannot be read; counted as delivered", reply.status
            )
        if verdict.warning:
            self.warn_once("warning", "took a request and warns: %s", self.replies.masked(verdict.warning)[:WORDS])
        # Ids before acknowledgements: after a crash in between, the ids are known and the items are sent again.
        learned = {name: value for name, value in verdict.learned.items() if self.replies.is_id(value)}
        if learned:
            self.outcome.cursor.learn(learned)
        left = {*verdict.refused, *verdict.retry, *verdict.rejected}
        if not left:
            self.outcome.taken(made.items)
            return ()  # the usual case
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
            self._suspects.forget(item)
        self.outcome.refused(items, status, words)

    async def _answer(self, made: Request, piece: Piece) -> tuple[Act, Reply, Verdict | None]:
        """Ask until there is an answer that is about these items, however long the vendor is away.

        Act.RETRY comes back only where the vendor fails on these items and not on others.

        Raises:
            UnansweredError: a large request of several items was cut off again and again. Servers that refuse its
                size (413) and close at once look like this: the answer is lost in the reset.
            StuckError: a lone item fails, and nothing has passed since.
        """
        # A conflict is about one id; whether a whole batch was taken before it does not show.
        idempotent = self.vendor.idempotent and len(made.items) == 1
        actions = {**self.vendor.status_actions, **self.vendor.routes[made.items[0].route].status_actions}
        gate, asked_anew = self.gate, False
        # Each turn is one request. While the circuit is open, turns come one at a time, with growing pauses.
        while True:
            await gate.passed()
            try:
                reply = await self._send(self._packed(made, await self.lookups.url(made)))
                act = act_of(reply.status, actions, idempotent=idempotent)
            except RequestError as error:
                if not gate.is_parked:  # a lookup may just have parked the vendor
                    self._unanswered(error, piece, made)
                continue
            except BaseException:
                gate.released()
                raise
            # Verdict before status: some vendors report on single items with the status of an error.
            verdict = self._verdict(made, reply)
            took_nothing = verdict is not None and all(item.key in verdict.retry for item in made.items)
            if took_nothing and reply.status >= 500 and not self._suspects.has_passed_since(piece):
                verdict = None  # an outage: no other request shows that it takes anything
            if verdict is None and act is Act.RETRY:
                gate.failed(f"HTTP {reply.status}", reply.headers)
                if reply.status >= 500 and self._suspects.is_at_fault(piece):
                    return act, reply, None
            elif verdict is None and act is Act.PARK:
                # A remembered id (of a project) may be wrong by now: it is looked up again first.
                asked_anew = not asked_anew and self.lookups.unlearn(made)
                if asked_anew:
                    gate.released()
                else:
                    self._park(made, reply)
            elif took_nothing:
                gate.released()
                return act, reply, verdict
            else:
                self._suspects.passed += 1
                gate.succeeded()
                return act, reply, verdict

    def _park(self, made: Request, reply: Reply) -> None:
        """Wait for other settings. Where nothing is taken at an address, that is what may be wrong."""
        at = f" from {made.url.partition('?')[0]}" if reply.status in NO_PLACE else ""
        self.gate.park(f"HTTP {reply.status}{at}: {self.replies.words(reply)}")

    def _unanswered(self, error: RequestError, piece: Piece, made: Request) -> None:
        """Note that there was no answer.

        Raises:
            UnansweredError: the request is large and was cut off too often.
        """
        self.gate.failed(str(error), error.headers)
        piece.cut_off += isinstance(error, UnansweredError)
        if piece.cut_off >= CUT_OFF_TRIES and len(made.items) > 1 and len(made.content) > LARGE_BYTES:
            raise UnansweredError(str(error)) from None

    def _verdict(self, made: Request, reply: Reply) -> Verdict | None:
        try:
            return self.vendor.read_reply(made, reply.status, reply.body)
        except BaseException as error:  # the boundary around each answer: an unreadable one gives no verdict
            if diagnostics.must_pass(error):
                raise
            diagnostics.failed(f"reading an answer of {self.vendor.name}", error)
            return None

    def _packed(self, made: Request, url: str) -> Request:
        """The request with its address, compressed if the vendor accepts that."""
        if self.vendor.compresses(made.items[0].route):
            content = gzip.compress(made.content, GZIP_LEVEL, mtime=0)
            return made._replace(url=url, content=content, headers={**made.headers, "Content-Encoding": "gzip"})
        return made if url == made.url else made._replace(url=url)

    async def _send(self, made: Request) -> Reply:
        self.requests += 1
        self.on_the_way += 1
        try:
            return await self.http.send(made, self.vendor.auth())
        finally:
            self.on_the_way -= 1


def _fitting(items: Group, vendor: Vendor) -> Group:
    """A lone item that is larger than the vendor accepts, shortened; any other group unchanged."""
    if len(items) > 1:
        return items
    route = vendor.routes[items[0].route]
    room = vendor.max_bytes - sum(map(len, route.envelope or ()))
    if len(items[0].content) <= room:
        return items
    shorter = truncate_item(items[0], room, route.format)
    return items if shorter is None else (shorter,)


def _truncated(item: Item, vendor: Vendor) -> Item | None:
    """A lone item that was refused for its size, shortened to half of it."""
    return truncate_item(item, len(item.content) // 2, vendor.routes[item.route].format)
