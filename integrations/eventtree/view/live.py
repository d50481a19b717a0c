"""The live tail: one task tells every open page which trees have changed. Without a page nothing is looked at."""

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
"""Between two pieces of work where nothing is new."""
BEAT_SECONDS = 15.0
"""An idle stream says something this often, so that a page that has gone is noticed."""
WAITING_MESSAGES = 64
"""A page that is this far behind is dropped: it comes again, and loads what it needs anew."""
MOST_PAGES = 64
MOST_NAMED = 200
"""Trees one message names; beyond it the page is told to look at all."""

BEGUN = {"trees": [], "all": False, "begun": True, "delivery": True}
"""How every stream begins: anything may have changed, what is shown is looked at again where it stands."""


class News(NamedTuple):
    """What has changed."""

    trees: list[str]
    """Ids of the trees that have new records."""
    all: bool
    """Whether any tree may have changed, or be gone: something was taken out of the logs."""
    delivery: bool
    """Whether a vendor has got further, or has refused something."""


class Changes:
    """Looks at the sizes of a journal's files, and reads what is new."""

    def __init__(self, journal: Journal) -> None:
        """What is there now is no news."""
        self.journal = journal
        self._sizes = self._looked()
        self._scan = Scan(journal, {name: size for name, size in self._sizes.items() if name.endswith(".log")})

    def look(self) -> News | None:
        """What is new; None where nothing is."""
        before, now = self._sizes, self._looked()
        if before == now:
            return None
        self._sizes = now
        differ = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        logs = {name for name in differ if name.endswith(".log")}
        trees = list(dict.fromkeys(entry.tree_id for entry in self._scan.read_all())) if logs else []
        is_less = any(now.get(name, 0) < before.get(name, 0) for name in logs)
        return News(trees, is_less, len(differ) > len(logs))

    def _looked(self) -> dict[str, int]:
        names = [name for name in self.journal.files.names() if name.endswith((".log", ".cursor", ".dead"))]
        return {name: self.journal.files.size(name) for name in names}


class Tail:
    """What changes in a journal, for any number of pages."""

    def __init__(self, journal: Journal, idle: Callable[[], bool] = lambda: True) -> None:
        """`idle` is called where nothing is new, soon again unless it says that nothing is left to do."""
        self.journal = journal
        self.idle = idle
        self._pages: set[asyncio.Queue[str | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._looks = asyncio.Event()
        """Set while what comes is told."""

    @property
    def is_full(self) -> bool:
        """Whether no more pages are told."""
        return len(self._pages) >= MOST_PAGES

    async def messages(self) -> AsyncIterator[str]:
        """Server-sent events, until the page goes or is too slow."""
        page: asyncio.Queue[str | None] = asyncio.Queue(WAITING_MESSAGES)
        self._pages.add(page)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            # What was recorded since the page was loaded, and before anybody looked, is told by no later message.
            await self._looks.wait()
            message: str | None = f"retry: 1000\ndata: {json.dumps(BEGUN)}\n\n"
            while message is not None:
                yield message
                try:
                    message = await asyncio.wait_for(page.get(), BEAT_SECONDS)
                except TimeoutError:
                    message = ": still here\n\n"
        finally:
            self._pages.discard(page)

    async def _look(self) -> None:
        changes = await asyncio.to_thread(Changes, self.journal)
        self._looks.set()
        rests = True
        while self._pages:
            await asyncio.sleep(POLL_SECONDS if rests else REST_SECONDS)
            try:
                news = await asyncio.to_thread(changes.look)
                if news is None:
                    rests = await asyncio.to_thread(self.idle)
                else:
                    is_all = news.all or len(news.trees) > MOST_NAMED
                    self._tell({"trees": news.trees[:MOST_NAMED], "all": is_all, "delivery": news.delivery})
            except Exception as error:  # noqa: BLE001  (the boundary of the tail: the disk may refuse for a while)
                diagnostics.failed("the live tail", error)
        self._looks.clear()

    def _tell(self, news: dict[str, object]) -> None:
        for page in list(self._pages):
            try:
                page.put_nowait(f"data: {json.dumps(news)}\n\n")
            except asyncio.QueueFull:
                self._pages.discard(page)
                page.get_nowait()
                page.put_nowait(None)
