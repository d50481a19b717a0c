"""Failures that a tool's result reports are failures, and what a tool keeps from the model is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId, ToolException, create_retriever_tool, tool
from langgraph.types import Command
from pydantic import BaseModel, Field

from eventtree.event import Event, EventTree
from eventtree.kinds import Status
from eventtree.langchain import CallbackHandler
from tests.langchain.conftest import named
from tests.langchain.fakes import Library, Model, tool_caller

One = Callable[[], EventTree]

ASKED: Any = {"messages": [("user", "x")]}


@pytest.fixture
def config(handler: CallbackHandler) -> RunnableConfig:
    return {"callbacks": [handler]}


class Text(BaseModel):
    """As `mcp.types.TextContent`."""

    type: str = "text"
    text: str = ""


class OldResult(BaseModel):
    """As `mcp.types.CallToolResult` of the 1.x client."""

    content: list[Text] = []
    structuredContent: dict[str, Any] | None = None
    isError: bool = False


class NewResult(BaseModel):
    """As the one of the 2.x client."""

    content: list[Text] = []
    structured_content: dict[str, Any] | None = Field(default=None, alias="structuredContent")
    is_error: bool = Field(default=False, alias="isError")


def error(text: Any, **more: Any) -> ToolMessage:
    return ToolMessage(text, tool_call_id="c1", status="error", **more)


WHY = [Text(text="no such city"), Text(text="try again")]
RESULTS: dict[str, tuple[Any, str]] = {
    "mcp 1": (OldResult(content=WHY, isError=True), "no such city\ntry again"),
    "mcp 2": (NewResult(content=WHY, isError=True), "no such city\ntry again"),
    "mcp as a dict": ({"content": [{"type": "text", "text": "no such city"}], "isError": True}, "no such city"),
    "mcp without text": (OldResult(structuredContent={"code": 7}, isError=True), '{"code":7}'),
    "a command": (Command(update={"messages": [error("no such city")], "seen": 3}), "no such city"),
    "a list": (["x", ToolMessage("y", tool_call_id="c0"), error("no such city")], "no such city"),
    "a list with a command": ([Command(goto="x"), Command(update={"messages": [error("no")]})], "no"),
    "parts": (error([{"type": "text", "text": "no"}, {"type": "text", "text": "way"}]), "no\nway"),
    "parts without text": (error([{"type": "json", "json": {"code": 7}}]), '[{"type":"json","json":{"code":7}}]'),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_failure_that_a_result_reports_is_a_failure(config: RunnableConfig, tree: One, name: str) -> None:
    """B7. Its text is text or JSON."""
    result, expected = RESULTS[name]

    @tool
    def look_up(word: str) -> Any:
        """Look it up."""
        return result

    look_up.invoke({"word": "x"}, config)
    event = tree().root
    assert event.status is Status.ERROR
    assert event.error is not None
    assert (event.error.type, event.error.message) == ("ToolError", expected)


@pytest.mark.parametrize(
    "result",
    [
        OldResult(content=WHY), {"is_error": True}, {"status": "error"}, [ToolMessage("x", tool_call_id="c1")],
        Command(update={"messages": [ToolMessage("x", tool_call_id="c1")]}), "error", None, [[[[[[[error("deep")]]]]]]],
    ],
    ids=["mcp", "own dict", "own status", "list", "command", "text", "nothing", "too deep"],
)  # fmt: skip
def test_any_other_result_is_none(config: RunnableConfig, tree: One, result: Any) -> None:
    @tool
    def look_up(word: str) -> Any:
        """Look it up."""
        return result

    look_up.invoke({"word": "x"}, config)
    assert tree().root.status is Status.OK


def test_a_command_of_an_agents_tool_that_reports_a_failure(config: RunnableConfig, tree: One) -> None:
    """B7: the tool failed, the agent went on."""

    @tool
    def look_up(word: str, call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Look it up."""
        return Command(update={"messages": [ToolMessage("no such word", tool_call_id=call_id, status="error")]})

    create_agent(Model(reply=tool_caller("look_up", word="x")), [look_up]).invoke(ASKED, config)
    event = named(tree(), "look_up")
    assert (event.status, event.error and event.error.message) == (Status.ERROR, "no such word")
    assert tree().root.status is Status.OK


def test_a_handled_exceptions_parts_are_its_text(config: RunnableConfig, tree: One) -> None:
    """As langchain's MCP tools raise it: with content blocks for the model."""

    @tool
    def look_up(word: str) -> str:
        """Look it up."""
        raise ToolException("failed")

    look_up.handle_tool_error = lambda _: [{"type": "text", "text": "no"}, {"type": "text", "text": "way"}]
    create_agent(Model(reply=tool_caller("look_up", word="x")), [look_up]).invoke(ASKED, config)
    event = named(tree(), "look_up")
    assert (event.status, event.error and event.error.message) == (Status.ERROR, "no\nway")


def last_tool_message(event: Event) -> Any:
    """What the model was given of the tool."""
    return event.inputs["messages"][-1]


def test_a_tools_artifact_is_kept_where_it_is_made_and_where_it_is_repeated(config: RunnableConfig, tree: One) -> None:
    """MCP's structured content."""

    @tool(response_format="content_and_artifact")
    def weather(city: str) -> Any:
        """The weather."""
        return "12 °C", {"structured_content": {"celsius": 12}}

    create_agent(Model(reply=tool_caller("weather", city="Paris")), [weather]).invoke(ASKED, config)
    expected = {"structured_content": {"celsius": 12}}
    assert named(tree(), "weather").outputs["artifact"] == expected
    models = [event for event in tree().events if event.kind == "model"]
    assert last_tool_message(models[-1])["artifact"] == expected


@pytest.mark.skipif(version("langchain").startswith("1.0."), reason="its agents take no tool that is a partial")
def test_a_retriever_tools_documents_are_kept(config: RunnableConfig, tree: One) -> None:
    """The model is given their text alone."""
    books = create_retriever_tool(Library(), "books", "Search.", response_format="content_and_artifact")
    create_agent(Model(reply=tool_caller("books", query="whale")), [books]).invoke(ASKED, config)
    kept = named(tree(), "books").outputs["artifact"]
    assert [document["id"] for document in kept] == ["d1", "d2"]
    assert json.dumps(kept[0]).count("blue whale") == 1
