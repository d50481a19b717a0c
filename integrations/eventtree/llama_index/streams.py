"""Lazy streams: the generators that spans returned and wait for, and the spans that run inside them.

A span that returned a generator has not ended: its model is called while somebody iterates. The generator is the
user's: it is not wrapped or advanced, only held by a weak reference, which is enough to find

- *its spans*: a span or event runs inside it if the generator's frame is in its call stack.
- *its end*: the end of the last model inside it, reported by the model's end event. If only generators of the framework
  read the model, the stream ends with it. Another generator may go on: it is checked whenever anything is reported, and
  once it is over, its spans close with the time of the model's end.
- *its loss*: the weak reference calls back before the generator itself is closed.

A thread of the framework may read a stream before the span that returned it has exited. So a model that ends leaves its
ending with the spans above it, and a span that returns a stream looks for one after it has added the stream.
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
from eventtree.kinds import JsonValue, Status

GENERATOR_FIELDS = ("response_gen", "chat_stream", "achat_stream")
"""Attributes of the framework's responses that hold their generator."""

GENERATORS = (GeneratorType, AsyncGeneratorType)
GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
NO_MODEL = frozenset({"BaseSynthesizer._empty_response_generator", "BaseSynthesizer._empty_response_agenerator"})
"""Generators of the framework that run no model: no span waits for them."""


class Ending(NamedTuple):
    """How and when a stream ended."""

    at: int
    """By the monotonic clock."""
    status: Status
    text: str | None = None
    error: JsonValue = None
    inside: frozenset[int] = frozenset()
    """Ids of the frames of the generators in which a model's stream ended."""


class Stream:
    """A generator that spans returned."""

    __slots__ = ("code", "ending", "ref", "spans")

    def __init__(self, generator: Any, forget: Callable[[Any], None]) -> None:
        """Hold `generator` by a weak reference, with which `forget` is called when it is gone."""
        self.ref = weakref.ref(generator, forget)
        self.code = code_of(generator)
        self.spans: list[str] = []
        self.ending: Ending | None = None
        """The ending of the last model inside it. The stream itself may go on."""

    @property
    def is_over(self) -> bool:
        """Whether the generator has ended, was closed, or is gone."""
        generator = self.ref()
        return generator is None or frame_of(generator) is None


def generator_of(result: Any) -> Any:
    """The generator, plain or async, in a span's result, or None."""
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
        """Call `look` when a generator is gone: pending streams may be over then."""
        self.by_code: dict[CodeType, list[Stream]] = {}
        """All streams, by the code of their generators."""
        self._look = look
        self.pending: list[Stream] = []
        """Streams in which a model has ended, to be checked when anything is reported next."""

    def all(self) -> list[Stream]:
        """All streams."""
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
        """Forget the stream."""
        with _guard:
            for listed in (self.by_code.get(stream.code, []), self.pending):
                if stream in listed:
                    listed.remove(stream)
            if not self.by_code.get(stream.code, True):
                del self.by_code[stream.code]

    def look_later(self, stream: Stream) -> None:
        """Check the stream when anything is reported next."""
        if stream not in self.pending:
            self.pending.append(stream)

    def among(self, frames: Iterable[FrameType]) -> Iterator[Stream]:
        """The streams whose generators have these frames, in the order of the frames."""
        if self.by_code:
            for frame in frames:
                yield from (one for one in list(self.by_code.get(frame.f_code, ())) if is_frame(one, frame))

    def owner(self) -> str | None:
        """The span that returned the innermost stream around this call."""
        return next((stream.spans[0] for stream in self.among(running(sys._getframe(1)))), None)

    def _gone(self, ref: Any) -> None:
        for stream in self.all():
            if stream.ref is ref:
                self.look_later(stream)
        # The garbage collector may call this while one of our locks is held: then the check has to wait.
        if self.pending and not is_ours_below():
            self._look()


_guard = threading.RLock()
"""Held while a list of streams is changed, never while anything is called that may wait."""


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
    """The first of the frames, while each is the framework's and called by the next: they end with their model."""
    for number, frame in enumerate(frames):
        is_called = number == 0 or frames[number - 1].f_back is frame
        if not is_called or not frame.f_globals.get("__name__", "").startswith("llama_index."):
            return
        yield frame


def is_frame(stream: Stream, frame: FrameType) -> bool:
    """Whether `frame` is the frame of the stream's generator."""
    generator = stream.ref()
    return generator is not None and frame_of(generator) is frame


def is_ours_below() -> bool:
    """Whether a function of this package runs below the weak reference's callback."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("eventtree."):
            return True
        frame = frame.f_back
    return False
