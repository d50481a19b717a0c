"""A tree tied to a row of a dataset arrives as such at every vendor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda

import eventtree
from eventtree import flush
from eventtree.langchain import CallbackHandler
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import VendorServer, capture
from eventtree.vendors import VENDORS, Vendor, vendor_class
from tests.trees import record_tree

LINKS: dict[str, Any] = {
    "datapoint_id": "row-1", "expected": {"answer": "here"}, "experiment": "Näch/t 1", "run_id": "run-1",
    "dataset_id": "set-1",
}  # fmt: skip


HONEYHIVE_RUN = "0b8c2f3e-6d55-4f0e-9a8e-0d9a4f1c7b21"


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as running:
        yield running


def vendor(server: VendorServer, kind: str, **more: object) -> Vendor:
    with_scores = {"scores": "logs"} if kind == "otlp" else {}  # plain OTLP has no place for them unless it is told
    return vendor_class(kind)(**server.settings(kind), **with_scores, **more)


def answered(server: VendorServer, kind: str, **more: Any) -> Any:
    """What a vendor got of the root of an example's tree."""
    pipeline = Pipeline(vendors=[vendor(server, kind)], user="u")
    with eventtree.example(**{**LINKS, **more}) as row:
        tree = record_tree(pipeline)
        row.score("exact", True)
    assert row.tree_ids == [tree]
    report = flush(60)
    assert report.vendors[kind].feedback == {"delivered": 1}
    assert not server.refused
    return next((event for event in server.events(kind) if tree in str(event.get("id", event))), None)


def test_braintrust_gets_an_experiments_row(server: VendorServer) -> None:
    row = answered(server, "braintrust")
    assert row["expected"] == LINKS["expected"]
    assert row["origin"] == {"object_type": "dataset", "object_id": "set-1", "id": "row-1"}
    assert [said["scores"] for said in server.feedback("braintrust")] == [{"exact": 1.0}]
    asked = [one.body for one in server.requests if one.path == "/v1/experiment"]
    assert [body["name"] for body in asked] == ["Näch/t 1"]
    assert {one.path.split("/")[2] for one in server.requests} == {"project", "experiment"}


def test_honeyhive_gets_its_links_and_metrics(server: VendorServer) -> None:
    event = answered(server, "honeyhive")
    for said in (event, *server.sessions("honeyhive")):
        links = {name: said["metadata"][name] for name in LINKS if name != "expected"}
        assert links == {name: value for name, value in LINKS.items() if name != "expected"}
    assert [said["metrics"] for said in server.updates("honeyhive")] == [{"exact": 1.0}] * 2


def test_humanloop_v5_gets_source_datapoint_and_run(server: VendorServer) -> None:
    log = answered(server, "humanloop_v5")
    assert (log["source_datapoint_id"], log["run_id"]) == ("row-1", "run-1")
    assert [said["judgment"] for said in server.feedback("humanloop_v5")] == [1.0]


@pytest.mark.parametrize(("run_id", "path"), [("run-1", "/v4/evaluations/run-1/log"), (HONEYHIVE_RUN, "/v4/logs")])
def test_humanloop_v4_gets_an_evaluations_log(server: VendorServer, run_id: str, path: str) -> None:
    log = answered(server, "humanloop_v4", run_id=run_id)
    assert log["source_datapoint_id"] == "row-1"
    assert server.requests[0].path == path
    assert len(server.events("humanloop_v4")) == 3
    assert [said["type"] for said in server.feedback("humanloop_v4")] == ["exact"]


def test_an_evaluation_that_is_not_known_parks_nobody(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "humanloop_v4")])
    server.script("humanloop_v4", [404])
    with eventtree.example("row-1", run_id="run-of-another-vendor"):
        record_tree(pipeline, children=0)
    flush(60)  # trees of one wave go out side by side: the 404 is for this one
    record_tree(pipeline)
    sums = flush(60).vendors["humanloop_v4"]
    assert (sums.dead, sums.delivered, sums.waiting) == (1, 3, 0)


def test_nebuly_gets_tags(server: VendorServer) -> None:
    answered(server, "nebuly")
    (interaction,) = server.events("nebuly")
    tags = interaction["interaction"]["tags"]
    assert (tags["datapoint_id"], tags["experiment"]) == ("row-1", "Näch/t 1")
    assert [said["tags"] for said in server.tags("nebuly")] == [{"score.exact": "1.0"}]


