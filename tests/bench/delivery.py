"""What delivering a journal costs: `python -m tests.bench.delivery [--trees N] [--rounds N] [--vendors otlp …]
[--against CHECKOUT] [--floor] [--agent STEPS]`.

The same journal of chains around a prompt, a model and a parser (with `--agent`, of agents of so many steps) is drained
to one vendor and to five, on loopback, the vendors in a process of their own that answers at once: CPU seconds of the
delivering process beyond those of its start. With `--against`, another checkout of eventtree does the same in turn: on
a machine that does other things too, only the ratio means something. `--floor` adds the sketches of `floor.py`, which
keep no promise: `plain` checks and parses each line, writes the run's two records as its row and makes as few requests
as the contracts allow; `right` makes Braintrust's very rows, which is checked. `--instructions` counts them with
valgrind instead, once. `--slices` prints the CPU time between two looks at whether the app waits. `--beside` times the
callbacks of an app instead, while its process ships the journal, and while it leaves that to another.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FIVE = ["braintrust", "honeyhive", "humanloop_v4", "humanloop_v5", "nebuly"]
"""The vendors that every version has."""

SETUP = """
import sys, time
from eventtree import flush
from eventtree.langchain import CallbackHandler
from eventtree.vendors import vendor_class
journal, url, trees, *kinds = sys.argv[1:]
where = {kind: url + ("/" + kind[-2:] if "humanloop" in kind else "") for kind in kinds}
vendors = [vendor_class(kind)(api_key="k", base_url=where[kind]) for kind in kinds]
"""

RECORD = """
from tests.bench.chain import make_chain
handler = CallbackHandler(vendors=vendors, user="u", journal=journal, deliver=False)
chain = make_chain()
for number in range(int(trees)):
    question = f"Where do events go while vendor {number} is down? " * 8
    chain.invoke({"question": question}, config={"callbacks": [handler]})
"""

RECORD_AGENT = """
from tests.bench import table
handler = CallbackHandler(vendors=vendors, user="u", journal=journal, deliver=False)
table.ROUNDS_OF_AGENT = STEPS
agent = table.agent()
for _ in range(int(trees)):
    agent.invoke({"messages": [("human", "go")]}, {"callbacks": [handler], "recursion_limit": 10_000})
"""

DRAIN = """
handler = CallbackHandler(vendors=vendors, user="u", journal=journal)
report = flush(120)
assert not report.waiting and not any(one.dead for one in report.vendors.values()), report
print(sum(one.delivered for one in report.vendors.values()), time.process_time())
"""

FLOOR = """
from tests.bench import floor
floor.drain(journal, url, kinds, floor.ROWS)
"""

CHECK = """
from tests.bench import floor
floor.check(journal, vendors[0])
"""

SLICES = (
    """
from eventtree.pace import Throttle
rest, slices = Throttle.rest, []
def timed(throttle, began=[None]):
    if began[0] is not None:
        slices.append(time.thread_time() - began[0])
    rest(throttle)
    began[0] = time.thread_time()
Throttle.rest = timed
"""
    + DRAIN.rpartition("print")[0]
    + """
