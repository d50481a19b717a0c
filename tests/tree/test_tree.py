"""The records of a tree: what each adds to what, and that their order does not matter."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventtree import record
from eventtree.event import EventTree
from eventtree.kinds import Kind, Status
from eventtree.tree.builder import TreeBuilder
from tests.trees import fold

T0 = 1_700_000_000_000_000_000


def opened(run: str, parent: str | None = None, **more: Any) -> record.Record:
    number = int(run[1:] or 0)
    return {
        "r": record.OPEN, "id": run, "tree": "r0", "parent": parent, "kind": "chain", "name": run,
        "start": T0 + number * 1_000_000, **more,
    }  # fmt: skip


def closed(run: str, **more: Any) -> record.Record:
    return {"r": record.CLOSE, "id": run, "tree": "r0", "duration": 5_000_000, "status": "ok", **more}


def noted(run: str, name: str, **more: Any) -> record.Record:
    return {"r": record.NOTE, "id": run, "tree": "r0", "name": name, "at": T0, "after": 2_000_000, **more}


def only(records: list[record.Record]) -> EventTree:
    (tree,) = fold(records)
    return tree


MAKE = {record.OPEN: opened, record.CLOSE: closed, record.NOTE: lambda run: noted(run, "retry")}
BEFORE: list[list[str]] = [[], [record.OPEN], [record.CLOSE], [record.OPEN, record.CLOSE]]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", MAKE)
def test_no_record_loses_a_run_whatever_came_before(before: list[str], kind: str) -> None:
    steps = [*before, kind]
    tree = TreeBuilder.of("r0", [MAKE[step]("r0") for step in steps]).build()
    if set(steps) == {record.NOTE}:
        assert tree is None
    else:
        assert tree is not None
        assert tree.root.status == (Status.OK if record.CLOSE in steps else Status.INCOMPLETE)
        assert tree.root.name == ("r0" if record.OPEN in steps else "unknown")
        notes = ["retry"] * (kind == record.NOTE) + ["damaged"] * (record.OPEN not in steps)
        assert [note.name for note in tree.root.notes] == notes


def test_the_first_open_counts_and_the_earliest_close() -> None:
    records = [opened("r0", kind="model"), opened("r0", kind="tool"), closed("r0"), closed("r0", duration=4_000_000)]
    event = only([*records, closed("r0", duration=9_000_000, status="error")]).root
    assert (event.kind, event.duration, event.status) == (Kind.MODEL, 0.004, Status.OK)


def test_a_run_without_a_close_is_incomplete() -> None:
    event = only([opened("r0")]).root
    assert (event.status, event.duration, event.end) == (Status.INCOMPLETE, None, None)


def test_a_close_without_an_open_is_kept_and_marked() -> None:
    """F12: one of two records is damaged, the event is not lost."""
    tree = only([opened("r0"), closed("r1", outputs="x"), closed("r0")])
    assert [event.id for event in tree.events] == ["r0", "r1"]
    assert tree.events[1].outputs == "x"
    assert tree.events[1].notes[0].name == "damaged"
    assert tree.events[1].parent_id == "r0"


def test_a_root_that_lost_its_open_is_still_the_root() -> None:
    tree = only([opened("r1", "r0"), closed("r1"), closed("r0")])
    assert tree.root.id == "r0"
    assert tree.root.start == tree.events[1].start


def test_two_starts_and_two_ends_of_one_run_make_one_event() -> None:
    """F23"""
    tree = only(
        [opened("r0"), opened("r0"), closed("r0", duration=9), closed("r0", duration=4), closed("r0", duration=7)]
    )
    assert len(tree.events) == 1
    assert tree.root.duration == 4e-9


def test_unknown_parents_and_rings_hang_under_the_root() -> None:
    """F23"""
    tree = only([opened("r0"), opened("r1", "r2"), opened("r2", "r1"), opened("r3", "nowhere"), opened("r4", "r3")])
    parents = {event.id: event.parent_id for event in tree.events}
    assert parents["r3"] == "r0"
    assert parents["r4"] == "r3"
    assert "r0" in (parents["r1"], parents["r2"])


def test_a_child_that_ends_after_its_parent_stays_in_the_tree() -> None:
    tree = only([opened("r0"), opened("r1", "r0"), closed("r0", duration=1), closed("r1", duration=9_000_000_000)])
    assert tree.events[1].duration == 9.0


def test_the_end_knows_better_than_the_start() -> None:
    tree = only(
        [
            opened("r0", inputs={"input": ""}, model="gpt-4o", params={"temperature": 1}, metadata={"a": 1}),
            closed("r0", inputs={"q": "real"}, model="gpt-4o-2024", params={"top_p": 1}, metadata={"b": 2}),
        ]
    )
    assert tree.root.inputs == {"q": "real"}
    assert (tree.root.model, tree.root.asked_model) == ("gpt-4o-2024", "gpt-4o")
    assert tree.root.params == {"temperature": 1, "top_p": 1}
    assert tree.root.metadata == {"a": 1, "b": 2}


def test_usage_stands_on_the_innermost_model_only() -> None:
    """C7"""
    usage = {"usage_metadata": [{"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}]}
    tree = only(
        [
            opened("r0"), opened("r1", "r0", kind="model"), opened("r2", "r1", kind="model"),
            closed("r2", usage=usage), closed("r1", usage=usage), closed("r0"),
        ]
    )  # fmt: skip
    assert [event.usage is not None for event in tree.events] == [False, False, True]
    assert tree.total_tokens == 7


def test_session_and_user_are_the_roots() -> None:
    """F1"""
    tree = only([opened("r0", session="s", user="u", environment="prod"), opened("r1", "r0"), closed("r1")])
    assert {(e.session_id, e.user, e.environment) for e in tree.events} == {("s", "u", "prod")}


def test_what_had_come_of_a_run_that_never_closed_is_its_output() -> None:
    """B5"""
    cut = [opened("r0"), opened("r1", "r0"), noted("r1", "partial", value="blue"), closed("r0", status="cancelled")]
    left = only(cut).events[1]
    assert (left.status, left.outputs, left.notes) == (Status.CANCELLED, "blue", ())
    late = only([*cut, closed("r1", outputs="blue whale")]).events[1]
    assert (late.status, late.outputs) == (Status.OK, "blue whale")


def test_first_token_is_a_time_and_other_notes_are_kept() -> None:
    tree = only([opened("r0"), noted("r0", "first_token"), noted("r0", "retry", value={"attempt": 2}), closed("r0")])
    assert tree.root.time_to_first_token == 0.002
    assert [(note.name, note.value) for note in tree.root.notes] == [("retry", {"attempt": 2})]


@pytest.mark.parametrize(
    "value",
    [
        {"$same": ["r0", ["inputs"]]},
        {"$same": ["r1", ["inputs"]]},
        {"m": [{"$same": ["r0", ["inputs", "m", 0]]}, {"$same": 3}]},
    ],
)
def test_f36_an_apps_own_value_in_the_form_of_a_pointer_is_data(value: Any) -> None:
    """F36: also where two of them seem to point to each other, which costs nothing."""
    tree = only([opened("r0", inputs=value), opened("r1", "r0", inputs=value), closed("r1", outputs=value)])
    assert [event.inputs for event in tree.events] == [value, value]
    assert tree.events[1].outputs == value


def test_without_internal_children_move_up() -> None:
    tree = only(
        [opened("r0"), opened("r1", "r0", internal=True), opened("r2", "r1", internal=True), opened("r3", "r2")]
    )
    assert [(event.id, event.parent_id) for event in tree.without_internal().events] == [("r0", None), ("r3", "r0")]


RUNS = st.lists(st.tuples(st.integers(0, 8), st.integers(-1, 8), st.booleans()), min_size=1, max_size=9)


@given(RUNS, st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_order_of_records_and_repetitions_change_nothing(
    runs: list[tuple[int, int, bool]], chance: random.Random, repeat: bool
) -> None:
    """F23: shuffled, duplicated, truncated sequences give one well-formed tree."""
    records: list[record.Record] = [opened("r0"), closed("r0")]
    seen = {0}
    for number, parent, ends in runs:
        if number in seen:
            continue
        seen.add(number)
        records.append(opened(f"r{number}", f"r{parent}" if parent >= 0 else None))
        if ends:
            records += [closed(f"r{number}"), noted(f"r{number}", "first_token")]
    straight = only(records)
    shuffled = records * (2 if repeat else 1)
    chance.shuffle(shuffled)
    mixed = only(shuffled)
    assert mixed.model_dump() == straight.model_dump() or repeat
    ids = [event.id for event in mixed.events]
    assert len(ids) == len(set(ids)) == len(seen)
    assert mixed.root.id == "r0"
    assert mixed.root.parent_id is None
    for event in mixed.events[1:]:
        assert event.parent_id in ids[: ids.index(event.id)]
    assert sorted(event.id for _, event in mixed.walk()) == sorted(ids)


def test_kinds_are_those_of_the_design() -> None:
    assert [str(kind) for kind in Kind] == ["chain", "model", "tool", "retriever", "embedding", "reranker", "agent"]


@pytest.mark.parametrize("part", [False, True])
def test_runs_in_a_ring_end_up_under_the_root(part: bool) -> None:
    builder = TreeBuilder("t")
    for run, parent in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "c")):
        about = {"id": run, "tree": "t"}
        builder.add({"r": "open", **about, "parent": parent, "kind": "model", "name": run, "start": 10**18})
        builder.add({"r": "close", **about, "duration": 1, "status": "ok", "usage": {"usage_metadata": [{}]}})
    tree = builder.build(part=part)
    assert tree is not None
    assert {event.id for event in tree.events} >= set("abcd")
