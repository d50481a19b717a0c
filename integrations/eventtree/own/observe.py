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
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Mapping
from typing import Any, ParamSpec, TypeVar, overload

from eventtree import config
from eventtree.errors import ConfigError
from eventtree.event import Kind
from eventtree.own.span import Span, kind_of

F = TypeVar("F")
"""A function, or a static or class method: observed it has the type that it had."""
P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")
S = TypeVar("S")
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
        wrap = next((wrap for test, wrap in WRAPPERS.items() if test(function) or test(called)), _plain)

        def begun(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
            """A run of the function, not open yet."""
            run = Span(shown, known, named(args, kwargs), metadata, tags)
            if not outputs:
                run.keeps = False
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


Begun = Callable[[tuple[Any, ...], dict[str, Any]], Span]


def _plain(function: Callable[P, R], begun: Begun) -> Callable[P, R]:
    def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        with begun(args, kwargs) as run:
            run.outputs = result = function(*args, **kwargs)
            return result

    return observed


def _coroutine(function: Callable[P, Awaitable[R]], begun: Begun) -> Callable[P, Awaitable[R]]:
    async def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        with begun(args, kwargs) as run:
            run.outputs = result = await function(*args, **kwargs)
            return result

    return observed


def _generator(function: Callable[P, Generator[Y, S, R]], begun: Begun) -> Callable[P, Generator[Y, S, R]]:
    def observed(*args: P.args, **kwargs: P.kwargs) -> Generator[Y, S, R]:
        run = begun(args, kwargs)
        run.steps, run.yielded, run.is_text = 0, [], True
        try:
            with run:
                generator = function(*args, **kwargs)
                item = next(generator)
            while True:
                run.add(item)
                step: Callable[[Any], Y] = generator.send
                try:
                    given: Any = yield item
                except GeneratorExit:
                    with run:
                        generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001  (thrown in by the reader: it is for the generator)
                    step, given = generator.throw, error
                with run:
                    item = step(given)
        except StopIteration as stop:
            run.end()
            return stop.value  # type: ignore[no-any-return]
        except BaseException as error:
            run.end(error)
            raise

    return observed


def _async_generator(function: Callable[P, AsyncGenerator[Y, S]], begun: Begun) -> Callable[P, AsyncGenerator[Y, S]]:
    async def observed(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Y, S]:
        run = begun(args, kwargs)
        run.steps, run.yielded, run.is_text = 0, [], True
        try:
            with run:
                generator = function(*args, **kwargs)
                item = await anext(generator)
            while True:
                run.add(item)
                step: Callable[[Any], Awaitable[Y]] = generator.asend
                try:
                    given: Any = yield item
                except GeneratorExit:
                    with run:
                        await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001  (as above)
                    step, given = generator.athrow, error
                with run:
                    item = await step(given)
        except StopAsyncIteration:
            run.end()
        except BaseException as error:
            run.end(error)
            raise

    return observed


WRAPPERS: Mapping[Callable[[Any], bool], Callable[..., Any]] = {
    inspect.isasyncgenfunction: _async_generator,
    inspect.iscoroutinefunction: _coroutine,
    inspect.isgeneratorfunction: _generator,
}
