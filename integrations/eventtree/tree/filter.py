"""Filters trees by words: `status:error session:s1 cost>0.01 since:1h "some text"`.

`Filter.parse` reads the words for `show`, `ls`, `trees`, the viewer and `keep=`. A `Filter` judges an `EventTree` by
itself (`matches`); `eventtree.query` asks its index the same.

=====================  ====================================================================================
word                   selects trees
=====================  ====================================================================================
status:error           by their root's status: ok, error, interrupted, cancelled, incomplete
session: user:         of this session, of this user
environment:           of this deployment
name:                  with this name of the root
kind:tool              with such an event: chain, agent, model, tool, retriever, reranker, embedding
model: provider:       with an event of this model, asked or answering; of this provider
tag:                   with an event of this tag
error:*Timeout*        with an event that failed with this class of exception
experiment:            of this experiment (`eventtree.example`)
vendor:                that name this vendor
cost tokens events     by a number: `cost>0.01`, `tokens>=1000`; an unknown figure never matches
errors                 by the number of failed events: `errors>0`
duration>10            by seconds, or `500ms`, `2m`, `1h`
since:1h until:7d      that began since then, or before; also a date: `since:2026-11-28T14:30`
id:1f3a                whose id begins or ends with this
feedback               with feedback: a score or a comment
rate:0.05              of a fixed share of all trees
anything else          that contain this text: names, inputs, outputs, errors, notes, metadata, feedback
=====================  ====================================================================================

All words must match; `OR` begins an alternative. `-` before a word negates it. A word takes several values with commas
(`status:error,cancelled`), `*` in a value matches anything, and case does not matter. A value with spaces, commas or
colons needs quotes: `name:"my chain"`, `"http://host"`; inside them `\\"` is a quote.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import Enum
from hashlib import blake2b
from typing import Any, NoReturn

from eventtree import diagnostics
from eventtree.content.walk import clean
from eventtree.errors import ConfigError
from eventtree.event import EventTree
from eventtree.kinds import JsonValue, Kind, Status

LONGEST = 2_000
"""Most characters of a filter."""
MOST_STARS = 8
"""Most `*` in one value: each takes one more search."""

WORD = re.compile(r'(-?)(?:([A-Za-z_]+)(:?(?:>=|<=|!=|>|<|=)|:))?((?:"(?:[^"\\]|\\.)*"|[^\s"])*)\s*', re.S)
"""Negation, word and operator, value."""
PIECE = re.compile(r'"((?:[^"\\]|\\.)*)"|([,*])|([^",*]+)', re.S)
"""Pieces of a value: quoted text, a comma or star, other text."""
SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
COMPARES: Mapping[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
}

TEXT_WORDS: Mapping[str, Callable[[EventTree], Iterable[str | None]]] = {
    "status": lambda tree: (tree.root.status,),
    "session": lambda tree: (tree.root.session_id,),
    "user": lambda tree: (tree.root.user,),
    "environment": lambda tree: (tree.root.environment,),
    "name": lambda tree: (tree.root.name,),
    "kind": lambda tree: (event.kind for event in tree.events if not event.internal),
    "model": lambda tree: (name for event in tree.events for name in (event.model, event.asked_model)),
    "provider": lambda tree: (event.provider for event in tree.events),
    "tag": lambda tree: (tag for event in tree.events for tag in event.tags),
    "error": lambda tree: (event.error.type for event in tree.events if event.error),
    "experiment": lambda tree: (experiment_of(tree),),
}
"""Word that compares texts → the texts of a tree, one of which must match."""
NUMBER_WORDS: Mapping[str, Callable[[EventTree], float | None]] = {
    "cost": lambda tree: None if tree.total_usd is None else float(tree.total_usd),
    "tokens": lambda tree: tree.total_tokens,
    "events": lambda tree: len(tree.events),
    "errors": lambda tree: sum(event.status is Status.ERROR for event in tree.events),
    "duration": lambda tree: tree.root.duration,
}
ALLOWED: Mapping[str, tuple[str, ...]] = {"status": tuple(Status), "kind": tuple(Kind)}
"""Words that have only these values."""
VENDOR, ID, RATE, SINCE, UNTIL, FEEDBACK, TEXT = "vendor", "id", "rate", "since", "until", "feedback", "text"
WORDS = (*TEXT_WORDS, *NUMBER_WORDS, VENDOR, ID, RATE, SINCE, UNTIL, FEEDBACK)
NO_RULES = (VENDOR, SINCE, UNTIL, TEXT)
"""Words that `keep=` refuses: their answer depends on the time, or on a replay. A text without quotes is refused too,
because in a rule it is mostly a mistake: `cost > 1`, `a AND b`.
"""


Pattern = tuple[str, ...]
"""A value in lower case, split at its stars; without a star it is one text, which must be equal."""


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a filter."""

    word: str
    """One of `WORDS`, or `text` for a text without a word."""
    op: str
    """`:`, or the comparison of a number: `>`, `>=`, `<`, `<=`, `=`."""
    values: tuple[Pattern, ...] = ()
    """The values to compare texts with: one of them must match."""
    number: float = 0.0
    """The number to compare with; for a time, seconds since the epoch."""
    negated: bool = False

    def fits(self, tree: EventTree, vendors: Iterable[str] = ()) -> bool:
        """Whether the word selects a tree that names these vendors."""
        return self._fits(tree, vendors) is not self.negated

    def _fits(self, tree: EventTree, vendors: Iterable[str]) -> bool:
        if self.word in NUMBER_WORDS:
            number = NUMBER_WORDS[self.word](tree)
            return number is not None and COMPARES[self.op](number, self.number)
        if self.word in (SINCE, UNTIL):
            return (tree.root.start.timestamp() >= self.number) is (self.word == SINCE)
        if self.word == RATE:
            return share_of(tree.id) < self.number
        if self.word == FEEDBACK:
            return bool(tree.feedback)
        if self.word == ID:
            ends, whole = tuple(value[0] for value in self.values), tree.id.lower()
            return whole.startswith(ends) or whole.endswith(ends)
        if self.word == TEXT:
            return any(self.values[0][0] in text.lower() for text in texts_of(tree))
        texts = vendors if self.word == VENDOR else TEXT_WORDS[self.word](tree)
        return any(self.fits_text(text) for text in texts if text is not None)

    def fits_text(self, text: str) -> bool:
        """Whether a text is one of the values."""
        lower = text.lower()
        return any(_is_like(value, lower) for value in self.values)


