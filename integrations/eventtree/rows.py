"""Events as rows of a data frame: one level of plain values, contents as JSON."""

from __future__ import annotations

import json
from typing import Any

from eventtree.event import Event

COPIED = (
    "id", "parent_id", "tree_id", "session_id", "user", "kind", "name", "status", "model", "provider", "start",
    "duration", "time_to_first_token", "internal",
)  # fmt: skip
TOKENS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "reasoning_tokens")


def event_row(event: Event) -> dict[str, Any]:
    """The row of an event; what is unknown is None. Dollars are floats, times are in UTC."""
    row = {name: getattr(event, name) for name in COPIED}
    row |= {"kind": str(event.kind), "status": str(event.status)}
    row |= {name: getattr(event.usage, name, None) for name in TOKENS}
    usd = event.cost.total_usd if event.cost else None
    row |= {"usd": None if usd is None else float(usd), "error": event.error.type if event.error else None}
    row |= {"error_message": event.error.message if event.error else None, "tags": ", ".join(event.tags)}
    return {**row, "inputs": _json(event.inputs), "outputs": _json(event.outputs)}


def _json(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
