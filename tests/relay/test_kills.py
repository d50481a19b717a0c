"""Everybody is killed, again and again; what arrives is what was recorded, once."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pytest

from eventtree.testing import VendorServer
from tests.relay.world import Nats, Running, closing, collector, copies, report, sidecar, until

APP = """
import itertools, os, sys, time, uuid
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder

accepted = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
pipeline = Pipeline()
pipeline.journal.roll_bytes = 50_000  # a process writes several logs

def opened(parent):
    run = str(uuid.uuid4())
    recorder.open(pipeline, run, parent, kind=Kind.CHAIN, name="run", inputs={"question": "why? " * 20})
    os.write(accepted, run.encode() + b"\\n")
    return run

for _ in itertools.count():
    root = opened(None)
    for _ in range(3):
        recorder.close(pipeline, opened(root), outputs={"answer": "so " * 20})
    recorder.close(pipeline, root, outputs={"answer": "so"})
    time.sleep(float(sys.argv[2]))
"""


def kill_all(machine: Path, rounds: int, pause: float, *, is_thread: bool) -> None:
    """Kill app, relay, engine or collector `rounds` times, at random."""
    chance = random.Random(17)
    with VendorServer() as vendor:
        engine = Nats(machine / "engine")
        relayed = {"EVENTTREE_RELAY": engine.url} if is_thread else {}
        env = {"EVENTTREE_JOURNAL": str(machine / "app"), **relayed}
        app = Running(sys.executable, "-c", APP, str(machine / "accepted"), "0.02", env=env, log=machine / "app.out")
        beside = [sidecar(engine.url, machine / "app", machine / "relay.out")]
        kept = collector(engine.url, machine / "collector", vendor, log=machine / "collector.out")
        everybody = [app, *beside, engine, kept]
        with closing(*everybody):
            until(lambda: (machine / "accepted").exists() and vendor.event_ids("braintrust"))
            for _ in range(rounds):
                time.sleep(chance.uniform(0.0, pause))
                victim = chance.choice(everybody)
                victim.kill()
                victim.start()
            time.sleep(1.0)
            app.kill()
            until(lambda: not report(machine / "app").unreplicated_bytes, 300.0)
            until(lambda: set(copies(machine / "app", machine / "collector").values()) == {True}, 300.0)
            recorded = set[str]()
            for log in (machine / "app").glob("*.log"):
                lines = (line for line in log.read_bytes().splitlines() if b' {"r":"open","id":"' in line)
                recorded |= {line.split(b'"id":"', 1)[1][:36].decode() for line in lines}
            until(lambda: not recorded - set(vendor.event_ids("braintrust")), 300.0, pause=1.0)
            accepted = set((machine / "accepted").read_text().split()[:-1])
            assert accepted <= recorded
            assert set(vendor.event_ids("braintrust")) == recorded
            assert not [one.problem for one in vendor.refused]  # nothing came twice with other contents
            until(lambda: not report(machine / "collector").waiting)
            sums = report(machine / "collector").vendors["braintrust"]
            assert (sums.accepted, sums.unexplained, sums.dead, sums.waiting) == (len(recorded), 0, 0, 0)
            repeats = len(vendor.event_ids("braintrust")) - len(recorded)
            print(f"{rounds} kills, {len(recorded)} events, 0 lost, {repeats} sent again with the same content")


@pytest.mark.parametrize("is_thread", [True, False], ids=["thread", "sidecar"])
def test_f61_kill_9_of_everybody_loses_nothing_and_leaves_equal_bytes(machine: Path, is_thread: bool) -> None:
    kill_all(machine, 6, 0.6, is_thread=is_thread)


@pytest.mark.slow
def test_f61_a_thousand_kills_lose_nothing(machine: Path) -> None:
    kill_all(machine, 1_000, 0.8, is_thread=False)
