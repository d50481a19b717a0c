"""Our messages, tools and contents in OpenAI form."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventtree.kinds import JsonValue, Kind
from eventtree.serializer import messages as chat
from eventtree.serializer.vendor import without_nulls
from tests.vendors.trees import CONTENTS, MESSAGES, SEARCH, event


def model(**fields: JsonValue) -> chat.Event:
    return event(1, None, kind=Kind.MODEL, **fields)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("as it is", "as it is"),
        ("", ""),
        ([{"type": "text", "text": "two "}, {"type": "text", "text": "parts"}], "two parts"),
        (["bare ", {"type": "text", "text": "and part"}], "bare and part"),
        ([{"type": "image", "url": "https://x.test/i.png"}], "[image https://x.test/i.png]"),
        ([{"type": "audio", "mime_type": "audio/wav", "bytes": 9, "sha256": "9f"}], "[audio/wav, 9 bytes, sha256 9f]"),
        ([{"type": "file"}], "[file]"),
        ([{"type": "refusal", "refusal": "no"}], '{"type":"refusal","refusal":"no"}'),
        ({"type": "text", "text": "lone part"}, "lone part"),
        ({"free": 1}, '{"free":1}'),
        ({"type": "text", "text": 7}, '{"type":"text","text":7}'),
        (7, "7"),
        (float("nan"), "null"),
    ],
)
def test_text_of_any_content(content: JsonValue, text: str) -> None:
    assert chat.text_of(content) == text


@pytest.mark.parametrize(
    ("message", "form"),
    [
        ({"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}),
        ({"role": "user", "content": "hi", "id": "m1", "status": "x"}, {"role": "user", "content": "hi"}),
        ({"role": "user", "content": "hi", "name": "ada"}, {"role": "user", "content": "hi", "name": "ada"}),
        ({"role": "tool", "content": "4", "tool_call_id": "c"}, {"role": "tool", "content": "4", "tool_call_id": "c"}),
        ({"role": "assistant"}, {"role": "assistant"}),
        ({"role": "assistant", "content": None}, {"role": "assistant"}),
        ({"role": "assistant", "content": ""}, {"role": "assistant", "content": ""}),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "ab"},
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "url": "u"}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}],
            },
        ),
        ({"content": "no role"}, {"role": "user", "content": "no role"}),
        ({"role": 7, "content": "odd role"}, {"role": "user", "content": "odd role"}),
        ("just text", {"role": "user", "content": "just text"}),
        (None, {"role": "user", "content": ""}),
        ({}, {"role": "user"}),
    ],
)
def test_message_in_openai_form(message: JsonValue, form: dict[str, JsonValue]) -> None:
    assert chat.openai_message(message) == form


@pytest.mark.parametrize("content", [None, "", []])
def test_message_of_tool_calls_alone_has_no_content(content: JsonValue) -> None:
    message = {"role": "assistant", "content": content, "tool_calls": [{"id": "a", "name": "f", "arguments": {"x": 1}}]}
    assert chat.openai_message(message) == {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
    }


@pytest.mark.parametrize(
    ("call", "name", "arguments"),
    [
        ({"id": "call_0", "name": "f", "arguments": '{"x": 1'}, "f", '{"x": 1'),
        ({"name": "f"}, "f", "{}"),
        ({"name": "f", "arguments": None}, "f", "{}"),
        ({"name": "f", "arguments": [1]}, "f", "[1]"),
        ({"function": {"name": "f", "arguments": "{}"}, "type": "function"}, "f", "{}"),
        ({}, "unknown", "{}"),
        ("f(x)", "unknown", "f(x)"),
    ],
)
def test_any_tool_call_has_id_name_and_text_arguments(call: JsonValue, name: str, arguments: str) -> None:
    assert chat.openai_tool_calls([call]) == [
        {"id": "call_0", "type": "function", "function": {"name": name, "arguments": arguments}}
    ]


def test_open_message_keeps_the_keys_that_openai_has_no_place_for() -> None:
    message = {"role": "assistant", "content": "hi", "reasoning": "why", "finish_reason": "stop", "id": None}
    form = {"role": "assistant", "content": "hi", "reasoning": "why", "finish_reason": "stop"}
    assert chat.open_message(message) == form


@pytest.mark.parametrize(
    ("inputs", "messages"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, [{"role": "user", "content": "hi"}]),
        ({"messages": [[{"role": "user", "content": "hi"}]]}, [{"role": "user", "content": "hi"}]),
        ({"messages": ["hi", None, {"content": "ho"}]},
         [{"role": "user", "content": "hi"}, {"role": "user", "content": "ho"}]),
        ({"messages": []}, []),
        ({"prompt": "hi"}, [{"role": "user", "content": "hi"}]),
        ({"prompts": ["hi", "ho"]}, [{"role": "user", "content": "hi"}, {"role": "user", "content": "ho"}]),
        ({"role": "system", "content": "one"}, [{"role": "system", "content": "one"}]),
        ({"x": 1}, [{"role": "user", "content": '{"x":1}'}]),
        ("hi", [{"role": "user", "content": "hi"}]),
        ({}, []),
        (None, []),
    ],
)  # fmt: skip
def test_messages_a_model_was_given(inputs: JsonValue, messages: list[chat.Message]) -> None:
    assert chat.messages_in(model(inputs=inputs)) == messages


@pytest.mark.parametrize(
    ("outputs", "messages"),
    [
        ({"messages": [{"role": "assistant", "content": "a"}]}, [{"role": "assistant", "content": "a"}]),
        ({"text": "a"}, [{"role": "assistant", "content": "a"}]),
        ({"texts": ["a", "b"]}, [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]),
        ("a", [{"role": "assistant", "content": "a"}]),
        (None, []),
    ],
)
def test_messages_a_model_said(outputs: JsonValue, messages: list[chat.Message]) -> None:
    assert chat.messages_out(model(outputs=outputs)) == messages


FUNCTION = {"name": "search", "description": "Search the handbook.", "parameters": SEARCH["input_schema"]}


@pytest.mark.parametrize(
    ("tool", "form"),
    [
        ({"type": "function", "function": FUNCTION}, {"type": "function", "function": FUNCTION}),
        ({"function": FUNCTION}, {"type": "function", "function": FUNCTION}),
        (SEARCH, {"type": "function", "function": FUNCTION}),
        ({"type": "function", **FUNCTION}, {"type": "function", "function": FUNCTION}),
        ({"function_declarations": [FUNCTION]}, {"type": "function", "function": FUNCTION}),
        ({"type": "web_search_20250305", "name": "web_search"}, {"type": "web_search_20250305", "name": "web_search"}),
        ("search", {"type": "function", "function": {"name": "search"}}),
    ],
)
def test_tools_of_any_provider_in_openai_form(tool: JsonValue, form: JsonValue) -> None:
    assert chat.tools_of(model(params={"tools": [tool]})) == [form]


@pytest.mark.parametrize("params", [None, {}, {"tools": None}, {"tools": []}])
def test_no_tools(params: JsonValue) -> None:
    assert chat.tools_of(model(params=params)) == []


def test_messages_are_found_at_the_top_of_any_inputs() -> None:
    said = {"role": "assistant", "tool_calls": [{"id": "a", "name": "f", "arguments": {}}]}
    form, forms = chat.openai_message(said), chat.Forms()
    assert chat.openai_form({"messages": [said], "last": said, "n": 1}, forms) == {
        "messages": [form], "last": form, "n": 1,
    }  # fmt: skip
    assert chat.openai_form([said], forms) == [form]
    assert chat.openai_form(said, forms) == form
    assert chat.openai_form([said, 1], forms) == [said, 1]
    assert chat.openai_form({"role": "admin"}, forms) == {"role": "admin"}


def test_a_message_that_many_runs_of_a_tree_hold_takes_its_form_once() -> None:
    asked: list[JsonValue] = []

    def form(message: JsonValue) -> JsonValue:
        asked.append(message)
        return {**message, "seen": True}

    history = [{"role": "user", "content": str(number)} for number in range(100)]
    forms = chat.Forms()
    for step in range(1, 101):
        assert [one["content"] for one in forms.of(history[:step], form)] == [str(number) for number in range(step)]
    assert len(asked) <= 100 + sum(range(chat.MANY))
    # Equal messages that are gone again, whose places in memory the next ones take.
    for number in range(100):
        made = [{"role": "user", "content": f"{number}.{place}"} for place in range(chat.MANY)]
        assert [one["content"] for one in forms.of(made, form)] == [one["content"] for one in made]


@given(st.lists(MESSAGES, min_size=chat.MANY, max_size=2 * chat.MANY))
def test_long_lists_are_of_messages_where_each_is_one(values: list[JsonValue]) -> None:
    assert chat.Forms().are_messages(values) is chat.is_messages(values)


@pytest.mark.parametrize(("value", "number"), [(1, 1), (0.5, 0.5), (True, None), ("1", None), (None, None),
                                               (float("inf"), None), (10**400, None)])  # fmt: skip
def test_finite_numbers(value: JsonValue, number: float | None) -> None:
    assert chat.finite(value) == number


@given(MESSAGES)
def test_any_message_comes_out_well_formed(message: JsonValue) -> None:
    form = chat.openai_message(message)
    assert form["role"] and isinstance(form["role"], str)
    assert form.keys() <= chat.PLACED
    assert isinstance(form.get("content", ""), str | list)
    assert all(isinstance(part, dict) for part in form.get("content", []) if isinstance(form.get("content"), list))
    for call in form.get("tool_calls", []):
        assert all(isinstance(text, str) for text in (call["id"], *call["function"].values()))


@given(CONTENTS, CONTENTS)
def test_any_event_gives_messages_with_roles(inputs: JsonValue, outputs: JsonValue) -> None:
    said = model(inputs=inputs, outputs=outputs)
    assert all(isinstance(message["role"], str) for message in chat.messages_in(said) + chat.messages_out(said))


@given(CONTENTS)
def test_any_tools_give_objects(tools: JsonValue) -> None:
    assert all(isinstance(tool, dict) for tool in chat.tools_of(model(params={"tools": tools})))
    assert isinstance(json.dumps(chat.as_text(tools)), str)


def test_what_json_has_no_number_for_is_left_out_like_a_null() -> None:
    assert without_nulls({"a": None, "b": float("inf"), "c": float("nan"), "d": 0.0, "e": [None]}) == {
        "d": 0.0,
        "e": [None],
    }


@pytest.mark.parametrize(
    ("role", "all_six", "four"),
    [
        ("human", "user", "user"),
        ("AI", "assistant", "assistant"),
        ("chatbot", "assistant", "assistant"),
        ("model", "assistant", "assistant"),
        ("developer", "developer", "system"),
        ("function", "function", "tool"),
        ("critic", None, None),
        (7, None, None),
    ],
)
def test_a_role_by_any_name_is_one_that_a_vendor_knows(role: JsonValue, all_six: str | None, four: str | None) -> None:
    known = {"system", "user", "assistant", "tool"}
    assert chat.role_among({*known, "developer", "function"}, role) == all_six
    assert chat.role_among(known, role) == four
