"""Two ways to one record: the fast one and the careful one write the same bytes, whatever the value."""

from __future__ import annotations

import datetime
import enum
import gc
import json
import threading
import uuid
import weakref
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from eventtree import record
from eventtree.content import Sanitizer
from eventtree.content.fast_path import SHORT, as_it_is
from eventtree.langchain import CallbackHandler
from eventtree.recording.recorder import recorder


class Text(str):
    """A text of the app's own class."""


class Number(int):
    """A number of the app's own class."""


class Table(dict):  # type: ignore[type-arg]
    """A dict whose own methods are never asked."""

    def items(self) -> Any:
        raise RuntimeError

    __iter__ = keys = values = items


class Row(list):  # type: ignore[type-arg]
    """A list of the app's own class."""


class Colour(enum.Enum):
    RED = float("nan")
    BLUE = "blue"


class Word(enum.StrEnum):
    ONE = "one"


def careful() -> Sanitizer:
    """A sanitizer that goes the careful way alone."""
    sanitizer = Sanitizer()
    sanitizer.room = 0
    return sanitizer


def bytes_of(sanitizer: Sanitizer, value: Any) -> bytes:
    return record.encode(sanitizer.fitted(sanitizer(value)))


def nested(levels: int, inner: Any, *, as_dict: bool = False) -> Any:
    for _ in range(levels):
        inner = {"in": inner} if as_dict else [inner]
    return inner


NAN = float("nan")
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.integers(2**53 - 3, 2**53 + 3) | st.integers(2**63 - 3, 2**64 + 3)
    | st.floats() | st.text(st.characters(), max_size=300) | st.text(st.characters(categories=["Cs"]), max_size=3)
    | st.builds(Text, st.text(max_size=300)) | st.builds(Number, st.integers()) | st.sampled_from([*Colour, *Word])
    | st.sampled_from([b"x", uuid.UUID(int=1), datetime.datetime(2026, 1, 2), (1, NAN), {NAN}, "data:a" + "A" * 300])
)  # fmt: skip
KEYS = st.text(max_size=8) | st.sampled_from(["type", "inline_data", "role", "content", Text("own"), Word.ONE, 1, None])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.dictionaries(st.just("type"), st.sampled_from(["image", "text", "file", 7, None]) | inner)
        | st.builds(Table, st.dictionaries(st.text(max_size=3), inner, max_size=3))
        | st.builds(Row, st.lists(inner, max_size=3))
        | inner.map(lambda one: [one, {"again": one}, one])  # the same objects, several times
    ),
    max_leaves=20,
)


@given(VALUES)
def test_any_value_becomes_the_same_bytes(value: Any) -> None:
    found = bytes_of(Sanitizer(), value)
    assert found == bytes_of(careful(), value)
    json.loads(found)


@pytest.mark.parametrize("levels", [1, 7, 8, 9, 23, 24, 25, 253, 300])
@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("leaf", [NAN, "\ud800", 2**63, "text", float("inf"), Number(5)], ids=repr)
def test_any_depth_becomes_the_same_bytes(levels: int, as_dict: bool, leaf: Any) -> None:
    value = nested(levels, leaf, as_dict=as_dict)
    assert bytes_of(Sanitizer(), value) == bytes_of(careful(), value)


@given(st.dictionaries(KEYS, VALUES | st.sampled_from([(1, ("a",)), 2**53, -(2**53)]), max_size=5))
def test_a_small_dict_that_is_written_at_once_has_the_same_bytes(value: Any) -> None:
    found = as_it_is(value)
    assert found is None or record.encode(found) == bytes_of(careful(), value)


def test_metadata_as_graphs_have_it_is_written_at_once_and_read_by_either_encoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record, "orjson", orjson)
    about = {"langgraph_step": 1, "langgraph_path": ("push", 0, False), "versions": {"core": "1.2"}, "ä": 2.5}
    found = as_it_is(about)
    assert record.encode({"a": found}) == record.encode({"a": careful()(about)})
    assert record.encode({"a": found, "b": 2**70}) == record.encode({"a": careful()(about), "b": 2**70})
    file = "data:" + "x" * SHORT
    for odd in ({"a": file}, {"a": [file]}, {"a": NAN}, {"a": [[[[]]]]}, {"type": "image"}, {"a": 2**53}):
        assert as_it_is(odd) is None
    monkeypatch.setattr(record, "orjson", None)
    assert as_it_is(about) is None


