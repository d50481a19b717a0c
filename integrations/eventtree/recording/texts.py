"""Writes long and repeated texts once in a tree: later records refer to them by number.

A prompt is an input of the chain, of its template and of the model, and each step of an agent gets all messages of the
steps before. So long texts and the items of long lists (messages, documents) are numbered when they are written, and a
record that would repeat one has its number instead. Only texts are kept for this (no object of the user), bounded, and
only while the tree's root is open in this process: later records are written in full, since the tree may have been sent
by then. (A record that is made while the root ends may still refer to a text: delivery then finds it in the part that
was sent.)

    {"r": "open", …, "inputs": {"question": null, "messages": [{"role": "tool", …}]}, "same": {
        "from": 1987…, "places": [
            {"at": ["inputs", "question"], "of": [0, 1]},
            {"at": ["inputs", "messages"], "here": [9, 10]}, {"at": ["inputs", "messages"], "of": [3, 10]}]}}

`at` is a place, `here` gives numbers to the text at that place, or to each item, and `of` has the numbers of the texts
that belong there: as ranges, begin and end, counted from `from`, which differs for each writer of a tree. Only a record
with `same` refers to others, whatever its values look like. `tree/texts.py` puts the texts back.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from itertools import count, islice, repeat
from os import urandom
from time import monotonic
from typing import TYPE_CHECKING, Any

from eventtree import process
from eventtree.content.fast_path import items_of
from eventtree.content.walk import LONG, MANY
from eventtree.record import SAME, Record, encoder

if TYPE_CHECKING:
    from eventtree.journal import Journal

PARTS = ("inputs", "outputs")
"""Parts of a record whose texts are shared."""
HELD_CHARACTERS = 16 << 20
"""Most characters held in a process. Beyond it all are forgotten, and written once more."""
SHARED_BYTES = 16 << 20
SHARED_SECONDS = 3600.0
"""A tree refers to nothing older than this. Delivery waits much longer before it sends a tree with an open root."""
MIDDLING = 400
"""Shorter texts are not shared: a reference takes an eighth of this."""
CONTAINERS = frozenset({dict, list})
CROWD = 100
"""Among this many new items, only long ones are searched for texts."""
FIRST_BYTES = 6
"""Bytes of the random number from which a tree's numbers are counted."""
ITEM_CHARACTERS = 100
"""Memory of an item besides its text."""

Path = list[Any]


class Texts:
    """The numbered texts and items of one tree, to which later records may refer."""

    __slots__ = (
        "__weakref__", "first", "forks", "items", "journal", "numbers", "repeats", "since", "state", "texts", "written"
    )  # fmt: skip

    def __init__(self, journal: Journal) -> None:
        """Begin without any."""
        self.journal = journal
        self.texts: dict[str, int] = {}
        self.items: dict[bytes, int] = {}
        self.repeats = False
        """Whether a long list was found. Then single messages are numbered too, since the next list may have them, and
        so are shorter texts.
        """
        # Each writer of a tree begins at another number: a process that joined it, or one that is run again with the
        # same ids. Not from the app's `random`, which may be seeded alike in each process, and must not be advanced.
        self.first = int.from_bytes(urandom(FIRST_BYTES))
        self.numbers = count()
        self.forks = _forks
        self.written = 0
        self.since = monotonic()
        self.state = (journal.dropped, journal.restarts)

    def share(self, entry: Record) -> Shared | None:
        """Let a record refer to texts of other records; None if it must be written in full."""
        if (self.journal.dropped, self.journal.restarts) != self.state:
            # A record or a log was lost: none of the known texts may be assumed written.
            self.clear()
            self.state = (self.journal.dropped, self.journal.restarts)
        if self.written > SHARED_BYTES or self.forks != _forks or monotonic() - self.since > SHARED_SECONDS:
            self.clear()
            return None
        return Shared(self, entry)

    def keep(self, texts: dict[str, int], items: dict[bytes, int]) -> None:
        """Remember the numbers of texts and items that were written."""
        size = sum(map(len, texts)) + sum(map(len, items)) + ITEM_CHARACTERS * (len(texts) + len(items))
        if size + sum(held.values()) > HELD_CHARACTERS:
            for one in _all():
                one.clear()
        if size > HELD_CHARACTERS:
            return
        if id(self) not in _known:
            _known[id(self)] = weakref.ref(self, partial(_forget, id(self)))
        held[id(self)] = held.get(id(self), 0) + size
        self.items.update(items)
        self.texts.update(texts)

    def clear(self) -> None:
        """Forget all of them. The numbers continue."""
        self.texts.clear()
        self.items.clear()
        held.pop(id(self), None)


