"""Trees and reports in a terminal: coloured there, plain and unwrapped in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console, ConsoleOptions, Group, RenderResult, group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from eventtree import summary as words
from eventtree.diagnostics import shown
from eventtree.event import Event, EventTree
from eventtree.kinds import Kind, Status

if TYPE_CHECKING:
    from eventtree.delivery.report import Report, VendorTotals
    from eventtree.query import TreeRow

PIPED_WIDTH = 200
ROOMY = 100
"""Width of a terminal from which on long columns are shown."""
HEADINGS = ("event", "status", "tokens", "cost", "duration", "first token")
SHORT_HEADING = "ttft"
NARROWEST_NAME = 20
SHORT_ID = 8
"""Characters of an id in a list, its last ones: LangChain's ids begin with the time. `show` takes either end."""
NUMBERS = 12
"""A column whose cells are no longer than this is never cut."""

KIND_STYLES = {
    Kind.CHAIN: "cyan",
    Kind.AGENT: "bold magenta",
    Kind.MODEL: "bold green",
    Kind.TOOL: "yellow",
    Kind.RETRIEVER: "blue",
    Kind.RERANKER: "blue",
    Kind.EMBEDDING: "blue",
}
STATUS_STYLES = {Status.OK: "green", Status.ERROR: "bold red", Status.INTERRUPTED: "yellow", Status.CANCELLED: "yellow"}


def console() -> Console:
    """The console of stdout."""
    plain: Any = {"markup": False, "emoji": False, "highlight": False}
    return Console(**plain) if sys.stdout.isatty() else Console(**plain, width=PIPED_WIDTH, no_color=True)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr during the block, which calls the yielded function with (done, total).

    Where stderr is no terminal, nothing is shown.
    """
    # A notebook's cell counts as a terminal, but would keep every line.
    if not sys.stderr.isatty() or "JPY_PARENT_PID" in os.environ:
        yield lambda done, total: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), _Count())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Count(MofNCompleteColumn):
    """Done of total; empty until the total is known."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total is not None else Text()


class TreeView:
    """One tree as rich draws it: a line for each event, indented below its parent; then question, answer and errors."""

    def __init__(
        self, tree: EventTree, *, internal: bool = False, contents: Literal["none", "short", "whole"] = "short"
    ) -> None:
        """Draw `tree`: with the framework's plumbing if `internal`; with no, the root's or all inputs and outputs."""
        self.tree = tree
        self.drawn = tree if internal else tree.without_internal()
        self.contents = contents

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Its lines, for a console of any width."""
        began, *whose = words.about(self.tree)
        head = Text.assemble(("tree ", "dim"), (shown(self.tree.id), "bold"), ("  ", ""))
        yield head.append(f"{began}  {shown(', '.join(whose))}".rstrip(), "dim")
        headings = (*HEADINGS[:-1], HEADINGS[-1] if options.max_width >= ROOMY else SHORT_HEADING)
        yield Grid(headings, [_row(depth, event) for depth, event in self.drawn.walk()], right=range(2, 6))
        if self.contents == "whole":
            yield from (event_view(event) for _, event in self.drawn.walk())
        elif self.contents == "short":
            for label, value in (("asked", self.tree.root.inputs), ("answered", self.tree.root.outputs)):
                if text := words.gist(value):
                    yield Text.assemble((f"{label}: ", "dim"), text)
        for event in words.failures(self.tree):
            for line, style in zip(words.problem(event), ("bold red", "red"), strict=False):
                yield Text(shown(line), style)
        for line in words.scores(self.tree):
            yield Text(f"feedback: {shown(line)}", "magenta")
        hidden = len(self.tree.events) - len(self.drawn.events)
        more = f"; {hidden} events of the framework's plumbing not shown" if hidden else ""
        yield Text(f"sum: {words.number(self.tree.total_tokens)} tokens, {words.cost_of(self.tree)}{more}", "dim")


class RowsView:
    """Trees, one a line, as the index lists them."""

    def __init__(self, rows: Sequence[TreeRow]) -> None:
        """Draw these rows."""
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table."""
        is_roomy = options.max_width >= ROOMY
        headings = ["tree", "began", "name", "status", "events", "tokens", "cost", "duration"]
        yield Grid([*headings, *(("session", "user") if is_roomy else ())], [
            self._cells(row)[: None if is_roomy else len(headings)] for row in self.rows
        ], right=range(4, 8))  # fmt: skip

    def _cells(self, row: TreeRow) -> tuple[Text, ...]:
        status = "running" if row.running else row.status
        errors = f" ({words.plural(row.errors, 'error')})" if row.errors else ""
        least = ">" if row.unpriced and row.usd is not None else ""
        return (
            Text(shown(row.id[-SHORT_ID:]), "bold"), Text(f"{row.start.astimezone():%m-%d %H:%M:%S}", "dim"),
            Text(shown(words.shorten(row.name, 60))),
            Text(f"{status}{errors}", STATUS_STYLES.get(Status(row.status), "yellow")), Text(f"{row.events:,}"),
            Text(words.number(row.tokens)), Text(f"{least}{words.usd(row.usd)}"), Text(words.seconds(row.duration)),
            Text(shown(words.shorten(row.session or "", 30))), Text(shown(words.shorten(row.user or "", 30))),
        )  # fmt: skip


