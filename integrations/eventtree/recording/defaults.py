"""The pipeline of trees that begin without a handler: the global handler's, else one from the settings."""

from __future__ import annotations

import threading

from eventtree import config, diagnostics
from eventtree.errors import EventTreeError
from eventtree.recording.handler import installed
from eventtree.recording.pipeline import Pipeline

_made: tuple[object, Pipeline | None] | None = None
_guard = threading.Lock()


def default_pipeline() -> Pipeline | None:
    """The pipeline of trees that begin without a handler; None if the settings are wrong, which is logged once."""
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
