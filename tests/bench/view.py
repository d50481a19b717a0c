"""What the viewer costs and how quick it is: `python -m tests.bench.view [--trees 250000] [--rounds 5]`.

One table of figures beside their goals. Times are medians of the rounds, with the best in brackets: machines are
shared. The journal holds four events a tree, of five models; one tree in fifty failed. The browser is Debian's
Chromium.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import quote

import eventtree.view
from eventtree.journal import DiskFiles, Journal, open_journal
from eventtree.journal.scan import entries_in
from tests.trees import new_id, record_tree
from tests.view.browser import chromium, watched
from tests.view.worlds import large_tree, pipeline_in, small_tree

EVENTS = 10_000
MODELS = (b"gpt-4o-mini", b"gpt-4o", b"claude-opus-4-5", b"gemini-2.5-pro", b"mistral-large")
CALLBACKS = """
import json, sys, time
from tests.view.worlds import pipeline_in
from tests.trees import new_id
from eventtree.kinds import Kind
from eventtree.recording.recorder import recorder
pipeline, took = pipeline_in(sys.argv[1]), []
for number in range(int(sys.argv[2])):
    run, began = new_id(), time.perf_counter_ns()
    recorder.open(pipeline, run, None, kind=Kind.TOOL, name="tool", inputs={"number": number})
    took.append(time.perf_counter_ns() - began)
    recorder.close(pipeline, run, outputs="x")
    if number % 100 == 0:
        time.sleep(0.005)
