"""A provider on loopback, and what was recorded of the model that was asked."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from eventtree.event import Event
from eventtree.journal import open_journal
from eventtree.kinds import Kind
from eventtree.testing.capture import Captured
from tests.usage.served import Provider, provider


def needs(package: str) -> None:
    """Skip a file without a package; it is imported by the tests that use it, since it takes 40 MB."""
    if find_spec(package) is None:
        pytest.skip(f"no {package} here", allow_module_level=True)


class Asked:
    """A framework's handler, and the model event it made."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    @property
    def event(self) -> Event:
        """The only event of the kinds that use tokens and are not plumbing."""
        trees = list(Captured(open_journal(self.folder)))
        kinds = (Kind.MODEL, Kind.EMBEDDING)
        (found,) = [e for tree in trees for e in tree.events if e.kind in kinds and not e.internal]
        return found


@pytest.fixture(scope="module")
def served() -> Iterator[Provider]:
    """One server for all tests of a file."""
    with provider() as place:
        yield place


@pytest.fixture
def asked(own_place: Path) -> Asked:
    """What was recorded."""
    return Asked(own_place)
