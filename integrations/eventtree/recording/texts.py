"""Long texts stand once in a tree: a record that would repeat one points to the record of its tree that holds it.

A prompt is an input of the chain, of its template, of the model, and again of each further step of an agent. What is
kept for this is text alone (no object of the user), bounded, and only while the tree's root is open in this process:
what is recorded after that is written out, since the tree may have gone out by then. (A record that is made while the
root ends may point back all the same: delivery then looks for the text in what went out.)

    {"r": "open", …, "inputs": {"question": null}, "same": [{"at": ["inputs", "question"], "r", "id", "from": [...]}]}

`at` is where the text belongs, `r` and `id` name the record that holds it and `from` says where in it. Only a record
with `same` holds a pointer, whatever its values look like. `tree/builder.py` puts the texts back.
"""

from __future__ import annotations

import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any

from eventtree import process
from eventtree.content.walk import LONG
from eventtree.record import SAME, Record

if TYPE_CHECKING:
    from eventtree.journal import Journal

PARTS = ("inputs", "outputs")
"""Parts of a record whose texts are looked at."""
HELD_CHARACTERS = 16 << 20
"""Characters held in a process. Beyond it all are forgotten, and written out once more."""
SHARED_BYTES = 16 << 20
SHARED_SECONDS = 3600.0
"""A tree points back no further than this: far less than what makes a reader send a tree before its root has ended."""

Path = list[Any]


class Texts:
    """The long texts in the records of one tree, and where they stand."""

    __slots__ = ("__weakref__", "characters", "journal", "known", "since", "state", "written")

    def __init__(self, journal: Journal) -> None:
        """Know none."""
        self.journal = journal
        self.known: dict[int, list[tuple[str, Record]]] = {}
        """Length → texts of that length, each with the record that holds it."""
        self.characters = 0
        self.written = 0
        self.since = monotonic()
        self.state = (journal.dropped, journal.restarts)

    def share(self, entry: Record) -> Shared | None:
        """Let a record point to what other records hold; None where all of it is to be written out."""
        if (self.journal.dropped, self.journal.restarts) != self.state:
            # A record was lost, or its log: none that is known may be taken for written.
            self.clear()
            self.state = (self.journal.dropped, self.journal.restarts)
        if self.written > SHARED_BYTES or monotonic() - self.since > SHARED_SECONDS:
            self.clear()
            return None
        return Shared(self, entry)

    def find(self, text: str) -> Record | None:
        """Which record holds a text, and where."""
        return next((place for one, place in self.known.get(len(text), ()) if one == text), None)

    def keep(self, text: str, place: Record) -> None:
        """Remember where a text has been written."""
        if self.characters + len(text) + sum(one.characters for one in _all) > HELD_CHARACTERS:
            for one in list(_all):
                one.clear()
        if len(text) <= HELD_CHARACTERS:
            self.characters += len(text)
            self.known.setdefault(len(text), []).append((text, place))
            _all.add(self)

    def clear(self) -> None:
        """Forget all of them."""
        self.known.clear()
        self.characters = 0


class Shared:
    """What one record shares with others of its tree."""

    __slots__ = ("entry", "fresh", "replaced", "texts")

    def __init__(self, texts: Texts, entry: Record) -> None:
        """Put pointers into `entry`, in place of the texts that are known."""
        self.texts = texts
        self.entry = entry
        self.fresh: list[tuple[str, Path]] = []
        self.replaced: list[tuple[Any, Any, str]] = []
        same: list[Record] = []
        stack: list[tuple[Any, Path]] = [(entry, [])]
        while stack:
            holder, path = stack.pop()
            pairs = holder.items() if type(holder) is dict else enumerate(holder)
            for key, value in [(part, entry.get(part)) for part in PARTS] if holder is entry else pairs:
                if type(value) is dict or type(value) is list:
                    stack.append((value, [*path, key]))
                elif type(value) is str and len(value) > LONG:
                    place = texts.find(value)
                    if place is None:
                        self.fresh.append((value, [*path, key]))
                    else:
                        entry[SAME] = same
                        same.append({"at": [*path, key], **place})
                        self.replaced.append((holder, key, value))
                        holder[key] = None

    def undo(self) -> None:
        """Write all out after all: the record has to be cut, and nothing may be found in it afterwards."""
        for holder, key, text in self.replaced:
            holder[key] = text
        self.entry.pop(SAME, None)
        self.fresh.clear()

    def written(self, size: int) -> None:
        """The record stands in the journal: others may point to it."""
        self.texts.written += size
        for text, path in self.fresh:
            self.texts.keep(text, {"r": self.entry["r"], "id": self.entry["id"], "from": path})


_all: weakref.WeakSet[Texts] = weakref.WeakSet()
"""Those that hold any."""


def _after_fork() -> None:
    """A child's records stand in a log of its own, which may be read after its parent's tree has gone out."""
    for one in list(_all):
        one.clear()
        one.written = SHARED_BYTES + 1


process.after_fork("handlers", _after_fork)
