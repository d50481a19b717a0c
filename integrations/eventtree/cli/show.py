"""The commands that look at a journal (show, ls, experiment, export, report) or at prices, and `clear`."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Literal

import click

from eventtree import config
from eventtree.cli.main import journal_option, main, say
from eventtree.config import MEMORY
from eventtree.delivery.report import make_report
from eventtree.diagnostics import shown
from eventtree.errors import ConfigError, JournalError
from eventtree.event import EventTree
from eventtree.journal import Journal, open_journal
from eventtree.journal.clear import clear
from eventtree.journal.counts import Cursors, keys_of
from eventtree.journal.trees import is_owed, trees_in
from eventtree.pricing.pricer import Explanation, PriceLine, Pricer
from eventtree.query import Index, Page, TreeRow
from eventtree.query.experiment import experiment, stats_table
from eventtree.query.store import forget
from eventtree.query.trees import close_indexes, journal_of
from eventtree.serializer.packing import export_url
from eventtree.serializer.registry import kind_of
from eventtree.serializer.serialize import serialize
from eventtree.summary import plural
from eventtree.terminal import SHORT_ID, RowsView, TreeView, console, progress, report_view
from eventtree.tree.filter import Filter
from eventtree.vendors import vendor_class

UNKNOWN_TREES = 250
"""A report first indexes this many of the newest trees, to name models without a price."""
AT_ONCE_SECONDS = 0.5
"""A search that takes longer shows its progress."""
LAST = 5
AN_ID = re.compile(r"(?=[0-9a-f-]*[0-9])[0-9a-f-]{4,36}")
"""The id of a tree or an event, or the beginning or end of one; any other word is a filter."""
A_CLASS = re.compile(r"(?<!\S)(-?vendor:)([\w.]+:\w+)(?!\S)")
"""A vendor in a filter that is named as `package.module:Class`, as in all commands."""
TAKES_WORDS: dict[str, Any] = {"context_settings": {"ignore_unknown_options": True}}


def words_only(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """A word of a filter may begin with `-`, which negates it; one that begins with `--` is a misspelt option."""
    wrong = next((one for one in given if one.startswith("--")), None)
    if wrong is not None:
        raise click.NoSuchOption(wrong)
    return given


def filter_of(words: tuple[str, ...]) -> Filter:
    """The filter of these words."""
    return Filter.parse(A_CLASS.sub(lambda found: found[1] + kind_of(found[2]), " ".join(words)))


def existing(folder: str | None, *, awaited: bool = False) -> Journal:
    """The journal to look at.

    Raises:
        JournalError: there is none, and its folder is not `awaited` to appear.
    """
    name = config.resolve(journal=folder).folder
    if name == MEMORY:
        raise JournalError("a memory journal lives only in its own process. Name a folder: --journal DIR")
    return open_journal(name) if awaited else journal_of(folder)


@main.command("show", **TAKES_WORDS)
@click.argument("what", nargs=-1, metavar="[ID | WORDS]", callback=words_only)
@journal_option
@click.option("--last", metavar="N", type=click.IntRange(min=1), help="Show so many trees. The default is 5.")
@click.option("--tree", "tree_id", metavar="ID", help="Show this tree, as with an ID alone.")
@click.option("--all", "internal", is_flag=True, help="Show the framework's plumbing too.")
@click.option("--json", "as_json", is_flag=True, help="Print every event, one JSON object a line, of all trees.")
def show_trees(
    folder: str | None, what: tuple[str, ...], tree_id: str | None, last: int | None, internal: bool, as_json: bool
) -> None:
    """Draw the last trees: their events, question and answer, errors, tokens, cost and times.

    With an ID, or its first or last characters, draw that tree with all inputs and outputs. WORDS choose trees:
    status:error, session:ID, user:NAME, model:gpt-4o, 'cost>0.01', since:1h, feedback, any text. A tree must match all
    of them; - negates one.
    """
    if tree_id is None and len(what) == 1 and AN_ID.fullmatch(what[0]):
        tree_id = what[0]
    contents: Literal["short", "whole"] = "short" if tree_id is None else "whole"
    out, drawn = console(), 0
    with Index(existing(folder)) as index:
        trees = iter([_one(index, tree_id)]) if tree_id is not None else _chosen(index, what, last, is_all=as_json)
        for drawn, tree in enumerate(trees, 1):
            if as_json:
                for event in tree.events:
                    say(event.model_dump_json())
                continue
            if drawn > 1:
                out.print()
            out.print(TreeView(tree, internal=internal, contents=contents))
    if not drawn and not as_json:
        say("No tree is chosen by these words." if what else "No trees recorded yet.")


def _chosen(index: Index, words: tuple[str, ...], last: int | None, *, is_all: bool) -> Iterator[EventTree]:
    """The last trees that a filter chooses, or all of them where no number is given; oldest first."""
    chosen = filter_of(words)
    if is_all and last is None:
        return index.stream(chosen)
    rows = find(index, chosen, last or LAST).rows
    return (tree for row in reversed(rows) if (tree := index.tree(row.id)) is not None)


@main.command("ls", **TAKES_WORDS)
@click.argument("words", nargs=-1, metavar="[WORDS]", callback=words_only)
@journal_option
@click.option(
    "--last", default=20, show_default=True, metavar="N", type=click.IntRange(min=1), help="List so many trees."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_trees(folder: str | None, words: tuple[str, ...], last: int, as_json: bool) -> None:
    """List trees, one a line, the newest first. WORDS choose trees as in show."""
    with Index(existing(folder)) as index:
        page = find(index, filter_of(words), last)
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


@main.command("experiment")
@click.argument("name")
@journal_option
@click.option("--against", metavar="OTHER", help="Compare it with another experiment, row by row.")
@click.option("--json", "as_json", is_flag=True, help="Print its rows, one JSON object a line.")
def show_experiment(folder: str | None, name: str, against: str | None, as_json: bool) -> None:
    """Add up the experiment called NAME: mean, spread and count of each score, of cost and duration, and its rows."""
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
    out.print(stats_table(mine.stats))
    if theirs is not None:
        out.print(mine.compare(theirs))


def find(index: Index, chosen: Filter, last: int) -> Page:
    """The newest trees that a filter chooses. A long search shows how much of the logs has been read."""
    rows: tuple[TreeRow, ...] = ()
    before = show = None
    with ExitStack() as bar:
        while True:
            page = index.search(chosen, before=before, limit=last - len(rows), seconds=AT_ONCE_SECONDS)
            if page.is_certain:  # else newer trees may still be found, and the search is repeated
                rows, before = (*rows, *page.rows), page.next
                if before is None or len(rows) >= last:
                    return Page(rows, before, True)
            show = show or bar.enter_context(progress("reading the logs"))
            show(*index.progress())


def _one(index: Index, wanted: str) -> EventTree:
    tree = index.tree(wanted)
    if tree is None:
        raise JournalError(f"no tree or event {wanted} in this journal. See: eventtree show, or eventtree ls")
    return tree


@main.command("export")
@journal_option
@click.option(
    "--vendor", required=True, metavar="NAME",
    help="Name the vendor: honeyhive, humanloop_v5, humanloop_v4, braintrust, nebuly, otlp or package.module:Class.",
)  # fmt: skip
@click.option("--tree", "tree_id", metavar="ID", help="Print only the requests for this tree.")
@click.option("--project", metavar="NAME", help="Name the project instead of the environment.")
@click.option("--host", "base_url", metavar="URL", help="Name the host instead of the environment.")
@click.option("--source", metavar="NAME", help="Name the source (HoneyHive).")
@click.option("--generation", metavar="NAME", help="Choose the generation of the vendor's interface (HoneyHive).")
@click.option("--experiment", metavar="NAME", help="Name the experiment (Braintrust).")
@click.option(
    "--set", "more", multiple=True, metavar="NAME=VALUE",
    help="Give another setting of the vendor. It may be given several times.",
)  # fmt: skip
def export_requests(
    folder: str | None, vendor: str, tree_id: str | None, more: tuple[str, ...], **settings: str | None
) -> None:
    """Print the exact requests a vendor would get, one JSON object a line. This needs no key.

    The host and all settings are those that a delivery in this environment would have.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    for one in more:
        name, sign, value = one.partition("=")
        if not sign or name == "api_key":
            raise ConfigError("--set", f"{name!r} sets nothing", "Write NAME=VALUE; a request that is shown has no key")
        given[name.strip().replace("-", "_")] = value
    chosen = vendor_class(vendor).for_export(from_environment=True, **given)
    with Index(existing(folder)) as index:
        trees = index.stream() if tree_id is None else [_one(index, tree_id)]
        for request in serialize(trees, chosen):
            line = {
                "method": request.method, "url": export_url(request.url, chosen), "headers": dict(request.headers),
                "body": request.body,
            }  # fmt: skip
            say(json.dumps(line, ensure_ascii=False))


