"""`eventtree ship`: deliver the journal from a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping

import click

from eventtree import config
from eventtree.cli.main import journal_option, main, say, timeout_option
from eventtree.cli.show import existing
from eventtree.delivery.consumer import Consumer
from eventtree.delivery.report import Report
from eventtree.delivery.shipper import Shipper
from eventtree.errors import ConfigError
from eventtree.journal import Journal
from eventtree.journal.counts import Counts, Cursors, count_unsettled, cursor_keys
from eventtree.journal.totals import recorded_sums
from eventtree.record import is_local
from eventtree.serializer.registry import is_known, resolve_vendors
from eventtree.summary import plural
from eventtree.terminal import console, progress, report_view
from eventtree.vendors import Vendor

IDLE_CHECKS = 3
"""So many checks in a row must find all consumers idle before `ship` ends."""
CHECK_SECONDS = 0.1


@main.command("ship")
@journal_option
@click.option(
    "--vendor", "names", multiple=True, metavar="NAME",
    help="Send to this vendor, not to the vendors that trees name. It may be given several times.",
)  # fmt: skip
@click.option("--follow", is_flag=True, help="Go on delivering until you stop it.")
@click.option("--replay", is_flag=True, help="Send every tree, also one that does not name the vendor.")
@timeout_option(60.0, "Give up after so long, unless you --follow.")
def ship(folder: str | None, names: tuple[str, ...], follow: bool, replay: bool, timeout: float) -> int:
    """Deliver waiting events, from a process of its own. Keys and hosts come from the environment."""
    journal = existing(folder, awaited=follow)
    if replay and not names:
        raise ConfigError("--replay", "it needs to know where to", "Add --vendor NAME")
    lacking: dict[str, ConfigError | None] = {}
    vendors = resolve_vendors(names) if names else _named(journal, lacking)
    errors = [error for error in lacking.values() if error is not None]
    if errors and not vendors and not follow:
        raise errors[0]
    _say_lacking(errors)
    if not vendors and not follow:
        say("Nothing waits for a vendor.")
        return 0
    shipper = Shipper(journal, all_trees=replay)
    shipper.serve(vendors, config.resolve(deliver=True, vendors=()))
    is_done = True
    try:
        if follow:
            _follow(shipper, None if names else journal, lacking)
        else:
            is_done = until_idle(shipper, timeout)
    except KeyboardInterrupt:
        say("Stopped. Events not yet sent stay in the journal.", err=True)
    busy = [one.vendor.name for one in shipper.consumers.values() if one.cursor is None] if replay else []
    shipper.stop(2.0)
    found = shipper.report()
    console().print(report_view(found))
    ours = {vendor.name: vendor.fingerprint(journal.salt) for vendor in shipper.vendors.values()}
    others = _say_others(found, ours)
    left = sum(sums.waiting for sums in found.vendors.values() if ours.get(sums.name) == sums.fingerprint)
    # Trees that do not name the vendor are not counted as waiting: a replay that ran out of time may have more to send.
    is_cut = not is_done and bool(left or (replay and not busy))
    if is_cut:
        rest = f"{plural(left, 'event')} still wait" if left else "trees may still have to be sent"
        hint = "They stay in the journal: run it again, give it more time with --timeout, or let it --follow."
        say(f"Time ran out after {timeout:g} s: {rest}. {hint}", err=True)
    if busy:
        hint = "Replay once it has ended."
        say(f"Nothing was replayed to {', '.join(busy)}: another process is delivering there. {hint}", err=True)
    return int(bool(left or is_cut or errors or busy or (others and not replay)))


def _say_others(found: Report, ours: Mapping[str, str]) -> int:
    """Print which events still wait because they were recorded with other settings; return how many can be sent."""
    waiting = 0
    for sums in found.vendors.values():
        if sums.waiting and sums.name in ours and ours[sums.name] != sums.fingerprint:
            others = "with another key, host or project than this environment's"
            hint = "Set those, or send them to this one with --replay."
            stays = sums.is_local and not is_local(ours[sums.name])
            if stays:
                others, hint = "for a server on this machine", "It goes to no other host; `eventtree clear` deletes it."
            wait = "event waits" if sums.waiting == 1 else "events wait"
            say(f"{sums.waiting} {wait} for {sums.name} {others}. {hint}", err=True)
            waiting += 0 if stays else sums.waiting
    return waiting


def _named(journal: Journal, lacking: dict[str, ConfigError | None]) -> tuple[Vendor, ...]:
    """The vendors that trees name, with this environment's settings. `lacking` gets those without, and the error."""
    counts = _unsettled(journal)
    found: list[Vendor] = []
    for name in sorted({name for name, _ in counts.vendors | cursor_keys(journal)}):
        try:
            if is_known(name):
                found += resolve_vendors([name])
            elif name not in lacking:
                lacking[name] = None
                say(f"{name}: a name of your own; deliver it from a process that has its settings.", err=True)
        except ConfigError as error:  # the other vendors get their events all the same
            if name not in lacking and any(key[0] == name for key in counts.waiting + counts.feedback):
                lacking[name] = error
    return tuple(found)


def _unsettled(journal: Journal) -> Counts:
    return count_unsettled(journal, Cursors(journal), recorded_sums(journal), trusts_sums=True)


def _say_lacking(errors: Iterable[ConfigError | None]) -> None:
    for error in errors:
        if error is not None:
            say(f"eventtree: {error}. Its events stay in the journal.", err=True)


def until_idle(shipper: Shipper, timeout: float) -> bool:
    """Deliver, with a progress bar, until all consumers are idle; False if time ran out."""
    deadline = time.monotonic() + timeout
    idle = 0
    with progress(f"delivering to {', '.join(vendor.name for vendor in shipper.vendors.values())}") as show:
        before, expected = _settled(shipper), 0
        if sys.stderr.isatty():  # the bar shows how many events wait, which takes a while to count
            expected = _unsettled(shipper.journal).waiting.total()
        while idle < IDLE_CHECKS:
            if time.monotonic() >= deadline:
                return False
            shipper.wake()
            time.sleep(CHECK_SECONDS)
            consumers = list(shipper.consumers.values())
            idle = idle + 1 if consumers and all(map(_is_idle, consumers)) else 0
            done = _settled(shipper) - before
            show(done, max(done, expected))
    return True


def _settled(shipper: Shipper) -> int:
    """Events delivered, refused or dropped so far."""
    cursors = [consumer.cursor for consumer in list(shipper.consumers.values()) if consumer.cursor is not None]
    return sum(cursor.delivered + cursor.dead + sum(dict(cursor.dropped).values()) for cursor in cursors)


def _is_idle(consumer: Consumer) -> bool:
    """Whether a consumer has nothing to do now, as when it is parked: it tries again only after minutes."""
    return consumer.sender.gate.parked is not None or (consumer.idle and not consumer.growing)


def _follow(shipper: Shipper, journal: Journal | None, lacking: dict[str, ConfigError | None]) -> None:
    """Deliver until stopped; with a journal, also to vendors that new trees name."""
    while True:
        time.sleep(1.0)
        shipper.ensure()
        if journal is not None:
            known = len(lacking)
            shipper.serve(_named(journal, lacking), config.resolve(deliver=True, vendors=()))
            _say_lacking(list(lacking.values())[known:])
