"""Dead letters: items that a vendor refused, with its words, in lines like the journal's own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pydantic_core

from eventtree.errors import JournalError
from eventtree.journal import Files, Journal, LineReader, frame
from eventtree.journal.line import unframe
from eventtree.serializer.formats import JSON, Format
from eventtree.vendors import Item, Route

Letter = dict[str, Any]

WORDS = 500
"""Characters kept of a vendor's answer."""
LOCK_SECONDS = 3.0
"""Time to wait for the lock of a process that delivers to the vendor, and may be about to end."""
LOCK_POLL_SECONDS = 0.1
FATES_BYTES = 4_096
"""Largest first line with the fates of earlier letters: one number for each fate."""
HELD_BYTES = 16 * 1024 * 1024
"""Letters that may wait in memory while the disk refuses; beyond it no more requests are sent to the vendor."""


class DeadLetters:
    """The refused items of one vendor (`VENDOR.FINGERPRINT.dead`)."""

    def __init__(self, files: Files, name: str, routes: Mapping[str, Route] = MappingProxyType({})) -> None:
        """Append to and read from `name`; `routes` give the format of items that are not JSON."""
        self.files = files
        self.name = name
        self.routes = routes
        self._unwritten = bytearray()

    def add(self, items: Sequence[Item], status: int | None, words: str) -> None:
        """Keep refused items with the answer's status and the beginning of its text.

        Raises:
            OSError: the disk refuses, and too many letters wait in memory.
        """
        at = time.time_ns()
        letters = b"".join(
            frame(
                seq,
                pydantic_core.to_json(
                    {
                        "tree": item.tree_id, "key": item.key, "events": list(item.event_ids), "route": item.route,
                        "path_params": dict(item.path_params),
                        "status": status, "words": words[:WORDS], "at": at,
                        "content": self._format(item.route).read(item.content) if item.content else None,
                    }
                ),
            )
            for seq, item in enumerate(items)
        )  # fmt: skip
        if len(self._unwritten) + len(letters) > HELD_BYTES:
            # Too many to hold: unless the disk takes them now, no more requests are sent to the vendor.
            self.files.append(self.name, bytes(self._unwritten))
            self._unwritten.clear()
        self._unwritten += letters
        self.persist()

    def _format(self, route: str) -> Format:
        return self.routes[route].format if route in self.routes else JSON

    def persist(self) -> None:
        """Write the letters that the disk has refused so far."""
        if self._unwritten:
            try:
                self.files.append(self.name, bytes(self._unwritten))
            except OSError:
                return
            self._unwritten.clear()

    def keep(self, letters: Sequence[Letter], fates: Mapping[str, int] = MappingProxyType({})) -> None:
        """Keep only these letters, and add the `fates` of the events of the removed ones.

        Both happen in one step: a process that is killed here has done either both or nothing.

        Raises:
            OSError: the disk refuses; the old letters stay.
        """
        known = self.fates() + Counter(fates)
        entries = [*([{"fates": known}] if known else []), *letters]
        if entries:
            lines = (frame(seq, pydantic_core.to_json(entry)) for seq, entry in enumerate(entries))
            self.files.replace(self.name, b"".join(lines))
        else:
            self.files.remove(self.name)

    def fates(self) -> Counter[str]:
        """Fate → events of removed letters: `delivered`, or the reason they were dropped. The vendor's cursor still
        counts these events as dead.
        """
        line = self.files.read(self.name, 0, FATES_BYTES).partition(b"\n")[0]
        try:
            return Counter(pydantic_core.from_json(unframe(line)[1])["fates"])
        except (ValueError, KeyError):  # there are none yet
            return Counter()

    def read(self) -> list[Letter]:
        """All letters, oldest first; of several on one item (its process died while writing them) the newest."""
        if self.files.size(self.name) == 0:
            return []
        reader = LineReader(self.files, self.name)
        found: dict[tuple[Any, ...], Letter] = {}
        while lines := reader.read():
            for *_, payload in lines:
                letter = pydantic_core.from_json(payload)
                if "fates" in letter:
                    continue
                found[letter["tree"], letter["key"], *letter["events"]] = letter
        return list(found.values())


@dataclass(frozen=True, slots=True)
class Numbered:
    """A dead letter, its number in the list and its vendor."""

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
        JournalError: there is none with this number.
    """
    found: list[Numbered] = []
    for name in [name.removesuffix(".dead") for name in journal.files.names() if name.endswith(".dead")]:
        for letter in DeadLetters(journal.files, f"{name}.dead").read():
            found.append(Numbered(len(found) + 1, name, letter))
    chosen = [one for one in found if vendor in (None, one.vendor) and number in (None, one.number)]
    if number is not None and not chosen:
        raise JournalError(f"no dead letter {number}. See: eventtree dead")
    return chosen


def by_name(chosen: Sequence[Numbered]) -> dict[str, list[Letter]]:
    """`VENDOR.FINGERPRINT` → its letters."""
    found: dict[str, list[Letter]] = {}
    for one in chosen:
        found.setdefault(one.name, []).append(one.letter)
    return found


def dead_key(letter: Letter) -> tuple[str, str, int]:
    """The identity of a letter among those of its vendor."""
    return letter["tree"], letter["key"], letter["at"]


def drop_letters(journal: Journal, chosen: Sequence[Numbered]) -> int:
    """Delete dead letters; their events count as dropped `by_user`. Returns the number of letters.

    Raises:
        JournalError: another process is delivering to the vendor.
    """
    for name, letters in by_name(chosen).items():
        with vendor_lock(journal, name):
            dead = DeadLetters(journal.files, f"{name}.dead")
            gone = {dead_key(letter) for letter in letters}
            there = dead.read()
            events = sum(len(letter["events"]) for letter in there if dead_key(letter) in gone)
            dead.keep([letter for letter in there if dead_key(letter) not in gone], {"by_user": events})
    return len(chosen)


@contextmanager
def vendor_lock(journal: Journal, name: str) -> Iterator[None]:
    """Take the vendor's lock, so that no other process ships meanwhile; waits for one that may be about to end.

    Raises:
        JournalError: another process has it.
    """
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
