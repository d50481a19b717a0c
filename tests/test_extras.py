"""What is not installed is named, with the extra that brings it; and recording needs none of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT_ASKED_FOR = {"all", "test", "test-view"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

ABSENT = """
import sys
sys.modules.update(dict.fromkeys({absent!r}))  # Python's own way to say that there is none
"""
RECORD = """
import eventtree
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.trees import record_tree

with VendorServer() as server:
    record_tree(Pipeline(vendors=[Braintrust(project="rag", **server.settings("braintrust"))]))
    assert eventtree.flush(20).settled
    assert len(server.events("braintrust")) == 3
"""


def without(absent: set[str], statement: str) -> subprocess.CompletedProcess[str]:
    """Run a statement where some packages are not installed."""
    code = ABSENT.format(absent=absent) + statement
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


COMMAND = "import sys; sys.argv = ['eventtree', *{}]; from eventtree.__main__ import main; main()"
PIPELINE = "from eventtree.recording.pipeline import Pipeline; Pipeline(); print('made')"
RELAYED = f"import os; os.environ['EVENTTREE_RELAY'] = '{{}}://127.0.0.1:9'; {PIPELINE}"
OTLP = "from eventtree.vendors import OTLP; OTLP(endpoint='http://127.0.0.1:9')"
WAYS_IN = [
    ("langchain", "langchain_core", "import eventtree.langchain"),
    ("llama-index", "llama_index_instrumentation", "import eventtree.llama_index"),
    ("testing", "werkzeug", "from eventtree.testing import VendorServer; VendorServer().start()"),
    ("view", "starlette", "import eventtree.view"),
    ("view", "starlette", COMMAND.format(["view"])),
    ("view", "uvicorn", COMMAND.format(["view"])),
    ("otlp", "opentelemetry", OTLP),
    ("nats", "nats", RELAYED.format("nats")),
    ("nats", "nats", COMMAND.format(["collect", "nats://127.0.0.1:9"])),
    ("redis", "redis", RELAYED.format("redis")),
    ("redis", "redis", COMMAND.format(["relay", "redis://127.0.0.1:9"])),
    ("collector", "aiohttp", COMMAND.format(["collect", "http://127.0.0.1:9"])),
]
"""An extra, a package that it brings, and how it is noticed that it is missing."""


@pytest.mark.parametrize(("extra", "absent", "statement"), WAYS_IN)
def test_a_way_in_without_its_extra_says_how_to_install_it(
    extra: str, absent: str, statement: str, own_place: Path
) -> None:
    own_place.mkdir(exist_ok=True)
    last = without({absent}, statement).stderr.strip().splitlines()[-1]
    assert absent in last
    assert f"is not installed. Run pip install 'eventtree[{extra}]'" in last


def test_every_extra_has_a_row() -> None:
    assert {extra for extra, _, _ in WAYS_IN} == set(PROJECT["optional-dependencies"]) - NOT_ASKED_FOR - {"cli"}


@pytest.mark.parametrize("absent", ["click", "rich"])
@pytest.mark.parametrize("arguments", [["report"], ["--help"], []])
def test_the_command_without_its_extra_says_how_to_install_it(absent: str, arguments: list[str]) -> None:
    done = without({absent}, COMMAND.format(arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"eventtree: {absent}")
    assert done.stderr.endswith("is not installed. Run pip install 'eventtree[cli]'\n")


def test_a_fault_of_ours_is_not_taken_for_a_missing_extra() -> None:
    done = without({"eventtree.recording"}, "import eventtree.recording.nothing_there")
    assert "pip install" not in done.stderr


def test_recording_delivering_and_capturing_need_no_extra() -> None:
    done = without({"click", "rich", "langchain_core", "llama_index", "llama_index_instrumentation"}, RECORD)
    assert done.returncode == 0, done.stderr
    done = without(
        {"click", "rich"}, "import eventtree.langchain, eventtree.llama_index; from eventtree.testing import *"
    )
    assert done.returncode == 0, done.stderr


OWN = """
import asyncio
import eventtree
from eventtree import diagnostics
from eventtree.recording.defaults import default_pipeline
from eventtree.journal.trees import trees_in
from eventtree.tree.stored import fold_stored

@eventtree.observe
def plan(goal):
    with eventtree.span("step", kind="tool") as s:
        s.outputs = goal
    return [goal]

@eventtree.observe
async def handle(goal):
    with eventtree.joined(eventtree.headers()):
        return plan(goal)

asyncio.run(handle("x"))
eventtree.flush(5)
journal = default_pipeline().journal
[tree] = [fold_stored(journal, logged) for logged in trees_in(journal).values()]
assert [event.name for event in tree.events] == ["handle", "plan", "step"], tree
assert not diagnostics.failures
"""


def test_own_code_is_recorded_without_any_framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTTREE_JOURNAL", str(tmp_path / "journal"))
    done = without({"langchain_core", "langgraph", "llama_index", "llama_index_instrumentation", "opentelemetry"}, OWN)
    assert done.returncode == 0, done.stderr


def test_the_base_install_is_small_and_all_extras_are_in_all() -> None:
    base = {one.partition(">")[0].partition("<")[0] for one in PROJECT["dependencies"]}
    assert not base & {"click", "rich", "tenacity", "werkzeug", "langchain-core", "llama-index-core"}
    extras = set(PROJECT["optional-dependencies"]) - NOT_ASKED_FOR
    (named,) = [one for one in PROJECT["optional-dependencies"]["all"] if one.startswith("eventtree[")]
    assert extras == set(named.removeprefix("eventtree[").removesuffix("]").split(","))


@pytest.mark.slow
def test_in_a_fresh_environment_the_base_install_records_and_each_way_in_says_what_it_needs(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(ROOT)], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, *arguments], capture_output=True, text=True, check=False, env=environment)

    for extra, _, statement in WAYS_IN:
        if "main()" not in statement:
            last = run("-c", statement).stderr.strip().splitlines()[-1]
            assert f"is not installed. Run pip install 'eventtree[{extra}]'" in last
    assert run("-m", "eventtree", "report").stderr.endswith("Run pip install 'eventtree[cli]'\n")
    recorded = run(
        "-c", "import eventtree\nwith eventtree.span('own', inputs=1): pass\nprint(eventtree.flush(5).events)"
    )
    assert recorded.stdout == "1\n", recorded.stderr
    for extra in ("otlp", "nats", "redis"):
        subprocess.run([python, "-m", "pip", "install", "-q", f"{ROOT}[{extra}]"], check=True)
    for name in ("nats", "redis"):
        relayed = run("-c", RELAYED.format(name))
        assert (relayed.returncode, relayed.stdout) == (0, "made\n"), relayed.stderr
    assert run("-c", f"{OTLP}; print('made')").stdout == "made\n"
    subprocess.run([python, "-m", "pip", "install", "-q", f"{ROOT}[view]"], check=True)
    assert run("-c", "import eventtree.view; print('made')").stdout == "made\n"
