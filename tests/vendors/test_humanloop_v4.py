"""Humanloop v4: what is sent for a tree, level by level, and how answers are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eventtree.event import Event
from eventtree.kinds import Kind
from eventtree.serializer.requests import Request
from eventtree.serializer.serialize import serialize
from eventtree.testing import VendorServer
from eventtree.vendors.humanloop_v4 import HumanloopV4
from tests.vendors import judges
from tests.vendors.goldens import hold_against_golden
from tests.vendors.trees import (
    ROOT,
    chain_root,
    chat_model,
    event,
    failing_tool,
    ident,
    rich_tree,
    text_model,
    tree_of,
    wide_tree,
)


def humanloop(**settings: Any) -> HumanloopV4:
    return HumanloopV4.for_export(**settings)


def sent(*events: Event, **settings: Any) -> list[list[dict[str, Any]]]:
    """The body of each request of a tree."""
    return [request.body for request in serialize([tree_of(*events)], humanloop(**settings))]


def child(**fields: Any) -> dict[str, Any]:
    """A child of a plain root, as it is sent."""
    return sent(event(1, None), event(2, **fields))[1][0]


# Settings


@pytest.mark.parametrize(
    "given_url", ["https://hl.test", "https://hl.test/v4/", "https://hl.test/v5", "https://hl.test/v4"]
)
def test_version_path_is_put_in_place(given_url: str) -> None:
    assert HumanloopV4(api_key="k", base_url=given_url).base_url == "https://hl.test/v4"


def test_key_goes_into_its_own_header() -> None:
    assert HumanloopV4(api_key="k").auth() == {"X-API-KEY": "k"}


# Requests


def test_golden_requests() -> None:
    hold_against_golden("humanloop_v4/logs.json", humanloop(), rich_tree())


def test_request_holds_one_depth() -> None:
    depths = sent(event(1, None), event(2, 1), event(3, 2), event(4, 1))
    assert [[log["reference_id"] for log in body] for body in depths] == [[ident(1)], [ident(2), ident(4)], [ident(3)]]
    assert [[log.get("parent_reference_id") for log in body] for body in depths] == [[None], [ROOT, ROOT], [ident(2)]]
    assert {log["session_reference_id"] for body in depths for log in body} == {ROOT}


def test_child_of_an_unknown_parent_hangs_under_the_root() -> None:
    assert child(parent_id="elsewhere")["parent_reference_id"] == ROOT


def test_trees_share_requests() -> None:
    other = tree_of(event(11, None, tree_id=ident(11)), event(12, 11, tree_id=ident(11)))
    requests = list(serialize([tree_of(event(1, None), event(2)), other], humanloop()))
    assert [request.ids for request in requests] == [(ident(1), ident(11)), (ident(2), ident(12))]


def test_model_config_is_closed_and_does_not_change_with_the_call() -> None:
    params = {"temperature": 0.5, "reasoning_effort": "low", "user": "x", "tools": [{"name": "f", "input_schema": {}}]}
    log = child(kind=Kind.MODEL, model="m", provider="mistralai", params=params)
    assert log["config"] == {
        "type": "model", "model": "m", "endpoint": "chat", "other": {"provider": "mistralai"}, "temperature": 0.5,
        "tools": [{"name": "f", "description": "f", "parameters": {}}],
    }  # fmt: skip
    assert log["metadata"]["params"] == {"reasoning_effort": "low", "user": "x"}


@pytest.mark.parametrize(("provider", "sent_as"), [("azure", "openai_azure"), ("bedrock", None), ("OpenAI", "openai")])
def test_provider_is_left_out_where_the_list_lacks_it(provider: str, sent_as: str | None) -> None:
    assert sent(text_model(1, None, provider=provider))[0][0]["config"].get("provider") == sent_as


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.MODEL])
def test_what_is_no_model_has_a_tool_config(kind: Kind) -> None:
    config = child(kind=kind, name=" ", model="m")["config"]
    assert config["type"] == "tool"
    assert config["name"] == kind.value
    assert config["other"] == {"kind": kind.value, "model": "m"}


def test_user_and_finish_reason_go_to_the_metadata() -> None:
    metadata = sent(chain_root(), chat_model(2))[1][0]["metadata"]
    assert (metadata["user"], metadata["finish_reason"], metadata["session_id"]) == ("ada", "tool_use", "talk-7")


def test_error_and_times() -> None:
    log = sent(event(1, None), failing_tool(2))[1][0]
    assert log["error"] == "builtins.ValueError: no numbers"
    assert log["metadata"]["traceback"].startswith("Traceback")
    assert "output" not in log
    assert (log["created_at"], log["duration"]) == ("2026-03-04T05:06:07.990123Z", 1.0)


def test_feedback_is_text() -> None:
    said = (
        {"id": ROOT, "score": False, "comment": "meh", "user": "ada"},
        {"id": ROOT, "score": {"fit": 3, "": 1}, "comment": " "},
    )
    [[log]] = [request.body for request in serialize([tree_of(event(1, None), feedback=said)], humanloop())]
    assert log["feedback"] == [
        {"type": "rating", "value": "bad", "user": "ada"},
        {"type": "comment", "value": "meh", "user": "ada"},
        {"type": "fit", "value": "3.0"},
    ]


def test_ten_thousand_events_go_out_by_the_hundred() -> None:
    requests = list(serialize([wide_tree(10_000)], humanloop()))
    assert sum(len(request.items) for request in requests) == 10_000
    assert max(len(request.items) for request in requests) == 100
    for request in requests:
        ids = set(request.ids)
        logs = request.body if isinstance(request.body, list) else [request.body["log"]]
        assert all(log.get("parent_reference_id") not in ids for log in logs)


# Answers


@pytest.fixture
def request_of_two() -> Request:
    return list(serialize([tree_of(event(1, None), event(2), event(3))], humanloop()))[1]


def test_ids_of_the_server_are_learned_by_position(request_of_two: Request) -> None:
    answer = [{"id": "data_a", "project_id": "pr_1"}, {"id": "data_b", "project_id": "pr_1", "session_id": None}]
    verdict = humanloop().read_reply(request_of_two, 200, json.dumps(answer).encode())
    assert verdict is not None
    assert verdict.verified
    assert verdict.learned == {f"data_id:{ident(2)}": "data_a", f"data_id:{ident(3)}": "data_b"}


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'[{"id": "data_a"}]', b'[{"id": "data_a"}, {}]'])
def test_answer_of_another_shape_is_not_verified(request_of_two: Request, body: bytes) -> None:
    verdict = humanloop().read_reply(request_of_two, 200, body)
    assert verdict is not None
    assert not verdict.verified


def test_refusal_is_left_to_the_status(request_of_two: Request) -> None:
    assert humanloop().read_reply(request_of_two, 422, b"[]") is None


# Judges


def test_loopback_server_takes_all() -> None:
    with VendorServer() as server:
        vendor = HumanloopV4(**server.settings("humanloop_v4"))
        judges.post_all(server, vendor, [rich_tree(), tree_of(chat_model(20, None, tree_id=ident(20)))], {})
        ids = server.event_ids("humanloop_v4")
    assert sorted(ids) == sorted([e.id for e in rich_tree().events if not e.internal] + [ident(20)])


def test_feedback_tells_its_time_with_the_log_and_by_itself() -> None:
    given = {"key": "k", "id": ROOT, "tree": ROOT, "at": 1_800_000_000_000_000_000, "score": 1}
    tree = tree_of(event(1, None), feedback=(given,))
    (first, *_) = serialize([tree], humanloop())
    (late,) = humanloop().encode_feedback(given, tree, {f"data_id:{ROOT}": "data_1"}).items
    expected = {"type": "rating", "value": "good", "created_at": "2027-01-15T08:00:00Z"}
    assert first.body[0]["feedback"] == [expected]
    assert json.loads(late.content) == {**expected, "data_id": "data_1"}
