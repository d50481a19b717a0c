"""Which keys of an answer the handlers keep for `normalise`: made of its tables, so that a new row is kept too."""

from __future__ import annotations

from collections.abc import Iterable

from eventtree.event import JsonValue
from eventtree.usage.providers import CONTAINERS, FORMATS, TIERS

WRAPPERS = frozenset({"", "response", "message", "metadata", "result"})
"""What holds a whole answer, with its text: the handlers look into these themselves, or need not."""


def _firsts(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(path.partition(".")[0].partition("[")[0] for path in paths)


PLACES = _firsts((*CONTAINERS, *TIERS)) - WRAPPERS
"""Keys under which an answer holds its usage or its service tier."""

COUNTS = _firsts(path for shape in FORMATS for paths in shape.reads.values() for path in paths.split(" | "))
COUNTS |= _firsts(mark for shape in FORMATS for mark in shape.marks)
"""Keys of the counts themselves, where an answer has them at its top (Ollama, Bedrock Invoke, Databricks)."""


def without_text(key: str, value: JsonValue) -> JsonValue:
    """The value of one of these keys, less what is no count under it."""
    if key == "results" and isinstance(value, list):
        # Titan on Bedrock counts beside the text of its answer.
        return [{"tokenCount": one.get("tokenCount")} for one in value if isinstance(one, dict)]
    # Cohere's counts; log probabilities elsewhere.
    return None if key == "tokens" and not isinstance(value, dict) else value
