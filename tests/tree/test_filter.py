"""tree/filter.py: the words, what they choose, and what a wrong one is told."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventtree import ConfigError
from eventtree.event import EventTree
from eventtree.pricing.pricer import Pricer
from eventtree.tree import filter as words
from eventtree.tree.filter import Filter, quoted, share_of
from tests.tree.test_tree import closed, opened
from tests.trees import fold

USAGE = {"usage_metadata": [{"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}]}
AGENT = {"ls_integration": "langchain_create_agent", "lc_agent_name": "boss", "eventtree_experiment": "nightly"}
NOW = datetime(2023, 11, 14, 23, tzinfo=UTC)
"""The trees of these tests began at 22:13."""


def a_tree(**root_close: Any) -> EventTree:
    root = opened("r0", session="Chat 7", user="ann", metadata=AGENT, tags=["beta"], environment="prod")
    model = opened("r1", "r0", tags=["graph:step:1"], kind="model", model="gpt-4o", provider="openai")
    failed = {"type": "httpx.ReadTimeout", "message": "Größe unknown: http://host/x"}
    records = [
        {**root, "inputs": {"question": "Where is Bob's *star*?"}},
        model,
        {**closed("r1"), "usage": USAGE, "model": "gpt-4o-2024-08-06", "outputs": {"messages": []}},
        {**opened("r2", "r0"), "kind": "tool", "name": "look up"},
        {**closed("r2", status="error"), "error": failed},
        {**opened("r3", "r0"), "kind": "retriever", "internal": True},
        closed("r3"),
        {**closed("r0", duration=2_500_000_000), **root_close},
        {"r": "feedback", "id": "r0", "tree": "r0", "key": "k", "at": 1, "comment": "Quite wrong"},
    ]
    (tree,) = fold(records, Pricer.of({"gpt-4o-2024-08-06": {"input": 2.5, "output": 10}}))
    return tree


TREE = a_tree()

CHOSEN = """
status:ok|status=ok|status:error,ok|-status:error|kind:agent|kind:tool|kind:MODEL
session:"chat 7"|session:chat*|user:ann
user:*n|user:a*n|model:gpt-4o|model:gpt-4o-2024-08-06|model:gpt-4o-*|provider:openai|tag:beta|environment:prod
name:r0
error:*Timeout|error:httpx.readtimeout|experiment:nightly|vendor:honeyhive|vendor:honey*|cost>0.007|cost:>0.007
cost=0.0075|cost<=$0.0075|tokens=1500|tokens:1500|tokens>=1_500|events=4|errors=1|errors>0|duration>2|duration>2400ms|duration<1m
since:1h|until:10m|since:2023-11-14T12:00|-until:2d|id:r|id:r0
feedback|-id:zz|rate:1|-rate:0|größe|"LOOK UP"|bob's|*star*
"http://host/x"|beta|nightly|quite|status:error OR cost>0.001|user:bob OR user:ann tokens>1|user:bob,ann||  |-bob.
session:"chat 7" user:ann -status:error wrong
""".replace("\n", "|").split("|")

NOT_CHOSEN = (
    """
