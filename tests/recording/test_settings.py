"""Settings: where they come from, and what a wrong one says."""

from __future__ import annotations

from typing import Any

import pytest

from eventtree import ConfigError, configure
from eventtree.recording.pipeline import Pipeline
from eventtree.vendors import Braintrust, HoneyHive


@pytest.mark.parametrize("given", [Braintrust(api_key="k"), [Braintrust(api_key="k")], (Braintrust(api_key="k"),)])
def test_one_vendor_may_come_alone(given: Any) -> None:
    assert Pipeline(vendors=given, deliver=False).vendors == (Braintrust(api_key="k"),)


def test_an_argument_goes_before_configure_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTTREE_ENVIRONMENT", "from the environment")
    assert Pipeline().settings.environment == "from the environment"
    configure(environment="configured")
    assert Pipeline().settings.environment == "configured"
    assert Pipeline(environment="given").settings.environment == "given"


WRONG: dict[str, tuple[Any, str]] = {
    "unknown": (["datadog"], "no vendor is called 'datadog'. Known are honeyhive, humanloop_v5"),
    "no vendor": ([3], "int is no vendor. Pass values such as HoneyHive(project='rag')"),
    "twice": ([HoneyHive(api_key="a"), HoneyHive(api_key="b")], "two vendors are called 'honeyhive'. Give each"),
    "no key": (["braintrust"], "BRAINTRUST_API_KEY"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_vendors_say_what_to_do(name: str) -> None:
    given, words = WRONG[name]
    with pytest.raises(ConfigError) as found:
        Pipeline(vendors=given)
    assert words in str(found.value)
    assert "\n" not in str(found.value)
