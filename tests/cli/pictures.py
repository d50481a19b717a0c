"""The pictures of terminal and notebook in the reference: `python -m tests.cli.pictures` makes them of real trees.

The trees are those of the viewer's pictures; the commands run in a terminal of their own, and the tree is the HTML
that a notebook gets, in a browser.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

import eventtree
from tests.view.browser import chromium
from tests.view.pictures import IMAGES, record

ROOT = IMAGES.parents[2]
COLUMNS = 124
COMMANDS = {"show": ["show", "status:error OR name:librarian"], "ls": ["ls"], "report": ["report"]}
"""File → the command whose output it shows."""
PAGE = "<body style='margin:0;padding:12px;display:inline-block;background:#fff;color:#222'>{}</body>"
CELL = (
    "<pre style='font:13px ui-monospace,Menlo,Consolas,monospace;background:#f5f5f5;border:1px solid #e0e0e0;"
    "padding:6px 10px;margin:0 0 8px'>{}</pre>"
)


def in_terminal(command: list[str], folder: str) -> bytes:
    """What a command of ours writes to a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "EVENTTREE_JOURNAL": "journal"}
    command = [sys.executable, "-m", "eventtree", *command]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment, cwd=folder):
        os.close(theirs)
        output = b""
        try:
            while piece := os.read(ours, 65536):
                output += piece
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    return output


def as_svg(command: list[str], output: bytes) -> str:
    """A terminal's window with the command and what it wrote."""
    words = " ".join(f"'{word}'" if " " in word or ">" in word else word for word in command)
    window = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    window.print(Text.assemble(("$ ", "dim"), (f"eventtree {words}", "bold")))
    window.print(Text.from_ansi(output.decode().replace("\r\n", "\n").replace(f"{ROOT}/", "").rstrip()))
    return window.export_svg(title="", theme=MONOKAI)


def draw(browser: Any, name: str, body: str) -> None:
    """One picture, of the size of what it shows; few colours are plenty."""
    page = browser.new_page(viewport={"width": 1220, "height": 900})
    page.set_content(PAGE.format(body))
    picture = Image.open(BytesIO(page.locator("body").screenshot())).convert("RGB")
    page.close()
    few = picture.quantize(64, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(IMAGES / f"{name}.png", optimize=True)


def main() -> None:
    """Record, run, draw."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"XDG_CACHE_HOME": f"{folder}/cache", "EVENTTREE_JOURNAL": f"{folder}/journal"}
        record(Path(folder) / "journal")
        with chromium() as browser:
            for name, command in COMMANDS.items():
                svg = as_svg(command, in_terminal(command, folder))
                draw(browser, name, svg.replace("<svg ", "<svg width='1190' ", 1))
            words = "name:librarian"
            code = f'next(iter(eventtree.trees(where="{words}")))'
            (tree, *_) = eventtree.trees(where=words)
            draw(browser, "notebook", CELL.format(html.escape(code)) + tree._repr_html_())


if __name__ == "__main__":
    main()
