"""Looking at the journal: show, export, report, clear."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path

import click

from eventtree import config
from eventtree.cli.say import say
from eventtree.config import MEMORY
from eventtree.delivery.report import make_report
from eventtree.diagnostics import shown
from eventtree.errors import ConfigError, JournalError
from eventtree.event import EventTree
from eventtree.journal import Journal, open_journal
from eventtree.journal.clear import clear
from eventtree.journal.counts import Cursors, keys_of
from eventtree.journal.trees import LoggedTree, trees_in
from eventtree.pricing import Pricer
from eventtree.serializer.packing import export_url
from eventtree.serializer.serialize import serialize
from eventtree.terminal import console, draw_report, draw_tree
from eventtree.tree.stored import stored_trees
from eventtree.vendors import vendor_class

UNKNOWN_SECONDS = 2.0
"""A report looks for models without a price this long, newest trees first."""


def existing(folder: str | None, *, awaited: bool = False) -> Journal:
    """The journal to look at.

    Raises:
        JournalError: there is none, and it is not `awaited` either.
    """
    settings = config.resolve(journal=folder)
    if settings.folder == MEMORY:
        raise JournalError("a memory journal lives only in its own process. Name a folder: --journal DIR")
    if not awaited and not Path(settings.folder).expanduser().is_dir():
        raise JournalError(f"no journal at {settings.folder}. Record something first, or name another: --journal DIR")
    return open_journal(settings.folder)


def read_trees(journal: Journal, tree_id: str | None = None, last: int | None = None) -> Iterator[EventTree]:
    """Trees of the journal, oldest first, prices filled in.

    Raises:
        JournalError: there is no tree of that id.
    """

    def choose(found: list[LoggedTree]) -> list[LoggedTree]:
        if tree_id is None:
            return found[-last if last else 0 :]
        chosen = [tree for tree in found if tree.id == tree_id]
        if not chosen:
            raise JournalError(f"no tree {tree_id} in this journal. See: eventtree show")
        return chosen

    yield from stored_trees(journal, Pricer.of(config.resolve().prices), choose=choose)


def unknown_models(journal: Journal, seconds: float = UNKNOWN_SECONDS) -> dict[str, int]:
    """Models of the newest trees that no price is known for, and how often they were met; stops after `seconds`."""
    pricer = Pricer.of(config.resolve().prices)
    end = time.monotonic() + seconds
    in_time = partial(takewhile, lambda _: time.monotonic() <= end)
    for _ in stored_trees(journal, pricer, choose=lambda found: in_time(reversed(found))):
        pass
    return dict(sorted(pricer.unknown.items()))


def show_trees(folder: str | None, last: int, tree_id: str | None) -> None:
    """Draw trees in the terminal."""
    shown = 0
    out = console()
    for tree in read_trees(existing(folder), tree_id, last):
        draw_tree(out, tree)
        shown += 1
    if not shown:
        say("No trees recorded yet.")


def show_json(folder: str | None, tree_id: str | None) -> None:
    """Every event, one JSON object a line, every field present."""
    for tree in read_trees(existing(folder), tree_id):
        for event in tree.events:
            say(event.model_dump_json())


def export_requests(
    folder: str | None, vendor_name: str, tree_id: str | None, settings: Mapping[str, str | None], more: Sequence[str]
) -> None:
    """The requests that a delivery in this environment would make, without a key, one JSON object a line.

    `settings` and `more` (`NAME=VALUE`) go before the environment.

    Raises:
        ConfigError: the vendor has no such setting, or a value is wrong.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    for one in more:
        name, sign, value = one.partition("=")
        if not sign or name == "api_key":
            raise ConfigError("--set", f"{name!r} sets nothing", "Write NAME=VALUE; a request that is shown has no key")
        given[name.strip().replace("-", "_")] = value
    vendor = vendor_class(vendor_name).for_export(from_environment=True, **given)
    for request in serialize(read_trees(existing(folder), tree_id), vendor):
        line = {
            "method": request.method, "url": export_url(request.url, vendor), "headers": dict(request.headers),
            "body": request.body,
        }  # fmt: skip
        say(json.dumps(line, ensure_ascii=False))


def show_report(folder: str | None, as_json: bool) -> None:
    """The sums per vendor."""
    journal = existing(folder)
    found = make_report(journal).model_copy(update={"unknown_models": unknown_models(journal)})
    if as_json:
        say(found.model_dump_json())
    else:
        draw_report(console(), found)


def _at_stake(journal: Journal, trees: Sequence[LoggedTree]) -> str:
    """What would be deleted: how many trees, and how many of them wait for whom."""
    cursors, waiting = Cursors(journal), Counter[str]()
    for tree in trees:
        keys = [key for key in keys_of(tree.vendors) if not cursors(key).is_settled(tree.id, tree.spans)]
        waiting.update({name for name, _ in keys})
    who = ", ".join(f"{count} waiting for {name}" for name, count in sorted(waiting.items()))
    return f"{len(trees)} tree{'' if len(trees) == 1 else 's'} ({who or 'none waiting for a vendor'})"


def clear_trees(folder: str | None, tree_id: str | None, *, ask: bool) -> None:
    """Delete trees after asking.

    Raises:
        ConfigError: nobody is there to be asked.
        JournalError: there is no tree of that id.
    """
    journal = existing(folder)
    found = trees_in(journal)
    if tree_id is not None and tree_id not in found:
        raise JournalError(f"no tree {tree_id} in this journal. See: eventtree show")
    if ask:
        chosen = [found[tree_id]] if tree_id is not None else list(found.values())
        what = f"{_at_stake(journal, chosen)} of {config.resolve(journal=folder).folder}"
        if not sys.stdin.isatty():
            raise ConfigError(
                "clear", f"nobody is there to be asked whether to delete {what}", "Add --yes to delete it"
            )
        click.confirm(shown(f"Delete {what}?"), abort=True)
    count = clear(journal, None if tree_id is None else {tree_id})
    say(f"Cleared {count} tree{'' if count == 1 else 's'}.")
