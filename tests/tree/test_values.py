"""Events and their parts stand in slots, and are still the values of pydantic that a user gets."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from eventtree.event import Cost, Event, EventError, EventTree, Light, Note, Usage
from tests.vendors.trees import rich_tree

LIGHT: list[type[Light]] = [EventError, Usage, Cost, Note, Event]
COUNT = st.none() | st.integers(0, 10**9)
COUNTS = {name: COUNT for name in Usage.model_fields if name.endswith("_tokens")}
USAGES = st.builds(
    Usage,
    **COUNTS,
    units=st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=2),
    problems=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    inferred=st.booleans(),
    raw=st.none() | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(USAGES, st.none() | st.decimals(0, 10**6, places=9))
def test_what_is_made_unchecked_is_what_the_constructor_makes_and_comes_back_from_its_json(usage, usd):
    made = Usage.model_construct(**usage.fields())
    assert (
        made == usage == Usage.model_validate(usage.model_dump()) == Usage.model_validate_json(made.model_dump_json())
    )
    cost = Cost.model_construct(total_usd=usd)
    assert cost == Cost(total_usd=usd) == Cost.model_validate(cost.model_dump())
    assert Event.model_construct(**event().fields()).model_copy(update={"usage": made, "cost": cost}).usage is made


def event() -> Event:
    return rich_tree().events[1]


@pytest.mark.parametrize("cls", LIGHT)
def test_a_light_value_has_no_dict_and_one_definition_of_its_fields(cls: type[Light]) -> None:
    assert tuple(cls.model_fields) == cls.__slots__
    assert "__dict__" not in dir(cls)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_events_are_equal_to_their_copies(again: Any) -> None:
    for one in rich_tree().events:
        assert again(one) == one


def test_an_event_cannot_be_changed_and_takes_no_unknown_field() -> None:
    one = event()
    with pytest.raises(AttributeError):
        one.name = "another"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="nmae"):
        Event.model_validate({**one.model_dump(), "nmae": "x"})
    with pytest.raises(ValidationError):
        one.model_validate({**one.model_dump(), "kind": "no kind"})


def test_pydantic_takes_events_wherever_models_may_stand() -> None:
    tree = rich_tree()
    adapter = TypeAdapter(dict[str, list[Event]])
    assert adapter.validate_json(adapter.dump_json({"a": list(tree.events)})) == {"a": list(tree.events)}
    assert EventTree.model_validate(tree.model_dump()) == tree
    assert Event.model_json_schema()["$defs"].keys() >= {"Usage", "Cost", "Note"}


def test_a_copy_of_a_tree_has_the_sums_and_children_of_its_own_events() -> None:
    tree = rich_tree()
    sums = tree.total_tokens, tree.total_usd, tree.unpriced, tree.children(tree.root)
    copied = tree.model_copy(update={"events": tree.events[:1]})
    assert (copied.total_tokens, copied.total_usd, copied.unpriced, copied.children(copied.root)) == (None, None, 0, ())
    assert (tree.total_tokens, tree.total_usd, tree.unpriced, tree.children(tree.root)) == sums
    assert sums[0] and sums[3]
