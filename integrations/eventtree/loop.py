"""The event loop of this thread, by asyncio's fast private functions or, where they are missing, the public way."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


def _find_loop() -> Loop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


running_loop: Callable[[], Loop | None] = getattr(asyncio, "_get_running_loop", _find_loop)
"""The running loop, or None. The private function saves callbacks outside of a loop the cost of an exception."""
_set_running_loop: Callable[[Loop | None], None] | None = getattr(asyncio, "_set_running_loop", None)


def without_loop(method: Callable[P, T]) -> Callable[P, T]:
    """Hide the running loop while a method touches the disk: detectors of blocking calls would blame the app.

    Where asyncio offers no way to, the method stays as it is.
    """
    set_loop = _set_running_loop
    if set_loop is None:
        return method

    @functools.wraps(method)
    def hidden(*args: P.args, **kwargs: P.kwargs) -> T:
        loop = running_loop()
        if loop is None:
            return method(*args, **kwargs)
        set_loop(None)
        try:
            return method(*args, **kwargs)
        finally:
            set_loop(loop)

    return hidden
