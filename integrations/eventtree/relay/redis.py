"""Redis Streams (or Valkey): a stream `eventtree:PARTITION` for each partition, read by the group `fold`.

What was acknowledged is deleted from it. How durable an acknowledgement is, the server's configuration says:
`appendonly yes` and `appendfsync always` for no loss at all; `eventtree doctor` looks.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, Self

import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    LockError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from eventtree.errors import ConfigError
from eventtree.relay.port import BATCH, LEASE_SECONDS, RECEIVE_SECONDS, AwayError, Delivery, RefusedError, T, tried
from eventtree.relay.settings import Target, login, tls

GROUP = "fold"
ASKED = "eventtree:ask"
PARTITIONS = "eventtree:partitions"
REPLY_SECONDS = 5.0
AGAIN_MS = 1_000
"""A message that was not acknowledged comes again after so long."""
FORGET_SECONDS = 600


class Engine:
    """A connection to Redis, for a relay or a collector."""

    def __init__(self, target: Target) -> None:
        """Connect to nothing yet."""
        self.target = target
        self.partitions = 1
        self.me = uuid.uuid4().hex
        self._leases: dict[int, Any] = {}
        self._groups: set[int] = set()
        self.client: Any = None

    async def open(self, partitions: int | None = None) -> Self:
        """See `Port`."""
        user, token = login()
        secure: dict[str, Any] = {}
        if self.target.url.startswith("rediss:"):
            secure = {"ssl_min_version": tls().minimum_version, "ssl_ca_certs": os.environ.get("EVENTTREE_RELAY_CA")}
        self.client = redis.asyncio.from_url(
            self.target.url, username=user, password=token or None, socket_timeout=REPLY_SECONDS,
            socket_connect_timeout=REPLY_SECONDS, **secure,
        )  # fmt: skip
        await _try(self.client.ping())
        made = await _try(self.client.set(PARTITIONS, partitions or 1, nx=True))
        self.partitions = partitions or 1 if made else int(await _try(self.client.get(PARTITIONS)) or 1)
        if partitions is not None and partitions != self.partitions:
            await self._repartition(partitions)
        return self

    async def publish(self, partition: int, message: bytes) -> int | None:
        """See `Port`."""
        await _try(self.client.xadd(f"eventtree:{partition}", {"m": message}))
        return None

    async def asked(self) -> Mapping[str, int]:
        """See `Port`."""
        found = await _try(self.client.hgetall(ASKED))
        return {log.decode(): int(offset) for log, offset in found.items()}

    async def ask(self, log: str, offset: int) -> None:
        """See `Port`."""
        await _try(self.client.hset(ASKED, log, offset))
        await _try(self.client.expire(ASKED, FORGET_SECONDS))

    async def lease(self, partition: int) -> bool:
        """See `Port`."""
        lock = self._leases.get(partition)
        try:
            if lock is not None:
                await lock.reacquire()
                return True
            lock = self.client.lock(f"eventtree:lease:{partition}", timeout=LEASE_SECONDS)
            if await lock.acquire(blocking=False):
                self._leases[partition] = lock
        except LockError:
            self._leases.pop(partition, None)
        except Exception as error:  # noqa: BLE001  (the client has many classes)
            _raise(error)
        return partition in self._leases

    async def receive(self, partition: int) -> list[Delivery]:
        """See `Port`."""
        stream = f"eventtree:{partition}"
        if partition not in self._groups:
            await self._join(stream)
            self._groups.add(partition)
        # What was given out and not answered: by this collector, or one that has died.
        _, again, *_ = await _try(self.client.xautoclaim(stream, GROUP, self.me, AGAIN_MS, "0-0", count=BATCH))
        found = [(key, fields) for key, fields in again if fields]
        if not found:
            block = int(RECEIVE_SECONDS * 1000)
            read = self.client.xreadgroup(GROUP, self.me, {stream: ">"}, count=BATCH, block=block)
            found = [one for _, entries in await _try(read) or () for one in entries]
        return [Delivery(fields.get(b"m", b""), self._answer(stream, key)) for key, fields in found]

    async def close(self) -> None:
        """See `Port`."""
        for lock in self._leases.values():
            try:
                await lock.release()
            except Exception:  # noqa: BLE001  (it expires)
                continue
        try:
            if self.client is not None:
                await self.client.aclose()
        except Exception:  # noqa: BLE001  (it is broken already)
            pass

    def _answer(self, stream: str, key: bytes) -> Callable[[bool, int | None], Awaitable[None]]:
        async def answer(is_taken: bool, size: int | None) -> None:
            if is_taken:
                await _try(self.client.xack(stream, GROUP, key))
                await _try(self.client.xdel(stream, key))

        return answer

    async def _join(self, stream: str) -> None:
        try:
            await self.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                _raise(error)
        except Exception as error:  # noqa: BLE001
            _raise(error)

    async def _repartition(self, wanted: int) -> None:
        for partition in range(self.partitions):
            if await _try(self.client.xlen(f"eventtree:{partition}")):
                hint = f"Collect with --partitions {self.partitions} until they are empty"
                raise ConfigError("--partitions", f"there are {self.partitions}, and messages in them", hint)
        await _try(self.client.set(PARTITIONS, wanted))
        self.partitions = wanted

    async def unsafe(self) -> list[str]:
        """What of the server's configuration lets it lose what it has acknowledged."""
        found = await _try(self.client.config_get("append*", "maxmemory-policy"))
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        return [
            f"{key} is {found[key]}, not {value}" for key, value in wanted.items() if found.get(key, value) != value
        ]


def _try(work: Awaitable[T]) -> Awaitable[T]:
    return tried(work, _raise)


def _raise(error: Exception) -> NoReturn:
    """As one of ours; the server's words may quote what it was sent."""
    if not isinstance(error, RedisError | OSError | TimeoutError):
        raise error
    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError):
        raise RefusedError("the server refuses the credentials") from None
    if isinstance(error, ResponseError):
        raise AwayError(f"the server refuses: {str(error).split(' ', 1)[0][:30]}") from None
    raise AwayError(type(error).__name__) from None
