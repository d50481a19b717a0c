"""The queue of due trees for one vendor, bounded in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from eventtree.delivery.feed import Folder
from eventtree.journal.trees import LoggedTree, joined

AHEAD_TREES = 2_000
AHEAD_RECORDS = 100_000
"""Due trees, and their records, that may wait in memory while a vendor is away."""


class DueTrees:
    """A queue with each tree once: a later part is added to the part that waits, and both are sent together."""

    def __init__(self, folder: Folder) -> None:
        """Start empty. `folder` forgets a tree's fold if it leaves the queue unsent."""
        self.folder = folder
        self.ids: dict[str, LoggedTree] = {}
        """The trees of the queue by id."""
        self._queue: deque[LoggedTree] = deque()
        self._records = 0

    def __iter__(self) -> Iterator[LoggedTree]:
        """The trees, oldest first."""
        return iter(self._queue)

    def __len__(self) -> int:
        """How many trees wait."""
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether no more trees may wait in memory."""
        return len(self._queue) >= AHEAD_TREES or self._records >= AHEAD_RECORDS

    def append(self, tree: LoggedTree) -> None:
        """Put a tree behind all others."""
        self._queue.append(tree)
        self._count(tree)

    def join(self, part: LoggedTree) -> bool:
        """Add a part to its tree, if that waits, in the same place of the queue; False if it does not."""
        waiting = self.ids.get(part.id)
        if waiting is None:
            return False
        whole = joined(waiting, part)
        self.folder.forget([waiting])
        self._queue[self._queue.index(waiting)] = self.ids[part.id] = whole
        self._records += part.records
        return True

    def take(self, events: int) -> list[LoggedTree]:
        """Remove the oldest trees, of about that many events together, and return them."""
        taken: list[LoggedTree] = []
        while self._queue and events > 0:
            tree = self._queue.popleft()
            self.ids.pop(tree.id, None)
            self._records -= tree.records
            events -= max(1, tree.events)
            taken.append(tree)
        return taken

    def put_back(self, trees: Iterable[LoggedTree], *, behind: bool = False) -> None:
        """Queue trees again that were not settled, before all others or `behind` them."""
        for tree in trees if behind else reversed(list(trees)):
            waiting = self.ids.get(tree.id)
            if waiting is not None:
                self._queue.remove(waiting)
                self._records -= waiting.records
                self.folder.forget([waiting])
                tree = joined(tree, waiting)
            (self._queue.append if behind else self._queue.appendleft)(tree)
            self._count(tree)

    def clear(self) -> None:
        """Forget all trees: the consumer reads them again."""
        self.folder.forget(self._queue)
        self._queue.clear()
        self.ids.clear()
        self._records = 0

    def _count(self, tree: LoggedTree) -> None:
        self.ids[tree.id] = tree
        self._records += tree.records
