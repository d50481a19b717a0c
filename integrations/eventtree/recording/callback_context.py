"""The id of the tree recorded last, as the user's own task sees it, though callbacks run in tasks of their own."""

from __future__ import annotations

import asyncio
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from eventtree.loop import running_loop
from eventtree.recording import caller

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline


class _LastTree:
    """The tree recorded last in one flow of control, shared with the callback tasks that flow spawns."""

    __slots__ = ("id", "owner", "pipelines")

    def __init__(self, owner: weakref.ref[Any] | None) -> None:
        self.owner = owner
        self.id: str | None = None
        self.pipelines: tuple[weakref.ref[Pipeline], ...] = ()


_last: ContextVar[_LastTree | None] = ContextVar("eventtree_last_tree", default=None)

_CALLBACK_TASKS = frozenset({"_ahandle_event_for_handler", "ahandle_event", "run_with_concurrency_limit"})
"""LangChain runs each handler's async callback in a task of its own, in a copy of the caller's context; so does
LlamaIndex each workflow.
"""


def in_callback() -> bool:
    """Whether this is the task of a callback, which LangChain has made for it."""
    return _is_callback(_task())


def flow() -> weakref.ref[asyncio.Task[Any]] | None:
    """The task whose callback this is, where it is known."""
    found = _last.get()
    return None if found is None else found.owner


def share_with_callbacks() -> None:
    """Call in the user's own task, before LangChain starts callback tasks.

    It makes the holder into which those tasks put the last tree's id, so that the user's task can read it.
    """
    caller.remember()
    task = _task()
    if task is None:
        return
    found = _last.get()
    if found is None or not (_owned(found, task) or _is_callback(task)):
        _last.set(_LastTree(weakref.ref(task)))


def remember_tree(pipeline: Pipeline, tree_id: str) -> None:
    """Keep `tree_id` as the last one of this context (and of the pipeline, for contexts that have none)."""
    pipeline.last_tree = tree_id
    task = _task()
    found = _last.get()
    if found is None or not (_owned(found, task) or _is_callback(task)):
        found = _LastTree(weakref.ref(task) if task is not None else None)
        _last.set(found)
    if found.id != tree_id:
        found.id, found.pipelines = tree_id, ()
    found.pipelines = (*found.pipelines, weakref.ref(pipeline))


def last_tree(pipeline: Pipeline) -> str | None:
    """The tree this pipeline saw open last in this context, else the last it saw in any."""
    found = _last.get()
    if found is not None and any(seen() is pipeline for seen in found.pipelines):
        return found.id
    return pipeline.last_tree


def _task() -> asyncio.Task[Any] | None:
    if running_loop() is None:
        return None
    return asyncio.current_task()


def _owned(found: _LastTree, task: asyncio.Task[Any] | None) -> bool:
    return (found.owner() if found.owner is not None else None) is task


def _is_callback(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and getattr(task.get_coro(), "__name__", "") in _CALLBACK_TASKS
