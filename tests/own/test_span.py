"""Blocks of own code, and calls of a provider's own SDK that are counted and priced like a framework's."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import uuid
from collections import UserDict
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import eventtree
from eventtree import diagnostics
from eventtree.own.span import new_id
from eventtree.recording.remote import inner
from eventtree.testing import VendorServer, capture
from eventtree.testing.capture import Captured
from eventtree.vendors import Braintrust, HoneyHive


@pytest.fixture
def trees() -> Iterator[Captured]:
    with capture() as found:
        yield found
    assert not diagnostics.failures


ASKED = [{"role": "user", "content": "Why?"}]
BODY = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Because."}}],
    "usage": {
        "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 400},
    },
}  # fmt: skip


def test_a_block_says_what_came_of_it(trees: Captured) -> None:
    with eventtree.span("plan", kind="tool", inputs={"goal": "g"}, metadata={"a": 1}, tags=["t"]) as s:
        s.note("looked", {"at": 3})
        s.metadata["b"] = s.metadata["a"] + 1
        s.outputs = ["step"]
    [tree] = trees
    root = tree.root
    assert (root.id, root.tree_id) == (s.id, s.tree_id)
    assert (root.kind, root.name, root.inputs, root.outputs) == ("tool", "plan", {"goal": "g"}, ["step"])
    assert (root.metadata, root.tags) == ({"a": 1, "b": 2}, ("t",))
    assert [(note.name, note.value) for note in root.notes] == [("looked", {"at": 3})]


async def _block() -> None:
    async with eventtree.span("async"):
        with pytest.raises(ZeroDivisionError), eventtree.span("fails"):
            raise ZeroDivisionError("x")


def test_it_is_an_async_block_too_and_errors_pass(trees: Captured) -> None:
    import asyncio

    asyncio.run(_block())
    [tree] = trees
    assert [(event.name, event.status) for event in tree.events] == [("async", "ok"), ("fails", "error")]
    assert inner.get() is None


@pytest.mark.parametrize("made", [dict, openai.types.chat.ChatCompletion.model_validate])
def test_an_sdks_answer_is_counted_and_priced(trees: Captured, made: Any) -> None:
    with eventtree.span("ask", kind="model", provider="openai", model="gpt-4o-mini", inputs=ASKED) as s:
        s.outputs = made(BODY)
    [tree] = trees
    root = tree.root
    assert root.inputs == {"messages": ASKED}
    assert root.outputs["messages"][0]["content"] == "Because."
    assert root.outputs["messages"][0]["finish_reason"] == "stop"
    assert root.outputs["messages"][0]["id"] == "c1"
    assert (root.model, root.asked_model) == ("gpt-4o-mini-2024-07-18", "gpt-4o-mini")
    assert root.usage is not None and root.cost is not None
    assert (root.usage.input_tokens, root.usage.output_tokens, root.usage.cache_read_tokens) == (1000, 100, 400)
    assert float(root.cost.total_usd or 0) == pytest.approx(600 * 0.15e-6 + 400 * 0.075e-6 + 100 * 0.6e-6)


def test_usage_may_be_given_by_part_or_by_count(trees: Captured) -> None:
    for given in (BODY["usage"], BODY, openai.types.CompletionUsage.model_validate(BODY["usage"])):
        with eventtree.span("ask", kind="model", provider="openai", model="gpt-4o-mini") as s:
            s.usage(given)
    with eventtree.span("ask", kind="model", provider="openai", model="gpt-4o-mini") as s:
        s.usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400)
    with pytest.raises(TypeError, match="tokens_in"):
        s.usage(tokens_in=3)
    for tree in trees:
        usage = tree.root.usage
        assert usage is not None and tree.root.cost is not None
        assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (1000, 100, 400)


def test_what_is_said_of_usage_before_the_block_in_parts_or_wrongly_is_kept_as_far_as_it_goes(trees: Captured) -> None:
    first = eventtree.span("ask", kind="model", provider="openai", model="gpt-4o-mini")
    first.usage(input_tokens=3)
    with first:
        first.usage(output_tokens=4)
    with eventtree.span("ask", kind="model", provider="openai", model="gpt-4o-mini") as s:
        s.usage(input_tokens=3, output_tokens=None)  # type: ignore[arg-type]
        s.usage(object())
    one, two = (tree.root.usage for tree in trees)
    assert one is not None and (one.input_tokens, one.output_tokens, one.total_tokens) == (3, 4, 7)
    assert two is not None and two.input_tokens == 3


def test_a_streamed_answer_is_read_as_it_passes(trees: Captured) -> None:
    def chunk(**more: Any) -> Any:
        base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini", "choices": []}
        return openai.types.chat.ChatCompletionChunk.model_validate({**base, **more})

    @eventtree.observe(kind="model", name="ask")
    def ask(messages: list[Any]) -> Iterator[Any]:
        yield chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
        for text in ("Be", "cause."):
            yield chunk(choices=[{"index": 0, "delta": {"content": text}}])
        yield chunk(usage=BODY["usage"])

    assert len(list(ask(ASKED))) == 4
    [tree] = trees
    assert tree.root.inputs == {"messages": ASKED}
    assert tree.root.outputs == {"messages": [{"role": "assistant", "content": "Because."}]}
    assert tree.root.usage is not None and tree.root.usage.input_tokens == 1000
    assert tree.root.time_to_first_token is not None
    assert tree.root.model == "gpt-4o-mini"


def test_an_sdks_exception_carries_its_answer(trees: Captured) -> None:
    error = openai.LengthFinishReasonError(completion=openai.types.chat.ChatCompletion.model_validate(BODY))
    with pytest.raises(openai.LengthFinishReasonError), eventtree.span("ask", kind="model"):
        raise error
    [tree] = trees
    assert tree.root.status == "error"
    assert tree.root.usage is not None and tree.root.usage.output_tokens == 100


def test_kinds_speak_the_events_vocabulary(trees: Captured) -> None:
    @eventtree.observe(kind="retriever")
    def search(query: str) -> list[Any]:
        return [{"page_content": "text", "score": 0.5}, "plain"]

    @eventtree.observe(kind="embedding")
    def embed(texts: list[str]) -> list[list[float]]:
        return [[0.0] * 8 for _ in texts]

    search("why")
    embed(["a", "b"])
    with eventtree.span("ask", kind="model", inputs="prompt") as s:
        s.outputs = "answer"
    with eventtree.span("look", kind="tool", inputs="x"):
        pass
    found, vectors, model, tool = (tree.root for tree in trees)
    assert found.inputs == {"query": "why"}
    assert found.outputs == {"documents": [{"text": "text", "score": 0.5}, {"text": "plain"}]}
    assert (vectors.inputs, vectors.outputs) == ({"texts": ["a", "b"]}, {"count": 2, "dimensions": 8})
    assert model.inputs == {"prompt": "prompt"}
    assert model.outputs == {"messages": [{"role": "assistant", "content": "answer"}]}
    assert tool.inputs == {"input": "x"}


def test_a_score_is_feedback_on_the_run() -> None:
    with eventtree.span("root"), eventtree.span("answer") as s:
        s.score("faithful", 0.9, "mostly")
    from eventtree.journal import open_journal
    from tests.trees import stored_trees

    [tree] = stored_trees(open_journal(eventtree.config.resolve().folder))
    [feedback] = tree.feedback
    assert (feedback["id"], feedback["score"], feedback["name"]) == (s.id, 0.9, "faithful")


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as found:
        yield found
        assert not found.refused


def test_without_a_handler_the_configured_vendors_get_it(server: VendorServer) -> None:
    eventtree.configure(vendors=[Braintrust(project="p", **server.settings("braintrust"))])
    with eventtree.span("root"):
        pass
    report = eventtree.flush(20)
    assert report.vendors["braintrust"].delivered == 1
    assert not report.vendors["braintrust"].differs


def test_a_handler_inside_brings_its_vendors_to_the_whole_tree(server: VendorServer) -> None:
    from langchain_core.runnables import RunnableLambda

    from eventtree.langchain import CallbackHandler

    handler = CallbackHandler(vendors=[HoneyHive(project="p", **server.settings("honeyhive"))])
    with eventtree.span("root"):
        RunnableLambda(lambda x: x).invoke(1, config={"callbacks": [handler]})
    report = eventtree.flush(20)
    assert (report.vendors["honeyhive"].delivered, report.vendors["honeyhive"].differs) == (2, False)
    assert handler.last_tree_id is not None


def test_a_misspelt_attribute_is_an_error() -> None:
    with eventtree.span("plan") as s, pytest.raises(AttributeError):
        s.output = "lost"  # type: ignore[attr-defined]


def test_a_span_may_be_a_block_again(trees: Captured) -> None:
    ask = eventtree.span("ask", kind="model", inputs=ASKED)
    with ask:
        ask.outputs = BODY
    with ask:
        ask.outputs = "words alone"
    first, second = (tree.root for tree in trees)
    assert first.id != second.id
    assert first.usage is not None and first.usage.input_tokens == 1000
    assert second.usage is None or second.usage.input_tokens is None


def test_a_block_inside_itself_belongs_to_it(trees: Captured) -> None:
    one = eventtree.span("one")
    with one, one:
        one.outputs = 1
    assert inner.get() is None
    [tree] = trees
    assert [(event.name, event.outputs) for event in tree.events] == [("one", 1)]
    assert diagnostics.failures.pop("span: RuntimeError") == 1


def test_a_block_that_ends_in_a_copy_of_its_context_is_no_parent_there(trees: Captured) -> None:
    with eventtree.span("root"):
        block, began = eventtree.span("block"), contextvars.copy_context()
        began.run(block.__enter__)
        ended = began.copy()
        ended.run(block.__exit__, None, None, None)

        def after() -> None:
            with eventtree.span("after"):
                pass

        ended.run(after)
    [tree] = trees
    assert [(depth, event.name) for depth, event in tree.walk()] == [(0, "root"), (1, "block"), (1, "after")]


@pytest.mark.parametrize("metadata", [7, "text", [1]])
def test_metadata_that_are_no_dict_are_a_clear_error(metadata: Any) -> None:
    for wrong in (lambda: eventtree.span("x", metadata=metadata), lambda: eventtree.observe(metadata=metadata)):
        with pytest.raises(eventtree.ConfigError, match=r"metadata: .+ is no dict"):
            wrong()


class Breaking(UserDict[str, Any]):
    """Metadata of the app's own class, whose code fails."""

    def __getitem__(self, name: str) -> Any:
        """Fail."""
        raise ZeroDivisionError


