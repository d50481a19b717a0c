"""The thread that delivers: one per journal and process, one asyncio loop in it, a consumer per vendor.

It starts with the first handler that names a vendor, again after a fork, and again if it has died. At exit it gets
`exit_timeout` seconds; unsent trees stay in the journal for the next start or `eventtree ship`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from eventtree import diagnostics, process
from eventtree.config import BOUNDS, Settings
from eventtree.delivery.consumer import Consumer
from eventtree.delivery.feed import Feed, Feeds, Folder
from eventtree.delivery.http import Http
from eventtree.delivery.report import Report, make_report, unread_report
from eventtree.delivery.thread import STOP_SHARE, WAIT_SHARE, LoopThread
from eventtree.delivery.tidy import keep_tidy
from eventtree.journal.counts import Cursors, Key, count, cursor_keys, key_of
from eventtree.journal.cursor import Cursor
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.totals import recorded_sums
from eventtree.pace import Throttle, paced, rest_by
from eventtree.pricing.pricer import Pricer
from eventtree.record import is_local
from eventtree.serializer.vendor import own_version
from eventtree.vendors import Vendor

T = TypeVar("T")

FLUSH_POLL_SECONDS = 0.01
FLUSH_LONGEST_SECONDS = 0.1

IMPORTED = ("httpx", "h11", "genai_prices.data_snapshot")
"""Modules that delivery imports in its own thread, so that the app does not wait for them."""
FORK_SECONDS = 5.0
"""Longest time that a fork waits for these imports: a half-imported module would stay so in the child."""
_importing = threading.Lock()


def _import_all() -> None:
    with _importing:
        for name in IMPORTED:
            try:
                importlib.import_module(name)
            except ImportError:
                continue  # an error follows where the module is needed


class Shipper(LoopThread):
    """Delivers one journal's trees to the vendors this process has settings for."""

    thread_name = "eventtree-shipper"
    part = "delivery"

    def __init__(self, journal: Journal, *, all_trees: bool = False) -> None:
        """Nothing runs before `serve`. With `all_trees`, also trees that do not name the vendor are sent."""
        self.journal = journal
        self.all_trees = all_trees
        self.vendors: dict[str, Vendor] = {}
        self.deliver = True
        self.exit_timeout = 2.0
        self.bounds = BOUNDS
        self.pricer = Pricer()
        self.after_fork()

    def after_fork(self) -> None:
        """Start without a thread: the parent's does not exist in a child; `ensure` starts one."""
        self.consumers: dict[str, Consumer] = {}
        self._clients: list[Http] = []
        """One client for each consumer: a pool scans all its connections at each request."""
        super().after_fork()

    def serve(self, vendors: Iterable[Vendor], settings: Settings) -> None:
        """Deliver to these vendors too; starts the thread unless delivery is left to another process.

        The last settings count for the journal; of prices, tokenizer and bounds the last that set them. A vendor
        without a `keep` of its own gets that of its settings.

        Raises:
            ConfigError: the settings' price table is wrong.
        """
        if settings.prices is not None or settings.tokenizer is not None:
            self.pricer = Pricer.of(settings.prices, settings.tokenizer)
        if settings.bounds != BOUNDS:
            self.bounds = settings.bounds
            self.journal.bound(self.bounds)
            for client in self._clients:
                client.max_reply_bytes = self.bounds.reply_bytes
        self.deliver = settings.deliver
        self.exit_timeout = settings.exit_timeout
        if settings.keep is not None:
            vendors = [v if v.keep is not None else v.model_copy(update={"keep": settings.keep}) for v in vendors]
        fresh = [v for v in vendors if self.vendors.get(_consumer_name(v, self.journal)) != v]
        self.vendors.update({_consumer_name(v, self.journal): v for v in fresh})
        # A running loop is called for new vendors; a starting one finds them in the table.
        if not self.deliver:
            self._call(self._end)
        elif self._loop is not None and fresh:
            self._call(self._add_consumers)
        self.ensure()

    def ensure(self) -> None:
        """Start the thread if it should run and does not."""
        if self.deliver and self.vendors:
            super().ensure()

    def wake(self) -> None:
        """Let every consumer look for work now."""
        self._call(self._wake_consumers)

    def flush(self, timeout: float | None = None, cancelled: threading.Event | None = None) -> Report:
        """Wait until every finished tree of this process is settled at every vendor, or `timeout` seconds have passed.

        The first call also waits for trees that earlier processes left for its vendors. Returns the report, which
        counts the events that still wait. Does not raise.
        """
        self.wait(float("inf") if timeout is None else time.monotonic() + timeout, cancelled or threading.Event())
        return self.report()

    def wait(self, deadline: float, cancelled: threading.Event) -> None:
        """Wait as `flush` does, until `deadline` (monotonic seconds) or `cancelled`, without making a report."""
        # First the lines that still wait for the disk, which cannot be delivered before; then the thread.
        self.journal.flush_held()
        self.ensure()
        pause = FLUSH_POLL_SECONDS
        while True:
            self.wake()
            if not self._is_something_left(deadline) or time.monotonic() >= deadline or self._stopping:
                return
            if self.deliver and (self._thread is None or not self._thread.is_alive()):
                return  # without a thread nothing would change
            if cancelled.wait(max(0.0, min(pause, deadline - time.monotonic()))):
                return
            pause = min(2 * pause, FLUSH_LONGEST_SECONDS)  # each look counts all trees that wait

    def report(self) -> Report:
        """The present sums."""
        failures = {
            **diagnostics.failures,
            **{f"prices: {name}": count for name, count in self.pricer.failures.items()},
        }
        more = {"unknown_models": dict(self.pricer.unknown), "failures": failures, "cut": dict(diagnostics.truncations)}
        consumers = list(self.consumers.values())
        holders = {one.cursor.name: one.cursor for one in consumers if one.cursor is not None}
        try:
            return make_report(self.journal, more, holders)
        except Exception as error:  # noqa: BLE001  (a report never fails the app that asks for it)
            diagnostics.failed("report", error)
            return unread_report(self.journal, {**more, "failures": dict(diagnostics.failures)})

    def _is_something_left(self, deadline: float) -> bool:
        """True while a vendor of this process still has finished trees to receive, its own or an earlier process's."""
        try:
            # This process's consumers answer cheaply; only for vendors of other processes the logs are counted.
            served = self._ask(self._served, deadline)
            if served is None or any(served.values()):
                return True
            return waits_elsewhere(self.journal, served.keys())
        except Exception as error:  # noqa: BLE001  (a flush never fails the app that waits in it)
            diagnostics.failed("flush", error)
            return deadline < float("inf")

    def _served(self) -> dict[Key, bool]:
        """Vendors that this process ships to, or that are parked → whether trees are left to send (a flush does not
        wait for a parked one). Runs in the loop's thread.
        """
        found: dict[Key, bool] = {}
        is_alone = all(process_of(name) == self.journal.process for name in self.journal.all_logs())
        for consumer in self.consumers.values():
            key = (consumer.vendor.name, consumer.fingerprint)
            if consumer.sender.gate.parked is not None:
                found[key] = False
            elif consumer.feed is not None:
                # Trees of killed processes are waited for too, once.
                found[key] = not consumer.is_through_with(self.journal.process) or not (consumer.caught_up or is_alone)
        return found

    def _ask(self, question: Callable[[], T], deadline: float) -> T | None:
        """The answer of the loop's thread; None if it does not answer in time (it is busy, or starting)."""
        if self._loop is None or self._thread is None or not self._thread.is_alive():
            return None if self.deliver and self.vendors and not self._stopping else question()
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()

        def reply() -> None:
            try:
                answer.set_result(question())
            except Exception as error:  # noqa: BLE001  (the caller gets it)
                answer.set_exception(error)

        self._call(reply)
        try:
            return answer.result(min(1.0, max(FLUSH_POLL_SECONDS, deadline - time.monotonic())))
        except TimeoutError:
            return None

    def _prepare(self) -> None:
        _import_all()
        own_version()  # read from the disk once; every row has it

    def _open(self) -> None:
        self.consumers = {}
        rest = Throttle(lambda: self.journal.appended, lambda: self._feeds.behind).rest
        rest_by(rest)
        folder = Folder(self.journal, lambda: self.pricer, rest)
        self._feeds = Feeds(
            self.journal,
            folder,
            lambda offsets, damage: Feed(self.journal, offsets, damage, lines=folder.lines),
        )
        self._clients = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def _run(self) -> None:
        self._add_consumers()
        if not self._stopping:
            await keep_tidy(self.journal, lambda: self.bounds, self._held)

    async def _close(self) -> None:
        # No request begins any more, and those under way may end: an unread answer would mean sending it again.
        senders, end = [consumer.sender for consumer in self.consumers.values()], time.monotonic() + self._patience
        for sender in senders:
            sender.gate.is_closed = True
        while any(sender.on_the_way for sender in senders) and time.monotonic() < end:
            await asyncio.sleep(FLUSH_POLL_SECONDS)
        # Consumers first: each writes its cursor and releases its lock. The client they use is closed after them.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for consumer in self.consumers.values():
            consumer.release()  # its task may have been cancelled before it began
        for client in self._clients:
            await client.close()

    def _held(self) -> list[str]:
        """Names of the locks that this process holds."""
        return [consumer.name for consumer in self.consumers.values() if consumer.cursor is not None]

    def _wake_consumers(self) -> None:
        for consumer in self.consumers.values():
            consumer.wake()

    def _add_consumers(self) -> None:
        """Make a consumer for each vendor, and for older settings that are parked; new settings replace parked ones."""
        fresh, vendors = [], dict(self.vendors)  # the app's thread may add one at any moment
        for name, vendor in paced(vendors.items(), each=True):
            known = self.consumers.get(name)
            is_outdated = known is not None and known.takes_over is None and known.vendor != vendor
            if known is None or (is_outdated and known.sender.gate.parked is not None):
                fresh.append(self._make_consumer(name, vendor))
            elif is_outdated:
                known.serve(vendor)
        if not self.all_trees:
            for name, vendor in list(reconfigured(self.journal, vendors, self.consumers)):
                fresh.append(self._make_consumer(name, vendor, takes_over=name))
        # All take their locks before the first one reads, so that they begin level and each tree is read once for all.
        for consumer in paced(fresh, each=True):
            try:
                consumer.hold()
            except OSError as error:
                diagnostics.failed(f"delivery to {consumer.vendor.name}", error, then="its events wait in the journal")
        for consumer in fresh:
            self._tasks.add(asyncio.get_running_loop().create_task(consumer.run(), name=consumer.name))

    def _make_consumer(self, name: str, vendor: Vendor, takes_over: str | None = None) -> Consumer:
        for task in self._tasks:
            if task.get_name() == name:
                task.cancel()
        self._clients.append(Http(max_reply_bytes=self.bounds.reply_bytes))
        self.consumers[name] = Consumer(
            self.journal, vendor, self._clients[-1], self._feeds, all_trees=self.all_trees, takes_over=takes_over
        )
        return self.consumers[name]


