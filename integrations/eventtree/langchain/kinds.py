"""What a chain run is: told by structure, never by a word in its name (scenario F6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventtree.event import Kind

HIDDEN = "langsmith:hidden"
STEP = "graph:step:"
"""Tag of a node's run, directly below the run of its graph."""
PLUMBING = ("ChannelWrite<", "ChannelRead<", "Branch<")
ENDS = frozenset({"__start__", "__end__"})

CREATE_AGENT = "langchain_create_agent"


def is_node(tags: Sequence[str] | None) -> bool:
    """Whether a run is a node's: the child of a graph's."""
    return bool(tags) and any(tag.startswith(STEP) for tag in tags or ())


def is_internal(name: str, tags: Sequence[str] | None) -> bool:
    """Whether a run is the framework's plumbing."""
    return (bool(tags) and HIDDEN in (tags or ())) or name in ENDS or name.startswith(PLUMBING)


def agent_around(metadata: Mapping[str, Any]) -> str | None:
    """What `create_agent` left in the metadata of its run and of all below: the agent's name, or empty."""
    if metadata.get("ls_integration") != CREATE_AGENT:
        return None
    return str(metadata.get("lc_agent_name") or "")


def chain_kind(agent: str | None, above: str | None, tags: Sequence[str] | None) -> Kind:
    """Kind of a chain run that carries the mark `agent`, below a run that carries `above`.

    The mark is inherited by everything below an agent. An agent below another is seen by its other name; one without
    a name of its own is found by `makes_agent`.
    """
    if agent is None or agent == above or is_node(tags):
        return Kind.CHAIN
    return Kind.AGENT


def makes_agent(name: str, metadata: Mapping[str, Any], tags: Sequence[str] | None) -> int:
    """How many levels above this chain run is the run of an agent, of which this one is the proof; 0 for none.

    `create_agent` asks its model in a node of its own; langgraph's prebuilt agent (no mark) in a traced function
    inside one, where a user's function would leave no run.
    """
    node = metadata.get("langgraph_node")
    if node == "model" and metadata.get("ls_integration") == CREATE_AGENT and is_node(tags):
        return 1
    if node == "agent" and name == "call_model" and bool(tags) and "seq:step:1" in (tags or ()):
        return 2
    return 0


RETRY = "retry:attempt:"


def attempt_of(tags: Sequence[str] | None) -> int | None:
    """Number of an attempt of `with_retry`, from the second on; the first bears no tag."""
    for tag in tags or ():
        if tag.startswith(RETRY) and tag[len(RETRY) :].isdecimal():
            return int(tag[len(RETRY) :])
    return None
