"""Facts that a tree's structure proves: which runs are agents, whose turn it was, and which run repeats a failed one.

These are pure functions of the records, so the fold finds them, with every sibling and child at hand, and handlers keep
no state for them. No name proves anything alone (scenario F6): an agent is recognized by the marks of its framework, an
attempt by being the same call again after a failed one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from eventtree import record
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.remembered import Remembered
from eventtree.tree.run import Run

INTEGRATION = "ls_integration"
CREATE_AGENT = "langchain_create_agent"
PLAIN_GRAPH = "langgraph"
"""The values of `metadata.ls_integration` in langchain's `create_agent` and langgraph's own graphs. `deepagents` and
apps may replace them by `with_config`.
"""
LLAMA_INDEX = "llama_index"
LANGCHAIN = "langchain"
PLUMBING: Remembered[str, bool] = Remembered(
    1_024,
    lambda name: name in ("__start__", "__end__") or name.startswith(("ChannelWrite<", "ChannelRead<", "Branch<")),
)
"""Name of a LangGraph run → whether it is plumbing."""
HIDDEN = "langsmith:hidden"
"""Tag of runs that LangChain and LangGraph hide in their own viewer."""
AGENT_NAME = "lc_agent_name"
STEP = "graph:step:"
"""Tag of a node's run, directly below the run of its graph."""
RETRY = "retry:attempt:"
"""Tag of an attempt of `with_retry`, from the second on."""
FAILED = frozenset({Status.ERROR, Status.CANCELLED})
"""Statuses of a run that is tried again; a time limit cancels."""
TRIED_AGAIN = frozenset({*FAILED, RETRY.rstrip(":")})
"""Statuses and tags, one of which a tree has if a run may have been tried again."""

Metadata = Mapping[str, Any]

Runs = Mapping[str, Run]
"""The runs of a tree by id, in the order they opened."""
Parents = Mapping[str, str | None]


def is_node(tags: Sequence[str] | None) -> bool:
    """Whether a run is that of a node, directly below its graph's."""
    return any(tag.startswith(STEP) for tag in tags or ())


def metadata_of(run: Run | None) -> Metadata:
    """Metadata of the run's start; empty where there is no run."""
    return (run.open.get("metadata") if run is not None else None) or {}


# Agents


def agents(runs: Runs, parents: Parents) -> set[str]:
    """Ids of LangChain's chain runs that are agents."""
    found: set[str] = set()
    marked = [
        (run_id, run)
        for run_id, run in runs.items()
        if (about := run.open.get("metadata")) and INTEGRATION in about and run.open.get("kind") == Kind.CHAIN
    ]
    if not marked:
        return found
    around = set(parents.values())
    graphs = {parents[run_id] for run_id, run in runs.items() if is_node(run.open.get("tags"))}
    for run_id, run in marked:
        above = parents[run_id]
        # A chain that alone has the handler, or whose parent was sent in an earlier part, only inherits the marks.
        is_graph = run_id in graphs or run_id not in around
        if is_graph and (above is None or above in runs) and _is_marked(run, runs.get(above or "")):
            found.add(run_id)
        proven: str = run_id
        for _ in range(levels := _levels_below_agent(run)):
            proven = parents.get(proven) or ""
        if levels and proven in runs:
            found.add(proven)
    return found


def _mark(metadata: Metadata) -> str | None:
    """The mark of `create_agent` in the metadata of its run and of all runs below: the agent's name, or empty."""
    if metadata.get(INTEGRATION) != CREATE_AGENT and AGENT_NAME not in metadata:
        return None
    return str(metadata.get(AGENT_NAME) or "")


def _is_marked(run: Run, above: Run | None) -> bool:
    """Whether a run has a mark that is not inherited. A nameless agent below another needs a proof."""
    mark, inherited = _mark(metadata_of(run)), _mark(metadata_of(above))
    return mark is not None and not is_node(run.open.get("tags")) and (inherited is None or mark not in ("", inherited))


