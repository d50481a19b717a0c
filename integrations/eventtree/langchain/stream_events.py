"""Answers streamed as protocol events (`astream_events(version="v3")`), whose end LangChain reports too late.

In async code the model's task reports `on_llm_end` after the user has got the last event; a script whose loop ends with
that event cancels the task, and the run would be cancelled, without output. So the completed blocks of the answer are
kept until the run's end, and a run with a complete answer counts as answered.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from eventtree import process
from eventtree.loop import running_loop
from eventtree.recording.recorder import recorder

MESSAGE_BEGUN = "message-start"
BLOCK_DONE = "content-block-finish"
MESSAGE_DONE = "message-finish"
CALL = ("name", "args", "id")
WAIT_SECONDS = 1.0
POLL_SECONDS = 0.005


def keep(run_id: str, event: Any) -> None:
    """Keep a completed block of the answer, or the completed answer with its usage."""
    kind = event.get("event") if isinstance(event, Mapping) else None
    if kind == MESSAGE_BEGUN:
        # A model may report tokens too; from here on their text would be recorded twice.
        recorder.remember(run_id, by_event=True)
        run = recorder.find(run_id)
        if run is not None and run.streamed:
            run.streamed.clear()
    elif kind == BLOCK_DONE:
        block = event.get("content_block", event.get("content"))
        blocks = recorder.recall(run_id).get("blocks", {})
        recorder.remember(run_id, blocks={**blocks, event.get("index", len(blocks)): dict(block or {})})
    elif kind == MESSAGE_DONE:
        recorder.remember(run_id, answered=dict(event))


def text_of(event: Any) -> str:
    """The text that an event adds to the answer."""
    delta = event.get("delta") if isinstance(event, Mapping) else None
    return str(delta["text"]) if isinstance(delta, Mapping) and delta.get("type") == "text-delta" else ""


def complete_answer(state: Mapping[str, Any]) -> Any:
    """The `LLMResult` of a complete answer; None if it is not complete."""
    finish = state.get("answered")
    if finish is None:
        return None
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, LLMResult

    about = {**(finish.get("metadata") or {})}
    if finish.get("reason"):
        about.setdefault("finish_reason", finish["reason"])
    blocks = list(state.get("blocks", {}).values())
    # As LangChain itself does it: a call's block may have more keys than a call accepts (an index).
    calls = [{key: block.get(key) for key in CALL} for block in blocks if block.get("type") == "tool_call"]
    message = AIMessage(
        content=blocks, tool_calls=calls, usage_metadata=finish.get("usage"), response_metadata=about,
        additional_kwargs=finish.get("additional_kwargs") or {},
    )  # fmt: skip
    return LLMResult(generations=[[ChatGeneration(message=message)]])


def await_ends() -> None:
    """Wait a moment for the ends of runs whose answer is complete. Not in a loop's thread, where they come later."""
    if running_loop() is not None:
        return
    deadline = time.monotonic() + WAIT_SECONDS
    while any("answered" in run.state for run in list(recorder.runs.values())) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


process.before_flush(await_ends)
