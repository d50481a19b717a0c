"""The boundary between the app and us: nothing of ours reaches the app, and one odd part costs no record."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from eventtree import diagnostics

SOURCE = """
def {name}({takes}):
    if {first}.pipeline.enabled:
        try:
            method({gives})
        except BaseException as error:
            if failed(method, error, otherwise, ({given},), {named}):
                raise
    return result
"""
"""A guarded method. Made for each, with its very parameters: to pack arguments and unpack them again costs a callback a
fifth of its time.
"""


def guarded(
    method: Callable[..., Any],
    result: Any = None,
    otherwise: Callable[..., Any] | None = None,
    named_from: str | None = None,
) -> Callable[..., Any]:
    """Make a handler's method harmless: errors are counted and logged, raised only when the pipeline is strict.

    The method's object has a `pipeline`; a pipeline that is switched off is not called at all.
    `result` is what the framework gets back in every case. Where the method has failed, `otherwise` is called with
    the same arguments: it records as much as is known without reading them, so that no run is missing or stays open.
    What the method takes as `**_`, for arguments to come, it is not given. Where it goes on with arguments `named_from`
    one of them, callers name those and may give others: the method itself is called in order, which is half the price.
    """
    takes, given, named, gives = [], [], [], []
    for name, one in inspect.signature(method).parameters.items():
        if one.kind is one.VAR_KEYWORD:
            takes.append(f"**{name}")
            if name != "_":
                named.append(f"**{name}")
                gives.append(f"**{name}")
            continue
        is_named = one.kind is one.KEYWORD_ONLY
        if is_named or name == named_from or named:
            if "*" not in takes:
                takes.append("*")
            named.append(f"{name}={name}")
        else:
            given.append(name)
        gives.append(f"{name}={name}" if is_named else name)
        takes.append(name if one.default is one.empty else f"{name}=None")  # the value itself is set below
    if named_from is not None:
        takes.append("**_")
    source = SOURCE.format(
        name=method.__name__, takes=", ".join(takes), gives=", ".join(gives), given=", ".join(given),
        first=given[0],        named=f"dict({', '.join(named)})",
    )  # fmt: skip
    around = {"method": method, "failed": failed, "otherwise": otherwise, "result": result, "__name__": __name__}
    exec(compile(source, f"<{method.__qualname__}, guarded>", "exec"), around)
    safe: Any = functools.wraps(method)(around[method.__name__])
    defaults = {name: one.default for name, one in inspect.signature(method).parameters.items()}
    code = safe.__code__
    in_order, by_name = (
        code.co_varnames[: code.co_argcount],
        code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount],
    )
    safe.__defaults__ = tuple(defaults[name] for name in in_order if defaults[name] is not inspect.Parameter.empty)
    safe.__kwdefaults__ = {name: defaults[name] for name in by_name if defaults[name] is not inspect.Parameter.empty}
    return safe  # type: ignore[no-any-return]


def failed(
    method: Any, error: BaseException, otherwise: Callable[..., Any] | None, given: tuple[Any, ...], named: Any
) -> bool:
    """The one boundary: a method of ours has raised `error`. Returns whether it is raised again."""
    # Ctrl-C and a killed thread are meant for the app, before anything is counted.
    if diagnostics.must_pass(error):
        return True
    diagnostics.failed(method.__name__, error)
    if otherwise is not None:
        try:
            otherwise(*given, **named)
        except Exception:  # noqa: BLE001  (what has failed is counted and logged just above)
            pass
    return bool(given[0].pipeline.settings.strict)
