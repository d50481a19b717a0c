"""`eventtree view` as a user starts it: one address on one line, this machine only, and errors in words."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.cli.commands import run
from tests.view.worlds import pipeline_in, small_tree


@contextmanager
def viewer(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "eventtree", "view", "--no-browser", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def test_it_prints_its_address_with_the_token_and_stops_at_an_interrupt(own_place: Path) -> None:
    small_tree(pipeline_in(own_place))
    with viewer() as (process, line):
        address = line.split()[0]
        base, _, token = address.partition("?t=")
        assert base.startswith("http://127.0.0.1:")
        assert len(token) == 43
        assert line.count("\n") == 1
        with httpx.Client(follow_redirects=True, trust_env=False) as client:
            assert client.get(base).status_code == 401
            assert "<title>eventtree</title>" in client.get(address).text
            assert len(client.get(f"{base}api/trees").json()["rows"]) == 1
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")


def test_it_listens_on_this_machine_only(own_place: Path) -> None:
    with viewer() as (process, line):
        port = int(line.split(":")[2].partition("/")[0])
        tables = (Path(f"/proc/{process.pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
        at = [row.split()[1].rpartition(":") for rows in tables for row in rows if row.split()[3] == "0A"]
        mine = {address for address, _, number in at if int(number, 16) == port}
        assert "0100007F" in mine
        assert mine <= {"0100007F", "00000000000000000000000001000000"}


def test_a_journal_that_is_not_there_yet_is_awaited(own_place: Path) -> None:
    with viewer() as (_, line):
        address = line.split()[0]
        with httpx.Client(follow_redirects=True, trust_env=False) as client:
            client.get(address)
            small_tree(pipeline_in(own_place))
            assert len(client.get(f"{address.partition('?')[0]}api/trees").json()["rows"]) == 1


def test_what_cannot_be_had_is_said_in_a_line(own_place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("view", "--no-browser", "--port", str(port))
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be had" in done.stderr
    done = run("view", "--no-browser", "--host", "0.0.0.0", "--no-token")
    assert done.returncode == 2
    assert "can be reached by others" in done.stderr
    done = run("view", "--no-browser", "--journal", ":memory:")
    assert "eventtree.view.app" in done.stderr or "memory journal" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.environ["EVENTTREE_JOURNAL"] == str(own_place)
