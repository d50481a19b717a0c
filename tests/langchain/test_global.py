"""One handler for every run of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import context as tracer_context

from eventtree.errors import ConfigError
from eventtree.event import EventTree
from eventtree.langchain import CallbackHandler, global_handler, set_global_handler
from eventtree.vendors import Braintrust, HoneyHive
from tests.langchain.conftest import shape
from tests.langchain.fakes import Model

Trees = Callable[[], list[EventTree]]

CHAIN = RunnableLambda(lambda x: x) | Model()
SHAPE = ["chain RunnableSequence", "  chain RunnableLambda", "  model Model"]


def test_every_run_is_recorded(trees: Trees) -> None:
    made = set_global_handler(strict=True)
    assert made is global_handler()
    CHAIN.invoke("x")
    asyncio.run(CHAIN.ainvoke("x"))
    assert [shape(tree) for tree in trees()] == [SHAPE] * 2


def test_raw_threads_are_reached(trees: Trees) -> None:
    set_global_handler(strict=True)
    thread = threading.Thread(target=CHAIN.invoke, args=("x",))
    thread.start()
    thread.join()
    assert [shape(tree) for tree in trees()] == [SHAPE]


def test_none_puts_everything_back(trees: Trees) -> None:
    before = list(tracer_context._configure_hooks)
    set_global_handler(strict=True)
    assert set_global_handler(None) is None
    assert tracer_context._configure_hooks == before
    CHAIN.invoke("x")
    assert trees() == []


def test_a_second_call_replaces(trees: Trees) -> None:
    before = len(tracer_context._configure_hooks)
    first, second = set_global_handler(strict=True), set_global_handler(strict=True)
    assert len(tracer_context._configure_hooks) == before + 1
    CHAIN.invoke("x")
    assert first is not None
    assert second is not None
    assert first.last_tree_id is None
    assert [tree.id for tree in trees()] == [second.last_tree_id]


def test_a_global_and_an_explicit_handler_record_a_run_once_for_all_vendors(trees: Trees, own_place: object) -> None:
    set_global_handler(vendors=[Braintrust(api_key="k")], strict=True, deliver=False)
    handler = CallbackHandler(vendors=[HoneyHive(api_key="k", project="p")], strict=True, deliver=False)
    CHAIN.invoke("x", {"callbacks": [handler]})
    assert [shape(tree) for tree in trees()] == [SHAPE]
    from eventtree.journal import open_journal
    from eventtree.journal.trees import load, trees_in

    journal = open_journal(str(own_place))
    (logged,) = trees_in(journal).values()
    last = [entry for entry in load(journal, logged.lines) if "vendors" in entry][-1]
    assert {vendor["name"] for vendor in last["vendors"]} == {"braintrust", "honeyhive"}


def test_settings_beside_a_handler_are_refused(handler: CallbackHandler) -> None:
    with pytest.raises(ConfigError):
        set_global_handler(handler, session="x")
    with pytest.raises(ConfigError):
        set_global_handler("braintrust")
