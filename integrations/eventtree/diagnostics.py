"""The one boundary between the app and us: nothing of ours reaches the app, every failure is counted and said once."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec

logger = logging.getLogger("eventtree")

P = ParamSpec("P")

failures: Counter[str] = Counter()
"""Kind of failure → how often, since the process started. `strict` pipelines let them through as well."""

truncations: Counter[str] = Counter()
"""Field of `Bounds` → how often it cut something that is no event: part of a value, a reply, the track of a run."""

_own: ContextVar[bool] = ContextVar("eventtree_own", default=False)
"""Not the number of a thread, which a forked child's threads get again; nor a variable of a thread, which greenlets
share that were made after the module was imported."""


def mark_delivery_thread() -> None:
    """Mark this thread as one that delivers. What an app's instrumentation or log handler makes of its requests is
    counted, never recorded: each request would make an event, and each event a request.
    """
    _own.set(True)


def is_delivery_thread() -> bool:
    """Whether this thread is one of those."""
    return _own.get()


def failed(where: str, error: BaseException) -> None:
    """Count a failure; log the first of its kind, without anything the user passed."""
    kind = f"{where}: {type(error).__name__}"
    failures[kind] += 1
    if failures[kind] == 1:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        line = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "unknown place"
        logger.warning("%s in %s at %s. Your app is unaffected; this record may be missing", kind, where, line)


def guarded(method: Callable[..., Any], result: Any = None) -> Callable[..., Any]:
    """Make a handler's method harmless: errors are counted and logged, raised only when the pipeline is strict.

    The method's object has a `pipeline`; a pipeline that is switched off is not called at all.
    `result` is what the framework gets back in every case.
    """

    @functools.wraps(method)
    def safe(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.pipeline.enabled:
            return result
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # the one boundary
            failed(method.__name__, error)
            if self.pipeline.settings.strict:
                raise
        return result

    return safe
