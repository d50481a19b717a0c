"""Which trees a vendor gets: judged when they are whole, counted, left in the journal, and sent after all if asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

import eventtree
from eventtree import ConfigError, EventTree, Report
from eventtree.delivery.shipper import all_shippers
from eventtree.langchain import CallbackHandler
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust, HoneyHive


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as found:
        yield found
        assert not found.refused


def braintrust(server: VendorServer, **more: Any) -> Braintrust:
    return Braintrust(project="p", **server.settings("braintrust"), **more)


def record(*names: str) -> list[str]:
    ids = []
    for name in names:
        try:
            with eventtree.span(name, inputs=name) as s, eventtree.span("inside"):
                if name == "fails":
                    raise KeyError(name)
        except KeyError:
            pass
        ids.append(s.id or "")
    return ids


def check_law(report: Report) -> None:
    for sums in report.vendors.values():
        assert (sums.unexplained, sums.differs, sums.waiting, sums.dead) == (0, False, 0, 0), sums


def test_words_choose_for_a_handler_and_for_one_of_its_vendors(server: VendorServer) -> None:
    everything = HoneyHive(project="p", keep=lambda tree: True, **server.settings("honeyhive"))
    eventtree.configure(vendors=[braintrust(server), everything], keep="status:error OR name:kept")
    record("left", "fails", "kept", "left")
    report = eventtree.flush(30)
    check_law(report)
    assert (report.vendors["braintrust"].delivered, report.vendors["braintrust"].dropped) == (4, {"sampled": 4})
    assert (report.vendors["honeyhive"].delivered, report.vendors["honeyhive"].dropped) == (8, {})
    assert len(server.events("braintrust")) == 4


def test_a_function_sees_the_whole_tree_and_one_that_raises_keeps_it(server: VendorServer) -> None:
    seen: list[EventTree] = []

    def keep(tree: EventTree) -> bool:
        seen.append(tree)
        return tree.root.inputs != "broken" or 1 / 0 > 0

    eventtree.configure(vendors=[braintrust(server, keep=lambda tree: keep(tree) and tree.root.name != "left")])
    record("kept", "left", "broken")
    report = eventtree.flush(30)
    assert [len(tree.events) for tree in seen] == [2, 2, 2]
    assert report.vendors["braintrust"].dropped == {"sampled": 2}
    assert report.failures == {"keep: ZeroDivisionError": 1}


def test_a_share_is_always_the_same_trees(server: VendorServer) -> None:
    share = braintrust(server, keep="rate:0.5")
    eventtree.configure(vendors=[share, braintrust(server, name="again", keep="rate:0.5", project_id=None)])
    record(*["tree"] * 40)
    report = eventtree.flush(30)
    check_law(report)
    one, two = report.vendors["braintrust"], report.vendors["again"]
    assert (one.delivered, one.dropped) == (two.delivered, two.dropped)
    assert 0 < one.delivered < 80


def test_a_replay_sends_what_was_left_out_and_counts_it_once(server: VendorServer, own_place: Any) -> None:
    eventtree.configure(vendors=[braintrust(server, keep="name:kept")])
    record("left", "kept", "left")
    check_law(eventtree.flush(30))
    eventtree.flush(1)
    env = {**os.environ, "BRAINTRUST_API_URL": server.url, "BRAINTRUST_PROJECT": "p"}
    env["BRAINTRUST_API_KEY"] = server.settings("braintrust")["api_key"]
    command = [
        sys.executable,
        "-m",
        "eventtree",
        "ship",
        "--replay",
        "--vendor",
        "braintrust",
        "--journal",
        str(own_place),
    ]
    waits = [*command, "--timeout", "10"]
    done = subprocess.run(waits, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "another process is delivering" in done.stderr) == (1, True), "this one, which still runs"
    assert len(server.events("braintrust")) == 2
    from eventtree.delivery.shipper import all_shippers

    for shipper in all_shippers():
        shipper.stop()
    done = subprocess.run([*command, "--timeout", "0"], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "trees may still have to be sent" in done.stderr) == (1, True), done.stdout + done.stderr
    for _ in range(2):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(server.events("braintrust")) == len(set(server.event_ids("braintrust"))) == 6
    report = eventtree.flush(1)
    check_law(report)
    assert (report.vendors["braintrust"].delivered, report.vendors["braintrust"].dropped) == (6, {})


def test_feedback_brings_a_tree_back_that_is_kept_for_it(server: VendorServer) -> None:
    eventtree.configure(vendors=[braintrust(server, keep="feedback")])
    one, two = record("one", "two")
    first = eventtree.flush(30)
    assert first.vendors["braintrust"].dropped == {"sampled": 4}
    eventtree.feedback(one, score=0, comment="wrong")
    deadline, report = time.monotonic() + 30, eventtree.flush(1)
    while report.vendors["braintrust"].feedback.get("delivered") != 1 and time.monotonic() < deadline:
        report = eventtree.flush(1)
    check_law(report)
    assert (report.vendors["braintrust"].delivered, report.vendors["braintrust"].dropped) == (2, {"sampled": 2})
    assert {row["root_span_id"] for row in server.events("braintrust")} == {one}
    assert two not in server.event_ids("braintrust")


def test_feedback_on_a_tree_that_stays_out_is_counted_with_it(server: VendorServer) -> None:
    eventtree.configure(vendors=[braintrust(server, keep="name:kept")])
    [left] = record("left")
    eventtree.flush(30)
    eventtree.feedback(left, score=1)
    deadline, report = time.monotonic() + 30, eventtree.flush(1)
    while not report.vendors["braintrust"].feedback.get("sampled") and time.monotonic() < deadline:
        report = eventtree.flush(1)
    assert report.vendors["braintrust"].feedback == {"sampled": 1}
    check_law(report)


@pytest.mark.parametrize(
    "words",
    [
        "status:eror", "since:1h", "vendor:braintrust", "cost>much", "((", "-", "eror", "cost > 0.05", "feedbak",
        "status:error AND cost>1", "(status:error OR feedback)", "rate: 0.05", "OR",
    ],
)  # fmt: skip
def test_wrong_words_are_an_error_where_they_stand(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"Braintrust\.keep: "):
        Braintrust(project="p", api_key="k", keep=words)
    with pytest.raises(ConfigError, match="keep: "):
        eventtree.configure(keep=words)
    with pytest.raises(ConfigError):
        eventtree.configure(keep=7)  # type: ignore[arg-type]
    monkeypatch.setenv("EVENTTREE_KEEP", words)
    with pytest.raises(ConfigError, match="keep: "):
        CallbackHandler(vendors=[])


def test_a_text_stands_in_quotes(server: VendorServer) -> None:
    eventtree.configure(vendors=[braintrust(server)], keep='"(kept"')
    record("left", "(kept")
    assert eventtree.flush(30).vendors["braintrust"].dropped == {"sampled": 2}


def test_a_coroutine_function_would_keep_every_tree_so_it_is_refused() -> None:
    async def keeps(tree: EventTree) -> bool:
        return False

    with pytest.raises(ConfigError, match="a coroutine cannot judge"):
        Braintrust(project="p", api_key="k", keep=keeps)


def test_what_gives_a_coroutine_after_all_has_failed(server: VendorServer) -> None:
    async def keeps(tree: EventTree) -> bool:
        return False

    eventtree.configure(vendors=[braintrust(server, keep=lambda tree: keeps(tree))])
    record("kept")
    report = eventtree.flush(30)
    assert (report.vendors["braintrust"].delivered, report.failures) == (2, {"keep: TypeError": 1})


@pytest.mark.parametrize("is_running", [False, True])
def test_of_handlers_with_one_journal_the_last_made_counts_for_delivery(
    server: VendorServer, *, is_running: bool
) -> None:
    """Whether or not delivery has begun with the settings of the first."""
    eventtree.configure(vendors=[braintrust(server)], keep="name:first", exit_timeout=7)
    CallbackHandler()
    if is_running:
        record("first")
        assert eventtree.flush(30).vendors["braintrust"].delivered == 2
    eventtree.configure(vendors=[braintrust(server)], keep="name:last", exit_timeout=9)
    record("first", "last")
    found = eventtree.flush(30).vendors["braintrust"]
    assert (found.delivered, found.dropped) == (2 + 2 * is_running, {"sampled": 2})
    (shipper,) = all_shippers()
    assert shipper.exit_timeout == 9
    eventtree.configure(vendors=[braintrust(server)], deliver=False)
    record("last")
    assert eventtree.flush(1).vendors["braintrust"].waiting == 2
