"""What an engine is to relays and collectors: chunks of logs in order, each given again until it is acknowledged.

At least once is enough: every chunk says where in its log it stands, so that one that comes twice, late or out of order
does no harm.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import pydantic_core

from eventtree.errors import ConfigError, EventTreeError
from eventtree.journal.line import frame, unframe

if TYPE_CHECKING:
    from eventtree.relay.settings import Target

CHUNK_BYTES = 256 * 1024
"""No chunk holds more."""
BATCH = 64
"""Chunks that a collector takes, and syncs, at once."""
RECEIVE_SECONDS = 1.0
"""A collector waits so long for chunks before it renews its lease."""
LEASE_SECONDS = 6.0
"""A collector that has not renewed the lease of a partition for so long has lost it."""
REPLY_SECONDS = 5.0
"""An engine that does not answer for so long is away."""


class AwayError(EventTreeError):
    """The engine cannot be reached, does not answer or takes nothing now: tried again."""


def away(error: Exception) -> AwayError:
    """The one that says what a client met, without its words: they may quote what it was given."""
    return AwayError(f"it cannot be reached, or does not answer ({type(error).__name__})")


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

    def pack(self) -> bytes:
        """As a message: framed as a line of a log is, with the offset as its number."""
        head = pydantic_core.to_json({"log": self.log, "ended": self.ended, "left": self.left})
        return frame(self.offset, head + b"\n" + zlib.compress(self.data, 1))

    @classmethod
    def unpack(cls, message: bytes) -> Chunk:
        """A message, checked.

        Raises:
            ValueError: it is cut, flipped or none of ours.
        """
        offset, body = unframe(message[:-1])
        head, _, packed = body.partition(b"\n")
        try:
            found, inflate = pydantic_core.from_json(head), zlib.decompressobj()
            data = inflate.decompress(packed, CHUNK_BYTES + 1)
            chunk = cls(str(found["log"]), offset, data, found["ended"] is True, int(found["left"]))
        except (LookupError, TypeError, zlib.error) as error:
            raise ValueError("damaged message") from error
        if not inflate.eof or offset < 0 or len(data) > CHUNK_BYTES:
            raise ValueError("damaged message")
        return chunk


class Delivery(NamedTuple):
    """A message on its way to a collector, and what its engine knows it by."""

    message: bytes
    mark: Any


def _explained(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(call)
    async def explained(self: Port, *args: Any) -> Any:
        try:
            return await call(self, *args)
        except EventTreeError:
            raise
        except Exception as error:  # noqa: BLE001  (clients of engines have no end of classes)
            raise self.explain(error) from None

    return explained


class Port:
    """One connection to an engine; of a subclass every method but `close` raises `AwayError` or `RefusedError`."""

    def __init__(self, target: Target) -> None:
        """Connect to nothing yet."""
        self.target = target
        self.partitions = 1
        """How many there are: known once it is open."""
        self._asked: dict[str, int] = {}

    def __init_subclass__(cls) -> None:
        """What a client raises is raised as what `explain` makes of it."""
        for name in {"open", "publish", "asked", "lease", "receive", "answer", "ask", "unsafe"} & vars(cls).keys():
            setattr(cls, name, _explained(vars(cls)[name]))

    def explain(self, error: Exception) -> Exception:
        """A client's error as one of ours, without words that may quote what it was given."""
        return error

    async def open(self, partitions: int | None = None) -> None:
        """Connect, and have a stream of so many partitions (a relay takes as many as there are, or makes one)."""
        raise NotImplementedError

    async def publish(self, partition: int, chunk: Chunk) -> bool:
        """Return once the engine keeps the chunk; False where a collector answers that bytes before it are missing."""
        raise NotImplementedError

    async def asked(self) -> Mapping[str, int]:
        """Logs that a collector has asked for again since the last call, and from where."""
        asked, self._asked = self._asked, {}
        return asked

    async def lease(self, partition: int) -> bool:
        """Take or renew a partition for this collector; whether it has it."""
        return True

    async def receive(self, partition: int) -> list[Delivery]:
        """The next messages, in order; none after a second without any."""
        raise NotImplementedError

    async def answer(self, delivery: Delivery, is_taken: bool, size: int | None) -> None:
        """Say that a message is written or need not be, else it comes again; and how long its log is there now."""
        raise NotImplementedError

    async def ask(self, log: str, offset: int) -> None:
        """Ask the relays for a log again, from this offset on, where answers don't reach them."""

    async def close(self) -> None:
        """Give back the leases, and end the connection. Never raises."""


def repartitioned(known: int, wanted: int | None, waiting: int) -> bool:
    """Whether a stream of `known` partitions is to get as many as are wanted.

    Raises:
        ConfigError: messages wait in it, which are for the partitions there are.
    """
    if wanted in (None, known):
        return False
    if waiting:
        hint = f"Collect with --partitions {known} until none does"
        raise ConfigError("--partitions", f"the stream has {known}, and messages wait in them", hint)
    return True
