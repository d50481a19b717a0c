"""What happens to a journal that leaves its machine: engines, relays, collectors and folders that fail or vanish."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections import Counter
from itertools import pairwise
from pathlib import Path

import httpx
import nats
import pytest
import redis

from eventtree import config, diagnostics
from eventtree.cli.relay import examine_relay
from eventtree.errors import ConfigError
from eventtree.journal import DiskFiles, Journal
from eventtree.journal.cursor import Cursor
from eventtree.journal.relayed import CURSOR
from eventtree.journal.retention import remove_settled
from eventtree.relay import collect, http, port, relay, replicate
from eventtree.relay.port import CHUNK_BYTES, Chunk, RefusedError, port_at
from eventtree.testing import Answer, VendorServer
from eventtree.view.vendors import delivery_in
from tests.relay.world import (
    ENGINES,
    LONGEST,
    App,
    Nats,
    Redis,
    braintrust,
    closing,
    collecting,
    collector,
    copies,
    delivered,
    free_port,
    noise,
    relays,
    report,
    sidecar,
    until,
)  # fmt: skip
from tests.trees import close_record, open_record

ASKED = {"nats": "eventtree-ask", "redis": "eventtree:ask"}


def arrived(vendor: VendorServer) -> set[str]:
    """Ids the vendor has, each once."""
    ids = vendor.event_ids("braintrust")
    assert len(ids) == len(set(ids)), "doubled"
    return set(ids)


@pytest.mark.parametrize("engine", ENGINES)
def test_f60_an_engine_that_is_away_costs_nothing_and_gets_all_when_it_is_back(
    engine: str, machine: Path, vendor: VendorServer
) -> None:
    server = ENGINES[engine](machine / "engine")
    server.kill()
    app = App(machine / "app", relay=server.url)
    for _ in range(20):
        app.tree()
    until(lambda: app.pipeline.relay is not None and app.pipeline.relay.is_away)
    left = report(machine / "app")
    assert left.vendors["collector"].waiting == left.events == 80
    assert left.unreplicated_bytes and left.lag_seconds
    server.start()
    with closing(server), collecting(server.url, machine / "collector", [braintrust(vendor)]):
        until(lambda: arrived(vendor) == app.events)
        server.kill()
        for _ in range(20):
            app.tree()
        server.start()
        until(lambda: arrived(vendor) == app.events)
        assert all(copies(machine / "app", machine / "collector").values())
        assert until(lambda: not report(machine / "app").unreplicated_bytes)


def test_f60_an_engine_that_hangs_delays_no_callback(machine: Path, vendor: VendorServer) -> None:
    server = Nats(machine / "engine")
    with closing(server):
        app = App(machine / "app", relay=server.url)
        app.tree()
        until(lambda: report(machine / "app").unreplicated_bytes == 0)
        server.process.send_signal(signal.SIGSTOP)
        began = time.thread_time()
        for _ in range(200):
            app.tree()
        assert time.thread_time() - began < 5.0
        server.process.send_signal(signal.SIGCONT)
        with collecting(server.url, machine / "collector", [braintrust(vendor)]):
            until(lambda: arrived(vendor) == app.events)


def test_f61_what_a_vendor_has_answered_is_not_sent_again_after_a_kill(machine: Path, vendor: VendorServer) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    app, kept = App(machine / "app", relay=url), collector(url, machine / "collector", vendor)
    with closing(kept):
        app.tree()
        until(lambda: delivered(machine / "collector") == 4)
        answered = set(app.events)
        vendor.script("braintrust", [Answer(delay=LONGEST)])
        app.tree()
        until(lambda: arrived(vendor) == app.events)  # the vendor has them, and the collector does not know
        kept.kill()
        kept.start()
        until(lambda: delivered(machine / "collector") == 8)
    ids = Counter(vendor.event_ids("braintrust"))
    assert {run: count for run, count in ids.items() if count > 1} == dict.fromkeys(app.events - answered, 2)
    assert not vendor.refused  # the same contents


def test_f62_what_a_vanished_pod_had_not_replicated_is_lost_and_no_more(machine: Path, vendor: VendorServer) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with collecting(url, machine / "collector", [braintrust(vendor)], silence=1.5):
        app = App(machine / "app", relay=url)
        app.tree()
        half = app.open()
        app.end(app.open(half))
        until(lambda: report(machine / "app").unreplicated_bytes == 0)
        app.stop()  # its network is gone,
        app.tree()  # it records on,
        lost = app.events - set(_ids(machine / "collector"))
        shutil.rmtree(machine / "app")  # and the pod is deleted
        until(lambda: arrived(vendor) == app.events - lost)
        assert len(lost) == 4
        assert until(lambda: report(machine / "collector").vanished) == 1
        rows = {row["id"]: row for row in vendor.events("braintrust")}
        assert "incomplete" in str(rows[half])


def _ids(folder: Path) -> list[str]:
    """Ids of the runs that have opened in a folder's logs."""
    lines = b"".join(log.read_bytes() for log in folder.glob("*.log")).splitlines()
    return [line.split(b'"id":"', 1)[1][:36].decode() for line in lines if b' {"r":"open","id":"' in line]


