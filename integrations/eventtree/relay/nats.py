"""NATS JetStream: a stream whose subjects are `eventtree.PARTITION.log`, a durable consumer for each partition.

The stream is a work queue that refuses new messages at its limits rather than dropping old ones. What was acknowledged
is gone from it. A collector's lease is a key that expires; what it asks for again goes over plain NATS.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from typing import Any

import nats
import nats.errors
import nats.js.errors
import pydantic_core
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.kv import KeyValue

from eventtree.relay import port
from eventtree.relay.settings import Target, credentials_file, login, tls

STREAM = "EVENTTREE"
LEASES = "eventtree-leases"
ASKED = "eventtree-ask"
"""Subject outside the stream's."""
CONNECT_SECONDS = 3
CLOSE_SECONDS = 1.0
AGAIN_SECONDS = 1.0
ACK_SECONDS = 5.0
"""A message that a collector took and did not answer is given again after so long."""
MAX_WAITING = 4 * port.BATCH
REFUSALS = re.compile(r"authorization|authentication|permissions|credentials|jwt|nkey", re.IGNORECASE)


class _Client(Client):
    """Sends no credentials in clear text: to a server that lost its TLS, or to somebody between."""

    needs_tls = False

    def _connect_command(self) -> bytes:
        if self.needs_tls and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnRequiredError
        command: bytes = super()._connect_command()
        return command


async def _quiet(*_: object) -> None:
    """Whatever happens to the connection shows at the next call."""


class Engine(port.Port):
    """A connection to JetStream, for a relay or a collector."""

    def __init__(self, target: Target) -> None:
        """Connect to nothing yet."""
        super().__init__(target)
        self.client = _Client()
        self.client.needs_tls = not target.is_near or target.url.startswith("tls:")
        self.me = uuid.uuid4().hex.encode()
        self._leases: dict[int, int] = {}
        """Partition → revision of the lease's key, as this collector wrote it."""
        self._kept: KeyValue | None = None
        self._consumers: dict[int, Any] = {}

    def explain(self, error: Exception) -> Exception:
        if isinstance(error, nats.errors.SecureConnRequiredError):
            return port.RefusedError("the server offers no TLS")
        if isinstance(error, nats.errors.Error | OSError) and REFUSALS.search(f"{type(error).__name__} {error}"):
            return port.RefusedError("the server refuses the credentials")
        if isinstance(error, nats.js.errors.APIError):
            return port.AwayError(f"{type(error).__name__}: {error.description}")
        return port.away(error) if isinstance(error, nats.errors.Error | OSError) else error

    async def open(self, partitions: int | None = None) -> None:
        (user, token), creds = login(), credentials_file()
        known: dict[str, Any] = {"user": user, "password": token} if user else {"token": token or None}
        connecting = self.client.connect(
            self.target.url, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS, error_cb=_quiet, disconnected_cb=_quiet, closed_cb=_quiet,
            tls=tls() if self.client.needs_tls else None, **({"user_credentials": creds} if creds else known),
        )  # fmt: skip
        await asyncio.wait_for(connecting, 2 * CONNECT_SECONDS)
        self.js = self.client.jetstream(timeout=port.REPLY_SECONDS)
        await self._stream(partitions)
        await self.client.subscribe(ASKED, cb=self._on_ask)

    async def _stream(self, wanted: int | None) -> None:
        """Make the stream, if there is none, and know its partitions."""
        config = StreamConfig(
            name=STREAM, subjects=["eventtree.*.log"], retention=RetentionPolicy.WORK_QUEUE, discard=DiscardPolicy.NEW,
            metadata={"partitions": str(wanted or 1)},
        )  # fmt: skip
        try:
            found = await self.js.stream_info(STREAM)
        except nats.js.errors.NotFoundError:
            with contextlib.suppress(nats.js.errors.BadRequestError):  # somebody else was first, with other partitions
                await self.js.add_stream(config)
            found = await self.js.stream_info(STREAM)
        self.partitions = int((found.config.metadata or {}).get("partitions", 1))
        if port.repartitioned(self.partitions, wanted, found.state.messages):
            await self.js.update_stream(found.config.evolve(metadata=config.metadata))
            self.partitions = wanted or 1

    async def publish(self, partition: int, chunk: port.Chunk) -> bool:
        await self.js.publish(f"eventtree.{partition}.log", chunk.pack(), stream=STREAM, timeout=port.REPLY_SECONDS)
        return True

    async def _on_ask(self, message: Msg) -> None:
        try:
            found = pydantic_core.from_json(message.data)
            self._asked[str(found["log"])] = int(found["offset"])
        except (ValueError, LookupError, TypeError):
            return

    async def ask(self, log: str, offset: int) -> None:
        await self.client.publish(ASKED, pydantic_core.to_json({"log": log, "offset": offset}))

    async def lease(self, partition: int) -> bool:
        key = f"partition.{partition}"
        if self._kept is None:
            # In the server's memory: no lease need outlive it, and none has to wait for a busy disk.
            self._kept = await self.js.create_key_value(
                bucket=LEASES, ttl=port.LEASE_SECONDS, storage=StorageType.MEMORY
            )
        try:
            known = self._leases.pop(partition, None)
            self._leases[partition] = await (
                self._kept.create(key, self.me) if known is None else self._kept.update(key, self.me, last=known)
            )
        except nats.js.errors.KeyWrongLastSequenceError:
            return False
        return True

    async def receive(self, partition: int) -> list[port.Delivery]:
        if partition not in self._consumers:
            subject = f"eventtree.{partition}.log"
            config = ConsumerConfig(
                ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_SECONDS, max_ack_pending=MAX_WAITING, max_deliver=-1,
                filter_subject=subject,
            )  # fmt: skip
            self._consumers[partition] = await self.js.pull_subscribe(
                subject, durable=f"fold-{partition}", stream=STREAM, config=config
            )
        try:
            messages = await self._consumers[partition].fetch(port.BATCH, timeout=port.RECEIVE_SECONDS)
        except nats.errors.TimeoutError:
            if self.client.is_connected:
                return []
            raise
        return [port.Delivery(message.data, message) for message in messages]

    async def answer(self, delivery: port.Delivery, is_taken: bool, size: int | None) -> None:
        await (delivery.mark.ack() if is_taken else delivery.mark.nak(delay=AGAIN_SECONDS))

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
