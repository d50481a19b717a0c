"""What LangChain reports of a model that tries again."""

from __future__ import annotations

from typing import Any

from eventtree.diagnostics import message_of


def retry_note(state: Any) -> dict[str, Any]:
    """The number of the attempt that failed, why, and how long until the next."""
    outcome = getattr(state, "outcome", None)
    failed = outcome is not None and getattr(outcome, "failed", False)
    error = outcome.exception() if failed and outcome is not None else None
    action = getattr(state, "next_action", None)
    return {
        "attempt": getattr(state, "attempt_number", None),
        "error": None if error is None else {"type": type(error).__name__, "message": message_of(error)},
        "wait_seconds": getattr(action, "sleep", None),
    }
