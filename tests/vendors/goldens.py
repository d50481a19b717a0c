"""Golden requests: what a vendor is sent for a tree, on disk to be read. `EVENTTREE_GOLDEN=write` writes them anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from eventtree.event import EventTree
from eventtree.serializer import serialize
from eventtree.vendors.vendor import Vendor

FOLDER = Path(__file__).parent / "golden"
WRITE = os.environ.get("EVENTTREE_GOLDEN") == "write"  # read before a test's environment is cleaned


def requests_of(vendor: Vendor, *trees: EventTree) -> list[dict[str, Any]]:
    """The requests of `trees` as plain JSON."""
    return [{"method": one.method, "url": one.url, "body": one.body} for one in serialize(trees, vendor)]


def hold_against_golden(place: str, vendor: Vendor, *trees: EventTree) -> None:
    """Compare the requests of `trees` with the golden ones at `place`."""
    path = FOLDER / place
    found = requests_of(vendor, *trees)
    if WRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(path.read_text(encoding="utf-8"))
