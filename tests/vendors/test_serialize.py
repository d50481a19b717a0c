"""serialize: what it takes, and what it says of trees that a vendor takes nothing of."""

from __future__ import annotations

import logging

import pytest

import eventtree
from eventtree.errors import ConfigError
from eventtree.vendors import Braintrust, Nebuly
from tests.vendors.trees import event, rich_tree, tree_of


def test_a_vendor_may_be_given_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As to a handler: its settings come from the environment."""
    monkeypatch.setenv("BRAINTRUST_API_KEY", "sk-nothing")
    monkeypatch.setenv("BRAINTRUST_PROJECT", "rag")
    named = [(one.url, one.body) for one in eventtree.serialize([rich_tree()], "braintrust")]
    assert named == [(one.url, one.body) for one in eventtree.serialize([rich_tree()], Braintrust())]
    assert named


@pytest.mark.parametrize(
    ("given", "words"), [("nobody", "no vendor is called 'nobody'"), (3, "int is no vendor"), ("braintrust", "api_key")]
)
def test_what_is_no_vendor_is_refused(given: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        list(eventtree.serialize([rich_tree()], given))  # type: ignore[arg-type]


def test_a_tree_that_a_vendor_drops_is_named_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    """Not in silence."""
    trees = [tree_of(event(1, None, inputs={"question": "Who?"})), tree_of(event(2, None, inputs={"question": "Who?"}))]
    assert list(eventtree.serialize(trees, Nebuly(api_key="k"))) == []
    [said] = caplog.records
    assert said.name == "eventtree"
    assert said.levelno == logging.WARNING
    assert said.getMessage().startswith("nebuly takes nothing of 2 trees: no_end_user. Name one with ")


def test_nothing_is_said_of_a_tree_of_which_only_plumbing_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    assert list(eventtree.serialize([tree_of(event(1, None), event(2, internal=True))], Braintrust(api_key="k")))
    assert not caplog.records
