"""The run of another process that the running code works for: what it handed on, and the block in which that counts.

What travels, in headers, a message, the environment or MCP's `_meta`:

    traceparent: 00-{trace id}-{span id}-{flags}       as the W3C has it, so that every gateway passes it on
    baggage:     eventtree.run={id},eventtree.tree={id}[,eventtree.session=…][,eventtree.user=…]

No vendor and no key is in it. It decides in whose tree contents land, so what comes from outside is believed only where
the app says so: by `joined`, or by the `trust` of `eventtree.asgi.Join`.
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
"""Characters of a value that is believed."""
OURS = re.compile(r",\s*(eventtree\.\w+)\s*=([^,;]*)")
"""Our members of a baggage, with a comma before each: of however much others have put there."""
LONGEST_ID = 128
MOST_BYTES = 512
"""Bytes of our part of the baggage: a session or user that does not fit is left out."""
NAMES = ("run", "tree", "session", "user")
"""What is handed on: `eventtree.run` in baggage, `eventtree_run` in metadata."""


class Remote(NamedTuple):
    """What another process handed on, or this one is to hand on."""

    run: str | None
    """The run that called; None where only somebody else's trace came."""
    tree: str | None
    session: str | None = None
    user: str | None = None
    traceparent: str | None = None
    is_skipped: bool = False
    """The caller does not record its tree, so what belongs to it is not recorded either."""
    since: int = 0
    """Monotonic clock of the moment from which it counts: runs that were open before enclose nothing any more."""


_quoted = lru_cache(maxsize=256)(partial(quote, errors="replace"))
"""Percent-encoding of what many runs have in common: without it, it is a third of what `headers()` costs."""

inner: ContextVar[str | Remote | None] = ContextVar("eventtree_inner", default=None)
"""The innermost run of own code around the running code, or what another process handed on."""


def remote() -> Remote | None:
    """What another process handed on to this code, where no run of own code has begun since."""
    found = inner.get()
    return found if type(found) is Remote else None


def written(found: Remote) -> dict[str, str]:
    """The two headers; of the app's own trace around the tree the id goes on, where that trace is sampled: else the
    tree is sent as a trace of its own.
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
    """What headers, an environment, a message's or MCP's metadata hand on; None where it is nothing that can be read.

    Takes a mapping of any case (`TRACEPARENT` of an environment, WSGI's `HTTP_TRACEPARENT`), pairs of text or bytes
    (ASGI's), or an object of pydantic's that allows more fields (MCP's `_meta`). Never raises for what is in them.
    """
    # What comes twice adds up: of two parents, and of two ids, neither can be believed.
    fields = {"traceparent": "", "baggage": ""}
    for name, value in _pairs(headers):
        if name in fields:
            fields[name] += f",{value}"
    sent = {"eventtree.traceparent": fields["traceparent"][1:]}
    for name, coded in OURS.findall(fields["baggage"]):
        sent[name] = value if sent.get(name, value := unquote(coded.strip())) == value else ""
    return handed_on(sent, "eventtree.")


def handed_on(values: Mapping[Any, Any], prefix: str = "") -> Remote | None:
    """What values by these names hand on: a run's metadata (`eventtree_run`, `eventtree_tree`, …), which LangGraph's
    `RemoteGraph` sends, or LlamaIndex's context. Those that are no ids, or not whole, count for nothing.
    """
    given = {name: values.get(f"{prefix}{name}") for name in (*NAMES, "traceparent")}
    texts = {name: str(value) for name, value in given.items() if isinstance(value, str | UUID)}
    known = {name: text for name, text in texts.items() if len(text) <= LONGEST}
    run, tree, session, user, traceparent = (known.get(name) for name in given)
    parent = trace.parse(traceparent or "")
    if run is None or tree is None or not (_is_id(run) and _is_id(tree)):
        return None if parent is None else Remote(None, None, session, user, traceparent, since=time.monotonic_ns())
    # Another's tracing on the way may have put a parent of its own in: its flag says nothing of our tree.
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
    except Exception:  # noqa: BLE001  (no headers at all, or an object of the app's that breaks as it is looked at)
        return


def active_traceparent() -> str | None:
    """The app's own OpenTelemetry span as a W3C `traceparent`, where one is active: a tree that opens hangs below it
    wherever OTLP goes. Nothing is imported or attached: an app without OpenTelemetry pays a look into a dict.
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
    """A block, `with` or `async with`, that a run of own code encloses, or what was handed on; None changes nothing."""

    __slots__ = ("_token", "_what")

    def __init__(self, what: str | Remote | None) -> None:
        """Take what encloses the block."""
        self._what = what

    def __enter__(self) -> Self:
        """Count from here on."""
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
        """Put the context back as it was, where it still names this: in a copy of the one in which it was set too."""
        if inner.get() is not what:
            return
        try:
            inner.reset(self._token)
        except ValueError:
            old = self._token.old_value
            inner.set(None if old is Token.MISSING else old)


class joined(Within):  # noqa: N801  (used as a function, like `session`)
    """Let every tree that would open inside the block open as a part of the caller's tree.

    `headers` is what `eventtree.headers()` gave in the caller's process: a request's headers, a message's, `os.environ`
    (`TRACEPARENT`, `BAGGAGE`), MCP's `_meta`. Whatever is in them is believed: where they come from outside, ask first
    who sent them. Without anything to join the block changes nothing. Also `async with`.
    """

    def __init__(self, headers: object) -> None:
        """Read what was handed on; runs that are open already enclose nothing inside."""
        super().__init__(read(headers))
