"""Other projects' suites with our handler attached, and our own over the newest workflows and over clients that do not
go with what else is installed here. Fetched at test time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.langchain.upstream import pip

pytestmark = pytest.mark.upstream

HERE = Path(__file__).parent
HOUSE = HERE.parents[1]


def run_pytest(*arguments: str, cwd: Path, python: str = sys.executable, **environment: str) -> str:
    """What pytest printed; it must have passed."""
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def number(pattern: str, text: str) -> int:
    """The number in `text` where `pattern` says."""
    found = re.search(pattern, text)
    return int(found[1]) if found is not None else 0


def test_the_dispatchers_own_suite_passes_with_our_handlers_attached(tmp_path: Path) -> None:
    name = "llama-index-instrumentation"
    pip("download", name, "--no-deps", "--no-binary", name, "--dest", str(tmp_path))
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    [source] = [folder for folder in tmp_path.iterdir() if folder.is_dir()]
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "upstream_plugin.py").write_text((HERE / "upstream_plugin.py").read_text())
    calls = passed = 0
    # Threads of the one test may outlive it and reach the mocks of others, with and without us: it runs alone.
    for chosen in ("not test_context_nesting", "test_context_nesting"):
        printed = run_pytest(
            "tests", "-k", chosen, "-p", "upstream_plugin", "-o", "asyncio_mode=auto", "-o", "addopts=",
            cwd=source, PYTHONPATH=str(tmp_path / "plugin"), EVENTTREE_JOURNAL=str(tmp_path / "journal"),
        )  # fmt: skip
        assert "eventtree failures=0" in printed
        calls += number(r"calls=(\d+)", printed)
        passed += number(r"(\d+) passed", printed)
    assert calls > 200
    assert passed >= 50


def test_our_agents_and_workflows_pass_over_the_newest_workflows(tmp_path: Path) -> None:
    newest = tmp_path / "newest"
    pip("install", "llama-index-workflows", "--no-deps", "--upgrade", "--target", str(newest))
    check = "import workflows, sys; sys.exit(not workflows.__file__.startswith(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": str(newest)}
    subprocess.run([sys.executable, "-c", check, str(newest)], env=environment, check=True)
    tests = [str(HERE / name) for name in ("test_agents.py", "test_propagation.py")]
    printed = run_pytest("-o", "addopts=--import-mode=importlib", *tests, cwd=HOUSE, PYTHONPATH=str(newest))
    assert number(r"(\d+) passed", printed) > 20


CLIENT = ("llama-index-llms-anthropic", "anthropic<1", "pytest", "pytest-asyncio", "hypothesis")
"""Its newest works with an `anthropic` older than the one `langchain-anthropic` needs."""


def test_the_real_anthropic_client_is_told_whole(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    python = str(venv / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    pip("install", f"{HOUSE}[llama-index,otlp,testing]", *CLIENT, python=python)
    tests = str(HERE / "test_anthropic.py")
    printed = run_pytest(tests, "-rs", cwd=HOUSE, python=python, PYTHONPATH=str(HOUSE / "integrations"))
    assert "skipped" not in printed
    assert number(r"(\d+) passed", printed) >= 7
