"""What is recorded of messages, documents, tools, parameters and settings (scenarios C, E2, F)."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.messages import BaseMessage, HumanMessage, RemoveMessage
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool

import eventtree
from eventtree.event import EventTree, Kind
from eventtree.langchain import CallbackHandler
from tests.langchain.conftest import named, shape
from tests.langchain.fakes import Library, Model, TextModel, answer

Trees = Callable[[], list[EventTree]]
One = Callable[[], EventTree]


@pytest.fixture
def config(handler: CallbackHandler) -> RunnableConfig:
    return {"callbacks": [handler]}


def test_a_chat_model(config: RunnableConfig, tree: One) -> None:
    Model().invoke([("system", "Be brief."), ("user", "Who?")], config, stop=["."])
    root = tree().root
    assert root.kind is Kind.MODEL
    assert root.inputs == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    }
    (message,) = root.outputs["messages"]
    assert (message["role"], message["content"], message["finish_reason"]) == ("assistant", "blue whale", "stop")
    assert (root.model, root.provider) == ("gpt-4o-mini-2024-07-18", "openai")
    assert root.params == {"temperature": 0.2, "stop": ["."]}
    assert root.usage is not None
    assert (root.usage.total_tokens, root.usage.cache_read_tokens) == (15, 4)
    assert root.cost is not None


def test_tool_definitions_are_params(config: RunnableConfig, tree: One) -> None:
    @tool
    def look(word: str) -> str:
        """Look up."""
        return word

    Model().bind_tools([look], tool_choice="any").invoke("Who?", config)
    params = tree().root.params
    assert params is not None
    assert params["tools"][0]["function"]["name"] == "look"
    assert params["tool_choice"] == "any"


def test_a_text_model(config: RunnableConfig, tree: One) -> None:
    TextModel().invoke("Who?", config)
    assert tree().root.inputs == {"prompt": "Who?"}
    assert tree().root.outputs == {"text": "a text: Who?"}


def test_a_text_model_asked_several_things_is_several_runs(config: RunnableConfig, trees: Trees) -> None:
    TextModel().generate(["a", "b"], callbacks=config["callbacks"])
    assert [tree.root.inputs["prompt"] for tree in trees()] == ["a", "b"]


def test_several_generations_are_several_messages(config: RunnableConfig, tree: One) -> None:
    """C6"""
    Model(n=2).invoke("Who?", config)
    assert len(tree().root.outputs["messages"]) == 2


def test_a_cached_answer_is_marked_and_free(config: RunnableConfig, trees: Trees) -> None:
    """C4"""
    model = Model(cache=InMemoryCache())
    for _ in range(2):
        model.invoke("Who?", config)
    fresh, cached = (tree.root for tree in trees())
    assert fresh.usage is not None
    assert cached.usage is not None
    assert (fresh.usage.cached, cached.usage.cached) == (False, True)
    assert cached.cost is not None
    assert cached.cost.total_usd == 0


def test_a_retriever(config: RunnableConfig, tree: One) -> None:
    Library().invoke("whales", config)
    assert tree().root.kind is Kind.RETRIEVER
    assert tree().root.inputs == {"query": "whales"}
    assert tree().root.outputs["documents"][0] == {
        "id": "d1",
        "text": "The blue whale is large.",
        "metadata": {"page": 3},
    }


def test_a_prompts_variables(config: RunnableConfig, tree: One) -> None:
    (PromptTemplate.from_template("Who is {name}?") | TextModel()).invoke({"name": "Ann"}, config)
    assert named(tree(), "PromptTemplate").inputs == {"name": "Ann"}


class OddMessage(BaseMessage):
    type: str = "odd"


@pytest.mark.parametrize("message", [OddMessage(content="odd"), RemoveMessage(id="1")], ids=["custom", "remove"])
def test_unknown_messages_do_not_lose_the_call(config: RunnableConfig, tree: One, message: Any) -> None:
    """F3"""
    Model().invoke([HumanMessage("Who?"), message], config)
    assert len(tree().root.inputs["messages"]) == 2


def test_base64_is_lifted_out(config: RunnableConfig, tree: One) -> None:
    """F4"""
    block = {"type": "image", "base64": "QUJD" * 50_000, "mime_type": "image/png"}
    Model().invoke([HumanMessage([{"type": "text", "text": "What?"}, block])], config)
    assert len(tree().root.model_dump_json()) < 10_000
    part = tree().root.inputs["messages"][0]["content"][1]
    assert (part["type"], part["mime_type"], part["bytes"]) == ("image", "image/png", 150_000)


def test_odd_objects_are_no_obstacle(config: RunnableConfig, tree: One) -> None:
    """E2"""
    odd: dict[str, Any] = {"lock": threading.RLock(), "lazy": (n for n in range(3))}
    odd["itself"] = odd
    RunnableLambda(lambda x: x).invoke(odd, config)
    assert list(odd["lazy"]) == [0, 1, 2]
    assert set(tree().root.inputs) == {"lock", "lazy", "itself"}


def test_custom_events_are_notes_on_the_run_around(config: RunnableConfig, tree: One) -> None:
    def step(_: Any) -> str:
        dispatch_custom_event("progress", {"done": 3})
        dispatch_custom_event("first_token", 1)
        return "x"

    RunnableLambda(step).invoke("x", config)
    assert [(note.name, note.value) for note in tree().root.notes] == [
        ("progress", {"done": 3}),
        ("custom first_token", 1),
    ]
    assert tree().root.time_to_first_token is None


def test_hidden_runs_are_internal(handler: CallbackHandler, tree: One) -> None:
    root, hidden, child = (uuid.uuid4() for _ in range(3))
    handler.on_chain_start(None, "x", run_id=root, name="root")
    handler.on_chain_start(None, "x", run_id=hidden, parent_run_id=root, name="hidden", tags=["langsmith:hidden"])
    handler.on_tool_start({"name": "look"}, "x", run_id=child, parent_run_id=hidden)
    for run, end in ((child, handler.on_tool_end), (hidden, handler.on_chain_end), (root, handler.on_chain_end)):
        end("x", run_id=run)
    assert [event.internal for event in tree().events] == [False, True, False]
    assert shape(tree().without_internal()) == ["chain root", "  tool look"]


def test_session_and_user_from_metadata(config: RunnableConfig, tree: One) -> None:
    """F1: on whatever run they stand, below the root they are the root's."""
    RunnableLambda(lambda x: x).invoke("x", {**config, "metadata": {"session_id": "s", "user_id": "u", "own": 1}})
    assert (tree().root.session_id, tree().root.user, tree().root.metadata["own"]) == ("s", "u", 1)


