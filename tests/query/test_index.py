"""The index says of every tree what the tree says itself, in whatever state the journal, or the index, is."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from eventtree import configure, feedback, flush, record
from eventtree.config import MEMORY
from eventtree.delivery.shipper import all_shippers
from eventtree.errors import JournalError
from eventtree.event import EventTree
from eventtree.journal import DiskFiles, Journal, open_journal
from eventtree.journal.clear import clear
from eventtree.kinds import Kind, Status
from eventtree.pricing.pricer import Pricer
from eventtree.query import Index, TreeRow, fill
from eventtree.query.packed import OF_ONE_MOMENT, ROOTED, number_at
from eventtree.query.store import MOST_FILES, forget
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import Answer, VendorServer
from eventtree.tree.filter import Filter, quoted
from eventtree.vendors import Braintrust, HoneyHive
from tests.trees import new_id, record_model, record_tree, stored_trees

VENDORS = (HoneyHive(api_key="k", project="p"), Braintrust(api_key="k"))
HOSTILE = "\x1b[31mred\x1b[0m <script>alert(1)</script> [bold]Größe' OR 1=1 --\u202e"


@pytest.fixture
def journal(own_place: Path) -> Journal:
    """The journal of this test."""
    return open_journal(str(own_place))


@pytest.fixture
def index(journal: Journal) -> Iterator[Index]:
    """Its index, empty at first."""
    with Index(journal) as found:
        yield found


def record_many(number: int = 60, seed: int = 1) -> list[str]:
    """Trees of all sorts: of several sessions, users, vendors, failed, nested, running, with odd texts."""
    rng = random.Random(seed)
    pipelines = [
        Pipeline(vendors=vendors, deliver=False, tags=tags, environment=environment)
        for vendors, tags, environment in ((VENDORS, ("a",), "prod"), (VENDORS[:1], ("b", HOSTILE), None), ((), (), ""))
    ]
    ids = []
    for each in range(number):
        pipeline = rng.choice(pipelines)
        tree = new_id()
        session = rng.choice([None, "s1", "s2", HOSTILE])
        recorder.open(
            pipeline, tree, None, kind=rng.choice([Kind.CHAIN, Kind.AGENT]), name=rng.choice(["rag", HOSTILE]),
            inputs={"question": f"number {each} {rng.choice(['Where?', HOSTILE])}"},
            metadata={"session_id": session, "user_id": rng.choice(["ann", "BOB"]), "eventtree_experiment": "nightly"},
        )  # fmt: skip
        for _ in range(rng.randint(0, 3)):
            record_model(pipeline, new_id(), tree, "why")
        failing = new_id()
        recorder.open(pipeline, failing, tree, kind=Kind.TOOL, name="look up", inputs={"n": each})
        if rng.random() < 0.3:
            recorder.close(pipeline, failing, error=TimeoutError(HOSTILE), status=Status.ERROR)
        else:
            recorder.close(pipeline, failing, outputs="x")
        if rng.random() < 0.8:
            recorder.close(pipeline, tree, outputs="done", status=rng.choice([Status.OK, Status.INTERRUPTED]))
        if rng.random() < 0.2:
            feedback(tree, score=1, comment="quite wrong")
        ids.append(tree)
    return ids


def trees_of(journal: Journal) -> dict[str, EventTree]:
    """Every tree, read without an index."""
    return {tree.id: tree for tree in stored_trees(journal, Pricer.of(None))}


def all_rows(index: Index, words: str = "", limit: int = 7) -> list[TreeRow]:
    """Rows of all pages."""
    chosen, before, found = Filter.parse(words), None, []
    while True:
        page = index.search(chosen, before=before, limit=limit)
        assert page.is_certain
        found += page.rows
        if page.next is None:
            return found
        before = page.next


def check(index: Index, journal: Journal, words: str = "") -> list[TreeRow]:
    """The index finds the very trees that the filter chooses of all, newest first, and says the same of them."""
    trees = trees_of(journal)
    chosen = Filter.parse(words)
    rows = all_rows(index, words)
    vendors = {row.id: row.vendors for row in all_rows(index)}
    assert sorted(row.id for row in rows) == sorted(
        one.id for one in trees.values() if chosen.matches(one, vendors[one.id])
    )
    assert [row.start for row in rows] == sorted((row.start for row in rows), reverse=True)
    for row in rows:
        tree = trees[row.id]
        assert (row.usd, row.tokens, row.unpriced) == (tree.total_usd, tree.total_tokens, tree.unpriced)
        assert (row.name, row.kind, row.status) == (tree.root.name, tree.root.kind, tree.root.status)
        assert (row.session, row.user, row.start) == (tree.root.session_id, tree.root.user, tree.root.start)
        assert (row.events, row.duration, row.feedback) == (len(tree.events), tree.root.duration, len(tree.feedback))
        assert index.tree(row.id) == tree
    return rows


FILTERS = [
    "", "status:ok", "-status:ok", "status:error,interrupted", "session:s1", "session:S1", "-session:s1",
    f"session:{quoted(HOSTILE)}", "session:*größe*", "session:s*", "-session:*S1", "session:*[bold]*", "session:s_",
    "user:bob", "user:b*", "environment:prod", "-environment:prod",
    f"name:{quoted(HOSTILE)}", "name:rag", "kind:tool", "kind:agent", "model:gpt-4o-mini", "-model:gpt*", "tag:b",
    "error:TimeoutError", "error:*time*", "experiment:nightly", "vendor:braintrust", "-vendor:honeyhive",
    "cost>0.00001", "-cost>0.00001", "tokens>15", "tokens=15", "events>3", "errors>0", "duration>0", "-duration>0",
    "since:1h", "until:1h", "rate:0.3", "-rate:0.3", "feedback", "-feedback", "quite", "-quite", "größe", '"number 7"',
    "status:ok OR user:ann", "kind:agent quite OR feedback errors>0", "zebra", "-zebra", quoted(HOSTILE), "OR" + "x",
    "id:00", "-id:00", "-id:xyz", "half\udcff", "-half\udcff",
]  # fmt: skip


def test_every_filter_chooses_from_the_index_what_it_chooses_of_the_trees(index: Index, journal: Journal) -> None:
    record_many()
    found = {words: len(check(index, journal, words)) for words in FILTERS}
    assert found[""] == 60
    # Nearly all of them choose some and leave out some: else this would say nothing.
    assert sum(0 < number < 60 for number in found.values()) > 30


def test_rows_follow_what_is_recorded(index: Index, journal: Journal) -> None:
    record_many(10)
    check(index, journal)
    pipeline = Pipeline(vendors=VENDORS, deliver=False)
    tree = new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="slow", inputs={})
    row = next(iter(index.search().rows))
    assert (row.id, row.status, row.running, row.tokens) == (tree, "incomplete", True, None)
    record_model(pipeline, new_id(), tree, "why")
    recorder.close(pipeline, tree, outputs="x")
    feedback(tree, score=0)
    index._filler._waits.clear()
    row = next(iter(index.search().rows))
    assert (row.id, row.status, row.running, row.tokens, row.feedback) == (tree, "ok", False, 15, 1)
    check(index, journal)


def test_a_tree_that_grows_is_not_folded_at_every_look(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(deliver=False)
    tree = new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="long", inputs={})
    assert index.search().rows[0].events == 1
    (seq, until), *_ = index._filler._waits.items()
    index._filler._waits[seq] = until + 1000
    record_model(pipeline, new_id(), tree, "why")
    assert index.search().rows[0].events == 1
    index._filler._waits[seq] = until - 1000
    assert index.search().rows[0].events == 2


def test_a_filled_index_is_there_for_the_next_process(journal: Journal, own_place: Path) -> None:
    ids = record_many(20)
    with Index(journal) as index:
        assert index.refresh()
        assert index.progress() == (20, 20)
    code = (
        "import sys; from eventtree.query import Index; from eventtree.journal import open_journal\n"
        "with Index(open_journal(sys.argv[1])) as index:\n"
        "    print(index.progress()); print(len(index.search(limit=50).rows))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(own_place)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["(20, 20)", str(len(ids))]


def test_the_newest_trees_are_there_before_the_logs_are_read(own_place: Path) -> None:
    """As many logs are placed, and trees folded, as a page needs."""
    journal = Journal(DiskFiles(own_place), roll_bytes=20_000)
    journal_module_opened(own_place, journal)
    record_many(300)
    logs = journal.logs()
    assert len(logs) > 10
    for number, name in enumerate(logs):
        os.utime(own_place / name, (when(name, own_place) + number / 1e6,) * 2)
    with Index(journal) as index:
        page = index.search(limit=5)
        assert page.is_certain
        folded, found = index.progress()
        assert folded <= 100
        assert found < 100
        assert {row.id for row in page.rows} <= set(trees_of(journal))
        newest = sorted(trees_of(journal).values(), key=lambda tree: tree.root.start)[-5:]
        assert [row.id for row in page.rows] == [tree.id for tree in reversed(newest)]
        check(index, journal)


def when(log: str, folder: Path) -> float:
    """When a log was written last; the disk's clock is too coarse to tell logs of one moment apart."""
    return (folder / log).stat().st_mtime


