"""Whether a request may be sent to a vendor now: its circuit, its backoff, and whether it is parked.

All requests to the vendor pass one gate. While the circuit is open they pass one at a time, with growing pauses; while
the vendor is parked, one every five minutes tries whether it takes anything again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from eventtree.delivery.dead_letters import WORDS
from eventtree.delivery.retry import Backoff, Circuit, Parked, retry_after
from eventtree.diagnostics import Warnings

SHORTEST_WAIT = 0.01


class Gate:
    """The health of one vendor; requests wait here."""

    def __init__(
        self, warn_once: Warnings, on_park: Callable[[str | None], None], backoff: Backoff | None,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        """`on_park` is called with the reason why the vendor is parked, and with None once it is not."""
        self.parked: Parked | None = None
        self.is_closed = False
        """Whether delivery ends, and no more requests may begin."""
        self.trouble: str | None = None
        """Why the last request has to be tried again."""
        self._warn_once = warn_once
        self._on_park = on_park
        self._backoff = backoff or Backoff()
        self._circuit = Circuit()
        self._clock = clock

    async def passed(self) -> None:
        """Wait until a request may be sent; the caller then calls `failed`, `park`, `succeeded` or `released`."""
        while True:
            now = self._clock()
            wait = self.parked.wait(now) if self.parked is not None else 0.0
            if wait <= 0 and not self.is_closed and self._circuit.begin(now):
                return
            await asyncio.sleep(max(wait, self._circuit.wait(now), SHORTEST_WAIT))

    async def pause(self, attempt: int) -> None:
        """Wait before items that the vendor left out are sent again, for the `attempt`-th time; others go on."""
        await asyncio.sleep(self._backoff.delay(attempt))

    @property
    def is_parked(self) -> bool:
        """Whether the vendor is parked, and not to be tried again yet."""
        return self.parked is not None and self.parked.wait(self._clock()) > 0

    def released(self) -> None:
        """The request was given up: another may become the probe."""
        self._circuit.released()

    def failed(self, why: str, headers: Mapping[str, str] | None = None) -> None:
        """There was no answer, or one (with these headers) that says later."""
        wanted = retry_after(headers, datetime.now(UTC)) if headers is not None else None
        delay = self._backoff.delay(self._circuit.failures + 1, wanted)
        self._circuit.failed(self._clock(), delay, wanted)
        self.trouble = why
        self._warn_once("failing", "is not taking events (%s); they wait in the journal and are tried again", why)

    def park(self, why: str) -> None:
        """The vendor takes nothing with these settings."""
        self.parked = Parked(why, self._clock())
        self._circuit.released()
        self._on_park(why[:WORDS])
        self._warn_once("parked", "is parked (%s). Nothing is lost; correct its settings and start again", why)

    def succeeded(self) -> None:
        """The vendor has answered about the items of a request."""
        self._circuit.succeeded()
        self.parked = self.trouble = None
        self._on_park(None)
