"""More than one partition: the lines of a log, by their trees, as logs of their own.

`PROCESS.0003.log` becomes `PROCESS.PARTITION.0003.log` in each partition that has trees of it, with lines numbered
anew. That depends on nothing but the lines themselves, so that a relay which starts again makes the same bytes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from hashlib import blake2b

from eventtree.journal.line import frame, unframe
from eventtree.record import encode, log_line
from eventtree.relay.port import CHUNK_BYTES, Chunk

LINE = re.compile(rb'[0-9a-f]{8} \d+ \{"r":"\w+","id":"[^"\\]*","tree":"([^"\\]*)"')
STATE = "split."
"""Prefix under which is kept how long a log that a split made is, and the number of its next line."""


def partition_of(tree_id: bytes, partitions: int) -> int:
    """The partition of a tree: the same for every relay."""
    return int.from_bytes(blake2b(tree_id, digest_size=8).digest(), "big") % partitions


def part_name(log: str, partition: int) -> str:
    """The log that a partition has of `log`."""
    process, number, _ = log.rsplit(".", 2)
    return f"{process}.{partition}.{number}.log"


def source_of(part: str) -> str:
    """The log of which `part` is a partition's."""
    process, _, number, _ = part.rsplit(".", 3)
    return f"{process}.{number}.log"


def split(
    log: str, data: bytes, kept: Mapping[str, str], partitions: int
) -> tuple[list[tuple[int, Chunk]], dict[str, str]]:
    """Whole lines of a log as chunks with their partitions; and what is to be `kept` once all are published."""
    made: dict[int, bytearray] = defaultdict(bytearray)
    states: dict[int, tuple[int, int]] = {}
    for line in data.splitlines(keepends=True):
        found = LINE.match(line)
        if found is not None and not found[1]:
            continue  # sums of the whole log: each partition counts for itself
        number = 0 if found is None else partition_of(found[1], partitions)
        size, seq = states.get(number) or _state(kept, part_name(log, number))
        if not size and not made[number]:
            made[number] += frame(0, _header(part_name(log, number)))
        made[number] += line if found is None else _renumbered(line, seq)
        states[number] = (size, seq + 1)
    chunks = [
        (number, Chunk(part_name(log, number), states[number][0] + start, bytes(lines[start : start + CHUNK_BYTES])))
        for number, lines in made.items()
        for start in range(0, len(lines), CHUNK_BYTES)
    ]
    after = {n: (states[n][0] + len(lines), states[n][1]) for n, lines in made.items()}
    return chunks, {STATE + part_name(log, number): f"{size} {seq}" for number, (size, seq) in after.items()}


def parts_of(log: str, kept: Mapping[str, str]) -> dict[str, int]:
    """The logs that a split has made of `log`, and their sizes."""
    names = (key.removeprefix(STATE) for key in kept if key.startswith(STATE))
    return {name: _state(kept, name)[0] for name in names if source_of(name) == log}


def _state(kept: Mapping[str, str], name: str) -> tuple[int, int]:
    size, seq = kept.get(STATE + name, "0 1").split()
    return int(size), int(seq)


def _renumbered(line: bytes, seq: int) -> bytes:
    try:
        return frame(seq, unframe(line.rstrip(b"\n"))[1])
    except ValueError:
        return line  # damaged: it is counted where it arrives


def _header(part: str) -> bytes:
    """A log's first line, without sums: what is recorded for a partition is counted by its records."""
    return encode({**log_line(part.rsplit(".", 2)[0], 0, 0, {}, {}, 0), "exact": False})
