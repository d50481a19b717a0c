"""Looking at the journal: show, ls, experiment, export, report, clear."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

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
from eventtree.query import Index, Page, TreeRow
from eventtree.query.experiment import experiment, stats_table
from eventtree.query.store import forget
from eventtree.query.trees import close_indexes, journal_of
from eventtree.serializer.packing import export_url
from eventtree.serializer.serialize import serialize
from eventtree.summary import plural
from eventtree.terminal import SHORT_ID, RowsView, TableView, TreeView, console, draw_report, progress
from eventtree.tree.filter import Filter
from eventtree.vendors import vendor_class

UNKNOWN_TREES = 250
"""A report reads so many trees that the index may not have yet, the newest: for models without a price."""
AT_ONCE_SECONDS = 0.5
"""What takes longer shows how far it is."""
LAST = 5
AN_ID = re.compile(r"(?=[0-9a-f-]*[0-9])[0-9a-f-]{4,36}")
"""The id of a tree or an event, or one end of it; anything else is a filter."""


def existing(folder: str | None, *, awaited: bool = False) -> Journal:
    """The journal to look at.

    Raises:
        JournalError: there is none, and it is not `awaited` either.
    """
    name = config.resolve(journal=folder).folder
    if name == MEMORY:
        raise JournalError("a memory journal lives only in its own process. Name a folder: --journal DIR")
    return open_journal(name) if awaited else journal_of(folder)


def show_trees(
    folder: str | None,
    what: tuple[str, ...],
    tree_id: str | None,
    last: int | None,
    *,
    internal: bool,
    as_json: bool,
) -> None:
    """Draw one tree with all it holds, or the last ones that a filter chooses; or print their events."""
    if tree_id is None and len(what) == 1 and AN_ID.fullmatch(what[0]):
        tree_id = what[0]
    is_one = tree_id is not None
    with Index(existing(folder)) as index:
        trees = iter([_one(index, tree_id)]) if tree_id is not None else _chosen(index, what, last, is_all=as_json)
        if as_json:
            print_events(trees)
        else:
            _draw(trees, internal=internal, whole=is_one, is_chosen=bool(what))


def _chosen(index: Index, words: tuple[str, ...], last: int | None, *, is_all: bool) -> Iterator[EventTree]:
    """The last trees that a filter chooses, or all of them where no number is given; oldest first."""
    chosen = Filter.parse(" ".join(words))
    if is_all and last is None:
        return index.stream(chosen)
    rows = find(index, chosen, last or LAST).rows
    return (tree for row in reversed(rows) if (tree := index.tree(row.id)) is not None)


def print_events(trees: Iterable[EventTree]) -> None:
    """Every event, one JSON object a line, every field present."""
    for tree in trees:
        for event in tree.events:
            say(event.model_dump_json())


def list_trees(folder: str | None, words: tuple[str, ...], last: int, *, as_json: bool) -> None:
    """A line a tree, the newest first."""
    with Index(existing(folder)) as index:
        page = find(index, Filter.parse(" ".join(words)), last)
        if as_json:
            for row in page.rows:
                say(json.dumps(row.plain, ensure_ascii=False, default=str))
            return
        if not page.rows:
            say("No tree is chosen by these words." if words else "No trees recorded yet.")
            return
        console().print(RowsView(page.rows))
        if page.next is not None:
            say(f"There are more: --last {last * 10}. One whole: eventtree show {page.rows[0].id[-SHORT_ID:]}")


def show_experiment(folder: str | None, name: str, against: str | None, *, as_json: bool) -> None:
    """The result of an experiment, and what is different in another."""
    journal = existing(folder)
    try:
        mine = experiment(name, journal=journal)
        theirs = experiment(against, journal=journal) if against is not None else None
    finally:
        close_indexes()
    if as_json:
        for row in mine.to_rows():
            say(json.dumps(row, ensure_ascii=False, default=str))
        return
    out = console()
    out.print(mine)
    out.print(TableView(*stats_table(mine.stats)))
    if theirs is not None:
        out.print(mine.compare(theirs))


def find(index: Index, chosen: Filter, last: int) -> Page:
    """The newest trees that a filter chooses; shows how far the logs were read for it, where that takes long."""
    rows: tuple[TreeRow, ...] = ()
    before = show = None
    with ExitStack() as shown_meanwhile:
        while True:
            page = index.search(chosen, before=before, limit=last - len(rows), seconds=AT_ONCE_SECONDS)
            if page.is_certain:  # else newer trees may come yet, and these are asked for again
                rows, before = (*rows, *page.rows), page.next
                if before is None or len(rows) >= last:
                    return Page(rows, before, True)
            show = show or shown_meanwhile.enter_context(progress("reading the logs"))
            show(*index.progress())


def _one(index: Index, wanted: str) -> EventTree:
    tree = index.tree(wanted)
    if tree is None:
        raise JournalError(f"no tree or event {wanted} in this journal. See: eventtree show, or eventtree ls")
    return tree


def _draw(trees: Iterable[EventTree], *, internal: bool, whole: bool, is_chosen: bool) -> None:
    out = console()
    drawn = 0
    for tree in trees:
        if drawn:
            out.print()
        out.print(TreeView(tree, internal=internal, contents="whole" if whole else "short"))
        drawn += 1
    if not drawn:
        say("No tree is chosen by these words." if is_chosen else "No trees recorded yet.")


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
    with Index(existing(folder)) as index:
        trees = index.stream() if tree_id is None else [_one(index, tree_id)]
        for request in serialize(trees, vendor):
            line = {
                "method": request.method, "url": export_url(request.url, vendor), "headers": dict(request.headers),
                "body": request.body,
            }  # fmt: skip
            say(json.dumps(line, ensure_ascii=False))


def show_report(folder: str | None, as_json: bool) -> None:
    """The sums per vendor."""
    journal = existing(folder)
    with Index(journal) as index, progress("counting what every vendor has"):
        index.search(limit=UNKNOWN_TREES, seconds=AT_ONCE_SECONDS)
        with index.remembering():
            found = make_report(journal, {"unknown_models": index.unknown_models()})
    if as_json:
        say(found.model_dump_json())
    else:
        draw_report(console(), found)


def _at_stake(journal: Journal, trees: Sequence[LoggedTree]) -> str:
    """What would be deleted: how many trees, and how many of them wait for whom."""
    cursors, waiting = Cursors(journal), Counter[str]()
    for tree in trees:
        keys = [key for key in keys_of(tree.refs) if not cursors(key).is_settled(tree.id, tree.spans)]
        waiting.update({name for name, _ in keys})
    who = ", ".join(f"{count} waiting for {name}" for name, count in sorted(waiting.items()))
    return f"{plural(sum(tree.has_runs for tree in trees), 'tree')} ({who or 'none waiting for a vendor'})"


def _whole_id(trees: Iterable[str], end: str) -> str:
    found = [one for one in trees if AN_ID.fullmatch(end) and (one.startswith(end) or one.endswith(end))]
    if len(found) == 1:
        return found[0]
    what = f"several trees begin or end with {end}" if found else f"no tree {end}"
    raise JournalError(f"{what} in this journal. See: eventtree ls")


def clear_trees(folder: str | None, tree_id: str | None, *, ask: bool) -> None:
    """Delete all trees, or the one of that id or whose id begins or ends so, after asking.

    Raises:
        ConfigError: nobody is there to be asked.
        JournalError: there is no such tree, or there are several.
    """
    journal = existing(folder)
    found = trees_in(journal)
    if tree_id is not None and tree_id not in found:
        tree_id = _whole_id(found, tree_id)
    if ask:
        chosen = [found[tree_id]] if tree_id is not None else list(found.values())
        what = f"{_at_stake(journal, chosen)} of {config.resolve(journal=folder).folder}"
        if not sys.stdin.isatty():
            raise ConfigError(
                "clear", f"nobody is there to be asked whether to delete {what}", "Add --yes to delete it"
            )
        click.confirm(shown(f"Delete {what}?"), abort=True)
    count = clear(journal, None if tree_id is None else {tree_id})
    forget(journal)
    say(f"Cleared {plural(count, 'tree')}.")
