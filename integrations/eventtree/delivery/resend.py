"""Sending dead letters again after their cause was corrected; requests are halved and shortened as usual."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from eventtree.delivery.dead_letters import DeadLetters, Letter, Numbered, by_name, vendor_lock
from eventtree.delivery.http import Http
from eventtree.delivery.sender import REJECTED, Sender
from eventtree.errors import ConfigError
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal
from eventtree.record import is_local
from eventtree.serializer.packing import waves
from eventtree.serializer.registry import is_known, resolve_vendors
from eventtree.serializer.requests import Item
from eventtree.vendors import Vendor

NO_FATES: Mapping[str, int] = MappingProxyType({})


class Resent(NamedTuple):
    """The result for one vendor: how many letters were sent again, taken, and refused again."""

    vendor: str
    letters: int
    taken: int
    refused: int


def resend_letters(journal: Journal, chosen: Sequence[Numbered], timeout: float) -> Iterator[Resent]:
    """Send letters again with this environment's settings, vendor by vendor, each for at most `timeout` seconds.

    Raises:
        ConfigError: a vendor's settings are missing, or its letters were for a server on this machine.
        JournalError: another process is delivering to the vendor.
    """
    for name, letters in by_name(chosen).items():
        kind = name.rsplit(".", 1)[0]
        if not is_known(kind):
            raise ConfigError(kind, "a vendor of your own naming", "Its letters can be shown and dropped here")
        (settings,) = resolve_vendors([kind])
        if is_local(name.rsplit(".", 1)[1]) and not is_local(settings.fingerprint(journal.salt)):
            hint = f"Drop them: eventtree dead --drop --vendor {kind}"
            raise ConfigError(kind, "what was sent to a server on this machine goes to no other host", hint)
        with vendor_lock(journal, name):
            taken, refused = resend(journal, settings, name, letters, timeout)
        yield Resent(kind, len(letters), taken, refused)


class _Letters:
    """The letters of one vendor while they are sent again: which were taken, and which were refused again."""

    def __init__(self, journal: Journal, vendor: Vendor, name: str) -> None:
        self.dead = DeadLetters(journal.files, f"{name}.dead")
        self.cursor = Cursor(journal.files, f"{name}.cursor")
        if name != f"{vendor.name}.{vendor.fingerprint(journal.salt)}":
            self.cursor.learned = {}  # other settings may mean another project
        self.done: set[tuple[str, str]] = set()
        """Tree and key of the letters the vendor has taken."""
        self.refused_again: dict[tuple[str, str], tuple[int | None, str]] = {}
        """Tree and key of the letters the vendor has refused again → status and words."""

    def park(self, why: str | None) -> None:
        """Do nothing: dead letters do not park the vendor's trees."""

    def taken(self, items: Sequence[Item]) -> None:
        self._settle(items, "delivered")

    def refused(self, items: Sequence[Item], status: int | None, words: str) -> None:
        self.refused_again.update({(item.tree_id, item.key): (status, words) for item in items})

    def rejected(self, items: Sequence[Item], words: str) -> None:
        self._settle(items, REJECTED)

    def _settle(self, items: Sequence[Item], fate: str) -> None:
        self.done.update((item.tree_id, item.key) for item in items)
        self.keep_left({fate: sum(len(item.event_ids) for item in items)})

    def keep_left(self, fates: Mapping[str, int] = NO_FATES) -> None:
        """Keep the letters that were not taken, with the newest words. Called after each answer, in case of a crash.

        Raises:
            OSError: the disk refuses; all letters stay.
        """
        left = []
        for letter in self.dead.read():
            key = (letter["tree"], letter["key"])
            if key not in self.done:
                status, words = self.refused_again.get(key, (letter["status"], letter["words"]))
                left.append({**letter, "status": status, "words": words})
        self.dead.keep(left, fates)


def resend(journal: Journal, vendor: Vendor, name: str, letters: Sequence[Letter], timeout: float) -> tuple[int, int]:
    """Send letters of `name` (`VENDOR.FINGERPRINT`) with the settings of `vendor`, which may have been corrected.

    The caller has the vendor's lock. Takes at most `timeout` seconds; returns how many letters were taken, and how many
    were refused again. Letters that are not taken stay.
    """
    return asyncio.run(_resend(journal, vendor, name, letters, timeout))


async def _resend(
    journal: Journal, vendor: Vendor, name: str, letters: Sequence[Letter], timeout: float
) -> tuple[int, int]:
    http, outcome = Http(), _Letters(journal, vendor, name)
    sender = Sender(vendor, http, outcome, backoff=None, clock=time.monotonic)
    try:
        async with asyncio.timeout(timeout):
            await sender.send(
                waves((_item(letter, vendor) for letter in letters if letter["content"] is not None), vendor)
            )
    except TimeoutError:
        pass
    finally:
        await http.close()
        outcome.keep_left()
    return len(outcome.done), len(outcome.refused_again)


def _item(letter: Letter, vendor: Vendor) -> Item:
    params = tuple(letter.get("path_params", {}).items())
    events, content = tuple(letter["events"]), vendor.routes[letter["route"]].format.write(letter["content"])
    return Item(letter["key"], letter["tree"], events, letter["route"], content, path_params=params)
