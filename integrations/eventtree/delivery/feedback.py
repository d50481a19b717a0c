"""Sending feedback to one vendor, after its tree: a vendor cannot take a score on an event that it does not have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from eventtree import diagnostics, record
from eventtree.delivery.due import DueTrees
from eventtree.delivery.feed import Feed, Folder, PendingFeedback
from eventtree.delivery.ledger import Ledger
from eventtree.delivery.sender import Sender
from eventtree.journal.trees import LoggedTree, load
from eventtree.serializer.packing import waves
from eventtree.serializer.requests import Item

BATCH_FEEDBACK = 100
FEEDBACK_SECONDS = 2.0
"""Time that feedback waits for a tree in the logs still to be read."""


class FeedbackSender:
    """The feedback for one vendor that waits until its tree was sent."""

    def __init__(
        self, ledger: Ledger, sender: Sender, folder: Folder, queue: DueTrees, clock: Callable[[], float]
    ) -> None:
        """Send by `sender`; feedback on trees of `queue` waits."""
        self.ledger = ledger
        self.sender = sender
        self.folder = folder
        self.journal = folder.journal
        self.queue = queue
        self.clock = clock
        self.waiting: dict[str, PendingFeedback] = {}
        """Key → feedback."""

    def hear(self, feedback: PendingFeedback) -> None:
        """Add a feedback, if it may be for this vendor and is not settled."""
        if (
            feedback.vendors is None or self.ledger.takes(feedback.vendors)
        ) and not self.ledger.cursor.is_feedback_done(feedback.key, feedback.log, feedback.end):
            self.waiting[feedback.key] = feedback

    def due(self, feed: Feed, *, all_read: bool) -> list[PendingFeedback]:
        """Feedback whose tree was sent, or was not found in time, oldest first."""
        now = self.clock()
        busy = feed.growing.keys() | self.queue.ids.keys()
        return [
            one
            for one in self.waiting.values()
            if not {one.tree, one.about} & busy
            and (all_read or self.ledger.has_settled(one.tree) or now - one.since >= FEEDBACK_SECONDS)
        ][:BATCH_FEEDBACK]

    async def send(self, due: Sequence[PendingFeedback], feed: Feed) -> None:
        """Send feedback, in order for each tree. It is not counted among events."""
        trees = await self.folder.find({one.about for one in due} | {one.tree for one in due})
        turns: Counter[str] = Counter()
        planned: list[tuple[PendingFeedback, str, list[Item], str]] = []
        # The search reads all logs, so it may find more of a tree than the feed has read.
        for one in due:
            logged = trees.get(one.about) or trees.get(one.tree)
            if logged is not None and self._put_off(one, logged, feed):
                continue
            if one.vendors is None and logged is not None and not self.ledger.is_for_us(logged):
                self.waiting.pop(one.key, None)  # its tree is for other vendors
                continue
            if logged is not None and self.ledger.is_left_out(logged.id):
                if self._brings_back(one, logged):
                    continue
                planned.append((one, logged.id, [], "sampled"))
                continue
            tree_id = logged.id if logged is not None else one.tree
            items, fate = self._items(one, tree_id, logged)
            # A wave for each feedback on a tree: a later score must not overtake an earlier one.
            planned.append((one, tree_id, [item._replace(wave=turns[tree_id]) for item in items], fate))
            turns[tree_id] += 1
        stuck = await self.sender.send(
            waves((item for _, _, items, _ in planned for item in items), self.ledger.vendor)
        )
        for one, tree_id, items, fate in planned:
            if tree_id in stuck:
                one.since = self.clock()
                continue
            # Dead or delivered is known only now: the sender has reported each item to the ledger.
            dead = any(item.key in self.ledger.refused_feedback for item in items)
            self.settle(one, tree_id, "dead" if dead else fate)
        self.ledger.refused_feedback.clear()

    def settle(self, one: PendingFeedback, tree_id: str, fate: str) -> None:
        """Nothing is left to do for a feedback: it was delivered, refused, or dropped for a reason."""
        self.ledger.cursor.settle_feedback(one.key, tree_id, one.log, one.end, fate)
        self.waiting.pop(one.key, None)

    def with_trees(self) -> dict[str, list[PendingFeedback]]:
        """Tree → the feedback on it that goes out with it, where the vendor has no call for it afterwards."""
        found: dict[str, list[PendingFeedback]] = {}
        for one in self.waiting.values() if self.ledger.vendor.feedback_in_trees else ():
            if one.vendors is not None:
                found.setdefault(one.tree, []).append(one)
        return found

    def records(self, each: Iterable[PendingFeedback]) -> tuple[record.Record, ...]:
        """The records of feedback, without those that were cleared."""
        lines = [(one.log, one.offset, one.length) for one in each]
        return tuple(entry for entry in load(self.journal, lines) if record.CLEARED not in entry)

    def _put_off(self, one: PendingFeedback, tree: LoggedTree, feed: Feed) -> bool:
        """Whether the feedback must wait, since its tree was not read completely, or not sent."""
        read = feed.scan.offsets()
        is_ahead = any(end > read.get(log, end) for log, end in tree.spans.items())
        busy = self.queue.ids.keys() | feed.growing.keys()
        if is_ahead or tree.id in busy:
            one.since = self.clock()
            return True
        return False

    def _brings_back(self, one: PendingFeedback, logged: LoggedTree) -> bool:
        """Queue a tree that `keep` left out, if it fits `keep` with this feedback, which is sent after it."""
        tree = self.folder.fold(logged).tree
        said = self.records(other for other in self.waiting.values() if other.tree == one.tree)
        if tree is None or self.ledger.keeps is None:
            return False
        if not self.ledger.keeps(tree.model_copy(update={"feedback": said})):
            return False
        self.ledger.wanted.add(logged.id)
        logged.takers = 1
        self.queue.append(logged)
        one.since = self.clock()
        return True

    def _items(self, one: PendingFeedback, tree_id: str, logged: LoggedTree | None) -> tuple[list[Item], str]:
        """The items of a feedback that are still to be sent, and its fate once they are taken."""
        entry = next(iter(self.records([one])), None)
        if entry is None:
            return [], "by_user"  # it has been cleared
        if one.vendors is None and (logged is None or logged.dropped is not None):
            return [], "unknown_id"
        try:
            tree = self.folder.fold(logged).tree if logged is not None else None
            encoded = self.ledger.vendor.encode_feedback(
                {**entry, "tree": tree_id, "key": one.key}, tree, self.ledger.cursor.learned
            )
        except BaseException as error:  # one that a vendor chokes on must not stop the others
            if diagnostics.must_pass(error):
                raise
            diagnostics.failed(f"encoding feedback for {self.ledger.vendor.name}", error)
            return [], "dead"
        if not encoded.items:
            return [], encoded.dropped.get(one.key, "no_place")
        done = self.ledger.cursor.partly.get(tree_id, ())
        return [item for item in encoded.items if item.key not in done], "delivered"
