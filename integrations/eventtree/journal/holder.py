"""Which process ships to a vendor, and whether it still moves: written beside the vendor's lock every few seconds.

A process that is stopped (SIGSTOP, a debugger, a frozen container) keeps its locks, and nobody may take them from it:
it would go on where it stopped. So it is named instead.
"""

from __future__ import annotations

import os
import time

import pydantic_core

from eventtree.journal.files import Files
from eventtree.journal.line import frame, unframe

BEAT_SECONDS = 3.0
STALLED_SECONDS = 10.0
"""A holder that has written nothing for so long is taken for stopped."""


def beat(files: Files, name: str) -> None:
    """Say that this process holds the lock of `name` (`VENDOR.FINGERPRINT`) and moves."""
    line = frame(0, pydantic_core.to_json({"pid": os.getpid(), "at": int(time.time())}))
    file = f"{name}.holder"
    if files.size(file) == len(line):
        files.overwrite(file, 0, line)  # in place: a folder that does not change need not be listed again
    else:
        files.replace(file, line)


def stalled_holder(files: Files, name: str) -> int | None:
    """The process that holds the lock of `name` and has not moved for a while; None if there is no such."""
    try:
        holder = pydantic_core.from_json(unframe(files.read(f"{name}.holder", 0).rstrip(b"\n"))[1])
        pid, at = int(holder["pid"]), int(holder["at"])
    except (ValueError, LookupError, TypeError):
        return None
    if pid == os.getpid() or time.time() - at < STALLED_SECONDS:
        return None
    lock = files.lock(f"{name}.lock")
    if lock is not None:
        lock.release()  # it has died
        return None
    return pid
