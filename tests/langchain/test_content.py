"""What is recorded of messages, documents, tools, parameters and settings (scenarios C, E2, F)."""

from __future__ import annotations

import base64
import enum
import hashlib
import json
import threading
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM, FakeStreamingListLLM
from langchain_core.language_models.fake_chat_models import (
    FakeListChatModel,
    FakeMessagesListChatModel,
    GenericFakeChatModel,
)
from langchain_core.language_models.llms import create_base_retry_decorator
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

import eventtree
from eventtree.event import EventTree
from eventtree.kinds import Kind
from eventtree.langchain import CallbackHandler, prompts, set_global_handler
from eventtree.vendors import VENDORS, HoneyHive, vendor_class
from tests.langchain.conftest import named, shape
from tests.langchain.fakes import Library, Model, TextModel, answer, call, collected, needs_agent_marks

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


def test_a_prompts_template_is_a_param(config: RunnableConfig, tree: One) -> None:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "You are {role}."), MessagesPlaceholder("history", optional=True), ("user", "{question}")]
    )
    (prompt.partial(role="brief") | Model()).invoke({"question": "Who?"}, config)
    found = named(tree(), "ChatPromptTemplate")
    assert found.inputs == {"question": "Who?"}
    assert [message["content"] for message in found.outputs["messages"]] == ["You are brief.", "Who?"]
    assert found.params == {
        "template": [
            {"role": "system", "content": "You are {role}."},
            {"role": "placeholder", "content": "{history}"},
            {"role": "user", "content": "{question}"},
        ],
        "partial_variables": {"role": "brief", "history": []},
    }
    (item,) = [item for item in items_of(tree()) if item["event_name"] == "ChatPromptTemplate"]
    assert item["config"]["template"] == found.params["template"]
    assert item["inputs"] == {"question": "Who?"}


def test_a_text_prompts_template_is_a_param(config: RunnableConfig, tree: One) -> None:
    (PromptTemplate.from_template("Who is {{ name }}?", template_format="mustache") | TextModel()).invoke(
        {"name": "Ann"}, config
    )
    assert named(tree(), "PromptTemplate").params == {"template": "Who is {{ name }}?", "template_format": "mustache"}
    assert named(tree(), "PromptTemplate").outputs == {"text": "Who is Ann?"}


@pytest.mark.parametrize("odd", [None, {}, {"kwargs": None}, {"kwargs": {"messages": [None, 1, {"id": 3}]}}, "x"])
def test_what_is_no_prompt_has_no_template(odd: Any) -> None:
    assert prompts.params_of(odd) is None


class Odd(enum.Enum):
    """Its `value` is code of the app's: orjson would run it, and end the process where it raises."""

    A = "a"

    @property
    def value(self) -> str:
        raise AssertionError("code of the app's was run")


def test_no_code_of_an_enum_is_run(config: RunnableConfig, trees: Trees) -> None:
    talk = [HumanMessage("a"), AIMessage("b", response_metadata={"odd": Odd.A}), HumanMessage("c"), HumanMessage("d")]
    for _ in range(2):
        Model().invoke(talk, {**config, "metadata": {"odd": Odd.A}})
    for tree in trees():
        assert [message["content"] for message in tree.root.inputs["messages"]] == ["a", "b", "c", "d"]
        assert tree.root.metadata["odd"] == "a"


def test_messages_of_a_template_that_are_odd() -> None:
    given = {"input_variables": [], "messages": [None, {"id": ["x", "Odd"], "kwargs": {"content": "c", "role": "r"}}]}
    assert prompts.params_of({"kwargs": given}) == {
        "template": [{"role": "unknown", "content": None}, {"role": "r", "content": "c"}]
    }


def items_of(tree: EventTree) -> list[dict[str, Any]]:
    """A tree's events as HoneyHive gets them."""
    vendor = HoneyHive(api_key="k", project="p")
    return [json.loads(item.content) for item in vendor.encode(tree).items if b"event_name" in item.content]


