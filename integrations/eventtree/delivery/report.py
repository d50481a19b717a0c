"""The law, per vendor and in events: accepted = delivered + waiting + dead + dropped(reason), across restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from eventtree import diagnostics, record
from eventtree.config import MEMORY
from eventtree.delivery.dead_letters import DeadLetters
from eventtree.diagnostics import shown
from eventtree.journal.counts import Counts, Cursors, Key, count_unsettled, cursor_keys
from eventtree.journal.cursor import Cursor
from eventtree.journal.holder import stalled_holder
from eventtree.journal.journal import Journal
from eventtree.journal.relayed import REPLICATED, all_vanished, lag
from eventtree.journal.totals import RecordedSums, recorded_sums

COUNT_TRIES = 3
"""How often to count while others go on recording; then what was recorded is left out."""


class VendorTotals(BaseModel):
    """The sums of one vendor: each event it was to get is delivered, dead, dropped or waiting."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The vendor's `name`."""
    fingerprint: str
    """Tells settings of one name apart (host, project, key) without showing them."""
    accepted: int = 0
    """Events recorded for the vendor."""
    delivered: int = 0
    """Events the vendor took."""
    waiting: int = 0
    """Events not settled yet, those of open runs among them."""
    dead: int = 0
    """Events the vendor refused: `eventtree dead` shows them."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Events that were not sent: reason → events."""
    parked: str | None = None
    """The reason why delivery waits for other settings; None while it goes on."""
    feedback: dict[str, int] = Field(default_factory=dict)
    """Feedback, which is no event and counts apart: how much is `waiting`, `delivered`, `dead`, or was dropped for a
    reason (`no_place`: the vendor can't take it; `no_end_user`, `no_user_text`: its tree isn't there).
    """

    apart: int = 0
    """Of those delivered or dropped, events of other processes' trees whose rest is in another journal: sent by
    themselves, under their parent's id where the vendor keys by id, else as trees of their own.
    """
    recorded: int | None = None
    """Events for this vendor as the processes that recorded them counted, and events that a replay sent: what
    `accepted`, which delivery counts, must come to. None where a killed process took that count with it.
    """
    stalled: int | None = None
    """The process that holds this vendor's lock, where it has done nothing for ten seconds (it is stopped, say)."""

    @property
    def is_local(self) -> bool:
        """Whether its host is this machine: what waits for it goes to no other host, whatever settings come later."""
        return record.is_local(self.fingerprint)

    @property
    def differs(self) -> bool:
        """Whether more, or less, was accepted than had been recorded: events got lost between the two, or counted
        twice. The law balances over them; this does not.
        """
        return self.recorded is not None and self.recorded != self.accepted

    @property
    def unexplained(self) -> int:
        """Events the law does not account for: always 0, or it is a bug."""
        return self.accepted - self.delivered - self.waiting - self.dead - sum(self.dropped.values())


class Report(BaseModel):
    """The sums of one journal: every event recorded in it, by vendor."""

    model_config = ConfigDict(frozen=True)

    journal: str
    """The journal's folder, or `:memory:`."""
    events: int = 0
    """Events recorded, as the processes that recorded them counted."""
    vendors: dict[str, VendorTotals] = Field(default_factory=dict)
    """By vendor name; a second destination of the same name bears its fingerprint too."""
    damaged_lines: int = 0
    """Lines of the log whose checksum is wrong."""
    lost_lines: int = 0
    """Lines of the log that are missing."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Events of trees that name no vendor and were only counted: reason → events."""
    newer_logs: tuple[str, ...] = ()
    """Logs that a newer version of eventtree has written: left untouched, for that version to deliver."""
    unwritten_bytes: int = 0
    """Records of this process that the disk has refused so far: they wait in memory, and are in no sum yet."""
    unreplicated_bytes: int | None = None
    """What a collector's engine does not have yet of a relayed journal, whose vendor is `collector`; else None."""
    lag_seconds: float | None = None
    """Age of the oldest record of these."""
    unreplicated: int = 0
    """Trees of this process whose end the relay's engine did not acknowledge in time (`durable="engine"`)."""
    vanished: int = 0
    """Processes elsewhere that a collector heard no more of, though they had not ended: a pod that was deleted with its
    disk. What they recorded after their relay's last word is lost, and nobody can count it.
    """
    vanished_bytes: int = 0
    """What those had recorded before that word and not sent yet."""
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
            sums.waiting or sums.dead or sums.unexplained or sums.differs for sums in self.vendors.values()
        )

    def __repr__(self) -> str:
        states = (
            f"{name}: {sums.delivered} delivered, {sums.waiting} waiting, {sums.dead} dead"
            for name, sums in self.vendors.items()
        )
        return shown(f"<Report of {self.journal}: {'; '.join([f'{self.events} events', *states])}>")

    __str__ = __repr__

    def __rich__(self) -> Any:
        from eventtree.terminal import report_view

        return report_view(self)

    def _repr_html_(self) -> str:
        from eventtree.notebook import report_html

        return report_html(self)


