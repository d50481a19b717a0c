"""What a relay costs, and how far it is behind: `python -m tests.bench.relay [--rounds N]`.

Real servers on loopback, everything in processes of its own. Callbacks are compared with those of the same app without
a relay that runs at the same time: machines are shared. `lag` is the time from a record's append until the engine has
acknowledged it, at 1,000 events a second; CPU is that of a whole relay, or collector, per event, starts left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventtree.testing import VendorServer
from tests.bench.delivery import serve
from tests.relay.world import App, Engine, Nats, Redis, Running, delivered, relays, report, sidecar, until

CALLBACKS = """
import json, sys, time
from pathlib import Path
from tests.relay.world import App
app = App(Path(sys.argv[1]), **({"relay": sys.argv[2]} if sys.argv[2] else {}))
found = []
def timed(call, *args):
    began = time.perf_counter_ns()
    made = call(*args)
    found.append(time.perf_counter_ns() - began)
    return made
def tree():
    root = timed(app.open)
    for _ in range(3):
        timed(app.end, timed(app.open, root))
    timed(app.end, root)
def spent():
    relay = app.pipeline.relay
    return time.clock_gettime(time.pthread_getcpuclockid(relay._thread.ident)) if relay else 0.0
for number in range(1200):
    if number == 200:
        found.clear()
        began, before = time.monotonic(), spent()
    tree()
    time.sleep(0.002)
