"""`eventtree relay` and `eventtree collect`: the two ends of a journal that leaves its machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable
from importlib.resources import files

import click

from eventtree import config
from eventtree.cli.main import Seconds, journal_option, main, say
from eventtree.config import MEMORY
from eventtree.errors import ConfigError, EventTreeError, JournalError
from eventtree.journal import open_journal
from eventtree.relay.port import port_at
from eventtree.relay.relay import relay_of

END_SECONDS = 20.0
"""A relay that is stopped sends what is left: Kubernetes waits for 30 seconds."""


@main.command("relay")
@click.argument("url", required=False)
@journal_option
@click.option("--print-nats-conf", is_flag=True, help="Print a safe configuration for a NATS server, and do nothing.")
def relay(url: str | None, folder: str | None, print_nats_conf: bool) -> None:
    """Replicate a journal to a collector until stopped, through the engine at URL, or to the collector at URL.

    An app with EVENTTREE_RELAY=URL does it by itself. EVENTTREE_RELAY_CREDS names a file of credentials, or
    EVENTTREE_RELAY_TOKEN is a token.
    """
    if print_nats_conf:
        click.echo(files("eventtree.relay").joinpath("nats.conf").read_text(), nl=False)
        return
    settings = config.resolve(journal=folder, deliver=True)
    url = url or settings.relay
    port_at(url)
    if settings.folder == MEMORY:
        raise JournalError("a memory journal lives only in its own process. Name a folder: --journal DIR")
    relay = relay_of(open_journal(settings.folder), url, settings)
    say(f"Relaying {settings.folder} to {url}.")
    _until_stopped(relay.ensure, threading.Event().wait)
    relay.drain(END_SECONDS, is_all=True)
    relay.stop()


@main.command("collect")
@click.argument("url")
@journal_option
@click.option(
    "--partitions", type=click.IntRange(1, 4096), metavar="N",
    help="Split the trees of processes that begin from now on over N partitions.",
)  # fmt: skip
@click.option("--take", metavar="0-31", help="Collect only these partitions. The default is all that are free.")
@click.option(
    "--silence", default=60.0, show_default=True, metavar="SECONDS", type=Seconds(min=1),
    help="Take a process for dead after so long without a message.",
)  # fmt: skip
def collect(url: str, folder: str | None, partitions: int | None, take: str | None, silence: float) -> None:
    """Collect the journals of relays from the engine at URL, or listen at URL (http, https), and deliver them.

    It ends when it is stopped. The vendors are those of EVENTTREE_VENDORS, with their keys from the environment.
    """
    from eventtree.relay.collect import Collector
    from eventtree.vendors import resolve_vendors

    os.environ.pop("EVENTTREE_RELAY", None)  # a collector relays nothing itself
    settings = config.resolve(journal=folder, deliver=True)
    taken = _numbers(take)
    port_at(url, serves=True)
    vendors = resolve_vendors(settings.vendors)
    collector = Collector(open_journal(settings.folder), vendors, settings, silence=silence)
    names = ", ".join(vendor.name for vendor in vendors) or "nobody: set EVENTTREE_VENDORS"
    say(f"Collecting from {url} into {settings.folder}, for {names}.")
    _until_stopped(lambda: asyncio.run(collector.run(url, partitions=partitions, take=taken)))


def examine_relay(url: str) -> bool:
    """Print whether the engine can be reached, and whether it may lose acknowledged records."""

    async def advice() -> list[str]:
        async with port_at(url).opened() as port:
            return await port.advice()

    try:
        notes = asyncio.run(advice())
    except EventTreeError as error:
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
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text, re.ASCII)
    if found is None:
        raise ConfigError("--take", f"{text!r} are no partitions", "Give a number, or a range such as 0-31")
    return range(int(found[1]), int(found[2] or found[1]) + 1)


def _until_stopped(*work: Callable[[], object]) -> None:
    """One after the other, until Ctrl-C, or SIGTERM, which stops containers: it ends as orderly."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has none
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt):
        for one in work:
            one()
