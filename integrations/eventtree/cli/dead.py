"""`eventtree dead`: show the events that vendors refused and why, send them again, or drop and count them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from eventtree.cli.main import journal_option, main, say, timeout_option
from eventtree.cli.show import existing
from eventtree.delivery.dead_letters import Letter, Numbered, drop_letters, letters_in
from eventtree.delivery.resend import resend_letters
from eventtree.errors import ConfigError, did_you_mean
from eventtree.journal import Journal
from eventtree.journal.counts import cursor_keys
from eventtree.serializer.registry import kind_of
from eventtree.summary import Table, plural, shorten
from eventtree.terminal import ROOMY, SHORT_ID, console
from eventtree.vendors import VENDORS

WORDS_SHOWN = 80


@main.command("dead")
@click.argument("number", type=int, required=False)
@journal_option
@click.option("--vendor", metavar="NAME", help="Choose only those of this vendor.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, with the contents.")
@click.option("--resend", is_flag=True, help="Send them again. Keys and hosts come from the environment.")
@click.option("--drop", is_flag=True, help="Delete them. Their events count as dropped by_user.")
@timeout_option(60.0, "Give up resending after so long.")
def dead(
    number: int | None, folder: str | None, vendor: str | None, as_json: bool, resend: bool, drop: bool, timeout: float
) -> int:
    """Show the dead letters, which are events that a vendor refused, with its answers.

    With a NUMBER, show that one with its contents, or resend or drop it alone.
    """
    if resend and drop:
        raise ConfigError("--resend", "it excludes --drop", "Choose one")
    kind = None if vendor is None else kind_of(vendor)
    journal = existing(folder)
    names = {name for name, _ in cursor_keys(journal)}.union(VENDORS)
    if kind is not None and kind == vendor and kind not in names:
        hint = f"{did_you_mean(kind, names)}Known are {', '.join(sorted(names))}"
        raise ConfigError("--vendor", f"no vendor of this journal is called {kind!r}", hint)
    chosen = letters_in(journal, kind, number)
    if not chosen and not as_json:
        say("No dead letters.")
    elif resend:
        return _resend(journal, chosen, timeout)
    elif drop:
        say(f"Dropped {plural(drop_letters(journal, chosen), 'dead letter')}.")
    elif as_json:
        for one in chosen:
            say(json.dumps(_plain(one), ensure_ascii=False))
    elif number is not None:
        for line in json.dumps(_plain(chosen[0]), ensure_ascii=False, indent=2).split("\n"):
            say(line)
    else:
        _draw(chosen)
    return 0


def _resend(journal: Journal, chosen: Sequence[Numbered], timeout: float) -> int:
    """Send dead letters again with this environment's settings; exit status 0 if all were taken."""
    failed = 0
    for one in resend_letters(journal, chosen, timeout):
        say(f"{one.vendor}: {one.taken} of {one.letters} taken, {one.refused} refused again.")
        failed += one.letters - one.taken
    return int(failed > 0)


def _plain(one: Numbered) -> dict[str, Any]:
    return {"number": one.number, "vendor": one.vendor, "refused_at": _when(one.letter), **one.letter}


def _when(letter: Letter) -> str:
    return datetime.fromtimestamp(letter["at"] / 1e9, UTC).isoformat(timespec="seconds")


def _draw(chosen: Sequence[Numbered]) -> None:
    out = console()
    is_roomy = out.width >= ROOMY
    rows = []
    for one in chosen:
        letter = one.letter
        words = shorten(" ".join(letter["words"].split()), WORDS_SHOWN)
        status = "" if letter["status"] is None else letter["status"]
        when, tree = (_when(letter), letter["tree"]) if is_roomy else (_when(letter)[5:16], letter["tree"][-SHORT_ID:])
        rows.append((one.number, one.vendor, when, status, len(letter["events"]), tree, words))
    out.print(Table(("", "vendor", "refused at", "status", "events", "tree", "its words"), rows))
