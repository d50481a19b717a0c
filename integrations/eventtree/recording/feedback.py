"""`feedback`: records the judgement of a person or a check on a run.

Feedback is a record of its own in the journal. Delivery sends it after its tree, to every vendor that the tree names
and that can take it, hours later and from another process too. The report counts it separately from events
(`VendorTotals.feedback`): each feedback ends as delivered, dead (refused, with the vendor's answer among the dead
letters), or dropped for a reason.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

from eventtree import config, diagnostics, record
from eventtree.config import MEMORY
from eventtree.content import Sanitizer
from eventtree.delivery.shipper import all_shippers
from eventtree.errors import ConfigError
from eventtree.journal import Journal, open_journal
from eventtree.recording.pipeline import sanitizers
from eventtree.recording.recorder import recorder

HINT = "Give a number, true or false, or several by name"


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
    """Record the judgement of a person or a check on a run; True once it is in the journal.

    `score` is a number (0 to 1 fits all vendors; from 0.5 on it is a thumb up), true or false, or several by name;
    `name` is what is scored, without it the run as a whole. `correction` is what the answer should have been.
    The id is that of any event or of the tree (its root): `handler.last_tree_id`, LangChain's run id. No log is read
    here, so that your app does not wait: delivery looks for the event, and counts feedback on an unknown one as dropped
    (`unknown_id`). Returns False, and logs why, for a run of this process that was not sampled, and for a score that is
    no number; a `strict` handler, or `EVENTTREE_STRICT`, raises then.

    Raises:
        ConfigError: with `strict`, no score, comment or correction is given, or a score is not a number.
    """
    given = {
        "score": score, "name": name, "comment": comment, "correction": correction, "user": user, "metadata": metadata,
    }  # fmt: skip
    known = {key: value for key, value in given.items() if value is not None}
    try:
        problem = _problem(known)
        if problem is not None:
            diagnostics.logger.warning("feedback: %s; it was not recorded", problem)
            if _is_strict(str(event_or_tree_id)):
                raise ConfigError("feedback", problem, HINT)
            return False
        return _record(str(event_or_tree_id), known)
    except ConfigError:
        raise
    except BaseException as error:  # no error of ours, or of the given objects, may reach the app
        if diagnostics.must_pass(error):
            raise
        diagnostics.failed("feedback", error)
        return False


def _problem(given: Mapping[str, Any]) -> str | None:
    """The problem of a feedback, or None. A vendor would refuse it only long after this call."""
    if not given.keys() & {"score", "comment", "correction"}:
        return "without score, comment or correction it says nothing"
    score = given.get("score", 1)
    scores = score if isinstance(score, Mapping) else {"": score}
    scores = {name: one for name, one in scores.items() if one is not None}  # None: not measured
    if not scores:
        return "score has no entry"
    for name, one in scores.items():
        where = f"score {name!r}" if name else "score"
        if not isinstance(one, Real | Decimal):
            return f"{where} is no number but {diagnostics.class_name(one)}"
        if not is_finite(one):
            return f"{where} is no finite number"
    return None


def is_finite(number: Any) -> bool:
    """Whether a number fits into a double, and so into JSON."""
    try:
        return math.isfinite(number)
    except (OverflowError, ValueError):  # an integer that no double holds, a signalling NaN
        return False


def _is_strict(wanted: str) -> bool:
    found = recorder.event_of(wanted)
    return any(one.settings.strict for one in found[1].pipelines) if found else config.resolve().strict


def _record(wanted: str, given: dict[str, Any]) -> bool:
    found = recorder.event_of(wanted)
    if found is not None and found[1].skipped:
        diagnostics.logger.warning("feedback is on a run that was not sampled; it was not recorded")
        return False
    journal = _journal() if found is None else found[1].journal
    if journal is None or not wanted:
        diagnostics.logger.warning("feedback is on a run that no journal of this process can have; it was not recorded")
        return False
    plain = sanitizers.get(journal) or Sanitizer(redact=config.resolve().redact)
    event_id = tree_id = wanted
    about: dict[str, Any] = {}
    if found is not None:
        event_id, tree = found
        tree_id, plain = tree.id, tree.pipelines[0].sanitize
        about = {} if tree.remote is not None else {"vendors": tree.vendors}
    _append(journal, event_id, tree_id, {**plain.fitted(plain(given)), **about})
    return True


def add_feedback(
    journal: Journal, event_id: str, tree_id: str, vendors: record.Refs | None, given: Mapping[str, Any]
) -> None:
    """Record feedback on one of a journal's trees, as the viewer does.

    Raises:
        ConfigError: as `feedback` with `strict`.
    """
    problem = _problem(given)
    if problem is not None:
        raise ConfigError("feedback", problem, HINT)
    plain = sanitizers.get(journal) or Sanitizer(redact=config.resolve().redact)
    about = {} if vendors is None else {"vendors": vendors}
    _append(journal, event_id, tree_id, {**plain.fitted(plain(dict(given))), **about})


def _append(journal: Journal, event_id: str, tree_id: str, given: Mapping[str, Any]) -> None:
    entry = record.feedback(event_id, tree_id, str(uuid.uuid4()), time.time_ns(), given)
    journal.append(record.encode(entry))
    for shipper in all_shippers():
        if shipper.journal is journal:
            shipper.ensure()
            shipper.wake()


def _journal() -> Journal | None:
    """The journal for a run that this process does not know: the configured one, unless only others are delivered."""
    delivered = [shipper.journal for shipper in all_shippers()]
    folder = config.resolve().folder
    if folder == MEMORY or Path(folder).expanduser().is_dir():
        configured = open_journal(folder)
        if not delivered or configured in delivered:
            return configured
    return delivered[0] if delivered else None
