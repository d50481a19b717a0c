"""Trees and reports in a terminal: coloured where there is one, plain and unwrapped where the output is piped."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventtree.delivery.report import Report
from eventtree.event import Event, EventTree, Kind, Status

PIPED_WIDTH = 200
REQUESTS = ("requests", "refused")

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
    return Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH, no_color=True)


def draw_tree(out: Console, tree: EventTree) -> None:
    """One tree: an event a line, indented below its parent."""
    table = Table(box=None, pad_edge=False, header_style="dim", collapse_padding=True)
    table.add_column("event", no_wrap=True, overflow="ellipsis", ratio=None)
    for heading in ("status", "tokens", "cost", "duration", "first token"):
        table.add_column(heading, justify="left" if heading == "status" else "right", no_wrap=True)
    for depth, event in tree.walk():
        table.add_row(*_row(depth, event))
    out.print(Text.assemble(("tree ", "dim"), (tree.id, "bold"), _of(tree)))
    out.print(table)
    out.print(Text(f"sum: {_number(tree.total_tokens)} tokens, {_usd(tree.total_usd)}", "dim"), "")


def draw_report(out: Console, report: Report, requests: Mapping[str, tuple[int, int]] | None = None) -> None:
    """The sums, a vendor a line; `requests` adds how many requests each vendor took and refused."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    headings = ("vendor", "accepted", "delivered", "waiting", "dead", *REQUESTS[: 2 if requests else 0], "dropped")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("vendor", "dropped") else "right", no_wrap=True)
    for label, sums in report.vendors.items():
        dropped = ", ".join(f"{reason} {count}" for reason, count in sums.dropped.items()) or "0"
        state = Text(dropped)
        if sums.parked:
            state.append(f"  parked: {sums.parked}", "bold red")
        if sums.unexplained:
            state.append(f"  {sums.unexplained} unexplained", "bold red")
        counts = (sums.accepted, sums.delivered, sums.waiting, sums.dead)
        sent = requests.get(label, (0, 0)) if requests else ()
        table.add_row(label, *map(str, (*counts, *sent)), state)
    out.print(f"{report.events} events in {report.journal}")
    if report.vendors:
        out.print(table)
    else:
        out.print("No vendor: recorded locally.")
    _warnings(out, report)


def _warnings(out: Console, report: Report) -> None:
    if report.damaged_lines or report.lost_lines:
        out.print(f"Damage: {report.damaged_lines} lines unreadable, {report.lost_lines} lines missing.")
    for model, count in report.unknown_models.items():
        out.print(f"No price known for {model} ({count} events): cost stays unknown.")


def _row(depth: int, event: Event) -> tuple[Text, ...]:
    style = "dim" if event.internal else ""
    name = Text("  " * depth, style)
    name.append(str(event.kind), style or KIND_STYLES.get(event.kind, ""))
    name.append(f" {event.name}", style)
    if event.model:
        name.append(f" {event.model}", "dim")
    return (
        name,
        Text(str(event.status), STATUS_STYLES.get(event.status, "yellow")),
        Text(_number(event.usage.total_tokens if event.usage else None) if event.usage else ""),
        Text(_usd(event.cost.total_usd if event.cost else None) if event.usage else ""),
        Text(_seconds(event.duration)),
        Text("" if event.time_to_first_token is None else _seconds(event.time_to_first_token)),
    )


def _of(tree: EventTree) -> tuple[str, str]:
    root = tree.root
    parts = [f"session {root.session_id}" if root.session_id else "", f"user {root.user}" if root.user else ""]
    text = ", ".join(part for part in parts if part)
    return (f"  {text}" if text else "", "dim")


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _usd(value: object) -> str:
    return "unknown" if value is None else f"${float(str(value)):.6f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
