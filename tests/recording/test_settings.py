"""Settings: where they come from, and what a wrong one says."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from eventtree import ConfigError, config, configure
from eventtree.langchain import CallbackHandler
from eventtree.recording.pipeline import Pipeline
from eventtree.vendors import Braintrust, HoneyHive, HumanloopV5, Nebuly
from tests.cli.commands import run


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
    "a class": ([HoneyHive], "HoneyHive is no vendor. Pass values such as HoneyHive(project='rag')"),
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


SWITCHES = sorted(config.SWITCHES)
SWITCH_WORDS = {word: value for words, value in ((config.ON, True), (config.OFF, False)) for word in words}
VARIABLE = {field: config.variable(field) for field in config.FROM_ENVIRONMENT}


@pytest.mark.parametrize("setting", SWITCHES)
@pytest.mark.parametrize("word", [*SWITCH_WORDS, " Off ", "NONE", "True"])
def test_a_switch_knows_its_words(setting: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = SWITCH_WORDS[word.strip().lower()]
    assert getattr(config.resolve(**{setting: word}), setting) is expected
    monkeypatch.setenv(VARIABLE[setting], word)
    assert getattr(config.resolve(), setting) is expected


@pytest.mark.parametrize("setting", SWITCHES)
@pytest.mark.parametrize("word", ["maybe", "nope", "offf", "2", " ", "keine", "-"])
def test_an_unknown_word_in_a_switch_is_an_error_that_lists_what_is_allowed(
    setting: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError) as found:
        CallbackHandler(**{setting: word})
    assert str(found.value).startswith(f"{setting}: {word!r} is neither on nor off. Write on, 1,")
    monkeypatch.setenv(VARIABLE[setting], word)
    for given in ({}, {setting: True}):  # an argument does not hide it
        with pytest.raises(ConfigError) as found:
            CallbackHandler(**given)
        assert str(found.value).startswith(f"{VARIABLE[setting]}: {word!r} is neither on nor off. Write on, 1,")
        assert all(allowed in str(found.value) for allowed in (*config.ON, *config.OFF))


def test_the_operators_switch_wins_over_the_code_in_every_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    for word in config.OFF:
        monkeypatch.setenv("EVENTTREE_ENABLED", word)
        assert not Pipeline(enabled=True).enabled


@pytest.mark.parametrize(
    ("vendor", "setting"),
    [(Nebuly, "hide_content"), (Nebuly, "anonymize"), (HumanloopV5, "save"), (HumanloopV5, "provider_payloads"),
     (Braintrust, "allow_plain_http")],
)  # fmt: skip
def test_the_switches_of_a_vendor_fail_closed_too(vendor: Callable[..., Any], setting: str) -> None:
    assert getattr(vendor(api_key="k", **{setting: "none"}), setting) is False
    assert getattr(vendor(api_key="k", **{setting: "on"}), setting) is True
    with pytest.raises(ConfigError, match=rf"{setting}: 'maybe' is neither on nor off\. Write on"):
        vendor(api_key="k", **{setting: "maybe"})


MISSPELT = {
    "EVENTTREE_CONTNET": "Did you mean EVENTTREE_CONTENT?",
    "EVENTTREE_CONTENTS": "Did you mean EVENTTREE_CONTENT?",
    "EVENTTREE_RECORD_CONTENT": "Did you mean EVENTTREE_CONTENT?",
    "eventtree_content": "Did you mean EVENTTREE_CONTENT?",
    "EVENTTREE_DISABLED": "Did you mean EVENTTREE_ENABLED?",
    "EVENTTREE_VENDOR": "Did you mean EVENTTREE_VENDORS?",
    "EVENTTREE_SAMPLERATE": "Did you mean EVENTTREE_SAMPLE_RATE?",
    "EVENTTREE_JOURNAL_DIR": "Did you mean EVENTTREE_JOURNAL?",
    "EVENTTREE_REDACT": "Set it in code: redact=…",
    "EVENTTREE_USER": "Set it in code: user=…",
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_variable_is_named_with_the_one_that_is_meant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "off")
    for attempt in (CallbackHandler, partial(configure, user="ada"), config.resolve):
        with pytest.raises(ConfigError) as found:
            attempt()
        assert str(found.value).startswith(f"{name}: ")
        assert str(found.value).endswith(MISSPELT[name])
    done = run("report")
    assert done.returncode == 2
    assert MISSPELT[name] in done.stderr


def test_a_variable_that_is_like_none_of_ours_is_named_once_and_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EVENTTREE_ZOO_KEEPER", "1")
    with caplog.at_level(logging.WARNING, "eventtree"):
        Pipeline()
        Pipeline()
    assert [one.getMessage() for one in caplog.records] == [
        "EVENTTREE_ZOO_KEEPER is no variable of eventtree's: it does nothing"
    ]


def refused(attempt: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as found:
        attempt()
    return str(found.value)


WRONG_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt": ({"vendor": ["a"]}, "vendor: there is no such setting. Did you mean vendors? Settings are vendors,"),
    "unlike": ({"zoo": 1}, "zoo: there is no such setting. Settings are vendors, journal,"),
    "no number": ({"sample_rate": "often"}, "sample_rate: it is no number. "),
    "too much": ({"sample_rate": 2}, "sample_rate: it is more than 1.0. Share of trees to record, 0 to 1"),
    "not finite": ({"sample_rate": float("nan")}, "sample_rate: it is no finite number. Share of trees to record"),
    "no list": ({"tags": 3}, "tags: it is no list. "),
    "no dict": ({"metadata": "a"}, "metadata: it is no dict. "),
    "no function": ({"redact": "x"}, "redact: it is no function. "),
    "no text": ({"session": 3}, "session: it is no text. "),
    "no switch": ({"content": []}, "content: it is neither on nor off. Write on"),
    "no bounds": ({"bounds": 3}, "bounds: it is no dict. "),
    "no bound": ({"bounds": {"dept": 3}}, "bounds.dept: there is no such setting. Did you mean depth? Bounds are"),
    "a bound too small": ({"bounds": {"depth": 1}}, "bounds.depth: it is less than 3. "),
    "no whole bound": ({"bounds": {"depth": 3.5}}, "bounds.depth: it is no whole number. "),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_wrong_setting_is_named_in_our_own_words(name: str) -> None:
    given, words = WRONG_SETTINGS[name]
    message = refused(lambda: CallbackHandler(**given))
    assert message.startswith(words)
    assert not re.search(r"[Ii]nput|pydantic|Extra|Value error|validator", message)


WRONG_OF_VENDORS: dict[str, tuple[Callable[[], object], str]] = {
    "misspelt": (lambda: HoneyHive(api_key="k", projct="p"), "HoneyHive.projct: there is no such setting. Did"),
    "not allowed": (lambda: HoneyHive(api_key="k", generation="v9"), "HoneyHive.generation: it is none of 'legacy' or"),
    "empty": (lambda: HoneyHive(api_key="k", project=""), "HoneyHive.project: it is empty"),
    "no text": (lambda: Braintrust(api_key="k", project=3), "Braintrust.project: it is no text"),
    "no key": (lambda: Braintrust(api_key=3), "Braintrust.api_key: it is no text"),
    "name": (lambda: Pipeline(vendors=["honyhive"]), "vendors: no vendor is called 'honyhive'. Did you mean honey"),
    "prices": (lambda: Pipeline(prices={"*": {"inptu": 1}}), "prices: prices.0.inptu: there is no such setting. Did"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_OF_VENDORS)
def test_a_wrong_setting_of_a_vendor_or_a_table_is_named_in_our_own_words(name: str) -> None:
    attempt, words = WRONG_OF_VENDORS[name]
    message = refused(attempt)
    assert message.startswith(words)
    assert not re.search(r"[Ii]nput should|pydantic|Extra|Value error|validator", message)


def test_a_wrong_variable_is_named_beside_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTTREE_SAMPLE_RATE", "often")
    assert refused(Pipeline).startswith("sample_rate (EVENTTREE_SAMPLE_RATE): it is no number. ")
    assert Pipeline(sample_rate=0.5).settings.sample_rate == 0.5
    monkeypatch.delenv("EVENTTREE_SAMPLE_RATE")
    monkeypatch.setenv("EVENTTREE_BOUNDS", "dept=3")
    assert refused(Pipeline).startswith("bounds.dept (EVENTTREE_BOUNDS): there is no such setting. Did you mean depth?")


def test_the_settings_that_editors_know_are_those_there_are() -> None:
    assert config.HandlerSettings.__annotations__.keys() == config.Settings.model_fields.keys()
    assert not config.HandlerSettings.__required_keys__


@pytest.mark.parametrize("blank", ["\n", " ", "\t\r\n"])
def test_space_around_an_address_is_no_part_of_it(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINTRUST_API_URL", f"{blank}https://bt.test/{blank}")
    assert Braintrust(api_key="k").base_url == "https://bt.test"


@pytest.mark.parametrize(
    "url",
    [
        "https://h.test/?key=s3cr3t", "https://h.test/#s3cr3t", "https://h.test/s3cr3t x", "https://h.t st/s3cr3t",
        "https://h.test/{s3cr3t}", "https://h.test/\0s3cr3t", "https://h.test\\s3cr3t", "https://[::1/s3cr3t",
        "https://u:s3cr3t@h.test/?x",
    ],
)  # fmt: skip
def test_an_address_behind_which_no_route_can_be_put_is_an_error(url: str) -> None:
    with pytest.raises(ConfigError, match=r"HoneyHive\.base_url: ") as found:
        HoneyHive(api_key="k", base_url=url)
    assert "s3cr3t" not in str(found.value)


@pytest.mark.parametrize("end", ["\r", "\n", " ", "\r\n"])
def test_what_ends_a_variable_is_no_part_of_it(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of variables that was written on Windows."""
    monkeypatch.setenv("EVENTTREE_JOURNAL", f":memory:{end}")
    monkeypatch.setenv("EVENTTREE_ENVIRONMENT", f"prod{end}")
    monkeypatch.setenv("HH_PROJECT", f"rag{end}")
    monkeypatch.setenv("HH_SOURCE", end)
    assert (config.resolve().folder, config.resolve().environment) == (":memory:", "prod")
    assert (HoneyHive(api_key="k").project, HoneyHive(api_key="k").source) == ("rag", "dev")


@pytest.mark.parametrize("blank", ["\r", " ", "\t\r\n"])
def test_a_blank_variable_is_none_but_for_a_switch(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, name in VARIABLE.items():
        monkeypatch.delenv(name, raising=False)
        if setting not in SWITCHES:
            monkeypatch.setenv(name, blank)
    assert config.resolve() == config.Settings()


def test_a_wrong_entry_of_a_list_is_answered_with_what_the_setting_is() -> None:
    with pytest.raises(ConfigError, match=r"^Nebuly.feature_flags.1: it is no text\. Variants"):
        Nebuly(api_key="k", feature_flags=["a", 1])  # type: ignore[list-item]
