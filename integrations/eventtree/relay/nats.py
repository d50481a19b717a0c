"""NATS JetStream: a stream whose subjects are `eventtree.PARTITION.PROCESS`, a durable consumer for each partition.

The stream is a work queue that refuses new messages at its limits rather than dropping old ones. What was acknowledged
is gone from it. A collector's lease is a key that expires; what it asks for again goes over plain NATS.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, Self

import nats
import nats.errors
import nats.js.errors
import pydantic_core
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig

from eventtree.errors import ConfigError
from eventtree.relay.port import BATCH, LEASE_SECONDS, RECEIVE_SECONDS, AwayError, Delivery, RefusedError, T, tried
from eventtree.relay.settings import Target, credentials_file, login, tls

STREAM = "EVENTTREE"
LEASES = "eventtree-leases"
ASKED = "eventtree-ask"
"""Subject outside the stream's."""
REPLY_SECONDS = 5.0
CONNECT_SECONDS = 3
CLOSE_SECONDS = 1.0
AGAIN_SECONDS = 1.0
ACK_SECONDS = 5.0
"""A message that a collector took and did not answer is given again after so long."""
MAX_WAITING = 4 * BATCH
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


class Engine:
    """A connection to JetStream, for a relay or a collector."""

    def __init__(self, target: Target) -> None:
        """Connect to nothing yet."""
        self.target = target
        self.partitions = 1
        self.client = _Client()
        self.client.needs_tls = not target.is_near or target.url.startswith("tls:")
        self.me = uuid.uuid4().hex.encode()
        self.leases: Any = None
        self._leases: dict[int, int] = {}
        self._consumers: dict[int, Any] = {}
        self._asked: dict[str, int] = {}

    async def open(self, partitions: int | None = None) -> Self:
        """See `Port`."""
        user, token = login()
        known: dict[str, Any] = {"user": user, "password": token} if user else {"token": token or None}
        creds = credentials_file()
        options: dict[str, Any] = {"user_credentials": creds} if creds else known
        if self.client.needs_tls:
            options["tls"] = tls()
        connecting = self.client.connect(
            self.target.url, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS, error_cb=_quiet, disconnected_cb=_quiet, closed_cb=_quiet, **options,
        )  # fmt: skip
        await _try(asyncio.wait_for(connecting, 2 * CONNECT_SECONDS))
        self.js = self.client.jetstream(timeout=REPLY_SECONDS)
        self.partitions = await _try(self._stream(partitions))
        await _try(self.client.subscribe(ASKED, cb=self._on_ask))
        return self

    async def publish(self, partition: int, message: bytes) -> int | None:
        """See `Port`."""
        await _try(self.js.publish(f"eventtree.{partition}.log", message, stream=STREAM, timeout=REPLY_SECONDS))
        return None

    async def asked(self) -> Mapping[str, int]:
        """See `Port`."""
        asked, self._asked = self._asked, {}
        return asked

    async def ask(self, log: str, offset: int) -> None:
        """See `Port`."""
        await _try(self.client.publish(ASKED, pydantic_core.to_json({"log": log, "offset": offset})))

    async def lease(self, partition: int) -> bool:
        """See `Port`."""
        key = f"partition.{partition}"
        try:
            if self.leases is None:
                self.leases = await self.js.create_key_value(bucket=LEASES, ttl=LEASE_SECONDS)
            if partition in self._leases:
                self._leases[partition] = await self.leases.update(key, self.me, last=self._leases[partition])
            else:
                self._leases[partition] = await self.leases.create(key, self.me)
        except nats.js.errors.KeyWrongLastSequenceError:
            self._leases.pop(partition, None)
        except Exception as error:  # noqa: BLE001  (the client has no end of classes)
            _raise(error)
        return partition in self._leases

    async def receive(self, partition: int) -> list[Delivery]:
        """See `Port`."""
        consumer = self._consumers.get(partition)
        if consumer is None:
            consumer = self._consumers[partition] = await _try(self._consumer(partition))
        try:
            messages = await consumer.fetch(BATCH, timeout=RECEIVE_SECONDS)
        except nats.errors.TimeoutError:
            if not self.client.is_connected:
                raise AwayError("the connection broke") from None
            return []
        except Exception as error:  # noqa: BLE001
            _raise(error)
        return [Delivery(message.data, _answer(message)) for message in messages]

    async def close(self) -> None:
        """See `Port`."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                for partition in self._leases:
                    await self.leases.delete(f"partition.{partition}")
        except Exception:  # noqa: BLE001  (it expires)
            pass
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.client.close()
        except Exception:  # noqa: BLE001  (it is broken already, or waits for ever after a failed handshake)
            pass
        writer = getattr(self.client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
            await asyncio.sleep(0)  # the socket is closed in the loop's next round

    async def _stream(self, wanted: int | None) -> int:
        """The stream's partitions; made with so many if there is none, or if it is empty."""
        config = StreamConfig(
            name=STREAM, subjects=["eventtree.*.log"], retention=RetentionPolicy.WORK_QUEUE, discard=DiscardPolicy.NEW,
            metadata={"partitions": str(wanted or 1)},
        )  # fmt: skip
        try:
            found = await self.js.stream_info(STREAM)
        except nats.js.errors.NotFoundError:
            found = await self.js.add_stream(config)
        known = int((found.config.metadata or {}).get("partitions", 1))
        return known if wanted in (None, known) else await self._repartition(found, int(wanted or 1), known)

    async def _repartition(self, found: Any, wanted: int, known: int) -> int:
        if found.state.messages:
            hint = f"Collect with --partitions {known} until it is empty"
            raise ConfigError("--partitions", f"the stream has {known}, and messages in them", hint)
        await self.js.update_stream(found.config.evolve(metadata={"partitions": str(wanted)}))
        return wanted

    async def _consumer(self, partition: int) -> Any:
        subject = f"eventtree.{partition}.log"
        config = ConsumerConfig(
            ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_SECONDS, max_ack_pending=MAX_WAITING, max_deliver=-1,
            filter_subject=subject,
        )  # fmt: skip
        return await self.js.pull_subscribe(subject, durable=f"fold-{partition}", stream=STREAM, config=config)

    async def _on_ask(self, message: Msg) -> None:
        try:
            found = pydantic_core.from_json(message.data)
            self._asked[str(found["log"])] = int(found["offset"])
        except (ValueError, LookupError, TypeError):
            return


def _answer(message: Msg) -> Callable[[bool, int | None], Awaitable[None]]:
    async def answer(is_taken: bool, size: int | None) -> None:
        await _try(message.ack() if is_taken else message.nak(delay=AGAIN_SECONDS))

    return answer


def _try(work: Awaitable[T]) -> Awaitable[T]:
    return tried(work, _raise)


def _raise(error: Exception) -> NoReturn:
    """As one of ours. Of the client's texts only those are kept that can hold nothing of ours."""
    if not isinstance(error, nats.errors.Error | OSError | TimeoutError):
        raise error
    if isinstance(error, nats.errors.SecureConnRequiredError):
        raise RefusedError("the server offers no TLS") from None
    text = str(error)
    if isinstance(error, nats.errors.AuthorizationError) or REFUSALS.search(text):
        raise RefusedError("the server refuses the credentials") from None
    if isinstance(error, nats.js.errors.APIError):
        raise AwayError(f"{type(error).__name__}: {error.description}") from None
    raise AwayError(type(error).__name__) from None


def syncs(varz: Mapping[str, Any]) -> bool:
    """Whether a server syncs before it acknowledges, by its `/varz`."""
    config = (varz.get("jetstream") or {}).get("config") or {}
    return bool(config.get("sync_always"))
