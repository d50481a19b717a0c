"""What a call of an observed function, and a span, cost: `python -m tests.bench.own`. CPU µs of the calling thread.

Beside them the recorder alone (the same two records without `observe` around them), and a call that is not observed.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable

import eventtree
from eventtree.kinds import Kind
from eventtree.own.span import new_id
from eventtree.recording.defaults import default_pipeline
from eventtree.recording.recorder import recorder

CALLS, ROUNDS = 2_000, 15


def plain(number: int) -> int:
    """What is measured does nothing itself."""
    return number


def spans(number: int) -> None:
    """The same as a block."""
    with eventtree.span("plain", inputs={"number": number}) as run:
        run.outputs = number


def records(root: str) -> Callable[[int], None]:
    """What the recorder alone takes for such a run."""
    pipeline = default_pipeline()
    assert pipeline is not None

    def called(number: int) -> None:
        run_id = new_id()
        recorder.open(pipeline, run_id, root, kind=Kind.CHAIN, name="plain", inputs={"number": number})
        recorder.close(pipeline, run_id, outputs=number)

    return called


def micros(call: Callable[[int], object]) -> float:
    """CPU µs a call, of the median round."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        for number in range(CALLS):
            call(number)
        rounds.append((time.thread_time_ns() - began) / CALLS / 1e3)
    return statistics.median(rounds)


def main() -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EVENTTREE_JOURNAL"] = folder
        bare = micros(plain)
        with eventtree.span("root") as root:
            calls = {"observe": eventtree.observe(plain), "span": spans, "recorder alone": records(root.id or "")}
            for name, call in calls.items():
                taken = micros(call)
                print(f"{name:15} {taken:6.2f} µs a call, {taken / bare:6.0f} times a call that is not observed")


if __name__ == "__main__":
    main()
