"""The sessions of a journal: their trees added up."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from decimal import Decimal

from eventtree.query.packed import start_of
from eventtree.query.row import SessionRow
from eventtree.query.words import Condition

SESSIONS = """
SELECT session, count(*), sum(shape IN (SELECT id FROM shapes WHERE text LIKE '[["error"]%')), min(tree), max(tree),
       sum(tokens), sum_usd(usd), max(CASE WHEN user IS NOT NULL THEN printf('%020d', tree) || user END)
FROM trees WHERE session IS NOT NULL AND ({condition})
GROUP BY session ORDER BY max(tree) DESC LIMIT ?
"""


def sessions(db: sqlite3.Connection, condition: Condition, limit: int) -> list[SessionRow]:
    """The sessions of the rows under a condition, the one with the newest tree first."""
    db.create_aggregate("sum_usd", 1, _SumUsd)  # type: ignore[arg-type]
    rows = db.execute(SESSIONS.format(condition=condition.sql), (*condition.values, limit))
    return [_session(*row) for row in rows]


class _SumUsd:
    """Adds dollars up without rounding."""

    def __init__(self) -> None:
        self.sum: Decimal | None = None

    def step(self, usd: float | str | None) -> None:
        if usd is not None:
            self.sum = (self.sum or Decimal(0)) + Decimal(str(usd))

    def finalize(self) -> str | None:
        return None if self.sum is None else str(self.sum)


def _session(
    session: str, trees: int, errors: int, first: int, last: int, tokens: int | None, usd: str | None, user: str | None
) -> SessionRow:
    began, newest = (datetime.fromtimestamp(start_of(at) / 1_000_000, UTC) for at in (first, last))
    dollars = None if usd is None else Decimal(usd)
    return SessionRow(session, trees, errors, began, newest, tokens, dollars, user[20:] if user else None)
