"""The interface of an engine for relays and collectors, and the engine of a URL, with the environment's credentials.

An engine takes chunks of logs, and delivers each in order, again until it is acknowledged. At least once is enough:
every chunk has its offset in its log, so a chunk that comes twice, late or out of order does no harm.
"""

from __future__ import annotations

import importlib
import os
import re
import ssl
import zlib
from asyncio import timeout
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, cast
from urllib.parse import SplitResult, urlsplit

import pydantic_core
from pydantic import BaseModel, NonNegativeInt, StringConstraints, TypeAdapter

from eventtree.delivery.retry import Backoff
from eventtree.errors import ConfigError, EventTreeError
from eventtree.journal.line import frame, unframe
from eventtree.record import BY_NAME
from eventtree.serializer.registry import vendor_class
from eventtree.serializer.vendor import LOOPBACK, Vendor

CHUNK_BYTES = 256 * 1024
"""Most bytes of a chunk."""
BATCH = 64
"""Chunks that a relay sends, and a collector takes and syncs, at once."""
RECEIVE_SECONDS, LEASE_SECONDS = 1.0, 6.0
"""A collector waits this long for chunks before it renews its lease, and the lease is lost after this time."""
REPLY_SECONDS, CLOSE_SECONDS = 5.0, 1.0
"""An engine without an answer for this long is away; each step of closing a connection may take this long."""
LONGEST_SECONDS = 5.0
"""The longest pause before an engine that is away is tried again."""
REFUSAL = re.compile(r"authori|authenti|permissions|nopermission|credentials|jwt|nkey", re.IGNORECASE)
MOST_BYTES = 1 << 30
"""Most bytes of a log, which is rolled long before."""
LogName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}(\.[0-9]{1,4}-[0-9]{1,4})?\.[0-9]{1,8}\.log$")
]
HEAD = TypeAdapter[Any](tuple[LogName, bool, int, tuple[LogName, int] | None])
"""The fields before a chunk's bytes, except for the offset."""

SCHEMES = {
    "nats": ("nats", "nats", "tls"),
    "tls": ("nats", "nats", ""),
    "redis": ("redis", "redis", "rediss"),
    "rediss": ("redis", "redis", ""),
    "http": ("http", "collector", "https"),
    "https": ("http", "collector", ""),
}
"""Scheme of a URL → its engine's module, its extra, and for clear text the scheme to use outside of this machine."""
NATS_CREDENTIALS = "-----BEGIN NATS USER JWT-----"


class AwayError(EventTreeError):
    """The engine cannot be reached, does not answer, or takes nothing now. It is tried again."""


class RefusedError(EventTreeError):
    """The engine refuses the credentials or the request. The relay is parked."""


class Chunk(NamedTuple):
    """Bytes of a log at an offset. A chunk without bytes reports the log's length, and that its process lives.

    The last chunk of an ended process is `ended`.
    """

    log: str
    offset: int
    data: bytes
    ended: bool = False
    left: int = 0
    """Bytes of the log that still wait after these, by its relay's knowledge."""
    before: tuple[str, int] | None = None
    """At a log's beginning: the log before it of the same process, and its length."""

    def pack(self) -> bytes:
        """The chunk as a message, framed like a line of a log, with the offset as its number."""
        head = pydantic_core.to_json([self.log, self.ended, self.left, self.before])
        return frame(self.offset, head + b"\n" + zlib.compress(self.data, 1))

    @classmethod
    def unpack(cls, message: bytes) -> Chunk:
        """A message, checked.

        Raises:
            ValueError: it is cut, flipped, for no log of ours or no chunk at all.
        """
        offset, body = unframe(message[:-1])
        head, _, packed = body.partition(b"\n")
        (log, *rest), inflate = HEAD.validate_json(head), zlib.decompressobj()
        with suppress(zlib.error):
            data = inflate.decompress(packed, CHUNK_BYTES + 1)
            if inflate.eof and len(data) <= CHUNK_BYTES and 0 <= offset <= MOST_BYTES:
                return cls(log, offset, data, *rest)
        raise ValueError("damaged message")


class Length(BaseModel):
    """The length of a log at a collector, which lacks the rest; without a log: that a collector is there."""

    log: LogName | Literal[""]
    size: NonNegativeInt


def pause_after(failures: int) -> float:
    """The pause in seconds before an engine is tried again after so many `failures` in a row."""
    return min(LONGEST_SECONDS, Backoff().delay(failures))


