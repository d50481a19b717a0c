"""Trees and events in a line of text: for terminals, notebooks and `repr`.

Foreign texts are shortened here, and made safe where they are shown: `diagnostics.shown`, `html.escape`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from eventtree.diagnostics import shown

if TYPE_CHECKING:
    from eventtree.delivery.report import Report
    from eventtree.event import Event, EventError, EventTree

LINE = 200
"""Characters of a text in one line."""
LIBRARIES = re.compile(r"[\\/](?:site-packages|dist-packages|lib[\\/]python3[^\\/]*)[\\/]|^<frozen|[\\/]eventtree[\\/]")
FRAME = re.compile(r'File "([^"\n]+)", line (\d+), in ([^\n]+)')
GIST_KEYS = ("question", "query", "input", "prompt", "text", "content", "answer", "output", "result")
"""Keys of a dict under which its question or answer is, the first found counts."""


def number(value: int | None) -> str:
    """A count; unknown is no 0."""
    return "unknown" if value is None else f"{value:,}"


def usd(value: object) -> str:
    """Dollars; unknown is no 0."""
    return "unknown" if value is None else f"${float(str(value)):.6f}"


def seconds(value: float | None) -> str:
    """A duration."""
    if value is None:
        return "unknown"
    if value >= 100:
        return f"{int(value // 60)} min {value % 60:.0f} s"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def clock(at: datetime, *, date: bool = False) -> str:
    """The local time of day; with `date`, also the date, unless it is today."""
    local = at.astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S" if date and local.date() != datetime.now().date() else "%H:%M:%S")


def cost_of(tree: EventTree) -> str:
    """Dollars of a tree; `at least` where some event has no price."""
    return f"{'at least ' if tree.unpriced and tree.total_usd is not None else ''}{usd(tree.total_usd)}"


def plural(count: int, what: str) -> str:
    """`1 event`, `2 events`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def report_notes(report: Report) -> Iterator[str]:
    """Remarks on a journal besides its vendors' sums, a line each."""
    if report.unreplicated_bytes is not None:
        age = f", the oldest {report.lag_seconds:.1f} s old" if report.lag_seconds else ""
        yield f"Relayed: {report.unreplicated_bytes} bytes are not with the collector's engine yet{age}."
    if report.unreplicated:
        yield f"{report.unreplicated} trees ended without its acknowledgement."
    if report.dropped:
        left_out = ", ".join(f"{reason} {count}" for reason, count in report.dropped.items())
        yield f"Left out, only counted: {shown(left_out)}."
    if report.vanished:
        who = "1 process elsewhere" if report.vanished == 1 else f"{report.vanished} processes elsewhere"
        yield f"{who} fell silent, with {report.vanished_bytes} bytes or more to send."
    if report.damaged_lines or report.lost_lines:
        yield f"Damage: {report.damaged_lines} lines unreadable, {report.lost_lines} lines missing."
    if report.newer_logs:
        yield f"{len(report.newer_logs)} logs of a newer eventtree: left for that version to deliver."
    if report.unwritten_bytes:
        yield f"{report.unwritten_bytes} bytes wait in memory: the disk refuses them."
    for model, count in report.unknown_models.items():
        name = shown(model)
        yield f"No price known for {name} ({plural(count, 'event')}): cost stays unknown. Why: eventtree prices {name}"


def gist(value: Any, length: int = LINE) -> str:
    """An input or output in one line: its last message, question or answer; else its JSON."""
    return shorten(shown(_gist(value).strip()), length)


def shorten(text: str, length: int = LINE) -> str:
    """The beginning of a text."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _gist(value: Any) -> str:
    for _ in range(6):  # levels of lists and dicts around the text
        if isinstance(value, str) or value is None:
            return value or ""
        if isinstance(value, list) and value:
            value = value[-1]
        elif isinstance(value, dict):
            found = _main_part(value)
            if found is None:
                break
            value = found
        else:
            break
    return _json(value)


def _main_part(value: Mapping[str, Any]) -> Any:
    """The value that shows best what a dict holds; None where there is none."""
    if value.get("tool_calls") and not value.get("content"):
        return ", ".join(f"{call.get('name')}({_json(call.get('arguments'))})" for call in value["tool_calls"])
    if value.get("messages"):
        return value["messages"]
    if value.get("documents"):
        return f"{plural(len(value['documents']), 'document')}: {_gist(value['documents'][0])}"
    if len(value) == 1:
        return next(iter(value.values()))
    return next((value[key] for key in GIST_KEYS if value.get(key)), None)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


LINES = 60
"""Lines of one input or output."""


def content_lines(value: Any) -> Iterator[str]:
    """The lines of an input or output: messages with their roles, texts unchanged, all else as JSON."""
    lines = list(_lines(value))
    yield from lines[:LINES]
    if len(lines) > LINES:
        yield f"… {plural(len(lines) - LINES, 'more line')}: eventtree show --json"


def _lines(value: Any) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, str):
        yield from value.splitlines()
    elif isinstance(value, dict) and isinstance(value.get("messages"), list):
        for message in value["messages"]:
            yield from _message_lines(message)
        rest = {key: other for key, other in value.items() if key != "messages"}
        yield from _lines(rest) if rest else ()
    elif isinstance(value, dict) and len(value) == 1:
        key, (first, *more) = next(iter(value)), list(_lines(next(iter(value.values())))) or [""]
        yield f"{key}: {first}"
        yield from more
    else:
        yield from json.dumps(value, ensure_ascii=False, indent=2, default=str).splitlines()


def _message_lines(message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield from _lines(message)
        return
    content = message.get("content")
    first, *more = list(_lines(content)) or [""]
    calls = [f"→ {call.get('name')}({_json(call.get('arguments'))})" for call in message.get("tool_calls") or ()]
    yield f"{message.get('role') or 'message'}: {first if content or not calls else calls.pop(0)}"
    yield from (*more, *calls)


def users_frame(error: EventError) -> str | None:
    """The innermost line of the app's own code in a traceback: `file.py:12 in load`."""
    frames = [found for found in FRAME.findall(error.traceback or "") if not LIBRARIES.search(found[0])]
    return f"{frames[-1][0]}:{frames[-1][1]} in {frames[-1][2]}" if frames else None


