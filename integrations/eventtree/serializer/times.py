"""Times as vendors want them. A run's clock may stand anywhere (year 9999, a leap back): nothing here raises for it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from eventtree.event import Event


def ended(event: Event) -> datetime | None:
    """When the run ended, never before it started; None while that is not known."""
    if event.duration is None or not math.isfinite(event.duration):
        return None
    try:
        return event.start + timedelta(seconds=max(event.duration, 0.0))
    except OverflowError:
        return None


def in_utc(at: datetime) -> datetime:
    """The same moment in UTC; a time without a zone is UTC already."""
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        return at.replace(tzinfo=UTC)


def iso(at: datetime) -> str:
    """ISO 8601 in UTC with Z; microseconds only where there are any."""
    return in_utc(at).replace(tzinfo=None).isoformat() + "Z"


def iso_ms(at: datetime) -> str:
    """ISO 8601 in UTC with Z and milliseconds."""
    return in_utc(at).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
