"""Halving and shortening: F04 (too large) and F05 (poison), as pure functions."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventtree.serializer.packing import halves, truncate_item
from eventtree.serializer.requests import Item


def items(count: int) -> tuple[Item, ...]:
    return tuple(Item(str(number), "t", (str(number),), "r", b"{}") for number in range(count))


def item(row: Any) -> Item:
    return Item("k", "t", ("e1", "e2"), "r", json.dumps(row, ensure_ascii=False).encode(), 3, (("log_id", "x"),))


def shortened(row: Any, max_bytes: int) -> Any:
    smaller = truncate_item(item(row), max_bytes)
    assert smaller is not None and len(smaller.content) <= max_bytes
    return json.loads(smaller.content)


@pytest.mark.parametrize("count", range(130))
def test_halves_keep_order_and_lose_nothing(count: int) -> None:
    whole = items(count)
    first, second = halves(whole)
    assert first + second == whole
    if count > 1:
        assert min(len(first), len(second)) * 3 >= count - 1


# -- F05: what isolating poison costs ----------------------------------------------------------------------------------


def isolate(count: int, poison: set[str]) -> tuple[int, set[str], list[str]]:
    """Requests made, items refused, items taken, by delivery's loop."""
    work, requests, dead, taken = [items(count)], 0, set[str](), list[str]()
    while work:
        part = work.pop(0)
        requests += 1
        keys = {one.key for one in part}
        if not keys & poison:
            taken += [one.key for one in part]
        elif len(part) == 1:
            dead |= keys
        else:
            work[:0] = halves(part)
    return requests, dead, taken


@cache
def worst(count: int, poisoned: int) -> int:
    """Requests for the worst placing of poison, computed from `halves`."""
    if not poisoned or count == 1:
        return 1
    left, right = (len(part) for part in halves(items(count)))
    placings = range(max(0, poisoned - right), min(left, poisoned) + 1)
    return 1 + max(worst(left, there) + worst(right, poisoned - there) for there in placings)


@pytest.mark.parametrize(
    ("count", "poisoned", "most"),
    [(100, 1, 15), (100, 3, 37), (100, 10, 87), (100, 100, 199), (512, 1, 19), (512, 3, 49)],
)
def test_f05_r4_no_placing_of_poison_takes_more_requests_than_the_figures(count: int, poisoned: int, most: int) -> None:
    print(f"R4 {poisoned} poisoned of {count}: at worst {worst(count, poisoned)} requests")
    assert worst(count, poisoned) <= most


@pytest.mark.parametrize(("count", "poisoned", "most"), [(100, 1, 15), (100, 3, 37), (100, 10, 85), (512, 10, 129)])
def test_f05_r4_poison_is_isolated_and_all_else_is_taken_in_order(count: int, poisoned: int, most: int) -> None:
    chance = random.Random(0)
    for _ in range(100):
        poison = {str(number) for number in chance.sample(range(count), poisoned)}
        requests, dead, taken = isolate(count, poison)
        assert requests <= most
        assert dead == poison
        assert taken == [str(number) for number in range(count) if str(number) not in poison]


# -- F04: one item too large -------------------------------------------------------------------------------------------

ID, PARENT, TREE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
LONG = "The quick brown fox. " * 50_000


def braintrust() -> dict[str, Any]:
    return {
        "id": ID, "span_id": ID, "root_span_id": TREE, "span_parents": [PARENT],
        "span_attributes": {"name": "ChatOpenAI", "type": "llm"},
        "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": LONG}],
        "output": [{"role": "assistant", "content": LONG}],
        "metrics": {"start": 1.5, "end": 2.5, "prompt_tokens": 3}, "created": "2026-03-01T12:00:00Z",
    }  # fmt: skip


def honeyhive() -> dict[str, Any]:
    return {
        "event_id": ID, "parent_id": PARENT, "session_id": TREE, "event_type": "model", "event_name": "ChatOpenAI",
        "children_ids": [str(uuid.UUID(int=number)) for number in range(100)],
        "inputs": {"chat_history": [{"role": "user", "content": LONG}]}, "outputs": {"content": LONG},
        "metadata": {"total_tokens": 5}, "start_time": 1, "duration": 2.0,
    }  # fmt: skip


