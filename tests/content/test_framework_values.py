"""What the framework_values hand around is readable, and nothing lazy in it is read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.types import Command, Interrupt, Send
from llama_index.core.agent.workflow.workflow_events import AgentOutput
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, TextBlock
from llama_index.core.base.response.schema import PydanticResponse, Response, StreamingResponse
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.llms import MockLLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate, RichPromptTemplate, SelectorPromptTemplate
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import FunctionTool, ToolOutput, ToolSelection
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel
from workflows.events import StartEvent, StopEvent

from eventtree.content import Sanitizer
from tests.plain import sanitize

NODE = NodeWithScore(node=TextNode(id_="n1", text="body", metadata={"page": 1}), score=0.5)
NODE_OUT = {"id": "n1", "text": "body", "score": 0.5, "metadata": {"page": 1}}
SOURCE = {"id": "n1", "score": 0.5}
HI = {"role": "user", "content": "hi"}


class Answer(BaseModel):
    """A structured output."""

    n: int


class MyDocument(Document):
    """A class of the user's own."""


class Stop(StopEvent):
    """A result of a class of the user's own."""

    said: str


@tool
def add(a: int) -> int:
    """Add."""
    return a


VALUES: list[tuple[Any, Any]] = [
    (ChatPromptValue(messages=[HumanMessage("hi")]), {"messages": [HI]}),
    (StringPromptValue(text="hi"), {"text": "hi"}),
    (MyDocument(id="d1", page_content="body", metadata={"p": 1}), {"id": "d1", "text": "body", "metadata": {"p": 1}}),
    (
        Document(page_content="body", metadata={"relevance_score": 0.5}),
        {"text": "body", "score": 0.5, "metadata": {"relevance_score": 0.5}},
    ),
    (Generation(text="x", generation_info={"finish_reason": "stop"}), {"text": "x", "finish_reason": "stop"}),
    (ChatGeneration(message=AIMessage("x")), {"role": "assistant", "content": "x"}),
    (
        LLMResult(generations=[[ChatGeneration(message=AIMessage("x"), generation_info={"finish_reason": "stop"})]]),
        {"messages": [{"role": "assistant", "content": "x", "finish_reason": "stop"}]},
    ),
    (
        ChatResult(generations=[ChatGeneration(message=AIMessage("x"))]),
        {"messages": [{"role": "assistant", "content": "x"}]},
    ),
    (LLMResult(generations=[[Generation(text="x")]]), {"text": "x"}),
    (LLMResult(generations=[[Generation(text="x"), Generation(text="y")]]), {"texts": ["x", "y"]}),
    (
        Command(goto=[Send("a", {"n": 1})], update={"messages": [HumanMessage("hi")]}),
        {"update": {"messages": [HI]}, "goto": [{"node": "a", "arg": {"n": 1}}]},
    ),
    (Command(resume="yes", graph=Command.PARENT), {"graph": "__parent__", "resume": "yes"}),
    (Interrupt("sure?", id="i1"), {"value": "sure?", "id": "i1"}),
    (Answer(n=1), {"n": 1}),
    (RunnableLambda(len, name="f"), {"object": "langchain_core.runnables.base.RunnableLambda", "name": "f"}),
    (add, {"object": "langchain_core.tools.structured.StructuredTool", "name": "add", "description": "Add."}),
    (NODE, NODE_OUT),
    (NODE.node, {"id": "n1", "text": "body", "metadata": {"page": 1}}),
    (LlamaDocument(id_="d1", text="body"), {"id": "d1", "text": "body", "metadata": {}}),
    (QueryBundle("why?"), "why?"),
    (QueryBundle("why?", image_path="a.png"), {"query": "why?", "image_path": "a.png"}),
    (ChatResponse(message=ChatMessage("hi"), raw={"big": 1}), {"messages": [HI]}),
    (CompletionResponse(text="x"), {"text": "x"}),
    (Response("x", source_nodes=[NODE]), {"response": "x", "sources": [SOURCE]}),
    (PydanticResponse(Answer(n=1), source_nodes=[NODE]), {"response": {"n": 1}, "sources": [SOURCE]}),
    (AgentChatResponse("x", source_nodes=[NODE]), {"response": "x", "sources": [SOURCE]}),
    (
        ToolSelection(tool_id="c1", tool_name="f", tool_kwargs={"a": 1}),
        {"id": "c1", "name": "f", "arguments": {"a": 1}},
    ),
    (
        ToolOutput(content="3", tool_name="f", raw_input={"a": 1}, raw_output=3),
        {"tool_name": "f", "input": {"a": 1}, "output": 3},
    ),
    (
        ToolOutput(content="three", tool_name="f", raw_input={}, raw_output=[NODE], is_error=True),
        {"tool_name": "f", "input": {}, "output": [NODE_OUT], "content": "three", "is_error": True},
    ),
    (
        AgentOutput(
            response=ChatMessage("hi"),
            current_agent_name="a",
            raw=object(),
            tool_calls=[],
        ),
        {"agent": "a", "response": HI},
    ),
    (TextBlock(text="x"), {"type": "text", "text": "x"}),
    (StartEvent(query="why?"), {"query": "why?"}),
    (StopEvent(result="so"), "so"),
    (Stop(said="so"), {"said": "so"}),
    (PromptTemplate("City of {country}"), "City of {country}"),
    (RichPromptTemplate("City of {{ country }}"), "City of {{ country }}"),
    (ChatPromptTemplate([ChatMessage("hi")]), [HI]),
    (SelectorPromptTemplate(PromptTemplate("hi")), "hi"),
    (FunctionTool.from_defaults(len, name="count"), "count"),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=[type(value).__name__ for value, _ in VALUES])
