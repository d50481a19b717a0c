"""The report: for each vendor, accepted = delivered + waiting + dead + dropped(reason), in events, across restarts."""

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
"""Times to count while other processes go on recording; after that, `recorded` is left out."""


class VendorTotals(BaseModel):
    """The sums of one vendor: each event for it is delivered, dead, dropped or waiting."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The vendor's `name`."""
    fingerprint: str
    """Identifies settings of one name (host, project, key) without showing them."""
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
    """Feedback, which is not counted among events: how much is `waiting`, `delivered`, `dead`, or was dropped for a
    reason (`no_place`: the vendor can't take it; `no_end_user`, `no_user_text`: its tree was not sent).
    """

    apart: int = 0
    """Delivered or dropped events of trees that began in another process, with another journal. They were sent apart:
    under their parent's id if the vendor's ids allow it, else as trees of their own.
    """
    recorded: int | None = None
    """Events for this vendor as counted by the recording processes, plus replayed ones. `accepted`, which delivery
    counts, should be the same. None if a killed process had not written its count.
    """
    stalled: int | None = None
    """Id of the process with this vendor's lock, if it has done nothing for ten seconds (it is stopped)."""

    @property
    def is_local(self) -> bool:
        """Whether its host is this machine: events that wait for it are never sent to another host."""
        return record.is_local(self.fingerprint)

    @property
    def differs(self) -> bool:
        """Whether `accepted` differs from `recorded`: events were lost between the two, or counted twice. `unexplained`
        does not show that.
        """
        return self.recorded is not None and self.recorded != self.accepted

    @property
    def unexplained(self) -> int:
        """Accepted events that no other sum accounts for: always 0, or it is a bug."""
        return self.accepted - self.delivered - self.waiting - self.dead - sum(self.dropped.values())


class Report(BaseModel):
    """The sums of one journal, by vendor."""

    model_config = ConfigDict(frozen=True)

    journal: str
    """The journal's folder, or `:memory:`."""
    events: int = 0
    """Recorded events, as counted by the recording processes."""
    vendors: dict[str, VendorTotals] = Field(default_factory=dict)
    """By vendor name; a second destination of the same name has its fingerprint added."""
    damaged_lines: int = 0
    """Lines of the log whose checksum is wrong."""
    lost_lines: int = 0
    """Lines of the log that are missing."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Events of trees without vendors that were only counted: reason → events."""
    newer_logs: tuple[str, ...] = ()
    """Logs of a newer version of eventtree, which are left for that version to deliver."""
    unwritten_bytes: int = 0
    """Size of this process's records that the disk refuses: they wait in memory, and are in no sum yet."""
    unreplicated_bytes: int | None = None
    """Size of a relayed journal's records that the collector's engine does not have yet; None without a relay."""
    lag_seconds: float | None = None
    """Age of the oldest of these records."""
    unreplicated: int = 0
    """Trees of this process whose end the relay's engine did not acknowledge in time (`durable="engine"`)."""
    vanished: int = 0
    """Processes that a collector gets no more messages from, though they have not ended: pods that were deleted with
    their disk. Records after their relay's last message are lost, and cannot be counted.
    """
    vanished_bytes: int = 0
    """Size of the records that these relays, by their last message, had not sent."""
    unknown_models: dict[str, int] = Field(default_factory=dict)
    """Models without a known price → how often they were used: in trees that this process delivered, or, in the output
    of `eventtree report`, in the newest trees of the journal.
    """
    cut: dict[str, int] = Field(default_factory=dict)
    """Field of `Bounds` → how often it cut less than an event in this process: part of a value or of a vendor's reply,
    an open run's entry, a record that neither disk nor memory accepted.
    """
    failures: dict[str, int] = Field(default_factory=dict)
    """Errors inside eventtree, by kind, in this process."""

    @property
    def waiting(self) -> int:
        """Events that wait for some vendor."""
        return sum(sums.waiting for sums in self.vendors.values())

    @property
    def settled(self) -> bool:
        """Whether nothing waits, nothing was refused, and every event is accounted for."""
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
    """One vendor's sums: those of its cursor, plus the events of unsettled trees."""
    unsettled = found.waiting[key]
    feedback = Counter(cursor.feedback)
    feedback["waiting"] = found.feedback[key]
    accepted, name = cursor.accepted + unsettled, f"{key[0]}.{key[1]}"
    # The vendor may have taken a part of an unsettled tree.
    partly = cursor.delivered + cursor.dead + cursor.dropped.total() - cursor.accepted
    dead, fates = cursor.dead, DeadLetters(journal.files, f"{name}.dead").fates()
    for fate, events in fates.items():  # never more than counted: a crash may have come between a letter and its count
        fates[fate] = min(events, dead)
        dead -= fates[fate]
    delivered = cursor.delivered + fates.pop("delivered", 0)
    dropped = {reason: count for reason, count in sorted((cursor.dropped + fates).items()) if count}
    # A relay counts all events, whatever their vendors.
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
    """Count the journal now. `holders` are this process's cursors, which have lines that a full disk has refused.

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
    """Consistent counts: they are repeated if something was recorded meanwhile and `accepted` and `recorded` differ.

    The stated sums of logs are trusted as long as everything adds up by them; else the logs are read.
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