def reconfigured(
    journal: Journal, vendors: Mapping[str, Vendor], consumers: Mapping[str, Consumer]
) -> Iterator[tuple[str, Vendor]]:
    """`VENDOR.FINGERPRINT` of older settings whose trees newer settings in `vendors` take over, with these.

    A fingerprint identifies settings, a name the vendor. A vendor that answered 401, 403, 404 or 3xx goes on as soon as
    a process has other settings for its name (another key, host or project). Trees recorded under settings that are not
    parked wait for these settings. The same settings have another fingerprint if a process could not read the journal's
    salt; they take over that one too. Trees for a server on this machine (a test's) are never sent elsewhere, nor other
    trees to such a server. Yields nothing if the journal cannot be read.
    """
    newest = {vendor.name: (name, vendor) for name, vendor in vendors.items()}
    try:
        same = {f"{one.name}.{one.fingerprint(salt)}": one for salt in journal.salts for one in vendors.values()}
        names = {f"{name}.{fingerprint}" for name, fingerprint in cursor_keys(journal) if name in newest}
        for name in sorted(names | same.keys()):
            own, vendor = newest[name.rsplit(".", 1)[0]]
            consumer = consumers.get(name)
            cursor = Cursor(journal.files, f"{name}.cursor") if consumer is None else None
            is_parked = cursor.parked if cursor is not None else consumer and consumer.sender.gate.parked
            if name not in vendors and name in same and consumer is None:
                yield name, same[name]
            elif name != own and is_parked is not None and is_local(key_of(name)[1]) is is_local(key_of(own)[1]):
                yield name, vendor
    except OSError:
        return