def failures(tree: EventTree) -> Iterator[Event]:
    """The events where errors began: of failed events within each other, the innermost."""
    failed = {event.id for event in tree.events if event.error is not None}
    above = {event.parent_id for event in tree.events if event.id in failed}
    return (event for event in tree.events if event.id in failed and event.id not in above)


def problem(event: Event) -> list[str]:
    """An event's error, and the innermost line of the app's code in its traceback."""
    if event.error is None:
        return []
    what = f"{event.kind} {shorten(event.name, 60)}: {event.error.type}: {shorten(event.error.message, 500)}"
    frame = users_frame(event.error)
    return [what, f"  at {frame}"] if frame else [what]


def about(tree: EventTree) -> list[str]:
    """A tree's start, session and user."""
    root = tree.root
    named = {"session": root.session_id, "user": root.user}
    return [clock(root.start, date=True), *(f"{name} {value}" for name, value in named.items() if value)]


def scores(tree: EventTree) -> list[str]:
    """Each feedback in a line: `helpful 1 "Quite right"`."""
    found = []
    for given in tree.feedback:
        score = given.get("score")
        named = score if isinstance(score, dict) else {str(given.get("name") or "score"): score}
        parts = [f"{name} {value}" for name, value in named.items() if value is not None]
        parts += [gist(given[key]) for key in ("comment", "correction") if given.get(key)]
        found.append(" ".join(parts))
    return found


def figures(event: Event) -> tuple[str, str, str]:
    """An event's tokens and cost, empty if it used none, and its duration."""
    usage, cost = event.usage, event.cost
    used = (number(usage.total_tokens), usd(cost.total_usd if cost else None)) if usage else ("", "")
    return *used, seconds(event.duration)


def line_of(tree: EventTree) -> str:
    """A tree for `repr`."""
    root = tree.root
    figures = f"{number(tree.total_tokens)} tokens, {cost_of(tree)}, {seconds(root.duration)}"
    return shown(f"{shorten(root.name, 60)} {root.status}, {plural(len(tree.events), 'event')}, {figures}, {tree.id}")


def line_of_event(event: Event) -> str:
    """An event for `repr`."""
    parts = [str(event.kind), shorten(event.name, 60), event.model or "", str(event.status)]
    figures = [f"{number(event.usage.total_tokens)} tokens" if event.usage else ""]
    figures += [usd(event.cost.total_usd) if event.cost else "", seconds(event.duration), event.id]
    return shown(", ".join(filter(None, [" ".join(filter(None, parts)), *figures])))


ROW = (
    "id", "parent_id", "tree_id", "session_id", "user", "kind", "name", "status", "model", "provider", "start",
    "duration", "time_to_first_token", "internal",
)  # fmt: skip
TOKENS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "reasoning_tokens")


def event_row(event: Event) -> dict[str, Any]:
    """The row of an event; unknown values are None. Dollars are floats, times are in UTC."""
    row = {name: getattr(event, name) for name in ROW}
    row |= {"kind": str(event.kind), "status": str(event.status)}
    row |= {name: getattr(event.usage, name, None) for name in TOKENS}
    usd = event.cost.total_usd if event.cost else None
    row |= {"usd": None if usd is None else float(usd), "error": event.error.type if event.error else None}
    row |= {"error_message": event.error.message if event.error else None, "tags": ", ".join(event.tags)}
    contents = {"inputs": event.inputs, "outputs": event.outputs}
    return row | {name: one if one is None or isinstance(one, str) else _json(one) for name, one in contents.items()}


class Table(NamedTuple):
    """A table of texts and numbers, and a note below it: drawn by rich in a terminal, as HTML in a notebook."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def __rich__(self) -> Any:
        from eventtree.terminal import drawn

        return drawn(self)

    def _repr_html_(self) -> str:
        from eventtree.notebook import rows_html

        return rows_html(*self)


class Tabled:
    """A value that terminals and notebooks show as one table."""

    __slots__ = ()

    def table(self) -> Table:
        """The table."""
        raise NotImplementedError

    def __rich__(self) -> Any:
        return self.table().__rich__()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
