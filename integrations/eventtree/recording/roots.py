"""The first run of a tree: decides whether the tree is recorded, and adds session, user and other facts of the tree."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from eventtree import diagnostics
from eventtree.record import SESSION_KEYS, USER_KEYS, Record, first_of
from eventtree.recording.callback_context import remember_tree
from eventtree.recording.caller import caller
from eventtree.recording.enclosing import configured
from eventtree.recording.remote import active_traceparent, remote
from eventtree.recording.session import open_example, open_session

if TYPE_CHECKING:
    from eventtree.recording.pipeline import Pipeline
    from eventtree.recording.runs import Run, Tree

NAMED = (("session", SESSION_KEYS), ("user", USER_KEYS))
"""The two names that a tree hands on, and the keys of a run's metadata that give them."""


def begin(pipeline: Pipeline, run: Run, *, is_captured: bool) -> None:
    """Decide whether the tree is recorded, and add its id to the blocks around it."""
    tree = run.tree
    remember_tree(pipeline, tree.id)
    if (session := open_session.get()) is not None:
        session.tree_ids.append(tree.id)
    if (row := open_example.get()) is not None:
        row.tree_ids.append(tree.id)
    # The process that recorded the root has decided for the parts of its tree.
    rate = pipeline.settings.sample_rate
    is_sampled = rate >= 1 or is_captured or tree.remote is not None or _share(tree.id) < rate
    tree.skipped = tree.skipped or (tree.journal.full if is_sampled else "sampled")
    if diagnostics.is_delivery_thread():
        tree.skipped = "internal"
    if tree.skipped and tree.remote is not None:
        # Counted as a tree of its own: the rest of the tree is recorded elsewhere.
        tree.stand_alone()


def describe(
    pipeline: Pipeline,
    tree: Tree,
    entry: Record,
    parent_id: str | None,
    metadata: Mapping[str, Any] | None,
    tags: Iterable[str] | None,
) -> dict[str, Any]:
    """Add the facts of the tree to the record of its first run; returns the run's metadata.

    Session and user come from the block around it, else from the settings, else from the process that called; when the
    tree is read, also from the metadata.
    """
    row, session, handed = open_example.get(), open_session.get(), tree.remote or remote()
    own = dict(pipeline.settings.metadata)
    if row is not None:
        own.update(row.metadata)
    if metadata is not None:
        own.update(metadata if type(metadata) is dict else pipeline.part("metadata", metadata))
    if pipeline.settings.callers:
        own.setdefault("eventtree_caller", caller())
    if tree.remote is None:
        if handed is not None and handed.run is not None:
            own |= {"parent_run_id": handed.run, "parent_tree_id": handed.tree}
        tree.traceparent = active_traceparent() or (handed.traceparent if handed is not None else None)
    if tree.traceparent is not None:
        entry["traceparent"] = tree.traceparent
    if handed is not None:
        _name(pipeline, entry, handed.session, handed.user)
    if pipeline.root:
        entry.update(pipeline.root)
    if session is not None:
        _name(pipeline, entry, session.id, session.user)
    more = [] if tags is None else pipeline.plain_tags(tags)
    if pipeline.tags or more:
        entry["tags"] = [*pipeline.tags, *(tag for tag in more if tag not in pipeline.tags)]
    if parent_id is not None:
        own["parent_run_id"] = parent_id
    if own or "session" in entry or "user" in entry:
        # As whoever reads the tree finds them: other processes get them with its runs.
        named = (entry.get(name) or first_of(own, keys) for name, keys in NAMED)
        tree.session, tree.user = (None if one is None else pipeline.part("name", one) for one in named)
    return own


def ask(pipeline: Pipeline, tree: Tree) -> dict[str, str]:
    """Session and user in `configurable` (`RunnableWithMessageHistory`), which only runs below the root can see."""
    tree.is_asked = True
    given = configured()
    names = {name: first_of(given, keys) for name, keys in NAMED} if given else {}
    found = {key: pipeline.text(str(name)) for key, name in names.items() if name is not None}
    tree.session, tree.user = tree.session or found.get("session"), tree.user or found.get("user")
    return found


def _name(pipeline: Pipeline, entry: Record, session: Any, user: Any) -> None:
    # Made plain before it is tested: a name of the app's own class may do anything when it is compared.
    for key, value in (("session", session), ("user", user)):
        if value is not None and (plain := pipeline.part("name", value)):
            entry[key] = plain


def _share(tree_id: str) -> float:
    """A number in [0, 1), the same for every handler of the tree."""
    return random.Random(tree_id.encode(errors="backslashreplace")).random()
