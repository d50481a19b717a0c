"""Nebuly: what is sent for a tree, what is dropped and why."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from eventtree.event import Cost, Event, EventError
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.serializer.packing import request
from eventtree.serializer.serialize import serialize
from eventtree.testing import VendorServer
from eventtree.vendors.nebuly import Nebuly, Version
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

VERSIONS: tuple[Version, ...] = ("v2", "v3")


def nebuly(**settings: Any) -> Nebuly:
    return Nebuly.for_export(**settings)


def sent(*events: Event, feedback: tuple[dict[str, Any], ...] = (), **settings: Any) -> dict[str, Any]:
    """The one body of a tree."""
    [request] = serialize([tree_of(*events, feedback=feedback)], nebuly(**settings))
    body: dict[str, Any] = request.body
    return body


def interaction(inputs: JsonValue = "Why?", outputs: JsonValue = "So.", **fields: Any) -> dict[str, Any]:
    """The interaction of a tree that is its root alone."""
    said: dict[str, Any] = sent(event(1, None, inputs=inputs, outputs=outputs, **fields))["interaction"]
    return said


def step(**fields: Any) -> dict[str, Any]:
    """The step that one event below a root becomes."""
    [made] = sent(chain_root(), event(2, **fields))["traces"]
    found: dict[str, Any] = made
    return found


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NEBULY_API_URL", "https://own.test/event-ingestion/api/v1/events"),
        ("NEBULY_ENDPOINT_URL", "https://own.test/event-ingestion"),
        ("NEBULY_ENDPOINT", "https://own.test/event-ingestion/api/v3/events/trace_interaction"),
        ("NEBULY_ENDPOINT_URL", "https://own.test/"),
    ],
)
def test_host_is_found_in_each_of_nebulys_own_settings(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert Nebuly(api_key="k").base_url == "https://own.test"


def test_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEBULY_API_KEY", "k")
    assert Nebuly().auth() == {"Authorization": "Bearer k"}


# Requests


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_requests(version: Version) -> None:
    hold_against_golden(f"nebuly/{version}.json", nebuly(version=version), rich_tree())


def test_every_event_is_placed_or_dropped_with_its_reason() -> None:
    encoded = nebuly().encode(rich_tree())
    assert [item.event_ids for item in encoded.items] == [tuple(ident(n) for n in (1, 2, 3, 4, 6, 7, 8, 10, 11, 13))]
    assert encoded.dropped == {ident(5): "no_place", ident(9): "internal", ident(12): "no_place"}


@pytest.mark.parametrize(
    ("root", "settings", "reason"),
    [
        ({"user": None}, {}, "no_end_user"),
        ({"user": " "}, {}, "no_end_user"),
        ({"inputs": {"x": {}}}, {}, "no_user_text"),
        ({"inputs": {"question": " "}}, {}, "no_user_text"),
    ],
)
def test_tree_without_user_or_text_is_dropped(root: dict[str, Any], settings: dict[str, Any], reason: str) -> None:
    tree = tree_of(chain_root(**root), event(2))
    encoded = Nebuly(api_key="k", **settings).encode(tree)
    assert encoded.items == ()
    assert encoded.dropped == {ident(1): reason, ident(2): reason}


def test_user_is_the_trees_else_the_setting() -> None:
    assert interaction(user="ada")["end_user"] == "ada"
    assert sent(event(1, None, inputs="x"), event(2, user="bob"))["interaction"]["end_user"] == "bob"
    assert interaction()["end_user"] == "unknown"


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("Why?", "Why?"),
        ({"input": "Why?", "chat_history": [{"role": "user", "content": "old"}]}, "Why?"),
        ({"topic": "tides"}, "tides"),
        ({"a": "tides", "input": {"question": "Why?"}}, "Why?"),
        ({"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Well"}]}, "Why?"),
        (
            [{"role": "system", "content": "s"}, {"role": "human", "content": [{"type": "text", "text": "Why?"}]}],
            "Why?",
        ),
        ({"role": "user", "content": "Why?"}, "Why?"),
    ],
)
def test_input_is_what_the_user_wrote(inputs: JsonValue, expected: str) -> None:
    assert interaction(inputs)["input"] == expected


def test_input_is_else_what_the_first_model_or_retriever_was_asked() -> None:
    root = event(1, None, inputs={"a": 1})
    retriever = event(2, kind=Kind.RETRIEVER, inputs={"query": "tides"})
    assert sent(root, retriever, text_model(3))["interaction"]["input"] == "Say moon."
    assert sent(root, retriever)["interaction"]["input"] == "tides"


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("So.", "So."),
        ({"answer": "So.", "sources": [1]}, "So."),
        ({"output": {"content": "So.", "role": "assistant"}}, "So."),
        ({"messages": [{"role": "assistant", "content": "So."}, {"role": "tool", "content": "t"}]}, "So."),
        ({"a": 1, "b": 2}, '{"a":1,"b":2}'),
        ({"documents": [{"text": "one"}, {"text": "two"}]}, "one\n\ntwo"),
        (None, "[no output]"),
    ],
)
def test_output_is_what_the_user_saw(outputs: JsonValue, expected: str) -> None:
    assert interaction(outputs=outputs)["output"] == expected


def test_output_is_else_the_last_models_or_the_failure() -> None:
    assert sent(event(1, None, inputs="x"), text_model(2))["interaction"]["output"] == "moon"
    failed = interaction(outputs=None, status=Status.ERROR, error=EventError(type="E", message="m"))
    assert failed["output"] == "[error] E: m"
    assert {key: failed["tags"][key] for key in ("error", "error_type", "status")} == {
        "error": "true", "error_type": "E", "status": "error",
    }  # fmt: skip
    assert interaction(outputs=None, status=Status.INTERRUPTED)["output"] == "[interrupted]"
    cancelled = interaction(outputs=None, status=Status.CANCELLED, error=EventError(type="E", message=""))
    assert cancelled["output"] == "[cancelled] E"
    assert "error" not in cancelled["tags"]


def test_end_is_never_before_the_start() -> None:
    said = interaction(duration=-3.0)
    assert said["time_start"] == said["time_end"] == "2026-03-04T05:06:07.890Z"
    later = sent(event(1, None, inputs="x", duration=None), event(2, start=START + timedelta(seconds=9)))["interaction"]
    assert later["time_end"] == "2026-03-04T05:06:17.890Z"


def test_conversation_is_the_session_else_the_tree() -> None:
    assert interaction(session_id="s")["conversation_id"] == "s"
    assert interaction()["conversation_id"] == ROOT


def test_tags_are_text() -> None:
    metadata = {"a": {"b": True, "c": None}, "n": 1.5, "list": ["x", 2], "deep": [{"y": 1}], "eventtree_run_id": "r"}
    tags = interaction(tags=("team:blue", "team:red", "vip", "a:", ""), metadata=metadata)["tags"]
    assert tags == {
        "tree_id": ROOT, "name": "event 1", "team": "blue, red", "vip": "true", "a:": "true", "a.b": "true", "n": "1.5",
        "list": "x, 2", "deep": '[{"y":1}]', "run_id": "r",
    }  # fmt: skip


def test_steps_are_in_order_of_time() -> None:
    late = event(2, kind=Kind.TOOL, name="late", start=START + timedelta(seconds=5))
    early = event(3, 2, kind=Kind.TOOL, name="early", start=START)
    assert [made["source"] for made in sent(chain_root(), late, early)["traces"]] == ["early", "late"]


def test_model_step_ends_on_a_user_turn_and_spells_out_tool_calls() -> None:
    call = {"id": "c", "name": "search", "arguments": {"query": "sea"}}
    asked = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Look: "}, {"type": "image", "url": "https://x.test/i.png"}],
        },
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "salt"},
    ]
    said = {
        "messages": [{"role": "assistant", "content": "Hm.", "tool_calls": [call, {"name": "sum", "arguments": "[1]"}]}]
    }
    made = step(kind=Kind.MODEL, inputs={"messages": asked}, outputs=said)
    assert made["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look: [image https://x.test/i.png]"},
        {"role": "assistant", "content": 'search({"query":"sea"})'},
        {"role": "tool", "content": "salt"},
        {"role": "user", "content": ""},
    ]
    assert made["output"] == 'Hm.\nsearch({"query":"sea"})\nsum([1])'
    assert "cost" not in made
    prefilled = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "Well,"}]
    assert step(kind=Kind.MODEL, inputs={"messages": prefilled})["messages"] == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("usd", "expected"), [("0.000012", 12), ("0.0000005", 1), ("0", 0), ("0.0000004", 0), ("NaN", None), (None, None)]
)
def test_cost_is_in_whole_micro_dollars_and_only_in_v3(usd: str | None, expected: int | None) -> None:
    cost = Cost.model_construct(total_usd=None if usd is None else Decimal(usd))
    [made] = sent(chain_root(), text_model(2, cost=cost), version="v3")["traces"]
    assert made.get("cost") == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"inputs": {"input": "a"}, "outputs": "b"}, ("a", ["b"])),
        ({"inputs": {"query": "a", "k": 1}, "outputs": {"x": 1}}, ('{"query":"a","k":1}', ['{"x":1}'])),
        ({"inputs": None, "outputs": None}, ("", [])),
    ],
)
def test_tool_is_a_retrieval(fields: dict[str, Any], expected: tuple[str, list[str]]) -> None:
    made = step(kind=Kind.TOOL, name="t", **fields)
    assert (made["source"], made["input"], made["outputs"]) == ("t", *expected)


def test_failed_step_says_so_in_its_output() -> None:
    [made] = sent(chain_root(), failing_tool(2))["traces"]
    assert made["outputs"] == ["[error] builtins.ValueError: no numbers"]


def test_bare_model_call_is_interaction_and_step() -> None:
    body = sent(text_model(1, None))
    assert (body["interaction"]["input"], body["interaction"]["output"]) == ("Say moon.", "moon")
    assert [made["model"] for made in body["traces"]] == ["gpt-3.5-turbo-instruct"]


def test_anonymize_is_always_said() -> None:
    root = chain_root()
    assert sent(root)["anonymize"] is True
    assert sent(root, anonymize=False)["anonymize"] is False


def test_content_is_hidden_only_on_demand() -> None:
    assert "hide_content" not in interaction()
    assert sent(chain_root(), hide_content=True)["interaction"]["hide_content"] is True


def test_named_score_is_a_tag_and_no_thumb() -> None:
    body = sent(chain_root(), feedback=({"id": ROOT, "score": 0.2, "name": "fit"},))
    assert "feedback_actions" not in body
    assert {key: value for key, value in body["interaction"]["tags"].items() if key.startswith("score.")} == {
        "score.exact": "1.0", "score.length": "17.5", "score.fit": "0.2",
    }  # fmt: skip


def test_feedback_is_the_interactions() -> None:
    said = ({"id": ROOT, "score": 0, "comment": "meh"}, {"id": ident(2), "comment": " ", "correction": "No."})
    expected = [{"slug": "thumbs_down"}, {"slug": "comment", "text": "meh"}, {"slug": "edit", "text": "No."}]
    assert sent(chain_root(), feedback=said)["feedback_actions"] == expected
    assert sent(chain_root(), feedback=said, version="v3")["user_feedback"] == expected
    assert "feedback_actions" not in sent(chain_root())
    assert sent(chain_root(), version="v3")["user_feedback"] == []


def test_late_feedback_names_the_users_group_as_the_interaction_does() -> None:
    given = {"key": "k", "id": ROOT, "tree": ROOT, "at": 1_800_000_000_000_000_000, "score": 1}
    one = nebuly(end_user_group_profile="pilots")
    (item,) = one.encode_feedback(given, tree_of(chain_root()), {}).items
    assert json.loads(item.content)["metadata"]["end_user_group_profile"] == "pilots"
    assert sent(chain_root(), end_user_group_profile="pilots")["interaction"]["end_user_group_profile"] == "pilots"


def test_late_feedback_goes_by_either_of_its_two_published_names() -> None:
    given = {"key": "k", "id": ROOT, "tree": ROOT, "at": 1_800_000_000_000_000_000, "score": 1}
    for name in ("action", "feedback"):
        one, tree = nebuly(feedback_field=name), tree_of(chain_root())
        (item,) = one.encode_feedback(given, tree, {}).items
        assert json.loads(item.content)[name] == {"slug": "thumbs_up"}
        assert judges.problems(one, [*serialize([tree], one), request((item,), one)]) == []


def test_ten_thousand_events_are_one_interaction() -> None:
    encoded = nebuly().encode(wide_tree(10_000))
    assert len(encoded.items) == 1
    assert len(encoded.dropped) == 9_999


# Answers and judges


@pytest.mark.parametrize("body", [b"", b"Accepted", b"{}"])
def test_any_body_is_an_acceptance(body: bytes) -> None:
    [request] = serialize([tree_of(chain_root())], nebuly())
    verdict = nebuly().read_reply(request, 200, body)
    assert verdict is not None
    assert verdict.verified
    assert nebuly().read_reply(request, 422, body) is None


def test_sending_twice_is_not_harmless() -> None:
    assert Nebuly.idempotent is False


@pytest.mark.parametrize("version", VERSIONS)
def test_loopback_server_takes_all(version: Version) -> None:
    with VendorServer() as server:
        vendor = Nebuly(version=version, **server.settings("nebuly"))
        judges.post_all(server, vendor, [rich_tree(), tree_of(chat_model(20, None, tree_id=ident(20), user="bob"))], {})
        assert len(server.events("nebuly")) == 2
