"""Other projects' tests with our handler attached: their results unchanged, and every run of theirs recorded whole.

The always-on part takes langchain-core's tests of callbacks, tracers and runnable events. Behind the marker `upstream`
stand all its unit tests, langgraph's tests of interrupts and reference counts, and our own tests under other versions
of Python and LangChain.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.langchain.upstream import ROOT, Outcome, changed, environment, fetch, install, node, pip, run

CORE = "langchain-core"
SHORT = [
    "tests/unit_tests/callbacks",
    "tests/unit_tests/tracers",
    "tests/unit_tests/runnables/test_runnable_events_v1.py",
    "tests/unit_tests/runnables/test_runnable_events_v2.py",
    "tests/unit_tests/runnables/test_runnable_events_v3.py",
]

LISTS_HANDLERS = {
    "tests.unit_tests.runnables.test_config::test_merge_config_callbacks",
}
"""They assert exactly which handlers a configuration holds, and ours is one more."""

FOREIGN_PARENTS = (
    "test_address.py::test_ambient_destination",
    "test_base_tracer.py::test_traceable_",
    "test_tracing_interops.py::",
)
"""Their chains run inside LangSmith's `@traceable`, of which no handler is told: roots that keep the foreign id."""
REUSED_IDS = ("test_runnable_events_v2.py::test_bad_parent_ids", "test_pregel.py::test_nested_graph")
"""They start two runs under one id on purpose: both are kept."""

ATTEMPTS = 3

Findings = Mapping[str, Mapping[str, list[str]]]


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where fetched sources stay from run to run."""
    kept = request.config.cache
    return tmp_path_factory.mktemp("upstream") if kept is None else Path(kept.mkdir("upstream"))


def unexplained(outcome: Outcome) -> dict[str, dict[str, list[str]]]:
    """What the plugin found and no table here explains."""
    found: dict[str, dict[str, list[str]]] = {}
    for test, finding in outcome.findings.items():
        excused = {"orphans": FOREIGN_PARENTS, "twice": REUSED_IDS, "unended": NEVER_END}
        left = {
            kind: lines for kind, lines in finding.items() if not any(name in test for name in excused.get(kind, ()))
        }
        if left:
            found[test] = left
    return found


NEVER_END: tuple[str, ...] = ()
"""LangChain itself tells no end of their runs."""


def check(suite: Path, tests: list[str], tmp_path: Path, path: list[Path], *, is_short: bool = False) -> Outcome:
    """Run twice, at the same time; compare, judge."""
    with ThreadPoolExecutor() as pool:
        plain = pool.submit(run, suite, tests, tmp_path / "without", ours=False, path=path, is_short=is_short)
        with_ours = run(suite, tests, tmp_path / "with", ours=True, path=path, is_short=is_short)
        without = plain.result()
    assert again(suite, changed(without, with_ours).keys() - LISTS_HANDLERS, tmp_path, path) == {}
    assert unexplained(with_ours) == {}
    assert "passed" in with_ours.results.values()
    return with_ours


def again(suite: Path, tests: Collection[str], tmp_path: Path, path: list[Path]) -> Mapping[str, object]:
    """What of these is changed every time. Some go by the clock, as rate limits do: a busy machine changes them."""
    found: Mapping[str, object] = dict.fromkeys(tests)
    for attempt in range(ATTEMPTS):
        if not found:
            break
        nodes = [node(suite, test) for test in found]
        plain, ours = (run(suite, nodes, tmp_path / f"again-{attempt}-{o}", ours=o, path=path) for o in (False, True))
        found = changed(plain, ours)
    return found


WRONG = """
import logging, uuid
from eventtree.langchain import global_handler
from eventtree.recording.recorder import recorder
from langchain_core.runnables import RunnableLambda

step = RunnableLambda(lambda x: x)

def test_fine(): step.invoke("x")
def test_unended(): global_handler().on_chain_start(None, "x", run_id=uuid.uuid4(), name="lost")
def test_orphan():
    run = uuid.uuid4()
    global_handler().on_chain_start(None, "x", run_id=run, parent_run_id=uuid.uuid4(), name="lost")
    global_handler().on_chain_end("x", run_id=run)
def test_twice():
    run = uuid.uuid4()
    for _ in range(2):
        step.invoke("x", {"run_id": run})
def test_failed(monkeypatch):
    monkeypatch.setattr(recorder, "close", None)
    step.invoke("x")
def test_red(): assert False
"""


def test_the_plugin_finds_what_is_wrong_and_changes_no_result(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text(WRONG)
    outcome = run(tmp_path, ["test_wrong.py"], tmp_path / "out", ours=True)
    assert outcome.results == {
        f"test_wrong::test_{name}": "failed" if name == "red" else "passed"
        for name in ("fine", "unended", "orphan", "twice", "failed", "red")
    }
    assert outcome.runs == 6
    found = {test.split("::test_")[1]: sorted(finding) for test, finding in outcome.findings.items()}
    assert found == {
        "unended": ["unended"],
        "orphan": ["orphans"],
        "twice": ["twice"],
        "failed": ["failed", "logged", "unended"],
    }
    assert set(unexplained(outcome)) == set(outcome.findings)


CORE_NEEDS = ("blockbuster", "forbiddenfruit", "freezegun", "pytest-mock", "python-dateutil", "six", "syrupy<6")
"""What the settings of core's tests and the short ones import."""