def test_a_conversation_that_grows_forks_and_changes_becomes_the_same_bytes() -> None:
    def said(number: int, **more: Any) -> AIMessage:
        return AIMessage(f"{number}", id=f"{number}", **more)

    calls = [{"name": "f", "args": {"x": 1}, "id": "c"}]
    talk: list[Any] = [HumanMessage("go"), said(0, tool_calls=calls), *map(said, range(1, 4))]
    other = [*talk[:3], said(7), said(8)]
    for step in range(30):
        talk.append(said(step + 10, tool_calls=calls * (step % 3)))
        if step == 10:
            talk[1].tool_calls[0]["args"]["x"] = None
        if step == 15:
            talk[1].tool_calls[0]["args"]["x"] = NAN
        if step == 20:
            del talk[4:8]
        for asked in (talk, talk[:-1], other, talk[1:]):
            assert bytes_of(Sanitizer(), {"messages": asked}) == bytes_of(careful(), {"messages": asked}), step
            fast, slow = (record.encode(one.messages(asked)) for one in (Sanitizer(), careful()))
            assert fast == slow, step


@pytest.mark.parametrize("place", ["name", "args", "metadata"])
def test_a_known_message_that_gets_an_enum_runs_none_of_its_code(place: str) -> None:
    ran = []

    class Odd(enum.Enum):
        A = "a"

        @property
        def value(self) -> str:
            ran.append(self)
            return "b"

    call = {"name": "f", "args": {"x": 1}, "id": "c"}
    talk: list[Any] = [HumanMessage("go"), AIMessage("0", tool_calls=[call]), *map(HumanMessage, "123")]
    assert bytes_of(Sanitizer(), talk) == bytes_of(careful(), talk)
    if place == "name":
        talk[1].name = Odd.A
    elif place == "args":
        talk[1].tool_calls[0]["args"]["x"] = [(Odd.A,)]
    else:
        talk[1].response_metadata = {"finish_reason": Odd.A}
    for asked in (talk, [*talk, HumanMessage("4")]):
        assert bytes_of(Sanitizer(), asked) == bytes_of(careful(), asked)
    assert not ran


def test_shared_references_are_bounded_alike() -> None:
    laugh: Any = ["x"]
    for _ in range(7):
        laugh = [laugh] * 10
    assert len(bytes_of(Sanitizer(), laugh)) == len(bytes_of(careful(), laugh)) < 1 << 20


def test_a_large_value_is_cut_alike() -> None:
    for value in ("x" * 2_000_000, ["ä" * 400_000] * 3, {"a": "\x00" * 300_000, "b": ["y" * 199] * 900}):
        assert bytes_of(Sanitizer(), value) == bytes_of(careful(), value)
        assert len(bytes_of(Sanitizer(), value)) <= 1 << 20


def test_messages_become_the_same_bytes() -> None:
    calls = [{"name": "f", "args": {"x": NAN}, "id": "1"}]
    for asked in ([HumanMessage("x" * 5_000, id="1"), AIMessage("", tool_calls=calls)], [AIMessage("\ud800")]):
        ways = (Sanitizer(), careful())
        fast, slow = (record.encode(one.messages(asked)) for one in ways)
        assert fast == slow


def test_without_orjson_the_same_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Sanitizer()({"a": [1, 2.5, None, True, "ä\n", -(2**63)], "b": {}, "c": []})
    with_it = record.encode(plain)
    monkeypatch.setattr(record, "orjson", None)
    assert record.encode(plain) == with_it
    assert record.encode(uuid.UUID(int=5)) == b'"00000000-0000-0000-0000-000000000005"'


def test_a_dict_that_another_thread_changes_is_one_of_its_states() -> None:
    states = [{"a": 1}, {"a": NAN}, {"a": nested(30, 1)}, {"a": "data:;base64," + "QUJD" * 100}, {"b": {1: 2}}, {}]
    allowed = {bytes_of(careful(), state) for state in states} | {bytes_of(careful(), {"a": 1, "b": {1: 2}})}
    value: dict[Any, Any] = {"a": 1}
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for state in states:
                value.update(state)
                value.pop("b", None)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        seen = {bytes_of(Sanitizer(), value) for _ in range(3_000)}
    finally:
        done.set()
        changing.join()
    for one in seen:
        assert one in allowed or set(json.loads(one)) <= {"a", "b"}
        assert b"null" not in one  # what NaN would be for an encoder alone


class Held:
    """An object of the app in the frames of whatever fails."""


def test_no_exception_outlives_its_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold the app's objects: they are gone with the last reference of the app's, without a collector."""
    handler = CallbackHandler()
    monkeypatch.setattr("eventtree.langchain.handler.parent_of", lambda _: 1 / 0)
    root = uuid.uuid4()
    gc.disable()
    try:
        for make in (lambda one: Table(a=one), lambda one: {"a": one, 1: 2}, lambda one: [one, NAN]):
            one = Held()
            held, inputs = weakref.ref(one), make(one)
            handler.on_chain_start({}, inputs, run_id=root, name="root")
            handler.on_chain_end(inputs, run_id=root)
            del one, inputs
            assert held() is None
    finally:
        gc.enable()
    assert not recorder.runs
