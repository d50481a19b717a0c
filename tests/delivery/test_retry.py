"""The retry table of reliability.md, row by row, and an outage of ten minutes on a fake clock (F02, F03)."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from eventtree.delivery.retry import (
    LONGEST_DELAY,
    OPEN_AFTER,
    PARKED_SECONDS,
    PROBE_LEASE,
    Act,
    Backoff,
    Circuit,
    Parked,
    act_of,
    retry_after,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

TABLE = {
    Act.DELIVERED: (200, 201, 202, 204, 207, 226, 299),
    Act.RETRY: (
        408, 425, 429, 499, 500, 502, 503, 504, 507, 508, 509, 520, 521, 522, 523, 524, 525, 526, 527, 530, 599,
        100, 101, 103, 199, 0, 99, 600, 999, -1,
    ),
    Act.SPLIT: (413,),
    Act.BISECT: (400, 409, 412, 414, 416, 417, 418, 422, 423, 424, 428, 444, 498),
    Act.PARK: (
        300, 301, 302, 303, 304, 305, 307, 308, 399, 401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 421, 426, 431,
        451, 501, 505, 511,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("act", "status"), [(act, status) for act, statuses in TABLE.items() for status in statuses])
def test_f03_f04_f05_f07_each_status_has_its_act(act: Act, status: int) -> None:
    assert act_of(status, {}) is act


def test_every_act_is_in_the_table_and_no_status_is_without_one() -> None:
    assert set(TABLE) == set(Act)
    assert all(isinstance(act_of(status, {}), Act) for status in range(-5, 1100))


def test_f05_a_conflict_is_delivered_where_the_vendor_keys_by_id() -> None:
    assert act_of(409, {}, idempotent=True) is Act.DELIVERED
    assert act_of(409, {}, idempotent=False) is Act.BISECT
    assert act_of(400, {}, idempotent=True) is Act.BISECT


def test_a_vendor_overrides_the_table() -> None:
    overrides = {404: "bisect", 409: "bisect", 200: "again"}
    assert [act_of(status, overrides, idempotent=True) for status in overrides] == [Act.BISECT, Act.BISECT, Act.RETRY]
    assert act_of(405, overrides) is Act.PARK


def test_an_override_that_is_no_act_is_an_error() -> None:
    with pytest.raises(ValueError, match="retry_later"):
        act_of(404, {404: "retry_later"})


def http_date(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("2", 2.0),
        (" 2 ", 2.0),
        ("0", 0.0),
        ("2.5", 2.5),
        ("300", 300.0),
        ("301", 300.0),
        ("1e9", 300.0),
        ("1000000000", 300.0),
        ("9" * 90, 300.0),
        ("9" * 100_000, None),
        ("1e999", None),
        ("1e99", 300.0),
        ("-1", None),
        ("+1", None),
        ("soon", None),
        ("", None),
        ("   ", None),
        ("nan", None),
        ("inf", None),
        ("0x10", None),
        ("1_000", None),
        ("٢", None),
        ("2, 5", None),
        ("x" * 100_000, None),
        (http_date(2), 2.0),
        (http_date(100_000), 300.0),
        (http_date(0), None),
        (http_date(-1), None),
        (http_date(-86_400), None),
        ((NOW + timedelta(seconds=2)).strftime("%a, %d %b %Y %H:%M:%S -0000"), 2.0),
        ((NOW + timedelta(seconds=2)).strftime("%A, %d-%b-%y %H:%M:%S GMT"), 2.0),
        (
            (NOW + timedelta(seconds=2)).astimezone(timezone(timedelta(hours=5))).strftime("%d %b %Y %H:%M:%S +0500"),
            2.0,
        ),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Sun, 99 Mar 2026 12:00:02 GMT", None),
        ("Sun, 01 Mar 2026", None),
        ("\0", None),
    ],
)
def test_f03_retry_after_in_all_shapes(text: str | None, seconds: float | None) -> None:
    assert retry_after({} if text is None else {"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize("year", [1970, 2038, 9999])
def test_f19_a_wrong_clock_never_makes_a_wait_longer_than_the_cap(year: int) -> None:
    wait = retry_after({"retry-after": http_date(2)}, NOW.replace(year=year))
    assert wait is None or wait <= LONGEST_DELAY


def upper(low: float, high: float) -> float:
    return high


def lower(low: float, high: float) -> float:
    return low


def test_backoff_doubles_from_half_a_second_to_thirty() -> None:
    delays = [Backoff(uniform=upper).delay(attempt) for attempt in range(1, 10)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_is_full_until_the_circuit_opens_then_covers_the_upper_half() -> None:
    delays = [Backoff(uniform=lower).delay(attempt) for attempt in range(1, 10)]
    assert delays == [0, 0, 0, 0, 4, 8, 15, 15, 15]


@pytest.mark.parametrize("attempt", [-5, 0, 1, 64, 10_000, 10**9])
def test_backoff_stays_in_bounds_for_any_attempt(attempt: int) -> None:
    backoff = Backoff()
    assert all(0 <= backoff.delay(attempt) <= 30 for _ in range(100))


def test_backoff_is_random() -> None:
    assert len({Backoff().delay(8) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("asked", "delay"), [(None, 30), (0, 30), (2, 30), (31, 31), (120, 120), (300, 300), (1e9, 300)]
)
def test_f03_the_longer_of_backoff_and_retry_after_counts_up_to_the_cap(asked: float | None, delay: float) -> None:
    assert Backoff(uniform=upper).delay(9, asked) == delay


def test_f03_retry_after_is_a_floor_even_for_the_first_failure() -> None:
    assert Backoff(uniform=lower).delay(1, 2.0) == 2.0


# -- the circuit -------------------------------------------------------------------------------------------------------


def opened(now: float = 0.0, delay: float = 10.0) -> Circuit:
    circuit = Circuit()
    for _ in range(OPEN_AFTER):
        circuit.failed(now, delay)
    return circuit


def test_a_circuit_opens_at_the_fifth_failure_in_a_row() -> None:
    circuit = Circuit()
    for count in range(OPEN_AFTER):
        assert (circuit.is_open, circuit.failures) == (False, count)
        circuit.failed(0.0, 1.0)
    assert circuit.is_open


def test_a_success_in_between_starts_the_count_again() -> None:
    circuit = Circuit()
    for _ in range(OPEN_AFTER - 1):
        circuit.failed(0.0, 1.0)
    circuit.succeeded()
    circuit.failed(0.0, 1.0)
    assert not circuit.is_open


def test_a_closed_circuit_lets_requests_pass_side_by_side() -> None:
    circuit = Circuit()
    assert all(circuit.begin(0.0) for _ in range(4))


def test_after_a_failure_all_requests_of_the_vendor_wait() -> None:
    circuit = Circuit()
    circuit.failed(100.0, 4.0)
    assert circuit.wait(101.0) == 3.0
    assert not circuit.begin(103.9)
    assert circuit.begin(104.0)


def test_an_open_circuit_lets_one_probe_through() -> None:
    circuit = opened()
    assert not circuit.begin(9.0)
    assert circuit.begin(10.0)
    assert not circuit.begin(10.0)
    assert circuit.wait(10.0) > 0


def test_a_probe_that_succeeds_closes_the_circuit_for_all() -> None:
    circuit = opened()
    circuit.begin(10.0)
    circuit.succeeded()
    assert not circuit.is_open
    assert all(circuit.begin(10.0) for _ in range(4))


def test_a_probe_that_fails_begins_a_new_interval_counted_from_its_start() -> None:
    circuit = opened()
    circuit.begin(10.0)
    circuit.failed(35.0, 30.0)
    assert circuit.wait(35.0) == 5.0


def test_what_the_vendor_asked_counts_from_its_answer() -> None:
    circuit = opened()
    circuit.begin(10.0)
    circuit.failed(35.0, 30.0, retry_after=20.0)
    assert circuit.wait(35.0) == 20.0


def test_a_probe_given_up_makes_room_for_another() -> None:
    circuit = opened()
    circuit.begin(10.0)
    circuit.released()
    assert circuit.begin(10.0)


def test_a_probe_that_reports_nothing_is_replaced_after_its_lease() -> None:
    circuit = opened()
    circuit.begin(10.0)
    assert not circuit.begin(10.0 + PROBE_LEASE - 1)
    assert circuit.begin(10.0 + PROBE_LEASE)


def test_a_late_failure_of_an_older_request_never_shortens_the_wait() -> None:
    circuit = opened(delay=30.0)
    circuit.failed(1.0, 0.1)
    assert circuit.wait(1.0) == 29.0


def test_f19_no_wait_is_ever_longer_than_the_cap_or_negative() -> None:
    circuit = opened(now=1e9, delay=1e9)
    assert circuit.wait(0.0) == LONGEST_DELAY
    assert opened(delay=1.0).wait(1e9) == 0.0


def test_f06_a_parked_vendor_is_looked_at_again_every_five_minutes() -> None:
    parked = Parked("HTTP 401", since=1000.0)
    assert (parked.wait(1000.0), parked.wait(1299.0), parked.wait(1300.0), parked.wait(9e9)) == (300, 1, 0, 0)
    assert parked.wait(0.0) == PARKED_SECONDS


# -- ten minutes of outage (R3) ----------------------------------------------------------------------------------------


@dataclass
class Outage:
    """A vendor that is away from 0 to 600 s, asked by several requests at once on a fake clock."""

    takes: float
    """Seconds until a request of the outage fails."""
    uniform: Callable[[float, float], float]
    workers: int = 4
    asked: float | None = None
    requests: int = 0
    first_success: float | None = None

    def run(self, length: float = 600.0) -> Outage:
        backoff, circuit = Backoff(uniform=self.uniform), Circuit()
        turns: list[tuple[float, int, float | None]] = [(0.0, worker, None) for worker in range(self.workers)]
        while self.first_success is None:
            now, worker, begun = heapq.heappop(turns)
            if begun is None and circuit.begin(now):
                self.requests += now < length
                heapq.heappush(turns, (now + (self.takes if now < length else 0.05), worker, now))
            elif begun is None:
                heapq.heappush(turns, (now + max(circuit.wait(now), 0.001), worker, None))
            elif begun < length:
                delay = backoff.delay(circuit.failures + 1, self.asked)
                circuit.failed(now, delay, self.asked)
                heapq.heappush(turns, (now, worker, None))
            else:
                circuit.succeeded()
                self.first_success = now - length
        return self


@pytest.mark.parametrize("takes", [0.0, 0.05, 5.0, 30.0], ids=["refused", "503", "no connection", "silent"])
@pytest.mark.parametrize("chance", ["lowest", "highest", *range(25)])
def test_f02_r3_ten_minutes_away_cost_at_most_60_requests_and_35_seconds(takes: float, chance: int | str) -> None:
    extremes = {"lowest": lower, "highest": upper}
    outage = Outage(takes, extremes.get(str(chance)) or random.Random(chance).uniform).run()
    assert outage.requests <= 60
    assert outage.first_success is not None and outage.first_success <= 35


def test_f02_r3_the_figures() -> None:
    for takes in (0.0, 0.05, 5.0, 30.0):
        runs = [Outage(takes, random.Random(seed).uniform).run() for seed in range(200)]
        most, latest = max(run.requests for run in runs), max(run.first_success or 0.0 for run in runs)
        print(
            f"R3 a request fails after {takes:g} s: at most {most} requests, first success at most {latest:.1f} s late"
        )
        assert most <= 60 and latest <= 35


def test_f03_a_vendor_that_asks_for_two_seconds_is_not_asked_more_often() -> None:
    outage = Outage(0.0, lower, workers=1, asked=2.0).run(20.0)
    assert outage.requests <= 10


def test_f02_a_short_outage_is_over_soon() -> None:
    assert (Outage(0.0, upper).run(3.0).first_success or 0.0) <= 8
