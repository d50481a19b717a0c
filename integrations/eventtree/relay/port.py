"""What an engine is to relays and collectors: chunks of logs in order, each given again until it is acknowledged.

At least once is enough: every chunk says where in its log it stands, so that one that comes twice, late or out of order
does no harm.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import SplitResult

import pydantic_core

from eventtree.delivery.retry import Backoff
from eventtree.errors import ConfigError, EventTreeError
from eventtree.journal.line import frame, unframe

CHUNK_BYTES = 256 * 1024
"""No chunk holds more."""
BATCH = 64
"""Chunks that a relay sends, and a collector takes and syncs, at once."""
RECEIVE_SECONDS, LEASE_SECONDS = 1.0, 6.0
"""A collector waits so long for chunks before it renews its lease, which is lost after so long."""
REPLY_SECONDS, CLOSE_SECONDS = 5.0, 1.0
"""An engine that does not answer for so long is away; each of the last words to it may take so long."""
LONGEST_SECONDS = 5.0
"""An engine that is away is tried again at least so often."""
REFUSALS = re.compile(r"authori|authenti|permissions|nopermission|credentials|jwt|nkey", re.IGNORECASE)
LOG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}(\.\d{1,4}-\d{1,4})?\.\d{1,8}\.log")
MOST_BYTES = 1 << 30
"""No log is longer: it is rolled long before."""


class AwayError(EventTreeError):
    """The engine cannot be reached, does not answer or takes nothing now: tried again."""


class RefusedError(EventTreeError):
    """The engine refuses the credentials, or what it is asked for: the relay is parked."""


class Chunk(NamedTuple):
    """Bytes of a log, and where in it they stand. Without bytes it says that the log is so long, and its process lives.

    The last one of a process that writes no more is `ended`.
    """

    log: str
    offset: int
    data: bytes
    ended: bool = False
    left: int = 0
    """Bytes of the log that wait behind these, as far as its relay knows."""
    before: tuple[str, int] | None = None
    """At a log's beginning: the log of its process that comes before it, and how long that is."""

    def pack(self) -> bytes:
        """As a message: framed as a line of a log is, with the offset as its number."""
        head = pydantic_core.to_json([self.log, self.ended, self.left, self.before])
        return frame(self.offset, head + b"\n" + zlib.compress(self.data, 1))

    @classmethod
    def unpack(cls, message: bytes) -> Chunk:
        """A message, checked.

        Raises:
            ValueError: it is cut, flipped, for no log of ours or no chunk at all.
        """
        try:
            offset, body = unframe(message[:-1])
            head, _, packed = body.partition(b"\n")
            (log, ended, left, before), inflate = pydantic_core.from_json(head), zlib.decompressobj()
            before = (str(before[0]), int(before[1])) if before else None
            chunk = cls(log, offset, inflate.decompress(packed, CHUNK_BYTES + 1), bool(ended), int(left), before)
            is_whole = inflate.eof and len(chunk.data) <= CHUNK_BYTES and 0 <= offset <= MOST_BYTES
            if is_whole and all(LOG.fullmatch(one) for one in (log, *(before or ())[:1])):
                return chunk
        except (TypeError, zlib.error):
            pass
        raise ValueError("damaged message")


def pause_after(failures: int) -> float:
    """Seconds to wait before an engine is tried again that was away so often in a row."""
    return min(LONGEST_SECONDS, Backoff().delay(failures))