def test_metadata_whose_own_code_fails_harm_neither_the_app_nor_the_record() -> None:
    given = Breaking(a=1)
    with capture() as trees:
        with eventtree.span("block", metadata=given) as s:
            s.outputs = 1
        assert eventtree.observe(metadata=given)(len)("ab") == 2
    assert [(tree.root.outputs, tree.root.metadata) for tree in trees] == [(1, {}), (2, {})]
    assert [*diagnostics.failures] == [f"{where} metadata: ZeroDivisionError" for where in ("span", "observe")]


def test_what_is_no_handler_is_a_clear_error() -> None:
    wrong: Any = "handler"
    with pytest.raises(eventtree.ConfigError, match="span handler: str is no handler"):
        eventtree.span("x", handler=wrong)


FORKED = """
import os
from eventtree.own.span import new_id
mine = [new_id() for _ in range(3)]
for _ in range(2):
    if (child := os.fork()) == 0:
        mine = [new_id() for _ in range(3)]
        break
    os.waitpid(child, 0)
print(*mine, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_ids_are_uuids_that_no_other_process_gives() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], check=True, capture_output=True, text=True)
    ids = [*done.stdout.split(), *(new_id() for _ in range(1000))]
    assert len({one[-17:] for one in ids}) == len(set(ids)) == 1009
    assert all((known := uuid.UUID(one)).version == 4 and str(known) == one for one in ids)
    firsts = {one.rpartition("-")[0] for one in ids}
    assert len(firsts) == 4
