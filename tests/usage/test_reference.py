"""The reference's table of costs names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [line for line in (ROOT / "cookbook" / "reference" / "cost.md").read_text().splitlines() if line[:2] == "| "]
TESTS = {
    name for path in ROOT.glob("tests/usage/test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
}


@pytest.mark.parametrize("row", [row for row in ROWS if "| test |" not in row])
def test_each_row_names_its_test(row: str) -> None:
    """Issue 12."""
    last = row.split("|")[-2]
    named = re.findall(r"`(test_\w+)`", last)
    assert named or "the same" in last
    assert set(named) <= TESTS
