"""No engine: the collector's own endpoint. `PUT /logs/{log}` is answered once the chunk is synced there.

200 and 409 say how long a log is at the collector now; after 409 the relay goes on from there. The token is
EVENTTREE_RELAY_TOKEN at both sides.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
from typing import Any
from urllib.parse import SplitResult

from eventtree.delivery.http import Http
from eventtree.errors import ConfigError, RequestError
from eventtree.relay import port
from eventtree.relay.settings import credentials, tls
from eventtree.serializer.requests import Request
from eventtree.serializer.vendor import LOOPBACK

ANSWER_SECONDS = 10.0
MAX_BODY = 2 * port.CHUNK_BYTES


class Engine(port.Port):
    """A relay's connection to a collector."""

    async def connect(self) -> None:
        token = credentials()[2]
        self.auth = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = Http(deadline=ANSWER_SECONDS, verify=tls() if self.url.scheme == "https" else True)
        self.ends = [self.http.close]
        await self._put("/logs", b"")

    async def publish(self, place: int, chunk: port.Chunk) -> None:
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
        about, size = port.read_size(reply.body)
        if about is None or (reply.status == 200 and about != log):
            raise port.AwayError("the answer is none of a collector's")
        if reply.status == 409:
            self.asked[about] = size


class Server(port.Port):
    """A collector's side: what relays put is given to the collector, and answered when that has written it."""

    def __init__(self, url: SplitResult) -> None:
        """Take the token, and off loopback the certificate, of the environment.

        Raises:
            ConfigError: one is missing.
        """
        import uvicorn
        from starlette.applications import Starlette
        from starlette.routing import Route

        super().__init__(url)
        self.token = credentials()[2].encode()
        if not self.token and url.hostname not in LOOPBACK:
            _set("EVENTTREE_RELAY_TOKEN", "Make one up; relays need the same")
        secure = {}
        if url.scheme == "https":
            files = {"ssl_certfile": "EVENTTREE_RELAY_CERT", "ssl_keyfile": "EVENTTREE_RELAY_KEY"}
            secure = {setting: _set(name, "Name a PEM file") for setting, name in files.items()}
        routes = [Route(path, self._put, methods=["PUT"]) for path in ("/logs", "/logs/{log}")]
        config = uvicorn.Config(
            Starlette(routes=routes), log_config=None, log_level="critical", access_log=False, lifespan="off",
            ws="none", timeout_graceful_shutdown=0, **secure,  # type: ignore[arg-type]
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.waiting: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue(port.BATCH)
        """Messages to write, and where their answers go; whoever sends more waits for an answer."""

    async def divide(self, count: int) -> None:
        raise ConfigError("--partitions", "a collector without an engine has one", "Leave it out")

    async def connect(self) -> None:
        host = str(self.url.hostname)
        address = (host, self.url.port or (443 if self.url.scheme == "https" else 80))
        try:
            listening = socket.create_server(address, family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            what = f"nothing can listen at {self.url.geturl()} ({os.strerror(error.errno or 0)})"
            raise ConfigError("collect", what, "Give another port") from None
        self._serving = asyncio.create_task(self.server.serve(sockets=[listening]))
        self.ends = [self._end]

    async def _put(self, request: Any) -> Any:
        """What a relay has put, answered when it is written; without a log, that a collector is here."""
        from starlette.responses import JSONResponse

        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if self.token and not hmac.compare_digest(given, self.token):
            return JSONResponse({"size": None}, 401)
        if not request.path_params:
            return JSONResponse({"log": "", "size": 0})
        message = b""
        async for piece in request.stream():
            message += piece
            if len(message) > MAX_BODY:
                return JSONResponse({"size": None}, 413)
        answered: asyncio.Future[tuple[bool, str, int | None]] = asyncio.get_running_loop().create_future()
        await self.waiting.put((message, answered))
        is_taken, log, size = await answered
        return JSONResponse({"log": log, "size": size}, 503 if size is None else 200 if is_taken else 409)

    async def receive(self, place: int) -> list[tuple[bytes, Any]]:
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

    async def _end(self) -> None:
        self.server.should_exit = True
        try:
            await asyncio.gather(self._serving, return_exceptions=True)
        finally:
            for connection in list(self.server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # sockets are closed in the loop's next round


def _set(name: str, hint: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(name, "it is not set", hint)
    return value
