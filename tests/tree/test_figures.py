"""tree.py: on which event tokens and money stand, who counts what nobody reported, and what the user gives."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import pytest

from eventtree import record
from eventtree.errors import ConfigError
from eventtree.event import Event
from eventtree.pricing.pricer import Pricer
from tests.tree.test_tree import closed, noted, opened
from tests.trees import fold

ASKED = {"messages": [{"role": "user", "content": "abc"}]}
SAID = {"messages": [{"role": "assistant", "content": "de"}]}
USAGE = {"usage_metadata": [{"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}]}
LETTERS = Pricer({"m": {"input": 1_000_000, "output": 1_000_000}}, tokenizer=len)


def events(*records: record.Record, pricing: Pricer | None = LETTERS) -> dict[str, Event]:
    (tree,) = fold(records, pricing)
    return {event.id: event for event in tree.events}


def model(run: str, parent: str | None = None, **close: Any) -> list[record.Record]:
    end = {"outputs": SAID, **close}
    return [opened(run, parent, kind="model", model="m", inputs=ASKED), closed(run, **end)]


def test_what_nobody_reported_is_counted_and_says_so() -> None:
    """C8: role 4, content 3, six around the message and the reply; the answer has two letters."""
    event = events(*model("r0"))["r0"]
    assert event.usage is not None and event.cost is not None
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.inferred) == (13, 2, True)
    assert event.usage.problems == ("inferred: counted without tools and images",)
    assert event.cost.total_usd == 15
    assert event.cost.source and event.cost.source.endswith(", inferred tokens")


def test_without_pricing_nothing_is_counted() -> None:
    event = events(*model("r0"), pricing=None)["r0"]
    assert (event.usage, event.cost) == (None, None)


def test_figures_or_problems_are_not_replaced_by_a_count() -> None:
    """Only where nothing is known at all."""
    assert events(*model("r0", usage=USAGE))["r0"].usage.input_tokens == 10  # type: ignore[union-attr]
    flagged = events(*model("r0", usage={"raw": {"usage": {"prompt_tokens": -1, "completion_tokens": 5}}}))["r0"]
    assert flagged.usage is not None and flagged.usage.problems
    assert not flagged.usage.inferred


@pytest.mark.parametrize(
    ("close", "expected"),
    [({"status": "cancelled"}, True), ({"status": "error"}, False), ({"outputs": None}, False)],
)
def test_only_answers_are_counted(close: dict[str, Any], expected: bool) -> None:
    """C8: also the part of a cancelled stream; not what never came."""
    assert (events(*model("r0", **close))["r0"].usage is not None) is expected


def test_text_that_was_shortened_is_not_counted() -> None:
    """Rule 4: what is left of it tells nothing."""
    outputs = {"text": "begin…[1,234 characters cut]…end"}
    usage = events(*model("r0", outputs=outputs))["r0"].usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (13, None, None)


def test_of_nested_models_the_innermost_is_counted() -> None:
    """C7: each token once."""
    found = events(*model("r0"), *model("r1", "r0"))
    assert found["r0"].usage is None
    assert found["r1"].usage is not None


def test_a_leaf_is_not_counted_where_its_wrapper_was_told() -> None:
    """C7: the figure that somebody reported stands, and a tokenizer's beside it would be the same tokens again."""
    outer = [opened("r0", kind="model", model="m", inputs=ASKED), closed("r0", outputs=SAID, usage=USAGE)]
    found = events(*outer, *model("r1", "r0"))
    assert found["r0"].usage is not None and found["r0"].usage.total_tokens == 15
    assert found["r1"].usage is None


def test_of_nested_embeddings_the_outermost_is_counted() -> None:
    """C7: the inner ones are the framework's plumbing."""
    outer = [opened("r0", kind="embedding", model="m", inputs={"texts": ["abc", "de"]})]
    inner = [opened("r1", "r0", kind="embedding", model="m", inputs={"texts": ["abc", "de"]})]
    ends = [closed(run, outputs={"count": 2, "dimensions": 3}) for run in ("r1", "r0")]
    found = events(*outer, *inner, *ends)
    assert found["r1"].usage is None
    assert found["r0"].usage is not None
    assert (found["r0"].usage.input_tokens, found["r0"].usage.output_tokens) == (5, 0)


