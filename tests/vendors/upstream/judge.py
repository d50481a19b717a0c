"""What the judges share: read requests, ask each vendor's own model about each body, and say what it refuses.

A judge runs in a venv that holds one vendor's released package and nothing of ours: `python -m judge_NAME < requests`.
Requests are a JSON list of {"method", "path", "body"}; the exit status is 0 only if every body is taken.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

Check = Callable[[str, str, Any], None]
"""Raises for a body (method, path, body) that the vendor's model does not take."""


def judge(check: Check, wrong: list[tuple[str, str, Any]]) -> None:
    """Ask about every request; before, whether `wrong` ones are refused: a judge that takes anything is none."""
    taken = [request for request in wrong if not refusal(check, *request)]
    if taken:
        sys.exit(f"the judge takes anything: {taken}")
    found = [(one, refusal(check, one["method"], one["path"], one["body"])) for one in json.load(sys.stdin)]
    refused = [f"{one['method']} {one['path']}: {why}\n{json.dumps(one['body'])[:1500]}" for one, why in found if why]
    print(len(found))
    if refused:
        sys.exit(f"{len(refused)} of {len(found)} refused\n" + "\n\n".join(refused[:5]))


def refusal(check: Check, method: str, path: str, body: Any) -> str:
    """Why a body is refused; empty where it is taken."""
    try:
        check(method, path, body)
    except Exception as error:  # the vendors' models raise errors of many kinds
        return f"{type(error).__name__}: {str(error)[:1500]}"
    return ""


def known(body: dict[str, Any], names: Any, where: str) -> None:
    """Only these keys, and none of them null."""
    odd = sorted(set(body) - set(names))
    if odd:
        raise ValueError(f"{where}: unknown {odd}")
    nulls = sorted(key for key, value in body.items() if value is None)
    if nulls:
        raise ValueError(f"{where}: null {nulls}")
