"""Whom the trees of a folder are for, where a relay replicates it to a collector.

In an app's folder they are for the collector, whose cursor says how much of each log is replicated; but for trees that
name vendors with their settings, where the folder has a cursor of these: it delivers to them itself.
In the collector's folder they are for the vendors of these names that the collector has settings for, and for all of
them where a tree names none. So the logs stay as the app wrote them, byte for byte, and only their reading differs.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import pydantic_core

from eventtree.journal.cursor import Cursor
from eventtree.journal.files import Files
from eventtree.record import BY_NAME, PART, Refs, encode

COLLECTOR: Refs = [{"name": "collector", "fingerprint": BY_NAME}]
"""The collector, as an app's folder names it beside vendors."""
NAMED = re.compile(rb'"vendors":(\[(?:\{"name":"[^"\\]*","fingerprint":"[^"\\]*"\},?)*\])')
"""The vendors of a record, before whatever the app gave."""
REPLICATED = f"collector.{BY_NAME}"
"""How far an app's folder is replicated: the name of its cursor, its lock and its holder."""
CURSOR = f"{REPLICATED}.cursor"
TAKERS = "collected"
"""File of a collector's folder: the names of its vendors, one a line."""
ENDED, SIZES = ".ended", ".sizes"
"""Behind the name of a process elsewhere: files in which a collector says that it writes no more, with the bytes its
relay had left if it fell silent; and how long its logs were that are removed.
"""
TIME = re.compile(rb'"(?:start|at)":(\d{19})\b')
TIME_BYTES = 64 * 1024
"""A record that says when it was made is found within so many bytes."""


def is_collected(files: Files) -> bool:
    """Whether a collector writes this folder: its logs are of processes elsewhere."""
    return files.size(TAKERS) > 0


def is_relayed(files: Files) -> bool:
    """Whether a relay replicates this folder."""
    return files.size(CURSOR) > 0


def all_vanished(files: Files) -> list[int]:
    """For each process elsewhere that fell silent, the bytes that its relay had left."""
    left = (files.read(name, 0).strip() for name in files.names() if name.endswith(ENDED))
    return [int(size) if len(size) < 20 and size.isdigit() else 0 for size in left if size]  # one may be damaged


def keep_size(files: Files, log: str, size: int) -> None:
    """Keep how long a removed log was that a collector wrote: a chunk of it may come again."""
    if is_collected(files):
        sizes = log.rsplit(".", 2)[0] + SIZES
        files.replace(sizes, files.read(sizes, 0) + b"%b %d\n" % (log.encode(), size))


def removed_size(files: Files, log: str) -> int:
    """How long a log was that a collector wrote and removed; 0 of any other."""
    found = re.search(rb"^%b (\d{1,10})$" % re.escape(log.encode()), files.read(log.rsplit(".", 2)[0] + SIZES, 0), re.M)
    return int(found[1]) if found else 0


def _here(files: Files) -> Callable[[Refs], Refs] | None:
    """Vendors that a tree names → whom it is for in this folder; None in a folder of its own vendors."""
    if is_collected(files):
        everybody = files.read(TAKERS, 0).decode().split()
        return lambda refs: [
            {"name": name, "fingerprint": BY_NAME} for name in [ref["name"] for ref in refs] or everybody
        ]
    if is_relayed(files):
        # Cursors of vendors that are delivered to from here: before it was relayed, or again after.
        own = {name for name in files.names() if name.endswith(".cursor") and BY_NAME not in name}
        return lambda refs: [ref for ref in refs if cursor_of(ref) in own] or COLLECTOR
    return None


def addressing(files: Files) -> Callable[[bytes], bytes] | None:
    """What turns a root's record into one that names whom it is for here; None in a folder of its own vendors."""
    here = _here(files)
    if here is None:
        return None

    def readdressed(found: re.Match[bytes]) -> bytes:
        return b'"vendors":' + encode(here(pydantic_core.from_json(found[1])))

    return lambda payload: NAMED.sub(readdressed, payload, count=1)


def cursor_of(ref: Mapping[str, str]) -> str:
    """Name of the cursor of a vendor that a record names."""
    return f"{ref['name']}.{ref['fingerprint']}.cursor"


def readdress(files: Files, recorded: Counter[str]) -> tuple[Counter[str], bool]:
    """Sums of events by the vendors that trees name, as sums by whom they are for here; and whether those are exact.

    In an app's folder they are not where trees name several vendors: an event stands in each of their sums.
    """
    here = _here(files)
    if here is None:
        return recorded, True
    found, elsewhere = Counter[str](), set[str]()
    for name, events in recorded.items():
        if name == PART and is_collected(files):  # whoever gets the tree counts them as it settles
            continue
        vendor, _, fingerprint = name.rpartition(".")
        refs = here([{"name": vendor, "fingerprint": fingerprint}] if vendor else [])
        found.update({f"{ref['name']}.{ref['fingerprint']}": events for ref in refs} or {"": events})
        elsewhere |= {name} if refs == COLLECTOR and name not in ("", PART) else set()
    return found, len(elsewhere) <= 1


def lag(files: Files, logs: Iterable[str]) -> tuple[int | None, float | None]:
    """Bytes of these logs that are not replicated, and the age in seconds of the oldest; None where no relay is."""
    if not is_relayed(files):
        return None, None
    offsets = Cursor(files, CURSOR).offsets
    left = [(log, offsets.get(log, 0)) for log in logs if files.size(log) > offsets.get(log, 0)]
    first = [int(found[1]) for log, at in left if (found := TIME.search(files.read(log, at, TIME_BYTES)))]
    size = sum(files.size(log) - at for log, at in left)
    return size, round(max(0.0, time.time() - min(first) / 1e9), 3) if first else 0.0 if not left else None
