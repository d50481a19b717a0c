"""HTTP/1.1 on sockets that are kept open: h11, the protocol library below httpx, on a protocol of asyncio's.

    Connections.ask ──▶ an idle or new one ──▶ request ──▶ the answer's head, its body in pieces ──▶ idle, or cut

httpx's layers above h11 (a pool, a second set of models, anyio's streams) are three quarters of the work of a small
request. Delivery needs none of them: it sends one finished request at a time on a connection. h11 reads the answers;
the few lines of a request's head are written here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from typing import Any, NamedTuple, Self

import h11

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


class ConnectError(OSError):
    """No connection: refused, no such name, or TLS failed."""


class ConnectTimeout(TimeoutError):  # noqa: N818  (as httpx calls it)
    """No connection in time."""


class ReadError(OSError):
    """The connection broke before the answer was complete."""


class Origin(NamedTuple):
    """A request's server."""

    scheme: str
    host: str
    port: int


Headers = Iterable[tuple[bytes, bytes]]


class Connections:
    """Connections to any hosts. Belongs to the event loop that first uses them."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        """Hold no connection yet; `context` is called for the first TLS host."""
        self._make_context = context
        self.idle: dict[Origin, list[Connection]] = {}
        self.open: set[Connection] = set()

    async def ask(
        self, origin: Origin, method: str, head: bytes, content: bytes, timeout: float | None
    ) -> tuple[Connection, int, Headers]:
        """Send a request with its head as given; returns the connection, and the answer's status and headers. The
        caller reads the body from the connection and closes it. `timeout` is for connecting.

        Raises:
            ConnectError, ConnectTimeout: nothing was sent.
            ReadError: the connection broke.
            h11.RemoteProtocolError: the answer is no HTTP.
        """
        connection = await self._idle_one(origin) or await self._connected(origin, timeout)
        try:
            return connection, *await connection.ask(method, head, content)
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

    async def ask(self, method: str, head: bytes, content: bytes) -> tuple[int, Headers]:
        """Send a request, and read its answer's status and headers."""
        # A new state for each request takes fewer steps than to end the last one's.
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        self._http.send(h11_request(method))
        if len(content) <= TOGETHER_BYTES:
            self._transport.write(head + content)
        else:
            self._transport.write(head)
            self._transport.write(content)
        while self._is_full or not (self._received or self._has_ended):
            await self._wait()  # h11 reads only once there are bytes
        self._take()
        event = await self._event()
        while not isinstance(event, h11.Response):  # 100, 103: the answer comes later
            event = await self._event()
        return event.status_code, event.headers.raw_items()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of the answer's body; ends after the last piece of a complete body."""
        event = await self._event()
        if not isinstance(event, h11.Data):
            raise StopAsyncIteration
        return bytes(event.data)

    async def aclose(self) -> None:
        """Make the connection idle if request and answer are complete and both sides keep it; else cut it."""
        # Bytes after the answer would be taken for the next request's answer.
        if self._has_ended or self._http.their_state is not h11.DONE or self._http.trailing_data[0]:
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

    async def _event(self) -> Any:
        """h11's next event."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            while not (self._received or self._has_ended):
                await self._wait()
            self._take()
        return event

    def _take(self) -> None:
        """Give received bytes to h11; none mean the end of the stream."""
        if self._error is not None and not self._received:
            raise ReadError(str(self._error)) from self._error
        self._http.receive_data(bytes(self._received))
        self._received.clear()
        if not self._has_ended:
            self._transport.resume_reading()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


@cache
def h11_request(method: str) -> Any:
    """A request's event for h11's state. Only the method matters there: it decides how an answer is read."""
    return h11.Request(method=method, target="/", headers=[("Host", "-")])
