"""The session and the dataset's row that the app gives to all trees that open inside a block."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from eventtree.diagnostics import shown
from eventtree.summary import Table, Tabled, plural, shorten


class Session(Tabled):
    """A group of trees. `tree_ids` fills while the `with` block runs, in the order the trees opened."""

    __slots__ = ("id", "tree_ids", "user")

    def __init__(self, session_id: str, user: str | None) -> None:
        """Name the session and its user."""
        self.id = session_id
        self.user = user
        self.tree_ids: list[str] = []

    def __repr__(self) -> str:
        of = f" of {self.user}" if self.user else ""
        return shown(f"<Session {self.id}{of}: {plural(len(self.tree_ids), 'tree')}>")

    def table(self) -> Table:
        """Its trees."""
        return Table(("session", "user", "tree"), [(self.id, self.user, tree) for tree in self.tree_ids])


open_session: ContextVar[Session | None] = ContextVar("eventtree_session", default=None)
"""The session of this context."""


@contextmanager
def session(session_id: str | None = None, *, user: str | None = None) -> Iterator[Session]:
    """Group all trees that open inside the block, also in tasks and threads that inherit its context.

    Yields the `Session` with its `id` (a new UUID by default), `user` and `tree_ids`.
    """
    found = Session(session_id or str(uuid.uuid4()), user)
    token = open_session.set(found)
    try:
        yield found
    finally:
        open_session.reset(token)


class Example(Tabled):
    """A row of a dataset: its links and its trees."""

    __slots__ = ("links", "tree_ids")

    def __init__(self, links: dict[str, Any]) -> None:
        """Hold `links`: `datapoint_id`, `expected`, `experiment`, `run_id`, `dataset_id`, `scores`."""
        self.links = links
        self.tree_ids: list[str] = []

    def __repr__(self) -> str:
        links = ", ".join(f"{name}={shorten(str(value), 60)}" for name, value in self.links.items())
        return shown(f"<{type(self).__name__} {links}: {plural(len(self.tree_ids), 'tree')}>")

    def table(self) -> Table:
        """Its links and its trees."""
        links = [(name, shorten(str(value))) for name, value in self.links.items()]
        return Table(("row", ""), [*links, *(("tree", tree) for tree in self.tree_ids)])

    @property
    def metadata(self) -> dict[str, Any]:
        """The links as a root's metadata."""
        return {f"eventtree_{name}": value for name, value in self.links.items()}


open_example: ContextVar[Example | None] = ContextVar("eventtree_example", default=None)
"""The row of this context."""


@contextmanager
def answering(row: Example) -> Iterator[None]:
    """Tie the trees that open inside the block to `row`."""
    token = open_example.set(row)
    try:
        yield
    finally:
        open_example.reset(token)
