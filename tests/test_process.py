"""What happens at a flush, an exit and a fork has the order that `process.py` names, whoever was imported first."""

from __future__ import annotations

import gc
import subprocess
import sys

from eventtree import diagnostics, process
from eventtree.process import Hooks

SCRIPT = """
import os
from eventtree import process
for part in ("index", "relay", "journal", "delivery", "handlers"):
    process.at_exit(part, lambda part=part: print("exit", part, flush=True))
for part in ("index", "handlers", "relay", "delivery", "journal"):
    process.after_fork(part, lambda part=part: print("fork", part, flush=True))
process.before_pools_close(lambda: print("pools", flush=True))
def fail():
    raise RuntimeError
process.at_exit("handlers", fail)
if os.fork() == 0:
    os._exit(0)
os.wait()
"""


def test_the_order_is_that_of_the_file() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    forked = [f"fork {part}" for part in process.FORK_ORDER]
    ended = [f"exit {part}" for part in process.EXIT_ORDER]
    assert done.stdout.splitlines() == [*forked, "pools", *ended]
    assert "Traceback" not in done.stderr


def test_hooks_keep_no_object_alive_and_one_that_raises_stops_no_other() -> None:
    called: list[str] = []

    class Holder:
        def settle(self) -> None:
            called.append("settled")

    def fail() -> None:
        raise RuntimeError

    hooks, holder = Hooks(), Holder()
    hooks.add(fail)
    hooks.add(holder.settle)
    hooks()
    del holder
    gc.collect()
    hooks()
    assert called == ["settled"]
    assert diagnostics.failures == {"process: RuntimeError": 2}
