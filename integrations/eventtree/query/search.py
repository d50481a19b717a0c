"""One search in the index: the newest rows that a filter chooses. The index is filled as far as the answer needs.

A filter becomes SQL (`Condition`), which gives the answer of `Filter.matches` for 250,000 rows at once. Words that
compare texts are judged in Python, once for each `Shape`; SQL then compares numbers. Free text is in no column: the
trees of rows that fit otherwise are read and judged.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from eventtree import record
from eventtree.journal.folder import process_of
from eventtree.journal.trees import bytes_at, load
from eventtree.kinds import Status
from eventtree.query.fill import NEVER, Filler
from eventtree.query.packed import id_of, number_at, start_of, with_affix
from eventtree.query.row import COLUMNS, Shape, TreeRow
from eventtree.tree import filter as words
from eventtree.tree.filter import NUMBER_WORDS, Filter, Term
from eventtree.tree.stored import fold_records

Cursor = int
"""The end of a page: the number of its last row."""
Columns = tuple[Any, ...]
"""A row: its number, and `COLUMNS`."""

ALL = Filter()
LAST = (1 << 63) - 1
"""No tree has a higher number."""
READ_AT_ONCE = 200
"""Rows whose trees are read and judged at once when the filter has free text."""
FILL_FACTOR = 4.0
"""Before the rows are asked again, the index is filled for this many times the duration of the last query."""
SELECTED = f"SELECT tree, {', '.join(COLUMNS)} FROM trees"


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, newest first."""

    rows: tuple[TreeRow, ...]
    next: Cursor | None
    """The value of `before=` for the next page; None after the last."""
    is_certain: bool
    """Whether no tree is missing; False if time ran out before the logs were read that far."""


class Search:
    """Searches the rows, and fills the index until the answer is certain."""

    def __init__(self, filler: Filler) -> None:
        """Search the index that `filler` fills."""
        self._filler = filler
        self._db = filler.db
        self._shapes: dict[int, Shape] = {}

    def page(self, chosen: Filter, before: Cursor | None, limit: int, end: float) -> Page:
        """Up to `limit` rows beyond `before`, by the time `end`; see `Index.search`."""
        limit = max(1, min(limit, LAST))
        judged: dict[int, bool] = {}
        self._filler.look()
        while True:
            horizon = self._filler.horizon()
            began = time.monotonic()
            found, examined = self._matching(chosen, before, limit, end, judged)
            now = time.monotonic()
            is_certain = horizon == NEVER or (len(found) >= limit and start_of(found[-1][0]) > horizon)
            if is_certain or now >= end:
                break
            # So most of the time goes into filling, not into repeated queries.
            until = min(end, now + FILL_FACTOR * (now - began))
            self._filler.step()
            while time.monotonic() < until and self._filler.horizon() != NEVER:
                self._filler.step()
        is_last = is_certain and examined is None
        return Page(tuple(map(self.row, found)), None if is_last else examined or before, is_certain)

    def _matching(
        self, chosen: Filter, before: Cursor | None, limit: int, end: float, judged: dict[int, bool]
    ) -> tuple[list[Columns], Cursor | None]:
        """Columns of the newest rows chosen, and the number of the last row examined; None if it is the last of all."""
        condition = self.condition(chosen)
        by_text = any(term.word == words.TEXT for terms in chosen.choices for term in terms)  # rows must be read
        at_once = READ_AT_ONCE if by_text else limit
        found: list[Columns] = []
        while True:
            sql = f"{SELECTED} WHERE ({condition.sql}) AND tree < ? ORDER BY tree DESC LIMIT ?"
            beyond = LAST if before is None else min(before, LAST)
            rows: list[Columns] = self._db.execute(sql, (*condition.values, beyond, at_once)).fetchall()
            for row in rows:
                before = row[0]
                if not by_text or self._is_chosen(row, chosen, judged):
                    found.append(row)
                if len(found) >= limit or (by_text and time.monotonic() >= end):
                    return found, before
            if len(rows) < at_once:
                return found, None

    def _is_chosen(self, row: Columns, chosen: Filter, judged: dict[int, bool]) -> bool:
        """Whether a tree has the texts. Its bytes rule out most trees quickly; the others are folded."""
        number, stored_id, shape = row[:3]
        if number not in judged:
            journal, places = self._filler.journal, self._filler.places(number)
            wanted = [record.encode(text)[1:-1].decode() for text in needles(chosen)]
            texts = (data.decode("utf-8", "replace").lower() for data in bytes_at(journal, places))
            may_have = not wanted or any(one in text for text in texts for one in wanted)
            tree = fold_records(id_of(stored_id), load(journal, places), self._filler.pricing) if may_have else None
            judged[number] = tree is not None and chosen.matches(tree, self.vendors(shape))
        return judged[number]

    def vendors(self, shape: int) -> list[str]:
        """Names of the vendors of a shape."""
        return list(self._shapes[shape].texts("vendor"))

    def condition(self, chosen: Filter) -> Condition:
        """A filter as SQL over the present rows."""
        newest = max(self._shapes, default=0)
        for number, text in self._db.execute("SELECT id, text FROM shapes WHERE id > ?", (newest,)):
            self._shapes[number] = Shape.read(text)
        condition = Condition(chosen, self._shapes)
        self._db.create_function("fits", 2, condition.fits)
        return condition

    def row(self, row: Columns) -> TreeRow:
        """The `TreeRow` of a row's columns."""
        if row[2] not in self._shapes:
            self.condition(ALL)
        shape = self._shapes[row[2]]
        running = Status.INCOMPLETE in shape.status and any(
            self._filler.journal.is_alive(process_of(log)) for log in {log for log, *_ in self._filler.places(row[0])}
        )
        return TreeRow.of(row, shape, running=running)


