"""What one run of a chain costs with our handler: `python -m tests.bench.chain [--peers]`.

The chain is prompt | model | parser (4 runs with the sequence itself). Three figures of time, each against a handler
that does nothing, interleaved in one process; with `--peers` the other handlers that are installed too (see peers.py),
each with a loopback server to ship to. On a loaded machine neither the microseconds nor their ratio hold still; there,
compare two versions by the fourth figure.

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
import os
import statistics
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable
from typing import Any

import orjson
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from eventtree import flush
from eventtree.langchain import CallbackHandler
from eventtree.vendors import Braintrust
from tests.bench.counting import counted
from tests.bench.peers import peers

RUNS_PER_CHAIN = 4
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


class Floor(BaseCallbackHandler):
    """A sketch of what no recorder does without: told, encoded once, written. It has no trees, looks at no value (a
    NaN, a cycle, a generator, half a surrogate, a secret), survives no disk and keeps no promise; see `DoNothing`.
    """

    def __init__(self, path: str) -> None:
        """Write to a new file."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def on_chain_start(self, serialized: Any, told: Any, *, run_id: uuid.UUID, **about: Any) -> None:
        """A run opened."""
        entry = {"r": "open", "id": run_id, "at": time.time_ns(), "inputs": told, **about}
        os.write(self._file, orjson.dumps(entry, default=vars))

    on_chat_model_start = on_chain_start

    def on_chain_end(self, told: Any, *, run_id: uuid.UUID, **about: Any) -> None:
        """A run closed."""
        entry = {"r": "close", "id": run_id, "at": time.time_ns(), "outputs": told}
        os.write(self._file, orjson.dumps(entry, default=vars))

    on_llm_end = on_chain_end


class NamedModel(GenericFakeChatModel):
    """A fake that says which model it plays, as real ones do."""

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": "gpt-4o-mini", "ls_model_type": "chat"}


def make_chain() -> Any:
    """prompt | model | parser."""
    prompt = ChatPromptTemplate.from_messages([("system", "Answer briefly."), ("human", "{question}")])
    return prompt | NamedModel(messages=itertools.repeat(ANSWER)) | StrOutputParser()


def serve(pipe: Any) -> None:
    """A vendor, and a server of any peer, in a process of its own that answers at once and keeps nothing."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without this each answer waits for the peer's delayed acknowledgement.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_row = self.path.startswith("/v1/project_logs")
            rows = [event["id"] for event in json.loads(content)["events"]] if is_row else []
            self.answer({"id": str(uuid.uuid4()), "row_ids": rows})

        do_PATCH = do_POST

        def do_GET(self) -> None:
            self.answer({})

        def answer(self, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
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


def timed(chain: Any, handlers: list[Any], times: int) -> list[float]:
    """CPU µs a run of this thread, for each of so many chains."""
    config, taken = {"callbacks": handlers}, []
    for _ in range(times):
        began = time.thread_time_ns()
        chain.invoke({"question": "Where do events go while a vendor is down?"}, config=config)
        taken.append((time.thread_time_ns() - began) / RUNS_PER_CHAIN / 1e3)
    return taken


def added(chain: Any, handlers: dict[str, Any], rounds: int, times: int) -> dict[str, float]:
    """What each handler adds to the median chain without one, in CPU µs a run on the caller's thread.

    The median of differences within one round each: machines are faster at one time than at another.
    """
    more: dict[str, list[float]] = {name: [] for name in handlers}
    for _ in range(rounds):
        bare = statistics.median(timed(chain, [], times))
        for name, handler in handlers.items():
            more[name].append(statistics.median(timed(chain, [handler], times)) - bare)
    return {name: statistics.median(found) for name, found in more.items()}


def total_cpu(chain: Any, handler: Any, finish: Callable[[], Any], times: int) -> float:
    """CPU µs a run of the whole process, flush included."""
    began = time.process_time()
    timed(chain, [handler], times)
    finish()
    return (time.process_time() - began) / (times * RUNS_PER_CHAIN) * 1e6


def callbacks(handler: Any, times: int, before: Callable[[], None]) -> dict[str, float]:
    """Percentiles in µs of single callbacks."""
    from eventtree.kinds import Kind
    from eventtree.recording.recorder import recorder

    before()
    taken = []
    for _ in range(times):
        run = str(uuid.uuid4())
        for call in (
            lambda run=run: recorder.open(
                handler.pipeline, run, None, kind=Kind.CHAIN, name="c", inputs={"question": "q" * 60}
            ),
            lambda run=run: recorder.close(handler.pipeline, run, outputs={"answer": "a" * 60}),
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
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--times", type=int, default=60)
    parser.add_argument("--peers", action="store_true", help="measure other handlers that are installed too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # what peers deprecate costs them nothing here
    near, far = multiprocessing.Pipe()
    vendor = multiprocessing.get_context("spawn").Process(target=serve, args=(far,), daemon=True)
    vendor.start()
    url = f"http://127.0.0.1:{near.recv()}"
    chain = make_chain()
    handler = CallbackHandler(vendors=[Braintrust(api_key="k", base_url=url)], journal=tempfile.mkdtemp() + "/journal")
    shipping = {"do-nothing": (DoNothing(), lambda: None), "eventtree": (handler, lambda: flush(120))}
    shipping |= peers(url) if options.peers else {}
    for one, finish in shipping.values():
        timed(chain, [one], 50)
        finish()

    found = added(chain, {name: one for name, (one, _) in shipping.items()}, options.rounds, options.times)
    for _, finish in shipping.values():
        finish()
    spent = {
        name: statistics.median(total_cpu(chain, one, finish, options.times * 10) for _ in range(3))
        for name, (one, finish) in shipping.items()
    }
    unit = found["do-nothing"]
    for name in shipping:
        total = spent[name] - spent["do-nothing"]
        print(
            f"{name}: caller's thread {found[name]:.1f} us a run ({found[name] / unit:.1f} x do-nothing), "
            f"to flush beyond do-nothing {total:.1f} us a run ({total / unit:.1f} x)"
        )
    instructions, calls = (n / 50 / RUNS_PER_CHAIN for n in counted(lambda: timed(chain, [handler], 50)))
    print(f"eventtree, caller's thread: {instructions:.0f} Python instructions, {calls:.0f} calls a run")

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