class Port:
    """One connection to an engine: used within `opened`, which makes a client's errors ours."""

    errors: ClassVar[tuple[type[Exception], ...]] = ()
    """What its client raises when the engine is away or refuses."""

    def __init__(self, url: SplitResult) -> None:
        """Connect to nothing yet."""
        self.url = url
        self.split = self.most = 1
        """How many partitions processes are split into that begin now, and how many there are: as many as ever were."""
        self.asked: dict[str, int] = {}
        """Logs that a collector lacks bytes of, and from where; who goes back there empties it."""
        self.said = ""
        """What the engine has said last of its own accord: why it does not answer."""
        self.ends: list[Callable[[], Awaitable[object]]] = []
        """What gives back the leases, and ends the connection."""

    @asynccontextmanager
    async def opened(self, partitions: int | None = None) -> AsyncIterator[Self]:
        """Connect, with so many partitions (a relay takes as many as there are, or makes one); close at the end.

        Raises:
            AwayError, RefusedError: whatever the client met, without words that may quote what it was given.
        """
        try:
            await self.connect()
            await self.look()
            while not self.split or partitions not in (None, self.split):
                await self.divide(partitions or 1)
                await self.look()  # somebody else may have been first
            yield self
        except Exception as error:
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            if not isinstance(error, self.errors):
                raise error from None
            if REFUSALS.search(f"{type(error).__name__} {error} {self.said}"):
                raise RefusedError("the server refuses the credentials") from None
            why = f"{type(error).__name__} {getattr(error, 'description', '')}".strip()
            raise AwayError(f"it cannot be reached, or takes nothing ({why})") from None
        finally:
            for end in self.ends:
                with suppress(Exception):  # a lease expires; a broken connection may wait for ever
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await end()

    async def learn(self) -> None:
        """Look again.

        Raises:
            AwayError: somebody has emptied the engine.
        """
        await self.look()
        if not self.split:
            raise AwayError("somebody has emptied it")

    def places(self, take: Container[int] | None = None) -> list[int]:
        """All partitions, or those with these numbers.

        Raises:
            ConfigError: there is none of such a number.
        """
        mine = [place for place in range(self.most) if take is None or place in take]
        if not mine:
            problem = f"none of them is among the {self.most} there are, counted from 0"
            raise ConfigError("--take", problem, "Take some of these")
        return mine

    def place_of(self, process: str) -> int:
        """The partition that a process's chunks go by: its part's, or one instead of it in an engine that has fewer."""
        return int(process.rpartition(".")[2].partition("-")[2]) % self.most if "." in process else 0

    async def connect(self) -> None:
        """Connect with the credentials that are there now."""
        raise NotImplementedError

    async def look(self) -> None:
        """Learn how many partitions there are, none in an engine that is empty; and what is `asked`."""

    async def divide(self, count: int) -> None:
        """Split into so many partitions from now on; no partition goes."""
        raise NotImplementedError

    async def publish(self, place: int, chunk: Chunk) -> None:
        """Return once the engine keeps the chunk, or has `asked` for bytes before it."""
        raise NotImplementedError

    async def lease(self, place: int) -> bool:
        """Take or renew a partition for this collector; whether it has it."""
        return True

    async def receive(self, place: int) -> list[tuple[bytes, Any]]:
        """The next messages, in order, each with what the engine knows it by; none after a second without any."""
        raise NotImplementedError

    async def answer(self, mark: Any, is_taken: bool, log: str, size: int | None) -> None:
        """Say that a message is written or need not be, else it comes again; and how long a log is there now."""
        raise NotImplementedError

    async def ask(self, log: str, offset: int) -> None:
        """Ask the relays for a log again, from this offset on, where answers don't reach them."""

    async def advice(self) -> list[str]:
        """What of the engine's settings lets it lose what it has acknowledged."""
        return []

    def hear(self, message: bytes) -> None:
        """Take in from where a collector lacks a log; whatever else anybody says is not heard."""
        log, size = read_size(message)
        if log:
            self.asked[log] = size


def read_size(message: bytes) -> tuple[str | None, int]:
    """What a collector says of a log: `{"log": name, "size": how long it is there}`; no log where it says nothing."""
    try:
        said = pydantic_core.from_json(message)
        log, size = said["log"], max(0, int(said["size"]))
        return (log if log == "" or LOG.fullmatch(log) else None), size
    except (ValueError, TypeError, LookupError, OverflowError):
        return None, 0
