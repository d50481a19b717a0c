"""One HTTP exchange, bounded in time and bytes. The only file that knows httpx.

A request goes over a connection of ours (connection.py). Only httpx's client knows the proxies of the environment:
where there are any, it is asked.

    send(request, auth) ──▶ headers arrived ──▶ Reply       the vendor has answered, however its body ends
                        └─▶ anything before ──▶ RequestError   nobody can tell; delivery tries again
                                                (UnansweredError, where a smaller request may help)

- `deadline` covers the whole exchange: connecting, TLS, a slow upload, silence, a body that drips.
- A reply's body stops at `max_reply_bytes`, counted as received and again as decompressed (zlib gets the bound, so
  a bomb is never inflated beyond it). Header blocks over 100 kB are refused by the protocol library below.
- Nothing is followed and nothing is added to what delivery asked for: no redirects, no cookies, no .netrc.
  Proxies of the environment apply, except to loopback.
- TLS is always verified, 1.2 at least. There is no switch to turn that off.
- An error's text names the failure and `base_url`, never a header, a payload or what a server wrote.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.request import getproxies

from eventtree import diagnostics
from eventtree.config import BOUNDS
from eventtree.delivery.connection import KEEPALIVE, Connections, Origin, RemoteProtocolError
from eventtree.errors import ConfigError, RequestError
from eventtree.remembered import Remembered
from eventtree.serializer.requests import Request
from eventtree.serializer.vendor import LOOPBACK

if TYPE_CHECKING:
    import httpx

OWN_HEADERS = (("User-Agent", "eventtree"), ("Accept-Encoding", "identity"), ("Connection", "keep-alive"))
PORTS = {"http": 80, "https": 443}
MOST_PORTS = 65_535
HEADS = 64
PIECES_IN_A_ROW = 256
"""Bytes of a body that are taken before others have a turn: chunks of a byte come by the thousand in one read."""

SENDABLE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: (?! )[ -~]*(?<! )", re.ASCII)
"""A header. Checked here because the libraries below quote a bad one, key and all, in errors and debug logs."""

PLAIN = re.compile(r"(https?://[^/?#]+)(/[\w/=?&:,+-]*)", re.ASCII)
"""A URL of which nothing behind the server has to be brought into form; many differ there alone."""

WORDS: Mapping[str, str] = {
    "ConnectTimeout": "no connection within {connect:g} s. Check base_url {origin}",
    "ConnectError": "{error}. Check base_url {origin}",
    "TimeoutException": "no answer within {deadline:g} s",
    "TimeoutError": "no answer within {deadline:g} s",
    "RemoteProtocolError": "the answer is cut or not valid HTTP",
    "LocalProtocolError": "cannot be sent: base_url holds a character that HTTP forbids",
    "UnsupportedProtocol": "cannot be sent. Check base_url {origin} and the proxy settings of the environment",
    "InvalidURL": "cannot be sent. Check base_url and the proxy settings of the environment",
    "ValueError": "cannot be sent. Check base_url and the proxy settings of the environment",
    "ExceptionGroup": "no connection. Check base_url {origin}",
    "ImportError": "the proxy of the environment needs a package that is not installed (socks: `httpx[socks]`)",
    "NetworkError": "{error}",
    "OSError": "{error}",
}
"""Class of a failure → the text that reports it; the nearest class wins. Only the operating
system's texts are passed on: the others may quote a header (the key) or an answer (the payload, echoed)."""


UNANSWERED = frozenset(
    {"ReadError", "WriteError", "ReadTimeout", "WriteTimeout", "RemoteProtocolError", "TimeoutError"}
)


class UnansweredError(RequestError):
    """A request went out, wholly or in part, and no answer came back: a smaller one may get through.

    A server that refuses a large body by closing at once (its 413 is lost in the reset), or an uplink too slow for
    the deadline, looks like this each time.
    """


@dataclass(frozen=True, slots=True)
class Reply:
    """A vendor's answer."""

    status: int
    headers: Mapping[str, str]
    """As the answer's."""
    body: bytes
    truncated: bool
    """The body is not all the vendor sent: too long, cut off, too slow or not decodable."""


