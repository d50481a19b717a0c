"""Cuts plain JSON to a number of bytes, and loses as little as possible.

The longest texts are cut first, all to the same length; head and tail are kept around a marker. Only if texts cut to
`FLOOR` still do not fit, long lists are cut (head and tail are kept), then wide dicts (short keys such as id and role
are kept first), then deep levels. The steps are one table, and each is tried on the original, so the result depends
only on the value and the size. A step gives up as soon as the parts that it must keep are too large, so the time is
bounded by the wanted size, not by the size of the value. Nothing here recurses.
"""

from __future__ import annotations

from itertools import islice
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from eventtree.kinds import JsonValue
from eventtree.record import encode

FLOOR = 120
"""Texts up to this many bytes (ids, names, roles, scores) are cut only after everything else."""
TOO_DEEP = "…[deeper levels cut]…"
CUT = "…"
"""The key of the marker in a dict whose entries were cut."""
TELLING = frozenset({"id", "role", "type", "name", "score", "tool_call_id", "status", "kind", "parent_id", "tree_id"})
BARE = frozenset({int, float, bool, type(None)})


class Step(NamedTuple):
    """One step of cutting: list items, dict entries and levels to keep, and the length of texts."""

    items: int
    entries: int
    depth: int
    floor: int = FLOOR


STEPS = (
    Step(1 << 60, 1 << 60, 100),
    Step(1000, 1000, 100),
    Step(200, 500, 100),
    Step(50, 200, 50),
    Step(16, 100, 50),
    Step(8, 64, 24),
    Step(4, 64, 16),
    Step(2, 48, 12),
    Step(2, 32, 8, 80),
    Step(1, 16, 4, 60),
    Step(1, 8, 2, 60),
)


class TooLarge(Exception):  # noqa: N818 - says that a step does not do, no error
    """The parts that a step must keep are larger than the bound."""


def cut_marker(count: int, what: str = "characters") -> str:
    """The marker in place of cut content."""
    return f"…[{count:,} {what} cut]…"


def json_bytes(text: str) -> int:
    """Bytes of `text` as a JSON string in UTF-8, quotes included."""
    try:
        return len(encode(text))  # a seventh of the time of Python's own encoder
    except ValueError:  # half a surrogate
        return len(encode_basestring(text).encode("utf-8", "surrogatepass"))


def bare_bytes(value: JsonValue) -> int:
    """Bytes of a number, true, false or null, or of a list of these, as Python writes them.

    Where Python writes 1e-05, some encoders need up to two bytes more.
    """
    written = repr(value)
    spaces = len(value) - 1 if type(value) is list and value else 0
    return len(written) - spaces + 2 * written.count("e-0")


def truncate(value: JsonValue, max_bytes: int) -> JsonValue:
    """`value` cut so that its compact UTF-8 JSON has at most `max_bytes`: itself if it fits, else a copy.

    If nothing of it fits, it is a marker, or at last an empty text (2 bytes).
    """
    for step in STEPS:
        fitted = Fitting(step, max_bytes)
        try:
            return fitted.fit(value)
        except TooLarge:
            continue
    return marker_within(max_bytes)


def marker_within(max_bytes: int) -> str:
    """The longest marker that fits."""
    return next((m for m in ("…[too large, cut]…", CUT) if json_bytes(m) <= max_bytes), "")


