"""The global handler: records everything that LlamaIndex runs in the process, on its root dispatcher."""

from __future__ import annotations

from typing import Any, Unpack, overload

from eventtree.config import HandlerSettings
from eventtree.llama_index.handler import DispatcherHandler
from eventtree.recording.handler import NEW, given_or_new, installed


@overload
def set_global_handler(handler: None) -> None: ...
@overload
def set_global_handler(handler: DispatcherHandler) -> DispatcherHandler: ...
@overload
def set_global_handler(**settings: Unpack[HandlerSettings]) -> DispatcherHandler: ...
def set_global_handler(handler: DispatcherHandler | object | None = NEW, **settings: Any) -> DispatcherHandler | None:
    """Record everything that LlamaIndex runs in this process, and return the handler.

    Without a handler, makes one of `settings` (those of `DispatcherHandler`). Replaces the one before; None leaves the
    dispatcher as it was.

    Raises:
        ConfigError: a setting is wrong, or settings come with a handler that has its own; the old handler stays.
        JournalError: the journal's folder cannot be used; the old handler stays.
    """
    before, fresh = global_handler(), given_or_new(DispatcherHandler, handler, settings)
    if before is not None and before is not fresh:
        before.detach()
    if fresh is not None:
        fresh.attach()
    return fresh


def global_handler() -> DispatcherHandler | None:
    """The handler that `set_global_handler` installed, or None."""
    found = installed.get(DispatcherHandler)
    return found if isinstance(found, DispatcherHandler) else None
