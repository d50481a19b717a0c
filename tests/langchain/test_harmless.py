"""The handler changes nothing for the app: no error, no starved neighbour, no memory, no copy (scenarios A9, B9, E)."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import logging
import pickle
import sys
import tracemalloc
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import RunnableConfig, RunnableLambda

from eventtree import diagnostics
from eventtree.event import EventTree
from eventtree.langchain import CallbackHandler
from eventtree.recording.recorder import recorder
from eventtree.recording.runs import ENDED_RUNS
from eventtree.vendors import Braintrust
from tests.langchain.conftest import shape
from tests.langchain.fakes import Library, Model, TextModel, raising

Trees = Callable[[], list[EventTree]]

HOOKS = [
    name
    for name in dir(CallbackHandler)
    if name.startswith("on_") and getattr(CallbackHandler, name) is not getattr(BaseCallbackHandler, name, None)
]


class Inline(BaseCallbackHandler):
    """A neighbour that starves the others of `on_llm_start` in async code."""

    run_inline = True


class Starts(AsyncCallbackHandler):
    """A neighbour that counts."""

    def __init__(self) -> None:
        self.started = 0

    async def on_llm_start(self, *_: Any, **__: Any) -> None:
        self.started += 1


async def test_we_starve_nobody(handler: CallbackHandler) -> None:
    """A9"""
    neighbour = Starts()
    await TextModel().ainvoke("x", {"callbacks": [handler, neighbour]})
    assert neighbour.started == 1


async def test_an_end_without_a_start_makes_a_whole_event(handler: CallbackHandler, trees: Trees) -> None:
    """A9"""
    chain = RunnableLambda(lambda x: x) | TextModel()
    await chain.ainvoke("x", {"callbacks": [Inline(), handler]})
    (tree,) = trees()
    assert shape(tree) == ["chain RunnableSequence", "  chain RunnableLambda", "  model model"]
    model = tree.events[-1]
    assert (model.status, model.outputs) == ("ok", {"text": "a text: x"})
    assert model.duration is not None
    assert 0 <= model.duration < 1
    assert model.start >= tree.root.start.replace(microsecond=0)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("where", ["sync", "async"])
def test_a_fault_in_a_hook_changes_nothing(
    hook: str, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """B9"""
    handler = CallbackHandler()
    for method in ("open", "close", "note", "learn", "first_token", "recall", "knows", "find"):
        monkeypatch.setattr(recorder, method, raising_anything)
    arguments = {"run_id": uuid.uuid4()} if hook not in ("on_interrupt", "on_resume") else {}
    for _ in range(3):
        result = getattr(handler, hook)(*["x"] * POSITIONAL[hook], **arguments)
        if where == "async":
            asyncio.run(finish(result))
    said = [r for r in caplog.records if r.name == "eventtree"]
    # on_text does nothing that could fail.
    assert len(said) == len(diagnostics.failures) == (hook != "on_text")
    assert sum(diagnostics.failures.values()) == 3 * (hook != "on_text")
    recorder.runs.clear()
    diagnostics.failures.clear()


POSITIONAL = {hook: 2 if hook.endswith("_start") or hook == "on_custom_event" else 1 for hook in HOOKS}


def raising_anything(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("a bug of ours")


async def finish(awaitable: Any) -> None:
    assert await awaitable is None


def test_a_user_gets_the_same_result_with_every_hook_at_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """B9"""
    handler = CallbackHandler()
    monkeypatch.setattr(recorder, "open", raising_anything)
    monkeypatch.setattr(recorder, "close", raising_anything)
    chain = RunnableLambda(lambda x: x) | Model()
    assert chain.invoke("x", {"callbacks": [handler]}).content == "blue whale"
    assert asyncio.run(chain.ainvoke("x", {"callbacks": [handler]})).content == "blue whale"
    names = [r.message.split(":")[0] for r in caplog.records]
    assert (
        sorted(set(names))
        == sorted(names)
        == sorted(["on_chain_start", "on_chain_end", "on_chat_model_start", "on_llm_end"])
    )
    diagnostics.failures.clear()


def test_hooks_are_coroutine_functions_that_work_at_once(handler: CallbackHandler, trees: Trees) -> None:
    for hook in HOOKS:
        assert inspect.iscoroutinefunction(getattr(handler, hook)), hook
    done = handler.on_chain_start(None, "x", run_id=(run := uuid.uuid4()), name="x")
    assert not asyncio.iscoroutine(done)
    handler.on_chain_end("x", run_id=run)
    assert len(trees()) == 1


def test_all_hooks_of_langchain_are_ours_or_deliberately_not() -> None:
    theirs = {name for name in dir(BaseCallbackHandler) if name.startswith("on_")}
    assert theirs - set(HOOKS) == set()


@pytest.mark.parametrize("numbers_attempts", [False, True])
def test_an_app_at_the_end_of_its_stack_loses_no_run_that_was_counted(
    trees: Trees, monkeypatch: pytest.MonkeyPatch, numbers_attempts: bool
) -> None:
    """Wherever the stack ends: within a start's conversion, its write, or the end that follows."""
    handler = CallbackHandler()
    # An app that has used `with_fallbacks`: a start needs more room than the end.
    monkeypatch.setattr(recorder, "numbers_attempts", numbers_attempts)

    def deeper(_: Any) -> Any:
        return RunnableLambda(deeper).invoke("x")

    chain, config = RunnableLambda(deeper), RunnableConfig(callbacks=[handler])
    usual, depth, counted = sys.getrecursionlimit(), len(inspect.stack()), dict[str, int]()
    for more in range(40):
        sys.setrecursionlimit(depth + 150 + more)
        try:
            with pytest.raises(RecursionError):
                chain.invoke("x", config)
        finally:
            sys.setrecursionlimit(usual)
        counted |= {run.tree.id: run.tree.events for run in recorder.ended.values()}
    assert {tree.id: len(tree.events) for tree in trees()} == counted
    assert len(counted) == 40


