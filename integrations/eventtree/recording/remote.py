"""The run of another process that called the running code, and the block in which runs join its tree.

Two fields are handed on, in headers, a message, the environment or MCP's `_meta`:

    traceparent: 00-{trace id}-{span id}-{flags}       the W3C's form, so that every gateway passes it on
    baggage:     eventtree.run={id},eventtree.tree={id}[,eventtree.session=…][,eventtree.user=…]

They contain no vendor and no key. But they decide in whose tree contents land, so headers from outside are trusted only
where the app says so: by `joined`, or by the `trust` of `eventtree.asgi.Join`.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote
from uuid import UUID

from eventtree import diagnostics, trace

LONGEST = 8_192
"""Most characters of a value; a longer one is ignored."""
OURS = re.compile(r",\s*(eventtree\.\w+)\s*=([^,;]*)")
"""Our members of a baggage, each after a comma; other members are skipped."""
LONGEST_ID = 128
MOST_BYTES = 512
"""Most bytes of our part of the baggage: a session or user that does not fit is left out."""
NAMES = ("run", "tree", "session", "user")
"""Names of the handed-on values: `eventtree.run` in baggage, `eventtree_run` in metadata."""


class Remote(NamedTuple):
    """The values that another process handed on, or that this one hands on."""

    run: str | None
    """The run that called; None with only the trace of another tracer."""
    tree: str | None
    session: str | None = None
    user: str | None = None
    traceparent: str | None = None
    is_skipped: bool = False
    """The caller does not record its tree, so its parts are not recorded either."""
    since: int = 0
    """Monotonic clock of its arrival: runs that were open before it enclose nothing any more."""


_quoted = lru_cache(maxsize=256)(partial(quote, errors="replace"))
"""Percent-encoding, remembered because many runs share values: it was a third of the cost of `headers()`."""

inner: ContextVar[str | Remote | None] = ContextVar("eventtree_inner", default=None)
"""The innermost run of own code around the running code, or the `Remote` that another process handed on."""


def remote() -> Remote | None:
    """The `Remote` that was handed on to this code, if no run of own code has begun since."""
    found = inner.get()
    return found if type(found) is Remote else None


def written(found: Remote) -> dict[str, str]:
    """The two headers. If the tree is inside a sampled trace of the app, they have that trace's id; otherwise the tree
    is a trace of its own.
    """
    if found.run is None or found.tree is None:
        return {} if found.traceparent is None else {"traceparent": found.traceparent}
    above = trace.parse(found.traceparent or "")
    trace_id = above.trace_id if above is not None and above.sampled else trace.trace_id(found.tree)
    sent = f"eventtree.run={quote(found.run)},eventtree.tree={_quoted(found.tree)}"
    for name, value in (("session", found.session), ("user", found.user)):
        if value is not None and len(sent) + len(more := f",eventtree.{name}={_quoted(str(value))}") <= MOST_BYTES:
            sent += more
    flags = "00" if found.is_skipped else "01"
    return {"traceparent": f"00-{trace_id}-{trace.span_id(found.run)}-{flags}", "baggage": sent}


def read(headers: object) -> Remote | None:
    """The values in headers, an environment, a message's or MCP's metadata; None where they cannot be read.

    Takes a mapping of any case (`TRACEPARENT` of an environment, WSGI's `HTTP_TRACEPARENT`), pairs of text or bytes
    (ASGI's), or an object of pydantic that allows extra fields (MCP's `_meta`). Never raises for their contents.
    """
    # Repeated fields are joined, and so are invalid: of two parents or two ids, neither can be trusted.
    fields = {"traceparent": "", "baggage": ""}
    for name, value in _pairs(headers):
        if name in fields:
            fields[name] += f",{value}"
    sent = {"eventtree.traceparent": fields["traceparent"][1:]}
    for name, coded in OURS.findall(fields["baggage"]):
        sent[name] = value if sent.get(name, value := unquote(coded.strip())) == value else ""
    return handed_on(sent, "eventtree.")


def handed_on(values: Mapping[Any, Any], prefix: str = "") -> Remote | None:
    """The `Remote` in a mapping: a run's metadata (`eventtree_run`, `eventtree_tree`, …), sent by LangGraph's
    `RemoteGraph`, or LlamaIndex's context. Invalid or incomplete ids are ignored.
    """
    given = {name: values.get(f"{prefix}{name}") for name in (*NAMES, "traceparent")}
    texts = {name: str(value) for name, value in given.items() if isinstance(value, str | UUID)}
    known = {name: text for name, text in texts.items() if len(text) <= LONGEST}
    run, tree, session, user, traceparent = (known.get(name) for name in given)
    parent = trace.parse(traceparent or "")
    if run is None or tree is None or not (_is_id(run) and _is_id(tree)):
        return None if parent is None else Remote(None, None, session, user, traceparent, since=time.monotonic_ns())
    # Another tracer on the way may have replaced the parent: then its flag is not about our tree.
    skipped = parent is not None and not parent.sampled and parent.span_id == trace.span_id(run)
    return Remote(run, tree, session, user, traceparent if parent else None, skipped, time.monotonic_ns())


def _is_id(value: str) -> bool:
    return 0 < len(value) <= LONGEST_ID and value.isascii() and value.isprintable()


def _pairs(headers: object) -> Iterator[tuple[str, str]]:
    try:
        more = getattr(headers, "model_extra", None)
        given: Any = more if isinstance(more, Mapping) else headers
        for pair in given.items() if isinstance(given, Mapping) else given:
            name, value = (one.decode("latin-1") if isinstance(one, bytes) else one for one in pair)
            if isinstance(name, str) and isinstance(value, str):
                yield name.lower().removeprefix("http_"), value.strip()
    except Exception:  # noqa: BLE001  (not headers, or an object of the app that fails when it is read)
        return


def active_traceparent() -> str | None:
    """The app's active OpenTelemetry span as a W3C `traceparent`, or None. A tree that opens hangs below it for OTLP
    vendors. Nothing is imported or attached: without OpenTelemetry, it is one lookup in a dict.
    """
    otel = sys.modules.get("opentelemetry.trace")
    if otel is None:
        return None
    try:
        span = otel.get_current_span().get_span_context()
        known = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 0xFF:02x}"
        return known if span.is_valid else None
    except Exception as error:  # noqa: BLE001  (the app may have a provider of its own, or be importing it just now)
        diagnostics.failed("reading the active OpenTelemetry span", error)
        return None


class Within:
    """A block (`with` or `async with`) inside a run of own code or a `Remote`; None changes nothing."""

    __slots__ = ("_token", "_what")

    def __init__(self, what: str | Remote | None) -> None:
        """Take the run, or the `Remote`, around the block."""
        self._what = what

    def __enter__(self) -> Self:
        """Set it in the context."""
        if self._what is not None and inner.get() is not self._what:
            self._token = inner.set(self._what)
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        """Put the context back."""
        if self._what is not None:
            self.leave(self._what)

    async def __aenter__(self) -> Self:
        """As `with`."""
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, at: object) -> None:
        """As `with`."""
        self.__exit__(kind, error, at)

    def leave(self, what: str | Remote) -> None:
        """Put the context back if it still has this, also in a copy of the context in which it was set."""
        if inner.get() is not what:
            return
        try:
            inner.reset(self._token)
        except ValueError:
            old = self._token.old_value
            inner.set(None if old is Token.MISSING else old)


class joined(Within):  # noqa: N801  (used as a function, like `session`)
    """Let every tree that would open inside the block open as a part of the caller's tree.

    `headers` holds the values of `eventtree.headers()` from the caller's process: a request's headers, a message's,
    `os.environ` (`TRACEPARENT`, `BAGGAGE`), MCP's `_meta`. They are trusted: check the sender of headers from outside
    first. Without a run to join the block changes nothing. Also `async with`.
    """

    def __init__(self, headers: object) -> None:
        """Read the headers. Runs that are open already enclose nothing inside the block."""
        super().__init__(read(headers))
