"""`eventtree dead`: refused events are listed, shown, sent again after a hint, or dropped and counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventtree import flush
from eventtree.delivery.dead_letters import DeadLetters
from eventtree.delivery.report import VendorTotals, make_report
from eventtree.delivery.shipper import all_shippers
from eventtree.journal import DiskFiles, Journal
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Braintrust, Item
from tests.cli.commands import run
from tests.trees import record_tree


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as running:
        yield running


@pytest.fixture
def trees(own_place: Path, server: VendorServer) -> list[str]:
    """Two trees of three events that Braintrust refused; nobody ships any more."""
    server.script("braintrust", [200, *[Answer(status=400, body={"error": "not today"})] * 100])
    pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
    found = [record_tree(pipeline, question=f"question {number}") for number in range(2)]
    assert flush(10).vendors["braintrust"].dead == 6
    for shipper in all_shippers():
        shipper.stop()
    server.unscript("braintrust")
    return found


def dead(server: VendorServer, *arguments: str) -> tuple[int, str]:
    done = run("dead", *arguments, BRAINTRUST_API_KEY="test-key", BRAINTRUST_API_URL=server.url)
    return done.returncode, done.stdout + done.stderr


def sums(folder: Path) -> VendorTotals:
    found = make_report(Journal(DiskFiles(folder))).vendors["braintrust"]
    assert found.unexplained == 0
    return found


def test_a_misspelt_vendor_is_no_vendor_without_dead_letters(server: VendorServer, trees: list[str]) -> None:
    status, said = dead(server, "--vendor", "braintrst")
    assert status == 2
    assert "--vendor: no vendor of this journal is called 'braintrst'. Did you mean braintrust?" in said


def test_letters_are_listed_with_the_vendors_words_and_one_is_shown_whole(
    server: VendorServer, trees: list[str]
) -> None:
    code, text = dead(server)
    assert code == 0
    assert text.count("not today") == 6
    assert all(tree in text for tree in trees)
    letters = [json.loads(line) for line in dead(server, "--json")[1].splitlines()]
    assert [letter["number"] for letter in letters] == [1, 2, 3, 4, 5, 6]
    assert {letter["status"] for letter in letters} == {400}
    shown = json.loads(dead(server, "3")[1])
    assert shown["content"] == letters[2]["content"]
    assert dead(server, "--vendor", "nebuly") == (0, "No dead letters.\n")
    assert dead(server, "--vendor", "nebuly", "--resend") == (0, "No dead letters.\n")


def test_letters_are_sent_again_after_a_mend(server: VendorServer, trees: list[str], own_place: Path) -> None:
    code, text = dead(server, "1", "--resend")
    assert (code, text) == (0, "braintrust: 1 of 1 taken, 0 refused again.\n")
    assert (sums(own_place).delivered, sums(own_place).dead) == (1, 5)
    code, text = dead(server, "--resend")
    assert (code, text) == (0, "braintrust: 5 of 5 taken, 0 refused again.\n")
    found = sums(own_place)
    assert (found.accepted, found.delivered, found.dead) == (6, 6, 0)
    assert set(trees) <= set(server.event_ids("braintrust"))
    assert len(server.event_ids("braintrust")) == 6
    assert dead(server)[1] == "No dead letters.\n"


def test_what_is_refused_again_stays_with_the_new_words(
    server: VendorServer, trees: list[str], own_place: Path
) -> None:
    server.script("braintrust", [Answer(status=422, body={"error": "never"})] * 100)
    code, text = dead(server, "--resend")
    assert (code, text) == (1, "braintrust: 0 of 6 taken, 6 refused again.\n")
    assert sums(own_place).dead == 6
    assert dead(server)[1].count("never") == 6


def test_a_vendor_that_is_away_leaves_the_letters_as_they_are(
    server: VendorServer, trees: list[str], own_place: Path
) -> None:
    server.script("braintrust", [503] * 100)
    code, text = dead(server, "--resend", "--timeout", "4")
    assert code == 1
    assert "0 of 6 taken, 0 refused again" in text
    assert "HTTP 503" in text
    assert sums(own_place).dead == 6
    assert dead(server)[1].count("not today") == 6


def test_a_resend_that_is_killed_leaves_what_was_not_taken_and_counts_nothing_twice(
    server: VendorServer, trees: list[str], own_place: Path
) -> None:
    server.script("braintrust", [413, Answer(), Answer(delay=30)])
    command = [sys.executable, "-m", "eventtree", "dead", "--resend"]
    keys = {"BRAINTRUST_API_KEY": "test-key", "BRAINTRUST_API_URL": server.url}
    again = subprocess.Popen(command, env={**os.environ, **keys}, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 20
    while sums(own_place).delivered == 0 and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.2)
    again.kill()
    again.wait()
    server.unscript("braintrust")
    taken = sums(own_place).delivered
    assert 0 < taken < 6
    assert len(dead(server, "--json")[1].splitlines()) == sums(own_place).dead == 6 - taken
    assert dead(server, "--resend")[0] == 0
    assert (sums(own_place).delivered, sums(own_place).dead) == (6, 0)


def test_an_event_that_was_buried_twice_is_one_letter(tmp_path: Path) -> None:
    letters = DeadLetters(DiskFiles(tmp_path / "j"), "braintrust.0.dead")
    item = Item("a", "a", ("a",), "rows", b"{}")
    for words in ("before the crash", "after it"):
        letters.add((item,), 400, words)
    assert [letter["words"] for letter in letters.read()] == ["after it"]


def test_letters_are_dropped_and_counted_by_user(server: VendorServer, trees: list[str], own_place: Path) -> None:
    assert dead(server, "2", "--drop") == (0, "Dropped 1 dead letter.\n")
    assert (sums(own_place).dead, sums(own_place).dropped) == (5, {"by_user": 1})
    assert dead(server, "--drop") == (0, "Dropped 5 dead letters.\n")
    assert (sums(own_place).dead, sums(own_place).dropped) == (0, {"by_user": 6})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--resend", "--drop"], "Choose one"), (["99"], "no dead letter 99"), (["99", "--drop"], "no dead letter 99")],
)
def test_errors_say_what_to_do(server: VendorServer, trees: list[str], arguments: list[str], words: str) -> None:
    code, text = dead(server, *arguments)
    assert code == 2
    assert words in text


def test_letters_held_by_a_process_that_delivers_are_left_alone(server: VendorServer, own_place: Path) -> None:
    server.script("braintrust", [200, *[Answer(status=400, body={"error": "not today"})] * 100])
    record_tree(Pipeline(vendors=[Braintrust(**server.settings("braintrust"))]))
    assert flush(10).vendors["braintrust"].dead == 3
    for arguments in (["--resend"], ["--drop"]):
        code, text = dead(server, *arguments)
        assert code == 2
        assert "Stop it" in text
    assert sums(own_place).dead == 3


def test_whoever_holds_the_letters_is_waited_for_and_then_named(
    own_place: Path, server: VendorServer, trees: list[str]
) -> None:
    files = DiskFiles(own_place)
    (name,) = [name for name in files.names() if name.endswith(".dead")]
    lock = files.lock(name.removesuffix(".dead") + ".lock")
    assert lock is not None
    code, text = dead(server, "--drop")
    assert (code, "is delivering to braintrust now and holds its letters. Stop it" in text) == (2, True)
    threading.Timer(1.0, lock.release).start()
    code, text = dead(server, "--drop")
    assert (code, text) == (0, "Dropped 6 dead letters.\n")
    assert sums(own_place).dropped == {"by_user": 6}