@group()
def event_view(event: Event) -> RenderResult:
    """An event with its inputs, outputs, notes and error."""
    model = f" {shown(event.model)}" if event.model else ""
    yield Text.assemble(
        (str(event.kind), KIND_STYLES.get(event.kind, "")), f" {shown(event.name)}{model}",
        (f"  {words.clock(event.start)}  {shown(event.id)}", "dim"),
    )  # fmt: skip
    for label, value in (("in ", event.inputs), ("out", event.outputs)):
        for line in words.content_lines(value):
            yield Text.assemble((f"  {label} ", "dim"), shown(line))
    for note in event.notes:
        yield Text(shown(f"  note {note.name} {words.clock(note.at)} {words.gist(note.value)}".rstrip()), "yellow")
    if event.error is not None:
        for line in f"{event.error.type}: {event.error.message}\n{event.error.traceback or ''}".splitlines():
            yield Text(f"  err {shown(line)}", "red")


def drawn(table: words.Table) -> Group:
    """A table of texts and numbers, and the note below it."""
    cells = [tuple(Text(shown("" if cell is None else cell)) for cell in row) for row in table.rows]
    return Group(Grid(table.headings, cells), *([Text(shown(table.note), "dim")] if table.note else ()))


@group()
def report_view(report: Report, requests: Mapping[str, tuple[int, int]] | None = None) -> RenderResult:
    """A report: each vendor's sums in a line. `requests` adds how many requests each vendor took and refused."""
    yield Text(f"{report.events} events in {shown(report.journal)}", overflow="ignore", no_wrap=True)
    if report.vendors:
        counts = ("accepted", "delivered", "waiting", "dead", *(("requests", "refused") if requests else ()))
        rows = []
        for label, sums in report.vendors.items():
            numbers = (sums.accepted, sums.delivered, sums.waiting, sums.dead, *(requests or {}).get(label, ()))
            rows.append((Text(label), *map(Text, map(str, numbers)), _state(sums)))
        yield Grid(("vendor", *counts, "dropped"), rows, right=range(1, 1 + len(counts)))
    else:
        yield Text("No vendor: recorded locally.")
    yield from map(Text, words.report_notes(report))


def _state(sums: VendorTotals) -> Text:
    """A vendor's dropped events by reason, its feedback, and its problems."""
    dropped = ", ".join(f"{reason} {count}" for reason, count in sums.dropped.items())
    state = Text(shown(dropped) or "0", no_wrap=False, overflow="fold")
    if sums.feedback:
        fates = ", ".join(f"{fate} {count}" for fate, count in sums.feedback.items())
        state.append(f"  feedback: {fates}", "dim")
    if sums.apart:
        state.append(f"  apart: {sums.apart}", "dim")
    if sums.parked:
        state.append(f"  parked: {shown(sums.parked)}", "bold red")
    if sums.is_local and sums.waiting:
        state.append("  for a server on this machine: goes to no other host", "dim")
    if sums.unexplained:
        state.append(f"  {sums.unexplained} unexplained", "bold red")
    if sums.recorded is not None and sums.differs:
        lost = sums.recorded - sums.accepted
        what = f"{lost} lost on the way" if lost > 0 else f"{-lost} counted twice"
        state.append(f"  {sums.recorded} were recorded: {what}", "bold red")
    if sums.stalled is not None:
        state.append(f"  process {sums.stalled} holds the lock and does nothing", "bold red")
    return state


@dataclass(frozen=True)
class Grid:
    """A table with one line for each row. In a narrow terminal long texts are cut and last columns left out, but no
    number is cut; rich alone would take as much from every column, so that the narrow ones vanish.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Text]]
    right: Container[int] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table as wide as its cells, or as its console."""
        table = Table(box=None, pad_edge=False, header_style="dim", collapse_padding=True)
        widths = self._widths(options.max_width)
        for at, width in enumerate(widths):
            justify: Any = "right" if at in self.right else "left"
            heading = Text(shown(self.headings[at]))
            table.add_column(heading, no_wrap=True, overflow="ellipsis", width=width, justify=justify)
        for row in self.rows:
            table.add_row(*row[: len(widths)])
        yield table

    def _widths(self, room: int) -> list[int]:
        """The widths of the columns that there is room for, with a space between two."""
        whole, least = [], []
        for at, heading in enumerate(self.headings):
            longest = max((row[at].cell_len for row in self.rows), default=0)
            is_long = longest > NUMBERS + 2
            kept = min(longest, NARROWEST_NAME) if at == 0 else 0 if is_long else longest
            whole.append(min(room, max(longest, len(heading))))
            least.append(min(room, max(kept, min(len(heading), NUMBERS))))
        while sum(least) + len(least) - 1 > room:
            least.pop()
        widths = whole[: len(least)]
        while sum(widths) + len(widths) - 1 > room:
            widths[max(range(len(widths)), key=lambda at: (widths[at] > least[at], widths[at]))] -= 1
        return widths


def _row(depth: int, event: Event) -> tuple[Text, ...]:
    style = "dim" if event.internal else ""
    name = Text("  " * depth, style)
    name.append(str(event.kind), style or KIND_STYLES.get(event.kind, ""))
    name.append(f" {shown(event.name)}", style)
    if event.model:
        name.append(f" {shown(event.model)}", "dim")
    return (
        name,
        Text(str(event.status), STATUS_STYLES.get(event.status, "yellow")),
        *map(Text, words.figures(event)),
        Text("" if event.time_to_first_token is None else words.seconds(event.time_to_first_token)),
    )
