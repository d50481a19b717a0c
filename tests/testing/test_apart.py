"""What a test records at a `VendorServer` stays with it: it never reaches the user's journal, nor the vendor itself."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventtree
from eventtree import config
from eventtree.delivery.report import make_report
from eventtree.journal import DiskFiles, Journal
from eventtree.record import is_local
from eventtree.recording.pipeline import Pipeline
from eventtree.serializer.vendor import is_loopback
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Braintrust, Vendor
from tests.cli.commands import run
from tests.trees import record_tree

README_PATTERN = """
import eventtree
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree

with VendorServer() as server:
    handler = Pipeline(vendors=[Braintrust(project="rag", **server.settings("braintrust"))])
    server.script("braintrust", [401] * 9)
    record_tree(handler)
    print(eventtree.flush(5).model_dump_json())
"""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The developer's own state folder, with nothing that names another journal."""
    monkeypatch.delenv("EVENTTREE_JOURNAL")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "eventtree"


@pytest.fixture
def real() -> Iterator[VendorServer]:
    """The vendor itself, by a host name that is not this machine's."""
    with VendorServer(key="real") as running:
        yield running


def the_vendor(real: VendorServer) -> Vendor:
    url = real.settings("braintrust")["base_url"].replace("127.0.0.1", "127.1")
    return Braintrust(project="rag", api_key="real", base_url=url, allow_plain_http=True)


def test_the_pattern_of_the_readme_writes_nothing_into_the_users_own_journal(home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", README_PATTERN], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["events"] == 3
    assert report["vendors"]["braintrust"]["parked"]
    assert not home.exists()
    assert not Path(report["journal"]).exists(), "the server's journal goes with its process"


@pytest.mark.parametrize("how", ["argument", "configured", "environment"])
def test_a_journal_that_is_named_stays_where_it_is(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path / "named")
    monkeypatch.setenv("EVENTTREE_JOURNAL", folder if how == "environment" else "")
    if how == "configured":
        eventtree.configure(journal=folder)
    with VendorServer() as server:
        assert config.resolve(journal=folder if how == "argument" else None).folder == folder
        assert config.resolve(journal=server.journal).folder == server.journal


def test_each_server_has_a_journal_of_its_own_while_it_listens(home: Path) -> None:
    outer, inner = VendorServer(), VendorServer()
    with outer:
        with inner:
            assert config.resolve().folder == inner.journal != outer.journal
        assert config.resolve().folder == outer.journal
    with outer:
        assert config.resolve().folder == outer.journal
    assert config.resolve().folder == str(home)


def test_what_was_parked_at_a_server_of_tests_never_goes_to_the_vendor(own_place: Path, real: VendorServer) -> None:
    """The accident: a scripted 401 in a journal that is shared, then a start with the real key."""
    with VendorServer() as server:
        server.script("braintrust", [401] * 9)
        record_tree(Pipeline(vendors=[Braintrust(project="rag", **server.settings("braintrust"))]))
        assert eventtree.flush(5).vendors["braintrust"].parked
    record_tree(Pipeline(vendors=[the_vendor(real)]))
    time.sleep(1.5)  # the longest that taking over what is parked has to wait
    totals = eventtree.flush(5).vendors.values()
    assert {(one.is_local, one.waiting, one.delivered) for one in totals} == {(True, 3, 0), (False, 0, 3)}
    assert len(real.events("braintrust")) == 3
    shown = run("report")
    assert "goes to no other host" in shown.stdout


def test_what_is_parked_at_the_vendor_never_goes_to_a_server_of_tests(own_place: Path, real: VendorServer) -> None:
    real.script("braintrust", [401] * 9)
    record_tree(Pipeline(vendors=[the_vendor(real)]))
    assert eventtree.flush(5).vendors["braintrust"].parked
    with VendorServer() as server:
        record_tree(Pipeline(vendors=[Braintrust(project="rag", **server.settings("braintrust"))]))
        time.sleep(1.5)
        eventtree.flush(5)
        assert len(server.events("braintrust")) == 3


def environment(real: VendorServer) -> dict[str, str]:
    vendor = the_vendor(real)
    return {
        "BRAINTRUST_API_URL": vendor.base_url.replace("http://127.1", "http://127.0.0.1"),
        "BRAINTRUST_API_KEY": "real",
    }


def test_a_replay_leaves_out_what_was_recorded_for_this_machine_alone(
    own_place: Path, real: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    from eventtree.delivery.shipper import Shipper

    with VendorServer() as server:
        record_tree(Pipeline(vendors=[Braintrust(project="rag", **server.settings("braintrust"))]))
        eventtree.flush(5)
    record_tree(Pipeline())
    shipper = Shipper(Journal(DiskFiles(own_place)), all_trees=True)
    with caplog.at_level(logging.WARNING, "eventtree"):
        shipper.serve((the_vendor(real),), config.resolve())
        until = time.monotonic() + 30
        while len(real.events("braintrust")) < 3 and time.monotonic() < until:
            shipper.wake()
            time.sleep(0.05)
        time.sleep(0.5)
    shipper.stop()
    assert len(real.events("braintrust")) == 3, "the tree that named nobody"
    assert [one.getMessage() for one in caplog.records if "this machine" in one.getMessage()]


def test_a_dead_letter_of_a_server_of_tests_is_not_sent_again_to_the_vendor(own_place: Path) -> None:
    with VendorServer() as server:
        server.script("braintrust", [200, *[Answer(400)] * 20])
        record_tree(Pipeline(vendors=[Braintrust(project="rag", **server.settings("braintrust"))]))
        assert eventtree.flush(10).vendors["braintrust"].dead == 3
    done = run("dead", "--resend", BRAINTRUST_API_KEY="real", BRAINTRUST_PROJECT="rag")
    assert done.returncode == 2
    assert "this machine" in done.stderr
    assert "--drop" in done.stderr


def test_ship_says_of_what_waits_for_this_machine_that_it_stays(own_place: Path) -> None:
    with VendorServer() as server:
        server.script("braintrust", [401] * 9)
        record_tree(Pipeline(vendors=[Braintrust(project="rag", **server.settings("braintrust"))]))
        eventtree.flush(5)
    for journal in [eventtree.delivery.shipper.all_shippers()[0].journal]:
        eventtree.delivery.shipper.close(journal)
    done = run("ship", "--timeout", "5", BRAINTRUST_API_KEY="real", BRAINTRUST_PROJECT="rag")
    assert "3 events wait for braintrust for a server on this machine" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True), ("api.localhost", True), ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True),
        ("api.braintrust.dev", False), ("10.0.0.1", False), ("localhost.example.com", False), ("", False),
    ],
)  # fmt: skip
def test_this_machine_is_known_by_its_names(host: str, is_here: bool) -> None:
    assert is_loopback(host) is is_here


