"""The live tail: one task sends every open page the ids of changed trees. Without a page nothing is read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from eventtree import diagnostics
from eventtree.journal import Journal
from eventtree.journal.scan import Scan

POLL_SECONDS = 0.25
REST_SECONDS = 0.02
"""Pause between two pieces of idle work."""
BEAT_SECONDS = 15.0
"""An idle stream sends a comment this often, so that a closed page is noticed."""
WAITING_MESSAGES = 64
"""A page that is so many messages behind is dropped: it connects again, and reloads."""
MOST_PAGES = 64
MOST_NAMED = 200
"""Trees that one message names; with more, the page reloads its list."""

BEGUN = {"trees": [], "all": False, "begun": True, "delivery": True}
"""The first message of every stream: anything may have changed, so the page reloads what it shows."""


class News(NamedTuple):
    """The changes since the last look."""

    trees: list[str]
    """Ids of the trees that have new records."""
    all: bool
    """Whether any tree may have changed or gone, because a log was removed or cut."""
    delivery: bool
    """Whether a vendor's cursor or dead letters have changed."""


class Changes:
    """Compares the sizes of a journal's files, and reads the new lines."""

    def __init__(self, journal: Journal) -> None:
        """Start from the present state."""
        self.journal = journal
        self._sizes = self._current_sizes()
        self._scan = Scan(journal, {name: size for name, size in self._sizes.items() if name.endswith(".log")})

    def look(self) -> News | None:
        """The changes since the last look; None if there are none."""
        before, now = self._sizes, self._current_sizes()
        if before == now:
            return None
        self._sizes = now
        differ = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        logs = {name for name in differ if name.endswith(".log")}
        trees = list(dict.fromkeys(tree_id for _, _, tree_id, *_ in self._scan.read_all())) if logs else []
        is_less = any(now.get(name, 0) < before.get(name, 0) for name in logs)
        return News(trees, is_less, len(differ) > len(logs))

    def _current_sizes(self) -> dict[str, int]:
        names = [name for name in self.journal.files.names() if name.endswith((".log", ".cursor", ".dead"))]
        return {name: self.journal.files.size(name) for name in names}


class Tail:
    """Sends the changes of a journal to any number of pages."""

    def __init__(self, journal: Journal, idle: Callable[[], bool] = lambda: True) -> None:
        """`idle` does other work while nothing changes; once it returns True, it is called less often."""
        self.journal = journal
        self.idle = idle
        self.pages: set[asyncio.Queue[str | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_watching = asyncio.Event()
        """Set while changes are sent to the pages."""

    async def messages(self) -> AsyncIterator[str]:
        """Server-sent events, until the page closes or is too slow."""
        page: asyncio.Queue[str | None] = asyncio.Queue(WAITING_MESSAGES)
        self.pages.add(page)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            # Later messages lack the changes between the loading of the page and now: BEGUN makes it reload.
            await self._is_watching.wait()
            message: str | None = f"retry: 1000\ndata: {json.dumps(BEGUN)}\n\n"
            while message is not None:
                yield message
                try:
                    message = await asyncio.wait_for(page.get(), BEAT_SECONDS)
                except TimeoutError:
                    message = ": still here\n\n"
        finally:
            self.pages.discard(page)

    async def _watch(self) -> None:
        changes = await asyncio.to_thread(Changes, self.journal)
        self._is_watching.set()
        rests = True
        while self.pages:
            await asyncio.sleep(POLL_SECONDS if rests else REST_SECONDS)
            try:
                news = await asyncio.to_thread(changes.look)
                if news is None:
                    rests = await asyncio.to_thread(self.idle)
                else:
                    is_all = news.all or len(news.trees) > MOST_NAMED
                    self._send({"trees": news.trees[:MOST_NAMED], "all": is_all, "delivery": news.delivery})
            except Exception as error:  # noqa: BLE001  (the boundary of the tail: the disk may refuse for a while)
                diagnostics.failed("the live tail", error)
        self._is_watching.clear()

    def _send(self, news: dict[str, object]) -> None:
        for page in list(self.pages):
            try:
                page.put_nowait(f"data: {json.dumps(news)}\n\n")
            except asyncio.QueueFull:
                self.pages.discard(page)
                page.get_nowait()
                page.put_nowait(None)