@dataclass(frozen=True, slots=True)
class Filter:
    """Alternatives, one of which must match with all of its words. A filter without any selects all trees."""

    choices: tuple[tuple[Term, ...], ...] = ()
    words: str = ""
    """The filter as the user wrote it."""

    @classmethod
    def parse(cls, words: str, *, now: datetime | None = None, without: Iterable[str] = ()) -> Filter:
        """The filter of these words; `since:1h` counts back from `now`. `without` are words that are refused here; with
        `text` among them, a text needs quotes.

        Raises:
            ConfigError: a word or a value is unknown (it lists the known ones), or a quote is not closed.
        """
        if len(words) > LONGEST:
            raise ConfigError("filter", f"it has more than {LONGEST:,} characters", "Shorten it")
        words = clean(words)  # as texts are recorded
        choices: list[list[Term]] = [[]]
        at = len(words) - len(words.lstrip())
        while at < len(words):
            found = WORD.match(words, at)
            if found is None or words.startswith('"', found.end()):
                raise ConfigError("filter", f"a quote is not closed in {words[at:][:40]!r}", 'Close it, or write \\"')
            at = found.end()
            if found[0].strip() == "OR":
                choices.append([])
            else:
                choices[-1].append(_term(found, now or datetime.now(UTC), frozenset(without)))
        if len(choices) > 1 and not all(choices):
            raise ConfigError(
                "filter", "there is nothing on one side of OR", 'Write words on both, or "OR" for the text'
            )
        return cls(tuple(map(tuple, choices)) if choices[0] else (), words.strip())

    @classmethod
    def named(cls, word: str, text: str) -> Filter:
        """The filter of one word that compares texts, with exactly this text."""
        return cls(((Term(word, ":", ((text.lower(),),)),),), f"{word}:{quoted(text)}")

    def matches(self, tree: EventTree, vendors: Iterable[str] = ()) -> bool:
        """Whether the filter selects a tree that names these vendors."""
        return not self.choices or any(all(term.fits(tree, vendors) for term in terms) for terms in self.choices)

    def __and__(self, other: Filter) -> Filter:
        """The filter that selects the trees that both select."""
        if not self.choices or not other.choices:
            return self if self.choices else other
        both = tuple((*mine, *theirs) for mine in self.choices for theirs in other.choices)
        return Filter(both, f"{self.words} {other.words}")


