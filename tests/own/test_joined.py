"""One tree over processes: what is handed on, who is believed, and that a tree arrives whole at every vendor."""

from __future__ import annotations

import asyncio
import contextvars
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import eventtree
from eventtree import diagnostics, trace
from eventtree.event import EventTree
from eventtree.journal import open_journal
from eventtree.langchain import CallbackHandler
from eventtree.recording.remote import handed_on, inner, read
from eventtree.serializer.serialize import serialize
from eventtree.testing import VendorServer, capture
from eventtree.vendors import OTLP
from tests.own import workers
from tests.trees import stored_trees

HOME = Path(__file__).parents[2]
NAMES = ("braintrust", "honeyhive", "humanloop_v5", "nebuly")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, own_place: Path) -> Iterator[VendorServer]:
    """All vendors, named by the environment alone, so that it holds in every process."""
    with VendorServer() as found:
        monkeypatch.setenv("EVENTTREE_JOURNAL", str(own_place))
        monkeypatch.setenv("EVENTTREE_VENDORS", ",".join(NAMES))
        for name in ("BRAINTRUST", "HH", "HUMANLOOP", "NEBULY"):
            monkeypatch.setenv(f"{name}_API_KEY", "k")
            monkeypatch.setenv(f"{name}_PROJECT", "p")
        for name, vendor in zip(("BRAINTRUST", "HH", "HUMANLOOP", "NEBULY"), NAMES, strict=True):
            monkeypatch.setenv(f"{name}_API_URL", found.settings(vendor)["base_url"])
        yield found
        assert not found.refused


