"""Whatever the size of a tree, the delivery thread looks up often: `pace.py`, and how long `Throttle` rests."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from operator import itemgetter
from types import FrameType
from typing import Any

import pytest

from eventtree import pace, record
from eventtree.delivery.consumer import Consumer
from eventtree.delivery.feed import Feed, Feeds, Folder
from eventtree.delivery.http import Http
from eventtree.pace import (
    FEW,
    REST_SECONDS,
    SHORTEST_SECONDS,
    Throttle,
    let_go,
    paced,
    paced_dict,
    paced_sorted,
    rest_by,
)
from eventtree.recording.pipeline import Pipeline
from eventtree.serializer.serialize import plan
from eventtree.testing import VendorServer
from eventtree.tree.builder import TreeBuilder
from eventtree.vendors import VENDORS, Braintrust, vendor_class
from tests.bench.counting import OURS, counted
from tests.trees import close_record, open_record, record_tree

RUNS = 2_000
T0 = 1_700_000_000_000_000_000
MOST_INSTRUCTIONS = 20_000
"""Python instructions between two rests: about half a millisecond."""


def records() -> Iterator[record.Record]:
    for n in range(RUNS):
        kind = "model" if n % 4 == 2 else "chain"
        parent = f"r{(n - 1) // 10}" if n else None
        yield {**open_record(f"r{n}", "r0", parent, kind, f"n{n % 7}", T0 + n * 1000), "inputs": {"q": "text"}}
    for n in reversed(range(RUNS)):
        yield {**close_record(f"r{n}", "r0", 1_000_000, "ok"), "outputs": "an answer"}


@pytest.fixture
def rests() -> Iterator[list[int]]:
    """How often this thread was asked to rest."""
    counts = [0]

    def rest() -> None:
        counts[0] += 1

    rest_by(rest)
    yield counts
    rest_by(None)


def test_a_tree_of_thousands_of_runs_rests_while_it_is_folded_and_encoded(rests: list[int]) -> None:
    builder = TreeBuilder("r0")
    for entry in records():
        builder.add(entry)
    trees: list[Any] = []
    done, _ = counted(lambda: trees.append(builder.build()))
    assert done / rests[0] < MOST_INSTRUCTIONS
    for kind in VENDORS:
        settings = {"end_user": "u"} if kind == "nebuly" else {}
        vendor = vendor_class(kind)(api_key="k", base_url="http://127.0.0.1:1", **settings)
        rests[0] = 0
        done, _ = counted(lambda vendor=vendor: plan(trees, vendor))  # type: ignore[misc]
        assert done / rests[0] < MOST_INSTRUCTIONS, kind


async def test_a_batch_of_small_trees_rests_while_it_is_read_sent_and_settled() -> None:
    done, longest = [0], [0]

    def rest() -> None:
        longest[0], done[0] = max(longest[0], done[0]), 0

    def inside(frame: FrameType, event: str, _: Any) -> Any:
        done[0] += event == "opcode"
        return inside

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return inside if frame.f_code.co_filename.startswith(OURS) else None

    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))], deliver=False)
        trees = [record_tree(pipeline) for _ in range(100)]
        folder = Folder(pipeline.journal, lambda: None, rest)
        feeds = Feeds(pipeline.journal, folder, lambda *start: Feed(pipeline.journal, *start, lines=folder.lines))
        consumer = Consumer(pipeline.journal, pipeline.vendors[0], Http(), feeds)
        rest_by(rest)
        sys.settrace(entered)
        try:
            while consumer.cursor is None or len(consumer.cursor.settled) < len(trees):
                await consumer.step()
        finally:
            sys.settrace(None)
            rest_by(None)
        assert len(server.events("braintrust")) == 3 * len(trees)
        consumer.release()
        await consumer.sender.http.close()
    assert longest[0] < 2 * MOST_INSTRUCTIONS  # what is done once, with the first request, comes between two rests too


def test_small_dicts_stay_as_they_are_and_elsewhere_nothing_rests() -> None:
    small = dict.fromkeys(range(FEW))
    assert paced_dict(small) is small
    assert list(paced([1, 2])) == [1, 2]
    large = dict.fromkeys(range(FEW + 1))
    assert [*paced_dict(large)] == [*large] and [*paced_dict(large).items()] == [*large.items()]


def test_what_is_sorted_or_freed_in_parts_is_as_if_done_at_once(rests: list[int]) -> None:
    given = [(n * 7919 % 5003 // 3, n) for n in range(5_000)]
    assert paced_sorted(given, itemgetter(0)) == sorted(given, key=itemgetter(0))
    assert paced_sorted(iter(given[:9]), itemgetter(0)) == sorted(given[:9], key=itemgetter(0))
    assert paced_sorted([], itemgetter(0)) == []
    rests[0] = 0
    held = [list(given), dict.fromkeys(given)]
    for one in held:
        let_go(one)
    assert held == [[], {}]
    assert rests[0] == 2 * (5_000 // FEW)


@pytest.mark.parametrize(
    ("behind", "expected"), [(0, REST_SECONDS), (2_500, REST_SECONDS / 2), (10**6, SHORTEST_SECONDS)]
)
def test_a_rest_is_long_beside_a_busy_app_and_shorter_the_further_delivery_is_behind(
    behind: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(pace, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(time, "sleep", slept.append)
    records = iter([1, 2, 2, 3])
    rest = Throttle(lambda: next(records), lambda: behind).rest
    for _ in range(4):
        rest()
    assert slept == [pytest.approx(expected)] * 3  # nothing was recorded before the third
