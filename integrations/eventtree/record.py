"""The records on disk. Format version 1.

A record is one JSON object whose first keys are always `r`, `id` and `tree`, in this order, so that a reader can sort
lines into trees without parsing their contents:

    {"r": "open",  "id", "tree", "parent", "kind", "name", "start", …}       a run opened: all that is known then
    {"r": "note",  "id", "tree", "name", "at", "value"}                      something happened during a run
    {"r": "close", "id", "tree", "duration", "status", …}                    a run closed: all that was learned since
    {"r": "vendors", "id", "tree", "vendors"}                                another handler saw the root: its vendors
    {"r": "feedback", "id", "tree", "key", "at", …}                          feedback on an event or tree, maybe later
    {"r": "drop",  "id", "tree", "vendors", "reason", "events"}              a tree that was not recorded, counted
    {"r": "log", "id", "tree": "", "eventtree", …}                           a file's first line: version and process

A log's first line also says how many events its process had `recorded` before, by the vendors they are for
(`NAME.FINGERPRINT`, "" for none), and how many of those were `lost` because neither disk nor memory would take them;
the line with `end` says so at a clean exit. That is counted where events happen, so what is read from the lines can be
checked against it. `whole` says how long the log is that the sums end with (the one before; with `end` this one, up to
that line) and its checksum (journal/line.py): a log that is still so need not be read to be counted. Feedback names its
tree's `vendors` where they are known; else its `tree` is the id it was given.

What the user clears keeps its place, and of its keys those by which events are counted (`COUNTED`), with
`"cleared": true` as the last: so whoever reads the log counts the same as before, and finds no contents.

A long text, and each item of a long list, is written once in a tree. A later record leaves it out, and its
`same` says what belongs where (recording/texts.py): no value is ever taken for a pointer.

`start` and `at` are ns since the epoch, by the wall clock as the tree began and the monotonic clock since; `duration`,
`after` are monotonic ns since the run opened.
A root's open record holds `vendors`: [{"name", "fingerprint"}]; the whole tree follows its root. Its close record
repeats them, so that one of the two may be damaged, and says how many `events` have opened, so that one of which both
records are damaged is counted. Where a span of OpenTelemetry was active, the open record holds its `traceparent` (W3C).

A part of a tree that another process began has the same records under that tree's id; its first run has a `parent` of
that process. Each open record of a part says `joined`: true: its process could not know the tree's vendors,
and has counted its events for none. The first run names those of its own process; they count where the rest of the tree
never comes to this journal. The close of a root, or of such a first run, says how many `parts` were handed on.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from struct import Struct
from typing import Any

import pydantic_core

from eventtree.diagnostics import MRO_OF
from eventtree.pace import FEW, paced
from eventtree.remembered import Remembered

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

VERSION = 1

OPEN = "open"
NOTE = "note"
CLOSE = "close"
VENDORS = "vendors"
FEEDBACK = "feedback"
DROP = "drop"
LOG = "log"

MAX_DEPTH = 128
"""Levels of lists and objects that a value may have: `from_json` gives up at 201, and records and vendors' requests put
a value below levels of their own.
"""

FIRST_TOKEN = "first_token"
PARTIAL = "partial"
OWN_NOTES = frozenset({FIRST_TOKEN, PARTIAL})
"""Names of notes that no event shows: when the first token came; what had come of a run that its root left open."""

HEADS = {
    ord(kind[0]): (kind, b'{"r":"%b","id":"' % kind.encode(), Struct(f"{14 + len(kind)}s36s10s36sc").unpack_from)
    for kind in (OPEN, NOTE, CLOSE)
}
"""How the records of runs begin, by the first letter of their kind: the kind, and all before, the run and the tree."""
THEN_TREE = b'","tree":"'
NAMES_BEGIN, NAMES_END = b'"vendors":', b"}]"
"""Around the vendors of a record. They come before the app's values, which may have a field of that name."""

BY_NAME = "0" * 16
"""Fingerprint of a vendor that a collector has the settings of: there it goes by its name alone."""
SAME = "same"
"""Key of a record whose inputs or outputs hold what others of its tree repeat, or repeat it: `{"from", "places"}`, each
place `{"at", "here", "of"}`; see recording/texts.py.
"""

Record = dict[str, Any]
Ref = Mapping[str, str]
"""A vendor as records name it: its `name`, and the `fingerprint` of its settings."""

LOCAL = "local-"
"""Start of a fingerprint whose host is this machine: a server of tests, or a collector."""


def is_local(fingerprint: str) -> bool:
    """Whether the vendor's host is this machine. What was recorded for it is never sent to another host."""
    return fingerprint.startswith(LOCAL)


