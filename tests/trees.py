"""Recording without a framework: what a pipeline would tell the recorder."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from eventtree.event import EventTree
from eventtree.journal import Journal
from eventtree.journal.trees import trees_in
from eventtree.kinds import Kind, Status
from eventtree.record import Record
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.tree.builder import TreeBuilder
from eventtree.tree.events import Pricing
from eventtree.tree.stored import fold_stored

USAGE = {"usage_metadata": [{"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}]}


def new_id() -> str:
    """A run id."""
    return str(uuid.uuid4())


def open_record(run: str, tree: str, parent: str | None, kind: str, name: str, start: int) -> dict[str, Any]:
    """As the recorder writes it."""
    return {"r": "open", "id": run, "tree": tree, "parent": parent, "kind": kind, "name": name, "start": start}


def close_record(run: str, tree: str, duration: int, status: str) -> dict[str, Any]:
    """As the recorder writes it."""
    return {"r": "close", "id": run, "tree": tree, "duration": duration, "status": status}


def record_tree(pipeline: Pipeline, *, question: str = "Where is it?", children: int = 2, **root: Any) -> str:
    """A chain around a model and tools; returns the tree's id."""
    tree = new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain", inputs={"question": question}, **root)
    for number in range(children):
        child = new_id()
        if number == 0:
            record_model(pipeline, child, tree, question)
        else:
            recorder.open(pipeline, child, tree, kind=Kind.TOOL, name="look_up", inputs={"number": number})
            recorder.close(pipeline, child, outputs=str(number))
    recorder.close(pipeline, tree, outputs={"answer": "here"}, status=Status.OK)
    return tree


def record_model(pipeline: Pipeline, run: str, parent: str | None, question: str) -> None:
    """A model call with usage."""
    messages = {"messages": [{"role": "user", "content": question}]}
    recorder.open(
        pipeline,
        run,
        parent,
        kind=Kind.MODEL,
        name="ChatModel",
        inputs=messages,
        known={"model": "gpt-4o-mini", "provider": "openai"},
    )
    recorder.first_token(run)
    recorder.close(
        pipeline, run, outputs={"messages": [{"role": "assistant", "content": "here"}]}, learned={"usage": USAGE}
    )


def fold(records: Iterable[Record], pricing: Pricing | None = None) -> list[EventTree]:
    """All trees in `records`, in the order they first appear; records may come in any order."""
    growing: dict[str, TreeBuilder] = {}
    for entry in records:
        if entry["tree"]:
            growing.setdefault(entry["tree"], TreeBuilder(entry["tree"])).add(entry)
    built = (builder.build(pricing) for builder in growing.values())
    return [tree for tree in built if tree is not None]


def stored_trees(journal: Journal, pricing: Pricing | None = None) -> Iterator[EventTree]:
    """Trees of the journal in the order they opened, finished or not."""
    folded = (fold_stored(journal, logged, pricing) for logged in trees_in(journal).values())
    return (tree for tree in folded if tree is not None)
