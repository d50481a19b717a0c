"""What the tests of the LlamaIndex pipeline share."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex

from eventtree import diagnostics, process
from eventtree.event import Event, EventTree
from eventtree.testing.capture import Captured, capture
from tests.vendors import scenarios


@pytest.fixture(autouse=True)
def own_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """The framework runs coroutines of sync code in the thread's loop, and never closes one it had to make."""
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def trees(pytestconfig: pytest.Config) -> Iterator[Captured]:
    """The finished trees; afterwards nothing is open, nothing of ours has failed, and vendors can take them."""
    with capture() as captured:
        yield captured
        process.settle()
        assert not diagnostics.failures
        assert not captured.unfinished
        scenarios.judge(captured, pytestconfig.getoption("--vendors"))


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    """Two documents, indexed before any handler looks."""
    documents = [Document(text="Paris is in France.", metadata={"page": 1}), Document(text="Rome is in Italy.")]
    return VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))


def outline(tree: EventTree) -> list[str]:
    """Kind and name of every event that is no plumbing, indented."""
    return [f"{'  ' * depth}{event.kind} {event.name}" for depth, event in tree.without_internal().walk()]


def only(tree: EventTree, name: str) -> Event:
    """The event of that name."""
    found = [event for event in tree.events if event.name == name]
    assert len(found) == 1, [event.name for event in tree.events]
    return found[0]
