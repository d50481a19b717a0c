"""Recording without a framework: what a door would tell the recorder."""

from __future__ import annotations

import uuid
from typing import Any

from eventtree.door import Door
from eventtree.event import Kind, Status
from eventtree.recorder import recorder

USAGE = {"usage_metadata": [{"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}]}


def new_id() -> str:
    """A run id."""
    return str(uuid.uuid4())


def record_tree(door: Door, *, question: str = "Where is it?", children: int = 2, **root: Any) -> str:
    """A chain around a model and tools; returns the tree's id."""
    tree = new_id()
    recorder.open(door, tree, None, kind=Kind.CHAIN, name="chain", inputs={"question": question}, **root)
    for number in range(children):
        child = new_id()
        if number == 0:
            record_model(door, child, tree, question)
        else:
            recorder.open(door, child, tree, kind=Kind.TOOL, name="look_up", inputs={"number": number})
            recorder.close(door, child, outputs=str(number))
    recorder.close(door, tree, outputs={"answer": "here"}, status=Status.OK)
    return tree


def record_model(door: Door, run: str, parent: str | None, question: str) -> None:
    """A model call with usage."""
    messages = {"messages": [{"role": "user", "content": question}]}
    recorder.open(
        door, run, parent, kind=Kind.MODEL, name="ChatModel", inputs=messages, model="gpt-4o-mini", provider="openai"
    )
    recorder.first_token(run)
    recorder.close(door, run, outputs={"messages": [{"role": "assistant", "content": "here"}]}, usage=USAGE)
