"""Lazy streams: which spans wait for a generator they returned, and who runs inside one.

A span that returned a generator has not ended: its model is called while somebody, somewhere, iterates. The generator
is the user's; it is neither wrapped nor advanced, only known by a weak reference. Three things are known from it:

- *Who belongs to it*: a span or event whose call stack holds the generator's frame runs inside it.
- *How and when it ends*: as the last model that ended inside it, which the model's own end event reports. Where only
  the framework's generators read the model, the stream ends with it. Another generator may go on: it is looked at
  whenever anything happens, and once it is over its spans close as of the model's end.
- *That it was dropped*: the weak reference says so, before the generator itself is closed.

A thread of the framework may read a stream before the span that returned it has exited. So a model that ends leaves
its ending with the spans above, and a span that returns a stream looks there once it has made the stream known.
"""

from __future__ import annotations

import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import AsyncGeneratorType, CodeType, FrameType, GeneratorType
from typing import Any, NamedTuple

from eventtree import process
from eventtree.event import JsonValue, Status

GENERATOR_FIELDS = ("response_gen", "chat_stream", "achat_stream")
"""Attributes of the framework's responses that are the generator they return."""

GENERATORS = (GeneratorType, AsyncGeneratorType)
GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
NO_MODEL = frozenset({"BaseSynthesizer._empty_response_generator", "BaseSynthesizer._empty_response_agenerator"})
"""Generators of the framework that run no model: there is nothing to wait for."""


class Ending(NamedTuple):
    """How and when a stream ended."""

    at: int
    """By the monotonic clock."""
    status: Status
    text: str | None = None
    error: JsonValue = None
    inside: frozenset[int] = frozenset()
    """Identities of the frames of the generators that a model's stream ended in."""


class Stream:
    """A generator that spans returned."""

    __slots__ = ("code", "ending", "ref", "spans")

    def __init__(self, generator: Any, forget: Callable[[Any], None]) -> None:
        """Know `generator` weakly; `forget` is called with the reference when it goes."""
        self.ref = weakref.ref(generator, forget)
        self.code = code_of(generator)
        self.spans: list[str] = []
        self.ending: Ending | None = None
        """How the last model inside it ended; the stream itself may go on."""

    @property
    def is_over(self) -> bool:
        """Whether the generator has run to its end or was closed, or is gone."""
        generator = self.ref()
        return generator is None or frame_of(generator) is None


def generator_of(result: Any) -> Any:
    """The generator, plain or async, in what a span returned, or None."""
    if not isinstance(result, GENERATORS):
        own = getattr(result, "__dict__", None)
        if type(own) is not dict or own.keys().isdisjoint(GENERATOR_FIELDS):
            return None
        result = next((own[name] for name in GENERATOR_FIELDS if isinstance(own.get(name), GENERATORS)), None)
    return None if result is None or code_of(result).co_qualname in NO_MODEL else result


def frame_of(generator: Any) -> FrameType | None:
    """The generator's frame; None once it has ended."""
    found: FrameType | None = generator.gi_frame if inspect.isgenerator(generator) else generator.ag_frame
    return found


def code_of(generator: Any) -> CodeType:
    """The generator's code."""
    found: CodeType = generator.gi_code if inspect.isgenerator(generator) else generator.ag_code
    return found


class Streams:
    """The streams of one handler that have not ended."""

    def __init__(self, look: Callable[[], None]) -> None:
        """`look` is called when a generator is gone: streams that are pending may be over by then."""
        self.by_code: dict[CodeType, list[Stream]] = {}
        """All that are waited for, by the code of their generators."""
        self._look = look
        self.pending: list[Stream] = []
        """Streams in which a model has ended, to look at when something happens next."""

    def all(self) -> list[Stream]:
        """All that are waited for."""
        return [stream for waiting in list(self.by_code.values()) for stream in waiting]

    def add(self, generator: Any, span: str) -> Stream:
        """Let `span` wait for `generator`."""
        with _guard:
            waiting = self.by_code.setdefault(code_of(generator), [])
            stream = next((one for one in waiting if one.ref() is generator), None)
            if stream is None:
                stream = Stream(generator, self._gone)
                waiting.append(stream)
            stream.spans.append(span)
        return stream

    def remove(self, stream: Stream) -> None:
        """Stop knowing it."""
        with _guard:
            for listed in (self.by_code.get(stream.code, []), self.pending):
                if stream in listed:
                    listed.remove(stream)
            if not self.by_code.get(stream.code, True):
                del self.by_code[stream.code]

    def look_later(self, stream: Stream) -> None:
        """Look at it when something happens next."""
        if stream not in self.pending:
            self.pending.append(stream)

    def among(self, frames: Iterable[FrameType]) -> Iterator[Stream]:
        """The streams whose generators have these frames, in their order."""
        if self.by_code:
            for frame in frames:
                yield from (one for one in list(self.by_code.get(frame.f_code, ())) if is_frame(one, frame))

    def owner(self) -> str | None:
        """The span that returned the innermost stream this call runs in."""
        return next((stream.spans[0] for stream in self.among(running(sys._getframe(1)))), None)

    def _gone(self, ref: Any) -> None:
        for stream in self.all():
            if stream.ref is ref:
                self.look_later(stream)
        # The collector may run this inside one of our own locks; then it has to wait.
        if self.pending and not is_ours_below():
            self._look()


_guard = threading.RLock()
"""Held while a list of streams is changed; nothing is called meanwhile that may wait."""


def _after_fork_in_child() -> None:
    global _guard
    _guard = threading.RLock()


process.after_fork("handlers", _after_fork_in_child)


def running(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the generators in a call stack, innermost first."""
    while frame is not None:
        if frame.f_code.co_flags & GENERATOR:
            yield frame
        frame = frame.f_back


def reading(frames: list[FrameType]) -> Iterator[FrameType]:
    """Of these the first that are the framework's, each called by the next: they read the model and end with it."""
    for number, frame in enumerate(frames):
        is_called = number == 0 or frames[number - 1].f_back is frame
        if not is_called or not frame.f_globals.get("__name__", "").startswith("llama_index."):
            return
        yield frame


def is_frame(stream: Stream, frame: FrameType) -> bool:
    """Whether `frame` is that of the stream's generator."""
    generator = stream.ref()
    return generator is not None and frame_of(generator) is frame


def is_ours_below() -> bool:
    """Whether a function of this package is running below the weak reference's callback."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("eventtree."):
            return True
        frame = frame.f_back
    return False
