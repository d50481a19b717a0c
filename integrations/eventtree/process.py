"""Flush, exit and fork of the process, in one place. Each part of the package registers its own steps here.

Their order is that of `EXIT_ORDER` and `FORK_ORDER`, whatever was imported first.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from importlib import import_module
from types import MethodType
from typing import Literal

from eventtree import diagnostics

Part = Literal["handlers", "delivery", "journal", "relay", "index"]
Act = Callable[[], object]

EXIT_ORDER: tuple[Part, ...] = (
    "handlers",  # Runs whose end was never reported are closed, so that the next two still record and send them.
    "delivery",  # The journal is sent, for `exit_timeout` at most. Then the delivery thread ends.
    "journal",  # Nothing more is recorded: lines that the disk refused are tried again, the log gets its last line.
    "relay",  # The log is complete: the collector gets the rest of it and its end.
    "index",  # It only reads the journal.
)
FORK_ORDER: tuple[Part, ...] = (
    "journal",  # A forked child writes a log of its own.
    "delivery",  # Its shipper counts and delivers that log,
    "relay",  # or its relay replicates it.
    "handlers",  # Locks that a thread of the parent may have held are replaced. Only then can anything be recorded.
    "index",  # SQLite's connections belong to the parent.
)


class Hooks:
    """Functions to call, in the order they were added. A method is referenced weakly: it goes with its object."""

    def __init__(self) -> None:
        """Start empty."""
        self._refs: list[Callable[[], Act | None]] = []

    def add(self, act: Act) -> None:
        """Add a function."""
        self._refs = [ref for ref in self._refs if ref() is not None]
        self._refs.append(weakref.WeakMethod(act) if isinstance(act, MethodType) else lambda: act)

    def __call__(self) -> None:
        """Call them all. One that raises is counted, and does not keep the others from running."""
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
"""Register a function that closes runs which ended without a callback (a stream read to its end)."""
settle = _flush
"""Close such runs now: before a flush, and wherever the state of the process matters."""
before_pools_close = _pools.add
"""Register a function to call before the interpreter closes its thread pools: they resolve host names."""


def at_exit(part: Part, act: Act) -> None:
    """Register a part's function for the interpreter's exit."""
    _exit[part].add(act)


def after_fork(part: Part, act: Act) -> None:
    """Register a part's function for a forked child."""
    _child[part].add(act)


def around_fork(before: Act, in_parent: Act) -> None:
    """Register functions to call before a fork, and in the parent after it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=in_parent)


def _exit_all() -> None:
    for part in EXIT_ORDER:
        _exit[part]()


def _start_child() -> None:
    for part in FORK_ORDER:
        _child[part]()


# The interpreter closes its thread pools before `atexit` runs: delivery does most of its last work before that.
atexit.register(_exit_all)
try:
    import_module("concurrent.futures.thread")  # its exit hook before ours: hooks run in reverse
    getattr(threading, "_register_atexit", atexit.register)(_pools)
except RuntimeError:
    pass  # first imported by a thread of a pool that is being closed: `atexit` has yet to run
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_child)