def test_session_and_user_where_only_the_model_has_the_handler(handler: CallbackHandler, tree: One) -> None:
    """F1"""
    chain = ChatPromptTemplate.from_messages([("user", "{q}")]) | Model(callbacks=[handler])
    chain.invoke({"q": "Who?"}, {"metadata": {"conversation_id": "c", "user_id": "u"}})
    assert (tree().root.session_id, tree().root.user) == ("c", "u")


def test_session_of_the_context_and_of_the_handler(trees: Trees) -> None:
    handler = CallbackHandler(session="own", user="me", tags=["t"], metadata={"release": "1"}, strict=True)
    step = RunnableLambda(lambda x: x)
    step.invoke("x", {"callbacks": [handler], "tags": ["u"]})
    with eventtree.session("block", user="you") as session:
        step.invoke("x", {"callbacks": [handler]})
    first, second = trees()
    assert (first.root.session_id, first.root.user) == ("own", "me")
    assert (first.root.tags, first.root.metadata["release"]) == (("t", "u"), "1")
    assert (second.root.session_id, second.root.user) == ("block", "you")
    assert session.tree_ids == [second.id]


def test_metadata_and_tags_are_inherited(config: RunnableConfig, tree: One) -> None:
    (RunnableLambda(lambda x: x) | Model()).invoke("x", {**config, "tags": ["t"], "metadata": {"own": 1}})
    for event in tree().events:
        assert "t" in event.tags
        assert event.metadata["own"] == 1


def test_the_agent_at_the_root_has_input_and_output(config: RunnableConfig, tree: One) -> None:
    """F5"""
    from langchain.agents import create_agent

    create_agent(Model(), []).invoke({"messages": [("user", "Who?")]}, config)
    assert tree().root.kind is Kind.AGENT
    assert tree().root.inputs["messages"][0] is not None
    assert tree().root.outputs["messages"][-1]["content"] == "blue whale"


def test_no_key_is_recorded(config: RunnableConfig, tree: One) -> None:
    """F2"""
    Model().invoke("Who?", config)
    assert "sk-not-to-be-kept" not in tree().model_dump_json()


def test_the_redactor_sees_every_string(trees: Trees) -> None:
    """F2"""
    handler = CallbackHandler(redact=lambda text: text.replace("canary", "***"), strict=True)

    @tool("canary_tool")
    def look(word: str) -> str:
        """Find the canary."""
        raise ValueError(f"{word} canary")

    config: RunnableConfig = {
        "callbacks": [handler],
        "tags": ["canary"],
        "metadata": {"k": "canary"},
        "run_name": "canary",
    }
    for step in (look, Library(), Model(reply=answer("canary")).bind_tools([look]), RunnableLambda(lambda x: x)):
        try:
            step.invoke({"word": "canary"} if step is look else "canary", config)
        except ValueError:
            pass
    assert len(trees()) == 4
    assert all("canary" not in tree.model_dump_json() for tree in trees())
