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
from typing import Any, ParamSpec, TypeVar, cast, overload

from eventtree import config
from eventtree.errors import ConfigError
from eventtree.event import Kind
from eventtree.own.span import Span, checked
from eventtree.recording.boundary import guarded
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import Within
from eventtree.recording.shapes import text_of

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
        ConfigError: there is no such kind, no argument of a name in `inputs`, or the metadata are no dict.
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
"""In place of an argument that is not given: defaults are not recorded."""
ONE = "if {0} is not __left__: __found__['{0}'] = {0}"
LINES: Mapping[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "if {0}: __found__['{0}'] = {0}",
    inspect.Parameter.VAR_KEYWORD: "__found__.update({0})",
}
"""Kind of a parameter → how it is taken down; `ONE` for all others."""


def _arguments(function: Callable[..., Any], wanted: Captured) -> Named:
    """What gives a call's arguments by name, as far as they are to be recorded. Made for each function, with its very
    parameters: to look for each by its name takes a call three times as long.

    Raises:
        ConfigError: there is no argument of a wanted name.
    """
    if wanted is False:
        return lambda args, kwargs: None
    if wanted is not True and not isinstance(wanted, Collection):
        raise ConfigError("observe inputs", f"{type(wanted).__name__} is no list of names", "Give True, False or names")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin's are not known
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
            found = {"args": args, **kwargs}  # the function itself will say what is wrong
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
    """The run of a generator: what it yields is its output. Its context names it while its own code runs."""

    __slots__ = ("is_text", "yielded")

    def open(self, given: Any) -> None:
        """As any run; texts alone are one text together."""
        self.is_text, self.yielded = True, list[Any]()
        super().open(given)
        if self.id is not None:
            self.leave(self.id)

    @guarded
    def add(self, item: Any) -> None:
        """One more item. Where it is kept it is made plain at once, since its reader may change it."""
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
        """As any run; where its reader has given it up, it is cancelled, whatever it made of that."""
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
                except BaseException as error:  # noqa: BLE001  (thrown in by the reader: it is for the generator)
                    step, given = generator.throw, error
        except BaseException as error:
            run.close(given, error)
            if isinstance(error, StopIteration):
                return error.value  # type: ignore[no-any-return]
            raise
        finally:
            given = None  # else what was thrown in would hold the frame that holds it

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
