"""The heartbeat of the process that ships to a vendor, written beside the vendor's lock every few seconds.

A stopped process (SIGSTOP, a debugger, a frozen container) keeps its locks, and nobody may take them: it might go on at
any moment. So the report names it.
"""

from __future__ import annotations

import os
import time

import pydantic_core

from eventtree.journal.files import Files
from eventtree.journal.line import frame, unframe

BEAT_SECONDS = 3.0
STALLED_SECONDS = 10.0
"""A holder without a heartbeat for so long counts as stopped."""


def beat(files: Files, name: str) -> None:
    """Write the heartbeat of this process, which holds the lock of `name` (`VENDOR.FINGERPRINT`)."""
    line = frame(0, pydantic_core.to_json({"pid": os.getpid(), "at": int(time.time())}))
    file = f"{name}.holder"
    if files.size(file) == len(line):
        files.overwrite(
            file, 0, line
        )  # in place, so that the folder's time does not change and it need not be listed again
    else:
        files.replace(file, line)


def stalled_holder(files: Files, name: str) -> int | None:
    """The id of the process that holds the lock of `name` but is stopped; None if there is none."""
    try:
        holder = pydantic_core.from_json(unframe(files.read(f"{name}.holder", 0).rstrip(b"\n"))[1])
        pid, at = int(holder["pid"]), int(holder["at"])
    except (ValueError, LookupError, TypeError):
        return None
    if pid == os.getpid() or time.time() - at < STALLED_SECONDS:
        return None
    lock = files.lock(f"{name}.lock")
    if lock is not None:
        lock.release()  # it has ended
        return None
    return pid
