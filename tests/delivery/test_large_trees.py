"""Trees and events of every size go out in right-sized requests, parents first, at every vendor."""

from __future__ import annotations

import pytest

from eventtree import flush
from eventtree.kinds import Kind, Status
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import VendorServer
from eventtree.vendors import VENDORS, vendor_class
from tests.trees import new_id

EVENTS = 10_000
BRANCH = 100


def record_large(pipeline: Pipeline, events: int) -> str:
    """A root with branches of tools: three levels."""
    tree = new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain", inputs={"question": "How many?"})
    branch = tree
    for number in range(1, events):
        run = new_id()
        if number % BRANCH == 1:
            branch = run
            recorder.open(pipeline, run, tree, kind=Kind.AGENT, name="branch", inputs={"number": number})
        else:
            recorder.open(pipeline, run, branch, kind=Kind.TOOL, name="look_up", inputs={"number": number})
        recorder.close(pipeline, run, outputs=str(number))
    recorder.close(pipeline, tree, outputs={"answer": "many"}, status=Status.OK)
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("kind", VENDORS)
def test_a_tree_with_ten_thousand_events_arrives_whole(kind: str) -> None:
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[vendor_class(kind)(**server.settings(kind))], user="u")
        record_large(pipeline, EVENTS)
        sums = flush(300).vendors[kind]
        assert not server.refused
        assert (sums.accepted, sums.dead, sums.waiting, sums.unexplained) == (EVENTS, 0, 0, 0)
        if kind == "nebuly":
            assert sums.dropped == {"no_place": EVENTS // BRANCH}
        else:
            assert sums.delivered == EVENTS
            assert len(set(server.event_ids(kind))) == EVENTS


@pytest.mark.parametrize("kind", VENDORS)
def test_one_event_beyond_a_vendors_limit_is_shortened_before_it_is_sent(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R5: nobody is asked to say 413."""
    monkeypatch.setattr(vendor_class(kind), "max_bytes", 20_000)
    with VendorServer(max_bytes={kind: 20_000}) as server:
        pipeline = Pipeline(vendors=[vendor_class(kind)(**server.settings(kind))], user="u")
        tree = new_id()
        text = "begin " + "x" * 100_000 + " end"
        recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain", inputs={"question": text})
        recorder.close(pipeline, tree, outputs={"answer": "short"})
        sums = flush(10).vendors[kind]
        assert (sums.delivered, sums.dead) == (1, 0)
        assert not server.refused
        sent = str(server.events(kind))
        assert "begin" in sent
        assert " end" in sent
