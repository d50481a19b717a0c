"""Writes records to the journal. A part that cannot be written is marked, and the record is written all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventtree import diagnostics
from eventtree.content.walk import shareable
from eventtree.kinds import JsonValue
from eventtree.record import CLOSE, OPEN, Record, encode
from eventtree.recording.texts import Shared, Texts

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline
    from eventtree.recording.runs import Tree


SMALL = {OPEN: 900, CLOSE: 550}
"""A record up to this many bytes repeats nothing by number: that would not make it shorter."""


def append(
    tree: Tree,
    entry: Record,
    texts: Texts | None = None,
    met: int | None = None,
    counted: tuple[str, ...] = (),
    events: int | None = None,
) -> None:
    """Append a record of plain parts, and count `events` under the names in `counted`.

    Texts that the tree has in `texts` are repeated by number; `met` is the count of long texts before this record.
    """
    pipeline, shared = tree.pipelines[0], None
    try:
        if met is not None and (met != shareable[0] or (texts is not None and texts.repeats)):
            payload, shared = _shared(tree, texts, entry, met != shareable[0])
        else:
            try:
                payload = pipeline.dumps(entry)
            except TypeError:  # the quicker encoder refuses some values
                payload = encode(entry)
        if shared is not None or len(payload) > pipeline.most_bytes:
            payload = pipeline.fitted(payload, entry, shared)
    except BaseException as error:  # a value that should be plain may not be
        if diagnostics.must_pass(error):
            raise
        append_marked(tree, entry, "", error, counted, events)
    else:
        tree.journal.append(payload, counted, events)
        if shared is not None:
            shared.written(len(payload))


def append_marked(
    tree: Tree,
    entry: Record,
    part: str,
    error: BaseException,
    counted: tuple[str, ...] = (),
    events: int | None = None,
) -> None:
    """Append a record of which a part could not be made or written: only that part is lost.

    `error` was raised by a missing `part`, or by writing; each value that JSON cannot hold is made plain.
    """
    diagnostics.failed("recording", error)
    pipeline = tree.pipelines[0]
    if part and pipeline.content:
        entry.setdefault(part, f"[this could not be recorded: {diagnostics.class_name(error)}]")
    # Part by part: only a part that cannot be written is made plain.
    payload = encode({key: _writable(pipeline, value) for key, value in entry.items()})
    tree.journal.append(payload, counted, events)
    # The order matters: raised only after the record is written, since strict mode reports faults but loses no events.
    if pipeline.settings.strict:
        entry.clear()  # nothing of it is owed any more
        raise error


def _writable(pipeline: Pipeline, value: JsonValue) -> JsonValue:
    try:
        encode(value)
    except Exception:  # noqa: BLE001  (half a surrogate, a class that JSON has nothing for, too many levels)
        return pipeline.plain(value)
    return value


def _shared(tree: Tree, texts: Texts | None, entry: Record, is_long: bool) -> tuple[bytes, Shared | None]:
    """The bytes of a record with long texts, or of any but a small one where lists repeat, and the parts it shares.

    It repeats texts of earlier records by number, as long as its tree's root is open.
    """
    if not is_long and len(payload := encode(entry)) <= SMALL[entry["r"]]:
        return payload, None
    shared = None
    if texts is None and (not tree.is_over or entry["id"] == tree.root):
        texts = Texts(tree.journal)
        if not tree.is_over:
            tree.texts = texts
    if texts is not None:
        shared = texts.share(entry)
    return encode(entry), shared