status:error|-status:ok|status:error,cancelled|kind:retriever|kind:embedding|session:chat
user:an|user:bob|model:gpt-4
model:gpt-4o-mini|provider:azure|tag:bet|error:Timeout|experiment:other
vendor:braintrust|-vendor:honeyhive|cost>0.0075
cost<0|tokens>1500|events>4|errors>1|duration<2|since:10m|until:2d
id:1|rate:0|-feedback|nowhere|-größe|user:bob OR user:eve
session:"chat*"|status:ok user:bob|user:* -user:ann
""".strip()
    .replace("\n", "|")
    .split("|")
)


@pytest.mark.parametrize("text", CHOSEN)
def test_a_tree_is_chosen_by_each_word_that_fits_it(text: str) -> None:
    assert Filter.parse(text, now=NOW).matches(TREE, ["honeyhive"])


@pytest.mark.parametrize("text", NOT_CHOSEN)
def test_a_tree_is_not_chosen_by_a_word_that_does_not_fit(text: str) -> None:
    assert not Filter.parse(text, now=NOW).matches(TREE, ["honeyhive"])


WRONG = {
    "stauts:error": 'no word is called stauts:. Did you mean status:? Quote it to look for the text: "stauts:error"',
    "http://host": "no word is called http:. Words are status, session, user",
    "status:eror": "no status is called 'eror'. Did you mean status:error?",
    "kind:zebra": "no kind is called 'zebra'. Allowed are chain, model, tool",
    "status>error": "status is no number. Write status:error. Numbers are cost, tokens",
    "cost>much": "cost is compared with a number, not 'much'. Write such as cost>1000",
    "cost>nan": "compared with a number, not 'nan'",
    "tokens>1e999": "compared with a number",
    "duration>1y": "Write such as duration>10, duration>500ms",
    "rate:5": "rate is a share from 0 to 1, not '5'",
    "since:yesterday": "since is a time, not 'yesterday'. Write such as since:1h",
    "since:99999999999w": "since is a time",
    "status!=error": 'nothing is compared with !=. Turn the word round: "-status:error"',
    "session:": "session: has no value",
    "user:,": "user: has no value",
    "feedback:good": "feedback has no value. Write it alone",
    'name:"open': "a quote is not closed",
    "OR status:ok": "nothing on one side of OR",
    "name:" + "*a" * 9: "more than 8 stars",
    "x" * 3000: "more than 2,000 characters",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_word_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(WRONG[text])) as found:
        Filter.parse(text)
    assert "\n" not in str(found.value)


def test_a_word_that_has_no_meaning_here_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vendor cannot be used here\. Words are status"):
        Filter.parse("vendor:honeyhive", without=("vendor",))


def test_what_is_unknown_fits_no_comparison() -> None:
    (tree,) = fold([opened("r0")])
    for word in ("cost", "tokens", "duration"):
        assert not any(Filter.parse(f"{word}{op}0").matches(tree) for op in (">", "<", "=", ">=", "<="))
        assert Filter.parse(f"-{word}>0").matches(tree)


def test_a_rate_takes_its_share_of_all_trees_and_always_the_same_ones() -> None:
    ids = [f"tree {number}" for number in range(20_000)]
    shares = [share_of(one) for one in ids]
    for rate in (0.01, 0.05, 0.5):
        assert sum(share < rate for share in shares) / len(ids) == pytest.approx(rate, rel=0.15)
    assert share_of("7c9e6679-7425-40de-944b-e07fc1f90ae7") == share_of("7c9e6679-7425-40de-944b-e07fc1f90ae7")
    # A tree that is kept at one rate is kept at every higher one.
    assert Filter.parse(f"rate:{share_of('r0') + 1e-9}").matches(TREE)
    assert not Filter.parse(f"rate:{share_of('r0')}").matches(TREE)


def test_two_filters_choose_what_both_choose() -> None:
    either, ann = Filter.parse("status:error OR tokens>1"), Filter.parse("user:ann")
    assert (either & ann).matches(TREE)
    assert not (either & Filter.parse("user:bob")).matches(TREE)
    assert Filter() & ann == ann
    assert ann & Filter() == ann


@given(st.text(max_size=40))
def test_every_value_can_be_quoted(value: str) -> None:
    if value:
        term = Filter.parse(f"session:{quoted(value)} user:x").choices[0][0]
        assert term.values == ((value.lower(),),)
        assert term.fits_text(value)


@given(st.text(alphabet='ab:"\\,*-<>= ORsince\n', max_size=60))
def test_whatever_is_written_is_a_filter_or_a_clear_error(text: str) -> None:
    try:
        found = Filter.parse(text)
    except ConfigError as error:
        assert str(error).startswith("filter: ")
    else:
        found.matches(TREE)


def test_hostile_patterns_take_no_time() -> None:
    text = "a" * 100_000
    pattern = Filter.parse("name:" + "a*" * 8 + "b").choices[0][0]
    began = time.process_time()
    assert not pattern.fits_text(text)
    assert time.process_time() - began < 2.0


def test_every_word_is_in_the_table_of_the_module() -> None:
    table = words.__doc__ or ""
    assert [word for word in words.WORDS if not re.search(rf"\b{word}\b", table)] == []


def test_a_time_is_counted_from_now_or_is_a_date() -> None:
    def at(text: str) -> float:
        return Filter.parse(text, now=NOW).choices[0][0].number

    assert at("since:90m") == (NOW - timedelta(minutes=90)).timestamp()
    assert at("since:2023-11-14T22:00:00+01:00") == datetime(2023, 11, 14, 21, tzinfo=UTC).timestamp()
    assert at('since:"2023-11-14 22:00"') == datetime(2023, 11, 14, 22).timestamp()
