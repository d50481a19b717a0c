"""What goes wrong or is cut inside eventtree: every failure is counted, and logged the first time."""

from __future__ import annotations

import logging
from collections import Counter
from contextvars import ContextVar

logger = logging.getLogger("eventtree")

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


name_of = type.__dict__["__name__"].__get__
"""Name of a class, as Python has it: a metaclass may answer for `__name__` with code of its own."""


def class_name(value: object) -> str:
    """Name of an object's class."""
    return str(name_of(type(value)))


def failed(where: str, error: BaseException) -> None:
    """Count a failure; log the first of its kind, without anything the user passed."""
    kind = f"{where}: {class_name(error)}"
    failures[kind] += 1
    if failures[kind] == 1:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        line = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "unknown place"
        try:
            logger.warning("%s in %s at %s. Your app is unaffected; this record may be missing", kind, where, line)
        except Exception:  # noqa: BLE001  (the app's own log handlers run here, within the callback that failed)
            failures["log handler"] += 1
