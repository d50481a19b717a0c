"""Finds the innermost open run around the running code (own code, LangChain or LlamaIndex), and hands it on to another
process.

LangGraph's `RemoteGraph` sends the metadata of its configuration, and the server gives them to its graph's first run,
where our handler reads them (`remote.handed_on`): the server's runs join the tree without code there. No object of
the app is changed: the ids are added to the metadata of the request alone.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from eventtree import diagnostics
from eventtree.recording.enclosing import langchain_run, llama_index_span
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import NAMES, Remote, inner, remote, written
from eventtree.recording.runs import Run
from eventtree.recording.session import open_session
from eventtree.remembered import newest_of


def innermost(*runs: str | None) -> str | None:
    """The open run that is inside all other given ones, or None."""
    handed = remote()
    found = None
    for one in runs:
        run = recorder.find(one) if one is not None else None
        if one is None or run is None or (handed is not None and run.start < handed.since):
            continue
        if found is None or recorder.descends(one, found):
            found = one
    return found


def around() -> tuple[str | None, Run | None]:
    """The innermost open run, with its id as a parent. Without one, a run that opens here is a root, or a part of a
    tree that was handed on.
    """
    own, run = inner.get(), None
    if type(own) is not str:
        own = None
    elif (run := recorder.runs.get(own)) is not None and (run.tree.is_own or newest_of(run.tree.open) == own):
        return own, run  # no framework's run has opened since: the frames need not be searched
    if not recorder.runs:
        return None, None  # nothing can enclose this code while nothing is open
    found = innermost(langchain_run(), llama_index_span(), own)
    if found is None and own is not None and recorder.is_live(own):
        found = own  # a task that outlives the run in which it began still belongs to it, while the tree is open
    return (None, None) if found is None else (found, recorder.runs.get(found) or recorder.ended.get(found))


def headers() -> dict[str, str]:
    """The headers `traceparent` and `baggage`, with which runs of another process join the tree of this code.

    For requests, messages of a queue, a subprocess' environment (names in capitals), MCP's `_meta`; the other side
    takes them with `eventtree.joined` or `eventtree.asgi.Join`. Empty where no run is open; headers that this process
    was handed, and below which no run is open yet, are passed on. Nothing is attached to the context.
    """
    try:
        found = hand_on()
        return {} if found is None else written(found)
    except BaseException as error:  # objects of the frameworks were read
        if diagnostics.must_pass(error):
            raise
        diagnostics.failed("headers", error)
        return {}


def hand_on() -> Remote | None:
    """The run around this code as a `Remote`; without one, the `Remote` that was handed on to this process."""
    _, run = around()
    if run is None:
        return remote()
    tree, session = run.tree, open_session.get()
    tree.parts += 1
    name, user = (tree.session, tree.user) if session is None else (session.id, session.user)
    return Remote(run.id, tree.id, name, user, tree.traceparent, is_skipped=tree.skipped is not None)


def follow_remote_graphs() -> None:
    """Hand runs on to servers once the app has loaded `RemoteGraph`. Cheap when it is done."""
    cls = getattr(sys.modules.get("langgraph.pregel.remote"), "RemoteGraph", None)
    original = getattr(cls, "_sanitize_config", None)
    if cls is None or not callable(original) or hasattr(original, "__eventtree__"):
        return

    @functools.wraps(original)
    def sanitize(self: Any, config: Any) -> Any:
        found = original(self, config)
        try:
            handed = hand_on()
            if handed is not None and handed.run is not None and isinstance(found, dict):
                sent = {"eventtree_traceparent": written(handed)["traceparent"]}
                sent |= {f"eventtree_{name}": one for name in NAMES if (one := getattr(handed, name)) is not None}
                found["metadata"] = {**(found.get("metadata") or {}), **sent}
        except Exception as error:  # noqa: BLE001  (the app's call goes on without it)
            diagnostics.failed("remote graph", error)
        return found

    sanitize.__eventtree__ = True  # type: ignore[attr-defined]
    cls._sanitize_config = sanitize
