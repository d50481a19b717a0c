"""No engine: the collector's own endpoint. `PUT /logs/{log}?offset=N` is answered once the bytes are synced there.

200 says how long the log is at the collector now, and so does 409, where bytes before it are missing: the relay goes
on from there. Marks go to `/processes/{process}`. The token is EVENTTREE_RELAY_TOKEN at both sides.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote, urlsplit

import pydantic_core

from eventtree.delivery.http import Http
from eventtree.errors import ConfigError, RequestError
from eventtree.relay.port import BATCH, MIB, RECEIVE_SECONDS, AwayError, Delivery, Mark, RefusedError, unpack
from eventtree.relay.settings import Target, login, tls
from eventtree.serializer.requests import Request

REPLY_SECONDS = 10.0
MAX_BODY = 4 * MIB
QUEUED = 2 * BATCH
"""Messages that wait to be written; whoever sends more waits for an answer."""


class Engine:
    """A relay's connection to a collector."""

    def __init__(self, target: Target) -> None:
        """Connect to nothing yet."""
        self.target = target
        self.partitions = 1
        self._asked: dict[str, int] = {}

    async def open(self, partitions: int | None = None) -> Self:
        """See `Port`."""
        self.http = Http(deadline=REPLY_SECONDS, verify=tls() if self.target.url.startswith("https:") else True)
        token = login()[1]
        self.auth = {"Authorization": f"Bearer {token}"} if token else {}
        await self._put("/processes", b"")
        return self

    async def publish(self, partition: int, message: bytes) -> int | None:
        """See `Port`."""
        found = unpack(message)
        if isinstance(found, Mark):
            return await self._put(f"/processes/{quote(found.process)}", message)
        return await self._put(f"/logs/{quote(found.log)}?offset={found.offset}", message)

    async def asked(self) -> Mapping[str, int]:
        """See `Port`: a collector asks in its answers."""
        asked, self._asked = self._asked, {}
        return asked

    async def close(self) -> None:
        """See `Port`."""
        await self.http.close()

    async def _put(self, path: str, message: bytes) -> int | None:
        headers = {"Content-Type": "application/octet-stream"}
        try:
            reply = await self.http.send(
                Request("PUT", self.target.url.rstrip("/") + path, message, (), headers), self.auth
            )
        except RequestError as error:
            raise AwayError(str(error).replace("base_url", "the collector's")) from None
        if reply.status in (401, 403):
            raise RefusedError("the collector refuses the token")
        if reply.status not in (200, 409):
            raise AwayError(f"the collector answers {reply.status}")
        try:
            answer = pydantic_core.from_json(reply.body)
            size = answer.get("size")
            self._asked.update({str(log): int(offset) for log, offset in (answer.get("asked") or {}).items()})
        except (ValueError, TypeError, AttributeError):
            raise AwayError("the answer is none of a collector's") from None
        return size if type(size) is int else None


class Server:
    """A collector's side: what relays put is given to the collector, and answered when that has written it."""

    def __init__(self, target: Target) -> None:
        """Take the token, and off loopback the certificate, of the environment.

        Raises:
            ConfigError: one is missing.
        """
        import uvicorn  # said at once if it is not installed

        self.target = target
        self.partitions = 1
        self.token = login()[1].encode()
        parts = urlsplit(target.url)
        secure = {}
        if parts.scheme == "https":
            files = {"ssl_certfile": "EVENTTREE_RELAY_CERT", "ssl_keyfile": "EVENTTREE_RELAY_KEY"}
            secure = {setting: _set(name, "Name a PEM file") for setting, name in files.items()}
        if not self.token and not target.is_near:
            _set("EVENTTREE_RELAY_TOKEN", "Make one up; relays need the same")
        config = uvicorn.Config(
            self._app, host=target.host, port=parts.port or (443 if secure else 80), log_config=None, access_log=False,
            lifespan="off", interface="asgi3", timeout_graceful_shutdown=2, **secure,  # type: ignore[arg-type]
        )  # fmt: skip

        class Quiet(uvicorn.Server):
            @contextmanager
            def capture_signals(self) -> Any:
                yield  # the command's own

        self.server = Quiet(config)

    async def open(self, partitions: int | None = None) -> Self:
        """See `Port`.

        Raises:
            ConfigError: more than one partition is wanted, or the address cannot be listened at.
        """
        if partitions not in (None, 1):
            raise ConfigError("--partitions", "a collector without an engine has one", "Leave it out")
        self._asking: dict[str, int] = {}
        self._unanswered: set[asyncio.Future[tuple[bool, int | None]]] = set()
        self.waiting: asyncio.Queue[Delivery] = asyncio.Queue(QUEUED)
        self._serving = asyncio.create_task(self._serve())
        while not self.server.started:
            if self._serving.done():
                raise ConfigError("collect", f"nothing can listen at {self.target.url}", "Give another port")
            await asyncio.sleep(0.01)
        return self

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    async def lease(self, partition: int) -> bool:
        """See `Port`: who listens has it."""
        return True

    async def receive(self, partition: int) -> list[Delivery]:
        """See `Port`."""
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                found = [await self.waiting.get()]
        except TimeoutError:
            return []
        while len(found) < BATCH and not self.waiting.empty():
            found.append(self.waiting.get_nowait())
        return found

    async def ask(self, log: str, offset: int) -> None:
        """See `Port`: the next answer says it."""
        self._asking[log] = offset

    async def close(self) -> None:
        """See `Port`."""
        self.server.should_exit = True
        for answered in list(self._unanswered):  # else their connections would stay open
            if not answered.done():
                answered.set_result((False, None))
        await asyncio.gather(self._serving, return_exceptions=True)
        for connection in list(self.server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # sockets are closed in the loop's next round

    async def _serve(self) -> None:
        try:
            await self.server.serve()
        except SystemExit:
            return  # uvicorn's way to say that the address is taken

    async def _app(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """An ASGI application of one route."""
        headers = dict(scope.get("headers") or ())
        path, status, size = str(scope.get("path", "")), 404, None
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        if scope["type"] != "http":
            return
        if self.token and not hmac.compare_digest(given, self.token):
            status = 401
        elif scope["method"] == "PUT" and path == "/processes":
            status = 200
        elif scope["method"] == "PUT" and path.startswith(("/logs/", "/processes/")):
            status, size = await self._take(receive)
        asking, self._asking = self._asking, {}
        body = pydantic_core.to_json({"size": size, "asked": asking})
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    async def _take(self, receive: Callable[[], Awaitable[Any]]) -> tuple[int, int | None]:
        body, more = bytearray(), True
        while more:
            event = await receive()
            if event["type"] != "http.request" or len(body) > MAX_BODY:
                return 413, None
            body += event.get("body", b"")
            more = event.get("more_body", False)
        answered: asyncio.Future[tuple[bool, int | None]] = asyncio.get_running_loop().create_future()
        self._unanswered.add(answered)
        answered.add_done_callback(self._unanswered.discard)

        async def answer(is_taken: bool, size: int | None) -> None:
            if not answered.done():
                answered.set_result((is_taken, size))

        await self.waiting.put(Delivery(bytes(body), answer))
        is_taken, size = await answered
        return 503 if size is None else 200 if is_taken else 409, size


def _set(name: str, hint: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(name, "it is not set", hint)
    return value
