"""From a record's parts to its line. Whatever a part does, the record is written: an odd one is marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventtree import diagnostics
from eventtree.content.walk import shareable
from eventtree.event import JsonValue
from eventtree.record import CLOSE, OPEN, Record, encode
from eventtree.recording.texts import Shared, Texts

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline
    from eventtree.recording.runs import Tree


SMALL = {OPEN: 900, CLOSE: 550}
"""Bytes of a record that is written out: it is about as long as one that says where its message stands."""


def append(
    tree: Tree,
    entry: Record,
    texts: Texts | None = None,
    met: int | None = None,
    counted: tuple[str, ...] = (),
    events: int | None = None,
) -> None:
    """Append a record whose parts are plain already, and count so many events under these names.

    What the tree has in `texts` is repeated by number; `met` is how much of what may be repeated had been met before.
    """
    pipeline, shared = tree.pipelines[0], None
    try:
        if met is not None and (met != shareable[0] or (texts is not None and texts.repeats)):
            payload, shared = _shared(tree, texts, entry, met != shareable[0])
        else:
            try:
                payload = pipeline.dumps(entry)
            except TypeError:  # what the quicker encoder refuses, the other writes
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
    """Append a record that could not be made or written as it is: an odd part costs no more than itself.

    A `part` that should be there and is not has raised `error`; whatever else JSON cannot hold is made plain.
    """
    diagnostics.failed("recording", error)
    pipeline = tree.pipelines[0]
    if part and pipeline.content:
        entry.setdefault(part, f"[this could not be recorded: {diagnostics.class_name(error)}]")
    # Part by part: each that cannot be written becomes plain by itself, the others stay as they are.
    payload = encode({key: _writable(pipeline, value) for key, value in entry.items()})
    tree.journal.append(payload, counted, events)
    # Raised only once the record is written: strict mode reports faults, it does not lose events.
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
    """A record of which a part may be repeated: what is long by itself, or whatever is not small where lists repeat.

    It repeats others by number as long as its tree's root is open.
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
