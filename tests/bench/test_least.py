"""The sketch of the least that a callback takes writes what the product writes: else its figure says nothing."""

from __future__ import annotations

import re
from pathlib import Path

from eventtree.langchain import CallbackHandler
from tests.bench.chain import make_chain
from tests.bench.least import Least

QUESTION = {"question": "Where do events go while a vendor is down?"}


def lines(text: str) -> list[str]:
    """Lines without their checksums and clocks, with ids by the order in which they come."""
    known = {"": ""}
    plain = [re.sub(r'"(start|duration)":\d+', r'"\1":0', line.split(" ", 2)[2]) for line in text.splitlines()]
    return [
        re.sub(r"(?:lc_run--)?[0-9a-f]{8}-[0-9a-f-]{27}", lambda id: known.setdefault(id[0], str(len(known))), one)
        for one in plain
    ]


def test_it_writes_the_lines_of_the_product(tmp_path: Path) -> None:
    handlers = [CallbackHandler(vendors=[], journal=str(tmp_path / "journal")), Least(str(tmp_path / "least"))]
    for handler in handlers:
        make_chain().invoke(QUESTION, {"callbacks": [handler]})
    (log,) = (tmp_path / "journal").glob("*.log")
    ours, least = lines(log.read_text())[1:], lines((tmp_path / "least").read_text())
    assert len(least) == 8
    assert least == ours
