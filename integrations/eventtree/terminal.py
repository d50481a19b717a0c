"""Trees and reports in a terminal: coloured where there is one, plain and unwrapped where the output is piped."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventtree.diagnostics import shown
from eventtree.event import Event, EventTree, Kind, Status

if TYPE_CHECKING:
    from eventtree.delivery.report import Report, VendorTotals

PIPED_WIDTH = 200
ROOMY = 100
"""From this width on there is room for words."""
HEADINGS = ("event", "status", "tokens", "cost", "duration", "first token")
SHORT_HEADING = "ttft"
NARROWEST_NAME = 20

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
    """Where to draw."""
    plain: Any = {"markup": False, "emoji": False, "highlight": False}
    return Console(**plain) if sys.stdout.isatty() else Console(**plain, width=PIPED_WIDTH, no_color=True)


def draw_tree(out: Console, tree: EventTree, *, internal: bool = True) -> None:
    """One tree: an event a line, indented below its parent; without `internal`, no framework plumbing."""
    drawn = tree if internal else tree.without_internal()
    rows = [_row(depth, event) for depth, event in drawn.walk()]
    headings = [*HEADINGS[:-1], HEADINGS[-1] if out.width >= ROOMY else SHORT_HEADING]
    widths = [max(len(heading), *(len(row[column]) for row in rows)) for column, heading in enumerate(headings)]
    table = _table()
    room = max(NARROWEST_NAME, out.width - sum(widths[1:]) - len(widths[1:]))
    table.add_column(headings[0], no_wrap=True, overflow="ellipsis", width=min(widths[0], room))
    for heading, width in zip(headings[1:], widths[1:], strict=True):
        table.add_column(heading, justify="left" if heading == "status" else "right", no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*row)
    out.print(Text.assemble(("tree ", "dim"), (shown(tree.id), "bold")), Text(shown(_of(tree)), "dim"), sep="  ")
    out.print(table)
    hidden = len(tree.events) - len(drawn.events)
    more = f"; {hidden} events of the framework's plumbing not shown" if hidden else ""
    least = "at least " if tree.unpriced and tree.total_usd is not None else ""
    out.print(Text(f"sum: {_number(tree.total_tokens)} tokens, {least}{_usd(tree.total_usd)}{more}", "dim"), "")


def draw_report(out: Console, report: Report, requests: Mapping[str, tuple[int, int]] | None = None) -> None:
    """The sums, a vendor a line; `requests` adds how many requests each vendor took and refused."""
    out.print(f"{report.events} events in {shown(report.journal)}", soft_wrap=True)
    if not report.vendors:
        out.print("No vendor: recorded locally.")
        return _warnings(out, report)
    table = _table()
    table.add_column("vendor", no_wrap=True, min_width=max(map(len, report.vendors)))
    for heading in ("accepted", "delivered", "waiting", "dead", *(("requests", "refused") if requests else ())):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    table.add_column("dropped")
    for label, sums in report.vendors.items():
        numbers = (sums.accepted, sums.delivered, sums.waiting, sums.dead, *(requests or {}).get(label, ()))
        table.add_row(label, *map(str, numbers), _state(sums))
    out.print(table)
    return _warnings(out, report)


def _state(sums: VendorTotals) -> Text:
    """What was dropped, and what is wrong."""
    state = Text(shown(", ".join(f"{reason} {count}" for reason, count in sums.dropped.items())) or "0")
    if sums.feedback:
        fates = ", ".join(f"{fate} {count}" for fate, count in sums.feedback.items())
        state.append(f"  feedback: {fates}", "dim")
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


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="dim", collapse_padding=True)


def _warnings(out: Console, report: Report) -> None:
    if report.unreplicated_bytes is not None:
        age = f", the oldest {report.lag_seconds:.1f} s old" if report.lag_seconds else ""
        out.print(f"Relayed: {report.unreplicated_bytes} bytes are not with the collector's engine yet{age}.")
    if report.unreplicated:
        out.print(f"{report.unreplicated} trees ended without its acknowledgement.")
    if report.dropped:
        left_out = ", ".join(f"{reason} {count}" for reason, count in report.dropped.items())
        out.print(f"Left out, only counted: {shown(left_out)}.")
    if report.damaged_lines or report.lost_lines:
        out.print(f"Damage: {report.damaged_lines} lines unreadable, {report.lost_lines} lines missing.")
    if report.newer_logs:
        out.print(f"{len(report.newer_logs)} logs of a newer eventtree: left for that version to deliver.")
    if report.unwritten_bytes:
        out.print(f"{report.unwritten_bytes} bytes wait in memory: the disk refuses them.")
    for model, count in report.unknown_models.items():
        met = f"{count} event{'' if count == 1 else 's'}"
        name = shown(model)
        out.print(f"No price known for {name} ({met}): cost stays unknown. Why: eventtree prices {name}")


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
        Text(_number(event.usage.total_tokens if event.usage else None) if event.usage else ""),
        Text(_usd(event.cost.total_usd if event.cost else None) if event.usage else ""),
        Text(_seconds(event.duration)),
        Text("" if event.time_to_first_token is None else _seconds(event.time_to_first_token)),
    )


def _of(tree: EventTree) -> str:
    root = tree.root
    parts = [f"session {root.session_id}" if root.session_id else "", f"user {root.user}" if root.user else ""]
    return ", ".join(part for part in parts if part)


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _usd(value: object) -> str:
    return "unknown" if value is None else f"${float(str(value)):.6f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
