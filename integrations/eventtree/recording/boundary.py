"""The boundary between the app and us: nothing of ours reaches the app, and one odd part costs no record."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from eventtree import diagnostics


def guarded(
    method: Callable[..., Any], result: Any = None, otherwise: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """Make a handler's method harmless: errors are counted and logged, raised only when the pipeline is strict.

    The method's object has a `pipeline`; a pipeline that is switched off is not called at all.
    `result` is what the framework gets back in every case. Where the method has failed, `otherwise` is called with
    the same arguments: it records as much as is known without reading them, so that no run is missing or stays open.
    """

    @functools.wraps(method)
    def safe(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.pipeline.enabled:
            return result
        try:
            method(self, *args, **kwargs)
        except BaseException as error:  # the one boundary
            # Ctrl-C and a killed thread are meant for the app, before anything is counted.
            if diagnostics.must_pass(error):
                raise
            diagnostics.failed(method.__name__, error)
            if otherwise is not None:
                try:
                    otherwise(self, *args, **kwargs)
                except Exception:  # noqa: BLE001  (what has failed is counted and logged just above)
                    pass
            if self.pipeline.settings.strict:
                raise
        return result

    return safe
