"""A thread with an event loop: started when needed, again after a fork, and again if it has died."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, ParamSpec, TypeVar

from eventtree import diagnostics

P = ParamSpec("P")
T = TypeVar("T")

WAIT_SHARE, STOP_SHARE = 0.85, 0.1
"""Shares of `exit_timeout`: for delivery, and for ending the thread. The interpreter needs the rest."""


class Workers(concurrent.futures.ThreadPoolExecutor):
    """A new daemon thread for each piece of work (resolving a name, removing logs), which no exit waits for.

    The interpreter's exit joins an ordinary pool's threads, however long a name server is silent.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> concurrent.futures.Future[T]:
        """Begin at once."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def work() -> None:
            diagnostics.mark_delivery_thread()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001  (whoever waits for the future gets it)
                    future.set_exception(error)

        threading.Thread(target=work, name="eventtree-worker", daemon=True).start()
        return future


class LoopThread(ABC):
    """Runs `_run` in a thread's event loop until it is stopped. None of its methods raises into the app."""

    thread_name: ClassVar[str]
    part: ClassVar[str]
    """The name under which its failures are counted."""

    def after_fork(self) -> None:
        """Start without a thread: in a forked child the parent's does not exist."""
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None
        self._guard = threading.Lock()
        self._stopping, self._patience = False, 0.0

    def ensure(self) -> None:
        """Start the thread if it does not run; costs next to nothing when it does. Never raises or waits."""
        if self._thread is not None or self._stopping:  # no call to it: each root begins here, with cold caches
            return
        if sys.is_finalizing():
            return  # a destructor records: a thread that starts now never runs, and its start is waited for
        if not self._guard.acquire(blocking=False):
            return  # it is being started: by another thread, or by the call that a signal handler has interrupted
        try:
            if self._thread is None:
                self._loop = None
                self._thread = threading.Thread(target=self._main, name=self.thread_name, daemon=True)
                self._thread.start()
        except RuntimeError as error:
            # The system has no thread left: records stay in the journal, and the next root tries again.
            self._thread = None
            diagnostics.failed(self.part, error)
        finally:
            self._guard.release()

    def stop(self, timeout: float = 1.0) -> None:
        """End the thread. Work that takes longer than most of `timeout` is cut off, and done at the next start."""
        self._patience = timeout * WAIT_SHARE
        # The flag first: a loop that is just starting checks it, a running one is ended by the call.
        self._stopping = True
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._call(self._end)
            thread.join(timeout)
        self._stopping = False

    def _prepare(self) -> None:  # noqa: B027  (most have nothing to prepare)
        """Do slow work in the thread before the loop starts."""

    @abstractmethod
    def _open(self) -> None:
        """Create the objects that calls from other threads use; runs in the loop before any call."""

    @abstractmethod
    async def _run(self) -> None:
        """Work until cancelled; return at once if `_stopping` was set before the loop started."""

    @abstractmethod
    async def _close(self) -> None:
        """Clean up."""

    def _call(self, what: Callable[[], object]) -> None:
        """Call a function in the loop's thread, if there is a loop."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(what)
            except RuntimeError:
                return

    def _main(self) -> None:
        diagnostics.mark_delivery_thread()
        try:
            self._prepare()
            # Without asyncio's debug mode (`-X dev`), which would log our slices into the app's logs.
            asyncio.run(self._serve(), debug=False)
        except Exception as error:  # noqa: BLE001  (the thread's own boundary; `ensure` starts it anew)
            diagnostics.failed(self.part, error)
        finally:
            self._thread = None

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(Workers())
        self._open()
        self._serving = asyncio.current_task()
        self._loop = loop
        try:
            await self._run()
        except asyncio.CancelledError:
            pass
        finally:
            self._serving = None  # no `_end` from here on
            await self._close()

    def _end(self) -> None:
        """Cancel the work, once only: a second cancellation would interrupt the clean-up after the first."""
        task, self._serving = self._serving, None
        if task is not None:
            task.cancel()
