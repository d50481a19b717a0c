"""`show`, `ls`, `experiment` and `report` answer what one wants to know, whatever the size of the journal."""

from __future__ import annotations

import json
import os
import re
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

from eventtree import example, feedback
from eventtree.cli.main import main
from eventtree.journal import DiskFiles, Journal, open_journal
from eventtree.journal import journal as journal_module
from eventtree.kinds import Kind, Status
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.vendors import HoneyHive, Nebuly
from tests.cli.test_foreign import on_a_terminal
from tests.trees import new_id, record_tree


def run(*arguments: str) -> str:
    """What `eventtree ARGUMENTS` prints, within this process."""
    found = CliRunner().invoke(main, list(arguments))
    assert found.exit_code == 0, (found.output, found.exception)
    return found.output


@pytest.fixture
def ids(own_place: Path) -> dict[str, str]:
    """Trees of two users; one failed in a tool."""
    ann = Pipeline(deliver=False, user="ann", session="s1")
    bob = Pipeline(deliver=False, user="bob", session="s2")
    good, failed, tool = record_tree(ann, question="Where is the key?"), new_id(), new_id()
    feedback(good, score=0.5, name="helpful", comment="Nearly")
    recorder.open(bob, failed, None, kind=Kind.AGENT, name="librarian", inputs={"messages": [
        {"role": "user", "content": "Open the door"}]})  # fmt: skip
    recorder.open(bob, tool, failed, kind=Kind.TOOL, name="open_door", inputs={"door": 7})
    recorder.note(tool, "retry", {"attempt": 2})
    try:
        raise PermissionError("the door is locked")
    except PermissionError as error:
        recorder.close(bob, tool, error=error, status=Status.ERROR)
        recorder.close(bob, failed, error=error, status=Status.ERROR)
    return {"good": good, "failed": failed, "tool": tool}


def test_a_vendor_is_named_by_its_class_too(ids: dict[str, str]) -> None:
    """One way of naming vendors in all commands."""
    named = record_tree(Pipeline(vendors=[Nebuly(api_key="k")], deliver=False))
    for name in ("nebuly", "eventtree.vendors:Nebuly"):
        assert [json.loads(line)["id"] for line in run("ls", "--json", f"vendor:{name}").splitlines()] == [named]
        assert named not in run("show", "--all", f"-vendor:{name}")


def test_show_says_what_was_asked_and_what_went_wrong_and_where(ids: dict[str, str]) -> None:
    shown = run("show")
    assert shown.index(ids["good"]) < shown.index(ids["failed"])
    assert "asked: Where is the key?" in shown
    assert "answered: here" in shown
    assert "asked: Open the door" in shown
    assert shown.count("tool open_door: PermissionError: the door is locked") == 1
    assert re.search(r"\n  at .*test_look\.py:\d+ in ids\n", shown)
    assert "feedback: helpful 0.5 Nearly" in shown
    assert run("show", "status:error").count("\nevent ") == 1
    assert ids["good"] in run("show", "user:ann")


def test_show_with_the_beginning_of_an_id_draws_all_of_one_tree(ids: dict[str, str]) -> None:
    for wanted in (ids["failed"], ids["failed"][:9], ids["failed"][-8:], ids["tool"]):
        shown = run("show", wanted)
        assert "in  user: Open the door" in shown
        assert "in  door: 7" in shown
        assert re.search(r"note retry \d\d:\d\d:\d\d", shown)
        assert "err PermissionError: the door is locked" in shown
        assert re.search(r"tool open_door  \d\d:\d\d:\d\d  " + ids["tool"], shown)
        assert ids["good"] not in shown
    assert run("show", "--tree", ids["good"]).count("feedback: helpful 0.5 Nearly") == 1


