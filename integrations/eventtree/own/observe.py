"""`observe`: each call of a function of the app as a run of the tree.

    @eventtree.observe
    def plan(goal: str) -> list[str]: ...

    @eventtree.observe(name="ask", kind="model", outputs=False)
    async def ask(self, messages): ...

What a generator yields is its output: each item is recorded as it passes, none is taken from the reader. Only while the
generator's own code runs does the context name it, so what its reader does between two items stays outside.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from eventtree import config
from eventtree.errors import ConfigError
from eventtree.event import JsonValue, Kind
from eventtree.own.span import Span, kind_of
from eventtree.recording.boundary import guarded
from eventtree.recording.recorder import recorder
from eventtree.recording.shapes import text_of

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D", bound="staticmethod[..., Any] | classmethod[Any, ..., Any]")

Captured = bool | Collection[str]
Named = Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any] | None]
"""What gives a call's arguments by name."""


@overload
def observe(function: D, /) -> D: ...  # type: ignore[overload-overlap]
@overload
def observe(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def observe(
    *,
    name: str | None = None,
    kind: str = Kind.CHAIN,
    inputs: Captured = True,
    outputs: bool = True,
    metadata: Mapping[str, Any] | None = None,
    tags: Collection[str] | None = None,
) -> Observe: ...
def observe(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    kind: str = Kind.CHAIN,
    inputs: Captured = True,
    outputs: bool = True,
    metadata: Mapping[str, Any] | None = None,
    tags: Collection[str] | None = None,
) -> Any:
    """Record each call of a function, coroutine function, generator, async generator or method.

    `name` is its qualified name where none is given, `kind` as for `eventtree.span`. `inputs` are its arguments by name
    (without `self` and `cls`): all, none (False), or those of these names; `outputs=False` leaves out what it returns.
    An exception passes as it is, and the run ends as `error`, a cancelled one as `cancelled`. Where recording is
    switched off (`EVENTTREE_ENABLED=0`), it returns the function itself.

    Raises:
        ConfigError: there is no such kind, or no argument of a name in `inputs`.
    """
    known = kind_of(kind, "observe")

    def decorator(function: Any, /) -> Any:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(decorator(function.__func__))
        if not callable(function) or isinstance(function, type):
            problem = f"{type(function).__name__} is no function"
            raise ConfigError("observe", problem, "Observe the methods of a class, and put it below @property")
        named = _arguments(function, inputs)
        if config.is_off():
            return function
        shown = name or getattr(function, "__qualname__", type(function).__name__).replace("<locals>.", "")

        def begun(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
            """A run of the function, not open yet."""
            run = Span(shown, known, named(args, kwargs))
            if metadata:
                run.metadata = dict(metadata)
            if tags is not None:
                run.tags = tags
            return run

        wrap = next(wrap for fits, wrap in WRAPPERS if fits(function))
        return functools.wraps(function)(wrap(function, begun, outputs))

    return decorator if function is None else decorator(function)


class Observe(Protocol):
    """`observe` with arguments: a decorator that keeps the function's signature."""

    @overload
    def __call__(self, function: D, /) -> D: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...


def _arguments(function: Callable[..., Any], wanted: Captured) -> Named:
    """What gives a call's arguments by name, as far as they are to be recorded; defaults are not among them.

    Raises:
        ConfigError: there is no argument of a wanted name.
    """
    if wanted is False:
        return lambda args, kwargs: None
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []  # a builtin's is not known
    names = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    rest = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), "args")
    is_method = "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    own = names[0] if is_method and names and names[0] in ("self", "cls") else None
    only = None if wanted is True else frozenset([wanted] if isinstance(wanted, str) else wanted)
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters) or not parameters
    unknown = (only or frozenset()) - {one.name for one in parameters}
    if unknown and not takes_any:
        takes = ", ".join(one.name for one in parameters)
        raise ConfigError("observe inputs", f"no argument {', '.join(sorted(unknown))}", f"It takes {takes}")

    def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        found = dict(zip(names, args, strict=False))
        if len(args) > len(names):
            found[rest] = args[len(names) :]
        if kwargs:
            found.update(kwargs)
        if own is not None:
            found.pop(own, None)
        return found if only is None else {name: one for name, one in found.items() if name in only}

    return named


