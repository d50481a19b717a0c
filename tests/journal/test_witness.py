"""F30: events are counted where they happen, apart from their records: what logs hold can be checked against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eventtree.journal import DiskFiles, Journal, MemoryFiles
from eventtree.journal import journal as journal_module
from eventtree.journal.line import LineReader
from eventtree.kinds import Kind
from eventtree.record import LOG
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.vendors import Braintrust, Nebuly
from tests.faults.world import FaultyFiles
from tests.trees import new_id, record_tree

URL = "http://127.0.0.1:9"


def records(journal: Journal) -> list[dict[str, Any]]:
    """Every record of every log, in order."""
    found = []
    for name in journal.logs():
        reader = LineReader(journal.files, name)
        while lines := reader.read():
            found += [json.loads(payload) for *_, payload in lines]
    return found


def opened(journal: Journal) -> Counter[str]:
    """Events for each vendor, counted from the records alone, the slow way."""
    entries = records(journal)
    vendors: dict[str, Any] = {}
    for entry in entries:
        if entry["id"] == entry["tree"] and "vendors" in entry:
            vendors[entry["tree"]] = entry["vendors"]
    found: Counter[str] = Counter()
    for entry in entries:
        count = {"open": 1, "drop": entry.get("events", 0)}.get(entry["r"], 0)
        for ref in vendors.get(entry["tree"]) or ({"name": "", "fingerprint": ""},):
            found[f"{ref['name']}.{ref['fingerprint']}".strip(".")] += count
    return +found


def a_vendor(name: str = "braintrust") -> Braintrust:
    return Braintrust(api_key="k", base_url=URL, name=name)


def test_f30_totals_equal_what_the_records_hold() -> None:
    """Trees for one vendor, for two, for one that joins in the middle, for none; unsampled ones."""
    common: Any = {"journal": ":memory:", "deliver": False}
    one, two = Pipeline(vendors=[a_vendor()], **common), Pipeline(vendors=[Nebuly(api_key="k"), a_vendor()], **common)
    none, seldom = Pipeline(**common), Pipeline(vendors=[a_vendor()], sample_rate=0, **common)
    for pipeline in (one, two, none, seldom):
        record_tree(pipeline)
    root, early, late = new_id(), new_id(), new_id()
    recorder.open(one, root, None, kind=Kind.CHAIN, name="root")
    recorder.open(one, early, root, kind=Kind.TOOL, name="early")
    recorder.open(two, root, None, kind=Kind.CHAIN, name="root")
    recorder.open(one, late, root, kind=Kind.TOOL, name="late")
    for run in (late, early, root):
        recorder.close(one, run)
    totals = one.journal.tally.totals
    assert totals == opened(one.journal)
    assert sorted(totals.values()) == [3, 6, 12]


def test_f30_each_log_begins_with_the_totals_before_it() -> None:
    journal = Journal(MemoryFiles(), roll_bytes=500)
    for number in range(100):
        journal.append(b'{"r":"open","id":"%d","tree":"t"}' % number, ("v.f", "w.g"))
    heads = [entry for entry in records(journal) if entry["r"] == LOG]
    assert len(heads) > 5
    seen = 0
    for entry in records(journal):
        if entry["r"] == LOG:
            assert entry["recorded"] == ({"v.f": seen, "w.g": seen} if seen else {})
            assert (entry["eventtree"], entry["tree"], entry["lost"]) == (1, "", {})
        seen += entry["r"] == "open"
    assert journal.tally.totals == {"v.f": 100, "w.g": 100}


SCRIPT = """
import os, sys
from eventtree.recording.pipeline import Pipeline
from eventtree.vendors import Braintrust
from tests.trees import record_tree
pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url="http://127.0.0.1:9")], exit_timeout=0.1)
record_tree(pipeline)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("ending", ["exit", "kill"])
def test_f30_a_clean_exit_leaves_the_totals_in_the_last_line(own_place: Path, ending: str) -> None:
    subprocess.run([sys.executable, "-c", SCRIPT, ending], check=False, timeout=300)
    last = records(Journal(DiskFiles(own_place)))[-1]
    assert last.get("end", False) is (ending == "exit")
    if ending == "exit":
        assert list(last["recorded"].values()) == [3]