class Shared:
    """The texts that one record shares with others of its tree."""

    __slots__ = ("entry", "fresh", "left_out", "own", "replaced", "same", "texts")

    def __init__(self, texts: Texts, entry: Record) -> None:
        """Take known texts out of `entry`, and number the others."""
        self.texts = texts
        self.entry = entry
        self.fresh: dict[str, int] = {}
        self.own: dict[bytes, int] = {}
        """Texts and items that this record is the first to have, and their numbers."""
        self.left_out = 0
        """About the bytes that were left out of the record: with them, it must not be larger than a record may be."""
        self.replaced: list[tuple[Any, Any, Any]] = []
        self.same: list[Record] = []
        stack: list[tuple[Any, Any, Path, bool]] = []
        for part in PARTS:
            if part in entry:
                stack.append((entry, part, [part], False))  # noqa: PERF401  (a comprehension is a call)
        while stack:
            holder, key, path, is_inside = stack.pop()
            value = holder[key]
            kind = type(value)
            if kind is str:
                if len(value) > (MIDDLING if texts.repeats else LONG):
                    self._text(holder, key, path, value)
                continue
            if kind is list and value and type(first := value[0]) is dict and not is_inside:
                texts.repeats = texts.repeats or len(value) >= MANY
                if len(value) >= MANY or (texts.repeats and "role" in first):
                    # Inside an item, texts may be shared, but lists are not numbered.
                    left, sizes, left_size = self._items(holder, key, path, value)
                    least = MIDDLING if len(left) < CROWD else LONG
                    if left_size > least:
                        stack += [(left, step, [*path, step], True) for step, size in enumerate(sizes) if size > least]
                    continue
            within = value.items() if kind is dict else enumerate(value) if kind is list else ()
            inner = [
                step
                for step, item in within
                if type(item) in CONTAINERS or (type(item) is str and len(item) > MIDDLING)
            ]
            if inner:
                value = holder[key] = value.copy()  # other records may have the very same message
                stack += [(value, step, [*path, step], is_inside) for step in inner]
        if self.same:
            entry[SAME] = {"from": texts.first, "places": self.same}

    def _text(self, holder: Any, key: Any, path: Path, text: str) -> None:
        number = self.texts.texts.get(text, self.fresh.get(text))
        if number is None:
            number = self.fresh[text] = next(self.texts.numbers)
            self.same.append({"at": path, "here": [number, number + 1]})
        else:
            self.same.append({"at": path, "of": [number, number + 1]})
            self.left_out += len(text) if text.isascii() else len(text.encode())
            self.replaced.append((holder, key, text))
            holder[key] = None

    def _items(self, holder: Any, key: Any, path: Path, items: list[Any]) -> tuple[list[Any], Iterable[int], int]:
        """Number a list's items. Returns those that no record has yet, with about the size of each and of all."""
        # Items are compared by their JSON, which is also what a reader puts back.
        try:
            keys = items_of(items) or list(map(encoder(), items))
        except (TypeError, ValueError):  # nothing that JSON has
            return items, repeat(MIDDLING + 1, len(items)), LONG + 1
        # Each is looked up once: other threads may add items, or forget all.
        own, size = self.own, sum(map(len, keys))
        of: list[Any] = list(
            map(self.texts.items.get, keys, map(own.get, keys)) if own else map(self.texts.items.get, keys)
        )
        fresh: dict[bytes, Any] = {}
        if None in of:
            fresh = {one: item for one, item, number in zip(keys, items, of, strict=True) if number is None}
            here = list(islice(self.texts.numbers, len(fresh)))
            own.update(zip(fresh, here, strict=True))
            self.same.append({"at": path, "here": ranges(here)})
        if len(fresh) == len(items):
            left = holder[key] = items.copy()  # other records may have the very same list
            return left, map(len, keys), size
        if fresh:
            of = [own[one] if number is None else number for one, number in zip(keys, of, strict=True)]
        self.same.append({"at": path, "of": ranges(of)})
        left_size = sum(map(len, fresh))
        self.left_out += size - left_size
        self.replaced.append((holder, key, items))
        left = holder[key] = list(fresh.values())
        return left, map(len, fresh), left_size

    def undo(self) -> None:
        """Put all texts back: the record has to be cut, so no other record may refer to it."""
        for holder, key, value in reversed(self.replaced):
            holder[key] = value
        self.entry.pop(SAME, None)
        self.fresh.clear()
        self.own.clear()

    def written(self, size: int) -> None:
        """Let other records refer to this one, which is in the journal now."""
        self.texts.written += size
        if self.fresh or self.own:
            self.texts.keep(self.fresh, self.own)


def ranges(numbers: list[int]) -> list[int]:
    """Numbers as begin and end of each consecutive stretch, in their order."""
    first, after = numbers[0], numbers[0] + len(numbers)
    if numbers[-1] == after - 1 and numbers == [*range(first, after)]:
        return [first, after]
    found: list[int] = []
    for number in numbers:
        if found and found[-1] == number:
            found[-1] += 1
        else:
            found += (number, number + 1)
    return found


held: dict[int, int] = {}
"""Id of a `Texts` → its characters. Threads change it while others sum it up, each in one step of the interpreter."""
_known: dict[int, weakref.ref[Texts]] = {}
_forks = 0
"""How often this process and its parents were forked."""


def _all() -> list[Texts]:
    return [one for known in list(_known.values()) if (one := known()) is not None]


def _forget(gone: int, _: weakref.ref[Texts]) -> None:
    for table in (held, _known):
        table.pop(gone, None)


def _after_fork() -> None:
    """Count the fork. A child's log, with records of its parent's trees, may be read after these trees were sent."""
    global _forks
    _forks += 1


process.after_fork("handlers", _after_fork)
