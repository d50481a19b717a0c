"""A filter as SQL over the index: what `Filter.matches` says of a tree, asked of 250,000 rows at once.

The words that compare texts are judged in Python, once for each `Shape`; SQL then compares numbers. Free text is in no
column: rows that fit otherwise are read and judged themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil
from typing import Any

from eventtree.query.packed import at_an_end, number_at
from eventtree.query.row import Shape
from eventtree.tree import filter as words
from eventtree.tree.filter import NUMBER_WORDS, Filter, Term

NUMBERS: Mapping[str, str] = {**{word: word for word in NUMBER_WORDS}, "cost": "CAST(usd AS REAL)"}
"""Word → the column it compares."""
OWN_COLUMNS = ("session", "user")
"""Words whose texts have a column: there may be as many as trees."""


class Condition:
    """Rows that a filter may choose: all that it does, and where it looks for text, those that fit otherwise."""

    def __init__(self, chosen: Filter, shapes: Mapping[int, Shape]) -> None:
        """Judge all shapes by the filter's words."""
        self.shapes = shapes
        """The shapes that rows may have now."""
        self.values: list[Any] = []
        """What stands for the question marks of `sql`."""
        self.terms: list[Term] = []
        """Terms that `fits(NUMBER, TEXT)` in `sql` asks."""
        choices = [" AND ".join(map(self._one, terms)) or "1" for terms in chosen.choices]
        self.sql = " OR ".join(f"({choice})" for choice in choices) or "1"

    def fits(self, number: int, text: str | None) -> bool:
        """What SQL calls for texts that it cannot compare itself."""
        return text is not None and self.terms[number].fits_text(text)

    def _one(self, term: Term) -> str:
        if term.word == words.TEXT:
            return "1"
        # What is unknown is NULL, and fits nothing: turned round it fits.
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
            ends = [at_an_end(value[0]) for value in term.values]
            return f"({' OR '.join(self._with(sql, *values) for sql, values in ends)})"
        if term.word in OWN_COLUMNS:
            return self._own_column(term)
        fitting = (str(number) for number, shape in self.shapes.items() if _fits(term, shape))
        return f"shape IN ({','.join(fitting)})"

    def _own_column(self, term: Term) -> str:
        self.terms.append(term)
        judged = f"fits({len(self.terms) - 1}, {term.word})"
        texts = ["%".join(re.sub("[!%_]", r"!\g<0>", piece) for piece in value) for value in term.values]
        # SQLite leaves out the case of ASCII alone, and reads no further than a NUL.
        if not all(text.isascii() and "\0" not in text for text in texts):
            return judged
        likes = " OR ".join(self._with(f"{term.word} LIKE ? ESCAPE '!'", text) for text in texts)
        return f"CASE WHEN instr({term.word}, char(0)) THEN {judged} ELSE {likes} END"

    def _with(self, sql: str, *values: Any) -> str:
        self.values += values
        return sql


def looks_for_text(chosen: Filter) -> bool:
    """Whether rows must be read to be judged."""
    return any(term.word == words.TEXT for terms in chosen.choices for term in terms)


def needles(chosen: Filter) -> list[str]:
    """Texts of which one stands in every tree that is chosen; none where that cannot be said."""
    texts = [
        [term.values[0][0] for term in terms if term.word == words.TEXT and not term.negated]
        for terms in chosen.choices
    ]
    return [max(each, key=len) for each in texts] if all(texts) else []


def _fits(term: Term, shape: Shape) -> bool:
    return any(map(term.fits_text, shape.texts(term.word)))
