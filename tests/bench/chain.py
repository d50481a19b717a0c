"""What one run of a chain costs with our handler: `python -m tests.bench.chain`.

The chain is prompt | model | parser (4 runs with the sequence itself). Three figures of time, each against a handler that does
nothing, interleaved in one process. On a loaded machine neither the microseconds nor their ratio hold still (what a
do-nothing handler adds is a small difference of large numbers); there, compare two versions by the fourth figure.

    added µs a run on the caller's thread, Braintrust as the vendor on loopback in a process of its own
    total CPU µs a run until everything is flushed
    p50 / p99 / p99.9 of a callback while the shipper works off a backlog
    Python instructions and calls a run inside eventtree, the same in every run of one version; C code is not in them
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

import eventtree
from eventtree import flush
from eventtree.langchain import CallbackHandler
from eventtree.vendors import Braintrust

RUNS_PER_CHAIN = 4
OURS = str(Path(eventtree.__file__).parent)
ANSWER = AIMessage(
    "The journal keeps them.",
    usage_metadata={"input_tokens": 12, "output_tokens": 5, "total_tokens": 17},
    response_metadata={"model_name": "gpt-4o-mini-2024-07-18", "finish_reason": "stop"},
)


class DoNothing(BaseCallbackHandler):
    """What any handler costs before it does anything."""

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    on_chain_end = on_chat_model_start = on_llm_end = on_chain_start


class NamedModel(GenericFakeChatModel):
    """A fake that says which model it plays, as real ones do."""

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": "gpt-4o-mini", "ls_model_type": "chat"}


def make_chain() -> Any:
    """prompt | model | parser."""
    prompt = ChatPromptTemplate.from_messages([("system", "Answer briefly."), ("human", "{question}")])
    return prompt | NamedModel(messages=itertools.repeat(ANSWER)) | StrOutputParser()


def serve(pipe: Any) -> None:
    """A vendor in a process of its own that answers at once and keeps nothing."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without this each answer waits for the peer's delayed acknowledgement.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = (
                {"id": str(uuid.uuid4())} if "events" not in body else {"row_ids": [e["id"] for e in body["events"]]}
            )
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    pipe.send(server.server_port)
    server.serve_forever()


def timed(chain: Any, handlers: list[Any], times: int) -> tuple[float, float]:
    """(wall, CPU of this thread) µs a run."""
    config = {"callbacks": handlers}
    wall, cpu = time.perf_counter(), time.thread_time()
    for _ in range(times):
        chain.invoke({"question": "Where do events go while a vendor is down?"}, config=config)
    count = times * RUNS_PER_CHAIN
    return (time.perf_counter() - wall) / count * 1e6, (time.thread_time() - cpu) / count * 1e6


def added(chain: Any, handler: Any, rounds: int, times: int) -> dict[str, float]:
    """Median µs a run with no handler, and what a do-nothing one and ours add to it; CPU of the caller's thread."""
    bare, idle, ours = [], [], []
    for _ in range(rounds):
        bare.append(timed(chain, [], times)[1])
        idle.append(timed(chain, [DoNothing()], times)[1])
        ours.append(timed(chain, [handler], times)[1])
    return {
        "bare": statistics.median(bare),
        "do_nothing_added": statistics.median(b - a for a, b in zip(bare, idle, strict=True)),
        "ours_added": statistics.median(b - a for a, b in zip(bare, ours, strict=True)),
        "ours_over_do_nothing": statistics.median(b - a for a, b in zip(idle, ours, strict=True)),
    }


def counted(chain: Any, handler: Any, times: int) -> tuple[float, float]:
    """Python instructions and calls a run inside eventtree, on the caller's thread."""
    done = {"opcode": 0, "call": 0}

    def inside(frame: FrameType, event: str, _: Any) -> Any:
        done["opcode"] += event == "opcode"
        return inside

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        done["call"] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return inside

    sys.settrace(entered)
    try:
        timed(chain, [handler], times)
    finally:
        sys.settrace(None)
    return done["opcode"] / times / RUNS_PER_CHAIN, done["call"] / times / RUNS_PER_CHAIN


def total_cpu(chain: Any, handler: Any, times: int) -> float:
    """CPU µs a run of the whole process, flush included, beyond that of a do-nothing handler."""
    used = []
    for handlers, finish in (([DoNothing()], lambda: None), ([handler], lambda: flush(120))):
        began = time.process_time()
        timed(chain, handlers, times)
        finish()
        used.append(time.process_time() - began)
    return (used[1] - used[0]) / (times * RUNS_PER_CHAIN) * 1e6


def callbacks(handler: Any, times: int, before: Callable[[], None]) -> dict[str, float]:
    """Percentiles in µs of single callbacks."""
    from eventtree.event import Kind
    from eventtree.recorder import recorder

    before()
    taken = []
    for _ in range(times):
        run = str(uuid.uuid4())
        for call in (
            lambda run=run: recorder.open(
                handler.door, run, None, kind=Kind.CHAIN, name="c", inputs={"question": "q" * 60}
            ),
            lambda run=run: recorder.close(handler.door, run, outputs={"answer": "a" * 60}),
        ):
            began = time.perf_counter()
            call()
            taken.append((time.perf_counter() - began) * 1e6)
        time.sleep(0.0002)
    taken.sort()
    return {f"p{p}": taken[min(len(taken) - 1, int(len(taken) * p / 100))] for p in (50, 99, 99.9)} | {"max": taken[-1]}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--times", type=int, default=200)
    options = parser.parse_args()
    near, far = multiprocessing.Pipe()
    vendor = multiprocessing.get_context("spawn").Process(target=serve, args=(far,), daemon=True)
    vendor.start()
    url = f"http://127.0.0.1:{near.recv()}"
    chain = make_chain()
    handler = CallbackHandler(vendors=[Braintrust(api_key="k", base_url=url)], journal=tempfile.mkdtemp() + "/journal")
    timed(chain, [handler], 50)
    flush(30)
    found = added(chain, handler, options.rounds, options.times)
    for name, value in found.items():
        print(f"caller's thread, {name}: {value:.1f} us a run")
    unit = found["do_nothing_added"]
    print(f"caller's thread, ours_added / do_nothing_added: {found['ours_added'] / unit:.1f} (aim: 4)")
    instructions, calls = counted(chain, handler, 50)
    print(f"caller's thread, inside eventtree: {instructions:.0f} Python instructions, {calls:.0f} calls a run")
    flush(60)
    cpu = statistics.median(total_cpu(chain, handler, options.times * 3) for _ in range(3))
    print(f"total CPU to flush, beyond a do-nothing handler: {cpu:.1f} us a run")
    print(f"total CPU to flush / do_nothing_added: {cpu / unit:.1f} (aim: 12)")

    def backlog() -> None:
        for _ in range(1_500):
            chain.invoke({"question": "Where?"}, config={"callbacks": [handler]})

    for label, before in (("quiet shipper", lambda: flush(60)), ("shipper with a backlog", backlog)):
        percentiles = callbacks(handler, 3_000, before)
        print(f"callback beside a {label}: " + ", ".join(f"{p} {value:.0f} us" for p, value in percentiles.items()))
    print(f"waiting at the end: {flush(60).waiting}")
    vendor.terminate()


if __name__ == "__main__":
    main()