def test_f30_a_forked_child_counts_its_own() -> None:
    pipeline = Pipeline(vendors=[a_vendor()], deliver=False)
    record_tree(pipeline)
    child = os.fork()
    if child == 0:
        record_tree(pipeline, children=1)
        os._exit(0 if list(pipeline.journal.tally.totals.values()) == [2] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert list(pipeline.journal.tally.totals.values()) == [3]


def test_f30_what_neither_disk_nor_memory_takes_is_counted_as_lost() -> None:
    files = FaultyFiles()
    journal = Journal(files, held_bytes=2_000)
    journal.append(b'{"r":"open","id":"0","tree":"t"}', ("v.f",))
    files.is_full = True
    for number in range(200):
        journal.append(b'{"r":"open","id":"%d","tree":"t"}' % number, ("v.f",))
    assert journal.tally.totals == {"v.f": 201}
    assert journal.tally.lost == {"v.f": journal.dropped}
    assert journal.dropped > 100
    files.is_full = False
    journal.flush_held()
    journal.end()
    kept = records(journal)
    assert sum(entry["r"] == "open" for entry in kept) + journal.tally.lost["v.f"] == journal.tally.totals["v.f"]
    assert (kept[-1]["end"], kept[-1]["recorded"], kept[-1]["lost"]) == (True, {"v.f": 201}, dict(journal.tally.lost))


def test_f30_totals_begin_anew_with_what_is_written_again_after_the_folder_was_deleted(
    own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(vendors=[a_vendor()], deliver=False)
    record_tree(pipeline)
    pipeline.journal.flush_held()
    record_tree(pipeline, children=1)
    for path in own_place.iterdir():
        path.unlink()
    own_place.rmdir()
    monkeypatch.setattr(journal_module, "LOOK_SECONDS", 0.0)
    pipeline.journal._next_look = 0.0
    record_tree(pipeline, children=1)
    assert opened(pipeline.journal) == pipeline.journal.tally.totals
    assert list(pipeline.journal.tally.totals.values()) == [4], "the second tree is written again, the first is gone"


WORKER = """
import os, sys, time
from eventtree.journal import DiskFiles
from eventtree.recording.pipeline import Pipeline
from eventtree.vendors import Braintrust
from tests.trees import record_tree
append, full = DiskFiles.append, [sys.argv[2] == "full"]
def refusing(self, name, data):
    if full[0]:
        raise OSError(28, "No space left on device")
    append(self, name, data)
DiskFiles.append = refusing
pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url="http://127.0.0.1:9")], deliver=False)
record_tree(pipeline)
print("recorded", flush=True)
sys.stdin.readline()
full[0] = False
pipeline.journal.flush_held()
print("written", flush=True)
sys.stdin.readline()
os._exit(1)
"""


@pytest.mark.parametrize("others", ["full", "room"])
def test_f35_workers_that_start_on_a_full_disk_agree_on_a_salt(own_place: Path, others: str) -> None:
    """Their trees are all for one vendor, in whatever order the disk comes back, though they are killed afterwards."""
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen([*command, name, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name, how in (("first", "full"), ("second", "full"), ("third", others))
    ]
    for word in ("recorded", "written"):
        for worker in workers:
            assert worker.stdin is not None and worker.stdout is not None
            if word == "written":
                worker.stdin.write("\n")
                worker.stdin.flush()
            assert worker.stdout.readline() == f"{word}\n"
    for worker in workers:
        worker.kill()
        worker.communicate()
    journal = Journal(DiskFiles(own_place))
    names = {ref["fingerprint"] for entry in records(journal) for ref in entry.get("vendors", ())}
    assert names == {a_vendor().fingerprint(journal.salt)}
    assert sum(entry["r"] == "open" for entry in records(journal)) == 9
