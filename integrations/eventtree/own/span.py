"""`span`: a block of the app's own code as a run of the tree.

    with eventtree.span("plan", kind="tool", inputs={"goal": goal}) as s:
        s.outputs = plan(goal)

Its parent is the innermost run around it, of own code, LangChain or LlamaIndex; what these open inside hangs below it.
The block's value is recorded as it ends, in the way of any other run: sanitized, redacted, without contents where they
are off. Nothing of it reaches the app: what goes wrong here is counted (`report().failures`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import count
from types import SimpleNamespace, TracebackType
from typing import Any, Self, cast

from eventtree import diagnostics, process
from eventtree.errors import ConfigError
from eventtree.event import JsonValue, Kind, Status
from eventtree.recording.around import around, follow_remote_graphs
from eventtree.recording.boundary import failed, guarded
from eventtree.recording.defaults import default_of
from eventtree.recording.feedback import feedback
from eventtree.recording.handler import Handler
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import Block, inner, restore
from eventtree.recording.runs import NOTHING
from eventtree.recording.shapes import INPUTS, OUTPUTS, text_of
from eventtree.recording.status import status_of
from eventtree.usage.collect import PLACES, Body, field, fields
from eventtree.usage.failed import body_in

LOWEST = 1 << 47
"""Of numbers with twelve digits in hex, the lowest that leaves room for a count."""
_first, _numbers = "", count()


def _begin_ids() -> None:
    """Begin new ids, in a forked process too. A generator of our own: an app may seed Python's."""
    global _first, _numbers
    digits = f"{random.SystemRandom().getrandbits(80):020x}"
    _first = f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-a{digits[15:18]}-"
    _numbers = count(LOWEST + random.SystemRandom().getrandbits(46))


_begin_ids()
process.after_fork("handlers", _begin_ids)


def new_id() -> str:
    """A UUID: a random beginning of this process, then a count from a random number on. Spans' ids, its last half, are
    as far apart between processes as random ones; to make each of them random takes six times as long.
    """
    return _first + hex(next(_numbers))[2:]


COUNTS = {
    "input_tokens": "input_tokens", "output_tokens": "output_tokens", "total_tokens": "total_tokens",
    "cache_read_tokens": "input_token_details.cache_read", "cache_write_tokens": "input_token_details.cache_creation",
    "input_audio_tokens": "input_token_details.audio", "reasoning_tokens": "output_token_details.reasoning",
    "output_audio_tokens": "output_token_details.audio",
}  # fmt: skip
"""Field of `Usage` that `Span.usage` takes → where LangChain's form of usage has it."""
OFF = cast("Pipeline", SimpleNamespace(enabled=False))
"""In place of a pipeline, while a span is not open."""
NAMES_A_MODEL = frozenset({Kind.MODEL, Kind.EMBEDDING, Kind.RERANKER})
OK, ERROR, MODEL = Status.OK, Status.ERROR, Kind.MODEL


