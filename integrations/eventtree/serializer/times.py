"""Times as vendors want them. A recorded time may be any date and a duration any number: no function here raises for
them, so that a wrong clock does not cost a tree.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from eventtree.event import Event
from eventtree.kinds import JsonValue

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST = timedelta.max.total_seconds()


def end_of(event: Event) -> datetime | None:
    """When the run ended, never before it started; None if that is unknown."""
    elapsed = seconds(event.duration)
    return None if elapsed is None else later(event.start, elapsed)


def later(at: datetime, elapsed: float) -> datetime | None:
    """The moment so many seconds after `at`; None beyond the end of the calendar."""
    try:
        return at + timedelta(seconds=elapsed)
    except OverflowError:
        return None


def from_ns(at: JsonValue) -> datetime | None:
    """A record's time (ns since the epoch) to the microsecond; None if it is no number, or beyond the calendar."""
    try:
        return EPOCH + timedelta(microseconds=at // 1000)
    except (OverflowError, TypeError, ValueError):
        return None


def seconds(value: float | None) -> float | None:
    """A duration that a vendor accepts, never negative; None if it is unknown or longer than the calendar."""
    return None if value is None or not value < LONGEST else value if value >= 0.0 else 0.0


def first_token(event: Event) -> float | None:
    """Seconds to the first token, unless they contradict the duration."""
    if event.time_to_first_token is None:
        return None  # the usual case
    first, duration = seconds(event.time_to_first_token), seconds(event.duration)
    return None if first is None or (duration is not None and first > duration) else first


def in_utc(at: datetime) -> datetime:
    """The same moment in UTC; a time without a zone is UTC already."""
    if at.tzinfo is UTC:
        return at
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        return at.replace(tzinfo=UTC)


def iso(at: datetime) -> str:
    """ISO 8601 in UTC with Z; microseconds only where there are any."""
    if at.tzinfo is UTC and orjson is not None:
        try:
            return orjson.dumps(at, option=orjson.OPT_UTC_Z)[1:-1].decode()  # in a third of the time
        except TypeError:
            pass  # a test that freezes time has replaced the class
    return in_utc(at).replace(tzinfo=None).isoformat() + "Z"


def moment(at: datetime) -> datetime | str:
    """A time for `to_json`, which writes one in UTC as `iso` does, in a fifth of the time."""
    return at if at.tzinfo is UTC else iso(at)


def iso_ms(at: datetime) -> str:
    """ISO 8601 in UTC with Z and milliseconds."""
    return in_utc(at).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
