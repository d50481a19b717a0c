"""HTTP/1.1 on sockets that are kept open, on a protocol of asyncio's.

    Connections.ask ──▶ an idle or new one ──▶ request ──▶ the answer's head, its body in pieces ──▶ idle, or cut

A general library (httpx on a pool, h11 and anyio's streams) takes ten times as long for a small request. Delivery sends
one finished request at a time on a connection, and needs of an answer only what is read here: its head, and where its
body ends. An answer that leaves that open, or two answers to it, is none.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, Self

KEEPALIVE = 15.0
"""Seconds an idle connection is kept: well below the 60 s after which load balancers drop it."""
HEAD_BYTES = 100 * 1024
"""Most bytes of an answer's headers; more are refused."""
AHEAD_BYTES = 256 * 1024
"""Received bytes beyond which the socket is not read until some are used."""
TOGETHER_BYTES = 64 * 1024
"""A body up to this size leaves in one piece with its headers."""
SHORT = 0.05
"""Idle seconds after which the server may have closed a connection without the loop's notice."""
NEXT_ADDRESS = 0.25
"""Seconds before the host's next address is tried while one does not answer (RFC 8305)."""


HEAD_END, LINE_END = re.compile(rb"\n\r?\n"), re.compile(rb"\n")
LINE = rb"[^\r\n\0]*\r?\n"
HEAD = re.compile(
    rb"HTTP/(\d\.\d) ([1-9]\d\d)(?: %b|\r?\n)((?:[!#$%%&'*+.^_`|~0-9A-Za-z-]+:%b(?:[ \t]%b)*)*)\r?\n"
    % (LINE, LINE, LINE)
)
"""Version, status and headers; a header may go on in the next lines."""
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
EMPTY = (b"\r\n", b"\n")
BLANKS = " \t\r"
LENGTH = re.compile(r"\d{0,15}")
BODILESS = frozenset({204, 304})


class ConnectError(OSError):
    """No connection: refused, no such name, or TLS failed."""


class ConnectTimeout(TimeoutError):  # noqa: N818  (as httpx calls it)
    """No connection in time."""


class ReadError(OSError):
    """The connection broke before the answer was complete."""


class RemoteProtocolError(ValueError):
    """An answer that is no HTTP, or that ended too early."""


class Origin(NamedTuple):
    """A request's server."""

    scheme: str
    host: str
    port: int


Headers = Mapping[str, str]
"""By names in lower case; repeated ones are joined by commas."""


