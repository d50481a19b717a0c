"""F38, F39: an event answered 500 each time is a dead letter where others pass; a project remade is found again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from eventtree import flush
from eventtree.delivery import retry
from eventtree.delivery.report import VendorTotals
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import Answer, VendorServer
from eventtree.testing.contracts.contract import Reply, decompressed
from eventtree.vendors import VENDORS, Braintrust, HoneyHive, vendor_class
from tests.trees import new_id, record_tree

pytestmark = pytest.mark.usefixtures("impatient")


class FailingServer(VendorServer):
    """Answers 500 to every request in which there is a bomb."""

    def _judge(self, rules: Any, incoming: Any, body: Any, unreadable: Any) -> Reply:
        if b"bomb" in decompressed(incoming):
            return Reply(status=500, body={"error": "it went off"})
        return super()._judge(rules, incoming, body, unreadable)


@pytest.fixture
def server() -> Iterator[FailingServer]:
    with FailingServer() as running:
        yield running


def pipeline_of(server: VendorServer, kind: str) -> Pipeline:
    return Pipeline(vendors=[vendor_class(kind)(**server.settings(kind))], user="u")


def record_bomb(pipeline: Pipeline, where: str) -> str:
    """A chain, a model and a tool, one of which holds the bomb; the run that does."""
    tree, model, tool = new_id(), new_id(), new_id()
    content = {
        run: "bomb" if name == where else "x" for name, run in (("root", tree), ("model", model), ("tool", tool))
    }
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain", inputs={"question": content[tree]})
    messages = {"messages": [{"role": "user", "content": content[model]}]}
    recorder.open(
        pipeline,
        model,
        tree,
        kind=Kind.MODEL,
        name="model",
        inputs=messages,
        known={"model": "m", "provider": "openai"},
    )
    recorder.open(pipeline, tool, model, kind=Kind.TOOL, name="tool", inputs={"x": content[tool]})
    recorder.close(pipeline, tool, outputs="1")
    recorder.close(pipeline, model, outputs={"messages": [{"role": "assistant", "content": "a"}]})
    recorder.close(pipeline, tree, outputs={"answer": "a"})
    return {"root": tree, "model": model, "tool": tool}[where]


def until(pipeline: Pipeline, kind: str, seconds: float = 20) -> VendorTotals:
    end = time.monotonic() + seconds
    while (sums := pipeline.shipper.flush(0.2).vendors[kind]).waiting and time.monotonic() < end:
        pass
    assert sums.unexplained == 0
    return sums


@pytest.mark.parametrize("where", ["root", "model", "tool"])
@pytest.mark.parametrize("kind", VENDORS)
def test_f38_an_event_that_fails_each_time_is_a_dead_letter_and_starves_nobody(
    server: FailingServer, kind: str, where: str
) -> None:
    """F38: two of them among others, one the parent of others."""
    pipeline = pipeline_of(server, kind)
    for number in range(60):
        record_tree(pipeline, question=f"n{number}")
        if number in (20, 40):
            record_bomb(pipeline, where)
    until(pipeline, kind, 3)  # where they were the last of their wave, nothing has passed since they failed
    for _ in range(3):
        record_tree(pipeline)
    sums = until(pipeline, kind)
    assert (sums.waiting, sums.accepted) == (0, 63 * 3 + 6), sums
    assert sums.dead >= (2 if kind != "nebuly" else 0)
    assert sums.delivered + sums.dropped.get("no_place", 0) >= 63 * 3


@pytest.mark.parametrize("kind", VENDORS)
def test_f38_where_nothing_else_passes_it_waits_as_in_an_outage_until_something_does(
    server: FailingServer, kind: str
) -> None:
    """F38: the only event there is, then one more that is as bad, then good ones.

    Two of these: of a tree that goes out in several calls, all may pass before the later calls of the bad ones fail.
    """
    pipeline = pipeline_of(server, kind)
    record_bomb(pipeline, "root")
    record_bomb(pipeline, "root")
    sums = until(pipeline, kind, 1.5)
    assert sums.waiting > 0
    assert sums.dead == 0
    record_tree(pipeline)
    until(pipeline, kind, 1.5)
    record_tree(pipeline)
    sums = until(pipeline, kind)
    assert (sums.waiting, sums.accepted) == (0, 12), sums
    assert sums.dead > 0


def test_f39_a_project_remade_under_its_name_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """F39: what was learned is refused (404): it is looked up anew before the vendor is parked."""
    with VendorServer() as server:
        pipeline = pipeline_of(server, "braintrust")
        record_tree(pipeline)
        assert flush(10).settled
        server.clear()  # the project is deleted, and made anew by the next one who asks for it by name
        record_tree(pipeline)
        sums = until(pipeline, "braintrust")
        assert (sums.parked, sums.waiting, sums.delivered) == (None, 0, 6), sums
        assert len(server.events("braintrust")) == 3


def test_f39_an_id_that_cannot_be_one_is_not_learned(own_place: Any) -> None:
    """F39: the next good answer is."""

    class OddServer(VendorServer):
        odd = 2

        def _judge(self, rules: Any, incoming: Any, body: Any, unreadable: Any) -> Reply:
            reply = super()._judge(rules, incoming, body, unreadable)
            if incoming.path.endswith("/project") and self.odd:
                self.odd -= 1
                return Reply(status=200, body={"id": "x\\ny\n"})
            return reply

    with OddServer() as server:
        pipeline = pipeline_of(server, "braintrust")
        record_tree(pipeline)
        sums = until(pipeline, "braintrust")
        assert (sums.waiting, sums.delivered, server.odd) == (0, 3, 0)
        assert not [one for one in server.requests if "\n" in one.path or "%0A" in one.path]


def test_f03_the_vendor_is_not_asked_for_an_id_sooner_than_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []
    circuit = retry.Circuit.failed
    monkeypatch.setattr(
        retry.Circuit, "failed", lambda self, now, delay, asked=None: (waits.append(asked), circuit(self, now, delay))
    )
    with VendorServer() as server:
        server.script("braintrust", [Answer(status=429, headers={"Retry-After": "0.2"})])
        record_tree(Pipeline(vendors=[Braintrust(**server.settings("braintrust"))]))
        assert flush(10).settled
    assert waits == [0.2]


def test_f05_a_vendor_that_takes_nothing_at_all_for_a_while_is_away() -> None:
    """HoneyHive's 500 lists what was created; where that is nothing, the events are not to blame."""
    away = Answer(status=500, body={"event_ids": [], "errors": ["the database is away"], "success": False})
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[HoneyHive(**server.settings("honeyhive"))])
        record_tree(pipeline)
        assert flush(10).settled
        server.script("honeyhive", [Answer(), *[away] * 30])
        record_tree(pipeline)
        sums = flush(20).vendors["honeyhive"]
    assert (sums.delivered, sums.dead) == (6, 0)


def test_f05_what_a_vendor_leaves_out_alone_is_a_dead_letter_though_nothing_comes_after_it() -> None:
    """HoneyHive's 500 lists the others as created."""

    class Leaving(VendorServer):
        def _judge(self, rules: Any, incoming: Any, body: Any, unreadable: Any) -> Reply:
            events = body.get("events", []) if isinstance(body, dict) else []
            if not any("bomb" in json.dumps(event) for event in events):
                return super()._judge(rules, incoming, body, unreadable)
            good = [event["event_id"] for event in events if "bomb" not in json.dumps(event)]
            return Reply(status=500, body={"event_ids": good, "errors": ["it went off"], "success": False})

    with Leaving() as server:
        pipeline = pipeline_of(server, "honeyhive")
        record_bomb(pipeline, "tool")
        sums = until(pipeline, "honeyhive")
    assert (sums.delivered, sums.dead) == (2, 1)
