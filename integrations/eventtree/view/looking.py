"""Looking at a journal for the page: rows of the list, one tree as it stands now, and which trees have changed."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from typing import Any, NamedTuple

from eventtree import record
from eventtree.errors import ConfigError, JournalError
from eventtree.event import EventTree, Status
from eventtree.journal import Journal
from eventtree.journal.journal import process_of
from eventtree.journal.scan import Scan
from eventtree.journal.trees import ROOT_KINDS, load
from eventtree.query import Index, TreeRow
from eventtree.remembered import Remembered
from eventtree.tree.filter import Filter, quoted
from eventtree.tree.stored import fold_records
from eventtree.view.shape import RUNNING, Json, number, resumed_in

SEARCH_SECONDS = 2.0
"""What was found until then is shown, and the page asks again for the rest."""
FILL_SECONDS = 0.1
"""The index is filled behind the page in pieces, so that nobody waits for it for long."""
KEPT_TREES = 8
"""Trees that stay folded: one is asked for as often as somebody chooses another of its events."""
NEAR = 20
"""Trees of a session among which the one is looked for that goes on with a paused one."""


class Opened(NamedTuple):
    """One tree as it stands in the journal now."""

    tree: EventTree
    lines: Sequence[tuple[str, int, int]]
    """Log, offset and length of each of its records."""
    open: frozenset[str]
    """Ids of the runs that have not closed."""
    vendors: tuple[tuple[str, str], ...]
    """Name and fingerprint of each vendor that it names."""
    running: frozenset[str] = frozenset()
    """Of the open runs, those that may still end: their process lives."""

    @property
    def spans(self) -> dict[str, int]:
        """Log → where its last record ends there: how a vendor's cursor knows it."""
        return {log: offset + length for log, offset, length in sorted(self.lines)}


class Looking:
    """One journal, as the page looks at it: by the index that `ls` and `show` use. Safe for threads."""

    def __init__(self, journal: Journal, prices: Any = None) -> None:
        """Open the index; nothing is read yet.

        Raises:
            ConfigError: the prices are wrong.
        """
        self.journal = journal
        self.index = Index(journal, prices)
        self._folded: Remembered[str, Opened] = Remembered(KEPT_TREES)
        self._scan: Scan | None = None
        self._lock = RLock()

    def page(self, chosen: Filter, before: str | None, limit: int) -> Json:
        """Some rows of the list, the newest first; `next` is where another page goes on.

        Raises:
            ConfigError: `before` is no such place.
        """
        try:
            place = None if not before else int(before)
        except ValueError:
            raise ConfigError("before", f"{before!r} is no end of a page", "Leave it out") from None
        found = self.index.search(chosen, before=place, limit=limit, seconds=SEARCH_SECONDS)
        # As text: a page's numbers are not long enough.
        beyond = None if found.next is None else str(found.next)
        return {"rows": [row_of(row) for row in found.rows], "next": beyond, "certain": found.is_certain}

    def tree(self, tree_id: str) -> Opened:
        """One tree, folded anew only where it has grown.

        Raises:
            JournalError: there is no tree of that id.
        """
        found = self.index.lines(tree_id)
        with self._lock:
            known = self._folded.get(tree_id)
        if known is None or found is None or known.lines != found[1]:
            known = self._fold(tree_id, found[1] if found and found[0] == tree_id else ())
            with self._lock:
                self._folded.keep(tree_id, known)
        is_alive = known.open and any(map(self.journal.is_alive, {process_of(log) for log in known.spans}))
        return known._replace(running=known.open) if is_alive else known

    def _fold(self, tree_id: str, lines: Sequence[tuple[str, int, int]]) -> Opened:
        records = list(load(self.journal, lines))
        tree = fold_records(tree_id, records, self.index.pricer)
        if tree is None:
            raise JournalError(f"no tree {tree_id} in this journal")
        heads = {kind: {one["id"] for one in records if one["r"] == kind} for kind in (record.OPEN, record.CLOSE)}
        # Of parts alone, whose root another machine has, each names its own vendors.
        roots = [one for one in records if one["id"] == tree_id and one["r"] in ROOT_KINDS] or records
        vendors = {(ref["name"], ref["fingerprint"]): None for one in roots for ref in record.refs_of(one) or ()}
        return Opened(tree, lines, frozenset(heads[record.OPEN] - heads[record.CLOSE]), tuple(vendors))

    def resumed_by(self, opened: Opened) -> str | None:
        """The tree that goes on with this one, where this one was paused."""
        root = opened.tree.root
        paused = any(event.status is Status.INTERRUPTED for event in opened.tree.events)
        if not paused or root.session_id is None:
            return None
        later = Filter.parse(f"session:{quoted(root.session_id)} since:{quoted(root.start.isoformat())}")
        rows = self.index.search(later, limit=NEAR, seconds=SEARCH_SECONDS).rows
        return next((row.id for row in rows if resumed_in(self.tree(row.id).tree) == root.id), None)

    def changed(self) -> list[str]:
        """Ids of the trees that have records since the last call; of the first call, none."""
        with self._lock:
            if self._scan is None:
                self._scan = Scan(self.journal, {log: self.journal.files.size(log) for log in self.journal.logs()})
            return list(dict.fromkeys(entry.tree_id for entry in self._scan.read_all()))

    def fill(self) -> bool:
        """Go on filling the index for a moment; True once it is full."""
        return self.index.refresh(FILL_SECONDS)


def row_of(row: TreeRow) -> Json:
    """A row of the list."""
    status = RUNNING if row.running and row.status == Status.INCOMPLETE else row.status
    return {
        "id": row.id, "name": row.name, "kind": row.kind, "status": status, "session": row.session,
        "start": row.start.timestamp(), "duration": row.duration, "models": list(row.models),
        "tokens": row.tokens, "usd": number(row.usd), "unpriced": row.unpriced,
    }  # fmt: skip