def waits_elsewhere(journal: Journal, served: Collection[Key]) -> bool:
    """Whether finished trees of this process wait for vendors that another process ships to, all but `served`."""
    cursors, named = (
        Cursors(journal),
        {key_of(name) for name in recorded_sums(journal, journal.process).recorded if name},
    )
    if not named - set(served):
        return False
    offsets, damage = cursors.settled_before(named)
    counts = count(journal, cursors, offsets=offsets, damage=damage, only=journal.process)
    return bool(counts.finished_here - set(served))


def _consumer_name(vendor: Vendor, journal: Journal) -> str:
    return f"{vendor.name}.{vendor.fingerprint(journal.salt)}"


_shippers: weakref.WeakKeyDictionary[Journal, Shipper] = weakref.WeakKeyDictionary()


def shipper_of(journal: Journal) -> Shipper:
    """The journal's shipper in this process."""
    if journal not in _shippers:
        _shippers[journal] = Shipper(journal)
    return _shippers[journal]


def all_shippers() -> list[Shipper]:
    """Every shipper of this process."""
    return list(_shippers.values())


def close(journal: Journal) -> None:
    """Stop delivering a journal, and close it."""
    shipper = _shippers.pop(journal, None)
    if shipper is not None:
        shipper.stop()
    journal.close()


