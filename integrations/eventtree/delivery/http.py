"""One HTTP exchange, bounded in time and bytes. The only file that knows httpx.

A request uses our own connections (connection.py), or httpx's transport if the environment names a proxy for its host.

    send(request, auth) ──▶ headers arrived ──▶ Reply       the vendor has answered, however its body ends
                        └─▶ anything before ──▶ RequestError   the outcome is unknown; delivery retries
                                                (UnansweredError, where a smaller request may help)

- `deadline` covers the whole exchange: connecting, TLS, a slow upload, silence, a body that drips.
- A reply's body stops at `max_reply_bytes`, counted as received and again as decompressed (zlib gets the bound, so
  a bomb is never inflated beyond it). Header blocks over 100 kB are refused by the protocol library below.
- Nothing is followed or added to delivery's request: no redirects, no cookies, no .netrc. Proxies of the environment
  apply, except to loopback.
- TLS is always verified, 1.2 at least. No setting turns that off.
- An error's text names the failure and `base_url`, never a header, a payload or a server's text.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
import zlib
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.request import getproxies, proxy_bypass

import h11

from eventtree import diagnostics
from eventtree.config import BOUNDS
from eventtree.delivery.connection import KEEPALIVE, Connections, Origin
from eventtree.errors import ConfigError, RequestError
from eventtree.remembered import Remembered
from eventtree.serializer.requests import Request
from eventtree.serializer.vendor import is_loopback

if TYPE_CHECKING:
    import httpx

OWN_HEADERS = (("User-Agent", "eventtree"), ("Accept-Encoding", "identity"), ("Connection", "keep-alive"))
PORTS = {"http": 80, "https": 443}
MOST_PORTS = 65_535
HEADS = 64
PIECES_IN_A_ROW = 256
"""Pieces of a body taken before other tasks have a turn: one read may have thousands of one-byte chunks."""

SENDABLE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: (?! )[ -~]*(?<! )", re.ASCII)
"""A valid header. Checked here: the libraries below quote a bad one, with its key, in errors and debug logs."""

WORDS: Mapping[str, str] = {
    "ConnectTimeout": "no connection within {connect:g} s. {check}",
    "ConnectError": "{error}. {check}",
    "ProxyError": "the proxy makes no connection{answered}. {check}",
    "TimeoutException": "no answer within {deadline:g} s",
    "TimeoutError": "no answer within {deadline:g} s",
    "RemoteProtocolError": "the answer is cut or not valid HTTP",
    "LocalProtocolError": "cannot be sent: base_url holds a character that HTTP forbids",
    "UnsupportedProtocol": "cannot be sent. {check}",
    "InvalidURL": "cannot be sent. Check base_url and the proxy settings of the environment",
    "ValueError": "cannot be sent. Check base_url and the proxy settings of the environment",
    "ExceptionGroup": "no connection. {check}",
    "ImportError": "the proxy of the environment needs a package that is not installed (socks: `httpx[socks]`)",
    "NetworkError": "{error}",
    "OSError": "{error}",
}
"""Class of a failure → the text that reports it; the nearest class wins. Only the operating system's texts are passed
on: others may quote a header (the key) or an answer (the payload, echoed).
"""


UNANSWERED = frozenset(
    {"ReadError", "WriteError", "ReadTimeout", "WriteTimeout", "RemoteProtocolError", "TimeoutError"}
)


class UnansweredError(RequestError):
    """A request went out, wholly or in part, and no answer came back: a smaller one may get through.

    A server that refuses a large body by closing at once (its 413 is lost in the reset), or an uplink too slow for
    the deadline, looks like this each time.
    """


class Answer(NamedTuple):
    """An answer's head, and the source of its body."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterable[bytes]
    close: Callable[[], Awaitable[None]]


class Reply(NamedTuple):
    """A vendor's answer."""

    status: int
    headers: Mapping[str, str]
    """Repeated ones are joined by commas."""
    body: bytes
    truncated: bool
    """The body is incomplete: too long, cut off, too slow or not decodable."""


