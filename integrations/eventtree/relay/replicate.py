"""What a relay sends: the bytes of a folder's logs from where it got to, and which processes live or have died.

How far each log is replicated stands in a cursor, like that of a vendor called `collector`: so reports, `flush` and the
removal of old logs go by it, whoever asks.

With more partitions than one, lines go by their trees: `PROCESS.0003.log` becomes `PROCESS.COUNT-PART.0003.log` for
each part that has trees of it, with lines numbered anew. That depends on nothing but the lines themselves and on how
many partitions there were when the process began, so that a relay which starts again, or goes back, makes the same
bytes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from contextlib import suppress
from hashlib import blake2b
from itertools import groupby, takewhile

import pydantic_core

from eventtree.journal.cursor import Cursor
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import frame, unframe
from eventtree.record import LOG, VERSION, decode, dropped_by, encode
from eventtree.relay.port import BATCH, CHUNK_BYTES, Chunk, Port

BEAT_SECONDS = 10.0
"""A relay says this often that a process lives: the locks by which those of one machine know it reach no other. This
often, too, it learns how many partitions there are.
"""
LOOK_SECONDS = 2.0
"""Whether a process lives is asked this often."""
ENDED, SPLIT = "ended.", "split."
"""Prefixes of what the cursor has learned: which processes were said to have died; of a log, the size of each
part it is split into, and the number of its next line.
"""
COMPACT_LINES = 200
"""Lines of the cursor before it is rewritten."""
OPENED = b' {"r":"open","id":"'
DROPPED = re.compile(rb'^[0-9a-f]{8} \d+ \{"r":"drop".*$', re.M)
"""Within a record a quote is escaped, so that neither can stand in one."""
LINE = re.compile(rb'[0-9a-f]{8} \d+ \{"r":"\w+","id":"[^"\\]*","tree":"([^"\\]*)"')

Parts = list[tuple[int, int]]


class Replicator:
    """Has a folder's logs kept elsewhere. Belongs to who has the folder's lock: two would count everything twice."""

    def __init__(self, journal: Journal, cursor: Cursor, port: Port) -> None:
        """Begin where the cursor stands."""
        self.journal, self.files, self.cursor, self.port = journal, journal.files, cursor, port
        self._next = dict(cursor.offsets)
        """Log → offset to read on from: lower than the cursor's where a collector has asked for bytes again."""
        split = ((name.removeprefix(SPLIT), parts) for name, parts in cursor.learned.items() if name.startswith(SPLIT))
        self._parts: dict[str, Parts] = {log: pydantic_core.from_json(parts) for log, parts in split}
        """Log → its parts as far as `_next`, none if it is whole: the size of each, and the number of its next line."""
        self._dead: set[str] = set()
        self._looked = self._beaten = float("-inf")
        self._lines = 0

    async def round(self, *, is_ending: bool) -> bool:
        """Publish the next bytes of each process, and who lives or has died; whether more waits already.

        With `is_ending` this process writes no more.

        Raises:
            Exception: something of it could not be published.
        """
        self._rewind()
        living = {name: list(logs) for name, logs in groupby(self.journal.all_logs(), process_of)}
        living = {name: logs for name, logs in living.items() if ENDED + name not in self.cursor.learned}
        more, left = False, list(living.values())
        with self.cursor.gathered():
            while left:  # a folder may hold the logs of thousands that have died
                some, left = left[:BATCH], left[BATCH:]
                async with asyncio.TaskGroup() as tasks:
                    sent = [tasks.create_task(self._advance(logs)) for logs in some]
                more = more or any(one.result() for one in sent)
            if is_ending or time.monotonic() - self._looked >= LOOK_SECONDS:
                await self._look(living, self.journal.process if is_ending else "")
        return more

    async def _look(self, living: dict[str, list[str]], ending: str) -> None:
        """Say who lives, now and then, and who has died, as soon as all is sent; learn what the engine has to say."""
        self._looked = now = time.monotonic()
        if is_due := now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            await self.port.learn()
            self._compact()
        for name, logs in living.items():
            if name == ending or not self.journal.is_alive(name):
                self._dead.add(name)
            if all(map(self._is_through, logs)) if name in self._dead else is_due:
                await self._say(name, logs, is_dead=name in self._dead)

    def _rewind(self) -> None:
        """Go back to where a collector lacks bytes, as far as the log is still here.

        One that lacks a log from its beginning may have lost its folder: then all logs of the process go out again.
        """
        asked, self.port.asked = self.port.asked, {}
        for name, offset in asked.items():
            process, *part, number, _ = name.split(".")
            log = f"{process}.{number}.log"
            at = 0 if part else offset  # a split begins again with the log
            if not self.files.size(log) or self._next.get(log, 0) <= at:
                continue
            for one in self.journal.all_logs() if not offset else [log]:
                if process_of(one) == process:
                    self._next[one] = at
                    if one in self._parts:
                        self._parts[one] = [(0, 1)] * len(self._parts[one])
            if ENDED + process in self.cursor.learned:
                self.cursor.unlearn([ENDED + process])

    async def _advance(self, logs: list[str]) -> bool:
        """Publish the next bytes of a process: whole lines, or the torn end of a log that nobody writes any more."""
        log = next((log for log in logs if not self._is_through(log)), None)
        if log is None:
            return False
        offset, is_left = self._next.get(log, 0), log != logs[-1] or process_of(log) in self._dead
        data = self.files.read(log, offset, CHUNK_BYTES)
        if b"\n" not in data:
            data = self.files.read(log, offset)  # a longer line, if it is no torn end
        end = data.rfind(b"\n") + 1 or is_left * len(data)
        return await self._send(log, offset, data[:end]) and (is_left or len(data) >= CHUNK_BYTES)

    def _left(self, log: str) -> int:
        return self.files.size(log) - self._next.get(log, 0)

    def _is_through(self, log: str) -> bool:
        return self._left(log) <= 0

    async def _send(self, log: str, offset: int, data: bytes) -> bool:
        """Have bytes kept, and write down that they are, as far as they were not before; whether there were any."""
        end, before = offset + len(data), self.cursor.offsets.get(log, 0)
        if not before and log not in self._parts:
            # A process's logs are split alike: a tree stays in one part. This is kept before anything of the log is:
            # whoever sends it again, after a death, has to split it as it was.
            alike = [len(parts) for one, parts in self._parts.items() if process_of(one) == process_of(log)]
            count = (alike or self.port.counts[-1:])[0]
            self._parts[log] = [(0, 1)] * count if count > 1 else []
            self.cursor.learn({SPLIT + log: encode(self._parts[log]).decode()})
            self.cursor.persist()
        made, parts, learned = [(log, offset, data)], self._parts.get(log), {}
        if parts:
            made, parts = _split(log, data, parts)
            learned[SPLIT + log] = encode(parts).decode()
        for name, start, some in made:
            for at in range(0, len(some), CHUNK_BYTES):
                left = 0 if parts else self.files.size(log) - end
                if not await self._publish(Chunk(name, start + at, some[at : at + CHUNK_BYTES], left=left)):
                    return False
        self._next[log] = end
        if parts:
            self._parts[log] = parts
        if end > before:
            self.cursor.replicate(log, end, *_counted(data[max(0, before - offset) :]), learned)
            self._lines += 1
        return bool(data)

    async def _publish(self, chunk: Chunk) -> bool:
        """Have a chunk kept; whether nothing before it is asked for."""
        process = process_of(chunk.log)
        if not chunk.offset:
            chunk = chunk._replace(before=self._before(chunk.log))
        await self.port.publish(self.port.place_of(process), chunk)
        return process not in map(process_of, self.port.asked)

    def _before(self, log: str) -> tuple[str, int] | None:
        """The log before one of a process, or of a part, and how long it is."""
        name, *_, number, _ = log.split(".")
        logs = [one for one in self.journal.all_logs() if process_of(one) == name]
        earlier = takewhile(lambda one: one != f"{name}.{number}.log", logs)
        found = [
            chunk[:2] for one in earlier for chunk in self._lengths(one) if process_of(chunk.log) == process_of(log)
        ]
        return found[-1] if found else None

    async def _say(self, process: str, logs: list[str], *, is_dead: bool) -> None:
        """Say how long the newest log of a process is, or of each of its parts; once it has died, that of all logs."""
        chunks = [chunk for log in logs for chunk in self._lengths(log)]
        newest = {process_of(chunk.log): chunk for chunk in chunks}
        for chunk in chunks if is_dead else newest.values():
            is_last = newest[process_of(chunk.log)] is chunk
            if not await self._publish(chunk._replace(ended=is_dead and is_last)):
                return
        if is_dead:
            self.cursor.learn({ENDED + process: "1"})
            self._lines += 1

    def _lengths(self, log: str) -> list[Chunk]:
        """How long a log is, or the parts that it was split into, as chunks without bytes."""
        if not self._parts.get(log):
            return [Chunk(log, self._next.get(log, 0), b"", left=self._left(log))]
        parts = self._parts[log]
        return [Chunk(part_name(log, part, len(parts)), size, b"") for part, (size, _) in enumerate(parts) if size]

    def _compact(self) -> None:
        """Rewrite a cursor that has grown; what is known of logs that are gone is forgotten."""
        if self._lines < COMPACT_LINES:
            return
        self._lines, logs = 0, self.journal.all_logs()
        known = {*logs, *map(process_of, logs)}
        self._next = {log: at for log, at in self._next.items() if log in known}
        self._parts = {log: parts for log, parts in self._parts.items() if log in known}
        learned = self.cursor.learned.items()
        self.cursor.learned = {name: text for name, text in learned if name.partition(".")[2] in known}
        with suppress(OSError):  # the file as it is says the same
            self.cursor.advance({log: self.cursor.offsets.get(log, 0) for log in logs})


def part_name(log: str, part: int, count: int) -> str:
    """The log that is a part of `log`, which is split into so many."""
    process, number, _ = log.rsplit(".", 2)
    return f"{process}.{count}-{part}.{number}.log"


def _split(log: str, data: bytes, parts: Parts) -> tuple[list[tuple[str, int, bytes]], Parts]:
    """Whole lines of a log as the next bytes of its parts, each with its name and offset; and the parts after."""
    made: dict[int, bytearray] = {}
    names = [part_name(log, part, len(parts)) for part in range(len(parts))]
    seqs = [seq for _, seq in parts]
    for line in data.splitlines(keepends=True):
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
    """Events that open in these lines, and those that were only counted, never recorded, by the reason."""
    dropped = Counter[str]()
    for line in DROPPED.findall(data) if b'{"r":"drop"' in data else ():
        try:
            events, reason = dropped_by(decode(unframe(line)[1]))
        except ValueError:
            continue
        dropped[reason] += events
    return data.count(OPENED), dropped
