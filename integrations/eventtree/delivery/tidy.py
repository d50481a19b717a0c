"""The delivery thread's other work: heartbeats of its process, and the removal of settled logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from eventtree import diagnostics
from eventtree.config import Bounds
from eventtree.journal.files import MemoryFiles
from eventtree.journal.holder import BEAT_SECONDS, beat
from eventtree.journal.journal import Journal
from eventtree.journal.retention import remove_settled
from eventtree.pace import Throttle

TIDY_SECONDS = 60.0
FIRST_TIDY_SECONDS = 0.5
MEMORY_TIDY_SECONDS = 2.0
"""Intervals between removals of settled logs."""


async def keep_tidy(journal: Journal, bounds: Callable[[], Bounds], held: Callable[[], Iterable[str]]) -> None:
    """Write the heartbeat of each `held` lock, and remove settled logs now and then: first soon after the start, since
    many processes live for seconds only. It does not depend on the vendors: waiting for one is not being stopped.
    """
    in_memory = isinstance(journal.files, MemoryFiles)
    swept = asyncio.get_running_loop().time() - TIDY_SECONDS
    pause = FIRST_TIDY_SECONDS
    while True:
        for name in held():
            try:
                beat(journal.files, name)
            except OSError as error:
                diagnostics.failed("delivery", error)
        await asyncio.sleep(pause)
        pause = MEMORY_TIDY_SECONDS if in_memory else BEAT_SECONDS
        now = asyncio.get_running_loop().time()
        if in_memory or now - swept >= TIDY_SECONDS:
            swept = now
            await _sweep(journal, bounds(), in_memory=in_memory)


async def _sweep(journal: Journal, bounds: Bounds, *, in_memory: bool) -> None:
    """Remove settled logs that are too old or too large; then check for room for new trees. Never raises."""
    throttle = Throttle(lambda: journal.appended).rest
    try:
        # If the disk is full, all settled logs are removed, whatever `kept_bytes` allows.
        kept = bounds.memory_bytes // 8 if in_memory else bounds.kept_bytes
        room, seconds = 0 if journal.held else kept, bounds.kept_days * 86_400
        await asyncio.to_thread(remove_settled, journal, kept_bytes=room, kept_seconds=seconds, on_line=throttle)
        # Only then: the removal may have made room for new trees.
        journal.look_for_room()
    except Exception as error:  # noqa: BLE001  (the disk refuses, or the system has no thread: delivery goes on)
        diagnostics.failed("sweeping the journal", error)
