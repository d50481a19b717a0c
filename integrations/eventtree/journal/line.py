"""Lines as they stand in a file: `crc32 seq json\\n`. Framing, and reading that survives damage at any byte."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from zlib import crc32

from eventtree.journal.files import Files
from eventtree.pace import paced

READ_BYTES = 256 * 1024
"""One read; a longer line is read on its own."""


def frame(seq: int, payload: bytes) -> bytes:
    """A line: checksum, sequence number and payload."""
    number = b"%d " % seq
    # The checksum is carried on from the number to the payload, so that a payload of megabytes is copied once.
    return b"%08x %b%b\n" % (crc32(payload, crc32(number)), number, payload)


SPACE = ord(" ")


def unframe(line: bytes) -> tuple[int, bytes]:
    """Sequence number and payload of a line without its newline.

    Raises:
        ValueError: the checksum does not fit or the form is wrong.
    """
    body = line[9:]
    if len(line) < 12 or line[8] != SPACE or int(line[:8], 16) != crc32(body):
        raise ValueError("damaged line")
    seq, _, payload = body.partition(b" ")
    return int(seq), payload


LONG = 1024
"""Bytes. A line beyond them is part of its file's checksum by its own one: whoever writes it sums it up once."""


def checksum(data: bytes) -> int:
    """The checksum of whole lines: of each that is not long, and of the checksums of those that are.

    Raises:
        ValueError: a long line is damaged.
    """
    found = begin = at = 0
    while at < len(data):
        end = data.rfind(b"\n", at, at + LONG)  # the last of some short lines
        if end < 0:
            end = data.find(b"\n", at + LONG)
            unframe(data[at:end])
            found = crc32(data[at : at + 8], crc32(data[begin:at], found))
            begin = end + 1
        at = end + 1
    return crc32(data[begin:], found)


NOTED_DAMAGE = 10_000


class Damage:
    """The damage found in a file, by offset. `lost` counts lines that are gone, by the gaps in the sequence."""

    __slots__ = ("bad_lines", "lost", "places")

    def __init__(self) -> None:
        """Nothing yet."""
        self.bad_lines = 0
        self.lost = 0
        self.places: list[tuple[int, int, int]] = []
        """Offset, bad lines, lost lines: the first thousands of them."""

    def add(self, offset: int, bad_lines: int, lost: int) -> None:
        """Something is broken at `offset`."""
        self.bad_lines += bad_lines
        self.lost += lost
        if len(self.places) < NOTED_DAMAGE:
            self.places.append((offset, bad_lines, lost))

    def before(self, offset: int) -> tuple[int, int]:
        """Bad and lost lines that stand before `offset`."""
        found = [(bad, lost) for at, bad, lost in self.places if at < offset]
        return sum(bad for bad, _ in found), sum(lost for _, lost in found)


class Line(NamedTuple):
    """A whole line: where it stands, and its payload."""

    name: str
    offset: int
    length: int
    seq: int
    payload: bytes


_line: Callable[[tuple[str, int, int, int, bytes]], Line] = partial(
    tuple.__new__, Line
)  # as the class makes it, sooner


class LineReader:
    """Follows one file from an offset; each call of `read` yields the whole lines that came since the last."""

    def __init__(self, files: Files, name: str, offset: int = 0) -> None:
        """Start at `offset`, which is the start of a line."""
        self.files = files
        self.name = name
        self.offset = offset
        self.next_seq: int | None = None
        self.damage = Damage()

    def read(self, limit: int = READ_BYTES) -> list[Line]:
        """The next whole lines, up to about `limit` bytes; a torn last line stays for a later call.

        Raises:
            OSError: the file cannot be read.
        """
        data = self.files.read(self.name, self.offset, limit)
        end = data.rfind(b"\n") + 1
        while end == 0 and len(data) == limit:
            limit *= 4
            data = self.files.read(self.name, self.offset, limit)
            end = data.rfind(b"\n") + 1
        lines = self._lines(data[:end])
        self.offset += end
        return lines

    def last_words(self) -> list[Line]:
        """The bytes after the last newline of a writer that is gone: a whole line, or a damaged one."""
        data = self.files.read(self.name, self.offset, self.files.size(self.name) - self.offset)
        if not data or b"\n" in data:
            return []
        lines = self._lines(data + b"\n")
        self.offset += len(data)
        return lines

    def _lines(self, data: bytes) -> list[Line]:
        found, name, offset = [], self.name, self.offset
        for line in paced(data.split(b"\n")[:-1]):
            length = len(line) + 1
            try:
                seq, payload = unframe(line)
            except ValueError:
                self.damage.add(offset, 1, 0)
            else:
                if self.next_seq is not None and seq > self.next_seq:
                    self.damage.add(offset, 0, seq - self.next_seq)
                self.next_seq = seq + 1
                found.append(_line((name, offset, length, seq, payload)))
            offset += length
        return found
