"""The documents a question is answered from: a passage for each paragraph, with its file and heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from eventtree.errors import ConfigError

SHIPPED = Path(__file__).with_name("documents")


class Passage(NamedTuple):
    """One paragraph."""

    source: str
    title: str
    text: str

    @property
    def metadata(self) -> dict[str, str]:
        """What both frameworks keep beside the text."""
        return {"source": self.source, "title": self.title}

    @property
    def headed(self) -> str:
        """The paragraph below its file and heading, as a prompt shows it."""
        return f"source: {self.source}\ntitle: {self.title}\n\n{self.text}"


def read_library(folder: str | Path | None = None) -> list[Passage]:
    """Every paragraph of the `*.md` files in `folder`; by default of those that ship with the package.

    Raises:
        ConfigError: there is no paragraph to read.
    """
    found = [passage for file in sorted(Path(folder or SHIPPED).glob("*.md")) for passage in _passages(file)]
    if not found:
        raise ConfigError("documents", f"nothing to read in {folder}", "Name a folder with *.md files")
    return found


def _passages(file: Path) -> Iterator[Passage]:
    title = file.stem
    for block in re.split(r"\n\s*\n", file.read_text(encoding="utf-8")):
        text = " ".join(block.split())
        if text.startswith("#"):
            title = text.lstrip("# ")
        elif text:
            yield Passage(file.name, title, text)
