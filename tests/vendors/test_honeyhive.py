"""HoneyHive: what is sent for a tree, and how answers are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from eventtree.errors import ConfigError
from eventtree.event import Event, Usage
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.serializer.packing import request
from eventtree.serializer.requests import Request, Verdict
from eventtree.serializer.serialize import serialize
from eventtree.testing import VendorServer
from eventtree.vendors.honeyhive import EVENT_TYPES, HoneyHive
from tests.vendors import judges
from tests.vendors.goldens import hold_against_golden
from tests.vendors.trees import ROOT, chain_root, event, ident, rich_tree, tree_of, wide_tree

GENERATIONS = ("legacy", "v1")


def honeyhive(**settings: Any) -> HoneyHive:
    return HoneyHive.for_export(**settings)


def sent(*events: Event, **settings: Any) -> dict[str, Any]:
    """The last event of a tree, as it is sent."""
    return list(serialize([tree_of(*events)], honeyhive(**settings)))[-1].body["events"][-1]


def child(**fields: Any) -> dict[str, Any]:
    """A child of a plain root, as it is sent."""
    return sent(event(1, None), event(2, **fields))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in HoneyHive.env.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)


# Settings


def test_settings_come_from_the_names_of_the_vendors_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HH_INGESTION_API_KEY", "ingest")
    assert HoneyHive().auth() == {"Authorization": "Bearer ingest"}
    monkeypatch.setenv("HONEYHIVE_API_KEY", "old")
    assert HoneyHive().auth() == {"Authorization": "Bearer old"}
    for name, value in {
        "HH_API_KEY": "new",
        "HH_PROJECT": "rag",
        "HH_SOURCE": "ci",
        "HH_API_URL": "https://t.test/",
    }.items():
        monkeypatch.setenv(name, value)
    vendor = HoneyHive()
    assert (vendor.auth(), vendor.project, vendor.source, vendor.base_url) == (
        {"Authorization": "Bearer new"}, "rag", "ci", "https://t.test",
    )  # fmt: skip
    assert HoneyHive(project="mine").project == "mine"
    assert HoneyHive.for_export().project == "default"


def test_without_a_key_it_says_where_one_goes() -> None:
    with pytest.raises(ConfigError, match="HH_API_KEY"):
        HoneyHive()


def test_project_and_host_are_the_place_and_the_generation_is_not() -> None:
    assert honeyhive().identity() == honeyhive(generation="v1").identity()
    assert honeyhive().identity() != honeyhive(project="other").identity()
    assert honeyhive().fingerprint(b"s") != honeyhive(base_url="https://t.test").fingerprint(b"s")


# What is sent


@pytest.mark.parametrize("generation", GENERATIONS)
def test_rich_tree_is_golden(generation: str) -> None:
    hold_against_golden(f"honeyhive/{generation}.json", honeyhive(project="rag", generation=generation), rich_tree())


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_type(kind: Kind) -> None:
    said = child(kind=kind)
    assert said["event_type"] == EVENT_TYPES[kind]
    assert said["metadata"]["kind"] == kind


def test_a_tree_is_a_session_of_its_own() -> None:
    start, batch = serialize([rich_tree()], honeyhive())
    session = start.body["session"]
    assert (start.url, start.ids) == ("https://api.dp1.us.honeyhive.ai/session/start", ())
    assert UUID(session["session_id"]) != UUID(ROOT)
    assert {one["session_id"] for one in batch.body["events"]} == {session["session_id"]}
    assert batch.body["events"][0]["parent_id"] == session["session_id"]
    assert batch.body["events"][0]["event_id"] == ROOT
    assert batch.ids == tuple(one["event_id"] for one in batch.body["events"])


def test_plumbing_is_dropped_and_its_children_move_up() -> None:
    encoded = honeyhive().encode(rich_tree())
    assert encoded.dropped == {ident(9): "internal"}
    bodies = {item.key: json.loads(item.content) for item in encoded.items}
    assert bodies[ident(10)]["parent_id"] == ident(5)


def test_event_whose_parent_is_unknown_hangs_under_the_root() -> None:
    assert sent(event(1, None), event(2, 99))["parent_id"] == ROOT


def test_times_are_whole_milliseconds_that_agree() -> None:
    said = child(duration=0.0126)
    assert (said["end_time"] - said["start_time"], said["duration"]) == (13, 12.6)
    assert said["start_time"] == 1772600767990


@pytest.mark.parametrize("duration", [None, float("nan")])
def test_open_event_has_no_end(duration: float | None) -> None:
    said = child(status=Status.INCOMPLETE, duration=duration, time_to_first_token=0.25)
    assert "end_time" not in said
    assert (said["duration"], said["metadata"]["status"]) == (250, "incomplete")


def test_negative_duration_is_none() -> None:
    assert child(duration=-3)["duration"] == 0


def test_first_token_after_the_end_is_left_out() -> None:
    assert "time_to_first_token_ms" not in child(duration=1, time_to_first_token=2)["metadata"]
    assert child(duration=1, time_to_first_token=0.5)["metadata"]["time_to_first_token_ms"] == 500


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"inputs": None}, {}),
        ({"inputs": "hi"}, {"input": "hi"}),
        ({"inputs": [1]}, {"input": [1]}),
        ({"inputs": {"x": 1}}, {"x": 1}),
        ({"inputs": {"messages": [{"role": "user", "content": "hi"}], "k": 3}},
         {"chat_history": [{"role": "user", "content": "hi"}], "k": 3}),
        ({"inputs": [{"role": "user", "content": "hi"}]}, {"chat_history": [{"role": "user", "content": "hi"}]}),
        ({"inputs": {"messages": ["hi"]}, "kind": Kind.MODEL}, {"chat_history": [{"role": "user", "content": "hi"}]}),
        ({"inputs": {"prompt": "hi"}, "kind": Kind.MODEL}, {"prompt": "hi"}),
    ],
)  # fmt: skip
def test_inputs_are_an_object(fields: dict[str, Any], expected: JsonValue) -> None:
    assert child(**fields)["inputs"] == expected


SAID = {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outputs": None}, None),
        ({"outputs": "hi"}, {"text": "hi"}),
        ({"outputs": [1]}, {"value": [1]}),
        ({"outputs": 0}, {"value": 0}),
        ({"outputs": {"x": 1}}, {"x": 1}),
        ({"outputs": SAID}, SAID),
        ({"outputs": {"messages": [SAID]}}, {"chat_history": [SAID]}),
        ({"outputs": {"messages": [SAID]}, "kind": Kind.MODEL}, SAID),
        ({"outputs": {"messages": [SAID, SAID]}, "kind": Kind.MODEL}, {**SAID, "generations": [SAID, SAID]}),
        ({"outputs": {"messages": []}, "kind": Kind.MODEL}, {}),
        ({"outputs": {"text": "a"}, "kind": Kind.MODEL}, {"text": "a"}),
        ({"outputs": {"texts": ["a", "a"]}, "kind": Kind.MODEL}, {"text": "a", "generations": [SAID, SAID]}),
        ({"outputs": {"texts": {"role": "system"}}, "kind": Kind.MODEL}, {"text": ""}),
        ({"outputs": "a", "kind": Kind.MODEL}, {"text": "a"}),
    ],
)
def test_outputs_are_an_object_or_absent(fields: dict[str, Any], expected: JsonValue) -> None:
    assert child(**fields).get("outputs") == expected


def test_own_metadata_keeps_its_keys_unless_they_mean_something_there() -> None:
    said = child(metadata={"tier": "gold", "cost": "a lot", "provider": 7, "eventtree_run_id": "r"})["metadata"]
    assert said == {"tier": "gold", "metadata": {"cost": "a lot", "provider": 7}, "kind": "chain"}


def test_unknown_tokens_and_money_are_absent_not_zero() -> None:
    said = child(kind=Kind.MODEL, usage=Usage(input_tokens=3))["metadata"]
    assert said["prompt_tokens"] == 3
    assert not {"completion_tokens", "total_tokens", "cost"} & said.keys()


def test_dataset_row_scores_and_feedback_stand_on_session_and_root() -> None:
    start, batch = serialize([rich_tree()], honeyhive())
    root, agent = batch.body["events"][0], batch.body["events"][4]
    for said in (start.body["session"], root):
        assert {said["metadata"][name] for name in ("run_id", "dataset_id", "datapoint_id")} == {
            "run-9",
            "set-1",
            "row-3",
        }
        assert said["metrics"] == {"exact": 1.0, "length": 17.5, "helpful": 0.8, "helpful_explanation": "good"}
        assert said["feedback"] == {"comment": "good", "user_id": "ada", "ground_truth": "The moon."}
    assert "datapoint_id" not in agent["metadata"]
    assert batch.body["events"][5]["feedback"] == {"ground_truth": "Gravity."}


def test_control_flow_is_no_error() -> None:
    said = {one["event_name"]: one for one in list(serialize([rich_tree()], honeyhive()))[1].body["events"]}
    assert "error" not in said["approve"] and said["approve"]["metadata"]["status"] == "interrupted"
    assert (
        "error" not in said["slow branch"]
        and said["slow branch"]["metadata"]["status_reason"] == "asyncio.CancelledError"
    )
    assert said["sum"]["error"] == "builtins.ValueError: no numbers"


def test_blank_names_give_way_to_the_kind() -> None:
    assert child(name=" ")["event_name"] == "chain"


def test_environment_is_the_source() -> None:
    assert child(environment="prod")["source"] == "prod"
    assert child(environment=" ")["source"] == "dev"
    assert sent(chain_root(), event(2))["source"] == "staging"
    assert sent(event(1, None), source="ci")["source"] == "ci"


# Order, limits


def test_large_tree_goes_out_in_batches_with_parents_first() -> None:
    requests = list(serialize([wide_tree(450)], honeyhive()))
    assert [len(request.items) for request in requests] == [1, 100, 100, 100, 100, 50]
    assert [request.items[0].wave for request in requests] == [0, 1, 2, 3, 4, 5]
    assert judges.problems(honeyhive(), requests) == []


def test_trees_share_batches_but_none_is_cut_that_fits() -> None:
    small = [
        tree_of(*(one.model_copy(update={"tree_id": ident(n)}) for one in wide_tree(60).events)) for n in (1, 2, 3)
    ]
    requests = [request for request in serialize(small, honeyhive()) if request.items[0].wave]
    assert [len(request.items) for request in requests] == [60, 60, 60]


def test_batches_stay_below_five_megabytes() -> None:
    tree = tree_of(event(1, None), *(event(n, inputs={"text": "x" * 400_000}) for n in range(2, 30)))
    requests = list(serialize([tree], honeyhive()))
    assert all(len(request.content) < 5_000_100 for request in requests)
    assert judges.problems(honeyhive(), requests) == []


# Answers


@pytest.fixture
def batch() -> Iterator[Request]:
    yield list(serialize([wide_tree(3)], honeyhive()))[1]


@pytest.mark.parametrize(
    ("status", "answer", "again", "verified"),
    [
        (200, {"event_ids": [ident(1), ident(2), ident(3)], "success": True}, [], True),
        (200, {"event_ids": ["server", "made", "these"], "success": True}, [], True),
        (200, {"event_ids": [ident(1), ident(2)], "success": True}, [3], True),
        (200, {"success": False}, [], False),
        (200, {"success": True}, [], True),
        (200, [], [], False),
        (500, {"event_ids": [ident(1), ident(3)], "errors": ["one"], "success": True}, [2], True),
        (500, {"event_ids": [], "errors": ["all"]}, [1, 2, 3], True),
    ],
)
def test_answer_tells_what_was_taken(
    batch: Request, status: int, answer: Any, again: list[int], verified: bool
) -> None:
    verdict = honeyhive().read_reply(batch, status, json.dumps(answer).encode())
    assert verdict is not None
    assert (verdict.retry, verdict.verified) == ({ident(n) for n in again}, verified)
    assert not verdict.refused


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"errors": []}', b"\xff"])
def test_500_without_ids_is_an_outage(batch: Request, body: bytes) -> None:
    assert honeyhive().read_reply(batch, 500, body) is None


@pytest.mark.parametrize("status", [400, 401, 413, 429, 503])
def test_other_statuses_decide_alone(batch: Request, status: int) -> None:
    assert honeyhive().read_reply(batch, status, b'{"event_ids": []}') is None


@pytest.mark.parametrize("body", [b"", b"OK", b"{}", b'{"event_ids": []}'])
def test_an_update_is_answered_with_any_body(body: bytes) -> None:
    (made,) = [request((item,), honeyhive()) for item in honeyhive().encode_update(wide_tree(3), [ident(2)])]
    assert honeyhive().read_reply(made, 200, body) == Verdict()
    assert honeyhive().read_reply(made, 503, body) is None


def test_answer_to_a_session_is_read_too() -> None:
    start = next(serialize([wide_tree(3)], honeyhive()))
    taken, blank = (honeyhive().read_reply(start, 200, body) for body in (b'{"session_id": "x"}', b""))
    assert taken and taken.verified and not taken.retry
    assert blank and not blank.verified


# Judges


@pytest.mark.parametrize("generation", GENERATIONS)
def test_server_of_the_contract_refuses_nothing(generation: str) -> None:
    with VendorServer() as server:
        vendor = HoneyHive(generation=generation, **server.settings("honeyhive"))
        judges.post_all(server, vendor, [rich_tree()], {})
        assert len(server.events("honeyhive")) == 12
        assert len(server.sessions("honeyhive")) == 1
