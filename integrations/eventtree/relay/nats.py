"""NATS JetStream: a stream of the subjects `eventtree.PARTITION.log`, and a durable consumer for each partition.

The stream is a work queue that refuses new messages at its limits rather than dropping old ones, and deletes a message
when it is acknowledged. A collector's lease is a key that expires; it requests chunks again over plain NATS.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, KeyWrongLastSequenceError, NotFoundError, ServerError
from nats.js.kv import KeyValue

from eventtree.relay import port
from eventtree.relay.port import credentials, tls

LEASES = "eventtree-leases"
ASKED = "eventtree-ask"
"""Subject of requests to relays, outside the stream."""
CONNECT_SECONDS = 3
QUEUE = StreamConfig(
    "EVENTTREE", subjects=["eventtree.*.log"], retention=RetentionPolicy.WORK_QUEUE, discard=DiscardPolicy.NEW
)  # fmt: skip
CONSUMER = ConsumerConfig(
    ack_policy=AckPolicy.EXPLICIT, ack_wait=5.0, max_ack_pending=-1, max_deliver=-1
)  # fmt: skip
AGAIN_SECONDS = 1.0
"""Seconds until a message that a collector refused is delivered again."""
SYNC = "Set sync_interval: always in its jetstream block (eventtree relay --print-nats-conf)"


class _Client(Client):
    """Refuses to send credentials in clear text, to a server without TLS or to a man in the middle."""

    needs_tls = False

    def _connect_command(self) -> bytes:
        if self.needs_tls and not self._server_info.get("tls_required"):
            raise port.RefusedError("the server offers no TLS")
        command: bytes = super()._connect_command()
        return command


class Engine(port.Port):
    """A connection to JetStream, for a relay or a collector."""

    errors, asked_at = (nats.errors.Error, OSError), ASKED

    async def connect(self) -> None:
        self.client, self.ends = _Client(), [self._give_back, self._end]
        self.client.needs_tls = self.url.scheme == "tls"
        self._kept: KeyValue | None = None
        self._leases: dict[int, int] = {}
        """Partition → revision of the lease's key written by this collector."""
        self._consumers: dict[int, Any] = {}
        creds, user, token = credentials()
        known = {"user_credentials": creds} if creds else {"user": user, "password" if user else "token": token or None}
        connecting = self.client.connect(
            self.url.geturl(), allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS, error_cb=self._on_error, tls=tls() if self.client.needs_tls else None,
            **known,
        )  # fmt: skip
        await asyncio.wait_for(connecting, 2 * CONNECT_SECONDS)
        self.js = self.client.jetstream(timeout=port.REPLY_SECONDS)
        await self.client.subscribe(ASKED, cb=self._on_ask)

    async def _on_error(self, error: Exception) -> None:
        self.reported = str(error)  # such as a missing right to publish: the call itself gets no answer

    async def _on_ask(self, message: Msg) -> None:
        self.add_asked(message.data)

    async def look(self) -> None:
        try:
            self._queue = (await self.js.stream_info(str(QUEUE.name))).config
        except NotFoundError:
            self._queue = QUEUE
        known = self._queue.metadata or {}
        self.split, self.most = (int(known.get(name, 0)) for name in ("split", "most"))

    async def divide(self, count: int) -> None:
        known = {"split": str(count), "most": str(max(count, self.most))}
        queue = self._queue.evolve(metadata={**(self._queue.metadata or {}), **known})
        if self._queue is not QUEUE:
            await self.js.update_stream(queue)
            return
        with suppress(BadRequestError):  # another process created it first, with other partitions
            try:
                await self.js.add_stream(queue.evolve(num_replicas=3))
            except ServerError:  # no cluster, or one of two servers
                await self.js.add_stream(queue)

    async def publish(self, partition: int, chunk: port.Chunk) -> None:
        await self.js.publish(f"eventtree.{partition}.log", chunk.pack(), stream=QUEUE.name, timeout=port.REPLY_SECONDS)

    async def lease(self, partition: int) -> bool:
        if self._kept is None:
            # In the servers' memory: a lease need not outlive them, and must not wait for a busy disk.
            memory, replicas = StorageType.MEMORY, self._queue.num_replicas or 1
            making = self.js.create_key_value(
                bucket=LEASES, ttl=port.LEASE_SECONDS, storage=memory, replicas=replicas
            )  # fmt: skip
            self._kept = await making
        kept, known = self._kept, self._leases.pop(partition, None)
        try:
            renewing = (
                kept.create(str(partition), b"") if known is None else kept.update(str(partition), b"", last=known)
            )
            self._leases[partition] = await renewing
        except KeyWrongLastSequenceError:
            return False
        return True

    async def _give_back(self) -> None:
        for partition, revision in self._leases.items():
            assert self._kept is not None
            await self._kept.delete(str(partition), last=revision)

    async def receive(self, partition: int) -> list[tuple[bytes, Any]]:
        if partition not in self._consumers:
            subject = f"eventtree.{partition}.log"
            self._consumers[partition] = await self.js.pull_subscribe(
                subject, f"fold-{partition}", QUEUE.name, CONSUMER.evolve(filter_subject=subject)
            )
        try:
            messages = await self._consumers[partition].fetch(port.BATCH, timeout=port.RECEIVE_SECONDS)
        except TimeoutError:  # the client's second request raises asyncio's own
            if self.client.is_connected:
                return []
            raise
        return [(message.data, message) for message in messages]

    async def answer(self, mark: Any, is_taken: bool, log: str, size: int | None) -> None:
        await (mark.ack() if is_taken else mark.nak(delay=AGAIN_SECONDS))

    async def _end(self) -> None:
        try:
            await self.client.close()
        finally:
            writer = getattr(self.client._transport, "_io_writer", None)
            if writer is not None:
                writer.transport.abort()
                await asyncio.sleep(0)  # the socket is closed in the loop's next round

    async def advice(self) -> list[str]:
        monitor = os.environ.get("EVENTTREE_RELAY_MONITOR") or f"http://{self.url.hostname}:8222"
        with (
            suppress(OSError, ValueError, LookupError, TypeError, AttributeError),
            urllib.request.urlopen(f"{monitor}/varz", timeout=port.RECEIVE_SECONDS) as answer,
        ):
            if json.load(answer)["jetstream"]["config"].get("sync_always"):
                return []
        where = f"{monitor} does not say otherwise (EVENTTREE_RELAY_MONITOR names its monitoring port)"
        return [f"the server may acknowledge before it syncs, and a power cut lose two minutes: {where}. {SYNC}"]
