"""The types that all vendors' rules use: a call comes in, a reply or a refusal goes out, and the state remembers.

A vendor is one `VendorRules` value: routes, authentication, error bodies. A route's handler is a function of the call
and the vendor's state; it either changes the state and returns a `Reply`, or raises `Refusal` and changes nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

Json = Any
"""A value of `json.loads`."""

Dialect = Literal["log_status", "trace_status"]
"""The two dialects of Humanloop v5 bodies: from 0.8.27 on, and the published specification of October 2024."""

Kind = Literal["event", "session", "update", "feedback", "tags"]
"""Kinds of things that a vendor accepts."""


@dataclass(frozen=True, slots=True)
class Options:
    """Choices that a contract leaves to the server."""

    humanloop_dialect: Dialect = "log_status"
    open_rows: bool = False
    refuse_repeats: bool = False
    braintrust_projects: frozenset[str] = frozenset()


class Flaw(NamedTuple):
    """One thing wrong with a request, and where in the body."""

    at: tuple[str | int, ...]
    text: str
    kind: str = "value_error"

    def __str__(self) -> str:
        """Place and text, as `events.0.parent_id: text`."""
        return f"{'.'.join(map(str, self.at))}: {self.text}" if self.at else self.text


class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """The request has no effect; `status` None is the vendor's usual status for a wrong body."""

    def __init__(self, *flaws: Flaw, status: int | None = None) -> None:
        """Refuse for these `flaws`."""
        super().__init__("; ".join(map(str, flaws)))
        self.flaws = flaws
        self.status = status


def refuse(text: str, *at: str | int, status: int | None = None) -> Refusal:
    """Build a refusal for one reason."""
    return Refusal(Flaw(at, text), status=status)


@dataclass(frozen=True, slots=True)
class Call:
    """A request as a handler sees it: `args` are the variable parts of the path."""

    body: Json
    args: Mapping[str, str]
    query: Mapping[str, str]
    url: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `problem` is what was wrong with the refused part of a batch."""

    body: Json = ""
    status: int = 200
    problem: str | None = None
    content_type: str | None = None
    """Content type of a body of bytes."""


class Accepted(NamedTuple):
    """Something a vendor accepted."""

    kind: Kind
    id: str
    body: Json


class Repeats(NamedTuple):
    """Numbers of ids that came again: with the `same` content, and with `changed` content."""

    same: int = 0
    changed: int = 0


@dataclass
class VendorState:
    """Everything that one vendor has accepted, in order of arrival, and the ids it has seen."""

    options: Options = field(default_factory=Options)
    kept: list[Accepted] = field(default_factory=list)
    repeats: Repeats = field(default_factory=Repeats)
    contents: dict[tuple[str, str], str] = field(default_factory=dict)

    conflict_status: ClassVar[int] = 409

    def keep(self, kind: Kind, ident: str, body: Json) -> None:
        """Accept something; count an id of an event or session that was seen before."""
        if kind in ("event", "session"):
            self.remember(kind, ident, body)
        self.kept.append(Accepted(kind, ident, body))

    def remember(self, kind: str, ident: str, body: Json) -> None:
        """Note an id with its content, and count it if it was seen before."""
        content = fingerprint(body)
        known = self.contents.get((kind, ident))
        if known is not None:
            self.count_repeat(changed=known != content)
        self.contents[kind, ident] = content

    def count_repeat(self, *, changed: bool) -> None:
        """Count an id that came again."""
        same, other = self.repeats
        self.repeats = Repeats(same, other + 1) if changed else Repeats(same + 1, other)

    def is_repeat(self, kind: str, ident: str, body: Json, *at: str | int) -> bool:
        """Whether this id came before with the same content; refuse it if the content has changed."""
        known = self.contents.get((kind, ident))
        if known is None:
            return False
        if known != fingerprint(body):
            self.count_repeat(changed=True)
            raise refuse("id already seen with other content", *at, status=self.conflict_status)
        if self.options.refuse_repeats:
            self.count_repeat(changed=False)
            raise refuse("id already seen", *at, status=self.conflict_status)
        return True


@dataclass(frozen=True, slots=True)
class Incoming:
    """A received request; if no `route` matches, `miss` is the status (404 or 405)."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    route: Route | None
    args: Mapping[str, str]
    miss: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An answer to send; with `cut` the connection is closed instead."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False


def decompressed(incoming: Incoming) -> bytes:
    """A body as it was before compression."""
    coding = incoming.headers.get("content-encoding", "").lower()
    if coding in ("", "identity"):
        return incoming.body
    if coding != "gzip":
        raise refuse(f"content encoding {coding} is not supported", status=415)
    try:
        return gzip.decompress(incoming.body)
    except (OSError, EOFError, zlib.error):
        raise refuse("body is not gzip") from None


def strict_json(body: bytes) -> Json:
    """Parse JSON strictly: UTF-8, only numbers and text that JSON allows."""
    if not body:
        raise refuse("body is empty")
    try:
        value = json.loads(body.decode(), parse_constant=no_constant, parse_float=finite)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise refuse("body is not UTF-8") from None
    except UnicodeEncodeError:
        raise refuse("body has half a surrogate pair") from None
    except ValueError:
        raise refuse("body is not JSON") from None
    return value


def read_json(incoming: Incoming) -> Json:
    """Parse a body as strict JSON, which its content type must name."""
    if not incoming.body:
        raise refuse("body is empty")
    content_type = incoming.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise refuse(f"content type is {content_type or 'missing'}, not application/json")
    return strict_json(incoming.body)


def no_constant(name: str) -> float:
    """Refuse a constant that Python accepts and JSON does not."""
    raise refuse(f"{name} is not JSON")


def finite(digits: str) -> float:
    """Refuse a number that a double cannot hold."""
    number = float(digits)
    if math.isinf(number):
        raise refuse(f"{digits} is too large a number")
    return number


def fingerprint(body: Json) -> str:
    """A hash of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def new_id(prefix: str = "") -> str:
    """Make an id as a vendor does: a UUID, or a prefix and hex digits."""
    return f"{prefix}{uuid.uuid4().hex}" if prefix else str(uuid.uuid4())


def detail_body(status: int, refusal: Refusal) -> Json:
    """Make an error body as FastAPI does, which Humanloop and Nebuly use."""
    if status == 422:
        return {"detail": [{"loc": ["body", *flaw.at], "msg": flaw.text, "type": flaw.kind} for flaw in refusal.flaws]}
    return {"detail": str(refusal)}


Handler = Callable[[Call, Any], Reply]
"""The second argument is the vendor's own state."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path; variable parts are written `<name>`. Without `has_body` the body is ignored."""

    method: str
    path: str
    handle: Handler
    has_body: bool = True
    read: Callable[[Incoming], Json] = read_json


@dataclass(frozen=True, slots=True)
class VendorRules:
    """The rules of one vendor.

    `base` is the path of a client's base URL, `prefixes` are the paths that belong to this vendor, `error_body` makes
    the body of a refusal, and `max_bytes` is the size from which on a body is answered with 413.
    """

    name: str
    prefixes: tuple[str, ...]
    routes: tuple[Route, ...]
    state: type[VendorState]
    auth: Literal["bearer", "x-api-key", "optional"]
    refusal_status: int
    error_body: Callable[[int, Refusal], Json]
    base: str = ""
    max_bytes: int | None = None