took.sort()
print(json.dumps([took[len(took) // 2], took[len(took) * 99 // 100], time.process_time_ns()]))
"""
FILTERS = ("model:gpt-4o status:error", "cost>0.0001 model:claude*", "status:error", "cost>5", "-model:gpt* user:a*")
"""Some choose a few, the last ones none: then all rows are looked at."""
FRAMES = 300
SCROLL = """async () => {
  const box = document.getElementById("events"), work = [], between = [];
  const p95 = times => times.sort((a, b) => a - b)[Math.floor(times.length * 0.95)];
  let before = await new Promise(requestAnimationFrame);
  for (let at = 0; at < FRAMES; at++) {
    const began = await new Promise(next => requestAnimationFrame(began => {
      const after = new MessageChannel(), from = performance.now();
      after.port1.onmessage = () => { work.push(performance.now() - from); next(began); };
      after.port2.postMessage(0);
      if (box) box.scrollTop += 4 * 26;
    }));
    between.push(began - before);
    before = began;
  }
  return [p95(work), p95(between)];
}""".replace("FRAMES", str(FRAMES))
"""While four rows, a notch of the wheel, go by in each frame: from its beginning until it is painted, and from one to
the next; p95 of both. A page without rows only counts its frames: that is what the machine can do.
"""
DRAWN = """async () => {
  while (!document.querySelector(".event")) await new Promise(requestAnimationFrame);
  return performance.now();
}"""

AWAIT_ROW = """name => {
  const is_there = () => document.querySelector(".tree-row")?.textContent.includes(name);
  window.seen = (async () => {
    while (!is_there()) await new Promise(next => setTimeout(next, 5));
    return Date.now();
  })();
}"""


def fill(folder: Path, trees: int) -> None:
    """A journal of so many trees of four events, each like one that was recorded."""
    with tempfile.TemporaryDirectory() as place:
        record_tree(pipeline_in(Path(place)), children=3)
        recorded = open_journal(place)
        entries = list(entries_in(recorded, recorded.logs()[0]))
    ids = list(dict.fromkeys(run_id for _, run_id, *_ in entries))
    journal = Journal(DiskFiles(folder))
    for number in range(trees):
        fresh = {old.encode(): new_id().encode() for old in ids}
        at = str(time.time_ns()).encode()
        for _, run_id, tree_id, *_, payload in entries:
            payload = payload.replace(b"gpt-4o-mini", MODELS[number % len(MODELS)])
            for old, new in fresh.items():
                payload = payload.replace(old, new)
            if b'"start":' in payload:
                head, _, rest = payload.partition(b'"start":')
                payload = head + b'"start":' + at + rest[19:]
            if number % 50 == 0 and payload.startswith(b'{"r":"close"') and run_id == tree_id:
                payload = payload.replace(b'"status":"ok"', b'"status":"error"')
            journal.append(payload)
    journal.end()
    journal.files.forget()


@contextmanager
def viewer(folder: Path, cache: Path) -> Iterator[tuple[str, float, int]]:
    """`eventtree view` in a process of its own: its address, when it was started, its process id."""
    command = [sys.executable, "-m", "eventtree", "view", "--no-browser", "--journal", str(folder)]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)}
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[0], began, process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Client:
    """Asks a viewer as the page does."""

    def __init__(self, address: str) -> None:
        self.base = address.partition("?")[0]
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self.opener.open(address).read()

    def get(self, path: str) -> Any:
        """The answer to a GET."""
        with self.opener.open(self.base + path) as answer:
            return json.loads(answer.read())


def timed(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def first_byte(folder: Path, cache: Path) -> tuple[float, float, float]:
    """From the command to the page's first byte, the processor's time for it, and to the first rows."""
    with viewer(folder, cache) as (address, began, pid):
        client = Client(address)
        page = time.perf_counter() - began
        spent = spent_by(pid)
        assert client.get("api/trees?limit=100")["rows"]
        return page, spent, time.perf_counter() - began


def spent_by(pid: int) -> float:
    """Processor's seconds that a process has used."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def installed() -> str:
    """What the extra brings besides the command line."""
    names = ("starlette", "uvicorn")
    sizes = [
        sum(
            Path(str(file.locate())).stat().st_size
            for file in importlib.metadata.files(name) or ()
            if file.suffix in (".py", ".typed") or "dist-info" in str(file)
        )
        for name in names
    ]
    return f"{sum(sizes) / 1e6:.2f} MB, {len(names)} packages"


def page_bytes() -> str:
    """All static files, each gzipped."""
    files = [path for path in (Path(eventtree.view.__file__).parent / "static").rglob("*") if path.is_file()]
    sent = [path for path in files if not path.name.startswith("LICENSE")]
    return f"{sum(len(gzip.compress(path.read_bytes())) for path in sent) / 1024:.1f} KB, {len(sent)} files"


def in_the_browser(place: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds until a large tree is drawn, of a frame while it scrolls, and until a new tree is seen."""
    found: dict[str, list[float]] = {name: [] for name in ("drawn", "work", "between", "blank", "busy", "live")}
    folder = place / "large"
    tree = large_tree(pipeline_in(folder), EVENTS)
    pipeline = pipeline_in(folder)
    with chromium() as browser:
        for _ in range(rounds):
            with watched(browser, Journal(DiskFiles(folder))) as one:
                page = one.open()
                page.locator(".tree-row").first.wait_for()
                page.goto(f"{one.address}/#tree={tree}")
                page.reload()
                found["drawn"].append(page.evaluate(DRAWN) / 1000)
                threads = page.context.new_cdp_session(page)
                threads.send("Performance.enable", {"timeDomain": "threadTicks"})
                before = busy(threads)
                work, between = page.evaluate(SCROLL)
                found["work"].append(work / 1000)
                found["between"].append(between / 1000)
                found["busy"].append((busy(threads) - before) / FRAMES)
                blank = page.context.new_page()
                found["blank"].append(blank.evaluate(SCROLL)[1] / 1000)
                blank.close()
                page.locator(".live.on").wait_for()
                page.wait_for_timeout(600)
                for number in range(5):
                    page.evaluate(AWAIT_ROW, f"new {number}")
                    small_tree(pipeline, f"new {number}")
                    ended = time.time()
                    found["live"].append(page.evaluate("window.seen") / 1000 - ended)
    return found


def busy(session: Any) -> float:
    """Processor's seconds that the page's own thread has used."""
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


def recording(place: Path, rounds: int) -> list[tuple[float, float, float]]:
    """Median, p99 and CPU time of a recording process with the viewer open, by those without."""
    ratios = []
    for number in range(rounds):
        folder = place / f"recording-{number}"
        small_tree(pipeline_in(folder))
        alone = json.loads(subprocess.check_output([sys.executable, "-c", CALLBACKS, str(folder), "20000"]))
        with viewer(folder, place / "cache") as (address, _, _):
            client = Client(address)
            stream = client.opener.open(client.base + "api/live")
            reader = threading.Thread(target=lambda stream=stream: [None for _ in stream], daemon=True)
            reader.start()
            seen = json.loads(subprocess.check_output([sys.executable, "-c", CALLBACKS, str(folder), "20000"]))
        reader.join(5)
        stream.close()
        ratios.append(tuple(one / other for one, other in zip(seen, alone, strict=True)))
    return ratios


def shown(seconds: list[float]) -> str:
    """Median and best."""
    return f"{_time(statistics.median(seconds))} ({_time(min(seconds))})"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms" if seconds < 1 else f"{seconds:.2f} s"


def rows(trees: int, rounds: int) -> Iterator[tuple[str, str, str]]:
    """Every figure: what, goal, measured."""
    yield "installed beyond `eventtree[cli]`", "≤ 1 MB, 2 packages", installed()
    yield "page, all files gzipped", "≤ 60 KB", page_bytes()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        fill(place / "hundred", 100)
        found = [first_byte(place / "hundred", place / "cache") for _ in range(rounds)]
        yield "command → first byte, 100 trees", "≤ 1 s", shown([page for page, _, _ in found])
        yield "the same, processor's time", "", shown([spent for _, spent, _ in found])
        yield "command → first rows, 100 trees", "", shown([rows for _, _, rows in found])
        seen = in_the_browser(place, rounds)
        yield f"a tree of {EVENTS:,} events, drawn", "≤ 2 s", shown(seen["drawn"])
        yield "a frame of it while it scrolls, until it is painted (p95)", "≤ 16 ms", shown(seen["work"])
        floor = f"{shown(seen['between'])}; of a blank page {shown(seen['blank'])}"
        yield "from frame to frame while it scrolls (p95)", "that of a blank page", floor
        yield "a frame, the page's own processor's time (mean)", "", shown(seen["busy"])
        yield (
            "a tree is seen after its last callback",
            "≤ 500 ms",
            f"{shown(seen['live'])}, at most {_time(max(seen['live']))}",
        )
        ratios = recording(place, rounds)
        both = " / ".join(f"{statistics.median(one[at] for one in ratios):.2f}" for at in range(3))
        yield "recording with the viewer open, by without: callback p50 / p99 / CPU", "0.95 to 1.05", both
        yield from at_scale(place, trees, rounds)


def at_scale(place: Path, trees: int, rounds: int) -> Iterator[tuple[str, str, str]]:
    """Figures of a large journal."""
    folder, events = place / "large-journal", 4 * trees
    fill(folder, trees)
    size = sum(path.stat().st_size for path in folder.glob("*.log"))
    cold = []
    for number in range(rounds):
        with viewer(folder, place / f"cold-{number}") as (address, _, _):
            client = Client(address)
            cold.append(timed(partial(client.get, "api/trees?limit=100")))
    yield f"first rows of {events:,} events ({size / 1e9:.1f} GB), no index yet", "≤ 1.5 s", shown(cold)
    cache = place / "cold-0"
    with viewer(folder, cache) as (address, _, pid):
        client = Client(address)
        began, before = time.perf_counter(), spent_by(pid)
        while not client.get("api/trees?q=name:none")["certain"]:
            pass
        filled, spent = time.perf_counter() - began, spent_by(pid) - before
        resident = int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
        used = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        took = f"{filled:.0f} s, {spent:.0f} s of processor's time, {resident:.0f} MB resident"
        yield "its index filled behind the page", "≤ 30 s, ≤ 150 MB", took
        yield "size of the index", "≤ 10 % of the logs", f"{used / size:.1%}"
        for words in FILTERS:
            path, before = f"api/trees?limit=100&q={quote(words)}", spent_by(pid)
            took = [timed(partial(client.get, path)) for _ in range(20)]
            spent = (spent_by(pid) - before) / len(took)
            yield f"filter `{words}`", "≤ 50 ms", f"{shown(took)}, {_time(spent)} of processor's time"
    warm = []
    for _ in range(rounds):
        with viewer(folder, cache) as (address, _, _):
            client = Client(address)
            warm.append(timed(partial(client.get, "api/trees?limit=100")))
    yield "first rows with the index", "≤ 0.3 s", shown(warm)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=250_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print("| what | goal | measured: median (best) |\n| --- | --- | --- |", flush=True)
    for what, goal, measured in rows(given.trees, given.rounds):
        print(f"| {what} | {goal} | {measured} |", flush=True)


if __name__ == "__main__":
    main()
