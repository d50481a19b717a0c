"""A strict handler, and the trees it recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventtree import diagnostics
from eventtree.event import Event, EventTree
from eventtree.journal import open_journal
from eventtree.langchain import CallbackHandler, set_global_handler
from eventtree.recording.recorder import recorder
from eventtree.testing.capture import Captured
from tests.vendors import scenarios


@pytest.fixture
def handler(own_place: Path) -> Iterator[CallbackHandler]:
    """A handler that lets its own errors through; afterwards no run may be open and nothing may have failed."""
    yield CallbackHandler(strict=True)
    assert not diagnostics.failures
    assert not recorder.runs


@pytest.fixture
def trees(own_place: Path) -> Callable[[], list[EventTree]]:
    """The finished trees of this test's journal."""
    return lambda: list(Captured(open_journal(str(own_place))))


@pytest.fixture
def tree(trees: Callable[[], list[EventTree]]) -> Callable[[], EventTree]:
    """The only tree."""

    def only() -> EventTree:
        found = trees()
        assert [shape(one) for one in found] == [shape(found[0])]
        return found[0]

    return only


@pytest.fixture(autouse=True)
def judged(own_place: Path, pytestconfig: pytest.Config) -> Iterator[None]:
    """Whatever trees the test leaves, vendors can take them."""
    yield
    if own_place.is_dir():
        scenarios.judge(Captured(open_journal(str(own_place))), pytestconfig.getoption("--vendors"))


@pytest.fixture(autouse=True)
def no_global_handler() -> Iterator[None]:
    """No test leaves one behind."""
    yield
    set_global_handler(None)


def shape(tree: EventTree) -> list[str]:
    """Kinds and names, indented by depth."""
    return [f"{'  ' * depth}{event.kind.value} {event.name}" for depth, event in tree.walk()]


def named(tree: EventTree, name: str) -> Event:
    """The only event of that name."""
    (found,) = [event for event in tree.events if event.name == name]
    return found
