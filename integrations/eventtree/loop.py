"""The event loop of this thread. asyncio's quick calls for it are not promised: each has another behind it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


def _ask() -> Loop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


running_loop: Callable[[], Loop | None] = getattr(asyncio, "_get_running_loop", _ask)
"""The loop, None where none runs. The quick call raises nothing within, which callbacks outside of loops would pay."""
_set_running_loop: Callable[[Loop | None], None] | None = getattr(asyncio, "_set_running_loop", None)


def unseen(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method touch the disk though a loop is running: what watches loops for blocking calls would name the app.

    Where the loop cannot be put aside, the method is as it was.
    """
    put = _set_running_loop
    if put is None:
        return method

    @functools.wraps(method)
    def outside(*args: P.args, **kwargs: P.kwargs) -> T:
        loop = running_loop()
        if loop is None:
            return method(*args, **kwargs)
        put(None)
        try:
            return method(*args, **kwargs)
        finally:
            put(loop)

    return outside
