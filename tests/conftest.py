"""Every test has a journal of its own, no vendor of the environment, and leaves no thread behind."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from eventtree import config, diagnostics, record
from eventtree.content import fast_path
from eventtree.delivery.shipper import close
from eventtree.journal import journal as journal_module
from eventtree.query.trees import close_indexes
from eventtree.recording import caller
from eventtree.recording.recorder import recorder
from tests.forks import Forks

# Examples are drawn as slowly as a busy machine happens to be; that says nothing about the code.
EASY = {"deadline": None, "suppress_health_check": list(HealthCheck)}
# The same examples in every run, so that a red test is about the change at hand. To look for new ones:
# pytest --hypothesis-profile=explore
settings.register_profile("repeatable", derandomize=True, **EASY)
settings.register_profile("explore", max_examples=1_000, print_blob=True, **EASY)
settings.load_profile("repeatable")

# Under nohup or in a shell's background we inherit "ignore", and so would every child, also those that tests interrupt.
# A handler of our own is forgotten at exec: children begin with the default, and we go on ignoring.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# One heap for all threads: else each thread of a server's keeps pages of its own, long after it has ended.
ARENA_MAX = -8
with suppress(OSError, AttributeError):  # a system without glibc
    ctypes.CDLL(None).mallopt(ARENA_MAX, 1)

PLATFORMS = frozenset(name for names in config.PLATFORMS.values() for name in names)
VENDOR_PREFIXES = ("EVENTTREE_", "HH_", "HONEYHIVE_", "HUMANLOOP_", "BRAINTRUST_", "NEBULY_", "OPENAI_", "OTEL_")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--careful`: no value is copied the fast way, and orjson is not there. `--vendors=a,b`: see vendors/scenarios."""
    parser.addoption("--careful", action="store_true", help="without the fast path and without orjson")
    parser.addoption("--vendors", default="otlp", help="whose contracts the trees of the scenarios are held against")


def pytest_configure(config: pytest.Config) -> None:
    """What xdist's `-n` asks for is done by forks, where there are any."""
    most = config.getoption("numprocesses", None)
    if most and hasattr(os, "fork"):
        config.option.dist = "no"
        config.pluginmanager.register(Forks(config, most))


@pytest.fixture(autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The careful way alone, where it is asked for."""
    if request.config.getoption("--careful"):
        monkeypatch.setattr(fast_path, "room_in", lambda _limits: 0)
        monkeypatch.setattr(record, "orjson", None)


@pytest.fixture(autouse=True, scope="module")
def let_go() -> Iterator[None]:
    """What a file's tests have used goes back to the system: else the run holds the most that any of them needed."""
    yield
    gc.collect()
    with suppress(OSError, AttributeError):  # a system without glibc
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A journal folder for this test, and a clean environment."""
    for name in list(os.environ):
        if (name in PLATFORMS or name.startswith(VENDOR_PREFIXES)) and name != "EVENTTREE_PRICE_DATASET":
            monkeypatch.delenv(name)
    folder = tmp_path / "journal"
    monkeypatch.setenv("EVENTTREE_JOURNAL", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield folder
    config.configure()
    close_indexes()
    for journal in list(journal_module._journals):
        close(journal)
    recorder.runs.clear()
    recorder.ended.clear()
    diagnostics.failures.clear()
    diagnostics.truncations.clear()
    caller.wanted = False


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays of the retry table in milliseconds instead of seconds."""
    monkeypatch.setattr("eventtree.delivery.retry.FIRST_DELAY", 0.005)
    monkeypatch.setattr("eventtree.delivery.retry.LONGEST_BACKOFF", 0.02)
    monkeypatch.setattr("eventtree.delivery.retry.PROBE_POLL", 0.005)
