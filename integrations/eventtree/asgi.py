"""`Join`: an ASGI app (FastAPI, Starlette, LangServe, …) whose runs join the tree of whoever calls it.

    app.add_middleware(eventtree.asgi.Join, trust=lambda scope: scope["client"][0] in MY_HOSTS)

What a request's headers hand on decides in whose tree its contents land. So nothing is believed unless `trust`, a
function of the app's from the connection's scope, says so: by a key that the app has checked, a private network, … .
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
    """Pure ASGI middleware: requests and websockets that `trust` says yes to join their caller's tree."""

    def __init__(self, app: Callable[..., Awaitable[None]], trust: Trust | None = None) -> None:
        """Stand before `app`. `trust` may be a coroutine function; one that raises has said no.

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
        except Exception as error:  # noqa: BLE001  (the request goes on, as one that nobody vouches for)
            diagnostics.failed("trust", error)
            return False
