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
from typing import Any, Self, TypeVar, overload

from eventtree import config
from eventtree.errors import ConfigError
from eventtree.event import JsonValue, Kind
from eventtree.own.span import Span, kind_of
from eventtree.recording.boundary import guarded
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import inner
from eventtree.recording.shapes import text_of

F = TypeVar("F")
"""A function, or a static or class method: observed it has the type that it had."""
Captured = bool | Collection[str]
Named = Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any] | None]
"""What gives a call's arguments by name."""


@overload
def observe(function: F, /) -> F: ...
@overload
def observe(
    *,
    name: str | None = None,
    kind: str = Kind.CHAIN,
    inputs: Captured = True,
    outputs: bool = True,
    metadata: Mapping[str, Any] | None = None,
    tags: Collection[str] | None = None,
) -> Callable[[F], F]: ...
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
        called = getattr(function, "__call__", None)  # noqa: B004  (an object may be called like a function)
        wrap, form = next((wrap for test, wrap in WRAPPERS if test(function) or test(called)), (_plain, Span))

        def begun(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            """A run of the function, not open yet."""
            run = form(shown, known, named(args, kwargs), metadata, tags)
            run.keeps = outputs
            return run

        return functools.wraps(function)(wrap(function, begun))

    return decorator if function is None else decorator(function)


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
        found = dict(zip(names, args))  # noqa: B905  (the others have defaults; to say so takes a third of the time)
        if len(args) > len(names):
            found[rest] = args[len(names) :]
        if kwargs:
            found.update(kwargs)
        if own is not None:
            found.pop(own, None)
        return found if only is None else {name: one for name, one in found.items() if name in only}

    return named


class Yielding(Span):
    """A run of a generator: its outputs are what it yields, texts joined, else a list. As a block it is one step of the
    generator, in which the context names the run.
    """

    __slots__ = ("items", "texts")

    def begin(self) -> None:
        """Open the run; nothing was yielded yet."""
        self.texts: list[str] = []
        self.items: list[JsonValue] = []
        super().__enter__()
        self.leave()

    def __enter__(self) -> Self:
        """Begin a step."""
        self._token = inner.set(self.id) if self.id is not None else None
        return self

    def __exit__(self, *ended: object) -> None:
        """End it."""
        self.leave()

    @guarded
    def add(self, item: Any) -> None:
        """One more item. Where it is kept it is made plain at once, since its reader may change it."""
        is_model = self.kind is Kind.MODEL
        text = text_of(item) if is_model else item if type(item) is str else ""
        if is_model:
            if text:
                recorder.first_token(self.id or "")
            if type(item) is not str:
                self.read(item, is_chunk=True)
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
        self.outputs = self.items if self.items else "".join(self.texts) if self.texts else None
        super().end(error)


Begun = Callable[[tuple[Any, ...], dict[str, Any]], Any]


def _plain(function: Callable[..., Any], begun: Begun) -> Callable[..., Any]:
    def observed(*args: Any, **kwargs: Any) -> Any:
        with begun(args, kwargs) as run:
            run.outputs = result = function(*args, **kwargs)
            return result

    return observed


def _coroutine(function: Callable[..., Any], begun: Begun) -> Callable[..., Any]:
    async def observed(*args: Any, **kwargs: Any) -> Any:
        with begun(args, kwargs) as run:
            run.outputs = result = await function(*args, **kwargs)
            return result

    return observed


def _generator(function: Callable[..., Any], begun: Begun) -> Callable[..., Any]:
    def observed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        run = begun(args, kwargs)
        run.begin()
        try:
            generator = function(*args, **kwargs)
            step, given = generator.send, None
            while True:
                with run:
                    item = step(given)
                run.add(item)
                try:
                    step, given = generator.send, (yield item)
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001  (thrown in by the reader: it is for the generator)
                    step, given = generator.throw, error
        except StopIteration as stop:
            run.end()
            return stop.value
        except BaseException as error:
            run.end(error)
            raise

    return observed


def _async_generator(function: Callable[..., Any], begun: Begun) -> Callable[..., Any]:
    async def observed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = begun(args, kwargs)
        run.begin()
        try:
            generator = function(*args, **kwargs)
            step, given = generator.asend, None
            while True:
                with run:
                    item = await step(given)
                run.add(item)
                try:
                    step, given = generator.asend, (yield item)
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001  (as above)
                    step, given = generator.athrow, error
        except StopAsyncIteration:
            run.end()
        except BaseException as error:
            run.end(error)
            raise

    return observed


WRAPPERS: tuple[tuple[Callable[[Any], bool], tuple[Callable[..., Any], type[Span]]], ...] = (
    (inspect.isasyncgenfunction, (_async_generator, Yielding)),
    (inspect.iscoroutinefunction, (_coroutine, Span)),
    (inspect.isgeneratorfunction, (_generator, Yielding)),
)
