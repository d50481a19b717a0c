"""The built-in models' way to answer: the sentences of the passages that share most rare words with the question."""

from __future__ import annotations

import re
from typing import NamedTuple

from eventtree.demo.words import Rarity, words

INSTRUCTION = "Answer the question with sentences from the passages below, and name the file they come from."
PROMPT = "{context}\n\nQuestion: {question}"
"""What both frameworks' chains ask with."""

MOST_SENTENCES = 2
CLOSE = 0.75
"""A second sentence is added if it scores at least this share of the best one."""
NO_ANSWER = "The documents do not answer this."


class Sentence(NamedTuple):
    """A sentence, and the file and heading it stands under."""

    text: str
    source: str
    title: str


def read_prompt(prompt: str) -> tuple[str, str]:
    """Question and passages of a text made with `PROMPT` or a like one; one without passages is the question itself."""
    asked = re.fullmatch(r"(.*)\b(?:Question|Query):(.*?)(?:Answer:)?\s*", prompt, re.DOTALL)
    return (asked[2].strip(), asked[1].strip()) if asked else (prompt.strip(), "")


def answer(question: str, context: str) -> str:
    """An answer made of the context's own sentences."""
    sentences = _sentences(context)
    rarity = Rarity(sentence.text for sentence in sentences)
    asked = set(words(question))
    scores = [_score(asked, sentence, rarity) for sentence in sentences]
    best = max(scores, default=0.0)
    if not best:
        return NO_ANSWER
    ranked = sorted(range(len(sentences)), key=lambda place: (-scores[place], place))
    chosen = sorted(place for place in ranked[:MOST_SENTENCES] if scores[place] >= CLOSE * best)
    return _cited([sentences[place] for place in chosen])


def _score(asked: set[str], sentence: Sentence, rarity: Rarity) -> float:
    """The weight of the words a sentence shares with the question, those of its heading at half their weight."""
    shared = sum(rarity(word) for word in asked.intersection(words(sentence.text)))
    heading = sum(rarity(word) for word in asked.intersection(words(sentence.title)))
    return shared + heading / 2 if shared else 0.0


def _sentences(context: str) -> list[Sentence]:
    found = []
    heads = {"source": "", "title": ""}
    for line in context.splitlines():
        name, _, value = line.partition(": ")
        if name in heads:
            heads[name] = value.strip()
        else:
            found += [Sentence(text, **heads) for text in re.split(r"(?<=[.!?])\s+(?=[A-Z`])", line.strip()) if text]
    return list(dict.fromkeys(found))


def _cited(sentences: list[Sentence]) -> str:
    sources = ", ".join(dict.fromkeys(sentence.source for sentence in sentences if sentence.source))
    return " ".join(sentence.text for sentence in sentences) + (f" [{sources}]" if sources else "")
