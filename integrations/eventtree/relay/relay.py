"""The relay: a thread of the app (`EVENTTREE_RELAY`), or a process beside it (`eventtree relay`).

Of several relays of a folder, only the one with the folder's lock replicates; `replicate.py` sends.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from contextlib import suppress

from eventtree import diagnostics, process
from eventtree.config import BOUNDS, Settings
from eventtree.delivery.thread import STOP_SHARE, WAIT_SHARE, LoopThread
from eventtree.delivery.tidy import keep_tidy
from eventtree.journal.cursor import Cursor
from eventtree.journal.files import Held
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.relayed import CURSOR, REPLICATED
from eventtree.loop import without_loop
from eventtree.pace import Throttle, rest_by
from eventtree.relay.port import AwayError, RefusedError, pause_after, port_at
from eventtree.relay.replicate import ENDED, Replicator

POLL_SECONDS = 0.4
"""The logs are checked this often: no record is older when it is sent, while the engine takes records."""
AWAITED_SECONDS = 0.02
"""They are checked this often if `durable` is "engine": only their logs show that other processes wait."""
LOCK_SECONDS = 1.0
PARKED_SECONDS = 60.0
"""Refused credentials are read and tried again after this time."""
CONFIRM_SECONDS = 1.0
"""The longest wait of a root's close for the acknowledgement of its tree, if `durable` is "engine"."""
OWN_SECONDS, OTHERS_SECONDS = 0.001, 0.02
"""While a caller waits, the progress of this relay, or of another process's, is checked this often."""


class Relay(LoopThread):
    """Replicates one journal. It never raises into the app; failures are tried again, and are in the report."""

    thread_name, part = "eventtree-relay", "relay"
    exit_timeout, bounds, poll_seconds = 2.0, BOUNDS, POLL_SECONDS
    deliver = True
    """Whether this process replicates. Otherwise it was stopped, or only waits for another that does."""

    def __init__(self, journal: Journal, url: str) -> None:
        """Nothing runs before `ensure`."""
        self.journal, self.files, self.url = journal, journal.files, url
        self.after_fork()
        process.before_pools_close(self._before_pools_close)
        process.at_exit("relay", self._at_exit)
        process.after_fork("relay", self.after_fork)

    def after_fork(self) -> None:
        """Begin without a thread, and without the lock: both are the parent's."""
        super().after_fork()
        self.cursor: Cursor | None = None
        """The replicated offsets of all logs, while this relay has the folder's lock."""
        self.is_away = self._is_ending = False
        self._lock: Held | None = None

    def ensure(self) -> None:
        """Start the thread if this process replicates and the thread is not running."""
        if self.deliver:
            super().ensure()

    @without_loop
    def drain(self, seconds: float = CONFIRM_SECONDS, *, is_all: bool = False, is_end: bool = False) -> bool:
        """Wait until what this process has recorded, or the whole folder, is replicated; at its end, that it ends too.

        False after so many seconds, or while the engine is away.
        """
        self.ensure()
        self._is_ending = self._is_ending or is_end
        logs = [log for log in self.journal.all_logs() if is_all or process_of(log) == self.journal.process]
        sizes, deadline = {log: self.files.size(log) for log in logs}, time.monotonic() + seconds
        while True:
            own = self.cursor
            known = own or Cursor(self.files, CURSOR)  # it may be another process that replicates this folder
            is_reported = own is None or not (is_end and logs) or ENDED + self.journal.process in own.learned
            if is_reported and all(known.offsets.get(log, 0) >= size for log, size in sizes.items()):
                return True
            if self.is_away or time.monotonic() >= deadline:
                return False
            self._call(lambda: self._woken.set())
            time.sleep(OTHERS_SECONDS if own is None else OWN_SECONDS)

    def stop(self, timeout: float = 1.0) -> None:
        """End the thread for good. Bytes that are not replicated wait in the journal."""
        self.deliver = False
        super().stop(timeout)

    def _before_pools_close(self) -> None:
        # While names can still be resolved. Later records are replicated at the end, over the same connection.
        if self.deliver:
            self.drain(self.exit_timeout * WAIT_SHARE)

    def _at_exit(self) -> None:
        if self.deliver:
            self.drain(self.exit_timeout * STOP_SHARE, is_end=True)
        self.stop(self.exit_timeout * STOP_SHARE)

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._woken = asyncio.Event()
        rest_by(Throttle(lambda: self.journal.appended).rest)
        tidying = keep_tidy(self.journal, lambda: self.bounds, lambda: [REPLICATED] if self.cursor is not None else [])
        self._tidying = asyncio.create_task(tidying)

    async def _run(self) -> None:
        failures = 0
        while self.deliver:
            wait = LOCK_SECONDS
            try:
                await self._replicate()
            except Exception as error:  # noqa: BLE001  (the relay's boundary: whatever it is, it is tried again)
                failures = failures + 1 if self.is_away else 1
                wait = PARKED_SECONDS if isinstance(error, RefusedError) else pause_after(failures)
                self._miss(error)
            await self._pause(wait)

    async def _replicate(self) -> None:
        """Replicate over one connection until it breaks or the folder is deleted; do nothing if another relay does."""
        if self.cursor is None or self.cursor.is_gone():
            await self._close()
            self._lock = self.files.lock(f"{REPLICATED}.lock")
            if self._lock is None:
                return
            self.cursor = Cursor(self.files, CURSOR)
            self.cursor.take_over()
        async with port_at(self.url).opened() as port:
            self.is_away = False
            self.cursor.park(None)
            replicator = Replicator(self.journal, self.cursor, port)
            # The flag as well: `wait_for` of Python 3.11, which clients use, loses a cancellation that meets an answer.
            while self.deliver and not self.cursor.is_gone():
                if not await replicator.round(is_ending=self._is_ending):
                    await self._pause(self.poll_seconds)

    async def _close(self) -> None:
        self.cursor = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    def _miss(self, error: Exception) -> None:
        """Log once why the relay cannot work."""
        if isinstance(error, RefusedError):
            if self.cursor is not None and self.cursor.parked != str(error):
                diagnostics.logger.warning(
                    "the relay waits: %s. Everything is kept; it is tried again each minute", error
                )
                self.cursor.park(str(error))
        elif not isinstance(error, AwayError):
            diagnostics.failed("relay", error)
        elif not self.is_away:
            diagnostics.logger.warning("the relay gets nothing through to %s: %s. All is kept", self.url, error)
        self.is_away = True


_relays: weakref.WeakKeyDictionary[Journal, Relay] = weakref.WeakKeyDictionary()
"""The relay of each journal in this process."""


def relay_of(journal: Journal, url: str, settings: Settings) -> Relay:
    """The journal's relay in this process; a newer URL replaces an older one at the next connection."""
    relay = _relays.setdefault(journal, Relay(journal, url))
    relay.url, relay.exit_timeout, relay.bounds = url, settings.exit_timeout, settings.bounds
    relay.deliver = settings.deliver
    relay.poll_seconds = AWAITED_SECONDS if settings.durable == "engine" else POLL_SECONDS
    return relay