class Yielded:
    """What a generator has yielded so far, as its run's outputs: texts joined, else a list. Nothing where recording is
    off. As a block it is one step of the generator, in which the context names the run.
    """

    __slots__ = ("items", "keeps", "pipeline", "run", "texts", "token")

    def __init__(self, run: Span, keeps: bool) -> None:
        """Open the run; nothing was yielded yet."""
        self.run = run
        self.keeps = keeps
        if run.begin():
            self.pipeline = run.pipeline
        self.texts: list[str] = []
        self.items: list[JsonValue] = []

    def __enter__(self) -> None:
        if self.run.id is not None:
            self.token = self.run.enter()

    def __exit__(self, *ended: object) -> None:
        if self.run.id is not None:
            self.run.leave(self.token)

    def add(self, item: Any) -> None:
        """One more item."""
        if self.run.id is not None:
            self._add(item)

    @guarded
    def _add(self, item: Any) -> None:
        # Where an item is kept it is made plain at once, since its reader may change it.
        is_model = self.run.kind is Kind.MODEL
        text = text_of(item) if is_model else item if type(item) is str else ""
        if is_model:
            if text:
                recorder.first_token(self.run.id or "")
            if type(item) is not str:
                self.run.read(item, is_chunk=True)
        is_full = len(self.texts) + len(self.items) > self.pipeline.settings.bounds.items
        if is_full or not (self.keeps and self.pipeline.content):
            return
        if is_model or (type(item) is str and not self.items):
            self.texts.append(text)
        else:
            self.items += [*self.texts, self.pipeline.plain(item)]
            self.texts = []

    def end(self, error: BaseException | None = None) -> None:
        """The generator has ended, and its run with it."""
        self.run.outputs = self.items if self.items else "".join(self.texts) if self.texts else None
        self.run.end(error)


Begun = Callable[[tuple[Any, ...], dict[str, Any]], Span]


def _plain(function: Callable[..., Any], begun: Begun, keeps: bool) -> Callable[..., Any]:
    def observed(*args: Any, **kwargs: Any) -> Any:
        with begun(args, kwargs) as run:
            result = function(*args, **kwargs)
            if keeps:
                run.outputs = result
            return result

    return observed


def _coroutine(function: Callable[..., Any], begun: Begun, keeps: bool) -> Callable[..., Any]:
    async def observed(*args: Any, **kwargs: Any) -> Any:
        with begun(args, kwargs) as run:
            result = await function(*args, **kwargs)
            if keeps:
                run.outputs = result
            return result

    return observed


def _generator(function: Callable[..., Any], begun: Begun, keeps: bool) -> Callable[..., Any]:
    def observed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        yielded = Yielded(begun(args, kwargs), keeps)
        try:
            generator = function(*args, **kwargs)
            step, given = generator.send, None
            while True:
                with yielded:
                    item = step(given)
                yielded.add(item)
                try:
                    step, given = generator.send, (yield item)
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001  (thrown in by the reader: it is for the generator)
                    step, given = generator.throw, error
        except StopIteration as stop:
            yielded.end()
            return stop.value
        except BaseException as error:
            yielded.end(error)
            raise

    return observed


def _async_generator(function: Callable[..., Any], begun: Begun, keeps: bool) -> Callable[..., Any]:
    async def observed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        yielded = Yielded(begun(args, kwargs), keeps)
        try:
            generator = function(*args, **kwargs)
            step, given = generator.asend, None
            while True:
                with yielded:
                    item = await step(given)
                yielded.add(item)
                try:
                    step, given = generator.asend, (yield item)
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001  (as above)
                    step, given = generator.athrow, error
        except StopAsyncIteration:
            yielded.end()
        except BaseException as error:
            yielded.end(error)
            raise

    return observed


def _is(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Also for an object that is called like a function."""
    return lambda function: test(function) or test(getattr(function, "__call__", None))  # noqa: B004


WRAPPERS: tuple[tuple[Callable[[Any], bool], Callable[[Callable[..., Any], Begun, bool], Callable[..., Any]]], ...] = (
    (_is(inspect.isasyncgenfunction), _async_generator),
    (_is(inspect.iscoroutinefunction), _coroutine),
    (_is(inspect.isgeneratorfunction), _generator),
    (callable, _plain),
)
