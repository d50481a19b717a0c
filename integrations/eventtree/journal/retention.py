"""Removing old logs, by age and size: only logs in which every tree is settled at every vendor it names."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Set
from itertools import groupby

from eventtree.config import BOUNDS
from eventtree.journal.counts import Cursors, count_unsettled
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.relayed import ENDED, SIZES
from eventtree.journal.totals import recorded_sums, remove_log

KEPT_SECONDS = BOUNDS.kept_days * 86_400
KEPT_BYTES = BOUNDS.kept_bytes
"""Settled logs are kept for `show`, `export` and replays until older, or all logs together larger, than this."""


def remove_settled(
    journal: Journal,
    *,
    kept_bytes: int = KEPT_BYTES,
    kept_seconds: float = KEPT_SECONDS,
    now: float | None = None,
    unwanted: Set[str] = frozenset(),
    on_line: Callable[[], None] = lambda: None,
) -> list[str]:
    """Remove settled logs that are no longer written, oldest first, until the others are within the bounds.

    Returns the names of the removed logs. A tree without vendors counts as settled. A log that a vendor has not settled
    is never removed; `unwanted` logs need not be old. `on_line` is called after each line that is read, so that the
    caller can pause.
    """
    now = time.time() if now is None else now
    logs = journal.logs()
    _forget_ended(journal, logs, now - kept_seconds)
    total = sum(journal.files.size(name) for name in logs)
    old = {name for name in logs if name in unwanted or now - _started(name) > kept_seconds}
    if total <= kept_bytes and not old:
        return []
    # Counted only if some log may have to go: most calls end before this.
    kept = count_unsettled(journal, Cursors(journal), recorded_sums(journal), on_line).needed
    gone = []
    for process, names in groupby(logs, process_of):
        # A living process is writing its newest log: it stays.
        of_process = list(names)
        left = list(of_process)
        for name in of_process[:-1] if journal.is_alive(process) else of_process:
            size = journal.files.size(name)
            if name not in kept and (total > kept_bytes or name in old) and remove_log(journal, name, left):
                total -= size
                gone.append(name)
        if not left:
            journal.files.remove(f"{process}.alive")
    return gone


def _forget_ended(journal: Journal, logs: list[str], before: float) -> None:
    """Remove a collector's files about remote processes that ended long ago, and whose logs are gone."""
    about = {name: name.rpartition(".")[0] for name in journal.files.names() if name.endswith((ENDED, SIZES))}
    writers = set(map(process_of, logs)) if about else ()
    for name, process in about.items():
        if process not in writers and journal.files.changed_at(name) < before:
            journal.files.remove(name)


def _started(log: str) -> float:
    """When the process of a log began to record, by the log's name. Other names count as new."""
    try:
        return calendar.timegm(time.strptime(log.split("-", 1)[0], "%Y%m%dT%H%M%S"))
    except (ValueError, OverflowError):
        return float("inf")
