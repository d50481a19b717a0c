"""The handler: each callback reads its arguments and calls the recorder. How they are read stands in the files beside.

What a callback may never do: raise, block, keep or change an object of the user, or hide an event from another handler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from eventtree.diagnostics import class_name
from eventtree.event import JsonValue, Kind, Status
from eventtree.langchain import answers, graphs, kinds, models, prompts, protocol, usage
from eventtree.langchain.awaitable import callback
from eventtree.langchain.left import left
from eventtree.langchain.names import key_of, name_of, started_ns
from eventtree.langchain.notes import retry_note
from eventtree.langchain.parents import parent_of
from eventtree.langchain.starters import is_fallbacks, is_told_by_langchain
from eventtree.langchain.status import CANCELLED, status_of
from eventtree.langchain.tokens import carries_content, event_carries_content, text_of
from eventtree.record import OWN_NOTES
from eventtree.recording import callback_context, pickling
from eventtree.recording.exceptions import message_of
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.recording.runs import NOTHING

Tags = Sequence[str] | None
About = Mapping[str, Any]


class CallbackHandler(BaseCallbackHandler):
    """Records LangChain and LangGraph runs: `chain.invoke(…, config={"callbacks": [CallbackHandler()]})`.

    One handler serves any number of threads, tasks and runs. A copy is the handler itself; a pickle holds no keys.
    """

    def __init__(
        self,
        *,
        vendors: Sequence[Any] | None = None,
        journal: Any = None,
        session: str | None = None,
        user: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        environment: str | None = None,
        sample_rate: float | None = None,
        **further: Any,
    ) -> None:
        """Resolve the settings: these, else those of `eventtree.configure`, else the environment's.

        Raises:
            ConfigError: a setting is wrong or missing.
            JournalError: the journal's folder cannot be used.
        """
        super().__init__()
        given = {"vendors": vendors, "journal": journal, "session": session, "user": user, "tags": tags}
        given |= {"metadata": metadata, "environment": environment, "sample_rate": sample_rate}
        self.pipeline = Pipeline(**given, **further)
        self._prompts = prompts.Prompts(self.pipeline.sanitize)
        self.raise_error = self.pipeline.settings.strict
        self.ignore_llm = self.ignore_retry = self.ignore_chain = self.ignore_agent = not self.pipeline.enabled
        self.ignore_retriever = self.ignore_chat_model = self.ignore_custom_event = not self.pipeline.enabled
        graphs.become_graph_handler(self)
        # Where it is made: the calls that follow there leave nothing else in the context.
        callback_context.share_with_callbacks()

    @property
    def last_tree_id(self) -> str | None:
        """Id of the tree that opened last in this context, for feedback."""
        return self.pipeline.last_tree_id

    # Chains, agents, graphs

    @callback
    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None,
        metadata: About | None = None, name: str | None = None, run_type: str | None = None,
        defers_inputs: bool = False, **_: Any,
    ) -> None:  # fmt: skip
        """A chain, graph, node, prompt, parser or agent starts."""
        about = metadata or NOTHING
        name = name or name_of(name, serialized, "chain")
        parent = parent_of(parent_run_id)
        kind, state = Kind.CHAIN, NOTHING
        if "ls_integration" in about:
            kind = kinds.chain_kind(kinds.agent_around(about), recorder.recall(parent).get("agent"), tags)
        if not defers_inputs and is_fallbacks(name):
            state = {"attempts": 0, "told": None if parent_run_id is None else key_of(parent_run_id)}
            recorder.numbers_attempts = True
        key = key_of(run_id)
        known = {"params": self._prompts(serialized)} if run_type == "prompt" else NOTHING
        asked = None if defers_inputs else inputs
        self._open(
            key, parent, kind, name, tags, about, inputs=asked, state=state, announced=id(run_id) ^ id(inputs), **known
        )
        if "ls_integration" in about or "thread_id" in about:
            self._in_graph(key, parent, name, about, tags, inputs)

    @callback
    def on_chain_end(self, outputs: Any, *, run_id: UUID, inputs: Any = None, **more: Any) -> None:
        """A chain is done; one that streamed says now what its input was."""
        key = key_of(run_id)
        run = recorder.runs.get(key) or recorder.find(key)
        if run is not None and run.state:
            if "interrupts" in run.state and "interrupt_noted" not in run.state:
                recorder.note(key, "interrupt", {"interrupts": run.state["interrupts"]}, pipeline=self.pipeline)
            if "thread" in run.state:
                graphs.leave_thread(run)
        self._close(run_id, key, Kind.CHAIN, more, outputs=outputs, inputs=inputs)

    @callback
    def on_chain_error(self, error: BaseException, *, run_id: UUID, inputs: Any = None, **more: Any) -> None:
        """A chain raised, was cancelled, or was left by control flow."""
        self._fail(run_id, error, Kind.CHAIN, more, inputs=inputs)

    # Models

    @callback
    def on_chat_model_start(
        self, serialized: Any, messages: Sequence[Any], *, run_id: UUID, parent_run_id: UUID | None = None,
        tags: Tags = None, metadata: About | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """A chat model is asked."""
        asked = messages[0] if len(messages) == 1 else [one for each in messages for one in each]
        self._open_model(serialized, asked, self._messages, run_id, parent_run_id, tags, metadata or {}, more)

    @callback
    def on_llm_start(
        self, serialized: Any, prompts: Sequence[str], *, run_id: UUID, parent_run_id: UUID | None = None,
        tags: Tags = None, metadata: About | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """A text model is asked."""
        self._open_model(serialized, prompts, self._prompt, run_id, parent_run_id, tags, metadata or {}, more)

    @callback
    def on_llm_new_token(self, token: Any = "", *, run_id: UUID, chunk: Any = None, **more: Any) -> None:
        """A chunk of the answer came. Only the first with content is of interest."""
        key = key_of(run_id)
        run = recorder.runs.get(key)
        if run is None or not run.token_seen:
            self._chunk(run_id, carries_content(token, chunk), more)
            run = recorder.runs.get(key)
        if (
            run is not None
            and run.streamed is not None
            and "protocol" not in run.state
            and run.pipelines[0] is self.pipeline
        ):
            run.streamed.append(text_of(token))

    @callback
    def on_stream_event(self, event: Any, *, run_id: UUID, **more: Any) -> None:
        """A protocol event of the answer came (`stream_events(version="v3")`)."""
        key = key_of(run_id)
        run = recorder.runs.get(key)
        if run is None or not run.token_seen:
            self._chunk(run_id, event_carries_content(event), more)
            run = recorder.runs.get(key)
        protocol.keep(key, event)
        if run is not None and run.streamed is not None and run.pipelines[0] is self.pipeline:
            run.streamed.append(protocol.text_of(event))

    @callback
    def on_llm_end(self, response: Any, *, run_id: UUID, **more: Any) -> None:
        """A model answered."""
        key = key_of(run_id)
        learned = self._answer(response, key)
        self._close(run_id, key, Kind.MODEL, more, outputs=response, convert=self._reply, **learned)

    @callback
    def on_llm_error(self, error: BaseException, *, run_id: UUID, response: Any = None, **more: Any) -> None:
        """A model raised or was cancelled; `response` holds what had come until then."""
        whole = protocol.complete_answer(recorder.recall(key_of(run_id))) if isinstance(error, CANCELLED) else None
        if whole is not None:
            self.on_llm_end(whole, run_id=run_id, **more)
            return
        learned = {} if response is None else self._answer(response, key_of(run_id))
        some = response if answers.has_content(response) else None
        self._fail(run_id, error, Kind.MODEL, more, outputs=some, convert=self._reply, **learned)

    # Tools

    @callback
    def on_tool_start(
        self, serialized: Any, input_str: str, *, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None,
        metadata: About | None = None, inputs: Any = None, name: str | None = None, tool_call_id: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        """A tool is called."""
        about = dict(metadata or {}) if tool_call_id is None else {**(metadata or {}), "tool_call_id": tool_call_id}
        given, name = {"input": input_str} if inputs is None else inputs, name_of(name, serialized, "tool")
        parent, announced = parent_of(parent_run_id), id(run_id) ^ id(input_str)
        key = key_of(run_id)
        self._open(key, parent, Kind.TOOL, name, tags, about, inputs=given, announced=announced)
        left.watch(run_id, key, self.pipeline)

    @callback
    def on_tool_end(self, output: Any, *, run_id: UUID, **more: Any) -> None:
        """A tool returned; an error it has handled comes as a `ToolMessage` that says so."""
        error = answers.handled_error(output)
        status = Status.OK if error is None else Status.ERROR
        self._close(run_id, key_of(run_id), Kind.TOOL, more, status=status, error=error, outputs=output)

    @callback
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        """A tool raised."""
        self._fail(run_id, error, Kind.TOOL, more)

    # Retrievers

    @callback
    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: UUID, parent_run_id: UUID | None = None, tags: Tags = None,
        metadata: About | None = None, name: str | None = None, **_: Any,
    ) -> None:  # fmt: skip
        """A retriever is asked."""
        name = name_of(name, serialized, "retriever")
        parent = parent_of(parent_run_id)
        key, given, announced = key_of(run_id), {"query": query}, id(run_id) ^ id(query)
        self._open(key, parent, Kind.RETRIEVER, name, tags, metadata or NOTHING, inputs=given, announced=announced)
        left.watch(run_id, key, self.pipeline)

    @callback
    def on_retriever_end(self, documents: Any, *, run_id: UUID, **more: Any) -> None:
        """A retriever found documents."""
        self._close(run_id, key_of(run_id), Kind.RETRIEVER, more, outputs=documents, convert=self._documents)

    @callback
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        """A retriever raised."""
        self._fail(run_id, error, Kind.RETRIEVER, more)

    # Notes on the run around

    @callback
    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **_: Any) -> None:
        """The app dispatched an event of its own inside a run."""
        name = f"custom {name}" if name in OWN_NOTES else name
        # Told by the manager of the run's children, which holds no handler twice.
        recorder.note(key_of(run_id), self.pipeline.text(name), self.pipeline.sanitize(data), pipeline=self.pipeline)

    @callback
    def on_retry(self, retry_state: Any, *, run_id: UUID, **_: Any) -> None:
        """A model of an older integration tries again."""
        if not self._is_echo(key_of(run_id)):
            recorder.note(
                key_of(run_id), "retry", self.pipeline.sanitize(retry_note(retry_state)), pipeline=self.pipeline
            )

    @callback
    def on_agent_action(self, action: Any, *, run_id: UUID, **_: Any) -> None:
        """A classic agent executor chose a tool: the run is an agent's."""
        recorder.learn(key_of(run_id), kind=Kind.AGENT)

    @callback
    def on_agent_finish(self, finish: Any, *, run_id: UUID, **_: Any) -> None:
        """A classic agent executor is done."""
        recorder.learn(key_of(run_id), kind=Kind.AGENT)

    @callback
    def on_text(self, text: str, **_: Any) -> None:
        """Nothing: what is printed here is in the runs' inputs and outputs."""

    @callback
    def on_interrupt(self, event: Any) -> None:
        """A graph pauses."""
        key = str(event.run_id)
        if self._is_echo(key):
            return
        questions = graphs.list_interrupts(event.interrupts)
        value = {**graphs.checkpoint_of(event), "interrupts": questions}
        recorder.learn(key, status=Status.INTERRUPTED)
        recorder.remember(key, interrupt_noted=True)
        recorder.note(key, "interrupt", self.pipeline.sanitize(value), pipeline=self.pipeline)
        run = recorder.find(key)
        if run is not None:
            graphs.paused.remember(event.checkpoint_id, run.tree.id)

    @callback
    def on_resume(self, event: Any) -> None:
        """A graph goes on from a checkpoint."""
        key = str(event.run_id)
        if self._is_echo(key):
            return
        graphs.link(key, event.checkpoint_id)
        recorder.note(key, "resume", self.pipeline.sanitize(graphs.checkpoint_of(event)), pipeline=self.pipeline)

    # What the callbacks share

    def _open(
        self, key: str, parent: str | None, kind: Kind, name: str, tags: Tags, about: About, *,
        state: About = NOTHING, **more: Any,
    ) -> None:  # fmt: skip
        if key in recorder.runs and not is_told_by_langchain():
            more["announced"] = 0  # two that the app tells are two; objects made for a call may lie in the same place
        attempt = None
        if recorder.numbers_attempts and key not in recorder.runs:
            attempt = self._fallback_attempt(parent)
        if attempt is None and tags:  # a fallback of something retried bears the tag of what is around it
            attempt = kinds.attempt_of(tags)
        if attempt is not None:
            about = {**about, "attempt": attempt}
        if kinds.is_internal(name, tags):
            more["internal"] = True
        if "ls_integration" in about and (agent := kinds.agent_around(about)) is not None:
            state = {**state, "agent": agent}
        recorder.open(self.pipeline, key, parent, kind=kind, name=name, tags=tags, metadata=about, state=state,
                      framework="langchain", **more)  # fmt: skip

    def _close(self, run_id: UUID, key: str, kind: Kind, more: Mapping[str, Any], **learned: Any) -> None:
        if_unopened = None if key in recorder.runs else self._unseen(run_id, kind, more)
        recorder.close(self.pipeline, key, if_unopened=if_unopened, **learned)

    def _open_model(
        self, serialized: Any, asked: Any, shape: Any, run_id: UUID, parent_run_id: UUID | None, tags: Tags,
        about: About, more: Mapping[str, Any],
    ) -> None:  # fmt: skip
        invocation = more.get("invocation_params") or {}
        provider = about.get("ls_provider")
        params = models.params_of(invocation, about)
        url = models.base_url(serialized)
        known = {} if url is None else {"base_url": self.pipeline.text(url)}
        key = key_of(run_id)
        self._open(
            key, parent_of(parent_run_id), Kind.MODEL, name_of(more.get("name"), serialized, "model"), tags,
            about, inputs=asked, announced=id(run_id) ^ id(asked), convert=shape,
            provider=provider, model=models.requested_model(invocation, about),
            params=self.pipeline.sanitize(params) if params else None,
            state={
                "provider": provider, "is_guess": models.is_class_name(provider, serialized),
                "batch_size": more.get("batch_size") or 1,
            }, **known,
        )  # fmt: skip
        left.watch(run_id, key, self.pipeline)

    def _chunk(self, run_id: UUID, has_content: bool, more: Mapping[str, Any]) -> None:
        """A chunk before the first that carries content, or that one."""
        key = key_of(run_id)
        if not recorder.knows(key):
            recorder.open(self.pipeline, key, **self._unseen(run_id, Kind.MODEL, more))
        recorder.remember(key, streamed=True)
        if has_content:
            recorder.first_token(key)

    def _in_graph(self, key: str, parent: str | None, name: str, about: About, tags: Tags, inputs: Any) -> None:
        """What only runs of graphs have: agents known by what is below them, and resuming."""
        graphs.become_graph_handler(self)
        told = recorder.find(key)
        if told is not None and told.duplicates:
            return
        levels = kinds.makes_agent(name, about, tags)
        for _ in range(levels - 1):
            run = recorder.find(parent) if parent is not None else None
            parent = run.parent if run is not None else None
        if levels and parent is not None:
            recorder.learn(parent, kind=Kind.AGENT)
        answer = graphs.resume_of(inputs)
        thread = graphs.thread_of(about) if parent is None else None
        if thread is not None:
            recorder.remember(key, thread=thread)
        if answer is not None:
            graphs.link(key, thread)
            recorder.note(key, "resume", self.pipeline.sanitize({"resume": answer}), pipeline=self.pipeline)

    def _fallback_attempt(self, parent: str | None) -> int | None:
        """Number of an attempt below a `with_fallbacks`."""
        attempts = recorder.recall(parent).get("attempts")
        if attempts is None or parent is None:
            return None
        recorder.remember(parent, attempts=attempts + 1)
        return int(attempts) + 1

    def _fail(self, run_id: UUID, error: BaseException, kind: Kind, more: Mapping[str, Any], **learned: Any) -> None:
        key = key_of(run_id)
        status, control = status_of(error)
        if status is Status.INTERRUPTED:
            self._interrupt(key, error, more)
        elif status is not Status.ERROR:
            note = {"type": control or class_name(error), "message": message_of(error)}
            recorder.note(
                key, "control_flow" if control else "cancelled", self.pipeline.sanitize(note), pipeline=self.pipeline
            )
        shown = error if status is Status.ERROR else None
        self._close(run_id, key, kind, more, status=status, error=shown, **learned)

    def _interrupt(self, key: str, error: BaseException, more: Mapping[str, Any]) -> None:
        """Note the questions; a node's interrupt pauses its graph, which ends as if nothing were."""
        questions = self.pipeline.sanitize(graphs.interrupts_of(error))
        recorder.note(key, "interrupt", {"interrupts": questions}, pipeline=self.pipeline)
        graph = more.get("parent_run_id")
        if graph is not None and kinds.is_node(more.get("tags")):
            recorder.learn(str(graph), status=Status.INTERRUPTED)
            recorder.remember(str(graph), interrupts=questions)

    def _is_echo(self, key: str) -> bool:
        """Whether an event of a run comes again, to a handler that a configuration holds twice."""
        run = recorder.find(key)
        if run is None or not run.duplicates or run.pipelines[0] is not self.pipeline:
            return False
        heard = run.state.get("heard", 0)
        recorder.remember(key, heard=heard + 1)
        return bool(heard % (run.duplicates + 1))

    def _answer(self, response: Any, key: str) -> dict[str, JsonValue]:
        state = recorder.recall(key)
        return usage.learned_from(response, answers.generations_of(response), state, self.pipeline.sanitize)

    def _unseen(self, run_id: UUID, kind: Kind, more: Mapping[str, Any]) -> dict[str, Any]:
        """What can be said of a run whose start another handler has hidden from us (scenario A9)."""
        parent = more.get("parent_run_id")
        return {
            "parent_id": None if parent is None else str(parent), "kind": kind, "name": more.get("name") or kind.value,
            "tags": more.get("tags"), "framework": "langchain", "start_ns": started_ns(run_id),
        }  # fmt: skip

    def _messages(self, messages: Any) -> JsonValue:
        return {"messages": self.pipeline.sanitize.messages(messages)}

    def _prompt(self, prompts: Sequence[str]) -> JsonValue:
        texts = self.pipeline.sanitize(list(prompts))
        return {"prompt": texts[0]} if len(texts) == 1 else {"prompts": texts}

    def _documents(self, documents: Any) -> JsonValue:
        return {"documents": self.pipeline.sanitize.documents(list(documents))}

    def _reply(self, response: Any) -> JsonValue:
        return answers.reply(response, self.pipeline.sanitize)

    # How LangChain sees the handler

    @property
    def run_inline(self) -> bool:  # type: ignore[override]
        """False: an inline handler hides `on_llm_start` from the others. Read in the caller's own task."""
        callback_context.share_with_callbacks()
        return False

    # Asked before each callback, so no properties as in the base class.
    ignore_llm = ignore_retry = ignore_chain = ignore_agent = False
    ignore_retriever = ignore_chat_model = ignore_custom_event = False

    def __copy__(self) -> Self:
        """Be one's own copy: frameworks copy configurations, and a copy must not record twice."""
        return self

    def __deepcopy__(self, state: dict[int, Any]) -> Self:
        """As `__copy__`."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings without keys."""
        return pickling.unpickle, (CallbackHandler, pickling.without_secrets(self.pipeline.settings))
