"""What waits under settings that a vendor was parked with, sent with those it has now.

Settings are told apart by their fingerprint, vendors by their name: a vendor that answered 401, 403, 404 or 3xx goes
on as soon as a process has other settings for its name (another key, host or project). What was recorded under
settings that no vendor was parked with waits for these very settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eventtree.delivery.consumer import Consumer
from eventtree.delivery.dead_letters import DeadLetters
from eventtree.delivery.http import Http
from eventtree.delivery.report import cursor_keys
from eventtree.journal.backlog import Backlog
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal
from eventtree.vendors import Vendor


class MendedLane(Consumer):
    """A consumer for the trees of `VENDOR.FINGERPRINT`; its cursor says `parked` until they have all gone out, so that
    the next start goes on where this one ends.
    """

    is_own = False

    def __init__(self, journal: Journal, vendor: Vendor, http: Http, *, name: str, **more: Any) -> None:
        """Ship what waits for `name` with the settings of `vendor`."""
        super().__init__(journal, vendor, http, **more)
        self.name = name
        self.fingerprint = name.rsplit(".", 1)[1]
        self.dead = DeadLetters(journal.files, f"{name}.dead")

    def _reading(self) -> Backlog:
        is_fresh = self.index is None
        index = super()._reading()
        if is_fresh:  # other settings may have other projects: they are asked for again
            known = self._cursor.learned
            self._cursor.learned = {k: value for k, value in known.items() if self.vendor.lookup_of(k) is None}
        return index

    def _succeeded(self) -> None:
        self.circuit.succeeded()
        self.parked = self.trouble = None

    def _tidy(self, index: Backlog) -> None:
        super()._tidy(index)
        if self.idle and not index.growing:
            self._cursor.park(None)


def mended(
    journal: Journal, vendors: Mapping[str, Vendor], consumers: Mapping[str, Consumer]
) -> Iterator[tuple[str, Vendor]]:
    """`VENDOR.FINGERPRINT` of what is parked though `vendors` (by such a name) has newer settings: those.

    A journal that cannot be read yields nothing.
    """
    newest = {vendor.name: (name, vendor) for name, vendor in vendors.items()}
    try:
        names = [f"{name}.{fingerprint}" for name, fingerprint in sorted(cursor_keys(journal)) if name in newest]
        for name in names:
            own, vendor = newest[name.rsplit(".", 1)[0]]
            consumer = consumers.get(name)
            is_parked = consumer.parked if consumer is not None else Cursor(journal.files, f"{name}.cursor").parked
            if name != own and is_parked is not None:
                yield name, vendor
    except OSError:
        return
