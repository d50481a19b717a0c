"""What a relay sends: the bytes of a folder's logs from where it got to, and which processes live or have died.

How far each log is replicated stands in a cursor, like that of a vendor called `collector`: so reports, `flush` and the
removal of old logs go by it, whoever asks.

With more partitions than one, lines go by their trees: `PROCESS.0003.log` becomes `PROCESS.PART.0003.log` for each part
that has trees of it, with lines numbered anew. That depends on nothing but the lines themselves and on how many
partitions there were when the log began, so that a relay which starts again, or goes back, makes the same bytes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, defaultdict
from hashlib import blake2b
from itertools import groupby

from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import frame, unframe
from eventtree.record import LOG, VERSION, decode, dropped_by, encode
from eventtree.relay.port import BATCH, CHUNK_BYTES, Chunk, Port

BEAT_SECONDS = 10.0
"""A relay says this often that a process lives: the locks by which those of one machine know it reach no other. This
often, too, it learns whether there are other partitions.
"""
LOOK_SECONDS = 2.0
"""Whether a process lives is asked this often."""
ENDED, STATE = "ended.", "split."
"""Prefixes under which is kept which processes were said to have died; into how many parts a log is split; how long a
part is, and the number of its next line.
"""
COMPACT_LINES = 200
"""Lines of the cursor before it is rewritten."""
OPENED = b' {"r":"open","id":"'
DROPPED = re.compile(rb'^[0-9a-f]{8} \d+ \{"r":"drop".*$', re.M)
"""Within a record a quote is escaped, so that neither can stand in one."""
LINE = re.compile(rb'[0-9a-f]{8} \d+ \{"r":"\w+","id":"[^"\\]*","tree":"([^"\\]*)"')

Placed = list[tuple[int, Chunk]]
"""Chunks with their partitions."""


class Replicator:
    """Has a folder's logs kept elsewhere. Belongs to who has the folder's lock: two would count everything twice."""

    def __init__(self, journal: Journal, cursor: Cursor, port: Port) -> None:
        """Begin where the cursor stands."""
        self.journal = journal
        self.files = journal.files
        self.cursor = cursor
        self.port = port
        self._next = dict(cursor.offsets)
        """Log → offset to read on from: lower than the cursor's where a collector has asked for bytes again."""
        self._states = {name: value for name, value in cursor.learned.items() if name.startswith(STATE)}
        """Those of splits as far as `_next`."""
        self._dead: set[str] = set()
        self._beaten: dict[str, float] = {}
        self._looked = self._learned = float("-inf")
        self._lines = 0

    async def round(self, *, is_ending: bool) -> bool:
        """Publish the next bytes of each process, and who lives or has died; whether more waits already.

        With `is_ending` this process writes no more.

        Raises:
            Exception: something of it could not be published.
        """
        if time.monotonic() - self._learned >= BEAT_SECONDS:
            self._learned = time.monotonic()
            await self.port.look()
        self._rewind()
        living = [(name, list(logs)) for name, logs in groupby(self.journal.all_logs(), process_of)]
        living = [(name, logs) for name, logs in living if ENDED + name not in self.cursor.learned]
        with self.cursor.gathered():
            more = False
            for start in range(0, len(living), BATCH):  # a folder may hold the logs of thousands that have died
                some = (self._advance(logs) for _, logs in living[start : start + BATCH])
                for found in await asyncio.gather(*some, return_exceptions=True):
                    if isinstance(found, BaseException):
                        raise found
                    more = more or found
            if is_ending or time.monotonic() - self._looked >= LOOK_SECONDS:
                self._looked = time.monotonic()
                for name, logs in living:
                    await self._say(name, logs, is_ending=is_ending)
        self._compact()
        return more

    def _rewind(self) -> None:
        """Go back to where a collector lacks bytes, as far as the log is still here."""
        asked, self.port.asked = self.port.asked, {}
        for name, offset in asked.items():
            log = _source_of(name)
            if not self.files.size(log):
                continue
            for _, part in self._lengths(log) if log != name else ():
                del self._states[STATE + part.log]  # a split begins again with the log
            self._next[log] = min(offset if log == name else 0, self._next.get(log, 0))
            if ENDED + process_of(log) in self.cursor.learned:
                self.cursor.unlearn([ENDED + process_of(log)])

    async def _advance(self, logs: list[str]) -> bool:
        """Publish the next bytes of a process: whole lines, or the torn end of a log that nobody writes any more."""
        log = next((log for log in logs if not self._is_through(log)), None)
        if log is None:
            return False
        offset, limit = self._next.get(log, 0), CHUNK_BYTES
        is_left = log != logs[-1] or process_of(log) in self._dead
        data = self.files.read(log, offset, limit)
        while b"\n" not in data and len(data) == limit:
            limit *= 4
            data = self.files.read(log, offset, limit)
        end = len(data) if is_left and len(data) < limit else data.rfind(b"\n") + 1
        return await self._send(log, offset, data[:end]) and (is_left or len(data) == limit)

    def _is_through(self, log: str) -> bool:
        return self.files.size(log) <= self._next.get(log, 0)

    async def _send(self, log: str, offset: int, data: bytes) -> bool:
        """Have bytes kept, and write down that they are, as far as they were not before."""
        chunks, states = self._split(log, offset, data)
        end, before = offset + len(data), self.cursor.offsets.get(log, 0)
        left = 0 if states else self.files.size(log) - end
        for partition, chunk in chunks:
            await self.port.publish(partition, chunk._replace(left=left))
            if chunk.log in self.port.asked:
                return False
        self._next[log] = end
        self._states.update(states)
        if end > before:
            self.cursor.replicate(log, end, *_counted(data[max(0, before - offset) :]), states)
            self._lines += 1
        return bool(data)

    async def _say(self, name: str, logs: list[str], *, is_ending: bool) -> None:
        """Say now and then how long the newest log of a process is; once it has died and all is sent, that of all."""
        if (is_ending and name == self.journal.process) or not self.journal.is_alive(name):
            self._dead.add(name)
        is_dead, now = name in self._dead, time.monotonic()
        is_due = now - self._beaten.get(name, float("-inf")) >= BEAT_SECONDS
        if not (all(map(self._is_through, logs)) if is_dead else is_due):
            return
        self._beaten[name] = now
        placed = [one for log in logs for one in self._lengths(log)]
        newest = {process_of(chunk.log): (partition, chunk) for partition, chunk in placed}
        for partition, chunk in placed if is_dead else newest.values():
            is_last = newest[process_of(chunk.log)][1] is chunk
            await self.port.publish(partition, chunk._replace(ended=is_dead and is_last))
            if chunk.log in self.port.asked:
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
        for kept in (self.cursor.learned, self._states, self._next):
            for name in list(kept):
                if (_source_of(name.removeprefix(STATE)) if name.startswith(STATE) else name) not in known:
                    del kept[name]
        try:
            self.cursor.advance({log: self.cursor.offsets.get(log, 0) for log in logs})
        except OSError:
            return  # the file as it is says the same

    # -- partitions --------------------------------------------------------------------------------------------------

    def _split(self, log: str, offset: int, data: bytes) -> tuple[Placed, dict[str, str]]:
        """Whole lines of a log as chunks; and what is to be kept once all are published."""
        parts = self._parts(log)
        if parts == 1:
            return _cut(0, log, offset, data), {}
        made: dict[int, bytearray] = defaultdict(bytearray)
        states: dict[int, tuple[int, int]] = {}
        for line in data.splitlines(keepends=True):
            found = LINE.match(line)
            if found is not None and not found[1]:
                continue  # sums of the whole log: each partition counts for itself
            number = 0 if found is None else partition_of(found[1], parts)
            name = part_name(log, number)
            size, seq = states.get(number) or self._state(name)
            if not size and not made[number]:
                head = {"r": LOG, "id": process_of(name), "tree": "", "eventtree": VERSION}
                made[number] += frame(0, encode(head))
            made[number] += line if found is None else _renumbered(line, seq)
            states[number] = (size, seq + 1)
        placed, after = [], {STATE + log: str(parts)}
        for number, lines in made.items():
            name, (size, seq) = part_name(log, number), states[number]
            placed += _cut(number % self.port.partitions, name, size, bytes(lines))
            after[STATE + name] = f"{size + len(lines)} {seq}"
        return placed, after

    def _lengths(self, log: str) -> Placed:
        """How long a log is, or the parts that a split has made of it, as chunks without bytes."""
        parts = self._parts(log)
        if parts == 1:
            return [(0, Chunk(log, self._next.get(log, 0), b""))]
        names = ((number % self.port.partitions, part_name(log, number)) for number in range(parts))
        return [(at, Chunk(name, self._state(name)[0], b"")) for at, name in names if STATE + name in self._states]

    def _parts(self, log: str) -> int:
        """Into how many parts a log is split: as many as there were partitions when it began."""
        return int(self._states.get(STATE + log) or (1 if self.cursor.offsets.get(log) else self.port.partitions))

    def _state(self, name: str) -> tuple[int, int]:
        size, seq = self._states.get(STATE + name, "0 1").split()
        return int(size), int(seq)


def partition_of(tree_id: bytes, partitions: int) -> int:
    """The partition, or part, of a tree: the same for every relay."""
    return int.from_bytes(blake2b(tree_id, digest_size=8).digest(), "big") % partitions


def part_name(log: str, part: int) -> str:
    """The log that is a part of `log`."""
    process, number, _ = log.rsplit(".", 2)
    return f"{process}.{part}.{number}.log"


def _source_of(log: str) -> str:
    """The log of which `log` is a part, or itself."""
    process, *_, number, _ = log.split(".")
    return f"{process}.{number}.log"


def _cut(partition: int, log: str, offset: int, data: bytes) -> Placed:
    starts = range(0, len(data), CHUNK_BYTES)
    return [(partition, Chunk(log, offset + start, data[start : start + CHUNK_BYTES])) for start in starts]


def _renumbered(line: bytes, seq: int) -> bytes:
    try:
        return frame(seq, unframe(line.rstrip(b"\n"))[1])
    except ValueError:
        return line  # damaged: it is counted where it arrives


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
