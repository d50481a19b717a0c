"""Humanloop v5: what is sent for a tree, in which order, and how answers are read."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from eventtree.errors import ConfigError
from eventtree.event import Cost, Event, Usage
from eventtree.kinds import Kind, Status
from eventtree.serializer.requests import Request
from eventtree.serializer.serialize import serialize
from eventtree.testing import VendorServer
from eventtree.vendors.humanloop_v5 import Dialect, HumanloopV5
from tests.vendors import judges
from tests.vendors.goldens import hold_against_golden
from tests.vendors.trees import (
    ROOT,
    START,
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

DIALECTS: tuple[Dialect, ...] = ("log_status", "trace_status")


def humanloop(**settings: Any) -> HumanloopV5:
    return HumanloopV5.for_export(**settings)


def sent(*events: Event, **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """Each request of a tree as (method and path, body)."""
    vendor = humanloop(**settings)
    requests = serialize([tree_of(*events)], vendor)
    return [(f"{one.method} {one.url.removeprefix(vendor.base_url)}", one.body) for one in requests]


def child(**fields: Any) -> dict[str, Any]:
    """A child of a plain root, as it is sent."""
    body: dict[str, Any] = sent(event(1, None), event(2, **fields))[1][1]
    return body


# Settings


@pytest.mark.parametrize(
    "given_url",
    ["https://hl.test", "https://hl.test/", "https://hl.test/v5", "https://hl.test/v5/", "https://hl.test/v4"],
)
def test_version_path_is_put_in_place(given_url: str) -> None:
    assert HumanloopV5(api_key="k", base_url=given_url).base_url == "https://hl.test/v5"


def test_settings_come_from_the_names_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANLOOP_KEY", "second")
    assert HumanloopV5().auth() == {"X-API-KEY": "second"}
    monkeypatch.setenv("HUMANLOOP_API_KEY", "first")
    monkeypatch.setenv("HUMANLOOP_URL", "https://own.test")
    monkeypatch.setenv("HUMANLOOP_PROJECT", "rag")
    vendor = HumanloopV5()
    assert vendor.auth() == {"X-API-KEY": "first"}
    assert (vendor.base_url, vendor.project) == ("https://own.test/v5", "rag")


def test_key_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="HUMANLOOP_API_KEY or HUMANLOOP_KEY"):
        HumanloopV5()


def test_project_is_part_of_the_destination() -> None:
    assert humanloop(project="a").identity() != humanloop(project="b").identity()


# Requests


@pytest.mark.parametrize("dialect", DIALECTS)
def test_golden_requests(dialect: Dialect) -> None:
    hold_against_golden(f"humanloop_v5/{dialect}.json", humanloop(dialect=dialect), rich_tree())


def test_parents_go_first_and_flows_are_completed_from_the_leaves_up() -> None:
    chains = [event(1, None), event(2, 1), event(3, 2), event(4, 3, kind=Kind.TOOL), event(5, 1)]
    requests = sent(*chains)
    assert [" ".join((call, *filter(None, [body.get("log_id")]))) for call, body in requests] == [
        f"POST /flows/log {ident(1)}",
        f"POST /flows/log {ident(2)}",
        f"POST /flows/log {ident(5)}",
        f"POST /flows/log {ident(3)}",
        f"POST /tools/log {ident(4)}",
        f"PATCH /flows/logs/{ident(3)}",
        f"PATCH /flows/logs/{ident(2)}",
        f"PATCH /flows/logs/{ident(1)}",
    ]
    states = {body["log_id"]: body.get("log_status") for call, body in requests if call == "POST /flows/log"}
    assert states == {ident(5): "complete", **dict.fromkeys(map(ident, (1, 2, 3)), "incomplete")}, "5 has none below"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_flow_with_nothing_below_it_is_one_request(dialect: Dialect) -> None:
    [(call, body)] = sent(event(1, None, inputs={"q": 1}, outputs="a"), dialect=dialect)
    assert (call, body[dialect], body["inputs"], body["output"]) == ("POST /flows/log", "complete", {"q": 1}, "a")


def test_lone_model_call_stands_in_no_trace() -> None:
    [(call, body)] = sent(chat_model(1, None))
    assert call == "POST /prompts/log"
    assert "trace_parent_id" not in body


@pytest.mark.parametrize("dialect", DIALECTS)
def test_root_that_cannot_hold_a_trace_gets_a_flow(dialect: Dialect) -> None:
    tool = event(1, None, kind=Kind.TOOL, name="search", inputs={"q": 1}, outputs="found")
    calls = sent(tool, chat_model(2), dialect=dialect)
    made = calls[0][1]
    assert [call for call, _ in calls][:2] == ["POST /flows/log", "POST /tools/log"]
    assert made["log_id"] not in (ident(1), ident(2))
    assert (made["inputs"], made["output"]) == ({"q": 1}, "found")
    assert calls[1][1]["trace_parent_id"] == made["log_id"]
    assert calls[-1][0] == f"PATCH /flows/logs/{made['log_id']}"


def test_children_hang_under_the_nearest_flow_where_only_flows_have_ids() -> None:
    tool = event(2, kind=Kind.TOOL)
    assert sent(event(1, None), tool, chat_model(3, 2))[2][1]["trace_parent_id"] == ident(2)
    old = sent(event(1, None), tool, chat_model(3, 2), dialect="trace_status")
    assert [body["trace_parent_id"] for call, body in old[1:-1]] == [ident(1)] * 2
    assert all("log_id" not in body for call, body in old if call in ("POST /tools/log", "POST /prompts/log"))


def test_nested_agent_is_an_agent_only_where_its_model_is_known() -> None:
    known, unknown = event(2, kind=Kind.AGENT, model="gpt-4.1"), event(2, kind=Kind.AGENT)
    assert sent(event(1, None), known)[1][0] == "POST /agents/log"
    assert sent(event(1, None), unknown)[1][0] == "POST /flows/log"
    assert sent(event(1, None), known, dialect="trace_status")[1][0] == "POST /flows/log"
    assert sent(event(1, None, kind=Kind.AGENT, model="gpt-4.1"))[0][0] == "POST /flows/log"


def test_kernels_do_not_change_with_the_call() -> None:
    one = chat_model(2, inputs={"messages": [{"role": "user", "content": "a"}]}, params={"temperature": 0, "user": "x"})
    two = chat_model(3, inputs={"messages": [{"role": "user", "content": "b"}]}, params={"temperature": 0, "user": "y"})
    first, second = [body for call, body in sent(event(1, None), one, two) if call == "POST /prompts/log"]
    assert first["prompt"] == second["prompt"] == {
        "model": "claude-sonnet-4-5", "endpoint": "chat", "provider": "anthropic", "temperature": 0,
    }  # fmt: skip
    assert (first["metadata"]["params"], second["metadata"]["params"]) == ({"user": "x"}, {"user": "y"})


@pytest.mark.parametrize("status", [Status.OK, Status.ERROR])
def test_kernel_names_the_model_that_was_asked_for(status: Status) -> None:
    """Answers name a dated model, and not always the same; a call that fails names none."""
    known = {"model": "gpt-4o-2024-08-06", "asked_model": "gpt-4o"} if status is Status.OK else {"model": "gpt-4o"}
    (prompt,) = [
        body for call, body in sent(chat_model(2, None, status=status, **known)) if call == "POST /prompts/log"
    ]
    assert prompt["prompt"]["model"] == "gpt-4o"
    assert prompt["metadata"].get("response_model") == ("gpt-4o-2024-08-06" if status is Status.OK else None)


@pytest.mark.parametrize(
    ("provider", "dialect", "expected"),
    [
        ("azure", "log_status", {"provider": "openai_azure"}),
        ("google_genai", "log_status", {"provider": "google"}),
        ("bedrock-converse", "trace_status", {"provider": "bedrock"}),
        ("deepseek", "log_status", {"provider": "deepseek"}),
        ("deepseek", "trace_status", {"attributes": {"provider": "deepseek"}}),
        ("mistralai", "log_status", {"attributes": {"provider": "mistralai"}}),
        (None, "log_status", {}),
    ],
)
def test_provider_outside_the_list_is_named_beside_it(provider: Any, dialect: Any, expected: dict[str, Any]) -> None:
    body = sent(text_model(1, None, provider=provider, model=None), dialect=dialect)[0][1]
    assert body["prompt"] == {"model": "unknown", "endpoint": "complete", **expected}


def test_settings_of_a_wrong_type_stay_out_of_the_kernel() -> None:
    odd = {
        "temperature": "warm",
        "max_tokens": -2,
        "stop": [1],
        "response_format": "json",
        "reasoning_effort": 7,
        "seed": True,
    }
    body = child(kind=Kind.MODEL, params=odd)
    assert body["prompt"] == {"model": "unknown", "endpoint": "chat"}
    assert body["metadata"]["params"] == odd


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("any", "required"),
        ({"type": "function", "function": {"name": "f"}, "x": 1}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "tool", "name": "f"}, None),
    ],
)
def test_tool_choice_in_anothers_form_is_told_in_the_metadata(choice: Any, expected: Any) -> None:
    body = child(kind=Kind.MODEL, params={"tool_choice": choice})
    assert body.get("tool_choice") == expected
    assert body["metadata"].get("params") == (None if expected else {"tool_choice": choice})


def test_every_tool_has_a_description() -> None:
    tools = [{"type": "function", "function": {"name": "add", "strict": True}}, {"type": "web_search"}]
    body = child(kind=Kind.MODEL, params={"tools": tools})
    assert body["prompt"]["tools"] == [
        {"name": "add", "description": "add", "strict": True},
        {"name": "web_search", "description": "web_search"},
    ]


def test_messages_hold_no_nulls_and_only_known_roles_and_parts() -> None:
    asked = [
        {"role": "developer", "content": "rules"},
        {"role": "critic", "content": [{"type": "image_url", "image_url": {"url": "https://x.test", "detail": "odd"}}]},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": "https://y.test"}, {"type": "audio", "url": "z"}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
    ]
    call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    first, second = ({"type": "image_url", "image_url": {"url": url}} for url in ("https://x.test", "https://y.test"))
    assert child(kind=Kind.MODEL, inputs={"messages": asked})["messages"] == [
        {"role": "system", "content": "rules"},
        {"role": "user", "name": "critic", "content": [first]},
        {"role": "user", "content": [second, {"type": "text", "text": "[audio z]"}]},
        {"role": "assistant", "tool_calls": [call]},
    ]


def test_output_is_text_whatever_came_out() -> None:
    message = {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}
    assert child(outputs={"b": [1]})["output"] == '{"b":[1]}'
    assert child(outputs=message)["output"] == "Hi"
    assert child(kind=Kind.TOOL, outputs=message)["output"] == "Hi"
    assert (
        child(outputs={"messages": [{"role": "user", "content": "?"}, message]})["output_message"]["role"]
        == "assistant"
    )
    assert "output" not in child(kind=Kind.TOOL)


def test_flow_without_an_outcome_is_completed_with_an_empty_output() -> None:
    unended = event(1, None, status=Status.INCOMPLETE, duration=None)
    assert sent(unended, event(2, 1))[-1][1] == {"log_status": "complete", "output": ""}
    assert sent(unended)[-1][1].items() >= {"log_status": "complete", "output": ""}.items()


def test_further_generations_and_reasoning_go_to_the_metadata() -> None:
    said = [
        {"role": "assistant", "content": "a", "reasoning": "r", "finish_reason": "stop"},
        {"role": "assistant", "content": "b"},
    ]
    body = child(kind=Kind.MODEL, inputs={"messages": []}, outputs={"messages": said})
    assert (body["output"], body["finish_reason"], body["metadata"]["reasoning"]) == ("a", "stop", "r")
    assert body["metadata"]["generations"] == said


def test_tokens_costs_and_seconds() -> None:
    usage = Usage(input_tokens=5, output_tokens=0, total_tokens=5, reasoning_tokens=0, cache_read_tokens=4)
    cost = Cost(input_usd="0.25", total_usd="0.25", source="table")  # type: ignore[arg-type]
    body = child(kind=Kind.MODEL, usage=usage, cost=cost, duration=1.5)
    assert {key: body.get(key) for key in ("prompt_tokens", "output_tokens", "reasoning_tokens", "prompt_cost")} == {
        "prompt_tokens": 5, "output_tokens": 0, "reasoning_tokens": 0, "prompt_cost": 0.25,
    }  # fmt: skip
    assert "output_cost" not in body
    assert body["metadata"]["usage"] == {"cache_read_tokens": 4, "total_tokens": 5}
    assert (body["start_time"], body["provider_latency"]) == ("2026-03-04T05:06:07.990123Z", 1.5)
    assert body["end_time"] == "2026-03-04T05:06:09.490123Z"


def test_key_of_the_user_is_not_overwritten() -> None:
    body = child(metadata={"status": "mine"}, tags=("t",))
    assert body["metadata"]["status"] == "mine"
    assert body["metadata"]["eventtree.status"] == "ok"
    assert body["metadata"]["tags"] == ["t"]


def test_ties_to_a_dataset_stand_on_the_root() -> None:
    root, below = (
        body for call, body in sent(chain_root(), event(2, metadata={"eventtree_datapoint_id": "x"})) if "POST" in call
    )
    assert (root["source_datapoint_id"], root["run_id"]) == ("row-3", "run-9")
    assert "source_datapoint_id" not in below
    assert "run_id" not in sent(chain_root(), dialect="trace_status")[0][1]


def test_types_of_files_have_folders_of_their_own() -> None:
    same = [
        event(1, None, name="a b/c"),
        event(2, name="a b/c", kind=Kind.TOOL),
        event(3, name="a b/c", kind=Kind.MODEL),
    ]
    paths = [body["path"] for call, body in sent(*same, project="rag") if "POST" in call]
    assert paths == ["rag/flows/a-b-c", "rag/tools/a-b-c", "rag/prompts/a-b-c"]


def test_feedback_is_judged_after_everything_else() -> None:
    said = (
        {"id": ROOT, "score": True, "comment": "nice", "user": "ada"},
        {"id": ident(2), "score": {"fit": 3}, "correction": "No."},
    )
    requests = list(serialize([tree_of(event(1, None), failing_tool(2), feedback=said)], humanloop()))
    judged = [request.body for request in requests[-4:]]
    assert [(one["path"], one["parent_id"], one["judgment"]) for one in judged] == [
        ("rating", ROOT, "good"),
        ("default/remarks/comment", ROOT, "nice"),
        ("default/scores/fit", ident(2), 3.0),
        ("correction", ident(2), "No."),
    ]
    assert all(not request.ids for request in requests[-4:])
    assert judged[0]["user"] == "ada"


def test_ten_thousand_events_go_out_parents_first() -> None:
    encoded = humanloop().encode(wide_tree(10_000))
    waves = {item.key: item.wave for item in encoded.items}
    assert len(encoded.items) == 15_000  # half of them have something below
    assert all(waves[ident(max(1, n // 2))] < waves[ident(n)] for n in range(2, 10_001))
    assert all(waves[ident(n)] < waves[f"{ident(n)}:complete"] for n in range(1, 5_001))
    assert waves[f"{ident(1)}:complete"] == max(waves.values())


# Answers


@pytest.mark.parametrize(
    ("status", "body", "verified"),
    [(200, b'{"id": "x", "flow_id": "fl_1"}', True), (200, b"<html>", False), (200, b"", False), (201, b"[]", False)],
)
def test_taken_log_is_answered_with_its_id(status: int, body: bytes, verified: bool) -> None:
    verdict = humanloop().read_reply(request_of_a_flow(), status, body)
    assert verdict is not None
    assert verdict.verified == verified


def test_refusal_is_left_to_the_status_and_concerns_the_log_alone() -> None:
    assert humanloop().read_reply(request_of_a_flow(), 409, b"{}") is None
    assert HumanloopV5.status_actions == {404: "bisect", 409: "bisect"}


def request_of_a_flow() -> Request:
    return next(iter(serialize([tree_of(event(1, None))], humanloop())))


# Judges


@pytest.mark.parametrize("dialect", DIALECTS)
def test_loopback_server_takes_all(dialect: Dialect) -> None:
    lone = tree_of(chat_model(20, None, tree_id=ident(20), start=START + timedelta(hours=1)))
    with VendorServer(humanloop_dialect=dialect) as server:
        vendor = HumanloopV5(dialect=dialect, **server.settings("humanloop_v5"))
        judges.post_all(server, vendor, [rich_tree(), lone], {})
        ids = set(server.event_ids("humanloop_v5"))
    if dialect == "log_status":
        assert ids >= {event.id for event in (*rich_tree().events, *lone.events) if not event.internal}


def test_docstring_says_that_the_hosted_service_is_gone() -> None:
    assert re.search("hosted service closed", HumanloopV5.__doc__ or "")
