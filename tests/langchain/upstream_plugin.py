"""A pytest plugin for others' test suites: our handler sees every run of theirs, and is checked after each test.

    PYTHONPATH=tests/langchain pytest -p upstream_plugin --eventtree-report report.json …

A finding never fails the test it was made in: suites are compared with and without the plugin, so their results must be
their own. The report says, for each test with a finding, what was wrong:

unended   runs that started and never ended
twice     runs that ended, or started under one id, more than once
orphans   roots whose parent was never seen
failed    what went wrong in our code and was kept from the app
logged    what our logger said

It also says how many runs were seen in all, so that a plugin that saw nothing does not pass for one that found nothing.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventtree import diagnostics
from eventtree.journal import Journal, MemoryFiles
from eventtree.journal.trees import load, trees_in
from eventtree.langchain import set_global_handler
from eventtree.recording.recorder import recorder

Finding = dict[str, list[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the report goes."""
    parser.addoption("--eventtree-report", type=Path, default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Attach the handler for the whole session."""
    config.pluginmanager.register(Watch(config.getoption("--eventtree-report")), "eventtree-watch")


class Heard(logging.Handler):
    """What eventtree logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.lines.append(record.getMessage())


class Watch:
    """One journal in memory for each test; what it holds is judged when the test and its fixtures are done."""

    def __init__(self, report: Path | None) -> None:
        self.report = report
        self.runs = 0
        self.findings: dict[str, Finding] = {}
        self.heard = Heard()
        logging.getLogger("eventtree").addHandler(self.heard)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record one test."""
        journal = Journal(MemoryFiles())
        recorder.capture_journal = journal
        set_global_handler(vendors=[], journal=":memory:", sample_rate=1.0)
        try:
            return (yield)
        finally:
            set_global_handler(None)
            recorder.capture_journal = None
            self._judge(item.nodeid, journal)
            recorder.runs.clear()
            recorder.ended.clear()

    def pytest_sessionfinish(self) -> None:
        """Write what was found."""
        if self.report is not None:
            self.report.write_text(json.dumps({"runs": self.runs, "findings": self.findings}, indent=1))

    def _judge(self, test: str, journal: Journal) -> None:
        finding: dict[str, list[str]] = {"unended": [], "twice": [], "orphans": []}
        for logged in trees_in(journal).values():
            self._judge_tree(list(load(journal, logged.lines)), finding)
        finding["failed"] = [f"{kind} x{times}" for kind, times in diagnostics.failures.items()]
        finding["logged"] = list(self.heard.lines)
        diagnostics.failures.clear()
        self.heard.lines.clear()
        found = {key: lines for key, lines in finding.items() if lines}
        if found:
            self.findings[test] = found

    def _judge_tree(self, records: list[dict[str, Any]], finding: Finding) -> None:
        opened = {entry["id"]: entry for entry in records if entry["r"] == "open"}
        closed = Counter(entry["id"] for entry in records if entry["r"] == "close")
        self.runs += len(opened)
        for run, entry in opened.items():
            about = f"{entry['kind']} {entry['name']}"
            metadata = entry.get("metadata", {})
            if closed[run] == 0:
                finding["unended"].append(about)
            if closed[run] > 1 or "run_id" in metadata:
                finding["twice"].append(about)
            if "parent_run_id" in metadata and entry["parent"] is None:
                finding["orphans"].append(about)
