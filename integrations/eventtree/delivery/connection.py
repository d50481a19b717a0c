"""HTTP/1.1 on sockets that are kept open: h11, the protocol library below httpx, on a protocol of asyncio's.

    Connections.ask ──▶ one that is idle, or new ──▶ request ──▶ the answer's head, its body in pieces ──▶ idle, or cut

What httpx has between its transport and h11 (a pool, a second set of models, anyio's streams) is three quarters of the
work of a small request. Delivery needs none of it: one request at a time on a connection, to one vendor, as it is.
h11 reads what comes back. It is told of each request that there is one; the few lines of its head are written here.
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
"""A larger block of headers is refused."""
AHEAD_BYTES = 256 * 1024
"""Received and not asked for yet: beyond this nothing more is taken off the socket."""
TOGETHER_BYTES = 64 * 1024
"""A body up to this size leaves in one piece with its headers."""
SHORT = 0.05
"""Seconds: whoever has been idle for longer may have been left, which the loop has not seen yet."""
NEXT_ADDRESS = 0.25
"""Seconds before the host's next address is tried beside one that does not answer (RFC 8305)."""


class ConnectError(OSError):
    """No connection: refused, no such name, or TLS failed."""


class ConnectTimeout(TimeoutError):  # noqa: N818  (as httpx calls it)
    """No connection in time."""


class ReadError(OSError):
    """The connection broke before its answer was there."""


class Origin(NamedTuple):
    """The server that a request is for."""

    scheme: str
    host: str
    port: int


Headers = Iterable[tuple[bytes, bytes]]


class Connections:
    """Connections to any hosts; belongs to the event loop it is first used in."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        """`context` is asked for once there is a host that wants TLS."""
        self._make_context = context
        self.idle: dict[Origin, list[Connection]] = {}
        self.open: set[Connection] = set()

    async def ask(
        self, origin: Origin, method: str, head: bytes, content: bytes, timeout: float | None
    ) -> tuple[Connection, int, Headers]:
        """Send a request, its head as it stands; returns status and headers of the answer once they are there, and the
        connection, which has its body and wants to be closed. `timeout` is for connecting.

        Raises:
            ConnectError, ConnectTimeout: nothing was sent.
            ReadError: the connection broke.
            h11.RemoteProtocolError: what came back is no HTTP.
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
    """One socket, and how far HTTP has got on it."""

    def __init__(self, origin: Origin, all_of_them: Connections) -> None:
        """Stand among all that are open until the socket is gone."""
        self.lost = asyncio.Event()
        self._origin = origin
        self._all = all_of_them
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        self.idle_since = 0.0
        self._received = bytearray()
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

    async def ask(self, method: str, head: bytes, content: bytes) -> tuple[int, Headers]:
        """Send a request, and read status and headers of its answer."""
        for event in told(method):
            self._http.send(event)
        if len(content) <= TOGETHER_BYTES:
            self._transport.write(head + content)
        else:
            self._transport.write(head)
            self._transport.write(content)
        while self._is_full or not (self._received or self._has_ended):
            await self._heard()  # h11 is asked once there is something to read
        self._take()
        event = await self._event()
        while not isinstance(event, h11.Response):  # 100, 103: the answer is still to come
            event = await self._event()
        return event.status_code, event.headers

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of the answer's body; it stops behind the last, if that is whole."""
        event = await self._event()
        if not isinstance(event, h11.Data):
            raise StopAsyncIteration
        return bytes(event.data)

    async def aclose(self) -> None:
        """Wait for another request, where this one and its answer are over and both sides keep the connection."""
        is_over = self._http.our_state is self._http.their_state is h11.DONE
        # What has come behind the answer would be taken for that to the next request.
        if self._has_ended or not is_over or self._http.trailing_data[0]:
            self.cut()
            return
        self._http.start_next_cycle()
        self.idle_since = asyncio.get_running_loop().time()
        self._all.idle.setdefault(self._origin, []).append(self)

    def is_fresh(self, now: float) -> bool:
        """Whether a connection that was idle can be used: nobody has closed it, or spoken unasked."""
        return not (self._has_ended or self._received) and now - self.idle_since < KEEPALIVE

    def cut(self) -> None:
        """Give the connection up."""
        self._transport.abort()

    async def _event(self) -> Any:
        """The next event of the protocol."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            while not (self._received or self._has_ended):
                await self._heard()
            self._take()
        return event

    def _take(self) -> None:
        """Hand what was received to the protocol; nothing is the end of the stream."""
        if self._error is not None and not self._received:
            raise ReadError(str(self._error)) from self._error
        self._http.receive_data(bytes(self._received))
        self._received.clear()
        if not self._has_ended:
            self._transport.resume_reading()

    async def _heard(self) -> None:
        self._news.clear()
        await self._news.wait()


@cache
def told(method: str) -> tuple[Any, Any]:
    """A request as far as h11 has to know of it: what comes back, and what may follow, depends on the method alone."""
    return h11.Request(method=method, target="/", headers=[("Host", "-")]), h11.EndOfMessage()
