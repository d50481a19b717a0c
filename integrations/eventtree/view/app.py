"""The routes: pages ask for JSON, and what changes something is a POST of its own. Everything is behind `guards.py`.

=====  ===========================================  ==============================================================
GET    /, /static/…                                 the page, which is plain files
GET    /api/trees?q=FILTER&before=…                 rows of the list, newest first
GET    /api/trees/ID                                one tree without contents
GET    /api/trees/ID/events/EVENT                   one event; its long fields by …/EVENT/FIELD?offset=…
GET    /api/trees/ID/delivery                       how far each vendor is that the tree names
GET    /api/trees/ID/requests?vendor=…&event=…      the exact requests that carry an event
GET    /api/delivery                                the report, and the newest dead letters
GET    /api/live                                    server-sent events: which trees have changed
POST   /api/feedback, resend, drop, clear           what the page can do, and all it can do
=====  ===========================================  ==============================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from eventtree import config
from eventtree.errors import ConfigError, EventTreeError, JournalError
from eventtree.event import Event
from eventtree.journal import Journal, open_journal
from eventtree.tree.filter import Filter
from eventtree.view import shape
from eventtree.view.guards import Guards
from eventtree.view.live import Tail
from eventtree.view.looking import Looking

STATIC = Path(__file__).parent / "static"
ROWS = 100
"""Rows of one answer, where the page does not ask for fewer."""
BODY_BYTES = 64 * 1024
"""A POST is no longer."""


def app(
    journal: Journal | str | Path | None = None,
    *,
    token: str | None = None,
    allowed_hosts: Iterable[str] = (),
    prices: Any = None,
) -> ASGIApp:
    """The viewer as an ASGI app: `app.mount("/traces", eventtree.view.app(token="…"))` in Starlette or FastAPI.

    `journal` is a folder, `:memory:` or a `Journal`; without it, the configured one. The page is opened once with
    `?t=TOKEN`, which becomes a cookie; without a token only callers on this machine are answered. `allowed_hosts` are
    names under which it may be asked for besides this machine's own. `prices` is the setting of that name.

    Raises:
        ConfigError: the token is shorter than 16 characters, or the table of prices is wrong.
        JournalError: the folder cannot be used.
    """
    if token is not None and len(token) < 16:
        raise ConfigError("token", "it is too short to keep anybody out", "Use secrets.token_urlsafe(32)")
    if not isinstance(journal, Journal):
        journal = open_journal(str(journal or config.resolve().folder))
    refusals: Any = {EventTreeError: refused, OSError: refused, HTTPException: refused}
    return Guards(Starlette(routes=View(journal, prices).routes(), exception_handlers=refusals), token, allowed_hosts)


async def refused(request: Request, error: Exception) -> Response:
    """The words of an error of ours, of the disk or of a request that cannot be read."""
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)
    if isinstance(error, OSError):
        return JSONResponse({"error": f"the disk refuses: {error.strerror or error}"}, 503)
    status = 400 if isinstance(error, ConfigError) else 404 if request.method == "GET" else 409
    return JSONResponse({"error": str(error)}, status)


class View:
    """The endpoints of one journal. They read from the disk, so Starlette runs each in a thread."""

    def __init__(self, journal: Journal, prices: Any) -> None:
        self.journal = journal
        self.looking = Looking(journal, prices)
        self.tail = Tail(journal, self.looking.changed, self.looking.fill)

    def routes(self) -> list[Route | Mount]:
        """Every path that is answered."""
        gets = {
            "/": self.page, "/api/trees": self.trees, "/api/trees/{tree}": self.tree, "/api/delivery": self.delivery,
            "/api/trees/{tree}/delivery": self.tree_delivery, "/api/trees/{tree}/requests": self.requests,
            "/api/trees/{tree}/events/{event}": self.event, "/api/trees/{tree}/events/{event}/{field}": self.field,
            "/api/live": self.live,
        }  # fmt: skip
        acts = {"feedback": self.give_feedback, "resend": self.resend, "drop": self.drop, "clear": self.clear}
        return [
            *(Route(path, endpoint, methods=["GET"]) for path, endpoint in gets.items()),
            *(Route(f"/api/{name}", _with_body(act), methods=["POST"]) for name, act in acts.items()),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]

    def page(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    def trees(self, request: Request) -> Response:
        asked = request.query_params
        try:
            words = Filter.parse(asked.get("q", ""))
        except ConfigError as error:
            # No failure: it is being typed.
            return JSONResponse({"rows": [], "next": None, "certain": True, "error": str(error)})
        limit = min(ROWS, _number(asked.get("limit"), ROWS))
        return JSONResponse(self.looking.page(words, asked.get("before"), limit))

    def tree(self, request: Request) -> Response:
        opened = self.looking.tree(request.path_params["tree"])
        vendors = list(dict.fromkeys(name for name, _ in opened.vendors))
        resumed_by = self.looking.resumed_by(opened)
        return JSONResponse(
            {**shape.outline(opened.tree, opened.running), "vendors": vendors, "resumed_by": resumed_by}
        )

    def event(self, request: Request) -> Response:
        opened = self.looking.tree(request.path_params["tree"])
        event = shape.event_in(opened.tree, request.path_params["event"])
        return Response(shape.detail(opened.tree, event, opened.running), media_type="application/json")

    def field(self, request: Request) -> Response:
        asked, name = request.query_params, request.path_params["field"]
        event = shape.event_in(self.looking.tree(request.path_params["tree"]).tree, request.path_params["event"])
        if name not in Event.model_fields:
            raise JournalError("no field is called so")
        size = _number(asked.get("size"), shape.PIECE_BYTES)
        return JSONResponse(shape.piece(event, name, _number(asked.get("offset"), 0), size))

    def tree_delivery(self, request: Request) -> Response:
        from eventtree.view.vendors import delivery_of

        return JSONResponse({"vendors": delivery_of(self.journal, self.looking.tree(request.path_params["tree"]))})

    def requests(self, request: Request) -> Response:
        from eventtree.view.vendors import requests_of

        opened, asked = self.looking.tree(request.path_params["tree"]), request.query_params
        event = shape.event_in(opened.tree, asked.get("event", ""))
        return JSONResponse(requests_of(self.journal, opened, asked.get("vendor", ""), event.id))

    def delivery(self, request: Request) -> Response:
        from eventtree.view.vendors import delivery_in

        return JSONResponse(delivery_in(self.journal))

    async def live(self, request: Request) -> Response:
        if self.tail.is_full:
            raise HTTPException(503, "too many pages are open")
        return StreamingResponse(self.tail.messages(), media_type="text/event-stream")

    def give_feedback(self, body: shape.Json) -> Any:
        from eventtree.recording.feedback import add_feedback

        opened = self.looking.tree(str(body.get("tree")))
        event = shape.event_in(opened.tree, str(body.get("event")))
        vendors = [{"name": name, "fingerprint": key} for name, key in opened.vendors]
        said = {name: body[name] for name in ("score", "name", "comment") if body.get(name) not in (None, "")}
        add_feedback(self.journal, event.id, event.tree_id, vendors, said)
        return True

    def resend(self, body: shape.Json) -> Any:
        from eventtree.view.vendors import send_again

        return send_again(self.journal, body.get("letters"))

    def drop(self, body: shape.Json) -> Any:
        from eventtree.view.vendors import drop

        return drop(self.journal, body.get("letters"))

    def clear(self, body: shape.Json) -> Any:
        from eventtree.journal.clear import clear

        return clear(self.journal, {self.looking.tree(str(body.get("tree"))).tree.id})


def _with_body(act: Any) -> Any:
    """Read the JSON object of a POST, up to its bound, then act on it in a thread."""

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES:
                raise HTTPException(413, f"more than {BODY_BYTES:,} bytes")
        try:
            given = json.loads(body)
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise HTTPException(400, "the body is no JSON object")
        return JSONResponse({"done": await run_in_threadpool(act, given)})

    return endpoint


def _number(given: str | None, usual: int) -> int:
    return int(given) if given is not None and given.isascii() and given.isdigit() and len(given) < 16 else usual