def totals_of(journal: Journal, key: Key, cursor: Cursor, found: Counts, known: RecordedSums) -> VendorTotals:
    """One vendor's sums: what its cursor says, and the events of trees it has not settled."""
    unsettled = found.waiting[key]
    feedback = Counter(cursor.feedback)
    feedback["waiting"] = found.feedback[key]
    accepted, name = cursor.accepted + unsettled, f"{key[0]}.{key[1]}"
    # Part of an unsettled tree may be with the vendor already.
    partly = cursor.delivered + cursor.dead + cursor.dropped.total() - cursor.accepted
    dead, fates = cursor.dead, DeadLetters(journal.files, f"{name}.dead").fates()
    for fate, events in fates.items():  # never more than there were: a letter may have been written, and not counted
        fates[fate] = min(events, dead)
        dead -= fates[fate]
    delivered = cursor.delivered + fates.pop("delivered", 0)
    dropped = {reason: count for reason, count in sorted((cursor.dropped + fates).items()) if count}
    # What a relay replicates it counts whoever it is for.
    uncounted = cursor.uncounted + (0 if name == REPLICATED else found.joined[key])
    return VendorTotals(
        name=key[0], fingerprint=key[1], accepted=accepted, delivered=delivered, dead=dead,
        waiting=max(0, unsettled - max(0, partly)), dropped=dropped, parked=cursor.parked,
        feedback={fate: count for fate, count in sorted(feedback.items()) if count},
        recorded=known.recorded[name] - known.lost[name] + uncounted if known.is_exact else None,
        apart=cursor.apart_events,
        stalled=stalled_holder(journal.files, name),
    )  # fmt: skip


def unread_report(journal: Journal, more: Mapping[str, Any]) -> Report:
    """The report while the disk refuses to read."""
    return Report(journal=_folder(journal), unwritten_bytes=journal.held, **more)


def _folder(journal: Journal) -> str:
    return str(getattr(journal.files, "folder", MEMORY))


def make_report(
    journal: Journal,
    more: Mapping[str, Any] = MappingProxyType({}),
    holders: Mapping[str, Cursor] = MappingProxyType({}),
) -> Report:
    """Count the journal as it stands now. `holders` are this process's cursors: they know what a full disk does not.

    Raises:
        OSError: it cannot be read.
    """
    counts, known, all_totals = _totals(journal, holders)
    found: dict[str, VendorTotals] = {}
    # Of two destinations of one name, one with events comes first.
    for totals in sorted(all_totals, key=lambda one: (one.name, not one.accepted, one.fingerprint)):
        if totals.name not in found:
            found[totals.name] = totals
        elif totals.accepted:
            found[f"{totals.name}.{totals.fingerprint}"] = totals
    left, seconds = lag(journal.files, journal.logs())
    silent = all_vanished(journal.files)
    return Report(
        journal=_folder(journal),
        events=known.events,
        vendors=found,
        damaged_lines=counts.damaged_lines,
        lost_lines=counts.lost_lines,
        dropped=dict(counts.dropped),
        newer_logs=tuple(journal.newer_logs()),
        unwritten_bytes=journal.held,
        unreplicated_bytes=left,
        lag_seconds=seconds,
        unreplicated=diagnostics.unreplicated,
        vanished=len(silent),
        vanished_bytes=sum(silent),
        **more,
    )


def _totals(journal: Journal, holders: Mapping[str, Cursor]) -> tuple[Counts, RecordedSums, list[VendorTotals]]:
    """The counts of one moment: anew where something was recorded meanwhile and the two witnesses differ by it.

    The sums of logs are believed as long as all comes out even by them; else the logs themselves are read.
    """
    trusts_sums = True
    for _ in range(COUNT_TRIES):
        cursors, known = Cursors(journal, holders), recorded_sums(journal)
        counts = count_unsettled(journal, cursors, known, trusts_sums=trusts_sums)
        totals = [totals_of(journal, key, cursors(key), counts, known) for key in counts.vendors | cursor_keys(journal)]
        if not any(one.differs or one.unexplained for one in totals):
            return counts, known, totals
        is_still = recorded_sums(journal) == known
        if is_still and not trusts_sums:
            return counts, known, totals
        trusts_sums = not is_still
    return counts, known, [one.model_copy(update={"recorded": None}) for one in totals]
