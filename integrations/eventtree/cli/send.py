"""`eventtree ship`: deliver from a process of its own."""

from __future__ import annotations

import time

import click

from eventtree import config
from eventtree.cli.draw import console, draw_report
from eventtree.cli.look import existing
from eventtree.delivery.report import Report
from eventtree.delivery.shipper import Shipper
from eventtree.errors import ConfigError
from eventtree.journal import Journal
from eventtree.journal.census import Census
from eventtree.vendors import KINDS, Vendor, resolve_vendors

SETTLED_LOOKS = 3
"""Idle looks in a row before a one-shot run is over."""
LOOK_SECONDS = 0.1


def ship_all(folder: str | None, names: tuple[str, ...], *, follow: bool, replay: bool, timeout: float) -> int:
    """Deliver what waits; exit status 0 if nothing that could be sent still waits.

    Raises:
        ConfigError: a vendor's settings are missing, or `--replay` names no vendor.
    """
    journal = existing(folder)
    if replay and not names:
        raise ConfigError("--replay", "it needs to know where to", "Add --vendor NAME")
    vendors = resolve_vendors(names) if names else _named(journal)
    if not vendors and not follow:
        click.echo("Nothing waits for a vendor.")
        return 0
    shipper = Shipper(journal, all_trees=replay)
    shipper.serve(vendors, config.resolve(deliver=True, vendors=()))
    try:
        if follow:
            _follow(shipper, journal, bool(names))
        else:
            _until_idle(shipper, timeout)
    except KeyboardInterrupt:
        click.echo("Stopped; what is left waits in the journal.", err=True)
    shipper.stop(2.0)
    found = shipper.report()
    draw_report(console(), found)
    _say_others(found, shipper, journal)
    mine = {f"{vendor.name}.{vendor.fingerprint(journal.salt)}" for vendor in shipper.vendors.values()}
    return int(any(s.waiting and f"{s.name}.{s.fingerprint}" in mine for s in found.vendors.values()))


def _say_others(found: Report, shipper: Shipper, journal: Journal) -> None:
    """Why events of a vendor we have settings for still wait: they were recorded with other ones."""
    ours = {vendor.name: vendor.fingerprint(journal.salt) for vendor in shipper.vendors.values()}
    for sums in found.vendors.values():
        if sums.waiting and sums.name in ours and ours[sums.name] != sums.fingerprint:
            others = "with another key, host or project than this environment's"
            mend = "Set those, or send them to this one with --replay."
            click.echo(f"{sums.waiting} events wait for {sums.name} {others}. {mend}", err=True)


def _named(journal: Journal) -> tuple[Vendor, ...]:
    """The vendors that trees name, with this environment's settings."""
    census = Census(journal)
    census.read()
    names = sorted({name for name, _ in census.vendor_keys()})
    for name in names:
        if name not in KINDS:
            click.echo(f"{name}: a name of your own; deliver it from a process that has its settings.", err=True)
    return resolve_vendors(name for name in names if name in KINDS)


def _until_idle(shipper: Shipper, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    looks = 0
    while looks < SETTLED_LOOKS and time.monotonic() < deadline:
        shipper.wake()
        time.sleep(LOOK_SECONDS)
        lanes = list(shipper.lanes.values())
        looks = looks + 1 if lanes and all(lane.idle and not lane.growing for lane in lanes) else 0


def _follow(shipper: Shipper, journal: Journal, fixed: bool) -> None:
    while True:
        time.sleep(1.0)
        shipper.ensure()
        if not fixed:
            shipper.serve(_named(journal), config.resolve(deliver=True, vendors=()))
