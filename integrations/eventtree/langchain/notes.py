"""Callbacks on open runs: custom events, retries, interrupts, and agent actions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from eventtree.diagnostics import message_of
from eventtree.event import Kind, Status
from eventtree.langchain import langgraph
from eventtree.langchain.awaitable import callback
from eventtree.langchain.classify import key_of
from eventtree.langchain.reports import RunReports
from eventtree.record import OWN_NOTES
from eventtree.recording.recorder import recorder


class RunNotes(RunReports):
    """The callbacks on runs that are open."""

    @callback
    def on_custom_event(self, name: str, data: Any, run_id: UUID) -> None:
        """The app dispatched an event of its own inside a run."""
        name = f"custom {name}" if name in OWN_NOTES else name
        # No check for duplicates: the child manager, which reports it, has no handler twice.
        recorder.note(key_of(run_id), name, data, pipeline=self.pipeline)

    @callback
    def on_retry(self, retry_state: Any, run_id: UUID) -> None:
        """A model of an older integration tries again."""
        if not self._is_repeated(key_of(run_id)):
            recorder.note(key_of(run_id), "retry", retry_note(retry_state), pipeline=self.pipeline)

    @callback
    def on_agent_action(self, action: Any, run_id: UUID) -> None:
        """A classic agent executor chose a tool: the run is an agent's."""
        recorder.learn(key_of(run_id), kind=Kind.AGENT)

    @callback
    def on_agent_finish(self, finish: Any, run_id: UUID) -> None:
        """A classic agent executor has finished."""
        recorder.learn(key_of(run_id), kind=Kind.AGENT)

    @callback
    def on_text(self, text: str) -> None:
        """Ignored: the text is in the runs' inputs and outputs."""

    @callback
    def on_interrupt(self, event: Any) -> None:
        """A graph pauses."""
        key = str(event.run_id)
        if self._is_repeated(key):
            return
        value = {**langgraph.checkpoint_of(event), "interrupts": langgraph.interrupts_of(event.interrupts)}
        recorder.learn(key, status=Status.INTERRUPTED)
        recorder.remember(key, interrupt_noted=True)
        recorder.note(key, "interrupt", value, pipeline=self.pipeline)
        run = recorder.find(key)
        if run is not None:
            langgraph.PAUSED.keep(event.checkpoint_id, run.tree.id)

    @callback
    def on_resume(self, event: Any) -> None:
        """A graph goes on from a checkpoint."""
        key = str(event.run_id)
        if self._is_repeated(key):
            return
        langgraph.link(key, event.checkpoint_id)
        recorder.note(key, "resume", langgraph.checkpoint_of(event), pipeline=self.pipeline)


def retry_note(state: Any) -> dict[str, Any]:
    """The number of the failed attempt, its error, and the wait before the next."""
    outcome = getattr(state, "outcome", None)
    error = outcome.exception() if outcome is not None and getattr(outcome, "failed", False) else None
    action = getattr(state, "next_action", None)
    return {
        "attempt": getattr(state, "attempt_number", None),
        "error": None if error is None else {"type": type(error).__name__, "message": message_of(error)},
        "wait_seconds": getattr(action, "sleep", None),
    }
