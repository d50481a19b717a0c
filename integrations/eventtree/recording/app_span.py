"""The app's own OpenTelemetry span, where one is active as a tree opens: the tree hangs below it wherever OTLP goes.

Nothing is imported and nothing attached. An app without OpenTelemetry pays a look into a dict.
"""

from __future__ import annotations

import sys

from eventtree import diagnostics


def active_traceparent() -> str | None:
    """The active span as a W3C `traceparent`; None where there is none, or OpenTelemetry is not loaded."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        span = trace.get_current_span().get_span_context()
        if not span.is_valid:
            return None
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 0xFF:02x}"
    except Exception as error:  # noqa: BLE001  (the app may have a provider of its own, or be importing it just now)
        diagnostics.failed("reading the active OpenTelemetry span", error)
        return None
