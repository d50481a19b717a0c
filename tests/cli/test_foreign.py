"""Words of others are shown, never obeyed: no escape sequence, forged line or markup passes."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventtree
from eventtree import diagnostics, flush
from eventtree.delivery.shipper import all_shippers
from eventtree.diagnostics import shown
from eventtree.kinds import Kind, Status
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Braintrust
from tests.cli.commands import run
from tests.trees import record_model, record_tree

ODD = "\x1b[2J\x1b]0;title\x07[/bold][red]:smile:\r\nFAKE LINE\x9b1m\u202eabc\u2028\u2066\x00\x7f"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What no output may hold; a line's end is ours where the line begins with our words."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\|\r(?=\n|\x1b\[)|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A")
"""What a terminal may get of us: colours, the terminal's own ends of lines, and how progress draws its line anew."""


def checked(text: str) -> str:
    assert not RAW.search(text), RAW.findall(text)
    assert "\nFAKE" not in text
    return text


def test_foreign_text_is_one_line_and_json_stays_what_it_was() -> None:
    """Also half a surrogate, which no terminal can be given."""
    for text in (ODD, "\ud800", "\U000e0041", "ö 👋 \\n"):
        assert json.loads(shown(json.dumps(text, ensure_ascii=False))) == text
        checked(shown(text)).encode()
    assert shown("a\nb\x1b[1m") == "a\\nb\\u001b[1m"
    assert shown("plain ö 👩‍👩‍👧 text") == "plain ö 👩‍👩‍👧 text"


@given(st.text(st.characters()))
def test_any_text_can_be_shown(text: str) -> None:
    """One line of valid Unicode, and the same text in JSON."""
    found = checked(shown(text))
    assert "\n" not in found
    assert json.loads(shown(json.dumps(text, ensure_ascii=False))) == text


@pytest.fixture
def journal(own_place: Path) -> Any:
    """A tree with odd text in every place, refused by a vendor with odd words."""
    with VendorServer() as server:
        body = {"error": ODD}
        server.script("braintrust", [200, *[Answer(status=400, body=body)] * 50])
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))], tags=(ODD,), environment=ODD)
        with eventtree.session(ODD, user=ODD):
            tree = record_tree(pipeline, question=ODD, metadata={ODD: ODD})
            recorder.open(pipeline, "r", None, kind=Kind.MODEL, name=ODD, known={"model": ODD, "provider": ODD})
            recorder.note("r", ODD, ODD)
            recorder.close(pipeline, "r", error={"type": ODD, "message": ODD}, status=Status.ERROR)
            record_model(pipeline, "m", None, ODD)
        assert flush(20).vendors["braintrust"].dead
        for shipper in all_shippers():
            shipper.stop()
        environment = {"BRAINTRUST_API_KEY": "test-key", "BRAINTRUST_API_URL": server.url}
        yield own_place, tree, environment


ARGUMENT = ODD.replace("\0", "")
"""The system lets no null into an argument."""
COMMANDS = (
    ("show",), ("show", "--json"), ("report",), ("report", "--json"), ("export", "--vendor", "braintrust"), ("dead",),
    ("dead", "--json"), ("dead", "1"), ("dead", "--resend", "--timeout", "5"), ("ship", "--timeout", "5"),
    ("prices", ARGUMENT), ("show", "--tree", ARGUMENT), ("show", ARGUMENT), ("ls",), ("ls", "--json"), ("ls", ARGUMENT),
    ("clear", "--tree", ARGUMENT),
    ("export", "--vendor", ARGUMENT), ("dead", ARGUMENT), (ARGUMENT,),
    ("doctor", "--vendor", ARGUMENT), ("doctor", "--send", "--vendor", "braintrust", "--timeout", "5"),
)  # fmt: skip


def on_a_terminal(*arguments: str, **env: str) -> str:
    """What `eventtree ARGUMENTS` writes to a terminal."""
    ours, theirs = pty.openpty()
    given: dict[str, Any] = {"stdout": theirs, "stderr": theirs, "env": {**os.environ, "TERM": "xterm", **env}}
    with subprocess.Popen([sys.executable, "-m", "eventtree", *arguments], **given):
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 1 << 16):
                written += piece
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    return COLOURS.sub("", written.decode())


def test_no_command_passes_odd_text_on(journal: Any) -> None:
    """Each command, piped; a terminal gets colours of ours alone. `eventtree dead` crashed on `[/bold]`."""
    _, _, environment = journal
    for command in COMMANDS:
        done = run(*command, **environment)
        checked(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr, (command, done.stderr)
    for command in (("show",), ("show", "--all"), ("ls",), ("report",), ("dead",)):
        written = on_a_terminal(*command, **environment)
        assert "Traceback" not in written
        assert "0/?" not in written, "a count of what nobody knows"
        checked(written)
    assert "[/bold]" in run("show", **environment).stdout


def test_json_says_what_was_recorded(journal: Any) -> None:
    """Shown in another spelling, read as the same."""
    lines = run("show", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert {one["session_id"] for one in events} == {ODD}
    assert any(one["model"] == ODD for one in events)


def test_no_log_line_is_forged(journal: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What a vendor says stays within our line."""
    diagnostics.logger.warning("%s says %s, %d times", "vendor", ODD, 3)
    diagnostics.failed(ODD, type(ARGUMENT, (Exception,), {})())
    for entry in caplog.records:
        checked(logging.Formatter("%(message)s").format(entry))
        assert "\n" not in entry.getMessage()
