"""The row of a table of wrong requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Request = tuple[str, str, Any]
"""Method, path and body."""


@dataclass(frozen=True)
class Wrong:
    """A request that is refused with `status` for just this `reason`; `body` is JSON, or bytes as they are."""

    name: str
    path: str
    body: Any
    reason: str
    status: int
    method: str = "POST"

    def __str__(self) -> str:
        """Name the test."""
        return self.name


def without(body: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Copy a body without some of its keys."""
    return {key: value for key, value in body.items() if key not in keys}
