"""Ids, numbers and places as the index stores them: they are most of what it holds, and take as few bytes as they can.

The number of a tree says when it began. So the table of trees stands in the order of the list, and a filter is one pass
over it, whatever it asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

StoredId = bytes | str
"""An id: the bytes of a UUID that is written as usual, any other as it is."""

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOWEST, HIGHEST = (f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "0f")

OF_ONE_MOMENT = 1 << 10
"""Trees that may begin in one microsecond; those beyond it are shown to have begun in the next."""
LAST_START = 1 << 52
"""Microseconds since the epoch: from 1970 to 2112. What lies outside is damage."""
BEFORE = 1 << 30
ROOTED = BEFORE * OF_ONE_MOMENT
"""The number of a tree that began in 1970. Lower are those of trees whose beginning is not known yet."""


def stored(tree_id: str) -> StoredId:
    """An id as it is stored."""
    return bytes.fromhex(tree_id.replace("-", "")) if UUID.fullmatch(tree_id) else tree_id


def id_of(stored: StoredId) -> str:
    """The id that was stored so."""
    if isinstance(stored, str):
        return stored
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def at_an_end(text: str) -> tuple[str, list[Any]]:
    """SQL, and its values, for ids that begin or end with a text, in whatever case."""
    text = text.lower()
    sql, values = ["(typeof(id) = 'text' AND has_at_an_end(id, ?))"], list[Any]([text])
    if UUID.fullmatch(first := text + LOWEST[len(text) :]):
        sql.append("id BETWEEN ? AND ?")
        values += [stored(first), stored(text + HIGHEST[len(text) :])]
    if text and UUID.fullmatch(LOWEST[: -len(text)] + text):
        digits = text.replace("-", "").upper()
        whole = len(digits) // 2
        # The bytes first: they leave few whose digits are looked at.
        sql.append("(substr(id, 17 - ?) = ? AND substr(hex(substr(id, ?)), ?) = ?)")
        values += [whole, bytes.fromhex(digits[len(digits) % 2 :]), -whole - 1, -len(digits), digits]
    return f"({' OR '.join(sql)})", values


def has_at_an_end(stored: str, text: str) -> bool:
    """What that SQL asks of ids that are no UUIDs: SQLite knows the cases of ASCII alone, and reads to a NUL."""
    whole = stored.lower()
    return whole.startswith(text) or whole.endswith(text)


def number_at(start: float) -> int:
    """The lowest number of a tree that began then, in microseconds since the epoch."""
    return (int(min(max(start, 0), LAST_START)) + BEFORE) * OF_ONE_MOMENT


def start_of(number: int) -> int:
    """When the tree of a number began, in microseconds since the epoch."""
    return number // OF_ONE_MOMENT - BEFORE


def packed(places: Sequence[int]) -> bytes:
    """Offset and length of lines of one log, in their order, as what stands between them and how long they are."""
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
    """Offset and length of each line; the first one stands `at`.

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
