"""Looking at the journal: show, export, report, clear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from eventtree import config
from eventtree.cli.draw import console, draw_report, draw_tree
from eventtree.config import MEMORY
from eventtree.delivery.report import make_report
from eventtree.errors import JournalError
from eventtree.event import EventTree
from eventtree.journal import Journal, open_journal
from eventtree.journal.contents import clear, records_of, trees_in
from eventtree.serializer import fill, serialize
from eventtree.tree import TreeBuilder
from eventtree.usage import Pricer
from eventtree.vendors import vendor_class


def existing(folder: str | None) -> Journal:
    """The journal to look at.

    Raises:
        JournalError: there is none.
    """
    settings = config.resolve(journal=folder)
    if settings.folder == MEMORY:
        raise JournalError("a memory journal lives only in its own process. Name a folder: --journal DIR")
    if not Path(settings.folder).expanduser().is_dir():
        raise JournalError(f"no journal at {settings.folder}. Record something first, or name another: --journal DIR")
    return open_journal(settings.folder)


def read_trees(
    journal: Journal, tree_id: str | None = None, last: int | None = None, pricer: Pricer | None = None
) -> Iterator[EventTree]:
    """Trees of the journal, oldest first, prices filled in.

    Raises:
        JournalError: there is no tree of that id.
    """
    found = trees_in(journal)
    if tree_id is not None and tree_id not in found:
        raise JournalError(f"no tree {tree_id} in this journal. See: eventtree show")
    chosen = [tree_id] if tree_id is not None else list(found)
    pricer = pricer or Pricer.of(config.resolve().prices)
    for chosen_id in chosen[-last if last else 0 :]:
        builder = TreeBuilder(chosen_id)
        for entry in records_of(journal, found[chosen_id]):
            builder.add(entry)
        tree = builder.build(pricer)
        if tree is not None:
            yield tree


def show_trees(folder: str | None, last: int, tree_id: str | None) -> None:
    """Draw trees in the terminal."""
    shown = 0
    out = console()
    for tree in read_trees(existing(folder), tree_id, last):
        draw_tree(out, tree)
        shown += 1
    if not shown:
        click.echo("No trees recorded yet.")


def show_json(folder: str | None, tree_id: str | None) -> None:
    """Every event, one JSON object a line, every field present."""
    for tree in read_trees(existing(folder), tree_id):
        for event in tree.events:
            click.echo(event.model_dump_json())


def export_requests(folder: str | None, vendor_name: str, tree_id: str | None) -> None:
    """The requests of one vendor, without a key, one JSON object a line."""
    vendor = vendor_class(vendor_name).keyless()
    names = {lookup.name: lookup.export_as for lookup in vendor.lookups()}
    for request in serialize(read_trees(existing(folder), tree_id), vendor):
        line = {
            "method": request.method, "url": fill(request.url, names), "headers": dict(request.headers), "body": request.body,
        }  # fmt: skip
        click.echo(json.dumps(line, ensure_ascii=False))


def show_report(folder: str | None, as_json: bool) -> None:
    """The sums per vendor."""
    found = make_report(existing(folder))
    if as_json:
        click.echo(found.model_dump_json())
    else:
        draw_report(console(), found)


def clear_trees(folder: str | None, tree_id: str | None, *, ask: bool) -> None:
    """Delete trees after asking, where somebody is there to be asked."""
    journal = existing(folder)
    if tree_id is not None and tree_id not in trees_in(journal):
        raise JournalError(f"no tree {tree_id} in this journal. See: eventtree show")
    if ask and click.get_text_stream("stdin").isatty():
        click.confirm(f"Delete {f'tree {tree_id}' if tree_id else 'all trees'} of this journal?", abort=True)
    count = clear(journal, None if tree_id is None else {tree_id})
    click.echo(f"Cleared {count} tree{'' if count == 1 else 's'}.")
