"""What can be read once is the app's to read: no callback takes anything from it."""

from __future__ import annotations

import copy
import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.outputs import Generation, LLMResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from eventtree.event import EventTree
from eventtree.langchain import CallbackHandler

Trees = Callable[[], list[EventTree]]
TEXTS = ["one", "two", "three"]


class Loading(Sequence[Any]):
    """A list that asks a database for each item."""

    def __init__(self, items: list[Any]) -> None:
        self.held = items
        self.loaded = 0

    def __len__(self) -> int:
        self.loaded += 1
        return len(self.held)

    def __getitem__(self, index: Any) -> Any:
        self.loaded += 1
        return self.held[index]


class Query:
    """A query that runs when it is looked at, as Django's do."""

    def __init__(self, items: list[Any]) -> None:
        self.held = items
        self.loaded = 0

    def __iter__(self) -> Iterator[Any]:
        self.loaded += 1
        return iter(self.held)

    def __repr__(self) -> str:
        self.loaded += 1
        return repr(self.held)


class Row(Query):
    """A row of a database whose columns are fetched when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.__dict__["loaded"] += 1
        return name


def generator(items: list[Any]) -> Iterator[Any]:
    """The items, once."""
    yield from items


MAKERS: dict[str, Callable[[list[Any]], Any]] = {
    "generator": generator,
    "iterator": iter,
    "map": lambda items: map(copy.copy, items),
    "filter": lambda items: filter(None, items),
    "zip": lambda items: zip(items, items, strict=True),
    "reversed": reversed,
    "loading": Loading,
    "query": Query,
}


def untouched(value: Any, items: list[Any]) -> bool:
    """Whether nobody has read `value` yet. Reads it."""
    if isinstance(value, Loading | Query):
        return value.loaded == 0
    found = [one[0] if isinstance(one, tuple) else one for one in value]
    return sorted(found, key=str) == sorted(items, key=str)


class Lazy(BaseRetriever):
    """Returns its documents in whatever `make` makes of them."""

    make: Any

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> Any:
        return self.make([Document(text) for text in TEXTS])


VALUES = MAKERS | {"row": Row}
"""What a tool, a chain or a retriever may take and return; a model's answer has a class of the framework."""


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("content", [True, False])
async def test_a_retriever_that_returns_something_to_be_read_once_answers_the_app(
    name: str, content: bool, trees: Trees
) -> None:
    """The answer was '' before: the handler had read it empty."""
    config: Any = {"callbacks": [CallbackHandler(strict=True, content=content)]}
    for found in (Lazy(make=VALUES[name]).invoke("q", config), await Lazy(make=VALUES[name]).ainvoke("q", config)):
        assert untouched(found, [Document(text) for text in TEXTS])
    if content:
        assert trees()[0].root.outputs["documents"]["object"]


@pytest.mark.parametrize("name", VALUES)
def test_tools_and_chains_hand_on_what_can_be_read_once(name: str, handler: CallbackHandler, trees: Trees) -> None:
    """Inputs and outputs of both, and what lies inside them."""
    made = [VALUES[name](TEXTS) for _ in range(4)]

    @tool
    def fetch(what: Any) -> Any:
        """Fetch."""
        return made[1]

    config: Any = {"callbacks": [handler]}
    assert fetch.invoke({"what": made[0]}, config) is made[1]
    chain = RunnableLambda(lambda given: {"out": [made[3]]})
    chain.invoke({"in": [made[2]]}, config)
    # LangChain itself writes a tool's input out.
    assert all(untouched(one, TEXTS) for one in (made if name in MAKERS.keys() - {"query"} else made[1:]))
    assert "object" in trees()[0].root.outputs


def test_files_and_open_responses_are_handed_on(handler: CallbackHandler, tmp_path: Path) -> None:
    """A file's place in it does not move."""
    path = tmp_path / "text"
    path.write_text("one\ntwo\n")
    with path.open() as file:
        given = {"file": file, "bytes": io.BytesIO(b"one"), "text": io.StringIO("one")}
        RunnableLambda(lambda given: given).invoke(given, {"callbacks": [handler]})
        assert (file.read(), given["bytes"].read(), given["text"].read()) == ("one\ntwo\n", b"one", "one")


HOOKS = sorted({name for name in dir(CallbackHandler) if name.startswith("on_")} - {"on_interrupt", "on_resume"})


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("name", MAKERS)
def test_no_hook_reads_what_is_the_apps(hook: str, name: str) -> None:
    """Every callback and each of its arguments, of a run that is open and of one that is not."""
    handler = CallbackHandler()
    run = uuid.uuid4()
    handler.on_chain_start({}, {}, run_id=run)
    given: list[Any] = []

    def make() -> Any:
        given.append(MAKERS[name](TEXTS))
        return given[-1]

    is_start = hook.endswith("_start") or hook == "on_custom_event"
    act = getattr(handler, hook)
    for run_id in (uuid.uuid4(), run):
        act(*({"kwargs": make()}, make()) if is_start else (make(),), run_id=run_id)
        further = {"response": make(), "chunk": make(), "tags": make(), "metadata": {"own": make()}}
        further |= {"invocation_params": {"stop": make()}, "tool_call_id": make()}
        further |= {} if hook == "on_chain_start" else {"inputs": make()}
        if hook == "on_llm_end":
            del further["response"]
        getattr(handler, hook)(
            *({"id": make(), "name": make()}, make()) if is_start else (make(),), run_id=run_id, **further
        )
    assert [one for one in given if not untouched(one, TEXTS)] == []


def test_generations_that_can_be_read_once_are_left_alone(handler: CallbackHandler) -> None:
    """An answer that was never validated."""
    rows = iter([[Generation(text="a")]])
    calls = iter([{"name": "f", "args": {}, "id": "1"}])
    run = uuid.uuid4()
    handler.on_llm_start({}, ["q"], run_id=run)
    handler.on_llm_end(LLMResult.model_construct(generations=rows), run_id=run)
    handler.on_chain_start({}, [AIMessage.model_construct(content=iter("ab"), tool_calls=calls, type="ai")], run_id=run)
    handler.on_chain_end(None, run_id=run)
    assert len(list(rows)) == len(list(calls)) == 1


@pytest.mark.parametrize("metadata", [iter(TEXTS), range(10**12)], ids=["iterator", "range"])
def test_metadata_that_is_no_dict_is_not_read(metadata: Any) -> None:
    handler, run = CallbackHandler(), uuid.uuid4()
    handler.on_chain_start({}, {}, run_id=run, metadata=metadata)
    handler.on_chain_end({}, run_id=run)
    assert not isinstance(metadata, Iterator) or list(metadata) == TEXTS
