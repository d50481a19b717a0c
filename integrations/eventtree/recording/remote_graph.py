"""LangGraph's `RemoteGraph`: what the server runs joins the caller's tree, without code on the server.

A remote graph sends the metadata of its configuration, and the server hands that to its graph's first run, where our
handler reads it (`remote.in_metadata`). Nothing of the app's is changed: the ids are added to what is about to be sent,
which `RemoteGraph._sanitize_config` has made for the request alone.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from eventtree import diagnostics
from eventtree.recording.around import hand_on
from eventtree.recording.remote import KEYS, Remote, written

MODULE = "langgraph.pregel.remote"
METHOD = "_sanitize_config"


def follow_remote_graphs() -> None:
    """Hand runs on to servers, once `RemoteGraph` is loaded; it is never loaded for this. Cheap when it is done."""
    cls = getattr(sys.modules.get(MODULE), "RemoteGraph", None)
    original = getattr(cls, METHOD, None)
    if cls is not None and callable(original) and not hasattr(original, "__eventtree__"):
        setattr(cls, METHOD, _adding_ids(original))


def _adding_ids(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def sanitize(self: Any, config: Any) -> Any:
        found = original(self, config)
        try:
            handed = hand_on()
            if handed is not None and handed.run is not None and isinstance(found, dict):
                found["metadata"] = {**(found.get("metadata") or {}), **metadata_of(handed)}
        except Exception as error:  # noqa: BLE001  (the app's call goes on without it)
            diagnostics.failed("remote graph", error)
        return found

    sanitize.__eventtree__ = True  # type: ignore[attr-defined]
    return sanitize


def metadata_of(handed: Remote) -> dict[str, str]:
    """What is handed on, as metadata of a run."""
    known = {key: value for name, key in KEYS.items() if (value := getattr(handed, name)) is not None}
    return {**known, "eventtree_traceparent": written(handed)["traceparent"]}
