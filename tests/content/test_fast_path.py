"""The fast_path way makes of every value what the walk makes of it."""

from __future__ import annotations

import collections
import dataclasses
import enum
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document as LangChainDocument
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.prompt_values import ChatPromptValue
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.base.response.schema import PydanticResponse, Response, StreamingResponse
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import Document, ImageNode, IndexNode, NodeWithScore, QueryBundle, TextNode

from eventtree.config import Bounds
from eventtree.content import Sanitizer
from eventtree.content.fast_path import COPIES, Unusual, messages_of
from tests.plain import sanitize


def walked() -> Sanitizer:
    """A writer that never goes the fast_path way."""
    writer = Sanitizer()
    writer.room = 0
    return writer


def copied(value: Any, most: int) -> Any:
    """The fast copy of a value of at most so many characters."""
    room = [most]
    plain = COPIES[type(value)](value, room, 0)
    if room[0] < 0:
        raise Unusual
    return plain


def by_walk(value: Any) -> Any:
    """What the walk makes of `value`."""
    return walked()(value)


CALL = {"name": "weather", "args": {"city": "Paris", "days": [1, 2]}, "id": "c1", "type": "tool_call"}
MESSAGES = [
    SystemMessage("You are helpful"),
    HumanMessage("Wie wär's? 👋", name="anna", id="m1"),
    AIMessage("", tool_calls=[CALL], response_metadata={"finish_reason": "tool_calls", "model_name": "m"}),
    AIMessage("It rains", additional_kwargs={"refusal": None}, response_metadata={"stop_reason": "end_turn"}),
    AIMessage("x", additional_kwargs={"reasoning_content": "because"}),
    AIMessage("x", additional_kwargs={"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}),
    AIMessage([{"type": "text", "text": "parts"}, {"type": "reasoning", "reasoning": "hm"}]),
    AIMessageChunk("some", id="run-1"),
    ToolMessage("12 °C", tool_call_id="c1", name="weather"),
    ToolMessage("failed", tool_call_id="c1", status="error"),
    ToolMessage("drawn", tool_call_id="c1", artifact="data:image/png;base64," + "A" * 400),
    ChatMessage("x", role="critic"),
    HumanMessage("a broken \ud83d surrogate"),
    HumanMessage("data:image/png;base64," + "A" * 400),
    HumanMessage("y" * 5_000),
]
INFO = {"finish_reason": "length", "logprobs": None}
RESULTS: list[Any] = [
    LLMResult(generations=[[ChatGeneration(message=AIMessage("x"))]]),
    LLMResult(
        generations=[[ChatGeneration(message=MESSAGES[2], generation_info=INFO)]], llm_output={"token_usage": {}}
    ),
    LLMResult(generations=[[ChatGeneration(message=AIMessage("x"), generation_info={"stopReason": "end_turn"})]]),
    LLMResult(generations=[[ChatGeneration(message=one) for one in MESSAGES[2:4]]]),
    LLMResult(generations=[[ChatGeneration(message=one)] for one in MESSAGES[2:4]]),
]
"""What a chat model answers."""
NODE = NodeWithScore(node=TextNode(id_="n1", text="body"), score=0.5)
NODES = [NODE, NodeWithScore(node=NODE.node), NodeWithScore(node=TextNode(text="x", metadata={"page": 1}), score=1)]
ENGINE: list[Any] = [
    *NODES,
    NODE.node,
    Document(text="x"),
    QueryBundle("why?"),
    Response("x", source_nodes=[NODE]),
    AgentChatResponse("so"),
    Response(""),
]
"""What a LlamaIndex engine is asked and answers."""


class Colour(enum.Enum):
    RED = ("red", 1)


class Place(NamedTuple):
    """A named tuple of the app's."""

    city: str
    at: tuple[float, float] = (48.9, 2.35)


@dataclasses.dataclass
class Picture:
    """Looks like a file to those who take it for a dict."""

    url: str = "https://example.org/a.png"
    type: str = "picture"
    colour: Colour = Colour.RED
    hidden: str = dataclasses.field(default="not set", init=False)


class Answer(pydantic.BaseModel):
    """What a model is asked for."""

    model_config = pydantic.ConfigDict(extra="allow")
    place: Place
    sure: bool = True
    key: str = pydantic.Field("secret", exclude=True)


class Names(pydantic.RootModel[list[str]]):
    """A model that is its root."""


OBJECTS: list[Any] = [
    Colour.RED,
    Place("Paris"),
    Picture(),
    Answer(place=Place("Paris"), more={"a": [1]}),
    Names(["Ann", "Bob"]),
    collections.UserDict(a=1),
    collections.ChainMap({"a": 1}, {"b": 2}),
    LangChainDocument("text", metadata={"page": 1, "score": 0.5}),
    CompletionResponse(text="so", raw={"usage": 1}),
    PromptTemplate("Why {what}?"),
]
"""Objects that say their fields, or stand for something else."""
ENDLESS: Any = collections.UserList([1])
ENDLESS.data = ENDLESS
VALUES: list[Any] = [
    *RESULTS,
    *ENGINE,
    *OBJECTS,
    {"all": OBJECTS},
    dataclasses.replace(Picture(), type="image"),
    ENDLESS,
    Answer(place=Place("Paris", (float("nan"), 1.0))),
    {"query": ENGINE[5], "answer": ENGINE[6]},
    QueryBundle("why?", image_path="a.png"),
    ImageNode(text="x", image_url="https://example.org/a.png"),
    Document(text="x", metadata={"when": {"a", "set"}}),
    NodeWithScore(node=NODE.node, score=float("nan")),
    NodeWithScore(node=IndexNode(text="x", index_id="i"), score=0.5),
    QueryBundle("why?", custom_embedding_strs=["because"]),
    Response(None),
    Response("x", source_nodes=[NODE] * 100),
    PydanticResponse(response=None),
    StreamingResponse(response_gen=iter(()), response_txt="x"),
    LLMResult(generations=[[ChatGeneration(message=MESSAGES[6], generation_info=INFO)]]),
    LLMResult(generations=[[ChatGeneration(message=AIMessage("x"), generation_info={"finish_reason": 5})]]),
    LLMResult(generations=[[ChatGeneration(message=AIMessage("x"), generation_info={"finish_reason": "y" * 500})]]),
    LLMResult(generations=[[Generation(text="x", generation_info=INFO)]]),
    LLMResult(generations=[[Generation(text="x")], [Generation(text="y")]]),
    LLMResult(generations=[[]]),
    ChatResult(generations=[ChatGeneration(message=AIMessage("x"))]),
    *MESSAGES,
    ChatPromptValue(messages=MESSAGES[:2]),
    ChatPromptValue(messages=[]),
    MESSAGES[1].text,
    {"type": "image", "base64": "iVBORw0KGgo="},
    {"messages": MESSAGES, "n": 1.5},
    {1: "key"},
    ("tuple",),
    {"messages": [("human", "go")], "langgraph_path": ("__pregel_pull", "model", 1, ()), "many": (None,) * 1_001},
    {"a": float("nan"), "b": 2**60, "c": 2**80, "d": True, "e": None},
    ["\ud800", "data:text/plain;base64," + "QUJD" * 100],
    [[[[[[[[[["deep"]]]]]]]]]],
    list(range(100)),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_the_quick_way_and_the_walk_agree(value: Any) -> None:
    assert Sanitizer()(value) == by_walk(value)


def test_messages_agree_together() -> None:
    assert Sanitizer().messages(MESSAGES) == walked().messages(MESSAGES)


def test_documents_agree_together() -> None:
    for nodes in (NODES, [*NODES, NODE.node], [*NODES, "text"], [], tuple(NODES), NODE):
        assert Sanitizer().found(nodes) == walked().found(nodes)
    assert copied(NODES, 10_000)


@pytest.mark.parametrize("message", [*MESSAGES[:4], *MESSAGES[7:10]], ids=lambda message: type(message).__name__)
def test_the_usual_messages_go_the_quick_way(message: Any) -> None:
    assert copied(message, 10_000) == messages_of([message], [10_000])[0]  # type: ignore[index]


@pytest.mark.parametrize("result", RESULTS + ENGINE + OBJECTS)
def test_the_usual_results_go_the_quick_way(result: Any) -> None:
    assert copied(result, 10_000) == by_walk(result)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=300),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_any_json_agrees(value: Any) -> None:
    assert repr(Sanitizer()(value)) == repr(by_walk(value))


def test_what_stands_for_itself_is_said_once() -> None:
    assert Sanitizer()([ENDLESS]) == by_walk([ENDLESS]) == ["…[the same object again]…"]


def test_a_list_in_itself_is_left_to_the_walk() -> None:
    ring: list[Any] = []
    ring += [ring] * 60
    with pytest.raises(Unusual):
        copied(ring, 10_000)


def test_what_could_be_too_large_is_left_to_the_walk() -> None:
    with pytest.raises(Unusual):
        copied(["x" * 2_000] * 6, 10_000)
    small = Bounds.model_construct(value_bytes=600)
    assert len(repr(sanitize(["x" * 500, "y" * 500], bounds=small))) < 700


def test_narrow_limits_are_kept() -> None:
    assert Sanitizer(Bounds.model_construct(depth=2))({"a": {"b": {"c": 1}}}) != {"a": {"b": {"c": 1}}}
    assert len(Sanitizer(Bounds.model_construct(items=3))(list(range(9)))) < 9


def test_the_copy_is_new() -> None:
    value: dict[str, Any] = {"a": [1], "b": {"c": []}}
    found = Sanitizer()(value)
    value["a"].append(2)
    value["b"]["c"].append(3)
    assert found == {"a": [1], "b": {"c": []}}


def test_a_message_that_comes_again_is_read_as_it_is_now() -> None:
    calls = [{"name": "look", "args": {"at": 1, "else": [None]}, "id": "c1", "type": "tool_call"}]
    asked = AIMessage("", tool_calls=calls, response_metadata={"finish_reason": "stop"}, id="a")
    conversation = [HumanMessage("one"), asked, ToolMessage("seen", tool_call_id="c1"), HumanMessage("two")]
    fast, slow = Sanitizer(), walked()
    for at in (1, True, 1.0, float("nan"), None, 2**60, -0.0, 0.0, "1", {"b": [1]}, {"b": [float("inf")]}, b"1"):
        asked.tool_calls[0]["args"]["at"] = at
        for _ in range(3):
            assert repr(fast(conversation)) == repr(slow(conversation))
            assert repr(fast.messages(conversation)) == repr(slow.messages(conversation))
    asked.additional_kwargs["reasoning_content"] = "why"
    conversation[0].content = "another"
    asked.response_metadata["finish_reason"] = "length"
    assert repr(fast(conversation)) == repr(slow(conversation))
    object.__setattr__(conversation[3], "__pydantic_extra__", {"more": 1})
    assert repr(fast(conversation)) == repr(slow(conversation))