def test_each_class_has_its_readable_form(value: Any, expected: Any) -> None:
    """F3, and the vocabulary of event.py."""
    assert sanitize(value) == expected


def test_image_node_is_told_by_its_bytes() -> None:
    """F4."""
    out = sanitize(ImageNode(id_="n1", image="QUJD", image_mimetype="image/png"))
    assert (out["image"]["mime_type"], out["image"]["bytes"]) == ("image/png", 3)


def test_tool_call_of_an_agent_is_a_tool_call() -> None:
    """One vocabulary."""
    output = AgentOutput(
        response=ChatMessage("hi"),
        current_agent_name="a",
        tool_calls=[],
    )
    output.tool_calls.append(ToolSelection(tool_id="c1", tool_name="f", tool_kwargs={"a": 1}))
    assert sanitize(output)["tool_calls"] == [{"id": "c1", "name": "f", "arguments": {"a": 1}}]


def test_streaming_response_is_not_read() -> None:
    """E5."""

    def tokens() -> Iterator[str]:
        yield "first"

    response = StreamingResponse(response_gen=tokens(), source_nodes=[NODE])
    out = sanitize(response)
    assert out["response"]["object"] == "generator"
    assert out["response"]["name"].endswith("tokens")
    assert out["sources"] == [SOURCE]
    assert next(response.response_gen) == "first"


def test_sources_that_can_be_read_once_are_not_read() -> None:
    """E5."""
    nodes: Any = iter([NODE])
    assert sanitize(Response("x", source_nodes=nodes))["sources"] == {"object": "list_iterator"}
    assert next(nodes) is NODE


@pytest.mark.parametrize("make", [ChatOpenAI, OpenAI, MockLLM])
def test_models_are_named_and_their_settings_stay_unread(make: Any) -> None:
    """F22: keys live in settings."""
    out = sanitize(make() if make is MockLLM else make(model="gpt-4o-mini", api_key="canary"))
    assert "canary" not in str(out)
    assert out["object"].endswith(make.__name__)


def test_documents_of_every_spelling_are_documents() -> None:
    """Retrievers return what they like."""
    write = Sanitizer()
    values = [NODE, Document(page_content="body"), {"page_content": "x", "id": "1"}, "text", 5]
    assert write.found(values) == [
        NODE_OUT,
        {"text": "body", "metadata": {}},
        {"text": "x", "id": "1"},
        {"text": "text"},
        {"text": 5},
    ]
    assert write.found([NODE]) == [NODE_OUT]


def test_framework_is_never_imported() -> None:
    """Their classes are known by name."""
    code = (
        "import sys, eventtree.content\n"
        "taken = {'langchain_core', 'llama_index', 'langgraph', 'numpy', 'openai', 'httpx'} & set(sys.modules)\n"
        "assert not taken, taken"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
