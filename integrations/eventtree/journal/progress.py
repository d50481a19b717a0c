"""The state that the lines of a cursor add up to: counts, settled trees, learned values. Pure: no file, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any

from eventtree.pace import let_go

KEPT_LEARNED = 20_000
"""Vendors' own ids of events that stay known, the newest: feedback is sent under these ids."""

Spans = Mapping[str, int]
"""Log → the end of a tree's last record in it."""


class Progress:
    """How far one vendor has got. `cursor.py` lists the lines that change it; unknown ones change nothing."""

    def __init__(self) -> None:
        """Start with nothing settled."""
        self._clear()

    def _clear(self) -> None:
        self.accepted = 0
        """Events of settled trees."""
        self.delivered = 0
        self.dead = 0
        self.dropped: Counter[str] = Counter()
        self.partly: dict[str, set[str]] = {}
        self.taken: dict[str, tuple[int, int]] = {}
        """Events of the trees in `partly` that were delivered, and dead-lettered."""
        self.settled: dict[str, dict[str, int]] = {}
        self.offsets: dict[str, int] = {}
        self.replayed: dict[str, int] = {}
        """Log → end of the trees in it that were recorded for other vendors and have been replayed to this one."""
        self.uncounted = 0
        """Events of settled trees that were recorded for other vendors, or by another process."""
        self.apart_events = 0
        self.foreign: dict[str, bool] = {}
        """Settled trees that are not the vendor's own: those that name others, which a replay sent (True), and those of
        which only parts are here and were sent, since the rest is in another journal (False).
        """
        self.left_out: dict[str, tuple[int, str]] = {}
        """Settled trees that `keep` left out, for a later replay → their events, and one of their logs: the entry goes
        with that log.
        """
        self.learned: dict[str, str] = {}
        self.parked: str | None = None
        self.feedback: Counter[str] = Counter()
        """Feedback by its fate; not counted among events."""
        self.feedback_done: dict[str, tuple[str, int]] = {}
        """Key of each settled feedback → its log, and its end there."""
        self.damage: dict[str, tuple[int, int]] = {}
        """Log → damaged and lost lines before its offset."""

    def is_settled(self, tree: str, spans: Spans) -> bool:
        """Whether a tree whose records end at `spans` is settled."""
        known = self.settled.get(tree)
        if known is not None:
            return all(end <= known.get(log, 0) for log, end in spans.items())
        return bool(spans) and all(end <= self.offsets.get(log, 0) for log, end in spans.items())

    def is_own(self, tree: str) -> bool:
        """Whether a settled tree was for this vendor: then its later records are too. A replayed one's are not."""
        return tree in self.settled and not self.foreign.get(tree, False)

    def settled_of(self, tree: str) -> Spans:
        """Log → end of a tree's settled lines."""
        return self.settled.get(tree, self.offsets)

    def is_feedback_done(self, key: str, log: str, end: int) -> bool:
        """Whether a feedback whose line ends at `end` is settled."""
        return key in self.feedback_done or end <= self.offsets.get(log, 0)

    def is_behind(self, spans: Spans) -> bool:
        """Whether a settled tree lies wholly before the offsets. A log without an offset has been removed."""
        return all(end <= self.offsets.get(log, end) for log, end in spans.items())

    def begun(self) -> dict[str, int]:
        """Log → end of the last settled tree or feedback beyond the log's offset."""
        found: dict[str, int] = {}
        for log, end in chain(*(spans.items() for spans in self.settled.values()), self.feedback_done.values()):
            if end > self.offsets.get(log, 0):
                found[log] = max(end, found.get(log, 0))
        return found

    def state(self) -> dict[str, Any]:
        """The whole state, for one line."""
        return {
            "c": "state", "accepted": self.accepted, "delivered": self.delivered, "dead": self.dead,
            "dropped": dict(self.dropped), "partly": {tree: sorted(keys) for tree, keys in self.partly.items()},
            "taken": self.taken, "settled": self.settled, "offsets": self.offsets, "learned": self.learned,
            "replayed": {log: end for log, end in self.replayed.items() if end}, "uncounted": self.uncounted,
            "apart_events": self.apart_events, "foreign": self.foreign, "left_out": self.left_out,
            "parked": self.parked,
            "feedback": dict(self.feedback), "feedback_done": self.feedback_done, "damage": self.damage,
        }  # fmt: skip

    def apply(self, entry: dict[str, Any]) -> None:
        """Apply one line."""
        take = getattr(self, f"_on_{entry['c']}", None)
        if take is not None:  # a newer version may write kinds that are not known here
            take(entry)

    def _on_ack(self, entry: dict[str, Any]) -> None:
        for tree, (keys, delivered, dead) in entry["items"].items():
            self.partly.setdefault(tree, set()).update(keys)
            known = self.taken.get(tree, (0, 0))
            self.taken[tree] = (known[0] + delivered, known[1] + dead)
            self.delivered += delivered
            self.dead += dead
            if tree in self.left_out:  # a replay sends it after all
                self.dropped["sampled"] -= delivered + dead

    def _on_settle(self, entry: dict[str, Any]) -> None:
        tree, ends = entry["tree"], entry["spans"]
        let_go(self.partly.pop(tree, set()))
        known = self.taken.pop(tree, (0, 0))
        delivered, dead = entry.get("taken", known)
        # The line repeats the sums of the acks before it, since one may be damaged: only the difference is added.
        self.delivered += delivered - known[0]
        self.dead += dead - known[1]
        spans = self.settled.setdefault(tree, {})
        for log, end in ends.items():
            if end > spans.get(log, 0):
                spans[log] = end
        if entry.get("left_out"):
            before, log = self.left_out.get(tree, (0, next(iter(ends), "")))
            self.left_out[tree] = (before + entry["left_out"], log)
        elif entry.get("back") and tree in self.left_out:
            before, _ = self.left_out.pop(tree)
            back = min(before, entry["events"])  # the others were cleared, or removed with a log
            self.accepted -= back
            self.dropped["sampled"] -= back - sum(known)
        self.accepted += entry["events"]
        self.uncounted += entry.get("uncounted", 0)
        self.apart_events += entry.get("apart", 0)
        if entry.get("apart") or entry.get("replay"):
            self.foreign[tree] = bool(entry.get("replay"))
        else:
            self.foreign.pop(tree, None)
        if entry["dropped"]:
            self.dropped.update(entry["dropped"])

    def _on_sent(self, entry: dict[str, Any]) -> None:
        self.offsets[entry["log"]] = max(entry["end"], self.offsets.get(entry["log"], 0))
        self.accepted += entry["events"] + sum(entry["dropped"].values())
        self.delivered += entry["events"]
        self.dropped.update(entry["dropped"])
        self.learned.update(entry["learned"])

    def _on_forgo(self, entry: dict[str, Any]) -> None:
        events = min(entry["events"], self.dead)
        self.dead -= events
        self.dropped[entry["reason"]] += events

    def _on_learn(self, entry: dict[str, Any]) -> None:
        for name, value in entry["values"].items():
            if value is None:
                self.learned.pop(name, None)
            else:
                self.learned[name] = value
        if len(self.learned) > 2 * KEPT_LEARNED:
            single = [name for name in self.learned if name.startswith("data_id:")]
            for name in single[:-KEPT_LEARNED]:
                del self.learned[name]

    def _on_feedback(self, entry: dict[str, Any]) -> None:
        if not any(
            self.taken.get(entry["tree"], ())
        ):  # the tree was settled before: these are the feedback's own items
            self.partly.pop(entry["tree"], None)
            self.taken.pop(entry["tree"], None)
        if entry["key"] not in self.feedback_done:
            self.feedback_done[entry["key"]] = (entry["log"], entry["end"])
            self.feedback[entry["fate"]] += 1

    def _on_parked(self, entry: dict[str, Any]) -> None:
        self.parked = entry["why"]

    def _on_state(self, entry: dict[str, Any]) -> None:
        self._clear()
        self.accepted, self.delivered, self.dead = entry["accepted"], entry["delivered"], entry["dead"]
        self.dropped.update(entry["dropped"])
        self.partly = {tree: set(keys) for tree, keys in entry["partly"].items()}
        self.taken = {tree: (taken[0], taken[1]) for tree, taken in entry.get("taken", {}).items()}
        self.settled, self.offsets = entry["settled"], entry["offsets"]
        self.learned, self.parked = entry["learned"], entry["parked"]
        self.replayed, self.uncounted = entry.get("replayed", {}), entry.get("uncounted", 0)
        self.left_out = {tree: (n, log) for tree, (n, log) in entry.get("left_out", {}).items()}
        self.apart_events, self.foreign = entry.get("apart_events", 0), entry.get("foreign", {})
        self.damage = {log: (found[0], found[1]) for log, found in entry.get("damage", {}).items()}
        self.feedback.update(entry.get("feedback", {}))
        self.feedback_done = {key: (log, end) for key, (log, end) in entry.get("feedback_done", {}).items()}
