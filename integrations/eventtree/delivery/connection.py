"""A connection to a vendor's server: one HTTP/1.1 request at a time on it, as many after each other as it lives.

    idle one, or a new one ──▶ request ──▶ the answer's head, its body in pieces ──▶ idle, or cut

An HTTP library's pool, models and state machine are nine tenths of the work of a small request. Delivery needs little
of them: it writes requests as they are, follows nothing, and takes answers in the three ways in which a body ends.
"""

from __future__ import annotations

import asyncio
import math
import re
import ssl
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

KEEPALIVE = 15.0
"""Seconds an idle connection is kept: well below the 60 s after which load balancers drop it."""
HEAD_BYTES = 100 * 1024
"""A larger block of headers is refused."""
AHEAD_BYTES = 256 * 1024
"""Received and not asked for yet: beyond this nothing more is taken off the socket."""
TOGETHER_BYTES = 64 * 1024
"""A body up to this size leaves in one piece with its headers."""
SHORT = 0.05
"""Seconds: whoever has been idle for longer may have been left, which the loop has not seen yet."""
NEXT_ADDRESS = 0.25
"""Seconds before the host's next address is tried beside one that does not answer (RFC 8305)."""

END = re.compile(rb"\n\r?\n")
HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\0\r\n]*)?\r?\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*\r?\n(?:[ \t][^\0\r\n]*\r?\n)*)*)\r?\n"
)
"""A status line, then headers (RFC 9112); a header may go on in lines that begin with a space."""
FIELD = re.compile(r"([^:\n]+):[ \t]*(.*?)[ \t]*\n")
CHUNK = re.compile(rb"(?:\r\n)?([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
LAST = re.compile(rb"(?:[^\r\n]+\r\n)*\r\n")
"""What stands behind the last chunk: headers again, which nobody reads."""
LINE_END = re.compile(r"\r?\n(?=[ \t])|\r")
"""What is left out between the lines of one header, and at the end of others."""
MOST_LINE = 16 * 1024
NO_BODY = frozenset({204, 304})


class ConnectError(OSError):
    """No connection: refused, no such name, or TLS failed."""


class ConnectTimeout(TimeoutError):  # noqa: N818  (as httpx calls it)
    """No connection in time."""


class ReadError(OSError):
    """The connection broke before its answer was there."""


class RemoteProtocolError(Exception):
    """What came back is no HTTP, or ended too early."""


class Origin(NamedTuple):
    """The server that a request is for."""

    scheme: str
    host: str
    port: int


class Connections:
    """Connections to any hosts; belongs to the event loop it is first used in."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        """`context` is asked for once there is a host that wants TLS."""
        self._make_context = context
        self.idle: dict[Origin, list[Connection]] = {}
        self.open: set[Connection] = set()

    async def ask(self, origin: Origin, head: bytes, content: bytes, timeout: float | None) -> Connection:
        """Send a request, its head as it stands; returns the connection once status and headers of the answer are
        there. It has the body, and wants to be closed. `timeout` is for connecting.

        Raises:
            ConnectError, ConnectTimeout: nothing was sent.
            ReadError: the connection broke.
            RemoteProtocolError: what came back is no HTTP.
        """
        connection = await self._idle_one(origin) or await self._connected(origin, timeout)
        try:
            await connection.ask(head, content)
        except BaseException:
            connection.cut()
            raise
        return connection

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
            await asyncio.sleep(0)  # the loop looks at its sockets: what a server has closed meanwhile is known then
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
    """One socket, and how far the answer on it has been read."""

    def __init__(self, origin: Origin, all_of_them: Connections) -> None:
        """Stand among all that are open until the socket is gone."""
        self.lost = asyncio.Event()
        self.idle_since = 0.0
        self.status = 0
        self.headers: dict[str, str] = {}
        self._origin = origin
        self._all = all_of_them
        self._received = bytearray()
        self._left = 0.0
        """Bytes of the body, or of its chunk, that are still to come; infinite where the connection's end is its."""
        self._has_chunks = False
        self._is_kept = False
        """Both sides keep the connection once the answer is over."""
        self._has_ended = False
        self._error: Exception | None = None
        self._is_full = False
        self._news = asyncio.Event()

    # -- what the loop calls: the socket's side ---------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport: asyncio.Transport = transport
        self._all.open.add(self)

    def data_received(self, data: bytes) -> None:
        """Keep what has come; no more is read while much is there."""
        self._received += data
        if len(self._received) > AHEAD_BYTES:
            self._transport.pause_reading()
        self._news.set()

    def eof_received(self) -> None:
        """Nothing more will come."""
        self._has_ended = True
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing more will come or go. What came before is still read: it may be the answer (a 413)."""
        self._error = error
        self._is_full = False
        self._all.open.discard(self)
        self.lost.set()
        self.eof_received()

    def pause_writing(self) -> None:
        """Wait until the other side has taken more."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_full = False
        self._news.set()

    # -- one request and its answer ---------------------------------------------------------------------------------

    async def ask(self, head: bytes, content: bytes) -> None:
        """Send a request, and read status and headers of its answer."""
        self._is_kept = False
        if len(content) <= TOGETHER_BYTES:
            self._transport.write(head + content)
        else:
            self._transport.write(head)
            self._transport.write(content)
        while self._is_full:
            await self._heard()
        self.status = 100
        while self.status < 200:  # 100, 103: the answer is still to come
            await self._read_head()

    async def _read_head(self) -> None:
        found = HEAD.fullmatch(await self._until(END.search, HEAD_BYTES))
        if found is None:
            raise RemoteProtocolError
        version, status, fields = found.groups()
        self.status, self.headers = int(status), (headers := dict[str, str]())
        for name, value in FIELD.findall(LINE_END.sub("", fields.decode("latin-1"))):
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        said = headers.get
        self._is_kept = version == b"1" and "close" not in said("connection", "").lower().replace(",", " ").split()
        self._has_chunks = said("transfer-encoding", "").lower() == "chunked"
        length, *others = {each.strip() for each in said("content-length", "").split(",")}
        is_odd = others or (length and not (length.isascii() and length.isdigit()))
        if is_odd or self.status == 101 or ("transfer-encoding" in headers and not self._has_chunks):
            raise RemoteProtocolError
        if self.status in NO_BODY or self.status < 200:
            self._has_chunks, length = False, "0"
        self._left = 0 if self._has_chunks else int(length) if length else math.inf

    async def piece(self) -> bytes | None:
        """The next of the answer's body; None behind the last, if that is whole."""
        if self._has_chunks and not self._left:
            line = await self._until(CHUNK.match, MOST_LINE)
            self._left = int(line.partition(b";")[0], 16)
            if not self._left:
                await self._until(LAST.match, HEAD_BYTES)
                self._has_chunks = False
        if not self._left:
            return None
        while not self._received:
            if self._has_ended and self._left == math.inf and self._error is None:
                self._left, self._is_kept = 0, False
                return None
            await self._more()
        piece = self._taken(int(min(len(self._received), self._left)))
        self._left -= len(piece)
        return piece

    def close(self) -> None:
        """Wait for another request, where this one and its answer are over and both sides keep the connection."""
        if self._has_ended or self._left or self._has_chunks or not self._is_kept:
            self.cut()
            return
        self.idle_since = asyncio.get_running_loop().time()
        self._all.idle.setdefault(self._origin, []).append(self)

    def is_fresh(self, now: float) -> bool:
        """Whether a connection that was idle can be used: nobody has closed it, or spoken unasked."""
        return not (self._has_ended or self._received) and now - self.idle_since < KEEPALIVE

    def cut(self) -> None:
        """Give the connection up."""
        self._transport.abort()

    async def _until(self, find: Callable[[bytearray], re.Match[bytes] | None], most: int) -> bytes:
        """What has come up to the end of what is looked for, in so many bytes at most; it is not among those left."""
        while (found := find(self._received)) is None and len(self._received) <= most:
            await self._more()
        if found is None or found.end() > most:
            raise RemoteProtocolError
        return self._taken(found.end())

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        if not self._has_ended:
            self._transport.resume_reading()
        return taken

    async def _more(self) -> None:
        """Wait until more has come.

        Raises:
            ReadError, RemoteProtocolError: nothing more will.
        """
        if self._error is not None:
            raise ReadError(str(self._error)) from self._error
        if self._has_ended:
            raise RemoteProtocolError
        await self._heard()

    async def _heard(self) -> None:
        self._news.clear()
        await self._news.wait()
