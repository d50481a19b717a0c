"""Code that the callbacks share: how a run opens, fails, streams and pauses; and the callbacks on open runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from eventtree.content import items_of
from eventtree.diagnostics import class_name, message_of
from eventtree.kinds import RETRIEVER, JsonValue, Kind, Status
from eventtree.langchain import abandoned, langgraph, models
from eventtree.langchain.awaitable import callback
from eventtree.langchain.classify import class_of, key_of, name_of, started_ns
from eventtree.langchain.parents import parent_of
from eventtree.record import OWN_NOTES
from eventtree.recording.pipeline import Pipeline, Prepared
from eventtree.recording.recorder import recorder
from eventtree.recording.runs import NOTHING
from eventtree.recording.status import status_of
from eventtree.tree.structure import is_node
from eventtree.usage.collect import figures, files_sent

Tags = Sequence[str] | None
About = Mapping[str, Any]

FRAMEWORK = "langchain"
CHAIN, MODEL, OK = Kind.CHAIN, Kind.MODEL, Status.OK


class RunReports:
    """The runs of one handler, as its callbacks report them."""

    pipeline: Pipeline

    def _opened(self, run_id: UUID, kind: Kind, parent_run_id: UUID | None, tags: Tags) -> str:
        """The key of a run that has something to report. One whose start another handler has hidden from ours is
        opened now, with what is known of it (scenario A9); an end that comes twice opens nothing.
        """
        key = key_of(run_id)
        if key not in recorder.runs and not recorder.knows(key):
            parent = None if parent_run_id is None else str(parent_run_id)
            start = started_ns(run_id)
            recorder.open(self.pipeline, key, parent, kind, kind.value, tags=tags, framework=FRAMEWORK, start_ns=start)
        return key

    def _open_call(
        self, run_id: UUID, kind: Kind, name: str, given: Any, parent_run_id: UUID | None, tags: Tags, about: Any
    ) -> None:
        """A tool or retriever is called."""
        key, parent = key_of(run_id), parent_of(parent_run_id)
        recorder.open(self.pipeline, key, parent, kind, name, given, metadata=about, tags=tags, framework=FRAMEWORK)
        abandoned.watch(run_id, key, self.pipeline, in_sync=kind is RETRIEVER)

    def _open_model(
        self, serialized: Any, asked: Any, shape: Any, run_id: UUID, parent_run_id: UUID | None, tags: Tags,
        about: About | None, name: str | None, invocation: About | None, batch_size: int | None,
    ) -> None:  # fmt: skip
        about, invocation = about or NOTHING, invocation or NOTHING
        provider, params = about.get("ls_provider"), models.params_of(invocation, about)
        cls, base_url = class_of(serialized), models.base_url(serialized)
        model = models.requested_model(invocation, about)
        known = {"provider": provider, "model": model, "params": params, "base_url": base_url}
        # What its usage is read with.
        call = {"provider": figures(provider)} if provider else {}
        if batch_size and batch_size != 1:
            call["batch_size"] = figures(batch_size)
        is_silent = type(provider) is str and provider.startswith(models.SILENT)
        if is_silent and (wanted := models.asked_of(invocation, serialized)):
            call["asked"] = figures(wanted)
        if not self.pipeline.content and (sent := files_sent(asked)):
            call["sent"] = figures(sent)
        state = {"class": cls, "call": call}
        key = key_of(run_id)
        name = name if type(name) is str and name else name_of(name, serialized, "model")
        parent = parent_of(parent_run_id)
        recorder.open(self.pipeline, key, parent, MODEL, name, asked, shape, about, tags, known, state, FRAMEWORK)
        abandoned.watch(run_id, key, self.pipeline)

    def _chunk(self, run_id: UUID, has_content: bool, parent_run_id: UUID | None, tags: Tags) -> None:
        """A chunk before the first that carries content, or that one."""
        key = self._opened(run_id, MODEL, parent_run_id, tags)
        recorder.remember(key, streamed=True)
        if has_content:
            recorder.first_token(key)

    def _in_graph(self, key: str, parent: str | None, about: About, inputs: Any) -> None:
        """Record the thread of a graph's run, and whether it resumes another."""
        langgraph.become_graph_handler(self)
        run = recorder.find(key)
        if run is not None and run.duplicates:
            return
        resume = langgraph.resume_of(inputs)
        thread = langgraph.thread_of(about) if parent is None else None
        if thread is not None:
            recorder.remember(key, thread=thread)
        if resume is not None:
            langgraph.link(key, thread)
            recorder.note(key, "resume", {"resume": resume}, pipeline=self.pipeline)

    def _fail(
        self, run_id: UUID, error: BaseException, kind: Kind, parent_run_id: UUID | None, tags: Tags,
        inputs: Any = None, outputs: Any = None, convert: Any = None, learned: About = NOTHING,
    ) -> None:  # fmt: skip
        key = key_of(run_id)
        status, control = status_of(error)
        if status is Status.INTERRUPTED:
            self._interrupt(key, error, parent_run_id, tags)
        elif status is not Status.ERROR:
            note = {"type": control or class_name(error), "message": message_of(error)}
            recorder.note(key, "control_flow" if control else "cancelled", note, pipeline=self.pipeline)
        shown = error if status is Status.ERROR else None
        self._opened(run_id, kind, parent_run_id, tags)
        recorder.close(self.pipeline, key, status, outputs, convert, shown, inputs, learned=learned)

    def _interrupt(self, key: str, error: BaseException, parent_run_id: UUID | None, tags: Tags) -> None:
        """Note the questions; a node's interrupt pauses its graph, which then ends normally."""
        questions = Prepared(
            self.pipeline.part("value", {"interrupts": langgraph.interrupts_of(error.args[0] if error.args else ())})
        )
        recorder.note(key, "interrupt", questions, pipeline=self.pipeline)
        if parent_run_id is not None and is_node(tags):
            graph = str(parent_run_id)
            recorder.learn(graph, status=Status.INTERRUPTED)
            recorder.remember(graph, interrupts=questions)

    def _is_repeated(self, key: str) -> bool:
        """Whether a handler that is registered twice reports an event of a run again."""
        run = recorder.find(key)
        if run is None or not run.duplicates or run.pipelines[0] is not self.pipeline:
            return False
        reported = run.state.get("reported", 0)
        recorder.remember(key, reported=reported + 1)
        return bool(reported % (run.duplicates + 1))

    def _messages(self, messages: Any) -> JsonValue:
        return {"messages": self.pipeline.sanitize.messages(messages)}

    def _prompt(self, prompts: Any) -> JsonValue:
        texts = self.pipeline.plain(prompts)
        return {"prompt": texts[0]} if type(texts) is list and len(texts) == 1 else {"prompts": texts}

    def _documents(self, documents: Any) -> JsonValue:
        return {"documents": self.pipeline.sanitize.found(documents)}

    # Callbacks on runs that are open: custom events, retries, interrupts, and agent actions

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


def joined(messages: Any) -> Any:
    """All messages of a batch in one list."""
    batches = items_of(messages)
    if batches is None:
        return messages
    return batches[0] if len(batches) == 1 else [one for each in batches for one in items_of(each) or (each,)]