@main.command("report")
@journal_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_report(folder: str | None, as_json: bool) -> None:
    """Add up each vendor's events: accepted = delivered + waiting + dead + dropped (by reason)."""
    with Index(existing(folder)) as index, progress("counting what every vendor has"):
        index.search(limit=UNKNOWN_TREES, seconds=AT_ONCE_SECONDS)
        with index.verified_logs():
            found = make_report(index.journal, {"unknown_models": index.unknown_models()})
    if as_json:
        say(found.model_dump_json())
    else:
        console().print(report_view(found))


@main.command("clear")
@journal_option
@click.option("--tree", "tree_id", metavar="ID", help="Delete only this tree. The beginning or end of its id will do.")
@click.option("--yes", is_flag=True, help="Delete without asking. This is needed where stdin is no terminal.")
def clear_trees(folder: str | None, tree_id: str | None, yes: bool) -> None:
    """Delete recorded trees from this machine. Events that still wait for a vendor count as dropped by_user."""
    journal = existing(folder)
    found = {tree.id: tree for tree in trees_in(journal).values() if tree.has_contents}
    if tree_id is not None and tree_id not in found:
        trees = found if AN_ID.fullmatch(tree_id) else ()
        meant = [one for one in trees if one.startswith(tree_id) or one.endswith(tree_id)]
        if len(meant) != 1:
            what = f"several trees begin or end with {tree_id}" if meant else f"no tree {tree_id}"
            raise JournalError(f"{what} in this journal. See: eventtree ls")
        tree_id = meant[0]
    if not yes:
        chosen = [found[tree_id]] if tree_id is not None else list(found.values())
        cursors, waiting = Cursors(journal), Counter[str]()
        for tree in chosen:
            settled = {key: cursors(key).settled_of(tree.id) for key in keys_of(tree.refs)}
            waiting.update({name for (name, _), ends in settled.items() if is_owed(journal, tree.lines, ends)})
        who = ", ".join(f"{number} waiting for {name}" for name, number in sorted(waiting.items()))
        count = plural(len(chosen), "tree")
        what = f"{count} ({who or 'none waiting for a vendor'}) of {config.resolve(journal=folder).folder}"
        if not sys.stdin.isatty():
            raise ConfigError(
                "clear", f"nobody is there to be asked whether to delete {what}", "Add --yes to delete it"
            )
        click.confirm(shown(f"Delete {what}?"), abort=True)
    cleared = clear(journal, None if tree_id is None else {tree_id})
    forget(journal)
    say(f"Cleared {plural(cleared, 'tree')}.")


