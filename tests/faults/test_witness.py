"""F34, F35: the law has a second witness; a report is of one moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from eventtree import flush
from eventtree.delivery.report import make_report
from eventtree.journal import DiskFiles, Journal
from eventtree.journal.line import frame
from eventtree.record import Record, encode
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.trees import record_tree

REWRITER = """
import sys
from pathlib import Path
from eventtree.journal import DiskFiles
from eventtree.journal.cursor import Cursor
files = DiskFiles(Path(sys.argv[1]))
cursor = Cursor(files, sys.argv[2])
print("ready", flush=True)
while True:
    cursor.advance({})
    for _ in range(50):
        cursor.learn({"x": str(_)})
"""


def test_f30_a_journal_that_lost_whole_trees_says_so(own_place: Path) -> None:
    """F34: the sums balance over what is left; what was counted at capture tells the difference."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))], deliver=False)
        for _ in range(5):
            record_tree(pipeline)
        files = pipeline.journal.files
        log = pipeline.journal.log
        whole = files.read(log, 0)
        lines = whole.splitlines(keepends=True)
        [ref] = pipeline.vendor_refs
        name = f"{ref['name']}.{ref['fingerprint']}"
        # As a process ends: the sums of what it recorded stand in the last line.
        ending: Record = {"r": "log", "id": pipeline.journal.process, "tree": "", "recorded": {name: 15}}
        footer = frame(0, encode({**ending, "events": 15, "end": True}))
        files.replace(log, lines[0] + b"".join(lines[8:]) + footer)  # a whole tree is missing
        fresh = make_report(Journal(files)).vendors["braintrust"]
        assert (fresh.accepted, fresh.recorded, fresh.unexplained) == (12, 15, 0)
        assert fresh.differs
        assert not make_report(Journal(files)).settled
        command = [sys.executable, "-m", "eventtree", "report", "--journal", str(own_place)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "15 were recorded" in shown
        files.replace(log, whole + footer)
        assert not make_report(Journal(files)).vendors["braintrust"].differs


def test_f30_witnesses_agree_while_threads_record(own_place: Path) -> None:
    """F34: no false alarm by what is recorded while the report is made, nor by a replay."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        for number in range(200):
            record_tree(pipeline)
            if number % 10 == 0:
                assert not pipeline.shipper.report().vendors["braintrust"].differs
        assert flush(20).settled


def test_f47_a_report_made_while_the_cursor_is_rewritten_never_goes_back(own_place: Path) -> None:
    """F35"""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        for _ in range(400):
            record_tree(pipeline)
        assert flush(30).settled
        pipeline.shipper.stop()
        [cursor] = [name for name in pipeline.journal.files.names() if name.endswith(".cursor")]
        command = [sys.executable, "-c", REWRITER, str(own_place), cursor]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as rewriter:
            assert rewriter.stdout is not None
            assert rewriter.stdout.readline() == "ready\n"
            try:
                for _ in range(150):
                    sums = make_report(Journal(DiskFiles(own_place))).vendors["braintrust"]
                    assert (sums.accepted, sums.delivered, sums.waiting) == (1200, 1200, 0), sums
            finally:
                rewriter.kill()
