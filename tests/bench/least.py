"""The fewest steps that the callbacks of W1 can take with our promises kept: the floor `instructions --floor` prints.

`chain.Floor` shows what it takes to be told and to write. Here stands what the promises add to that, for the runs of W1
alone, and each in the cheapest way that we know: one function for a callback, records put together as text around what
is constant, a table under the runs' numbers. The lines are those of the product (`test_least.py` compares them). Where
a run asks for more than those of W1 do, `Unmet` is raised: the look whether it does is here, what is done then is not.

What is kept: nothing raised reaches the app, and nothing is done while recording is off; a run is entered and left
once, whatever thread or signal handler reports it, and stays known as a parent; its clocks are its own; every value is
looked at before it is written (its class, its length, its characters), and bounded; nothing of the app's is kept; usage
is kept as it was reported; each line has a number and a checksum, is counted before and remembered after it is written,
and a disk that is slow, refuses, or writes a part of it is noticed; session, remote caller and other frameworks are
asked for what encloses a run.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from itertools import count
from threading import RLock
from time import monotonic, monotonic_ns, time_ns
from typing import Any
from uuid import UUID
from zlib import crc32

import orjson
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.messages.base import TextAccessor
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables.config import var_child_runnable_config
from llama_index_instrumentation.span import active_span_id

from eventtree import diagnostics
from eventtree.content.fast_path import ANSWER_FIELDS, CONVERSATIONS, LONGEST_WRITTEN, SHORT
from eventtree.content.messages import ELSEWHERE
from eventtree.journal.overflow import is_slow
from eventtree.langchain.awaitable import FINISHED
from eventtree.langchain.models import GIVEN
from eventtree.langchain.prompts import params_of
from eventtree.loop import running_loop
from eventtree.recording.around import follow_remote_graphs
from eventtree.recording.model_settings import IS_URL, PARAMS
from eventtree.recording.remote import active_traceparent, inner
from eventtree.recording.runs import ENDED_RUNS
from eventtree.recording.session import open_example, open_session
from eventtree.remembered import Remembered
from eventtree.usage.collect import LOOKED_FOR

LOOK_SECONDS, LOOK_BYTES = 1e9, 64 * 1024
MOST_BYTES = 4_000
dumps, write = orjson.dumps, os.write


class Unmet(Exception):
    """W1 does not ask for this."""


class Tree:
    """A tree, with what the product keeps of one."""

    __slots__ = ("id", "is_asked", "journal", "key", "numbers", "open", "pipelines", "skipped")


class Run:
    """A run, with what the product keeps of one."""

    __slots__ = ("call", "ended", "id", "late", "parent", "pipelines", "start", "streamed", "tree")


class Last:
    """The tree that opened last in a context, and the loop of that."""

    __slots__ = ("id", "loop")


class Written:
    """How many lines have opened an event for these vendors."""

    opened = 0


class Least(BaseCallbackHandler):
    """Records W1, and nothing else."""

    def __init__(self, path: str) -> None:
        """Write to a new file."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._enabled, self._content, self._limit = True, True, 10_000
        self._runs: dict[int, Run] = {}
        self._ended: dict[int, Run] = {}
        self._lock = RLock()
        self._is_writing = self._is_holding = False
        self._next_look, self._look_size = LOOK_SECONDS, LOOK_BYTES
        self._inner: list[Any] = []
        self._unsure: list[Any] = []
        self._number = self._size = self._checksum = 0
        self._counted = Written()
        self._full = None
        self._asks_more = False
        """Whether its settings sample, capture, name callers, or add something to roots."""
        self._last: Any = None
        self.raise_error = True

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, tags: Any = None,
        metadata: Any = None, name: Any = None, run_type: Any = None, **_: Any,
    ) -> Any:  # fmt: skip
        """A run opened."""
        try:
            if not self._enabled:
                return FINISHED
            now, key = time_ns(), run_id.int
            run = Run()
            run.id = identity = dumps(run_id)
            # Enter it into the table.
            runs = self._runs
            if parent_run_id is None:
                tree = run.tree = Tree()
                tree.id, tree.key, tree.open, tree.pipelines = identity, key, {}, self
                tree.is_asked, tree.skipped, tree.numbers = False, self._full, count(1)
                run.parent = None
                about = self._root(tree)
                if runs:
                    raise Unmet  # the oldest may have to go
            else:
                above = runs.get(parent_run_id.int) or self._ended[parent_run_id.int]
                # What else may enclose it: own code, LlamaIndex, and what only a root's first child can see.
                if inner.get() is not None or active_span_id.get() is not None:
                    raise Unmet
                tree = run.tree = above.tree
                if not tree.is_asked:
                    tree.is_asked = True
                    if var_child_runnable_config.get().get("configurable"):
                        raise Unmet
                run.parent, about = above.id, b""
            run.call = run.late = run.streamed = None
            run.pipelines, run.start = self, monotonic_ns()
            if key in self._ended or runs.setdefault(key, run) is not run or len(runs) > self._limit:
                raise Unmet
            tree.open[key] = None
            next(tree.numbers)
            if tree.skipped or tree.pipelines is not self or metadata:
                raise Unmet
            # What the record says of the run.
            if type(name) is not str or name == "RunnableWithFallbacks":
                raise Unmet
            more = about
            if run_type == "prompt":
                more = b'%b,"params":%b' % (more, template(serialized))
            if tags:
                if type(tags) is not list or len(tags) != 1 or type(tags[0]) is not str:
                    raise Unmet
                more = b'%b,"tags":[%b]' % (more, NAMES[tags[0]])
            kind = type(inputs)
            if kind is dict:
                plain = of_dict(inputs)
            elif kind is AIMessage:
                plain = of_message(inputs.__dict__, inputs, b"assistant")
            else:
                raise Unmet
            if not self._content:
                raise Unmet
            self._append(
                b'{"r":"open","id":%b,"tree":%b,"parent":%b,"kind":"chain","name":%b,"start":%d,'
                b'"framework":"langchain"%b,"inputs":%b}'
                % (identity, tree.id, run.parent or b"null", NAMES[name], now, more, plain),
                self._counted,
            )
        except BaseException as error:
            if diagnostics.must_pass(error) or error:
                raise
        return FINISHED

    def on_chain_end(self, outputs: Any, *, run_id: UUID, inputs: Any = None, **_: Any) -> Any:
        """A run closed."""
        try:
            if not self._enabled:
                return FINISHED
            key = run_id.int
            # Take it off the table.
            run = self._runs[key]
            ended = run.ended = monotonic_ns()
            self._ended[key] = run
            if self._runs.pop(key, None) is None or run.late or run.call or run.streamed or inputs is not None:
                raise Unmet
            tree = run.tree
            tree.open.pop(key, None)
            if len(self._ended) > ENDED_RUNS:
                self._ended.clear()
            if tree.skipped or not self._content:
                raise Unmet
            more = b""
            if key == tree.key:
                if tree.open or CONVERSATIONS:
                    raise Unmet
                more = b'"vendors":[],"events":%d,' % (next(tree.numbers) - 1)
            # What it gave.
            kind = type(outputs)
            if kind is str or kind is TextAccessor:
                plain = of_text(str.__str__(outputs))
            elif kind is ChatPromptValue:
                messages = outputs.__dict__["messages"]
                if type(messages) is not list:
                    raise Unmet
                plain = b'{"messages":[%b]}' % of_messages(messages)
            else:
                raise Unmet
            self._append(
                b'{"r":"close","id":%b,"tree":%b,"duration":%d,"status":"ok",%b"outputs":%b}'
                % (run.id, tree.id, ended - run.start, more, plain)
            )
        except BaseException as error:
            if diagnostics.must_pass(error) or error:
                raise
        return FINISHED

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, parent_run_id: UUID | None = None, tags: Any = None,
        metadata: Any = None, name: Any = None, invocation_params: Any = None, batch_size: Any = None, **_: Any,
    ) -> Any:  # fmt: skip
        """A model is asked."""
        try:
            if not self._enabled:
                return FINISHED
            now, key = time_ns(), run_id.int
            run = Run()
            run.id = identity = dumps(run_id)
            runs = self._runs
            if parent_run_id is None:
                raise Unmet
            above = runs.get(parent_run_id.int) or self._ended[parent_run_id.int]
            if inner.get() is not None or active_span_id.get() is not None:
                raise Unmet
            tree = run.tree = above.tree
            if not tree.is_asked:
                raise Unmet
            run.parent, run.pipelines, run.late, run.streamed = above.id, self, None, None
            # What its usage will be read with.
            provider, model = metadata.get("ls_provider"), metadata.get("ls_model_name")
            arguments = serialized.get("kwargs")
            if type(provider) is not str or type(model) is not str or batch_size != 1 or provider == "anthropic":
                raise Unmet
            if not PARAMS.isdisjoint(invocation_params) or not GIVEN.isdisjoint(metadata):
                for key_of, one in invocation_params.items():
                    if one is not None and key_of in PARAMS:
                        raise Unmet
            if arguments and not IS_URL.isdisjoint(arguments):
                raise Unmet
            if running_loop() is not None:
                raise Unmet  # there its end may never be reported
            run.call = serialized["id"][-1], provider
            run.start = monotonic_ns()
            if key in self._ended or runs.setdefault(key, run) is not run or len(runs) > self._limit:
                raise Unmet
            tree.open[key] = None
            next(tree.numbers)
            if tree.skipped or tree.pipelines is not self or not self._content:
                raise Unmet
            name = serialized["name"] if name is None else name
            if type(name) is not str or type(tags) is not list or len(tags) != 1 or type(tags[0]) is not str:
                raise Unmet
            if type(messages) is not list or len(messages) != 1 or type(messages[0]) is not list:
                raise Unmet
            self._append(
                b'{"r":"open","id":%b,"tree":%b,"parent":%b,"kind":"model","name":%b,"start":%d,'
                b'"framework":"langchain","provider":%b,"model":%b,"tags":[%b],"metadata":%b,'
                b'"inputs":{"messages":[%b]}}'
                % (identity, tree.id, above.id, NAMES[name], now, NAMES[provider], NAMES[model], NAMES[tags[0]],
                   of_dict(metadata), of_messages(messages[0])),
                self._counted,
            )  # fmt: skip
        except BaseException as error:
            if diagnostics.must_pass(error) or error:
                raise
        return FINISHED

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> Any:
        """A model answered."""
        try:
            if not self._enabled:
                return FINISHED
            key = run_id.int
            run = self._runs[key]
            ended = run.ended = monotonic_ns()
            self._ended[key] = run
            if self._runs.pop(key, None) is None or run.late or run.streamed:
                raise Unmet
            tree = run.tree
            tree.open.pop(key, None)
            if len(self._ended) > ENDED_RUNS:
                self._ended.clear()
            if tree.skipped or not self._content or key == tree.key:
                raise Unmet
            # The one answer of a chat model.
            if type(response) is not LLMResult:
                raise Unmet
            result = response.__dict__
            rows = result["generations"]
            if result["llm_output"] or type(rows) is not list or len(rows) != 1 or type(rows[0]) is not list:
                raise Unmet
            (one,) = rows[0]
            if type(one) is not ChatGeneration:
                raise Unmet
            fields = one.__dict__
            answer = fields["message"]
            if type(answer) is not AIMessage or fields["generation_info"]:
                raise Unmet
            # What it says of usage, as it stands there: orjson refuses names that are no text.
            own = answer.__dict__
            about, counts = own["response_metadata"], own["usage_metadata"]
            model = about.get("model_name")
            if type(model) is not str or not LOOKED_FOR.isdisjoint(about) or type(counts) is not dict:
                raise Unmet
            if about.get("model_provider") or type(own["content"]) is not str or own["additional_kwargs"]:
                raise Unmet
            for number in counts.values():
                if type(number) is not int:
                    raise Unmet
            outputs = of_message(own, answer, b"assistant")
            self._append(
                b'{"r":"close","id":%b,"tree":%b,"duration":%d,"status":"ok","model":%b,"usage":{"usage_metadata":[%b],'
                b'"response_metadata":[{}],"provider":%b,"answers":[%b]},"outputs":{"messages":[%b]}}'
                % (run.id, tree.id, ended - run.start, NAMES[model], dumps(counts), NAMES[run.call[1]],
                   dumps(own["id"]), outputs)
            )  # fmt: skip
        except BaseException as error:
            if diagnostics.must_pass(error) or error:
                raise
        return FINISHED

    def _root(self, tree: Tree) -> bytes:
        """What only a root is asked for."""
        if inner.get() is not None or open_example.get() is not None or open_session.get() is not None:
            raise Unmet
        follow_remote_graphs()
        if active_traceparent() is not None:
            raise Unmet
        if diagnostics.is_delivery_thread() or self._asks_more:
            raise Unmet
        # The last tree, for whoever asks in this context.
        last = LAST.get()
        if last is None or last.loop is not running_loop():
            last = Last()
            last.loop = running_loop()
            LAST.set(last)
        last.id = self._last = tree.id
        return b',"vendors":[]'

    def _append(self, payload: bytes, counted: Written | None = None) -> None:
        if len(payload) > MOST_BYTES:
            raise Unmet
        self._lock.acquire()
        try:
            if self._is_writing:
                raise Unmet
            self._is_writing = True
            now = monotonic()
            if now >= self._next_look or self._size >= self._look_size:
                self._look_size += LOOK_BYTES
            if counted is not None:
                counted.opened += 1
            number = self._number
            crc = crc32(payload, number)
            line = b"%08x %d %b\n" % (crc, number, payload)
            size = len(line)
            self._size += size
            self._number = number + 1
            self._checksum ^= crc
            if self._is_holding or write(self._file, line) != size or is_slow(monotonic() - now, size):
                raise Unmet
            self._unsure.append((line, counted))
            self._is_writing = False
            if self._inner:
                raise Unmet
        finally:
            self._lock.release()


