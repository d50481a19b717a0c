"""What a callback pays for its values. Run with -m bench."""

from __future__ import annotations

import timeit
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from eventtree.content import Sanitizer, known_secrets

CHAT = [
    SystemMessage("You are helpful"),
    HumanMessage("What is the weather in Paris today?"),
    AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Paris"}, "id": "c1"}]),
]
BUDGETS_US = {"dict": (2.0, 4.0), "chat": (15.0, 30.0)}
"""Microseconds without and with redaction."""


@pytest.mark.bench
@pytest.mark.parametrize("redacted", [False, True])
@pytest.mark.parametrize("name", BUDGETS_US)
def test_small_values_cost_no_more_than_their_budget(name: str, redacted: bool) -> None:
    """E4: cost on the caller's thread, the best of many tries, with room for a slower machine."""
    writer = Sanitizer(redact=known_secrets() if redacted else None)
    calls: dict[str, Any] = {"dict": lambda: writer({"question": "text"}), "chat": lambda: writer.messages(CHAT)}
    best_us = min(timeit.repeat(calls[name], number=1000, repeat=100)) * 1000
    print(f"{name} redacted={redacted}: {best_us:.2f} µs")
    assert best_us < 2 * BUDGETS_US[name][redacted]
