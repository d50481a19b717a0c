"""What is thought of a run, and which row of a dataset it answers: `feedback` and `example`.

Feedback is a record of its own in the journal. It goes out after its tree, to every vendor the tree names that can take
it; hours later and from another process too. It counts apart from events (`VendorTotals.feedback`): every feedback ends
as delivered, dead (refused, with the vendor's words among the dead letters), or dropped for a reason.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eventtree import config, diagnostics, record
from eventtree.config import MEMORY
from eventtree.content import Sanitizer
from eventtree.delivery.shipper import all_shippers
from eventtree.journal import Journal, open_journal
from eventtree.journal.trees import find_trees
from eventtree.record import Refs
from eventtree.recording import callback_context
from eventtree.recording.callback_context import Example
from eventtree.recording.pipeline import sanitizers
from eventtree.recording.recorder import recorder

Place = tuple[Journal, str, str, Refs, Sanitizer | None]
"""Where feedback belongs: journal, event, tree, the tree's vendors, and how its handler makes values plain."""


def feedback(
    event_or_tree_id: object,
    *,
    score: float | bool | Mapping[str, float] | None = None,
    name: str | None = None,
    comment: str | None = None,
    correction: Any = None,
    user: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> bool:
    """Record what somebody, or a check, thinks of a run; True once it is in the journal.

    `score` is a number (0 to 1 fits all vendors; from 0.5 on it is a thumb up), true or false, or several by name;
    `name` is what is scored, without it the run as a whole. `correction` is what the answer should have been.
    The id is that of any event or of the tree (its root): `handler.last_tree_id`, LangChain's run id. It is looked for
    among the runs of this process, then in its journals, then in the configured one. Never raises because of an
    unknown id: that is logged, and the answer is False. So it is for a run that was not sampled.
    """
    given = {
        "score": score, "name": name, "comment": comment, "correction": correction, "user": user, "metadata": metadata,
    }  # fmt: skip
    told = {key: value for key, value in given.items() if value is not None}
    if not told.keys() & {"score", "comment", "correction"}:
        diagnostics.logger.warning("feedback without score, comment or correction says nothing; it was not recorded")
        return False
    try:
        return _record(str(event_or_tree_id), told)
    except Exception as error:  # noqa: BLE001  (called in the middle of an app: nothing of ours may reach it)
        diagnostics.failed("feedback", error)
        return False


def _record(wanted: str, told: dict[str, Any]) -> bool:
    place = _open_run(wanted) or _in_journals(wanted)
    if place is None:
        diagnostics.logger.warning("feedback is on a run that no journal of this process has; it was not recorded")
        return False
    journal, event_id, tree_id, vendors, plain = place
    plain = plain or sanitizers.get(journal) or Sanitizer(redact=config.resolve().redact)
    entry = {
        "r": record.FEEDBACK, "id": event_id, "tree": tree_id, "key": str(uuid.uuid4()), "at": time.time_ns(),
        **plain(told), "vendors": vendors,
    }  # fmt: skip
    journal.append(record.encode(entry))
    for shipper in all_shippers():
        if shipper.journal is journal:
            shipper.ensure()
            shipper.wake()
    return True


def _open_run(wanted: str) -> Place | None:
    """A run that is open or ended a short while ago, and was recorded."""
    run, ended = recorder.runs.get(wanted), recorder.ended.get(wanted)
    if run is not None:
        event_id, tree = run.id, run.tree
    elif ended is not None:
        event_id, tree = ended[0], ended[1]
    else:
        return None
    return None if tree.skipped else (tree.journal, event_id, tree.id, tree.vendors, tree.pipelines[0].sanitize)


def _in_journals(wanted: str) -> Place | None:
    for journal in _journals():
        tree = find_trees(journal, [wanted]).get(wanted)
        if tree is not None and tree.dropped is None:
            return journal, wanted, tree.id, tree.vendors or [], None
    return None


def _journals() -> list[Journal]:
    """Those this process delivers, then the configured one."""
    found = {id(shipper.journal): shipper.journal for shipper in all_shippers()}
    folder = config.resolve().folder
    if folder == MEMORY or Path(folder).expanduser().is_dir():
        journal = open_journal(folder)
        found.setdefault(id(journal), journal)
    return list(found.values())


class Row(Example):
    """The example that a `with` block answers; `tree_ids` fills with the trees that open inside."""

    __slots__ = ()

    def score(self, name: str, value: float | bool, comment: str | None = None) -> None:
        """Score the answer: the block's last tree, or the one to come if none has opened yet."""
        if self.tree_ids:
            feedback(self.tree_ids[-1], score=value, name=name, comment=comment)
        else:
            self.links["scores"] = {**self.links.get("scores", {}), name: value}


@contextmanager
def example(
    datapoint_id: str | None = None,
    *,
    expected: Any = None,
    experiment: str | None = None,
    run_id: str | None = None,
    dataset_id: str | None = None,
) -> Iterator[Row]:
    """Tie every tree that opens inside the block to a row of a dataset, in tasks and threads that inherit it too.

    `experiment` is the name of Braintrust's experiment (made if need be); `run_id` HoneyHive's or Humanloop's run. For
    `batch`, say the same in each input's `config["metadata"]`: `eventtree_datapoint_id`, `eventtree_expected`,
    `eventtree_experiment`, `eventtree_run_id`, `eventtree_dataset_id`, `eventtree_scores`; those win over the block.
    """
    given = {
        "datapoint_id": datapoint_id, "expected": expected, "experiment": experiment, "run_id": run_id,
        "dataset_id": dataset_id,
    }  # fmt: skip
    row = Row({key: value for key, value in given.items() if value is not None})
    with callback_context.answering(row):
        yield row
