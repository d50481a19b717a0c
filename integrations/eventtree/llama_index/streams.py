"""Lazy streams: which spans wait for a generator they returned, and who runs inside one.

A span that returned a generator has not ended: its model is called while somebody, somewhere, iterates. The generator
is the user's; it is neither wrapped nor advanced, only known by a weak reference. Three things are told from it:

- *Who belongs to it*: a span or event whose call stack holds the generator's frame runs inside it.
- *When it ends*: the model's own end event comes from inside. If only the framework's generators stand between the
  two, the stream ends with the model. Otherwise it is looked at again (`settle`) whenever anything happens.
- *That it was dropped*: the weak reference says so, before the generator itself is closed.

A thread of the framework may read a stream before the span that returned it has exited, so a model that ends leaves
word of it (`Ended`) at the spans above; whoever holds a stream looks there after he has made it known.
"""

from __future__ import annotations

import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, NamedTuple

from eventtree import process
from eventtree.event import JsonValue, Status

HOLDERS = ("response_gen", "chat_stream", "achat_stream")
"""Attributes in which the framework's responses hold the generator they return."""

GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
NO_MODEL = frozenset({"BaseSynthesizer._empty_response_generator", "BaseSynthesizer._empty_response_agenerator"})
"""Generators of the framework that run no model: there is nothing to wait for."""


class Ending(NamedTuple):
    """How a stream ended."""

    status: Status
    text: str | None = None
    error: JsonValue = None


class Ended(NamedTuple):
    """The last model that ended under a span, and where."""

    ending: Ending
    inside: Mapping[int, bool]
    """Identity of the frames of the generators around it → whether they end with it."""


class Stream:
    """A generator that spans returned."""

    __slots__ = ("code", "ending", "ref", "spans")

    def __init__(self, generator: Any, forget: Callable[[Any], None]) -> None:
        """Know `generator` weakly; `forget` is called with the reference when it goes."""
        self.ref = weakref.ref(generator, forget)
        self.code = code_of(generator)
        self.spans: list[str] = []
        self.ending: Ending | None = None
        """How the last model inside ended, while it is not known whether the stream goes on."""

    @property
    def is_over(self) -> bool:
        """Whether the generator has run to its end or was closed, or is gone."""
        generator = self.ref()
        return generator is None or frame_of(generator) is None

    @property
    def is_suspended(self) -> bool:
        """Whether the generator is there and has not run to its end."""
        return not self.is_over


def generator_of(result: Any) -> Any:
    """The generator in what a span returned, or None."""
    if not is_generator(result):
        own = getattr(result, "__dict__", None)
        held = [own.get(name) for name in HOLDERS] if isinstance(own, dict) else []
        result = next((one for one in held if is_generator(one)), None)
    return None if result is None or code_of(result).co_qualname in NO_MODEL else result


def is_generator(value: Any) -> bool:
    """Whether it is a generator, plain or async."""
    return inspect.isgenerator(value) or inspect.isasyncgen(value)


def frame_of(generator: Any) -> FrameType | None:
    """The generator's frame; None once it has ended."""
    found: FrameType | None = generator.gi_frame if inspect.isgenerator(generator) else generator.ag_frame
    return found


def has_begun(generator: Any) -> bool:
    """Whether anybody has asked it for anything yet; not known of an async one."""
    return inspect.isasyncgen(generator) or inspect.getgeneratorstate(generator) != inspect.GEN_CREATED


def code_of(generator: Any) -> CodeType:
    """The generator's code."""
    found: CodeType = generator.gi_code if inspect.isgenerator(generator) else generator.ag_code
    return found


class Streams:
    """The streams of one handler that have not ended."""

    def __init__(self, dropped: Callable[[Stream], None]) -> None:
        """`dropped` is called with a stream whose generator is gone."""
        self._by_code: dict[CodeType, list[Stream]] = {}
        self._dropped = dropped
        self.pending: list[Stream] = []
        """Streams to look at when something happens next."""

    def __len__(self) -> int:
        """How many are waited for."""
        return sum(map(len, list(self._by_code.values())))

    def all(self) -> list[Stream]:
        """All that are waited for."""
        return [stream for waiting in list(self._by_code.values()) for stream in waiting]

    def hold(self, generator: Any, span: str) -> Stream:
        """Let `span` wait for `generator`."""
        with _guard:
            waiting = self._by_code.setdefault(code_of(generator), [])
            stream = next((one for one in waiting if one.ref() is generator), None)
            if stream is None:
                stream = Stream(generator, self._gone)
                waiting.append(stream)
            stream.spans.append(span)
        return stream

    def release(self, stream: Stream) -> None:
        """Stop knowing it."""
        with _guard:
            for listed in (self._by_code.get(stream.code, []), self.pending):
                if stream in listed:
                    listed.remove(stream)
            if not self._by_code.get(stream.code, True):
                del self._by_code[stream.code]

    def look_later(self, stream: Stream) -> None:
        """Look at it when something happens next."""
        if stream not in self.pending:
            self.pending.append(stream)

    def around(self) -> Iterator[tuple[Stream, bool]]:
        """The streams that run right now in this call stack, innermost first, each with whether it ends with the
        innermost generator.
        """
        if self._by_code:
            for frame, tail in running(sys._getframe(1)):
                yield from ((one, tail) for one in list(self._by_code.get(frame.f_code, ())) if is_frame(one, frame))

    def owner(self) -> str | None:
        """The span that returned the innermost stream this call runs in."""
        return next((stream.spans[0] for stream, _tail in self.around()), None)

    def _gone(self, ref: Any) -> None:
        stream = next((one for one in self.all() if one.ref is ref), None)
        if stream is None:
            return
        # The collector may run this inside one of our own locks; then it has to wait.
        if is_ours_below():
            self.look_later(stream)
        else:
            self._dropped(stream)


_guard = threading.RLock()
"""Held while a list of streams is changed; nothing is called meanwhile that may wait."""


def _after_fork_in_child() -> None:
    global _guard
    _guard = threading.RLock()


process.after_fork("handlers", _after_fork_in_child)


def running(frame: FrameType | None) -> Iterator[tuple[FrameType, bool]]:
    """The frames of the generators in a call stack, innermost first, each with whether it ends with the innermost:
    nothing but generators of the framework stand between the two.
    """
    entered, tail = False, True
    while frame is not None:
        is_inside = bool(frame.f_code.co_flags & GENERATOR)
        if entered or is_inside:
            tail = tail and is_inside and frame.f_globals.get("__name__", "").startswith("llama_index.")
            entered = True
        if is_inside:
            yield frame, tail
        frame = frame.f_back


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