def test_a_score_before_the_run_goes_with_the_root(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")])
    with eventtree.example(experiment="e") as row:
        row.score("prior", 0.5)
        tree = record_tree(pipeline)
    record_tree(pipeline)
    flush(60)
    rows = {row["id"]: row for row in server.events("braintrust")}
    assert rows[tree]["scores"] == {"prior": 0.5}
    assert sum("scores" in row for row in rows.values()) == 1
    inserts = [one.path for one in server.requests if one.path.endswith("/insert")]
    assert {path.split("/")[2] for path in inserts} == {"experiment", "project_logs"}


def tied(number: int, handler: CallbackHandler) -> RunnableConfig:
    """The config of one input of a batch."""
    metadata = {
        "eventtree_datapoint_id": f"row-{number}", "eventtree_expected": number * 2, "eventtree_experiment": "doubling",
        "eventtree_dataset_id": "set-1", "eventtree_run_id": "run-1", "eventtree_scores": {"exact": number % 2},
    }  # fmt: skip
    return {"metadata": metadata, "callbacks": [handler]}


def batch(server: VendorServer, kind: str) -> list[Any]:
    """What a vendor got of the roots of a chain's batch over a list of twenty examples."""
    handler = CallbackHandler(vendors=[vendor(server, kind)], user="u")
    chain = RunnableLambda(lambda text: int(text) * 2, name="double") | RunnableLambda(str, name="text")
    chain.batch([str(number) for number in range(20)], config=[tied(number, handler) for number in range(20)])
    assert flush(60).vendors[kind].unexplained == 0
    assert not server.refused
    return [sent for sent in server.events(kind) if ROOTS[kind](server, sent)]


def is_below_its_session(server: VendorServer, event: Any) -> bool:
    return bool(event["parent_id"] == event["session_id"])


ROOTS: dict[str, Callable[[VendorServer, Any], bool]] = {
    "braintrust": lambda _, row: not row["span_parents"],
    "honeyhive": is_below_its_session,
    "humanloop_v5": lambda _, log: "trace_parent_id" not in log,
    "humanloop_v4": lambda _, log: "parent_reference_id" not in log,
    "nebuly": lambda _, sent: True,
    "otlp": lambda _, span: not span.get("parentSpanId"),
}


def test_a_batch_arrives_as_one_experiment(server: VendorServer) -> None:
    roots = batch(server, "braintrust")
    assert sum(one.path == "/v1/experiment" for one in server.requests) == 1
    assert sorted(row["expected"] for row in roots) == [2 * number for number in range(20)]
    assert {row["origin"]["id"] for row in roots} == {f"row-{number}" for number in range(20)}
    assert sum(row["scores"]["exact"] for row in roots) == 10
    assert all(one.path.startswith("/v1/experiment") for one in server.requests if one.path.endswith("/insert"))


def attribute(span: Any, name: str) -> Any:
    return next(one["value"]["stringValue"] for one in span["attributes"] if one["key"] == name)


TIED: dict[str, Callable[[Any], Any]] = {
    "braintrust": lambda row: row["origin"]["id"],
    "honeyhive": lambda event: event["metadata"]["datapoint_id"],
    "humanloop_v5": lambda log: log["source_datapoint_id"],
    "humanloop_v4": lambda log: log["source_datapoint_id"],
    "nebuly": lambda sent: sent["interaction"]["tags"]["datapoint_id"],
    "otlp": lambda span: attribute(span, "eventtree.datapoint_id"),
}
RUN: dict[str, Callable[[Any], Any]] = {
    "braintrust": lambda row: row["metadata"]["run_id"],
    "honeyhive": lambda event: event["metadata"]["run_id"],
    "humanloop_v5": lambda log: log["run_id"],
    "humanloop_v4": lambda log: log["metadata"]["run_id"],
    "nebuly": lambda sent: sent["interaction"]["tags"]["run_id"],
    "otlp": lambda span: attribute(span, "eventtree.run_id"),
}


@pytest.mark.parametrize("kind", VENDORS)
def test_every_input_of_a_batch_is_tied_to_its_own_row_and_to_one_run(server: VendorServer, kind: str) -> None:
    roots = batch(server, kind)
    assert sorted(map(TIED[kind], roots)) == sorted(f"row-{number}" for number in range(20))
    assert {RUN[kind](root) for root in roots} == {"run-1"}


def test_what_an_input_says_wins_over_the_block() -> None:
    with capture() as trees:
        chain = RunnableLambda(str, name="text")
        with eventtree.example("of the block", experiment="e") as row:
            chain.invoke(1, config={"metadata": {"eventtree_datapoint_id": "own"}})
        root = trees.wait(1)[0].root
    assert (root.metadata["eventtree_datapoint_id"], root.metadata["eventtree_experiment"]) == ("own", "e")
    assert row.tree_ids == [root.tree_id]


@pytest.mark.parametrize("kind", VENDORS)
def test_one_example_goes_to_every_vendor_without_a_refusal(server: VendorServer, kind: str) -> None:
    answered(server, kind)
