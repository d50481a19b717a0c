"""What a tool returned is plain JSON, and a failure that its result reports is a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import FunctionTool, ToolOutput
from pydantic import BaseModel

from eventtree.kinds import Status
from eventtree.testing.capture import Captured
from tests.langchain.test_tool_results import RESULTS, WHY, OldResult
from tests.llama_index.conftest import only
from tests.llama_index.models import Caller


class Weather(BaseModel):
    city: str = "Paris"
    celsius: int = 12


@dataclass
class Place:
    north: float = 48.9


class Pair(NamedTuple):
    left: int = 1
    right: int = 2


OBJECT = object()
VALUES: dict[str, tuple[Any, Any]] = {
    "a pydantic model": (Weather(), {"city": "Paris", "celsius": 12}),
    "a dataclass": (Place(), {"north": 48.9}),
    "a tuple": ((1, "a"), [1, "a"]),
    "a named tuple": (Pair(), {"left": 1, "right": 2}),
    "nothing": (None, None),
    "a set": ({1}, [1]),
    "a list of models": ([Weather()], [{"city": "Paris", "celsius": 12}]),
    "nodes": (
        [NodeWithScore(node=TextNode(text="x", id_="n1"), score=0.5)],
        [{"id": "n1", "text": "x", "score": 0.5, "metadata": {}}],
    ),
    "a number": (3, 3),
    "text": ("None", "None"),
    "an object": (OBJECT, {"object": "object", "id": hex(id(OBJECT))}),
    "a tool's output": (ToolOutput(tool_name="f", content="c", raw_input={}, raw_output={"z": 1}), {"z": 1}),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_a_tool_returned_is_plain_json(trees: Captured, name: str) -> None:
    """Never a Python repr."""
    value, expected = VALUES[name]
    FunctionTool.from_defaults(lambda: value, name="make", description="Makes.").call()
    [tree] = trees
    found = tree.root.outputs["documents"] if name == "nodes" and isinstance(tree.root.outputs, dict) else None
    assert (found or tree.root.outputs) == expected


REPORTED = {name: case for name, case in RESULTS.items() if name.startswith("mcp")}
REPORTED["a tool's output"] = (
    ToolOutput(tool_name="f", content="no", raw_input={}, raw_output={"code": 7}, is_error=True),
    "no",
)


@pytest.mark.parametrize("name", REPORTED)
def test_a_failure_that_a_result_reports_is_a_failure(trees: Captured, name: str) -> None:
    """B7: an MCP tool answers `isError`."""
    value, expected = REPORTED[name]
    FunctionTool.from_defaults(lambda: value, name="make", description="Makes.").call()
    [tree] = trees
    assert tree.root.status is Status.ERROR
    assert tree.root.error is not None
    assert (tree.root.error.type, tree.root.error.message) == ("ToolError", expected)


def test_a_result_that_reports_no_failure_is_ok(trees: Captured) -> None:
    FunctionTool.from_defaults(lambda: OldResult(content=WHY), name="make", description="Makes.").call()
    [tree] = trees
    assert (tree.root.status, tree.root.outputs["isError"]) == (Status.OK, False)


async def test_an_agents_tool_that_reports_a_failure(trees: Captured) -> None:
    """The tool and the step that called it failed, the agent went on."""

    def look_up(word: str) -> Any:
        """Look it up."""
        return OldResult(content=WHY, isError=True)

    await FunctionAgent(name="a", tools=[look_up], llm=Caller(calls=[("look_up", {"word": "x"})])).run("go")
    [tree] = trees.wait()
    assert only(tree, "look_up").status is Status.ERROR
    assert (only(tree, "call_tool").status, tree.root.status) == (Status.ERROR, Status.OK)


async def test_an_agents_tool_that_raised_fails_its_step_too(trees: Captured) -> None:
    """With the exception itself, which the framework keeps."""

    def look_up(word: str) -> str:
        """Look it up."""
        raise KeyError(word)

    await FunctionAgent(name="a", tools=[look_up], llm=Caller(calls=[("look_up", {"word": "x"})])).run("go")
    [tree] = trees.wait()
    step = only(tree, "call_tool")
    assert (step.status, step.error and step.error.type) == (Status.ERROR, "KeyError")
    assert tree.root.status is Status.OK


async def test_a_tool_that_an_agent_has_not_is_a_failure(trees: Captured) -> None:
    """No tool runs: only the step tells."""

    def look_up(word: str) -> str:
        """Look it up."""
        return word

    await FunctionAgent(name="a", tools=[look_up], llm=Caller(calls=[("nothing", {})])).run("go")
    [tree] = trees.wait()
    step = only(tree, "call_tool")
    assert step.status is Status.ERROR
    assert step.error is not None
    assert step.error.message.startswith("Tool nothing not found")
