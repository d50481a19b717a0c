"""The routes: pages GET JSON, and each change is a POST of its own. `guards.py` checks every request first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
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
from eventtree.delivery.dead_letters import drop_letters
from eventtree.errors import ConfigError, EventTreeError, JournalError
from eventtree.event import Event, EventTree
from eventtree.journal import Journal, open_journal
from eventtree.journal.clear import clear
from eventtree.kinds import Status
from eventtree.query import Index, Opened
from eventtree.tree.filter import Filter, quoted
from eventtree.tree.links import resumed_in
from eventtree.view import shape
from eventtree.view.guards import Guards
from eventtree.view.live import MOST_PAGES, Tail

STATIC = Path(__file__).parent / "static"
ROWS = 100
"""Rows of one answer, where the page does not ask for fewer."""
SEARCH_SECONDS = 2.0
"""A search is answered after so long with the trees found by then; the page asks again for the rest."""
FILL_SECONDS = 0.1
"""The index is filled in pieces of so long while no page asks, so that none waits for long."""
NEAR = 20
"""So many trees of a session are searched for the one that resumed an interrupted one."""
BODY_BYTES = 64 * 1024
"""The largest body of a POST."""


def app(
    journal: Journal | str | Path | None = None,
    *,
    token: str | None = None,
    allowed_hosts: Iterable[str] = (),
    prices: Any = None,
) -> ASGIApp:
    """The viewer as an ASGI app: `app.mount("/traces", eventtree.view.app(token="…"))` in Starlette or FastAPI.

    `journal` is a folder, `:memory:` or a `Journal`; by default the configured one. The page is opened once with
    `?t=TOKEN`, which becomes a cookie; without a token only callers on this machine are answered. `allowed_hosts` are
    host names that are answered besides this machine's own. `prices` is the setting of that name.

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
    """The answer to a request that raised one of our errors, an error of the disk, or a wrong request."""
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
        self.index = Index(journal, prices)
        self.tail = Tail(journal, lambda: self.index.refresh(FILL_SECONDS))

    def routes(self) -> list[Route | Mount]:
        """Every path, with its endpoint."""
        tree, event = "/api/trees/{tree}", "/api/trees/{tree}/events/{event}"
        gets = {
            "/": lambda _: FileResponse(STATIC / "index.html"),
            "/favicon.ico": lambda _: FileResponse(STATIC / "icon.svg"),  # pages of refusals name no icon
            "/api/trees": self.trees,  # rows of the list, newest first: ?q=FILTER&before=…&limit=…
            tree: self.tree,  # one tree without contents
            event: self.event,  # one event
            f"{event}/{{field}}": self.field,  # a long field of it: ?offset=…&size=…
            f"{tree}/delivery": self.tree_delivery,  # its state at each vendor it names
            f"{tree}/requests": self.requests,  # the exact requests that carry an event: ?vendor=…&event=…
            "/api/delivery": lambda _: JSONResponse(vendors().delivery_in(self.journal)),  # the report, dead letters
            "/api/live": self.live,  # server-sent events: which trees have changed
        }
        acts: dict[str, Callable[[shape.Json], Any]] = {
            "feedback": self.give_feedback,
            "resend": lambda body: vendors().resend(self.journal, body.get("letters")),
            "drop": lambda body: drop_letters(self.journal, vendors().chosen(self.journal, body.get("letters"))),
            "clear": lambda body: clear(self.journal, {self.opened(body.get("tree")).tree.id}),
        }
        return [
            *(Route(path, endpoint, methods=["GET"]) for path, endpoint in gets.items()),
            *(Route(f"/api/{name}", _with_body(act), methods=["POST"]) for name, act in acts.items()),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]

    def trees(self, request: Request) -> Response:
        asked = request.query_params
        try:
            words = Filter.parse(asked.get("q", ""))
        except ConfigError as error:
            return JSONResponse({"rows": [], "next": None, "certain": True, "error": str(error)})  # while it is typed
        limit, before = min(ROWS, _number(asked.get("limit"), ROWS)), asked.get("before") or None
        place = None if before is None else _number(before, -1)
        if place == -1:
            raise ConfigError("before", f"{before!r} is no end of a page", "Leave it out")
        found = self.index.search(words, before=place, limit=limit, seconds=SEARCH_SECONDS)
        # As text: JavaScript's numbers are exact only to 53 bits.
        beyond = None if found.next is None else str(found.next)
        return JSONResponse({"rows": list(map(shape.row, found.rows)), "next": beyond, "certain": found.is_certain})

    def opened(self, tree_id: Any) -> Opened:
        """One tree with its present state; raises JournalError if there is none with this id."""
        found = self.index.opened(str(tree_id))
        if found is None or found.tree.id != tree_id:
            raise JournalError(f"no tree {tree_id} in this journal")
        return found

    def asked(self, request: Request) -> tuple[Opened, Event]:
        """The tree and the event that a request is about."""
        opened = self.opened(request.path_params["tree"])
        event_id = request.path_params.get("event") or request.query_params.get("event", "")
        return opened, shape.event_in(opened.tree, event_id)

    def tree(self, request: Request) -> Response:
        opened = self.opened(request.path_params["tree"])
        names = list(dict.fromkeys(name.rpartition(".")[0] for name in opened.vendors))
        more = {"vendors": names, "resumed_by": self.resumed_by(opened.tree)}
        return JSONResponse(shape.outline(opened.tree, opened.running(self.journal)) | more)

    def resumed_by(self, tree: EventTree) -> str | None:
        """The id of the tree that resumed this one, if this one was interrupted."""
        if tree.root.session_id is None or all(event.status is not Status.INTERRUPTED for event in tree.events):
            return None
        later = Filter.parse(f"since:{quoted(tree.root.start.isoformat())}")
        rows = self.index.search(
            Filter.named("session", tree.root.session_id) & later, limit=NEAR, seconds=SEARCH_SECONDS
        ).rows
        return next((row.id for row in rows if resumed_in(self.opened(row.id).tree) == tree.id), None)

    def event(self, request: Request) -> Response:
        opened, event = self.asked(request)
        return Response(shape.detail(opened.tree, event, opened.running(self.journal)), media_type="application/json")

    def field(self, request: Request) -> Response:
        asked, name = request.query_params, request.path_params["field"]
        _, event = self.asked(request)
        if name not in Event.model_fields:
            raise JournalError("no field is called so")
        size = _number(asked.get("size"), shape.PIECE_BYTES)
        return JSONResponse(shape.piece(event, name, _number(asked.get("offset"), 0), size))

    def tree_delivery(self, request: Request) -> Response:
        return JSONResponse({"vendors": vendors().delivery_of(self.index, self.opened(request.path_params["tree"]))})

    def requests(self, request: Request) -> Response:
        opened, event = self.asked(request)
        return JSONResponse(
            vendors().requests_of(self.journal, opened, request.query_params.get("vendor", ""), event.id)
        )

    async def live(self, request: Request) -> Response:
        if len(self.tail.pages) >= MOST_PAGES:
            raise HTTPException(503, "too many pages are open")
        return StreamingResponse(self.tail.messages(), media_type="text/event-stream")

    def give_feedback(self, body: shape.Json) -> Any:
        from eventtree.recording.feedback import add_feedback

        opened = self.opened(body.get("tree"))
        event = shape.event_in(opened.tree, str(body.get("event")))
        refs = [dict(zip(("name", "fingerprint"), name.rsplit(".", 1), strict=True)) for name in opened.vendors]
        given = {name: body[name] for name in ("score", "name", "comment") if body.get(name) not in (None, "")}
        add_feedback(self.journal, event.id, event.tree_id, refs, given)
        return True


def vendors() -> ModuleType:
    """The module of vendors' endpoints, imported late: it imports all of delivery, and the first page need not wait."""
    from eventtree.view import vendors

    return vendors


def _with_body(act: Callable[[shape.Json], Any]) -> Any:
    """An endpoint that reads the JSON object of a POST, of bounded size, and acts on it in a thread."""

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
    return int(given) if given is not None and given.isascii() and given.isdigit() and len(given) < 20 else usual
