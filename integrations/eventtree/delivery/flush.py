"""`flush` and `aflush`: wait for delivery, by this process or another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path

from eventtree import config, diagnostics, process
from eventtree.config import MEMORY
from eventtree.delivery.report import Report, VendorTotals, make_report, unread_report
from eventtree.delivery.shipper import all_shippers
from eventtree.journal import open_journal


def flush(timeout: float | None = 30.0) -> Report:
    """Wait until all finished trees of this process are settled at every vendor, or `timeout` seconds have passed.

    The first call also waits for trees of earlier processes for its vendors. Runs that are still open are not waited
    for. Returns the report, whose `waiting` counts the rest. With `timeout=None` it waits without limit. Never raises
    because of a vendor.
    """
    return _flushed(timeout, threading.Event())


async def aflush(timeout: float | None = 30.0) -> Report:
    """`flush` without blocking the event loop."""
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(_flushed, timeout, cancelled)
    finally:
        cancelled.set()  # a loop that closes waits for the threads of its pool


def _flushed(timeout: float | None, cancelled: threading.Event) -> Report:
    deadline = None if timeout is None else time.monotonic() + timeout
    process.settle()
    shippers = all_shippers()
    if not shippers:
        return _of_configured()
    reports = [
        shipper.flush(None if deadline is None else max(0.0, deadline - time.monotonic()), cancelled)
        for shipper in shippers
    ]
    return reports[0] if len(reports) == 1 else _together(reports)


def _of_configured() -> Report:
    """The report of a process that records nothing, on its configured journal if that exists; it is not created."""
    folder, journal = config.resolve().folder, None
    try:
        if folder != MEMORY and not Path(folder).expanduser().is_dir():
            return Report(journal=folder)
        journal = open_journal(folder)
        return make_report(journal)
    except Exception as error:  # noqa: BLE001  (a flush never fails the app that waits in it)
        diagnostics.failed("report", error)
        failures = dict(diagnostics.failures)
        return (
            Report(journal=folder, failures=failures)
            if journal is None
            else unread_report(journal, {"failures": failures})
        )


def _together(reports: list[Report]) -> Report:
    """One report for a process that records in several journals."""
    vendors: dict[str, VendorTotals] = {}
    for report in reports:
        for label, sums in report.vendors.items():
            vendors[label if label not in vendors else f"{label} in {report.journal}"] = sums
    first = reports[0]
    return first.model_copy(
        update={
            "journal": ", ".join(report.journal for report in reports),
            "events": sum(report.events for report in reports),
            "vendors": vendors,
            "damaged_lines": sum(report.damaged_lines for report in reports),
            "lost_lines": sum(report.lost_lines for report in reports),
            "dropped": dict(sum((Counter(report.dropped) for report in reports), Counter())),
            "vanished": sum(report.vanished for report in reports),
            "vanished_bytes": sum(report.vanished_bytes for report in reports),
            "newer_logs": tuple(name for report in reports for name in report.newer_logs),
            "unwritten_bytes": sum(report.unwritten_bytes for report in reports),
            "unknown_models": dict(sum((Counter(report.unknown_models) for report in reports), Counter())),
            "failures": {kind: count for report in reports for kind, count in report.failures.items()},
        }
    )