class Refusing(Model):
    """Of an older integration: retries by itself, and tells so."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> Any:
        left = [ValueError("busy")]

        @create_base_retry_decorator([ValueError], max_retries=2, run_manager=run_manager)
        def ask() -> Any:
            if left:
                raise left.pop()
            return super(Refusing, self)._generate(messages)

        return ask()


def test_retries_inside_a_model_are_notes(config: RunnableConfig, tree: One, monkeypatch: pytest.MonkeyPatch) -> None:
    """B10"""
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _: None))
    Refusing().invoke("Who?", config)
    assert tree().root.status == "ok"
    (note,) = tree().root.notes
    assert note.name == "retry"
    assert (note.value["attempt"], note.value["error"]) == (1, {"type": "ValueError", "message": "busy"})
    assert note.value["wait_seconds"] > 0


def test_calls_that_cannot_be_read_are_kept(config: RunnableConfig, tree: One) -> None:
    odd = {"name": "look", "args": '{"a": ', "id": "1", "error": "no JSON", "type": "invalid_tool_call"}
    Model(reply=AIMessage("", invalid_tool_calls=[odd])).invoke("Who?", config)
    (call,) = tree().root.outputs["messages"][0]["tool_calls"]
    assert call == {"id": "1", "name": "look", "arguments": '{"a": ', "error": "no JSON"}


REASONED: dict[str, AIMessage] = {
    "standard": AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "done"}]),
    "anthropic": AIMessage(
        [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "done"}]
    ),
    "openai": AIMessage(
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, {"type": "text", "text": "done"}],
        response_metadata={"model_provider": "openai"},
    ),
    "deepseek": AIMessage("done", additional_kwargs={"reasoning_content": "hm"}),
}


@pytest.mark.parametrize("reply", REASONED.values(), ids=REASONED)
def test_reasoning_stands_beside_the_text(config: RunnableConfig, tree: One, reply: AIMessage) -> None:
    Model(reply=reply).invoke("Who?", config)
    (message,) = tree().root.outputs["messages"]
    assert (message["content"], message["reasoning"]) == ("done", "hm")


BYTES = base64.b64encode(b"x" * 3000).decode()
MEDIA: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "audio": ({"type": "audio", "base64": BYTES, "mime_type": "audio/wav"}, ("audio", "audio/wav")),
    "openai audio": ({"type": "input_audio", "input_audio": {"data": BYTES, "format": "wav"}}, ("audio", "audio/wav")),
    "file": ({"type": "file", "base64": BYTES, "mime_type": "application/pdf"}, ("file", "application/pdf")),
    "video": ({"type": "video", "base64": BYTES, "mime_type": "video/mp4"}, ("video", "video/mp4")),
    "openai image": (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BYTES}"}},
        ("image", "image/png"),
    ),
    "anthropic image": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BYTES}},
        ("image", "image/png"),
    ),
}


@pytest.mark.parametrize(("block", "found"), MEDIA.values(), ids=MEDIA)
def test_media_are_named_not_kept(
    config: RunnableConfig, tree: One, block: dict[str, Any], found: tuple[str, str]
) -> None:
    """F4"""
    Model().invoke([HumanMessage([{"type": "text", "text": "What?"}, block])], config)
    part = tree().root.inputs["messages"][0]["content"][1]
    assert (part["type"], part["mime_type"]) == found
    assert (part["bytes"], part["sha256"]) == (3000, hashlib.sha256(b"x" * 3000).hexdigest())
    assert BYTES[:100] not in tree().model_dump_json()


class Whale(BaseModel):
    """A whale."""

    name: str
    metres: float


def test_structured_output(config: RunnableConfig, tree: One) -> None:
    model = Model(reply=call("Whale", name="blue", metres=30.0))
    assert model.with_structured_output(Whale).invoke("Which?", config) == Whale(name="blue", metres=30.0)
    assert tree().root.outputs == {"name": "blue", "metres": 30.0}
    params = named(tree(), "Model").params
    assert params is not None
    assert params["tools"][0]["function"]["name"] == "Whale"


class Scored(Library):
    """Keeps scores where retrievers do."""

    def _get_relevant_documents(self, query: str, **more: Any) -> list[Document]:
        return [Document("a", id="1", metadata={"score": 0.7}), Document("b", metadata={"relevance_score": 0.3})]


def test_documents_have_their_scores(config: RunnableConfig, tree: One) -> None:
    Scored().invoke("whales", config)
    found = tree().root.outputs["documents"]
    assert [(one.get("id"), one["text"], one["score"]) for one in found] == [("1", "a", 0.7), (None, "b", 0.3)]
    assert found[0]["metadata"] == {"score": 0.7}


@pytest.mark.parametrize("kind", sorted(set(VENDORS) - {"nebuly"}))
def test_vendors_show_custom_events_where_they_happened(config: RunnableConfig, tree: One, kind: str) -> None:
    """Nebuly has no place for them (see its table)."""

    def step(_: Any) -> str:
        dispatch_custom_event("progress", {"done": 3})
        return Model().invoke("Who?").text

    (RunnableLambda(lambda x: x) | RunnableLambda(step)).invoke("x", config)
    project = {} if kind == "otlp" else {"project": "p"}
    vendor = vendor_class(kind)(api_key="k", **project)
    shown = [item for item in vendor.encode(tree()).items if b"progress" in item.content]
    assert [item.event_ids for item in shown] == [(named(tree(), "step").id,)]
    value = b'{"done":3}' if kind == "otlp" else b'"value":{"done":3}'  # an attribute of a span event is a text
    assert value in shown[0].content.replace(b" ", b"")


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
        dispatch_custom_event("partial", 2)
        return "x"

    RunnableLambda(step).invoke("x", config)
    assert [(note.name, note.value) for note in tree().root.notes] == [
        ("progress", {"done": 3}),
        ("custom first_token", 1),
        ("custom partial", 2),
    ]
    assert tree().root.outputs == "x"
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


def remembering_graph() -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("think", lambda state: {"messages": []})
    builder.add_edge(START, "think")
    return builder.compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize(("threads", "session"), [("tt", "t"), ("tu", None)])
def test_a_chain_around_graphs_has_the_session_of_their_thread(
    config: RunnableConfig, tree: One, threads: str, session: str | None
) -> None:
    """F1: only the graph's runs bear the thread; two threads in one tree are no session."""

    def step(_: Any) -> str:
        for thread in threads:
            remembering_graph().invoke({"messages": []}, {"configurable": {"thread_id": thread, "user_id": "u"}})
        return ""

    RunnableLambda(step).invoke("x", config)
    assert (tree().root.session_id, tree().events[-1].session_id) == (session, session)


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


