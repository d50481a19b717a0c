"""The app's own OpenTelemetry span is noted on the root of a tree, and nowhere else; nothing is attached to it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import trace

from eventtree import diagnostics
from eventtree.event import Event
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import capture
from tests.trees import record_tree

SPAN = trace.SpanContext(0xABC0 << 96, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
WRITTEN = f"00-{0xABC0 << 96:032x}-{0xDEF:016x}-01"


def recorded() -> tuple[Event, ...]:
    with capture() as trees:
        record_tree(Pipeline())
        return trees.wait()[0].events


def test_a_tree_under_an_active_span_names_it_on_its_root() -> None:
    with trace.use_span(trace.NonRecordingSpan(SPAN)):
        root, *below = recorded()
        assert trace.get_current_span().get_span_context() == SPAN
    assert root.traceparent == WRITTEN
    assert {event.traceparent for event in below} == {None}


def test_a_tree_without_one_names_none() -> None:
    assert {event.traceparent for event in recorded()} == {None}


def test_a_provider_that_fails_costs_nothing_but_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_current_span", lambda: 1 / 0)
    assert recorded()[0].traceparent is None
    assert diagnostics.failures["reading the active OpenTelemetry span: ZeroDivisionError"] == 1


def test_recording_does_not_load_opentelemetry() -> None:
    code = (
        "import sys; from tests.trees import record_tree; from eventtree.recording.pipeline import Pipeline; "
        "record_tree(Pipeline(journal=':memory:')); print('opentelemetry.trace' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
