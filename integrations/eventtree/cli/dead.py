"""`eventtree dead`: what vendors refused, with their words; sent again after a hint, or dropped and counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from eventtree.cli.say import say, say_lines
from eventtree.cli.show import existing
from eventtree.delivery.dead_letters import Letter, Numbered, drop_letters, letters_in
from eventtree.delivery.resend import resend_letters
from eventtree.diagnostics import shown
from eventtree.summary import shorten
from eventtree.terminal import ROOMY, SHORT_ID, console, table_of

WORDS_SHOWN = 80


def show_letters(folder: str | None, vendor: str | None, number: int | None, *, as_json: bool) -> None:
    """List the letters, or show one whole."""
    chosen = letters_in(existing(folder), vendor, number)
    if as_json:
        for one in chosen:
            say(json.dumps(_plain(one), ensure_ascii=False))
    elif number is not None:
        say_lines(json.dumps(_plain(chosen[0]), ensure_ascii=False, indent=2))
    elif chosen:
        _draw(chosen)
    else:
        say("No dead letters.")


def resend_all(folder: str | None, vendor: str | None, number: int | None, timeout: float) -> int:
    """Send letters again with this environment's settings; exit status 0 if all were taken."""
    journal = existing(folder)
    failed = 0
    for one in resend_letters(journal, letters_in(journal, vendor, number), timeout):
        say(f"{one.vendor}: {one.taken} of {one.letters} taken, {one.refused} refused again.")
        failed += one.letters - one.taken
    return int(failed > 0)


def drop_all(folder: str | None, vendor: str | None, number: int | None) -> None:
    """Delete letters; their events count as dropped `by_user`."""
    journal = existing(folder)
    count = drop_letters(journal, letters_in(journal, vendor, number))
    say(f"Dropped {count} dead letter{'' if count == 1 else 's'}.")


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
        cells = (one.number, one.vendor, when, status, len(letter["events"]), tree, words)
        rows.append([Text(shown(cell)) for cell in cells])
    out.print(table_of(("", "vendor", "refused at", "status", "events", "tree", "its words"), rows))
