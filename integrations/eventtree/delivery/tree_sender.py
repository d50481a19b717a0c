"""Sending due trees to one vendor: fold, encode, send, settle.

    due trees ──fold──▶ plan (encode, waves, groups) ──▶ sender ──▶ answers ──▶ ledger

A tree is settled when all its items are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eventtree import diagnostics
from eventtree.delivery.due import DueTrees
from eventtree.delivery.feed import NONE_LOST, Folder, PendingFeedback
from eventtree.delivery.feedback import FeedbackSender
from eventtree.delivery.ledger import Ledger
from eventtree.delivery.sender import Sender
from eventtree.event import Event, EventTree
from eventtree.journal.trees import LoggedTree
from eventtree.pace import FEW, let_go, paced
from eventtree.serializer.requests import Item
from eventtree.serializer.serialize import plan


def _by_itself(part: EventTree) -> EventTree:
    """A part of another journal's tree as a tree of its own; its root's metadata names the run it belongs below."""
    root = part.root.model_copy(update={"parent_id": None})
    return part.model_copy(update={"events": (root, *part.events[1:])})


@dataclass(slots=True)
class PendingTree:
    """A tree that is being sent, and how its events count once its items are taken."""

    logged: LoggedTree
    events: int = 0
    dropped: Counter[str] = field(default_factory=lambda: NONE_LOST)
    left_out: int = 0
    """Events that `keep` leaves out."""


class TreeSender:
    """Sends the trees of a queue to one vendor. Trees that cannot be settled go back into the queue."""

    def __init__(
        self, ledger: Ledger, sender: Sender, folder: Folder, queue: DueTrees, feedback: FeedbackSender
    ) -> None:
        """Send by `sender`, count in `ledger`; `feedback` may go out with its tree."""
        self.ledger = ledger
        self.sender = sender
        self.folder = folder
        self.queue = queue
        self.feedback = feedback
        self._joined: dict[str, list[PendingFeedback]] = {}
        """Trees on their way → the feedback that goes with them."""
        self.on_the_way: list[LoggedTree] = []
        """Trees taken from the queue that are not settled yet."""
        self._folded: list[Event] = []
        """The events of large trees, which are freed with rests once all trees are planned."""

    async def send(self, due: list[LoggedTree]) -> None:
        """Fold, plan and send trees; settle each that has nothing left to send."""
        self.on_the_way = due
        try:
            ended_late = {tree.id for tree in due if tree.late and tree.ended and self.ledger.vendor.accepts_updates}
            ended_late = {tree_id for tree_id in ended_late if not self.ledger.is_left_out(tree_id)}
            whole = await self.folder.find(ended_late)
            pending = {tree.id: PendingTree(tree) for tree in due}
            updates = [item for tree in due if tree.id in whole for item in self._updates(tree, whole[tree.id])]
            is_any_part = self.ledger.cursor.partly or any(tree.late or tree.is_apart for tree in due)
            planned = plan(
                self._trees(pending),
                self.ledger.vendor,
                more=updates,
                is_wanted=(lambda item: self._is_left(item, pending)) if is_any_part else None,
            )
            let_go(self._folded)
            for tree_id in planned.failed:
                self._bury_tree(pending[tree_id], planned.words(tree_id, self.ledger.vendor))
            for tree_id, dropped in planned.dropped:
                pending[tree_id].dropped = pending[tree_id].dropped + Counter(dropped.values())
            stuck = await self.sender.send(planned.waves)
            planned.let_go()
            # Each answer is in the cursor by now. A tree is settled after its last item, never before.
            with self.ledger.cursor.gathered():
                for tree_id, one in paced(pending.items(), each=True):
                    if tree_id not in stuck:
                        self._settle_feedback(tree_id)
                        self.ledger.settle(one.logged, one.events, one.dropped, one.left_out)
            self.on_the_way = []
            # Behind the others: when they pass, the stuck item is at fault and not the vendor.
            self.queue.put_back((one.logged for tree_id, one in pending.items() if tree_id in stuck), behind=True)
        except BaseException:
            # After a cancelled or failed round the trees that are not settled are due again, in their order.
            if self.ledger.opened is not None:
                left = [tree for tree in due if not self.ledger.opened.is_settled(tree.id, tree.spans)]
                self.queue.put_back(left)
            raise
        finally:
            self.on_the_way = []
            self._folded.clear()

    def _trees(self, pending: Mapping[str, PendingTree]) -> Iterator[EventTree]:
        """Fold the trees one by one, and note the events of each that are lost or dropped."""
        self.folder.look()
        given = self.feedback.with_trees()
        for one in pending.values():
            logged = one.logged
            if logged.dropped is not None or (logged.late and not self.ledger.vendor.accepts_updates):
                dropped, reason = logged.dropped or (0, "late")
                one.events = dropped + logged.events
                one.dropped = Counter({reason: one.events})
                self.folder.forget([logged])
            else:
                folded = self.folder.fold(logged)
                tree, events = folded.tree, folded.tree.events if folded.tree is not None else ()
                if len(events) > FEW:
                    self._folded += events
                one.events = len(events)
                if folded.lost:
                    one.dropped = one.dropped + folded.lost
                    one.events += folded.lost.total()
                if tree is not None and not self._is_kept(logged, tree):
                    one.left_out = len(events)
                    one.dropped = one.dropped + Counter(sampled=one.left_out)
                elif tree is not None:
                    tree = _by_itself(tree) if logged.is_apart and not self.ledger.vendor.accepts_parts else tree
                    yield self._with_feedback(tree, given.get(tree.id))
            self.folder.rest()

    def _with_feedback(self, tree: EventTree, given: list[PendingFeedback] | None) -> EventTree:
        """A tree with the feedback on it that goes out with it; none joins once a part of the tree is sent."""
        if given is not None and tree.id not in self.ledger.cursor.partly:
            self._joined[tree.id] = given
        joined = self._joined.get(tree.id, ())
        return tree.model_copy(update={"feedback": self.feedback.records(joined)}) if joined else tree

    def _settle_feedback(self, tree_id: str) -> None:
        """Count what went out with a tree, where all of the tree was taken; else it is looked at by itself."""
        joined, (taken, refused) = self._joined.pop(tree_id, ()), self.ledger.cursor.taken.get(tree_id, (0, 0))
        for one in joined if taken and not refused else ():
            self.feedback.settle(one, tree_id, "delivered")

    def _is_kept(self, logged: LoggedTree, tree: EventTree) -> bool:
        """Whether the vendor gets the tree. A late part is sent if the rest was."""
        if self.ledger.all_trees or self.ledger.is_wanted(tree.id):
            return True
        if self.ledger.is_left_out(tree.id):
            return False
        has_begun = logged.late or tree.id in self.ledger.cursor.taken
        return has_begun or self.ledger.keeps is None or self.ledger.keeps(tree)

    def _is_left(self, item: Item, pending: Mapping[str, PendingTree]) -> bool:
        """Whether an item is still to be sent. Items without events are sent with the tree, not with a part of it."""
        if item.key in self.ledger.cursor.partly.get(item.tree_id, ()):
            return False
        logged = pending[item.tree_id].logged
        return bool(item.event_ids) or not (logged.late or (logged.is_apart and self.ledger.vendor.accepts_parts))

    def _updates(self, late: LoggedTree, whole: LoggedTree) -> list[Item]:
        """Items that update runs which ended in this late part, and were sent while they were still open."""
        try:
            tree = self.folder.fold(whole).tree
            items = () if tree is None else self.ledger.vendor.encode_update(tree, late.ended)
        except BaseException as error:  # the boundary around each tree: one must not stop the others
            if diagnostics.must_pass(error):
                raise
            diagnostics.failed(f"encoding for {self.ledger.vendor.name}", error)
            return []
        done = self.ledger.cursor.partly.get(late.id, ())
        return [item for item in items if item.key not in done]

    def _bury_tree(self, one: PendingTree, words: str) -> None:
        tree = self.folder.fold(one.logged).tree
        ids = tuple(event.id for event in tree.events) if tree is not None else ()
        item = Item(one.logged.id, one.logged.id, ids, next(iter(self.ledger.vendor.routes)), b"")
        self.ledger.buried(item, words)
