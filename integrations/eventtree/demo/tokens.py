"""Token counts of the built-in models, by a rule of their own that stays close to a real tokenizer's.

A token is at most five letters of a word, or a sign. What a prompt has in common with the beginning of an earlier one
counts as read from the cache, in steps of 128 tokens, as OpenAI does it (whose smallest step is the eighth).
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import NamedTuple

CACHE_STEP = 128


class Used(NamedTuple):
    """What one call used; `cached` is a part of `input`."""

    input: int
    output: int
    cached: int


def pieces(text: str) -> list[str]:
    """The tokens of a text."""
    return re.findall(r"\w{1,5}|[^\w\s]", text)


def chunks(text: str) -> list[str]:
    """A text in the pieces a stream brings: a word each, with the space before it."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)


class Meter:
    """Counts calls and remembers their prompts: the provider's side of a prompt cache."""

    def __init__(self) -> None:
        """No prompt has been seen yet."""
        self._seen: list[list[str]] = []

    def measure(self, prompt: str, output: str) -> Used:
        """The tokens of one call."""
        tokens = pieces(prompt)
        shared = max((_shared(tokens, earlier) for earlier in self._seen), default=0)
        self._seen.append(tokens)
        return Used(len(tokens), len(pieces(output)), shared - shared % CACHE_STEP)


def _shared(tokens: list[str], earlier: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(tokens, earlier, strict=False)))
