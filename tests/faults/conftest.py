"""Every fault test ends with the law: accepted = delivered + waiting + dead + dropped, in the journal it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventtree.delivery.report import make_report
from eventtree.journal import DiskFiles, Journal


@pytest.fixture(autouse=True)
def law(own_place: Path) -> Iterator[None]:
    """Nothing is unexplained, whatever the test was about."""
    yield
    if own_place.is_dir():
        found = make_report(Journal(DiskFiles(own_place))).vendors
        assert {name: sums.unexplained for name, sums in found.items()} == dict.fromkeys(found, 0)
