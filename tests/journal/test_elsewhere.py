"""Where Linux's own calls and Python's private ones are missing: all is recorded, delivered and cleared as here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ELSEWHERE = """
import asyncio, concurrent.futures.thread, os, shutil, subprocess, sys, tempfile
# What these use themselves is theirs to guard.
import filelock, httpx, langchain_core.runnables, pydantic, werkzeug.serving

for name in ("O_CLOEXEC", "O_NOFOLLOW", "pread", "pwrite", "writev", "preadv", "register_at_fork", "fork", "getuid"):
    delattr(os, name)
for name in ("_get_running_loop", "_set_running_loop"):  # not promised, on any system
    delattr(asyncio, name)
sys.modules["posix"] = sys.modules["fcntl"] = None
os.O_BINARY = 0

import eventtree
from eventtree.journal.clear import clear
from eventtree.langchain import CallbackHandler
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from langchain_core.runnables import RunnableLambda
from tests.trees import record_tree

with VendorServer() as server:
    pipeline = Pipeline(vendors=[Braintrust(project="rag", **server.settings("braintrust"))])
    record_tree(pipeline)
    report = eventtree.flush(60)
    assert report.settled and len(server.events("braintrust")) == 3, report
    handler = CallbackHandler(vendors=[])
    assert asyncio.run(RunnableLambda(len).ainvoke("four", {"callbacks": [handler]})) == 4
    assert eventtree.last_tree().id == handler.last_tree_id
    assert clear(pipeline.journal) == 2
    report = eventtree.flush(60)
    assert not report.failures, report.failures
"""


def test_nothing_needs_a_call_that_windows_or_macos_lacks_or_that_python_does_not_promise(own_place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=False, timeout=300,
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
