"""The run that encloses what a context or process will do, handed on by the dispatcher's propagation context."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from eventtree.recorder import recorder

KEY = "eventtree.run"

_restored: ContextVar[str | None] = ContextVar("eventtree_llama_index_run", default=None)


def capture(run: str | None) -> dict[str, Any]:
    """What to hand on: the id of the run that is active now."""
    return {KEY: run} if run is not None and recorder.is_open(run) else {}


def restore(context: dict[str, Any]) -> None:
    """Take over what was handed on, for this context."""
    found = context.get(KEY)
    if isinstance(found, str):
        _restored.set(found)


def restored_run() -> str | None:
    """The run that was handed on to this context, while its tree is open in this process."""
    found = _restored.get()
    return found if found is not None and recorder.is_live(found) else None
