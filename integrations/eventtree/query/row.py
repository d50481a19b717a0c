"""A tree's row: for lists, and as the index stores it.

Most trees of an app differ in their figures only. What they share (name, models, tags, …) is a `Shape`: it is stored
once, and a filter judges it once, by the same code that judges a tree.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple, Self

import pydantic_core

from eventtree.event import EventTree
from eventtree.query.packed import id_of, start_of
from eventtree.tree.filter import NUMBER_WORDS, TEXT_WORDS, experiment_of

MOST_PRICELESS = 20
OF_ROOT = attrgetter("status", "environment", "name", "kind")
OF_EVENT = attrgetter("kind", "internal", "model", "asked_model", "provider", "tags")


class Shape(NamedTuple):
    """The texts that trees share, each field named after the filter's word that compares it."""

    status: tuple[str, ...]
    environment: tuple[str, ...]
    name: tuple[str, ...]
    kind: tuple[str, ...]
    """Kinds of all events, the root's first."""
    model: tuple[str, ...]
    provider: tuple[str, ...]
    tag: tuple[str, ...]
    error: tuple[str, ...]
    experiment: tuple[str, ...]
    vendor: tuple[str, ...]
    """`NAME.FINGERPRINT` of each."""
    priceless: tuple[str, ...]
    """Models without a known price, one for each event that used one, up to `MOST_PRICELESS`; compared by no word."""

    @classmethod
    def of(cls, tree: EventTree, vendors: Iterable[str]) -> Self:
        """The shape of a tree that names these vendors."""
        words: Mapping[str, Callable[[EventTree], Iterable[str | None]]] = {
            **{word: find for word, find in TEXT_WORDS.items() if word in cls._fields},
            "vendor": lambda _: vendors,
        }
        texts = {word: dict.fromkeys(filter(None, find(tree))) for word, find in words.items()}
        texts["kind"] = {tree.root.kind: None, **texts["kind"]}
        priceless = tuple(islice(_priceless(tree), MOST_PRICELESS))
        return cls(**{word: tuple(map(str, found)) for word, found in texts.items()}, priceless=priceless)

    @staticmethod
    def made_of(tree: EventTree, vendors: Iterable[str]) -> Hashable:
        """All values that `of` uses. Trees that have them in common have the same shape, which is built once."""
        facts = tuple(dict.fromkeys(map(OF_EVENT, tree.events)))
        errors = tuple(dict.fromkeys(event.error.type for event in tree.events if event.error))
        priceless = tuple(islice(_priceless(tree), MOST_PRICELESS))
        return (*OF_ROOT(tree.root), experiment_of(tree), facts, errors, tuple(vendors), priceless)

    @classmethod
    def read(cls, text: str) -> Self:
        """The shape that `written` wrote."""
        return cls(*map(tuple, pydantic_core.from_json(text)))

    @property
    def written(self) -> str:
        """The shape as JSON."""
        return pydantic_core.to_json(self).decode()

    def texts(self, word: str) -> Iterable[str]:
        """The texts that a word of the filter is compared with."""
        found: tuple[str, ...] = getattr(self, word)
        return (name.rpartition(".")[0] for name in found) if word == "vendor" else found


def _priceless(tree: EventTree) -> Iterator[str]:
    for event in tree.events:
        counted = event.usage is not None and (event.usage.input_tokens, event.usage.output_tokens) != (None, None)
        if event.model and counted and (event.cost is None or event.cost.total_usd is None):
            yield event.model


COLUMNS = (
    "id", "shape", "events", "errors", "tokens", "usd", "unpriced", "duration", "feedback", "session", "user",
)  # fmt: skip
"""Columns of the index's table of trees after the number: id, shape, and those of `figures`."""


def figures(tree: EventTree) -> tuple[Any, ...]:
    """The columns of a tree after its id and shape."""
    root = tree.root
    numbers = (NUMBER_WORDS["events"](tree), NUMBER_WORDS["errors"](tree), tree.total_tokens, exact(tree.total_usd))
    return (*numbers, tree.unpriced, root.duration, len(tree.feedback), root.session_id, root.user)


def exact(usd: Decimal | None) -> float | str | None:
    """Dollars as the index stores them: a number where that is exact, else text."""
    if usd is None:
        return None
    number = float(usd)
    return number if Decimal(repr(number)) == usd else str(usd)


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One tree as a list shows it."""

    id: str
    start: datetime
    """Start of its root, in UTC."""
    name: str
    kind: str
    """Kind of the root."""
    status: str
    """Status of its root; `incomplete` while it runs, or where its end was never recorded."""
    running: bool
    """Whether its root has not ended, and the process that records it is alive."""
    session: str | None
    user: str | None
    events: int
    errors: int
    """Events that failed."""
    tokens: int | None
    """None if no event has a count."""
    usd: Decimal | None
    """None if no event has a price."""
    unpriced: int
    """Events that used something without a known price: the tree cost at least `usd`."""
    duration: float | None
    """Seconds; None where the root's end is not known."""
    feedback: int
    """Number of feedbacks on it."""
    shape: Shape
    """Models, kinds, tags, …: the texts that the filter compares."""

    @classmethod
    def of(cls, columns: tuple[Any, ...], shape: Shape, *, running: bool) -> Self:
        """The row of a tree's number and columns in the index."""
        number, id_, _, events, errors, tokens, usd, unpriced, duration, feedback, session, user = columns
        return cls(
            id=id_of(id_), start=datetime.fromtimestamp(start_of(number) / 1_000_000, UTC),
            name=next(iter(shape.name), ""), kind=shape.kind[0], status=shape.status[0], running=running,
            session=session, user=user, events=events, errors=errors, tokens=tokens,
            usd=None if usd is None else Decimal(str(usd)), unpriced=unpriced, duration=duration, feedback=feedback,
            shape=shape,
        )  # fmt: skip

    @property
    def plain(self) -> dict[str, Any]:
        """Plain values by name, for data frames and JSON. Dollars are a float, lists of names one text."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "shape"}
        return {
            **named, "usd": None if self.usd is None else float(self.usd), "models": ", ".join(self.models),
            "tags": ", ".join(self.shape.tag), "error_types": ", ".join(self.shape.error),
            "environment": next(iter(self.shape.environment), None),
            "experiment": next(iter(self.shape.experiment), None), "vendors": ", ".join(self.vendors),
        }  # fmt: skip

    @property
    def models(self) -> tuple[str, ...]:
        """Models of its events, as the answers name them and as they were asked for."""
        return self.shape.model

    @property
    def vendors(self) -> tuple[str, ...]:
        """Vendors it is for, by name."""
        return tuple(self.shape.texts("vendor"))
