"""`pytest -n N`: each file's tests run in a fork of the one process that has imported everything, N at a time.

xdist's workers each import every framework, and keep whatever any test of theirs has needed. Forks share what was
imported, begin every file as if it were the first, and give back all they took when it has ended.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from itertools import groupby
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

import pytest

LONG = tuple(
    f"tests/{name}.py::"
    for name in (
        "relay/test_faults", "langchain/test_upstream", "bench/test_instructions", "test_notebooks", "test_typing",
        "test_examples", "demo/test_demo", "cli/test_commands", "own/test_joined",
    )
)  # fmt: skip
"""Files that take long, or wait for much: they begin first, so that none of them is alone at the end. The browser is
not among them: with the type checkers beside it, the tests would take more than a gigabyte.
"""


class Forks:
    """The loop over the tests, in place of pytest's own."""

    def __init__(self, config: pytest.Config, most: int) -> None:
        """Run the tests of up to `most` files at once."""
        self.config = config
        self.most = most
        self.running: dict[Any, tuple[int, list[pytest.Item]]] = {}
        """Where a fork's reports arrive → its process, and the tests that it has yet to begin."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run all; None leaves it to pytest."""
        if session.testsfailed or self.config.option.collectonly:
            return None
        files = [list(items) for _, items in groupby(session.items, key=lambda item: item.path)]
        files.sort(key=lambda items: not items[0].nodeid.startswith(LONG))
        self.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one for all forks
        gc.collect()
        gc.freeze()  # what is there by now is never looked at again, and its memory stays shared
        try:
            while files or self.running:
                while files and len(self.running) < self.most:
                    self._fork(session, files.pop(0))
                for reports in wait(list(self.running)):
                    self._hear(reports, files)
                if session.shouldfail:
                    raise session.Failed(session.shouldfail)
        finally:
            for pid, _ in self.running.values():
                os.kill(pid, 9)
                os.waitpid(pid, 0)
        return True

    def _fork(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        reports, writer = Pipe(duplex=False)
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            writer.close()
            self.running[reports] = (pid, items)
            return
        try:
            self.config.pluginmanager.unregister(self)
            _run(session, items, writer)
        finally:
            os._exit(0)

    def _hear(self, reports: Any, files: list[list[pytest.Item]]) -> None:
        """Pass on what a fork says. Where it has died in a test, that test has failed; those after it are run yet."""
        pid, left = self.running[reports]
        try:
            said = reports.recv()
        except EOFError:
            del self.running[reports]
            reports.close()
            _, status = os.waitpid(pid, 0)
            if left:
                self._report(_died(left.pop(0), os.waitstatus_to_exitcode(status)))
                files[:0] = [left] if left else []
            return
        if said is None:
            item = left.pop(0)
            self.config.hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        else:
            self._report(self.config.hook.pytest_report_from_serializable(config=self.config, data=said))

    def _report(self, report: pytest.TestReport) -> None:
        self.config.hook.pytest_runtest_logreport(report=report)


class _Sender:
    """What a fork says of its tests: a report each, and None after the last report of one."""

    def __init__(self, config: pytest.Config, writer: Connection) -> None:
        self.config = config
        self.writer = writer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.writer.send(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))


def _run(session: pytest.Session, items: Sequence[pytest.Item], writer: Connection) -> None:
    """The life of a fork. What its tests print, it catches in files of its own."""
    config = session.config
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    config.pluginmanager.unregister(name="terminalreporter")
    config.pluginmanager.register(_Sender(config, writer))
    for item, following in zip(items, [*items[1:], None], strict=True):
        config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        writer.send(None)
        if session.shouldfail or session.shouldstop:
            return


def _died(item: pytest.Item, status: int) -> pytest.TestReport:
    words = f"the process of this test ended with status {status}"
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", words, "call")
