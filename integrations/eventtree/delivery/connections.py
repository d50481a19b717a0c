"""Connections to one vendor: httpcore's HTTP/1.1 over asyncio's own transports.

httpcore's pool and its anyio streams take three quarters of a small request's time, for what delivery does not need: it
has a pool for each vendor, of a handful of connections to one host. Proxies are left to httpx (`http.py`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Any

import httpcore

MOST_WAITING = 256 * 1024
"""Bytes received and not yet asked for, beyond which nothing more is read."""
TOGETHER_BYTES = 64 * 1024
"""Pieces of a request smaller than this go out in one: its head and its body."""


class Connections:
    """The connections that are not in use: a handful, nearly always to one host."""

    def __init__(self, keepalive: float) -> None:
        """Keep idle ones so many seconds."""
        self._keepalive = keepalive
        self._idle: list[httpcore.AsyncHTTPConnection] = []

    async def take(self, origin: httpcore.Origin, context: ssl.SSLContext | None) -> httpcore.AsyncHTTPConnection:
        """An idle connection that still stands, else a new one, which connects with its first request."""
        for expired in [one for one in self._idle if one.has_expired()]:
            self._idle.remove(expired)
            await expired.aclose()
        for connection in reversed(self._idle):
            if connection.can_handle_request(origin):
                self._idle.remove(connection)
                return connection
        return httpcore.AsyncHTTPConnection(
            origin, ssl_context=context, keepalive_expiry=self._keepalive, network_backend=Backend()
        )

    def give_back(self, connection: httpcore.AsyncHTTPConnection) -> None:
        """Keep a connection whose answer was read to its end; any other is closed by now."""
        if connection.is_idle():
            self._idle.append(connection)

    async def close(self) -> None:
        """Close all that are idle."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.aclose()


class Backend(httpcore.AsyncNetworkBackend):
    """Sockets of the running event loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect, to whichever of the host's addresses answers first."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, wire = await loop.create_connection(Wire, host, port, happy_eyeballs_delay=0.25)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return Stream(wire)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class Wire(asyncio.Protocol):
    """One socket: what came and was not read yet, and whether more may be written."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.received: deque[bytes] = deque()
        self.size = 0
        self.is_over = False
        """Nothing more will come."""
        self.error: Exception | None = None
        self.is_tls = False
        self._is_paused = False
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._has_news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected, or (again) has TLS."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep what came until it is asked for."""
        self.received.append(data)
        self.size += len(data)
        if self.size > MOST_WAITING and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        self._has_news.set()

    def eof_received(self) -> bool:
        """The other side says no more; it may still listen, except under TLS."""
        self.is_over = True
        self._has_news.set()
        return not self.is_tls

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is closed."""
        self.is_over, self.error = True, error
        self._has_news.set()
        self._has_room.set()

    def pause_writing(self) -> None:
        """The other side takes nothing for now."""
        self._has_room.clear()

    def resume_writing(self) -> None:
        """It takes more again."""
        self._has_room.set()

    async def read(self) -> bytes:
        """What came since the last call, at least a byte; none once the other side has said no more.

        Raises:
            OSError: the connection broke. What came before is read first.
        """
        while not self.received:
            if self.error is not None:
                raise self.error
            if self.is_over:
                return b""
            self._has_news.clear()
            await self._has_news.wait()
        data = self.received.popleft()
        self.size -= len(data)
        if self._is_paused and self.size <= MOST_WAITING:
            self._is_paused = False
            self.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send, and wait while the other side takes nothing.

        Raises:
            OSError: the connection broke.
        """
        if not self.transport.is_closing():
            self.transport.write(data)
            await self._has_room.wait()
        if self.transport.is_closing():
            # The reset may have eaten a part of what the other side said before it: that is no answer.
            self.received.clear()
            raise self.error or ConnectionResetError("the connection is closed")


class Stream(httpcore.AsyncNetworkStream):
    """A wire as httpcore reads and writes it. The deadline of each exchange is the caller's, of all of it together."""

    def __init__(self, wire: Wire) -> None:
        """Send nothing yet."""
        self._wire = wire
        self._unsent: list[bytes] = []

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes of the answer, however many; before it waits, all of the request goes out."""
        try:
            if self._unsent:
                await self._send()
            return await self._wire.read()
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send, small pieces once the answer is asked for."""
        self._unsent.append(buffer)
        if len(buffer) > TOGETHER_BYTES:
            try:
                await self._send()
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """Close at once: nothing that matters is on its way."""
        self._wire.transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Go on under TLS."""
        wire = self._wire
        wire.is_tls = True
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().start_tls(
                    wire.transport, wire, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            wire.transport.abort()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            wire.transport.abort()
            # A side that refuses the other's versions may just close.
            broken = error if isinstance(error, ssl.SSLError) else ssl.SSLError("handshake failed")
            raise httpcore.ConnectError(str(error)) from broken
        except BaseException:
            wire.transport.abort()
            raise
        assert found is not None
        wire.transport = found
        return self

    def get_extra_info(self, info: str) -> Any:
        """Whether the other side has closed an idle connection; the socket's own facts."""
        if info == "is_readable":
            return self._wire.is_over or bool(self._wire.received)
        return self._wire.transport.get_extra_info(info)

    async def _send(self) -> None:
        data, self._unsent = b"".join(self._unsent), []
        await self._wire.write(data)
