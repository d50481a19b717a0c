"""No engine: the collector's own endpoint. `PUT /logs/{log}` is answered once the chunk is synced there.

200 and 409 report a log's length at the collector; after 409 the relay continues from there. Both sides have the token
in EVENTTREE_RELAY_TOKEN.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from eventtree.delivery.http import Http
from eventtree.errors import ConfigError, RequestError
from eventtree.relay import port
from eventtree.serializer.requests import Request
from eventtree.serializer.vendor import LOOPBACK

if TYPE_CHECKING:
    from aiohttp import web

ANSWER_SECONDS = 10.0
MAX_BODY = 2 * port.CHUNK_BYTES
END_SECONDS = 0.1
"""Seconds an ending collector waits for open requests. aiohttp takes 0 for no bound."""


def authorization() -> dict[str, str]:
    """The header with the token; empty without a token."""
    token = port.credentials()[2]
    return {"Authorization": f"Bearer {token}"} if token else {}


class Engine(port.Port):
    """A relay's connection to a collector."""

    async def connect(self) -> None:
        self.auth = authorization()
        self.http = Http(deadline=ANSWER_SECONDS, verify=port.tls() if self.url.scheme == "https" else True)
        self.ends = [self.http.close]
        await self._put("/logs", b"")

    async def publish(self, partition: int, chunk: port.Chunk) -> None:
        await self._put(f"/logs/{chunk.log}", chunk.pack(), chunk.log)

    async def _put(self, path: str, message: bytes, log: str = "") -> None:
        headers = {"Content-Type": "application/octet-stream"}
        request = Request("PUT", self.url.geturl().rstrip("/") + path, message, (), headers)
        try:
            reply = await self.http.send(request, self.auth)
        except RequestError as error:
            raise port.AwayError(str(error).replace("base_url", "the collector's")) from None
        if reply.status in (401, 403):
            raise port.RefusedError("the collector refuses the token")
        if reply.status not in (200, 409):
            raise port.AwayError(f"the collector answers {reply.status}")
        try:
            there = port.Length.model_validate_json(reply.body)
        except ValueError:
            there = None
        if there is None or (reply.status == 200 and there.log != log):
            raise port.AwayError("the answer is none of a collector's")
        if reply.status == 409:
            self.add_asked(reply.body)


class Server(port.Port):
    """A collector's side. It answers a relay's PUT when the collector has written the chunk."""

    def __init__(self, url: SplitResult) -> None:
        """Read the token and, for https, the certificate from the environment.

        Raises:
            ConfigError: one is missing or cannot be read. Only loopback needs no token.
        """
        from aiohttp import web

        super().__init__(url)
        self.auth, self.secure = authorization(), None
        if not self.auth and url.hostname not in LOOPBACK:
            _set("EVENTTREE_RELAY_TOKEN", "Make one up; relays need the same")
        if url.scheme == "https":
            names = "EVENTTREE_RELAY_CERT", "EVENTTREE_RELAY_KEY"
            self.secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            try:
                self.secure.load_cert_chain(*(_set(name, "Name a PEM file") for name in names))
            except OSError as error:
                raise ConfigError(" and ".join(names), f"cannot be used: {error.strerror}", "Name PEM files") from None
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes([web.put(path, self._put) for path in ("/logs", "/logs/{log}")])
        # aiohttp's log would quote a broken request with its token. Bodies are not decoded: a chunk packs itself.
        silent = logging.Logger("eventtree.relay", logging.CRITICAL)
        self.runner = web.AppRunner(
            app, access_log=None, logger=silent, auto_decompress=False, shutdown_timeout=END_SECONDS
        )
        self.waiting: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue(port.BATCH)
        """Messages to write, each with its answer's future. Beyond its size a PUT waits."""

    async def divide(self, count: int) -> None:
        raise ConfigError("--partitions", "a collector without an engine has one", "Leave it out")

    async def connect(self) -> None:
        from aiohttp import web

        self.ends = [self.runner.cleanup, partial(asyncio.sleep, 0)]  # sockets close in the loop's next round
        await self.runner.setup()
        at = self.url.port or (443 if self.secure else 80)
        try:
            await web.TCPSite(self.runner, self.url.hostname, at, ssl_context=self.secure).start()
        except OSError as error:
            what = f"nothing can listen at {self.url.geturl()} ({os.strerror(error.errno or 0)})"
            raise ConfigError("collect", what, "Give another port") from None

    async def _put(self, request: web.Request) -> web.Response:
        """Answer a relay's chunk when it is written; without a log, answer that a collector is here."""
        from aiohttp import web

        given, wanted = request.headers.get("Authorization", ""), self.auth.get("Authorization", "")
        if wanted and not hmac.compare_digest(given.encode(errors="replace"), wanted.encode()):
            return web.json_response({"size": None}, status=401)
        if not request.match_info:
            return web.json_response({"log": "", "size": 0})
        answered: asyncio.Future[tuple[bool, str, int | None]] = asyncio.get_running_loop().create_future()
        await self.waiting.put((await request.read(), answered))
        is_taken, log, size = await answered
        status = 503 if size is None else 200 if is_taken else 409
        return web.json_response({"log": log, "size": size}, status=status)

    async def receive(self, partition: int) -> list[tuple[bytes, Any]]:
        try:
            async with asyncio.timeout(port.RECEIVE_SECONDS):
                found = [await self.waiting.get()]
        except TimeoutError:
            return []
        while len(found) < port.BATCH and not self.waiting.empty():
            found.append(self.waiting.get_nowait())
        return found

    async def answer(self, mark: Any, is_taken: bool, log: str, size: int | None) -> None:
        if not mark.done():
            mark.set_result((is_taken, log, size))


def _set(name: str, hint: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(name, "it is not set", hint)
    return value
