"""`trees` and `last_tree`: what a journal holds, for Python and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from eventtree import config, process
from eventtree.config import MEMORY
from eventtree.errors import JournalError
from eventtree.event import EventTree
from eventtree.journal import Journal, open_journal
from eventtree.notebook import MOST_TREES, rows_html
from eventtree.query.index import Index
from eventtree.query.row import TreeRow
from eventtree.query.search import Cursor
from eventtree.summary import clock, number, plural, seconds, shorten, usd
from eventtree.tree.filter import Filter, quoted

AT_ONCE = 100
HEADINGS = ("began", "name", "status", "events", "tokens", "cost", "duration", "session", "user", "tree")

_indexes: dict[Journal, tuple[Any, Index]] = {}
"""Journal → its open index, with the prices and the tokenizer of that. A notebook asks for the same again and again."""


class Trees:
    """Trees of a journal, newest first, each read when it is reached. Iterating again also finds newer trees."""

    def __init__(self, journal: Journal, chosen: Filter) -> None:
        """The trees that a filter chooses."""
        self._journal = journal
        self._chosen = chosen

    def __iter__(self) -> Iterator[EventTree]:
        """Read one tree after the other."""
        index = index_of(self._journal)
        for row in self.rows():
            tree = index.tree(row.id)
            if tree is not None:
                yield tree

    def rows(self) -> Iterator[TreeRow]:
        """The row of each tree. Trees are read only if the filter has free text."""
        process.settle()
        before: Cursor | None = None
        while True:
            page = index_of(self._journal).search(self._chosen, before=before, limit=AT_ONCE)
            yield from page.rows
            before = page.next
            if before is None:
                return

    def to_rows(self) -> list[dict[str, Any]]:
        """Dicts of plain values, for `pandas.DataFrame(rows)` or `polars.DataFrame(rows, infer_schema_length=None)`."""
        return [row.plain for row in self.rows()]

    def __repr__(self) -> str:
        folder = getattr(self._journal.files, "folder", MEMORY)
        return f"<Trees of {folder}{f' where {self._chosen.words}' if self._chosen.words else ''}>"

    def __rich__(self) -> Any:
        from eventtree.terminal import RowsView

        return RowsView(self._first()[0])

    def _repr_html_(self) -> str:
        rows, more = self._first()
        cells = [
            (clock(row.start, date=True), shorten(row.name, 60), "running" if row.running else row.status, row.events,
             number(row.tokens), usd(row.usd), seconds(row.duration), row.session, row.user, row.id)
            for row in rows
        ]  # fmt: skip
        return rows_html(HEADINGS, cells, "and more" if more else plural(len(rows), "tree"))

    def _first(self) -> tuple[tuple[TreeRow, ...], bool]:
        process.settle()
        page = index_of(self._journal).search(self._chosen, limit=MOST_TREES)
        return page.rows, page.next is not None


def trees(
    journal: str | Path | Journal | None = None,
    *,
    session: str | None = None,
    user: str | None = None,
    since: str | datetime | timedelta | None = None,
    where: str | Filter = "",
) -> Trees:
    """The trees of a journal (default: the configured one), newest first, lazily.

    `session` and `user` are full names; `since` is a time, or how long ago: `"1h"`, `timedelta(days=7)`. `where` is a
    filter, `status:error model:gpt-4o cost>0.01 "some text"`: see `eventtree.tree.filter`.

    Raises:
        ConfigError: a word of the filter is wrong.
        JournalError: the journal does not exist.
    """
    chosen = where if isinstance(where, Filter) else Filter.parse(where)
    for word, value in (("session", session), ("user", user)):
        if value is not None:
            chosen &= Filter.named(word, value)
    if isinstance(since, timedelta):
        since = datetime.now(UTC) - since
    if since is not None:
        chosen &= Filter.parse(f"since:{quoted(since.isoformat() if isinstance(since, datetime) else since)}")
    return Trees(journal if isinstance(journal, Journal) else journal_of(journal), chosen)


def last_tree(journal: str | Path | Journal | None = None) -> EventTree | None:
    """The tree that began last; None if there is none yet."""
    return next(iter(trees(journal)), None)


def journal_of(folder: str | Path | None) -> Journal:
    """The journal of an existing folder.

    Raises:
        JournalError: the folder does not exist.
    """
    name = config.resolve(journal=folder).folder
    if name != MEMORY and not Path(name).expanduser().is_dir():
        raise JournalError(
            f"no journal at {name}. Record something first, or name another with journal= or --journal DIR"
        )
    return open_journal(name)


def index_of(journal: Journal) -> Index:
    """The index of a journal, kept open in this process until the configured prices or tokenizer change."""
    settings = config.resolve()
    pricing = (settings.prices, settings.tokenizer)
    known = _indexes.get(journal)
    if known is None or known[0] != pricing:
        if known is not None:
            known[1].close()
        known = _indexes[journal] = (pricing, Index(journal))
    return known[1]


def close_indexes() -> None:
    """Close the indexes that `trees` has opened; it opens them again when needed."""
    for _, index in _indexes.values():
        index.close()
    _indexes.clear()


process.at_exit("index", close_indexes)
process.after_fork("index", _indexes.clear)
