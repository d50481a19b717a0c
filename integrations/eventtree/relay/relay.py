"""The relay: reads a folder's logs from where it got to, cuts them into chunks, has them kept elsewhere.

It is a thread of the app (`EVENTTREE_RELAY`), or a process beside it (`eventtree relay`); of several, the one that has
the folder's lock. How far each log is replicated stands in a cursor, like that of a vendor called `collector`: so
reports, `flush` and the removal of old logs go by it, whoever asks.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
import weakref
from itertools import groupby
from typing import Any

from eventtree import diagnostics, process
from eventtree.config import BOUNDS, Bounds
from eventtree.delivery.shipper import STOP_SHARE, WAIT_SHARE, Workers
from eventtree.journal.cursor import Cursor
from eventtree.journal.files import Held
from eventtree.journal.holder import BEAT_SECONDS, beat
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import unframe
from eventtree.journal.relayed import CURSOR, REPLICATED
from eventtree.journal.retention import remove_settled
from eventtree.loop import unseen
from eventtree.record import decode, dropped_by
from eventtree.relay.ends import ENDED, Writers
from eventtree.relay.port import CHUNK_BYTES, AwayError, Chunk, Mark, Port, RefusedError
from eventtree.relay.settings import Target
from eventtree.relay.split import STATE, parts_of, source_of, split

POLL_SECONDS = 0.2
"""The logs are looked at this often: no record is older when it is sent, if the engine takes it."""
LOCK_SECONDS = 1.0
AGAIN_SECONDS, LONGEST_SECONDS = 0.2, 5.0
"""Pauses before an engine that is away is tried again, at first and at most."""
PARKED_SECONDS = 60.0
"""Credentials that were refused are read, and tried, again after so long."""
CONFIRM_SECONDS = 1.0
"""The close of a root waits so long at most for the acknowledgement of its tree, where `durable` is "engine"."""
OTHERS_SECONDS = 0.02
"""How far another process has replicated is looked up this often while somebody waits for it."""
TIDY_SECONDS = 60.0

OPENED = b' {"r":"open","id":"'
DROPPED = re.compile(rb'^[0-9a-f]{8} \d+ \{"r":"drop".*$', re.M)
"""Within a record a quote is escaped, so that neither can stand in one."""


class Relay:
    """Replicates one journal. Never raises into the app; what goes wrong is tried again, and in the report."""

    def __init__(self, journal: Journal, target: Target, *, exit_timeout: float = 2.0, bounds: Bounds = BOUNDS) -> None:
        """Nothing runs before `ensure`, or `run`."""
        self.journal = journal
        self.files = journal.files
        self.target = target
        self.exit_timeout = exit_timeout
        self.bounds = bounds
        self.after_fork()

    def after_fork(self) -> None:
        """Begin without a thread: in a child the parent's does not exist, and the lock is the parent's."""
        self.cursor: Cursor | None = None
        """How far all is replicated, while this relay has the folder's lock."""
        self._lock: Held | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._guard = threading.Lock()
        self._replicated = threading.Condition()
        self._is_stopping = self._is_away = self.is_ending = False
        self._next: dict[str, int] = {}
        """Log → offset to read on from: lower than the cursor's where a collector has asked for bytes again."""
        self._tidied = time.monotonic()

    def ensure(self) -> None:
        """Start the thread if it does not run. Never raises or waits."""
        thread = self._thread
        if (thread is not None and thread.is_alive()) or self._is_stopping or not self._guard.acquire(blocking=False):
            return
        try:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._main, name="eventtree-relay", daemon=True)
                self._thread.start()
        except RuntimeError as error:  # the system has no thread left; the next root tries again
            diagnostics.failed("relay", error)
        finally:
            self._guard.release()

    def wake(self) -> None:
        """Look at the logs now."""
        loop, woken = self._loop, self._woken
        if loop is not None and woken is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:
                return

    @unseen
    def confirm(self, seconds: float = CONFIRM_SECONDS) -> bool:
        """Wait until all that this process has recorded is replicated; False after so long, or while it cannot be."""
        log, deadline = self.journal.log, time.monotonic() + seconds
        size = self.files.size(log)
        self.ensure()
        while not self._has(log, size):
            self.wake()
            left = deadline - time.monotonic()
            if left <= 0 or self._is_away:
                return False
            with self._replicated:
                self._replicated.wait(min(left, OTHERS_SECONDS))
        return True

    def _has(self, log: str, size: int) -> bool:
        """Whether so much of a log is replicated, by this relay or another process's."""
        cursor = self.cursor if self.cursor is not None else Cursor(self.files, CURSOR)
        return cursor.offsets.get(log, 0) >= size

    # -- the thread --------------------------------------------------------------------------------------------------

    def _main(self) -> None:
        diagnostics.mark_delivery_thread()
        try:
            asyncio.run(self.run(), debug=False)
        except Exception as error:  # noqa: BLE001  (the thread's own boundary; `ensure` starts it anew)
            diagnostics.failed("relay", error)

    def stop(self, timeout: float = 1.0) -> None:
        """End the thread; what is not replicated waits in the journal."""
        self._is_stopping = True
        self.wake()
        if self._thread is not None:
            self._thread.join(timeout)

    async def run(self) -> None:
        """Replicate until stopped."""
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(Workers())
        pause = AGAIN_SECONDS
        try:
            while not self._is_stopping:
                try:
                    if not self._hold():
                        await self._pause(LOCK_SECONDS)
                        continue
                    await self._connected()
                    pause = AGAIN_SECONDS
                except RefusedError as error:
                    self._park(str(error))
                    await self._pause(PARKED_SECONDS)
                except Exception as error:  # noqa: BLE001  (the relay's boundary: whatever it is, it is tried again)
                    self._miss(error)
                    await self._pause(pause * random.uniform(0.5, 1.0))
                    pause = min(2 * pause, LONGEST_SECONDS)
        finally:
            self._release()

    async def _connected(self) -> None:
        """Replicate over one connection until it breaks."""
        port = self.target.connection()
        try:
            await port.open()
            self._park(None)
            self._is_away = False
            while not self._is_stopping:
                if not await self._round(port):
                    await self._pause(POLL_SECONDS)
                await self._tidy()
        finally:
            await port.close()

    async def _pause(self, seconds: float) -> None:
        assert self._woken is not None
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    def _hold(self) -> bool:
        """Take the folder's lock if it is free: two relays would count everything twice."""
        if self.cursor is not None and self.cursor.is_gone():
            self._release()  # somebody has deleted the folder
        if self._lock is None:
            self._lock = self.files.lock(f"{REPLICATED}.lock")
            if self._lock is None:
                return False
            cursor = Cursor(self.files, CURSOR)
            cursor.take_over()
            self._next = dict(cursor.offsets)
            self._writers = Writers(self.journal, cursor.learned)
            self._beaten = float("-inf")
            self.cursor = cursor
        return True

    def _release(self) -> None:
        self.cursor = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _miss(self, error: Exception) -> None:
        if not isinstance(error, AwayError):
            diagnostics.failed("relay", error)
        elif not self._is_away:
            diagnostics.logger.warning("the relay gets nothing through to %s: %s. All is kept", self.target.url, error)
        self._is_away = True

    def _park(self, why: str | None) -> None:
        assert self.cursor is not None
        self._is_away = why is not None
        if why is not None and self.cursor.parked != why:
            diagnostics.logger.warning("the relay waits: %s. Everything is kept; it is tried again each minute", why)
        self.cursor.park(why)

    # -- replicating -------------------------------------------------------------------------------------------------

    async def _round(self, port: Port) -> bool:
        """Publish the next chunk of each process's logs, and who has died; whether there is more to send at once."""
        assert self.cursor is not None
        self._rewind(await port.asked())
        pieces = [
            piece
            for name, logs in groupby(self.journal.all_logs(), process_of)
            if (piece := self._piece(name, list(logs), whole_lines=port.partitions > 1)) is not None
        ]
        done = await asyncio.gather(*(self._send(port, *piece[:3]) for piece in pieces), return_exceptions=True)
        if self.is_ending:
            self._writers.dead.add(self.journal.process)
        marks = self._writers.marks(self._next, self._is_through, at_once=self.is_ending)
        try:
            for mark in marks:
                await self._say(port, mark)
        finally:
            if pieces or marks:
                self._write_down()
        for error in done:
            if isinstance(error, BaseException):
                raise error
        return any(is_more for *_, is_more in pieces)

    def _rewind(self, asked: Any) -> None:
        """Go back to where a collector lacks bytes, as far as the log is still here."""
        assert self.cursor is not None
        known = set(self.journal.all_logs()) if asked else ()
        for name, offset in asked.items():
            log = name if name in known else source_of(name) if name.count(".") > 2 else name
            if log not in known:
                continue
            if log != name:  # a split begins again with the log
                for part in parts_of(log, self.cursor.learned):
                    self.cursor.learned.pop(STATE + part)
                offset = 0
            self._next[log] = min(offset, self._next.get(log, 0))
            self.cursor.learned.pop(ENDED + process_of(log), None)

    def _piece(self, name: str, logs: list[str], *, whole_lines: bool) -> tuple[str, int, bytes, bool] | None:
        """The next bytes of a process's logs: whole lines, but for a line longer than a chunk, and a torn end.

        Log, offset, bytes, and whether more of the process waits already.
        """
        for log in logs:
            offset = self._next.get(log, 0)
            if self._is_through(log):
                continue
            is_left = log != logs[-1] or name in self._writers.dead
            limit = CHUNK_BYTES
            data = self.files.read(log, offset, limit)
            while whole_lines and b"\n" not in data and len(data) == limit:
                limit *= 4
                data = self.files.read(log, offset, limit)
            end = data.rfind(b"\n") + 1
            if not end and (is_left or len(data) == limit):
                end = len(data)
            return (log, offset, data[:end], is_left or len(data) == limit) if end else None
        return None

    def _is_through(self, log: str) -> bool:
        return self.files.size(log) <= self._next.get(log, 0)

    async def _send(self, port: Port, log: str, offset: int, data: bytes) -> None:
        """Have the bytes kept, and count them; a collector that answers may know more of the log, or less."""
        assert self.cursor is not None
        if port.partitions == 1:
            size = await port.publish(0, Chunk(log, offset, data).pack())
            if size is not None and size != offset + len(data):
                self._next[log] = min(size, self.files.size(log))
                if size < offset + len(data):
                    return
        else:
            chunks, kept = split(log, data, self.cursor.learned, port.partitions)
            for partition, chunk in chunks:
                await port.publish(partition, chunk.pack())
            self.cursor.learned.update(kept)
        end = offset + len(data)
        self._next[log] = max(end, self._next.get(log, 0))
        before = self.cursor.offsets.get(log, 0)
        if end > before:
            self._count(data[max(0, before - offset) :])
            self.cursor.offsets[log] = end
            with self._replicated:
                self._replicated.notify_all()

    def _count(self, data: bytes) -> None:
        """As delivered to the vendor `collector`; what was only counted, never recorded, counts as dropped."""
        assert self.cursor is not None
        opened = data.count(OPENED)
        self.cursor.accepted += opened
        self.cursor.delivered += opened
        for line in DROPPED.findall(data) if b'{"r":"drop"' in data else ():
            try:
                events, reason = dropped_by(decode(unframe(line)[1]))
            except ValueError:
                continue
            self.cursor.accepted += events
            self.cursor.dropped[reason] += events

    async def _say(self, port: Port, mark: Mark) -> None:
        assert self.cursor is not None
        if port.partitions == 1:
            if await port.publish(0, mark.pack()) == -1:
                return  # the collector lacks some of its logs, and has asked for them
        else:
            parts = {part: size for log in mark.sizes for part, size in parts_of(log, self.cursor.learned).items()}
            for part in sorted({process_of(part) for part in parts}):
                sizes = {log: size for log, size in parts.items() if process_of(log) == part}
                await port.publish(int(part.rpartition(".")[2]), mark._replace(process=part, sizes=sizes).pack())
        if mark.ended:
            self.cursor.learned[ENDED + mark.process] = "1"

    def _write_down(self) -> None:
        """Keep how far all is; what is known of logs that are gone is forgotten."""
        assert self.cursor is not None
        logs = self.journal.all_logs()
        names, processes = set(logs), set(map(process_of, logs))
        gone = [
            key
            for key in self.cursor.learned
            if (key.startswith(ENDED) and key.removeprefix(ENDED) not in processes)
            or (key.startswith(STATE) and source_of(key.removeprefix(STATE)) not in names)
        ]
        for key in gone:
            del self.cursor.learned[key]
        self._next = {log: offset for log, offset in self._next.items() if log in names}
        try:
            self.cursor.advance({log: self.cursor.offsets.get(log, 0) for log in logs})
        except OSError:
            return  # sent again after a crash, and known there

    async def _tidy(self) -> None:
        """Show that this process moves; now and then remove what is replicated, and old or too much."""
        now = time.monotonic()
        if now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            beat(self.files, REPLICATED)
        if now - self._tidied >= TIDY_SECONDS:
            self._tidied = now
            seconds = self.bounds.kept_days * 86_400
            await asyncio.to_thread(
                remove_settled, self.journal, kept_bytes=self.bounds.kept_bytes, kept_seconds=seconds
            )
            self.journal.look_for_room()

    def drain(self, deadline: float, *, only: str | None = None, is_end: bool = False) -> None:
        """Wait until all that is in the folder, or that process's, is replicated; at this one's end, that it ends too.

        Returns at the deadline, or while the engine is away.
        """
        self.is_ending = self.is_ending or is_end
        while time.monotonic() < deadline and not self._is_away:
            logs = [log for log in self.journal.all_logs() if only in (None, process_of(log))]
            # Without a cursor it is another process that replicates this folder.
            is_told = (
                not (is_end and logs) or self.cursor is None or ENDED + self.journal.process in self.cursor.learned
            )
            if is_told and all(self._has(log, self.files.size(log)) for log in logs):
                return
            self.wake()
            time.sleep(OTHERS_SECONDS)


