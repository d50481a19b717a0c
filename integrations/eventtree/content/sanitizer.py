"""Turns any value of the app into plain JSON that every reader accepts.

A `Sanitizer` is made once, with bounds and a redactor, and called for each value on the app's own thread. It never
raises (except for a signal's handler), never mutates, never reads a stream, and keeps no object. It runs no code of the
value, except for an exception's text. Its result is new, consists of None, bool, int, float, str, list and dict, and is
valid UTF-8.

A result may be a few times larger than the bounds: a record's writer calls `fitted` if the record is too large. It
keeps the structure; truncate.py has the order of cuts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eventtree import diagnostics
from eventtree.config import BOUNDS, Bounds
from eventtree.content import fast_path, framework_values, objects
from eventtree.content import messages as chat
from eventtree.content.fast_path import COPIES
from eventtree.content.python_values import items_of
from eventtree.content.truncate import truncate
from eventtree.content.walk import (
    CONVERTERS,
    FAILED,
    MANY,
    Converter,
    FailClosed,
    KeyCache,
    Redactor,
    Walk,
    shareable,
)
from eventtree.kinds import JsonValue
from eventtree.record import encode

RULES = (lambda kind: objects.nearest(kind, framework_values.TABLE), *objects.RULES)


def converter_of(kind: type) -> Converter:
    """The converter of a class, by the first rule that has one."""
    return next(found for rule in RULES if (found := rule(kind)))


CONVERTERS.begin, CONVERTERS.find = objects.EXACT, converter_of
CONVERTERS.update(objects.EXACT)


class Sanitizer:
    """Turns any value into plain JSON, within `bounds` and redacted by `redact`."""

    __slots__ = ("bounds", "guard", "lasting", "room")

    def __init__(self, bounds: Bounds = BOUNDS, redact: Redactor | None = None, own_keys: Iterable[str] = ()) -> None:
        """Take the bounds and the redactor; `own_keys` are dict keys of ours, which are not redacted."""
        self.bounds = bounds
        self.guard = None if redact is None else FailClosed(redact, FAILED)
        self.room = fast_path.room_in(bounds) if redact is None else 0
        """Characters of a value that may be copied the fast way, where every bound is larger than that takes."""
        hides = getattr(redact, "hides_key", None)
        self.lasting = KeyCache(self.guard, FailClosed(hides, True) if hides else None, own_keys)

    def __call__(self, value: Any) -> JsonValue:
        """`value` as plain JSON."""
        if self.room:
            room = [self.room]
            try:
                plain = COPIES[type(value)](value, room, 0)
                if room[0] >= 0:
                    return plain
            except Exception:  # noqa: BLE001 - unusual, broken, or another thread changed it: the walk is the boundary
                pass
        return Walk(self.bounds, self.guard, self.lasting).value(value, 0)

    def text(self, value: str) -> str:
        """A text such as a name or a tag, redacted and cut to size."""
        plain = self(value)
        return plain if type(plain) is str else repr(plain)

    def messages(self, values: Any) -> list[dict[str, JsonValue]]:
        """Messages of any spelling, or a single one, as Messages. The bounds are for all of them together."""
        if self.room:
            room = [self.room]
            try:
                plain = fast_path.messages_of(values, room)
                if room[0] >= 0:
                    return plain  # type: ignore[no-any-return]
            except Exception:  # noqa: BLE001 - as in `__call__`
                pass
        walk = Walk(self.bounds, self.guard, self.lasting)
        given = items_of(values)
        if given is None or chat.is_pair(values):
            given = [values]
        out = [as_message(walk, value, 1) for value in given[: walk.take(len(given))]]
        shareable[0] += len(out) >= MANY
        return out

    def found(self, values: Any) -> JsonValue:
        """Documents of any spelling as Documents, within the bounds together. Only a list or a tuple is read: another
        iterable may give them once, and they are the app's.
        """
        given = items_of(values)
        if given is None:
            return self(values)
        plain = self([*given])
        return [framework_values.document(one) for one in plain] if type(plain) is list else []

    def fitted(self, plain: JsonValue) -> JsonValue:
        """`plain`, shortened if it is too large."""
        # To write it is quicker than to measure it part by part.
        if len(encode(plain)) <= self.bounds.value_bytes:
            return plain
        shorter = truncate(plain, self.bounds.value_bytes)
        diagnostics.truncations["value_bytes"] += shorter is not plain
        return shorter


def as_message(walk: Walk, value: Any, depth: int) -> dict[str, JsonValue]:
    """One Message from anything: an object, a dict, (role, content), or a text of the user."""
    if type(value) is str:
        return {"role": "user", "content": walk.string(value)}
    convert: Converter | None = chat.from_pair if chat.is_pair(value) else None
    if isinstance(value, dict) and chat.is_message_dict(value):
        convert = chat.from_dict
    found = walk.value(value, depth, convert)
    return found if type(found) is dict and "role" in found else {"role": "unknown", "content": found}
