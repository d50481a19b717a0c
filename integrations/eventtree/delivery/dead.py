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


class DeadLetters:
    """The refused items of one vendor (`VENDOR.FINGERPRINT.dead`)."""

    def __init__(self, files: Files, name: str) -> None:
        """Append to and read from `name`."""
        self.files = files
        self.name = name

    def add(self, items: Sequence[Item], status: int | None, words: str) -> None:
        """Keep refused items with the answer's status and the first of its words."""
        at = time.time_ns()
        letters = b"".join(
            frame(
                seq,
                pydantic_core.to_json(
                    {
                        "tree": item.tree_id, "key": item.key, "events": list(item.event_ids), "route": item.route,
                        "status": status, "words": words[:WORDS], "at": at,
                        "content": pydantic_core.from_json(item.content),
                    }
                ),
            )
            for seq, item in enumerate(items)
        )  # fmt: skip
        self.files.append(self.name, letters)

    def read(self) -> list[dict[str, Any]]:
        """All letters, oldest first."""
        if self.files.size(self.name) == 0:
            return []
        reader = LineReader(self.files, self.name)
        found: list[dict[str, Any]] = []
        while lines := reader.read():
            found.extend(pydantic_core.from_json(line.payload) for line in lines)
        return found
