"""What a relay costs, and how far it is behind: `python -m tests.bench.relay [--pairs N]`.

Real servers on loopback, everything in processes of its own. Callbacks with a relay are compared with those of the
same process in the second before or after, without one: machines are shared. `lag` is the time from a record's append
until the engine has acknowledged it, at 1,000 events a second; CPU is that of a whole relay, or collector, per event,
starts left out.
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

from eventtree.testing import VendorServer
from tests.bench.delivery import serve
from tests.relay.world import App, Engine, Nats, Redis, Running, delivered, relays, report, sidecar, until

CALLBACKS = """
import json, logging, os, sys, time
from pathlib import Path
logging.getLogger("eventtree").setLevel("ERROR")  # that the engine is away
from tests.relay.world import App
folder, url, pairs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def slot(name, url):
    app, found = App(folder / name, **({"relay": url} if url else {})), []
    def timed(call, *args):
        began = time.perf_counter_ns()
        made = call(*args)
        found.append(time.perf_counter_ns() - began)
        return made
    def spent():
        relay = app.pipeline.relay
        return time.clock_gettime(time.pthread_getcpuclockid(relay._thread.ident)) if relay else 0.0
    for number in range(450):
        if number == 50:
            found.clear()
            began, before = time.monotonic(), spent()
        root = timed(app.open)
        for _ in range(3):
            timed(app.end, timed(app.open, root))
        timed(app.end, root)
        time.sleep(0.002)
    share = (spent() - before) / (time.monotonic() - began)
    app.stop()
    found.sort()
    return found[len(found) // 2], found[len(found) * 99 // 100], share
slot("warm", url)
for number in range(pairs):
    urls = ["", url] if number % 2 else [url, ""]
    made = [slot(f"{number}-{place}", one) for place, one in enumerate(urls)]
    print(json.dumps(made if number % 2 else made[::-1]))
sys.stdout.flush()
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


def printed(program: str, *arguments: str, meanwhile: Callable[[], object] = lambda: None) -> str:
    """What a program prints."""
    env = {**os.environ, "EVENTTREE_STRICT": ""}
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=env
    ) as started:
        meanwhile()
        said, _ = started.communicate()
    assert started.returncode == 0
    return said


def cpu(running: Running) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def callbacks(place: Path, pairs: int) -> None:
    """Callbacks with an engine that is up, down and hanging, against those without a relay.

    One process records for a second with a relay, and for a second without one, in turn: each pair of seconds is a
    ratio, of which the median and the middle half are printed. `none` is the same with a relay in neither: what is left
    of chance.
    """
    nats = Nats(place / "engine")
    for name in ("none", "up", "down", "hanging"):
        nats.kill() if name == "down" else None
        nats.process.send_signal(signal.SIGSTOP) if name == "hanging" else None
        said = printed(CALLBACKS, str(place / name), "" if name == "none" else nats.url, str(pairs))
        nats.start() if name == "down" else None
        nats.process.send_signal(signal.SIGCONT) if name == "hanging" else None
        each = [json.loads(line) for line in said.splitlines()]
        print(f"callback, engine {name:8}", end="")
        for at, what in enumerate(("p50", "p99")):
            without, with_it = (statistics.median(one[which][at] for one in each) / 1e3 for which in (0, 1))
            low, ratio, high = statistics.quantiles((one[1][at] / one[0][at] for one in each), n=4)
            print(f" {what} {with_it:.1f} µs, without {without:.1f}: {ratio:.2f} ({low:.2f}-{high:.2f});", end="")
        relay = statistics.median(one[1][2] for one in each)
        print(f" the relay's thread had {relay * 100:.2f} % of a core", flush=True)
    nats.close()


def lag_of(folder: Path, url: str, meanwhile: Callable[[], object] = lambda: None) -> list[float]:
    """Events a second; the seconds that records were behind: p50, p99, most; CPU seconds of the relay an event."""
    return list(json.loads(printed(LAG, str(folder), url, meanwhile=meanwhile)))


def lags(place: Path) -> None:
    """How far a relay is behind at 1,000 events a second."""
    for engine in (Nats(place / "lag-nats"), Redis(place / "lag-redis")):
        rate, p50, p99, _, used = lag_of(place / f"lag-{type(engine).__name__}-app", engine.url)
        print(f"lag, {type(engine).__name__:6} {rate:5.0f} events/s: p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms")
        print(f"relay as a thread, {type(engine).__name__:6} at that rate: {used * 1e6:.1f} µs CPU an event")

        def hang(engine: Engine = engine) -> None:
            time.sleep(4.0)
            engine.process.send_signal(signal.SIGSTOP)
            time.sleep(HUNG_SECONDS)
            engine.process.send_signal(signal.SIGCONT)

        _, p50, p99, most, _ = lag_of(place / f"hung-{type(engine).__name__}-app", engine.url, hang)
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
    options.add_argument("--pairs", type=int, default=30, help="of seconds with and without a relay, for each engine")
    options.add_argument("--trees", type=int, default=10_000)
    options.add_argument("--callbacks", action="store_true", help="nothing else")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, VendorServer():
        if not given.callbacks:
            lags(Path(folder))
            throughput(Path(folder), given.trees)
            outage(Path(folder), given.trees * 3 // 20)
        if given.pairs:
            callbacks(Path(folder), given.pairs)


if __name__ == "__main__":
    main()
