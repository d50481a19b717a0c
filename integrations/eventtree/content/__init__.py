"""Any object of the app → safe, redacted, bounded JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventtree.content.python_values import items_of
from eventtree.content.sanitizer import Sanitizer
from eventtree.content.truncate import truncate
from eventtree.content.walk import FAILED, MASK, Redactor

if TYPE_CHECKING:
    from eventtree.content.redact import KnownSecrets, known_secrets, masking

__all__ = [
    "FAILED",
    "MASK",
    "KnownSecrets",
    "Redactor",
    "Sanitizer",
    "items_of",
    "known_secrets",
    "masking",
    "truncate",
]


def __getattr__(name: str) -> Any:
    """Load the built-in redactors when they are used: most apps have none, and their patterns take long to compile."""
    if name not in ("KnownSecrets", "known_secrets", "masking"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventtree.content import redact

    return getattr(redact, name)
