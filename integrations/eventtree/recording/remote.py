"""The run of another process that the running code works for: what it handed on, and the block in which that counts.

What travels, in headers, a message, the environment or MCP's `_meta`:

    traceparent: 00-{trace id}-{span id}-{flags}       as the W3C has it, so that every gateway passes it on
    baggage:     eventtree.run={id},eventtree.tree={id}[,eventtree.session=…][,eventtree.user=…]

No vendor and no key is in it. It decides in whose tree contents land, so what comes from outside is believed only where
the app says so: by `joined`, or by the `trust` of `eventtree.asgi.Join`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote

from eventtree import diagnostics, trace

LONGEST = 8_192
"""Characters of a header that are read."""
LONGEST_ID = 128
MOST_BYTES = 512
"""Bytes of our part of the baggage: a session or user that does not fit is left out."""
KEYS = {name: f"eventtree_{name}" for name in ("run", "tree", "session", "user")}
"""The same in a run's metadata, which LangGraph's servers are sent."""


class Remote(NamedTuple):
    """What another process handed on."""

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


inner: ContextVar[str | Remote | None] = ContextVar("eventtree_inner", default=None)
"""The innermost run of own code around the running code, or what another process handed on."""


def remote() -> Remote | None:
    """What another process handed on to this code, where no run of own code has begun since."""
    found = inner.get()
    return found if type(found) is Remote else None


def written(found: Remote) -> dict[str, str]:
    """The two headers; of the app's own trace around the tree, the trace's id goes on."""
    if found.run is None or found.tree is None:
        return {} if found.traceparent is None else {"traceparent": found.traceparent}
    run, tree = found.run, found.tree
    above = trace.parse(found.traceparent) if found.traceparent is not None else None
    trace_id = trace.trace_id(tree) if above is None else above.trace_id
    sent = f"eventtree.run={quote(run)},eventtree.tree={quote(tree)}"
    for name, value in (("session", found.session), ("user", found.user)):
        more = f",eventtree.{name}={quote(str(value))}" if value is not None else ""
        if len(sent) + len(more) <= MOST_BYTES:
            sent += more
    flags = "00" if found.is_skipped else "01"
    return {"traceparent": f"00-{trace_id}-{trace.span_id(run)}-{flags}", "baggage": sent}


def read(headers: object) -> Remote | None:
    """What headers, an environment, a message's or MCP's metadata hand on; None where it is nothing that can be read.

    Takes a mapping of any case (`TRACEPARENT` of an environment), pairs of text or bytes (ASGI's), or an object of
    pydantic's that allows more fields (MCP's `_meta`). Never raises for what is in them.
    """
    fields: dict[str, str] = {}
    for name, value in _pairs(headers):
        if name in ("traceparent", "baggage") and len(value) <= LONGEST:
            # A header may come twice: baggage adds up, of two parents neither can be believed.
            fields[name] = value if name not in fields else f"{fields[name]},{value}"
    parent = trace.parse(fields.get("traceparent", ""))
    pairs = (item.partition(";")[0].partition("=") for item in fields.get("baggage", "").split(","))
    sent = {name.strip(): unquote(value.strip()) for name, _, value in pairs if value}
    return of_values(lambda name: sent.get(f"eventtree.{name}"), fields.get("traceparent") if parent else None)


def in_metadata(metadata: object) -> Remote | None:
    """The same in a run's metadata (`eventtree_run`, `eventtree_tree`, …): what LangGraph's `RemoteGraph` sends."""
    if type(metadata) is not dict or KEYS["run"] not in metadata:
        return None
    parent = metadata.get("eventtree_traceparent")
    known = parent if isinstance(parent, str) and trace.parse(parent) else None
    return of_values(lambda name: metadata.get(KEYS[name]), known)


def of_values(value_of: Callable[[str], object], traceparent: str | None) -> Remote | None:
    """What these values hand on; those that are no ids, or not whole, count for nothing."""
    values = {name: value if isinstance(value := value_of(name), str) else None for name in KEYS}
    run, tree = (values[name] if _is_id(values[name]) else None for name in ("run", "tree"))
    if run is None or tree is None:
        run = tree = None
    parent = trace.parse(traceparent) if traceparent is not None else None
    if run is None and parent is None:
        return None
    # Another's tracing on the way may have put a parent of its own in: its flag says nothing of our tree.
    skipped = parent is not None and run is not None and not parent.sampled and parent.span_id == trace.span_id(run)
    return Remote(run, tree, values["session"], values["user"], traceparent, skipped, time.monotonic_ns())


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


def _is_id(value: str | None) -> bool:
    return value is not None and 0 < len(value) <= LONGEST_ID and value.isascii() and value.isprintable()


def _pairs(headers: object) -> Iterator[tuple[str, str]]:
    try:
        more = getattr(headers, "model_extra", None)
        given: Any = more if isinstance(more, Mapping) else headers
        for name, value in given.items() if isinstance(given, Mapping) else given:
            plain = [one.decode("latin-1") if isinstance(one, bytes) else one for one in (name, value)]
            if isinstance(plain[0], str) and isinstance(plain[1], str):
                yield plain[0].lower().replace("_", "-"), plain[1].strip()
    except Exception:  # noqa: BLE001  (no headers at all, or an object of the app's that breaks as it is looked at)
        return


class Block:
    """A `with` block that is an `async with` block too."""

    __slots__ = ()
    __enter__: Any
    __exit__: Any

    async def __aenter__(self) -> Self:
        """As `with`."""
        self.__enter__()
        return self

    async def __aexit__(self, *ended: Any) -> None:
        """As `with`."""
        self.__exit__(*ended)


class joined(Block):  # noqa: N801  (used as a function, like `session`)
    """Let every tree that would open inside the block open as a part of the caller's tree.

    `headers` is what `eventtree.headers()` gave in the caller's process: a request's headers, a message's, `os.environ`
    (`TRACEPARENT`, `BAGGAGE`), MCP's `_meta`. Whatever is in them is believed: where they come from outside, ask first
    who sent them. Without anything to join the block changes nothing. Also `async with`.
    """

    def __init__(self, headers: object) -> None:
        """Read what was handed on."""
        self._remote = read(headers)
        self._token: Any = None

    def __enter__(self) -> Self:
        """Count from here on."""
        if self._remote is not None:
            self._token = inner.set(self._remote._replace(since=time.monotonic_ns()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Put the context back as it was."""
        if self._token is not None:
            restore(self._token)


def restore(token: Any) -> None:
    """Put the context back as it was before a `set`; in another context (a generator stepped elsewhere) it is so."""
    try:
        inner.reset(token)
    except ValueError:
        pass
