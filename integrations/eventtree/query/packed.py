"""Ids, numbers and places as the index stores them. They are most of its content, so they take few bytes.

The number of a tree contains its start. So the table of trees is in the order of the list, and any filter is one pass
over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

StoredId = bytes | str
"""An id: a UUID as its bytes, any other as text."""

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOWEST, HIGHEST = (f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "0f")

OF_ONE_MOMENT = 1 << 10
"""Trees that may begin in one microsecond; further ones are stored as begun in the next."""
LAST_START = 1 << 52
"""Microseconds since the epoch: the year 2112. A start after it, or before 1970, is damage."""
BEFORE = 1 << 30
ROOTED = BEFORE * OF_ONE_MOMENT
"""The number of a tree that began in 1970. Trees whose start is not known yet have lower numbers."""


def stored(tree_id: str) -> StoredId:
    """An id as the index stores it."""
    return bytes.fromhex(tree_id.replace("-", "")) if UUID.fullmatch(tree_id) else tree_id


def id_of(stored: StoredId) -> str:
    """The id of a stored one."""
    if isinstance(stored, str):
        return stored
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def with_affix(text: str) -> tuple[str, list[Any]]:
    """SQL, and its values, for ids that begin or end with a text, whatever its case."""
    text = text.lower()
    # Not `AND`, of which SQLite may ask the second first: where all of it is negated.
    sql, values = ["iif(typeof(id) = 'text', has_affix(id, ?), 0)"], list[Any]([text])
    if UUID.fullmatch(first := text + LOWEST[len(text) :]):
        sql.append("id BETWEEN ? AND ?")
        values += [stored(first), stored(text + HIGHEST[len(text) :])]
    if text and UUID.fullmatch(LOWEST[: -len(text)] + text):
        digits = text.replace("-", "").upper()
        whole = len(digits) // 2
        # The bytes are compared first: few ids are left whose digits have to be.
        sql.append("(substr(id, 17 - ?) = ? AND substr(hex(substr(id, ?)), ?) = ?)")
        values += [whole, bytes.fromhex(digits[len(digits) % 2 :]), -whole - 1, -len(digits), digits]
    return f"({' OR '.join(sql)})", values


def has_affix(stored: str, text: str) -> bool:
    """Whether an id that is no UUID begins or ends so: SQLite knows the case of ASCII only, and stops at a NUL."""
    whole = stored.lower()
    return whole.startswith(text) or whole.endswith(text)


def number_at(start: float) -> int:
    """The lowest number of a tree that began at `start`, in microseconds since the epoch."""
    return (int(min(max(start, 0), LAST_START)) + BEFORE) * OF_ONE_MOMENT


def start_of(number: int) -> int:
    """The start of the tree with a number, in microseconds since the epoch."""
    return number // OF_ONE_MOMENT - BEFORE


def packed(places: Sequence[int]) -> bytes:
    """Offsets and lengths of lines of one log, in order, as the gaps between the lines and their lengths."""
    data, end = bytearray(), places[0]
    for offset, length in zip(places[::2], places[1::2], strict=True):
        for number in (offset - end, length):
            while number > 127:
                data.append(number & 127 | 128)
                number >>= 7
            data.append(number)
        end = offset + length
    return bytes(data)


def unpacked(at: int, data: bytes) -> Iterator[tuple[int, int]]:
    """Offset and length of each line; the first line begins at `at`.

    Raises:
        ValueError: the data is damaged.
    """
    numbers, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(number)
            number, shift = 0, 0
    for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
        yield at + gap, length
        at += gap + length
