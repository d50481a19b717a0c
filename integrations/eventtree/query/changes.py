"""What has changed in a journal since the last look: nothing is locked and nothing watched, a writer never notices."""

from __future__ import annotations

from typing import NamedTuple

from eventtree.journal import Journal
from eventtree.journal.scan import Scan


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
        """What is there now is no news.

        Raises:
            OSError: the disk refuses to read.
        """
        self.journal = journal
        self._sizes = self._looked()
        self._scan = Scan(journal, {name: size for name, size in self._sizes.items() if name.endswith(".log")})

    def look(self) -> News | None:
        """What is new; None where nothing is.

        Raises:
            OSError: the disk refuses to read.
        """
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
