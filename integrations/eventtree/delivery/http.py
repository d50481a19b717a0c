"""One HTTP exchange, bounded in time and bytes. The only file that knows httpx.

A vendor is asked straight over a connection that is kept open (connection.py). Only httpx knows the proxies of the
environment: where one stands between, it is asked by httpx.

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
import os
import re
import ssl
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

from eventtree import diagnostics
from eventtree.config import BOUNDS
from eventtree.delivery.connection import KEEPALIVE, Address, Answer, Connections
from eventtree.errors import ConfigError, RequestError
from eventtree.serializer.requests import Request
from eventtree.serializer.vendor import LOOPBACK

if TYPE_CHECKING:
    import httpx

OWN_HEADERS = {"User-Agent": "eventtree", "Accept-Encoding": "identity", "Connection": "keep-alive"}
PORTS = {"http": 80, "https": 443}
PIECES_IN_A_ROW = 256
"""Bytes of a body that are taken before others have a turn: chunks of a byte come by the thousand in one read."""

USUAL_URL = re.compile(
    r"(https?)://([a-z0-9.-]+)(?::([0-9]{1,4}|[1-5][0-9]{4}))?(/(?:[\w/?=&:,~-]|(?<!/)\.|%[0-9A-F]{2})*)?", re.ASCII
)
"""A URL that stands as it is in a request; any other is brought into form by httpx."""
SENDABLE = re.compile(r"(?! )[ -~]*(?<! )", re.ASCII)
"""Header values. Checked here because the libraries below quote a bad one, key and all, in errors and debug logs."""

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
    """Names in lower case; repeated ones joined by commas."""
    body: bytes
    truncated: bool
    """The body is not all the vendor sent: too long, cut off, too slow or not decodable."""


class Http:
    """Sends requests over connections that are kept open. Belongs to the event loop it is first used in."""

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
        self._connections = Connections(self._context, connect_timeout)
        self._by_proxy: httpx.AsyncClient | None = None

    async def send(self, request: Request, auth: Mapping[str, str]) -> Reply:
        """The vendor's answer to `request`; raises `RequestError` if none came within the deadline."""
        if not all(map(SENDABLE.fullmatch, (*request.headers.values(), *auth.values()))):
            raise RequestError("cannot be sent: the key holds a character that HTTP forbids, or a space at its end")
        answer, failure = None, None
        body, ended = Body("", 0), False
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._answer(request, {**OWN_HEADERS, **request.headers, **auth})
                body = Body(answer.headers.get("content-encoding", ""), self.max_reply_bytes)
                ended = await body.take_all(answer.pieces)
        except Exception as error:  # noqa: BLE001  (the boundary around each exchange: h11, httpx, ssl, the system)
            # With a head the vendor has answered: what is known of the answer goes back, marked.
            failure = self._failure(error, request.url) if answer is None else None
        finally:
            if answer is not None:
                await answer.close()
        if answer is None:
            assert failure is not None
            raise failure  # outside the handler: it must not carry the original, which may hold the key
        if body.is_too_long:
            diagnostics.truncations["reply_bytes"] += 1
        return Reply(answer.status, answer.headers, bytes(body.kept), truncated=not (body.is_whole and ended))

    async def close(self) -> None:
        """Close all connections; `send` opens new ones."""
        client, self._by_proxy = self._by_proxy, None
        await self._connections.close()
        if client is not None:
            await client.aclose()

    async def _answer(self, request: Request, headers: Mapping[str, str]) -> Answer:
        """Ask straight, unless the environment names proxies, of which there is none to this machine."""
        if is_plain_loopback(request.url) or not getproxies():
            return await self._connections.ask(request.method, address_of(request.url), headers, request.content)
        import httpx

        if self._by_proxy is None:
            self._by_proxy = httpx.AsyncClient(
                verify=self._context(),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=KEEPALIVE),
                timeout=httpx.Timeout(self._deadline, connect=self._connect_timeout, pool=None),
                mounts={f"all://{f'[{host}]' if ':' in host else host}": None for host in LOOPBACK},
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
            )
        outgoing = self._by_proxy.build_request(request.method, request.url, content=request.content, headers=headers)
        # An explicit Auth() that does nothing: credentials come from the headers alone, not from .netrc or the URL.
        response = await self._by_proxy.send(outgoing, stream=True, auth=httpx.Auth(), follow_redirects=False)
        pieces = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
        return Answer(response.status_code, dict(response.headers), pieces, response.aclose)

    def _context(self) -> ssl.SSLContext:
        return strict_context() if self._verify is True else self._verify

    def _failure(self, error: Exception, url: str) -> RequestError:
        kind = UnansweredError if type(error).__name__ in UNANSWERED else RequestError
        return kind(f"{type(error).__name__}{self._words(error, origin_of(url))}")

    def _words(self, error: Exception, origin: str) -> str:
        broken_tls = tls_error(error)
        if broken_tls is not None:
            known = getattr(broken_tls, "verify_message", "") or getattr(broken_tls, "reason", "")
            return f": TLS: {known or 'handshake failed'}. Check base_url {origin}"
        template = next((WORDS[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in WORDS), None)
        if template is None:
            return ""
        words = template.format(
            error=str(error)[:200] or "the connection broke", origin=origin,
            deadline=self._deadline, connect=self._connect_timeout,
        )  # fmt: skip
        return f": {words}"


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

    async def take_all(self, pieces: AsyncGenerator[bytes, None]) -> bool:
        """Add all that comes, until it ends (True) or nothing more is wanted."""
        async with aclosing(pieces):
            async for piece in pieces:
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


def strict_context() -> ssl.SSLContext:
    """Verification against the usual authorities (or SSL_CERT_FILE, SSL_CERT_DIR), TLS 1.2 at least."""
    return _context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _context(file: str | None, folder: str | None) -> ssl.SSLContext:
    # Once for all clients: loading certificates takes longer than a thousand events.
    if not file and not folder:
        import certifi

        file = certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=None if file else folder)
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


def address_of(url: str) -> Address:
    """Where a request to `url` goes.

    Raises:
        httpx.InvalidURL, httpx.UnsupportedProtocol: it makes no sense.
    """
    usual = USUAL_URL.fullmatch(url)
    if usual is not None:
        scheme, host, port, target = usual.groups()
        return Address(
            scheme, host, int(port or PORTS[scheme]), host if port is None else f"{host}:{port}", target or "/"
        )
    import httpx

    parts = httpx.URL(url)
    if parts.scheme not in PORTS or not parts.host:
        raise httpx.UnsupportedProtocol("no http:// or https://, or no host")
    host, named, target = (part.decode("ascii") for part in (parts.raw_host, parts.netloc, parts.raw_path))
    return Address(parts.scheme, host, parts.port or PORTS[parts.scheme], named, target)


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, however odd, without credentials, path or query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[/?#]', rest)[0].rpartition('@')[2]}"


def is_plain_loopback(url: str) -> bool:
    """Whether `url` is plain http on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK
