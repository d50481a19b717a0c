"""`VendorServer`: all vendors on one loopback port, each by its published contract.

    with VendorServer() as server:
        vendor = Braintrust(project="rag", **server.settings("braintrust"))
        server.script("braintrust", [503, Answer(cut=True, apply=True)])
        ...
        assert not server.refused

Handlers that are made meanwhile use a journal of their own, not the user's (`VendorServer.journal`).

A request is checked in this order: the script, its size (413), its key (401), its path and method (404, 405), its
content type and JSON, then the vendor's rules. It is recorded before the answer is sent.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from eventtree import config, process
from eventtree.errors import ConfigError
from eventtree.testing.contracts import CONTRACTS
from eventtree.testing.contracts.contract import (
    Call,
    Dialect,
    Incoming,
    Json,
    Kind,
    Options,
    Outgoing,
    Refusal,
    Repeats,
    Reply,
    VendorRules,
    VendorState,
    decompressed,
    read_json,
    refuse,
)

if TYPE_CHECKING:
    from eventtree.testing.listener import Listener

ANY_KEY = "test-key"


@dataclass(frozen=True, slots=True)
class Answer:
    """A scripted answer.

    Without `status` the rules answer as usual, only `delay` seconds later and with these `headers` added. With `status`
    they do not get the request, unless `apply`: then it takes effect, whatever the answer is. `cut` closes the
    connection instead of answering. `body` is text, bytes, or any JSON; None is the vendor's error body.
    """

    status: int | None = None
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    apply: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A request and its answer.

    `vendor` is empty if the path is no vendor's. Header names are lowercase. `body` is the parsed JSON, else the raw
    bytes. `status` is 0 if the connection was cut. `problem` is why the request, or a part of its batch, was refused.
    `at` is monotonic seconds.
    """

    vendor: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Json
    status: int
    problem: str | None
    at: float
    scripted: bool = False


class VendorSettings(TypedDict):
    """The settings with which a vendor's class reaches the server."""

    api_key: str
    base_url: str


class VendorServer:
    """A loopback HTTP server that checks requests against the vendors' contracts; see the module's example."""

    def __init__(
        self,
        *,
        key: str | None = None,
        script: Mapping[str, Iterable[int | Answer]] | None = None,
        humanloop_dialect: Dialect = "log_status",
        open_rows: bool = False,
        refuse_repeats: bool = False,
        braintrust_projects: Collection[str] = (),
        max_bytes: Mapping[str, int] | None = None,
    ) -> None:
        """Prepare a server; nothing listens before `start` or `with`.

        :param key: the only key that is accepted; None accepts any key in the right header.
        :param script: answers per vendor, as for `script`.
        :param humanloop_dialect: the accepted dialect of Humanloop v5 bodies.
        :param open_rows: accept unknown keys where the published schema is open (HoneyHive legacy events and sessions,
            Braintrust rows, Humanloop v4 logs).
        :param refuse_repeats: refuse ids that were seen before, even with the same content.
        :param braintrust_projects: project ids that exist without a look-up by name.
        :param max_bytes: per vendor, the size from which on a body is answered with 413.
        """
        self._key = key
        self._options = Options(humanloop_dialect, open_rows, refuse_repeats, frozenset(braintrust_projects))
        self._max_bytes = {name: rules.max_bytes for name, rules in CONTRACTS.items()} | dict(max_bytes or {})
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._listener: Listener | None = None
        self._port = 0
        self._journal = ""
        self._forget()
        for vendor, answers in (script or {}).items():
            self.script(vendor, answers)

    def __enter__(self) -> VendorServer:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> VendorServer:
        """Listen; after a `stop`, at the same address and with all earlier requests."""
        try:
            from eventtree.testing.listener import Listener
        except ImportError as error:
            hint = "Run pip install 'eventtree[testing]'"
            raise ConfigError("VendorServer", f"{error.name} is not installed", hint) from error
        if self._listener is None:
            self._stopping.clear()
            routes = [route for rules in CONTRACTS.values() for route in rules.routes]
            self._listener = Listener(routes, self._respond, self._port)
            self._port = self._listener.port
            config.test_journals.append(self.journal)
        return self

    def stop(self) -> None:
        """Stop listening and cut every connection; received requests stay."""
        if self._listener is not None:
            self._stopping.set()
            self._listener.close()
            self._listener = None
            config.test_journals.remove(self.journal)

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        if not self._port:
            raise ConfigError("VendorServer", "not started", "Use it in a with block, or call start()")
        return f"http://127.0.0.1:{self._port}"

    @property
    def journal(self) -> str:
        """Folder of the journal that handlers of this process use while the server listens, unless code or
        `EVENTTREE_JOURNAL` names another, so that tests write nothing into the user's. It is removed at the exit.
        """
        if not self._journal:
            self._journal = tempfile.mkdtemp(prefix="eventtree-")
            process.at_exit("journal", partial(_remove, self._journal, os.getpid()))
        return self._journal

    def settings(self, vendor: str) -> VendorSettings:
        """Return the `api_key` and `base_url` with which this vendor reaches the server."""
        return {"api_key": self._key or ANY_KEY, "base_url": self.url + known(vendor).base}

    def script(self, vendor: str, answers: Iterable[int | Answer]) -> None:
        """Queue answers for the next requests to `vendor`; the iterable may be endless, as `itertools.repeat(503)`.

        A bare number is a status; a bare 2xx lets the rules answer.
        """
        known(vendor)
        with self._lock:
            queued = (one if isinstance(one, Answer) else Answer(None if 200 <= one < 300 else one) for one in answers)
            self._scripts[vendor] = itertools.chain(self._scripts.get(vendor, ()), queued)

    def unscript(self, vendor: str) -> None:
        """Drop the queued answers of `vendor`."""
        with self._lock:
            self._scripts.pop(known(vendor).name, None)

    def clear(self) -> None:
        """Forget all requests, the vendors' states, and the scripts."""
        with self._lock:
            self._forget()

    @property
    def requests(self) -> list[Received]:
        """Every request so far, in order of arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def refused(self) -> list[Received]:
        """The requests that had a problem."""
        return [one for one in self.requests if one.problem is not None]

    def events(self, vendor: str) -> list[Json]:
        """Return the events (rows, logs, interactions) `vendor` accepted, in order of arrival, repeats included."""
        return self._kept(vendor, "event")

    def event_ids(self, vendor: str) -> list[str]:
        """Return the ids of `events`: the client's own, else the server's."""
        with self._lock:
            return [kept.id for kept in self._state(vendor).kept if kept.kind == "event"]

    def sessions(self, vendor: str) -> list[Json]:
        """Return the sessions `vendor` accepted."""
        return self._kept(vendor, "session")

    def updates(self, vendor: str) -> list[Json]:
        """Return the bodies of updates (PUT, PATCH) `vendor` accepted."""
        return self._kept(vendor, "update")

    def feedback(self, vendor: str) -> list[Json]:
        """Return the feedback `vendor` accepted."""
        return self._kept(vendor, "feedback")

    def tags(self, vendor: str) -> list[Json]:
        """Return the late tags `vendor` accepted."""
        return self._kept(vendor, "tags")

    def repeats(self, vendor: str) -> Repeats:
        """Return how many ids of events and sessions came again: with the same content, and with changed content."""
        with self._lock:
            return self._state(vendor).repeats

    def _forget(self) -> None:
        self._requests: list[Received] = []
        self._scripts: dict[str, Iterator[Answer]] = {}
        self._states: dict[str, VendorState] = {name: rules.state(self._options) for name, rules in CONTRACTS.items()}

    def _state(self, vendor: str) -> VendorState:
        return self._states[known(vendor).name]

    def _kept(self, vendor: str, kind: Kind) -> list[Json]:
        with self._lock:
            return [kept.body for kept in self._state(vendor).kept if kept.kind == kind]

    def _respond(self, incoming: Incoming) -> Outgoing:
        """Answer one request; called on the connection's thread."""
        at = time.monotonic()
        rules = vendor_of(incoming.path)
        try:
            body, unreadable = (incoming.route.read if incoming.route else read_json)(incoming), None
        except Refusal as refusal:
            body, unreadable = incoming.body, refusal
        with self._lock:
            answer = next(self._scripts.get(rules.name if rules else "", iter(())), Answer())
            asks_rules = answer.apply or (answer.status is None and not answer.cut)
            reply = self._judge(rules, incoming, body, unreadable) if asks_rules else Reply()
            outgoing = to_wire(rules, reply, answer)
            received = Received(
                vendor=rules.name if rules else "", method=incoming.method, path=incoming.path, query=incoming.query,
                headers=incoming.headers, body=body, status=0 if outgoing.cut else outgoing.status,
                problem=reply.problem, at=at, scripted=answer != Answer(),
            )  # fmt: skip
            self._requests.append(received)
        if answer.delay:
            self._stopping.wait(answer.delay)
        return outgoing

    def _judge(self, rules: VendorRules | None, incoming: Incoming, body: Json, unreadable: Refusal | None) -> Reply:
        try:
            if rules is None:
                raise refuse("unknown path", status=404)
            limit = self._max_bytes[rules.name]
            if limit is not None and len(decompressed(incoming)) > limit:
                raise refuse(f"body is larger than {limit} bytes", status=413)
            self._check_key(rules, incoming)
            if incoming.route is None:
                raise refuse("unknown path" if incoming.miss == 404 else "wrong method", status=incoming.miss)
            if incoming.route.has_body and unreadable is not None:
                raise unreadable
            call = Call(body, incoming.args, incoming.query, self.url)
            return incoming.route.handle(call, self._states[rules.name])
        except Refusal as refusal:
            # A vendor's own words; where the path is none's, plain text.
            status = refusal.status or (rules.refusal_status if rules else 404)
            body = rules.error_body(status, refusal) if rules else str(refusal)
            return Reply(body, status, problem=str(refusal))

    def _check_key(self, rules: VendorRules, incoming: Incoming) -> None:
        header, prefix = ("x-api-key", "") if rules.auth == "x-api-key" else ("authorization", "Bearer ")
        sent = incoming.headers.get(header)
        if rules.auth == "optional" and self._key is None:
            return
        if sent is None:
            raise refuse(f"header {header} is missing", status=401)
        if not sent.startswith(prefix) or not sent[len(prefix) :].strip():
            raise refuse(f"header {header} is not of the form '{prefix}<key>'", status=401)
        if self._key is not None and sent != prefix + self._key:
            raise refuse("wrong key", status=401)


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child's end is not its parent's
        shutil.rmtree(folder, ignore_errors=True)


def known(vendor: str) -> VendorRules:
    """Look a vendor up by name."""
    if vendor not in CONTRACTS:
        raise ConfigError("vendor", f"{vendor!r} is unknown", f"Use one of {', '.join(CONTRACTS)}")
    return CONTRACTS[vendor]


def vendor_of(path: str) -> VendorRules | None:
    """Find the vendor of a path."""
    found = [
        (len(prefix), name)
        for name, rules in CONTRACTS.items()
        for prefix in rules.prefixes
        if path == prefix or path.startswith(f"{prefix}/")
    ]
    return CONTRACTS[max(found)[1]] if found else None


def to_wire(rules: VendorRules | None, reply: Reply, answer: Answer) -> Outgoing:
    """Join the reply of the rules and the scripted answer."""
    status = reply.status if answer.status is None else answer.status
    body = reply.body if answer.status is None else answer.body
    if answer.status is not None and body is None and rules is not None:
        body = rules.error_body(status, refuse(f"scripted {status}"))
    content_type, raw = encode(body)
    own = reply.content_type if answer.status is None else None
    return Outgoing(status, {"Content-Type": own or content_type, **answer.headers}, raw, cut=answer.cut)


def encode(body: Json) -> tuple[str, bytes]:
    """Turn an answer's body into a content type and bytes; text goes as it is."""
    if isinstance(body, bytes):
        return "application/octet-stream", body
    if isinstance(body, str):
        return "text/plain; charset=utf-8", body.encode()
    return "application/json", json.dumps(body).encode()


__all__ = ["Answer", "Received", "VendorServer"]
