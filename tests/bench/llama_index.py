"""What one run of LlamaIndex costs with our handler: `python -m tests.bench.llama_index`.

Three programs: a query, a streaming query read to its end, a workflow of two steps. Two figures for each, per run (span
of the dispatcher), interleaved in one process. On a loaded machine the microseconds do not hold still; there, compare
two versions by the second figure.

    added µs of CPU: by handlers that do nothing over none at all, and by ours over those
    Python instructions and calls inside eventtree, the same in every run of one version; C code is not in them
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span import BaseSpan
from llama_index_instrumentation.span_handlers import BaseSpanHandler
from workflows import Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from eventtree.llama_index import DispatcherHandler
from tests.bench.counting import counted
from tests.llama_index.models import Echo

WARM_UP = 20


class IdleSpans(BaseSpanHandler[BaseSpan]):
    """What any span handler costs before it does anything."""

    entered: int = 0

    def span_enter(self, *args: Any, **kwargs: Any) -> None:
        """Count."""
        self.entered += 1

    def span_exit(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    span_drop = new_span = prepare_to_exit_span = prepare_to_drop_span = span_exit


class IdleEvents(BaseEventHandler):
    """What any event handler costs before it does anything."""

    def handle(self, event: Any, **kwargs: Any) -> None:
        """Nothing."""


class Greeting(Event):
    """Between the steps."""

    name: str


class Greeter(Workflow):
    """Two steps."""

    @step
    async def begin(self, ev: StartEvent) -> Greeting:
        """First."""
        return Greeting(name=ev.name)

    @step
    async def greet(self, ev: Greeting) -> StopEvent:
        """Second."""
        return StopEvent(result=f"hello {ev.name}")


def programs() -> dict[str, Callable[[], Any]]:
    """Name → what runs."""
    documents = [Document(text=text) for text in ("Paris is in France.", "Rome is in Italy.")]
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))
    whole, lazy = (index.as_query_engine(llm=Echo(), streaming=streaming) for streaming in (False, True))
    loop = asyncio.new_event_loop()

    async def greet() -> Any:
        return await Greeter().run(name="Ann")

    return {
        "query": lambda: whole.query("Where is Paris?"),
        "streaming query": lambda: list(lazy.query("Where is Paris?").response_gen),
        "workflow": lambda: loop.run_until_complete(greet()),
    }


@contextmanager
def attached(spans: list[Any], events: list[Any]) -> Iterator[None]:
    """These handlers alone on the root dispatcher."""
    root = get_dispatcher()
    before = root.span_handlers, root.event_handlers
    root.span_handlers, root.event_handlers = spans, events
    try:
        yield
    finally:
        root.span_handlers, root.event_handlers = before


def timed(program: Callable[[], Any], times: int, spans: list[Any], events: list[Any]) -> float:
    """CPU of this thread, µs a call of the program."""
    with attached(spans, events):
        began = time.thread_time()
        for _ in range(times):
            program()
        return (time.thread_time() - began) / times * 1e6


def added(program: Callable[[], Any], ours: DispatcherHandler, rounds: int, times: int) -> dict[str, float]:
    """Medians of µs a call."""
    idle = [IdleSpans()], [IdleEvents()]
    mine = [ours._span_handler], [ours._event_handler]
    found: dict[str, list[float]] = {"bare": [], "do nothing": [], "ours over do nothing": []}
    for _ in range(rounds):
        bare, nothing = timed(program, times, [], []), timed(program, times, *idle)
        found["bare"].append(bare)
        found["do nothing"].append(nothing - bare)
        found["ours over do nothing"].append(timed(program, times, *mine) - nothing)
    return {name: statistics.median(values) for name, values in found.items()}


def counted_calls(program: Callable[[], Any], ours: DispatcherHandler, times: int) -> tuple[float, float]:
    """Python instructions and calls inside eventtree, on this thread, a call of the program."""
    with attached([ours._span_handler], [ours._event_handler]):
        instructions, calls = counted(lambda: [program() for _ in range(times)])
    return instructions / times, calls / times


def runs(program: Callable[[], Any]) -> int:
    """How many spans the program has."""
    counter = IdleSpans()
    with attached([counter], []):
        program()
    return counter.entered


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--times", type=int, default=100)
    options = parser.parse_args()
    ours = DispatcherHandler(vendors=[], journal=tempfile.mkdtemp() + "/journal")
    for name, program in programs().items():
        spans = runs(program)
        timed(program, WARM_UP, [ours._span_handler], [ours._event_handler])
        figures = added(program, ours, options.rounds, options.times)
        print(
            f"{name} ({spans} runs): " + ", ".join(f"{key} {us / spans:.1f}" for key, us in figures.items()), "us a run"
        )
        instructions, calls = counted_calls(program, ours, 10)
        print(
            f"{name}: {instructions / spans:.0f} Python instructions, {calls / spans:.1f} calls a run inside eventtree"
        )


if __name__ == "__main__":
    main()
