"""Errors where they happened and above; what the framework swallows stays visible; stale parents are mended."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import Response
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher

from eventtree.kinds import Status
from eventtree.testing.capture import Captured
from tests.llama_index.conftest import only, outline
from tests.llama_index.models import Echo

dispatcher = get_dispatcher(__name__)


class Broken(BaseRetriever):
    """Raises."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        raise LookupError("no such index")


def test_error_stands_at_the_span_that_raised_and_above(trees: Captured) -> None:
    """B8."""
    with pytest.raises(LookupError):
        Broken().retrieve("x")
    [tree] = trees
    assert [event.status for event in tree.events] == [Status.ERROR, Status.ERROR]
    assert tree.root.error is not None
    assert (tree.root.error.type, tree.root.error.message) == ("LookupError", "no such index")


def test_error_the_synthesizer_swallows_is_visible_below(trees: Captured, index: VectorStoreIndex) -> None:
    """B8: the query answers `Empty Response`."""
    index.as_query_engine(llm=Echo(fails=0)).query("Where?")
    [tree] = trees
    assert tree.root.status is Status.OK
    model = only(tree, "Echo.complete")
    assert (model.status, model.error and model.error.message) == (Status.ERROR, "the model is down")
    assert only(tree, "DefaultRefineProgram.__call__").status is Status.ERROR


@dispatcher.span
def begin(work: str) -> asyncio.Future[str]:
    """A span that returns a future."""

    async def run() -> str:
        await asyncio.sleep(0)
        if work == "bad":
            raise ValueError("bad work")
        return work

    return asyncio.ensure_future(run())


@dispatcher.span
def after() -> str:
    """A later span."""
    return "done"


async def test_span_whose_future_fails_is_an_error(trees: Captured) -> None:
    with pytest.raises(ValueError, match="bad work"):
        await begin("bad")
    [tree] = trees.wait()
    assert tree.root.status is Status.ERROR
    assert tree.root.error is not None and tree.root.error.message == "bad work"


@pytest.mark.parametrize("work", ["good", "bad"])
async def test_span_that_returned_a_future_does_not_capture_later_ones(trees: Captured, work: str) -> None:
    """A2: the dispatcher leaves it active in the caller's context."""
    await asyncio.gather(begin(work), return_exceptions=True)
    await asyncio.sleep(0)
    after()
    after()
    assert [outline(tree) for tree in trees.wait(3)] == [["chain begin"], ["chain after"], ["chain after"]]


async def test_future_inside_a_span_leaves_later_ones_to_that_span(trees: Captured) -> None:
    """A2."""

    @dispatcher.span
    async def outer() -> str:
        await begin("good")
        await asyncio.sleep(0)
        return after()

    await outer()
    [tree] = trees.wait()
    assert outline(tree) == ["chain outer", "  chain begin", "  chain after"]


async def test_five_awaits_in_a_task_are_five_trees(trees: Captured, index: VectorStoreIndex) -> None:
    """A2."""
    engine = index.as_query_engine(llm=Echo())
    for number in range(5):
        await engine.aquery(str(number))
    assert len(trees) == 5


async def test_cancelled_retriever_ends_cancelled(trees: Captured) -> None:
    """B5."""

    class Slow(Broken):
        async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            await asyncio.sleep(30)
            return []

    task = asyncio.create_task(Slow().aretrieve("x"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [tree] = trees
    assert tree.root.status is Status.CANCELLED
    assert tree.root.error is None


def test_shutdown_of_the_dispatcher_closes_what_is_open(trees: Captured) -> None:
    stream = Echo().stream_complete("hi")
    next(stream)
    get_dispatcher().shutdown()
    [tree] = trees
    assert tree.root.status is Status.ERROR
    assert list(stream)


def test_a_result_that_is_odd_loses_no_run(trees: Captured) -> None:
    """The part that cannot be read is marked, the rest stays."""

    @dispatcher.span
    def ask() -> Response:
        answer = Response(response="Paris")
        answer.source_nodes = 5  # type: ignore[assignment]
        return answer

    ask()
    [tree] = trees
    assert (tree.root.status, tree.root.outputs["response"]) == (Status.OK, "Paris")


@dispatcher.span
async def impatient(seconds: float) -> None:
    """A span that gives up, by the app's own time limit or because its socket did."""
    if not seconds:
        raise TimeoutError("read timed out")
    await asyncio.wait_for(asyncio.sleep(10), seconds)


@pytest.mark.parametrize(("seconds", "status"), [(0.01, Status.CANCELLED), (0, Status.ERROR)])
async def test_the_apps_own_time_limit_cancels_and_a_sockets_is_an_error(
    trees: Captured, seconds: float, status: Status
) -> None:
    """As in LangChain (B5)."""
    with pytest.raises(TimeoutError):
        await impatient(seconds)
    [tree] = trees.wait()
    assert tree.root.status is status
