"""What scripts of clients share: calls that a vendor takes, then calls that it refuses; the statuses are printed.

A script runs in a venv that holds one vendor's released client: `python client_NAME.py URL`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Calls = list[Callable[[], Any]]


def play(right: Calls, wrong: Calls, status: Callable[[Exception], int]) -> None:
    """Make all calls, one request each; the right ones raise nothing, the wrong ones the client's own error."""
    for call in right:
        call()
    print(json.dumps({"right": len(right), "wrong": [refused(call, status) for call in wrong]}))


def refused(call: Callable[[], Any], status: Callable[[Exception], int]) -> int:
    """The status with which a call is refused."""
    try:
        call()
    except Exception as error:  # each client has its own
        return status(error)
    raise SystemExit("a wrong call was taken")
