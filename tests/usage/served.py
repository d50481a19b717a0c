"""A model provider on loopback that answers with given bodies, so that the frameworks' real clients can be asked."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

JSON = "application/json"
EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request is answered with."""

    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


class Provider:
    """The server's address, and the answers that wait for a request."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: deque[Answer] = deque()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def will(self, *bodies: Any, headers: Mapping[str, str] | None = None) -> None:
        """Answer the next request with each of `bodies`: JSON, or a list of a stream's events."""
        for body in bodies:
            if isinstance(body, list):
                self.answers.append(Answer(events(body), EVENTS, headers or {}))
            else:
                self.answers.append(Answer(json.dumps(body).encode(), JSON, headers or {}))


def events(found: list[dict[str, Any]]) -> bytes:
    """Server-sent events; those with a type are named (Anthropic, OpenAI Responses), others end with [DONE]."""
    named = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in found if "type" in one)
    return (named or "".join(f"data: {json.dumps(one)}\n\n" for one in found) + "data: [DONE]\n\n").encode()


@contextmanager
def provider() -> Iterator[Provider]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            answer = place.answers.popleft() if place.answers else Answer(b"{}", status=599)
            self.send_response(answer.status)
            for name, value in {"content-type": answer.content_type, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            # The providers' clients are never closed by the frameworks: a connection kept alive would be left to the
            # collector, which may come upon the socket before the client that owns it, and warn in any later test.
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    place = Provider(server.server_port)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
