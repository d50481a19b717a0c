"""`eventtree doctor`: check the journal's folder and each vendor's settings; with `--send`, that it takes a tree."""

from __future__ import annotations

import os
import shutil
import uuid

import click

from eventtree import config
from eventtree.cli.main import main, say, timeout_option
from eventtree.cli.ship import until_idle
from eventtree.delivery.consumer import Consumer
from eventtree.delivery.report import VendorTotals
from eventtree.errors import ConfigError, JournalError
from eventtree.journal import DiskFiles, open_journal
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.vendors import VENDORS, Vendor, resolve_vendors, vendor_class

MARK = "eventtree-doctor"
"""Tag, user and name of the tree of `--send`, so that it can be recognized."""
HIDDEN = frozenset({"name", "api_key", "base_url", "allow_plain_http"})
OFF = {
    "enabled": "nothing is recorded", "sample_rate": "no tree is recorded",
    "deliver": "only `eventtree ship` sends what is recorded",
}  # fmt: skip
"""Settings whose effect is easily taken for a fault."""
PROBE = "doctor.lock"
"""A file that is written, locked and removed."""


@main.command("doctor")
@click.option(
    "--vendor", "names", multiple=True, metavar="NAME", help="Check this vendor. It may be given several times."
)
@click.option(
    "--send", is_flag=True, help="Send one test tree, tagged eventtree-doctor, and report whether each vendor took it."
)
@timeout_option(20.0, "Give up sending after so long.")
def doctor(names: tuple[str, ...], send: bool, timeout: float) -> int:
    """Check all settings, those of each vendor too, and the journal's folder. The exit status is 0 if all is well.

    Without --vendor, the vendors in EVENTTREE_VENDORS are checked, or the relay that EVENTTREE_RELAY names.
    """
    settings = config.resolve()
    check_settings(settings)
    is_well = check_journal(settings)
    if settings.relay and not names:
        from eventtree.cli.relay import examine_relay

        return int(not examine_relay(settings.relay) or not is_well)
    wanted = names or tuple(str(getattr(one, "name", one)) for one in settings.vendors)
    if not wanted:
        say("No vendor is switched on: runs stay on this machine. Set EVENTTREE_VENDORS=NAME,… or add --vendor NAME.")
        for kind in VENDORS:
            keys = [name for name in vendor_class(kind).env.get("api_key", ()) if os.environ.get(name)]
            if keys:
                say(f"{kind}: {keys[0]} is set, and a key alone switches nothing on")
        return 1
    vendors = [vendor for name in wanted if (vendor := _check(name)) is not None]
    return int(not is_well or len(vendors) < len(wanted) or (send and not _send(vendors, timeout)))


def check_settings(settings: config.Settings) -> None:
    """Check what a handler checks besides vendors and relay; print which settings are off.

    Raises:
        ConfigError: a handler would raise it too.
    """
    for check in config.checks:
        check(settings.model_copy(update={"vendors": (), "relay": ""}))
    for name, effect in OFF.items():
        if not getattr(settings, name):
            say(f"{name}: note: off, so {effect}")


def check_journal(settings: config.Settings) -> bool:
    """Print whether the journal's folder can be written and locked, and has room; False if an app cannot use it."""
    if settings.folder == config.MEMORY:
        say("journal: in memory; it ends with its process")
        return True
    try:
        files = open_journal(settings.folder).files
        assert isinstance(files, DiskFiles)
        files.replace(PROBE, MARK.encode())
        if lock := files.lock(PROBE):
            lock.release()
        files.remove(PROBE)
        free = shutil.disk_usage(files.folder).free
    except (JournalError, OSError) as error:
        why = (
            f"{settings.folder}: {error.strerror}"
            if isinstance(error, OSError)
            else str(error).removeprefix("journal ")
        )
        say(f"journal: WRONG {why}")
        return False
    say(f"journal: {files.folder} can be written")
    used, most = sum(map(files.size, files.names())), settings.bounds.journal_bytes
    if used + free < most:
        say(f"journal: note: it may grow to {most:,} bytes (journal_bytes), and only {free:,} are free")
    return True


def _check(name: str) -> Vendor | None:
    """The vendor if its settings are complete; else print the error, and return None."""
    try:
        (vendor,) = resolve_vendors((name,))
    except ConfigError as error:
        say(f"{name}: WRONG {error}")
        return None
    settings = ", ".join(
        f"{field} {value}"
        for field, value in vendor.model_dump().items()
        if field not in HIDDEN and value not in ("", None)
    )
    key = "the key is set" if vendor.secrets() else "no key is set"
    say(f"{vendor.name}: settings are complete. Host {vendor.base_url}; {key}; {settings}")
    for advice in vendor.advice():
        say(f"{vendor.name}: note: {advice}")
    return vendor


def _send(vendors: list[Vendor], timeout: float) -> bool:
    """Send one marked tree to all vendors; True if all took it."""
    pipeline = Pipeline(
        vendors=vendors, journal=config.MEMORY, user=MARK, tags=(MARK,), deliver=True, relay="", sample_rate=1.0,
        keep="", content=True, exit_timeout=0.0,
    )  # fmt: skip
    if not pipeline.enabled:
        say("Nothing was sent: EVENTTREE_ENABLED switches recording off.")
        return False
    say(f"Sending tree {_record(pipeline)}, tagged {MARK}.")
    shipper = pipeline.shipper
    shipper.ensure()
    until_idle(shipper, timeout)
    found, consumers = shipper.report().vendors, {one.vendor.name: one for one in shipper.consumers.values()}
    verdicts = [_say_verdict(vendor, found.get(vendor.name), consumers.get(vendor.name)) for vendor in vendors]
    shipper.stop()
    return all(verdicts)


def _say_verdict(vendor: Vendor, sums: VendorTotals | None, consumer: Consumer | None) -> bool:
    """Print how one vendor answered; True if it took the whole tree."""
    if sums is None or consumer is None:
        say(f"{vendor.name}: FAILED to start delivery")
        return False
    dropped = "".join(f", {count} dropped ({reason})" for reason, count in sums.dropped.items())
    if sums.dead:
        letters = consumer.dead.read()
        say(f"{vendor.name}: REFUSED {sums.dead} of {sums.accepted} events: {letters[0]['words']}")
    elif sums.waiting:
        gate = consumer.sender.gate
        why = gate.parked.reason if gate.parked else gate.trouble or "no answer in time"
        say(f"{vendor.name}: NOT TAKEN, {why}")
    else:
        say(f"{vendor.name}: took {sums.delivered} events in {consumer.sender.requests} requests{dropped}")
    return not (sums.dead or sums.waiting)


def _record(pipeline: Pipeline) -> str:
    """Record a chain with a tool and a model in it; returns the tree's id."""
    tree, tool, model = (str(uuid.uuid4()) for _ in range(3))
    question = "Does this arrive?"
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name=MARK, inputs={"question": question})
    recorder.open(pipeline, tool, tree, kind=Kind.TOOL, name="look", inputs={"input": question})
    recorder.close(pipeline, tool, outputs="It does.")
    messages = [{"role": "user", "content": question}]
    recorder.open(
        pipeline, model, tree, kind=Kind.MODEL, name="none", inputs={"messages": messages}, known={"model": MARK}
    )
    recorder.close(pipeline, model, outputs={"messages": [{"role": "assistant", "content": "It does."}]})
    recorder.close(pipeline, tree, outputs={"answer": "It does."})
    return tree
