"""The journal on a system that lacks what Linux has: it records, delivers and clears there as here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ELSEWHERE = """
import asyncio, concurrent.futures.thread, os, shutil, subprocess, sys, tempfile
import filelock, httpx, pydantic, werkzeug.serving  # what they use themselves is theirs to guard

for name in ("O_CLOEXEC", "O_NOFOLLOW", "pread", "pwrite", "writev", "preadv", "register_at_fork", "fork", "getuid"):
    delattr(os, name)
sys.modules["posix"] = sys.modules["fcntl"] = None
os.O_BINARY = 0

import eventtree
from eventtree.journal.clear import clear
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.trees import record_tree

with VendorServer() as server:
    pipeline = Pipeline(vendors=[Braintrust(project="rag", **server.settings("braintrust"))])
    record_tree(pipeline)
    report = eventtree.flush(60)
    assert report.settled and len(server.events("braintrust")) == 3, report
    assert clear(pipeline.journal) == 1
    assert not report.failures, report.failures
"""


def test_the_journal_needs_no_call_that_windows_or_macos_lacks(own_place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=False, timeout=300,
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