class Http:
    """Sends requests over one pool of connections. Belongs to the event loop that first uses it."""

    def __init__(
        self,
        *,
        deadline: float = 30.0,
        max_reply_bytes: int = BOUNDS.reply_bytes,
        connect_timeout: float = 5.0,
        verify: ssl.SSLContext | Literal[True] = True,
    ) -> None:
        """Set the bounds; `verify` may be a strict context with a private authority's certificates."""
        if verify is not True:
            check_context(verify)
        self._deadline = deadline
        self._connect_timeout = connect_timeout
        self.max_reply_bytes = max_reply_bytes
        self._verify = verify
        self._heads: Remembered[tuple[Any, ...], bytes] = Remembered(HEADS)
        """Headers → the lines that all requests with them share."""
        self._connections = Connections(self._context)
        self._proxy_of: Remembered[Server, str | None] = Remembered(HEADS, proxy_for)
        """Looked up once, since it goes through the whole environment."""
        self._proxies: dict[str, httpx.AsyncHTTPTransport] = {}

    async def send(self, request: Request, auth: Mapping[str, str]) -> Reply:
        """Send a request; returns the vendor's answer, or raises `RequestError` if none came within the deadline."""
        answer = body = failure = None
        ended = False
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._answer(request, auth)
                body = Body(answer.headers.get("content-encoding", ""), self.max_reply_bytes)
                ended = await body.take_all(answer.pieces)
        except failures() as error:
            # Once the head is there the vendor has answered: the reply has the body so far, marked as truncated.
            failure = self._failure(error, request.url) if answer is None else None
        finally:
            if answer is not None:
                await answer.close()
        if answer is None or body is None:
            assert failure is not None
            raise failure  # outside the except block: the original error may quote the key
        if diagnostics.logger.isEnabledFor(logging.DEBUG):
            diagnostics.logger.debug("%s %s: %s", request.method, origin_of(request.url), answer.status)
        if body.is_too_long:
            diagnostics.truncations["reply_bytes"] += 1
        return Reply(answer.status, answer.headers, bytes(body.kept), truncated=not (body.is_whole and ended))

    async def close(self) -> None:
        """Close all connections; `send` opens new ones."""
        while self._proxies:
            await self._proxies.popitem()[1].aclose()
        await self._connections.close()

    async def _answer(self, request: Request, auth: Mapping[str, str]) -> Answer:
        """Ask the vendor directly, or by the environment's proxy for its host."""
        server, path = target_of(request.url)
        given = (("Host", server.name), *OWN_HEADERS, *request.headers.items(), *auth.items())
        lines = self._heads.get(given)
        if lines is None:
            if not all(SENDABLE.fullmatch(f"{name}: {value}") for name, value in given):
                raise RequestError("cannot be sent: the key holds a character that HTTP forbids, or a space at its end")
            lines = self._heads.keep(given, "".join([f"{name}: {value}\r\n" for name, value in given]).encode("ascii"))
        proxy = self._proxy_of[server]
        if proxy is not None:
            return await self._answer_by_proxy(proxy, request, given)
        if request.content or request.method != "GET":
            lines = b"%sContent-Length: %d\r\n" % (lines, len(request.content))
        head = b"%s %s HTTP/1.1\r\n%s\r\n" % (request.method.encode(), path, lines)
        asked = self._connections.ask(server.origin, request.method, head, request.content, self._connect_timeout)
        connection, status, headers = await asked
        return Answer(status, joined(headers), connection, connection.aclose)

    async def _answer_by_proxy(self, proxy: str, request: Request, headers: tuple[tuple[str, str], ...]) -> Answer:
        import httpx

        transport = self._proxies.get(proxy)
        if transport is None:
            context = self._context()
            transport = self._proxies[proxy] = httpx.AsyncHTTPTransport(
                verify=context,
                proxy=httpx.Proxy(proxy, ssl_context=context if proxy.startswith("https:") else None),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=KEEPALIVE),
            )
        timeout = {"connect": self._connect_timeout, "read": self._deadline, "write": self._deadline, "pool": None}
        outgoing = httpx.Request(
            request.method, request.url, headers=headers, content=request.content, extensions={"timeout": timeout}
        )
        # Without httpx's client, which logs each request in the app's log, and adds cookies and .netrc's credentials.
        response = await transport.handle_async_request(outgoing)
        return Answer(response.status_code, response.headers, response.aiter_raw(), response.aclose)

    def _context(self) -> ssl.SSLContext:
        return strict_context() if self._verify is True else self._verify

    def _failure(self, error: Exception, url: str) -> RequestError:
        kind = UnansweredError if type(error).__name__ in UNANSWERED else RequestError
        return kind(self._words(error, url))

    def _words(self, error: Exception, url: str) -> str:
        words = str(error)[:200]
        asked_proxy = type(error).__module__.startswith("httpx")
        check = f"Check base_url {origin_of(url)}{' and the proxy settings of the environment' if asked_proxy else ''}"
        broken_tls = tls_error(error)
        if broken_tls is not None:
            reason = (
                getattr(broken_tls, "verify_message", "") or getattr(broken_tls, "reason", "") or "handshake failed"
            )
            return f"{type(error).__name__}: TLS: {reason}. {check}"
        template = next((WORDS[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in WORDS), None)
        if template is None:
            return type(error).__name__
        words = template.format(
            error=words or "the connection broke", check=check,
            answered=f" (it answered {words[:3]})" if words[:3].isdecimal() else "",
            deadline=self._deadline, connect=self._connect_timeout,
        )  # fmt: skip
        return f"{type(error).__name__}: {words}"


class Body:
    """Collects a reply's body up to `limit` bytes, decompressing on the way."""

    def __init__(self, encoding: str, limit: int) -> None:
        """Decode a `Content-Encoding`; with an unknown one the body is unreadable."""
        coding = encoding.strip().lower()
        self.kept = bytearray()
        self.pieces = 0
        self.is_too_long = False
        self._received = 0
        self._limit = limit
        self._readable = coding in ("", "identity", "gzip", "x-gzip", "deflate")
        self._inflate = zlib.decompressobj(wbits=47) if coding.endswith(("gzip", "deflate")) else None  # 47: either

    @property
    def is_whole(self) -> bool:
        """Whether every piece so far was kept, and a compressed body is complete."""
        inflate = self._inflate
        return self._readable and (not inflate or not self._received or (inflate.eof and not inflate.unused_data))

    async def take_all(self, pieces: AsyncIterable[bytes]) -> bool:
        """Add all pieces. True at their end, False once no more is wanted."""
        async for piece in pieces:
            if not self.take(piece):
                return False
            if self.pieces % PIECES_IN_A_ROW == 0:
                await asyncio.sleep(0)
        return True

    def take(self, piece: bytes) -> bool:
        """Add a received piece; False once no more is wanted."""
        self.pieces += 1
        self._received += len(piece)
        if self._readable:
            try:
                self._keep(piece)
            except zlib.error:
                self._readable = False
        self.is_too_long = self.is_too_long or self._received > self._limit
        self._readable = self._readable and not self.is_too_long
        return self._readable

    def _keep(self, piece: bytes) -> None:
        room = self._limit - len(self.kept)
        if self._inflate is not None:
            piece = self._inflate.decompress(piece, max_length=room + 1)  # one more byte shows that it is too long
        self.kept += piece[:room]
        self._readable = len(piece) <= room
        self.is_too_long = not self._readable


@cache
def failures() -> tuple[type[Exception], ...]:
    """Errors a request may raise."""
    import httpx

    broken = (OSError, ValueError, RuntimeError, ImportError, ExceptionGroup)
    return (*broken, h11.ProtocolError, httpx.HTTPError, httpx.InvalidURL)


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """An answer's headers by name in lower case; repeated ones are joined by commas."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


PLAIN_URL = re.compile(r"(https?://[^/?#]+)(/[\w/?=&-]*)", re.ASCII)
"""A URL whose path needs no encoding."""


class Server:
    """Where a URL leads."""

    def __init__(self, text: str) -> None:
        """Parse a URL."""
        import httpx

        self.url = httpx.URL(text)
        self.name = self.url.netloc.decode("ascii")

    @cached_property
    def origin(self) -> Origin:
        """The server to connect to.

        Raises:
            httpx.UnsupportedProtocol: the URL names no HTTP server.
        """
        import httpx

        url, port = self.url, self.url.port or PORTS.get(self.url.scheme, 0)
        if url.scheme not in PORTS or not url.host or port > MOST_PORTS:
            raise httpx.UnsupportedProtocol("no http:// or https://, no host, or no such port")
        return Origin(url.scheme, url.raw_host.decode("ascii"), port)


server_of = lru_cache(maxsize=256)(Server)


def target_of(text: str) -> tuple[Server, bytes]:
    """A URL's server, and the request's path. The server of a plain path is parsed once."""
    plain = PLAIN_URL.fullmatch(text)
    if plain is not None:
        return server_of(plain[1]), plain[2].encode()
    server = server_of(text)
    return server, server.url.raw_path


def proxy_for(server: Server) -> str | None:
    """The environment's proxy for a server; None for loopback, and for a host in NO_PROXY."""
    proxies = {} if is_loopback(server.url.host) else getproxies()
    if not proxies or proxy_bypass(server.name):
        return None
    proxy = proxies.get(server.url.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def strict_context() -> ssl.SSLContext:
    """Verification against the usual authorities (or SSL_CERT_FILE, SSL_CERT_DIR), TLS 1.2 at least."""
    return _context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _context(*authorities: str | None) -> ssl.SSLContext:
    # One for all clients: loading certificates takes longer than a thousand events.
    import httpx

    context = None
    with suppress(OSError):
        context = httpx.create_ssl_context(verify=True, trust_env=True)
    if context is None:
        raise RequestError("cannot be sent: no certificates can be read where SSL_CERT_FILE or SSL_CERT_DIR points")
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


def check_context(context: ssl.SSLContext) -> None:
    """Refuse a context that would weaken TLS."""
    if not isinstance(context, ssl.SSLContext):
        raise ConfigError("verify", "TLS cannot be switched off", "Pass an ssl.SSLContext that trusts your authority")
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigError("verify", "the context verifies no certificate or no name", "Use ssl.create_default_context")
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        raise ConfigError("verify", "the context allows TLS below 1.2", "Set its minimum_version to TLSv1_2")


def tls_error(error: BaseException) -> ssl.SSLError | None:
    """The TLS failure that caused `error`, if any."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, however odd, without credentials, path or query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[/?#]', rest)[0].rpartition('@')[2]}"
