"""A pytest plugin: our handlers are attached while the dispatcher's own suite runs.

That suite makes dispatchers that do not propagate to the root's handlers, so each of those gets ours as well.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index_instrumentation.dispatcher import Dispatcher

import eventtree.llama_index
from eventtree import diagnostics, process
from eventtree.llama_index.spans import Spans

seen: Counter[str] = Counter()
"""Which of our hooks were called, and how often."""


def counted(name: str, method: Any) -> Any:
    """The method, counting its calls."""

    @functools.wraps(method)
    def count(*args: Any, **kwargs: Any) -> Any:
        seen[name] += 1
        return method(*args, **kwargs)

    return count


@pytest.fixture(autouse=True, scope="session")
def _recorded() -> Iterator[None]:
    for name in ("enter", "exit", "drop"):
        setattr(Spans, name, counted(name, getattr(Spans, name)))
    handler = eventtree.llama_index.set_global_handler()
    assert handler is not None
    make = Dispatcher.__init__

    def with_ours(self: Dispatcher, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        if not self.propagate:
            self.span_handlers = [*self.span_handlers, handler._span_handler]
            self.event_handlers = [*self.event_handlers, handler._event_handler]

    Dispatcher.__init__ = with_ours  # type: ignore[method-assign]
    yield
    process.settle()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what we saw, and whether anything of ours failed."""
    terminalreporter.write_line(
        f"eventtree failures={sum(diagnostics.failures.values())} calls={sum(seen.values())} {seen}"
    )
