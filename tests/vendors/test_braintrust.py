"""Braintrust: what is sent for a tree, and how answers are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eventtree.errors import ConfigError
from eventtree.event import Usage
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.serializer.packing import fill
from eventtree.serializer.serialize import serialize
from eventtree.testing import VendorServer
from eventtree.testing.contracts.contract import Options
from eventtree.vendors import braintrust as module
from eventtree.vendors.braintrust import TOKENS, TYPES, Braintrust
from tests.vendors import judges
from tests.vendors.goldens import hold_against_golden
from tests.vendors.trees import (
    DOCUMENTS,
    ROOT,
    chain_root,
    chat_model,
    event,
    ident,
    rich_tree,
    tree_of,
    wide_tree,
)

PROJECT = "5eed0000-0000-4000-8000-00000000beef"
KNOWN = Options(braintrust_projects=frozenset({PROJECT}))


def braintrust(**settings: Any) -> Braintrust:
    return Braintrust.for_export(**settings)


def rows(*events: Any, **settings: Any) -> list[dict[str, Any]]:
    """The rows of a tree."""
    (request,) = serialize([tree_of(*events)], braintrust(**settings))
    found: list[dict[str, Any]] = request.body["events"]
    return found


def child(**fields: Any) -> dict[str, Any]:
    """The row of a child of a plain root."""
    return rows(event(1, None), event(2, **fields))[1]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in Braintrust.env.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "own_version", lambda: "0")


# Settings


def test_settings_come_from_the_names_of_the_vendors_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "BRAINTRUST_API_KEY": "k", "BRAINTRUST_BASE_URL": "https://other.test", "BRAINTRUST_API_URL": "https://t.test/",
        "BRAINTRUST_PROJECT": "rag", "BRAINTRUST_PROJECT_ID": PROJECT, "BRAINTRUST_ORG_NAME": "acme",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    vendor = Braintrust()
    assert (vendor.base_url, vendor.project, vendor.project_id, vendor.org_name) == (
        "https://t.test",
        "rag",
        PROJECT,
        "acme",
    )
    assert vendor.auth() == {"Authorization": "Bearer k"}
    assert Braintrust(project="mine").project_id == ""
    assert (Braintrust.for_export().project, Braintrust.for_export().project_id) == ("default", "")


def test_without_a_key_it_says_where_one_goes() -> None:
    with pytest.raises(ConfigError, match="BRAINTRUST_API_KEY"):
        Braintrust()


def test_places_are_told_apart() -> None:
    places = [
        braintrust(**settings)
        for settings in ({}, {"project": "a"}, {"project_id": PROJECT}, {"experiment": "a"}, {"org_name": "a"})
    ]
    assert len({vendor.identity() for vendor in places}) == len(places)


# Lookups


def test_project_is_looked_up_by_name_and_shown_by_name() -> None:
    vendor = braintrust(project="my rag/1", org_name="acme")
    (lookup,) = vendor.lookups()
    assert (lookup.name, lookup.method, lookup.path, lookup.export_as) == (
        "project_id",
        "POST",
        "/v1/project",
        "my%20rag%2F1",
    )
    assert json.loads(lookup.content) == {"name": "my rag/1", "org_name": "acme"}
    assert lookup.read({"id": "p1", "name": "my rag/1"}) == "p1"
    assert [lookup.read(answer) for answer in ({}, [], None, {"id": 7}, {"id": ""})] == [None] * 5


def test_experiment_is_looked_up_in_the_project_found_before() -> None:
    project, experiment = braintrust(experiment="nightly").lookups()
    assert (project.name, experiment.name, experiment.path) == ("project_id", "experiment_id", "/v1/experiment")
    assert json.loads(experiment.content) == {"project_id": "{project_id}", "name": "nightly", "ensure_new": False}
    (alone,) = braintrust(experiment="nightly", project_id=PROJECT).lookups()
    assert json.loads(alone.content)["project_id"] == PROJECT


def test_known_project_id_needs_no_lookup() -> None:
    vendor = braintrust(project_id=PROJECT)
    assert vendor.lookups() == ()
    (request,) = serialize([rich_tree()], vendor)
    assert request.url == f"https://api.braintrust.dev/v1/project_logs/{PROJECT}/insert"


def test_url_keeps_the_name_of_what_is_looked_up() -> None:
    (logs,) = serialize([rich_tree()], braintrust())
    (experiment,) = serialize([rich_tree()], braintrust(experiment="nightly", project_id=PROJECT))
    assert logs.url.endswith("/v1/project_logs/{project_id}/insert")
    assert experiment.url.endswith("/v1/experiment/{experiment_id}/insert")


# Rows


def test_rich_tree_is_golden() -> None:
    hold_against_golden("braintrust/logs.json", braintrust(project="rag"), rich_tree())


def test_experiment_is_golden() -> None:
    hold_against_golden(
        "braintrust/experiment.json", braintrust(experiment="nightly"), tree_of(chain_root(), chat_model(2))
    )


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_type(kind: Kind) -> None:
    said = child(kind=kind)
    assert said["span_attributes"] == {"name": "event 2", "type": TYPES[kind]}
    assert said["metadata"]["kind"] == kind


def test_rows_hang_together_by_span_ids() -> None:
    root, below = rows(event(1, None), event(2))
    assert (root["id"], root["span_id"], root["root_span_id"], root["span_parents"]) == (ROOT, ROOT, ROOT, [])
    assert (below["id"], below["span_id"], below["root_span_id"], below["span_parents"]) == (
        ident(2),
        ident(2),
        ROOT,
        [ROOT],
    )
    assert rows(event(1, None), event(2, 99))[1]["span_parents"] == [ROOT]


def test_plumbing_is_dropped_and_its_children_move_up() -> None:
    encoded = braintrust().encode(rich_tree())
    assert encoded.dropped == {ident(9): "internal"}
    bodies = {item.key: json.loads(item.content) for item in encoded.items}
    assert bodies[ident(10)]["span_parents"] == [ident(5)]


def test_model_row_has_messages_choices_and_the_vendors_metrics() -> None:
    said = rows(event(1, None), chat_model(2))[1]
    assert [message["role"] for message in said["input"]] == ["system", "user", "assistant", "tool"]
    (choice,) = said["output"]
    assert (choice["index"], choice["finish_reason"]) == (0, "tool_use")
    assert [call["function"]["arguments"] for call in choice["message"]["tool_calls"]] == [
        '{"query":"tides"}', '{"numbers": [1, 2]}',
    ]  # fmt: skip
    assert choice["message"]["content"] is None
    assert said["metrics"] == {
        "start": pytest.approx(1772600767.990123, abs=1e-6), "end": pytest.approx(1772600768.990123, abs=1e-6),
        "time_to_first_token": 0.34567, "prompt_tokens": 900, "completion_tokens": 120, "tokens": 1020,
        "prompt_cached_tokens": 700, "prompt_cache_creation_tokens": 50, "completion_reasoning_tokens": 30,
        "estimated_cost": 0.00261,
    }  # fmt: skip
    metadata = said["metadata"]
    assert (metadata["model"], metadata["provider"]) == ("claude-sonnet-4-5", "anthropic")
    assert (metadata["temperature"], metadata["tool_choice"], metadata["params"]) == (0.2, "auto", {"top_k": 40})
    assert metadata["tools"][0]["function"]["name"] == "search"


@pytest.mark.parametrize("duration", [None, float("inf")])
def test_open_event_has_no_end(duration: float | None) -> None:
    said = child(status=Status.INCOMPLETE, duration=duration)
    assert said["metrics"].keys() == {"start"}
    assert said["metadata"]["status"] == "incomplete"


def test_metrics_hold_nothing_but_the_vendors_names() -> None:
    """And a score of a range that `scores` does not take."""
    names = {"start", "end", "time_to_first_token", "estimated_cost", *TOKENS, "length", "odd"}
    assert all(row["metrics"].keys() <= names for row in rows(*rich_tree().events))


def test_part_larger_than_its_whole_is_told_beside_the_metrics() -> None:
    said = child(kind=Kind.MODEL, usage=Usage(input_tokens=3, cache_read_tokens=5, inferred=True))
    assert said["metrics"]["prompt_tokens"] == 3
    assert "prompt_cached_tokens" not in said["metrics"]
    assert said["metadata"]["usage"] == {"cache_read_tokens": 5, "inferred": True}


def test_roles_unknown_to_the_vendor_keep_their_name() -> None:
    said = child(
        kind=Kind.MODEL, inputs={"messages": [{"role": "critic", "content": "no"}, {"role": "human", "content": "hi"}]}
    )
    assert said["input"] == [
        {"role": "user", "content": "no", "original_role": "critic"},
        {"role": "user", "content": "hi"},
    ]


@pytest.mark.parametrize(
    ("fields", "put_in", "came_out"),
    [
        ({"kind": Kind.RETRIEVER, "inputs": {"query": "q"}, "outputs": {"documents": DOCUMENTS}}, "q", DOCUMENTS),
        ({"kind": Kind.RETRIEVER, "inputs": {"query": "q", "k": 1}, "outputs": [1]}, {"query": "q", "k": 1}, [1]),
        ({"kind": Kind.MODEL, "inputs": {"prompt": "p"}, "outputs": {"text": "t"}},
         [{"role": "user", "content": "p"}],
         [{"index": 0, "finish_reason": None, "message": {"role": "assistant", "content": "t"}}]),
        ({"kind": Kind.TOOL, "inputs": {"x": 1}, "outputs": 0}, {"x": 1}, 0),
        ({"inputs": "in", "outputs": [True]}, "in", [True]),
    ],
)  # fmt: skip
def test_inputs_and_outputs(fields: dict[str, Any], put_in: JsonValue, came_out: JsonValue) -> None:
    said = child(**fields)
    assert (said["input"], said["output"]) == (put_in, came_out)


def test_error_is_text_with_its_traceback_and_control_flow_is_none() -> None:
    said = {row["id"]: row for row in rows(*rich_tree().events)}
    assert said[ident(8)]["error"] == "builtins.ValueError: no numbers\n\nTraceback …\nno numbers"
    assert "error" not in said[ident(11)] and said[ident(11)]["metadata"]["status"] == "interrupted"
    assert "error" not in said[ident(12)] and said[ident(12)]["metadata"]["status_reason"] == "asyncio.CancelledError"
    assert child(status=Status.ERROR)["error"] == "error"


def test_root_carries_tags_scores_expected_and_origin() -> None:
    found = rows(*rich_tree().events)
    assert found[0]["tags"] == ["prod", "beta"]
    assert found[0]["scores"] == {"exact": 1.0}
    assert found[0]["expected"] == "The moon."
    assert found[0]["origin"] == {"object_type": "dataset", "object_id": "set-1", "id": "row-3"}
    assert found[0]["metadata"]["metadata"] == {"tier": "gold", "cost": "none of yours"}
    assert (found[0]["metadata"]["user_id"], found[0]["metadata"]["session_id"]) == ("ada", "talk-7")
    assert "tags" not in found[4] and found[4]["metadata"]["tags"] == ["graph:step:1"]


def test_feedback_gives_scores_of_the_vendors_range_and_is_told_whole() -> None:
    (request,) = serialize([rich_tree()], braintrust())
    root, model = request.body["events"][0], request.body["events"][5]
    assert root["scores"] == {"exact": 1.0, "helpful": 0.8}
    assert "scores" not in model
    assert model["expected"] == "Gravity."
    assert model["metadata"]["feedback"][0]["score"] == -3
    assert model["metrics"]["odd"] == -3


def test_scores_of_another_range_are_metrics_and_never_another_metric() -> None:
    given = {"stars": 4, "exact": 1, "tokens": 7, "end": 2}
    (root,) = rows(chain_root(metadata={"eventtree_scores": given}, duration=1.0))
    assert root["scores"] == {"exact": 1.0}
    assert root["metrics"]["stars"] == 4
    assert "tokens" not in root["metrics"]
    assert root["metrics"]["end"] == root["metrics"]["start"] + 1.0


# Order, limits


def test_large_tree_goes_out_in_batches_with_parents_first() -> None:
    vendor = braintrust(project_id=PROJECT)
    requests = list(serialize([wide_tree(250)], vendor))
    assert [len(request.items) for request in requests] == [100, 100, 50]
    assert judges.problems(vendor, requests, KNOWN) == []


def test_requests_stay_below_six_mebibytes() -> None:
    vendor = braintrust(project_id=PROJECT)
    tree = tree_of(event(1, None), *(event(n, inputs={"text": "x" * 500_000}) for n in range(2, 30)))
    requests = list(serialize([tree], vendor))
    assert all(len(request.content) < 6 * 1024 * 1024 for request in requests)
    assert judges.problems(vendor, requests, KNOWN) == []


# Answers


@pytest.mark.parametrize(
    ("body", "verified"),
    [
        (b'{"row_ids": ["a", "b", "c"]}', True),
        (b'{"row_ids": ["a"]}', False),
        (b"{}", False),
        (b"[]", False),
        (b"", False),
    ],
)
def test_answer_is_verified_by_its_row_ids(body: bytes, verified: bool) -> None:
    (request,) = serialize([wide_tree(3)], braintrust())
    verdict = braintrust().read_reply(request, 200, body)
    assert verdict is not None
    assert (verdict.verified, verdict.refused, verdict.retry) == (verified, {}, frozenset())


@pytest.mark.parametrize("status", [400, 401, 413, 429, 500])
def test_other_statuses_decide_alone(status: int) -> None:
    (request,) = serialize([wide_tree(3)], braintrust())
    assert braintrust().read_reply(request, status, b'{"row_ids": []}') is None


# Judges


@pytest.mark.parametrize("target", [{}, {"experiment": "nightly"}])
def test_server_of_the_contract_refuses_nothing(target: dict[str, str]) -> None:
    with VendorServer() as server:
        vendor = Braintrust(project="rag", **target, **server.settings("braintrust"))
        judges.post_all(server, vendor, [rich_tree()], {})
        judges.post_all(server, vendor, [rich_tree()], {})
        assert len(set(server.event_ids("braintrust"))) == 12


def test_a_brace_in_a_name_begins_no_name_to_be_filled_in() -> None:
    vendor = braintrust(project="{experiment_id}", experiment="{project_id}")
    learned = {"project_id": "p-1", "experiment_id": "e-1"}
    told = [json.loads(fill(lookup.content.decode(), learned)) for lookup in vendor.lookups()]
    assert told == [
        {"name": "{experiment_id}"},
        {"project_id": "p-1", "name": "{project_id}", "ensure_new": False},
    ]
