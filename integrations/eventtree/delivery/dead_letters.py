"""Dead letters: what a vendor refused, with its words, in lines like the journal's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pydantic_core

from eventtree.journal import Files, LineReader, frame
from eventtree.vendors import Item

WORDS = 500
"""Characters kept of a vendor's answer."""
HELD_BYTES = 16 * 1024 * 1024
"""Letters that may wait in memory for a disk that refuses; beyond that the vendor is not asked any further."""


class DeadLetters:
    """The refused items of one vendor (`VENDOR.FINGERPRINT.dead`)."""

    def __init__(self, files: Files, name: str) -> None:
        """Append to and read from `name`."""
        self.files = files
        self.name = name
        self._unwritten = bytearray()

    def add(self, items: Sequence[Item], status: int | None, words: str) -> None:
        """Keep refused items with the answer's status and the first of its words.

        Raises:
            OSError: the disk refuses, and too much waits in memory already.
        """
        at = time.time_ns()
        letters = b"".join(
            frame(
                seq,
                pydantic_core.to_json(
                    {
                        "tree": item.tree_id, "key": item.key, "events": list(item.event_ids), "route": item.route,
                        "path_params": dict(item.path_params),
                        "status": status, "words": words[:WORDS], "at": at,
                        "content": pydantic_core.from_json(item.content),
                    }
                ),
            )
            for seq, item in enumerate(items)
        )  # fmt: skip
        if len(self._unwritten) + len(letters) > HELD_BYTES:
            # Too much to hold: the disk has to take it now, or the vendor is not asked any further.
            self.files.append(self.name, bytes(self._unwritten))
            self._unwritten.clear()
        self._unwritten += letters
        self.persist()

    def persist(self) -> None:
        """Bring to the disk what it has refused so far."""
        if self._unwritten:
            try:
                self.files.append(self.name, bytes(self._unwritten))
            except OSError:
                return
            self._unwritten.clear()

    def keep(self, letters: Sequence[dict[str, Any]]) -> None:
        """Leave these letters and no others.

        Raises:
            OSError: the disk refuses; the old ones stay.
        """
        if letters:
            lines = (frame(seq, pydantic_core.to_json(letter)) for seq, letter in enumerate(letters))
            self.files.replace(self.name, b"".join(lines))
        else:
            self.files.remove(self.name)

    def read(self) -> list[dict[str, Any]]:
        """All letters, oldest first; of several on one item (the process died on burying it) the newest."""
        if self.files.size(self.name) == 0:
            return []
        reader = LineReader(self.files, self.name)
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        while lines := reader.read():
            for line in lines:
                letter = pydantic_core.from_json(line.payload)
                found[letter["tree"], letter["key"], *letter["events"]] = letter
        return list(found.values())