def test_core_tests_of_callbacks_tracers_and_events_are_unchanged(cache: Path, tmp_path: Path) -> None:
    needs = install(cache / "core-needs", *CORE_NEEDS)
    outcome = check(fetch(CORE, cache), SHORT, tmp_path, [needs], is_short=True)
    assert len(outcome.results) > 150
    assert outcome.runs > 200


ALL_CORE_NEEDS = (
    *CORE_NEEDS, "grandalf", "pyparsing", "responses",
    "langchain-tests", "pytest-benchmark", "py-cpuinfo", "pytest-socket", "pytest-recording", "vcrpy",
)  # fmt: skip


@pytest.mark.upstream
def test_all_unit_tests_of_core_are_unchanged(cache: Path, tmp_path: Path) -> None:
    needs = install(cache / "all-core-needs", *ALL_CORE_NEEDS)
    outcome = check(fetch(CORE, cache), ["tests/unit_tests"], tmp_path, [needs])
    assert len(outcome.results) > 2000


LANGGRAPH_NEEDS = (
    *CORE_NEEDS,
    "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres", "psycopg", "psycopg-binary", "psycopg-pool",
    "redis", "pycryptodome", "sqlite-vec", "aiosqlite",
)  # fmt: skip
GRAPHS = {
    "interrupts": [
        "tests/test_interruption.py",
        "tests/test_interrupt_state.py",
        "tests/test_interrupt_migration.py",
        "tests/test_graph_callbacks.py",
        "tests/test_parent_command.py",
        "tests/test_parent_command_async.py",
        "tests/test_runner_futures.py",
        "tests/test_strict_resume.py",
    ],
    "reference counts": ["tests/test_pregel.py", "tests/test_pregel_async.py", "-k", "refcount or interrupt or resume"],
}


@pytest.mark.upstream
@pytest.mark.parametrize("tests", GRAPHS.values(), ids=GRAPHS)
def test_langgraphs_tests_are_unchanged(cache: Path, tmp_path: Path, tests: list[str]) -> None:
    needs = install(cache / "langgraph-needs", *LANGGRAPH_NEEDS)
    outcome = check(fetch("langgraph", cache), tests, tmp_path, [needs])
    assert set(outcome.results.values()) <= {"passed", "skipped"}
    assert outcome.runs > 500


OWN_TESTS = ["pytest", "pytest-asyncio", "hypothesis", "blockbuster", f"{ROOT}[langchain,otlp,testing]"]
NEWEST = ["langchain>=1,<2", "langgraph>=1,<2", "langchain-core<1.7.3"]
OLDEST = [
    *("langchain-core==1.0.*", "langchain==1.0.*", "langgraph==1.0.*"),
    # What pip finds for these is newer than langgraph 1.0 can import.
    *("langgraph-prebuilt==1.0.8", "langgraph-checkpoint==3.*"),
]
LEGS: dict[str, tuple[str, list[str], str | None]] = {
    "python 3.12": ("python3.12", NEWEST, None),
    "python 3.13": ("python3.13", NEWEST, None),
    "core 1.0": ("python3.11", OLDEST, None),
    # Its own requirement of certifi is newer than what some indexes have.
    "core 1.8": ("python3.11", NEWEST, "langchain-core==1.8.1"),
}


def find_python(name: str) -> str:
    """An interpreter on the path, or among pyenv's."""
    found = shutil.which(name)
    versions = sorted((Path.home() / ".pyenv" / "versions").glob(f"{name.removeprefix('python')}.*/bin/python"))
    works = found is not None and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0
    if not works and not versions:
        pytest.skip(f"there is no {name} here")
    return found if works and found is not None else str(versions[-1])


def make_venv(venv: Path, name: str, wanted: list[str], instead: str | None) -> str:
    """The interpreter of an environment with what is wanted, made anew where that has changed."""
    ready, contents = venv / "ready", "\n".join([name, *OWN_TESTS, *wanted, instead or ""])
    python = str(venv / "bin" / "python")
    if not ready.is_file() or ready.read_text() != contents:
        subprocess.run([find_python(name), "-m", "venv", "--clear", str(venv)], check=True)
        pip("install", *OWN_TESTS, *wanted, python=python)
        if instead:
            pip("install", "--no-deps", instead, python=python)
        ready.write_text(contents)
    return python


@pytest.mark.upstream
@pytest.mark.parametrize("leg", LEGS)
def test_our_tests_pass_under_other_versions(cache: Path, leg: str) -> None:
    python = make_venv(cache / leg.replace(" ", "-"), *LEGS[leg])
    command = [python, "-m", "pytest", "tests/langchain", "-p", "no:cacheprovider"]
    command += ["--ignore", "tests/langchain/test_upstream.py"]
    source = ROOT / "integrations"
    done = subprocess.run(command, cwd=ROOT, env=environment([source]), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:]
    said = "import langchain_core, sys; print(sys.version_info[:2], langchain_core.__version__)"
    used = subprocess.run([python, "-c", said], capture_output=True, text=True, check=True).stdout
    assert CHECKS[leg](used), used


CHECKS: dict[str, Callable[[str], bool]] = {
    "python 3.12": lambda used: used.startswith("(3, 12)"),
    "python 3.13": lambda used: used.startswith("(3, 13)"),
    "core 1.0": lambda used: ") 1.0." in used,
    "core 1.8": lambda used: ") 1.8." in used,
}
