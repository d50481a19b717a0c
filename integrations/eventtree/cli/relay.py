"""`eventtree relay` and `eventtree collect`: the two ends of a journal that leaves its machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

from eventtree import config
from eventtree.cli.say import say
from eventtree.cli.show import existing
from eventtree.errors import ConfigError
from eventtree.journal import open_journal
from eventtree.relay.collect import Collector
from eventtree.relay.port import AwayError, RefusedError
from eventtree.relay.relay import Relay
from eventtree.relay.settings import Target
from eventtree.vendors import resolve_vendors

VARZ_SECONDS = 2.0
END_SECONDS = 5.0


def run_relay(url: str | None, folder: str | None) -> None:
    """Replicate a folder until stopped.

    Raises:
        ConfigError: there is no URL, or it is none.
    """
    settings = config.resolve(journal=folder)
    target = _target(url or settings.relay)
    target.check()
    journal = existing(folder, awaited=True)
    say(f"Relaying {settings.folder} to {target.url}.")
    relay = Relay(journal, target, bounds=settings.bounds)

    async def until_stopped(stopped: asyncio.Event) -> None:
        relay.ensure()
        await stopped.wait()
        await asyncio.to_thread(relay.drain, time.monotonic() + END_SECONDS)
        await asyncio.to_thread(relay.stop)

    _run(until_stopped)


def collect(url: str, folder: str | None, partitions: int | None, take: str | None, silence: float) -> None:
    """Collect into a folder, and ship it, until stopped.

    Raises:
        ConfigError, JournalError: a setting is wrong, or the folder is another's.
    """
    os.environ.pop("EVENTTREE_RELAY", None)  # a collector relays nothing itself
    settings = config.resolve(journal=folder, deliver=True)
    target = _target(url)
    target.check(serves=True)
    vendors = resolve_vendors(settings.vendors)
    collector = Collector(open_journal(settings.folder), vendors, settings, silence=silence)
    names = ", ".join(vendor.name for vendor in vendors) or "nobody: set EVENTTREE_VENDORS"
    say(f"Collecting from {target.url} into {settings.folder}, for {names}.")

    async def until_stopped(stopped: asyncio.Event) -> None:
        running = asyncio.create_task(collector.run(target, partitions=partitions, take=_numbers(take)))
        await _either(running, stopped)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    _run(until_stopped)


def examine_relay(url: str) -> bool:
    """Say whether the engine can be reached, and whether it may lose what it has acknowledged."""
    try:
        target = _target(url)
        target.check()
        advice = asyncio.run(_examined(target))
    except (ConfigError, AwayError, RefusedError) as error:
        say(f"relay: WRONG {url}: {error}")
        return False
    say(f"relay: {target.url} takes what is recorded")
    for line in advice:
        say(f"relay: note: {line}")
    return True


async def _examined(target: Target) -> list[str]:
    port: Any = target.connection()
    try:
        await port.open()
        if urlsplit(target.url).scheme.startswith("redis"):
            return [f"an acknowledged record may be lost: {one}" for one in await port.unsafe()]
        return [] if target.url.startswith("http") else await asyncio.to_thread(_unsynced, target)
    finally:
        await port.close()


def _unsynced(target: Target) -> list[str]:
    """What is to be said of a NATS server's syncing, by what its monitoring port says."""
    monitor = os.environ.get("EVENTTREE_RELAY_MONITOR") or f"http://{target.host}:8222"
    hint = "Set sync_interval: always in its jetstream block (eventtree relay --print-nats-conf)"
    try:
        with urllib.request.urlopen(f"{monitor}/varz", timeout=VARZ_SECONDS) as answer:
            found = json.load(answer)
        if found["jetstream"]["config"].get("sync_always"):
            return []
    except (OSError, ValueError, LookupError, TypeError):
        where = "EVENTTREE_RELAY_MONITOR names its monitoring port"
        return [f"whether the server syncs before it acknowledges cannot be read at {monitor}: {where}. {hint}"]
    return [f"the server acknowledges before it syncs: a power cut loses up to two minutes. {hint}"]


def _target(url: str) -> Target:
    if not url:
        raise ConfigError("relay", "no URL", "Give one, nats://HOST:4222 say, or set EVENTTREE_RELAY")
    return Target(url)


def _numbers(text: str | None) -> range | None:
    """`0-31` as a range; None is all."""
    if text is None:
        return None
    first, _, last = text.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        raise ConfigError("--take", f"{text!r} are no partitions", "Give a number, or a range such as 0-31")
    return range(int(first), int(last or first) + 1)


async def _either(running: asyncio.Task[None], stopped: asyncio.Event) -> None:
    """Wait until a signal comes; raises what ended the work before."""
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if running.done():
        running.result()


def _run(work: Any) -> None:
    async def main() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop(*_: object) -> None:
            loop.call_soon_threadsafe(stopped.set)

        # Not the loop's own handlers: Windows has none.
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            await work(stopped)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    started: Coroutine[Any, Any, None] = main()
    asyncio.run(started)
