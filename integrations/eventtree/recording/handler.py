"""The base of both frameworks' handlers: copies, pickles, and the process's global handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self, TypeVar

from eventtree.errors import ConfigError
from eventtree.recording.pipeline import Pipeline

NEW: Final = object()
"""The default of `set_global_handler`: make a handler from the settings."""


class Handler:
    """A handler: a copy is the handler itself, a pickle holds its settings without keys."""

    pipeline: Pipeline

    @property
    def last_tree_id(self) -> str | None:
        """Id of the tree that opened last in this context, for feedback."""
        return self.pipeline.last_tree_id

    def __copy__(self) -> Self:
        """Return the handler itself: frameworks copy configurations, and a copy must not record twice."""
        return self

    def __deepcopy__(self, state: dict[int, Any]) -> Self:
        """Return the handler itself, like `__copy__`."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings without keys, as the framework's class: one made at run time cannot be imported."""
        from eventtree.recording import pickling

        own = next(cls for cls in type(self).__mro__ if Handler in cls.__bases__)
        return pickling.unpickle, (own, pickling.without_secrets(self.pipeline.settings))


H = TypeVar("H", bound=Handler)
installed: dict[type[Handler], Handler] = {}
"""The global handlers, by class."""


def given_or_new(handler_class: type[H], handler: object, settings: Mapping[str, Any]) -> H | None:
    """The handler to install: the given one, or one made from `settings`; None removes it.

    Raises:
        ConfigError: a setting is wrong, or settings were passed beside a handler.
    """
    if handler is NEW:
        handler = handler_class(**settings)
    elif settings:
        raise ConfigError("set_global_handler", "settings beside a handler", "Give the handler its settings")
    if handler is None:
        installed.pop(handler_class, None)
        return None
    if isinstance(handler, handler_class):
        installed[handler_class] = handler
        return handler
    problem = f"{type(handler).__name__} is no handler"
    raise ConfigError("set_global_handler", problem, f"Pass a {handler_class.__name__}")
