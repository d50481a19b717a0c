"""Anything → safe, redacted, bounded JSON."""

from __future__ import annotations

from eventtree.content.endpoint import endpoint
from eventtree.content.plain import Plain, plain
from eventtree.content.redact import FAILED, MASK, KnownSecrets, Redactor, known_secrets
from eventtree.content.shorten import shorten
from eventtree.content.walk import DEFAULT, Limits

__all__ = [
    "DEFAULT",
    "FAILED",
    "MASK",
    "KnownSecrets",
    "Limits",
    "Plain",
    "Redactor",
    "endpoint",
    "known_secrets",
    "plain",
    "shorten",
]