slices.sort()
print(len(slices), slices[int(len(slices) * 0.999)], sum(one > 0.001 for one in slices) / len(slices))
"""
)

BESIDE = """
from tests.bench.chain import callbacks
handler = CallbackHandler(vendors=vendors, user="u", journal=journal, deliver=trees == "ships")
time.sleep(1)  # what delivery imports belongs to the start
found = callbacks(handler, 4_000, lambda: None)
from eventtree.delivery.report import make_report
assert trees != "ships" or make_report(handler.pipeline.journal, {}).waiting, "the backlog was too short"
print(found["p50"], found["p99"])
"""


def serve(pipe: Any) -> None:
    """A vendor of any kind in a process of its own that takes everything and keeps nothing."""
    import uuid
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits for the peer's delayed acknowledgement
        wbufsize = -1

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            sent = json.loads(content) if "logs" in self.path or "events" in self.path else {}
            rows = sent.get("events", sent.get("logs", ())) if isinstance(sent, dict) else sent
            ids = [row.get("id") or row.get("event_id") for row in rows if isinstance(row, dict)]
            answer = {"id": str(uuid.uuid4()), "row_ids": ids, "event_ids": ids, "success": True}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PATCH = do_PUT = do_POST

        def log_message(self, *args: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    pipe.send(server.server_port)
    server.serve_forever()


def run(checkout: Path, program: str, *arguments: str, tool: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A program with the eventtree of a checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{checkout / 'integrations'}{os.pathsep}{checkout}",
        "PYTHONHASHSEED": "0",
    }
    command = [*tool, sys.executable, "-c", SETUP + program, *arguments]
    return subprocess.run(command, env=environment, cwd=checkout, text=True, capture_output=True, check=True)


class Bench:
    """Journals recorded once by each checkout, drained from a copy each time."""

    def __init__(self, folder: Path, url: str, trees: int, steps: int | None) -> None:
        """Keep journals in `folder`: of chains, or of agents of so many steps."""
        self.folder, self.url, self.trees = folder, url, trees
        self.record = RECORD if steps is None else RECORD_AGENT.replace("STEPS", str(steps))

    def cost(self, checkout: Path, kinds: list[str], program: str, tool: tuple[str, ...] = ()) -> tuple[float, str]:
        """CPU seconds of draining by a program, and what the tool printed."""
        done = run(checkout, program, *self.copied(checkout, kinds), "0", *kinds, tool=tool)
        return float(done.stdout.split()[-1]), done.stderr

    def beside(self, checkout: Path, kinds: list[str], who: str) -> tuple[float, float]:
        """Median and 99th percentile of a callback in µs, in a process that `ships` the journal or `waits`."""
        p50, p99 = run(checkout, BESIDE, *self.copied(checkout, kinds), who, *kinds).stdout.split()
        return float(p50), float(p99)

    def slices(self, checkout: Path, kinds: list[str]) -> str:
        """How long the delivering thread works between two looks at whether the app waits."""
        looks, most, share = run(checkout, SLICES, *self.copied(checkout, kinds), "0", *kinds).stdout.split()
        return f"99.9 % of {looks} slices under {float(most) * 1e3:.2f} ms, {float(share):.2%} over 1 ms"

    def copied(self, checkout: Path, kinds: list[str]) -> tuple[str, str]:
        """A copy of the checkout's journal, and where its vendors are."""
        kept = self.folder / f"{checkout.name}-{len(kinds)}-{self.trees}"
        if not kept.exists():
            kept.mkdir(mode=0o700)
            run(checkout, self.record, str(kept), self.url, str(self.trees), *kinds)
        journal = self.folder / "drained"
        shutil.rmtree(journal, ignore_errors=True)
        shutil.copytree(kept, journal)
        return str(journal), self.url


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="CPU of delivery")
    parser.add_argument("--trees", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--floor", action="store_true")
    parser.add_argument("--agent", type=int, metavar="STEPS")
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--slices", action="store_true")
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--vendors", nargs="*", help="these at once, in place of one and of five")
    given = parser.parse_args()
    checkouts = {"this": ROOT, **({"other": given.against.absolute()} if given.against else {})}
    programs = {label: (checkout, DRAIN) for label, checkout in checkouts.items()}
    if given.floor:
        programs["plain floor"] = (ROOT, FLOOR.replace("ROWS", "plain_rows"))
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    with tempfile.TemporaryDirectory() as name:
        full, empty = (Bench(Path(name), url, trees, given.agent) for trees in (given.trees, 1))
        for kinds in [given.vendors] if given.vendors else [["braintrust"]] if given.beside else [["braintrust"], FIVE]:
            medians = {}
            if given.floor and kinds == ["braintrust"] and given.agent is None:
                programs["right floor"] = (ROOT, FLOOR.replace("ROWS", "right_rows"))
                print(run(ROOT, CHECK, *full.copied(ROOT, kinds), "0", *kinds).stdout.strip())
            else:
                programs.pop("right floor", None)
            if given.beside:
                for label, checkout in checkouts.items():
                    seen = [
                        [full.beside(checkout, kinds, who) for who in ("waits", "ships")] for _ in range(given.rounds)
                    ]
                    for at, name in enumerate(("p50", "p99")):
                        alone, beside = (statistics.median(found[who][at] for found in seen) for who in (0, 1))
                        print(
                            f"callback, {name}, {label}: {alone:.0f} us, beside a backlog {beside / alone:.2f} of that"
                        )
                continue
            if given.slices:
                for label, checkout in checkouts.items():
                    print(f"{len(kinds)} vendors, {label}: {full.slices(checkout, kinds)}")
                continue
            if given.instructions:
                tool = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-fd=2")
                for label, (checkout, program) in programs.items():
                    counts = [
                        int(re.search(r"Collected : (\d+)", bench.cost(checkout, kinds, program, tool)[1])[1])  # type: ignore[index]
                        for bench in (full, empty)
                    ]
                    medians[label] = counts[0] - counts[1]
                    print(
                        f"{len(kinds)} vendors, {label}: {medians[label] / given.trees / 1e6:.2f} M instructions a tree"
                    )
            else:
                times: dict[str, list[float]] = {label: [] for label in programs}
                starts: dict[str, list[float]] = {label: [] for label in programs}
                for _ in range(given.rounds):
                    for label, (checkout, program) in programs.items():
                        times[label].append(full.cost(checkout, kinds, program)[0])
                        starts[label].append(empty.cost(checkout, kinds, program)[0])
                for label in programs:
                    start = statistics.median(starts[label])
                    medians[label] = statistics.median(times[label]) - start
                    print(
                        f"{len(kinds)} vendors, {label}: {medians[label] * 1e3 / given.trees:.2f} ms CPU a tree "
                        f"beyond the start's {start:.2f} s"
                    )
            for label in medians.keys() - {"this"}:
                print(f"{len(kinds)} vendors: {medians['this'] / medians[label]:.2f} of the {label}'s")
    server.terminate()


if __name__ == "__main__":
    main()
