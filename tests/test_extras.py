"""What is not installed is named, with the extra that brings it; and recording needs none of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
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


WAYS_IN = {
    "langchain": ("langchain_core", "import eventtree.langchain"),
    "llama-index": ("llama_index_instrumentation", "import eventtree.llama_index"),
    "testing": ("werkzeug", "from eventtree.testing import VendorServer; VendorServer().start()"),
    "view": ("starlette", "import eventtree.view"),
}


@pytest.mark.parametrize("extra", WAYS_IN)
def test_a_way_in_without_its_extra_says_how_to_install_it(extra: str) -> None:
    absent, statement = WAYS_IN[extra]
    last = without({absent}, statement).stderr.strip().splitlines()[-1]
    assert f"{absent}" in last
    assert f"is not installed. Run pip install 'eventtree[{extra}]'" in last


@pytest.mark.parametrize("absent", ["click", "rich"])
@pytest.mark.parametrize("arguments", [["report"], ["--help"], []])
def test_the_command_without_its_extra_says_how_to_install_it(absent: str, arguments: list[str]) -> None:
    statement = f"sys.argv = ['eventtree', *{arguments!r}]; from eventtree.__main__ import main; main()"
    done = without({absent}, statement)
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


def test_the_base_install_is_small_and_all_extras_are_in_all() -> None:
    base = {one.partition(">")[0].partition("<")[0] for one in PROJECT["dependencies"]}
    assert not base & {"click", "rich", "tenacity", "werkzeug", "langchain-core", "llama-index-core"}
    extras = set(PROJECT["optional-dependencies"]) - {"all", "test", "test-view"}
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

    for extra, statement in (
        ("langchain", "import eventtree.langchain"),
        ("llama-index", "import eventtree.llama_index"),
    ):
        assert run("-c", statement).stderr.endswith(f"Run pip install 'eventtree[{extra}]'\n")
    assert run("-m", "eventtree", "report").stderr.endswith("Run pip install 'eventtree[cli]'\n")
    assert run("-c", WAYS_IN["testing"][1]).stderr.endswith("Run pip install 'eventtree[testing]'\n")
    recorded = run("-c", (
        "import eventtree\n"
        "from eventtree.recording.pipeline import Pipeline\n"
        "from eventtree.recording.recorder import recorder\n"
        "one = Pipeline()\n"
        "recorder.open(one, '00000000-0000-4000-8000-000000000001', None, kind='chain', name='c', inputs={})\n"
        "recorder.close(one, '00000000-0000-4000-8000-000000000001', outputs={})\n"
        "print(eventtree.flush(5).events)\n"
    ))  # fmt: skip
    assert recorded.stdout == "1\n", recorded.stderr