def test_plumbing_is_left_out_unless_all_is_asked_for() -> None:
    pipeline = Pipeline(deliver=False)
    tree, plumbing = new_id(), new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="graph", inputs={})
    recorder.open(pipeline, plumbing, tree, kind=Kind.CHAIN, name="ChannelWrite", inputs={}, known={"internal": True})
    recorder.close(pipeline, plumbing, outputs=None)
    recorder.close(pipeline, tree, outputs=None)
    assert "ChannelWrite" not in run("show")
    assert "1 events of the framework's plumbing not shown" in run("show")
    assert "ChannelWrite" in run("show", "--all")


def test_ls_gives_a_line_a_tree_and_takes_words(ids: dict[str, str]) -> None:
    heading, *lines = run("ls").splitlines()
    assert heading.split()[:4] == ["tree", "began", "name", "status"]
    assert [line.split()[0] for line in lines] == [ids["failed"][-8:], ids["good"][-8:]]
    assert "error (2 errors)" in lines[0]
    assert [line.split()[0] for line in run("ls", "user:ann").splitlines()[1:]] == [ids["good"][-8:]]
    assert [line.split()[0] for line in run("ls", "-user:ann").splitlines()[1:]] == [ids["failed"][-8:]]
    assert run("ls", "door", "is", "locked").count(ids["failed"][-8:]) == 1
    assert run("ls", "zebra") == "No tree is chosen by these words.\n"
    rows = [json.loads(line) for line in run("ls", "--json").splitlines()]
    assert [row["id"] for row in rows] == [ids["failed"], ids["good"]]
    assert "There are more: --last 10" in run("ls", "--last", "1")


