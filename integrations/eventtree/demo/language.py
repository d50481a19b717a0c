"""The language skills of the demo's models: they find the sentence that shares most words with a question.

Answers are computed from the given passages, so that other documents give other answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from eventtree.errors import ConfigError

SHIPPED = Path(__file__).with_name("documents")
INSTRUCTION = "Answer the question with a sentence from the passages below, and name the file it comes from."
PROMPT = "{context}\n\nQuestion: {question}"
"""The prompt of both frameworks' chains."""
NO_ANSWER = "The documents do not answer this."

_COMMON = (
    "a about after all an and any are as at be but by can do does for from had has have how i if in into is it its me "
    "my no not of on one or our should so than that the their them there they this to was we were what when where "
    "which who why will with you your"
)
COMMON = frozenset(_COMMON.split())
"""Words that every text has, and which do not count."""
STEM = 5
"""Letters that forms of one word have in common, such as `removes` and `removal`."""
CACHE_STEP = 128
"""OpenAI reads prompts from its cache in steps of this many tokens."""


class Passage(NamedTuple):
    """One paragraph of a document, with its file and heading."""

    source: str
    title: str
    text: str

    @property
    def metadata(self) -> dict[str, str]:
        """Its file and heading, which both frameworks keep beside the text."""
        return {"source": self.source, "title": self.title}

    @property
    def headed(self) -> str:
        """The paragraph below its file and heading, as a prompt shows it."""
        return f"source: {self.source}\ntitle: {self.title}\n\n{self.text}"


def read_library(folder: str | Path | None = None) -> list[Passage]:
    """Every paragraph of the `*.md` files in `folder`; by default of those that ship with the package.

    Raises:
        ConfigError: there is no paragraph to read.
    """
    found = [passage for file in sorted(Path(folder or SHIPPED).glob("*.md")) for passage in _passages(file)]
    if not found:
        raise ConfigError("documents", f"nothing to read in {folder}", "Name a folder with *.md files")
    return found


def _passages(file: Path) -> Iterator[Passage]:
    title = file.stem
    for block in re.split(r"\n\s*\n", file.read_text(encoding="utf-8")):
        text = " ".join(block.split())
        if text.startswith("#"):
            title = text.lstrip("# ")
        elif text:
            yield Passage(file.name, title, text)


def words(text: str) -> list[str]:
    """The beginnings of a text's words, in order, without the common ones."""
    return [word[:STEM] for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in COMMON]


def read_prompt(prompt: str) -> tuple[str, str]:
    """Question and passages of a text made with `PROMPT` or a similar one; any other text is a question."""
    asked = re.fullmatch(r"(.*)\b(?:Question|Query):(.*?)(?:Answer:)?\s*", prompt, re.DOTALL)
    return (asked[2].strip(), asked[1].strip()) if asked else (prompt.strip(), "")


def answer(question: str, context: str) -> str:
    """The context's sentence that shares most words with the question, with its file.

    Words shared with the heading above a sentence count half.
    """
    asked = set(words(question))
    best, best_score = NO_ANSWER, 0.0
    head = {"source": "", "title": ""}
    for line in context.splitlines():
        name, _, value = line.partition(": ")
        if name in head:
            head[name] = value.strip()
            continue
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z`])", line.strip()):
            shared = len(asked.intersection(words(sentence)))
            score = shared + len(asked.intersection(words(head["title"]))) / 2
            if shared and score > best_score:
                best, best_score = f"{sentence} [{head['source']}]" if head["source"] else sentence, score
    return best


def tokens(text: str) -> list[str]:
    """The tokens of a text, similar to a real tokenizer's: at most five letters of a word, or a sign."""
    return re.findall(r"\w{1,5}|[^\w\s]", text)


def pieces(text: str) -> list[str]:
    """A text as the chunks of a stream: a word each, with the space before it."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)


class Used(NamedTuple):
    """The tokens of one call; `cached` is a part of `input`."""

    input: int
    output: int
    cached: int


class Meter:
    """Counts a model's tokens as its provider would, including the prompt cache: it remembers earlier prompts."""

    def __init__(self) -> None:
        """Start without an earlier prompt."""
        self._seen: list[list[str]] = []

    def measure(self, prompt: str, output: str) -> Used:
        """The tokens of one call; those that its prompt shares with the beginning of an earlier one are cached."""
        asked = tokens(prompt)
        shared = max((_shared(asked, earlier) for earlier in self._seen), default=0)
        self._seen.append(asked)
        return Used(len(asked), len(tokens(output)), shared - shared % CACHE_STEP)


def _shared(asked: list[str], earlier: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(asked, earlier, strict=False)))