class Port:
    """One connection to an engine, used within `opened`, which turns a client's errors into ours."""

    errors: ClassVar[tuple[type[Exception], ...]] = ()
    """Exceptions of its client when the engine is away or refuses."""
    client: Any
    asked_at = ""
    """Subject of a collector's requests for missing bytes, where its answers do not reach relays."""

    def __init__(self, url: SplitResult) -> None:
        """Connect to nothing yet."""
        self.url = url
        self.split = self.most = 1
        """Partitions of processes that begin now, and of all: their number never falls."""
        self.asked: dict[str, int] = {}
        """Log → the offset from which a collector lacks it; the relay goes back there and empties this."""
        self.reported = ""
        """The last error that the engine has reported by itself: why it does not answer."""
        self.ends: list[Callable[[], Awaitable[object]]] = []
        """Steps that give back the leases and end the connection."""

    @asynccontextmanager
    async def opened(self, partitions: int | None = None) -> AsyncIterator[Self]:
        """Connect, with so many partitions (a relay takes as many as there are, or makes one); close at the end.

        Raises:
            AwayError, RefusedError: the client's error, without its words: they may quote a credential.
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
            if REFUSAL.search(f"{type(error).__name__} {error} {self.reported}"):
                raise RefusedError("the server refuses the credentials") from None
            why = f"{type(error).__name__} {getattr(error, 'description', '')}".strip()
            raise AwayError(f"it cannot be reached, or takes nothing ({why})") from None
        finally:
            for end in self.ends:
                with suppress(Exception):  # a lease expires; a broken connection may wait for ever
                    async with timeout(CLOSE_SECONDS):
                        await end()

    async def learn(self) -> None:
        """Look again.

        Raises:
            AwayError: somebody has emptied the engine.
        """
        await self.look()
        if not self.split:
            raise AwayError("somebody has emptied it")

    def partition_of(self, process: str) -> int:
        """The partition of a process's chunks: its part's, or another one in an engine that has fewer."""
        return int(process.rpartition(".")[2].partition("-")[2]) % self.most if "." in process else 0

    async def connect(self) -> None:
        """Connect with the credentials that are there now."""
        raise NotImplementedError

    async def look(self) -> None:
        """Learn the number of partitions (none in an empty engine), and the logs that are `asked`."""

    async def divide(self, count: int) -> None:
        """Split into so many partitions from now on; no partition goes."""
        raise NotImplementedError

    async def publish(self, partition: int, chunk: Chunk) -> None:
        """Return once the engine keeps the chunk, or has `asked` for bytes before it."""
        raise NotImplementedError

    async def lease(self, partition: int) -> bool:
        """Take or renew a partition for this collector; whether it has it."""
        return True

    async def receive(self, partition: int) -> list[tuple[bytes, Any]]:
        """The next messages, in order, each with the engine's mark for it; none after a second without any."""
        raise NotImplementedError

    async def answer(self, mark: Any, is_taken: bool, log: str, size: int | None) -> None:
        """Acknowledge a message that is written or need not be, else it comes again; `size` is its log's length now."""
        raise NotImplementedError

    async def advice(self) -> list[str]:
        """Notes on the engine's settings that let it lose acknowledged chunks."""
        return []

    async def ask(self, log: str, offset: int) -> None:
        """Ask the relays for a log again, from this offset on."""
        if self.asked_at:
            await self.client.publish(self.asked_at, pydantic_core.to_json({"log": log, "size": offset}))

    def add_asked(self, message: bytes) -> None:
        """Add a collector's request to `asked`; any other message is ignored."""
        with suppress(ValueError):
            there = Length.model_validate_json(message)
            self.asked |= {there.log: there.size} if there.log else {}


def port_at(url: str, *, serves: bool = False) -> Port:
    """A connection to open; with `serves`, a collector's. Settings with which it could never open are refused now.

    Raises:
        ConfigError: the URL is none, holds credentials, or would show what is recorded to the network; the engine's
            package is not installed; a credential cannot be read.
    """
    try:
        parts = urlsplit(url)
        name, extra, encrypted = SCHEMES[parts.scheme if parts.hostname and parts.port != 0 else ""]
    except (ValueError, KeyError):
        hint = f"Give one of {', '.join(SCHEMES)}://HOST, or set EVENTTREE_RELAY"
        raise ConfigError("relay", "it is no URL of an engine", hint) from None
    if parts.username or parts.password:
        raise ConfigError("relay", "the URL holds credentials", "Set EVENTTREE_RELAY_CREDS or EVENTTREE_RELAY_TOKEN")
    if encrypted and parts.hostname not in LOOPBACK:
        problem = f"{parts.scheme}:// would show all to the network"
        raise ConfigError("relay", problem, f"Use {encrypted}://{parts.netloc}")
    credentials()
    try:
        module = importlib.import_module(f"eventtree.relay.{name}")
        made = getattr(module, "Server", module.Engine) if serves else module.Engine
        return cast("Port", made(parts))
    except ImportError as error:
        hint = f"Run pip install 'eventtree[{extra}]'"
        raise ConfigError("relay", f"{error.name} is not installed", hint) from error


def named_vendors(given: Iterable[Any]) -> tuple[dict[str, str], ...]:
    """Vendors as a relayed tree names them: by their names, without key or host.

    Raises:
        ConfigError: there is no vendor of such a name.
    """
    names = [one.name if isinstance(one, Vendor) else vendor_class(str(one)).kind for one in given]
    return tuple({"name": name, "fingerprint": BY_NAME} for name in dict.fromkeys(names))


def credentials() -> tuple[str | None, str | None, str]:
    """A file of NATS credentials, if EVENTTREE_RELAY_CREDS names one; EVENTTREE_RELAY_USER; and the token or password:
    EVENTTREE_RELAY_TOKEN, or what else that file holds.

    Raises:
        ConfigError: the file cannot be read.
    """
    path, user, token = (os.environ.get(f"EVENTTREE_RELAY_{name}") or None for name in ("CREDS", "USER", "TOKEN"))
    try:
        text = Path(path).read_text().strip() if path else ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError("EVENTTREE_RELAY_CREDS", f"{path} cannot be read: {reason}", "Name a readable file") from None
    is_nats = text.startswith(NATS_CREDENTIALS)
    return (path if is_nats else None), user, token or ("" if is_nats else text)


def tls() -> ssl.SSLContext:
    """TLS 1.2 at least, verified against the usual authorities, or those of EVENTTREE_RELAY_CA."""
    try:
        context = ssl.create_default_context(cafile=os.environ.get("EVENTTREE_RELAY_CA") or None)
    except OSError as error:
        raise ConfigError("EVENTTREE_RELAY_CA", f"it cannot be read: {error.strerror}", "Name a PEM file") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