GIVEN_COST = "eventtree_cost"
"""Key of a run's metadata, or name of its custom events, that gives its cost in US dollars: a number, or an object of
`input_usd`, `output_usd`, `total_usd`.
"""
SESSION_KEYS = ("session_id", "thread_id", "conversation_id")
USER_KEYS = ("user_id", "user")
"""Keys of a run's metadata that name its session and its user, the first found counts."""


def first_of(metadata: Mapping[str, Any], keys: tuple[str, ...]) -> str | int | None:
    """The name or number under the first of these keys that has one, read past what its class makes of it."""
    for key in keys:
        value: Any = metadata.get(key)
        if value is None:
            continue
        mro = MRO_OF(type(value))
        plain = str.__str__(value) if str in mro else int.__int__(value) if int in mro else ""
        if plain != "":
            return plain
    return None


def noted(run_id: str, tree_id: str, name: str, at: int, after: int) -> Record:
    """A note on a run, `after` ns from its start. The caller adds its `value`."""
    return {"r": NOTE, "id": run_id, "tree": tree_id, "name": name, "at": at, "after": after}


def joined(tree_id: str, root: str, vendors: Sequence[Ref]) -> Record:
    """Another handler saw the tree: `vendors` are all it is for now. `root` is the tree's first run in this process."""
    return {"r": VENDORS, "id": root, "tree": tree_id, "vendors": vendors}


def dropped(tree_id: str, vendors: Sequence[Ref], reason: str, events: int) -> Record:
    """A tree of `events` events was not recorded."""
    return {"r": DROP, "id": tree_id, "tree": tree_id, "vendors": vendors, "reason": reason, "events": events}


def feedback(event_id: str, tree_id: str, key: str, at: int, given: Mapping[str, Any]) -> Record:
    """Feedback on an event or tree. Its `vendors` are added where the tree is known; else delivery looks for them."""
    return {"r": FEEDBACK, "id": event_id, "tree": tree_id, "key": key, "at": at, **given}


def log_line(
    process: str,
    pid: int,
    at: int,
    recorded: Mapping[str, int],
    lost: Mapping[str, int],
    events: int,
    whole: tuple[int, int],
    *,
    end: bool = False,
) -> Record:
    """A log's first line; with `end`, the last line of a process that exited cleanly."""
    entry = {"r": LOG, "id": process, "tree": "", "eventtree": VERSION, "pid": pid, "at": at}
    entry |= {"recorded": recorded, "lost": lost, "events": events, "whole": whole}
    return {**entry, "end": True} if end else entry


CLEARED = "cleared"
COUNTED = ("r", "id", "tree", "vendors", "joined", "events", "parts", "key")
"""Keys of a record that stay when the user clears it."""
LAST = b'"cleared":true}'


def cleared(record: Record, size: int) -> bytes | None:
    """The line of a record without contents, of `size` bytes; None if the record has none that could go."""
    kept = encode({key: record[key] for key in COUNTED if key in record})[:-1] + b","
    is_longer = len(kept) + len(LAST) > size
    return None if is_longer or record["r"] in (VENDORS, DROP) else kept.ljust(size - len(LAST)) + LAST


def is_cleared(line: bytes) -> bool:
    """Whether the contents of a line were cleared."""
    return line.endswith(LAST)


Refs = list[dict[str, str]]
"""Vendors a record names: `{"name", "fingerprint"}` of each."""


def encode(record: Any) -> bytes:
    """One record, or a part of one, as compact JSON, one line, no trailing newline.

    Where orjson is installed (LangChain brings it), it takes a third of the time. Pydantic writes what it refuses, so
    that both ways accept the same records.

    Raises:
        ValueError: the record holds what JSON has nothing for.
    """
    if orjson is not None:
        try:
            return orjson.dumps(record)
        except TypeError:
            pass  # an integer of more than 64 bits, a key that is no text
    return pydantic_core.to_json(record, fallback=_unwritten)


def _unwritten(fragment: Any) -> Any:
    """The value of an orjson fragment, for pydantic to write."""
    if orjson is None or type(fragment) is not orjson.Fragment:
        raise TypeError("no JSON")
    return pydantic_core.from_json(orjson.dumps(fragment))


def written(value: Any) -> bytes | None:
    """The JSON of a value that `is_harmless`, where NaN is null and a tuple a list. None without orjson, and where a
    key is no text, an integer is too large for some parsers, or a value is of no builtin class.
    """
    try:
        return None if orjson is None else orjson.dumps(value, None, PASSED_OVER)
    except TypeError:
        return None


def is_harmless(held: Sequence[Any]) -> bool:
    """Whether orjson can write these dicts and lists without running code of the app; it may still refuse them.

    Ask before it writes: orjson reads the `value` of an Enum, which may be the app's code, and ends the process where
    that raises. The garbage collector tracks an Enum, and containers of tracked objects, but no text or number: so only
    the few tracked objects are checked.
    """
    for _ in range(16):
        held = [*filter(gc.is_tracked, gc.get_referents(*held))]
        if not held:
            return True
        if not CONTAINERS.issuperset(map(type, held)) or sum(map(len, held)) > MOST_LOOKED_AT:
            return False
    return False


