"""Sketches of delivery that keep no promise: the least that it could cost, beside it in `tests.bench.delivery --floor`.

Each reads a journal of chains line by line and posts what it has made by delivery's own `Http`: no damage, no second
process, no late part, no bound, no rest, no answer that is read, no cursor. `plain` writes the two records of a run as
they are, in as few requests as each vendor's contract allows. `right` makes the rows that Braintrust is sent, byte for
byte (`check`), in one straight line from two records to a row, for what these chains hold and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from eventtree.delivery.http import Http
from eventtree.pricing.pricer import Pricer
from eventtree.serializer.requests import Request
from eventtree.serializer.vendor import own_version

Record = dict[str, Any]
Post = Callable[[bytes], Awaitable[Any]]

CONTRACTS = {
    "braintrust": (100, 0), "honeyhive": (100, 1), "humanloop_v4": (100, 0), "humanloop_v5": (1, 1), "nebuly": (0, 1),
}  # fmt: skip
"""Vendor → events that one request may hold, and requests for the tree itself."""
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def trees(journal: str) -> Iterator[list[tuple[Record, Record]]]:
    """The trees in the order their roots closed: of each run its open and its close record, as they opened."""
    growing: dict[str, dict[str, Any]] = {}
    for log in sorted(Path(journal).glob("*.log")):
        for line in log.read_bytes().split(b"\n")[:-1]:
            number, _, payload = line[9:].partition(b" ")
            assert int(line[:8], 16) == crc32(payload, int(number))
            record = orjson.loads(payload)
            kind, run, tree = record["r"], record["id"], record["tree"]
            if kind == "open":
                if run == tree:
                    growing[tree] = {}
                growing[tree][run] = record
            elif kind == "close":
                growing[tree][run] = (growing[tree][run], record)
                if run == tree:
                    yield list(growing.pop(tree).values())


def row(opened: Record, closed: Record, user: str) -> bytes:
    """Braintrust's row of a run."""
    start, kind, run, parent, get = opened["start"] // 1000, opened["kind"], opened["id"], opened["parent"], opened.get
    metrics = {"start": start / 1e6, "end": start / 1e6 + closed["duration"] / 1e9}
    metadata: Record = {}
    if kind == "model":
        asked, model = opened["model"], closed["model"]
        used = closed["usage"]["usage_metadata"][0]
        sent, answered = used["input_tokens"], used["output_tokens"]
        rates = rates_of(model, opened["provider"])
        usd = {"input_usd": sent * rates[0], "output_usd": answered * rates[1]}
        usd["total_usd"] = usd["input_usd"] + usd["output_usd"]
        cost = {name: float(amount) for name, amount in usd.items()}
        metrics |= {"prompt_tokens": sent, "completion_tokens": answered, "tokens": used["total_tokens"]}
        metrics["estimated_cost"] = cost["total_usd"]
        metadata = {"model": model, "asked_model": asked, "provider": opened["provider"], "kind": kind, "user_id": user}
        inputs: Any = [{"content": one["content"], "role": one["role"]} for one in opened["inputs"]["messages"]]
        outputs: Any = [choice(at, one) for at, one in enumerate(closed["outputs"]["messages"])]
    else:
        inputs, outputs = opened["inputs"], closed["outputs"]
        if (params := get("params")) is not None:
            metadata["params"] = params
        metadata["kind"], metadata["user_id"] = kind, user
    if (own := get("metadata")) is not None:
        metadata["metadata"] = own
    if parent is not None and (tags := get("tags")) is not None:
        metadata["tags"] = tags
    if kind == "model":
        metadata["cost"] = {**cost, "source": rates[2]}
    fields = {
        "id": run, "span_id": run, "root_span_id": opened["tree"], "span_parents": [] if parent is None else [parent],
        "span_attributes": {"name": opened["name"], "type": "llm" if kind == "model" else "task"},
        "created": EPOCH + MICROSECOND * start, "input": inputs, "output": outputs, "metrics": metrics,
        "metadata": metadata, "context": context_of(opened["framework"]),
    }  # fmt: skip
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)


def choice(at: int, message: Record) -> Record:
    """A generation of a model."""
    rest = {key: value for key, value in message.items() if key not in ("content", "role", "finish_reason")}
    own = {"content": message["content"], "role": message["role"], **rest}
    return {"index": at, "finish_reason": message.get("finish_reason"), "message": own}


@cache
def context_of(framework: str) -> orjson.Fragment:
    """What made the row, as JSON."""
    origin = {"name": "eventtree", "version": own_version(), "instrumentation": {"name": framework}}
    return orjson.Fragment(orjson.dumps({"span_origin": origin}))


@cache
def rates_of(model: str, provider: str) -> tuple[Decimal, Decimal, str]:
    """Dollars of one token in and out, and who says so."""
    pricer = Pricer()
    assert pricer.catalogue is not None
    found = pricer.catalogue.find(model, provider, None)
    now = datetime.now(UTC)
    rates = found and pricer.catalogue._ask(found, {}, now).rates_of(1)
    assert rates
    return rates["input_tokens"], rates["output_tokens"], pricer.catalogue.source


def right_rows(runs: list[tuple[Record, Record]]) -> list[bytes]:
    """Braintrust's rows of a tree."""
    user = runs[0][0]["user"]
    return [row(opened, closed, user) for opened, closed in runs]


def plain_rows(runs: list[tuple[Record, Record]]) -> list[bytes]:
    """The records of a tree as they are, each run's as one."""
    return [orjson.dumps({**opened, **closed}) for opened, closed in runs]


async def drained(
    journal: str, url: str, kinds: list[str], rows_of: Callable[[list[tuple[Record, Record]]], list[bytes]]
) -> int:
    """Post the rows of all trees to each vendor; the number of events that were sent."""
    http, delivered = Http(), 0
    waiting: dict[str, list[bytes]] = {kind: [] for kind in kinds}

    async def post(some: list[bytes]) -> None:
        body = b'{"events":[%b]}' % b",".join(some)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        await http.send(Request("POST", f"{url}/v1/events", body, (), headers), {"Authorization": "Bearer k"})

    for runs in trees(journal):
        for kind in kinds:
            size, of_tree = CONTRACTS[kind]
            rows = rows_of(runs)
            delivered += len(rows)
            for _ in range(of_tree):
                await post(rows[:1])
            if size:
                some = waiting[kind]
                some += rows
                while len(some) >= size:
                    await post(some[:size])
                    del some[:size]
    for some in waiting.values():
        if some:
            await post(some)
    await http.close()
    return delivered


def drain(
    journal: str, url: str, kinds: list[str], rows_of: Callable[[list[tuple[Record, Record]]], list[bytes]]
) -> None:
    """Drain a journal, and print the events and the CPU seconds of this process."""
    delivered = asyncio.run(drained(journal, url, kinds, rows_of))
    print(delivered, time.process_time())


def check(journal: str, vendor: Any) -> None:
    """Hold the rows of `right` against those that `vendor` encodes."""
    from eventtree.journal.files import DiskFiles
    from eventtree.journal.journal import Journal
    from tests.trees import stored_trees

    stored = stored_trees(Journal(DiskFiles(Path(journal))), Pricer())
    wanted = {item.key: item.content for tree in stored for item in vendor.encode(tree).items}
    found = {orjson.loads(one)["id"]: one for runs in trees(journal) for one in right_rows(runs)}
    different = [key for key in wanted if found.get(key) != wanted[key]]
    assert not different and len(found) == len(wanted), (wanted[different[0]], found.get(different[0]))
    print(f"the sketch's rows are those that are sent: {len(found)} of {len(wanted)}")