@contextmanager
def served(app: str) -> Iterator[str]:
    """An app of `workers` in a process of its own; gives its address."""
    command = [sys.executable, "-m", "tests.own.workers", app]
    process = subprocess.Popen(command, cwd=HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def run(script: str, **env: str) -> str:
    """A script in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=HOME, env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def outline(tree: EventTree) -> list[str]:
    return ["  " * depth + event.name for depth, event in tree.walk()]


def stored(folder: Path) -> list[EventTree]:
    return list(stored_trees(open_journal(str(folder))))


def check_law(late: int = 0, apart: int = 0) -> eventtree.Report:
    """Every event is accounted for, by both witnesses, at every vendor."""
    report = eventtree.flush(30)
    assert report.vendors.keys() == set(NAMES)
    for sums in report.vendors.values():
        assert (sums.unexplained, sums.differs, sums.waiting, sums.dead) == (0, False, 0, 0), sums
        assert (sums.dropped.get("late", 0), sums.apart) == (late, apart), sums
    return report


def check_vendors(server: VendorServer, tree: EventTree) -> None:
    """The vendors that key by id have each event once, under its parent."""
    rows = {row["id"]: row for row in server.events("braintrust")}
    assert {one: (row.get("span_parents") or [None])[0] for one, row in rows.items()} == {
        event.id: event.parent_id for event in tree.events
    }
    assert {row["root_span_id"] for row in rows.values()} == {tree.id}
    events = {event["event_id"]: event["parent_id"] for event in server.events("honeyhive")}
    assert events.keys() == {event.id for event in tree.events}
    assert all(events[event.id] == event.parent_id for event in tree.events if event.parent_id is not None)
    assert len(server.events("braintrust")) == len(rows)


WORK = "import os, eventtree; from tests.own.workers import work\nwith eventtree.joined(os.environ): work(1)"


def in_capitals(headers: dict[str, str]) -> dict[str, str]:
    return {name.upper(): value for name, value in headers.items()}


def test_a_subprocess_joins_by_its_environment(server: VendorServer, own_place: Path) -> None:
    with eventtree.session("s1", user="ada"), eventtree.span("root"), eventtree.span("call"):
        run(WORK, **in_capitals(eventtree.headers()))
    report = check_law()
    assert all(sums.accepted == 4 for sums in report.vendors.values())
    [tree] = stored(own_place)
    assert outline(tree) == ["root", "  call", "    work", "      ask"]
    assert {event.session_id for event in tree.events} == {"s1"}
    assert tree.total_tokens == 15
    check_vendors(server, tree)


def test_a_queues_worker_joins_each_messages_tree(server: VendorServer, own_place: Path) -> None:
    context = multiprocessing.get_context("spawn")
    messages, answers = context.Queue(), context.Queue()
    consumer = context.Process(target=workers.serve_queue, args=(messages, answers))
    consumer.start()
    for number in range(5):
        with eventtree.span("root"):
            messages.put({"headers": eventtree.headers(), "number": number})
            messages.put({"headers": eventtree.headers(), "number": number})
            assert [answers.get(timeout=60) for _ in range(2)] == [number + 1] * 2
    messages.put(None)
    consumer.join(60)
    check_law()
    trees = stored(own_place)
    assert sorted(map(len, map(outline, trees))) == [1, *[5] * 5]
    for tree in trees:
        if len(tree.events) > 1:
            assert outline(tree) == ["root", *["  work", "    ask"] * 2]
    for queue in (messages, answers):
        queue.close()
        queue.join_thread()


def test_a_web_service_joins_whom_it_trusts(server: VendorServer, own_place: Path) -> None:
    with served("fastapi_app") as url, httpx.Client() as client:
        with eventtree.span("trusted"):
            sent = eventtree.headers()
            answer = client.get(f"{url}/work/1", headers={**sent, "x-word": "right"}).json()
        assert answer["answer"] == 2
        with eventtree.span("forged"):
            sent = eventtree.headers()
            for more in ({}, {"x-word": "wrong"}):
                client.get(f"{url}/work/1", headers={**sent, **more})
    check_law()
    trees = {outline(tree)[0]: outline(tree) for tree in stored(own_place)}
    assert trees["trusted"] == ["trusted", "  chain", "    work", "      ask"]
    assert trees["forged"] == ["forged"]
    assert [outline(tree) for tree in stored(own_place)].count(["chain", "  work", "    ask"]) == 2
    for tree in stored(own_place):
        assert "parent_tree_id" not in tree.root.metadata


def test_an_mcp_server_joins_by_the_requests_meta(server: VendorServer, own_place: Path) -> None:
    from mcp import Client, StdioServerParameters

    async def call() -> None:
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "tests.own.mcp_server"], env=dict(os.environ), cwd=HOME
        )
        async with Client(command) as client:
            with eventtree.span("root"), eventtree.span("call", kind="tool"):
                meta: Any = {**eventtree.headers(), "more": 1}
                result = await client.call_tool("increment", {"number": 1}, meta=meta)
            assert not result.is_error
            # What another hands on in the same connection is its own.
            result = await client.call_tool("increment", {"number": 1})
            assert not result.is_error

    asyncio.run(call())
    check_law()
    trees = sorted(stored(own_place), key=lambda tree: -len(tree.events))
    assert [outline(tree) for tree in trees] == [["root", "  call", "    work", "      ask"], ["work", "  ask"]]
    assert server.event_ids("braintrust")


def test_a_remote_graph_joins_without_code_on_its_server(server: VendorServer, own_place: Path) -> None:
    from langgraph.graph import END, START, StateGraph
    from langgraph.pregel.remote import RemoteGraph

    from eventtree.langchain import CallbackHandler

    with served("graph_app") as url:
        remote = RemoteGraph("served", url=url)
        builder: Any = StateGraph(dict)
        builder.add_node("ask", remote)
        builder.add_edge(START, "ask")
        builder.add_edge("ask", END)
        graph = builder.compile(name="here")
        config: Any = {"callbacks": [CallbackHandler()], "metadata": {"mine": 1}}
        assert graph.invoke({"number": 1}, config) == {"answer": 2}

        async def ask() -> Any:
            try:
                return await graph.ainvoke({"number": 2}, config)
            finally:
                await remote._validate_client().http.client.aclose()

        assert asyncio.run(ask()) == {"answer": 3}
        with eventtree.span("plain"):
            assert remote.invoke({"number": 3})["answer"] == 4
        assert config["metadata"] == {"mine": 1}
        remote._validate_sync_client().http.client.close()
    check_law()
    shapes = [[line for line in outline(tree) if "_" not in line] for tree in stored(own_place)]
    graphs = ["served", "answer", "work", "ask"]
    served_part = ["  " * depth + name for depth, name in enumerate(graphs, 2)]
    assert shapes[0] == shapes[1] == ["here", "  ask", *served_part]
    assert shapes[2] == ["plain", *[line[2:] for line in served_part]]


def test_llama_index_restores_across_processes(server: VendorServer, own_place: Path) -> None:
    from llama_index_instrumentation import get_dispatcher

    import eventtree.llama_index

    script = """
import json, os
import eventtree.llama_index
from llama_index_instrumentation import get_dispatcher
from tests.llama_index.models import Echo
eventtree.llama_index.set_global_handler()
get_dispatcher().restore_propagation_context(json.loads(os.environ["HANDED"]))
Echo().complete("hi")
eventtree.llama_index.set_global_handler(None)
"""
    eventtree.llama_index.set_global_handler()
    try:
        with eventtree.span("root"):
            run(script, HANDED=json.dumps(get_dispatcher().capture_propagation_context()))
    finally:
        eventtree.llama_index.set_global_handler(None)
    check_law()
    [tree] = stored(own_place)
    assert outline(tree) == ["root", "  Echo.complete"]


def test_what_llama_index_was_handed_with_one_message_is_not_the_nexts() -> None:
    """The worker's loop restores each message's context in its own, and the second caller had no run open."""
    from llama_index_instrumentation import get_dispatcher

    import eventtree.llama_index

    eventtree.llama_index.set_global_handler()
    try:
        with capture() as trees:
            for context in ({"eventtree": {"run": RUN, "tree": TREE}}, {}, {"eventtree": {"run": TREE, "tree": RUN}}):
                get_dispatcher().restore_propagation_context(context)
                with eventtree.span("work"):
                    pass
            get_dispatcher().restore_propagation_context({})
    finally:
        eventtree.llama_index.set_global_handler(None)
    assert [tree.id in (TREE, RUN) for tree in trees] == [True, False, True]
    assert inner.get() is None


def test_a_part_in_another_journal_goes_out_apart(server: VendorServer, own_place: Path, tmp_path: Path) -> None:
    with eventtree.session("s1", user="ada"), eventtree.span("root") as s:
        run(WORK, **in_capitals(eventtree.headers()), EVENTTREE_JOURNAL=str(tmp_path / "other"))
        run(WORK, **in_capitals(eventtree.headers()), EVENTTREE_JOURNAL=str(tmp_path / "other"))
    check_law()
    command = [sys.executable, "-m", "eventtree", "ship", "--journal", str(tmp_path / "other")]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("apart: 4") == len(NAMES)
    [part] = stored(tmp_path / "other")
    assert part.root.metadata == {"parent_run_id": s.id, "parent_tree_id": part.id}
    rows = {row["id"]: row for row in server.events("braintrust")}
    assert len(rows) == 5
    assert {row["root_span_id"] for row in rows.values()} == {s.id}
    assert [(row.get("span_parents") or [None])[0] for row in rows.values()].count(s.id) == 2
    assert {event["parent_id"] for event in server.events("honeyhive")} >= {s.id}
    assert len({event["session_id"] for event in server.events("honeyhive")}) == 1
    above = [log.get("trace_parent_id") for log in server.events("humanloop_v5")]
    assert len(above) >= 5 and s.id not in above, "a trace that is closed takes no more: one of its own"
    assert len(server.events("nebuly")) == 1


def test_a_part_after_the_grace_counts_as_late(server: VendorServer, own_place: Path) -> None:
    with eventtree.span("root"):
        headers = eventtree.headers()
    first = eventtree.flush(30)
    assert all(sums.delivered + sum(sums.dropped.values()) == 1 for sums in first.vendors.values())
    run(WORK, **in_capitals(headers))
    report = eventtree.flush(30)
    deadline = time.monotonic() + 30
    while any(sums.accepted < 3 or sums.waiting for sums in report.vendors.values()) and time.monotonic() < deadline:
        report = eventtree.flush(1)
    by_name = {name: sums.dropped.get("late", 0) for name, sums in report.vendors.items()}
    assert by_name == {"braintrust": 0, "honeyhive": 0, "humanloop_v5": 2, "nebuly": 2}
    assert not any(sums.differs or sums.unexplained for sums in report.vendors.values())
    [tree] = stored(own_place)
    check_vendors(server, tree)


KILLED = """
import os, eventtree, sys, time
with eventtree.joined(os.environ), eventtree.span("work"):
    with eventtree.span("done"): pass
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_killed_workers_part_arrives_as_far_as_it_came(server: VendorServer, own_place: Path) -> None:
    with eventtree.span("root"):
        env = {**os.environ, **in_capitals(eventtree.headers())}
        worker = subprocess.Popen(
            [sys.executable, "-c", KILLED], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None and worker.stdin is not None
        assert worker.stdout.readline() == "ready\n"
        worker.send_signal(signal.SIGKILL)
        worker.wait(30)
        worker.stdin.close()
        worker.stdout.close()
    check_law()
    [tree] = stored(own_place)
    assert outline(tree) == ["root", "  work", "    done"]
    assert [event.status for event in tree.events] == ["ok", "incomplete", "ok"]


CALLER = """
import eventtree, json, sys
with eventtree.span("root"):
    print(json.dumps(eventtree.headers()), flush=True)
    sys.stdin.read()
"""


def test_a_killed_callers_tree_waits_for_the_part_and_not_for_the_worker(server: VendorServer, own_place: Path) -> None:
    caller = subprocess.Popen([sys.executable, "-c", CALLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None and caller.stdin is not None
    with eventtree.joined(json.loads(caller.stdout.readline())), eventtree.span("part"):
        caller.kill()
        caller.wait(30)
        caller.stdin.close()
        caller.stdout.close()
        eventtree.flush(3)
        workers.work(1)
    deadline, report = time.monotonic() + 30, eventtree.flush(1)
    while any(sums.waiting for sums in report.vendors.values()) and time.monotonic() < deadline:
        report = eventtree.flush(1)
    check_law()
    [tree] = stored(own_place)
    assert outline(tree) == ["root", "  part", "    work", "      ask"]
    assert [event.status for event in tree.events] == ["incomplete", "ok", "ok", "ok"]


def test_what_is_handed_on_is_small_and_holds_no_key() -> None:
    with capture(), eventtree.session("séance, no. 7", user="x" * 600), eventtree.span("root") as s:
        sent = eventtree.headers()
        assert sent.keys() == {"traceparent", "baggage"}
        assert len(sent["baggage"]) <= 512 and all(value.isascii() for value in sent.values())
        parent = trace.parse(sent["traceparent"])
        assert parent == (trace.trace_id(s.id or ""), trace.span_id(s.id or ""), True)
        found = read(sent)
    assert found is not None
    assert (found.run, found.tree, found.session, found.user) == (s.id, s.id, "séance, no. 7", None)
    assert eventtree.headers() == {}


def test_a_session_that_is_no_text_of_the_wire_keeps_nothing_from_joining() -> None:
    with capture(), eventtree.session("half \ud800 a character", user="\x00 , ; ="), eventtree.span("root") as s:
        found = read(eventtree.headers())
    assert found is not None and (found.run, found.user) == (s.id, "\x00 , ; =")
    assert not diagnostics.failures


def test_a_part_hands_on_whose_its_tree_is() -> None:
    handler = CallbackHandler(session="s1", user="ada")
    with capture(), eventtree.span("root", handler=handler):
        first = eventtree.headers()
    script = "import os, eventtree\nwith eventtree.joined(os.environ), eventtree.span('b'): print(eventtree.headers())"
    for sent in (str(first), run(script, **in_capitals(first))):
        assert "eventtree.session=s1,eventtree.user=ada" in sent


def test_ids_in_metadata_may_be_uuids() -> None:
    from langchain_core.runnables import RunnableLambda

    from eventtree.langchain import CallbackHandler

    with capture() as trees:
        ids = {"eventtree_run": uuid.UUID(RUN), "eventtree_tree": uuid.UUID(TREE)}
        RunnableLambda(str).invoke("x", config={"callbacks": [CallbackHandler()], "metadata": ids})
    assert [(tree.id, tree.root.metadata["parent_run_id"]) for tree in trees] == [(TREE, RUN)]


def test_a_run_that_began_a_task_is_handed_on_from_it_after_its_end() -> None:
    async def later(gate: asyncio.Event) -> dict[str, str]:
        await gate.wait()
        return eventtree.headers()

    async def main() -> None:
        gate = asyncio.Event()
        with eventtree.span("root"):
            with eventtree.span("starts") as starts:
                task = asyncio.create_task(later(gate))
                await asyncio.sleep(0)
            gate.set()
            found = read(await task)
        assert found is not None and found.run == starts.id

    with capture():
        asyncio.run(main())


def test_what_was_handed_on_goes_on_where_no_run_has_begun() -> None:
    with capture():
        with eventtree.span("root"):
            sent = eventtree.headers()
        with eventtree.joined(sent):
            assert eventtree.headers() == sent
    assert inner.get() is None


RUN, TREE = "0197f8a0-0000-7000-8000-00000000000a", "0197f8a0-0000-7000-8000-000000000001"
GOOD = {
    "traceparent": f"00-{TREE.replace('-', '')}-800000000000000a-01",
    "baggage": f"other=1;p=2, eventtree.run={RUN} , eventtree.tree={TREE},eventtree.user=ada%20l",
}


@pytest.mark.parametrize(
    "form",
    [
        GOOD,
        {name.title(): value for name, value in GOOD.items()},
        in_capitals(GOOD),
        list(GOOD.items()),
        [(name.encode(), value.encode()) for name, value in GOOD.items()],
        httpx.Headers(GOOD),
        {"baggage": GOOD["baggage"]},
        {"wsgi.version": (1, 0), **{f"HTTP_{name.upper()}": value for name, value in GOOD.items()}},
        {"baggage": "other=1," * 9_000 + GOOD["baggage"]},
        {"baggage": GOOD["baggage"] + "," * 9_000},
        [("baggage", "other=1"), *GOOD.items()],
    ],
)
def test_every_form_of_headers_is_read(form: Any) -> None:
    found = read(form)
    assert found is not None and (found.run, found.tree, found.user) == (RUN, TREE, "ada l")


def breaking(name: str) -> Any:
    """An object of an app's that breaks as it is looked at."""

    def breaks(*_: Any) -> Any:
        raise ZeroDivisionError(name)

    return type("Breaking", (), {name: property(breaks)})()


@pytest.mark.parametrize(
    "form",
    [
        None, 7, "traceparent", b"x", {}, [], [1, 2], [("traceparent",)], {"traceparent": 7, "baggage": None},
        {"traceparent": "00-0-0-01"}, {"traceparent": f"00-{'0' * 32}-{'1' * 16}-01"},
        {"traceparent": "ff" + GOOD["traceparent"][2:]}, {"baggage": f"eventtree.run={RUN}"},
        {"baggage": f"eventtree.tree={TREE}"}, {"baggage": f"eventtree.run=%00,eventtree.tree={TREE}"},
        {"baggage": f"eventtree.run={'a' * 200},eventtree.tree={TREE}"}, {"baggage": "x=" * 10_000},
        [("traceparent", GOOD["traceparent"]), ("traceparent", GOOD["traceparent"])],
        {"baggage": f"{GOOD['baggage']},eventtree.run={TREE}"}, [GOOD["baggage"], ("baggage", f"eventtree.tree={RUN}")],
        {"baggage": f"eventtree.run=%zz%ff,eventtree.tree={TREE}"},
        {"baggage": f"eventtree.run={RUN},not.eventtree.tree={TREE}"},
        {"traceparent": GOOD["traceparent"] + "-more"}, {"traceparent": GOOD["traceparent"].upper()},
        pytest.param(breaking("__iter__"), id="iter"), pytest.param(breaking("model_extra"), id="model_extra"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_changes_nothing(form: Any) -> None:
    with capture() as trees, eventtree.joined(form), eventtree.span("root") as s:
        pass
    assert [tree.id for tree in trees] == [s.id]


def test_a_block_inside_itself_or_in_another_context_leaves_nothing_behind() -> None:
    block = eventtree.joined(GOOD)
    with block, block:
        pass
    assert inner.get() is None
    began = contextvars.copy_context()
    began.run(block.__enter__)
    ended = began.copy()
    ended.run(block.__exit__, None, None, None)
    assert (ended.run(inner.get), inner.get()) == (None, None)
    began.run(block.__exit__, None, None, None)
    assert began.run(inner.get) is None


def test_a_trace_of_others_is_noted_and_joins_nothing() -> None:
    theirs = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with capture() as trees, eventtree.joined({"traceparent": theirs}), eventtree.span("root") as s:
        assert trace.parse(eventtree.headers()["traceparent"]) == ("ab" * 16, trace.span_id(s.id or ""), True)
    [tree] = trees
    assert (tree.id, tree.root.traceparent) == (s.id, theirs)


@pytest.mark.parametrize("flags", ["01", "00"])
def test_a_part_stands_in_the_trace_in_which_its_callers_tree_is_sent(flags: str) -> None:
    """An app's own trace that nobody keeps is only linked: the tree, and what belongs to it, is a trace of its own."""
    around = f"00-{'ab' * 16}-{'cd' * 8}-{flags}"
    with capture() as trees, eventtree.joined({"traceparent": around}), eventtree.span("root"):
        sent = trace.parse(eventtree.headers()["traceparent"])
    [request] = serialize(trees, OTLP.for_export())
    [span] = request.body["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert sent == (span["traceId"], span["spanId"], True)


def test_a_tree_that_is_not_recorded_takes_its_parts_with_it(own_place: Path) -> None:
    eventtree.configure(sample_rate=0)
    with eventtree.span("root"):
        sent = eventtree.headers()
    assert sent["traceparent"].endswith("-00")
    run(WORK, **in_capitals(sent))
    assert not stored(own_place)


def test_llama_index_hands_on_that_a_tree_is_not_recorded() -> None:
    from llama_index_instrumentation import get_dispatcher

    import eventtree.llama_index

    eventtree.llama_index.set_global_handler(sample_rate=0)
    try:
        with eventtree.span("root"):
            handed = json.loads(json.dumps(get_dispatcher().capture_propagation_context()))
    finally:
        eventtree.llama_index.set_global_handler(None)
    found = handed_on(handed["eventtree"])
    assert found is not None and found.is_skipped


def test_inside_one_process_it_is_simply_the_child() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        workers.work(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def no(scope: Any) -> bool:
        return False

    def broken(scope: Any) -> bool:
        raise KeyError("client")

    async def call(trust: Any) -> None:
        joined = eventtree.asgi.Join(app, trust=trust)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=joined), base_url="http://x") as client:
            headers = eventtree.headers()
            # A task without our context, as a server's is.
            await asyncio.get_running_loop().create_task(
                client.get("/", headers=headers), context=contextvars.Context()
            )

    async def main(trust: Any) -> None:
        with eventtree.span("root"):
            await call(trust)

    for trust, whole in ((lambda scope: True, True), (None, False), (no, False), (broken, False)):
        with capture() as trees:
            asyncio.run(main(trust))
        assert (len(trees) == 1) is whole
        if whole:
            assert outline(trees[0]) == ["root", "  work", "    ask"]
    with pytest.raises(eventtree.ConfigError, match="trust"):
        eventtree.asgi.Join(app, trust="everybody")  # type: ignore[arg-type]
    eventtree.diagnostics.failures.clear()
