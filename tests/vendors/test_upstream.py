"""The vendors' own released models judge what we send, and their own clients are what the server takes.

Each package has a venv of its own, made when it is needed and kept in pytest's cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from eventtree.event import EventTree
from eventtree.testing import VendorServer
from eventtree.vendors import vendor_class
from tests.langchain.upstream import pip
from tests.vendors.everything import SAID, SETTINGS, every_request, made
from tests.vendors.trees import FEEDBACK, trees

pytestmark = pytest.mark.upstream

SCRIPTS = Path(__file__).parent / "upstream"
TREES = 300
SECONDS = 300


@dataclass(frozen=True)
class Upstream:
    """A vendor's package: what it judges, and which of our settings speak its language."""

    kind: str
    packages: tuple[str, ...]
    script: str
    settings: list[dict[str, Any]] = field(default_factory=list)


UPSTREAM = {
    "honeyhive 0.2": Upstream("honeyhive", ("honeyhive==0.2.57",), "honeyhive_0_2", [{}]),
    "honeyhive 1.7": Upstream("honeyhive", ("honeyhive==1.7.*",), "honeyhive_1_7", SETTINGS["honeyhive"]),
    "humanloop 0.8": Upstream(
        "humanloop_v5", ("humanloop==0.8.38", "requests"), "humanloop_v5", SETTINGS["humanloop_v5"]
    ),
    "humanloop 0.7": Upstream("humanloop_v4", ("humanloop==0.7.35",), "humanloop_v4", SETTINGS["humanloop_v4"]),
    "braintrust-api": Upstream("braintrust", ("braintrust-api==0.6.0",), "braintrust", SETTINGS["braintrust"]),
}


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where venvs stay from run to run."""
    kept = request.config.cache
    return tmp_path_factory.mktemp("vendors") if kept is None else Path(kept.mkdir("vendors"))


def own_python(cache: Path, packages: tuple[str, ...]) -> str:
    """The interpreter of a venv that holds `packages`; skips the test where the index cannot be reached."""
    venv = cache / packages[0].replace("==", "-").replace("*", "x")
    ready, contents = venv / "ready", "\n".join((sys.version, *packages))
    python = str(venv / "bin" / "python")
    if not ready.is_file() or ready.read_text() != contents:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        pip("install", *packages, python=python)
        ready.write_text(contents)
    return python


def ask(python: str, script: str, given: str, *arguments: str) -> str:
    """Run a script beside what it shares with others; what it printed."""
    command = [python, str(SCRIPTS / f"{script}.py"), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-8000:]
    return done.stdout


@pytest.mark.parametrize("name", UPSTREAM)
def test_the_vendors_own_models_take_every_body(cache: Path, name: str) -> None:
    upstream = UPSTREAM[name]
    vendors = [vendor_class(upstream.kind).for_export(**each) for each in upstream.settings]
    bodies = [one for vendor in vendors for one in every_request(vendor)]

    @settings(max_examples=TREES, database=None)
    @given(tree=trees(), said=FEEDBACK)
    def gather(tree: EventTree, said: dict[str, Any]) -> None:
        for vendor in vendors:
            bodies.extend(made(vendor, tree, {**said, "key": SAID["key"], "at": SAID["at"]}))

    gather()
    requests = [{"method": method, "path": path, "body": body} for _, method, path, body in bodies]
    told = ask(own_python(cache, upstream.packages), f"judge_{upstream.script}", json.dumps(requests))
    assert int(told) == len(requests) > 2 * TREES


@pytest.mark.parametrize("name", UPSTREAM)
def test_the_server_takes_the_vendors_own_client_and_refuses_its_mistakes(cache: Path, name: str) -> None:
    upstream = UPSTREAM[name]
    python = own_python(cache, upstream.packages)
    with VendorServer() as server:
        told = json.loads(ask(python, f"client_{upstream.script}", "", server.url))
        assert [one.problem for one in server.requests[: told["right"]] if one.problem] == []
        wrong = server.requests[told["right"] :]
        assert len(wrong) == len(told["wrong"]) > 1
        assert [one.status for one in wrong] == told["wrong"]
        assert all(one.problem for one in wrong)
        assert {one.vendor for one in server.requests} == {upstream.kind}
