"""What eventtree costs the app, by workload: `python -m tests.bench.table [--rounds N] [--only W1]`.

One table of ratios to a handler that does nothing, all variants interleaved in one process, the handlers of others that
are installed among them (peers.py): wall time as median and minimum. Vendors answer on loopback from a process of their
own; delivery runs in this one. Compare columns of one run, never two runs: machines are shared.

    W1   prompt | model | parser: 4 runs            W5   batch of 16 chains in threads
    W3   LangGraph agent of ten rounds              W5a  abatch of 16 chains
    W4   a model's stream of 200 tokens             W6   a prompt of 1 MB
    L1   LlamaIndex query
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from eventtree import flush
from eventtree.langchain import CallbackHandler
from eventtree.llama_index import DispatcherHandler
from eventtree.vendors import Braintrust, HoneyHive, HumanloopV4, HumanloopV5, Nebuly
from tests.bench import chain as chains
from tests.bench import llama_index as queries
from tests.bench.peers import peers

ROUNDS_OF_AGENT = 10
Workload = tuple[Callable[[list[Any]], Any], int]
"""What runs under LangChain handlers, and how often in a round."""


@tool
def look_up(number: int) -> str:
    """Look a number up."""
    return f"number {number}"


def agent() -> Any:
    """A graph whose model asks for a tool ten times, then answers."""
    from langchain.agents import create_agent

    class Model(chains.NamedModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    def answers() -> Any:
        for number in itertools.count():
            last = number % (ROUNDS_OF_AGENT + 1) == ROUNDS_OF_AGENT
            call = {"name": "look_up", "args": {"number": number}, "id": f"call_{number}"}
            yield AIMessage("done", tool_calls=[]) if last else AIMessage("", tool_calls=[call])

    return create_agent(Model(messages=answers()), [look_up])


def workloads() -> dict[str, Workload]:
    """Name → LangChain workload."""
    chain, graph = chains.make_chain(), agent()
    streaming = chains.NamedModel(messages=itertools.repeat(AIMessage(" ".join(["token"] * 100))))
    large = {"question": "x" * 1_000_000}
    question = {"question": "Where do events go while a vendor is down?"}
    loop = asyncio.new_event_loop()
    return {
        "W1": (lambda c: chain.invoke(question, {"callbacks": c}), 40),
        "W3": (lambda c: graph.invoke({"messages": [("human", "go")]}, {"callbacks": c, "recursion_limit": 50}), 2),
        "W4": (lambda c: list(streaming.stream("go", {"callbacks": c})), 4),
        "W5": (lambda c: chain.batch([question] * 16, {"callbacks": c}), 3),
        "W5a": (lambda c: loop.run_until_complete(chain.abatch([question] * 16, {"callbacks": c})), 3),
        "W6": (lambda c: chain.invoke(large, {"callbacks": c}), 3),
    }


def timed(act: Callable[[], Any], times: int) -> float:
    """Wall µs a call."""
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times * 1e6


def row(
    variants: dict[str, tuple[Callable[[], Any], AbstractContextManager[Any]]],
    rounds: int,
    times: int,
    settle: Callable[[], Any],
) -> str:
    """Ratios to the first variant. `settle` waits until all is shipped, so that none is timed beside another's rest."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for act, around in variants.values():
        with around:
            timed(act, times)
        settle()
    gc.collect()
    for _ in range(rounds):
        for name, (act, around) in variants.items():
            with around:
                taken[name].append(timed(act, times))
            settle()
    base = next(iter(taken.values()))
    cells = [
        f"{statistics.median(found) / statistics.median(base):5.2f} / {min(found) / min(base):5.2f}"
        for found in list(taken.values())[1:]
    ]
    return f"{statistics.median(base):9.0f} us  " + "   ".join(cells)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--only", nargs="*", default=[])
    given = options.parse_args()
    near, far = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=chains.serve, args=(far,), daemon=True)
    server.start()
    at = {"api_key": "k", "base_url": f"http://127.0.0.1:{near.recv()}"}
    one = [Braintrust(**at)]
    five = [*one, HoneyHive(project="p", **at), HumanloopV5(**at), HumanloopV4(project="p", **at), Nebuly(**at)]
    shipped: dict[str, list[Any]] = {"recording": [], "one vendor": one, "five vendors": five}

    def folder() -> str:
        return tempfile.mkdtemp() + "/journal"

    handlers = {name: CallbackHandler(vendors=v, user="u", journal=folder()) for name, v in shipped.items()}
    others = peers(at["base_url"])
    names = [*shipped, *others]

    def settle() -> None:
        flush(60)
        for _, finish in others.values():
            finish()

    print(f"{'':4} {'do-nothing':>12}  " + "   ".join(f"{name:>13}" for name in names) + "   (median / minimum)")
    for name, (act, times) in workloads().items():
        if given.only and name not in given.only:
            continue
        variants: dict[str, Any] = {"do-nothing": (lambda act=act: act([chains.DoNothing()]), nullcontext())}
        variants |= {n: (lambda act=act, h=h: act([h]), nullcontext()) for n, h in handlers.items()}
        variants |= {n: (lambda act=act, h=h: act([h]), nullcontext()) for n, (h, _) in others.items()}
        print(f"{name:4} {row(variants, given.rounds, times, settle)}", flush=True)
    if not given.only or "L1" in given.only:
        query = queries.programs()["query"]
        variants = {"do-nothing": (query, _Attached([queries.IdleSpans()], [queries.IdleEvents()]))}
        for name, vendors in shipped.items():
            ours = DispatcherHandler(vendors=vendors, user="u", journal=folder())
            variants[name] = (query, _Attached([ours._span_handler], [ours._event_handler]))
        print(f"{'L1':4} {row(variants, given.rounds, 10, settle)}", flush=True)
    server.terminate()


class _Attached(AbstractContextManager[None]):
    """These LlamaIndex handlers alone, as often as entered."""

    def __init__(self, spans: list[Any], events: list[Any]) -> None:
        self.given = spans, events

    def __enter__(self) -> None:
        self._inner = queries.attached(*self.given)
        self._inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._inner.__exit__(*error)


if __name__ == "__main__":
    main()
