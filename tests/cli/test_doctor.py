"""`eventtree doctor`, as a user calls it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from eventtree import config
from eventtree.cli.doctor import check_journal
from eventtree.testing import VendorServer
from eventtree.vendors import VENDORS, vendor_class
from tests.cli.commands import run


def environment(server: VendorServer, *kinds: str, key: str = "k") -> dict[str, str]:
    """The settings of vendors that the server plays."""
    found = {"EVENTTREE_VENDORS": ",".join(kinds)}
    for kind in kinds:
        names = vendor_class(kind).env
        base = server.settings(kind)["base_url"]
        found |= {names["api_key"][0]: key, names["base_url"][0]: base}
    return found


def test_without_vendors_it_says_how_to_name_one() -> None:
    done = run("doctor", HH_API_KEY="k")
    assert done.returncode == 1
    assert "EVENTTREE_VENDORS" in done.stdout
    assert "honeyhive: HH_API_KEY is set" in done.stdout


@pytest.mark.parametrize("setting", ["EVENTTREE_KEEP=status:eror", "EVENTTREE_PRICES=/no/such.json"])
def test_a_setting_that_would_end_an_app_is_wrong(setting: str) -> None:
    name, _, value = setting.partition("=")
    done = run("doctor", EVENTTREE_VENDORS="braintrust", BRAINTRUST_API_KEY="k", **{name: value})
    assert done.returncode == 2
    assert done.stderr.startswith(f"eventtree: {name.removeprefix('EVENTTREE_').lower()}: ")


@pytest.mark.parametrize("name", ["enabled", "sample_rate", "deliver"])
def test_what_is_off_is_named(name: str) -> None:
    found = {f"EVENTTREE_{name.upper()}": "0", "EVENTTREE_VENDORS": "braintrust", "BRAINTRUST_API_KEY": "k"}
    assert f"{name}: note: off" in run("doctor", **found).stdout
    assert "note" not in run("doctor", **found | {f"EVENTTREE_{name.upper()}": "1"}).stdout


@pytest.mark.parametrize("kind", [kind for kind in VENDORS if vendor_class(kind).needs_key])
def test_a_missing_key_is_named_with_its_mend(kind: str) -> None:
    done = run("doctor", "--vendor", kind)
    assert done.returncode == 1
    assert vendor_class(kind).env["api_key"][0] in done.stdout


def test_settings_are_shown_and_the_key_is_not() -> None:
    done = run(
        "doctor", EVENTTREE_VENDORS="braintrust,nebuly", BRAINTRUST_API_KEY="secret-1", NEBULY_API_KEY="secret-2"
    )
    assert done.returncode == 0
    assert "https://api.braintrust.dev" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert "trees without a user are dropped as no_end_user" in done.stdout
    assert "dropped as no_user_text" in done.stdout


@pytest.mark.parametrize("kind", ["humanloop_v4", "humanloop_v5"])
def test_the_closed_service_is_pointed_out(kind: str) -> None:
    assert "closed in September 2025" in run("doctor", "--vendor", kind, HUMANLOOP_API_KEY="k").stdout
    own = run("doctor", "--vendor", kind, HUMANLOOP_API_KEY="k", HUMANLOOP_API_URL="https://humanloop.example.com")
    assert "closed in September" not in own.stdout


def test_send_sends_one_marked_tree_to_each() -> None:
    with VendorServer() as server:
        kinds = [kind for kind in VENDORS if kind != "humanloop_v4"]  # both Humanloops read one host setting
        done = run("doctor", "--send", "--timeout", "120", **environment(server, *kinds))
        assert done.returncode == 0, done.stdout + done.stderr
        for kind in kinds:
            assert f"{kind}: took 3 events in" in done.stdout
            assert "eventtree-doctor" in str(server.events(kind))
        assert not server.refused
        done = run("doctor", "--send", "--timeout", "120", **environment(server, "humanloop_v4"))
        assert "humanloop_v4: took 3 events in 2 requests" in done.stdout


def test_send_says_what_a_vendor_says() -> None:
    with VendorServer(key="right") as server:
        done = run("doctor", "--send", "--timeout", "120", **environment(server, "braintrust", key="wrong"))
        assert done.returncode == 1
        assert "braintrust: NOT TAKEN, HTTP 401" in done.stdout
        assert done.stderr.count("braintrust is parked (HTTP 401") == 1  # and nothing is sent again at exit
        server.script("honeyhive", [400] * 9)
        done = run("doctor", "--send", "--timeout", "120", **environment(server, "honeyhive", key="right"))
        assert done.returncode == 1
        assert "honeyhive: REFUSED 3 of 3 events: " in done.stdout
        server.script("nebuly", [503] * 99)
        done = run("doctor", "--send", "--timeout", "6", **environment(server, "nebuly", key="right"))
        assert done.returncode == 1
        assert "nebuly: NOT TAKEN, HTTP 503" in done.stdout


@pytest.mark.parametrize("setting", ["EVENTTREE_KEEP=status:error", "EVENTTREE_RELAY=http://127.0.0.1:9"])
def test_send_sends_whatever_keeps_the_trees_of_apps_from_the_vendor(setting: str) -> None:
    name, _, value = setting.partition("=")
    with VendorServer() as server:
        given = {**environment(server, "honeyhive"), name: value}
        done = run("doctor", "--send", "--vendor", "honeyhive", "--timeout", "120", **given)
        assert (done.returncode, done.stderr) == (0, "")
        assert "honeyhive: took 3 events in" in done.stdout


def test_the_journals_folder_is_checked(own_place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether it can be written and has room; nothing of the check stays."""
    done = run("doctor", EVENTTREE_VENDORS="braintrust", BRAINTRUST_API_KEY="k")
    assert (done.returncode, "can be written" in done.stdout) == (0, True)
    assert not list(own_place.iterdir())
    bounds = config.Bounds(journal_bytes=1 << 62)
    assert check_journal(config.resolve(bounds=bounds))
    assert f"it may grow to {1 << 62:,} bytes" in capsys.readouterr().out
    (own_place.parent / "file").touch()
    done = run("doctor", EVENTTREE_VENDORS="braintrust", EVENTTREE_JOURNAL=str(own_place.parent / "file"))
    assert (done.returncode, "journal: WRONG" in done.stdout) == (1, True)


def test_a_file_system_without_locks_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything is recorded there, and nothing can be delivered."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", flock)
    assert not check_journal(config.resolve())
    assert "journal: WRONG" in capsys.readouterr().out
