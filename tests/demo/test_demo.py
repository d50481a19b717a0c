"""The demo as a newcomer sees it: one command, three trees, five vendors, no key and no network."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from eventtree.demo import run_demo
from eventtree.demo.language import SHIPPED, read_library
from eventtree.demo.run import SHOWN
from eventtree.errors import ConfigError
from tests import reference
from tests.demo.conftest import ASTRAY, Ran, Run, surroundings

README = reference.ROOT / "README.md"
DEAD = """
import sys
from eventtree.demo import run, run_demo
from eventtree.testing import VendorServer
run.VendorServer = lambda: VendorServer(script={"nebuly": [400]})
sys.exit(run_demo("What is the journal?", model=None, out="out"))
"""
OTHER_DOCUMENTS = """
import sys
from eventtree.demo import run_demo
sys.exit(run_demo("What is the journal?", model=None, out="out", documents=sys.argv[1]))
"""


def test_every_vendor_has_everything_and_the_exit_status_says_so(ran: Ran) -> None:
    assert (ran.status, ran.errors) == (0, "")
    sums = {line.split()[0]: line.split()[1:] for line in ran.output.splitlines() if line.startswith(SHOWN)}
    assert sums.keys() == set(SHOWN)
    for accepted, delivered, waiting, dead, requests, refused, *dropped in sums.values():
        lost = sum(int(count) for count in re.findall(r"\d+", " ".join(dropped)))
        assert int(accepted) == int(delivered) + lost
        assert (waiting, dead, refused) == ("0", "0", "0")
        assert int(delivered) > 0 < int(requests)


def test_three_trees_are_drawn_with_kind_name_status_tokens_cost_and_times(ran: Ran) -> None:
    assert len(re.findall(r"^tree \S+  [\d:]+  session \S+, user \S+$", ran.output, re.M)) == 3
    for line in (r"chain chain +ok", r"  chain RunnableParallel", r" +retriever VectorStoreRetriever +ok"):
        assert re.search(f"^{line}", ran.output, re.M)
    for line in (r"agent librarian +ok", r" +tool search_documents +ok", r" +tool count_words +ok"):
        assert re.search(f"^{line}", ran.output, re.M)
    for line in (r"chain RetrieverQueryEngine.query +ok", r" +embedding WordEmbedding"):
        assert re.search(f"^{line}", ran.output, re.M)
    measured = r"^ +model \S+ gpt-4o-mini-2024-07-18 +ok +[\d,]+ \$0\.\d+ +[\d.]+ m?s +[\d.]+ m?s$"
    assert len(re.findall(measured, ran.output, re.M)) == 5
    assert "\x1b" not in ran.output


def test_the_readme_shows_what_the_demo_prints(ran: Ran) -> None:
    """But for figures, which differ from run to run. Else: `python -m tests.reference`."""
    (shown,) = [part[3] for part in reference.PART.finditer(README.read_text()) if part[1] == "demo"]
    assert reference.shape(shown) == reference.shape(reference.excerpt(ran.output))


def test_the_requests_are_written_down_without_keys(ran: Ran) -> None:
    assert str(ran.folder / "requests") in ran.output
    assert ran.requests.keys() == set(SHOWN)
    for requests in ran.requests.values():
        assert all(request["answered"] == 200 and request["refused"] is None for request in requests)
        assert all(request["method"] and request["path"] and request["body"] for request in requests)
    written = json.dumps(ran.requests)
    assert "test-key" not in written
    assert "Bearer" not in written
    assert "demo-user" in written


def test_nothing_of_the_environment_is_followed_and_nothing_leaves_the_machine(ran: Ran) -> None:
    assert ran.tried == ""
    assert "astray" not in json.dumps(ran.requests)
    assert ASTRAY not in json.dumps(ran.requests)
    assert not (ran.folder.parent / "elsewhere").exists()


def test_the_journal_shows_the_trees_again_with_cached_tokens_and_cost(ran: Ran) -> None:
    assert str(ran.folder / "journal") in ran.output
    command = [sys.executable, "-m", "eventtree", "show", "--json", "--journal", str(ran.folder / "journal")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    events = [json.loads(line) for line in shown.stdout.splitlines()]
    roots = [event for event in events if event["parent_id"] is None]
    assert [root["kind"] for root in roots] == ["chain", "agent", "chain"]
    assert {(root["user"], root["session_id"], root["environment"]) for root in roots} == {
        ("demo-user", "demo-session", "demo")
    }
    models = [event for event in events if event["kind"] == "model"]
    assert all(event["cost"]["total_usd"] > 0 and event["time_to_first_token"] > 0 for event in models)
    assert [model["usage"]["cache_read_tokens"] > 0 for model in models] == [False, False, True, True, False]
    assert all(model["usage"]["cache_read_tokens"] % 128 == 0 for model in models)


def test_the_agents_tools_show_in_its_answer(ran: Ran) -> None:
    chain, agent, engine = ran.answers
    assert (
        chain
        == engine
        == "While a vendor is down, your events stay in the journal on your disk and nothing is lost. [outages.md]"
    )
    assert agent == f"{chain} ({len(chain.split())} words)"


def test_another_document_has_another_answer(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "birds.md").write_text(
        "# Birds\n\nThe journal of ornithology is a quarterly.\n\nSwifts sleep on the wing.\n"
    )
    ran = run(str(folder), script=OTHER_DOCUMENTS)
    assert ran.status == 0
    assert [answer.split(" [")[0] for answer in ran.answers] == ["The journal of ornithology is a quarterly."] * 3


def test_a_refused_request_makes_the_exit_status_1_and_the_folder_may_be_used_again(run: Run) -> None:
    refused = run(script=DEAD)
    assert refused.status == 1
    assert "Not everything arrived" in refused.output
    assert any(request["answered"] == 400 for request in refused.requests["nebuly"])

    other = run("How do I remove personal data?")
    assert other.status == 0
    assert all(re.match(r"A redactor removes personal data .*\[privacy.md\]", answer) for answer in other.answers)
    assert len(set(refused.answers + other.answers)) == 4


def test_a_terminal_gets_colour_and_no_line_that_is_too_long(tmp_path: Path) -> None:
    lines = in_terminal(tmp_path, columns=80)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    assert plain != lines
    paths = ("requests  ", "journal   ")
    assert [line for line in plain if len(line) > 80 and not line.startswith(paths) and "journal" not in line] == []
    assert sum(1 for line in plain if line.lstrip().startswith("model Document")) == 5
    assert not any("…" in line for line in plain if line.startswith(("event", "vendor", *SHOWN)))
    assert list((tmp_path / "journal").glob("*.log")), "the journal is where it was to be"
    assert not (tmp_path / "out" / "journal").exists()


def in_terminal(folder: Path, columns: int) -> list[str]:
    """The demo's output in a terminal so many columns wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**surroundings(folder), "TERM": "xterm-256color"}
    places = ["--out", str(folder / "out"), "--journal", str(folder / "journal")]
    command = [sys.executable, "-m", "eventtree", "demo", *places]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment, cwd=folder)
    os.close(theirs)
    output = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        output += piece
    os.close(ours)
    assert process.wait(timeout=300) == 0
    return output.decode().splitlines()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "openai:gpt-4o-mini"], "OPENAI_API_KEY is not set"),
        (["--model", "parrot"], "Give openai:NAME"),
        (["--out", "/dev/null/x"], "--out"),
        (["--journal", "/dev/null/x"], "journal /dev/null/x"),
        ([""], "it is empty"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(run: Run, arguments: list[str], words: str) -> None:
    ran = run(*arguments)
    assert ran.status == 2
    assert ran.errors.count("\n") == 1
    assert words in ran.errors


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventtree.demo.NEEDED", ("json", "no_such_package.part"))
    with pytest.raises(ConfigError, match=r"no_such_package.part is not installed. Run pip install 'eventtree\[all\]'"):
        run_demo("What?", model=None, out=None)


def test_an_empty_folder_of_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to read"):
        read_library(tmp_path)


def test_the_shipped_documents_are_short_and_headed() -> None:
    assert 6 <= len(list(SHIPPED.glob("*.md"))) <= 12
    for passage in read_library():
        assert passage.title != passage.source
        assert 4 < len(passage.text.split()) < 120
