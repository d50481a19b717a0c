"""The boundary between the app and this package: no error of ours reaches the app, and no record is lost by one."""

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
"""A guarded method. It is generated with the method's own parameters, because packing and unpacking arguments costs a
callback a fifth of its time.
"""


def guarded(
    method: Callable[..., Any],
    result: Any = None,
    otherwise: Callable[..., Any] | None = None,
    named_from: str | None = None,
) -> Callable[..., Any]:
    """Guard a handler's method: its errors are counted and logged, and raised only if the pipeline is strict.

    The method's object has a `pipeline`; while that is switched off, the method is not called.
    `result` is always returned to the framework. If the method fails, `otherwise` is called with the same arguments: it
    records the facts that it can without reading them, so that no run is missing or stays open.
    A method's `**_` stands for future arguments, which are dropped. Arguments from `named_from` on are given by name,
    and others may be among them; the method itself is called by position, which takes half the time.
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
        takes.append(name if one.default is one.empty else f"{name}=None")  # the default is set below
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
    """Count a guarded method's `error` and call `otherwise`. Returns whether the error is raised again."""
    # The order matters: Ctrl-C and a killed thread are the app's, before anything is counted.
    if diagnostics.must_pass(error):
        return True
    diagnostics.failed(method.__name__, error)
    if otherwise is not None:
        try:
            otherwise(*given, **named)
        except Exception:  # noqa: BLE001  (the first failure is counted and logged above)
            pass
    return bool(given[0].pipeline.settings.strict)
