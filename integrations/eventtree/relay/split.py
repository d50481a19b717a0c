"""A log's bytes as chunks; with more partitions than one, its lines by their trees, as logs of their own.

`PROCESS.0003.log` becomes `PROCESS.PARTITION.0003.log` in each partition that has trees of it, with lines numbered
anew. That depends on nothing but the lines themselves, so that a relay which starts again makes the same bytes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from hashlib import blake2b

from eventtree.journal.line import frame, unframe
from eventtree.record import LOG, VERSION, encode
from eventtree.relay.port import CHUNK_BYTES, Chunk

LINE = re.compile(rb'[0-9a-f]{8} \d+ \{"r":"\w+","id":"[^"\\]*","tree":"([^"\\]*)"')
STATE = "split."
"""Prefix under which is kept how long a partition's log is, and the number of its next line."""

Placed = list[tuple[int, Chunk]]
"""Chunks with their partitions."""


def partition_of(tree_id: bytes, partitions: int) -> int:
    """The partition of a tree: the same for every relay."""
    return int.from_bytes(blake2b(tree_id, digest_size=8).digest(), "big") % partitions


def part_name(log: str, partition: int) -> str:
    """The log that a partition has of `log`."""
    process, number, _ = log.rsplit(".", 2)
    return f"{process}.{partition}.{number}.log"


def source_of(log: str) -> str:
    """The log of which `log` is a partition's, or itself."""
    process, *partition, number, _ = log.split(".")
    return f"{process}.{number}.log" if partition else log


def split(
    log: str, offset: int, data: bytes, kept: Mapping[str, str], partitions: int
) -> tuple[Placed, dict[str, str]]:
    """Whole lines of a log as chunks; and what is to be `kept` once all are published."""
    if partitions == 1:
        return _cut(0, log, offset, data), {}
    made: dict[int, bytearray] = defaultdict(bytearray)
    states: dict[int, tuple[int, int]] = {}
    for line in data.splitlines(keepends=True):
        found = LINE.match(line)
        if found is not None and not found[1]:
            continue  # sums of the whole log: each partition counts for itself
        number = 0 if found is None else partition_of(found[1], partitions)
        name = part_name(log, number)
        size, seq = states.get(number) or _state(kept, name)
        if not size and not made[number]:
            made[number] += frame(0, encode({"r": LOG, "id": name.rsplit(".", 2)[0], "tree": "", "eventtree": VERSION}))
        made[number] += line if found is None else _renumbered(line, seq)
        states[number] = (size, seq + 1)
    placed, after = [], {}
    for number, lines in made.items():
        name, (size, seq) = part_name(log, number), states[number]
        placed += _cut(number, name, size, bytes(lines))
        after[STATE + name] = f"{size + len(lines)} {seq}"
    return placed, after


def lengths(log: str, size: int, kept: Mapping[str, str], partitions: int) -> Placed:
    """How long a log is, or those that a split has made of it, as chunks without bytes."""
    if partitions == 1:
        return [(0, Chunk(log, size, b""))]
    names = ((number, part_name(log, number)) for number in range(partitions))
    return [(number, Chunk(name, _state(kept, name)[0], b"")) for number, name in names if STATE + name in kept]


def _cut(partition: int, log: str, offset: int, data: bytes) -> Placed:
    starts = range(0, len(data), CHUNK_BYTES)
    return [(partition, Chunk(log, offset + start, data[start : start + CHUNK_BYTES])) for start in starts]


def _state(kept: Mapping[str, str], name: str) -> tuple[int, int]:
    size, seq = kept.get(STATE + name, "0 1").split()
    return int(size), int(seq)


def _renumbered(line: bytes, seq: int) -> bytes:
    try:
        return frame(seq, unframe(line.rstrip(b"\n"))[1])
    except ValueError:
        return line  # damaged: it is counted where it arrives
