"""One handler for every run of the process: LangChain reads handlers from registered context variables."""

from __future__ import annotations

import sys
from typing import Any, Unpack, overload

from eventtree.config import HandlerSettings
from eventtree.langchain.handler import CallbackHandler
from eventtree.recording.handler import NEW, given_or_new


class EveryContext:
    """Has the interface of a context variable, but one value for all threads: a new thread's context is empty."""

    name = "eventtree_handler"

    def __init__(self) -> None:
        """Start without a handler."""
        self.handler: CallbackHandler | None = None
        self.registered = False

    def get(self, default: Any = None) -> Any:
        """The global handler."""
        return default if self.handler is None else self.handler


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
    _everywhere.handler = given_or_new(CallbackHandler, handler, settings)
    if _everywhere.handler is None:
        _unregister()
    else:
        _register()
    return _everywhere.handler


def global_handler() -> CallbackHandler | None:
    """The handler of `set_global_handler`, if there is one."""
    return _everywhere.handler


def _register() -> None:
    from langchain_core.tracers.context import register_configure_hook  # slow to import

    if not _everywhere.registered:
        register_configure_hook(_everywhere, inheritable=True)  # type: ignore[arg-type]
        _everywhere.registered = True


def _unregister() -> None:
    """Remove our entry from LangChain's list; without such a list, an entry without a handler does nothing."""
    hooks = getattr(sys.modules.get("langchain_core.tracers.context"), "_configure_hooks", None)
    if isinstance(hooks, list):
        hooks[:] = [hook for hook in hooks if hook[0] is not _everywhere]
        _everywhere.registered = False
