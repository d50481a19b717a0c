"""Words of a text and how rare they are: all that the built-in models and the embedding know of language."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

_COMMON = """
a about after again all also an and any are as at be because been but by can could did do does doing for from get had
has have how i if in into is it its just like me more most much must my no not of on one or our out over own please
shall she should so some such tell than that the their them then there these they this those to too under up was we
were what when where which while who whom whose why will with work would you your
"""
COMMON = frozenset(_COMMON.split())
"""Words that say nothing of what a text is about."""

ENDINGS = ("ing", "ed", "es", "s")
SHORTEST_STEM = 3


def stem(word: str) -> str:
    """A word without its usual ending, so that `prices` and `priced` are one word."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            word = word.removesuffix(ending)
            break
    return word[:-1] if word.endswith("e") and len(word) > SHORTEST_STEM else word


def words(text: str) -> list[str]:
    """The stems of a text's telling words, in order."""
    return [stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in COMMON]


class Rarity:
    """How rare a word is among some texts: log(1 + texts / texts that have it)."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Count the words of `texts`."""
        sets = [set(words(text)) for text in texts]
        self._texts = max(1, len(sets))
        self._having = Counter(word for found in sets for word in found)

    def __call__(self, word: str) -> float:
        """The weight of a word; one that no text has weighs as much as one that a single text has."""
        return math.log(1 + self._texts / max(1, self._having[word]))
