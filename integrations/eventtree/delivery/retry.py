"""Retry policy: what a status means, how long to wait, and when to stop asking a vendor. Pure: no clock, no sleep.

A vendor's requests all pass its one `Circuit`:

    closed ──5 failures in a row──▶ open: one probe per interval, 15-30 s ──any answer──▶ closed

so that an outage of ten minutes costs a vendor fewer than 60 requests, and its end is noticed within 35 s. Intervals
count from a probe's start: one that hangs until its deadline delays the next by nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

FIRST_DELAY = 0.5
LONGEST_BACKOFF = 30.0
LONGEST_DELAY = 300.0
"""A longer `Retry-After` is cut to this."""
OPEN_AFTER = 5
PROBE_POLL = 0.5
"""Interval at which other requests check whether the probe has ended."""
PROBE_LEASE = 60.0
"""A probe without a result for so long counts as lost."""
PARKED_SECONDS = 300.0
_CHANCE = random.SystemRandom()
"""A generator of our own, so that the app's seeded sequence is not used up, and forked processes wait differently."""


class Act(StrEnum):
    """The next step for a request, by its answer."""

    DELIVERED = "delivered"
    RETRY = "retry"
    """The same request later."""
    SPLIT = "split"
    """Too large: halve; a single item is shortened, then a dead letter."""
    BISECT = "bisect"
    """An item is refused: halve until it is found; it becomes a dead letter."""
    PARK = "park"
    """The vendor takes nothing with these settings: keep everything, log it once, try again every five minutes."""


BY_STATUS: Mapping[int, Act] = {
    **dict.fromkeys((408, 425, 429, 499), Act.RETRY),
    413: Act.SPLIT,
    # Errors of key, payment, route, method, proxy, format, protocol or law: no other content would be taken either.
    **dict.fromkeys((401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 421, 426, 431, 451), Act.PARK),
    **dict.fromkeys((501, 505, 511), Act.PARK),
}
BY_CLASS: Mapping[int, Act] = {2: Act.DELIVERED, 3: Act.PARK, 4: Act.BISECT}
"""First digit → act, for a status that `BY_STATUS` does not name. Any other (1xx, 5xx, nonsense) is tried again."""


def act_of(status: int, overrides: Mapping[int, str], *, idempotent: bool = False) -> Act:
    """The step for an answer's status. `overrides` are the vendor's own; with `idempotent` a conflict is a delivery.

    A 409 does not say which item of several it is about: pass `idempotent` for single items only.
    """
    if status in overrides:
        return Act(overrides[status])
    if status == 409 and idempotent:
        return Act.DELIVERED
    return BY_STATUS.get(status) or BY_CLASS.get(status // 100, Act.RETRY)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds the vendor asks to wait, at most 300; None if it asks for none in a valid form. `now` is aware."""
    text = headers.get("retry-after", "").strip()
    if not text or len(text) > 100:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?(e[0-9]{1,2})?", text, re.ASCII | re.IGNORECASE):
        return min(float(text), LONGEST_DELAY)
    try:
        date = parsedate_to_datetime(text)
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(seconds, LONGEST_DELAY) if seconds > 0 else None


class Backoff:
    """Delays that double from 0.5 s to 30 s, with full jitter for the first failures.

    Once the circuit is open (from the fifth failure on) the jitter covers the upper half only, so that there is a
    shortest interval, and processes still wait differently.
    """

    def __init__(self, *, uniform: Callable[[float, float], float] = _CHANCE.uniform) -> None:
        """`uniform` gives random numbers."""
        self._uniform = uniform

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after the `attempt`-th failure in a row (from 1), at least what the vendor asked."""
        ceiling = min(FIRST_DELAY * 2.0 ** min(max(attempt, 1) - 1, 30), LONGEST_BACKOFF)
        backoff = self._uniform(ceiling / 2 if attempt >= OPEN_AFTER else 0.0, ceiling)
        return min(max(backoff, retry_after or 0.0), LONGEST_DELAY)


@dataclass(slots=True)
class Circuit:
    """The circuit breaker of one vendor, shared by all its requests. Times are monotonic seconds given by the caller.

    Every attempt calls `begin(now)` until it returns True, and then one of `failed`, `succeeded` and `released`.
    """

    failures: int = 0
    """In a row, over all requests of the vendor: the attempt number for `Backoff`."""
    not_before: float = float("-inf")
    probe_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether only one request at a time may be sent."""
        return self.failures >= OPEN_AFTER

    def wait(self, now: float) -> float:
        """Seconds before the next attempt may begin; 0 if it may now."""
        if self.probe_since is not None and now - self.probe_since < PROBE_LEASE:
            return PROBE_POLL
        return min(max(self.not_before - now, 0.0), LONGEST_DELAY)

    def begin(self, now: float) -> bool:
        """True if the caller may send now; while the circuit is open it is then the one probe."""
        if self.wait(now) > 0:
            return False
        self.probe_since = now if self.is_open else None
        return True

    def failed(self, now: float, delay: float, retry_after: float | None = None) -> None:
        """No answer, or "later": wait `delay` from the probe's start (or from now), and `retry_after` from now."""
        begun = now if self.probe_since is None else self.probe_since
        self.failures += 1
        self.probe_since = None
        self.not_before = max(self.not_before, begun + delay, now + (retry_after or 0.0))

    def succeeded(self) -> None:
        """Any answer but "later": requests are sent as usual again."""
        self.failures = 0
        self.probe_since = None
        self.not_before = float("-inf")

    def released(self) -> None:
        """The attempt was given up without a result (cancelled): another may be the probe."""
        self.probe_since = None


@dataclass(frozen=True, slots=True)
class Parked:
    """A vendor that takes nothing with its settings: why, and since when (monotonic). A failed probe parks anew."""

    reason: str
    since: float

    def wait(self, now: float) -> float:
        """Seconds until the vendor is asked again."""
        return min(max(self.since + PARKED_SECONDS - now, 0.0), PARKED_SECONDS)
