"""What happens to a process, in one place: a flush, its end, a fork. Each part of the package registers its own steps.

The order does not depend on who was imported first; it stands in `EXIT_ORDER` and `FORK_ORDER`.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  (its exit hook must be registered before ours: hooks run in reverse)
import os
import threading
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Literal

from eventtree import diagnostics

Part = Literal["handlers", "delivery", "journal", "relay", "index"]
Act = Callable[[], object]

EXIT_ORDER: tuple[Part, ...] = (
    "handlers",  # close the runs whose end nobody announced: they are still recorded,
    "delivery",  # and still sent, as far as `exit_timeout` allows; then its thread ends.
    "journal",  # We record nothing more: what the disk refused is tried once more, and the log gets its last line.
    "relay",  # The log is whole: what a collector lacks of it is sent, and that nothing more will come.
    "index",  # What only looks at the journal comes last.
)
FORK_ORDER: tuple[Part, ...] = (
    "journal",  # A forked child writes a log of its own,
    "delivery",  # which is what its shipper counts and delivers,
    "relay",  # or its relay replicates.
    "handlers",  # Locks that a thread of the parent may have held are made anew; no record is written before that.
    "index",  # SQLite's connections are the parent's.
)


class Hooks:
    """Functions to call, in the order they were added. A method is kept only as long as its object is."""

    def __init__(self) -> None:
        """Hold none."""
        self._refs: list[Callable[[], Act | None]] = []

    def add(self, act: Act) -> None:
        """Call this too, from now on."""
        self._refs = [ref for ref in self._refs if ref() is not None]
        self._refs.append(weakref.WeakMethod(act) if isinstance(act, MethodType) else lambda: act)

    def __call__(self) -> None:
        """Call them all. A function that raises is counted, and the others still have their turn."""
        for ref in list(self._refs):
            act = ref()
            if act is not None:
                try:
                    act()
                except Exception as error:  # noqa: BLE001  (the interpreter would print it into the app's output)
                    diagnostics.failed("process", error)


_flush = Hooks()
_pools = Hooks()
_exit: dict[Part, Hooks] = {part: Hooks() for part in EXIT_ORDER}
_child: dict[Part, Hooks] = {part: Hooks() for part in FORK_ORDER}

before_flush = _flush.add
"""Register what closes runs that ended without a callback (a stream that was read): it is called by `settle`."""
settle = _flush
"""Close such runs now: before a flush, and wherever the state of the process matters."""
before_pools_close = _pools.add
"""Register what is done before the interpreter closes its thread pools: host names cannot be resolved after that."""


def at_exit(part: Part, act: Act) -> None:
    """Register what a part does when the interpreter exits."""
    _exit[part].add(act)


def after_fork(part: Part, act: Act) -> None:
    """Register what a part does in a forked child."""
    _child[part].add(act)


def around_fork(before: Act, in_parent: Act) -> None:
    """Register what is done before a fork, and in the parent after it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=in_parent)


def _exit_all() -> None:
    # In this order, as EXIT_ORDER explains: the last events are recorded, then sent, then the log is ended.
    for part in EXIT_ORDER:
        _exit[part]()


def _start_child() -> None:
    for part in FORK_ORDER:
        _child[part]()


# Pools close before `atexit` runs, and no host name is resolved after that: delivery has its main turn there.
atexit.register(_exit_all)
getattr(threading, "_register_atexit", atexit.register)(_pools)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_child)