def test_switched_off(monkeypatch: pytest.MonkeyPatch, own_place: Path) -> None:
    monkeypatch.setenv("EVENTTREE_ENABLED", "0")
    handler = CallbackHandler()
    (RunnableLambda(lambda x: x) | Model()).invoke("x", {"callbacks": [handler]})
    assert handler.ignore_chain
    assert handler.ignore_llm
    assert handler.last_tree_id is None
    assert not own_place.exists()


def test_a_copy_is_the_handler_itself(handler: CallbackHandler) -> None:
    """E3"""
    assert copy.copy(handler) is handler
    assert copy.deepcopy({"callbacks": [handler]})["callbacks"][0] is handler


def test_a_pickle_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """E3"""
    handler = CallbackHandler(
        vendors=[Braintrust(api_key="sk-secret", project="rag")], session="s", tags=["t"], deliver=False
    )
    pickled = pickle.dumps(handler)
    assert b"sk-secret" not in pickled
    monkeypatch.setenv("BRAINTRUST_API_KEY", "sk-of-there")
    again = pickle.loads(pickled)
    assert again.pipeline.vendors == (Braintrust(api_key="sk-of-there", project="rag"),)
    assert (again.pipeline.settings.session, again.pipeline.settings.tags) == ("s", ("t",))


def test_a_pickle_without_a_key_there_records_locally(caplog: pytest.LogCaptureFixture, trees: Trees) -> None:
    """E3"""
    pickled = pickle.dumps(CallbackHandler(vendors=[Braintrust(api_key="sk-secret")], deliver=False))
    again = pickle.loads(pickled)
    assert again.pipeline.vendors == ()
    assert "braintrust" in caplog.text
    RunnableLambda(lambda x: x).invoke("x", {"callbacks": [again]})
    assert len(trees()) == 1


def test_nothing_of_the_users_is_kept(handler: CallbackHandler) -> None:
    class Own:
        """The user's."""

    given = Own()
    watched = weakref.ref(given)
    RunnableLambda(lambda _: Own()).invoke(given, {"callbacks": [handler]})
    del given
    gc.collect()
    assert watched() is None


@pytest.mark.slow
def test_a_hundred_thousand_runs_leave_nothing(handler: CallbackHandler) -> None:
    """E1"""
    many_runs(handler, 100_000)


def test_ten_thousand_runs_leave_nothing(handler: CallbackHandler) -> None:
    """E1"""
    many_runs(handler, 10_000)


def many_runs(handler: CallbackHandler, count: int) -> None:
    """Hidden, cancelled, orphaned and lost ones among them."""
    for number in range(count // 4):
        root, child, lost, orphan = (uuid.uuid4() for _ in range(4))
        handler.on_chain_start(None, "x", run_id=root, name="root")
        handler.on_chain_start(None, "x", run_id=child, parent_run_id=root, name="c", tags=["langsmith:hidden"])
        if number % 2:
            handler.on_chain_error(asyncio.CancelledError(), run_id=child, parent_run_id=root)
        else:
            handler.on_chain_end("x", run_id=child, parent_run_id=root)
        handler.on_retriever_start(None, "x", run_id=lost, parent_run_id=root, name="lost")
        handler.on_chain_end("x", run_id=root)
        handler.on_llm_start(None, ["x"], run_id=orphan, parent_run_id=uuid.uuid4(), name="orphan")
        handler.on_llm_error(ValueError(), run_id=orphan)
    assert not recorder.runs
    assert len(recorder.ended) <= ENDED_RUNS


def test_memory_does_not_grow(handler: CallbackHandler) -> None:
    """E1: beyond what is kept of ended runs."""
    chain = RunnableLambda(lambda x: x) | Library()
    config: RunnableConfig = {"callbacks": [handler]}
    for _ in range(50):
        chain.invoke("x" * 1000, config)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        chain.invoke("x" * 1000, config)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200 * 3 * 1500  # an ended run's id and tree, no content


def test_importing_the_handler_loads_no_tracer() -> None:
    import subprocess

    slow = ("langsmith", "langchain_core.tracers", "langgraph", "llama_index", "httpx")
    code = f"import sys, eventtree.langchain; print([m for m in sys.modules if m.startswith({slow})])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("made", ["before", "inside"])
def test_a_server_that_forbids_blocking_calls_loses_nothing(trees: Trees, made: str) -> None:
    """E4: `langgraph dev` raises where code of an event loop calls what blocks, such as `os.write`."""
    blockbuster = pytest.importorskip("blockbuster")

    async def serve(handler: CallbackHandler | None) -> None:
        handler = handler or CallbackHandler(strict=True)
        for _ in range(2):
            await RunnableLambda(lambda x: x).ainvoke("x", {"callbacks": [handler]})

    handler = CallbackHandler(strict=True) if made == "before" else None
    with blockbuster.blockbuster_ctx():
        asyncio.run(serve(handler))
    assert len(trees()) == 2
    assert not diagnostics.failures


def test_logs_hold_nothing_of_the_user(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    handler = CallbackHandler()
    monkeypatch.setattr(recorder, "open", raising(ValueError("canary")))
    caplog.set_level(logging.DEBUG)
    RunnableLambda(lambda x: x).invoke("canary", {"callbacks": [handler]})
    assert "canary" not in caplog.text
    diagnostics.failures.clear()
