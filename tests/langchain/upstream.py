"""Other projects' own tests: fetched from the package index when they are needed, and run in a process of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FETCH_SECONDS = 300
RUN_SECONDS = 1500
HUNG_SECONDS = 240
"""A suite of a few hundred tests that takes longer hangs: asyncio tests of theirs do at times, without us too."""


def fetch(project: str, cache: Path) -> Path:
    """The unpacked source distribution of the installed version; skips the test where the index cannot be reached."""
    name = f"{project.replace('-', '_')}-{version(project)}"
    if not (cache / name).is_dir():
        wanted = f"{project}=={version(project)}"
        pip("download", "--no-deps", "--no-binary", ":all:", "--dest", str(cache), wanted)
        with tarfile.open(cache / f"{name}.tar.gz") as archive:
            archive.extractall(cache, filter="data")
    return cache / name


def install(folder: Path, *wanted: str) -> Path:
    """A folder for the module path with these packages, without what they depend on; made anew where they change."""
    ready, contents = folder / "ready", "\n".join(wanted)
    if not ready.is_file() or ready.read_text() != contents:
        shutil.rmtree(folder, ignore_errors=True)
        pip("install", "--no-deps", "--target", str(folder), *wanted)
        ready.write_text(contents)
    return folder


def pip(*arguments: str, python: str = sys.executable) -> None:
    """Run pip; skips the test where the index cannot be reached."""
    command = [python, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check", "--retries", "1"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip {' '.join(arguments)} took longer than {FETCH_SECONDS} s")
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        pytest.skip(f"pip {' '.join(arguments)} failed: {said[-1] if said else done.stderr[-200:]}")


@dataclass(frozen=True)
class Outcome:
    """What a suite's run came to."""

    results: Mapping[str, str]
    """Test → passed, failed or skipped."""
    output: str
    runs: int = 0
    """How many runs our handler saw."""
    findings: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    """See `upstream_plugin`."""


def run(
    suite: Path, tests: Sequence[str], out: Path, *, ours: bool, path: Sequence[Path] = (), is_short: bool = False
) -> Outcome:
    """Run some of a suite's tests, with our plugin or without."""
    out.mkdir(exist_ok=True)
    junit, report = out / "junit.xml", out / "report.json"
    plugin = ["-p", "upstream_plugin", "--eventtree-report", str(report)] if ours else []
    command = [sys.executable, "-m", "pytest", *tests, *plugin, f"--junitxml={junit}", "-q", "-o", "addopts="]
    command += ["-p", "no:cacheprovider", "--continue-on-collection-errors"]
    for seconds in (HUNG_SECONDS, RUN_SECONDS) if is_short else (RUN_SECONDS,):
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                command, cwd=suite, env=environment([*path, HERE]), capture_output=True, text=True, timeout=seconds
            )
            break
    else:
        pytest.fail("the suite hangs")
    if not junit.is_file():
        pytest.fail(f"the suite did not run:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    said: dict[str, Any] = json.loads(report.read_text()) if ours else {}
    return Outcome(results_in(junit), done.stdout[-5000:], **said)


def environment(path: Sequence[Path]) -> dict[str, str]:
    """Ours without settings of any vendor and of our own tests' run; nothing is sent anywhere."""
    others = ("LANGSMITH_", "LANGCHAIN_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    nowhere = "http://127.0.0.1:9"
    return kept | {
        "PYTHONPATH": os.pathsep.join(map(str, path)), "NO_DOCKER": "true", "LANGSMITH_ENDPOINT": nowhere,
    }  # fmt: skip


def results_in(junit: Path) -> dict[str, str]:
    """The results of a JUnit file."""
    found = {}
    for case in ET.parse(junit).iter("testcase"):
        tags = {child.tag for child in case}
        result = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        found[f"{case.get('classname')}::{case.get('name')}"] = result
    return found


def changed(without: Outcome, with_ours: Outcome) -> dict[str, tuple[str | None, str | None]]:
    """Tests whose result our plugin changes."""
    names = without.results.keys() | with_ours.results.keys()
    pairs = {name: (without.results.get(name), with_ours.results.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def node(suite: Path, test: str) -> str:
    """What pytest calls a test of `results_in`: `tests.test_x.TestY::test_z` → `tests/test_x.py::TestY::test_z`."""
    place, name = test.split("::", 1)
    parts = place.split(".")
    modules = next(n for n in range(len(parts), 0, -1) if (suite / ("/".join(parts[:n]) + ".py")).is_file())
    return "::".join(["/".join(parts[:modules]) + ".py", *parts[modules:], name])
