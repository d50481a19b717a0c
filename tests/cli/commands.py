"""Running the command line as a user does, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

IMPORTED = """
import json, os, sys
from eventtree.__main__ import main
import eventtree.cli.dead, eventtree.cli.doctor, eventtree.cli.ship, eventtree.cli.show
for line in sys.stdin:
    arguments, folder, env, out, err = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for number, path, how in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        os.dup2(os.open(path, how), number)
    sys.argv[1:] = arguments
    main()
"""
"""Imports the commands once, and forks a process for each call: most of what a short command does is importing."""


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`eventtree ARGUMENTS` with more environment."""
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        server = _server()
        given = (arguments, os.getcwd(), {**os.environ, **env}, out.name, err.name)
        assert server.stdin and server.stdout
        server.stdin.write(f"{json.dumps(given)}\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        printed = [Path(file.name).read_text() for file in (out, err)]
    return subprocess.CompletedProcess(arguments, status, *printed)


@cache
def _server() -> subprocess.Popen[str]:
    """Ends when nobody is left who could ask it."""
    return subprocess.Popen([sys.executable, "-c", IMPORTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
