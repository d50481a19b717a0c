"""Runs of the demo in a process of its own, in surroundings that would lead it astray if it looked at them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eventtree.vendors import VENDORS, vendor_class

ASTRAY = "http://127.0.0.1:9"
"""Nobody listens there."""

WATCH = """
import os, socket

def noted(what, original, allowed):
    def call(*args, **kwargs):
        if not allowed(args):
            with open(os.environ["DEMO_TRIED"], "a") as file:
                print(what, args[-2:], file=file)
            raise OSError("no network here")
        return original(*args, **kwargs)
    return call

LOCAL = ("127.0.0.1", "localhost", "::1")
is_local = lambda args: not isinstance(args[1], tuple) or (args[1][0] in LOCAL and args[1][1] != 9)
socket.socket.connect = noted("connect", socket.socket.connect, is_local)
socket.socket.connect_ex = noted("connect_ex", socket.socket.connect_ex, is_local)
socket.getaddrinfo = noted("resolve", socket.getaddrinfo, lambda args: args[0] in LOCAL)
"""
"""A `sitecustomize` that writes down, and stops, every step out of the machine."""


@dataclass
class Ran:
    """What a run of the demo left behind."""

    status: int
    output: str
    errors: str
    folder: Path
    tried: str

    @property
    def answers(self) -> list[str]:
        """What the chain, the agent and the query engine answered."""
        return re.findall(r"^answer  (.*)$", self.output, re.M)

    @property
    def requests(self) -> dict[str, list[dict[str, Any]]]:
        """The requests of each vendor."""
        return {file.stem: json.loads(file.read_text()) for file in (self.folder / "requests").glob("*.json")}


def surroundings(folder: Path) -> dict[str, str]:
    """An environment full of settings the demo must not follow, and without a way out."""
    (folder / "sitecustomize.py").write_text(WATCH)
    named = {name for kind in VENDORS for names in vendor_class(kind).env.values() for name in names}
    proxies = {f"{scheme}_proxy" for scheme in ("http", "https", "all")}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(folder),
        "DEMO_TRIED": str(folder / "tried"),
        **{name: ASTRAY if "UR" in name or "ENDPOINT" in name else f"astray-{name}" for name in named},
        **{name: ASTRAY for proxy in proxies for name in (proxy, proxy.upper())},
        "EVENTTREE_ENABLED": "0",
        "EVENTTREE_DELIVER": "0",
        "EVENTTREE_CONTENT": "off",
        "EVENTTREE_SAMPLE_RATE": "0",
        "EVENTTREE_JOURNAL": str(folder / "elsewhere"),
        "EVENTTREE_VENDORS": "braintrust",
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_API_KEY": "astray",
        "LANGCHAIN_TRACING_V2": "true",
        "TIKTOKEN_CACHE_DIR": str(folder / "no-tokens"),
        "NLTK_DATA": str(folder / "no-language"),
    }


Run = Callable[..., Ran]


def run_demo(folder: Path, *arguments: str, script: str | None = None) -> Ran:
    """`eventtree demo ARGUMENTS`, or a Python script that calls `run_demo` itself."""
    command = ["-c", script] if script is not None else ["-m", "eventtree", "demo", "--out", str(folder / "out")]
    done = subprocess.run(
        [sys.executable, *command, *arguments], cwd=folder, env=surroundings(folder), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    tried = folder / "tried"
    return Ran(done.returncode, done.stdout, done.stderr, folder / "out", tried.read_text() if tried.exists() else "")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the demo in a folder of the test's own."""
    return lambda *arguments, **more: run_demo(tmp_path, *arguments, **more)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One run with the default question, for all tests that only look."""
    return run_demo(tmp_path_factory.mktemp("demo"))
