"""What LangChain serializes of a prompt or a model: the same object with every run of it, so it is read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from eventtree.remembered import Remembered, builtin_copy

T = TypeVar("T")

MOST = 64
"""Of an app's prompts and models; each comes with every run of it, and none is cheap to read."""


class Serialized(Generic[T]):
    """`read` of a serialized component, remembered while the object is the same and still holds the same.

    Only what is made of builtin values alone is remembered: nothing of the app's is kept or asked.
    """

    def __init__(self, read: Callable[[Any], T]) -> None:
        """Know none."""
        self._read = read
        self._known: Remembered[int, tuple[Any, Any, T]] = Remembered(MOST)

    def __call__(self, serialized: Any) -> T:
        """What is read of it; not to be changed."""
        known = self._known.get(id(serialized))
        # It is kept, so no other has its id. Texts are the same objects in the copy: to compare them is to look.
        if known is not None and known[1] == serialized:
            return known[2]
        found = self._read(serialized)
        try:
            self._known.keep(id(serialized), (serialized, builtin_copy(serialized), found))
        except ValueError:  # holds others than builtin values: it is read anew each time
            pass
        return found
