"""The id of the tree recorded last, for the user's own task, although callbacks run in other tasks."""

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
    """The tree recorded last in one task, shared with the callback tasks that it starts."""

    __slots__ = ("id", "owner", "pipelines")

    def __init__(self, owner: weakref.ref[Any] | None) -> None:
        self.owner = owner
        self.id: str | None = None
        self.pipelines: tuple[weakref.ref[Pipeline], ...] = ()


_last: ContextVar[_LastTree | None] = ContextVar("eventtree_last_tree", default=None)

_CALLBACK_TASKS = frozenset({"_ahandle_event_for_handler", "ahandle_event", "run_with_concurrency_limit"})
"""Names of coroutines of callback tasks. LangChain runs each async callback in a task of its own with a copy of the
caller's context, LlamaIndex each workflow.
"""


def in_callback() -> bool:
    """Whether this task was made by LangChain for a callback."""
    return _is_callback(_task())


def flow() -> weakref.ref[asyncio.Task[Any]] | None:
    """The task that started this callback's, where it is known."""
    found = _last.get()
    return None if found is None else found.owner


def share_with_callbacks() -> None:
    """Make the holder in which callback tasks put the last tree's id, so that the user's task can read it.

    The order matters: call this in the user's own task, before LangChain starts callback tasks.
    """
    caller.remember()
    task = _task()
    if task is None:
        return
    found = _last.get()
    if found is None or not (_owned(found, task) or _is_callback(task)):
        _last.set(_LastTree(weakref.ref(task)))


def remember_tree(pipeline: Pipeline, tree_id: str) -> None:
    """Keep `tree_id` as the last of this context, and of the pipeline for contexts without one."""
    pipeline.last_tree = tree_id
    task = _task()
    found = _last.get()
    if found is None or not (_owned(found, task) or _is_callback(task)):
        found = _LastTree(weakref.ref(task) if task is not None else None)
        _last.set(found)
    earlier = found.pipelines if found.id == tree_id else ()
    found.id, found.pipelines = tree_id, (*earlier, weakref.ref(pipeline))


def last_tree(pipeline: Pipeline) -> str | None:
    """The id of the pipeline's last tree in this context, else of its last tree in any."""
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
