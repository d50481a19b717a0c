"""Checks of every request to the viewer: any web page and any user can reach a port of this machine.

The viewer shows the output of models, which may be hostile. So, in this order:
- The `Host` must be this machine or an allowed name: a page that rebinds its own name to 127.0.0.1 is refused.
- POSTs and the stream of events are for pages of this server only: `Origin`, `Sec-Fetch-Site`.
- Every request brings the token of this start. The printed address brings it once; then a cookie does, which no script
  and no other site can use. Without a token only this machine is answered.
- Every answer forbids the browser all that the page does not need, and no other origin can read it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
OWN_HEADER = "x-eventtree"
"""A header that neither a form nor a simple request of another page can set."""
STREAM = "/api/live"
"""The stream of events; a page of another origin could not read it, but would hold it open."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guards:
    """The checks around an ASGI app."""

    def __init__(self, app: ASGIApp, token: str | None, allowed_hosts: Iterable[str] = ()) -> None:
        """Require `token`, or with None a caller on this machine; `allowed_hosts` are names besides localhost."""
        self.app = app
        self.token = token
        self.hosts = THIS_MACHINE | {host.lower() for host in allowed_hosts}
        # Browsers share cookies between all ports of a host: each token gets a cookie name of its own.
        self.cookie = f"eventtree_{hashlib.blake2b((token or '').encode(), digest_size=4).hexdigest()}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            headers = Headers(scope=scope)
            refusal = self._refuse_origin(scope, headers) or self._refuse_stranger(scope, headers)

            async def with_headers(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message).update(HEADERS)
                await send(message)

            await (refusal or self.app)(scope, receive, with_headers)
        else:
            await self.app(scope, receive, send)

    def _refuse_origin(self, scope: Scope, headers: Headers) -> Response | None:
        """The refusal of a request that a page of another origin made, or may have made; None for any other."""
        host = headers.get("host", "").lower()
        if _name_of(host) not in self.hosts:
            return _refused(400, "This name is not served here. Allow it with --allowed-host NAME.")
        changes = scope["method"] not in ("GET", "HEAD")
        if changes or scope["path"].endswith(STREAM):
            origin = headers.get("origin")
            is_foreign = origin is not None and urlsplit(origin).netloc.lower() != host
            if is_foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return _refused(403, "Only pages of this server may do that.")
        return _refused(403, "The header X-Eventtree is missing.") if changes and OWN_HEADER not in headers else None

    def _refuse_stranger(self, scope: Scope, headers: Headers) -> Response | None:
        """The refusal of a request without the token, or a redirect if its address brings it; None for any other."""
        if self.token is None:
            caller = scope.get("client")
            is_near = caller is None or caller[0] in THIS_MACHINE or caller[0].startswith("127.")
            return None if is_near else _refused(403, "Without a token only this machine is answered.")
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] == "GET" and self._is_token(dict(query).get("t", "")):
            return self._take_token(scope, [pair for pair in query if pair[0] != "t"])
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            morsel = None
        if morsel is not None and self._is_token(morsel.value):
            return None
        return _refused(401, "Open the address that `eventtree view` has printed: it brings the token.")

    def _is_token(self, given: str) -> bool:
        return self.token is not None and secrets.compare_digest(given.encode(), self.token.encode())

    def _take_token(self, scope: Scope, query: list[tuple[str, str]]) -> Response:
        """Put the token into a cookie, so that it stays in no address bar, link or Referer."""
        # Never `//host/…`: that would lead elsewhere.
        place = "/" + scope["path"].lstrip("/")
        answer = RedirectResponse(f"{place}?{urlencode(query)}" if query else place, 303)
        path, is_tls = scope.get("root_path") or "/", scope.get("scheme") == "https"
        answer.set_cookie(self.cookie, self.token or "", path=path, httponly=True, samesite="strict", secure=is_tls)
        return answer


def _name_of(host: str) -> str:
    """The host of a `Host` header, without its port and brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host


def _refused(status: int, words: str) -> Response:
    return PlainTextResponse(words + "\n", status)
