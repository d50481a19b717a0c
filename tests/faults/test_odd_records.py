"""F37: one bad record or value costs its own tree, and nothing else: no lane, no report, no command."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eventtree import flush, record
from eventtree.cli.main import main
from eventtree.delivery.report import make_report
from eventtree.journal import DiskFiles, Journal
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import VendorServer
from eventtree.vendors import VENDORS, vendor_class
from tests.trees import new_id, record_tree

LATE = 10**21
"""Nanoseconds: far beyond the year 9999."""
ODD: list[Any] = [LATE, -LATE, "text", None, 5, 1.5, {"a": 1}, [1], True]
OPEN_FIELDS = (
    "start", "parent", "kind", "name", "inputs", "metadata", "tags", "params", "model", "provider", "session", "user",
    "environment", "framework", "internal", "vendors",
)  # fmt: skip
CLOSE_FIELDS = ("duration", "status", "outputs", "usage", "error", "metadata", "cost", "events", "params", "vendors")
NOTE_FIELDS = ("name", "at", "value", "after")


def bad_trees(refs: Any, at: int) -> Iterator[list[record.Record]]:
    """Trees of a root and a model, one field of one of their records odd."""
    kinds = {"open": OPEN_FIELDS, "close": CLOSE_FIELDS, "note": NOTE_FIELDS, "first": NOTE_FIELDS}
    for kind, fields in kinds.items():
        for field, value, run in itertools.product(fields, ODD, (0, 1)):
            root, child = new_id(), new_id()
            opened = {
                "kind": "model",
                "name": "bad",
                "start": at,
                "inputs": {"messages": [{"role": "user", "content": "q"}]},
            }
            records = {
                ("open", 0): {"r": "open", "id": root, "tree": root, **opened, "kind": "chain", "vendors": refs},
                ("open", 1): {"r": "open", "id": child, "tree": root, "parent": root, **opened},
                ("note", 1): {"r": "note", "id": child, "tree": root, "name": "retry", "at": at, "value": 1},
                ("first", 1): {"r": "note", "id": child, "tree": root, "name": "first_token", "at": at, "after": 5},
                ("close", 1): {"r": "close", "id": child, "tree": root, "duration": 5, "status": "ok", "outputs": "a"},
                ("close", 0): {
                    "r": "close", "id": root, "tree": root, "duration": 9, "status": "ok", "outputs": "a",
                    "vendors": refs, "events": 2,
                },
            }  # fmt: skip
            if (kind, run) in records:
                records[kind, run][field] = value
                yield list(records.values())


def feedback(tree: str, refs: Any) -> Iterator[record.Record]:
    """Feedback with odd fields."""
    for field, value in itertools.product(("at", "key", "score", "name", "comment", "vendors"), ODD):
        good = {"key": new_id(), "at": 5, "name": "helpful", "score": 1.0, "vendors": refs}
        yield {"r": "feedback", "id": tree, "tree": tree, **good, field: value}


def lone_lines(refs: Any) -> Iterator[bytes]:
    """Whole lines that are no records, or odd ones; and counted trees with odd counts."""
    yield from (b"[]", b"5", b'"x"', b"{}", b'{"r":1,"id":2,"tree":3}', b"[" * 5_000 + b"]" * 5_000)
    yield b'{"r":"open","id":"\xff","tree":"\xff"}'
    for value in (*ODD, float("inf")):
        entry = {"r": "drop", "id": new_id(), "vendors": refs, "reason": "sampled", "events": value}
        yield json.dumps({**entry, "tree": entry["id"]}).encode()


@pytest.fixture
def odd_journal(own_place: Path) -> Iterator[tuple[VendorServer, list[str]]]:
    """A journal in which each bad tree stands between good ones; nobody has shipped yet."""
    with VendorServer() as server:
        vendors = [vendor_class(kind)(**server.settings(kind)) for kind in VENDORS]
        pipeline = Pipeline(vendors=vendors, user="u", deliver=False)
        good = [record_tree(pipeline)]
        refs, at = list(pipeline.vendor_refs), 1_700_000_000_000_000_000
        for number, records in enumerate(bad_trees(refs, at)):
            for entry in records:
                pipeline.journal.append(record.encode(entry))
            if number % 20 == 0:
                good.append(record_tree(pipeline))
        for entry in feedback(good[0], refs):
            pipeline.journal.append(record.encode(entry))
        for line in lone_lines(refs):
            pipeline.journal.append(line)
        good.append(record_tree(pipeline))
        yield server, good


def test_f37_records_with_odd_fields_cost_their_own_trees_only(
    odd_journal: tuple[VendorServer, list[str]], own_place: Path
) -> None:
    """F37: all good trees arrive at all vendors; a restart finds nothing left to do; nothing is unexplained."""
    server, good = odd_journal
    for _ in range(2):  # and once more, as after a restart
        shipper = Pipeline(vendors=[vendor_class(kind)(**server.settings(kind)) for kind in VENDORS]).shipper
        report = flush(60)
        shipper.stop()
        for kind, sums in report.vendors.items():
            assert (sums.waiting, sums.unexplained) == (0, 0), sums
            assert sums.feedback.get("waiting", 0) == 0, sums
            arrived = json.dumps(server.events(kind)) + json.dumps(server.sessions(kind))
            if kind != "nebuly":
                assert [tree for tree in good if tree not in arrived] == [], kind
        nebuly = report.vendors["nebuly"]
        assert nebuly.delivered + nebuly.dropped.get("no_place", 0) >= 3 * len(good)


def test_f37_no_command_dies_of_odd_records(odd_journal: tuple[VendorServer, list[str]], own_place: Path) -> None:
    """F37: they show what can be shown."""
    _, good = odd_journal
    assert make_report(Journal(DiskFiles(own_place))).vendors["braintrust"].unexplained == 0
    for command in (["report"], ["report", "--json"], ["show", "--last", "9999"], ["show", "--json"],
                    *(["export", "--vendor", kind] for kind in VENDORS), ["dead"], ["clear", "--yes"]):  # fmt: skip
        found = CliRunner().invoke(main, [*command, "--journal", str(own_place)])
        assert found.exit_code == 0, (command, found.exception)
        if command[0] in ("show", "export") and "nebuly" not in command:
            assert [tree for tree in good if tree not in found.output] == [], command


@pytest.mark.parametrize("error", [OSError, TimeoutError, MemoryError, RecursionError, OverflowError, KeyError])
def test_f37_a_function_of_prices_that_raises_stops_no_lane(own_place: Path, error: type[Exception]) -> None:
    """F37"""

    def prices(*args: Any, **kwargs: Any) -> Any:
        raise error("no price today")

    with VendorServer() as server:
        pipeline = Pipeline(vendors=[vendor_class("braintrust")(**server.settings("braintrust"))], prices=prices)
        for _ in range(3):
            record_tree(pipeline)
        sums = flush(20).vendors["braintrust"]
        assert (sums.accepted, sums.waiting, sums.unexplained) == (9, 0, 0), sums
