"""A run's id and its name as text."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from eventtree.content import items_of
from eventtree.record import encoder

FALLBACKS = "RunnableWithFallbacks"
"""Default name of the run around the attempts of `with_fallbacks`. It only leads to numbered attempts: another run with
this name loses nothing.
"""

KNOWN_IDS = 1_000
"""They are forgotten all at once, so they are few enough to take no time."""

write = encoder()
_ids: dict[int, str] = {}
"""Run ids as text, by their number (`run_id.int`: hashing or formatting a UUID itself takes several calls). Each is
needed at a run's start, at its end, and by its children.
"""


def key_of(run_id: UUID) -> str:
    """A run's id as text; an id that is no UUID is converted by `str`."""
    try:
        known = _ids.get(run_id.int)
        if known is None:
            known = write(run_id)[1:-1].decode()  # by the encoder, which takes a third of the time
            if len(_ids) >= KNOWN_IDS:
                _ids.clear()
            _ids[run_id.int] = known
        return known
    except AttributeError:
        return str(run_id).encode("utf-8", "replace").decode() or "-"  # a text that can be written, and is not empty
    except (ValueError, TypeError):  # of another library's class
        return str(UUID(int=run_id.int))


def class_of(serialized: Any) -> str:
    """The name of a serialized class; empty if there is none."""
    path = serialized.get("id") if isinstance(serialized, dict) else None
    if type(path) is not list:
        path = items_of(path)
    return path[-1] if path and isinstance(path[-1], str) else ""


def name_of(name: str | None, serialized: Any, otherwise: str) -> str:
    """The run's given name, else that of its class."""
    given = serialized.get("name") if isinstance(serialized, dict) else None
    if name is None and type(given) is str and given:
        return given
    names = (name, given, class_of(serialized), otherwise)
    return next(str.__str__(found) for found in names if isinstance(found, str) and found)


def started_ns(run_id: UUID) -> int | None:
    """The start of a run whose start was not reported: LangChain's ids begin with the time, in ms.

    It is the end of that millisecond, so that the run does not seem to begin before a sibling that ended in it.
    """
    return ((run_id.int >> 80) + 1) * 1_000_000 - 1 if getattr(run_id, "version", None) == 7 else None
