"""`eventtree dead`: what vendors refused, with their words; sent again after a hint, or dropped and counted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from eventtree.cli.say import say, say_lines
from eventtree.cli.show import existing
from eventtree.delivery.dead_letters import DeadLetters
from eventtree.delivery.resend import Letter, resend
from eventtree.diagnostics import shown
from eventtree.errors import ConfigError, JournalError
from eventtree.journal import Journal
from eventtree.journal.cursor import Cursor
from eventtree.terminal import console
from eventtree.vendors import VENDORS, resolve_vendors

WORDS_SHOWN = 80
LOCK_SECONDS = 3.0
"""A process that delivers to the vendor, and may be about to end, is waited for this long."""
LOCK_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Numbered:
    """A letter, its number in the list and whose it is."""

    number: int
    name: str
    """`VENDOR.FINGERPRINT`"""
    letter: Letter

    @property
    def vendor(self) -> str:
        """The vendor's name."""
        return self.name.rsplit(".", 1)[0]


def letters_in(journal: Journal, vendor: str | None = None, number: int | None = None) -> list[Numbered]:
    """Dead letters, numbered vendor by vendor, oldest first.

    Raises:
        JournalError: there is none of that number.
    """
    found: list[Numbered] = []
    for name in [name.removesuffix(".dead") for name in journal.files.names() if name.endswith(".dead")]:
        for letter in DeadLetters(journal.files, f"{name}.dead").read():
            found.append(Numbered(len(found) + 1, name, letter))
    chosen = [one for one in found if vendor in (None, one.vendor) and number in (None, one.number)]
    if number is not None and not chosen:
        raise JournalError(f"no dead letter {number}. See: eventtree dead")
    return chosen


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


def resend_letters(folder: str | None, vendor: str | None, number: int | None, timeout: float) -> int:
    """Send letters again with this environment's settings; exit status 0 if all were taken.

    Raises:
        ConfigError: a vendor's settings are missing.
        JournalError: another process is delivering to the vendor.
    """
    journal = existing(folder)
    failed = 0
    for name, letters in _by_name(letters_in(journal, vendor, number)).items():
        kind = name.rsplit(".", 1)[0]
        if kind not in VENDORS:
            raise ConfigError(kind, "a vendor of your own naming", "Its letters can be shown and dropped here")
        (settings,) = resolve_vendors([kind])
        with _locked(journal, name):
            taken, refused = resend(journal, settings, name, letters, timeout)
        say(f"{kind}: {taken} of {len(letters)} taken, {refused} refused again.")
        failed += len(letters) - taken
    return int(failed > 0)


def drop_letters(folder: str | None, vendor: str | None, number: int | None) -> None:
    """Delete letters; their events count as dropped `by_user`.

    Raises:
        JournalError: another process is delivering to the vendor.
    """
    journal = existing(folder)
    count = 0
    for name, letters in _by_name(letters_in(journal, vendor, number)).items():
        with _locked(journal, name):
            dead = DeadLetters(journal.files, f"{name}.dead")
            gone = [dead_key(letter) for letter in letters]
            Cursor(journal.files, f"{name}.cursor").forgo(sum(len(letter["events"]) for letter in letters), "by_user")
            dead.keep([letter for letter in dead.read() if dead_key(letter) not in gone])
        count += len(letters)
    say(f"Dropped {count} dead letter{'' if count == 1 else 's'}.")


def dead_key(letter: Letter) -> tuple[str, str, int]:
    """The identity of a letter among those of its vendor."""
    return letter["tree"], letter["key"], letter["at"]


@contextmanager
def _locked(journal: Journal, name: str) -> Iterator[None]:
    """Take the vendor's lock, so that no other process ships meanwhile; one about to end is waited for."""
    deadline = time.monotonic() + LOCK_SECONDS
    while (lock := journal.files.lock(f"{name}.lock")) is None:
        if time.monotonic() >= deadline:
            who = name.rsplit(".", 1)[0]
            raise JournalError(f"a process is delivering to {who} now and holds its letters. Stop it, then try again")
        time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _by_name(chosen: Sequence[Numbered]) -> dict[str, list[Letter]]:
    found: dict[str, list[Letter]] = {}
    for one in chosen:
        found.setdefault(one.name, []).append(one.letter)
    return found


def _plain(one: Numbered) -> dict[str, Any]:
    return {"number": one.number, "vendor": one.vendor, "refused_at": _when(one.letter), **one.letter}


def _when(letter: Letter) -> str:
    return datetime.fromtimestamp(letter["at"] / 1e9, UTC).isoformat(timespec="seconds")


def _draw(chosen: Sequence[Numbered]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "vendor", "refused at", "status", "events", "tree"):
        table.add_column(heading, no_wrap=True)
    table.add_column("its words", overflow="ellipsis", no_wrap=True, max_width=WORDS_SHOWN)
    for one in chosen:
        letter = one.letter
        words = " ".join(letter["words"].split())
        status = "" if letter["status"] is None else letter["status"]
        cells = (one.number, one.vendor, _when(letter), status, len(letter["events"]), letter["tree"], words)
        table.add_row(*map(shown, cells))
    console().print(table)