_relays: weakref.WeakKeyDictionary[Journal, Relay] = weakref.WeakKeyDictionary()
"""The relay of each journal in this process."""


def relay_of(journal: Journal, target: Target, *, exit_timeout: float, bounds: Bounds) -> Relay:
    """The journal's relay in this process; a newer target replaces an older one at the next connection."""
    relay = _relays.get(journal)
    if relay is None:
        relay = _relays[journal] = Relay(journal, target, exit_timeout=exit_timeout, bounds=bounds)
    relay.target, relay.exit_timeout, relay.bounds = target, exit_timeout, bounds
    return relay


def _drain_all() -> None:
    # While names can still be resolved; what is recorded after is replicated at the end, if the connection stands.
    for relay in list(_relays.values()):
        relay.ensure()
        relay.drain(time.monotonic() + relay.exit_timeout * WAIT_SHARE, only=relay.journal.process)


def _at_exit() -> None:
    for relay in list(_relays.values()):
        deadline = time.monotonic() + relay.exit_timeout * STOP_SHARE
        relay.drain(deadline, only=relay.journal.process, is_end=True)
        relay.stop(relay.exit_timeout * STOP_SHARE)


def _after_fork_in_child() -> None:
    for relay in list(_relays.values()):
        relay.after_fork()


process.before_pools_close(_drain_all)
process.at_exit("relay", _at_exit)
process.after_fork("relay", _after_fork_in_child)
