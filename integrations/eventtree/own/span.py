"""`span`: a block of the app's own code as a run of the tree.

    with eventtree.span("plan", kind="tool", inputs={"goal": goal}) as s:
        s.outputs = plan(goal)

Its parent is the innermost run around it, of own code, LangChain or LlamaIndex; their runs inside the block hang below
it. Its values are recorded like those of any run: sanitized, redacted, without contents where they are off. Errors of
ours never reach the app: they are counted (`report().failures`).
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any, Self, cast

from eventtree import diagnostics, process
from eventtree.errors import ConfigError
from eventtree.kinds import Kind, Status
from eventtree.recording.around import around, follow_remote_graphs
from eventtree.recording.boundary import failed, guarded
from eventtree.recording.defaults import default_pipeline
from eventtree.recording.feedback import feedback
from eventtree.recording.handler import Handler
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import Within, inner
from eventtree.recording.runs import NOTHING
from eventtree.recording.shapes import INPUTS, OUTPUTS
from eventtree.recording.status import status_of
from eventtree.usage.collect import PLACES, Body, field, fields
from eventtree.usage.failed import body_in

ENDS = tuple(f"{number:02x}" for number in range(256))
_ids: Iterator[str] = iter(())
_blocks: Iterator[str] = iter(())


def _begin_ids() -> None:
    """Begin new ids, in a forked process too: a random beginning, a counter from a random number on, and one of `ENDS`.
    Their last halves, the spans' ids, differ between processes as surely as random ones, in a tenth of the time.
    """
    global _ids, _blocks
    first = str(uuid.uuid4()).rpartition("-")[0]
    _ids, _blocks = iter(()), map(f"{first}-%x".__mod__, count((1 << 39) + secrets.randbits(38)))


_begin_ids()
process.after_fork("handlers", _begin_ids)


def new_id() -> str:
    """A UUID that no other process makes. If two threads begin a block of ids at once, one block is not used up."""
    global _ids
    if (found := next(_ids, None)) is None:
        ids = map(next(_blocks).__add__, ENDS)
        found, _ids = next(ids), ids
    return found


COUNTS = {
    "input_tokens": "input_tokens", "output_tokens": "output_tokens", "total_tokens": "total_tokens",
    "cache_read_tokens": "input_token_details.cache_read", "cache_write_tokens": "input_token_details.cache_creation",
    "input_audio_tokens": "input_token_details.audio", "reasoning_tokens": "output_token_details.reasoning",
    "output_audio_tokens": "output_token_details.audio",
}  # fmt: skip
"""Field of `Usage` taken by `Span.usage` → its place in LangChain's form of usage."""
OFF = cast("Pipeline", SimpleNamespace(enabled=False, settings=SimpleNamespace(strict=False)))
"""Stands for a pipeline while nothing is recorded."""
KINDS = {str(kind): kind for kind in Kind}
NAMES_A_MODEL = frozenset({Kind.MODEL, Kind.EMBEDDING, Kind.RERANKER})
OK, ERROR = Status.OK, Status.ERROR


def checked(where: str, kind: str, metadata: Mapping[str, Any] | None) -> tuple[Kind, dict[str, Any]]:
    """The kind with this name, and a copy of the metadata, empty where their own code fails.

    Raises:
        ConfigError: the kind is unknown, or the metadata are not a dict.
    """
    known = KINDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise ConfigError(f"{where} kind", f"{kind!r} is none", f"Kinds are {', '.join(KINDS)}")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ConfigError(f"{where} metadata", f"{type(metadata).__name__} is no dict", "Give names and values")
    try:
        return known, dict(metadata) if metadata else {}
    except Exception as error:  # noqa: BLE001  (an object of the app that fails when it is read)
        diagnostics.failed(f"{where} metadata", error)
        return known, {}


