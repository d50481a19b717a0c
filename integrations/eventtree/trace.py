"""Ids of the W3C's Trace Context: a tree is a trace and a run a span, with the same ids at every vendor and process.

The trace's id is the tree's UUID; the span's is the last 8 bytes of the run's. LangChain's UUIDs begin with the time,
and end with a counter and 32 random bits, so that two runs of one tree get different ids.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

A_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
CANONICAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
"""https://www.w3.org/TR/trace-context/#traceparent-header: a later version may add to the end."""


class Traceparent(NamedTuple):
    """A W3C `traceparent`: the ids in hex, and whether its sender records the trace."""

    trace_id: str
    span_id: str
    sampled: bool


@lru_cache(maxsize=256)
def trace_id(tree_id: str) -> str:
    """The trace id of a tree, 32 hex digits: its UUID, or a hash of an id that is none."""
    if A_UUID.fullmatch(tree_id) is not None and int(plain := tree_id.replace("-", "").lower(), 16):
        return plain
    return blake2b(tree_id.encode("utf-8", "replace"), digest_size=16).hexdigest()


@lru_cache(maxsize=4_096)
def uuid_of(run_id: str) -> str:
    """A run's or tree's UUID in its canonical form; of an id that is none, a UUID made of its hash."""
    return run_id if CANONICAL.fullmatch(run_id) is not None else str(UUID(trace_id(run_id)))


def span_id(run_id: str) -> str:
    """The span id of a run, 16 hex digits, never all zero."""
    last = run_id.replace("-", "").lower()[16:] if A_UUID.fullmatch(run_id) is not None else ""
    return last if last and int(last, 16) else blake2b(run_id.encode("utf-8", "replace"), digest_size=8).hexdigest()


def parse(traceparent: str) -> Traceparent | None:
    """Parse a `traceparent`; None where it is malformed."""
    found = TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not int(found[2], 16) or not int(found[3], 16):
        return None
    return Traceparent(found[2], found[3], bool(int(found[4], 16) & 1))
