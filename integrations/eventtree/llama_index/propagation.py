"""The run that encloses what a context, thread or process will do, handed on by the dispatcher's propagation context.

Where the run is open in this process, what follows goes on in its tree. In another process it begins a tree of its own,
of the same session, whose metadata names the run and the tree it continues.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from eventtree.recording.callback_context import share_with_callbacks
from eventtree.recording.recorder import recorder
from eventtree.recording.session import current_session

KEY = "eventtree"


class Handed(NamedTuple):
    """What was handed on: the ids of a run and its tree, and whom they belong to."""

    run: str
    tree: str | None
    session: str | None
    user: str | None

    @property
    def live_run(self) -> str | None:
        """The run, while its tree is open in this process."""
        return self.run if recorder.is_live(self.run) else None

    def metadata(self) -> dict[str, str | None]:
        """What a tree says of the run it continues."""
        return {"parent_run_id": self.run, "parent_tree_id": self.tree}


_handed: ContextVar[Handed | None] = ContextVar("eventtree_llama_index_handed", default=None)


def capture(run_id: str | None) -> dict[str, Any]:
    """What to hand on: the ids of the run that is active now; what was handed on to us where there is none."""
    share_with_callbacks()  # A workflow hands its context on right before it runs in a task of its own.
    run = recorder.find(run_id) if run_id is not None else None
    if run is None:
        handed = _handed.get()
        return {} if handed is None else {KEY: handed._asdict()}
    session = current_session()
    known = (None, None) if session is None else (session.id, session.user)
    return {KEY: Handed(run.id, run.tree.id, *known)._asdict()}


def restore(context: Mapping[str, Any]) -> None:
    """Take over what was handed on, for this context. What is not ours, or not as we wrote it, is passed over."""
    found = context.get(KEY)
    if isinstance(found, Mapping):
        texts = {name: value if isinstance(value := found.get(name), str) else None for name in Handed._fields}
        if texts["run"] is not None:
            _handed.set(Handed(**texts))  # type: ignore[arg-type]


def handed_on() -> Handed | None:
    """What was handed on to this context."""
    return _handed.get()