def of_text(value: str) -> bytes:
    """A text, as JSON; orjson refuses half a surrogate."""
    if len(value) > SHORT:
        raise Unmet
    return dumps(value)


def of_dict(value: dict[str, Any]) -> bytes:
    """A dict of texts, or of dicts of those; orjson refuses keys that are no text."""
    if "type" in value or "inline_data" in value:
        raise Unmet
    for item in value.values():
        if type(item) is not str:
            if type(item) is not dict or "type" in item or "inline_data" in item:
                raise Unmet
            for one in item.values():
                if type(one) is not str or len(one) > SHORT:
                    raise Unmet
        elif len(item) > SHORT:
            raise Unmet
    json = dumps(value)
    if len(json) > LONGEST_WRITTEN:
        raise Unmet
    return json


def of_message(own: dict[str, Any], value: Any, role: bytes) -> bytes:
    """A message whose content is text."""
    content = own["content"]
    if type(content) is not str or len(content) > SHORT or value.__pydantic_extra__:
        raise Unmet
    if own["name"] is not None or own["additional_kwargs"]:
        raise Unmet
    if len(own) == 6:
        if own["id"] is not None or own["response_metadata"]:
            raise Unmet
        return b'{"role":"%b","content":%b}' % (role, dumps(content))
    about, identity = own["response_metadata"], own["id"]
    if own["tool_calls"] or own["invalid_tool_calls"] or len(own) != ANSWER_FIELDS or "usage_metadata" not in own:
        raise Unmet
    if type(about) is not dict or not ELSEWHERE.issuperset(about) or type(identity) is not str:
        raise Unmet
    reason = about["finish_reason"]
    if type(reason) is not str or len(reason) > 7 or len(identity) > SHORT:
        raise Unmet
    return b'{"role":"%b","content":%b,"id":%b,"finish_reason":%b}' % (
        role, dumps(content), dumps(identity), NAMES[reason]
    )  # fmt: skip


def of_messages(given: list[Any]) -> bytes:
    """The messages of a prompt."""
    if len(given) != 2:
        raise Unmet
    return b"%b,%b" % tuple([of_message(one.__dict__, one, ROLES[type(one)]) for one in given])


def template(serialized: Any) -> bytes:
    """The params of a prompt, by the texts that decide them."""
    texts = []
    for one in serialized["kwargs"]["messages"]:
        own = one["kwargs"]
        inner = own["prompt"]["kwargs"]
        texts += (one["id"][-1], own.get("role"), inner["template"], inner["template_format"])
    known = TEMPLATES.get(key := tuple(texts))
    if known is None:
        known = TEMPLATES[key] = dumps(params_of(serialized))
    return known


LAST: ContextVar[Last | None] = ContextVar("eventtree_least", default=None)
ROLES = {SystemMessage: b"system", HumanMessage: b"user"}
NAMES: Remembered[str, bytes] = Remembered(1_024, dumps, longest=200)
TEMPLATES: dict[Any, bytes] = {}
