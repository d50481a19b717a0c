"""The live tail: one task looks at the sizes of the files, and tells every open page which trees have changed.

Nothing is locked and nothing is watched: a writer never notices. Without an open page nothing is looked at either.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from eventtree import diagnostics
from eventtree.journal import Journal

POLL_SECONDS = 0.25
BEAT_SECONDS = 15.0
"""An idle stream says something this often, so that a page that has gone is noticed."""
WAITING_MESSAGES = 64
"""A page that is this far behind is dropped: it comes again, and loads what it needs anew."""
MOST_PAGES = 64
MOST_NAMED = 200
"""Trees one message names; beyond it the page is told to look at all."""

BEGUN = {"trees": [], "all": False, "begun": True, "delivery": True}
"""How every stream begins: anything may have changed, what is shown is looked at again where it stands."""


class Tail:
    """What changes in a journal, for any number of pages."""

    def __init__(
        self, journal: Journal, changed: Callable[[], list[str]], idle: Callable[[], object] = lambda: None
    ) -> None:
        """`changed` reads what is new and says of which trees it is; `idle` is called where nothing is."""
        self.journal = journal
        self.changed = changed
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
        known = await asyncio.to_thread(self._sizes)
        await asyncio.to_thread(self.changed)  # what was there before is no news
        self._looks.set()
        while self._pages:
            await asyncio.sleep(POLL_SECONDS)
            try:
                sizes = await asyncio.to_thread(self._sizes)
                if sizes != known:
                    known, before = sizes, known
                    self._tell(await asyncio.to_thread(self._news, before, sizes))
                else:
                    await asyncio.to_thread(self.idle)
            except Exception as error:  # noqa: BLE001  (the boundary of the tail: the disk may refuse for a while)
                diagnostics.failed("the live tail", error)
        self._looks.clear()

    def _sizes(self) -> dict[str, int]:
        names = [name for name in self.journal.files.names() if name.endswith((".log", ".cursor", ".dead"))]
        return {name: self.journal.files.size(name) for name in names}

    def _news(self, before: dict[str, int], now: dict[str, int]) -> dict[str, object]:
        differ = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        logs = {name for name in differ if name.endswith(".log")}
        trees = self.changed() if logs else []
        is_less = any(now.get(name, 0) < before.get(name, 0) for name in logs)
        return {
            "trees": trees[:MOST_NAMED], "all": is_less or len(trees) > MOST_NAMED, "delivery": len(differ) > len(logs)
        }  # fmt: skip

    def _tell(self, news: dict[str, object]) -> None:
        for page in list(self._pages):
            try:
                page.put_nowait(f"data: {json.dumps(news)}\n\n")
            except asyncio.QueueFull:
                self._pages.discard(page)
                page.get_nowait()
                page.put_nowait(None)