def test_a_narrow_terminal_cuts_long_texts_and_no_number(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(deliver=False, vendors=[HoneyHive(api_key="key"), Nebuly(api_key="key")], session="s" * 80)
    with example(experiment="night", datapoint_id="row-7", expected="ŝ" * 70):
        feedback(record_tree(pipeline, question="日本語 " * 30), score=0.123456)
    broken = new_id()
    recorder.open(pipeline, broken, None, kind=Kind.CHAIN, name="long name " * 20, inputs={})
    recorder.close(pipeline, broken, error=KeyError("7"), status=Status.ERROR)

    def drawn(columns: int, *arguments: str) -> str:
        out = Console(width=columns, file=StringIO(), color_system=None)
        monkeypatch.setattr("eventtree.cli.show.console", lambda: out)
        run(*arguments)
        return out.file.getvalue()

    for arguments, headings in (
        (("ls",), ("tree", "status", "tokens", "cost", "duration")),
        (("report",), ("vendor", "accepted", "delivered", "waiting", "dead", "dropped")),
        (("experiment", "night"), ("row", "input", "score", "cost", "duration", "tree")),
        (("show",), ("event", "status", "tokens", "cost", "duration")),
    ):
        whole = set(drawn(400, *arguments).split())
        assert whole.issuperset(headings)
        for columns in range(20, 100, 6):
            lines = drawn(columns, *arguments).splitlines()
            assert max(map(cell_len, lines)) <= columns
            numbers = {word for line in lines for word in line.split() if re.fullmatch(r"\$?\d[\d,]*\.\d*", word)}
            assert numbers <= whole, (columns, arguments)
        assert set(drawn(80, *arguments).split()).issuperset(headings)


def test_a_wrong_word_or_option_says_what_was_meant(ids: dict[str, str]) -> None:
    for arguments, words in (
        (["ls", "stauts:ok"], "Did you mean status:?"),
        (["show", "--lsat"], "No such option"),
        (["ls", "cost>x"], "compared with a number"),
        (["show", "0000-0"], "eventtree ls"),
    ):
        found = CliRunner().invoke(main, arguments)
        assert found.exit_code == 2
        assert words in found.output
        assert found.output.count("\n") == 1


def test_show_json_streams_all_or_the_last(ids: dict[str, str]) -> None:
    everything = [json.loads(line) for line in run("show", "--json").splitlines()]
    assert [one["id"] for one in everything if one["parent_id"] is None] == [ids["good"], ids["failed"]]
    assert {json.loads(line)["tree_id"] for line in run("show", "--json", "--last", "1").splitlines()} == {
        ids["failed"]
    }
    assert {json.loads(line)["tree_id"] for line in run("show", "--json", "user:ann").splitlines()} == {ids["good"]}


def test_experiment_adds_up_and_compares() -> None:
    pipeline = Pipeline(deliver=False)
    for name, right in (("base", 0), ("nightly", 1)):
        for number in range(2):
            with example(f"row-{number}", expected="yes", experiment=name) as row:
                record_tree(pipeline, question=f"question {number}")
                row.score("correct", right)
    shown = run("experiment", "nightly", "--against", "base")
    assert re.search(r"\ncorrect +1\.000 +± 0\.000 +2\b", shown)
    assert re.search(r"\ncorrect +0\.000 +1\.000 +\+1\.000 +2 +0 +0\b", shown)
    assert "row-0 question 0 yes" in re.sub(" +", " ", shown)
    rows = [json.loads(line) for line in run("experiment", "nightly", "--json").splitlines()]
    assert [row["score.correct"] for row in rows] == [1, 1]
    found = CliRunner().invoke(main, ["experiment", "weekly"])
    assert (found.exit_code, "There are base, nightly" in found.output) == (2, True)


def test_report_need_not_read_again_what_names_no_vendor(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(DiskFiles(own_place), roll_bytes=20_000)
    monkeypatch.setitem(journal_module._opened, str(own_place), journal)
    for _ in range(60):
        record_tree(Pipeline(deliver=False))
    data = (own_place / journal.logs()[0]).read_bytes()
    (own_place / journal.logs()[0]).write_bytes(data.replace(b'"chain"', b'"chaim"', 1))
    first = json.loads(run("report", "--json"))
    assert (first["events"], first["damaged_lines"], first["vendors"]) == (180, 1, {})
    # What is marked as read is not read again: damage that comes later is not seen, what was found stays known.
    assert json.loads(run("report", "--json")) == first
    tree = record_tree(Pipeline(vendors=[HoneyHive(api_key="k", project="p")], deliver=False))
    again = json.loads(run("report", "--json"))
    assert again["vendors"]["honeyhive"]["waiting"] == 3
    assert (again["events"], again["damaged_lines"]) == (183, 1)
    assert tree[-8:] in run("ls", "vendor:honeyhive")


def test_looking_takes_the_last_trees_without_reading_all_logs(
    own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(DiskFiles(own_place), roll_bytes=20_000)
    monkeypatch.setitem(journal_module._opened, str(own_place), journal)
    for _ in range(300):
        record_tree(Pipeline(deliver=False))
    logs = journal.logs()
    for number, name in enumerate(logs):
        changed = (own_place / name).stat().st_mtime + number / 1e6
        os.utime(own_place / name, (changed, changed))
    read: set[str] = set()
    original = DiskFiles.read

    def counted(files: DiskFiles, name: str, offset: int, size: int | None = None) -> bytes:
        if name.endswith(".log") and size != 512:  # the header tells the version
            read.add(name)
        return original(files, name, offset, size)

    monkeypatch.setattr(DiskFiles, "read", counted)
    for command in ("show", "ls"):
        read.clear()
        run(command, "--last", "3")
        assert len(read) <= 3 < len(logs) // 3
    assert open_journal(str(own_place)) is journal


def test_a_busy_machine_finds_what_an_idle_one_does(ids: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a moment finds a part: it is gone on with until all that was asked for is there."""
    expected = {words: run("ls", *words.split(), "--last", "2") for words in ("", "the", "status:error OR the", "-the")}
    monkeypatch.setattr("eventtree.cli.show.AT_ONCE_SECONDS", 0.0)
    assert {words: run("ls", *words.split(), "--last", "2") for words in expected} == expected
    assert expected[""].count("\n") > 2


def test_on_a_terminal_what_takes_long_says_how_far_it_is(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        record_tree(Pipeline(deliver=False))
    written = on_a_terminal("ls")
    assert "tree" in written
    assert "Running a chain, an agent and a query" in re.sub(r"\s+", " ", on_a_terminal("demo", "--out", "/dev/null/x"))
