"""Finds the parent of a new span, and whether the span shows anything that its parent does not."""

from __future__ import annotations

from eventtree.kinds import Kind
from eventtree.llama_index.span import Span, run_and_name
from eventtree.llama_index.streams import Streams
from eventtree.recording.around import innermost
from eventtree.recording.enclosing import context_run, langchain_run
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import inner, remote
from eventtree.remembered import newest_of, oldest_of

CHAIN = Kind.CHAIN
STILL_ACTIVE = 1000
"""Most spans that are remembered because they returned a future."""

Enclosing = tuple[Span | None, str | None, str | None]
"""Around a new span: its open parent span; its parent run, of either framework; and without both, the ended run that
started this work (in a task that goes on).
"""


class Parents:
    """Finds the parents of new spans among the open spans of one handler."""

    def __init__(self, opened: dict[str, Span], streams: Streams) -> None:
        """Look among `opened` spans, and into `streams`."""
        self.open = opened
        self.streams = streams
        self.still_active: dict[str, str | None] = {}
        """Exited span that returned a future → the span that is really active. LlamaIndex keeps the exited one as its
        *active* span.
        """

    def enclosing(self, parent_id: str | None) -> Enclosing:
        """The parents of a span whose context names `parent_id`."""
        above = None if parent_id is None else self.open.get(parent_id)
        if above is not None and not self.streams.by_code and _is_newest(above.run):
            return above, above.run, None  # the usual case
        while above is None and parent_id in self.still_active:
            parent_id = self.still_active[parent_id]
            above = None if parent_id is None else self.open.get(parent_id)
        own = above.run if above is not None else None if parent_id is None else run_and_name(parent_id)[0]
        run = own if own is not None and recorder.is_live(own) else None
        lazy = self.streams.owner() if self.streams.by_code else None
        if lazy is not None and (run is None or not _is_within(run, run_and_name(lazy)[0])):
            above, run = self.open.get(lazy), run_and_name(lazy)[0]
        handed = remote() if run is None else None
        if handed is not None and handed.run is not None and recorder.is_live(handed.run):
            run = handed.run
        if run is not None and _is_newest(run):
            return above, run, None
        # Nothing can enclose it while nothing is open.
        mine = found if type(found := inner.get()) is str else None
        other = innermost(langchain_run(), mine) if recorder.runs else None
        if other is not None and (run is None or recorder.descends(other, run)):
            return None, other, None
        if run is not None or handed is not None:
            return above if run is not None else None, run, None
        if mine is not None and own is None and recorder.is_live(mine):
            return None, mine, None
        around = context_run() if own is None else None
        return None, None, around if around is not None and recorder.knows(around) else own

    def keep_active(self, span: Span) -> None:
        """Remember a span that has exited but is still named by the context in which it began."""
        if len(self.still_active) > STILL_ACTIVE:
            self.still_active.pop(oldest_of(self.still_active) or "", None)
        self.still_active[span.id] = None if span.above is None else span.above.id


def _is_newest(run: str) -> bool:
    """Whether an open run is the newest of its tree. Then it encloses the new span, and the frames need not be searched
    for a run of another framework.
    """
    found = recorder.runs.get(run)
    return found is not None and newest_of(found.tree.open) == run


def _is_within(run: str, outer: str) -> bool:
    """Whether `outer` is an ancestor of `run` by open runs. To have opened later is not enough: a chat engine reads its
    model's stream in a task that began after the model's call.
    """
    found = recorder.runs.get(run)
    while found is not None and found.id != outer:
        found = recorder.runs.get(found.parent) if found.parent is not None else None
    return found is not None


def is_plumbing(span: Span) -> bool:
    """Whether the span shows nothing that the span above it does not."""
    mine, above = span.facts, span.above
    if mine.is_plumbing:
        return True
    if above is None or span.owner == 0 or above.owner != span.owner or mine.is_model:
        return False
    return mine.is_private or mine.method == above.facts.method or mine.kind is above.facts.kind is not CHAIN
