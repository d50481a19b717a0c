"""`eventtree view`: the trees of a journal in a browser on this machine, and the requests that each vendor got.

`app(journal, token=…)` is the same as an ASGI app, to be mounted in one of yours.
"""

from __future__ import annotations

from eventtree.errors import without_extra

try:
    from eventtree.view.app import app
except ImportError as error:
    raise without_extra("view", error) from None

__all__ = ["app"]