class Span(Within):
    """A run around a block of code: `with eventtree.span("plan", kind="tool", inputs=goal) as s: s.outputs = …`.

    Set `outputs`, `model`, `provider` and `params`, and add to `metadata` (`eventtree_cost` there is its cost), at any
    time before its end, when each is read once.

    The calls of an observed function have a class of their own without a constructor: it holds the values they share,
    because setting them for each call would cost more than everything else here.
    """

    __slots__ = (
        "_again", "_body", "_counts", "_given", "_known", "_tags", "handler", "id", "keeps", "kind", "metadata",
        "model", "name", "outputs", "params", "pipeline", "provider",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: str = Kind.CHAIN,
        inputs: Any = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Collection[str] | None = None,
        model: str | None = None,
        provider: str | None = None,
        params: Mapping[str, Any] | None = None,
        handler: Handler | None = None,
    ) -> None:
        """Take the values; the run opens with the block.

        `kind` is one of `chain`, `agent`, `model`, `tool`, `retriever`, `reranker`, `embedding`. A `model` may be a
        call of a provider's own SDK: give its messages as `inputs` and its response as `outputs`, and it is counted and
        priced like LangChain's. The run is recorded by the handler of the run around it; a tree's first run by
        `handler`, the global handler, or one made of `eventtree.configure(...)` and the environment.

        Raises:
            ConfigError: the kind is unknown, the metadata are not a dict, or `handler` is not a handler.
        """
        self.name = name
        self.kind, self.metadata = checked("span", kind, metadata)
        if handler is not None and not isinstance(handler, Handler):
            raise ConfigError("span handler", f"{type(handler).__name__} is no handler", "Pass a CallbackHandler")
        self.id: str | None = None
        """The run's id, for `eventtree.feedback` and for links; None where nothing is recorded."""
        self.outputs: Any = None
        self.keeps = True
        """Whether its outputs are recorded."""
        self._tags, self.model, self.provider, self.params = tags, model, provider, params
        self._given, self.handler, self.pipeline, self._again = inputs, handler, OFF, 0
        self._body: Body | None = None
        self._counts: dict[str, Any] | None = None

    @property
    def tree_id(self) -> str | None:
        """Id of its tree."""
        return recorder.tree_of(self.id) if self.id is not None else None

    @guarded
    def note(self, name: str, value: Any = None) -> None:
        """Add a note to the run: something that happened in it."""
        recorder.note(self.id or "", name, value)

    def usage(self, answer: Any = None, /, **counts: int) -> None:
        """Set a model's usage, from a known provider's answer or the part of it on usage, or by counts: `input_tokens`,
        `output_tokens`, `total_tokens`, `cache_read_tokens`, `cache_write_tokens`, `reasoning_tokens`,
        `input_audio_tokens`, `output_audio_tokens`, explained at `Usage`.

        The `outputs` of a span of kind `model` are read without this call.

        Raises:
            TypeError: a count of another name.
        """
        if unknown := counts.keys() - COUNTS.keys():
            raise TypeError(f"usage() takes {', '.join(COUNTS)}, not {', '.join(sorted(unknown))}")
        known = self._counts = self._counts or {}
        for name, number in counts.items():
            group, _, key = COUNTS[name].rpartition(".")
            (known.setdefault(group, {}) if group else known)[key] = number
        parts = known.get("input_tokens"), known.get("output_tokens")
        if isinstance(parts[0], int) and isinstance(parts[1], int):
            known.setdefault("total_tokens", parts[0] + parts[1])
        if answer is not None:
            self.read(answer)

    def score(self, name: str, value: float | bool, comment: str | None = None) -> None:
        """Score the run: records feedback with this name."""
        if self.id is not None:
            feedback(self.id, score=value, name=name, comment=comment)

    def __enter__(self) -> Self:
        """Open the run, unless recording is off. The context names it from here on."""
        if self.pipeline is not OFF:
            self._again += 1  # a block inside a block of the same span belongs to the same run
            diagnostics.failed("span", RuntimeError("it is open already: make one for each block"))
            return self
        given, self._given, usage = self._given, None, (self._body, self._counts)
        self.open(given)
        self._body, self._counts = usage
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        """Close the run; an exception passes on unchanged."""
        if self._again:
            self._again -= 1
            return
        self.close(self.outputs, error)
        self.outputs = self._body = self._counts = None  # the span may be used for another block
        self.pipeline = OFF

    def open(self, given: Any) -> None:
        """Open the run, unless recording is off. The context names it from here on."""
        self.id = self._body = self._counts = None
        self.pipeline = OFF
        try:
            parent, run = around()
            if run is not None and self.handler is None:
                pipeline = run.pipelines[0]
            else:
                follow_remote_graphs()
                pipeline = self.handler.pipeline if self.handler is not None else default_pipeline() or OFF
            if not pipeline.enabled:
                return
            self.pipeline, self.id = pipeline, (run_id := new_id())
            convert, known = None, NOTHING
            if (shape := INPUTS.get(self.kind)) is not None:
                convert = partial(shape, pipeline)
                if self.kind in NAMES_A_MODEL:
                    known = {"model": self.model, "provider": self.provider, "params": self.params}
            metadata = self._known = dict(self.metadata) if self.metadata else None
            recorder.open(pipeline, run_id, parent, self.kind, self.name, given, convert, metadata, self._tags, known)
        except BaseException as error:  # objects of the frameworks and of the app were read
            self.id = self.id if recorder.knows(self.id or "") else None
            if failed(Span, error, None, (self,), {}):
                raise
        if self.id is not None:
            self._token = inner.set(self.id)

    def close(self, outputs: Any = None, error: BaseException | None = None) -> None:
        """Close the run, and put the context back if it still names this run."""
        if (run_id := self.id) is None:
            return
        self.leave(run_id)
        status, shown = OK, None
        if error is not None:
            status = status_of(error)[0]
            shown = error if status is ERROR else None
        try:
            convert, learned = None, NOTHING
            if (shape := OUTPUTS.get(self.kind)) is not None:
                convert = partial(shape, self.pipeline)
            if self._body or self._counts or (shape is not None and self.kind in NAMES_A_MODEL):
                outputs = body_in(error) if outputs is None and error is not None else outputs
                learned = self._learned(outputs)
            if self.metadata:
                known = self._known or NOTHING
                fresh = {key: one for key, one in self.metadata.items() if known.get(key) is not one}
                learned = {**learned, "metadata": fresh or None}
            outputs = outputs if self.keeps else None  # their usage has been read in any case
            recorder.close(self.pipeline, run_id, status, outputs, convert, shown, None, None, learned)
        except BaseException as odd:  # as in `open`
            if failed(Span, odd, lambda _: recorder.close(self.pipeline, run_id, status), (self,), {}):
                raise

    def _learned(self, answer: Any) -> dict[str, Any]:
        """Usage and model, from a model's answer or set by the app, with its provider and params."""
        if self.kind in NAMES_A_MODEL and answer is not None and not isinstance(answer, str):
            self.read(answer)
        usage = None if self._body is None else self._body.usage(self.provider)
        if self._counts is not None:
            usage = {**(usage or {"provider": self.provider}), "usage_metadata": self._counts}
        model = (None if self._body is None else self._body.model) or self.model
        return {"usage": usage, "model": model, "provider": self.provider, "params": self.params}

    @guarded
    def read(self, answer: Any, is_chunk: bool = False) -> None:
        """Read usage and model from a provider's answer, a chunk of it, or an object of counts."""
        if self._body is None:
            self._body = Body()
            self._body.streamed = is_chunk
        own = fields(answer)
        is_bare = isinstance(own, dict) and not PLACES.intersection(own) and field(own, "choices") is None
        self._body.read_body({"usage": own} if is_bare and not field(own, "object") else answer)


span = Span
