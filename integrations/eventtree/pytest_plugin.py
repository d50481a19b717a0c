"""The fixture that pytest finds by itself. Every pytest run where eventtree is installed loads this file alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from eventtree.testing import VendorServer


@pytest.fixture
def vendor_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VendorServer]:
    """A listening `VendorServer`, and a new journal for this test's handlers, closed at its end."""
    from eventtree.delivery.shipper import close
    from eventtree.journal import open_journal
    from eventtree.testing import VendorServer

    folder = tmp_path / "eventtree"
    monkeypatch.setenv("EVENTTREE_JOURNAL", str(folder))
    with VendorServer() as server:
        yield server
        close(open_journal(str(folder)))
