"""The command line: one file per group of commands; `main` is the entry point."""

from __future__ import annotations

from eventtree.cli.main import main

__all__ = ["main"]