class Connections:
    """Connections to any hosts. Belongs to the event loop that first uses them."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        """Hold no connection yet; `context` is called for the first TLS host."""
        self._make_context = context
        self.idle: dict[Origin, list[Connection]] = {}
        self.open: set[Connection] = set()

    async def ask(
        self, origin: Origin, head: bytes, content: bytes, timeout: float | None
    ) -> tuple[Connection, int, Headers]:
        """Send a request with its head as given; returns the connection, and the answer's status and headers. The
        caller reads the body from the connection and closes it. `timeout` is for connecting.

        Raises:
            ConnectError, ConnectTimeout: nothing was sent.
            ReadError: the connection broke.
            RemoteProtocolError: the answer is no HTTP.
        """
        connection = await self._idle_one(origin) or await self._connected(origin, timeout)
        try:
            return connection, *await connection.ask(head, content)
        except BaseException:
            connection.cut()
            raise

    async def close(self) -> None:
        """Close all connections, and wait until their sockets are gone; `ask` opens new ones."""
        self.idle.clear()
        for connection in list(self.open):
            connection.cut()
            await connection.lost.wait()

    async def _idle_one(self, origin: Origin) -> Connection | None:
        idle = self.idle.get(origin)
        if not idle:
            return None
        now = asyncio.get_running_loop().time()
        if now - idle[-1].idle_since > SHORT:
            await asyncio.sleep(0)  # the loop polls its sockets and sees which ones a server has closed
        while idle:
            connection = idle.pop()
            if connection.is_fresh(now):
                return connection
            connection.cut()
        return None

    async def _connected(self, origin: Origin, timeout: float | None) -> Connection:
        is_secure = origin.scheme == "https"
        try:
            async with asyncio.timeout(timeout):
                _, made = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(origin, self), origin.host, origin.port,
                    ssl=self._context if is_secure else None, server_hostname=origin.host if is_secure else None,
                    happy_eyeballs_delay=NEXT_ADDRESS,
                )  # fmt: skip
        except TimeoutError:
            raise ConnectTimeout from None
        except OSError as error:
            was_refused = not isinstance(error, ConnectionError) or isinstance(error, ConnectionRefusedError)
            raise ConnectError(str(error) if was_refused or not is_secure else "TLS: handshake failed") from error
        return made

    @cached_property
    def _context(self) -> ssl.SSLContext:
        context = self._make_context()
        context.set_alpn_protocols(["http/1.1"])
        return context


class Connection(asyncio.Protocol):
    """One socket, and the state of HTTP on it."""

    def __init__(self, origin: Origin, all_of_them: Connections) -> None:
        """Prepare for a socket; `all_of_them` lists the connection while it is open."""
        self.lost = asyncio.Event()
        self._origin = origin
        self._all = all_of_them
        self.idle_since = 0.0
        self._received = bytearray()
        self._left: int | None = 0
        """Bytes of the body that are still to come, or of its present chunk; None until the connection's end."""
        self._is_chunked = False
        """Whether another chunk may come."""
        self._is_in_chunk = False
        self._is_kept = False
        """Whether the server keeps the connection open."""
        self._has_ended = False
        self._error: Exception | None = None
        self._is_full = False
        self._news = asyncio.Event()

    # -- callbacks of the loop: the socket's side -------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """List the connection as open."""
        self._transport: asyncio.Transport = transport
        self._all.open.add(self)

    def data_received(self, data: bytes) -> None:
        """Keep received bytes; stop reading the socket while there are many."""
        self._received += data
        if len(self._received) > AHEAD_BYTES:
            self._transport.pause_reading()
        self._news.set()

    def eof_received(self) -> None:
        """Note that no more bytes will come."""
        self._has_ended = True
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Note the loss. Bytes received before are still read: they may be the answer (a 413)."""
        self._error = error
        self._is_full = False
        self._all.open.discard(self)
        self.lost.set()
        self.eof_received()

    def pause_writing(self) -> None:
        """Wait until the server has taken more."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Stop waiting for the server."""
        self._is_full = False
        self._news.set()

    # -- one request and its answer ---------------------------------------------------------------------------------

    async def ask(self, head: bytes, content: bytes) -> tuple[int, Headers]:
        """Send a request, and read its answer's status and headers."""
        if len(content) <= TOGETHER_BYTES:
            self._transport.write(head + content)
        else:
            self._transport.write(head)
            self._transport.write(content)
        while self._is_full or not (self._received or self._has_ended):
            await self._wait()
        version, status, headers = await self._head()
        while status < 200:  # 100, 103: the answer comes later
            await asyncio.sleep(0)
            version, status, headers = await self._head()
        coding = headers.get("transfer-encoding", "").lower()
        length, *others = {one.strip() for one in headers.get("content-length", "").split(",")}
        if others or coding not in ("", "chunked") or not LENGTH.fullmatch(length):
            raise RemoteProtocolError("no end of the body is certain")
        self._is_chunked, self._is_in_chunk = bool(coding) and status not in BODILESS, False
        self._left = 0 if coding or status in BODILESS else int(length) if length else None
        self._is_kept = version >= b"1.1" and "close" not in headers.get("connection", "").lower()
        return status, headers

    async def _head(self) -> tuple[bytes, int, Headers]:
        found = HEAD.fullmatch(await self._until(HEAD_END))
        if found is None:
            raise RemoteProtocolError("no HTTP")
        headers: dict[str, str] = {}
        name = ""
        for line in found[3].decode("latin-1").split("\n")[:-1]:
            if line[0] in " \t":
                headers[name] = f"{headers[name]} {line.strip(BLANKS)}"
                continue
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip(BLANKS)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return found[1], int(found[2]), headers

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of the answer's body; ends after the last piece of a complete body."""
        if self._is_chunked and self._left == 0:
            await self._next_chunk()
        if self._left == 0:
            raise StopAsyncIteration
        while not self._received:
            if self._left is None and self._has_ended and self._error is None:
                raise StopAsyncIteration
            await self._more()
        piece = self._taken(len(self._received) if self._left is None else min(self._left, len(self._received)))
        if self._left is not None:
            self._left -= len(piece)
        return piece

    async def _next_chunk(self) -> None:
        is_ended = not self._is_in_chunk or await self._until(LINE_END) in EMPTY
        found = CHUNK.fullmatch(await self._until(LINE_END)) if is_ended else None
        if found is None:
            raise RemoteProtocolError("no chunk")
        self._left, self._is_in_chunk = int(found[1], 16), True
        if self._left == 0:
            while await self._until(LINE_END) not in EMPTY:
                await asyncio.sleep(0)  # headers behind the body
            self._is_chunked = False

    async def aclose(self) -> None:
        """Make the connection idle if request and answer are complete and both sides keep it; else cut it."""
        # Bytes after the answer would be taken for the next request's answer.
        if self._left != 0 or self._is_chunked or not self._is_kept or self._has_ended or self._received:
            self.cut()
            return
        self.idle_since = asyncio.get_running_loop().time()
        self._all.idle.setdefault(self._origin, []).append(self)

    def is_fresh(self, now: float) -> bool:
        """Whether an idle connection can be used: not closed, no unasked bytes, not idle too long."""
        return not (self._has_ended or self._received) and now - self.idle_since < KEEPALIVE

    def cut(self) -> None:
        """Abort the connection."""
        self._transport.abort()

    async def _until(self, end: re.Pattern[bytes]) -> bytes:
        """The received bytes up to this end, once it has come."""
        begin = 0
        while (found := end.search(self._received, begin)) is None:
            begin = max(0, len(self._received) - 2)
            if begin > HEAD_BYTES:
                raise RemoteProtocolError("headers without end")
            await self._more()
        return self._taken(found.end())

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        if not self._has_ended:
            self._transport.resume_reading()
        return taken

    async def _more(self) -> None:
        """Wait for more bytes of the answer, which is not complete."""
        if self._has_ended:
            raise ReadError(str(self._error)) if self._error is not None else RemoteProtocolError("cut off")
        await self._wait()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()
