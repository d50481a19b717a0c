"""`observe`: each call of a function of the app as a run of the tree.

    @eventtree.observe
    def plan(goal: str) -> list[str]: ...

    @eventtree.observe(name="ask", kind="model", outputs=False)
    async def ask(self, messages): ...

A generator's output is its items: each is recorded as it passes to the reader. The context names the run only while the
generator's own code runs, so runs that its reader opens between two items stay outside.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Mapping
from typing import Any, ParamSpec, TypeVar, cast, overload

from eventtree import config
from eventtree.errors import ConfigError
from eventtree.kinds import Kind
from eventtree.own.span import Span, checked
from eventtree.recording.boundary import guarded
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import Within
from eventtree.recording.shapes import text_of

F = TypeVar("F")
"""A function, or a static or class method, which keeps its type."""
P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")
S = TypeVar("S")
Captured = bool | Collection[str]
Named = Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any] | None]
"""Gives a call's arguments by name."""


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

    `name` is the function's qualified name by default; `kind` is as for `eventtree.span`. `inputs` are its arguments by
    name (without `self` and `cls`): all, none (False), or the named ones; `outputs=False` leaves out its result. An
    exception passes unchanged and the run ends as `error`, a cancelled one as `cancelled`. Where recording is switched
    off (`EVENTTREE_ENABLED=0`), the function itself is returned.

    Raises:
        ConfigError: the kind or a name in `inputs` is unknown, or the metadata are not a dict.
    """
    known, about = checked("observe", kind, metadata)
    common = {
        "__slots__": (), "__init__": object.__init__, "model": None, "provider": None, "params": None, "handler": None,
        "kind": known, "keeps": outputs, "metadata": about, "_tags": tags,
    }  # fmt: skip

    def decorator(function: Any, /) -> Any:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(decorator(function.__func__))
        if not callable(function) or isinstance(function, type):
            problem = f"{type(function).__name__} is no function"
            raise ConfigError("observe", problem, "Observe the methods of a class, and put it below @property")
        named = _arguments(function, inputs)
        if config.is_off():
            return function
        behind = function.func if isinstance(function, functools.partial) else function
        shown = name or getattr(behind, "__qualname__", type(function).__name__).replace("<locals>.", "")
        called = getattr(function, "__call__", None)  # noqa: B004  (an object may be called like a function)
        base, wrap = next((how for test, how in WRAPPERS.items() if test(function) or test(called)), (Span, _plain))
        call = type("Call", (base,), {**common, "name": shown})  # see `Span`
        return functools.wraps(function)(wrap(function, call, named))

    return decorator if function is None else decorator(function)


LEFT = type("Left", (), {"__repr__": lambda _: "__left__"})()
"""Stands for an argument that was not given: defaults are not recorded."""
ONE = "if {0} is not __left__: __found__['{0}'] = {0}"
LINES: Mapping[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "if {0}: __found__['{0}'] = {0}",
    inspect.Parameter.VAR_KEYWORD: "__found__.update({0})",
}
"""Kind of a parameter → line that reads its argument; `ONE` for all others."""


def _arguments(function: Callable[..., Any], wanted: Captured) -> Named:
    """A function that gives the recorded arguments of a call by name. It is generated with the function's own
    parameters: looking up each by its name takes a call three times as long.

    Raises:
        ConfigError: a wanted name is no argument.
    """
    if wanted is False:
        return lambda args, kwargs: None
    if wanted is not True and not isinstance(wanted, Collection):
        raise ConfigError("observe inputs", f"{type(wanted).__name__} is no list of names", "Give True, False or names")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin's parameters are not known
        parameters = list(inspect.signature(lambda *args, **kwargs: None).parameters.values())
    names, kinds = [one.name for one in parameters], {one.kind for one in parameters}
    only = None if wanted is True else frozenset([wanted] if isinstance(wanted, str) else wanted)
    unknown = sorted((only or frozenset()) - {*names})
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise ConfigError("observe inputs", f"no argument {', '.join(unknown)}", f"It takes {', '.join(names)}")
    is_method = "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    shown = parameters[is_method and names[:1] in (["self"], ["cls"]) :]
    takes = [
        inspect.Parameter(one.name, one.kind, default=one.empty if one.kind in LINES else LEFT) for one in parameters
    ]
    lines = [LINES.get(one.kind, ONE).format(one.name) for one in shown]
    made: dict[str, Any] = {"__left__": LEFT}
    exec("\n ".join([f"def by_name{inspect.Signature(takes)}:", "__found__ = {}", *lines, "return __found__"]), made)
    by_name = made["by_name"]

    def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = by_name(*args, **kwargs) if kwargs else by_name(*args)
        except TypeError:
            found = {"args": args, **kwargs}  # the function itself will raise for them
        return found if only is None else {name: one for name, one in found.items() if name in only}

    return named


def _plain(function: Callable[P, R], call: Callable[[], Span], named: Named) -> Callable[P, R]:
    def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        run = call()
        run.open(named(args, kwargs))
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            run.close(None, error)
            raise
        run.close(result)
        return result

    return observed


def _coroutine(function: Callable[P, Awaitable[R]], call: Callable[[], Span], named: Named) -> Any:
    async def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        run = call()
        run.open(named(args, kwargs))
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            run.close(None, error)
            raise
        run.close(result)
        return result

    return observed


class Stream(Span):
    """The run of a generator: its items are its output. The context names it only while its own code runs."""

    __slots__ = ("is_text", "yielded")

    def open(self, given: Any) -> None:
        """Open the run. Items that are all texts are joined to one text."""
        self.is_text, self.yielded = True, list[Any]()
        super().open(given)
        if self.id is not None:
            self.leave(self.id)

    @guarded
    def add(self, item: Any) -> None:
        """Add an item. It is made plain at once, since its reader may change it."""
        if self.kind is Kind.MODEL:
            if type(item) is not str:
                self.read(item, is_chunk=True)
            item = text_of(item)
            if item:
                recorder.first_token(self.id or "")
        if self.keeps and self.pipeline.content and len(self.yielded) <= self.pipeline.settings.bounds.items:
            self.is_text = self.is_text and type(item) is str
            self.yielded.append(item if self.is_text else self.pipeline.plain(item))

    def close(self, thrown: Any = None, error: BaseException | None = None) -> None:
        """Close the run. If its reader closed the generator, it is cancelled, whatever its code did then."""
        if isinstance(error, StopIteration | StopAsyncIteration):
            error = thrown if type(thrown) is GeneratorExit else None
        super().close(("".join(self.yielded) if self.is_text else self.yielded) or None, error)


def _generator(function: Callable[P, Generator[Y, S, R]], call: Callable[[], Stream], named: Named) -> Any:
    def observed(*args: P.args, **kwargs: P.kwargs) -> Generator[Y, S, R]:
        run, given = call(), cast("Any", None)
        run.open(named(args, kwargs))
        try:
            generator = function(*args, **kwargs)
            step: Callable[[Any], Y] = generator.send
            while True:
                with Within(run.id):
                    item = step(given)
                run.add(item)
                try:
                    step, given = generator.send, (yield item)
                except BaseException as error:  # noqa: BLE001  (thrown by the reader into the generator)
                    step, given = generator.throw, error
        except BaseException as error:
            run.close(given, error)
            if isinstance(error, StopIteration):
                return error.value  # type: ignore[no-any-return]
            raise
        finally:
            given = None  # else an exception thrown in and this frame would hold each other

    return observed


def _async_generator(function: Callable[P, AsyncGenerator[Y, S]], call: Callable[[], Stream], named: Named) -> Any:
    async def observed(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Y, S]:
        run, given = call(), cast("Any", None)
        run.open(named(args, kwargs))
        try:
            generator = function(*args, **kwargs)
            step: Callable[[Any], Awaitable[Y]] = generator.asend
            while True:
                with Within(run.id):
                    item = await step(given)
                run.add(item)
                try:
                    step, given = generator.asend, (yield item)
                except BaseException as error:  # noqa: BLE001  (as above)
                    step, given = generator.athrow, error
        except BaseException as error:
            run.close(given, error)
            if not isinstance(error, StopAsyncIteration):
                raise
        finally:
            given = None

    return observed


WRAPPERS: Mapping[Callable[[Any], bool], tuple[type[Span], Callable[..., Any]]] = {
    inspect.isasyncgenfunction: (Stream, _async_generator),
    inspect.iscoroutinefunction: (Span, _coroutine),
    inspect.isgeneratorfunction: (Stream, _generator),
}