def _levels_below_agent(run: Run) -> int:
    """If a run proves that a run above it is an agent, how many levels above; else 0.

    `create_agent` calls its model in a node of its own; langgraph's prebuilt agent (no mark) calls it in a traced
    function inside one, where a user's function would leave no run.
    """
    metadata, tags = metadata_of(run), run.open.get("tags") or ()
    node = metadata.get("langgraph_node")
    if node == "model" and metadata[INTEGRATION] != PLAIN_GRAPH and is_node(tags):
        return 1
    return 2 if node == "agent" and run.open.get("name") == "call_model" and "seq:step:1" in tags else 0


# Turns


def turns(runs: Runs, parents: Parents) -> dict[str, JsonValue]:
    """The LlamaIndex agent whose turn it was, for runs below a workflow's run that do not name it themselves.

    Events between the steps name the agent, except for a tool's call, its result, and the start of the run. Such a step
    belongs to the agent named last before it; the first steps belong to the agent named first.
    """
    found: dict[str, JsonValue] = {}
    nameless: dict[str, list[str]] = {}
    ours = [run_id for run_id, run in runs.items() if run.open.get("framework") == LLAMA_INDEX]
    inside = [(run_id, parents[run_id] or "") for run_id in ours]
    inside = [(run_id, above) for run_id, above in inside if above in runs and not _is_agent(runs[run_id])]
    latest: dict[str, JsonValue] = {}
    for run_id, above in inside:
        if not _is_agent(runs[above]):
            continue
        named = metadata_of(runs[run_id]).get("agent")
        if named is not None:
            latest[above] = named
            found.update(dict.fromkeys(nameless.pop(above, ()), named))
        elif above in latest:
            found[run_id] = latest[above]
        else:
            nameless.setdefault(above, []).append(run_id)
    for run_id, above in inside:
        turn = metadata_of(runs[above]).get("agent") or found.get(above)
        if turn is not None and not _is_agent(runs[above]) and "agent" not in metadata_of(runs[run_id]):
            found[run_id] = turn
    return found


def _is_agent(run: Run) -> bool:
    return run.open.get("kind") == Kind.AGENT


# Attempts


def attempts(runs: Runs, parents: Parents) -> dict[str, int]:
    """Numbers of the runs that repeat a failed sibling of the same name, and of the failed ones, from 1.

    Attempts of `with_fallbacks` are numbered by the handler, since no record shows them.
    """
    numbers: dict[str, int] = {}
    failed: dict[Hashable, dict[Hashable, str]] = {}
    for run_id, run in runs.items():
        if "attempt" in metadata_of(run):
            continue
        of_name = (parents[run_id], run.open.get("kind"), run.open.get("name"))
        siblings, tagged = failed.get(of_name), _tagged(run)
        if siblings:
            call = next(reversed(siblings)) if tagged else _call(run)
            if call in siblings and (tagged or _follows(run, runs[siblings[call]])):
                numbers[run_id] = numbers.setdefault(siblings.pop(call), 1) + 1
        if tagged:
            numbers[run_id] = tagged
        if run.status in FAILED:
            failed.setdefault(of_name, {})[_call(run) or run_id] = run_id
    return numbers


def _tagged(run: Run) -> int | None:
    """Number of an attempt of `with_retry`."""
    for tag in run.open.get("tags") or ():
        if tag.startswith(RETRY) and tag[len(RETRY) :].isdecimal():
            return int(tag[len(RETRY) :])
    return None


def _call(run: Run) -> Hashable:
    """A key that is the same for two runs of one name if the second repeats the first; None if unknown."""
    metadata = metadata_of(run)
    if is_node(run.open.get("tags")):
        return metadata.get("langgraph_checkpoint_ns")  # ends in the id of the node's task, which its retries share
    inputs = run.open.get("inputs")
    return metadata.get("tool_call_id") or (None if inputs is None else record.encode(inputs))


def _follows(run: Run, failed: Run) -> bool:
    """Whether a run began after another had failed: of two simultaneous calls, neither repeats the other."""
    return bool(run.open.get("start", 0) >= failed.open.get("start", 0) + failed.close.get("duration", 0))