_exit_seconds = 0.0
"""Seconds the interpreter's exit has waited for delivery so far."""


def _flush_at_exit() -> None:
    # Called twice: before the pools close, and at exit for later records of other threads. Both share the seconds.
    global _exit_seconds
    for shipper in all_shippers():
        left = shipper.exit_timeout * WAIT_SHARE - _exit_seconds
        if shipper.deliver and shipper.vendors and left > 0:
            began = time.monotonic()
            shipper.wait(began + left, threading.Event())
            _exit_seconds += time.monotonic() - began


def _at_exit() -> None:
    # Deliver, then end the threads: none of them may run while the interpreter is torn down.
    _flush_at_exit()
    for shipper in all_shippers():
        shipper.stop(shipper.exit_timeout * STOP_SHARE)


_forking: list[bool] = []
"""For each fork in progress, whether it holds `_importing`."""


def _before_fork() -> None:
    # A fork in the middle of an import would leave the child a half-imported module for ever.
    _forking.append(_importing.acquire(timeout=FORK_SECONDS))


def _after_fork_in_parent() -> None:
    if _forking.pop():
        _importing.release()


def _after_fork_in_child() -> None:
    # New locks first: the thread that held the old ones does not exist in the child.
    global _importing
    _importing = threading.Lock()
    _forking.clear()
    for shipper in all_shippers():
        shipper.after_fork()


process.at_exit("delivery", _at_exit)
# Most is sent here, while host names can be resolved; later records of other threads are sent at exit.
process.before_pools_close(_flush_at_exit)
process.around_fork(_before_fork, _after_fork_in_parent)
process.after_fork("delivery", _after_fork_in_child)
