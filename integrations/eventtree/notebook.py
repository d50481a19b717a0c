"""Trees and tables as HTML for notebooks: one element with styles of its own, no script, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from eventtree import summary as words
from eventtree.diagnostics import shown

if TYPE_CHECKING:
    from eventtree.delivery.report import Report
    from eventtree.event import Event, EventTree

MOST_EVENTS = 300
"""Events drawn of one tree: a notebook's file stores its outputs."""
MOST_TREES = 20
MOST_CHARACTERS = 600
"""Of one input or output."""
COLOURS = {
    "chain": "#4b9fb5", "agent": "#a85fb5", "model": "#4a9d5b", "tool": "#c79a2e", "retriever": "#5b7fd0",
    "reranker": "#5b7fd0", "embedding": "#5b7fd0",
}  # fmt: skip
FAILED = "#d04a4a"
SHELL = '<div style="font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;overflow-x:auto">{}</div>'
TABLE = '<table style="border-collapse:collapse;font:inherit;margin:0"><thead>{}</thead><tbody>{}</tbody></table>'
CELL = '<{0} style="text-align:{1};padding:1px 10px 1px 0;border:0;white-space:nowrap;vertical-align:top;{2}">{3}</{0}>'
BAR = (
    '<div style="position:relative;width:220px;height:10px;margin-top:4px;background:rgba(128,128,128,.12)">'
    '<div style="position:absolute;left:{:.2f}%;width:{:.2f}%;min-width:2px;height:10px;background:{}"></div></div>'
)
FOLDED = (
    '<details><summary style="cursor:pointer">{}</summary>'
    '<pre style="margin:2px 0 6px 16px;white-space:pre-wrap;font:inherit;opacity:.8">{}</pre></details>'
)
DIM = '<span style="opacity:.65">{}</span>'
RED = f'<div style="color:{FAILED};white-space:pre-wrap">{{}}</div>'
LEFT, RIGHT = "left", "right"
COLUMNS = (
    ("event", LEFT), ("status", LEFT), ("tokens", RIGHT), ("cost", RIGHT), ("duration", RIGHT), ("", LEFT),
)  # fmt: skip


def text(value: object) -> str:
    """Foreign text, escaped, in one line."""
    return escape(shown(value))


def tree_html(tree: EventTree) -> str:
    """A tree as a waterfall: a line for each event; a click shows its inputs and outputs."""
    root = tree.root
    head = f"<b>{text(root.name)}</b> {DIM.format(text(' · '.join([*words.about(tree), tree.id])))}"
    begin, whole = _extent(tree.events)
    drawn = [(depth, event) for depth, event in tree.without_internal().walk()]
    rows = [_event_cells(depth, event, begin, whole) for depth, event in drawn[:MOST_EVENTS]]
    sums = f"{words.plural(len(tree.events), 'event')}, {words.number(tree.total_tokens)} tokens, {words.cost_of(tree)}"
    more = f"; {words.plural(len(drawn) - MOST_EVENTS, 'event')} not shown" if len(drawn) > MOST_EVENTS else ""
    below = [RED.format(text(line)) for event in words.failures(tree) for line in words.problem(event)]
    below += [f"<div>feedback: {text(line)}</div>" for line in words.scores(tree)]
    return SHELL.format(f"{head}{_table(COLUMNS, rows)}{''.join(below)}<div>{DIM.format(text(sums + more))}</div>")


def event_html(event: Event) -> str:
    """One event with its inputs, outputs and error."""
    begin, whole = _extent([event])
    wrong = "".join(RED.format(text(line)) for line in words.problem(event))
    return SHELL.format(_table(COLUMNS, [_event_cells(0, event, begin, whole)]) + wrong)


def rows_html(headings: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> str:
    """A table of texts and numbers, the latter to the right."""
    first = rows[0] if rows else [""] * len(headings)
    columns = [
        (heading, RIGHT if isinstance(value, int | float) else LEFT)
        for heading, value in zip(headings, first, strict=True)
    ]
    cells = [[text("" if value is None else value) for value in row] for row in rows]
    return SHELL.format(_table(columns, cells) + (DIM.format(text(note)) if note else ""))


def report_html(report: Report) -> str:
    """A report: each vendor's sums in a line, and remarks."""
    headings = ("vendor", "accepted", "delivered", "waiting", "dead", "dropped", "")
    rows = [
        (name, sums.accepted, sums.delivered, sums.waiting, sums.dead, sum(sums.dropped.values()),
         f"parked: {sums.parked}" if sums.parked else ", ".join(sums.dropped))
        for name, sums in report.vendors.items()
    ]  # fmt: skip
    notes = (f"{words.plural(report.events, 'event')} in {report.journal}", *words.report_notes(report))
    return rows_html(headings, rows, " · ".join(notes))


def _extent(events: Sequence[Event]) -> tuple[float, float]:
    """The first event's beginning, and the seconds from there to the last end."""
    begin = min(event.start.timestamp() for event in events)
    end = max(event.start.timestamp() + (event.duration or 0) for event in events)
    return begin, max(end - begin, 1e-6)


def _event_cells(depth: int, event: Event, begin: float, whole: float) -> list[str]:
    left = (event.start.timestamp() - begin) / whole * 100
    width = (event.duration or 0) / whole * 100
    colour = FAILED if event.error else COLOURS.get(event.kind, "#888")
    kind = f'<span style="color:{COLOURS.get(event.kind, "#888")}">{text(event.kind)}</span>'
    model = f" {DIM.format(text(event.model))}" if event.model else ""
    name = f"{kind} {text(words.shorten(event.name, 60))}{model}"
    contents = "\n".join(_contents(event))
    status = text(event.status) if not event.error else f'<span style="color:{FAILED}">{text(event.status)}</span>'
    return [
        f'<div style="margin-left:{min(depth, 30) * 14}px">{FOLDED.format(name, contents) if contents else name}</div>',
        status, *map(text, words.figures(event)),
        BAR.format(min(max(left, 0), 100), min(max(width, 0), 100), colour),
    ]  # fmt: skip


def _contents(event: Event) -> list[str]:
    found = []
    for label, value in (("in", event.inputs), ("out", event.outputs)):
        content = words.shorten("\n".join(words.content_lines(value)), MOST_CHARACTERS)
        found += [f"{label:4}{text(line)}" for line in content.splitlines()]
    return found + [f"note {text(note.name)} {words.clock(note.at)}" for note in event.notes[:20]]


def _table(columns: Iterable[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    sides = [side for _, side in columns]
    head = "".join(_cell("th", text(heading), side) for heading, side in columns)
    body = "".join(
        f"<tr>{''.join(_cell('td', value, side) for value, side in zip(row, sides, strict=True))}</tr>" for row in rows
    )
    return TABLE.format(f"<tr>{head}</tr>", body)


def _cell(tag: str, html: str, side: str) -> str:
    return CELL.format(tag, side, "opacity:.65;font-weight:normal" if tag == "th" else "", html)