@pytest.mark.parametrize("syncs", [True, False])
def test_f63_a_server_that_acknowledges_before_it_syncs_is_named_by_the_doctor(
    syncs: bool, machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Nats(machine / "engine", syncs=syncs)
    monkeypatch.setenv("EVENTTREE_RELAY_MONITOR", f"http://127.0.0.1:{server.monitor}")
    with closing(server):
        assert examine_relay(server.url)
    assert ("before it syncs" in capsys.readouterr().out) is not syncs


def test_f63_a_redis_that_may_forget_is_named_by_the_doctor(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = Redis(machine / "engine", more=("--appendfsync", "everysec"))
    with closing(server):
        assert examine_relay(server.url)
    assert "appendfsync is everysec, not always" in capsys.readouterr().out


def test_f64_chunks_that_come_twice_out_of_order_cut_or_flipped_do_no_harm(machine: Path, vendor: VendorServer) -> None:
    app = App(machine / "app", deliver=False)
    for _ in range(5):
        app.tree()
    (log,) = (machine / "app").glob("*.log")
    data = log.read_bytes()
    cuts = [0, *(len(data) * part // 7 for part in range(1, 7)), len(data)]
    chunks = [Chunk(log.name, start, data[start:end]) for start, end in pairwise(cuts)]
    url = f"http://127.0.0.1:{free_port()}"
    with collecting(url, machine / "collector", [braintrust(vendor)]), httpx.Client(base_url=url) as client:
        until(lambda: _is_up(client))

        def put(message: bytes) -> tuple[int, int | None]:
            answer = client.put(f"/logs/{log.name}", content=message)
            return answer.status_code, answer.json()["size"]

        flipped = bytearray(chunks[0].pack())
        flipped[-20] ^= 1
        assert put(chunks[1].pack()) == (409, 0)  # a hole: from 0, please
        assert put(bytes(flipped)) == (503, None)
        assert put(chunks[0].pack()[:-5]) == (503, None)
        assert put(b"nonsense") == (503, None)
        assert put(chunks[0]._replace(log="../../evil.log").pack()) == (503, None)
        assert put(chunks[0]._replace(offset=1 << 50).pack()) == (503, None)
        assert put(chunks[0].pack()) == (200, cuts[1])
        assert put(chunks[0].pack()) == (200, cuts[1])
        assert put(chunks[2].pack()) == (409, cuts[1])
        assert put(Chunk(log.name, cuts[1] - 10, data[cuts[1] - 10 : cuts[2]]).pack()) == (200, cuts[2])
        for chunk in chunks[2:]:
            assert put(chunk.pack())[0] == 200
        assert put(chunks[3].pack()) == (200, len(data))
        until(lambda: arrived(vendor) == app.events)
    assert copies(machine / "app", machine / "collector") == {log.name: True}
    assert not (machine / "evil.log").exists()
    assert report(machine / "collector").lost_lines == report(machine / "collector").damaged_lines == 0


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.put("/logs").status_code == 200
    except httpx.HTTPError:
        return False


def test_f64_a_hole_that_nobody_can_fill_is_counted_and_what_follows_it_arrives(
    machine: Path, vendor: VendorServer
) -> None:
    app = App(machine / "app", deliver=False)
    first = app.tree()
    (log,) = (machine / "app").glob("*.log")
    start = len(log.read_bytes())
    lost = set(app.events)
    app.tree()
    url = f"http://127.0.0.1:{free_port()}"
    with (
        collecting(url, machine / "collector", [braintrust(vendor)], silence=1.0),
        httpx.Client(base_url=url) as client,
    ):
        until(lambda: _is_up(client))
        message = Chunk(log.name, start, log.read_bytes()[start:]).pack()
        until(lambda: client.put(f"/logs/{log.name}", content=message).status_code == 200)
        until(lambda: arrived(vendor) == app.events - lost)
    found = report(machine / "collector")
    assert found.damaged_lines == 1
    assert first in lost
    assert (machine / "collector" / log.name).stat().st_size == log.stat().st_size


def test_f62_what_a_vanished_relay_is_known_to_have_left_is_counted(machine: Path, vendor: VendorServer) -> None:
    app = App(machine / "app", deliver=False)
    app.tree()
    (log,) = (machine / "app").glob("*.log")
    data = log.read_bytes()
    half = data.index(b"\n", len(data) // 2) + 1
    url = f"http://127.0.0.1:{free_port()}"
    with (
        collecting(url, machine / "collector", [braintrust(vendor)], silence=1.0),
        httpx.Client(base_url=url) as client,
    ):
        until(lambda: _is_up(client))
        client.put(f"/logs/{log.name}", content=Chunk(log.name, 0, data[:half], left=len(data) - half).pack())
        until(lambda: report(machine / "collector").vanished)
        found = report(machine / "collector")
        assert (found.vanished, found.vanished_bytes) == (1, len(data) - half)
        said = f"1 process elsewhere fell silent, with {len(data) - half} bytes or more to send."
        assert said in delivery_in(Journal(DiskFiles(machine / "collector")))["notes"]
        assert said in found._repr_html_()
        client.put(f"/logs/{log.name}", content=Chunk(log.name, half, data[half:]).pack())  # it was only cut off
        assert report(machine / "collector").vanished == 0
        until(lambda: arrived(vendor) == app.events)


def test_f65_two_relays_on_one_folder_replicate_it_once(machine: Path, vendor: VendorServer) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    app = App(machine / "app", relay=url)
    second = sidecar(url, machine / "app")
    with closing(second), collecting(url, machine / "collector", [braintrust(vendor)]):
        for _ in range(10):
            app.tree()
            time.sleep(0.02)
        until(lambda: arrived(vendor) == app.events)
        app.stop()
        app.tree()  # the other takes over
        until(lambda: arrived(vendor) == app.events)
    sums = report(machine / "app").vendors["collector"]
    assert (sums.accepted, sums.delivered, sums.recorded) == (44, 44, 44)


@pytest.mark.parametrize("engine", ENGINES)
def test_f66_a_collector_that_stands_by_takes_over_within_ten_seconds(
    engine: str, machine: Path, vendor: VendorServer
) -> None:
    server = ENGINES[engine](machine / "engine")
    active = collector(server.url, machine / "collector", vendor, log=machine / "a.out")
    with closing(server, active):
        app = App(machine / "app", relay=server.url)
        app.tree()
        until(lambda: arrived(vendor) == app.events)
        standby = collector(server.url, machine / "collector", vendor, log=machine / "b.out")
        with closing(standby):
            until(lambda: "Collecting" in (machine / "b.out").read_text())
            active.kill()
            began = time.monotonic()
            app.tree()
            until(lambda: arrived(vendor) == app.events)
            assert time.monotonic() - began < 10.0 + 10.0  # this machine may be busy
            assert all(copies(machine / "app", machine / "collector").values())


def test_f67_a_collectors_folder_that_is_lost_is_filled_again(machine: Path, vendor: VendorServer) -> None:
    server = Nats(machine / "engine")
    with closing(server):
        app = App(machine / "app", relay=server.url)
        app.journal.roll_bytes = 10_000
        with collecting(server.url, machine / "collector", [braintrust(vendor)]):
            for _ in range(20):
                app.tree()
            until(lambda: arrived(vendor) == app.events)
        assert len(list((machine / "app").glob("*.log"))) > 2
        shutil.rmtree(machine / "collector")
        app.tree()
        with collecting(server.url, machine / "collector", [braintrust(vendor)]):
            until(lambda: app.events <= set(vendor.event_ids("braintrust")))
            until(lambda: all(copies(machine / "app", machine / "collector").values()))


@pytest.mark.parametrize("engine", ENGINES)
def test_f67_what_is_asked_for_may_wait_behind_much_else(
    engine: str, machine: Path, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = ENGINES[engine](machine / "engine"), machine / "collector"
    monkeypatch.setattr(replicate, "CHUNK_BYTES", 500)  # a message for each line or two
    monkeypatch.setattr(replicate, "BEAT_SECONDS", 0.5)
    with closing(server):
        app = App(machine / "app", relay=server.url)
        app.tree()
        with collecting(server.url, folder, [braintrust(vendor)]):
            until(lambda: arrived(vendor) == app.events)
        shutil.rmtree(folder)
        for _ in range(100):
            app.tree()
        until(lambda: not report(machine / "app").unreplicated_bytes)  # hundreds of messages, and none can be written
        with collecting(server.url, folder, [braintrust(vendor)], silence=20.0):
            until(lambda: all(copies(machine / "app", folder).values()))
            until(lambda: app.events <= set(vendor.event_ids("braintrust")))
            until(lambda: not report(folder).waiting)
        assert report(folder).damaged_lines == report(folder).lost_lines == 0


def test_f68_a_part_that_comes_long_after_its_tree_is_late_and_arrives(machine: Path, vendor: VendorServer) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with collecting(url, machine / "collector", [braintrust(vendor)]):
        first = App(machine / "one", relay=url)
        root = first.tree()
        until(lambda: arrived(vendor) == first.events)
        second = App(machine / "two", relay=url)
        part = _part(second, root)
        until(lambda: arrived(vendor) == first.events | {part})
        rows = {row["id"]: row for row in vendor.events("braintrust")}
        assert rows[part]["root_span_id"] == root


def _part(app: App, root: str, start: int | None = None) -> str:
    """Record a run of another process's tree, below its root."""
    from eventtree import record

    run = str(uuid.uuid4())
    entry = open_record(run, root, root, "tool", "part", start or time.time_ns())
    app.journal.append(record.encode({**entry, "inputs": {"question": "?"}}))
    app.journal.append(record.encode({**close_record(run, root, 1_000_000, "ok"), "outputs": {"answer": "!"}}))
    return run


@pytest.mark.parametrize("days", [-1, 1])
def test_f69_machines_whose_clocks_differ_by_a_day_make_one_tree(
    days: int, machine: Path, vendor: VendorServer
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with collecting(url, machine / "collector", [braintrust(vendor)]):
        one, two = App(machine / "one", relay=url), App(machine / "two", relay=url)
        root = one.open()
        part = _part(two, root, time.time_ns() + days * 86_400 * 10**9)
        until(lambda: report(machine / "two").unreplicated_bytes == 0)
        one.end(root)
        until(lambda: arrived(vendor) == {root, part})


def test_f70_wrong_credentials_park_the_relay_and_are_said_once(
    machine: Path, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay, "PARKED_SECONDS", 0.2)
    secret, wrong = "s3cret-of-the-server", "wr0ng-secret"
    server = Nats(machine / "engine", more=f'authorization {{ token: "{secret}" }}')
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("EVENTTREE_RELAY_TOKEN", wrong)
    with closing(server):
        app = App(machine / "app", relay=server.url)
        app.tree()
        until(lambda: _parked(machine / "app"))
        time.sleep(1.0)
        assert "credentials" in str(report(machine / "app").vendors["collector"].parked)
        assert ["credentials" in line.message for line in caplog.records if line.name == "eventtree"] == [True]
        (machine / "token").write_text(secret + "\n")
        monkeypatch.setenv("EVENTTREE_RELAY_CREDS", str(machine / "token"))
        monkeypatch.delenv("EVENTTREE_RELAY_TOKEN")
        until(lambda: report(machine / "app").unreplicated_bytes == 0)
        assert report(machine / "app").vendors["collector"].parked is None
        with collecting(server.url, machine / "collector", [braintrust(vendor)]):
            until(lambda: arrived(vendor) == app.events)
    written = b"".join(path.read_bytes() for path in [*machine.glob("app/*"), *machine.glob("collector/*")])
    for one in (secret, wrong):
        assert one not in caplog.text
        assert one.encode() not in written
        assert one not in repr((app.pipeline.settings, app.pipeline.relay, port_at(server.url)))


def _parked(folder: Path) -> str | None:
    sums = report(folder).vendors.get("collector")
    return sums.parked if sums is not None else None


@pytest.mark.parametrize("engine", ["redis", "http"])
def test_f70_redis_and_collectors_refuse_a_wrong_token_too(
    engine: str, machine: Path, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PARKED_SECONDS", 0.2)
    server = Redis(machine / "engine", more=("--requirepass", "right")) if engine == "redis" else None
    url = server.url if server else f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("EVENTTREE_RELAY_TOKEN", "right")
    with closing(*([server] if server else [])), collecting(url, machine / "collector", [braintrust(vendor)]):
        until(lambda: (machine / "collector").exists())
        time.sleep(0.5)
        monkeypatch.setenv("EVENTTREE_RELAY_TOKEN", "wrong")
        app = App(machine / "app", relay=url)
        app.tree()
        until(lambda: _parked(machine / "app"))
        monkeypatch.setenv("EVENTTREE_RELAY_TOKEN", "right")
        until(lambda: arrived(vendor) == app.events)


def test_f70_a_collector_quotes_no_request_that_it_cannot_read(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EVENTTREE_RELAY_TOKEN", "s3cret")
    port = free_port()

    async def answer() -> bytes:
        async with port_at(f"http://127.0.0.1:{port}", serves=True).opened():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"PUT /logs HTTP/1.1\r\nAuthorization: Bearer s3cret\0\r\n\r\n")
            found = await reader.read()
            writer.close()
            await writer.wait_closed()
            return found

    assert b" 400 " in asyncio.run(answer())
    assert "s3cret" not in caplog.text + "".join(capfd.readouterr())


def test_f70_a_user_that_may_not_publish_parks_the_relay(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "REPLY_SECONDS", 1.0)  # a server answers such a user's messages never
    user = '{ user: "u", password: "p", permissions: { publish: ["$JS.API.>", "eventtree-ask"] } }'
    server = Nats(machine / "engine", more=f"authorization {{ users: [{user}] }}")
    monkeypatch.setenv("EVENTTREE_RELAY_USER", "u")
    monkeypatch.setenv("EVENTTREE_RELAY_TOKEN", "p")
    with closing(server):
        app = App(machine / "app", relay=server.url)
        app.tree()
        assert "credentials" in until(lambda: _parked(machine / "app"))
        app.stop()


def test_f71_a_stream_at_its_limit_makes_relays_wait_and_drops_nothing(machine: Path, vendor: VendorServer) -> None:
    server = Nats(machine / "engine")
    with closing(server):
        first = App(machine / "first", relay=server.url)
        first.tree()
        until(lambda: report(machine / "first").unreplicated_bytes == 0)
        _limit(server.url, 20_000)
        app = App(machine / "app", relay=server.url)
        for _ in range(20):
            app.tree(text=noise(2_000))
            time.sleep(0.01)
        until(lambda: app.pipeline.relay is not None and app.pipeline.relay.is_away)
        assert report(machine / "app").vendors["collector"].waiting
        with collecting(server.url, machine / "collector", [braintrust(vendor)]):
            _limit(server.url, -1)
            until(lambda: arrived(vendor) == app.events | first.events)
    assert all(copies(machine / "app", machine / "collector").values())


def _limit(url: str, size: int) -> None:
    """Set the stream's limit."""

    async def change() -> None:
        async with await nats.connect(url) as client:
            stream = client.jetstream()
            found = await stream.stream_info("EVENTTREE")
            await stream.update_stream(found.config.evolve(max_bytes=size))

    asyncio.run(change())


def _leader(url: str) -> str:
    """The server that leads the stream."""

    async def look() -> str:
        async with await nats.connect(url) as client:
            found = (await client.jetstream().stream_info("EVENTTREE")).cluster
            assert found is not None
            return str(found.leader)

    return asyncio.run(look())


def test_f80_a_node_of_a_cluster_that_is_lost_with_its_disk_loses_nothing(machine: Path, vendor: VendorServer) -> None:
    routes = [free_port() for _ in range(3)]
    listed = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
    nodes = [
        Nats(machine / f"node{route}", more=f'cluster {{ name: c, listen: "127.0.0.1:{route}", routes: [{listed}] }}')
        for route in routes
    ]
    with closing(*nodes):
        app = App(machine / "app", relay=nodes[0].url)
        for _ in range(5):
            app.tree()
        until(lambda: report(machine / "app").unreplicated_bytes == 0)
        app.stop()
        leader = _leader(nodes[0].url)
        (lost,), others = ([node for node in nodes if (node.folder.name == leader) is is_it] for is_it in (True, False))
        lost.kill()
        shutil.rmtree(lost.folder)
        with collecting(others[0].url, machine / "collector", [braintrust(vendor)]):
            until(lambda: arrived(vendor) == app.events)
    assert all(copies(machine / "app", machine / "collector").values())


@pytest.mark.parametrize("engine", [*ENGINES, "http"])
def test_f72_a_record_larger_than_a_message_may_be_arrives(engine: str, machine: Path, vendor: VendorServer) -> None:
    server = ENGINES[engine](machine / "engine") if engine in ENGINES else None
    url = server.url if server else f"http://127.0.0.1:{free_port()}"
    with closing(*([server] if server else [])), collecting(url, machine / "collector", [braintrust(vendor)]):
        app = App(machine / "app", relay=url, bounds={"value_bytes": 4 << 20})
        app.tree(text=noise(3 << 20))
        until(lambda: arrived(vendor) == app.events)
        assert all(copies(machine / "app", machine / "collector").values())


@pytest.mark.parametrize("engine", ENGINES)
def test_f73_other_partitions_begin_while_messages_wait_in_those_there_were(
    engine: str, machine: Path, vendor: VendorServer
) -> None:
    server = ENGINES[engine](machine / "engine")
    with closing(server):
        first = App(machine / "first", relay=server.url)
        first.tree()
        until(lambda: report(machine / "first").unreplicated_bytes == 0)  # nobody collects yet
        with collecting(server.url, machine / "collector", [braintrust(vendor)], partitions=4):
            until(lambda: arrived(vendor) == first.events)
            assert _partitions(server.url) == 4
            later = App(machine / "later", relay=server.url)
            for _ in range(12):
                later.tree()
            first.tree()  # it has begun undivided, and goes on so
            until(lambda: arrived(vendor) == first.events | later.events)
            assert all(copies(machine / "first", machine / "collector").values())
            assert len(list((machine / "collector").glob(f"{later.journal.process}.4-*.log"))) > 1
            until(lambda: not report(machine / "collector").waiting)
            sums = report(machine / "collector").vendors["braintrust"]
            assert sums.recorded == sums.accepted == len(first.events) + len(later.events)


def _partitions(url: str) -> int:
    """How many partitions new logs are split into."""

    async def looked() -> int:
        async with port_at(url).opened() as port:
            return port.split

    return asyncio.run(looked())


def test_f73_a_collector_takes_over_partitions_that_another_has_added(
    machine: Path, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "LEARN_SECONDS", 0.5)
    server = Nats(machine / "engine")
    folder = machine / "collector"
    with closing(server), collecting(server.url, folder, [braintrust(vendor)]):
        until(lambda: _partitions(server.url) == 1)
        with collecting(server.url, folder, [braintrust(vendor)], partitions=4):
            until(lambda: _partitions(server.url) == 4)
        app = App(machine / "app", relay=server.url)
        for _ in range(12):
            app.tree()
        until(lambda: arrived(vendor) == app.events)
        assert len(list(folder.glob(f"{app.journal.process}.4-*.log"))) > 1


@pytest.mark.parametrize("engine", ENGINES)
def test_f73_a_relay_that_is_connected_learns_of_other_partitions(engine: str, machine: Path) -> None:
    server = ENGINES[engine](machine / "engine")
    app = App(machine / "app", deliver=False)

    async def learned() -> int:
        async with port_at(server.url).opened() as port:
            async with port_at(server.url).opened(4):
                pass
            await replicate.Replicator(app.journal, Cursor(app.journal.files, CURSOR), port).round(is_ending=False)
            return port.split

    with closing(server):
        assert asyncio.run(learned()) == 4


@pytest.mark.parametrize("engine", ENGINES)
def test_f73_partitions_change_while_a_fleet_records(engine: str, machine: Path, vendor: VendorServer) -> None:
    server = ENGINES[engine](machine / "engine")
    folder = machine / "collector"

    apps: list[App] = []

    def begun(count: int) -> bool:
        """Record on, whoever collects; whether the newest app is split into so many parts."""
        for app in apps:
            app.tree()
        parts = {log.name.split(".")[1] for log in folder.glob(f"{apps[-1].journal.process}.*.log")}
        return sum(part.startswith(f"{count}-") for part in parts) == count or (count == 1 and bool(parts))

    with closing(server):
        for count in (1, 4, 2):
            with collecting(server.url, folder, [braintrust(vendor)], partitions=count):
                until(lambda count=count: _partitions(server.url) == count)
                apps.append(App(machine / f"app{count}", relay=server.url))
                apps[-1].journal.roll_bytes = 10_000  # trees go on from one log to the next
                until(lambda count=count: begun(count), pause=0.2)
        events = set[str]().union(*(app.events for app in apps))
        with collecting(server.url, folder, [braintrust(vendor)]):
            until(lambda: arrived(vendor) == events)
            until(lambda: not report(folder).waiting)
        found = report(folder)
        assert all(copies(machine / "app1", folder).values())  # as it began
        assert (found.lost_lines, found.damaged_lines, found.dropped) == (0, 0, {})
        assert found.vendors["braintrust"].delivered == len(events)


@pytest.mark.parametrize("engine", ENGINES)
def test_f73_parts_that_are_missing_are_asked_for_and_split_as_before(
    engine: str, machine: Path, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicate, "BEAT_SECONDS", 0.5)
    server = ENGINES[engine](machine / "engine")
    folder = machine / "collector"
    with closing(server):
        with collecting(server.url, folder, [braintrust(vendor)], partitions=4):
            until(lambda: _partitions(server.url) == 4)
            app = App(machine / "app", relay=server.url)
            until(lambda: app.tree() and len(list(folder.glob(f"{app.journal.process}.4-*.log"))) == 4, pause=0.05)
            until(lambda: app.events <= set(vendor.event_ids("braintrust")))
        newest = {log.name: log.read_bytes() for log in folder.glob(f"{app.journal.process}.4-*.log")}
        for name in newest:
            (folder / name).unlink()
        with collecting(server.url, folder, [braintrust(vendor)], partitions=2):
            # New logs are split otherwise by now; what is missing is split as before all the same.
            until(lambda: app.tree() and all((folder / name).is_file() for name in newest), pause=0.05)
            until(lambda: app.events <= set(vendor.event_ids("braintrust")))
            until(lambda: not report(machine / "app").unreplicated_bytes and not report(folder).waiting)
    assert all((folder / name).read_bytes().startswith(data) for name, data in newest.items())


def test_f73_a_relay_that_dies_before_it_writes_down_what_it_has_sent_splits_a_log_as_before(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Redis(machine / "engine")
    app = App(machine / "app", deliver=False)
    for _ in range(12):
        app.tree()

    async def relayed(partitions: int) -> None:
        cursor = Cursor(app.journal.files, CURSOR)
        async with port_at(server.url).opened(partitions) as port:
            await replicate.Replicator(app.journal, cursor, port).round(is_ending=False)

    def dies(*_: object) -> None:
        raise MemoryError

    def sent() -> set[Chunk]:
        """What the engine was given."""
        streams = [client.xrange(f"eventtree:{number}") for number in range(4)]
        chunks = (Chunk.unpack(fields[b"m"]) for stream in streams for _, fields in stream)
        return {chunk for chunk in chunks if chunk.data}

    with closing(server), redis.Redis(port=server.port) as client:
        with monkeypatch.context() as death, pytest.raises(MemoryError):
            death.setattr(Cursor, "replicate", dies)
            asyncio.run(relayed(4))
        before = sent()
        assert before
        asyncio.run(relayed(2))
        assert not report(machine / "app").unreplicated_bytes
        assert sent() == before  # the same chunks, a second time


@pytest.mark.parametrize("engine", ENGINES)
def test_f73_an_engine_that_lost_all_with_its_partitions_gets_what_is_missing(
    engine: str, machine: Path, vendor: VendorServer
) -> None:
    server = ENGINES[engine](machine / "engine")
    folder = machine / "collector"
    with closing(server):
        with collecting(server.url, folder, [braintrust(vendor)], partitions=4):
            until(lambda: _partitions(server.url) == 4)
            app = App(machine / "app", relay=server.url)
            for _ in range(12):
                app.tree()
            until(lambda: arrived(vendor) == app.events)
        for _ in range(12):
            app.tree()
        until(lambda: not report(machine / "app").unreplicated_bytes)  # it has these, and nobody else
        server.kill()
        shutil.rmtree(server.folder / {"nats": "js", "redis": "appendonlydir"}[engine])
        server.start()
        missing = set(app.events)
        with collecting(server.url, folder, [braintrust(vendor)]):
            until(lambda: app.tree() and missing <= arrived(vendor), pause=0.2)
            until(lambda: arrived(vendor) == app.events)
            until(lambda: not report(folder).waiting)
        found = report(folder)
        assert (found.lost_lines, found.damaged_lines, found.vendors["braintrust"].accepted) == (0, 0, len(app.events))


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("nats://10.1.2.3:4222", "tls://10.1.2.3:4222"),
        ("redis://cache:6379", "rediss://cache:6379"),
        ("http://collector:8080", "https://collector:8080"),
        ("nats://user:s3cret@127.0.0.1:4222", "EVENTTREE_RELAY_CREDS"),
        ("kafka://broker", "nats"),
        ("nonsense", "nats"),
    ],
)
def test_f74_beyond_this_machine_only_tls_and_never_a_credential_in_the_url(url: str, hint: str, machine: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        App(machine / "app", relay=url)
    assert hint in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_f75_a_writer_that_dies_beside_its_relay_leaves_incomplete_runs_at_once(
    machine: Path, vendor: VendorServer
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    beside = sidecar(url, machine / "app")
    with closing(beside), collecting(url, machine / "collector", [braintrust(vendor)]):
        app = App(machine / "app", relay=url)
        app.stop()
        app.tree()
        half = app.open()
        until(lambda: report(machine / "app").unreplicated_bytes == 0)
        time.sleep(1.0)
        assert half not in vendor.event_ids("braintrust")
        app.die()
        until(lambda: arrived(vendor) == app.events)
        assert any("incomplete" in str(row) for row in vendor.events("braintrust") if row["id"] == half)


@pytest.mark.parametrize("engine", [*ENGINES, "http"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_relay_and_collector_end_in_good_order(engine: str, number: int, machine: Path, vendor: VendorServer) -> None:
    server = ENGINES[engine](machine / "engine") if engine in ENGINES else None
    url = server.url if server else f"http://127.0.0.1:{free_port()}"
    kept = collector(url, machine / "collector", vendor, log=machine / "collector.out")
    app = App(machine / "app", deliver=False)
    beside = sidecar(url, machine / "app", machine / "relay.out")
    with closing(*([server] if server else []), kept, beside):
        for path, word in ((machine / "collector.out", "Collecting"), (machine / "relay.out", "Relaying")):
            until(lambda path=path, word=word: word in path.read_text())  # each program takes its time to start
        app.tree()
        until(lambda: arrived(vendor) == app.events)
        app.tree()
        beside.kill(number)  # what is left is sent
        until(lambda: arrived(vendor) == app.events)
        kept.kill(number)
    assert (beside.process.returncode, kept.process.returncode) == (0, 0)
    assert "Traceback" not in (machine / "relay.out").read_text() + (machine / "collector.out").read_text()


def _swallow(monkeypatch: pytest.MonkeyPatch, owner: type[port.Port], name: str) -> None:
    """Have a method of a connection lose its first cancellation, as `wait_for` of Python 3.11 may."""
    real, lost = getattr(owner, name), list[str]()

    async def swallows(self: port.Port, *given: int) -> object:
        try:
            found = await real(self, *given)
            await asyncio.sleep(0.05)
            return found
        except asyncio.CancelledError:
            if lost:
                raise
            lost.append(name)
            return []

    monkeypatch.setattr(owner, name, swallows)


@pytest.mark.parametrize("name", ["lease", "receive", "learn"])
def test_a_collector_ends_though_a_client_swallows_that_it_is_to(
    name: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _swallow(monkeypatch, http.Server, name)
    monkeypatch.setattr(collect, "LEARN_SECONDS", 0.0)
    made = collect.Collector(Journal(DiskFiles(machine / "collector")), [], config.resolve())

    async def ended() -> bool:
        running = asyncio.create_task(made.run(f"http://127.0.0.1:{free_port()}"))
        await asyncio.sleep(0.3)
        running.cancel()
        return bool((await asyncio.wait([running], timeout=LONGEST))[0])

    assert asyncio.run(ended())


def test_a_collector_that_ends_cuts_whoever_waits_for_its_answer() -> None:
    port = free_port()

    async def rest() -> bytes:
        server = port_at(f"http://127.0.0.1:{port}", serves=True)
        async with server.opened():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"PUT /logs/w-1.0000.log HTTP/1.1\r\nHost: c\r\nContent-Length: 1\r\n\r\nx")
            assert await server.receive(0)
        try:
            async with asyncio.timeout(LONGEST):
                return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    assert asyncio.run(rest()) == b""


def test_a_relay_ends_though_a_client_swallows_that_it_is_to(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _swallow(monkeypatch, http.Engine, "learn")
    monkeypatch.setattr(replicate, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(replicate, "BEAT_SECONDS", 0.0)
    url = f"http://127.0.0.1:{free_port()}"
    with collecting(url, machine / "collector", []):
        app = App(machine / "app", relay=url)
        app.tree()
        until(lambda: report(machine / "app").unreplicated_bytes == 0)
        thread = app.pipeline.relay._thread
        app.stop()
        assert thread is not None and not thread.is_alive()


def test_f75_a_writer_that_dies_has_ended_in_each_partition(machine: Path, vendor: VendorServer) -> None:
    server = Nats(machine / "engine")
    app = App(machine / "app", relay=server.url)
    with closing(server), collecting(server.url, machine / "collector", [braintrust(vendor)], partitions=4):
        until(lambda: _partitions(server.url) == 4)
        app.stop()
        for _ in range(12):
            app.tree()
        half = app.open()
        with closing(sidecar(server.url, machine / "app")):
            until(lambda: report(machine / "app").unreplicated_bytes == 0)
            app.die()
            until(lambda: arrived(vendor) == app.events)
            parts = {log.name.rsplit(".", 2)[0]: log for log in (machine / "collector").glob("*.log")}
            assert len(parts) > 1
            until(lambda: all((machine / "collector" / f"{part}.ended").exists() for part in parts))
            rows = {row["id"]: row for row in vendor.events("braintrust")}
            assert "incomplete" in str(rows[half])
            assert report(machine / "collector").vanished == 0


def test_f75_a_writer_not_heard_of_is_taken_for_dead_and_what_comes_after_is_late(
    machine: Path, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicate, "BEAT_SECONDS", 1_000.0)  # its beats get lost
    url = f"http://127.0.0.1:{free_port()}"
    with collecting(url, machine / "collector", [braintrust(vendor)], silence=1.0):
        app = App(machine / "app", relay=url)
        root = app.open()
        until(lambda: root in vendor.event_ids("braintrust"))
        app.end(app.open(root))
        app.end(root)
        until(lambda: app.events <= set(vendor.event_ids("braintrust")))
        assert all(copies(machine / "app", machine / "collector").values())


def test_f76_a_spool_that_is_full_counts_whole_trees(machine: Path, vendor: VendorServer) -> None:
    port = free_port()
    app = App(machine / "app", relay=f"nats://127.0.0.1:{port}", bounds={"journal_bytes": 60_000})
    for _ in range(200):
        app.tree()
    left = report(machine / "app")
    sums = left.vendors["collector"]
    assert app.journal.full == "journal_full"
    assert sums.accepted == sums.recorded == len(app.events)
    assert sum(path.stat().st_size for path in (machine / "app").glob("*.log")) < 200_000


def test_f77_the_end_of_a_tree_waits_for_its_acknowledgement_and_is_counted_without_it(machine: Path) -> None:
    server = Nats(machine / "engine")
    with closing(server):
        app = App(machine / "app", relay=server.url, durable="engine")
        app.tree()
        before = diagnostics.unreplicated
        for _ in range(3):
            app.tree()
            assert app.pipeline.relay.drain(0.0) or diagnostics.unreplicated > before
        server.process.send_signal(signal.SIGSTOP)
        began, before = time.monotonic(), diagnostics.unreplicated
        app.tree()
        assert time.monotonic() - began > 0.9
        assert report(machine / "app").unreplicated == before + 1
        server.process.send_signal(signal.SIGCONT)
        until(lambda: report(machine / "app").unreplicated_bytes == 0)


def test_f78_a_collectors_full_disk_acknowledges_nothing_and_loses_nothing(
    machine: Path, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Nats(machine / "engine")
    real, is_full = collect.os.pwrite, True

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if is_full:
            raise OSError(28, "No space left on device")
        return real(fd, data, at)

    monkeypatch.setattr(collect.os, "pwrite", pwrite)
    with closing(server), collecting(server.url, machine / "collector", [braintrust(vendor)]):
        app = App(machine / "app", relay=server.url)
        app.tree()
        until(lambda: report(machine / "app").unreplicated_bytes == 0)
        until(lambda: diagnostics.failures["collecting: OSError"])
        assert not vendor.event_ids("braintrust")
        is_full = False
        until(lambda: arrived(vendor) == app.events)
    assert all(copies(machine / "app", machine / "collector").values())


def test_f78_a_disk_that_takes_half_of_a_chunk_takes_the_rest_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = collect.Writer(Journal(DiskFiles(tmp_path)), DiskFiles(tmp_path), 60.0)
    message, real = Chunk("w-1.0000.log", 0, b"a line\n").pack(), collect.os.pwrite
    with monkeypatch.context() as full:
        full.setattr(collect.os, "pwrite", lambda fd, data, at: real(fd, data[:3], at))
        with pytest.raises(OSError, match="short write"):
            writer.write([message])
    assert writer.write([message]) == [(True, "w-1.0000.log", 7)]
    assert (tmp_path / "w-1.0000.log").read_bytes() == b"a line\n"


def test_f78_a_collectors_full_disk_ends_nobody_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DiskFiles(tmp_path)
    writer, near = collect.Writer(Journal(files), files, -1.0), port_at("http://127.0.0.1:1", serves=True)
    writer.write([Chunk("w-1.0000.log", 0, b"a line\n", left=9).pack()])
    with monkeypatch.context() as full:
        full.setattr(files, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        writer.end_silent(near, 0)
    assert report(tmp_path).vanished == 0
    writer.end_silent(near, 0)
    assert (report(tmp_path).vanished, report(tmp_path).vanished_bytes) == (1, 9)


def test_partitions_that_there_are_none_of_cannot_be_taken(tmp_path: Path) -> None:
    made = collect.Collector(Journal(DiskFiles(tmp_path)), [], config.resolve())
    with pytest.raises(ConfigError, match="none of them"):
        asyncio.run(made.run(f"http://127.0.0.1:{free_port()}", take=range(5, 9)))


@pytest.mark.parametrize("engine", [*ENGINES, "http"])
def test_f79_one_tree_over_three_machines_is_whole(engine: str, machine: Path, vendor: VendorServer) -> None:
    server = ENGINES[engine](machine / "engine") if engine in ENGINES else None
    url = server.url if server else f"http://127.0.0.1:{free_port()}"
    first = collector(url, machine / "collector", vendor)
    with closing(first, *([server] if server else [])):
        one, two, three = (App(machine / name, relay=url) for name in ("one", "two", "three"))
        root = one.open()
        parts = {_part(two, root)}
        until(lambda: report(machine / "two").unreplicated_bytes == 0)
        first.kill()
        first.start()
        parts.add(_part(three, root))
        until(lambda: report(machine / "three").unreplicated_bytes == 0)
        one.end(root)
        until(lambda: arrived(vendor) == {root, *parts})
        rows = {row["id"]: row for row in vendor.events("braintrust")}
        assert {rows[part]["root_span_id"] for part in parts} == {root}
        assert {tuple(rows[part]["span_parents"]) for part in parts} == {(root,)}


def test_what_became_of_a_process_is_forgotten_with_its_logs_and_days(tmp_path: Path) -> None:
    journal = Journal(DiskFiles(tmp_path))
    (tmp_path / "c.0000.log").write_bytes(b"")
    for name in ("a.ended", "a.sizes", "b.ended", "c.ended"):
        (tmp_path / name).write_bytes(b"1")
        if name != "b.ended":
            os.utime(tmp_path / name, (0, 0))
    remove_settled(journal, kept_seconds=60.0)
    assert sorted(path.name for path in tmp_path.glob("*.ended")) == ["b.ended", "c.ended"]
    assert not (tmp_path / "a.sizes").exists()


@pytest.mark.parametrize("damage", [b"\0\0\0", b"[]", b"w-1.0000.log", b"w-1.0000.log -7\n", b"9" * 5_000])
def test_what_became_of_a_process_may_be_damaged(tmp_path: Path, damage: bytes) -> None:
    for name in ("w-1.sizes", "w-2.ended"):
        (tmp_path / name).write_bytes(damage)
    found = report(tmp_path)
    assert (found.vanished, found.vanished_bytes) == (1, 0)
    journal = Journal(DiskFiles(tmp_path))
    writer = collect.Writer(journal, DiskFiles(tmp_path), 60.0)
    assert writer.write([Chunk("w-1.0000.log", 0, b"a line\n").pack()]) == [(True, "w-1.0000.log", 7)]


@pytest.mark.parametrize("engine", ENGINES)
def test_f64_what_is_asked_for_by_somebody_else_does_no_harm(engine: str, machine: Path, vendor: VendorServer) -> None:
    server = ENGINES[engine](machine / "engine")

    async def ask(log: str) -> None:
        async with port_at(server.url).opened() as port:
            for name, offset in ((log, -7), (log, 3), ("x", 0), ("../../etc/x.0000.log", 0), ("a.0.0.0.0.log", 1)):
                await port.ask(name, offset)
            await port.client.publish(ASKED[engine], b"[1e400, {}]")  # type: ignore[attr-defined]

    with closing(server), collecting(server.url, machine / "collector", [braintrust(vendor)]):
        app = App(machine / "app", relay=server.url)
        app.tree()
        until(lambda: arrived(vendor) == app.events)
        asyncio.run(ask(app.journal.log))
        for _ in range(5):
            app.tree()
            time.sleep(0.2)
        until(lambda: arrived(vendor) == app.events)
        assert app.pipeline.relay is not None and not app.pipeline.relay.is_away
    assert not diagnostics.failures["relay: ValueError"] + diagnostics.failures["relay: OSError"]
    assert all(copies(machine / "app", machine / "collector").values())


def test_what_a_collector_has_removed_or_cleared_stays_so(tmp_path: Path) -> None:
    journal = Journal(DiskFiles(tmp_path))
    (tmp_path / "collected").write_bytes(b"\n")
    writer = collect.Writer(journal, DiskFiles(tmp_path), 60.0)
    first, second = (tmp_path / f"20200101T000000-1-a.{number:04}.log" for number in range(2))

    def write(log: Path, data: bytes) -> tuple[bool, str, int | None]:
        (outcome,) = writer.write([Chunk(log.name, 0, data).pack()])
        return outcome

    write(first, b"a line\n")
    write(second, b"one\n")
    assert remove_settled(journal, kept_seconds=60.0) == [first.name]
    assert write(first, b"a line\n") == (True, first.name, 7)
    assert not first.exists()
    second.write_bytes(b"   \n")
    assert write(second, b"one\ntwo\n") == (True, second.name, 8)
    assert second.read_bytes() == b"   \ntwo\n"
    first.with_name("20200101T000000-1-a.sizes").unlink()  # as in a folder that never had it
    assert write(first, b"a line\n") == (True, first.name, 7)
    assert first.read_bytes() == b"a line\n"


def test_f78_a_collectors_full_disk_gets_back_what_is_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(DiskFiles(tmp_path))
    (tmp_path / "collected").write_bytes(b"\n")
    writer = collect.Writer(journal, DiskFiles(tmp_path), 60.0)
    first, second = (tmp_path / f"20200101T000000-1-a.{number:04}.log" for number in range(2))
    writer.write([Chunk(log.name, 0, b"a line\n").pack() for log in (first, second)])
    real = DiskFiles.replace

    def replace(files: DiskFiles, name: str, data: bytes) -> None:
        if first.exists():
            raise OSError(28, "No space left on device")
        real(files, name, data)

    monkeypatch.setattr(DiskFiles, "replace", replace)
    assert remove_settled(journal, kept_bytes=0) == [first.name]
    assert writer.write([Chunk(first.name, 0, b"a line\n").pack()]) == [(True, first.name, 7)]
    assert not first.exists()


def test_f78_what_a_power_cut_left_without_its_bytes_is_written_again(tmp_path: Path) -> None:
    writer = collect.Writer(Journal(DiskFiles(tmp_path)), DiskFiles(tmp_path), 60.0)
    log = tmp_path / "w-1.0000.log"
    chunks = [Chunk(log.name, 0, b"synced\n"), Chunk(log.name, 7, b"not\nyet\n"), Chunk(log.name, 15, b"next\n")]
    log.write_bytes(b"synced\nno" + bytes(5) + b"\n" + bytes(5))
    assert writer.write([chunk.pack() for chunk in chunks]) == [(True, log.name, size) for size in (20, 20, 20)]
    assert log.read_bytes() == b"synced\nnot\nyet\nnext\n"


def test_f64_a_log_waits_for_the_one_before_it(tmp_path: Path) -> None:
    journal, files = Journal(DiskFiles(tmp_path)), DiskFiles(tmp_path)
    first, second = (f"w-1.{number:04}.log" for number in range(2))
    later = Chunk(second, 0, b"two\n", before=(first, 10)).pack()

    def write(writer: collect.Writer, message: bytes) -> tuple[bool, str, int | None]:
        (outcome,) = writer.write([message])
        return outcome

    writer = collect.Writer(journal, files, 60.0)
    assert write(writer, later) == (False, first, 0)
    assert write(writer, Chunk(first, 0, b"one\n").pack()) == (True, first, 4)
    assert write(writer, later) == (False, first, 4)
    assert journal.all_logs() == [first]
    assert write(writer, Chunk(first, 4, b"more\n\n").pack()) == (True, first, 10)
    assert write(writer, later) == (True, second, 4)
    (tmp_path / second).unlink()
    (tmp_path / first).write_bytes(b"one\n")
    hasty = collect.Writer(journal, files, -1.0)  # what nobody has any more is not waited for
    assert write(hasty, later) == (True, second, 4)


def test_f78_a_log_is_on_the_disk_before_the_next_one_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, str]] = []
    synced, put = collect.os.fsync, collect.os.pwrite

    def name(fd: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{fd}")).name

    monkeypatch.setattr(collect.os, "fsync", lambda fd: (done.append(("sync", name(fd))), synced(fd)))
    monkeypatch.setattr(collect.os, "pwrite", lambda fd, *rest: (done.append(("put", name(fd))), put(fd, *rest))[1])
    first, second = (f"w-1.{number:04}.log" for number in range(2))
    chunks = [Chunk(first, 0, b"one\n"), Chunk(second, 0, b"two\n", before=(first, 4))]
    writer = collect.Writer(Journal(DiskFiles(tmp_path)), DiskFiles(tmp_path), 60.0)
    assert all(is_taken for is_taken, _, _ in writer.write([chunk.pack() for chunk in chunks]))
    assert done.index(("sync", first)) < done.index(("put", second)) < done.index(("sync", second))
    done.clear()  # what comes again may have been written by somebody who was killed before the sync
    collect.Writer(Journal(DiskFiles(tmp_path)), DiskFiles(tmp_path), 60.0).write([chunk.pack() for chunk in chunks])
    assert {("sync", first), ("sync", second), ("sync", tmp_path.name)} == set(done)


@pytest.mark.parametrize("engine", ENGINES)
def test_f64_what_a_collector_took_to_its_grave_comes_behind_later_logs_and_is_read_before_them(
    engine: str, machine: Path, vendor: VendorServer
) -> None:
    server = ENGINES[engine](machine / "engine")
    app = App(machine / "app", relay=server.url)
    app.journal.roll_bytes = 10_000

    async def taken() -> int:
        async with port_at(server.url).opened() as port:
            return len(await port.receive(0))

    with closing(server):
        app.tree()
        with collecting(server.url, machine / "collector", [braintrust(vendor)]):
            until(lambda: arrived(vendor) == app.events)
        app.tree()
        until(lambda: not report(machine / "app").unreplicated_bytes)
        assert asyncio.run(taken())
        for _ in range(12):
            app.tree()
        until(lambda: not report(machine / "app").unreplicated_bytes)
        assert len(list((machine / "app").glob("*.log"))) > 2
        with collecting(server.url, machine / "collector", [braintrust(vendor)]):
            until(lambda: arrived(vendor) == app.events)
            until(lambda: not report(machine / "collector").waiting)
    assert all(copies(machine / "app", machine / "collector").values())


def test_messages_come_back_as_they_were_packed() -> None:
    for chunk in (
        Chunk("p.0000.log", 7, b"x\n"),
        Chunk("p.64-3.0000.log", 9, b"", ended=True),
        Chunk("p.0001.log", 0, b"x", left=7, before=("p.0000.log", 99)),
        Chunk("p.0.log", 0, b"y" * CHUNK_BYTES),
    ):
        packed = chunk.pack()
        assert Chunk.unpack(packed) == chunk
        for at in range(0, len(packed) - 1, max(1, len(packed) // 200)):
            with pytest.raises(ValueError):
                Chunk.unpack(packed[:at] + bytes([packed[at] ^ 4]) + packed[at + 1 :])
    for odd in (b"", b"{}\n", b"[]\n", b"1\nx", b"\xff" * 40, Chunk("p.0.log", 0, b"z" * (CHUNK_BYTES + 1)).pack()):
        with pytest.raises(ValueError):
            Chunk.unpack(odd)


def test_an_app_that_is_relayed_no_longer_delivers_for_itself(machine: Path, vendor: VendorServer) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with collecting(url, machine / "collector", [braintrust(vendor)]):
        app = App(machine / "app", relay=url)
        app.tree()
        until(lambda: arrived(vendor) == app.events)
        until(lambda: report(machine / "app").unreplicated_bytes == 0)
        app.stop()
    later = App(machine / "app", vendors=[braintrust(vendor)])
    later.tree()
    found = later.pipeline.shipper.flush(LONGEST)
    assert arrived(vendor) == app.events | later.events
    assert (found.vendors["braintrust"].delivered, found.vendors["collector"].delivered) == (4, 4)
    assert found.settled


def test_an_app_that_is_not_to_deliver_leaves_it_to_the_relay_beside_it(machine: Path, vendor: VendorServer) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    app = App(machine / "app", relay=url, deliver=False)
    app.tree()
    assert app.pipeline.relay is not None and not app.pipeline.relay.drain(0.2)
    assert not list((machine / "app").glob("collector.*"))
    beside = sidecar(url, machine / "app")
    with closing(beside), collecting(url, machine / "collector", [braintrust(vendor)]):
        until(lambda: arrived(vendor) == app.events)
        assert app.pipeline.relay.drain(LONGEST)


def test_a_folder_that_delivers_for_itself_is_no_collectors(machine: Path, vendor: VendorServer) -> None:
    app = App(machine / "app", vendors=[braintrust(vendor)])
    app.tree()
    app.pipeline.shipper.flush(LONGEST)
    with pytest.raises(Exception, match="delivers for itself"):
        collect.Collector(Journal(DiskFiles(machine / "app")), [], config.resolve())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.mark.parametrize("engine", ["nats", "redis", "https"])
def test_f74_over_tls_all_arrives_and_an_unknown_authority_is_refused(
    engine: str, machine: Path, vendor: VendorServer, authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = authority
    monkeypatch.setenv("EVENTTREE_RELAY_CERT", str(cert))
    monkeypatch.setenv("EVENTTREE_RELAY_KEY", str(key))
    server: Nats | Redis | None = None
    if engine == "nats":
        server = Nats(machine / "engine", more=f'tls {{ cert_file: "{cert}", key_file: "{key}" }}')
        url = f"tls://127.0.0.1:{server.port}"
    elif engine == "redis":
        port = free_port()
        tls = ("--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key))
        server = Redis(machine / "engine", more=(*tls, "--tls-auth-clients", "no"))
        url = f"rediss://127.0.0.1:{port}"
    else:
        url = f"https://127.0.0.1:{free_port()}"
    with closing(*([server] if server else [])):
        if server:
            stranger = App(machine / "stranger", relay=url)
            stranger.tree()
            until(lambda: stranger.pipeline.relay is not None and stranger.pipeline.relay.is_away)
            stranger.stop()
        monkeypatch.setenv("EVENTTREE_RELAY_CA", str(cert))
        with collecting(url, machine / "collector", [braintrust(vendor)]):
            app = App(machine / "app", relay=url)
            app.tree()
            until(lambda: arrived(vendor) == app.events)


def test_f74_a_server_that_lost_its_tls_gets_no_credential(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Nats(machine / "engine", more='authorization { token: "right" }')
    monkeypatch.setenv("EVENTTREE_RELAY_TOKEN", "right")

    async def opened() -> None:
        async with port_at(f"tls://127.0.0.1:{server.port}").opened():
            pass

    with closing(server), pytest.raises(RefusedError, match="no TLS"):
        asyncio.run(opened())


def test_f60_twenty_writers_lose_nothing_while_their_engine_is_away(machine: Path, vendor: VendorServer) -> None:
    server = Nats(machine / "engine")
    with closing(server), collecting(server.url, machine / "collector", [braintrust(vendor)]):
        apps = [App(machine / f"app{number}", relay=server.url) for number in range(20)]
        apps[0].tree()
        until(lambda: arrived(vendor) == apps[0].events)
        server.kill()
        for _ in range(5):
            for app in apps:
                app.tree()
        server.start()
        until(lambda: arrived(vendor) == set[str]().union(*(app.events for app in apps)))
        assert {same for app in apps for same in copies(app.folder, machine / "collector").values()} == {True}
        for app in apps:
            app.stop()


@pytest.mark.slow
def test_f60_ten_minutes_of_twenty_writers_lose_nothing(machine: Path, vendor: VendorServer) -> None:
    server = Nats(machine / "engine")
    server.kill()
    apps = [App(machine / f"app{number}", deliver=False) for number in range(20)]
    for _ in range(1_500):
        for app in apps:
            app.tree()
    beside = relays(server.url, [app.folder for app in apps])
    with closing(*beside, collector(server.url, machine / "collector", vendor), server):
        time.sleep(15.0)  # by now all try again as seldom as they ever do
        began = time.monotonic()
        server.start()
        until(lambda: all(all(copies(app.folder, machine / "collector").values()) for app in apps), 60.0, pause=0.5)
        copied = time.monotonic() - began
        # The vendor of the tests looks at every event; `tests.bench.relay` has one that takes whatever comes.
        until(lambda: delivered(machine / "collector") >= 120_000, 900.0, pause=0.5)
        took = time.monotonic() - began
        until(lambda: not report(machine / "collector").waiting)
        assert arrived(vendor) == set[str]().union(*(app.events for app in apps))
    print(f"120,000 events: with the collector after {copied:.1f} s, all looked at by the vendor after {took:.1f} s")
