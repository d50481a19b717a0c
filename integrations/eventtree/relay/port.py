"""What an engine is to relays and collectors: messages in order within a log, each given again until acknowledged.

At least once is enough: every chunk says where in its log it stands, so that a chunk that comes twice, late or out of
order does no harm.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Protocol, Self, TypeVar
from zlib import crc32

import pydantic_core

from eventtree.errors import EventTreeError

CHUNK_BYTES = 256 * 1024
"""No chunk holds more; it ends with a line where one ends in it."""
BATCH = 64
"""Messages that a collector takes, and syncs, at once."""
RECEIVE_SECONDS = 1.0
"""A collector waits so long for messages before it renews its lease."""
LEASE_SECONDS = 6.0
"""A collector that has not renewed the lease of a partition for so long has lost it."""
MIB = 1 << 20

T = TypeVar("T")


class AwayError(EventTreeError):
    """The engine cannot be reached, does not answer or takes nothing now: tried again."""


class RefusedError(EventTreeError):
    """The engine refuses the credentials, or what it is asked for: the relay is parked."""


class Chunk(NamedTuple):
    """Bytes of a log, and where in it they stand."""

    log: str
    offset: int
    data: bytes

    def pack(self) -> bytes:
        """As a message."""
        head = {"log": self.log, "offset": self.offset, "crc": crc32(self.data)}
        return pydantic_core.to_json(head) + b"\n" + zlib.compress(self.data, 1)


class Mark(NamedTuple):
    """A process elsewhere still writes, or (`ended`) has written all it will: its logs, and their sizes."""

    process: str
    sizes: Mapping[str, int]
    ended: bool = False

    def pack(self) -> bytes:
        """As a message."""
        return pydantic_core.to_json(self._asdict()) + b"\n"


def unpack(message: bytes) -> Chunk | Mark:
    """A message, checked.

    Raises:
        ValueError: it is cut, flipped or none of ours.
    """
    head, _, packed = message.partition(b"\n")
    found = pydantic_core.from_json(head)
    try:
        if "process" in found:
            sizes = {str(log): int(size) for log, size in found["sizes"].items()}
            return Mark(str(found["process"]), sizes, bool(found["ended"]))
        inflate = zlib.decompressobj()
        data = inflate.decompress(packed, 4 * MIB)
        if not inflate.eof or crc32(data) != found["crc"] or int(found["offset"]) < 0:
            raise ValueError("damaged chunk")
        return Chunk(str(found["log"]), int(found["offset"]), data)
    except (LookupError, TypeError, AttributeError, zlib.error) as error:
        raise ValueError("damaged message") from error


@dataclass(slots=True)
class Delivery:
    """A message on its way to a collector, and how to answer it."""

    message: bytes
    answer: Callable[[bool, int | None], Awaitable[None]]
    """Whether it is written or need not be, else it comes again; and how long its log is there now."""


async def tried(work: Awaitable[T], explain: Callable[[Exception], NoReturn]) -> T:
    """The outcome of `work`; what it raises, `explain` raises as one of ours."""
    try:
        return await work
    except EventTreeError:
        raise
    except Exception as error:  # noqa: BLE001  (clients of engines have no end of classes)
        explain(error)


class Port(Protocol):
    """One connection to an engine. Everything may raise `AwayError`, and `open` `RefusedError`."""

    partitions: int
    """How many there are: known once it is open."""

    async def open(self, partitions: int | None = None) -> Self:
        """Connect, and have a stream of so many partitions (a relay takes as many as there are, or makes one)."""

    async def publish(self, partition: int, message: bytes) -> int | None:
        """Return once the engine keeps the message; with the length of its log there, where a collector answers."""

    async def asked(self) -> Mapping[str, int]:
        """Logs that a collector has asked for again since the last call, and from where."""

    async def lease(self, partition: int) -> bool:
        """Take or renew a partition for this collector; whether it has it."""

    async def receive(self, partition: int) -> list[Delivery]:
        """The next messages, in order; none after a second without any."""

    async def ask(self, log: str, offset: int) -> None:
        """Ask the relays for a log again, from this offset on."""

    async def close(self) -> None:
        """Give back the leases, and end the connection. Never raises."""
