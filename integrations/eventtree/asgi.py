"""`Join`: an ASGI app (FastAPI, Starlette, LangServe, …) whose runs join the tree of whoever calls it.

    app.add_middleware(eventtree.asgi.Join, trust=lambda scope: scope["client"][0] in MY_HOSTS)

A request's headers name the tree that its runs join, and so who will see their contents. So headers are ignored unless
`trust`, a function of the app, returns true for the connection's scope: for a key it has checked, a private network, …
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from eventtree import diagnostics
from eventtree.errors import ConfigError
from eventtree.recording.remote import joined

__all__ = ["Join"]

Scope = MutableMapping[str, Any]
Trust = Callable[[Scope], bool | Awaitable[bool]]


class Join:
    """Pure ASGI middleware: requests and websockets that `trust` accepts join their caller's tree."""

    def __init__(self, app: Callable[..., Awaitable[None]], trust: Trust | None = None) -> None:
        """Wrap `app`. `trust` may be a coroutine function. A request for which it raises is not trusted.

        Raises:
            ConfigError: `trust` is no function.
        """
        if trust is not None and not callable(trust):
            hint = "Pass a function from the ASGI scope to True or False"
            raise ConfigError("Join.trust", f"{type(trust).__name__} is no function", hint)
        self.app = app
        self.trust = trust

    async def __call__(self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Serve one connection."""
        with joined(scope.get("headers") if await self._is_trusted(scope) else None):
            await self.app(scope, receive, send)

    async def _is_trusted(self, scope: Scope) -> bool:
        if self.trust is None or scope.get("type") not in ("http", "websocket"):
            return False
        try:
            answer = self.trust(scope)
            return bool(await answer if inspect.isawaitable(answer) else answer)
        except Exception as error:  # noqa: BLE001  (the request goes on, untrusted)
            diagnostics.failed("trust", error)
            return False
