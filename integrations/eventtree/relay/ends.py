"""Who still writes. The locks by which processes of one machine know it do not reach another.

A relay says every ten seconds that a process lives, and at once when it has died and all its logs are replicated. A
collector that has not heard of a process for a minute, with nothing waiting to be read, takes it for dead: its open
runs arrive as `incomplete`. What comes after all is late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby

from eventtree.journal.files import Files
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.relayed import ended
from eventtree.record import encode
from eventtree.relay.port import Mark

BEAT_SECONDS = 10.0
LOOK_SECONDS = 2.0
"""Whether a process lives is asked this often."""
SILENCE_SECONDS = 60.0
ENDED = "ended."
"""Prefix under which a relay keeps which processes it has said to be dead."""


class Writers:
    """A relay's side: the processes whose logs are in its folder."""

    def __init__(self, journal: Journal, kept: Mapping[str, str]) -> None:
        """`kept` holds those that were said to be dead before."""
        self.journal = journal
        self.kept = kept
        self.dead: set[str] = set()
        """Processes that write no more: the bytes behind their last whole line are replicated too."""
        self._beaten: dict[str, float] = {}
        self._looked = float("-inf")

    def marks(self, sizes: Mapping[str, int], is_replicated: Callable[[str], bool], *, at_once: bool) -> list[Mark]:
        """What is to be said now of each process; `sizes` are what is replicated of each log."""
        now = time.monotonic()
        if not at_once and now - self._looked < LOOK_SECONDS:
            return []
        self._looked = now
        found = []
        for process, names in groupby(self.journal.all_logs(), process_of):
            logs = list(names)
            if ENDED + process in self.kept:
                continue
            if process not in self.dead and not self.journal.is_alive(process):
                self.dead.add(process)
            if process in self.dead:
                if all(map(is_replicated, logs)):
                    found.append(Mark(process, {log: sizes.get(log, 0) for log in logs}, ended=True))
            elif now - self._beaten.get(process, float("-inf")) >= BEAT_SECONDS:
                self._beaten[process] = now
                found.append(Mark(process, {log: sizes[log] for log in logs[-1:] if log in sizes}))
        return found


class Heard:
    """A collector's side: when each process was heard of last."""

    def __init__(self, files: Files, silence: float = SILENCE_SECONDS) -> None:
        """Nobody was heard of yet."""
        self.files = files
        self.silence = silence
        self._last: dict[str, float] = {}

    def of(self, process: str) -> None:
        """It writes; if it was taken for dead, it is not any more."""
        self._last[process] = time.monotonic()
        if self.files.size(ended(process)):
            self.files.remove(ended(process))

    def begin(self, processes: Iterable[str]) -> None:
        """From now on these have to be heard of, as far as they have not ended."""
        self._last.update((one, time.monotonic()) for one in processes if not self.files.size(ended(one)))

    def end(self, process: str, sizes: Mapping[str, int]) -> None:
        """It writes no more. The sizes of its logs are kept: they may be removed, and a chunk of them come again."""
        self._last.pop(process, None)
        self.files.replace(ended(process), encode(dict(sizes)))

    def end_silent(self, partition: int) -> list[str]:
        """End the processes of a partition that were not heard of for too long, while nothing waited to be read."""
        now = time.monotonic()
        silent = [one for one, at in list(self._last.items()) if now - at > self.silence and home_of(one) == partition]
        for process in silent:
            self.end(process, {})
        return silent


def home_of(process: str) -> int:
    """The partition whose collector hears of a process (see `split.py`)."""
    _, dot, partition = process.rpartition(".")
    return int(partition) if dot and partition.isdigit() else 0
