"""Redis Streams (or Valkey): a stream `eventtree:PARTITION` for each partition, read by the group `fold`.

Acknowledged messages are deleted. The server's configuration decides how durable an acknowledgement is:
`appendonly yes` and `appendfsync always` lose nothing; `eventtree doctor` checks them.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

import redis.asyncio
from redis.exceptions import LockError, RedisError, ResponseError

from eventtree.relay import port
from eventtree.relay.port import credentials, tls

GROUP, ASKED, PARTITIONS = "fold", "eventtree:ask", "eventtree:partitions"
AGAIN_MS = 1_000
"""Milliseconds until an unacknowledged message is delivered again."""
SAFE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
"""Configuration of a server that loses no acknowledged message."""


class Engine(port.Port):
    """A connection to Redis, for a relay or a collector."""

    errors, asked_at = (RedisError, OSError), ASKED

    async def connect(self) -> None:
        self.me = uuid.uuid4().hex
        self._leases: dict[int, Any] = {}
        _, user, token = credentials()
        secure: dict[str, Any] = {}
        if self.url.scheme == "rediss":
            secure = {"ssl_min_version": tls().minimum_version, "ssl_ca_certs": os.environ.get("EVENTTREE_RELAY_CA")}
            secure["ssl_check_hostname"] = True  # off by default in older clients
        self.client = redis.asyncio.from_url(
            self.url.geturl(), username=user, password=token or None, socket_timeout=port.REPLY_SECONDS,
            socket_connect_timeout=port.REPLY_SECONDS, **secure,
        )  # fmt: skip
        self._asking = self.client.pubsub(ignore_subscribe_messages=True)
        self.ends = [self._asking.aclose, self.client.aclose]
        await self._asking.subscribe(ASKED)

    async def look(self) -> None:
        while found := await self._asking.get_message(timeout=0):
            self.add_asked(found["data"])
        known = dict(await self.client.zrange(PARTITIONS, 0, -1, withscores=True))
        self.split, self.most = (int(known.get(name, 0)) for name in (b"split", b"most"))

    async def divide(self, count: int) -> None:
        for number in range(count):
            try:
                await self.client.xgroup_create(f"eventtree:{number}", GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):  # the group exists
                    raise
        async with self.client.pipeline(transaction=True) as both:
            both.zadd(PARTITIONS, {"most": count}, gt=True)
            # If the first relay and a collector with `--partitions` start at once, the collector's number wins.
            both.zadd(PARTITIONS, {"split": count}, nx=not self.split and count == 1)
            await both.execute()

    async def publish(self, partition: int, chunk: port.Chunk) -> None:
        if not await self.client.xadd(f"eventtree:{partition}", {"m": chunk.pack()}, nomkstream=True):
            raise port.AwayError("somebody has emptied it")

    async def lease(self, partition: int) -> bool:
        known = self._leases.pop(partition, None)
        lock = known or self.client.lock(f"eventtree:lease:{partition}", timeout=port.LEASE_SECONDS)
        try:
            has_it = await (lock.reacquire() if known else lock.acquire(blocking=False))
        except LockError:
            return False
        if has_it:
            self._leases[partition] = lock
            self.ends[:0] = [] if known else [lock.release]
        return bool(has_it)

    async def receive(self, partition: int) -> list[tuple[bytes, Any]]:
        stream = f"eventtree:{partition}"
        # First messages that this collector, or a dead one, received and did not answer.
        _, again, *_ = await self.client.xautoclaim(stream, GROUP, self.me, AGAIN_MS, "0-0", count=port.BATCH)
        found = [(key, fields) for key, fields in again if fields]
        if not found:
            block = int(port.RECEIVE_SECONDS * 1000)
            read = await self.client.xreadgroup(GROUP, self.me, {stream: ">"}, count=port.BATCH, block=block)
            found = [one for _, entries in read or () for one in entries]
        return [(fields.get(b"m", b""), (stream, key)) for key, fields in found]

    async def answer(self, mark: Any, is_taken: bool, log: str, size: int | None) -> None:
        if is_taken:
            stream, key = mark
            await self.client.xack(stream, GROUP, key)
            await self.client.xdel(stream, key)

    async def advice(self) -> list[str]:
        found = await self.client.config_get("append*", "maxmemory-policy")
        wrong = {key: value for key, value in SAFE.items() if found.get(key, value) != value}
        return [f"an acknowledged record may be lost: {key} is {found[key]}, not {wrong[key]}" for key in wrong]