def test_a_fingerprint_says_whether_the_host_is_this_machine(own_place: Path) -> None:
    here = Braintrust(project="p", api_key="k", base_url="http://[::1]:99")
    there = Braintrust(project="p", api_key="k")
    assert is_local(here.fingerprint(b"salt"))
    assert not is_local(there.fingerprint(b"salt"))
    assert make_report(Journal(DiskFiles(own_place))).vendors == {}


PYTEST_RUN = """
import os, pathlib, eventtree
from eventtree.vendors import Braintrust
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree

def test_one(vendor_server, tmp_path):
    handler = Pipeline(vendors=[Braintrust(project="rag", **vendor_server.settings("braintrust"))])
    vendor_server.script("braintrust", [401] * 9)
    record_tree(handler)
    report = eventtree.flush(5)
    assert report.vendors["braintrust"].parked
    assert pathlib.Path(report.journal).parent == tmp_path

def test_two(vendor_server):
    handler = Pipeline(vendors=[Braintrust(project="rag", **vendor_server.settings("braintrust"))])
    record_tree(handler)
    report = eventtree.flush(5)
    assert report.events == 3 and report.settled
    assert len(vendor_server.events("braintrust")) == 3

def test_nothing_stays():
    from eventtree.delivery.shipper import all_shippers
    assert all_shippers() == []
    opened = [os.path.realpath("/proc/self/fd/" + number) for number in os.listdir("/proc/self/fd")]
    assert [path for path in opened if "eventtree" in path and path.endswith((".log", ".cursor", ".alive"))] == []
"""


def test_the_fixture_comes_with_the_package_and_keeps_tests_apart(tmp_path: Path, home: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(PYTEST_RUN)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error",
         "test_theirs.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root), "EVENTTREE_JOURNAL": str(home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert not home.exists()


def test_a_pytest_run_that_does_not_ask_for_it_loads_next_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    ours = {name for name in sys.modules if name.partition('.')[0] == 'eventtree'}\n"
        "    assert ours == {'eventtree', 'eventtree.pytest_plugin'}\n"
        "    assert not {'pydantic', 'httpx', 'rich', 'langchain_core', 'werkzeug'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:anyio", "-p", "no:asyncio",
         "-p", "no:langsmith_plugin", "-p", "no:hypothesispytest",
         "test_theirs.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout + done.stderr


FROZEN = """
import sys
import eventtree.pytest_plugin
from freezegun import freeze_time
from langchain_core.runnables import RunnableLambda

with freeze_time("2023-01-01"):
    assert "eventtree.event" not in sys.modules
    from eventtree.testing import capture
    from eventtree.langchain import CallbackHandler
    with capture() as trees:
        RunnableLambda(str, name="text").invoke(1, {"callbacks": [CallbackHandler()]})
(tree,) = trees.wait(1)
print(tree.root.model_dump_json())
"""


def test_where_a_test_freezes_time_nothing_of_ours_is_loaded_and_everything_can_be() -> None:
    """Freezegun looks at each attribute of each module, and puts a class of its own in the place of datetime."""
    done = subprocess.run([sys.executable, "-c", FROZEN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    root = json.loads(done.stdout)
    assert (root["name"], root["outputs"], root["status"]) == ("text", "1", "ok")
