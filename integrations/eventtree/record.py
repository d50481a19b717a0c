"""The records, as they stand on disk. Format version 1.

A record is one JSON object whose first keys are always `r`, `id` and `tree`, in this order, so that a reader can sort
lines into trees without parsing their contents:

    {"r": "open",  "id", "tree", "parent", "kind", "name", "start", …}       a run opened: all that is known then
    {"r": "note",  "id", "tree", "name", "at", "value"}                      something happened during a run
    {"r": "close", "id", "tree", "duration", "status", …}                    a run closed: all that was learned since
    {"r": "vendors", "id", "tree", "vendors"}                                another handler saw the root: its vendors
    {"r": "feedback", "id", "tree", "key", "at", …, "vendors"}               feedback on an event or tree, maybe later
    {"r": "drop",  "id", "tree", "vendors", "reason", "events"}              a tree that was not recorded, counted
    {"r": "log", "id", "tree", …}                                            a file's first line: version and process
    {"r": "gone", "id", "tree"}                                              in place of what the user has cleared

`start` and `at` are wall-clock ns since the epoch; `duration`, `first_token` are monotonic ns since the run opened.
A root's open record holds `vendors`: [{"name", "fingerprint"}]; the whole tree follows its root. Its close record
repeats them, so that one of the two may be damaged, and says how many `events` have opened, so that one of which both
records are damaged is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pydantic_core

VERSION = 1

OPEN = "open"
NOTE = "note"
CLOSE = "close"
VENDORS = "vendors"
FEEDBACK = "feedback"
DROP = "drop"
LOG = "log"
GONE = "gone"

FIRST_TOKEN = "first_token"
PARTIAL = "partial"
OWN_NOTES = frozenset({FIRST_TOKEN, PARTIAL})
"""Names of notes that no event shows: when the first token came; what had come of a run that its root left open."""

HEAD = re.compile(rb'\{"r":"(\w+)","id":"([^"\\]*)","tree":"([^"\\]*)"')
"""Matches the start of every record this version writes."""

Record = dict[str, Any]

Refs = list[dict[str, str]]
"""Vendors a record names: `{"name", "fingerprint"}` of each."""


encode: Callable[[Record], bytes] = pydantic_core.to_json
"""One record as compact JSON, one line, no trailing newline."""


def decode(line: bytes) -> Record:
    """The record of a line.

    Raises:
        ValueError: it is no JSON object with `r`, `id` and `tree`.
    """
    record = pydantic_core.from_json(line)
    try:
        is_record = type(record["r"]) is type(record["id"]) is type(record["tree"]) is str
    except (LookupError, TypeError):
        is_record = False
    if not is_record:
        raise ValueError("no record")
    return record  # type: ignore[no-any-return]


def head(line: bytes) -> tuple[str, str, str]:
    """`(r, id, tree)` of a line, without parsing the rest.

    Raises:
        ValueError: as `decode`.
    """
    found = HEAD.match(line)
    if found is not None:
        return found[1].decode(), found[2].decode(), found[3].decode()
    record = decode(line)
    return record["r"], record["id"], record["tree"]


def refs_of(record: Record) -> Refs | None:
    """The vendors a record names, as far as they are of the form; None where it names none at all."""
    named = record.get("vendors")
    if not isinstance(named, list):
        return None
    refs = ((ref.get("name"), ref.get("fingerprint")) for ref in named if isinstance(ref, dict))
    return [{"name": name, "fingerprint": key} for name, key in refs if isinstance(name, str) and isinstance(key, str)]


MOST_EVENTS = 1_000_000
"""No tree has more: a count beyond it is damage."""


def events_of(record: Record) -> int:
    """How many events a root's close, or a tree that was only counted, says there were; 0 where it says nothing."""
    events = record.get("events")
    return events if type(events) is int and 0 < events <= MOST_EVENTS else 0


def dropped_by(record: Record) -> tuple[int, str]:
    """How many events a tree had that was only counted, and why it was."""
    return events_of(record), str(record.get("reason", "damaged"))
