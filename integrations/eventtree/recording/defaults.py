"""The pipeline of what begins without a handler: the global handler's, else one of `configure(...)` and environment."""

from __future__ import annotations

import threading

from eventtree import config, diagnostics
from eventtree.errors import EventTreeError
from eventtree.recording.handler import installed
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder

_made: tuple[object, Pipeline | None] | None = None
_guard = threading.Lock()


def default_of(parent: str | None) -> Pipeline | None:
    """The pipeline that records what opens below `parent`: that of the run itself, so that what is hidden there is
    hidden here.
    """
    if parent is None:
        return default_pipeline()
    run = recorder.runs.get(parent) or recorder.find(parent)
    if run is not None:
        return run.pipelines[0]
    known = recorder.event_of(parent)
    return default_pipeline() if known is None else known[1].pipelines[0]


def default_pipeline() -> Pipeline | None:
    """The pipeline of what begins without a handler; None where its settings are wrong, which is logged once."""
    global _made
    for handler in list(installed.values()):
        return handler.pipeline
    known, now = _made, config.generation()
    if known is None or known[0] != now:
        with _guard:
            known = _made
            if known is None or known[0] != now:
                known = _made = (now, _make())
    return known[1]


def _make() -> Pipeline | None:
    try:
        return Pipeline()
    except EventTreeError as error:
        diagnostics.logger.warning("Own code is not recorded: %s", error)
        return None