class Answer(Protocol):
    """An answer whose head has come."""

    status: int
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by commas."""

    async def piece(self) -> bytes | None:
        """The next of the body; None behind the last, if that is whole."""

    def close(self) -> Any:
        """Nothing more of it is wanted."""


class Http:
    """Sends requests over one pool of connections. Belongs to the event loop it is first used in."""

    def __init__(
        self,
        *,
        deadline: float = 30.0,
        max_reply_bytes: int = BOUNDS.reply_bytes,
        connect_timeout: float = 5.0,
        verify: ssl.SSLContext | Literal[True] = True,
    ) -> None:
        """Take the bounds; `verify` may be a context with a private authority's certificates, never a lax one."""
        if verify is not True:
            check_context(verify)
        self._deadline = deadline
        self._connect_timeout = connect_timeout
        self.max_reply_bytes = max_reply_bytes
        self._verify = verify
        self._heads: Remembered[tuple[Any, ...], bytes] = Remembered(HEADS)
        """The headers that requests to a vendor share, as they are sent."""
        self._connections = Connections(self._context)
        self._client: httpx.AsyncClient | None = None

    async def send(self, request: Request, auth: Mapping[str, str]) -> Reply:
        """The vendor's answer to `request`; raises `RequestError` if none came within the deadline."""
        import httpx

        failures = (
            httpx.HTTPError, httpx.InvalidURL, RemoteProtocolError, OSError, ValueError, RuntimeError, ImportError,
            ExceptionGroup,
        )  # fmt: skip
        answer: Answer | None = None
        failure, ended = None, False
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._answer(request, auth)
                body = Body(answer.headers.get("content-encoding", ""), self.max_reply_bytes)
                ended = await body.take_all(answer)
        except failures as error:
            # With a head the vendor has answered: what is known of the answer goes back, marked.
            failure = self._failure(error, request.url) if answer is None else None
        finally:
            if answer is not None and (closing := answer.close()) is not None:
                await closing
        if answer is None:
            assert failure is not None
            raise failure  # outside the handler: it must not carry the original, which may hold the key
        if diagnostics.logger.isEnabledFor(logging.DEBUG):
            diagnostics.logger.debug("%s %s: %s", request.method, origin_of(request.url), answer.status)
        if body.is_too_long:
            diagnostics.truncations["reply_bytes"] += 1
        return Reply(answer.status, answer.headers, bytes(body.kept), truncated=not (body.is_whole and ended))

    async def close(self) -> None:
        """Close all connections; `send` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        await self._connections.close()

    async def _answer(self, request: Request, auth: Mapping[str, str]) -> Answer:
        """Ask straight, unless the environment names proxies, of which there is none to this machine."""
        plain = PLAIN.fullmatch(request.url)
        origin, host, target = server_of(plain[1] if plain else request.url)
        given = (("Host", host), *OWN_HEADERS, *request.headers.items(), *auth.items())
        known = self._heads.get(given)
        if known is None:
            lines = [f"{name}: {value}" for name, value in dict(given).items()]
            if not all(map(SENDABLE.fullmatch, lines)):
                raise RequestError("cannot be sent: the key holds a character that HTTP forbids, or a space at its end")
            known = self._heads.keep(given, "\r\n".join(lines).encode("ascii"))
        if not (origin.scheme == "http" and origin.host in LOOPBACK) and getproxies():
            return await self._by_proxy(request, dict(given))
        # A GET without a body has no length either.
        length = b"Content-Length: %d\r\n" % len(request.content) if request.content or request.method != "GET" else b""
        path = plain[2].encode() if plain else target
        head = b"%s %s HTTP/1.1\r\n%s\r\n%s\r\n" % (request.method.encode(), path, known, length)
        return await self._connections.ask(origin, head, request.content, self._connect_timeout)

    async def _by_proxy(self, request: Request, headers: dict[str, str]) -> Answer:
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=self._context(),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=KEEPALIVE),
                timeout=httpx.Timeout(self._deadline, connect=self._connect_timeout, pool=None),
                mounts={f"all://{f'[{host}]' if ':' in host else host}": None for host in LOOPBACK},
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
            )
        outgoing = httpx.Request(request.method, request.url, headers=headers, content=request.content)
        # An explicit Auth() that does nothing: credentials come from the headers alone, not from .netrc or the URL.
        answer = await self._client.send(outgoing, stream=True, auth=httpx.Auth(), follow_redirects=False)
        return ByProxy(answer)

    def _context(self) -> ssl.SSLContext:
        return strict_context() if self._verify is True else self._verify

    def _failure(self, error: Exception, url: str) -> RequestError:
        kind = UnansweredError if type(error).__name__ in UNANSWERED else RequestError
        return kind(self._words(error, url))

    def _words(self, error: Exception, url: str) -> str:
        origin = origin_of(url)
        broken_tls = tls_error(error)
        if broken_tls is not None:
            reason = (
                getattr(broken_tls, "verify_message", "") or getattr(broken_tls, "reason", "") or "handshake failed"
            )
            return f"{type(error).__name__}: TLS: {reason}. Check base_url {origin}"
        template = next((WORDS[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in WORDS), None)
        if template is None:
            return type(error).__name__
        words = template.format(
            error=str(error)[:200] or "the connection broke", origin=origin,
            deadline=self._deadline, connect=self._connect_timeout,
        )  # fmt: skip
        return f"{type(error).__name__}: {words}"


class Body:
    """Collects a reply's body up to `limit` bytes, decompressing on the way."""

    def __init__(self, encoding: str, limit: int) -> None:
        """Prepare for a `Content-Encoding`; an unknown one makes the body unreadable."""
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
        """Everything taken so far was kept, and a compressed body has come to its end."""
        return self._readable and (self._inflate is None or self._received == 0 or self._inflate.eof)

    async def take_all(self, answer: Answer) -> bool:
        """Add all that comes, until it ends (True) or nothing more is wanted."""
        while (piece := await answer.piece()) is not None:
            if not self.take(piece):
                return False
            if self.pieces % PIECES_IN_A_ROW == 0:
                await asyncio.sleep(0)
        return True

    def take(self, piece: bytes) -> bool:
        """Add what was received; False once nothing more is wanted."""
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
            piece = self._inflate.decompress(piece, max_length=room + 1)  # one more, to see that there is more
        self.kept += piece[:room]
        self._readable = len(piece) <= room
        self.is_too_long = not self._readable


