"""`capture`: whose prices and tokenizer are asked."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from eventtree import config
from eventtree.errors import ConfigError
from eventtree.testing import capture

pytest.importorskip("langchain_core")


def ask(*handlers: Any, answer: str = "abc") -> None:
    """One model, whose tokens nobody reports."""
    from langchain_core.language_models.fake_chat_models import FakeListChatModel

    FakeListChatModel(responses=[answer]).invoke("Hello", config={"callbacks": list(handlers)})


def handler(**settings: Any) -> Any:
    from eventtree.langchain import CallbackHandler

    return CallbackHandler(strict=True, **settings)


def dollars(usage: Any, *_: Any) -> int:
    """One for each token."""
    assert usage is not None
    return int(usage.output_tokens)


def test_a_handlers_own_prices_and_tokenizer_are_asked() -> None:
    """As they are when its trees are delivered."""
    with capture() as trees:
        ask(handler(prices=dollars, tokenizer=len))
        ask(handler(prices=lambda *_: 7))
        ask(handler())
    assert [tree.total_usd for tree in trees] == [Decimal(3), Decimal(7), None]
    assert [tree.root.usage is not None for tree in trees] == [True, False, False]


def test_a_handlers_own_go_before_the_configured_and_those_of_the_test_before_all() -> None:
    """A test may price with what it likes."""
    config.configure(prices=lambda *_: 5, tokenizer=lambda text: 1)
    with capture() as trees:
        ask(handler(prices=dollars, tokenizer=len))
        ask(handler())
    assert [tree.total_usd for tree in trees] == [Decimal(3), Decimal(5)]
    with capture(prices=lambda *_: 9) as trees:
        ask(handler(prices=dollars, tokenizer=len))
    assert trees[0].total_usd == 9
    assert trees[0].root.usage is not None and trees[0].root.usage.output_tokens == 3


def test_a_wrong_table_is_told_at_once() -> None:
    """errors.py."""
    with pytest.raises(ConfigError, match="inptu"), capture(prices={"*": {"inptu": 1}}):
        pass


def test_all_that_runs_is_seen_whatever_the_share_that_is_recorded() -> None:
    with capture() as trees:
        ask(handler(sample_rate=0.0))
        ask()
    assert len(trees) == 2
