"""A vendor, and what every test of the relay ends with: the law at the app's folder and at the collector's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventtree.relay import relay as relays
from eventtree.testing import VendorServer
from tests.relay.world import report


@pytest.fixture
def vendor() -> Iterator[VendorServer]:
    """A server that plays the vendors, and refuses ids it has seen."""
    with VendorServer() as server:
        yield server


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """A place for folders; nothing in the sums of those that are there at the end is unexplained."""
    yield tmp_path
    for relay in list(relays._relays.values()):
        relay.stop(10.0)
    relays._relays.clear()
    for folder in sorted(tmp_path.iterdir()):
        if list(folder.glob("*.log")) and not (folder / "server.log").exists():
            found = report(folder).vendors
            assert {name: sums.unexplained for name, sums in found.items()} == dict.fromkeys(found, 0), folder
