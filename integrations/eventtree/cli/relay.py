"""`eventtree relay` and `eventtree collect`: the two ends of a journal that leaves its machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable

from eventtree import config
from eventtree.cli.say import say
from eventtree.cli.show import existing
from eventtree.errors import ConfigError
from eventtree.journal import open_journal
from eventtree.relay.collect import Collector
from eventtree.relay.port import AwayError, RefusedError
from eventtree.relay.relay import relay_of
from eventtree.relay.settings import Target
from eventtree.vendors import resolve_vendors

END_SECONDS = 5.0


def run_relay(url: str | None, folder: str | None) -> None:
    """Replicate a folder until stopped.

    Raises:
        ConfigError: there is no URL, or it is none.
    """
    settings = config.resolve(journal=folder)
    target = Target(url or settings.relay)
    target.connection()
    relay = relay_of(existing(folder, awaited=True), target, settings)
    say(f"Relaying {settings.folder} to {target.url}.")
    relay.ensure()
    _until_stopped(threading.Event().wait)
    relay.drain(END_SECONDS, is_all=True)
    relay.stop()


def collect(url: str, folder: str | None, partitions: int | None, take: str | None, silence: float) -> None:
    """Collect into a folder, and ship it, until stopped.

    Raises:
        ConfigError, JournalError: a setting is wrong, or the folder is another's.
    """
    os.environ.pop("EVENTTREE_RELAY", None)  # a collector relays nothing itself
    settings = config.resolve(journal=folder, deliver=True)
    target, taken = Target(url), _numbers(take)
    target.connection(serves=True)
    vendors = resolve_vendors(settings.vendors)
    collector = Collector(open_journal(settings.folder), vendors, settings, silence=silence)
    names = ", ".join(vendor.name for vendor in vendors) or "nobody: set EVENTTREE_VENDORS"
    say(f"Collecting from {target.url} into {settings.folder}, for {names}.")
    _until_stopped(lambda: asyncio.run(collector.run(target, partitions=partitions, take=taken)))


def examine_relay(url: str) -> bool:
    """Say whether the engine can be reached, and whether it may lose what it has acknowledged."""

    async def advice() -> list[str]:
        async with Target(url).connection().opened() as port:
            return await port.advice()

    try:
        notes = asyncio.run(advice())
    except (ConfigError, AwayError, RefusedError) as error:
        say(f"relay: WRONG {url}: {error}")
        return False
    say(f"relay: {url} takes what is recorded")
    for note in notes:
        say(f"relay: note: {note}")
    return True


def _numbers(text: str | None) -> range | None:
    """`0-31` as a range; None is all."""
    if text is None:
        return None
    first, _, last = text.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        raise ConfigError("--take", f"{text!r} are no partitions", "Give a number, or a range such as 0-31")
    return range(int(first), int(last or first) + 1)


def _until_stopped(work: Callable[[], object]) -> None:
    """Until Ctrl-C, or SIGTERM, which stops containers: it ends as orderly."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has none
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt):
        work()
