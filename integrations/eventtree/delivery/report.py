"""The law, per vendor and in events: accepted = delivered + waiting + dead + dropped(reason), across restarts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from eventtree.config import MEMORY
from eventtree.journal.counts import Counts
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal

CURSOR = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})\.([0-9a-f]{16})\.cursor")
"""Name of a vendor's cursor; whatever else is called so is not ours."""


class VendorTotals(BaseModel):
    """One vendor's events. `waiting` counts those recorded and not yet settled, open runs among them."""

    model_config = ConfigDict(frozen=True)

    name: str
    fingerprint: str
    accepted: int = 0
    delivered: int = 0
    waiting: int = 0
    dead: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    parked: str | None = None
    feedback: dict[str, int] = Field(default_factory=dict)
    """Feedback, which is no event and counts apart: how much is `waiting`, `delivered`, `dead`, or was dropped for a
    reason (`no_place`: the vendor can't take it; `no_end_user`, `no_user_text`: its tree isn't there).
    """

    @property
    def unexplained(self) -> int:
        """Events the law does not account for: always 0, or it is a bug."""
        return self.accepted - self.delivered - self.waiting - self.dead - sum(self.dropped.values())


class Report(BaseModel):
    """What became of everything that was recorded in one journal."""

    model_config = ConfigDict(frozen=True)

    journal: str
    events: int = 0
    """Events whose records are on disk (or in memory) now."""
    vendors: dict[str, VendorTotals] = Field(default_factory=dict)
    """By vendor name; a second destination of the same name bears its fingerprint too."""
    damaged_lines: int = 0
    lost_lines: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    """Events of trees that name no vendor and were only counted: reason → events."""
    newer_logs: tuple[str, ...] = ()
    """Logs that a newer version of eventtree has written: left untouched, for that version to deliver."""
    unwritten_bytes: int = 0
    """Records of this process that the disk has refused so far: they wait in memory, and are in no sum yet."""
    unknown_models: dict[str, int] = Field(default_factory=dict)
    """Models no price is known for → how often they were met: by this process when it delivered, or, in what
    `eventtree report` prints, in the newest trees of the journal.
    """
    cut: dict[str, int] = Field(default_factory=dict)
    """Field of `Bounds` → how often it cut something in this process that is no event: part of a value, a vendor's
    reply, the track of an open run, a record that neither disk nor memory would take.
    """
    failures: dict[str, int] = Field(default_factory=dict)
    """Errors inside eventtree, by kind, in this process."""

    @property
    def waiting(self) -> int:
        """Events that wait for some vendor."""
        return sum(sums.waiting for sums in self.vendors.values())

    @property
    def settled(self) -> bool:
        """Nothing waits, nothing was refused, and every event is accounted for."""
        return not self.unwritten_bytes and not any(
            sums.waiting or sums.dead or sums.unexplained for sums in self.vendors.values()
        )


def cursor_keys(journal: Journal) -> set[tuple[str, str]]:
    """Every vendor that has a cursor: `(name, fingerprint)`."""
    found = (CURSOR.fullmatch(name) for name in journal.files.names())
    return {(one[1], one[2]) for one in found if one is not None}


def totals_of(key: tuple[str, str], cursor: Cursor, unsettled: int, unsaid: int = 0) -> VendorTotals:
    """One vendor's sums: what its cursor says, and `unsettled` events of trees it has not settled.

    `unsaid` is how much feedback waits.
    """
    feedback = Counter(cursor.feedback)
    feedback["waiting"] = unsaid
    accepted = cursor.accepted + unsettled
    dropped = {reason: count for reason, count in sorted(cursor.dropped.items()) if count}
    # Part of an unsettled tree may be with the vendor already.
    partly = cursor.delivered + cursor.dead + sum(dropped.values()) - cursor.accepted
    return VendorTotals(
        name=key[0], fingerprint=key[1], accepted=accepted, delivered=cursor.delivered, dead=cursor.dead,
        waiting=max(0, unsettled - max(0, partly)), dropped=dropped, parked=cursor.parked,
        feedback={fate: count for fate, count in sorted(feedback.items()) if count},
    )  # fmt: skip


def _all_sums(journal: Journal, counts: Counts, holders: Mapping[str, Cursor]) -> list[VendorTotals]:
    """VendorTotals of every vendor named or served; of two destinations of one name, one with events comes first."""
    found = []
    for key in counts.vendor_keys() | cursor_keys(journal):
        cursor = Cursor(journal.files, f"{key[0]}.{key[1]}.cursor")
        if cursor.name in holders:
            cursor.add_unwritten(holders[cursor.name])
        found.append(totals_of(key, cursor, counts.waiting(key, cursor)[0], counts.waiting_feedback(key, cursor)[0]))
    return sorted(found, key=lambda sums: (sums.name, not sums.accepted, sums.fingerprint))


def unread_report(journal: Journal, more: Mapping[str, Any]) -> Report:
    """What can be said while the disk refuses to read."""
    return Report(journal=_place(journal), unwritten_bytes=journal.held, **more)


def _place(journal: Journal) -> str:
    return str(getattr(journal.files, "folder", MEMORY))


def make_report(
    journal: Journal,
    counts: Counts | None = None,
    more: Mapping[str, Any] | None = None,
    holders: Mapping[str, Cursor] = MappingProxyType({}),
) -> Report:
    """Count the journal as it stands now. `holders` are this process's cursors: they know what a full disk does not.

    Raises:
        OSError: it cannot be read.
    """
    counts = counts or Counts(journal)
    counts.read()
    found: dict[str, VendorTotals] = {}
    for sums in _all_sums(journal, counts, holders):
        if sums.name not in found:
            found[sums.name] = sums
        elif sums.accepted:
            found[f"{sums.name}.{sums.fingerprint}"] = sums
    damage = Counter({"bad": 0, "lost": 0})
    for reader in counts.readers.values():
        damage.update(bad=reader.damage.bad_lines, lost=reader.damage.lost)
    return Report(
        journal=_place(journal),
        events=counts.events,
        vendors=found,
        damaged_lines=damage["bad"],
        lost_lines=damage["lost"],
        dropped=dict(counts.dropped()),
        newer_logs=tuple(journal.newer_logs()),
        unwritten_bytes=journal.held,
        **(more or {}),
    )
