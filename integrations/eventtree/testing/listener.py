"""The sockets behind `VendorServer`. No other file imports werkzeug.

Werkzeug's own request handler closes every connection after one answer, so that a sender's pool of connections would
not be tested. So `Connection` answers itself: HTTP/1.1, kept alive, the body always read to its end before the next
request. `close` cuts open connections, so that clients see a stopped server as dead.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from werkzeug import Request
from werkzeug.exceptions import ClientDisconnected, HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from eventtree.testing.contracts.contract import Incoming, Outgoing, Route

HOST = "127.0.0.1"
POLL_SECONDS = 0.01
CLOSE_SECONDS = 2.0


class Connection(WSGIRequestHandler):
    """One client connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, listener: Listener, *args: Any) -> None:
        """Serve until the client or the listener closes."""
        self.listener = listener
        super().__init__(*args)

    def setup(self) -> None:
        """Register the connection, so that `close` can cut it."""
        super().setup()
        self.listener.opened(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        with contextlib.suppress(OSError):
            super().finish()
        self.listener.closed(self.connection)

    def run_wsgi(self) -> None:
        """Answer one request and keep the connection."""
        request = Request(self.make_environ())
        try:
            outgoing = self.listener.answer(request)
        except ClientDisconnected:  # the client sent only a part of the request
            self.close_connection = True
            return
        if outgoing.cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(outgoing.status)
        for name, value in {**outgoing.headers, "Content-Length": str(len(outgoing.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(outgoing.body)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        """Stay silent."""


class Listener:
    """Listens on the loopback and answers each request by `respond`."""

    def __init__(self, routes: Iterable[Route], respond: Callable[[Incoming], Outgoing], port: int = 0) -> None:
        """Bind (port 0 takes a free one) and start listening."""
        self._respond = respond
        rules = [Rule(route.path, methods=[route.method], endpoint=route) for route in routes]
        self._routes = Map(rules, strict_slashes=False, merge_slashes=False).bind(HOST)
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._closing = False
        handler: Any = partial(Connection, self)
        handler.protocol_version = Connection.protocol_version
        self._server = _bound(port, handler)
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True)
        self._thread.start()

    def answer(self, request: Request) -> Outgoing:
        """Read the request to its end, find its route and answer it."""
        body = request.get_data(cache=False)
        route, args, miss = self._match(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        return self._respond(
            Incoming(request.method, request.path, request.args.to_dict(), headers, body, route, args, miss)
        )

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._server.shutdown()
        self._thread.join(CLOSE_SECONDS)
        with self._changed:
            self._closing = True
            for connection in self._open:
                _cut(connection)
            self._changed.wait_for(lambda: not self._open, CLOSE_SECONDS)

    def opened(self, connection: socket.socket) -> None:
        """Register a connection; one that was accepted during `close` is cut like the others."""
        with self._changed:
            self._open.add(connection)
            if self._closing:
                _cut(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def _match(self, request: Request) -> tuple[Route | None, Mapping[str, str], int]:
        try:
            route, args = self._routes.match(request.path, request.method)
        except HTTPException as miss:
            return None, {}, miss.code or 404
        return route, args, 0


def _bound(port: int, handler: Any) -> BaseWSGIServer:
    try:
        return make_server(HOST, port, _no_app, threaded=True, request_handler=handler)
    except SystemExit as error:  # werkzeug's way to say that it cannot bind
        raise OSError(f"port {port} of the loopback is taken") from error


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _no_app(*_: Any) -> list[bytes]:
    raise AssertionError("Connection answers by itself")
