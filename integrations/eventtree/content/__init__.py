"""Any object of the app → safe, redacted, bounded JSON."""

from __future__ import annotations

from eventtree.content.containers import items_of
from eventtree.content.endpoint import endpoint
from eventtree.content.redact import FAILED, MASK, KnownSecrets, Redactor, known_secrets, masking
from eventtree.content.sanitizer import Sanitizer, sanitize
from eventtree.content.truncate import truncate
from eventtree.content.walk import DEFAULT, Limits

__all__ = [
    "DEFAULT",
    "FAILED",
    "MASK",
    "KnownSecrets",
    "Limits",
    "Redactor",
    "Sanitizer",
    "endpoint",
    "items_of",
    "known_secrets",
    "masking",
    "sanitize",
    "truncate",
]