CONTAINERS = frozenset({dict, list, tuple})
MOST_LOOKED_AT = 100_000
"""Items of one level: the same list may be in many places."""


def fragment(json: bytes) -> Any:
    """The JSON of `written` as a part of a record, to be written unchanged."""
    return orjson.Fragment(json)


PASSED_OVER = 0
if orjson is not None:
    PASSED_OVER = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    PASSED_OVER |= orjson.OPT_STRICT_INTEGER


def encoder() -> Callable[[Any], bytes]:
    """The function to write many values with, as `encode` does; it may raise a TypeError too."""
    return encode if orjson is None else orjson.dumps


def decode(line: bytes) -> Record:
    """The record of a line.

    Raises:
        ValueError: it is no JSON object with `r`, `id` and `tree`.
    """
    # orjson reads an integer of more than 64 bits as a float.
    found: Record = pydantic_core.from_json(line)
    try:
        if type(found["r"]) is type(found["id"]) is type(found["tree"]) is str:
            return found
    except (LookupError, TypeError):
        pass
    raise ValueError("no record")


def _id(written: bytes) -> str:
    if b'"' in written or b"\\" in written:
        raise ValueError(written)
    return written.decode()


_IDS: Remembered[bytes, str] = Remembered(4_096, _id)
"""Ids in JSON → in Python. Each is in several records."""
LONGEST_HEAD = 6 + 5 + 8 + 36 + 10 + 36 + 1
MANY_BYTES = 32 * 1024
"""Lines of more than this together take some hundred microseconds to parse."""


def decode_all(lines: Sequence[bytes]) -> list[Record]:
    """The records of lines that have a `head`, without damaged ones. Rests where they are long."""
    is_much = len(lines) > FEW or sum(map(len, lines)) > MANY_BYTES
    if not is_much:
        with suppress(ValueError):
            return list(map(pydantic_core.from_json, lines))
    found = []
    for line in paced(lines, each=is_much):
        try:
            found.append(decode(line))
        except ValueError:
            continue
    return found


def head(line: bytes) -> tuple[str, str, str]:
    """`(r, id, tree)` of a line, without parsing the rest.

    Raises:
        ValueError: as `decode`.
    """
    if len(line) > LONGEST_HEAD and (known := HEADS.get(line[6])) is not None:
        kind, begin, unpack = known
        begun, run, then_tree, tree, end = unpack(line)
        if begun == begin and then_tree == THEN_TREE and end == b'"':
            try:
                return kind, _IDS[run], _IDS[tree]
            except ValueError:
                pass  # one has a quote or a backslash
    record = decode(line)
    return record["r"], record["id"], record["tree"]


def refs_of(record: Record) -> Refs | None:
    """The vendors a record names, malformed ones left out; None where it has no list of them."""
    named = record.get("vendors")
    if not isinstance(named, list):
        return None
    refs = ((ref.get("name"), ref.get("fingerprint")) for ref in named if isinstance(ref, dict))
    return [{"name": name, "fingerprint": key} for name, key in refs if isinstance(name, str) and isinstance(key, str)]


def refs_in(line: bytes) -> Refs | None:
    """The vendors that a line names, without parsing the rest.

    Raises:
        ValueError: it is no record.
    """
    begin = line.find(NAMES_BEGIN) + len(NAMES_BEGIN)
    if line.startswith(b"[{", begin):
        try:
            return _REFS[line[begin : line.find(NAMES_END, begin) + 2]]
        except ValueError:
            pass  # a name contains the text that ends the list
    return refs_of(decode(line))


_REFS: Remembered[bytes, Refs | None] = Remembered(
    1_000, lambda named: refs_of({"vendors": pydantic_core.from_json(named)}), longest=1_000
)


MOST_EVENTS = 1_000_000
"""No tree has more: a count beyond it is damage."""


def count_in(record: Mapping[str, Any], key: str) -> int:
    """A count that a record states; 0 where it states none."""
    found = record.get(key)
    return found if type(found) is int and 0 < found <= MOST_EVENTS else 0


def events_of(record: Mapping[str, Any]) -> int:
    """The number of events that a root's close, or a drop, states; 0 where it states none."""
    return count_in(record, "events")


JOINED = b'"joined":true'
PART = "joined"
"""Under which name events of a part are counted as they are recorded."""


def is_joined(line: bytes) -> bool:
    """Whether a line opens a run of a part that belongs to another process' tree."""
    return JOINED in line and decode(line).get("joined") is True


def dropped_by(record: Record) -> tuple[int, str]:
    """The number of events of a drop, and its reason."""
    return events_of(record), str(record.get("reason", "damaged"))
