"""Feedback on its way to one vendor: it waits until its tree has gone out, then until the vendor has taken it.

It counts for itself, never for events: a tree is settled whether there is feedback on it or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from eventtree import diagnostics, record
from eventtree.delivery.feed import PendingFeedback
from eventtree.journal.trees import LoggedTree, load
from eventtree.serializer.packing import waves
from eventtree.serializer.requests import Item

if TYPE_CHECKING:
    from eventtree.delivery.consumer import Consumer

BATCH_FEEDBACK = 100
FEEDBACK_SECONDS = 2.0
"""How long feedback waits for a tree that has not been seen in the logs, while there is more to read."""


class FeedbackQueue:
    """The feedback that one consumer has yet to send."""

    def __init__(self, consumer: Consumer) -> None:
        """Nothing waits."""
        self.consumer = consumer
        self.waiting: dict[str, PendingFeedback] = {}
        """By its key: for its tree to go out, then to be taken."""
        self.refused: set[str] = set()
        """Keys of feedback that was refused while it is being sent."""

    def hear(self, feedback: PendingFeedback) -> None:
        """Take a feedback that may be for this vendor and is not settled."""
        consumer = self.consumer
        ref = {"name": consumer.vendor.name, "fingerprint": consumer.fingerprint}
        is_mine = consumer.all_trees or feedback.vendors is None or ref in feedback.vendors
        cursor = consumer.cursor
        if is_mine and cursor and not cursor.is_feedback_done(feedback.key, feedback.log, feedback.end):
            self.waiting[feedback.key] = feedback

    def due(self, *, all_read: bool) -> list[PendingFeedback]:
        """Feedback whose tree has gone out (or will not: it is not in the logs), oldest first."""
        now = self.consumer.clock()
        return [
            one
            for one in self.waiting.values()
            if not self.consumer.is_busy_with({one.tree, one.about})
            and (all_read or self.consumer.has_settled(one.tree) or now - one.since >= FEEDBACK_SECONDS)
        ][:BATCH_FEEDBACK]

    async def send(self, due: Sequence[PendingFeedback]) -> None:
        """Hand feedback to the vendor, that on one tree in order."""
        consumer = self.consumer
        trees = await consumer.find({one.about for one in due} | {one.tree for one in due})
        turns: Counter[str] = Counter()
        planned: list[tuple[PendingFeedback, str, list[Item], str]] = []
        for one in due:
            logged = trees.get(one.about) or trees.get(one.tree)
            if logged is not None and self._put_off(one, logged):
                continue
            if one.vendors is None and logged is not None and not consumer.is_for_us(logged):
                self.waiting.pop(one.key, None)  # its tree goes elsewhere
                continue
            tree_id = logged.id if logged is not None else one.tree
            items, fate = self._items(one, tree_id, logged)
            planned.append((one, tree_id, [replace(item, wave=turns[tree_id]) for item in items], fate))
            turns[tree_id] += 1
        stuck = await consumer.sender.send(
            waves((item for _, _, items, _ in planned for item in items), consumer.vendor)
        )
        for one, tree_id, items, fate in planned:
            if tree_id in stuck:
                one.since = consumer.clock()
                continue
            dead = any(item.key in self.refused for item in items)
            consumer.settle_feedback(one, tree_id, "dead" if dead else fate)
            self.waiting.pop(one.key, None)
        self.refused.clear()

    def _put_off(self, one: PendingFeedback, tree: LoggedTree) -> bool:
        """Whether the tree goes on where the logs have not been read yet, or has yet to go out: looked at later."""
        feed = self.consumer.feed
        read = feed.scan.offsets() if feed is not None else {}
        is_ahead = any(end > read.get(log, end) for log, end in tree.spans.items())
        if is_ahead or self.consumer.is_busy_with({tree.id}):
            one.since = self.consumer.clock()
            return True
        return False

    def _items(self, one: PendingFeedback, tree_id: str, logged: LoggedTree | None) -> tuple[list[Item], str]:
        """What is left to send of a feedback, and what it counts as once that is taken."""
        consumer = self.consumer
        entry = next(load(consumer.journal, [(one.log, one.offset, one.length)]), None)
        if entry is None or entry["r"] != record.FEEDBACK:
            return [], "by_user"  # it has been cleared
        if one.vendors is None and (logged is None or logged.dropped is not None):
            return [], "unknown_id"
        tree = consumer.feeds.folder.fold(logged).tree if logged is not None else None
        try:
            said = {**entry, "tree": tree_id, "key": one.key}
            encoded = consumer.vendor.encode_feedback(said, tree, consumer.learned)
        except Exception as error:  # noqa: BLE001  (one that a vendor chokes on must not stop the others)
            diagnostics.failed(f"encoding feedback for {consumer.vendor.name}", error)
            return [], "dead"
        if not encoded.items:
            return [], encoded.dropped.get(one.key, "no_place")
        return [item for item in encoded.items if not consumer.is_done(tree_id, item.key)], "delivered"
