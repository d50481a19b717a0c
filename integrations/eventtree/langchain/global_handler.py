"""One handler for every run of the process: LangChain reads handlers from registered context variables."""

from __future__ import annotations

import sys
from typing import Any, Unpack, overload

from eventtree.config import HandlerSettings
from eventtree.langchain.handler import CallbackHandler
from eventtree.recording.handler import NEW, given_or_new, installed


class EveryContext:
    """Has the interface of a context variable, but one value for all threads: a new thread's context is empty."""

    name = "eventtree_handler"

    def get(self, default: Any = None) -> Any:
        """The global handler."""
        return installed.get(CallbackHandler, default)


_everywhere = EveryContext()


@overload
def set_global_handler(handler: None) -> None: ...
@overload
def set_global_handler(handler: CallbackHandler) -> CallbackHandler: ...
@overload
def set_global_handler(**settings: Unpack[HandlerSettings]) -> CallbackHandler: ...
def set_global_handler(handler: CallbackHandler | object | None = NEW, **settings: Any) -> CallbackHandler | None:
    """Record every LangChain and LangGraph run of this process, in raw threads too, and return the handler.

    Without a handler, makes one of `settings` (those of `CallbackHandler`). Replaces the one before; None puts
    everything back as it was. A run that an explicit handler records too is recorded once, for the vendors of both.

    Raises:
        ConfigError: a setting is wrong, or settings come with a handler that has its own.
    """
    fresh = given_or_new(CallbackHandler, handler, settings)
    hooks = getattr(sys.modules.get("langchain_core.tracers.context"), "_configure_hooks", [])
    registered = [hook for hook in hooks if hook[0] is _everywhere]
    if fresh is None:
        for hook in registered:
            hooks.remove(hook)
    elif not registered:
        from langchain_core.tracers.context import register_configure_hook  # slow to import

        register_configure_hook(_everywhere, inheritable=True)  # type: ignore[arg-type]
    return fresh


def global_handler() -> CallbackHandler | None:
    """The handler of `set_global_handler`, if there is one."""
    found: CallbackHandler | None = _everywhere.get()
    return found
