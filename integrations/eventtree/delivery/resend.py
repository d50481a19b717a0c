"""Dead letters, sent again after a hint: the same requests, halved and shortened like any others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from eventtree.delivery.consumer import Consumer
from eventtree.delivery.dead_letters import DeadLetters
from eventtree.delivery.http import Http
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal
from eventtree.serializer.serialize import pack
from eventtree.serializer.vendor import to_json
from eventtree.vendors import Item, Vendor

Letter = dict[str, Any]


class AgainLane(Consumer):
    """A consumer that sends letters instead of trees; `name` is whose they are, which a hint may have changed."""

    def __init__(self, journal: Journal, vendor: Vendor, http: Http, name: str) -> None:
        """Send the letters of `name` (`VENDOR.FINGERPRINT`) with the settings of `vendor`."""
        super().__init__(journal, vendor, http)
        is_same = self.name == name
        self.name = name
        self.dead = DeadLetters(journal.files, f"{name}.dead")
        self.cursor = Cursor(journal.files, f"{name}.cursor")
        if not is_same:
            self.cursor.learned = {}
        self.taken: set[tuple[str, str]] = set()
        """Tree and key of the letters the vendor has taken."""
        self.refused: dict[tuple[str, str], tuple[int | None, str]] = {}
        """Those it has refused again: status and words."""

    async def send(self, letters: Sequence[Letter]) -> None:
        """Send these; the vendor's lock must be held."""
        for made in pack([_item(letter) for letter in letters], self.vendor):
            await self._settle_items(made.items)

    def _ack(self, items: Sequence[Item], *, dead: bool) -> None:
        if not dead:
            self.taken.update((item.tree_id, item.key) for item in items)
            self._cursor.revive(sum(len(item.event_ids) for item in items))
            self.keep_left()

    def _bury(self, items: tuple[Item, ...], status: int | None, words: str) -> None:
        self.refused.update({(item.tree_id, item.key): (status, words) for item in items})

    def keep_left(self) -> None:
        """Leave the letters that were not taken, with the newest words: after each answer, whatever ends this process.

        Raises:
            OSError: the disk refuses; all letters stay.
        """
        left = []
        for letter in self.dead.read():
            key = (letter["tree"], letter["key"])
            if key not in self.taken:
                status, words = self.refused.get(key, (letter["status"], letter["words"]))
                left.append({**letter, "status": status, "words": words})
        self.dead.keep(left)


def send_again(
    journal: Journal, vendor: Vendor, name: str, letters: Sequence[Letter], timeout: float
) -> tuple[int, int]:
    """Send letters of `name` again for at most `timeout` seconds; the vendor's lock must be held.

    Returns how many were taken, and how many were refused again. What is left stays a dead letter.
    """
    return asyncio.run(_send_again(journal, vendor, name, letters, timeout))


async def _send_again(
    journal: Journal, vendor: Vendor, name: str, letters: Sequence[Letter], timeout: float
) -> tuple[int, int]:
    http = Http()
    consumer = AgainLane(journal, vendor, http, name)
    try:
        await asyncio.wait_for(consumer.send(letters), timeout)
    except TimeoutError:
        pass
    finally:
        await http.close()
        consumer.keep_left()
    return len(consumer.taken), len(consumer.refused)


def _item(letter: Letter) -> Item:
    place = tuple(letter.get("place", {}).items())
    return Item(
        letter["key"], letter["tree"], tuple(letter["events"]), letter["route"], to_json(letter["content"]), place=place
    )