def judge_of(keep: Any, setting: str = "keep") -> Callable[[EventTree], bool] | None:
    """The function that decides whether a vendor gets a tree, from the app's function or words; None for all trees. If
    the app's function raises, the vendor gets the tree, so its fault loses nothing.

    Raises:
        ConfigError: a word is wrong, or `keep` is neither words nor a function (a coroutine is refused).
    """
    if keep is None:
        return None
    try:
        test = Filter.parse(keep, without=NO_RULES).matches if isinstance(keep, str) else keep
    except ConfigError as error:
        raise ConfigError(setting, error.problem, error.hint) from None
    called = getattr(test, "__call__", None)  # noqa: B004  (an object may be called like a function)
    if called is None or inspect.iscoroutinefunction(test) or inspect.iscoroutinefunction(called):
        problem = "a coroutine cannot judge" if called else "it is no function"
        raise ConfigError(setting, problem, "Give a function from the tree to True or False, or words")

    def judge(tree: EventTree) -> bool:
        try:
            answer = test(tree)
            if inspect.iscoroutine(answer):
                answer.close()
                raise TypeError("a coroutine cannot judge")
            return bool(answer)
        except Exception as error:  # noqa: BLE001  (the app's function runs here)
            diagnostics.failed("keep", error)
            return True

    return judge


def share_of(tree_id: str) -> float:
    """A number from 0 to 1 from a tree's id alone: the same in every process, at any time."""
    return int.from_bytes(blake2b(tree_id.encode("utf-8", "replace"), digest_size=6).digest()) / (1 << 48)


def experiment_of(tree: EventTree) -> str | None:
    """The experiment of a tree."""
    found = tree.root.metadata.get("eventtree_experiment")
    return None if found is None else str(found)


