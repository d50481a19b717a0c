"""Who starts a run: code of LangChain whose runs bear any name that the user gives them."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from eventtree.recording import callback_context

BELOW = 5
"""Frames between the code that starts a run and `is_fallbacks`, called by a callback in sync code."""
TOLD_BY = 3
"""In async code: that code's place among the coroutines that wait for the callback, counted from the innermost."""
DISPATCHERS = frozenset({"handle_event", "_ahandle_event_for_handler"})
"""Its functions that call the handlers' callbacks."""
FALLBACKS = "RunnableWithFallbacks"
"""Class of the run around fallback attempts, and its name if it is given no other. Only numbers attempts: a run that
is called so by chance loses nothing.
"""
METHODS = f"{FALLBACKS}."


def is_fallbacks(name: str) -> bool:
    """Whether it is `with_fallbacks`. Where nothing can be seen of it (an async batch or stream) the name tells."""
    if name == FALLBACKS:
        return True
    if asyncio._get_running_loop() is not None and callback_context.in_callback():
        return _waiting(callback_context.flow()).startswith(METHODS)
    try:
        return sys._getframe(BELOW).f_code.co_qualname[: len(METHODS)] == METHODS  # thrice as fast as startswith
    except ValueError:  # a handler called by hand
        return False


def is_told_by_langchain() -> bool:
    """Whether LangChain calls the handler, not the app itself."""
    frame: Any = sys._getframe(1)
    for _ in range(BELOW):
        if frame is not None and frame.f_code.co_name in DISPATCHERS:
            return True
        frame = frame and frame.f_back
    return False


def _waiting(flow: Any) -> str:
    task = flow() if flow is not None else None
    names: list[str] = []
    coroutine: Any = None if task is None else task.get_coro()
    while hasattr(coroutine, "cr_await"):
        names.append(coroutine.__qualname__)
        coroutine = coroutine.cr_await
    return names[-TOLD_BY] if len(names) >= TOLD_BY else ""