class Fitting:
    """Tries one step on one value: copies the structure, collects the long texts, then cuts these to one length."""

    def __init__(self, step: Step, max_bytes: int) -> None:
        """Begin with all of `max_bytes` free."""
        self.step = step
        self.free = max_bytes
        self.max_bytes = max_bytes
        self.cut = False
        self.long: list[tuple[int, Any, Any, str]] = []
        self.stack: list[tuple[Any, Any, JsonValue, int]] = []

    def fit(self, value: JsonValue) -> JsonValue:
        """The value, cut to fit; raises TooLarge if this step is not enough."""
        holder: list[JsonValue] = [None]
        self.stack.append((holder, 0, value, 0))
        while self.stack:
            self.place(*self.stack.pop())
        if self.long:
            self.cut_texts()
        return holder[0] if self.cut else value

    def pay(self, count: int) -> None:
        """Take `count` bytes that can't be cut."""
        self.free -= count
        if self.free < 0:
            raise TooLarge

    def place(self, holder: Any, key: Any, value: JsonValue, depth: int) -> None:
        """Put a copy of `value` into `holder`, containers still empty."""
        kind = type(value)
        if kind is str:
            self.place_text(holder, key, value)
        elif kind is dict or kind is list:
            if depth >= self.step.depth and value:
                holder[key] = self.marked(TOO_DEEP)
            elif kind is dict:
                holder[key] = self.open_dict(value, depth)
            else:
                holder[key] = self.open_list(value, depth)
        else:
            self.pay(bare_bytes(value))
            holder[key] = value

    def place_text(self, holder: Any, key: Any, text: str) -> None:
        """Keep a short text; collect a long one."""
        # A text longer than the whole bound is cut anyway: its exact size does not matter.
        size = len(text) if len(text) > self.max_bytes else json_bytes(text)
        holder[key] = text
        if size <= self.step.floor:
            self.pay(size)
        else:
            self.pay(self.step.floor)
            self.long.append((size, holder, key, text))

    def marked(self, marker: str) -> str:
        """A marker, paid for."""
        self.pay(json_bytes(marker))
        self.cut = True
        return marker

    def open_list(self, value: list[JsonValue], depth: int) -> list[JsonValue]:
        """A copy of a list, cut to head and tail; its items are placed later."""
        size, kept = len(value), self.step.items
        lost = size - kept
        if lost > 0:
            tail = kept // 2
            value = [*value[: kept - tail], self.marked(cut_marker(lost, "items")), *value[size - tail :]]
        if 2 * len(value) > self.free + 1:  # an item and its comma
            raise TooLarge
        if BARE.issuperset(map(type, value)):
            self.pay(bare_bytes(value))
            return value
        self.pay(1 + max(1, len(value)))
        copy: list[JsonValue] = [None] * len(value)
        for at, item in enumerate(value):
            if lost > 0 and at == kept - kept // 2:
                copy[at] = item
            else:
                self.stack.append((copy, at, item, depth + 1))
        return copy

    def open_dict(self, value: dict[str, JsonValue], depth: int) -> dict[str, JsonValue]:
        """A copy of a dict, cut to its important (`TELLING`) and its first entries; its values are placed later."""
        copy: dict[str, JsonValue] = {}
        kept = value if len(value) <= self.step.entries else first_entries(value, self.step.entries)
        if 5 * len(kept) > self.free:  # two quotes, colon, value, comma
            raise TooLarge
        self.pay(1 + max(1, len(kept)))
        for key, item in kept.items():
            name = key if len(key) <= FLOOR else self.shorter_key(key, copy)
            self.pay(json_bytes(name) + 1)
            copy[name] = None  # keeps the order
            self.stack.append((copy, name, item, depth + 1))
        if len(kept) < len(value):
            marker = apart(CUT, copy)
            self.pay(json_bytes(marker) + 2)
            copy[marker] = self.marked(cut_marker(len(value) - len(kept), "entries"))
        return copy

    def shorter_key(self, key: str, taken: dict[str, JsonValue]) -> str:
        """A very long key, cut like a text if anything has to be cut."""
        if self.step is STEPS[0] and len(key) <= self.free:
            return key
        self.cut = True
        return apart(f"{key[:40]}{cut_marker(len(key) - 60)}{key[-20:]}", taken)

    def cut_texts(self) -> None:
        """Cut the longest texts to one common length, just short enough for all to fit."""
        level = water_level([size for size, *_ in self.long], self.free, self.step.floor)
        for size, holder, key, text in self.long:
            if size > level:
                holder[key] = cut_text(text, level)
                self.cut = True


def apart(name: str, taken: dict[str, JsonValue]) -> str:
    """`name`, or a numbered one if it is `taken`: different keys may become equal as text, or when they are cut."""
    if name not in taken:
        return name
    number = len(taken) + 1
    while f"{name} ({number})" in taken:
        number += 1
    return f"{name} ({number})"


def first_entries(value: dict[str, JsonValue], count: int) -> dict[str, JsonValue]:
    """The first entries of a dict, and the important ones among the others in place of the last of these."""
    first = list(islice(value, count))
    telling = [key for key in sorted(TELLING) if key in value and key not in first][:count]
    return {key: value[key] for key in (*first[: count - len(telling)], *telling)}


def water_level(sizes: list[int], free: int, floor: int) -> int:
    """The length to which all longer texts are cut. `floor` bytes of each are counted already; `free` is shared."""
    left = len(sizes)
    level = floor
    for size in sorted(sizes):
        if (size - level) * left > free:
            return level + free // left
        free -= (size - level) * left
        level = size
        left -= 1
    return level


def cut_text(text: str, max_bytes: int) -> str:
    """Head and tail of `text` around a marker, at most `max_bytes` as a JSON string."""
    room = max_bytes - json_bytes(cut_marker(len(text)))
    if room <= 0:
        return marker_within(max_bytes)
    head = within(text[: room // 2], room // 2)
    tail = within(text[len(text) - (room - room // 2) :], room - room // 2, keep_end=True)
    return f"{head}{cut_marker(len(text) - len(head) - len(tail))}{tail}"


def within(piece: str, room: int, *, keep_end: bool = False) -> str:
    """As much of `piece` as takes at most `room` bytes, from its beginning or its end."""
    while (size := json_bytes(piece) - 2) > room:
        count = min(len(piece) - 1, len(piece) * room // size)
        piece = piece[len(piece) - count :] if keep_end else piece[:count]
    return piece
