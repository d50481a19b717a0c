"""Sends the next bytes of a folder's logs, and which processes live or have died.

The replicated offset of each log is in a cursor, like that of a vendor called `collector`: so reports, `flush` and the
removal of old logs use it in every process.

With several partitions, lines are split by their trees: `PROCESS.0003.log` becomes `PROCESS.COUNT-PART.0003.log` for
each part that has trees of it, with lines numbered anew. The split depends only on the lines and on the number of
partitions when the process began, so that a relay that starts again, or goes back, makes the same bytes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from contextlib import suppress
from hashlib import blake2b
from itertools import groupby
from typing import NamedTuple

import pydantic_core

from eventtree.journal.cursor import Cursor
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import frame, unframe
from eventtree.journal.relayed import CURSOR
from eventtree.pace import paced
from eventtree.record import LOG, VERSION, decode, dropped_by, encode
from eventtree.relay.port import BATCH, CHUNK_BYTES, Chunk, Port

BEAT_SECONDS = 10.0
"""A relay reports living processes and learns the number of partitions this often. No lock reaches another machine."""
LOOK_SECONDS = 2.0
"""Processes are checked for life this often."""
ENDED, SPLIT, PARTS = "ended.", "split.", "parts."
"""Prefixes of entries that the cursor has learned: a process whose death was reported, the number of partitions of a
process, the parts of a log so far.
"""
COMPACT_BYTES = 32 * 1024
"""A cursor that has grown by this much, and to twice its size, is rewritten."""
OPENED = b' {"r":"open","id":"'
DROPPED = re.compile(rb'^[0-9a-f]{8} \d+ \{"r":"drop".*$', re.M)
"""Within a record a quote is escaped, so neither occurs within one."""
LINE = re.compile(rb'[0-9a-f]{8} \d+ \{"r":"\w+","id":"[^"\\]*","tree":"([^"\\]*)"')

Parts = list[tuple[int, int]]
"""The size of each part of a log and the number of its next line; empty for a log that is not split."""


class Position(NamedTuple):
    """The offset up to which a log was sent, and its parts."""

    offset: int
    parts: Parts


class Replicator:
    """Replicates a folder's logs. Only for the holder of the folder's lock: two would count everything twice."""

    def __init__(self, journal: Journal, cursor: Cursor, port: Port) -> None:
        """Begin at the cursor's offsets."""
        self.journal, self.files, self.cursor, self.port = journal, journal.files, cursor, port
        self._positions: dict[str, Position] = {}
        """The position in each log: the cursor's, or an earlier one if a collector has asked for the log again."""
        self._dead: set[str] = set()
        self._looked = self._beaten = float("-inf")
        self._compacted = 0

    async def round(self, *, is_ending: bool) -> bool:
        """Publish the next bytes of each process, and which processes live or have died; returns whether more waits.

        With `is_ending` this process writes no more.

        Raises:
            Exception: something of it could not be published.
        """
        self._rewind()
        each = groupby(self.journal.all_logs(), process_of)
        living = {name: list(logs) for name, logs in each if ENDED + name not in self.cursor.learned}
        more, writers = False, list(living.values())
        with self.cursor.gathered():
            for at in range(0, len(writers), BATCH):  # a folder may hold the logs of thousands that have died
                async with asyncio.TaskGroup() as tasks:
                    sent = [tasks.create_task(self._advance(logs)) for logs in writers[at : at + BATCH]]
                more = more or any(one.result() for one in sent)
            if is_ending or time.monotonic() - self._looked >= LOOK_SECONDS:
                await self._look(living, self.journal.process if is_ending else "")
        return more

    async def _look(self, living: dict[str, list[str]], ending: str) -> None:
        """Publish now and then which processes live, and which have died once all of theirs is sent. Read answers."""
        self._looked = now = time.monotonic()
        if is_due := now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            await self.port.learn()
            self._compact()
        for name, logs in living.items():
            if name == ending or not self.journal.is_alive(name):
                self._dead.add(name)
            if all(self._left(log) <= 0 for log in logs) if name in self._dead else is_due:
                await self._report(name, logs, is_dead=name in self._dead)

    def _rewind(self) -> None:
        """Go back to where a collector lacks bytes, as far as the log is still here.

        One that lacks a log from its beginning may have lost its folder: then all logs of the process go out again.
        """
        asked, self.port.asked = self.port.asked, {}
        for name, offset in asked.items():
            process, *part, number, _ = name.split(".")
            logs = [log for log in self.journal.all_logs() if process_of(log) == process]
            log, at = f"{process}.{number}.log", 0 if part else offset  # a split begins again with the log
            if log in logs and at < self._position(log).offset:
                self._positions |= {one: Position(at, self._fresh(one)) for one in (logs if not offset else [log])}
                if ENDED + process in self.cursor.learned:
                    self.cursor.unlearn([ENDED + process])

    # -- the position in each log ------------------------------------------------------------------------------------

    def _position(self, log: str) -> Position:
        if log not in self._positions:
            known = self.cursor.learned.get(PARTS + log)
            parts = pydantic_core.from_json(known) if known else self._fresh(log)
            self._positions[log] = Position(self.cursor.offsets.get(log, 0), parts)
        return self._positions[log]

    def _fresh(self, log: str) -> Parts:
        """The parts of a log of which nothing was sent."""
        count = int(self.cursor.learned.get(SPLIT + process_of(log), 1))
        return [(0, 1)] * count if count > 1 else []

    def _left(self, log: str) -> int:
        return self.files.size(log) - self._position(log).offset

    def _lengths(self, log: str) -> list[Chunk]:
        """The sent length of a log, or of each of its parts, as chunks without bytes."""
        offset, parts = self._position(log)
        if parts:
            return [Chunk(part_name(log, part, len(parts)), size, b"") for part, (size, _) in enumerate(parts) if size]
        return [Chunk(log, offset, b"", left=self._left(log))]

    # -- sending ------------------------------------------------------------------------------------------------------

    async def _advance(self, logs: list[str]) -> bool:
        """Publish the next bytes of a process: whole lines, or the torn end of a log that is no longer written."""
        number = next((number for number, log in enumerate(logs) if self._left(log) > 0), None)
        if number is None:
            return False
        log, is_left = logs[number], number < len(logs) - 1 or process_of(logs[number]) in self._dead
        offset = self._position(log).offset
        data = self.files.read(log, offset, CHUNK_BYTES)
        if b"\n" not in data:
            data = self.files.read(log, offset)  # a longer line, if it is no torn end
        end = data.rfind(b"\n") + 1 or is_left * len(data)
        is_sent = end > 0 and await self._send(log, data[:end], logs[:number])
        return is_sent and (is_left or len(data) >= CHUNK_BYTES)

    async def _send(self, log: str, data: bytes, earlier: list[str]) -> bool:
        """Publish bytes, and move the cursor if they are new; returns whether the engine took them."""
        known, process = self.cursor.offsets.get(log, 0), process_of(log)
        if not known and SPLIT + process not in self.cursor.learned:
            # All logs of a process are split alike, so a tree stays in one part. The order matters: the split is kept
            # before any byte is sent, because a relay that sends them again, after a death, must split them alike.
            self.cursor.learn({SPLIT + process: str(self.port.split)})
            self.cursor.persist()
            for one in (*earlier, log):  # by now it is known what they are split into
                self._positions.pop(one, None)
        offset, parts = self._position(log)
        made, end = [(log, offset, data)], offset + len(data)
        if parts:
            made, parts = _split(log, data, parts)
        for name, start, some in made:
            for at in range(0, len(some), CHUNK_BYTES):
                left = 0 if parts else self.files.size(log) - end
                if not await self._publish(Chunk(name, start + at, some[at : at + CHUNK_BYTES], left=left), earlier):
                    return False
        self._positions[log] = Position(end, parts)
        if end >= known:
            learned = {PARTS + log: encode(parts).decode()} if parts else {}
            self.cursor.replicate(log, end, *_counted(data[known - offset :]), learned)
        return True

    async def _publish(self, chunk: Chunk, earlier: list[str]) -> bool:
        """Publish a chunk of a log after the `earlier` ones; returns False if a collector lacks earlier bytes."""
        process = process_of(chunk.log)
        if not chunk.offset:
            before = [one[:2] for log in earlier for one in self._lengths(log) if process_of(one.log) == process]
            chunk = chunk._replace(before=before[-1] if before else None)
        await self.port.publish(self.port.partition_of(process), chunk)
        return process not in map(process_of, self.port.asked)

    async def _report(self, process: str, logs: list[str], *, is_dead: bool) -> None:
        """Publish the length of a process's newest log, or of each of its parts; after its death, of all logs."""
        chunks = [(chunk, logs[:number]) for number, log in enumerate(logs) for chunk in self._lengths(log)]
        newest = {process_of(chunk.log): chunk for chunk, _ in chunks}
        for chunk, earlier in chunks:
            is_last = newest[process_of(chunk.log)] is chunk
            if (is_dead or is_last) and not await self._publish(chunk._replace(ended=is_dead and is_last), earlier):
                return
        if is_dead:
            self.cursor.learn({ENDED + process: "1"})

    def _compact(self) -> None:
        """Rewrite a cursor that has grown, without logs that are gone."""
        if self.files.size(CURSOR) < 2 * self._compacted + COMPACT_BYTES:
            return
        logs = self.journal.all_logs()
        known, learned = {*logs, *map(process_of, logs)}, self.cursor.learned.items()
        self.cursor.learned = {name: text for name, text in learned if name.partition(".")[2] in known}
        self._positions = {log: at for log, at in self._positions.items() if log in known}
        with suppress(OSError):  # the file as it is says the same
            self.cursor.advance({log: self.cursor.offsets.get(log, 0) for log in logs})
        self._compacted = self.files.size(CURSOR)


