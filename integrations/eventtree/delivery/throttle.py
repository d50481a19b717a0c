"""Short slices: while the app is recording, the shipper works briefly and rests long, so that callbacks hardly wait.

A callback gives up the interpreter's lock at each `write`; a thread that computes would keep it from coming back for
the switch interval (5 ms). Resting after every slice of half a millisecond bounds that wait to the slice.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SLICE_SECONDS = 0.0005
REST_SECONDS = 0.015
"""Rest after a slice while the app is recording and delivery keeps up: a thirtieth of a core, hundreds of events a
second.
"""
SHORTEST_SECONDS = 0.005
"""The rest of a delivery that falls behind: at most a tenth of a core."""
BEHIND_RECORDS = 2_500
"""With so many records to read, the rest is half as long."""


class Throttle:
    """Called after each small piece of work; sleeps when a slice is over and the app has recorded meanwhile."""

    def __init__(self, recorded: Callable[[], int], behind: Callable[[], int] = lambda: 0) -> None:
        """`recorded` counts the app's records, `behind` those of them that delivery has yet to read."""
        self._recorded = recorded
        self._behind = behind
        self._seen = 0
        self._since = time.perf_counter()

    def __call__(self) -> None:
        """Rest if it is time to."""
        now = time.perf_counter()
        if now - self._since < SLICE_SECONDS:
            return
        count = self._recorded()
        if count != self._seen:
            self._seen = count
            time.sleep(max(SHORTEST_SECONDS, REST_SECONDS / (1 + self._behind() / BEHIND_RECORDS)))
            now = time.perf_counter()
        self._since = now
