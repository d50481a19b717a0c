"""What a relay sends: the bytes of a folder's logs from where it got to, and which processes live or have died.

How far each log is replicated stands in a cursor, like that of a vendor called `collector`: so reports, `flush` and the
removal of old logs go by it, whoever asks.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from typing import NamedTuple

from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import unframe
from eventtree.record import decode, dropped_by
from eventtree.relay.port import CHUNK_BYTES, Port
from eventtree.relay.split import STATE, lengths, source_of, split

BEAT_SECONDS = 10.0
"""A relay says this often that a process lives: the locks by which those of one machine know it reach no other."""
LOOK_SECONDS = 2.0
"""Whether a process lives is asked this often."""
ENDED = "ended."
"""Prefix under which is kept which processes were said to have died."""
COMPACT_LINES = 200
"""Lines of the cursor before it is rewritten."""
OPENED = b' {"r":"open","id":"'
DROPPED = re.compile(rb'^[0-9a-f]{8} \d+ \{"r":"drop".*$', re.M)
"""Within a record a quote is escaped, so that neither can stand in one."""


class Piece(NamedTuple):
    """The next bytes of a process's logs: whole lines, or the torn end of a log that nobody writes any more."""

    log: str
    offset: int
    data: bytes
    has_more: bool


class Replicator:
    """Has a folder's logs kept elsewhere. Belongs to who has the folder's lock: two would count everything twice."""

    def __init__(self, journal: Journal, cursor: Cursor) -> None:
        """Begin where the cursor stands."""
        self.journal = journal
        self.files = journal.files
        self.cursor = cursor
        self._next = dict(cursor.offsets)
        """Log → offset to read on from: lower than the cursor's where a collector has asked for bytes again."""
        self._states = {name: value for name, value in cursor.learned.items() if name.startswith(STATE)}
        """Those of splits as far as `_next`."""
        self._dead: set[str] = set()
        self._beaten: dict[str, float] = {}
        self._looked = float("-inf")
        self._lines = 0

    async def round(self, port: Port, *, is_ending: bool) -> bool:
        """Publish the next bytes of each process, and who lives or has died; whether more waits already.

        With `is_ending` this process writes no more.

        Raises:
            AwayError, RefusedError: something of it could not be published.
        """
        self._rewind(await port.asked(), port.partitions)
        living = [(name, list(logs)) for name, logs in groupby(self.journal.all_logs(), process_of)]
        living = [(name, logs) for name, logs in living if ENDED + name not in self.cursor.learned]
        pieces = [piece for _, logs in living if (piece := self._piece(logs)) is not None]
        with self.cursor.gathered():
            done = await asyncio.gather(*(self._send(port, piece) for piece in pieces), return_exceptions=True)
            for error in filter(None, done):
                raise error
            if is_ending or time.monotonic() - self._looked >= LOOK_SECONDS:
                self._looked = time.monotonic()
                for name, logs in living:
                    await self._say(port, name, logs, is_ending=is_ending)
        self._compact()
        return any(piece.has_more for piece in pieces)

    def _rewind(self, asked: Mapping[str, int], partitions: int) -> None:
        """Go back to where a collector lacks bytes, as far as the log is still here."""
        for name, offset in asked.items():
            log = source_of(name)
            if not self.files.size(log):
                continue
            for _, part in lengths(log, 0, self._states, partitions) if log != name else ():
                del self._states[STATE + part.log]  # a split begins again with the log
            self._next[log] = min(offset if log == name else 0, self._next.get(log, 0))
            if ENDED + process_of(log) in self.cursor.learned:
                self.cursor.unlearn([ENDED + process_of(log)])

    def _piece(self, logs: list[str]) -> Piece | None:
        for log in logs:
            offset = self._next.get(log, 0)
            if self._is_through(log):
                continue
            is_left = log != logs[-1] or process_of(log) in self._dead
            limit = CHUNK_BYTES
            data = self.files.read(log, offset, limit)
            while b"\n" not in data and len(data) == limit:
                limit *= 4
                data = self.files.read(log, offset, limit)
            end = len(data) if is_left and len(data) < limit else data.rfind(b"\n") + 1
            return Piece(log, offset, data[:end], is_left or len(data) == limit) if end else None
        return None

    def _is_through(self, log: str) -> bool:
        return self.files.size(log) <= self._next.get(log, 0)

    async def _send(self, port: Port, piece: Piece) -> None:
        """Have bytes kept, and write down that they are, as far as they were not before."""
        chunks, states = split(*piece[:3], self._states, port.partitions)
        end, before = piece.offset + len(piece.data), self.cursor.offsets.get(piece.log, 0)
        left = self.files.size(piece.log) - end if port.partitions == 1 else 0
        for partition, chunk in chunks:
            if not await port.publish(partition, chunk._replace(left=left)):
                return
        self._next[piece.log] = end
        self._states.update(states)
        if end > before:
            opened, dropped = _counted(piece.data[max(0, before - piece.offset) :])
            self.cursor.replicate(piece.log, end, opened, dropped, states)
            self._lines += 1

    async def _say(self, port: Port, name: str, logs: list[str], *, is_ending: bool) -> None:
        """Say now and then how long the newest log of a process is; once it has died and all is sent, that of all."""
        if (is_ending and name == self.journal.process) or not self.journal.is_alive(name):
            self._dead.add(name)
        is_dead, now = name in self._dead, time.monotonic()
        is_due = now - self._beaten.get(name, float("-inf")) >= BEAT_SECONDS
        if not (all(map(self._is_through, logs)) if is_dead else is_due):
            return
        self._beaten[name] = now
        placed = [one for log in logs for one in lengths(log, self._next.get(log, 0), self._states, port.partitions)]
        newest = dict(placed)
        for partition, chunk in placed if is_dead else newest.items():
            if not await port.publish(partition, chunk._replace(ended=is_dead and chunk is newest[partition])):
                return
        if is_dead:
            self.cursor.learn({ENDED + name: "1"})
            self._lines += 1

    def _compact(self) -> None:
        """Rewrite the cursor now and then; what is known of logs that are gone is forgotten."""
        if self._lines < COMPACT_LINES:
            return
        self._lines = 0
        logs = self.journal.all_logs()
        known = {*(ENDED + process_of(log) for log in logs), *logs}
        for kept in (self.cursor.learned, self._states):
            for name in list(kept):
                if (source_of(name.removeprefix(STATE)) if name.startswith(STATE) else name) not in known:
                    del kept[name]
        self._next = {log: offset for log, offset in self._next.items() if log in known}
        try:
            self.cursor.advance({log: self.cursor.offsets.get(log, 0) for log in logs})
        except OSError:
            return  # the file as it is says the same


def _counted(data: bytes) -> tuple[int, Counter[str]]:
    """Events that open in these lines, and those that were only counted, never recorded, by the reason."""
    dropped = Counter[str]()
    for line in DROPPED.findall(data) if b'{"r":"drop"' in data else ():
        try:
            events, reason = dropped_by(decode(unframe(line)[1]))
        except ValueError:
            continue
        dropped[reason] += events
    return data.count(OPENED), dropped
