"""What was read and waits for its tree: the same as the logs hold, bounded, and gone once somebody clears."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from eventtree import record
from eventtree.delivery.feed import Feed, Folder
from eventtree.journal import Journal, MemoryFiles
from eventtree.journal.clear import clear
from eventtree.journal.trees import KeptLines, LoggedTree, load
from tests.trees import close_record, open_record

T0 = 1_700_000_000_000_000_000
REFS = [{"name": "v", "fingerprint": "0" * 16}]


class Taker:
    """A consumer that takes every tree."""

    is_full = False

    def __init__(self) -> None:
        self.trees: list[LoggedTree] = []

    def offer(self, tree: LoggedTree) -> None:
        tree.takers += 1
        self.trees.append(tree)

    def hear(self, feedback: Any) -> None:
        """None comes."""

    def has_settled(self, tree_id: str) -> bool:
        return False

    def fall_behind(self, offsets: Any) -> None:
        raise AssertionError


@pytest.fixture
def journal() -> Journal:
    return Journal(MemoryFiles())


def add(journal: Journal, tree: str, text: str = "text") -> None:
    opened = {**open_record(tree, tree, None, "chain", tree, T0), "vendors": REFS, "inputs": text}
    for entry in (opened, {**close_record(tree, tree, 5, "ok"), "outputs": 2**70, "events": 1}):
        journal.append(record.encode(entry), ("v",), 1 if entry is opened else 0)


def read(journal: Journal, most: int = 10**6) -> tuple[Folder, list[LoggedTree]]:
    folder, taker = Folder(journal, lambda: None, lambda: None), Taker()
    folder.lines.most = most
    feed = Feed(journal, {}, {}, lines=folder.lines)
    feed.subscribers.append(taker)
    while feed.read():
        pass
    return folder, taker.trees


def test_what_waits_is_what_the_log_holds(journal: Journal) -> None:
    for number in range(3):
        add(journal, f"t{number}")
    folder, trees = read(journal)
    assert [tree.id for tree in trees] == ["t0", "t1", "t2"]
    for tree in trees:
        assert record.decode_all(tree.kept) == list(load(journal, tree.lines))
    journal.files.read = None  # type: ignore[method-assign, assignment]  # nothing is read a second time
    for tree in trees:
        folded = folder.fold(tree).tree
        assert folded is not None and folded.root.outputs == 2**70
    assert (folder.lines.size, folder.lines._trees) == (0, {})


def test_the_oldest_give_way_and_are_read_from_the_log(journal: Journal) -> None:
    for number in range(20):
        add(journal, f"t{number}", "x" * 1000)
    folder, trees = read(journal, most=5_000)
    assert folder.lines.size <= 5_000
    assert [bool(tree.kept) for tree in trees] == [False] * 17 + [True] * 3
    assert [folder.fold(tree).tree.id for tree in trees] == [tree.id for tree in trees]  # type: ignore[union-attr]


def test_what_the_user_clears_while_it_waits_is_not_sent(journal: Journal) -> None:
    add(journal, "t0", "secret")
    add(journal, "t1")
    folder, trees = read(journal)
    assert clear(journal, {"t0"}) == 1
    folder.look()
    cleared, kept = (folder.fold(tree) for tree in trees)
    assert (cleared.tree, cleared.lost) == (None, Counter(by_user=1))
    assert kept.tree is not None and kept.tree.root.inputs == "text"


def test_what_nobody_takes_is_not_kept(journal: Journal) -> None:
    add(journal, "t0")
    lines = KeptLines(journal)
    feed = Feed(journal, {}, {}, lines=lines)
    while feed.read():
        pass
    assert (lines.size, lines._trees) == (0, {})


IDS = [
    "0" * 8 + "-0000-4000-8000-" + "0" * 12,
    "t",
    "",
    "a" * 200,
    'quoted"',
    "back\\slash",
    "é" * 18,
    '"' * 36,
    "\\" * 18,
]


@pytest.mark.parametrize("kind", [record.OPEN, record.NOTE, record.CLOSE, record.VENDORS, record.FEEDBACK, "newer"])
def test_a_head_is_what_the_whole_record_says(kind: str) -> None:
    for run in IDS:
        for tree in IDS:
            line = record.encode({"r": kind, "id": run, "tree": tree, "inputs": '","id":"x","tree":"y"'})
            assert record.head(line) == (kind, run, tree)


def test_records_are_parsed_together_as_each_would_be() -> None:
    whole = [record.encode({"r": "open", "id": str(n), "tree": "t", "inputs": "x" * 3_000 * n}) for n in range(40)]
    for bad in (b"", b"{", b"1],[2", whole[1] * 2):
        lines = [*whole, bad, *whole]
        assert record.decode_all(lines) == [record.decode(line) for line in [*whole, *whole]]
        assert record.decode_all([bad]) == []


def test_the_vendors_of_a_line_are_those_of_its_record() -> None:
    for refs in ([], REFS, REFS * 2, [{"name": 'odd}]"', "fingerprint": "f"}], [{"name": 1}], "none"):
        named = {**open_record("t", "t", None, "chain", "t", T0), "vendors": refs, "inputs": {"vendors": REFS}}
        assert record.refs_in(record.encode(named)) == record.refs_of(named)
