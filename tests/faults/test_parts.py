"""Trees of several processes of which one dies: what is left of them goes out when the last living one is done."""

from __future__ import annotations

from uuid import UUID

from eventtree.recording.remote import Remote, joined, written
from tests.faults.world import World


def test_f01_a_part_that_ends_after_its_caller_is_known_to_be_dead_takes_the_tree_along() -> None:
    world = World()
    caller, worker = world.one, world.fork()
    world.processes.reverse()
    root = caller.start()
    with joined(written(Remote(root, root))):
        part = worker.start()
    world.crash(caller)
    world.ship(120.0, 200)
    assert world.consumer is not None and world.shipper is worker
    assert not world.sink.rows, "the part is open still"
    worker.end(part)
    world.ship(20.0, 100)
    assert world.sink.rows.keys() == {root, part}
    assert (world.sums().delivered, world.sums().waiting) == (2, 0)
    world.close()


def test_f01_parts_whose_root_is_elsewhere_go_out_when_the_last_of_their_processes_has_ended_them() -> None:
    """One died with an open run before the other ended its own: they waited a day."""
    world = World()
    dies, lives = world.one, world.fork()
    world.processes.reverse()
    with joined(written(Remote(str(UUID(int=1)), str(UUID(int=1))))):
        left, ended = dies.start(), lives.start()
    world.crash(dies)
    world.ship(20.0, 100)
    lives.end(ended)
    world.ship(20.0, 100)
    assert world.sink.rows.keys() == {left, ended}
    assert (world.sums().apart, world.sums().waiting) == (2, 0)
    world.close()
