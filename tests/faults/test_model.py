"""R12: whatever happens in whatever order, the law holds and nothing that reached the disk is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from eventtree.recording.remote import Remote, joined, written
from tests.faults.world import World, digest

MODES = ("healthy", "503", "429", "401", "413", "silent", "cut")

Step = tuple[str, int]

steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "tree",
                "tree",
                "start",
                "child",
                "join",
                "end",
                "ship",
                "ship",
                "sink",
                "crash",
                "fork",
                "clock",
                "full",
                "heal",
            ]
        ),
        st.integers(0, 1_000),
    ),
    min_size=12,
    max_size=32,
)


class Story:
    """One sequence, and what must be true of it."""

    def __init__(self) -> None:
        """Start a world in which one event in nine is poison."""
        self.world = World()
        self.world.sink.poison = lambda run: digest(run) % 9 == 0
        self.recorded: set[str] = set()
        self.sure: set[str] = set()
        """Events whose opened record was seen on the disk."""

    def play(self, sequence: list[Step]) -> None:
        """Every step, the law after each, and the end."""
        for name, number in sequence:
            getattr(self, f"_{name}")(number)
            self.sure |= self.world.on_disk()
            sums = self.world.sums()
            assert min(sums.waiting, sums.dead, sums.delivered) >= 0
        self.check()

    def check(self) -> None:
        """Nothing waits, nothing is lost, nothing was made up."""
        sink = self.world.sink
        for process in self.world.processes:
            for run, _ in list(process.open):
                process.end(run)
        self.world.settle()
        self.sure |= self.world.on_disk()
        sums = self.world.sums()
        poisoned = {run for run in self.sure if sink.poison(run)}
        assert sums.waiting == 0
        assert set(sink.rows) <= self.recorded
        assert self.sure - poisoned - set(sink.rows) == set(), "lost"
        assert sums.accepted == len(self.sure)
        assert sums.delivered + sums.dead + sum(sums.dropped.values()) == len(self.sure)
        assert set(sums.dropped) <= {"by_user"}
        # A request that was cut off is repeated as it was; only what was still open then may have ended since.
        assert sink.changed == {}

    def _tree(self, number: int) -> None:
        process = self.world.processes[number % len(self.world.processes)]
        self.recorded.update(process.tree(number % 4))

    def _start(self, number: int) -> None:
        self.recorded.add(self.world.processes[number % len(self.world.processes)].start())

    def _child(self, number: int) -> None:
        process = self.world.processes[number % len(self.world.processes)]
        if process.open:
            self.recorded.add(process.start(process.open[number % len(process.open)][0]))

    def _join(self, number: int) -> None:
        """A process works for an open run of another one."""
        every = self.world.processes
        caller, worker = every[number % len(every)], every[(number + 1) % len(every)]
        if caller is not worker and caller.open:
            run, _ = caller.open[number % len(caller.open)]
            known = caller.recorder.find(run)
            if known is not None:
                known.tree.parts += 1  # as `headers()` does
                with joined(written(Remote(run, known.tree.id))):
                    self.recorded.add(worker.start())

    def _end(self, number: int) -> None:
        process = self.world.processes[number % len(self.world.processes)]
        if process.open:
            process.end(process.open[number % len(process.open)][0])

    def _ship(self, number: int) -> None:
        self.world.ship(seconds=0.03 + number / 20)

    def _sink(self, number: int) -> None:
        self.world.sink.mode = MODES[number % len(MODES)]

    def _crash(self, number: int) -> None:
        process = self.world.processes[number % len(self.world.processes)]
        self.world.crash(process)

    def _fork(self, number: int) -> None:
        if len(self.world.processes) < 3:
            self.world.fork()

    def _clock(self, number: int) -> None:
        self.world.loop.now += number * 10

    def _full(self, number: int) -> None:
        self.world.files.is_full = True

    def _heal(self, number: int) -> None:
        self.world.files.is_full = False
        for process in self.world.processes:
            process.journal.flush_held()


def play(sequence: list[Step]) -> None:
    """One story, from its start to its end."""
    story = Story()
    try:
        story.play(sequence)
    finally:
        story.world.close()


def played(examples: int) -> Callable[[], None]:
    """So many random stories."""
    # Not shrunk in the long run: the failing sequence is printed as it is.
    phases = [Phase.generate, Phase.shrink] if examples <= 300 else [Phase.generate]
    checks = list(HealthCheck)

    @settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=checks, database=None)
    @given(steps)
    def stories(sequence: list[Step]) -> None:
        play(sequence)

    return stories


def test_r12_three_hundred_stories() -> None:
    """R12"""
    played(300)()


@pytest.mark.slow
def test_r12_ten_thousand_stories() -> None:
    """R12"""
    played(10_000)()