share = (spent() - before) / (time.monotonic() - began)
found.sort()
print(json.dumps([found[len(found) // 2], found[len(found) * 99 // 100], share]))
sys.stdout.flush()
import os
os._exit(0)
"""

LAG = """
import json, sys, threading, time
from pathlib import Path
from tests.relay.world import App
app = App(Path(sys.argv[1]), relay=sys.argv[2])
relay, log = app.pipeline.relay, Path(sys.argv[1])
app.tree()
while not (relay.cursor and relay.cursor.offsets.get(app.journal.log)):
    time.sleep(0.01)
def spent():
    return time.clock_gettime(time.pthread_getcpuclockid(relay._thread.ident))
made, lags, done, started = [], [], False, spent()
def watch():
    at = 0
    while not done or at < len(made):
        there = relay.cursor.offsets.get(made[at][1], 0) if at < len(made) else 0
        while at < len(made) and made[at][2] <= there:
            lags.append(time.monotonic() - made[at][0])
            at += 1
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
began, trees = time.monotonic(), 0
while time.monotonic() - began < 10:
    app.tree()
    made.append((time.monotonic(), app.journal.log, app.journal._size))
    trees += 1
    time.sleep(max(0.0, began + trees * 0.004 - time.monotonic()))
done = True
watcher.join()
used = (spent() - started) / (trees * 4)
lags.sort()
rate = trees * 4 / (time.monotonic() - began)
print(json.dumps([rate, lags[len(lags) // 2], lags[len(lags) * 99 // 100], lags[-1], used]))
"""

HUNG_SECONDS = 5.0


def run(program: str, *arguments: str, meanwhile: Callable[[], object] = lambda: None) -> Any:
    """What a program prints."""
    env = {**os.environ, "EVENTTREE_STRICT": ""}
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=env
    ) as started:
        meanwhile()
        said, _ = started.communicate()
    assert started.returncode == 0
    return json.loads(said)


def together(program: str, each: list[tuple[int, str, str]]) -> list[Any]:
    """What a program prints that runs several times at once: on which core, and its two arguments."""
    env = {**os.environ, "EVENTTREE_STRICT": ""}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, [{core}])\n{program}", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[2], env=env,
        )
        for core, *arguments in each
    ]  # fmt: skip
    return [json.loads(one.communicate()[0]) for one in started]


def cpu(running: Running) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def callbacks(place: Path, rounds: int) -> None:
    """Callbacks with an engine that is up, down and hanging, against those of the same app without a relay.

    Both run at the same time, a core each and in turn, so that what else the machine does meets both; `none` is the app
    without a relay against itself: what is left of chance.
    """
    nats = Nats(place / "engine")
    found: dict[str, list[list[list[float]]]] = {"none": [], "up": [], "down": [], "hanging": []}
    cores = sorted(os.sched_getaffinity(0))
    for number in range(rounds):
        cores.reverse()
        for name, each in found.items():
            nats.kill() if name == "down" else None
            nats.process.send_signal(signal.SIGSTOP) if name == "hanging" else None
            pair = [(place / f"{name}{number}-", ""), (place / f"{name}{number}", "" if name == "none" else nats.url)]
            each.append(together(CALLBACKS, [(cores[at % len(cores)], str(pair[at][0]), pair[at][1]) for at in (0, 1)]))
            nats.start() if name == "down" else None
            nats.process.send_signal(signal.SIGCONT) if name == "hanging" else None
    nats.close()
    for name, each in found.items():
        without, with_it = ([statistics.median(one[which][at] for one in each) for at in (0, 1)] for which in (0, 1))
        ratios = [statistics.median(one[1][at] / one[0][at] for one in each) for at in (0, 1)]
        relay = statistics.median(one[1][2] for one in each)
        print(
            f"callback, engine {name:8} p50 {with_it[0] / 1e3:5.1f} µs, p99 {with_it[1] / 1e3:6.1f} µs; without"
            f" {without[0] / 1e3:.1f} and {without[1] / 1e3:.1f}: {ratios[0]:.2f} and {ratios[1]:.2f} of it;"
            f" the relay's thread had {relay * 100:.2f} % of a core"
        )


def lags(place: Path) -> None:
    """How far a relay is behind at 1,000 events a second."""
    for engine in (Nats(place / "lag-nats"), Redis(place / "lag-redis")):
        rate, p50, p99, _, used = run(LAG, str(place / f"lag-{type(engine).__name__}-app"), engine.url)
        print(f"lag, {type(engine).__name__:6} {rate:5.0f} events/s: p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms")
        print(f"relay as a thread, {type(engine).__name__:6} at that rate: {used * 1e6:.1f} µs CPU an event")

        def hang(engine: Engine = engine) -> None:
            time.sleep(4.0)
            engine.process.send_signal(signal.SIGSTOP)
            time.sleep(HUNG_SECONDS)
            engine.process.send_signal(signal.SIGCONT)

        _, p50, p99, most, _ = run(LAG, str(place / f"hung-{type(engine).__name__}-app"), engine.url, meanwhile=hang)
        what = f"lag, {type(engine).__name__:6} that hangs for {HUNG_SECONDS:g} s"
        print(f"{what}: p50 {p50 * 1e3:.0f} ms, p99 {p99:.1f} s, longest {most:.1f} s", flush=True)
        engine.close()


def throughput(place: Path, trees: int) -> None:
    """What a relay and a collector need for a backlog."""
    app = App(place / "backlog", deliver=False)
    for _ in range(trees):
        app.tree()
    events = len(app.events)
    nats = Nats(place / "through")
    spent = []
    App(place / "nothing", deliver=False).tree()
    for name in ("nothing", "backlog"):
        relay = sidecar(nats.url, place / name)
        until(lambda name=name: report(place / name).unreplicated_bytes == 0, 300)
        time.sleep(1.0)
        spent.append(cpu(relay))
        relay.close()
    print(f"relay, backlog of {events} events: {(spent[1] - spent[0]) / events * 1e6:.1f} µs CPU an event")
    _collect(place, nats, events)
    nats.close()


def collecting(url: str, folder: Path) -> tuple[Running, multiprocessing.Process]:
    """A collector, and a vendor that takes everything."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    env = {
        "EVENTTREE_VENDORS": "braintrust", "BRAINTRUST_API_KEY": "k", "BRAINTRUST_PROJECT": "p",
        "BRAINTRUST_API_URL": f"http://127.0.0.1:{ours.recv()}",
    }  # fmt: skip
    command = (sys.executable, "-m", "eventtree", "collect", url, "--journal", str(folder))
    return Running(*command, env=env), server


def outage(place: Path, trees: int) -> None:
    """How soon all of twenty writers has arrived that recorded while their engine was away: each part a process."""
    nats = Nats(place / "away")
    nats.kill()
    apps = [App(place / f"writer{number}", deliver=False) for number in range(20)]
    for _ in range(trees):
        for app in apps:
            app.tree()
    events = sum(len(app.events) for app in apps)
    size = sum(log.stat().st_size for app in apps for log in app.folder.glob("*.log"))
    beside = relays(nats.url, [app.folder for app in apps])
    collector, server = collecting(nats.url, place / "after")
    time.sleep(12.0)  # by then every relay tries again as seldom as it ever does
    used, began = cpu(collector), time.monotonic()
    nats.start()
    until(lambda: sum(log.stat().st_size for log in (place / "after").glob("*.log")) >= size, 600)
    copied = time.monotonic() - began
    until(lambda: delivered(place / "after") >= events, 600)
    took, used = time.monotonic() - began, cpu(collector) - used
    print(
        f"{events} events of 20 writers, engine back: with the collector after {copied:.1f} s, the vendor {took:.1f} s;"
        f" {events / used:.0f} events a CPU second of the collector"
    )
    for one in (*beside, collector):
        one.close()
    server.terminate()
    nats.close()


def _collect(place: Path, nats: Nats, events: int) -> None:
    collector, server = collecting(nats.url, place / "c")
    until(lambda: (place / "c" / "collected").exists())
    started, began = cpu(collector), time.monotonic()

    until(lambda: delivered(place / "c") >= events, 600)
    used, took = cpu(collector) - started, time.monotonic() - began
    print(f"collector with one vendor: {events / used:.0f} events a CPU second, {events / took:.0f} events/s")
    collector.close()
    server.terminate()


def main() -> None:
    """Print it all."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--trees", type=int, default=10_000)
    options.add_argument("--callbacks", action="store_true", help="nothing else")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, VendorServer():
        if not given.callbacks:
            lags(Path(folder))
            throughput(Path(folder), given.trees)
            outage(Path(folder), given.trees * 3 // 20)
        if given.rounds:
            callbacks(Path(folder), given.rounds)


if __name__ == "__main__":
    main()
