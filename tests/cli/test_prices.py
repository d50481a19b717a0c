"""`eventtree prices`, and the models that a report names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from tests.cli.commands import run
from tests.trees import USAGE, new_id


def test_prices_are_shown_with_their_reasons() -> None:
    done = run("prices", "gpt-4o-mini", "--provider", "openai")
    assert done.returncode == 0
    first, *lines = done.stdout.splitlines()
    assert first.startswith("gpt-4o-mini: charged as openai/gpt-4o-mini, by genai-prices ")
    assert any(line.split() == ["cache", "read", "$0.075", "/", "1M", "tokens"] for line in lines)
    assert "- the provider is openai, by name" in lines


def test_a_class_name_is_no_provider_and_an_unknown_model_is_one_line() -> None:
    done = run("prices", "our-own-7b", "--provider", "genericfakechatmodel")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "genericfakechatmodel is no provider it lists: the model's name alone decides" in done.stderr


def test_the_base_url_tells_the_provider() -> None:
    done = run("prices", "anthropic/claude-sonnet-4.5", "--base-url", "https://openrouter.ai/api/v1")
    assert "- the provider is openrouter, by the base URL" in done.stdout


def test_your_table_goes_first(tmp_path: Path) -> None:
    table = tmp_path / "prices.toml"
    table.write_text('[[prices]]\nmodel = "our-*"\ninput = 1.5\noutput = 6\n')
    done = run("prices", "our-own-7b", EVENTTREE_PRICES=str(table))
    assert done.stdout.splitlines()[0].startswith("our-own-7b: charged as our-*, by table:prices.toml ")


def test_a_wrong_table_is_one_line_and_status_2(tmp_path: Path) -> None:
    table = tmp_path / "prices.json"
    table.write_text('{"our-*": {"inptu": 1}}')
    done = run("prices", "our-own-7b", EVENTTREE_PRICES=str(table))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "prices.0.inptu" in done.stderr


@pytest.fixture
def journal(own_place: Path) -> Path:
    """Three calls of a model without a price, in two trees."""
    pipeline = Pipeline(journal=own_place)
    for count in (1, 2):
        root = new_id()
        recorder.open(pipeline, root, None, kind=Kind.CHAIN, name="chain")
        for _ in range(count):
            model = new_id()
            recorder.open(
                pipeline, model, root, kind=Kind.MODEL, name="model", known={"model": "our-own-7b", "provider": "fm"}
            )
            recorder.close(pipeline, model, learned={"usage": USAGE})
        recorder.close(pipeline, root)
    return own_place


def test_a_report_names_each_unknown_model_once(journal: Path) -> None:
    """Also in a process that has delivered nothing."""
    told: dict[str, Any] = json.loads(run("report", "--json", "--journal", str(journal)).stdout)
    assert told["unknown_models"] == {"our-own-7b": 3}
    shown = run("report", "--journal", str(journal)).stdout
    assert shown.count("our-own-7b (3 events)") == 1


def test_your_table_prices_what_another_process_recorded(journal: Path, tmp_path: Path) -> None:
    """A handler's `prices=` are its process's; the environment's are everybody's."""
    table = tmp_path / "prices.toml"
    table.write_text('["our-*"]\ninput = 1.5\noutput = 6\n')
    told = {"EVENTTREE_PRICES": str(table)}
    asked = ("--journal", str(journal))
    lines = [json.loads(line) for line in run("show", "--json", *asked, **told).stdout.splitlines()]
    costs = [event["cost"] for event in lines if event["kind"] == "model"]
    assert [cost["source"].split()[0] for cost in costs] == ["table:prices.toml"] * 3
    assert all(cost["total_usd"] > 0 for cost in costs)
    sent = run("export", "--vendor", "braintrust", *asked, **told).stdout
    assert sent.count('"estimated_cost"') == 3
    assert json.loads(run("report", "--json", *asked, **told).stdout)["unknown_models"] == {}
