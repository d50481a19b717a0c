"""What is recorded on request alone: the user's line that started a tree, and the lines a run logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from llama_index.core.instrumentation import get_dispatcher

import eventtree
from eventtree import flush
from eventtree.event import EventTree
from eventtree.langchain import CallbackHandler
from eventtree.testing import VendorServer, capture
from eventtree.vendors import vendor_class

APP = logging.getLogger("an_app")


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as running:
        yield running


@pytest.fixture
def gathering() -> Iterator[None]:
    """Log lines of the app go to their runs."""
    handler = eventtree.LogHandler()
    APP.addHandler(handler)
    APP.setLevel(logging.INFO)
    yield
    APP.removeHandler(handler)


def line_of(tree: EventTree) -> tuple[str, bool]:
    """Function and whether the file is this one."""
    told = tree.root.metadata["eventtree_caller"]
    assert isinstance(told["line"], int)
    return told["function"], told["file"] == __file__


CHAIN = RunnableLambda(str, name="first") | RunnableLambda(len, name="second")


def test_the_users_line_is_that_of_the_call() -> None:
    def ask() -> None:
        CHAIN.invoke(1)

    eventtree.configure(callers=True)
    with capture() as trees:
        ask()
        CHAIN.batch([1, 2])
        (tree, *batched) = trees.wait(3)
    assert line_of(tree) == ("test_the_users_line_is_that_of_the_call.<locals>.ask", True)
    assert {line_of(one) for one in batched} == {("test_the_users_line_is_that_of_the_call", True)}


def test_the_users_line_is_found_in_async_code_of_several_tasks() -> None:
    async def ask() -> None:
        await CHAIN.ainvoke(1)

    async def other() -> None:
        await CHAIN.ainvoke(2)

    async def main() -> None:
        await asyncio.gather(ask(), other())

    eventtree.configure(callers=True)
    with capture() as trees:
        asyncio.run(main())
        found = {line_of(tree)[0].rpartition(".")[2] for tree in trees.wait(2)}
    assert found == {"ask", "other"}


def test_braintrust_shows_the_users_line_on_the_root_and_nobody_unasked(server: VendorServer) -> None:
    vendor = vendor_class("braintrust")(**server.settings("braintrust"))
    CHAIN.invoke(1, {"callbacks": [CallbackHandler(vendors=[vendor], callers=True)]})
    CHAIN.invoke(1, {"callbacks": [CallbackHandler(vendors=[vendor])]})
    flush(10)
    assert not server.refused
    told = [row["context"] for row in server.events("braintrust")]
    (shown,) = [one for one in told if "caller_lineno" in one]
    assert (shown["caller_functionname"], shown["caller_filename"]) == (
        "test_braintrust_shows_the_users_line_on_the_root_and_nobody_unasked",
        __file__,
    )
    assert not any("eventtree_caller" in str(row["metadata"]) for row in server.events("braintrust"))


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    APP.info("looking up %s", word)
    APP.warning("not found")
    return word


def test_log_lines_go_to_the_innermost_run(gathering: None) -> None:
    def outer(word: str) -> str:
        APP.info("outer begins")
        return str(look_up.invoke(word))

    async def main() -> None:
        await RunnableLambda(outer, name="outer").ainvoke("b")

    with capture() as trees:
        APP.info("nobody's")
        RunnableLambda(outer, name="outer").invoke("a")
        asyncio.run(main())
        found = [
            {event.name: [note.value["line"] for note in event.notes if note.name == "log"] for event in tree.events}
            for tree in trees.wait(2)
        ]
    assert [{name: said[name] for name in ("outer", "look_up")} for said in found] == [
        {"outer": ["outer begins"], "look_up": [f"looking up {word}", "not found"]} for word in "ab"
    ]


def test_log_lines_of_a_llama_index_span_are_its_own(gathering: None) -> None:
    class Engine:
        @get_dispatcher(__name__).span
        def query(self, question: str) -> str:
            APP.info("asked %s", question)
            return "so"

    with capture() as trees:
        Engine().query("why")
        (tree,) = trees.wait(1)
    assert [note.value["line"] for note in tree.root.notes] == ["asked why"]


@pytest.mark.parametrize("kind", ["humanloop_v5", "humanloop_v4"])
def test_humanloop_gets_log_lines_as_stdout_and_payloads_on_request(
    server: VendorServer, kind: str, gathering: None
) -> None:
    vendor = vendor_class(kind)(provider_payloads=True, **server.settings(kind))
    look_up.invoke("a", {"callbacks": [CallbackHandler(vendors=[vendor], content=True)]})
    flush(10)
    assert not server.refused
    (log,) = server.events(kind)
    assert log["stdout"] == "looking up a\nnot found"
    assert "notes" not in log["metadata"]


def test_nothing_is_noted_without_content(gathering: None) -> None:
    eventtree.configure(content=False)
    with capture() as trees:
        look_up.invoke("a")
        (tree,) = trees.wait(1)
    assert tree.root.notes == ()
