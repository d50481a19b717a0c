"""The `eventtree` command, also as `python -m eventtree`."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from eventtree.errors import without_extra


def open_streams() -> None:
    """Make stdout and stderr accept any text, whatever the locale: a pipe gets UTF-8, a closed stream discards it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def main() -> None:
    """Run the command line. Without its extra, print how to install it and exit with status 2."""
    open_streams()
    try:
        from eventtree.cli import main as command
        from eventtree.terminal import console  # noqa: F401  (most commands need it)
    except ImportError as error:
        print(f"eventtree: {without_extra('cli', error)}", file=sys.stderr)  # noqa: T201  (there is no other way)
        sys.exit(2)
    except KeyboardInterrupt:  # during the import; afterwards the command handles it
        print("eventtree: stopped", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    command(prog_name="eventtree")


if __name__ == "__main__":
    main()
