"""The prompt (of a library of prompts) that a model was asked with, by the keys that name it in the metadata of runs.

=======================================  ======================================================================
`eventtree_prompt`                       given by the app: `"greet@3"`, or `{"name": "greet", "version": 3}`
`lc_hub_repo`, `_owner`, `_commit_hash`  LangSmith's hub, on the prompt template that was pulled from it
`langfuse_prompt`                        Langfuse's prompt client, as its docs have one put into the metadata
=======================================  ======================================================================

A template's run is a sibling of the model's, before it. A prompt in a run's metadata counts for all runs below it:
LangChain hands a chain's metadata down itself, own code does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventtree.kinds import JsonValue, Kind
from eventtree.tree.run import Run

Prompt = dict[str, JsonValue]
PROMPT_KEYS = frozenset({"eventtree_prompt", "langfuse_prompt", "lc_hub_repo"})
"""Keys of metadata, one of which every run with a prompt has."""


def prompt_of(metadata: Mapping[str, JsonValue]) -> Prompt | None:
    """The prompt that metadata names: its `name`, and its `version` if known."""
    given = metadata.get("eventtree_prompt")
    if isinstance(given, str) and given:
        name, _, version = given.partition("@")
        return _named(name, version)
    for found in (given, metadata.get("langfuse_prompt")):
        if isinstance(found, dict):
            return _named(found.get("name"), found.get("version"))
    owner, repo = metadata.get("lc_hub_owner"), metadata.get("lc_hub_repo")
    return _named(f"{owner}/{repo}" if owner and repo else repo, metadata.get("lc_hub_commit_hash"))


def _named(name: JsonValue, version: JsonValue) -> Prompt | None:
    if not isinstance(name, str) or not name:
        return None
    return {"name": name, "version": None if version in (None, "") else str(version)}


def find_prompts(in_order: Iterable[Run], parents: Mapping[str, str | None]) -> None:
    """Set the prompt of each model's run: its own, else that of the last earlier sibling with one, else that of the
    nearest run above.
    """
    beside: dict[str | None, Prompt] = {}
    above: dict[str | None, Prompt] = {}
    for run in in_order:
        metadata, parent = run.open.get("metadata"), parents[run.id]
        own = prompt_of(metadata) if metadata else None
        if run.open.get("kind") == Kind.MODEL:
            run.prompt = own or beside.get(parent) or above.get(parent)
        elif own is not None:
            beside[parent] = own
        if own is not None or parent in above:
            above[run.id] = own or above[parent]
