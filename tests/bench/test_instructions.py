"""What a callback costs does not creep up: machine instructions, counted by valgrind, beside a handler that idles."""

from __future__ import annotations

import pytest

from tests.bench.instructions import counted, missing

ADDED = {"W1": 0.196, "W6": 2.15, "L1": 0.320}
"""Workload (see table.py) → instructions that recording adds, as a share of those of the workload with a handler that
does nothing. Measured with CPython 3.11 on x86-64; lower them with what makes a callback lighter.
"""
TOLERANCE = 1.10


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_recording_adds_no_more_instructions_than_it_did() -> None:
    found = counted(list(ADDED))
    added = {name: found[f"{name} ours"] / found[f"{name} do-nothing"] - 1 for name in ADDED}
    print({name: round(share, 3) for name, share in added.items()})
    assert {name: share for name, share in added.items() if share > ADDED[name] * TOLERANCE} == {}