class ByProxy:
    """An answer that httpx's client has got."""

    def __init__(self, answer: httpx.Response) -> None:
        """Take it with its body still to come."""
        self._pieces = aiter(answer.stream)  # type: ignore[arg-type]
        self.close = answer.aclose
        self.status, self.headers = answer.status_code, dict(answer.headers.items())

    async def piece(self) -> bytes | None:
        """The next of the body; None behind the last."""
        return await anext(self._pieces, None)


@lru_cache(maxsize=256)
def server_of(url: str) -> tuple[Origin, str, bytes]:
    """The server a request is for, how requests name it, and what of the URL it is asked for.

    Raises:
        httpx.InvalidURL, httpx.UnsupportedProtocol: there is none that can be asked.
    """
    import httpx

    known = httpx.URL(url)
    port = known.port or PORTS.get(known.scheme, 0)
    if known.scheme not in PORTS or not known.host or port > MOST_PORTS:
        raise httpx.UnsupportedProtocol("no http:// or https://, no host, or no such port")
    origin = Origin(known.scheme, known.raw_host.decode("ascii"), port)
    return origin, known.netloc.decode("ascii"), known.raw_path


def strict_context() -> ssl.SSLContext:
    """Verification against the usual authorities (or SSL_CERT_FILE, SSL_CERT_DIR), TLS 1.2 at least."""
    return _context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _context(*authorities: str | None) -> ssl.SSLContext:
    # Once for all clients: loading certificates takes longer than a thousand events.
    import httpx

    context = httpx.create_ssl_context(verify=True, trust_env=True)
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


def check_context(context: ssl.SSLContext) -> None:
    """Refuse anything that would weaken TLS."""
    if not isinstance(context, ssl.SSLContext):
        raise ConfigError("verify", "TLS cannot be switched off", "Pass an ssl.SSLContext that trusts your authority")
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigError("verify", "the context verifies no certificate or no name", "Use ssl.create_default_context")
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        raise ConfigError("verify", "the context allows TLS below 1.2", "Set its minimum_version to TLSv1_2")


def tls_error(error: BaseException) -> ssl.SSLError | None:
    """The TLS failure at the bottom of `error`, if that is what it is."""
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
