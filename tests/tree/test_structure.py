"""structure.py: what no framework's test reaches, such as trees that arrive in parts."""

from __future__ import annotations

from typing import Any

from eventtree.event import EventTree
from eventtree.kinds import Kind
from eventtree.tree.builder import TreeBuilder
from tests.tree.test_tree import closed, only, opened

MARKS = {"ls_integration": "langchain_create_agent", "lc_agent_name": "boss"}


def part(*records: Any) -> EventTree:
    builder = TreeBuilder("r0")
    for entry in records:
        builder.add(entry)
    tree = builder.build(part=True)
    assert tree is not None
    return tree


def test_a_run_whose_parent_went_out_before_only_inherits_its_marks() -> None:
    """What is above it is not known here."""
    tree = part(opened("r5", "r1", metadata=MARKS), closed("r5"))
    assert tree.root.kind is Kind.CHAIN


def test_an_agent_that_failed_before_its_first_step_is_an_agent() -> None:
    tree = only([opened("r0", metadata=MARKS), closed("r0", status="error")])
    assert tree.root.kind is Kind.AGENT


def test_a_step_whose_agent_is_not_here_has_no_turn() -> None:
    tree = part(opened("r5", "r1", framework="llama_index"), closed("r5"))
    assert "agent" not in tree.root.metadata


def test_attempts_are_numbered_whatever_the_order_of_records() -> None:
    records = [opened("r0"), closed("r0")]
    for number, status in ((1, "error"), (8, "error"), (15, "ok")):
        run = {**opened(f"r{number}", "r0", inputs={"q": 1}), "name": "step"}
        records += [run, closed(f"r{number}", status=status)]
    for order in (records, records[::-1]):
        attempts = [event.metadata.get("attempt") for event in only(order).events[1:]]
        assert attempts == [1, 2, 3]


def test_calls_side_by_side_repeat_nothing() -> None:
    """The second began before the first had failed (each takes 5 ms)."""
    records = [opened("r0"), closed("r0")]
    for number, status in ((1, "error"), (3, "ok")):
        run = {**opened(f"r{number}", "r0", inputs={"q": 1}), "name": "step"}
        records += [run, closed(f"r{number}", status=status)]
    assert [event.metadata.get("attempt") for event in only(records).events] == [None] * 3


def test_a_number_that_the_handler_gave_stays() -> None:
    """`with_fallbacks` numbers its own attempts."""
    records = [opened("r0"), closed("r0")]
    for number, attempt in ((1, 4), (8, 5)):
        run = {**opened(f"r{number}", "r0", inputs={"q": 1}, metadata={"attempt": attempt}), "name": "step"}
        records += [run, closed(f"r{number}", status="error")]
    assert [event.metadata.get("attempt") for event in only(records).events[1:]] == [4, 5]