@needs_agent_marks
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


class Wrapper(Model):
    """A model around another, as router classes are: both report the tokens."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> Any:
        message = Model(name="inner").invoke(messages, {"callbacks": run_manager.handlers})
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.mark.parametrize("inside", [False, True])
def test_tokens_of_a_model_around_a_model_count_once(config: RunnableConfig, tree: One, inside: bool) -> None:
    """A10, C7: a model hands its callbacks no parent to pass on, yet the inner one stands under it."""
    model = RunnableLambda(lambda x: x) | Wrapper(name="outer") if inside else Wrapper(name="outer")
    model.invoke("Who?", config)
    inner = named(tree(), "inner")
    assert inner.parent_id == named(tree(), "outer").id
    assert tree().total_tokens == 15
    assert inner.usage is not None
    assert tree().total_usd == (inner.cost and inner.cost.total_usd)


def test_a_run_that_two_handlers_see_is_one_generation(config: RunnableConfig, tree: One) -> None:
    """A10"""
    set_global_handler(strict=True)
    Model(callbacks=[CallbackHandler(strict=True)]).invoke("Who?", config)
    assert shape(tree()) == ["model Model"]


class HouseModel(Model):
    """Of a class and provider that nobody knows."""

    @property
    def _llm_type(self) -> str:
        return "house"

    def _get_ls_params(self, stop: Any = None, **more: Any) -> Any:
        return {}

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> Any:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])


def test_an_unknown_model_class_has_its_usage(config: RunnableConfig, tree: One) -> None:
    """C5"""
    HouseModel(reply=AIMessage("hm", usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})).invoke(
        "Who?", config
    )
    assert tree().root.usage is not None
    assert (tree().root.usage.input_tokens, tree().root.usage.output_tokens) == (3, 4)


CLASSES: dict[str, Callable[[], Any]] = {
    "FakeListChatModel": lambda: FakeListChatModel(responses=["hm"]),
    "FakeMessagesListChatModel": lambda: FakeMessagesListChatModel(responses=[AIMessage("hm")]),
    "GenericFakeChatModel": lambda: GenericFakeChatModel(messages=iter([AIMessage("hm")])),
    "FakeListLLM": lambda: FakeListLLM(responses=["hm"]),
    "FakeStreamingListLLM": lambda: FakeStreamingListLLM(responses=["hm"]),
    "HouseModel": lambda: HouseModel(reply="hm"),
    "TextModel": lambda: TextModel(text="hm"),
}


@pytest.mark.parametrize("how", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("name", CLASSES)
async def test_every_class_of_model_makes_a_model_event(config: RunnableConfig, tree: One, name: str, how: str) -> None:
    """F7"""
    model = CLASSES[name]()
    if how == "invoke":
        model.invoke("Who?", config)
    elif how == "stream":
        list(model.stream("Who?", config))
    elif how == "ainvoke":
        await model.ainvoke("Who?", config)
    else:
        await collected(model.astream("Who?", config))
    assert shape(tree()) == [f"model {name}"]
    assert "hm" in json.dumps(tree().root.outputs)


def test_a_large_state_is_looked_at_in_bounded_time(handler: CallbackHandler, tree: One) -> None:
    """E4: what is left out of the record is not made plain first."""
    looks = []

    class Counted(BaseModel):
        """Says when it is looked at."""

        def __getattribute__(self, name: str) -> Any:
            looks.append(name)
            return super().__getattribute__(name)

    state = [Counted() for _ in range(200_000)]
    looks.clear()
    RunnableLambda(lambda x: "x").invoke(state, {"callbacks": [handler]})
    assert len(looks) < 100_000
    assert len(tree().root.model_dump_json()) < 2_000_000