@main.command("prices")
@click.argument("model")
@click.option(
    "--provider", metavar="NAME", help="Name the provider as the framework does: openai, anthropic, azure, bedrock."
)
@click.option("--base-url", metavar="URL", help="Give the address of the service. It counts more than --provider.")
def prices(model: str, provider: str | None, base_url: str | None) -> int:
    """Show the prices of MODEL and where they come from. The exit status is 1 if no price is known."""
    found = Pricer.of(config.resolve().prices).explain(model, provider, base_url=base_url)
    if found.source is None:
        say(f"{model}: no price is known ({'; '.join(found.why)}). The cost of its calls stays unknown.", err=True)
        return 1
    say(f"{model}: charged as {found.charged_as}, by {found.source}")
    for line in _lines(found):
        say(line)
    for reason in found.why:
        say(f"- {reason}")
    return 0


def _lines(found: Explanation) -> list[str]:
    names = [_name(line) for line in found.lines]
    prices = [f"${line.usd.normalize():f}" for line in found.lines]
    wide, high = max(map(len, names), default=0), max(map(len, prices), default=0)
    return [
        f"  {name:<{wide}}  {price:>{high}} / {line.per}"
        for name, price, line in zip(names, prices, found.lines, strict=True)
    ]


def _name(line: PriceLine) -> str:
    words = line.name.replace("_", " ")
    return words if line.above is None else f"{words}, above {line.above:,} tokens of input"