def quoted(value: str) -> str:
    """A text as a filter's value that matches only this text."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def texts_of(tree: EventTree) -> Iterator[str]:
    """Every recorded text of a tree."""
    for event in tree.events:
        yield from filter(None, (event.name, event.model, event.session_id, event.user, *event.tags))
        if event.error is not None:
            yield event.error.type
            yield event.error.message
        values = (event.inputs, event.outputs, event.metadata, *(note.value for note in event.notes))
        yield from _texts([*values, *(note.name for note in event.notes)])
    yield from _texts(list(tree.feedback))


def _texts(value: JsonValue) -> Iterator[str]:
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            stack.extend(one.values())
        elif isinstance(one, list | tuple):
            stack.extend(one)
        elif one is not None:
            yield str(one)


def _is_like(pattern: Pattern, text: str) -> bool:
    """Whether a text matches a pattern, in time linear in both, whatever the pattern."""
    if len(pattern) == 1:
        return pattern[0] == text
    first, *middle, last = pattern
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _term(found: re.Match[str], now: datetime, without: frozenset[str]) -> Term:
    """The term of one word.

    Raises:
        ConfigError: it cannot be read.
    """
    minus, word, op, written = found[1], (found[2] or "").lower(), (found[3] or ""), found[4]
    negated = minus == "-"
    if not word:
        if written.lower() == FEEDBACK:
            return Term(FEEDBACK, ":", negated=negated)
        if TEXT not in without or written.startswith('"'):
            text = _plain(_pieces(written)).lower() or minus
            return Term(TEXT, ":", ((text,),), negated=negated and bool(written))
        word, written = written.lower() or minus, ""
    if word not in WORDS:
        _refuse_word(word, op, found[0].strip())
    if word in without:
        raise ConfigError("filter", f"{word} cannot be used here", f"Words are {_listed(WORDS, without)}")
    if not written:
        raise ConfigError("filter", f"{word}{op} has no value", f'Write one after it, or "{word}{op}" for the text')
    compares = op.lstrip(":")
    if compares == "!=":
        raise ConfigError("filter", "nothing is compared with !=", f'Turn the word round: "-{word}:{written}"')
    if word in NUMBER_WORDS:
        return Term(word, compares or "=", number=_number(word, written), negated=negated)
    if compares not in ("", "="):
        raise ConfigError(
            "filter", f"{word} is no number", f"Write {word}:{written}. Numbers are {', '.join(NUMBER_WORDS)}"
        )
    if word == RATE:
        return Term(word, ":", number=_share(written), negated=negated)
    if word in (SINCE, UNTIL):
        return Term(word, ":", number=_time(word, written, now), negated=negated)
    if word == FEEDBACK:
        raise ConfigError("filter", "feedback has no value", "Write it alone")
    return Term(word, ":", _values(word, written), negated=negated)


class Mark(Enum):
    """A sign in a value, outside of quotes."""

    COMMA = ","
    STAR = "*"


def _pieces(written: str) -> list[str | Mark]:
    """The pieces of a value, without quotes."""
    found = PIECE.finditer(written)
    return [Mark(one[2]) if one[2] else one[3] or re.sub(r"\\(.)", r"\1", one[1], flags=re.S) for one in found]


def _plain(pieces: Iterable[str | Mark]) -> str:
    return "".join(piece.value if isinstance(piece, Mark) else piece for piece in pieces)


def _values(word: str, written: str) -> tuple[Pattern, ...]:
    patterns = [[""]]
    for piece in _pieces(written):
        if piece is Mark.COMMA:
            patterns.append([""])
        elif piece is Mark.STAR:
            patterns[-1].append("")
        else:
            patterns[-1][-1] += piece.lower()
    values = tuple(tuple(pattern) for pattern in patterns if pattern != [""])
    if not values:
        raise ConfigError("filter", f"{word}: has no value", "Write one after it")
    if any(len(value) > MOST_STARS + 1 for value in values):
        raise ConfigError("filter", f"{word}: has more than {MOST_STARS} stars in one value", "Use fewer")
    for value in values:
        allowed = ALLOWED.get(word)
        if allowed and (len(value) > 1 or value[0] not in allowed):
            text = "*".join(value)
            raise ConfigError("filter", f"no {word} is called {text!r}", _hint(text, allowed, f"{word}:"))
    return values


def _refuse_word(word: str, op: str, whole: str) -> NoReturn:
    close = get_close_matches(word, WORDS, 1)
    meant = f"Did you mean {close[0]}{op if close[0] != FEEDBACK else ''}?" if close else f"Words are {_listed(WORDS)}."
    raise ConfigError("filter", f"no word is called {word}{op}", f'{meant} Quote it to look for the text: "{whole}"')


def _hint(value: str, allowed: Iterable[str], before: str) -> str:
    close = get_close_matches(value, allowed, 1)
    return f"Did you mean {before}{close[0]}?" if close else f"Allowed are {_listed(allowed)}"


def _listed(words: Iterable[str], without: frozenset[str] = frozenset()) -> str:
    return ", ".join(word for word in words if word not in without)


def _number(word: str, written: str) -> float:
    span = SPAN.fullmatch(written.lower()) if word == "duration" else None
    if span is not None:
        return float(span[1]) * SECONDS[span[2]]
    try:
        number = float(written.lstrip("$").replace("_", ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        example = "duration>10, duration>500ms" if word == "duration" else f"{word}>1000, {word}<=0.5"
        raise ConfigError("filter", f"{word} is compared with a number, not {written!r}", f"Write such as {example}")
    return number


def _share(written: str) -> float:
    try:
        share = float(written)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ConfigError("filter", f"rate is a share from 0 to 1, not {written!r}", "Write such as rate:0.05")
    return share


def _time(word: str, written: str, now: datetime) -> float:
    """Seconds since the epoch."""
    bare = _plain(_pieces(written))
    span = SPAN.fullmatch(bare.lower())
    try:
        if span is not None:
            return (now - timedelta(seconds=float(span[1]) * SECONDS[span[2]])).timestamp()
        found = datetime.fromisoformat(bare)
        # A date without a zone is local.
        return found.timestamp()
    except (ValueError, OverflowError, OSError):
        example = f"{word}:1h, {word}:7d, {word}:2026-11-28 or {word}:2026-11-28T14:30"
        raise ConfigError("filter", f"{word} is a time, not {written!r}", f"Write such as {example}") from None