def nebuly() -> dict[str, Any]:
    return {
        "interaction": {
            "conversation_id": TREE, "end_user": "u", "input": LONG, "output": LONG,
            "time_start": "2026-03-01T12:00:00Z", "tags": {"a": "b"},
        },
        "anonymize": False,
    }  # fmt: skip


TEXTS = {"input", "output", "inputs", "outputs"}


def without_texts(row: Any) -> Any:
    return {key: without_texts(part) if key == "interaction" else part for key, part in row.items() if key not in TEXTS}


@pytest.mark.parametrize("make", [braintrust, honeyhive, nebuly])
@pytest.mark.parametrize("max_bytes", [1_000_000, 100_000, 10_000, 6_000])
def test_f04_only_long_texts_are_cut(make: Callable[[], dict[str, Any]], max_bytes: int) -> None:
    row = shortened(make(), max_bytes)
    assert without_texts(row) == without_texts(make())
    assert "cut]" in json.dumps(row, ensure_ascii=False)
    assert len(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()) > max_bytes * 0.9


def test_f04_structure_roles_head_and_tail_survive() -> None:
    row = shortened(braintrust(), 10_000)
    system, user = row["input"]
    assert system == {"role": "system", "content": "Be brief."}
    assert user["role"] == "user"
    assert user["content"].startswith("The quick brown fox.") and user["content"].endswith("brown fox. ")
    assert row["output"][0]["role"] == "assistant"


def test_f04_everything_else_about_the_item_stays() -> None:
    before = item(braintrust())
    after = truncate_item(before, 10_000)
    assert after is not None
    assert (after.key, after.tree_id, after.event_ids, after.route, after.wave, after.path_params) == (
        before.key, before.tree_id, before.event_ids, before.route, before.wave, before.path_params,
    )  # fmt: skip


LARGE: dict[str, Callable[[], Any]] = {
    "keys": lambda: {str(number): number for number in range(50_000)},
    "numbers": lambda: list(range(200_000)),
    "vectors": lambda: [[0.123456] * 1000] * 50,
    "turns": lambda: [{"role": "user", "content": f"turn {number}"} for number in range(20_000)],
    "escapes": lambda: '"\\\n\0' * 100_000,
    "wide": lambda: "é😀" * 100_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_f04_f20_what_is_large_without_long_texts_is_shortened_whole(name: str) -> None:
    row = braintrust() | {"output": LARGE[name]()}
    links = {"id", "span_id", "root_span_id", "span_parents", "span_attributes", "metrics", "created"}
    smaller = shortened(row, 20_000)
    assert {key: smaller[key] for key in links} == {key: row[key] for key in links}
    assert smaller.keys() == row.keys()


def test_f04_halving_the_aim_ends() -> None:
    one: Item | None = item(honeyhive())
    rounds = 0
    while one is not None:
        one, rounds = truncate_item(one, len(one.content) // 2), rounds + 1
    assert rounds < 20


@pytest.mark.parametrize(
    ("row", "max_bytes"),
    [
        ({"id": ID, "inputs": {}}, 1000),  # fits already
        ({"id": ID, "parent_id": PARENT}, 20),  # nothing to cut
        ({"id": ID, "children_ids": [ID] * 100}, 1000),  # only links
        ({"id": ID, "inputs": LONG}, 10),  # less than the links need
        ({"id": ID, "inputs": LONG}, 0),
        ([LONG], 1000),  # no row at all
        (LONG, 1000),
    ],
)
def test_f04_none_where_nothing_can_be_gained(row: Any, max_bytes: int) -> None:
    assert truncate_item(item(row), max_bytes) is None


texts = st.text(st.characters(codec="utf-8"), max_size=2000)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts.map(lambda text: text[:9]), inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["inputs", "outputs", "metadata", "config"]), json_values), st.integers(0, 5000))
def test_f04_any_row_fits_afterwards_or_is_left_alone(fields: dict[str, Any], max_bytes: int) -> None:
    smaller = truncate_item(item({"id": ID, **fields}), max_bytes)
    if smaller is not None:
        assert len(smaller.content) <= max_bytes
        row = json.loads(smaller.content)
        assert row["id"] == ID
        assert row.keys() == {"id", *fields}
