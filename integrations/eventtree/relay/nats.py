"""NATS JetStream: a stream whose subjects are `eventtree.PARTITION.log`, a durable consumer for each partition.

The stream is a work queue that refuses new messages at its limits rather than dropping old ones. What was acknowledged
is gone from it. A collector's lease is a key that expires; what it asks for again goes over plain NATS.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from typing import Any

import nats.errors
import pydantic_core
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import (
    BadRequestError,
    BucketNotFoundError,
    KeyWrongLastSequenceError,
    NotFoundError,
    ServerError,
)
from nats.js.kv import KeyValue

from eventtree.relay import port
from eventtree.relay.settings import Target, credentials, tls

STREAM, LEASES = "EVENTTREE", "eventtree-leases"
ASKED = "eventtree-ask"
"""Subject outside the stream's."""
CONNECT_SECONDS, CLOSE_SECONDS = 3, 1.0
CONSUMER = ConsumerConfig(
    ack_policy=AckPolicy.EXPLICIT, ack_wait=5.0, max_ack_pending=4 * port.BATCH, max_deliver=-1
)  # fmt: skip
AGAIN_SECONDS = 1.0
"""A message is given again so long after a collector refused it."""


class _Client(Client):
    """Sends no credentials in clear text: to a server that lost its TLS, or to somebody between."""

    needs_tls = False

    def _connect_command(self) -> bytes:
        if self.needs_tls and not self._server_info.get("tls_required"):
            raise port.RefusedError("the server offers no TLS")
        command: bytes = super()._connect_command()
        return command


class Engine(port.Port):
    """A connection to JetStream, for a relay or a collector."""

    errors = (nats.errors.Error, OSError)

    def __init__(self, target: Target) -> None:
        """Connect to nothing yet."""
        super().__init__(target)
        self.client = _Client()
        self.client.needs_tls = not target.is_near or target.url.startswith("tls:")
        self._kept: KeyValue | None = None
        self._leases: dict[int, int] = {}
        """Partition → revision of the lease's key, as this collector wrote it."""
        self._consumers: dict[int, Any] = {}

    async def connect(self) -> None:
        creds, user, token = credentials()
        known = {"user_credentials": creds} if creds else {"user": user, "password" if user else "token": token or None}
        connecting = self.client.connect(
            self.target.url, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS, error_cb=self._on_error, tls=tls() if self.client.needs_tls else None,
            **known,
        )  # fmt: skip
        await asyncio.wait_for(connecting, 2 * CONNECT_SECONDS)
        self.js = self.client.jetstream(timeout=port.REPLY_SECONDS)
        await self.client.subscribe(ASKED, cb=self._on_ask)

    async def _on_error(self, error: Exception) -> None:
        self.said = str(error)  # that a user may not publish, say: the call itself is never answered

    async def look(self) -> int:
        try:
            found = await self.js.stream_info(STREAM)
        except NotFoundError:
            self.partitions = 0
            return 0
        self._config, self.partitions = found.config, len(found.config.subjects or ())
        return found.state.messages

    async def divide(self, partitions: int) -> None:
        subjects = [f"eventtree.{number}.log" for number in range(partitions)]
        if self.partitions:
            changed = await self.js.update_stream(self._config.evolve(subjects=subjects))
            if changed.state.messages:
                await self.js.update_stream(self._config)
                raise port.AwayError("messages came meanwhile")
            return
        queue = StreamConfig(
            STREAM, retention=RetentionPolicy.WORK_QUEUE, discard=DiscardPolicy.NEW, subjects=subjects, num_replicas=3
        )
        try:
            await self.js.add_stream(queue)
        except BadRequestError:
            return  # somebody else was first, with other partitions
        except ServerError:  # it is no cluster, or one of two
            await self.js.add_stream(queue.evolve(num_replicas=1))

    async def publish(self, partition: int, chunk: port.Chunk) -> None:
        await self.js.publish(f"eventtree.{partition}.log", chunk.pack(), stream=STREAM, timeout=port.REPLY_SECONDS)

    async def _on_ask(self, message: Msg) -> None:
        self.hear(message.data)

    async def ask(self, log: str, offset: int) -> None:
        await self.client.publish(ASKED, pydantic_core.to_json([log, offset]))

    async def lease(self, partition: int) -> bool:
        if self._kept is None:
            # In servers' memory: no lease need outlive them, and none has to wait for a busy disk.
            memory, ttl, replicas = StorageType.MEMORY, port.LEASE_SECONDS, self._config.num_replicas or 1
            try:
                self._kept = await self.js.key_value(LEASES)
            except BucketNotFoundError:
                making = self.js.create_key_value(bucket=LEASES, ttl=ttl, storage=memory, replicas=replicas)
                self._kept = await making
        key, known = f"partition.{partition}", self._leases.pop(partition, None)
        try:
            renewing = self._kept.create(key, b"") if known is None else self._kept.update(key, b"", last=known)
            self._leases[partition] = await renewing
        except KeyWrongLastSequenceError:
            return False
        return True

    async def receive(self, partition: int) -> list[tuple[bytes, Any]]:
        if partition not in self._consumers:
            subject, name = f"eventtree.{partition}.log", f"fold-{partition}"
            config = CONSUMER.evolve(filter_subject=subject)
            self._consumers[partition] = await self.js.pull_subscribe(
                subject, durable=name, stream=STREAM, config=config
            )
        try:
            messages = await self._consumers[partition].fetch(port.BATCH, timeout=port.RECEIVE_SECONDS)
        except TimeoutError:  # the client raises asyncio's own, too, where its second request is out of time
            if self.client.is_connected:
                return []
            raise
        return [(message.data, message) for message in messages]

    async def answer(self, mark: Any, is_taken: bool, size: int | None) -> None:
        await (mark.ack() if is_taken else mark.nak(delay=AGAIN_SECONDS))

    async def close(self) -> None:
        leases = [self._kept.delete(f"partition.{partition}") for partition in self._leases] if self._kept else []
        for ending in [*leases, self.client.close()]:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await ending
            except Exception:  # noqa: BLE001  (a lease expires; a broken connection may wait for ever)
                continue
        writer = getattr(self.client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
            await asyncio.sleep(0)  # the socket is closed in the loop's next round

    async def advice(self) -> list[str]:
        monitor = os.environ.get("EVENTTREE_RELAY_MONITOR") or f"http://{self.target.host}:8222"
        hint = "Set sync_interval: always in its jetstream block (eventtree relay --print-nats-conf)"

        def found() -> Any:
            with urllib.request.urlopen(f"{monitor}/varz", timeout=port.RECEIVE_SECONDS) as answer:
                return json.load(answer)["jetstream"]["config"].get("sync_always")

        try:
            if await asyncio.to_thread(found):
                return []
        except (OSError, ValueError, LookupError, TypeError):
            where = "EVENTTREE_RELAY_MONITOR names its monitoring port"
            return [f"whether the server syncs before it acknowledges cannot be read at {monitor}: {where}. {hint}"]
        return [f"the server acknowledges before it syncs: a power cut loses up to two minutes. {hint}"]