def journal_module_opened(folder: Path, journal: Journal) -> None:
    from eventtree.journal import journal as module

    module._opened[str(folder)] = journal


def test_within_its_time_a_search_says_that_more_is_to_come(index: Index) -> None:
    record_many(30)
    page = index.search(seconds=0)
    assert not page.is_certain
    assert index.refresh()
    assert index.search(seconds=0).is_certain


def test_a_journal_in_memory_has_an_index_too() -> None:
    configure(journal=MEMORY)
    try:
        record_many(10)
        journal = open_journal(MEMORY)
        with Index(journal) as index:
            assert index.file == MEMORY
            check(index, journal, "status:ok")
    finally:
        open_journal(MEMORY).files.forget()


@pytest.mark.parametrize("damage", ["garbage", "middle", "cut", "empty", "other", "text"])
def test_a_damaged_index_is_made_anew(journal: Journal, damage: str) -> None:
    record_many(40)
    with Index(journal) as index:
        index.refresh()
        place = Path(index.file)
    for ending in ("-wal", "-shm"):
        place.with_name(place.name + ending).unlink(missing_ok=True)
    data = place.read_bytes()
    assert len(data) > 20_000
    place.write_bytes(
        {
            "garbage": os.urandom(len(data)), "cut": data[: len(data) // 2], "empty": b"", "text": b"hello",
            "middle": data[:8192] + os.urandom(len(data) - 12_000) + data[len(data) - 3808 :],
            "other": data.replace(b'["chain"', b'[[[[[[[[['),
        }[damage]
    )  # fmt: skip
    with Index(journal) as index:
        check(index, journal)
        check(index, journal, "status:ok tokens>0")


def test_without_a_place_to_write_the_index_is_in_memory(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    record_many(5)
    with Index(journal) as index:
        check(index, journal)


def test_the_index_is_the_users_alone_and_holds_no_contents(index: Index, journal: Journal) -> None:
    record_many(20)
    index.refresh()
    place = Path(index.file)
    assert place.stat().st_mode & 0o777 == 0o600
    assert place.parent.stat().st_mode & 0o777 == 0o700
    data = b"".join(path.read_bytes() for path in place.parent.glob(f"{place.name}*"))
    assert b"session" in data
    assert b"number 7" not in data
    assert b"quite wrong" not in data


def test_what_is_cleared_is_gone_from_the_index(index: Index, journal: Journal) -> None:
    ids = record_many(20)
    assert len(check(index, journal)) == 20
    assert index.opened(ids[0]) is not None
    clear(journal, set(ids[:5]))
    assert {row.id for row in check(index, journal)} == set(ids[5:])
    assert index.tree(ids[0]) is index.opened(ids[0]) is None
    clear(journal)
    assert check(index, journal) == []
    forget(journal)
    assert not list(Path(index.file).parent.glob("*.sqlite"))


def test_logs_that_are_removed_leave_the_index(own_place: Path) -> None:
    journal = Journal(DiskFiles(own_place), roll_bytes=20_000)
    journal_module_opened(own_place, journal)
    record_many(100)
    with Index(journal) as index:
        before = check(index, journal)
        for name in journal.logs()[:3]:
            journal.files.remove(name)
        assert 0 < len(check(index, journal)) < len(before)


def test_a_line_that_is_not_whole_yet_waits_and_the_last_words_of_the_dead_are_read(own_place: Path) -> None:
    journal = open_journal(str(own_place))
    record_many(3)
    lines = journal.files.read(journal.log, 0).splitlines(keepends=True)
    other = "20260101T000000-1-00000000.0000.log"
    whole, last = b"".join(lines[:-1]), lines[-1]
    for name in journal.logs():
        journal.files.remove(name)
    alive = DiskFiles(own_place).lock(other.replace(".0000.log", ".alive"))
    assert alive is not None
    journal.files.append(other, whole + last[:-5])
    with Index(Journal(DiskFiles(own_place))) as index:
        index.refresh()
        assert index._db.execute("SELECT upto FROM logs").fetchone() == (len(whole),)
        alive.release()
        journal.files.append(other, last[-5:-1])
        index.refresh()
        assert index._db.execute("SELECT upto FROM logs").fetchone() == (len(whole) + len(last) - 1,)


def test_a_tree_is_found_by_the_beginning_of_its_id_or_by_an_event(index: Index, journal: Journal) -> None:
    ids = record_many(30)
    tree = trees_of(journal)[ids[3]]
    assert index.tree(ids[3][:13]) == tree
    assert index.tree(ids[3][-8:]) == tree
    assert [row.id for row in all_rows(index, f"id:{ids[3][-8:]}")] == [ids[3]]
    assert index.tree(tree.events[-1].id) == tree
    assert index.tree("zzz") is None
    assert index.tree(new_id()) is None
    with pytest.raises(JournalError, match="several trees begin or end with"):
        index.tree("")


def test_other_prices_have_an_index_of_their_own(journal: Journal) -> None:
    record_many(10)
    with Index(journal, {"gpt-4o-mini": {"input": 1_000_000, "output": 0}}) as dear, Index(journal) as usual:
        assert {row.usd for row in all_rows(dear, "tokens=15")} == {10}
        assert 0 < (all_rows(usual, "tokens=15")[0].usd or 0) < 1
    with Index(journal, lambda *_: 3) as own:
        assert own.file == MEMORY
        assert {row.usd for row in all_rows(own, "tokens=15")} == {3}


def test_many_threads_and_processes_fill_one_index(journal: Journal, own_place: Path) -> None:
    record_many(200)
    expected = len(trees_of(journal))
    code = (
        "import sys; from eventtree.query import Index; from eventtree.journal import open_journal\n"
        "with Index(open_journal(sys.argv[1])) as index: index.refresh(); print(index.progress()[0])"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", code, str(own_place)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    with Index(journal) as index:
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(len(all_rows(index)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [expected] * 4
        assert [int(other.communicate()[0]) for other in others] == [expected] * 2
        check(index, journal)


@pytest.mark.parametrize("start", [-(10**30), 0, 1 << 51, 1 << 62, 10**40])
def test_a_start_that_cannot_be_is_a_number_that_the_index_takes(start: int) -> None:
    assert ROOTED <= number_at(start) <= (1 << 63) - 1 - OF_ONE_MOMENT


def record_at(journal: Journal, tree: str, start: int) -> None:
    """A tree of a root alone that began then, in ns since the epoch."""
    opened = {"r": "open", "id": tree, "tree": tree, "parent": None, "kind": "chain", "name": "n", "start": start}
    closed = {"r": "close", "id": tree, "tree": tree, "duration": 5, "status": "ok", "outputs": "a", "events": 1}
    for one in (opened, closed):
        journal.append(record.encode(one))


def test_more_trees_than_fit_in_a_moment_are_all_listed_while_they_are_read(index: Index, journal: Journal) -> None:
    for start in [0] * 3 + [1_700_000_000_000_000_000] * 4 * OF_ONE_MOMENT:
        record_at(journal, new_id(), start)
    trees = trees_of(journal)
    listed = [row.id for row in all_rows(index, limit=100)]
    assert len(listed) == len(set(listed)) == len(trees)
    assert [row.id for row in all_rows(index, limit=100)] == listed
    late = {row.start - trees[row.id].root.start for row in all_rows(index, limit=100)}
    assert late == {timedelta(microseconds=at) for at in range(4)}


def test_ids_of_any_letters_are_found_by_their_ends(index: Index, journal: Journal) -> None:
    ids = ["Größe-ÄÖ-Straße", "ÄÄÄÄ", "İstanbul-Iİ", "nul\x7f-x", "FFFFFFFF-0000-4000-8000-00000000ABCD"]
    for tree in ids:
        record_at(journal, tree, 1_700_000_000_000_000_000)
    for tree in ids:
        for end in (tree[:4], tree[-4:], tree[:4].lower()):
            assert {row.id for row in check(index, journal, f"id:{quoted(end)}")} == {tree}
            assert index.tree(end) == trees_of(journal)[tree]


def test_what_another_process_has_left_out_is_left_out_once(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(DiskFiles(own_place), roll_bytes=20_000)
    journal_module_opened(own_place, journal)
    record_many(60)
    listed = journal.logs
    with Index(journal) as index, Index(Journal(DiskFiles(own_place))) as other:
        index.refresh()
        journal.files.remove(listed()[0])

        def after_the_other() -> list[str]:
            other.refresh()
            return listed()

        monkeypatch.setattr(journal, "logs", after_the_other)
        assert index.refresh()
        monkeypatch.undo()
        check(index, journal)


def test_an_index_that_another_process_fills_can_be_opened_and_asked(index: Index, journal: Journal) -> None:
    record_many(5)
    index.refresh()
    file = Path(index.file).stat().st_ino
    index._db.execute("BEGIN IMMEDIATE")
    with Index(journal) as other:
        assert other.file == index.file
        assert len(other.search().rows) == 5
    assert Path(index.file).stat().st_ino == file
    index._db.execute("ROLLBACK")


def test_indexes_that_nobody_has_asked_for_give_way(journal: Journal) -> None:
    record_many(3)
    with Index(journal) as index:
        place = Path(index.file)
    for number in range(MOST_FILES + 5):
        other = place.with_name(f"{number:016x}-0.sqlite")
        other.touch()
        os.utime(other, (number, number))
    with Index(journal, {"gpt-4o-mini": {"input": 1, "output": 0}}):
        left = {path.name for path in place.parent.glob("*.sqlite")}
    assert len(left) == MOST_FILES
    assert place.name in left
    assert f"{0:016x}-0.sqlite" not in left


def test_a_shape_that_was_not_kept_is_no_other_trees(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    first = record_tree(Pipeline(deliver=False, tags=("first",)))
    made = fill.figures

    def refusing(tree: EventTree) -> tuple[object, ...]:
        made(tree)
        raise OSError("the disk refuses")

    monkeypatch.setattr(fill, "figures", refusing)
    with pytest.raises(OSError, match="refuses"):
        index.refresh()
    monkeypatch.setattr(fill, "figures", made)
    second = record_tree(Pipeline(deliver=False, tags=("second",)))
    assert {row.id: row.shape.tag for row in index.search().rows} == {first: ("first",), second: ("second",)}


def test_no_lock_is_taken_that_delivery_needs(index: Index, journal: Journal) -> None:
    record_many(10)
    index.refresh()
    locks = [name for name in journal.files.names() if name.endswith(".lock")]
    assert locks == []


def test_an_index_costs_little_of_the_logs(own_place: Path) -> None:
    """A tenth at most."""
    journal = open_journal(str(own_place))
    pipeline = Pipeline(vendors=VENDORS, deliver=False, session="s")
    for _ in range(1_500):
        record_tree(pipeline, question="Where is it? " * 20)
    with Index(journal) as index:
        index.refresh()
        index._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        logs = sum(journal.files.size(name) for name in journal.logs())
        assert Path(index.file).stat().st_size < 0.1 * logs


def test_each_tree_says_what_became_of_it_at_each_vendor(index: Index) -> None:
    with VendorServer() as server:
        server.script("braintrust", [200, *[Answer(status=400, body={"error": "not today"})] * 20])
        vendors = [Braintrust(**server.settings("braintrust")), HoneyHive(**server.settings("honeyhive"))]
        sent = Pipeline(vendors=vendors)
        refused = record_tree(sent)
        assert flush(20).vendors["braintrust"].dead
        server.unscript("braintrust")
        taken = record_tree(sent)
        assert flush(20).vendors["honeyhive"].waiting == 0
        assert feedback(taken, score=1)  # settled apart from the tree, behind it
        assert flush(20).vendors["honeyhive"].feedback == {"delivered": 1}
        for shipper in all_shippers():
            shipper.stop()
        waiting = record_tree(Pipeline(vendors=vendors, deliver=False))
    states = {
        row.id: {name.partition(".")[0]: one.state for name, one in index.deliveries(index.opened(row.id)).items()}
        for row in index.search().rows
    }
    assert states == {
        refused: {"braintrust": "dead", "honeyhive": "delivered"},
        taken: {"braintrust": "delivered", "honeyhive": "delivered"},
        waiting: {"braintrust": "waiting", "honeyhive": "waiting"},
    }
