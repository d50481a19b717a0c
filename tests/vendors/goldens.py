"""Golden requests: what a vendor is sent for a tree, on disk to be read. `EVENTTREE_GOLDEN=write` writes them anew."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eventtree.event import EventTree
from eventtree.serializer.requests import Request
from eventtree.serializer.serialize import serialize
from eventtree.serializer.vendor import Vendor

FOLDER = Path(__file__).parent / "golden"
WRITE = os.environ.get("EVENTTREE_GOLDEN") == "write"  # read before a test's environment is cleaned


def hold_against_golden(place: str, vendor: Vendor, *trees: EventTree) -> None:
    """Compare the requests of `trees` with the golden ones at `place`."""
    hold_bodies_against_golden(place, serialize(trees, vendor))


def hold_bodies_against_golden(place: str, requests: Iterable[Request]) -> None:
    """Compare requests with the golden ones at `place`."""
    path = FOLDER / place
    found: list[dict[str, Any]] = [{"method": one.method, "url": one.url, "body": one.body} for one in requests]
    if WRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(path.read_text(encoding="utf-8"))