def test_a_wrapper_of_a_model_with_usage_has_none_but_may_be_given_a_cost() -> None:
    """C7, C9."""
    outer = [opened("r0", kind="model", metadata={"eventtree_cost": 3}), closed("r0", outputs=SAID, usage=USAGE)]
    found = events(*outer, *model("r1", "r0", usage=USAGE))
    assert found["r0"].usage is None
    assert found["r0"].cost and (found["r0"].cost.total_usd, found["r0"].cost.source) == (Decimal(3), "given")
    assert found["r1"].cost and found["r1"].cost.total_usd == 15


@pytest.mark.parametrize("kind", ["tool", "retriever", "chain", "reranker", "model"])
def test_any_run_may_be_given_a_cost(kind: str) -> None:
    """C9: images, rerank units, web searches, tool fees."""
    found = events(opened("r0", kind=kind, metadata={"eventtree_cost": 0.04}), closed("r0"))
    assert found["r0"].cost and (found["r0"].cost.total_usd, found["r0"].cost.source) == (Decimal("0.04"), "given")


def test_metadata_that_is_handed_down_counts_once() -> None:
    """C9: LangChain gives a run's metadata to all runs below it."""
    fee = {"eventtree_cost": 0.5}
    below = [opened("r1", "r0", kind="model", model="m", metadata=fee), closed("r1", outputs=SAID, usage=USAGE)]
    found = events(opened("r0", metadata=fee), *below, opened("r2", "r1", metadata=fee), closed("r2"), closed("r0"))
    assert [found[run].cost and found[run].cost.total_usd for run in ("r0", "r1", "r2")] == [  # type: ignore[union-attr]
        Decimal("0.5"), Decimal(15), None,
    ]  # fmt: skip


def test_costs_that_become_known_during_a_run_are_summed() -> None:
    """C9: custom events `eventtree_cost` of a tool that learns its fees as it goes."""
    fees = [noted("r0", "eventtree_cost", value=0.01), noted("r0", "eventtree_cost", value={"total_usd": 0.02})]
    found = events(opened("r0", kind="tool"), *fees, noted("r0", "eventtree_cost", value="much"), closed("r0"))
    assert found["r0"].cost and found["r0"].cost.total_usd == Decimal("0.03")


def test_a_fee_by_request_needs_no_tokens() -> None:
    """Rerankers and images by the user's table."""
    pricing = Pricer({"m": {"request": 0.002}})
    found = events(opened("r0", kind="reranker", model="m"), closed("r0"), pricing=pricing)
    assert found["r0"].cost and found["r0"].cost.total_usd == Decimal("0.002")
    failed = events(opened("r0", kind="reranker", model="m"), closed("r0", status="error"), pricing=pricing)
    assert failed["r0"].cost is None


def test_llama_indexs_own_tokenizer_counts_where_the_app_chose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The framework's own; the one it sets by itself is a GPT's, and would be a guess."""
    core = pytest.importorskip("llama_index.core", exc_type=ImportError)
    from llama_index.core.utils import get_tokenizer

    pricing = Pricer(catalogue=False)
    monkeypatch.setattr(core, "global_tokenizer", None)
    get_tokenizer()
    assert events(*model("r0"), pricing=pricing)["r0"].usage is None
    monkeypatch.setattr(core, "global_tokenizer", list)
    usage = events(*model("r0"), pricing=pricing)["r0"].usage
    assert usage is not None and usage.total_tokens == 15


def test_a_wrong_table_is_told_at_construction_and_imports_nothing() -> None:
    """ConfigError, before any run; genai-prices is imported at the first price."""
    import subprocess

    code = (
        "import sys, eventtree.errors\n"
        "from eventtree.langchain import CallbackHandler\n"
        "CallbackHandler(journal=':memory:', prices={'m': {'input': 1}}, tokenizer=len)\n"
        "try:\n    CallbackHandler(journal=':memory:', prices={'m': {'inptu': 1}})\n"
        "except eventtree.errors.ConfigError as error:\n    print(error)\n"
        "print({'genai_prices', 'tiktoken'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "prices.0.inptu" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"
    with pytest.raises(ConfigError):
        Pricer.of("/nowhere/prices.json")
