"""Whatever a model class puts where usage belongs: the app goes on, what cannot be true is flagged, never guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from eventtree.event import Event, Usage
from eventtree.kinds import Kind
from eventtree.testing import capture
from tests.usage.test_properties import KEYS, assert_identities

pytest.importorskip("langchain_core")

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class Body(BaseModel):
    """An SDK's object that stands where a dict is expected."""

    prompt_tokens: Any = 12
    completion_tokens: Any = 3
    total_tokens: Any = 15


@dataclass
class Counts:
    """Another."""

    input_tokens: int = 12
    output_tokens: int = 3


class Raising:
    """An object of which nothing can be asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")


class Given(BaseChatModel):
    """Answers with what it was given, past every validation."""

    usage: Any = None
    about: Any = None

    @property
    def _llm_type(self) -> str:
        return "given"

    def _generate(self, messages: list[BaseMessage], *args: Any, **more: Any) -> ChatResult:
        message = AIMessage("Hi.")
        message.__dict__.update(usage_metadata=self.usage, response_metadata=self.about)
        return ChatResult(generations=[ChatGeneration(message=message)])


def event_of(usage: Any = None, about: dict[str, Any] | None = None) -> Event:
    from eventtree.langchain import CallbackHandler

    with capture(prices={"*": {"input": 1, "output": 1}}) as trees:
        Given(usage=usage, about=about or {}).invoke("Hello", config={"callbacks": [CallbackHandler(strict=True)]})
    (event,) = [event for tree in trees for event in tree.events if event.kind is Kind.MODEL]
    return event


PLAIN = {"input_tokens": 12, "output_tokens": 3, "total_tokens": 15}
WRONG = {
    "negative": -5, "text": "12", "fraction": 1.5, "nan": math.nan, "infinity": math.inf, "bool": True,
    "huge": 10**40, "list": [12], "object": Raising(), "decimal": Decimal("1.5"), "set": {1},
}  # fmt: skip


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_a_count_that_is_none_is_flagged_and_nothing_stands_in_for_it(value: Any) -> None:
    """Kept raw and named; neither a tokenizer nor arithmetic fills the gap."""
    usage = event_of({**PLAIN, "input_tokens": value}).usage
    assert usage is not None
    assert_identities(usage)
    assert usage.input_tokens is None
    assert usage.problems and usage.raw
    assert not usage.inferred


CONTRADICTIONS = {
    "the cache is more than the input": {**PLAIN, "input_token_details": {"cache_read": 13}},
    "reads and writes are more than the input": {
        **PLAIN, "input_token_details": {"cache_read": 7, "cache_creation": 7},
    },
    "the reasoning is more than the output": {**PLAIN, "output_token_details": {"reasoning": 40}},
    "the total is another": {**PLAIN, "total_tokens": 99, "input_token_details": {}},
}  # fmt: skip


@pytest.mark.parametrize("usage", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_shape_that_contradicts_itself_is_named(usage: dict[str, Any]) -> None:
    """C2: the parts that cannot be are out of the figures, and in raw."""
    found = event_of(usage).usage
    assert found is not None and found.problems
    assert_identities(found)
    assert isinstance(found.raw, dict) and found.raw["usage_metadata"] == [usage]


@pytest.mark.parametrize("body", [Body(), Counts(), PLAIN], ids=["pydantic", "dataclass", "dict"])
@pytest.mark.parametrize("key", ["token_usage", "usage"])
def test_objects_of_sdks_are_read_like_dicts(body: Any, key: str) -> None:
    """C5: a class of the user's may hand on what its client gave it."""
    usage = event_of(about={key: body}).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (12, 3, 15)


odd = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 50), st.integers(), st.floats(), st.text(max_size=3),
    st.sampled_from([Body(), Body(prompt_tokens=-1), Counts(), Decimal(3), Fraction(1, 3), b"12", object]),
    st.builds(Raising),
)  # fmt: skip
things = st.recursive(
    odd,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=10,
)
abouts = st.dictionaries(st.sampled_from(["usage", "token_usage", *KEYS]), things, max_size=4)


@given(things, abouts)
@settings(max_examples=max(50, settings.default.max_examples // 2))
def test_whatever_is_there_the_app_goes_on_and_the_identities_hold(usage: Any, about: dict[str, Any]) -> None:
    """For every value ever made."""
    found: Usage | None = event_of(usage, about).usage
    if found is not None:
        assert_identities(found)


def test_a_usage_without_end_is_cut() -> None:
    """Rule 1: what the app pays is bounded."""
    usage = event_of(
        about={"usage": {"prompt_tokens": 12, "completion_tokens": 3, **{f"k{n}": n for n in range(10**5)}}}
    )
    assert usage.usage is not None and usage.usage.total_tokens == 15
    assert len(usage.usage.model_dump_json()) < 20_000


def test_text_that_is_no_utf_8_is_recorded() -> None:
    """A lone surrogate in a name, and in a key."""
    usage = event_of(about={"usage": {"prompt_tokens": 12, "completion_tokens": 3, "note\ud800": "a\ud800"}}).usage
    assert usage is not None and usage.total_tokens == 15
    usage.model_dump_json().encode()