NUMBERS: Mapping[str, str] = {**{word: word for word in NUMBER_WORDS}, "cost": "CAST(usd AS REAL)"}
"""Word → the column it compares."""
OWN_COLUMNS = ("session", "user")
"""Words whose texts have a column of their own, since each tree may have another."""


class Condition:
    """A filter as SQL. It chooses the filter's rows; free text counts as found, and is left to the caller."""

    def __init__(self, chosen: Filter, shapes: Mapping[int, Shape]) -> None:
        """Judge all shapes by the filter's words."""
        self.shapes = shapes
        """All shapes of the present rows."""
        self.values: list[Any] = []
        """The values of the question marks in `sql`."""
        self.terms: list[Term] = []
        """The terms that `sql` checks by `fits(NUMBER, TEXT)`."""
        choices = [" AND ".join(map(self._one, terms)) or "1" for terms in chosen.choices]
        self.sql = " OR ".join(f"({choice})" for choice in choices) or "1"

    def fits(self, number: int, text: str | None) -> bool:
        """Whether a text fits a term. SQL calls it for texts that it cannot compare itself."""
        return text is not None and self.terms[number].fits_text(text)

    def _one(self, term: Term) -> str:
        if term.word == words.TEXT:
            return "1"
        # An unknown value is NULL and fits no term, so it fits every negated one.
        return f"NOT coalesce({self._plain(term)}, 0)" if term.negated else self._plain(term)

    def _plain(self, term: Term) -> str:
        if term.word in NUMBERS:
            return self._with(f"{NUMBERS[term.word]} {term.op} ?", term.number)
        if term.word in (words.SINCE, words.UNTIL):
            return self._with(f"tree {'>=' if term.word == words.SINCE else '<'} ?", number_at(ceil(term.number * 1e6)))
        if term.word == words.RATE:
            return self._with("share_of(id) < ?", term.number)
        if term.word == words.FEEDBACK:
            return "feedback > 0"
        if term.word == words.ID:
            ends = [with_affix(value[0]) for value in term.values]
            return f"({' OR '.join(self._with(sql, *values) for sql, values in ends)})"
        if term.word in OWN_COLUMNS:
            return self._own_column(term)
        fitting = (number for number, shape in self.shapes.items() if any(map(term.fits_text, shape.texts(term.word))))
        return f"shape IN ({','.join(map(str, fitting))})"

    def _own_column(self, term: Term) -> str:
        self.terms.append(term)
        judged = f"fits({len(self.terms) - 1}, {term.word})"
        texts = ["%".join(re.sub("[!%_]", r"!\g<0>", piece) for piece in value) for value in term.values]
        # SQLite ignores case only in ASCII, and stops at a NUL.
        if not all(text.isascii() and "\0" not in text for text in texts):
            return judged
        likes = " OR ".join(self._with(f"{term.word} LIKE ? ESCAPE '!'", text) for text in texts)
        return f"CASE WHEN instr({term.word}, char(0)) THEN {judged} ELSE {likes} END"

    def _with(self, sql: str, *values: Any) -> str:
        self.values += values
        return sql


def needles(chosen: Filter) -> list[str]:
    """Texts, one of which every chosen tree contains; none if the filter does not require a text."""
    texts = [
        [term.values[0][0] for term in terms if term.word == words.TEXT and not term.negated]
        for terms in chosen.choices
    ]
    return [max(each, key=len) for each in texts] if all(texts) else []
