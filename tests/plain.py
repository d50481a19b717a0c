"""What a sanitizer makes of one value, for tests."""

from __future__ import annotations

from typing import Any

from eventtree.content import Sanitizer
from eventtree.kinds import JsonValue


def sanitize(value: Any, **options: Any) -> JsonValue:
    """`value` as plain JSON within the bounds."""
    made = Sanitizer(**options)
    return made.fitted(made(value))


def message(sanitizer: Sanitizer, value: Any) -> dict[str, Any]:
    """One message of any spelling."""
    [found] = sanitizer.messages([value])
    return found
