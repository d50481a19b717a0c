"""The handler: each callback reads its arguments, by the files beside this one, and calls the recorder.

A callback must never raise, block, keep or change an object of the user, or hide an event from another handler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from eventtree.config import HandlerSettings
from eventtree.content.reported import reported_failure
from eventtree.kinds import Kind, Status
from eventtree.langchain import abandoned, langgraph, prompts, responses, stream_events, usage
from eventtree.langchain.awaitable import callback
from eventtree.langchain.classify import FALLBACKS, key_of, name_of
from eventtree.langchain.parents import parent_of
from eventtree.langchain.reports import CHAIN, FRAMEWORK, MODEL, OK, About, RunReports, Tags, joined
from eventtree.langchain.responses import carries_content, event_carries_content, text_of
from eventtree.recording import callback_context
from eventtree.recording.handler import Handler
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.recording.runs import NOTHING
from eventtree.recording.status import CANCELLED
from eventtree.usage.collect import snapshot
from eventtree.usage.failed import body_in, messages_in


class CallbackHandler(RunReports, Handler, BaseCallbackHandler):
    """Records LangChain and LangGraph runs: `chain.invoke(…, config={"callbacks": [CallbackHandler()]})`.

    One handler serves any number of threads, tasks and runs. A copy is the handler itself; a pickle holds no keys.
    """

    def __init__(self, **settings: Unpack[HandlerSettings]) -> None:
        """Resolve the settings: these, else those of `eventtree.configure`, else the environment's.

        Raises:
            ConfigError: a setting is wrong or missing.
            JournalError: the journal's folder cannot be used.
        """
        super().__init__()
        self.pipeline = Pipeline(**settings)
        self.raise_error = self.pipeline.settings.strict
        self.ignore_llm = self.ignore_retry = self.ignore_chain = self.ignore_agent = not self.pipeline.enabled
        self.ignore_retriever = self.ignore_chat_model = self.ignore_custom_event = not self.pipeline.enabled
        langgraph.become_graph_handler(self)
        # In the context where the handler is made, so that calls in it share one holder of the last tree's id.
        callback_context.share_with_callbacks()

    # Chains, agents, graphs

    @callback
    def on_chain_start(
        self, serialized: Any, inputs: Any, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None,
        metadata: About | None = None, name: str | None = None, run_type: str | None = None,
        defers_inputs: bool = False,
    ) -> None:  # fmt: skip
        """A chain, graph, node, prompt, parser or agent starts."""
        key, parent, state = key_of(run_id), parent_of(parent_run_id), NOTHING
        name = name if type(name) is str and name else name_of(name, serialized, "chain")
        if name == FALLBACKS and not defers_inputs:
            state = {"attempts": 0, "reported_parent": None if parent_run_id is None else key_of(parent_run_id)}
            recorder.numbers_attempts = True
        known = {"params": prompts.prepared(serialized, self.pipeline)} if run_type == "prompt" else NOTHING
        given = None if defers_inputs else inputs
        recorder.open(self.pipeline, key, parent, CHAIN, name, given, None, metadata, tags, known, state, FRAMEWORK)
        if parent not in recorder.runs:
            abandoned.watch(run_id, key, self.pipeline, in_sync=name == FALLBACKS)
        if isinstance(metadata, dict) and metadata and ("ls_integration" in metadata or "thread_id" in metadata):
            self._in_graph(key, parent, metadata, inputs)

    @callback
    def on_chain_end(
        self, outputs: Any, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None, inputs: Any = None,
    ) -> None:  # fmt: skip
        """A chain has ended; a chain that streamed reports its inputs only now."""
        key = key_of(run_id)
        run = recorder.runs.get(key) or recorder.find(key)
        if run is None:
            self._opened(run_id, Kind.CHAIN, parent_run_id, tags)
        elif run.state:
            if "interrupts" in run.state and "interrupt_noted" not in run.state:
                recorder.note(key, "interrupt", run.state["interrupts"], pipeline=self.pipeline)
            if "thread" in run.state:
                langgraph.leave_thread(run)
        recorder.close(self.pipeline, key, OK, outputs, None, None, inputs)

    @callback
    def on_chain_error(
        self, error: BaseException, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None,
        inputs: Any = None,
    ) -> None:  # fmt: skip
        """A chain raised, was cancelled, or ended by control flow."""
        self._fail(run_id, error, Kind.CHAIN, parent_run_id, tags, inputs)

    # Models

    @callback
    def on_chat_model_start(
        self, serialized: Any, messages: Sequence[Any], run_id: UUID, parent_run_id: UUID | None = None,
        tags: Tags = None, metadata: About | None = None, name: str | None = None,
        invocation_params: About | None = None, batch_size: int | None = None, options: Any = None,
    ) -> None:  # fmt: skip
        """A chat model is asked."""
        asked = messages[0] if type(messages) is list and len(messages) == 1 else joined(messages)
        self._open_model(
            serialized, asked, self._messages, run_id, parent_run_id, tags, metadata, name, invocation_params,
            batch_size,
        )  # fmt: skip

    @callback
    def on_llm_start(
        self, serialized: Any, prompts: Sequence[str], run_id: UUID, parent_run_id: UUID | None = None,
        tags: Tags = None, metadata: About | None = None, name: str | None = None,
        invocation_params: About | None = None, batch_size: int | None = None, options: Any = None,
    ) -> None:  # fmt: skip
        """A text model is asked."""
        self._open_model(
            serialized, prompts, self._prompt, run_id, parent_run_id, tags, metadata, name, invocation_params,
            batch_size,
        )  # fmt: skip

    @callback
    def on_llm_new_token(
        self, token: Any, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None,
        chunk: Any = None,
    ) -> None:  # fmt: skip
        """A chunk of the answer came: the first with content is noted, and the usage in chunks is added up."""
        key = key_of(run_id)
        run = recorder.runs.get(key)
        # First the note: it opens a run whose start was not reported; from then on the text is gathered.
        if run is None or not run.token_seen:
            self._chunk(run_id, carries_content(token, chunk), parent_run_id, tags)
            run = recorder.runs.get(key)
        if run is None or run.pipelines[0] is not self.pipeline:
            return
        if run.streamed is not None and "by_event" not in run.state:
            run.streamed.append(token if type(token) is str else text_of(token))
        counts = getattr(getattr(chunk, "message", None), "usage_metadata", None)
        if counts and not self._is_repeated(key):
            recorder.remember(key, chunks=snapshot(run.state.get("chunks"), counts))

    @callback
    def on_stream_event(self, event: Any, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None) -> None:
        """A protocol event of the answer came (`stream_events(version="v3")`)."""
        key = key_of(run_id)
        run = recorder.runs.get(key)
        if run is None or not run.token_seen:
            self._chunk(run_id, event_carries_content(event), parent_run_id, tags)
            run = recorder.runs.get(key)
        stream_events.keep(key, event)
        if run is not None and run.streamed is not None and run.pipelines[0] is self.pipeline:
            run.streamed.append(stream_events.text_of(event))

    @callback
    def on_llm_end(self, response: Any, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None) -> None:
        """A model answered."""
        key = self._opened(run_id, MODEL, parent_run_id, tags)
        learned = usage.learned_from(response, responses.generations_of(response), recorder.recall(key))
        recorder.close(self.pipeline, key, OK, response, None, None, None, None, learned)

    @callback
    def on_llm_error(
        self, error: BaseException, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None,
        response: Any = None,
    ) -> None:  # fmt: skip
        """A model raised or was cancelled; `response` is the answer so far."""
        # Before the status is read: a cancelled task with a complete answer counts as answered.
        whole = stream_events.complete_answer(recorder.recall(key_of(run_id))) if isinstance(error, CANCELLED) else None
        if whole is not None:
            self.on_llm_end(whole, run_id=run_id, parent_run_id=parent_run_id, tags=tags)
            return
        generations = responses.generations_of(response)
        some = [one for one in generations if responses.has_content(one)]
        body = None if some else body_in(error, responses.body_of(generations))
        learned = usage.learned_from(response, generations, recorder.recall(key_of(run_id)), body)
        outputs, convert = (list(messages_in(body)), self._messages) if body is not None else (responses.of(some), None)
        self._fail(run_id, error, Kind.MODEL, parent_run_id, tags, None, outputs or None, convert, learned)

    # Tools

    @callback
    def on_tool_start(
        self, serialized: Any, input_str: str, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None,
        metadata: About | None = None, inputs: Any = None, name: str | None = None, tool_call_id: Any = None,
    ) -> None:  # fmt: skip
        """A tool is called."""
        about = dict(metadata or {}) if tool_call_id is None else {**(metadata or {}), "tool_call_id": tool_call_id}
        given, name = {"input": input_str} if inputs is None else inputs, name_of(name, serialized, "tool")
        self._open_call(run_id, Kind.TOOL, name, given, parent_run_id, tags, about)

    @callback
    def on_tool_end(self, output: Any, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None) -> None:
        """A tool returned; its result may report a failure."""
        error = reported_failure(output, self.pipeline.sanitize)
        status = Status.OK if error is None else Status.ERROR
        key = self._opened(run_id, Kind.TOOL, parent_run_id, tags)
        recorder.close(self.pipeline, key, status=status, error=error, outputs=output)

    @callback
    def on_tool_error(
        self, error: BaseException, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None
    ) -> None:
        """A tool raised."""
        self._fail(run_id, error, Kind.TOOL, parent_run_id, tags)

    # Retrievers

    @callback
    def on_retriever_start(
        self, serialized: Any, query: str, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None,
        metadata: About | None = None, name: str | None = None,
    ) -> None:  # fmt: skip
        """A retriever is asked."""
        name = name_of(name, serialized, "retriever")
        self._open_call(run_id, Kind.RETRIEVER, name, {"query": query}, parent_run_id, tags, metadata)

    @callback
    def on_retriever_end(
        self, documents: Any, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None
    ) -> None:
        """A retriever found documents."""
        key = self._opened(run_id, Kind.RETRIEVER, parent_run_id, tags)
        recorder.close(self.pipeline, key, outputs=documents, convert=self._documents)

    @callback
    def on_retriever_error(
        self, error: BaseException, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None
    ) -> None:
        """A retriever raised."""
        self._fail(run_id, error, Kind.RETRIEVER, parent_run_id, tags)

    # Attributes that LangChain reads

    @property
    def run_inline(self) -> bool:  # type: ignore[override]
        """False: an inline handler would hide `on_llm_start` from others. LangChain reads it in the caller's task."""
        callback_context.share_with_callbacks()
        return False

    # Read before each callback, so plain attributes, not properties as in the base class.
    ignore_llm = ignore_retry = ignore_chain = ignore_agent = False
    ignore_retriever = ignore_chat_model = ignore_custom_event = False
