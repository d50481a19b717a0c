"""The run that encloses what a context, thread or process will do, handed on by the dispatcher's propagation context.

What follows goes on in that run's tree: in this process as its child, in another as a part of the tree (`remote.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventtree.recording.around import hand_on
from eventtree.recording.callback_context import share_with_callbacks
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import KEYS, Remote, inner, of_values

KEY = "eventtree"


def capture() -> dict[str, Any]:
    """What to hand on: the ids of the run that is active now; what was handed on to us where there is none."""
    share_with_callbacks()  # A workflow hands its context on right before it runs in a task of its own.
    found = hand_on()
    return {} if found is None or found.run is None else {KEY: {name: getattr(found, name) for name in KEYS}}


def restore(context: Mapping[str, Any]) -> None:
    """Take over what was handed on, for this context. What is not ours, or not as we wrote it, is passed over."""
    found = context.get(KEY)
    handed = of_values(found.get, None) if isinstance(found, Mapping) else None
    if handed is not None:
        inner.set(handed)
        recorder.come_back(handed)


def live_run(handed: Remote | None) -> str | None:
    """The run that handed this context on, while its tree is open in this process."""
    run = None if handed is None else handed.run
    return run if run is not None and recorder.is_live(run) else None