def part_name(log: str, part: int, count: int) -> str:
    """The name of a part of `log`, which is split into `count` parts."""
    process, number, _ = log.rsplit(".", 2)
    return f"{process}.{count}-{part}.{number}.log"


def _split(log: str, data: bytes, parts: Parts) -> tuple[list[tuple[str, int, bytes]], Parts]:
    """Split whole lines of a log: the next bytes of each part, with its name and offset, and the parts afterwards."""
    made: dict[int, bytearray] = {}
    names = [part_name(log, part, len(parts)) for part in range(len(parts))]
    seqs = [seq for _, seq in parts]
    for line in paced(data.splitlines(keepends=True)):
        found = LINE.match(line)
        if found is not None and not found[1]:
            continue  # sums of the whole log: each partition counts for itself
        part = 0  # of a tree always the same, for every relay
        if found is not None:
            part = int.from_bytes(blake2b(found[1], digest_size=8).digest(), "big") % len(parts)
        if part not in made:
            head = {"r": LOG, "id": process_of(names[part]), "tree": "", "eventtree": VERSION}
            made[part] = bytearray(b"" if parts[part][0] else frame(0, encode(head)))
        try:
            made[part] += frame(seqs[part], unframe(line.rstrip(b"\n"))[1])
        except ValueError:
            made[part] += line  # damaged: it is counted where it arrives
        seqs[part] += 1
    after = [(size + len(made.get(part, b"")), seqs[part]) for part, (size, _) in enumerate(parts)]
    return [(names[part], parts[part][0], bytes(lines)) for part, lines in made.items()], after


def _counted(data: bytes) -> tuple[int, Counter[str]]:
    """The events that open in these lines, and the events that were only counted, by reason."""
    dropped = Counter[str]()
    for line in DROPPED.findall(data) if b'{"r":"drop"' in data else ():
        try:
            events, reason = dropped_by(decode(unframe(line)[1]))
        except ValueError:
            continue
        dropped[reason] += events
    return data.count(OPENED), dropped
