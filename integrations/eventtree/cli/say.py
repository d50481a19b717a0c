"""What the command line writes, line by line: whatever others have put into it is shown, never obeyed."""

from __future__ import annotations

import click

from eventtree.diagnostics import shown


def say(text: str, *, err: bool = False) -> None:
    """Write lines of ours that may hold words of others; each of these stays within its line."""
    click.echo(shown(text), err=err)


def say_lines(text: str) -> None:
    """Write a text of several lines: JSON that is indented."""
    for line in text.split("\n"):
        say(line)