def kind_of(kind: str, where: str) -> Kind:
    """The kind of that name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return Kind(kind)
    except ValueError:
        raise ConfigError(f"{where} kind", f"{kind!r} is none", f"Kinds are {', '.join(Kind)}") from None


class Span(Block):
    """A run around a block of code: `with eventtree.span("plan", kind="tool", inputs=goal) as s: s.outputs = …`.

    Set `outputs`, `model`, `provider`, `params` and `tags` at any time before its end; `metadata` may be added to
    (`eventtree_cost` there is what it cost). Each of them is read once, at the end.
    """

    __slots__ = (
        "_body", "_counts", "_handler", "_inputs", "_known", "_token", "id", "is_text", "keeps", "kind", "metadata",
        "model", "name", "outputs", "params", "pipeline", "provider", "steps", "tags", "yielded",
    )  # fmt: skip
    _known: Mapping[str, Any]
    """The metadata with which it opened."""
    _token: Any
    is_text: bool
    """Whether what a generator has `yielded` is texts alone."""
    yielded: list[JsonValue]

    def __init__(
        self,
        name: str,
        kind: str = Kind.CHAIN,
        inputs: Any = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        model: str | None = None,
        provider: str | None = None,
        params: Mapping[str, Any] | None = None,
        handler: Handler | None = None,
    ) -> None:
        """Record nothing yet.

        `kind` is one of `chain`, `agent`, `model`, `tool`, `retriever`, `reranker`, `embedding`. With `model` a call of
        a provider's own SDK counts as LangChain's do: give its messages as `inputs`, its response as `outputs`, and it
        is counted and priced. Recorded by the handler of the run around it; a tree's first run by `handler`, the global
        handler, or one made of `eventtree.configure(...)` and the environment.

        Raises:
            ConfigError: there is no such kind.
        """
        self.name, self._inputs, self.pipeline, self._handler = name, inputs, OFF, handler
        self.kind = kind if type(kind) is Kind else kind_of(kind, "span")
        self.id: str | None = None
        """The run's id, for `eventtree.feedback` and for links; None where nothing is recorded."""
        self.outputs: Any = None
        self.metadata = dict(metadata) if metadata else {}
        self.model, self.provider, self.params, self.tags = model, provider, params, tags
        self.keeps = True
        """Whether its outputs are recorded."""
        self.steps: int | None = None
        """Of a generator's run, how often it was entered: each block is a step of it. None where a block is the run."""
        self._body: Body | None = None
        self._counts: Mapping[str, Any] | None = None

    @property
    def tree_id(self) -> str | None:
        """Id of the tree it is in."""
        return recorder.tree_of(self.id) if self.id is not None else None

    @guarded
    def note(self, name: str, value: Any = None) -> None:
        """Note that something happened."""
        recorder.note(self.id or "", name, value)

    def usage(self, answer: Any = None, /, **counts: int) -> None:
        """Say what a model used: by the provider's answer, or its part on usage, of any provider that is known; or by
        counts: `input_tokens`, `output_tokens`, `total_tokens`, `cache_read_tokens`, `cache_write_tokens`,
        `reasoning_tokens`, `input_audio_tokens`, `output_audio_tokens`, as `Usage` explains them.

        An answer that is given as `outputs` of a span of kind `model` is read by itself.

        Raises:
            TypeError: a count of another name.
        """
        if unknown := counts.keys() - COUNTS.keys():
            raise TypeError(f"usage() takes {', '.join(COUNTS)}, not {', '.join(sorted(unknown))}")
        if {"input_tokens", "output_tokens"} <= counts.keys():
            counts.setdefault("total_tokens", counts["input_tokens"] + counts["output_tokens"])
        known: dict[str, Any] = {}
        for name, number in counts.items():
            group, _, key = COUNTS[name].rpartition(".")
            (known.setdefault(group, {}) if group else known)[key] = number
        self._counts = known or self._counts
        if answer is not None:
            self.read(answer)

    def score(self, name: str, value: float | bool, comment: str | None = None) -> None:
        """Score the run: feedback on it by that name."""
        if self.id is not None:
            feedback(self.id, score=value, name=name, comment=comment)

    def __enter__(self) -> Self:
        """Open the run, unless recording is off; its context names it from here on."""
        if not self.steps:
            self._open()
        if self.steps is not None:
            self.steps += 1
        if self.id is not None:
            self._token = inner.set(self.id)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Put the context back, where it is still the one that names this run; in another one it is as it was. Close
        the run; an exception passes on as it is.
        """
        if self.id is not None and inner.get() == self.id:
            restore(self._token)
        if self.steps is None:
            self.end(error)

    def _open(self) -> None:
        given, self._inputs, self.id = self._inputs, None, None
        try:
            parent = around()
            if parent is None:
                follow_remote_graphs()
            pipeline = default_of(parent) if self._handler is None else self._handler.pipeline
        except BaseException as error:  # the frameworks' own objects are looked at
            if diagnostics.must_pass(error):
                raise
            diagnostics.failed("span", error)
            return
        if pipeline is None or not pipeline.enabled:
            return
        self.pipeline, self.id = pipeline, (run_id := new_id())
        known: Mapping[str, Any] = NOTHING
        try:
            metadata = self._known = dict(self.metadata) if self.metadata else NOTHING
            if self.kind in NAMES_A_MODEL:
                known = {"model": self.model, "provider": self.provider, "params": self.params}
            convert = None if (shape := INPUTS.get(self.kind)) is None else partial(shape, pipeline)
            recorder.open(
                pipeline, run_id, parent, self.kind, self.name, given, convert, metadata or None, self.tags, known
            )
        except BaseException as error:  # as above, and what the app gave
            if failed(Span, error, self._open_bare, (self, run_id, parent), {}):
                raise

    def _open_bare(self, _: Span, run_id: str, parent: str | None) -> None:
        """In place of a start that could not be read."""
        if not recorder.knows(run_id):
            recorder.open(self.pipeline, run_id, parent, self.kind, str(self.kind))

    def end(self, error: BaseException | None = None) -> None:
        """Close the run."""
        run_id, outputs, self.outputs = self.id, self.outputs, None
        if run_id is None or not self.pipeline.enabled:
            return
        if self.steps is not None:
            outputs = None if not self.yielded else "".join(self.yielded) if self.is_text else self.yielded
        status = OK if error is None else status_of(error)[0]
        learned: Mapping[str, Any] = NOTHING
        try:
            if outputs is None and error is not None and self.kind in NAMES_A_MODEL:
                outputs = body_in(error)
            if self._body or self._counts or self.kind in NAMES_A_MODEL:
                learned = self._learned(outputs)
            if self.metadata:
                fresh = {key: one for key, one in self.metadata.items() if self._known.get(key) is not one}
                learned = {**learned, "metadata": fresh or None}
            outputs = outputs if self.keeps else None  # what it says of usage is read in any case
            convert = None if (shape := OUTPUTS.get(self.kind)) is None else partial(shape, self.pipeline)
            shown = error if status is ERROR else None
            recorder.close(self.pipeline, run_id, status, outputs, convert, shown, learned=learned)
        except BaseException as odd:
            if failed(Span, odd, lambda _: recorder.close(self.pipeline, run_id, status), (self,), {}):
                raise

    def _learned(self, answer: Any) -> dict[str, Any]:
        """What a model's answer says, or the app has said of it."""
        if self.kind in NAMES_A_MODEL and answer is not None and not isinstance(answer, str):
            self.read(answer)
        body, counts, self._body, self._counts = self._body, self._counts, None, None  # it may be a block once more
        usage = None if body is None else body.usage(self.provider)
        if counts is not None:
            usage = {**(usage or {"provider": self.provider}), "usage_metadata": counts}
        model = (None if body is None else body.model) or self.model
        return {"usage": usage, "model": model, "provider": self.provider, "params": self.params}

    @guarded
    def read(self, answer: Any, is_chunk: bool = False) -> None:
        """Read what a provider's answer, a chunk of it, or an object of counts alone says of usage and model."""
        if self._body is None:
            self._body = Body()
            self._body.streamed = is_chunk
        own = fields(answer)
        is_bare = isinstance(own, dict) and not PLACES.intersection(own) and field(own, "choices") is None
        self._body.read_body({"usage": own} if is_bare and not field(own, "object") else answer)

    @guarded
    def add(self, item: Any) -> None:
        """One more item of a generator. Where it is kept it is made plain at once, since its reader may change it."""
        is_model = self.kind is MODEL
        text = text_of(item) if is_model else item if type(item) is str else ""
        if is_model and text:
            recorder.first_token(self.id or "")
        if is_model and type(item) is not str:
            self.read(item, is_chunk=True)
        is_full = len(self.yielded) > self.pipeline.settings.bounds.items
        if is_full or not (self.keeps and self.pipeline.content):
            return
        self.is_text = self.is_text and (is_model or type(item) is str)
        self.yielded.append(text if self.is_text else self.pipeline.plain(item))


span = Span
